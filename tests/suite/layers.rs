//! Realm, site and feed: whose rules a message gets.
use handoff::mapping::diagnostic::Severity;
use handoff::mapping::source::{Layer, SourceFile};
use handoff::mapping::{Context, Plan, Scratch};
use serde_json::Value;
use std::process::Command;

fn message(application: &str, facility: &str) -> Vec<u8> {
    [
        &format!(r"MSH|^~\&|{application}|{facility}|||20240312081500||ORU^R01^ORU_R01|1|P|2.5.1"),
        "PID|1||77^^^HP^MR~1EG4TE5MK73^^^CMS^MC~987-65-4320^^^^SS||Reed^Ana||19700101|F||W^Weiss^L~2029-7^Asian Indian^CDCREC||||||||||||H^Hispanic^HL70189|||||||||||||||||170^Example tribe^HL70171",
        "PV1|1|I|W^1^2|R|||1234567893^Holt^Ira^^^^^^^L^^^NPI",
        "OBR|1|||718-7^Hemoglobin^LN|||20240312080000",
        "OBX|1|NM|718-7^Hemoglobin^LN||14|g/dL|||||FINAL||drawn twice",
        "OBX|2|CE|76689-9^Sex assigned at birth^LN||M^Male^HL70001||||||F",
        "",
    ]
    .join("\r")
    .into_bytes()
}

fn site() -> Plan {
    let layers = [("--site", "examples/site")];
    plan(&layers)
}

/// The plan that the command line makes of these options.
fn plan(options: &[(&str, &str)]) -> Plan {
    use handoff::cli::files::{Layers, load};
    let mut layers = Layers::default();
    for (option, value) in options {
        match *option {
            "--site" => layers.site = Some(value.into()),
            "--realm" => layers.realm.push((*value).into()),
            other => panic!("{other}"),
        }
    }
    load(&layers).unwrap()
}

fn resources(plan: &Plan, raw: &[u8]) -> (Vec<Value>, Vec<String>) {
    let mut scratch = Scratch::new();
    plan.translate(raw, &Context::default(), &mut scratch).unwrap();
    let bundle: Value = serde_json::from_slice(scratch.bundle()).unwrap();
    let mut index = handoff::hl7::Index::new();
    index.parse(raw).unwrap();
    let found = scratch.findings().iter().map(|finding| finding.render(plan, index.message(raw))).collect();
    (bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect(), found)
}

fn first<'v>(resources: &'v [Value], kind: &str) -> &'v Value {
    resources.iter().find(|resource| resource["resourceType"] == kind).unwrap_or(&Value::Null)
}

fn extension<'v>(resource: &'v Value, name: &str) -> &'v Value {
    let all = resource["extension"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|e| e["url"].as_str().is_some_and(|url| url.ends_with(name))).unwrap_or(&Value::Null)
}

#[test]
fn a_feed_sees_its_own_rules_the_site_its_own_and_everybody_else_neither() {
    let plan = site();
    let (old, _) = resources(&plan, &message("TIDEOLD", "HARBORPT"));
    let (own, found) = resources(&plan, &message("HPADT", "HARBORPT"));
    let (other, _) = resources(&plan, &message("TIDEOLD", "ELSEWHERE"));
    let status = |resources: &[Value]| first(resources, "Observation")["status"].clone();
    assert_eq!([status(&old), status(&own), status(&other)], ["final", "unknown", "unknown"]);
    let note = |resources: &[Value]| first(resources, "Observation")["note"][0]["text"].clone();
    assert_eq!([note(&old), note(&own), note(&other)], [Value::from("drawn twice"), Value::Null, Value::Null]);
    // The zone of the feed, of the site, and none.
    let effective = |resources: &[Value]| first(resources, "Observation")["effectiveDateTime"].clone();
    assert_eq!(
        [effective(&old), effective(&own), effective(&other)],
        ["2024-03-12T08:00:00+00:00", "2024-03-12T08:00:00-04:00", "2024-03-12"]
    );
    // A finding names the file of the plan that the message got.
    assert!(found.iter().any(|text| text.contains("messages/oru.toml")), "{found:?}");
    // One scratch serves them all, in any order.
    let mut scratch = Scratch::new();
    for (application, facility, expected) in [
        ("TIDEOLD", "HARBORPT", &old),
        ("HPADT", "HARBORPT", &own),
        ("TIDEOLD", "ELSEWHERE", &other),
        ("TIDEOLD", "HARBORPT", &old),
    ] {
        plan.translate(&message(application, facility), &Context::default(), &mut scratch).unwrap();
        let bundle: Value = serde_json::from_slice(scratch.bundle()).unwrap();
        let again: Vec<Value> =
            bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect();
        assert_eq!(&again, expected);
    }
}

#[test]
fn explain_names_the_rule_of_the_feed() {
    let plan = site();
    let mut scratch = Scratch::new();
    let raw = message("TIDEOLD", "HARBORPT");
    let explained = plan.explain(&raw, &Context::default(), Some("Observation.note"), &mut scratch).unwrap();
    let text = format!("{:?}", explained.values);
    assert!(text.contains("feeds/oldlab/feed.toml"), "{text}");
}

#[test]
fn us_core_is_there_when_it_is_asked_for_and_only_then() {
    let raw = message("HPADT", "X");
    let (core, _) = resources(&Plan::embedded(), &raw);
    assert_eq!(extension(first(&core, "Patient"), "us-core-race"), &Value::Null);
    let plan = plan(&[("--realm", "us")]);
    let (found, _) = resources(&plan, &raw);
    let patient = first(&found, "Patient");
    assert_eq!(patient["meta"]["profile"][0], "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient");
    let race = extension(patient, "us-core-race");
    assert_eq!(extension(race, "detailed")["valueCoding"]["code"], "2029-7");
    assert_eq!(extension(race, "ombCategory"), &Value::Null, "W is no code of the list; a site says what it means");
    assert_eq!(extension(race, "text")["valueString"], "Weiss, Asian Indian");
    assert_eq!(extension(extension(patient, "us-core-ethnicity"), "ombCategory")["valueCoding"]["code"], "2135-2");
    assert_eq!(extension(patient, "us-core-sex")["valueCoding"]["code"], "248152002");
    let tribe = extension(extension(patient, "us-core-tribal-affiliation"), "tribalAffiliation");
    assert_eq!(tribe["valueCodeableConcept"]["coding"][0]["code"], "170");
    assert_eq!(extension(patient, "patient-citizenship"), &Value::Null);
    let identifiers: Vec<(&str, &str)> = patient["identifier"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| (i["system"].as_str().unwrap(), i["value"].as_str().unwrap()))
        .collect();
    assert!(identifiers.contains(&("http://hl7.org/fhir/sid/us-mbi", "1EG4TE5MK73")), "{identifiers:?}");
    assert!(identifiers.contains(&("http://hl7.org/fhir/sid/us-ssn", "987654320")), "{identifiers:?}");
    assert_eq!(first(&found, "Practitioner")["identifier"][0]["system"], "http://hl7.org/fhir/sid/us-npi");
    // The site adds its own letter for a race.
    let (own, _) = resources(&site(), &message("HPADT", "HARBORPT"));
    assert_eq!(
        extension(extension(first(&own, "Patient"), "us-core-race"), "ombCategory")["valueCoding"]["code"],
        "2106-3"
    );
}

#[test]
fn birth_sex_comes_from_the_observation_of_an_admission() {
    let raw = String::from_utf8(message("HPADT", "X"))
        .unwrap()
        .replace("ORU^R01^ORU_R01", "ADT^A01^ADT_A01")
        .replace("OBR|1|||718-7^Hemoglobin^LN|||20240312080000\r", "");
    let (found, _) = resources(&plan(&[("--realm", "us")]), raw.as_bytes());
    assert_eq!(extension(first(&found, "Patient"), "us-core-birthsex")["valueCode"], "M");
}

#[test]
fn mistakes_in_layers_are_told_with_their_place() {
    let wrong = |layer: Layer, text: &str| {
        let mut files = Plan::embedded_files();
        files.push(SourceFile { name: "wrong.toml".into(), text: text.into(), layer });
        let Err((sources, diagnostics)) = Plan::load(files) else { panic!("loads: {text}") };
        let errors = diagnostics.sorted().into_iter().filter(|d| d.severity == Severity::Error);
        errors.map(|d| d.render(&sources)).collect::<String>()
    };
    let feed = || Layer::Feed("oldlab".into());
    for (layer, text, expected) in [
        (feed(), "[PID.Patient.set]\n", "feed oldlab does not say which messages it is about"),
        (Layer::Core, "[profile]\nwhen = { MSH-3 = \"A\" }\n", "`when` chooses a site or a feed"),
        (Layer::Site, "[profile]\nwhen = { PID-3 = \"A\" }\n", "`PID-3` is no field of MSH"),
        (Layer::Site, "[profil]\ntimezone = \"UTC\"\n", "there is no section `profil`"),
        (feed(), "[profile]\nwhen = { MSH-3 = \"A\" }\n[PID.Patient.set]\ngendre = \"8\"\n", "gendre"),
        (
            Layer::Site,
            "[profile]\nwhen = { MSH-3 = \"A\" }\n[PID.Patient.set]\ngender = \"8 @NoSuchTable\"\n",
            "NoSuchTable",
        ),
    ] {
        let told = wrong(layer, text);
        assert!(told.contains(expected) && told.contains("wrong.toml:"), "{text}: {told}");
    }
    let unknown =
        Command::new(env!("CARGO_BIN_EXE_handoff")).args(["mappings", "check", "--realm", "xx"]).output().unwrap();
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert!(!unknown.status.success() && told.contains("there is no realm `xx`; known: us"), "{told}");
}

#[test]
fn the_schema_for_editors_is_the_one_that_the_engine_prints() {
    let kept: Value =
        serde_json::from_str(&std::fs::read_to_string("docs/editor/mappings.schema.json").unwrap()).unwrap();
    let now = handoff::mapping::schema::schema();
    assert!(kept == now, "`handoff mappings schema > docs/editor/mappings.schema.json` writes it anew");
}

#[test]
fn a_when_is_compared_as_it_reads_in_the_charset_of_the_message() {
    let mut files = Plan::embedded_files();
    let text = "[profile]\nwhen = { MSH-3 = \"KÖLN\" }\n[table.AdministrativeSex]\nX9 = \"other\"\n";
    files.push(SourceFile { name: "koeln.toml".into(), text: text.into(), layer: Layer::Feed("koeln".into()) });
    let plan = Plan::load(files).map_err(|_| "does not load").unwrap().0;
    for (charset, name) in [
        ("8859/1", b"K\xD6LN".to_vec()),
        ("UNICODE UTF-8", "KÖLN".into()),
        ("GB 18030-2000", b"K\x81\x30\x89\x30LN".to_vec()),
    ] {
        let raw = [
            b"MSH|^~\\&|",
            name.as_slice(),
            b"|F|||20240312081500||ADT^A01^ADT_A01|1|P|2.5.1||||||",
            charset.as_bytes(),
            b"\rPID|1||77^^^HP^MR||Reed^Ana||1970|X9|||||||||||||||||||||||||||||X7\r",
        ]
        .concat();
        let (found, told) = resources(&plan, &raw);
        assert_eq!(first(&found, "Patient")["gender"], "other", "{charset}: {told:?}");
    }
}
