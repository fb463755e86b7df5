//! `[[coordination.measure]]`: what a panel is measured by, beside what is shipped or instead of it.
//!
//! ```toml
//! [[coordination.measure]]
//! use = "visit-7"                   # one of those that are shipped; what stands beside it goes before what it says
//! id = "visit-10"                   # without it, it takes the place of the one it uses; so does one of the same id
//! window = ["1d", "10d"]
//!
//! [[coordination.measure]]
//! id = "ed-visits"
//! enabled = false                   # not at all
//!
//! [[coordination.measure]]
//! id = "colonoscopy"
//! title = "Colonoscopy done after a positive test"
//! panels = ["aco-lakeshore"]        # default: all
//! rate = "share"                    # share | per-1000: of members, in a year
//! lower_is_better = false
//! open = { event = "result", loinc = ["29771-3"], value_min = 1 }     # or a list: who is counted in
//! void = ["referral-cancelled"]     # of the same visit or referral: as if they had not been
//! exclude = ["death"]               # in the window, before anything closed it: shown as excluded
//! once = true                       # not again while the last window lasts
//! window = ["0d", "180d"]           # or due = "48h"; days are dates of the facility, hours are hours
//! late_until = "365d"               # until then it is shown as late
//! clock = "event"                   # event | received: which time of what closes it counts; notice: how long after it happened it was received
//! other_visit = false               # true: only another visit closes it
//! value_below = 5                   # the value of the LOINC code in close
//! value_share = 0.5                 # at most so much of the value in open
//! close = { event = "service-coded", codes = ["CPT|45378"] }          # or a list; a measure by 1,000 has none
//! ```
//!
//! `open` and `close` are written as those of `[[coordination.loop]]`.
use super::super::section::{Placed, Section, closest};
use super::super::sections::set;
use super::loops::{Place, kinds, name, patterns, span, time, values};
use crate::config::problem::Document;
use crate::coordination::measures::{CODE_LISTS_MAX, Clock, Definition, Options, Rate, SHIPPED, Span0, code_lists};
use std::path::Path;
use toml::de::DeTable;

/// Measures at once.
const MEASURES_MAX: usize = 64;
/// More days than that are not kept.
const WINDOW_DAYS_MAX: i32 = 400;
/// No score is larger.
const SCORE_MAX: f64 = 1_000_000.0;
/// An id stands in the id of a FHIR resource beside that of a panel and a month.
const ID_MAX: usize = 40;

/// The measures: those that are shipped, as the configuration changes them. Without panels there is nobody to count.
pub(super) fn measures(coordination: &Section<'_>, panels: &[&str]) -> Options {
    let shipped = shipped();
    let mut definitions = shipped.clone();
    let mut seen: Vec<String> = Vec::new();
    for section in coordination.tables("measure").into_iter().flatten() {
        let (document, at) = (section.document, section.at.clone());
        let (found, enabled) = definition(section, &shipped, panels);
        if !found.id.is_empty() && seen.contains(&found.id) {
            let text = format!("two measures have the id \"{}\"; give this one another", found.id);
            document.wrong(Some(at), text);
        }
        seen.push(found.id.clone());
        let place = definitions.iter().position(|known| known.id == found.id);
        match (place, enabled) {
            (Some(place), true) => definitions[place] = found,
            (Some(place), false) => _ = definitions.remove(place),
            (None, true) => definitions.push(found),
            (None, false) => {}
        }
    }
    let options = Options { definitions };
    if options.definitions.len() > MEASURES_MAX {
        coordination.wrong(format!("there are at most {MEASURES_MAX} measures; leave some out with enabled = false"));
    }
    if code_lists(&options) > CODE_LISTS_MAX {
        coordination.wrong(format!(
            "the measures name more than {CODE_LISTS_MAX} lists of codes; leave some out with enabled = false"
        ));
    }
    options
}

/// Those that come with the gateway; a test holds that nothing is wrong with them.
fn shipped() -> Vec<Definition> {
    let document = Document::new(SHIPPED, Path::new("shipped.toml"), &|_| None);
    let Ok(table) = DeTable::parse(SHIPPED) else { return Vec::new() };
    let root = Section::new(&document, table.span(), table.get_ref());
    let sections = root.tables("measure").unwrap_or_default();
    sections.into_iter().map(|section| definition(section, &[], &[]).0).collect()
}

/// A measure, and whether it is wanted.
fn definition(section: Section<'_>, shipped: &[Definition], panels: &[&str]) -> (Definition, bool) {
    let mut found = base(&section, shipped);
    let enabled = section.boolean("enabled").unwrap_or(true);
    match section.text("id") {
        Some(id) => found.id = id_of(&section, id),
        None if found.id.is_empty() => section.wrong("id is missing: give the measure a name, or use = \"visit-7\""),
        None => {}
    }
    if !enabled {
        if !shipped.iter().any(|known| known.id == found.id) {
            section.wrong(format!("enabled: there is no measure \"{}\" to leave out; {}", found.id, names(shipped)));
        }
        section.finish();
        return (found, false);
    }
    set(&mut found.title, section.text("title").map(|title| title.value));
    if let Some(named) = section.texts("panels") {
        for one in named.iter().filter(|one| !panels.contains(&one.value.as_str())) {
            let hint = closest(&one.value, panels.iter().copied()).map(|near| format!("; did you mean \"{near}\"?"));
            let text = format!("panels: there is no panel \"{}\"{}", one.value, hint.unwrap_or_default());
            section.document.wrong(Some(one.at.clone()), text);
        }
        found.panels = values(named);
    }
    set(&mut found.rate, section.choice("rate", &[("share", Rate::Share), ("per-1000", Rate::PerThousand)]));
    set(&mut found.lower_is_better, section.boolean("lower_is_better"));
    set(&mut found.open, patterns(&section, "open", Place::Open));
    set(&mut found.void, section.texts("void").map(|names| kinds(&section, names)));
    set(&mut found.exclude, section.texts("exclude").map(|names| kinds(&section, names)));
    set(&mut found.once, section.boolean("once"));
    set(&mut found.other_visit, section.boolean("other_visit"));
    windows(&section, &mut found);
    let clocks = [("event", Clock::Event), ("received", Clock::Received), ("notice", Clock::Notice)];
    set(&mut found.clock, section.choice("clock", &clocks));
    let decimal = |key| section.decimal(key, -SCORE_MAX, SCORE_MAX);
    found.value_below = decimal("value_below").or(found.value_below);
    found.value_share = decimal("value_share").or(found.value_share);
    set(&mut found.close, patterns(&section, "close", Place::Close));
    whole(&section, &found);
    section.finish();
    (found, true)
}

/// `due` or `window`, and `late_until`.
fn windows(section: &Section<'_>, found: &mut Definition) {
    if section.is_there("due") || section.is_there("window") {
        let (from, due) = time(section);
        found.from = from;
        set(&mut found.due, due.map(Span0));
        // What was late of another window may not be of this one.
        found.late_until = found.late_until.filter(|late| late.about_ms() >= found.due.0.about_ms());
    } else if section.text("use").is_none() {
        section.wrong("due is missing: say until when, such as due = \"2d\" or window = [\"1d\", \"7d\"]");
    }
    if let Some((late, at)) = span(section, "late_until") {
        if late.about_ms() < found.due.0.about_ms() {
            section.document.wrong(Some(at), "late_until must not be before it is due");
        }
        found.late_until = Some(late);
    }
    if found.late_days() > WINDOW_DAYS_MAX {
        section.wrong(format!("a window of more than {WINDOW_DAYS_MAX} days is not kept; make it shorter"));
    }
}

/// What `use` names; nothing without it.
fn base(section: &Section<'_>, shipped: &[Definition]) -> Definition {
    let Some(Placed { value, at }) = section.text("use") else { return Definition::default() };
    let found = shipped.iter().find(|one| one.id == value);
    if found.is_none() {
        section.document.wrong(Some(at), format!("use: there is no measure \"{value}\" to take; {}", names(shipped)));
    }
    // Its name, so that no other mistake is told of it.
    found.cloned().unwrap_or_else(|| Definition { id: value, ..Definition::default() })
}

fn names(shipped: &[Definition]) -> String {
    let names: Vec<_> = shipped.iter().map(|one| one.id.as_str()).collect();
    format!("there are {}", names.join(", "))
}

/// A name that can stand in the id of a resource.
fn id_of(section: &Section<'_>, text: Placed<String>) -> String {
    let plain = text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if text.value.len() > ID_MAX || !plain {
        let form = format!("id must be 1 to {ID_MAX} letters, digits or '-'");
        section.document.wrong(Some(text.at), form);
        return text.value;
    }
    name(section, text)
}

/// What a measure needs as a whole.
fn whole(section: &Section<'_>, found: &Definition) {
    if found.open.is_empty() {
        section.wrong("open is missing: say which event counts somebody in, such as open = { event = \"discharge\" }");
    }
    if found.title.is_empty() {
        section.wrong("title is missing: say what it is called, such as title = \"Seen within 7 days\"");
    }
    match (found.rate, found.close.is_empty()) {
        (Rate::Share, true) => {
            section.wrong("close is missing: say what has to follow, such as close = { event = \"outpatient-visit\" }, or count with rate = \"per-1000\"");
        }
        (Rate::PerThousand, false) => {
            section.wrong("a measure by 1,000 members counts what opens it: remove close, or give rate = \"share\"");
        }
        _ => {}
    }
    let valued = found.value_below.is_some() || found.value_share.is_some();
    if valued && found.close.iter().any(|pattern| pattern.loinc.is_empty()) {
        section.wrong("value_below and value_share are about an observation: give its code in loinc of close");
    }
    if found.value_share.is_some() && found.open.iter().any(|pattern| pattern.loinc.is_empty()) {
        section.wrong("value_share compares with the value of open: give its code in loinc there");
    }
    if found.other_visit && found.close.iter().any(|pattern| pattern.same_visit) {
        section.wrong("other_visit and same_visit exclude each other; remove one");
    }
}

#[cfg(test)]
#[path = "measures_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "measures_size_tests.rs"]
mod size_tests;
