//! What is said to be mapped is in the Bundle, what is said to be lost is not; and `handoff coverage` and `handoff explain --field` say so.

use crate::explain::{message_files, plan};
use handoff::hl7::{Path as FieldPath, split};
use handoff::mapping::coverage::{Coverage, Origin};
use handoff::mapping::explain::FieldUse;
use handoff::mapping::source::{Layer, SourceFile};
use handoff::mapping::usage::{Reason, Standing};
use handoff::mapping::{Context, Plan, Scratch};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_handoff");
const UNMAPPED: &str = "fixtures/ADT_A01/unmapped-input/message.hl7";

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .current_dir(ROOT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn json(arguments: &[&str], input: &[u8]) -> Value {
    let output = run(arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn standing(raw: &[u8], field: &str) -> Standing {
    let path = FieldPath::parse(field).unwrap();
    let (stories, _) =
        plan().explain_fields(raw, &Context::default(), Some(&path), &mut Scratch::new()).expect("translated");
    assert_eq!(stories.len(), 1, "{field}");
    stories[0].standing
}

/// Over all fixtures: a value that an element is said to come from is mapped, and one that is mapped has an element, or is equal to one that has.
#[test]
fn both_directions_agree() {
    let mut scratch = Scratch::new();
    let (mut mapped, mut lost) = (0, 0);
    for file in message_files() {
        let bytes = fs::read(&file).unwrap();
        for span in split(&bytes) {
            let Ok((stories, explained)) = plan().explain_fields(&bytes[span], &Context::default(), None, &mut scratch)
            else {
                continue;
            };
            let sources: BTreeSet<(u32, u32)> =
                explained.values.iter().filter_map(|v| v.source.as_ref()).map(|s| (s.span.start, s.span.end)).collect();
            for story in &stories {
                let at = format!("{} {}", file.display(), story.place);
                let named = sources.contains(&(story.span.start, story.span.end));
                match story.standing {
                    Standing::Mapped => {
                        mapped += 1;
                        let by_value = story.uses.iter().any(|(does, _)| *does == FieldUse::Value);
                        assert!(by_value, "{at}: mapped, and no rule wrote it");
                    }
                    Standing::ReadOnly => assert!(!named, "{at}: only read, and written"),
                    Standing::Nowhere(_) => {
                        lost += 1;
                        assert!(!named, "{at}: nowhere, and yet an element comes from it");
                        assert!(story.elements.is_empty(), "{at}: nowhere, and yet it has elements");
                    }
                }
                for element in &story.elements {
                    assert!(explained.values.get(*element).is_some(), "{at}");
                }
            }
        }
    }
    assert!(mapped > 5_000 && lost > 500, "{mapped} mapped, {lost} lost: too few to say anything");
}

/// A value that nothing else in the message has, put where it is said to be lost, is not in the Bundle; put where it is mapped, it is.
#[test]
fn what_is_lost_is_not_in_the_bundle() {
    let raw = fs::read(Path::new(ROOT).join(UNMAPPED)).unwrap();
    let (stories, _) = plan().explain_fields(&raw, &Context::default(), None, &mut Scratch::new()).unwrap();
    let mut scratch = Scratch::new();
    let mut tried = 0;
    for story in &stories {
        let no_rule = matches!(story.standing, Standing::Nowhere(Reason::NoRule | Reason::SegmentNotMapped));
        if !no_rule {
            continue;
        }
        let (start, end) = (story.span.start as usize, story.span.end as usize);
        let changed = [&raw[..start], b"QXZ7741", &raw[end..]].concat();
        plan().translate(&changed, &Context::default(), &mut scratch).unwrap();
        let bundle = String::from_utf8_lossy(scratch.bundle()).into_owned();
        assert!(!bundle.contains("QXZ7741"), "{} is said to be lost", story.place);
        tried += 1;
    }
    assert!(tried >= 15, "{tried}");
    // The same value where it is mapped.
    let family = stories.iter().find(|story| story.place.starts_with("PID-5.1")).expect("a family name");
    assert_eq!(family.standing, Standing::Mapped);
    let (start, end) = (family.span.start as usize, family.span.end as usize);
    let changed = [&raw[..start], b"QXZ7741", &raw[end..]].concat();
    plan().translate(&changed, &Context::default(), &mut scratch).unwrap();
    assert!(String::from_utf8_lossy(scratch.bundle()).contains("QXZ7741"));
}

#[test]
fn the_reasons_are_told_apart() {
    let message = |rest: &str| {
        format!("MSH|^~\\&|APP|FAC|||20240401093000-0400||ADT^A01^ADT_A01|1|P|2.5.1\rEVN||20240401093000-0400\r{rest}")
    };
    let codes = message("PID|1||4711^^^HPMRN^MR||Hollins^Theodora||1966-99|X7\rPV1|1|I\rUB1|1|3||2\r").into_bytes();
    assert!(matches!(standing(&codes, "PID-8"), Standing::Nowhere(Reason::TableMissed(_))));
    assert!(matches!(standing(&codes, "PID-7"), Standing::Nowhere(Reason::NothingWritten(_, Some(_)))));
    assert_eq!(standing(&codes, "UB1-4"), Standing::Nowhere(Reason::SegmentNotMapped));
    assert_eq!(standing(&codes, "PID-1"), Standing::Nowhere(Reason::NoRule));
    assert_eq!(standing(&codes, "PID-5.1"), Standing::Mapped);
    // PID-29 wins over PID-30.
    let dead = message("PID|1||4711^^^HPMRN^MR||Hollins||||||||||||||||||||||||20240301|Y\rPV1|1|I\r").into_bytes();
    assert_eq!(standing(&dead, "PID-29"), Standing::Mapped);
    assert!(matches!(standing(&dead, "PID-30"), Standing::Nowhere(Reason::EarlierWon(_))));
    // No Encounter when PV1-2 is N.
    let none = message("PID|1||4711^^^HPMRN^MR||Hollins\rPV1|1|N|4WEST\r").into_bytes();
    assert!(matches!(standing(&none, "PV1-3"), Standing::Nowhere(_)));
    assert_eq!(standing(&none, "PV1-2"), Standing::ReadOnly);
}

#[test]
fn a_guard_that_was_false_is_named() {
    let site = "[PID.Patient.set]\nlanguage = \"37 if 38 = 'Y'\"\n";
    let mut files = Plan::embedded_files();
    files.push(SourceFile { name: "site.toml".into(), text: site.into(), layer: Layer::Site });
    let (plan, _) = Plan::load(files).expect("compiles");
    let raw = fs::read(Path::new(ROOT).join(UNMAPPED)).unwrap();
    let path = FieldPath::parse("PID-37").unwrap();
    let (stories, _) =
        plan.explain_fields(&raw, &Context::default(), Some(&path), &mut Scratch::new()).expect("translated");
    assert!(matches!(stories[0].standing, Standing::Nowhere(Reason::GuardFalse(_))), "{:?}", stories[0].standing);
    assert!(stories[0].why.as_ref().is_some_and(|why| why.contains("site.toml:2")), "{:?}", stories[0].why);
}

/// What `fixtures/README.md` says of the case, and that the sums add up.
#[test]
fn unmapped_input_is_counted() {
    let report = json(&["coverage", "--format", "json", UNMAPPED], b"");
    let lost: BTreeSet<&str> =
        report["nowhere"].as_array().unwrap().iter().map(|field| field["field"].as_str().unwrap()).collect();
    for field in ["PV1-21", "PV1-22", "PV1-24", "PV1-25", "PV1-31", "PV2-5", "UB1-2", "UB1-4"] {
        assert!(lost.contains(field), "{field} is not in {lost:?}");
    }
    for field in ["PID-5.1", "PID-8", "PV1-2", "PV1-19.1"] {
        assert!(!lost.contains(field), "{field} is mapped");
    }
    let bill = report["segments"].as_array().unwrap().iter().find(|s| s["segment"] == "UB1").unwrap();
    assert_eq!(bill["values"]["reached_percent"], 0.0);
    assert_eq!(bill["values"]["nowhere"], bill["values"]["values"]);
    let sum = |key: &str| -> u64 {
        report["segments"].as_array().unwrap().iter().map(|s| s["values"][key].as_u64().unwrap()).sum()
    };
    for key in ["values", "mapped", "read_only", "nowhere"] {
        assert_eq!(sum(key), report["total"][key].as_u64().unwrap(), "{key}");
    }
    let by_field: u64 = report["nowhere"].as_array().unwrap().iter().map(|f| f["nowhere"].as_u64().unwrap()).sum();
    assert_eq!(by_field, report["total"]["nowhere"].as_u64().unwrap());
}

#[test]
fn values_are_shown_on_request_only() {
    let masked = String::from_utf8(run(&["coverage", "--format", "json", UNMAPPED], b"").stdout).unwrap();
    let shown = String::from_utf8(run(&["coverage", "--format", "json", "--phi", UNMAPPED], b"").stdout).unwrap();
    let raw = fs::read_to_string(Path::new(ROOT).join(UNMAPPED)).unwrap();
    let pv2 = raw.split(['\r', '\n']).find(|line| line.starts_with("PV2")).unwrap();
    let valuables = pv2.split('|').nth(5).unwrap();
    assert!(valuables.len() > 5 && shown.contains(valuables), "{valuables}");
    assert!(!masked.contains(valuables));
    let html = String::from_utf8(run(&["coverage", "--format", "html", UNMAPPED], b"").stdout).unwrap();
    assert!(!html.contains(valuables));
}

#[test]
fn the_page_is_escaped_and_needs_nothing() {
    let message = "MSH|^~\\&|A|B|||20240401||ADT^A01^ADT_A01|1|P|2.5.1\rPID|1||1^^^H^MR||Doe||19700101|<i>\rPV1|1|I\rPV2|||||<script>alert(1)</script>\r";
    let output = run(&["coverage", "--format", "html", "--phi", "-"], message.as_bytes());
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the value is shown, escaped");
    assert!(page.contains("&lt;i&gt;"), "the code is shown, escaped");
    let without = run(&["coverage", "--format", "html", "-"], message.as_bytes());
    let masked = String::from_utf8(without.stdout).unwrap();
    assert!(masked.contains("&lt;3 bytes&gt;") && !masked.contains("&lt;i&gt;"), "what looks like no code is not");
    for never in ["<script", "<i>", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(never), "{never}");
    }
}

#[test]
fn a_pile_of_files_folders_and_standard_input() {
    let input = fs::read(Path::new(ROOT).join("fixtures/batch/three-messages/message.hl7")).unwrap();
    let report = json(&["coverage", "--format", "json", "fixtures/ADT_A01", "-"], &input);
    let below = Path::new(ROOT).join("fixtures/ADT_A01");
    let files = message_files().into_iter().filter(|file| file.starts_with(&below)).count() as u64;
    let messages = report["messages"].as_u64().unwrap();
    assert!(messages >= files + 3, "{messages} of {files} files");
    let codes = report["unmapped_codes"].as_array().unwrap();
    let sex = codes.iter().find(|c| c["table"] == "AdministrativeSex").expect("an unknown code");
    assert_eq!((&sex["code"], &sex["count"], &sex["open"]), (&"X7".into(), &1.into(), &true.into()));
    assert!(sex["example"]["file"].as_str().unwrap().contains("unknown-codes"));
    let missing = run(&["coverage", "no-such-file.hl7"], b"");
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no such file"));
}

/// A message that cannot be translated reached nothing, and says why.
#[test]
fn failures_are_part_of_the_report() {
    let message = b"MSH|^~\\&|A|B|||20240401||ZZZ^Z99|1|P|2.5.1\rPID|1||1\r";
    let report = json(&["coverage", "--format", "json", "-"], message);
    assert_eq!((&report["messages"], &report["failed"]), (&1.into(), &1.into()));
    assert_eq!(report["total"]["reached_percent"], 0.0);
    assert_eq!(report["failures"][0]["count"], 1);
    assert!(report["nowhere"].as_array().unwrap().iter().all(|f| f["reason"] == "message-failed"));
}

/// A rule is used from the message on that needs it.
#[test]
fn rules_never_used_are_named() {
    let unused = |report: &handoff::mapping::coverage::Report| -> BTreeSet<(String, String)> {
        let of = |map: &handoff::mapping::coverage::MapLine| {
            map.unused.iter().map(|rule| (rule.map.clone(), rule.target.clone())).collect::<Vec<_>>()
        };
        report.unused.iter().flat_map(of).collect()
    };
    let (mut coverage, mut scratch) = (Coverage::new(false), Scratch::new());
    let origin = Origin { file: Arc::from("one.hl7"), number: 1 };
    let mut add = |coverage: &mut Coverage, pid: &str| {
        let raw = format!("MSH|^~\\&|A|B|||20240401||ADT^A01^ADT_A01|1|P|2.5.1\r{pid}\rPV1|1|I\r");
        coverage.add(plan(), raw.as_bytes(), &Context::default(), &origin, &mut scratch).unwrap();
    };
    let birth = ("PID.Patient".to_owned(), "birthDate".to_owned());
    add(&mut coverage, "PID|1||1^^^H^MR||Doe");
    let before = coverage.report(plan());
    assert!(unused(&before).contains(&birth));
    add(&mut coverage, "PID|1||1^^^H^MR||Doe||19700101");
    let after = coverage.report(plan());
    assert!(!unused(&after).contains(&birth));
    assert!(after.rules.0 > before.rules.0 && after.rules.1 == before.rules.1);
    assert_eq!(coverage.messages(), (2, 0));
}

#[test]
fn a_field_is_explained_with_its_layer() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("site.toml"), "[PID.Patient.set]\nbirthDate = \"7[1] : date\"\n").unwrap();
    let site = folder.path().to_str().unwrap();
    let message = b"MSH|^~\\&|A|B|||20240401||ADT^A01^ADT_A01|1|P|2.5.1\rPID|1||1^^^H^MR||Doe||19700101|F\rPV1|1|I\r";
    let fields = json(&["explain", "--site", site, "--field", "PID-7", "--format", "json", "-"], message);
    let field = &fields[0]["fields"][0];
    assert_eq!((&field["field"], &field["standing"]), (&"PID-7".into(), &"mapped".into()));
    assert_eq!(field["elements"][0]["name"], "Patient.birthDate");
    let rule = &field["rules"][0]["rule"];
    assert_eq!((&rule["layer"], &rule["line"]), (&"site".into(), &2.into()));
    assert_eq!(rule["replaces"]["layer"], "core");
    assert!(rule["replaces"]["file"].as_str().unwrap().ends_with("pid.toml"));
    let text = String::from_utf8(run(&["explain", "--site", site, "--fields", "-"], message).stdout).unwrap();
    for line in [
        "PID-7 = 19700101",
        "  to     Patient.birthDate = \"1970-01-01\"",
        "of the site, in place of segments/pid.toml:",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("PID-1 = 1") && text.contains("nowhere: no rule reads it"));
    let nothing = run(&["explain", "--field", "PID-9", "-"], message);
    assert_eq!(nothing.status.code(), Some(1));
    let wrong = run(&["explain", "--field", "PID_9", "-"], message);
    assert_eq!(wrong.status.code(), Some(2));
}
