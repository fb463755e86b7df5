//! What a message became: the message and its Bundle side by side, what went nowhere, and what was noticed.
use super::er7::{self, Leaf};
use super::fhir;
use crate::desk::parts::{count, size};
use crate::hl7::{Index, Message, Options};
use crate::mapping::usage::Standing;
use crate::mapping::{Context, Failure, Finding, FindingCode, Plan, Scratch, place};
use maud::{Markup, html};

/// A longer message is not explained field by field: that takes too long.
const EXPLAINED_BYTES_MAX: usize = 8 << 20;
/// The same for one of more segments.
const EXPLAINED_SEGMENTS_MAX: usize = 2000;
/// The same for one with segments of very many values, each of which is counted from the beginning of its segment.
const EXPLAINED_STEPS_MAX: u64 = 100_000_000;
/// Findings that are looked at for those that are listed.
const FINDINGS_MAX: usize = 1000;
/// Segments, values and lines of JSON that a page shows.
const SHOWN_MAX: (usize, usize) = (500, 4000);
const LINES_MAX: usize = 6000;
/// Lost values and findings that are listed.
const LISTED_MAX: usize = 200;

/// Parts of the page.
pub(super) struct Translated {
    pub raw: Markup,
    pub fhir: Markup,
    /// What went nowhere.
    pub lost: Markup,
    /// What was noticed, and why there is no Bundle where there is none.
    pub findings: Markup,
}

/// Translates a message once more, and explains it.
pub(super) fn translated(seq: u64, raw: &[u8], plan: Option<&Plan>, received_ms: i64, phi: bool) -> Translated {
    // How long a message may be was for its listener to say.
    let mut index = Index::with_options(Options { bytes_max: u32::MAX as usize, ..Options::default() });
    if index.parse(raw).is_err() {
        return unreadable(raw, phi);
    }
    let long = is_long(index.message(raw));
    let received = jiff::Timestamp::from_millisecond(received_ms).map(|time| time.to_string());
    let context = Context { received_at: received.as_deref().ok() };
    let mut scratch = Scratch::new();
    let Some(plan) = plan else {
        let why = html! { p.note { "Its listener is not in the configuration any more, and the mappings of then are not kept: it cannot be translated." } };
        return Translated {
            raw: er7::beginning(index.message(raw), phi, SHOWN_MAX.0),
            fhir: why.clone(),
            lost: html! {},
            findings: why,
        };
    };
    if long {
        return plainly(seq, raw, plan, &context, &mut scratch, &index, phi);
    }
    match plan.explain_fields(raw, &context, None, &mut scratch) {
        Err(failure) => Translated {
            raw: er7::beginning(index.message(raw), phi, SHOWN_MAX.0),
            fhir: html! { p.note { "There is no Bundle: " (failure.text) } },
            lost: html! {},
            findings: noticed(Some(&failure), plan, raw, &scratch, phi),
        },
        Ok((stories, explained)) => {
            let leaves = er7::leaves(scratch.message(raw), &stories, &explained);
            let (shown, beyond) = er7::segments(scratch.message(raw), &leaves, phi, SHOWN_MAX);
            let (json, lines) = fhir::bundle(scratch.bundle(), &explained, &leaves, phi, LINES_MAX);
            Translated {
                raw: html! {
                    (shown)
                    @if beyond > 0 { (more(seq, beyond, "segments", raw.len())) }
                    @if explained.transcoded { p.soft { "Shown as UTF-8: the character set of the message can hide separators." } }
                },
                fhir: html! { (json) @if lines > 0 { p.note { "And " (count(lines as u64)) " lines more." } } },
                lost: lost(&leaves, phi),
                findings: noticed(None, plan, raw, &scratch, phi),
            }
        }
    }
}

/// Whether it takes too long to explain it field by field.
fn is_long(message: Message<'_>) -> bool {
    let delimiters = message.delimiters();
    let separators = [delimiters.field, delimiters.repetition, delimiters.component, delimiters.subcomponent];
    let steps = |segment: usize| {
        let text = message.bytes(message.segment_span(segment));
        let values = text.iter().filter(|byte| separators.contains(byte)).count() as u64;
        values.saturating_mul(values) / 2
    };
    let segments = message.segment_count();
    let bytes = message.segment_span(segments.saturating_sub(1)).end as usize;
    bytes > EXPLAINED_BYTES_MAX
        || segments > EXPLAINED_SEGMENTS_MAX
        || (0..segments).map(steps).fold(0, u64::saturating_add) > EXPLAINED_STEPS_MAX
}

fn more(seq: u64, beyond: usize, what: &str, bytes: usize) -> Markup {
    html! {
        p.note { "And " (count(beyond as u64)) " " (what) " more. " a href={ "/messages/" (seq) "/raw" } download={ (seq) ".hl7" } { "Download all of it" } " (" (size(bytes as u64)) ")" }
    }
}

/// Without a word on where each value came from.
fn plainly(
    seq: u64,
    raw: &[u8],
    plan: &Plan,
    context: &Context<'_>,
    scratch: &mut Scratch,
    index: &Index,
    phi: bool,
) -> Translated {
    let failure = plan.translate(raw, context, scratch).err();
    let (json, lines) = fhir::plainly(scratch.bundle(), phi, LINES_MAX);
    let segments = index.message(raw).segment_count();
    Translated {
        raw: html! {
            p.note { "The message is too long to be explained field by field (" (size(raw.len() as u64)) ", " (count(segments as u64)) " segments); " code { "handoff explain" } " does it." }
            (er7::beginning(index.message(raw), phi, SHOWN_MAX.0))
            @if segments > SHOWN_MAX.0 { (more(seq, segments - SHOWN_MAX.0, "segments", raw.len())) }
        },
        fhir: match &failure {
            Some(failure) => html! { p.note { "There is no Bundle: " (failure.text) } },
            None => html! { (json) @if lines > 0 { p.note { "And " (count(lines as u64)) " lines more." } } },
        },
        lost: html! {},
        findings: noticed(failure.as_ref(), plan, raw, scratch, phi),
    }
}

/// Bytes without a header.
fn unreadable(raw: &[u8], phi: bool) -> Translated {
    let shown = String::from_utf8_lossy(raw.get(..4096).unwrap_or(raw));
    Translated {
        raw: html! {
            p.note { "No MSH segment can be read, so it was kept as it came." }
            @if phi { pre { (shown) } } @else { p { (super::MASKED) " " (size(raw.len() as u64)) } }
        },
        fhir: html! { p.note { "There is no Bundle: the message begins with no MSH segment that can be read." } },
        lost: html! {},
        findings: html! {},
    }
}

/// How much arrived, and what went nowhere.
fn lost(leaves: &[Leaf<'_>], phi: bool) -> Markup {
    let of = |wanted: fn(&Standing) -> bool| leaves.iter().filter(|leaf| wanted(&leaf.story.standing)).count();
    let (mapped, read) = (of(|standing| *standing == Standing::Mapped), of(|standing| *standing == Standing::ReadOnly));
    let nowhere: Vec<&Leaf<'_>> =
        leaves.iter().filter(|leaf| matches!(leaf.story.standing, Standing::Nowhere(_))).collect();
    html! {
        p {
            (count(leaves.len() as u64)) " values: " (count(mapped as u64)) " in the Bundle, " (count(read as u64)) " read to decide something, "
            strong { (count(nowhere.len() as u64)) " went nowhere" } "."
        }
        @if !nowhere.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Values that went nowhere" {
                table {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "Name" } th scope="col" { "Why it went nowhere" } } }
                    tbody {
                        @for leaf in nowhere.iter().take(LISTED_MAX) {
                            tr { th scope="row" { code { (er7::place_of(leaf, phi)) } } td { (leaf.name) } td { (er7::why_of(leaf, phi).unwrap_or_default()) } }
                        }
                    }
                }
            }
            @if nowhere.len() > LISTED_MAX { p.soft { "And " (count((nowhere.len() - LISTED_MAX) as u64)) " more." } }
        }
    }
}

fn noticed(failure: Option<&Failure>, plan: &Plan, raw: &[u8], scratch: &Scratch, phi: bool) -> Markup {
    let mut found: Vec<(&Finding, String)> = Vec::new();
    for finding in scratch.findings().iter().take(FINDINGS_MAX) {
        let message = scratch.message(raw);
        let (place, text) = (place(message, finding.span), finding.render(plan, message));
        let text = text.replace(&place, &er7::masked_place(&place, phi));
        if found.len() < LISTED_MAX && !found.iter().any(|(_, known)| *known == text) {
            found.push((finding, text));
        }
    }
    html! {
        @if let Some(failure) = failure { p.note { strong { "Not translated (" (failure.code) "): " } (failure.text) } }
        @if found.is_empty() && failure.is_none() { p.soft { "Nothing was noticed." } }
        @if !found.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Findings" {
                table {
                    thead { tr { th scope="col" { "Code" } th scope="col" { "What and where" } th scope="col" { "What to do" } } }
                    tbody { @for (finding, text) in &found { tr { th scope="row" { (finding.code.as_str()) } td { (text) } td { (remedy(finding.code)) } } } }
                }
            }
        }
    }
}

/// What can be done about a finding.
fn remedy(code: FindingCode) -> &'static str {
    match code {
        FindingCode::UnmappedCode => "give the code a row in the table of the site, under Codes or in its overlay",
        FindingCode::SegmentNotMapped => {
            "add a statement for the segment to the message map of the site, if it is worth having"
        }
        FindingCode::NoOffset => "name the sender's time zone in the profile of the site (timezone)",
        FindingCode::Undecodable => {
            "have the sender name its character set in MSH-18, or name it in the profile (charset)"
        }
        FindingCode::RequiredMissing | FindingCode::MissingValue => {
            "ask the sender for the value, or give a default in the overlay of the site"
        }
        FindingCode::LinkToNothing => "look whether the sender leaves out the segment that it refers to",
        FindingCode::SameIdentity => "ask the sender: a merge names two patients",
        FindingCode::DerivedStatus => "nothing, if the status is right; else ask the sender for OBR-25",
        FindingCode::InvalidDate
        | FindingCode::InvalidValue
        | FindingCode::CodeNotAllowed
        | FindingCode::PeriodReversed
        | FindingCode::BadEscape
        | FindingCode::LocalEscape => "ask the sender to send it as HL7 says, or change it in the overlay of the site",
    }
}
