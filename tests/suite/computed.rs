//! What mappings compute, and what they read beside their own segment.
use super::fixtures::plan;
use base64::Engine as _;
use handoff::mapping::source::{Layer, SourceFile};
use handoff::mapping::{Context, FindingCode, Plan, Scratch};
use serde_json::Value;
use std::path::Path;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).join("message.hl7");
    std::fs::read_to_string(path).unwrap()
}

fn resources(plan: &Plan, message: &str, kind: &str) -> Vec<Value> {
    let mut scratch = Scratch::new();
    plan.translate(message.as_bytes(), &Context::default(), &mut scratch).unwrap();
    let bundle: Value = serde_json::from_slice(scratch.bundle()).unwrap();
    let entries = bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone());
    entries.filter(|resource| resource["resourceType"] == kind).collect()
}

/// Puts a segment behind the first that begins so.
fn behind(message: &str, start: &str, segment: &str) -> String {
    let mut lines: Vec<&str> = message.split_inclusive('\r').collect();
    let at = lines.iter().position(|line| line.starts_with(start)).unwrap();
    lines.insert(at + 1, segment);
    lines.concat()
}

fn without(message: &str, start: &str) -> String {
    message.split_inclusive('\r').filter(|line| !line.starts_with(start)).collect()
}

#[test]
fn a_dosage_has_its_dose_and_its_timing() {
    let message = fixture("RDE_O11/o11-encoded-order");
    let encoded = |message: &str| {
        let all = resources(plan(), message, "MedicationRequest");
        all.into_iter().find(|request| request["intent"] == "filler-order").unwrap()
    };
    let dosages = |message: &str| encoded(message)["dosageInstruction"].as_array().unwrap().clone();
    let one = dosages(&message);
    // Of the two TQ1 right below the order, the one behind RXE is its timing.
    assert_eq!(one[0]["timing"]["repeat"]["boundsPeriod"]["start"], "2024-03-12T14:00:00-05:00");
    assert_eq!(one[0]["timing"]["repeat"]["count"], 30);
    assert_eq!(one[0]["doseAndRate"].as_array().unwrap().len(), 1, "{one:?}");
    assert_eq!(one.iter().filter(|dosage| dosage.get("timing").is_some()).count(), 1, "{one:?}");
    // A second one, without the number that it should have, is not lost, and repeats no dose.
    let two = dosages(&behind(&message, "TQ1|1||Q8H&", "TQ1|||BID&Twice a day&HL70335\r"));
    assert_eq!((two.len(), &two[0]), (one.len() + 1, &one[0]), "{two:?}");
    assert_eq!(two.iter().filter(|dosage| dosage.get("doseAndRate").is_some()).count(), 1, "{two:?}");
    assert!(two.iter().any(|dosage| dosage["timing"]["code"]["coding"][0]["code"] == "BID"), "{two:?}");
}

#[test]
fn the_lines_of_a_document_are_one_attachment() {
    let message = fixture("MDM_T02/t02-operative-note");
    let text = |message: &str| {
        let document = resources(plan(), message, "DocumentReference").remove(0);
        let contents = document["content"].as_array().unwrap().clone();
        assert_eq!(contents.len(), 1, "{document}");
        assert_eq!(contents[0]["attachment"]["contentType"], "text/plain");
        let data = contents[0]["attachment"]["data"].as_str().unwrap();
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
    };
    let lines = text(&message);
    assert!(lines.starts_with("PREOPERATIVE DIAGNOSIS") && lines.ends_with("perforated."), "{lines}");
    let more = "OBX|9|FT|28573-1^Surgical operation note^LN||Erste Zeile\\.br\\zweite~caf\u{e9}||||||F\rOBX|10|TX|28573-1^Surgical operation note^LN||||||||F\rOBX|11|TX|28573-1^Surgical operation note^LN||Ende||||||F\r";
    let longer = text(&format!("{}{more}", message.trim_end_matches('\n')));
    assert_eq!(longer, format!("{lines}\nErste Zeile\nzweite\ncaf\u{e9}\n\nEnde"));
}

#[test]
fn an_appointment_ends_when_its_duration_has_passed() {
    let end = |message: &str| resources(plan(), message, "Appointment").remove(0)["end"].clone();
    let message = fixture("SIU_S12/s12-new-appointment").replace("|20240603094500-0400\r", "\r");
    assert!(message.contains("|45|min^minutes^UCUM||9990000120"), "SCH-9 and SCH-10");
    assert_eq!(end(&message), "2024-06-03T09:45:00-04:00");
    assert_eq!(
        end(&message.replace("|45|min^minutes^UCUM||99900", "|2|h^hour^UCUM||99900")),
        "2024-06-03T11:00:00-04:00"
    );
    // Without an own time SCH takes that of the services.
    assert_eq!(end(&without(&message, "TQ1")), "2024-06-03T09:45:00-04:00");
    for wrong in ["|many|min^minutes^UCUM||99900", "||min^minutes^UCUM||99900", "|45|mg^milligram^UCUM||99900"] {
        assert_eq!(end(&message.replace("|45|min^minutes^UCUM||99900", wrong)), Value::Null, "{wrong}");
    }
}

#[test]
fn codings_that_replace_those_of_a_spread_map_are_told() {
    let mut files = Plan::embedded_files();
    let text = "[OBR.ServiceRequest.set]\n\"orderDetail[own]\" = { \"*\" = \"44 : CWE.CodeableConcept\", \"coding[own]\" = \"coding(v2-0340, 44)\" }\n";
    files.push(SourceFile { name: "site/replace.toml".into(), text: text.into(), layer: Layer::Site });
    let Ok((plan, diagnostics)) = Plan::load(files) else { panic!("does not compile") };
    let shown: Vec<String> = diagnostics
        .sorted()
        .iter()
        .filter(|diagnostic| diagnostic.code.as_str() == "M027")
        .map(|diagnostic| diagnostic.render(plan.sources()))
        .collect();
    assert!(matches!(&shown[..], [one] if one.starts_with("site/replace.toml:2:")), "{shown:?}");
}

#[test]
fn a_link_to_a_choice_writes_the_choice() {
    let mut files = Plan::embedded_files();
    let text = "[RDE_O11.ORDER]\nRXC = \"drug += RXC.Medication; enc.medication[x] -> drug\"\n";
    files.push(SourceFile { name: "site/link.toml".into(), text: text.into(), layer: Layer::Site });
    let Ok((plan, _)) = Plan::load(files) else { panic!("does not compile") };
    let requests = resources(&plan, &fixture("RDE_O11/o11-encoded-order"), "MedicationRequest");
    for request in requests {
        let choices = request.as_object().unwrap().keys().filter(|key| key.starts_with("medication")).count();
        assert_eq!(choices, 1, "{request}");
    }
}

#[test]
fn a_table_that_decides_is_no_unmapped_code() {
    let mut scratch = Scratch::new();
    let raw = fixture("ADT_A01/a08-update");
    plan().translate(raw.as_bytes(), &Context::default(), &mut scratch).unwrap();
    let message = scratch.message(raw.as_bytes());
    let header = message.segment_span(0);
    let missed: Vec<_> = scratch
        .findings()
        .iter()
        .filter(|finding| finding.code == FindingCode::UnmappedCode && finding.span.start < header.end)
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}
