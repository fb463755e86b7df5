//! The committed fact tables, structures and code tables: as generated, well-formed, and with nothing that R4 forbids.
//!
//! The facts themselves are not part of the project. Where they lie beside it (`../shared`, or the folder that `HANDOFF_FACTS` names), the generated
//! files are compared with what the generator makes of them; elsewhere that test has nothing to compare and says so.

#[path = "../examples/generate_tables/sources.rs"]
mod sources;

use handoff::fhir::shape::{is_resource, required_codes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

#[test]
fn generated_files_are_up_to_date() {
    let facts = std::env::var_os("HANDOFF_FACTS").map_or_else(|| root().join("../shared"), PathBuf::from);
    if !facts.join("fhir-r4/elements.jsonl").exists() {
        println!("no folder of facts: nothing compared");
        return;
    }
    for (path, text) in sources::sources(&facts).unwrap() {
        let committed = std::fs::read_to_string(root().join(&path)).unwrap();
        assert!(committed == text, "{path} differs: run the generator");
    }
}

#[test]
fn every_event_has_a_structure() {
    let (mut structures, mut events) = (BTreeMap::new(), BTreeMap::new());
    for path in files("mappings/structures", "toml") {
        let text: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        for (table, into) in [("structures", &mut structures), ("events", &mut events)] {
            for (key, value) in text.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                let before = into.insert(key.clone(), value.as_str().unwrap().to_owned());
                assert!(before.is_none(), "{key} stands twice");
            }
        }
    }
    for (event, structure) in &events {
        assert!(structures.contains_key(structure), "{event} = {structure}");
    }
    for (event, structure) in [
        ("ADT^A08", "ADT_A01"),
        ("ADT^A31", "ADT_A05"),
        ("ADT^A40", "ADT_A39"),
        ("ADT^A34", "ADT_A30"),
        ("SIU^S15", "SIU_S12"),
    ] {
        assert_eq!(events[event], structure);
    }
    for (name, grammar) in &structures {
        let balance = |open, close| grammar.matches(open).count() == grammar.matches(close).count();
        assert!(balance('[', ']') && balance('{', '}') && balance('(', ')') && balance('<', '>'), "{name}");
        assert!(grammar.starts_with("MSH"), "{name}");
    }
    assert!(
        structures["ADT_A01"].contains("[{PRT}] [{ROL}]")
            && structures["ORM_O01"].contains("<OBR|RQD|RXO|RXE|ODS|ODT>")
    );
}

/// Code systems of required bindings, with the value set that lists all their codes.
const REQUIRED: &[(&str, &str)] = &[
    ("http://hl7.org/fhir/CodeSystem/medicationrequest-status", "medicationrequest-status"),
    ("http://hl7.org/fhir/address-type", "address-type"),
    ("http://hl7.org/fhir/address-use", "address-use"),
    ("http://hl7.org/fhir/administrative-gender", "administrative-gender"),
    ("http://hl7.org/fhir/allergy-intolerance-category", "allergy-intolerance-category"),
    ("http://hl7.org/fhir/allergy-intolerance-criticality", "allergy-intolerance-criticality"),
    ("http://hl7.org/fhir/allergy-intolerance-type", "allergy-intolerance-type"),
    ("http://hl7.org/fhir/appointmentstatus", "appointmentstatus"),
    ("http://hl7.org/fhir/composition-status", "composition-status"),
    ("http://hl7.org/fhir/consent-state-codes", "consent-state-codes"),
    ("http://hl7.org/fhir/contact-point-system", "contact-point-system"),
    ("http://hl7.org/fhir/contact-point-use", "contact-point-use"),
    ("http://hl7.org/fhir/diagnostic-report-status", "diagnostic-report-status"),
    ("http://hl7.org/fhir/encounter-status", "encounter-status"),
    ("http://hl7.org/fhir/event-status", "event-status"),
    ("http://hl7.org/fhir/goal-status", "goal-status"),
    ("http://hl7.org/fhir/http-verb", "http-verb"),
    ("http://hl7.org/fhir/issue-severity", "issue-severity"),
    ("http://hl7.org/fhir/issue-type", "issue-type"),
    ("http://hl7.org/fhir/name-use", "name-use"),
    ("http://hl7.org/fhir/observation-status", "observation-status"),
    ("http://hl7.org/fhir/participationstatus", "participationstatus"),
    ("http://hl7.org/fhir/permitted-data-type", "permitted-data-type"),
    ("http://hl7.org/fhir/reaction-event-severity", "reaction-event-severity"),
    ("http://hl7.org/fhir/request-priority", "request-priority"),
    ("http://hl7.org/fhir/request-status", "request-status"),
    ("http://hl7.org/fhir/response-code", "response-code"),
    ("http://hl7.org/fhir/specimen-status", "specimen-status"),
    ("http://hl7.org/fhir/supplyrequest-status", "supplyrequest-status"),
    ("http://hl7.org/fhir/task-status", "task-status"),
];

/// Tables that yield a word or a flag, no coding.
const PRIMITIVES: [&str; 2] = ["QueryParameter", "YesNoIndicator"];

/// No binding requires these, so our table of value sets does not have them.
const TASK_CODES: (&str, [&str; 7]) = (
    "http://hl7.org/fhir/CodeSystem/task-code",
    ["approve", "fulfill", "abort", "replace", "change", "suspend", "resume"],
);

#[test]
fn code_tables_hold_what_their_targets_allow() {
    let tables = files("mappings/tables", "csv");
    assert!(tables.len() > 85 && is_resource("Patient"));
    for path in tables {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        assert_eq!(reader.headers().unwrap(), vec!["v2_code", "fhir_code", "display", "system"], "{name}");
        let mut seen = BTreeSet::new();
        for row in reader.records() {
            let row = row.unwrap();
            let (v2, code, system) = (&row[0], &row[1], &row[3]);
            assert!(
                row.iter().all(|cell| cell == cell.trim()) && !v2.is_empty() && !code.is_empty(),
                "{name}: {row:?}"
            );
            assert!(seen.insert(v2.to_owned()), "{name}: {v2} stands twice");
            // Tables that only yield a primitive (a unit, a URI) need no system.
            if system.is_empty() && (name.starts_with("UnitsOfMeasure") || PRIMITIVES.contains(&name.as_str())) {
                continue;
            }
            let (http, urn) = (system.starts_with("http://"), system.starts_with("urn:"));
            assert!((http || urn) && !system.ends_with(['/', '.']) && !system.contains("ValueSet"), "{name}: {system}");
            match REQUIRED.iter().find(|(known, _)| *known == system) {
                Some((_, set)) => {
                    let codes = required_codes(set).unwrap_or_else(|| panic!("{name}: no codes of {set}"));
                    assert!(codes.contains(code), "{name}: {code} is not in {set}");
                }
                None if system == TASK_CODES.0 => assert!(TASK_CODES.1.contains(&code), "{name}: {code}"),
                None => assert!(!system.starts_with("http://hl7.org/fhir/"), "{name}: {system} is not checked"),
            }
        }
    }
}

#[test]
fn systems_are_well_formed() {
    let text: toml::Table = std::fs::read_to_string(root().join("mappings/systems.toml")).unwrap().parse().unwrap();
    for table in ["systems", "authorities", "short"] {
        let entries = text[table].as_table().unwrap();
        let names: BTreeSet<String> = entries.keys().map(|name| name.to_lowercase()).collect();
        assert_eq!(names.len(), entries.len(), "[{table}] has a name twice");
        for (name, uri) in entries {
            let uri = uri.as_str().unwrap();
            assert!(uri.starts_with("http") || uri.starts_with("urn:"), "{name} = {uri}");
        }
    }
}
