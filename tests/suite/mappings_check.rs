//! `handoff mappings check` on the mistakes of somebody who writes a first site, and `show` and `list` of a site that is about some messages only.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_handoff");

/// A folder with these files.
fn site(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Exit code, and what is said about a site, its folder taken off.
fn mappings(arguments: &[&str], site: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.arg("mappings").args(arguments).arg("--site").arg(site).stdin(Stdio::null());
    let done = command.output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code(), text.replace(&format!("{}/", site.display()), ""))
}

/// Every line of `expected` stands in what is said.
fn says(said: &str, expected: &[&str]) {
    for line in expected {
        assert!(said.lines().any(|found| found.contains(line)), "`{line}` is not in\n{said}");
    }
}

#[test]
fn tables_that_were_typed_by_hand() {
    let rows =
        "v2_code,fhir_code,display,system\nA,a,One,\nA,b,Two,\n\nB\nC,c,Foo, bar,x\n ,,,\nD,,,\nE,e,\"open,\nF,f,,\n";
    let folder = site(&[("tables/MaritalStatus.csv", rows)]);
    let (code, said) = mappings(&["check"], folder.path());
    assert_eq!(code, Some(1), "{said}");
    says(
        &said,
        &[
            "tables/MaritalStatus.csv:3:1: error[M024]: a second row for `A`: the first stands in line 2",
            "help: remove one of the two",
            "tables/MaritalStatus.csv:5:1: error[M026]: the row ends after 1 of its columns, before the FHIR code",
            "help: columns are separated by commas",
            "tables/MaritalStatus.csv:6:1: error[M026]: the row has 5 columns, and the first line names 4",
            "help: put a text that holds a comma in quotes",
            "tables/MaritalStatus.csv:9:1: error[M026]: a quote on this line is not closed",
            "help: close it on its line",
            "4 errors",
        ],
    );
    let good = "v2_code,fhir_code,display,system\nX1,M,\"Married, or so\",\nX2,M\nX3,\n";
    let folder = site(&[("tables/MaritalStatus.csv", good)]);
    let (code, said) = mappings(&["check"], folder.path());
    assert!(code == Some(0) && said.ends_with(": 0 errors, 0 warnings\n") && said.lines().count() == 1, "{said}");
    let folder = site(&[("tables/MaritalStatus.csv", "v2_code,fhircode\nX1,M\n")]);
    says(
        &mappings(&["check"], folder.path()).1,
        &["MaritalStatus.csv:1:1: error[M026]: a code table begins with the line"],
    );
}

#[test]
fn only_what_is_the_sites_own_is_told_to_be_unused() {
    let alone = Command::new(BINARY).args(["mappings", "check"]).output().unwrap();
    assert!(
        String::from_utf8(alone.stdout).unwrap().contains("warning[M030]: nothing uses the map"),
        "the core has some"
    );
    let text = "[table.MaritalStatuss]\nZ = \"M\"\n[table.Wards]\nfile = \"tables/wards.csv\"\n[ZPD.Patient.set]\nbirthDate = \"2 : date\"\n[PV1.Encounter.set]\n\"type[ward]\" = \"PV1-3.1 @Wards\"\n";
    let wards = "v2_code,fhir_code,display,system\n4W,ward-4,,https://eastbay.example/wards\n";
    let folder = site(&[("site.toml", text), ("tables/wards.csv", wards)]);
    let (code, said) = mappings(&["check"], folder.path());
    assert_eq!(code, Some(0), "{said}");
    says(
        &said,
        &[
            "site.toml:2:1: warning[M030]: nothing uses the code table MaritalStatuss",
            "help: did you mean `MaritalStatus`?",
            "site.toml:5:6: warning[M030]: nothing uses the map ZPD.Patient",
            "help: name it in a message map (`name = ZPD.Patient`)",
            "0 errors, 2 warnings",
        ],
    );
}

#[test]
fn what_fhir_does_not_allow_and_what_it_requires() {
    let text = "[structure.ADT_A01]\ninsert = { ZPD = \"after PD1\" }\n[ADT_A01]\nZPD = \"flag = ZPD.Flag; subject -> patient\"\n\
                [ZPD.Flag.set]\n\"code.text\" = \"2\"\n[PID.Patient.set]\n\"birthDate.value\" = \"7 : date\"\n\"name[a].given.first\" = \"5[1].2\"\n\
                \"name[b].given.extension(x)\" = \"5[1].2\"\n\"birthDate.extension(https://eastbay.example/x)\" = \"5[1].3\"\n\"communication[z].preferred\" = \"'true'\"\n";
    let folder = site(&[("site.toml", text)]);
    let (code, said) = mappings(&["check"], folder.path());
    assert_eq!(code, Some(1), "{said}");
    says(
        &said,
        &[
            "site.toml:5:6: warning[M028]: FHIR requires `status` of Flag, and no row here writes it",
            "help: add a row for it, such as `status = ",
            "site.toml:8:1: error[M012]: `birthDate` is a primitive: it has no element `value`",
            "help: write its value, `birthDate = …`",
            "site.toml:9:1: error[M012]: `given` is a primitive: it has no element `first`",
            "site.toml:10:1: error[M012]: `given` repeats: an extension cannot say to which of its values it belongs",
            "site.toml:12:1: warning[M028]: FHIR requires `language` of Patient.communication, and no row here writes it",
            "3 errors, 2 warnings",
        ],
    );
    assert!(!said.contains("`subject`"), "the link writes it: {said}");
    let good = text.replace("\"code.text\" = \"2\"", "\"code.text\" = \"2\"\nstatus = \"'active'\"");
    assert!(!mappings(&["check"], site(&[("site.toml", &good)]).path()).1.contains("of Flag"));
}

#[test]
fn mistakes_without_a_near_name_have_a_remedy_too() {
    let text = "[ZPD.Qqqqqqqq.set]\nx = \"1\"\n[PID.Patient.set]\nmaritalStatus = \"16[1] : CWE.CodeableConcept @Qqqqqqqqqqqq\"\n\"name[q]\" = \"5[1] : QQQ.Qqqqqqqqqqqq\"\nbirthDate = \"7 : qqqqqqqqq\"\n\
                [ADT_A01]\nPV2 = \"PV2.Encounter\"\n";
    let folder = site(&[("site.toml", text)]);
    let (code, said) = mappings(&["check"], folder.path());
    assert_eq!(code, Some(1), "{said}");
    let mut lines = said.lines();
    for (mistake, help) in [
        ("error[M013]: FHIR R4 has no type `Qqqqqqqq`", "a resource or datatype of FHIR R4, such as `Patient`"),
        ("error[M015]: there is no code table `Qqqqqqqqqqqq`", "the file `tables/Qqqqqqqqqqqq.csv`"),
        ("error[M014]: there is no map `QQQ.Qqqqqqqqqqqq`", "`handoff mappings list` names the maps"),
        ("error[M013]: `qqqqqqqqq` is neither", "a primitive type such as `date`, or a map"),
        ("error[M005]: expected `name = Map`", "such as `cov = IN1.Coverage; beneficiary -> patient if 1 valued`"),
    ] {
        assert!(lines.any(|line| line.contains(mistake)), "{mistake}: {said}");
        assert!(lines.by_ref().take(3).any(|line| line.contains(help)), "{help}: {said}");
    }
}

#[test]
fn a_site_with_a_when_is_shown() {
    let text = "[profile]\nnamespace = \"https://eastbay.example\"\nwhen = { MSH-4 = \"EASTBAY\" }\n[PID.Patient.set]\nbirthDate = \"8 : date\"\n[table.Wards]\nA = \"b\"\n";
    let folder = site(&[("site.toml", text)]);
    let (code, said) = mappings(&["show", "PID.Patient"], folder.path());
    let (everybody, some) = said.split_once("\nmessages that meet the `when` of the site:\n").expect(&said);
    assert_eq!(code, Some(0));
    assert!(everybody.contains("birthDate") && !everybody.contains("site.toml"), "{everybody}");
    assert!(some.lines().any(|line| line.contains("birthDate") && line.ends_with("site.toml:5")), "{some}");
    let (code, said) = mappings(&["show", "Wards"], folder.path());
    assert!(code == Some(0) && said.starts_with("table Wards, 1 row\n"), "{said}");
    let (_, said) = mappings(&["show", "PID.Patient", "--format", "json"], folder.path());
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["when"][0]["layer"], "site", "{said}");
    let (_, said) = mappings(&["show", "AdministrativeSex"], folder.path());
    assert!(!said.contains("messages that meet"), "the same for all: {said}");
    assert!(mappings(&["list"], folder.path()).1.contains("\nmessages that meet the `when` of the site:\n"));
}
