//! What sending a message again would send, beside what was sent: nothing goes out before somebody has seen it.
use super::{MASKED, Which, plan};
use crate::delivery::Plans;
use crate::desk::parts::{Tone, count, state};
use crate::facets::Facets;
use crate::fhir::diff::{self, Difference, Side};
use crate::journal::Record;
use crate::mapping::{Context, Plan, Scratch};
use maud::{Markup, html};
use serde_json::Value;

/// Differences that are listed.
const LISTED_MAX: usize = 300;
/// A longer message is not compared on a page.
const COMPARED_BYTES_MAX: usize = 8 << 20;

/// What the mappings of then and of today make of a message.
pub(super) struct Compared {
    pub said: Markup,
    /// Whether there is anything to send today.
    pub sendable: bool,
    /// Which mappings are known.
    pub which: Which,
}

/// Compares them.
pub(super) fn difference(plans: &Plans, record: &Record, phi: bool) -> Compared {
    let (which, then) = plan(plans, record, false);
    let listed = |said: Markup, sendable: bool| Compared { said, sendable, which };
    if record.raw.len() > COMPARED_BYTES_MAX {
        let said = html! { p.note { "The message is too long to be compared here; " code { "handoff replay --diff-against" } " does it." } };
        return listed(said, true);
    }
    let Some(facets) = Facets::decode(&record.facets) else {
        return listed(
            html! { p.note { "Its facets were written by another version: it cannot be translated." } },
            false,
        );
    };
    let Some(now) = plans.find(&Facets { plan: [0; 32], ..facets }) else {
        return listed(
            html! { p.note { "Its listener is not in the configuration any more: it has no mappings today." } },
            false,
        );
    };
    let today = translated(&now, record);
    match (which, then.map(|then| translated(&then, record)), today) {
        (_, _, Err(why)) => listed(html! { p.note { strong { "There is nothing to send: " } (why) } }, false),
        (Which::Same, _, Ok(_)) => listed(
            html! { p.done { "The mappings have not changed since it came: the same Bundle would be sent." } },
            true,
        ),
        (Which::Then, Some(Ok(then)), Ok(today)) => listed(differences(&diff::differences(&then, &today), phi), true),
        (Which::Then, Some(Err(why)), Ok(today)) => {
            let said = html! { p.done { "It could not be translated then (" (why) "). Today there is a Bundle of " (count(entries(&today))) " resources." } };
            listed(said, true)
        }
        (_, _, Ok(today)) => {
            let said = html! { p.note { "What it was translated with then is not known, or it was not. Today there is a Bundle of " (count(entries(&today))) " resources." } };
            listed(said, true)
        }
    }
}

fn translated(plan: &Plan, record: &Record) -> Result<Value, String> {
    let received = jiff::Timestamp::from_millisecond(record.received_ms).map(|time| time.to_string());
    let context = Context { received_at: received.as_deref().ok() };
    let mut scratch = Scratch::new();
    plan.translate(&record.raw, &context, &mut scratch).map_err(|failure| failure.text)?;
    serde_json::from_slice(scratch.bundle()).map_err(|_| "the Bundle is no JSON; please report this".to_owned())
}

fn entries(bundle: &Value) -> u64 {
    bundle.get("entry").and_then(Value::as_array).map_or(0, |entries| entries.len() as u64)
}

fn differences(found: &[Difference], phi: bool) -> Markup {
    html! {
        @if found.is_empty() {
            p.done { "The mappings have changed since it came, but say the same of this message." }
        } @else {
            p { strong { (count(found.len() as u64)) @if found.len() == 1 { " difference" } @else { " differences" } } " between what was sent and what the mappings of today would send:" }
            div.scroll tabindex="0" role="region" aria-label="Differences" {
                table.differences {
                    thead { tr { th scope="col" { "What" } th scope="col" { "Element" } th scope="col" { "Then" } th scope="col" { "Today" } } }
                    tbody {
                        @for difference in found.iter().take(LISTED_MAX) {
                            tr {
                                td { (kind(difference)) }
                                th scope="row" { code { (difference.name()) } }
                                td { (side(difference.expected.as_ref(), phi)) }
                                td { (side(difference.found.as_ref(), phi)) }
                            }
                        }
                    }
                }
            }
            @if found.len() > LISTED_MAX { p.soft { "And " (count((found.len() - LISTED_MAX) as u64)) " more." } }
        }
    }
}

fn kind(difference: &Difference) -> Markup {
    match difference.kind() {
        diff::Kind::Changed => state(Tone::Warn, "changed"),
        diff::Kind::Missing => state(Tone::Bad, "gone"),
        diff::Kind::Extra => state(Tone::Good, "new"),
    }
}

fn side(side: Option<&Side>, phi: bool) -> Markup {
    let Some(side) = side else { return html! { span.none { "—" } } };
    html! {
        @if !phi { (MASKED) }
        @else if let Some(name) = &side.refers_to { "a reference to " (name) }
        @else { code { (super::er7::cut(&side.value.to_string())) } }
    }
}
