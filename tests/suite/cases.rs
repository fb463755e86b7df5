//! `handoff test`: cases in folders pass, fail with a reason that helps, and are written anew.
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Exit code, standard output, standard error.
pub fn handoff(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handoff"));
    let done = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// A copy of the example site with its cases, to be changed.
pub fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&Path::new(ROOT).join("examples/site"), &folder.path().join("site"));
    folder
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Replaces what must be there.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} does not hold `{from}`", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

fn case(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let case = folder.join(name);
    fs::create_dir_all(&case).unwrap();
    for (file, text) in files {
        fs::write(case.join(file), text).unwrap();
    }
    case
}

const ADMISSION: &str = "MSH|^~\\&|APP|FAC|||20240401093000-0400||ADT^A01^ADT_A01|1|P|2.5.1\rEVN||20240401093000-0400\rPID|1||4711^^^HPMRN^MR||Hollins^Theodora||19660923|F\rPV1|1|I\r";

#[test]
fn cases_of_the_example_site_pass() {
    let mut arguments = vec!["test", "--site", "examples/site", "--min-coverage", "50"];
    if std::env::var_os("HANDOFF_UPDATE").is_some_and(|value| value == "1") {
        arguments.push("--update");
    }
    let (code, told, errors) = handoff(Path::new(ROOT), &arguments);
    assert_eq!(code, 0, "HANDOFF_UPDATE=1 rewrites them:\n{told}{errors}");
    assert!(told.contains("3 cases: 3 passed; ") || arguments.contains(&"--update"), "{told}");
}

#[test]
fn fixtures_are_cases_as_well() {
    let (code, told, errors) = handoff(
        Path::new(ROOT),
        &["test", "fixtures", "--format", "json", "--filter", "batch/", "--filter", "refused/", "--filter", "ORU_R01/"],
    );
    let report: Value = serde_json::from_str(&told).unwrap();
    let failed: Vec<&Value> = report["cases"].as_array().unwrap().iter().filter(|c| c["status"] != "ok").collect();
    assert_eq!(code, 0, "{failed:#?}{errors}");
    assert!(report["passed"].as_u64().unwrap() > 10 && report["failed"] == 0);
    let batch = report["cases"].as_array().unwrap().iter().find(|c| c["name"] == "batch/three-messages").unwrap();
    assert_eq!(batch["messages"], 3);
}

#[test]
fn a_changed_rule_is_told_with_its_field_and_line() {
    let folder = site();
    edit(&folder.path().join("site/site.toml"), "\"2\" = \"female\"", "\"2\" = \"other\"");
    edit(&folder.path().join("site/site.toml"), "\"identifier[ssn]\" = \"\"", "birthDate = \"\"");
    let (code, told, _) = handoff(folder.path(), &["test", "--site", "site"]);
    assert_eq!(code, 1, "{told}");
    for line in [
        "ok      roster",
        "FAILED  surgery-admission",
        "    changed Patient.gender\n      expected \"female\"\n      found    \"other\"\n      from     PID-8, rule PID.Patient `gender` (",
        "    missing Patient.birthDate\n      expected \"1958-04-17\"\n      found    nothing\n",
        "    extra Patient.identifier[1]\n      expected nothing\n",
        "rule PID.Patient `identifier[ssn].",
        "    facts.toml:4: Patient.birthDate\n      expected \"1958-04-17\"\n      found    nothing\n",
        "3 cases: 1 passed, 2 failed; ",
    ] {
        assert!(told.contains(line), "{line}\nis not in\n{told}");
    }
    assert!(!told.contains("birthDate.extension"), "what stands beside a value does not write it: {told}");
}

#[test]
fn what_is_missing_names_the_rule_that_could_write_it() {
    let folder = tempfile::tempdir().unwrap();
    let facts = "Patient.maritalStatus.coding.code = \"M\"\nPatient.gender = \"male\"\n";
    case(folder.path(), "admission", &[("message.hl7", ADMISSION), ("facts.toml", facts)]);
    let (code, told, _) = handoff(folder.path(), &["test"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("facts.toml:1: Patient.maritalStatus.coding.code\n"), "{told}");
    assert!(told.contains("perhaps rule PID.Patient `maritalStatus` (segments/"), "{told}");
    assert!(
        told.contains("expected \"male\"\n      found    \"female\"\n      from     PID-8, rule PID.Patient `gender`"),
        "{told}"
    );
}

#[test]
fn an_update_shows_what_it_writes_and_leaves_the_rest() {
    let folder = site();
    let bundle = folder.path().join("site/tests/surgery-admission/bundle.json");
    // Other ids in another order: nothing that --update would write.
    let text = fs::read_to_string(&bundle).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    value["entry"].as_array_mut().unwrap().reverse();
    let same = serde_json::to_string(&value).unwrap().replace("urn:uuid:1a", "urn:uuid:ff");
    fs::write(&bundle, &same).unwrap();
    let (code, told, _) = handoff(folder.path(), &["test", "--site", "site", "--update"]);
    assert!(code == 0 && told.contains("3 cases: 3 passed"), "{told}");
    assert_eq!(fs::read_to_string(&bundle).unwrap(), same);

    fs::write(&bundle, text.replace("1958-04-17", "1958-04-18")).unwrap();
    let (code, told, _) = handoff(folder.path(), &["test", "--site", "site", "--update"]);
    assert!(
        code == 0 && told.contains("changed Patient.birthDate") && told.contains("updated surgery-admission"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&bundle).unwrap(), text, "it is again what it was");

    // What people wrote is for them to change.
    let facts = folder.path().join("site/tests/care-programme/facts.toml");
    edit(&facts, "1958-04-17", "1958-04-18");
    let (code, told, _) = handoff(folder.path(), &["test", "--site", "site", "--update"]);
    assert!(code == 1 && told.contains("FAILED  care-programme"), "{told}");
    assert!(fs::read_to_string(&facts).unwrap().contains("1958-04-18"));
    assert!(!folder.path().join("site/tests/care-programme/bundle.json").exists());
}

#[test]
fn batches_and_refusals_have_their_expectations() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = ADMISSION.replace("ADT^A01^ADT_A01|1", "ZZZ^Z99|2");
    let batch = format!("{ADMISSION}{unknown}{}", ADMISSION.replace("|1|P|", "|3|P|"));
    case(folder.path(), "batch", &[("message.hl7", &batch)]);
    let (code, told, _) = handoff(folder.path(), &["test", "."]);
    assert!(code == 1 && told.contains("batch\n    is refused\n      expected no refusal\n"), "{told}");
    assert_eq!(handoff(folder.path(), &["test", "--update"]).0, 0);
    let bundles: Value = serde_json::from_slice(&fs::read(folder.path().join("batch/bundle.json")).unwrap()).unwrap();
    assert_eq!(bundles.as_array().unwrap().len(), 2);
    assert!(
        fs::read_to_string(folder.path().join("batch/error.txt"))
            .unwrap()
            .starts_with("error[200] MSH[1]-9: no message map")
    );
    assert_eq!(handoff(folder.path(), &["test"]).0, 0);

    // The third message changes; the second is taken; a Bundle is lost.
    let changed = batch.replace(
        "|3|P|2.5.1\rEVN||20240401093000-0400\rPID|1||4711",
        "|3|P|2.5.1\rEVN||20240401093000-0400\rPID|1||4712",
    );
    fs::write(folder.path().join("batch/message.hl7"), changed).unwrap();
    let (code, told, _) = handoff(folder.path(), &["test"]);
    assert!(
        code == 1
            && told.contains(
                "    message 2: changed Patient.identifier[0].value\n      expected \"4711\"\n      found    \"4712\""
            ),
        "{told}"
    );
    fs::write(folder.path().join("batch/message.hl7"), ADMISSION).unwrap();
    let (code, told, _) = handoff(folder.path(), &["test"]);
    assert!(code == 1 && told.contains("expected 2 Bundles, found 1"), "{told}");
    assert!(told.contains("is translated, though a refusal is expected"), "{told}");
    // A refusal by hand may be short, but not wrong.
    for (line, code) in [("error[200] MSH[1]-9", 0), ("error[200]", 0), ("error[20", 1), ("error[201]", 1)] {
        let other = tempfile::tempdir().unwrap();
        case(other.path(), "one", &[("message.hl7", &unknown), ("error.txt", line)]);
        assert_eq!(handoff(other.path(), &["test"]).0, code, "{line}");
    }
}

#[test]
fn results_are_there_for_ci() {
    let folder = tempfile::tempdir().unwrap();
    let cases = folder.path();
    case(cases, "good", &[("message.hl7", ADMISSION), ("facts.json", "{ \"Patient\": { \"count\": 1 } }")]);
    case(cases, "bad<one>", &[("message.hl7", ADMISSION), ("facts.toml", "Patient.name.family = \"A\\u0001&B\"")]);
    let (code, told, _) = handoff(cases, &["test", "--junit", "out.xml", "--format", "json", "--min-coverage", "99"]);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&1.into(), &1.into()));
    let problem = &report["cases"][0]["problems"][0];
    assert_eq!(
        (&problem["kind"], &problem["line"], &problem["found"]),
        (&"fact".into(), &1.into(), &"\"Hollins\"".into())
    );
    assert_eq!(problem["origins"][0]["field"], "PID-5.1");
    let percent = report["coverage"]["percent"].as_f64().unwrap();
    assert!(percent > 50.0 && percent < 99.0, "{percent}");
    let xml = fs::read_to_string(cases.join("out.xml")).unwrap();
    assert!(xml.contains("tests=\"3\" failures=\"2\" errors=\"0\""), "{xml}");
    assert!(
        xml.contains("<testcase classname=\"handoff\" name=\"bad&lt;one&gt;\"><failure message=\"facts.toml:1: "),
        "{xml}"
    );
    assert!(xml.contains("name=\"--min-coverage\"><failure"), "{xml}");
    assert!(!xml.contains('\u{1}'), "no XML may hold it");

    let (code, told, _) = handoff(cases, &["test", "--filter", "good", "--min-coverage", "99"]);
    assert!(code == 1 && told.contains("less than the 99 % of --min-coverage; most often lost: "), "{told}");
    let (code, told, _) = handoff(cases, &["test", "--filter", "good", "--min-coverage", "10"]);
    assert!(code == 0 && told.contains("1 cases: 1 passed"), "{told}");
}

#[test]
fn what_cannot_be_tested_is_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| handoff(folder.path(), &[&["test"], arguments].concat());
    let told = |arguments: &[&str], told: &str| {
        let (code, out, errors) = run(arguments);
        assert!(code == 2 && (out.contains(told) || errors.contains(told)), "{arguments:?}: {code} {out}{errors}");
    };
    told(&[], "no case in it; a case is a folder with a message.hl7");
    told(&["nowhere"], "nowhere: not a folder");
    told(&["--min-coverage", "101"], "no percentage");
    let one = case(
        folder.path(),
        "one",
        &[("message.hl7", ADMISSION), ("facts.toml", "Patient.name = { count = 1 }\nPatient.birthdate = 1\n")],
    );
    told(&["--filter", "two"], "none of the 1 cases has two in its name");
    told(
        &[],
        "UNREADABLE one\n    facts.toml:2: Patient.birthdate: Patient has no element `birthdate`; did you mean `birthDate`?",
    );
    fs::remove_file(one.join("facts.toml")).unwrap();
    fs::write(one.join("bundle.json"), "{\n").unwrap();
    told(&[], "bundle.json:2: ");
    told(&["--site", "nowhere"], "nowhere: not a folder");
    fs::remove_file(one.join("bundle.json")).unwrap();
    let (code, out, _) = run(&[]);
    assert!(code == 1 && out.contains("nothing is expected yet"), "{out}");
}
