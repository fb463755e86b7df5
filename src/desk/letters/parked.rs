//! What waits behind messages that fail: of a route that rests all, of others the messages of the same patient or sender.
use super::remedy::remedy;
use crate::admin::api::messages::record;
use crate::desk::parts::{Tone, count, span, state, time_if};
use crate::facets::patient_id;
use crate::journal::View;
use crate::server::RouteStatus;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Numbers of patients by the message that fails, for somebody who may read messages.
pub(super) type Patients = BTreeMap<u64, String>;

/// Whose messages they are that fail. Blocks.
pub(super) fn patients(view: &mut View, seqs: &[u64]) -> Patients {
    let of = |seq: &u64| Some((*seq, patient_id(&record(view, *seq).ok()?.raw)?));
    seqs.iter().filter_map(of).collect()
}

/// The messages that fail.
pub(super) fn heads(routes: &[RouteStatus]) -> Vec<u64> {
    routes.iter().flat_map(|route| &route.parked.heads).map(|head| head.seq).collect()
}

/// Nothing where nothing waits.
pub(super) fn section(routes: &[RouteStatus], patients: &Patients) -> Markup {
    let waiting: Vec<_> = routes.iter().filter(|route| route.parked.keys > 0 || route.rests.is_some()).collect();
    html! {
        @if !waiting.is_empty() {
            h2 #parked { "Waiting behind a message that fails" }
            p.soft { "Not given up yet: the gateway tries them again by itself. What must not overtake them waits; everything else goes on." }
            div.scroll tabindex="0" role="region" aria-labelledby="parked" {
                table {
                    thead { tr { th scope="col" { "Route" } th scope="col" { "What waits" } th.number scope="col" { "Behind" } th scope="col" { "Since" } th scope="col" { "Which fail, and why" } } }
                    tbody { @for route in waiting { (row(route, patients)) } }
                }
            }
        }
    }
}

fn row(route: &RouteStatus, patients: &Patients) -> Markup {
    let parked = &route.parked;
    let shown = parked.heads.len() as u64;
    let since_ms = parked.since_ms.or(route.oldest_queued_ms);
    html! {
        tr {
            th scope="row" { (route.name) }
            td {
                @if route.rests.is_some() { (state(Tone::Bad, "the whole route")) }
                @else { (state(Tone::Warn, &format!("{} parked", count(parked.keys)))) }
            }
            td.number { (count(if route.rests.is_some() { route.queued } else { parked.behind })) }
            td { (time_if(since_ms)) @if let Some(since_ms) = since_ms { div.soft { (span(ago(since_ms))) } } }
            td.why {
                @if let Some(why) = &route.rests { p { (why) } p.soft { (remedy(why)) } }
                @for head in &parked.heads {
                    div {
                        a href={ "/messages/" (head.seq) } { "message " (head.seq) }
                        " holds up " (head.holds) @if let Some(patient) = patients.get(&head.seq) { " (" (patient) ")" } ", " (head.attempts) @if head.attempts == 1 { " attempt" } @else { " attempts" } ": "
                        @match &head.reason { Some(why) => (why), None => "failed before the gateway was started, not tried since" }
                    }
                }
                @if parked.keys > shown { div.soft { "and " (count(parked.keys - shown)) " more" } }
            }
        }
    }
}

/// Whole seconds since then.
fn ago(ms: i64) -> u64 {
    u64::try_from((jiff::Timestamp::now().as_millisecond() - ms) / 1000).unwrap_or(0)
}
