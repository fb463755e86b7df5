//! Nothing is emitted that cannot be explained: over all fixtures, every scalar of the Bundle has a rule, and what it is said to come from is true.

use handoff::hl7::split;
use handoff::mapping::explain::{Explained, Explanation, Origin};
use handoff::mapping::expression::{Row, Value as Source};
use handoff::mapping::source::{Location, RowValue, Sources};
use handoff::mapping::{Context, Plan, Scratch};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(Plan::embedded)
}

/// The message files below `fixtures`, without acknowledgements.
pub fn message_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![Path::new(ROOT).join("fixtures")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "hl7") && path.file_name().is_some_and(|n| n != "ack.hl7") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Calls `check` with every message of the fixtures that can be translated.
fn each_explained(mut check: impl FnMut(&str, &[u8], &Explained, &Scratch)) {
    let mut scratch = Scratch::new();
    let mut count = 0;
    for file in message_files() {
        let bytes = fs::read(&file).unwrap();
        for span in split(&bytes) {
            let raw = &bytes[span];
            if let Ok(explained) = plan().explain(raw, &Context::default(), None, &mut scratch) {
                check(&file.display().to_string(), raw, &explained, &scratch);
                count += 1;
            }
        }
    }
    assert!(count >= 20, "only {count} messages were translated");
}

#[test]
fn every_scalar_has_an_explanation() {
    each_explained(|file, _, explained, scratch| {
        let bundle: Value = serde_json::from_slice(scratch.bundle()).unwrap();
        let mut expected = Vec::new();
        leaves(&bundle, "Bundle".to_owned(), &mut expected);
        let found: Vec<(String, Value)> =
            explained.values.iter().map(|v| (v.path.clone(), serde_json::from_str(&v.value).unwrap())).collect();
        assert_eq!(found, expected, "{file}");
        for value in &explained.values {
            assert_ne!(value.origin, Origin::Unknown, "{file}: nobody can explain {} = {}", value.name, value.value);
            for rule in value.via.iter().chain(rule_of(value)) {
                assert!(
                    !rule.map.is_empty() && !rule.file.is_empty() && rule.line > 0,
                    "{file}: {}: {rule}",
                    value.name
                );
            }
        }
    });
}

#[test]
fn explaining_changes_nothing() {
    let mut plain = Scratch::new();
    each_explained(|file, raw, _, scratch| {
        plan().translate(raw, &Context::default(), &mut plain).unwrap();
        assert_eq!(plain.bundle(), scratch.bundle(), "{file}");
    });
}

#[test]
fn sources_hold_what_was_written() {
    let rows = rows(plan().sources());
    let (mut checked, mut through_tables) = (0, 0);
    each_explained(|file, raw, explained, _| {
        for value in &explained.values {
            let Some(source) = &value.source else { continue };
            assert!(source.span.start < source.span.end, "{file}: {}: an empty source", value.name);
            assert!(
                explained.transcoded || source.span.end as usize <= raw.len(),
                "{file}: {}: outside the message",
                value.name
            );
            assert!(source.place.contains('-'), "{file}: {}: {} is no field", value.name, source.place);
            if let Some(row) = &value.row {
                assert!(
                    source.text.trim().eq_ignore_ascii_case(&row.code),
                    "{file}: {}: {} is not {}",
                    value.name,
                    source.text,
                    row.code
                );
                through_tables += 1;
                continue;
            }
            let row = rule_of(value).and_then(|rule| rows.get(&rule.location));
            if row.is_some_and(is_plain) {
                let written: Value = serde_json::from_str(&value.value).unwrap();
                let written = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
                assert!(
                    related(&written, &source.text),
                    "{file}: {} = {written} is said to come from {} = {}",
                    value.name,
                    source.place,
                    source.text
                );
                checked += 1;
            }
        }
    });
    assert!(checked > 1000 && through_tables > 200, "{checked} plain rows, {through_tables} table rows");
}

#[test]
fn table_rows_name_the_row_that_asked() {
    each_explained(|file, _, explained, _| {
        for value in &explained.values {
            if let (Some(row), Some(rule)) = (&value.row, rule_of(value)) {
                let written = plan().sources();
                let text = &written.files[usize::from(rule.location.file)].text;
                let near: String = text.lines().skip(rule.line - 1).take(4).collect();
                assert!(
                    near.contains(&format!("@{}", row.table)),
                    "{file}: {}: {rule} does not name @{}",
                    value.name,
                    row.table
                );
            }
        }
    });
}

#[test]
fn a_path_filters_with_and_without_indices() {
    let file = Path::new(ROOT).join("fixtures/ORU_R01/chemistry/message.hl7");
    let raw = fs::read(file).unwrap();
    let mut scratch = Scratch::new();
    let mut names = |below: &str| -> Vec<String> {
        let explained = plan().explain(&raw, &Context::default(), Some(below), &mut scratch).unwrap();
        explained.values.into_iter().map(|v| v.name).collect()
    };
    assert_eq!(names("Patient.birthDate"), ["Patient.birthDate"]);
    assert_eq!(names("Patient.name.given[0]"), ["Patient.name[0].given[0]"]);
    assert!(names("Observation.value[x]").len() > names("Observation(2).value[x]").len());
    assert!(names("Observation(2).status").iter().all(|n| n == "Observation(2).status"));
    assert_eq!(names("Bundle.timestamp"), ["Bundle.timestamp"]);
    assert!(!names("Bundle.entry[0].resource").is_empty());
    assert!(names("Patient.birthdate").is_empty());
}

fn rule_of(value: &Explanation) -> Option<&handoff::mapping::explain::RulePlace> {
    if let Origin::Rule(rule) = &value.origin { Some(rule) } else { None }
}

fn leaves(value: &Value, path: String, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, v)| leaves(v, format!("{path}.{name}"), out)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, v)| leaves(v, format!("{path}[{at}]"), out)),
        scalar => out.push((path, scalar.clone())),
    }
}

/// All right sides, by the place where they are written.
fn rows(sources: &Sources) -> HashMap<Location, Row> {
    let mut found = HashMap::new();
    for map in sources.maps.values() {
        found.extend(map.value.iter().map(|(row, location)| (*location, row.clone())));
        map.rows.iter().for_each(|row| collect(&row.value, &mut found));
    }
    found
}

fn collect(value: &RowValue, out: &mut HashMap<Location, Row>) {
    match value {
        RowValue::Expression(row, location) => drop(out.insert(*location, row.clone())),
        RowValue::Table(rows, _) => rows.iter().for_each(|row| collect(&row.value, out)),
        RowValue::Many(values) => values.iter().for_each(|v| collect(v, out)),
        RowValue::Switch(switch) => out.extend(switch.cases.iter().map(|(_, row, location)| (*location, row.clone()))),
    }
}

/// Whether a row takes text as it stands: places of the message, through no map, function or table.
fn is_plain(row: &Row) -> bool {
    row.alternatives.iter().all(|a| {
        matches!(a.value, Source::Path(_)) && a.table.is_none() && a.via.as_ref().is_none_or(|v| !v.name.contains('.'))
    })
}

/// Whether a value is the text, but for the punctuation of dates and the parts that a date or number does not keep.
fn related(written: &str, text: &str) -> bool {
    let plain = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let (a, b) = (plain(written), plain(text));
    if matches!(written, "true" | "false") {
        return matches!(text, "Y" | "N" | "y" | "n" | "1" | "0" | "true" | "false");
    }
    // A date keeps its day; seconds and offset may be added.
    let day = |s: &str| s.chars().take(8).collect::<String>();
    if written.get(4..5) == Some("-") && day(&a) == day(&b) {
        return true;
    }
    if let (Ok(a), Ok(b)) = (written.parse::<f64>(), text.trim().parse::<f64>()) {
        return a == b;
    }
    written.trim() == text.trim()
        || (!a.is_empty()
            && !b.is_empty()
            && (a.starts_with(&b) || b.starts_with(&a) || a.starts_with(b.trim_start_matches('0'))))
}
