//! The rules of a mapping file as they stand in it, each with its section: what an overlay that changes one begins with.
//!
//! It goes by lines. A rule begins in one line of its section and ends with the first line at which it is whole TOML; so comments behind it are kept, and those before it are not its own.
use super::source::SourceFile;

/// One rule of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// `[PID.Patient.set]`; empty for what stands in no section.
    pub section: String,
    /// The rule, or a row of a table as TOML.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

/// A rule that is longer is not one.
const LINES_MAX: usize = 60;

/// All rules of a file, in its order; for a code table the rows that overlays have in `[table.<Name>]`.
pub fn excerpts(file: &SourceFile) -> Vec<Excerpt> {
    match file.name.strip_suffix(".csv") {
        Some(name) => rows(name.rsplit('/').next().unwrap_or(name), &file.text),
        None => rules(&file.text),
    }
}

fn rules(text: &str) -> Vec<Excerpt> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut section, mut at) = (Vec::new(), String::new(), 0);
    while let Some(line) = lines.get(at) {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            section = header(trimmed).unwrap_or(trimmed).to_owned();
        } else if !trimmed.is_empty() && !trimmed.starts_with('#') {
            let mut rule = String::new();
            let whole = lines.iter().skip(at).take(LINES_MAX).position(|line| {
                rule.push_str(line);
                rule.push('\n');
                toml::from_str::<toml::Table>(&rule).is_ok()
            });
            if let Some(more) = whole {
                let text = rule.trim().to_owned();
                found.push(Excerpt { section: section.clone(), text, line: at + 1 });
                at += more;
            }
        }
        at += 1;
    }
    found
}

/// `[PID.Patient.set]`, without a comment behind it.
fn header(line: &str) -> Option<&str> {
    line.match_indices(']').map(|(at, _)| &line[..=at]).find(|header| toml::from_str::<toml::Table>(header).is_ok())
}

/// The rows of a CSV file as a section of TOML has them.
fn rows(table: &str, text: &str) -> Vec<Excerpt> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let Ok(columns) = reader.headers().cloned() else { return Vec::new() };
    let column = |names: [&str; 2]| columns.iter().position(|column| names.contains(&column.trim()));
    let places =
        [["v2_code", "v2code"], ["fhir_code", "code"], ["display", "display"], ["system", "system"]].map(column);
    let section = format!("[table.{}]", key(table));
    let mut found = Vec::new();
    for record in reader.records().map_while(Result::ok) {
        let cell = |place: Option<usize>| place.and_then(|place| record.get(place)).unwrap_or_default().trim();
        let [code, fhir, display, system] = places.map(cell);
        let line = record.position().map_or(0, |position| position.line() as usize);
        let right = if display.is_empty() && system.is_empty() {
            quoted(fhir)
        } else {
            let pairs = [("code", fhir), ("display", display), ("system", system)];
            let written = pairs.iter().filter(|(_, value)| !value.is_empty());
            let written: Vec<String> = written.map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
            format!("{{ {} }}", written.join(", "))
        };
        found.push(Excerpt { section: section.clone(), text: format!("{} = {right}", quoted(code)), line });
    }
    found
}

/// A bare key where that can be, else a quoted one.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Plan;
    use crate::mapping::folder::built_in;
    use crate::mapping::source::Layer;

    fn of(name: &str, text: &str) -> Vec<(String, String, usize)> {
        let file = SourceFile { name: name.into(), text: text.into(), layer: Layer::Core };
        excerpts(&file).into_iter().map(|one| (one.section, one.text, one.line)).collect()
    }

    #[test]
    fn rules_stand_in_their_sections() {
        let text = "a = 1\n# no rule\n[X.Y.set] # a note\n\"b]\" = [\n  { c = \"1\" },\n]\nd = \"\"\"one\n[two]\"\"\"\n[X.switch.\"value[x]\"]\non = \"2\"\n";
        let row = |section: &str, text: &str, line| (section.to_owned(), text.to_owned(), line);
        let expected = [
            row("", "a = 1", 1),
            row("[X.Y.set]", "\"b]\" = [\n  { c = \"1\" },\n]", 4),
            row("[X.Y.set]", "d = \"\"\"one\n[two]\"\"\"", 7),
            row("[X.switch.\"value[x]\"]", "on = \"2\"", 10),
        ];
        assert_eq!(of("a.toml", text), expected);
    }

    #[test]
    fn rows_of_a_table_become_toml() {
        let text = "v2_code,fhir_code,display,system\nF,female,,\n\"a\"\"b\",x,\"Show, it\",urn:x\n";
        let row = |text: &str, line| ("[table.\"Type[Use]\"]".to_owned(), text.to_owned(), line);
        let second = "'a\"b' = { code = \"x\", display = \"Show, it\", system = \"urn:x\" }";
        assert_eq!(of("tables/Type[Use].csv", text), [row("\"F\" = \"female\"", 2), row(second, 3)]);
    }

    /// Whatever stands in the mappings that come with handoff, put into an overlay of its own, means what it meant.
    #[test]
    fn every_rule_of_ours_is_an_overlay() {
        for file in built_in().iter().filter(|file| !file.name.starts_with("realms/")) {
            let found = excerpts(file);
            assert!(!found.is_empty(), "{}", file.name);
            for one in &found {
                let overlay = format!("{}\n{}\n", one.section, one.text);
                assert!(toml::from_str::<toml::Table>(&overlay).is_ok(), "{}:{}: {overlay}", file.name, one.line);
            }
        }
        let mut files = Plan::embedded_files();
        for (number, name) in
            ["segments/pid.toml", "segments/obx.toml", "tables/ObservationStatus.csv"].iter().enumerate()
        {
            let file = built_in().into_iter().find(|file| file.name == *name).unwrap();
            let one = excerpts(&file).into_iter().filter(|one| !one.section.is_empty()).nth(4).unwrap();
            let text = format!("{}\n{}\n", one.section, one.text);
            files.push(SourceFile { name: format!("site/{number}.toml"), text, layer: Layer::Site });
        }
        if let Err((sources, found)) = Plan::load(files) {
            panic!("{}", found.sorted()[0].render(&sources));
        }
    }
}
