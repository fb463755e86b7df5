//! `[[coordination.panel]]` and `[coordination.match]`: whose patients they are, and how they are found.
use super::super::section::{Placed, Section};
use super::super::sections::set;
use super::events::{npi, zone};
use crate::coordination::roster::options::{
    ANY_MRN, Columns, DateForm, Form, Matching, Mode, Options, Panel, PanelKind, Source, Weights,
};
use crate::coordination::roster::{FieldSet, parse_fields};
use jiff::tz::TimeZone;

/// Panels and matching; `usual` is the zone of panels that say none.
pub(super) fn rosters(coordination: &Section<'_>, usual: Option<&TimeZone>) -> Options {
    let matching = coordination.table("match").map(matching).unwrap_or_default();
    let sections = coordination.tables("panel").into_iter().flatten();
    let panels: Vec<Panel> = sections.filter_map(|section| panel(section, usual, &matching)).collect();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel.id.as_str()).collect();
    ids.sort_unstable();
    for pair in ids.windows(2).filter(|pair| pair[0] == pair[1]) {
        coordination.wrong(format!("two panels have the id \"{}\"; ids must differ", pair[0]));
    }
    Options { panels, matching }
}

fn panel(section: Section<'_>, usual: Option<&TimeZone>, matching: &Matching) -> Option<Panel> {
    let id = id(&section);
    let kind = section.choice("kind", &PanelKind::ALL);
    if kind.is_none() && section.text("kind").is_none() {
        section.wrong("kind is missing: say who looks after its members: aco, pcmh, hha, bh or payer");
    }
    let owner_npi = npi(&section, "owner_npi");
    let zone = zone(&section).or(usual.cloned());
    let columns = section.table("columns");
    let (dates, source) = (section.choice("dates", &DateForm::ALL), section.table("source"));
    let source = match source {
        Some(source) => self::source(source, columns, dates, matching),
        None => {
            section.wrong("source is missing: give its file, such as source = { type = \"csv\", path = \"rosters/lakeshore.csv\", mode = \"supersede\" }");
            None
        }
    };
    let stale_after = section.duration("stale_after").unwrap_or(Panel::STALE_AFTER);
    let min_attributed = section.number("min_attributed", 0);
    let max_drop_pct = section.number("max_drop_pct", 0).unwrap_or(Panel::MAX_DROP_PCT);
    if max_drop_pct > 100 {
        section.wrong("max_drop_pct is a part of the members: 0 to 100");
    }
    section.finish();
    let kind = kind?;
    Some(Panel {
        id: id?,
        kind,
        owner_npi,
        zone: zone.unwrap_or(TimeZone::UTC),
        source: source?,
        stale_after,
        min_attributed: min_attributed.unwrap_or(kind.min_attributed()),
        max_drop_pct,
    })
}

/// As it stands in `Group/{id}` and is the name of a folder.
fn id(section: &Section<'_>) -> Option<String> {
    let Some(Placed { value, at }) = section.text("id") else {
        section.wrong("id is missing: give the panel a name, such as id = \"aco-lakeshore\"");
        return None;
    };
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if value.is_empty() || value.len() > 64 || value.starts_with('.') || !plain {
        section
            .document
            .wrong(Some(at), "id must be 1 to 64 letters, digits, '-' or '.' (an id of FHIR), without a '.' in front");
        return None;
    }
    if RESERVED.contains(&value.as_str()) {
        section.document.wrong(
            Some(at),
            format!("id must not be \"{value}\": the admin API has something else under /api/v1/rosters/{value}; call it \"{value}-panel\", or by who looks after it"),
        );
        return None;
    }
    Some(value)
}

/// What stands below `/api/v1/rosters/` where panels do.
const RESERVED: [&str; 3] = ["reload", "explain", "reviews"];

fn source(
    section: Section<'_>,
    columns: Option<Section<'_>>,
    dates: Option<DateForm>,
    matching: &Matching,
) -> Option<Source> {
    let path = section.text("path").map(|path| section.document.relative(&path.value));
    if path.is_none() {
        section.wrong("path is missing: give the file of the roster, or a folder of files that are read in the order of their names");
    }
    let mode = section.choice("mode", &[("supersede", Mode::Supersede), ("delta", Mode::Delta)]);
    let is_csv = section.choice("type", &[("csv", true), ("fhir-group", false)]);
    if is_csv.is_none() && section.text("type").is_none() {
        section.wrong("type is missing: \"csv\" or \"fhir-group\"");
    }
    let latin_1 = section.choice("charset", &[("utf-8", false), ("latin-1", true)]);
    let form = match (is_csv, columns) {
        (Some(true), Some(columns)) => Some(Form::Csv {
            columns: Box::new(self::columns(columns, matching)),
            dates: dates.unwrap_or_default(),
            latin_1: latin_1.unwrap_or(false),
        }),
        (Some(true), None) => {
            section.wrong("columns is missing beside it: say what its columns are called, such as columns = { id = \"MBI\", id_system = \"http://hl7.org/fhir/sid/us-mbi\", family = \"LAST\", given = \"FIRST\", dob = \"DOB\" }");
            None
        }
        (Some(false), columns) => {
            if latin_1.is_some() || dates.is_some() {
                section.wrong("charset and dates are about csv: FHIR has UTF-8 and one form of dates");
            }
            // Of the columns only the system of identifiers without one makes sense.
            let id_system = columns.and_then(|columns| {
                let system = id_system(&columns, matching);
                columns.finish();
                system
            });
            Some(Form::Group { id_system: id_system.unwrap_or_default() })
        }
        (None, _) => None,
    };
    section.finish();
    Some(Source { path: path?, form: form?, mode: mode.unwrap_or(Mode::Supersede) })
}

fn columns(section: Section<'_>, matching: &Matching) -> Columns {
    let text = |key| section.text(key).map(|text| text.value).unwrap_or_default();
    let columns = Columns {
        id: text("id"),
        id_system: id_system(&section, matching).unwrap_or_default(),
        mrn: text("mrn"),
        mrn_aa: text("mrn_aa"),
        family: text("family"),
        given: text("given"),
        dob: text("dob"),
        sex: text("sex"),
        street: text("address"),
        city: text("city"),
        zip: text("zip"),
        phone: text("phone"),
        start: text("start"),
        end: text("end"),
        pcp_npi: text("pcp_npi"),
        care_manager: text("care_manager"),
        consent: text("consent"),
        change: text("change"),
    };
    let (id, mrn) = (!columns.id.is_empty(), !columns.mrn.is_empty());
    if id && columns.id_system.is_empty() {
        section.wrong("id_system is missing: say what id is an identifier of, such as id_system = \"http://hl7.org/fhir/sid/us-mbi\"");
    }
    if mrn == columns.mrn_aa.is_empty() {
        section.wrong("mrn and mrn_aa go together: record numbers are those of an authority");
    }
    if columns.dob.is_empty() && columns.family.is_empty() {
        section.wrong("dob and family are missing: without them nothing confirms an identifier");
    }
    if !id && !mrn && [&columns.given, &columns.dob, &columns.family].iter().any(|column| column.is_empty()) {
        section.wrong("id and mrn are missing: without an identifier family, given and dob are needed at least");
    }
    section.finish();
    columns
}

fn id_system(section: &Section<'_>, matching: &Matching) -> Option<String> {
    let Placed { value, at } = section.text("id_system")?;
    let system = crate::coordination::roster::system_of_uri(&value);
    if !matching.strong.contains(&system) {
        let known = matching.strong.join(", ");
        section.document.wrong(
            Some(at),
            format!(
                "id_system is not in strong of [coordination.match], so nobody would be found by it; there: {known}"
            ),
        );
    }
    Some(system)
}

fn matching(section: Section<'_>) -> Matching {
    let mut matching = Matching::default();
    let document = section.document;
    if let Some(strong) = section.texts("strong") {
        let system = |text: Placed<String>| {
            if text.value != ANY_MRN && !text.value.contains([':', '@']) {
                document.wrong(
                    Some(text.at),
                    format!("strong lists URIs of systems, and \"{ANY_MRN}\" for record numbers of any authority"),
                );
            }
            crate::coordination::roster::system_of_uri(&text.value)
        };
        matching.strong = strong.into_iter().map(system).collect();
    }
    if let Some(guard) = section.text("strong_guard") {
        match parse_fields(&guard.value) {
            Ok(fields) => matching.guard = fields,
            Err(error) => document.wrong(Some(guard.at), format!("strong_guard: {error}")),
        }
    }
    for (key, sets) in [("deterministic", &mut matching.deterministic), ("block", &mut matching.block)] {
        let Some(lists) = section.lists(key) else { continue };
        let set = |list: Placed<Vec<String>>| {
            let set = FieldSet::parse(list.value.iter().map(String::as_str));
            set.map_err(|error| document.wrong(Some(list.at), format!("{key}: {error}"))).ok()
        };
        *sets = lists.into_iter().filter_map(set).collect();
    }
    set(&mut matching.max_candidates, section.number("max_candidates", 1));
    set(&mut matching.given_min, section.decimal("given_min", 0.0, 1.0));
    set(&mut matching.accept, section.decimal("accept", 0.0, 1.0));
    set(&mut matching.review, section.decimal("review", 0.0, 1.0));
    if matching.review > matching.accept {
        section.wrong("review must not be above accept: who scores between them is put before somebody");
    }
    if matching.accept <= 0.5 {
        section.wrong("accept must be above 0.5: that much is scored by people of whom nothing is known");
    }
    if let Some(weights) = section.table("weights") {
        matching.weights = self::weights(weights);
    }
    section.finish();
    matching
}

fn weights(section: Section<'_>) -> Weights {
    let mut weights = Weights::default();
    let fields = [
        ("dob", &mut weights.dob),
        ("address", &mut weights.address),
        ("given", &mut weights.given),
        ("family", &mut weights.family),
        ("zip", &mut weights.zip),
        ("city", &mut weights.city),
        ("sex", &mut weights.sex),
    ];
    for (key, weight) in fields {
        set(weight, section.decimal(key, 0.0, 100.0));
    }
    if weights.total() <= 0.0 {
        section.wrong("weights are all 0: nobody could be told from anybody");
    }
    section.finish();
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Problems};
    use crate::coordination::roster::Field;
    use std::path::Path;
    use std::time::Duration;

    fn parse(text: &str) -> Result<Options, Problems> {
        let config = Config::parse(text, Path::new("/etc/handoff/handoff.toml"), &|_| None)?;
        Ok(config.coordination.unwrap().rosters)
    }

    const PANEL: &str = r#"[[coordination.panel]]
id = "aco-lakeshore"
kind = "aco"
owner_npi = "9990004043"
tz = "America/New_York"
source = { type = "csv", path = "rosters/lakeshore.csv", mode = "supersede" }
stale_after = "30d"
min_attributed = 4000
max_drop_pct = 10
columns = { id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", mrn = "MRN", mrn_aa = "MRN_AA", family = "LAST", given = "FIRST", dob = "DOB", sex = "SEX", zip = "ZIP", phone = "PHONE", start = "EFF", end = "TERM", pcp_npi = "PCP", care_manager = "CM" }
"#;

    #[test]
    fn panels_as_they_are_specified() {
        let matching = r#"
[coordination.match]
strong = ["http://hl7.org/fhir/sid/us-mbi", "mrn@aa"]
strong_guard = "dob|family"
deterministic = [["family", "given", "dob", "sex", "zip5|phone"]]
block = [["dob", "sex"], ["family_sdx", "birth_year", "zip5"], ["phone"]]
max_candidates = 16
given_min = 0.90
weights = { dob = 10.13, address = 8.44, given = 6.85, family = 6.35, zip = 4.98, city = 2.44, sex = 0.75 }
accept = 0.925
review = 0.80
"#;
        let options = parse(&format!("{PANEL}{matching}")).unwrap();
        assert_eq!(options.matching, Matching::default(), "the defaults are the specification's");
        let panel = &options.panels[0];
        assert_eq!((panel.id.as_str(), panel.kind), ("aco-lakeshore", PanelKind::Aco));
        assert_eq!(
            (panel.owner_npi.as_deref(), panel.zone.iana_name()),
            (Some("9990004043"), Some("America/New_York"))
        );
        assert_eq!((panel.min_attributed, panel.max_drop_pct), (4000, 10));
        assert_eq!(panel.stale_after, Duration::from_secs(30 * 86_400));
        assert_eq!(
            (panel.source.path.as_path(), panel.source.mode),
            (Path::new("/etc/handoff/rosters/lakeshore.csv"), Mode::Supersede)
        );
        let Form::Csv { columns, dates: DateForm::Detect, latin_1: false } = &panel.source.form else { panic!() };
        assert_eq!(
            (columns.id.as_str(), columns.mrn_aa.as_str(), columns.care_manager.as_str()),
            ("MBI", "MRN_AA", "CM")
        );
        let short = r#"
[coordination]
tz = "America/Chicago"
[[coordination.panel]]
id = "home"
kind = "hha"
source = { type = "fhir-group", path = "g.json", mode = "delta" }
[coordination.match]
strong = ["urn:oid:2.16.840.1.113883.4.927"]
weights = { dob = 12 }
accept = 1"#;
        let options = parse(short).unwrap();
        let panel = &options.panels[0];
        assert_eq!(
            (panel.zone.iana_name(), panel.max_drop_pct, panel.min_attributed),
            (Some("America/Chicago"), 20, 0)
        );
        assert_eq!(panel.stale_after, Duration::from_secs(90 * 86_400));
        assert_eq!(options.matching.strong, ["http://hl7.org/fhir/sid/us-mbi"]);
        assert_eq!(
            (options.matching.weights.dob, options.matching.weights.sex, options.matching.accept),
            (12.0, 0.75, 1.0)
        );
        assert_eq!(options.matching.guard, [Field::Dob, Field::Family]);
        let aco = parse(&PANEL.replace("min_attributed = 4000\n", "")).unwrap();
        assert_eq!(aco.panels[0].min_attributed, 5000);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let with = |from: &str, to: &str| {
            assert!(PANEL.contains(from), "{from}");
            PANEL.replace(from, to)
        };
        let matching = |line: &str| format!("{PANEL}[coordination.match]\n{line}");
        for (text, expected) in [
            (with("id = \"aco-lakeshore\"\n", ""), ":1:1: id is missing"),
            (with("\"aco-lakeshore\"", "\"../x\""), ":2:6: id must be 1 to 64"),
            (
                with("\"aco-lakeshore\"", "\"reviews\""),
                ":2:6: id must not be \"reviews\": the admin API has something else under /api/v1/rosters/reviews; call it \"reviews-panel\"",
            ),
            (
                with("\"aco\"", "\"acos\""),
                ":3:8: kind must be one of \"aco\", \"pcmh\", \"hha\", \"bh\", \"payer\"; did you mean \"aco\"?",
            ),
            (with("kind = \"aco\"\n", ""), ":1:1: kind is missing"),
            (with("9990004043", "9990004044"), ":4:13: owner_npi must be an NPI"),
            (with("America/New_York", "New York"), ":5:6: tz must be a time zone"),
            (with("type = \"csv\", ", ""), "type is missing"),
            (with("\"csv\"", "\"xml\""), "type must be one of \"csv\", \"fhir-group\""),
            (with(", mode = \"supersede\"", ", mode = \"append\""), "mode must be one of"),
            (with("path = \"rosters/lakeshore.csv\", ", ""), ":6:10: path is missing"),
            (with("columns =", "column ="), "columns is missing beside it"),
            (with("id_system = \"http://hl7.org/fhir/sid/us-mbi\", ", ""), "id_system is missing"),
            (with("us-mbi", "us-mib"), "id_system is not in strong"),
            (with("mrn_aa = \"MRN_AA\", ", ""), "mrn and mrn_aa go together"),
            (with("dob = \"DOB\"", "birth = \"DOB\""), "unknown key \"birth\""),
            (with("family = \"LAST\", given = \"FIRST\", dob = \"DOB\", ", ""), "dob and family are missing"),
            (with("max_drop_pct = 10", "max_drop_pct = 101"), "max_drop_pct is a part"),
            (with("stale_after = \"30d\"", "stale_after = 30"), ":7:15: stale_after must be a text"),
            (format!("{PANEL}{PANEL}"), "two panels have the id \"aco-lakeshore\""),
            (matching("strong = [\"mbi\"]"), ":12:11: strong lists URIs"),
            (matching("strong_guard = \"dob|name\""), ":12:16: strong_guard: there is no field \"name\""),
            (matching("block = [[]]"), ":12:10: block: a set of fields is empty"),
            (matching("block = [\"dob\"]"), ":12:10: block must be a list of lists of texts"),
            (matching("weights = { dob = -1 }"), ":12:19: dob must be a number from 0 to 100"),
            (matching("weights = { phone = 1 }"), "unknown key \"phone\""),
            (matching("accept = 0.7"), "review must not be above accept"),
            (matching("accept = \"high\""), ":12:10: accept must be a number from 0 to 1"),
            (matching("accept = 0.4\nreview = 0.3"), "accept must be above 0.5"),
            (matching("max_candidates = 0"), "max_candidates must be a whole number, 1 or more"),
        ] {
            let told = parse(&text).unwrap_err().to_string();
            assert!(told.contains(expected), "{expected}\n{told}");
        }
    }
}
