//! What has come of many that are sent again: how many for which reason have not gone out or not arrived, with a way to them and what to do.
use super::parts::count;
use crate::server::tally::{Place, Tally};
use maud::{Markup, html};

/// Nothing where all have arrived.
pub(super) fn shown(tally: &Tally) -> Markup {
    html! {
        @if tally.count_not() > 0 {
            ul.reasons aria-label="Why some were not sent" {
                @for (cause, some) in tally.not() {
                    li {
                        strong { (count(some.count)) } " " (cause.text()) ": "
                        @for (at, place) in some.first.iter().enumerate() { @if at > 0 { ", " } (link(place)) }
                        @let more = some.count.saturating_sub(some.first.len() as u64);
                        @if more > 0 { " and " (count(more)) " more" }
                        ". " span.soft { "What to do: " (cause.remedy()) "." }
                    }
                }
            }
        }
    }
}

/// That of a field of a form: nothing has been done yet where it is empty.
pub(super) fn read(field: &str) -> Option<Tally> {
    if field.is_empty() { Some(Tally::default()) } else { Tally::parse(field) }
}

/// A dead letter has a page of its own where its route is told; one that is none any more is a message.
fn link(place: &Place) -> Markup {
    match &place.route {
        Some(route) => html! { a href={ "/dead-letters/" (route) "/" (place.seq) } { (route) " " (place.seq) } },
        None => html! { a href={ "/messages/" (place.seq) } { (place.seq) } },
    }
}
