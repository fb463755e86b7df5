//! What came of it: mistakes, what is noticed, what has changed, the Bundle.
use super::journal::Run;
use super::json;
use super::overlay::{Overlay, shown as name};
use super::trial::Trial;
use super::workshop::Built;
use crate::desk::parts::{Tone, count, state};
use crate::fhir::diff::{Difference, Kind};
use crate::mapping::Failure;
use crate::mapping::compare::{Counts, shown as value_of};
use crate::mapping::diagnostic::{Diagnostic, Severity};
use crate::mapping::source::Sources;
use crate::server::ListenerMappings;
use maud::{Markup, html};

/// Differences of one message, and groups of many, that are shown.
const ROWS_MAX: usize = 200;
/// Longer values are cut.
const SHOWN_CHARACTERS: usize = 200;

/// It was not even tried.
pub(super) fn refused(detail: &str, remedy: &str) -> Markup {
    html! { div.fault { p { strong { "Not tried: " } (detail) } p.remedy { strong { "What to do: " } (remedy) } } }
}

/// Everything; `built` is none where the overlay changes nothing, `trial` where there is no message.
pub(super) fn shown(
    at: &ListenerMappings,
    overlay: &Overlay,
    built: Option<&Built>,
    trial: Option<&(Trial, usize)>,
) -> Markup {
    let compiles = built.is_none_or(|built| built.plan.is_some());
    html! {
        p.summary role="status" { (summary(built, trial)) }
        @if let Some(built) = built { (mistakes(at, overlay, built)) }
        @match trial {
            None => { p.empty { "Paste a message, or take a sample. It begins with an MSH segment." } },
            Some((trial, messages)) => {
                @if *messages > 1 { p.note { "There are " (messages) " messages; this is the first." } }
                @if !compiles { p.note { "The overlay does not compile. This is what the present mappings make of the message." } }
                (translated(trial, built.is_some() && compiles))
            }
        }
    }
}

fn summary(built: Option<&Built>, trial: Option<&(Trial, usize)>) -> Markup {
    let errors = built.map_or(0, |built| number(built, Severity::Error) + usize::from(built.refusal.is_some()));
    html! {
        @match built {
            None => { (state(Tone::Still, "no overlay")) },
            Some(built) if built.plan.is_some() => { (state(Tone::Good, "compiles")) " in " (built.took.as_millis()) " ms" },
            Some(_) => { (state(Tone::Bad, &plural(errors, "error"))) },
        }
        " "
        @if let Some((trial, _)) = trial {
            @match &trial.after {
                Ok(bundle) => {
                    (state(Tone::Good, "translated"))
                    " to " (plural(bundle["entry"].as_array().map_or(0, Vec::len), "resource"))
                    @if built.is_some_and(|built| built.plan.is_some()) { ", " (plural(trial.differences.len(), "change")) }
                },
                Err(_) => { (state(Tone::Bad, "not translated")) },
            }
        }
    }
}

fn number(built: &Built, severity: Severity) -> usize {
    built.diagnostics.sorted().iter().filter(|one| one.severity == severity).count()
}

/// All errors, and what the overlay itself should be looked at for.
pub(super) fn mistakes(at: &ListenerMappings, overlay: &Overlay, built: &Built) -> Markup {
    let sources = built.sources();
    let found = built.diagnostics.sorted();
    let is_own = |one: &Diagnostic| name(at, sources.position(one.location).0) == overlay.path;
    let (shown, others): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
        found.into_iter().partition(|one| one.severity == Severity::Error || is_own(one));
    html! {
        @if let Some(refusal) = &built.refusal { div.fault { p { (refusal) } } }
        @if !shown.is_empty() {
            ol.mistakes { @for one in shown.iter().take(ROWS_MAX) { (mistake(at, sources, one, is_own(one))) } }
        }
        @if !others.is_empty() {
            p.soft { (plural(others.len(), "warning")) " elsewhere in the mappings, which the overlay is not about." }
        }
    }
}

fn mistake(at: &ListenerMappings, sources: &Sources, one: &Diagnostic, own: bool) -> Markup {
    let (file, line, column, quoted) = sources.position(one.location);
    let file = name(at, file);
    let place = format!("{file}:{line}:{column}");
    // A browser counts in UTF-16, we in bytes.
    let before = quoted.get(..column.saturating_sub(1)).unwrap_or_default();
    let caret = before.encode_utf16().count();
    html! {
        li {
            p {
                @if one.severity == Severity::Error { (state(Tone::Bad, "error")) } @else { (state(Tone::Warn, "warning")) }
                " " code { (one.code.as_str()) } " "
                @if own { a href="#overlay" data-line=(line) data-column=(caret) { (place) } } @else { code { (place) } }
            }
            p { (one.message) }
            pre tabindex="0" { (quoted) "\n" (" ".repeat(before.chars().count())) "^" }
            @if let Some(suggestion) = &one.suggestion { p.remedy { strong { "What to do: " } (suggestion) } }
        }
    }
}

fn translated(trial: &Trial, compared: bool) -> Markup {
    html! {
        @if compared { (changes(trial)) }
        @if !trial.findings.is_empty() {
            details open[trial.findings.len() < 10] {
                summary { (plural(trial.findings.len(), "thing")) " to look at in the message" }
                ul.findings { @for finding in &trial.findings { li { (finding) } } }
            }
        }
        @match &trial.after {
            Err(failure) => { (failed(failure)) },
            Ok(bundle) => {
                h3 #fhir-title { "FHIR" }
                div.scroll.bundle tabindex="0" role="region" aria-labelledby="fhir-title" { (json::shown(bundle, &trial.changed(), &trial.origins)) }
            }
        }
    }
}

fn failed(failure: &Failure) -> Markup {
    let place = failure.location.map(|(id, _, field)| format!("{}-{field}", String::from_utf8_lossy(&id)));
    html! {
        div.fault { p { strong { "Error " (failure.code) @if let Some(place) = place { " at " (place) } ": " } (failure.text) } }
    }
}

fn changes(trial: &Trial) -> Markup {
    let same = trial.before == trial.after;
    html! {
        h3 #changes-title { "What the overlay changes" }
        @match (&trial.before, &trial.after) {
            (Err(_), Ok(_)) => { p.done { "The message is translated now; the present mappings do not translate it." } },
            (Ok(_), Err(_)) => { p.note { "The present mappings translate the message; with the overlay it is not translated any more." } },
            _ if same => { p.soft { "Nothing in this message." } },
            _ if trial.differences.is_empty() => { p.soft { "Ids or the order of lists alone." } },
            _ => {
                div.scroll tabindex="0" role="region" aria-labelledby="changes-title" {
                    table {
                        thead { tr { th scope="col" { "What" } th scope="col" { "Element" } th scope="col" { "Before" } th scope="col" { "With the overlay" } } }
                        tbody { @for one in trial.differences.iter().take(ROWS_MAX) { (change(one)) } }
                    }
                }
                @if trial.differences.len() > ROWS_MAX { p.soft { "and " (trial.differences.len() - ROWS_MAX) " more" } }
            }
        }
    }
}

fn change(one: &Difference) -> Markup {
    let side = |side: &Option<crate::fhir::diff::Side>| side.as_ref().map(|side| cut(&value_of(side)));
    html! {
        tr {
            td { (kind(one.kind().name())) }
            th scope="row" { code { (one.name()) } }
            td { (value(side(&one.expected))) }
            td { (value(side(&one.found))) }
        }
    }
}

/// What a kind of difference means where one side is the overlay.
fn kind(name: &str) -> &str {
    match name {
        name if name == Kind::Missing.name() => "removed",
        name if name == Kind::Extra.name() => "added",
        name => name,
    }
}

fn value(text: Option<String>) -> Markup {
    html! { @match text { Some(text) => { code { (text) } }, None => { span.none { "—" } } } }
}

/// What became of the last messages.
pub(super) fn run(at: &ListenerMappings, run: &Run, values: bool) -> Markup {
    let Counts { messages, unchanged, differing, renamed, refused } = run.comparison.counts();
    let groups = run.comparison.sorted();
    html! {
        div role="status" {
            @if messages == 0 { p.empty { "Listener " (at.listener) " has no messages in the journal yet." } }
            @if messages > 0 {
                dl.facts {
                    dt { "Compared" } dd { (plural(messages, "message")) " of listener " (at.listener) @if let Some(why) = run.stopped { " (" (why) ")" } }
                    dt { "Changed" } dd { (count(differing as u64)) }
                    dt { "Unchanged" } dd { (count(unchanged as u64)) }
                    @if renamed > 0 { dt { "Other ids or order alone" } dd { (count(renamed as u64)) } }
                    dt { "Translated by neither" } dd { (count(refused as u64)) }
                    @if run.too_long > 0 { dt { "Left out" } dd { (count(run.too_long as u64)) ", longer than 4 MB" } }
                }
            }
        }
        @if !groups.is_empty() {
            h3 #groups-title { "What changes, by element" }
            div.scroll tabindex="0" role="region" aria-labelledby="groups-title" {
                table {
                    thead { tr {
                        th scope="col" { "What" } th scope="col" { "Element" } th.number scope="col" { "Messages" } th.number scope="col" { "Values" }
                        th scope="col" { "Such as message" }
                        @if values { th scope="col" { "Before" } th scope="col" { "With the overlay" } }
                        th scope="col" { "Comes from" }
                    } }
                    tbody {
                        @for ((what, path), group) in groups.iter().take(ROWS_MAX) {
                            tr {
                                td { (kind(what)) }
                                th scope="row" { code { (path) } }
                                td.number { (count(group.messages as u64)) }
                                td.number { (count(group.values as u64)) }
                                td {
                                    @if values { a href=(format!("/messages/{}", group.example.message)) { (group.example.message) } } @else { (group.example.message) }
                                }
                                @if values { td { (value(group.example.before.as_deref().map(cut))) } td { (value(group.example.after.as_deref().map(cut))) } }
                                td { @for origin in &group.example.origins { div.soft { (origin) } } }
                            }
                        }
                    }
                }
            }
            @if groups.len() > ROWS_MAX { p.soft { "and " (groups.len() - ROWS_MAX) " more elements" } }
        }
    }
}

fn plural(number: usize, word: &str) -> String {
    format!("{} {word}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_and_counts_read_well() {
        assert_eq!(cut(&"é".repeat(SHOWN_CHARACTERS)).chars().count(), SHOWN_CHARACTERS);
        assert_eq!(cut(&"é".repeat(SHOWN_CHARACTERS + 1)).chars().count(), SHOWN_CHARACTERS + 1);
        assert_eq!([plural(1, "change"), plural(2000, "change")], ["1 change", "2,000 changes"]);
    }
}
