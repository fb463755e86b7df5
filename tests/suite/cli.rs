//! The program as a new user meets it: what it says about wrong mappings and wrong files, and how it exits.

use crate::explain::{message_files, plan};
use handoff::mapping::Plan;
use handoff::mapping::source::{Layer, SourceFile};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_handoff");
const ADMISSION: &str = "MSH|^~\\&|APP|FAC|||20240401093000-0400||ADT^A01^ADT_A01|1|P|2.5.1\rEVN||20240401093000-0400\rPID|1||4711^^^HPMRN^MR||Hollins^Theodora||19660923|F\rPV1|1|I\r";

/// A wrong mapping, and what is said about it: code, line and column, the quoted line, the suggestion.
struct Wrong {
    what: &'static str,
    text: &'static str,
    code: &'static str,
    at: (usize, usize),
    help: &'static str,
}

const WRONG: &[Wrong] = &[
    Wrong {
        what: "an unknown field",
        text: "[PID.Patient.set]\nbirthDate = \"99\"\n",
        code: "M011",
        at: (2, 13),
        help: "PID",
    },
    Wrong {
        what: "a wrong type",
        text: "[PID.Patient.set]\nmaritalStatus = \"3[1] : CX.Identifier\"\n",
        code: "M020",
        at: (2, 17),
        help: "CWE.CodeableConcept",
    },
    Wrong {
        what: "a repeating field into a single element",
        text: "[PID.Patient.set]\n\"maritalStatus.text\" = \"13.1\"\nmaritalStatus = \"\"\n",
        code: "M021",
        at: (2, 24),
        help: "13[1]",
    },
    Wrong {
        what: "an unknown table",
        text: "[PID.Patient.set]\ngender = \"8 @AdministrativSex\"\n",
        code: "M015",
        at: (2, 10),
        help: "AdministrativeSex",
    },
    Wrong {
        what: "a code outside the required set",
        text: "[PID.Patient.set]\ngender = \"'femal'\"\n",
        code: "M022",
        at: (2, 10),
        help: "female",
    },
    Wrong {
        what: "a reference to a wrong type",
        text: "[PID.Patient.set]\nmanagingOrganization = \"PV1-7[1] : XCN.Practitioner\"\n",
        code: "M023",
        at: (2, 24),
        help: "Organization",
    },
    Wrong {
        what: "two rows for one target",
        text: "[PID.Patient.set]\n\"contact[a].gender\" = \"8 @AdministrativeSex\"\n\"contact[a]\" = { gender = \"'male'\" }\n",
        code: "M024",
        at: (2, 1),
        help: "|",
    },
    Wrong {
        what: "an unknown element",
        text: "[PID.Patient.set]\nbirthdate = \"7\"\n",
        code: "M012",
        at: (2, 1),
        help: "birthDate",
    },
    Wrong {
        what: "`beside` with a field of the own segment",
        text: "[OBX.Observation.set]\nissued = \"19 : instant if beside(4) valued\"\n",
        code: "M016",
        at: (2, 10),
        help: "table of functions",
    },
    Wrong {
        what: "lines of the own segment",
        text: "[OBX.Observation.set]\n\"note[lines]\" = { text = \"all_lines(5)\" }\n",
        code: "M016",
        at: (2, 26),
        help: "table of functions",
    },
    Wrong {
        what: "a link that spells out a choice",
        text: "[RDE_O11.ORDER]\nRXC = \"drug += RXC.Medication; enc.medicationReference -> drug\"\n",
        code: "M020",
        at: (2, 7),
        help: "enc.medication[x]",
    },
    Wrong {
        what: "a function with too many arguments",
        text: "[OBX.Observation.set]\nissued = \"19 : instant if range_unit(6, 7) valued\"\n",
        code: "M016",
        at: (2, 10),
        help: "",
    },
];

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn run_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_wrong_mapping_gives_one_diagnostic_that_helps() {
    for wrong in WRONG {
        let mut files = Plan::embedded_files();
        files.push(SourceFile { name: "site/wrong.toml".into(), text: wrong.text.into(), layer: Layer::Site });
        let Err((sources, diagnostics)) = Plan::load(files) else { panic!("{}: compiles", wrong.what) };
        let found: Vec<_> = diagnostics
            .sorted()
            .into_iter()
            .filter(|d| d.severity == handoff::mapping::diagnostic::Severity::Error)
            .collect();
        let shown: String = found.iter().map(|d| d.render(&sources)).collect();
        assert_eq!(found.len(), 1, "{}:\n{shown}", wrong.what);
        assert_eq!(found[0].code.as_str(), wrong.code, "{}:\n{shown}", wrong.what);
        let (file, line, column, quoted) = sources.position(found[0].location);
        assert_eq!((file, line, column), ("site/wrong.toml", wrong.at.0, wrong.at.1), "{}:\n{shown}", wrong.what);
        assert_eq!(quoted, wrong.text.lines().nth(line - 1).unwrap(), "{}", wrong.what);
        let help = found[0].suggestion.as_deref().unwrap_or_default();
        assert!(help.contains(wrong.help), "{}: `{}` is not in\n{shown}", wrong.what, wrong.help);
    }
}

#[test]
fn all_mistakes_of_a_site_are_printed_at_once() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("a.toml"), "[PID.Patient.set]\nbirthdate = \"7\"\ngender = \"8 @AdministrativSex\"\n")
        .unwrap();
    fs::write(site.path().join("b.toml"), "[PV1.Encounter.set]\n\"meta.tag[a].display\" = \"99\"\n").unwrap();
    let site = site.path().to_str().unwrap();
    let checked = run(&["mappings", "check", "--site", site]);
    let shown = text(&checked);
    assert_eq!(code(&checked), 1, "{shown}");
    for part in [
        "a.toml:2:1: error[M012]",
        "a.toml:3:10: error[M015]",
        "b.toml:2:25: error[M011]",
        " 2 | birthdate = \"7\"",
        "did you mean `birthDate`?",
        "3 errors",
    ] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    let listed: Value =
        serde_json::from_slice(&run(&["mappings", "check", "--site", site, "--format", "json"]).stdout).unwrap();
    let first = listed.as_array().unwrap().iter().find(|d| d["code"] == "M012").unwrap();
    assert_eq!(
        (first["line"].as_u64(), first["column"].as_u64(), first["severity"].as_str()),
        (Some(2), Some(1), Some("error"))
    );
    let file = Path::new(site).join("m.hl7");
    fs::write(&file, ADMISSION).unwrap();
    let translated = run(&["translate", "--site", site, file.to_str().unwrap()]);
    assert_eq!((code(&translated), text(&translated)), (2, String::new()));
    assert!(errors(&translated).contains("error[M012]"));
}

#[test]
fn the_built_in_mappings_have_no_error() {
    let output = run(&["mappings", "check"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(text(&output).contains("0 errors"));
}

#[test]
fn a_wrong_file_gives_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cases = [
        (write("broken.hl7", b"MSH\rPID|1\r"), "field separator"),
        (write("separator.hl7", b"MSH\x01^~\\&\x01A\r"), "MSH"),
        (write("no-type.hl7", b"MSH|^~\\&|A\rPID|1\r"), "MSH-9"),
        (write("empty.hl7", b""), "empty"),
        (write("blank.hl7", b"\r\n\r\n"), "no MSH"),
        (write("binary.hl7", &[0x89, b'P', b'N', b'G', 0, 0, 1, 2, 3, 0, 0xff]), "binary"),
        (write("text.hl7", b"hello\n"), "no MSH"),
        (folder.path().to_str().unwrap().to_owned(), "folder"),
        (folder.path().join("missing.hl7").to_str().unwrap().to_owned(), "no such file"),
    ];
    for command in ["translate", "explain", "parse"] {
        for (file, reason) in &cases {
            if command == "parse" && file.ends_with("no-type.hl7") {
                continue;
            }
            let output = run(&[command, file]);
            let lines = errors(&output);
            assert_eq!(code(&output), 1, "{command} {file}: {lines}");
            assert_eq!(lines.lines().count(), 1, "{command} {file}: {lines}");
            assert!(
                lines.starts_with(file.as_str()) && lines.contains("error") && lines.contains(reason),
                "{command} {file}: {lines}"
            );
            assert!(output.stdout.is_empty(), "{command} {file}");
        }
    }
}

#[test]
fn exit_codes_tell_all_some_and_usage_apart() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.hl7");
    let bad = folder.path().join("bad.hl7");
    fs::write(&good, ADMISSION).unwrap();
    fs::write(&bad, "MSH|^~\\&|A||||||QQQ^X99|1\r").unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    assert_eq!(code(&run(&["translate", good])), 0);
    let some = run(&["translate", bad, good]);
    assert_eq!((code(&some), text(&some).lines().count()), (1, 1));
    assert!(errors(&some).contains("error[200]: MSH-9:"), "{}", errors(&some));
    for usage in [
        &["translate"][..],
        &["translate", "--no-such-flag", good],
        &["translate", "--received-at", "today", good],
        &["mappings", "show", "PID.Pateint"],
        &[],
    ] {
        assert_eq!(code(&run(usage)), 2, "{usage:?}");
    }
}

#[test]
fn standard_input_and_batches_are_read() {
    let from_input = run_with_input(&["translate", "-"], ADMISSION.as_bytes());
    assert_eq!(code(&from_input), 0, "{}", errors(&from_input));
    let again = run_with_input(&["translate", "-"], ADMISSION.as_bytes());
    assert_eq!(from_input.stdout, again.stdout, "the same input gives the same bytes");
    let batch =
        format!("FHS|^~\\&|APP\rBHS|^~\\&|APP\r{ADMISSION}{}BTS|3\rFTS|1\r", ADMISSION.replace("|1|P|", "|2|P|"));
    let output = run_with_input(&["translate", "-"], batch.as_bytes());
    assert_eq!((code(&output), text(&output).lines().count()), (0, 2), "{}", errors(&output));
    assert_eq!(text(&output).lines().next(), text(&from_input).lines().next());
    assert!(errors(&output).contains("BTS-1 says 3 messages"), "{}", errors(&output));
    let wide: Vec<u8> = [0xFF, 0xFE].into_iter().chain(ADMISSION.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(run_with_input(&["translate", "-"], &wide).stdout, from_input.stdout, "UTF-16");
    for (command, list) in [("parse", "segments"), ("explain", "values")] {
        let output = run_with_input(&[command, "--format", "json", "-"], batch.as_bytes());
        let parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let labels: Vec<&str> = parsed.as_array().unwrap().iter().map(|m| m["message"].as_str().unwrap()).collect();
        assert_eq!(labels, ["-#1", "-#2"], "{command}");
        assert!(!parsed[1][list].as_array().unwrap().is_empty(), "{command}");
    }
}

#[test]
fn parse_shows_groups_names_and_strays() {
    let message = "MSH|^~\\&|A|B|||20240401||ORU^R01^ORU_R01|7|P|2.5.1\nPID|1||4711^^^HPMRN&2.999.1&ISO^MR~12^^^X||A\\T\\B^C||\"\"\nZPD|x\nOBR|1||2|3\nOBX|1|CE|1^Glucose^LN||A^B\nNTE|1||n\n";
    let output = run_with_input(&["parse", "-"], message.as_bytes());
    let shown = text(&output);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    for part in [
        "-: ORU^R01, version 2.5.1, control id 7, structure ORU_R01, 6 segments",
        "note: segments end with LF; HL7 v2 says CR",
        "PATIENT_RESULT[1]\n  PATIENT\n    PID",
        "PID-3[1]",
        "Patient identifier list",
        "Namespace id",
        "A&B",
        "(null: to be deleted)",
        "ZPD  (extra: not in ORU_R01)",
        "  ORDER_OBSERVATION[1]\n    OBR",
        "      OBX",
        "Observation value",
    ] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    let json: Value =
        serde_json::from_slice(&run_with_input(&["parse", "--format", "json", "-"], message.as_bytes()).stdout)
            .unwrap();
    let segments = json[0]["segments"].as_array().unwrap();
    let ids: Vec<&str> = segments.iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["MSH", "PID", "ZPD", "OBR", "OBX", "NTE"]);
    assert_eq!(segments[2]["placement"], "extra");
    let obx5 = segments[4]["fields"].as_array().unwrap().iter().find(|f| f["place"] == "OBX-5").unwrap();
    assert_eq!(
        (obx5["datatype"].as_str(), obx5["parts"][1]["name"].as_str(), obx5["parts"][1]["text"].as_str()),
        (Some("CE"), Some("Text"), Some("B"))
    );
}

#[test]
fn parse_loses_no_segment_of_a_fixture() {
    let files: Vec<String> = message_files()
        .iter()
        .filter(|f| !f.iter().any(|p| p == "refused"))
        .map(|f| f.display().to_string())
        .take(12)
        .collect();
    for file in &files {
        let output = run(&["parse", "--format", "json", file]);
        assert_eq!(code(&output), 0, "{}", errors(&output));
        let parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let bytes = fs::read(file).unwrap();
        let found: usize = parsed.as_array().unwrap().iter().map(|m| m["segments"].as_array().unwrap().len()).sum();
        let mut index = handoff::hl7::Index::new();
        let expected: usize = handoff::hl7::split(&bytes)
            .map(|span| index.parse(&bytes[span.clone()]).map_or(0, |()| index.message(&bytes[span]).segment_count()))
            .sum();
        assert_eq!(found, expected, "{file}");
    }
}

#[test]
fn explain_says_where_a_value_came_from() {
    let output = run_with_input(&["explain", "--path", "Patient.gender", "-"], ADMISSION.as_bytes());
    let shown = text(&output);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "Patient.gender = \"female\"");
    assert!(lines[1].starts_with("  from   PID-8 = F (bytes "), "{shown}");
    assert!(lines[2].starts_with("  table  AdministrativeSex `F` (tables/AdministrativeSex.csv:"), "{shown}");
    assert!(lines[3].starts_with("  rule   PID.Patient `gender` (segments/pid.toml:"), "{shown}");
    assert!(lines[4].starts_with("  via    ADT_A01 `PID: patient = PID.Patient` (messages/adt.toml:"), "{shown}");
    let json: Value = serde_json::from_slice(
        &run_with_input(&["explain", "--path", "Patient.gender", "--format", "json", "-"], ADMISSION.as_bytes()).stdout,
    )
    .unwrap();
    let value = &json[0]["values"][0];
    assert_eq!(
        (value["source"]["field"].as_str(), value["table"]["code"].as_str(), value["rule"]["map"].as_str()),
        (Some("PID-8"), Some("F"), Some("PID.Patient"))
    );
    let (start, end) =
        (value["source"]["start"].as_u64().unwrap() as usize, value["source"]["end"].as_u64().unwrap() as usize);
    assert_eq!(&ADMISSION[start..end], "F");
    let mistyped = run_with_input(&["explain", "--path", "Patient.birthdate", "-"], ADMISSION.as_bytes());
    assert_eq!(code(&mistyped), 1);
    assert!(errors(&mistyped).contains("did you mean `Patient.birthDate`?"), "{}", errors(&mistyped));
}

#[test]
fn list_names_everything_and_show_knows_it() {
    let sources = plan().sources();
    let listing = plan().listing();
    let names = sources.messages.keys().chain(sources.maps.keys()).chain(sources.tables.keys());
    for name in names.chain(sources.structures.keys()) {
        let shown = plan().show(name).unwrap_or_else(|_| panic!("{name} is unknown"));
        assert!(shown.text().contains(name.as_str()) && shown.text().lines().count() > 1, "{name}:\n{}", shown.text());
        assert!(
            sources.structures.contains_key(name) || listing.text().contains(&format!("  {name}  ")),
            "{name} is not listed"
        );
    }
    let json = listing.json();
    let admission = json["messages"].as_array().unwrap().iter().find(|m| m["name"] == "ADT_A01").unwrap();
    assert!(admission["events"].as_array().unwrap().contains(&"ADT^A04".into()));
    assert_eq!(json["tables"].as_array().unwrap().len(), sources.tables.len());
    assert_eq!(plan().show("AdministrativSex").unwrap_err(), " (did you mean `AdministrativeSex`?)");
}

#[test]
fn show_gives_rows_as_written_and_as_compiled() {
    let shown = plan().show("PID.Patient").unwrap();
    let (rows, compiled) = shown.text().split_once("compiled").unwrap();
    assert!(rows.contains("gender = 8 @AdministrativeSex | 'unknown'"), "{rows}");
    for part in [
        "for each repetition of 3 = 3 : CX.Identifier",
        "| = 8 @AdministrativeSex : Code",
        "valueDateTime = 7 : DateTime if length(7) > 8",
        "birthDate = 7 : Date",
    ] {
        assert!(compiled.contains(part), "`{part}` is not in\n{compiled}");
    }
    let message = plan().show("ADT_A01").unwrap();
    for part in ["  [{PROCEDURE}]:\n    PR1\n", "patient = PID.Patient; header.focus -> patient", "  [{ROL#2}]\n"] {
        assert!(message.text().contains(part), "`{part}` is not in\n{}", message.text());
    }
    assert!(plan().show("AdministrativeSex").unwrap().text().contains("F → female"));
    assert!(plan().show("CX.Identifier").unwrap().text().contains("value !required = 1 : String"));
    let json: Value =
        serde_json::from_slice(&run(&["mappings", "show", "OBX.Observation", "--format", "json"]).stdout).unwrap();
    assert!(
        json["rows"].as_array().unwrap().iter().any(|r| r["on"] == "2" && !r["cases"].as_array().unwrap().is_empty())
    );
    let wrong = run(&["mappings", "show", "PID.Pateint"]);
    assert!(errors(&wrong).contains("did you mean `PID.Patient`?"), "{}", errors(&wrong));
}

/// `handoff mappings list | head`: whoever reads has had enough.
#[test]
fn a_pipe_that_nobody_reads_any_more_is_no_error() {
    for arguments in
        [&["mappings", "show", "ADT_A01"][..], &["mappings", "check"], &["parse", "-"], &["translate", "-"]]
    {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let _ = child.stdin.take().unwrap().write_all(ADMISSION.as_bytes());
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(141), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{arguments:?}: {said}");
    }
}

/// What `handoff token create` prints for the FHIR interface goes into the configuration as it is.
#[test]
fn tokens_of_recipients_and_stewards_fit_the_configuration() {
    let token = |arguments: &[&str]| {
        let done = Command::new(BINARY).args(["token", "create"]).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, secret, said) = token(&["--recipient", "aco-cm"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(secret.starts_with("handoff_") && !said.contains(secret.trim()), "{said}");
    assert!(said.contains("below the [[coordination.recipient]] \"aco-cm\":\n"), "{said}");
    let of_recipient = said.lines().last().unwrap().to_owned();
    let (_, other, said) = token(&["--steward", "privacy-office"]);
    assert!(said.contains("below [coordination.fhir]:\n") && other != secret, "{said}");
    let of_steward = said.lines().last().unwrap();

    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/care/handoff.toml");
    let text = fs::read_to_string(example).unwrap();
    let with = |text: &str, before: &str, line: &str| {
        assert!(text.contains(before), "{before}");
        text.replace(before, &format!("{before}\n{line}"))
    };
    let text = with(&text, "id = \"aco-cm\"", &of_recipient);
    let text = with(&text, "[coordination.fhir]", of_steward);
    let check = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handoff.toml");
        fs::write(&path, text).unwrap();
        // The rosters that it names.
        fs::create_dir(folder.path().join("rosters")).unwrap();
        for roster in ["rosters/lakeshore.csv", "rosters/chfm.csv"] {
            fs::copy(Path::new(example).parent().unwrap().join(roster), folder.path().join(roster)).unwrap();
        }
        let done = Command::new(BINARY).args(["check", "--config"]).arg(&path).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    assert_eq!(check(&text).0, Some(0), "{}", check(&text).1);
    let (code, said) = check(&with(&text, "id = \"chfm\"", &of_recipient));
    assert!(code != Some(0) && said.contains("have the same token"), "{said}");

    for (arguments, expected) in [
        (&[][..], "--name"),
        (&["--name", "a"], "--role"),
        (&["--recipient", "a b"], "--recipient must be 1 to 64 letters"),
        (&["--steward", ""], "--steward must be 1 to 64 letters"),
        (&["--recipient", "a", "--steward", "b"], "cannot be used with"),
        (&["--recipient", "a", "--role", "admin"], "cannot be used with"),
    ] {
        let (code, secret, said) = token(arguments);
        assert!(code != Some(0) && secret.is_empty() && said.contains(expected), "{arguments:?}: {said}");
    }
}
