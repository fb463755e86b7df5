//! `handoff mappings diff`: rules of folders, revisions and sites, and what they make of messages.
use super::cases::{copy, edit, handoff, site};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const ADMISSION: &str = "fixtures/ADT_A01/a01-admission/message.hl7";

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "commit.gpgsign=false"];
    let done = Command::new("git").current_dir(folder).args(identity).args(arguments).output().unwrap();
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A repository with the mappings and a site, in which one row is changed since the last commit.
fn repository() -> tempfile::TempDir {
    let folder = site();
    let root = folder.path();
    copy(&Path::new(ROOT).join("mappings"), &root.join("mappings"));
    fs::copy(Path::new(ROOT).join(ADMISSION), root.join("admission.hl7")).unwrap();
    git(root, &["init", "-q", "-b", "main"]);
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "first"]);
    edit(&root.join("mappings/segments/pid.toml"), "8 @AdministrativeSex", "8  @AdministrativeSex if 7 not valued");
    folder
}

#[test]
fn a_revision_is_compared_with_a_folder() {
    let folder = repository();
    let root = folder.path();
    let (code, told, errors) = handoff(root, &["mappings", "diff", "HEAD", "mappings", "admission.hl7"]);
    assert_eq!(code, 0, "{told}{errors}");
    assert!(
        told.starts_with("rules: 1 difference\n  changed map PID.Patient gender\n      before  8 @AdministrativeSex"),
        "{told}"
    );
    assert!(
        told.contains("(HEAD:mappings/segments/pid.toml:") && told.contains("(mappings/segments/pid.toml:"),
        "{told}"
    );
    assert!(told.contains("output: 1 of 1 messages differ\n"), "{told}");
    assert!(
        told.contains("Patient.gender: 1 value in 1 message\n      such as admission.hl7: Patient.gender\n"),
        "{told}"
    );
    assert_eq!(handoff(root, &["mappings", "diff", "HEAD", "mappings", "--exit-code"]).0, 1);

    // From a folder further down, and committed: nothing differs from itself.
    git(root, &["commit", "-q", "-a", "-m", "second"]);
    let (code, told, errors) =
        handoff(&root.join("site"), &["mappings", "diff", "main:../mappings", "HEAD:../mappings", "--exit-code"]);
    assert!(code == 0 && told == "rules: no difference\n", "{told}{errors}");
    let (code, told, _) = handoff(root, &["mappings", "diff", "HEAD~1", "HEAD", "--format", "json", "--exit-code"]);
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, report["rules"].as_array().unwrap().len(), &report["output"]), (1, 1, &Value::Null));
    let after = report["rules"][0]["after"]["text"].as_str().unwrap();
    assert!(after.starts_with("8  @AdministrativeSex if 7 not valued"), "{after}");

    // The files of a revision are those of a folder, cases of tests left out.
    let (code, told, errors) = handoff(root, &["mappings", "diff", "--sites", "HEAD:site", "site", "--exit-code"]);
    assert!(code == 0 && told == "rules: no difference\n", "{told}{errors}");
}

#[test]
fn what_is_no_revision_is_told() {
    let folder = repository();
    let told = |arguments: &[&str], told: &str| {
        let (code, _, errors) = handoff(folder.path(), &[&["mappings", "diff"], arguments].concat());
        assert!(code == 2 && errors.contains(told), "{arguments:?}: {errors}");
    };
    told(&["nowhere", "mappings"], "nowhere: neither a folder nor a git revision");
    told(&["HEAD:nowhere", "mappings"], "(git says: ");
    told(&["--sites", "HEAD", "site"], "name the site's folder as well, as in HEAD:examples/site");
    told(&["--", "--help", "mappings"], "neither a folder nor a git revision");
    // Outside a repository, and without git.
    let elsewhere = tempfile::tempdir().unwrap();
    let (code, _, errors) = handoff(elsewhere.path(), &["mappings", "diff", "HEAD", "built-in"]);
    assert!(code == 2 && errors.contains("not a git repository"), "{errors}");
    let done = Command::new(env!("CARGO_BIN_EXE_handoff"))
        .args(["mappings", "diff", "HEAD", "built-in"])
        .current_dir(folder.path())
        .env("PATH", elsewhere.path())
        .output()
        .unwrap();
    let errors = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(2) && errors.contains("git is not installed"), "{errors}");
    // Mappings that do not compile.
    edit(&folder.path().join("mappings/segments/pid.toml"), "@AdministrativeSex", "@AdministrativSex");
    told(&["HEAD", "mappings"], "error[M015]");
}

#[test]
fn sites_are_compared_and_many_messages_stay_readable() {
    let folder = site();
    let root = folder.path();
    copy(&root.join("site"), &root.join("new"));
    edit(&root.join("new/site.toml"), "\"2\" = \"female\"", "\"3\" = \"other\"");
    edit(&root.join("new/tables/services.csv"), "SUR,394609007,General surgery", "SUR,394609007,Surgery");
    edit(&root.join("new/site.toml"), "\"identifier[ssn]\" = \"\"", "birthDate = \"\"");
    let message = fs::read_to_string(root.join("site/tests/surgery-admission/message.hl7")).unwrap();
    let many: String = (0..300).map(|n| message.replace("HP-T-002", &format!("HP-{n}"))).collect();
    // One more that neither translates.
    fs::write(root.join("many.hl7"), many + &message.replace("ADT^A01^ADT_A01", "ZZZ^Z99")).unwrap();
    let (code, told, errors) =
        handoff(root, &["mappings", "diff", "--sites", "site", "new", "many.hl7", "--exit-code"]);
    assert_eq!(code, 1, "{told}{errors}");
    for line in [
        "  removed table AdministrativeSex 2 (site)\n      before  female, http://hl7.org/fhir/administrative-gender  (site/site.toml:",
        "  added table AdministrativeSex 3 (site)\n      after   other, ",
        "  changed table HospitalService SUR (site)\n      before  394609007, General surgery, http://snomed.info/sct  (site/tables/services.csv:3)\n",
        "  removed map PID.Patient birthDate (site)\n",
        "  added map PID.Patient identifier[ssn].value (site)\n",
        "output: 300 of 301 messages differ; neither translates 1\n",
        "  changed Encounter.serviceType.coding.display: 300 values in 300 messages\n      such as many.hl7#1: Encounter.serviceType.coding[0].display\n      before  \"General surgery\"\n      after   \"Surgery\"\n      from    PV1-10, rule PV1.Encounter `serviceType`",
        "  changed Patient.gender: 300 values in 300 messages\n",
        "  missing Patient.birthDate: 300 values in 300 messages\n      such as many.hl7#1: Patient.birthDate\n      before  \"1958-04-17\"\n      from    PID-7, rule PID.Patient `birthDate`",
        "  extra Patient.identifier: 300 values in 300 messages\n",
    ] {
        assert!(told.contains(line), "{line}\nis not in\n{told}");
    }
    let (_, told, _) = handoff(root, &["mappings", "diff", "--sites", "site", "new", "many.hl7", "--format", "json"]);
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["output"]["messages"], &report["output"]["differing"]), (&301.into(), &300.into()));
    let groups = report["output"]["groups"].as_array().unwrap();
    let gender = groups.iter().find(|g| g["path"] == "Patient.gender").unwrap();
    assert_eq!((&gender["kind"], &gender["example"]["before"]), (&"changed".into(), &"\"female\"".into()));
}

#[test]
fn refusals_and_new_ids_are_differences_too() {
    let folder = site();
    let root = folder.path();
    copy(&root.join("site"), &root.join("new"));
    edit(&root.join("new/site.toml"), "timezone = ", "namespace = \"urn:other\"\ntimezone = ");
    let message = "site/tests/care-programme/message.hl7";
    let (_, told, _) = handoff(root, &["mappings", "diff", "--sites", "site", "new", message, "--exit-code"]);
    assert!(told.contains("  added profile namespace (site)\n      after   urn:other  ("), "{told}");
    assert!(
        told.contains("output: 0 of 1 messages differ, 1 more only in ids or order\n") || told.contains("urn:v2:"),
        "{told}"
    );

    fs::write(root.join("covers.toml"), "").unwrap();
    copy(&Path::new(ROOT).join("mappings"), &root.join("mappings"));
    edit(
        &root.join("mappings/segments/pid.toml"),
        "[PID.Patient.set]",
        "[PID.Patient.set]\nmultipleBirthInteger = \"25 : integer !fatal\"",
    );
    let (code, told, errors) = handoff(root, &["mappings", "diff", "built-in", "mappings", message, "nowhere.hl7"]);
    assert!(code == 2 && errors.contains("nowhere.hl7: error: no such file"), "{told}{errors}");
    assert!(told.contains("output: 1 of 1 messages differ\n  refused now error["), "{told}");
}
