//! Lists of codes to begin with, embedded: substance use, mental health, HIV, sexual and reproductive health, violence.
//!
//! Not legal advice, and not complete: what must be withheld depends on the law of the place and on agreements. A `[[coordination.label]]` of the same code adds to its list,
//! with `starter = false` it takes its place.
//!
//! ```text
//! # comment
//! system,code,note      system by its name in configuration (icd10, loinc, …), or mark
//! icd10,F10,alcohol     of icd10, icd10pcs, icd9 and atc also everything below
//! ```
use super::label::{CODE_MAX, Label, PART_2};
use super::systems::System;

/// Codes in a file.
pub const CODES_MAX: usize = 200_000;

const FILES: [(&str, Option<&str>, &str); 5] = [
    ("SUD", Some(PART_2), include_str!("starter/sud.csv")),
    ("PSY", None, include_str!("starter/psy.csv")),
    ("HIV", None, include_str!("starter/hiv.csv")),
    ("SEX", None, include_str!("starter/sex.csv")),
    ("VIO", None, include_str!("starter/vio.csv")),
];

/// The labels of the starter lists.
pub fn labels() -> Vec<Label> {
    let label = |(code, policy, text): (&str, Option<&str>, &str)| {
        // A test reads every line of ours.
        let list = read(text).unwrap_or_default();
        let policy = policy.map(str::to_owned);
        Label { code: code.into(), policy, conf: "R".into(), codes: list.codes, marks: list.marks, ..Label::default() }
    };
    FILES.into_iter().map(label).collect()
}

/// What a file lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// Codes.
    pub codes: Vec<(System, String)>,
    /// Marks of senders.
    pub marks: Vec<String>,
}

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A line is no code.
    #[error("line {line}: {what}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong and what to do.
        what: String,
    },
    /// A FHIR ValueSet that cannot be read.
    #[error("no FHIR ValueSet whose codes can be listed: {0}")]
    ValueSet(&'static str),
    /// More than can be kept.
    #[error("more than {CODES_MAX} codes")]
    TooMany,
}

/// Reads a list: lines of `system,code`, or a FHIR ValueSet in JSON with its codes in it (`expansion.contains`, else `compose.include.concept`).
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str) -> Result<List, ListError> {
    let list = if text.trim_start().starts_with('{') { read_value_set(text)? } else { read_lines(text)? };
    if list.codes.len() > CODES_MAX { Err(ListError::TooMany) } else { Ok(list) }
}

fn read_lines(text: &str) -> Result<List, ListError> {
    let mut reader =
        csv::ReaderBuilder::new().comment(Some(b'#')).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut list = List::default();
    for row in reader.records() {
        let row = row.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            ListError::Line { line, what: "cannot be read as CSV: write system,code,note".into() }
        })?;
        let line = row.position().map_or(0, csv::Position::line);
        let (name, code) = (row.get(0).unwrap_or("").trim(), row.get(1).unwrap_or("").trim());
        if (name, code) == ("system", "code") {
            continue;
        }
        if code.is_empty() || code.len() > CODE_MAX {
            let what = format!("a code has 1 to {CODE_MAX} characters: write system,code,note");
            return Err(ListError::Line { line, what });
        }
        if name == "mark" {
            list.marks.push(code.into());
        } else if let Some(system) = System::listed(name) {
            list.codes.push((system, code.into()));
        } else {
            let names: Vec<&str> = System::LISTED.iter().map(|(name, _)| *name).collect();
            let what = format!("\"{name}\" is no code system here: one of {}, or mark", names.join(", "));
            return Err(ListError::Line { line, what });
        }
    }
    Ok(list)
}

fn read_value_set(text: &str) -> Result<List, ListError> {
    use serde_json::Value;
    let set: Value = serde_json::from_str(text).map_err(|_| ListError::ValueSet("it is no JSON"))?;
    if set.get("resourceType").and_then(Value::as_str) != Some("ValueSet") {
        return Err(ListError::ValueSet("resourceType is not ValueSet"));
    }
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut waiting = set.get("expansion").map(|expansion| list(expansion, "contains")).unwrap_or_default();
    while let Some(item) = waiting.pop() {
        waiting.extend(list(&item, "contains"));
        pairs.push((text(&item, "system"), text(&item, "code")));
    }
    if pairs.is_empty() {
        for include in set.get("compose").map(|compose| list(compose, "include")).unwrap_or_default() {
            // What a filter or another set includes would be missing, and nobody would know.
            if include.get("filter").is_some() || include.get("valueSet").is_some() || include.get("concept").is_none()
            {
                return Err(ListError::ValueSet("it includes more than it lists; expand it first"));
            }
            let system = text(&include, "system");
            pairs.extend(list(&include, "concept").iter().map(|concept| (system.clone(), text(concept, "code"))));
        }
    }
    let mut codes = Vec::new();
    for (system, code) in pairs.into_iter().filter(|(_, code)| !code.is_empty()) {
        match System::of(&system) {
            System::Other | System::Unknown => return Err(ListError::ValueSet("a code system is not known here")),
            _ if code.len() > CODE_MAX => return Err(ListError::ValueSet("a code is too long")),
            system => codes.push((system, code)),
        }
    }
    if codes.is_empty() {
        return Err(ListError::ValueSet("it lists no codes"));
    }
    Ok(List { codes, marks: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_ours_is_read() {
        for (name, _, text) in FILES {
            assert!(text.starts_with("# Starter list, not legal advice"), "{name}");
            let list = read(text).unwrap();
            assert!(list.codes.len() > 3, "{name}");
            let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
            assert_eq!(list.codes.len() + list.marks.len(), lines, "{name}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let wrong = |text: &str| read(text).unwrap_err().to_string();
        assert!(wrong("# x\nicd10,F10\nicd11,6C40").starts_with("line 3: \"icd11\" is no code system here"));
        assert!(wrong("icd10,").starts_with("line 1: a code has"));
        assert!(wrong("{\"resourceType\":\"Patient\"}").contains("not ValueSet"));
        let filter = r#"{"resourceType":"ValueSet","compose":{"include":[{"system":"http://loinc.org","filter":[]}]}}"#;
        assert!(wrong(filter).contains("expand it first"));
        let house =
            r#"{"resourceType":"ValueSet","compose":{"include":[{"system":"urn:house","concept":[{"code":"1"}]}]}}"#;
        assert!(wrong(house).contains("not known here"));
    }

    #[test]
    fn value_sets_are_read_expanded_or_listed() {
        let listed = r#"{"resourceType":"ValueSet","compose":{"include":[{"system":"http://loinc.org","concept":[{"code":"75626-2"}]}]}}"#;
        assert_eq!(read(listed).unwrap().codes, [(System::Loinc, "75626-2".into())]);
        let expanded = r#"{"resourceType":"ValueSet","expansion":{"contains":[{"system":"http://snomed.info/sct","code":"7200002","contains":[{"system":"http://snomed.info/sct","code":"66590003"}]}]}}"#;
        assert_eq!(read(expanded).unwrap().codes.len(), 2);
    }
}
