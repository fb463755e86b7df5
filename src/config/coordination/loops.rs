//! `[[coordination.loop]]`: what should happen, until when, and who hears when it does not.
//!
//! ```toml
//! [[coordination.loop]]
//! use = "post-discharge"            # one of those that are shipped; what stands beside it goes before what it says, a step of the same id before that step
//! panels = ["aco-lakeshore"]        # default: all
//!
//! [[coordination.loop]]
//! id = "lab"
//! open = { event = "discharge", class = ["IMP"] }             # or a list of such
//! void = ["discharge-cancelled", "death"]
//! on_readmit = "suspend"            # keep | suspend | void
//! once = false                      # true: one at a time for a person
//! [[coordination.loop.step]]
//! id = "visit"
//! window = ["1d", "7d"]             # or due = "48h"; days are dates of the facility, hours are hours
//! late_until = "30d"                # nothing later closes it; default: 90 days after it was due
//! clock = "event"                   # event | received: which time of what closes it counts
//! after = "appointment"             # time runs from the appointment that closed that step; default: from the opening
//! when = { disposition = ["06"] }   # only where the opening event fits this
//! close = { event = "outpatient-visit", provider = "careteam|panel-org" }
//! escalate = [{ at = "24h", to = "role:care-manager" }, { at = "due", to = "org:SBMC" }]
//! ```
//!
//! | in `open`, `when`, `close` | |
//! |---|---|
//! | `event` | names of events, joined by a bar; not in `when` |
//! | `class`, `disposition`, `disposition_not`, `trigger` | lists |
//! | `loinc`, `loinc_not`, `icd10_prefix`, `codes` (`"CPT|1111F"`), `value_min` | what is coded |
//! | `icd10_principal` | true: only the principal diagnosis counts (DG1-15 1, else the first final one that is not ranked behind it) |
//! | `completion`, `facility_type` | of a document; of the place |
//! | `same_visit`, `starts_within`, `provider` | only in `close` |
use super::super::problem::Document;
use super::super::section::{Placed, Section, closest};
use super::super::sections::set;
use crate::coordination::Kind;
use crate::coordination::loops::{
    Alert, At, Clock, Definition, Escalation, OnReadmit, Options, Pattern, Provider, STEPS_MAX, Score, Span,
    StepDefinition,
};
use crate::coordination::options::Keep;
use std::path::Path;
use toml::de::DeTable;

/// No score is larger.
const SCORE_MAX: f64 = 1_000_000.0;

const SHIPPED: &str = include_str!("../../coordination/loops/shipped.toml");
/// Escalations of one step.
const ESCALATIONS_MAX: usize = 8;

/// The loops.
pub(super) fn loops(coordination: &Section<'_>, keep: Keep) -> Options {
    let Some(sections) = coordination.tables("loop") else { return Options::default() };
    let shipped = shipped();
    let mut definitions: Vec<Definition> = Vec::new();
    for section in sections {
        let at = section.at.clone();
        let found = definition(section, &shipped);
        if let Some(step) = found.steps.iter().find(|step| step.about_ms() > keep.ms()) {
            let text = format!(
                "step \"{}\" can stay open for longer than loops are kept: raise keep in [coordination]",
                step.id
            );
            coordination.document.wrong(Some(at.clone()), text);
        }
        if !found.id.is_empty() && definitions.iter().any(|other| other.id == found.id) {
            let text = format!("two loops have the id \"{}\"; give this one another", found.id);
            coordination.document.wrong(Some(at), text);
        }
        definitions.push(found);
    }
    Options { definitions }
}

/// Those that come with the gateway; a test holds that nothing is wrong with them.
fn shipped() -> Vec<Definition> {
    let document = Document::new(SHIPPED, Path::new("shipped.toml"), &|_| None);
    let Ok(table) = DeTable::parse(SHIPPED) else { return Vec::new() };
    let root = Section::new(&document, table.span(), table.get_ref());
    let sections = root.tables("loop").unwrap_or_default();
    sections.into_iter().map(|section| definition(section, &[])).collect()
}

fn definition(section: Section<'_>, shipped: &[Definition]) -> Definition {
    let mut found = base(&section, shipped);
    match section.text("id") {
        Some(id) => found.id = name(&section, id),
        None if found.id.is_empty() => {
            section.wrong("id is missing: give the loop a name, or use = \"post-discharge\"")
        }
        None => {}
    }
    set(&mut found.panels, section.texts("panels").map(values));
    set(&mut found.open, patterns(&section, "open", Place::Open));
    set(&mut found.void, section.texts("void").map(|names| kinds(&section, names)));
    let readmit = [("keep", OnReadmit::Keep), ("suspend", OnReadmit::Suspend), ("void", OnReadmit::Void)];
    set(&mut found.on_readmit, section.choice("on_readmit", &readmit));
    set(&mut found.once, section.boolean("once"));
    if let Some(table) = section.table("score") {
        found.score = score(table);
    }
    if let Some(table) = section.table("alert") {
        found.alert = alert(table);
    }
    let mut seen: Vec<String> = Vec::new();
    for table in section.tables("step").into_iter().flatten() {
        let (document, at) = (table.document, table.at.clone());
        let next = step(table, &found.steps);
        if seen.contains(&next.id) {
            document.wrong(Some(at), format!("two steps have the id \"{}\"; names must differ", next.id));
        }
        seen.push(next.id.clone());
        match found.steps.iter_mut().find(|other| other.id == next.id) {
            Some(other) => *other = next,
            None => found.steps.push(next),
        }
    }
    whole(&section, &found);
    section.finish();
    found
}

/// What `use` names; nothing without it.
fn base(section: &Section<'_>, shipped: &[Definition]) -> Definition {
    let Some(wanted) = section.text("use") else { return Definition::default() };
    let found = shipped.iter().find(|one| one.id == wanted.value);
    if found.is_none() {
        let names: Vec<_> = shipped.iter().map(|one| one.id.as_str()).collect();
        let text = format!("use: there is no loop \"{}\" to take; there are {}", wanted.value, names.join(", "));
        section.document.wrong(Some(wanted.at), text);
    }
    // Its name, so that no other mistake is told of it.
    found.cloned().unwrap_or_else(|| Definition { id: wanted.value, ..Definition::default() })
}

/// What a loop needs as a whole.
fn whole(section: &Section<'_>, found: &Definition) {
    if found.open.is_empty() {
        section.wrong("open is missing: say which event opens the loop, such as open = { event = \"discharge\" }");
    }
    if found.steps.is_empty() {
        section.wrong("a loop needs a step: add [[coordination.loop.step]]");
    }
    if found.steps.len() > STEPS_MAX {
        section.wrong(format!("a loop has at most {STEPS_MAX} steps; make two of it"));
    }
    if found.score.is_none() && found.steps.iter().any(|step| step.repeat) {
        section.wrong("repeat goes on until a score is where it should be: give score = { … }");
    }
}

/// A name as answers and metrics have it.
pub(super) fn name(section: &Section<'_>, text: Placed<String>) -> String {
    let plain = text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if text.value.is_empty() || text.value.len() > 64 || !plain {
        section.document.wrong(Some(text.at), "id must be 1 to 64 letters, digits, '-', '_' or '.'");
    }
    text.value
}

fn step(section: Section<'_>, earlier: &[StepDefinition]) -> StepDefinition {
    let id = match section.text("id") {
        Some(id) => name(&section, id),
        None => {
            section.wrong("id is missing: give the step a name");
            String::new()
        }
    };
    let (from, due) = time(&section);
    let late_until = span(&section, "late_until");
    if let (Some(due), Some((late, at))) = (due, &late_until)
        && late.about_ms() < due.about_ms()
    {
        section.document.wrong(Some(at.clone()), "late_until must not be before the step is due");
    }
    let after = section.text("after").and_then(|after| {
        let known = earlier.iter().take_while(|step| step.id != id).any(|step| step.id == after.value);
        if !known {
            let text = format!("after: no step \"{}\" stands before this one; name one that does", after.value);
            section.document.wrong(Some(after.at), text);
        }
        known.then_some(after.value)
    });
    let when = section.table("when").map(|table| pattern(table, Place::When));
    let clock = section.choice("clock", &[("event", Clock::Event), ("received", Clock::Received)]);
    let repeat = section.boolean("repeat").unwrap_or(false);
    let close = patterns(&section, "close", Place::Close).unwrap_or_else(|| {
        section.wrong("close is missing: say what closes the step, such as close = { event = \"outpatient-visit\" }");
        Vec::new()
    });
    let escalate = escalations(&section, due);
    section.finish();
    let late_until = late_until.map(|(span, _)| span);
    let clock = clock.unwrap_or_default();
    // Without it nothing of this is used: the mistake has been told.
    let due = due.unwrap_or(Span::Days(0));
    StepDefinition { id, when, after, from, due, late_until, clock, repeat, close, escalate }
}

/// `due`, or `window`.
pub(super) fn time(section: &Section<'_>) -> (Option<Span>, Option<Span>) {
    let (due, window) = (section.text("due"), section.texts("window"));
    let calendar = section.choice("calendar", &[("local-date", ())]);
    let (from, until) = match (due, window) {
        (Some(Placed { at, .. }), Some(_)) => {
            let text =
                "due and window are two ways to say one thing: window = [\"0d\", \"7d\"] is due = \"7d\"; remove one";
            section.document.wrong(Some(at), text);
            return (None, None);
        }
        (Some(due), None) => (None, parse_span(section, "due", &due)),
        (None, Some(window)) => between(section, &window),
        (None, None) => {
            section.wrong("due is missing: say until when, such as due = \"2d\" or window = [\"1d\", \"7d\"]");
            (None, None)
        }
    };
    if calendar.is_some() && matches!(until, Some(Span::Ms(_))) {
        section.wrong("calendar is about days: remove it, or give the time in days");
    }
    (from, until)
}

fn between(section: &Section<'_>, window: &[Placed<String>]) -> (Option<Span>, Option<Span>) {
    let parsed: Vec<_> = window.iter().filter_map(|text| parse_span(section, "window", text)).collect();
    match (parsed.as_slice(), window.len()) {
        ([from, until], 2) if from.about_ms() <= until.about_ms() => (Some(*from), Some(*until)),
        ([_, _], 2) => {
            section.document.wrong(window.first().map(|text| text.at.clone()), "window ends before it begins");
            (None, None)
        }
        (parsed, all) => {
            // A part that could not be read has been told of.
            if parsed.len() == all {
                section.wrong("window has two parts: window = [\"1d\", \"7d\"]");
            }
            (None, None)
        }
    }
}

pub(super) fn span(section: &Section<'_>, key: &'static str) -> Option<(Span, std::ops::Range<usize>)> {
    let text = section.text(key)?;
    let parsed = parse_span(section, key, &text)?;
    Some((parsed, text.at))
}

pub(super) fn parse_span(section: &Section<'_>, key: &str, text: &Placed<String>) -> Option<Span> {
    let parsed = Span::parse(&text.value);
    if parsed.is_none() {
        let form = format!("{key} must be a time such as \"2d\" (dates), \"48h\" or \"90m\"");
        section.document.wrong(Some(text.at.clone()), form);
    }
    parsed
}

fn escalations(section: &Section<'_>, due: Option<Span>) -> Vec<Escalation> {
    let mut found: Vec<Escalation> = Vec::new();
    let mut last_ms = 0;
    for table in section.inline_tables("escalate").into_iter().flatten() {
        let at = table.text("at");
        let to = table.text("to");
        if at.is_none() || to.is_none() {
            table.wrong("an escalation says when and whom: { at = \"24h\", to = \"role:care-manager\" }");
        }
        if let Some(to) = &to {
            check_to(&table, to);
        }
        if let (Some(at), Some(to)) = (at, to)
            && let Some(when) = when(&table, &at)
        {
            let due_ms = due.map_or(i64::MAX, Span::about_ms);
            let when_ms = if let At::After(span) = when { span.about_ms() } else { due_ms };
            if when_ms > due_ms {
                let text = "at lies behind the time when the step is due; nobody would be told";
                table.document.wrong(Some(at.at.clone()), text);
            }
            if when_ms < last_ms {
                table.document.wrong(Some(at.at), "escalations stand in the order of their times");
            }
            last_ms = when_ms;
            found.push(Escalation { at: when, to: to.value });
        }
        table.finish();
    }
    if found.len() > ESCALATIONS_MAX {
        section.wrong(format!("a step has at most {ESCALATIONS_MAX} escalations"));
    }
    found
}

/// Whom something is for.
fn check_to(section: &Section<'_>, to: &Placed<String>) {
    let names = |prefix: &&str| to.value.strip_prefix(*prefix).is_some_and(|name| !name.is_empty());
    if !["role:", "org:"].iter().any(names) {
        let text = "to must be a role or an organisation, such as \"role:care-manager\" or \"org:SBMC\"";
        section.document.wrong(Some(to.at.clone()), text);
    }
}

fn when(section: &Section<'_>, text: &Placed<String>) -> Option<At> {
    if text.value == "due" {
        return Some(At::Due);
    }
    let parsed = Span::parse(&text.value).map(At::After);
    if parsed.is_none() {
        section.document.wrong(Some(text.at.clone()), "at must be \"due\" or a time such as \"24h\" or \"1d\"");
    }
    parsed
}

/// Where a pattern stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Open,
    When,
    Close,
}

pub(super) fn patterns(section: &Section<'_>, key: &'static str, place: Place) -> Option<Vec<Pattern>> {
    let tables = section.table_or_tables(key)?;
    if tables.is_empty() {
        section.wrong(format!("{key} is empty: say which event is meant"));
    }
    Some(tables.into_iter().map(|table| pattern(table, place)).collect())
}

fn pattern(section: Section<'_>, place: Place) -> Pattern {
    let texts = |key| section.texts(key).map(values).unwrap_or_default();
    let mut found = Pattern {
        class: texts("class"),
        disposition: texts("disposition"),
        disposition_not: texts("disposition_not"),
        trigger: texts("trigger"),
        loinc: texts("loinc"),
        loinc_not: texts("loinc_not"),
        icd10_prefix: texts("icd10_prefix"),
        icd10_principal: section.boolean("icd10_principal").unwrap_or(false),
        codes: codes(&section),
        value_min: section.decimal("value_min", -SCORE_MAX, SCORE_MAX),
        completion: texts("completion"),
        facility_type: section.text("facility_type").map(|kind| kind.value),
        ..Pattern::default()
    };
    if place != Place::When {
        match section.text("event") {
            Some(Placed { value, at }) => {
                let names = value.split('|').map(|name| Placed { value: name.trim().to_owned(), at: at.clone() });
                found.kinds = kinds(&section, names.collect());
            }
            None => section.wrong("event is missing: say which event is meant, such as event = \"discharge\""),
        }
    }
    if place == Place::Close {
        found.same_visit = section.boolean("same_visit").unwrap_or(false);
        found.starts_within = span(&section, "starts_within").map(|(span, _)| span);
        found.provider = section.text("provider").map(|text| provider(&section, &text)).unwrap_or_default();
    }
    together(&section, &found);
    section.finish();
    found
}

/// What goes together in a pattern.
fn together(section: &Section<'_>, found: &Pattern) {
    let about = |kinds: &[Kind]| found.kinds.is_empty() || found.kinds.iter().any(|kind| kinds.contains(kind));
    if !found.completion.is_empty() && !about(&[Kind::Document]) {
        section.wrong("completion is about documents: give event = \"document\", or remove it");
    }
    if found.starts_within.is_some() && !about(&[Kind::AppointmentBooked, Kind::AppointmentChanged]) {
        section.wrong("starts_within is about appointments: give event = \"appointment-booked\", or remove it");
    }
    if found.icd10_principal && found.icd10_prefix.is_empty() {
        section.wrong("icd10_principal is about a diagnosis: give its beginning in icd10_prefix");
    }
    if found.value_min.is_some() && found.loinc.is_empty() {
        section.wrong("value_min is about an observation: give its code in loinc");
    }
}

pub(super) fn kinds(section: &Section<'_>, names: Vec<Placed<String>>) -> Vec<Kind> {
    let kind = |name: Placed<String>| {
        let kind = Kind::parse(&name.value);
        if kind.is_none() {
            let hint = match closest(&name.value, Kind::ALL.into_iter().map(Kind::name)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("events are {}", Kind::ALL.map(Kind::name).join(", ")),
            };
            section.document.wrong(Some(name.at), format!("there is no event \"{}\"; {hint}", name.value));
        }
        kind
    };
    names.into_iter().filter_map(kind).collect()
}

fn codes(section: &Section<'_>) -> Vec<(String, String)> {
    let code = |text: Placed<String>| {
        let parts = text.value.split_once('|').filter(|(system, code)| !system.is_empty() && !code.is_empty());
        if parts.is_none() {
            section.document.wrong(Some(text.at), "codes are written with their system: \"CPT|1111F\"");
        }
        parts.map(|(system, code)| (system.to_owned(), code.to_owned()))
    };
    section.texts("codes").into_iter().flatten().filter_map(code).collect()
}

fn provider(section: &Section<'_>, text: &Placed<String>) -> Provider {
    let mut found = Provider::default();
    for word in text.value.split('|') {
        match word.trim() {
            "careteam" => found.care_team = true,
            "panel-org" => found.panel_org = true,
            _ => {
                let form = "provider must be \"careteam\", \"panel-org\" or both, joined by a bar";
                section.document.wrong(Some(text.at.clone()), form);
            }
        }
    }
    found
}

fn score(section: Section<'_>) -> Option<Score> {
    let (loinc, remission) = (section.text("loinc"), section.decimal("remission_below", -SCORE_MAX, SCORE_MAX));
    let response = section.decimal("response", -SCORE_MAX, SCORE_MAX).unwrap_or(0.5);
    if loinc.is_none() || remission.is_none() {
        section.wrong("score needs loinc, its code, and remission_below");
    }
    if !(0.0..=1.0).contains(&response) {
        section.wrong("response is a share of the first score, from 0 to 1");
    }
    section.finish();
    Some(Score { loinc: loinc?.value, remission_below: remission?, response })
}

fn alert(section: Section<'_>) -> Option<Alert> {
    let (loinc, value_min) = (section.text("loinc"), section.decimal("value_min", -SCORE_MAX, SCORE_MAX));
    let to = section.text("to").map_or_else(
        || "role:care-manager".to_owned(),
        |to| {
            check_to(&section, &to);
            to.value
        },
    );
    if loinc.is_none() || value_min.is_none() {
        section.wrong("alert needs loinc, the code of the observation, and value_min");
    }
    section.finish();
    Some(Alert { loinc: loinc?.value, value_min: value_min?, to })
}

pub(super) fn values(texts: Vec<Placed<String>>) -> Vec<String> {
    texts.into_iter().map(|text| text.value).collect()
}

#[cfg(test)]
#[path = "loops_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "loops_size_tests.rs"]
mod size_tests;

#[cfg(test)]
#[path = "loops_story_tests.rs"]
mod story_tests;
