//! `handoff rosters` as its user meets it: roster files before they are taken on, and whom of their members a message is about.
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_handoff");
const STORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/coordination/story");
const CONFIG: &str = r#"
[[coordination.panel]]
id = "aco-lakeshore"
kind = "aco"
tz = "America/New_York"
min_attributed = 2
source = { type = "csv", path = "lakeshore.csv" }
columns = { id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", family = "LAST", given = "FIRST", dob = "DOB", sex = "SEX", zip = "ZIP", start = "EFF", end = "TERM", pcp_npi = "PCP", care_manager = "CM" }
[[coordination.panel]]
id = "pcmh-chfm"
kind = "pcmh"
source = { type = "csv", path = "chfm.csv" }
columns = { mrn = "MRN", mrn_aa = "AA", family = "LAST", given = "FIRST", dob = "DOB", sex = "SEX", zip = "ZIP" }
"#;
const HEADER: &str = "MBI,LAST,FIRST,DOB,SEX,ZIP,EFF,TERM,PCP,CM\n";
const OKAFOR: &str = "1EG4TE5MK73,Okafor,Marisol,03/14/1951,F,14150,2026-01-01,,9990003037,cm-7\n";

/// A configuration with two panels, of which both know the patient of the story.
fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("handoff.toml", CONFIG);
    write("lakeshore.csv", &format!("{HEADER}{OKAFOR}"));
    write("chfm.csv", "MRN,AA,LAST,FIRST,DOB,SEX,ZIP\nC55120,CHFM,OKAFOR,MARISOL,19510314,F,14150\n");
    folder
}

fn rosters(folder: &Path, arguments: &[&str]) -> Output {
    let config = folder.join("handoff.toml");
    Command::new(BINARY).args(["rosters", "--config"]).arg(config).args(arguments).current_dir(folder).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn story(name: &str) -> String {
    PathBuf::from(STORY).join(name).display().to_string()
}

#[test]
fn load_tells_what_the_files_would_give() {
    let project = project();
    let loaded = rosters(project.path(), &["load"]);
    assert_eq!(loaded.status.code(), Some(0), "{loaded:?}");
    let text = out(&loaded);
    assert!(text.contains("aco-lakeshore (aco): 1 members, 1 of them today, in 1 rows"), "{text}");
    assert!(text.contains("warning: 1 members, fewer than the 2 of min_attributed"), "{text}");
    assert!(text.contains("1 people in 2 panels"), "{text}");

    let many: String = (10..39).map(|at| OKAFOR.replace("MK73", &format!("MK{at}"))).collect();
    let bad = OKAFOR.replace("03/14/1951", "14 March");
    fs::write(project.path().join("lakeshore.csv"), format!("{HEADER}{many}{bad}")).unwrap();
    let json: Value = serde_json::from_str(&out(&rosters(project.path(), &["load", "--format", "json"]))).unwrap();
    let panel = &json["panels"][0];
    assert_eq!((&panel["members"], &panel["rows"], &panel["bad"]), (&29.into(), &30.into(), &1.into()));
    assert_eq!((&panel["rejected"][0]["line"], &panel["rejected"][0]["file"]), (&31.into(), &"lakeshore.csv".into()));
    // The 29 of one name are not told apart by it, nor joined: each has a number of their own, and the practice's is one more.
    assert_eq!(json["people"], 30);

    fs::write(project.path().join("lakeshore.csv"), format!("{HEADER}{OKAFOR}{bad}")).unwrap();
    let refused = rosters(project.path(), &["load", "aco-lakeshore"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = out(&refused);
    assert!(text.contains("1 of 2 rows are bad") && text.contains("line 3: the date of birth"), "{text}");
    assert!(!text.contains("Okafor") && !text.contains("14 March") && !text.contains("pcmh"), "{text}");
    let unknown = rosters(project.path(), &["load", "aco"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("known: aco-lakeshore, pcmh-chfm"));
}

#[test]
fn diff_tells_who_comes_and_goes_by_line() {
    let project = project();
    let members =
        |range: std::ops::Range<u8>| -> String { range.map(|at| OKAFOR.replace("MK73", &format!("MK{at}"))).collect() };
    fs::write(project.path().join("a.csv"), format!("{HEADER}{}", members(10..20))).unwrap();
    let after = members(10..16).replace("cm-7", "cm-8") + &members(30..31);
    fs::write(project.path().join("b.csv"), format!("{HEADER}{after}")).unwrap();
    let found = rosters(project.path(), &["diff", "--panel", "aco-lakeshore", "a.csv", "b.csv"]);
    assert_eq!(found.status.code(), Some(1), "40 % are gone");
    let text = out(&found);
    assert!(text.contains("10 members before, 7 after: 1 added, 4 dropped, 6 changed, 0 rows rejected"), "{text}");
    assert!(text.contains("it would be held: more than 20 % are gone (max_drop_pct)"), "{text}");
    assert!(text.contains("added    b.csv:8\n") && text.contains("dropped  a.csv:8\n"), "{text}");
    assert!(text.contains("changed  a.csv:2 b.csv:2: care_manager\n") && !text.contains("cm-8"), "{text}");
    let json = rosters(project.path(), &["diff", "--panel", "aco-lakeshore", "a.csv", "a.csv", "--format", "json"]);
    let json: Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!((&json["held"], &json["changed"], &json["after"]), (&false.into(), &0.into(), &10.into()));
    let which = rosters(project.path(), &["diff", "a.csv", "b.csv"]);
    assert!(String::from_utf8_lossy(&which.stderr).contains("say with --panel"));
}

#[test]
fn explain_tells_how_the_patient_of_the_story_is_found() {
    let project = project();
    let explained = |message: &str, more: &[&str]| {
        let output = rosters(project.path(), &[&["explain", message], more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        out(&output)
    };
    let text = explained(&story("m1.hl7"), &[]);
    assert!(text.contains(": strong: ") && text.contains("member  aco-lakeshore 2026-01-01..\n"), "{text}");
    assert!(
        text.contains("identifier of http://hl7.org/fhir/sid/us-mbi: 1 people, 1 confirmed by strong_guard"),
        "{text}"
    );
    assert!(["OKAFOR", "MARISOL", "1951", "1EG4TE5MK73"].iter().all(|value| !text.contains(value)), "{text}");
    assert!(explained(&story("m1.hl7"), &["--phi"]).contains("OKAFOR, MARISOL 19510314"));

    let json = |message: &str| -> Value { serde_json::from_str(&explained(message, &["--format", "json"])).unwrap() };
    let (m1, m5) = (json(&story("m1.hl7")), json(&story("m5.hl7")));
    assert_eq!(m1[0]["person"]["key"], m5[0]["person"]["key"], "the hospital's patient is the practice's");
    assert_eq!(m5[0]["memberships"].as_array().unwrap().len(), 2);

    // The same MBI on somebody else, and a twin.
    let m1 = fs::read_to_string(story("m1.hl7")).unwrap();
    let other = project.path().join("other.hl7");
    fs::write(&other, m1.replace("OKAFOR^MARISOL", "LINDQVIST^OLE").replace("19510314", "19770809")).unwrap();
    let found = json(&other.display().to_string());
    assert_eq!((&found[0]["match"], &found[0]["reason"]), (&"review".into(), &"guard".into()));
    let twin = m1.replace("~1EG4TE5MK73^^^CMS&2.16.840.1.113883.4.927&ISO^MC", "").replace("MARISOL", "MARISSA");
    fs::write(&other, twin).unwrap();
    let found = json(&other.display().to_string());
    assert_eq!(found[0]["match"], "none");
    assert_eq!(found[0]["steps"][0]["another_given"], true, "{found}");
}
