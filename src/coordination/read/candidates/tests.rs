//! Tests of the rows of the table, each on a message as it might come.
use super::*;
use crate::hl7::Index;

/// What a message tells of, and what became nothing.
fn found(kind: &str, segments: &[&str]) -> Vec<String> {
    let raw = format!("MSH|^~\\&|A|B|||20260302||{kind}|1|P|2.5.1\r{}\r", segments.join("\r"));
    let mut index = Index::new();
    index.parse(raw.as_bytes()).unwrap();
    let reading = Reading::new(index.message(raw.as_bytes())).unwrap();
    let (code, trigger) = kind.split_once('^').unwrap();
    assert!(matters(code.as_bytes()));
    let mut reasons = Vec::new();
    let kinds = (code.as_bytes(), trigger.as_bytes());
    let found = candidates(reading, kinds, &TimeZone::UTC, |reason| reasons.push(format!("no: {}", reason.name())));
    let shown = found.iter().map(|candidate| {
        let pid = reading.find(candidate.patient.clone(), b"PID").unwrap();
        let mut text = format!("{} {} of {}", candidate.kind.name(), candidate.detail, reading.text(Some(pid), 3, 1));
        let others: Vec<_> = candidate.others.iter().map(|other| other.value.as_str()).collect();
        let number = |number: &Option<Number>| number.as_ref().map(|n| format!("{}^{}", n.value, n.authority));
        let parts = [
            ("others", (!others.is_empty()).then(|| others.join(" "))),
            ("referral", number(&candidate.referral)),
            ("at", candidate.at.map(|at| jiff::Timestamp::from_millisecond(at.ms).unwrap().to_string())),
        ];
        parts.into_iter().for_each(|(name, value)| text.extend(value.map(|value| format!(" {name} {value}"))));
        text
    });
    shown.chain(reasons).collect()
}

#[test]
fn identities() {
    for trigger in ["ADT^A18", "ADT^A34", "ADT^A40"] {
        assert_eq!(found(trigger, &["PID|1||1", "MRG|2~3"]), ["identity-merge  of 1 others 2 3"]);
    }
    let two = found("ADT^A40", &["PID|1||1", "PD1|", "MRG|2", "PID|2||4", "MRG||||5"]);
    assert_eq!(two, ["identity-merge  of 1 others 2", "identity-merge  of 4 others 5"]);
    assert_eq!(found("ADT^A37", &["PID|1||1", "DB1|1", "PID|2||2~3"]), ["unlink  of 1 others 2 3"]);
    assert!(found("ADT^A40", &["PID|1||1", "MRG|"]).is_empty());
    assert!(found("ADT^A08", &["PID|1||1", "MRG|2"]).is_empty());
}

#[test]
fn results() {
    let obr =
        |status: &str| format!("OBR|1|P{status}^A|F1|2345-7^Glucose^LN{}20260302080000|||{status}", "|".repeat(18));
    let one = |status: &str, states: &[&str]| {
        let obx: Vec<_> = states.iter().map(|state| format!("OBX|1|NM|2345-7^^LN||5||||||{state}")).collect();
        let obr = obr(status);
        let segments = ["PID|1||1", obr.as_str()].into_iter().chain(obx.iter().map(String::as_str)).collect::<Vec<_>>();
        found("ORU^R01", &segments).pop().unwrap()
    };
    assert_eq!(one("F", &["F"]), "result final of 1 referral PF^A at 2026-03-02T08:00:00Z");
    assert!(one("C", &["C"]).starts_with("result corrected"));
    assert!(one("F", &["F", "C"]).starts_with("result corrected"));
    assert!(one("", &["F", "F"]).starts_with("result final"));
    assert!(one("", &["C"]).starts_with("result corrected"));
    for (status, states) in [("P", &["F"][..]), ("I", &[]), ("X", &["X"]), ("", &["F", "P"]), ("", &[]), ("A", &["F"])]
    {
        assert_eq!(one(status, states), "no: not-final", "{status} {states:?}");
    }
    let groups = [
        "PID|1||1",
        "ORC|RE|O1^A",
        "OBR|1|||X|||||||||||||||||||||F",
        "OBX|1|NM|X||1",
        "ORC|RE|O2^A",
        "OBR|2|||X|||||||||||||||||||||P",
        "PID|2||2",
        "OBR|3|||X|||||||||||||||||||||F",
    ];
    assert_eq!(
        found("ORU^R01", &groups),
        ["result final of 1 referral O1^A", "result final of 2", "no: not-final"],
        "each order, and whose it is"
    );
}

#[test]
fn medication() {
    for (kind, control, detail) in [
        ("RDE^O11", "NW", "ordered"),
        ("OMP^O09", "XO", "changed"),
        ("RDE^O25", "DC", "stopped"),
        ("RDS^O13", "RE", "dispensed"),
    ] {
        let orc = format!("ORC|{control}|1");
        assert_eq!(found(kind, &["PID|1||1", &orc]), [format!("medication-change {detail} of 1")]);
    }
    assert_eq!(found("RDE^O11", &["PID|1||1", "ORC|NW|1", "ORC|DC|2"]), ["medication-change changed of 1"]);
}

#[test]
fn documents() {
    let segments = ["PID|1||1", "TXA|1|DS|TX|||||||||D1^A|D0^A|REF1^B|||LA"];
    for (trigger, detail) in
        [("T02", "original"), ("T04", "status"), ("T06", "addendum"), ("T08", "edit"), ("T10", "replacement")]
    {
        assert_eq!(found(&format!("MDM^{trigger}"), &segments), [format!("document {detail} of 1 referral REF1^B")]);
    }
    assert_eq!(found("MDM^T11", &segments), ["document-cancelled  of 1 referral REF1^B"]);
    for trigger in ["MDM^T01", "MDM^T03", "MDM^T09"] {
        assert!(found(trigger, &segments).is_empty(), "{trigger} has no content");
    }
}

#[test]
fn appointments() {
    let segments = ["SCH|P1|A77|||||||||^^30^20260311103000", "PID|1||1", "RGS|1", "AIP|1|A|7^B"];
    for (trigger, kind) in [
        ("S12", "appointment-booked "),
        ("S13", "appointment-changed rescheduled"),
        ("S14", "appointment-changed modified"),
        ("S15", "appointment-cancelled cancelled"),
        ("S16", "appointment-cancelled discontinued"),
        ("S17", "appointment-cancelled deleted"),
        ("S26", "appointment-no-show "),
    ] {
        assert_eq!(found(&format!("SIU^{trigger}"), &segments), [format!("{kind} of 1")]);
    }
    assert!(found("SIU^S18", &segments).is_empty());
    let group = ["SCH|P1", "PID|1||1", "PID|2||2", "RGS|1", "AIP|1|A|7^B"];
    assert_eq!(found("SIU^S12", &group), ["appointment-booked  of 1", "appointment-booked  of 2"]);
}

#[test]
fn orders() {
    let one = |kind: &str, orc: &str| found(kind, &["PID|1||1", orc]).pop().unwrap();
    for (kind, orc, expected) in [
        ("OMG^O19", "ORC|NW|R1^A", "requested"),
        ("OMG^O19", "ORC|CM|R1^A", "completed"),
        ("OMG^O19", "ORC|CA|R1^A", "cancelled"),
        ("OMG^O19", "ORC|SC|R1^A|||CM", "completed"),
        ("OSU^O51", "ORC|OK|R1^A|F1||IP", "accepted"),
        ("OSU^O51", "ORC|OK|R1^A|F1", "accepted"),
        ("OSU^O51", "ORC|OK|R1^A|F1||CM", "completed"),
        ("OSU^O51", "ORC|UA|R1^A|F1", "rejected"),
        ("OSU^O51", "ORC|OC|R1^A|F1", "cancelled"),
    ] {
        assert_eq!(one(kind, orc), format!("referral-{expected}  of 1 referral R1^A"), "{kind} {orc}");
    }
    for (kind, orc) in [("OMG^O19", "ORC|XO|R1"), ("OSU^O51", "ORC|NW|R1"), ("OSU^O51", "ORC|OK|R1|||HD")] {
        assert_eq!(one(kind, orc), "no: unknown-state", "{kind} {orc}");
    }
    let two = found("OMG^O19", &["PID|1||1", "ORC|NW|R1", "OBR|1", "ORC|CA|R2", "OBR|2"]);
    assert_eq!(two, ["referral-requested  of 1 referral R1^", "referral-cancelled  of 1 referral R2^"]);
}

#[test]
fn referrals() {
    let one = |kind: &str, rf1: &str| found(kind, &[rf1, "PRD|RP", "PID|1||1"]).pop().unwrap();
    for (kind, rf1, expected) in [
        ("REF^I12", "RF1|P|||||R1^A", "requested"),
        ("REF^I14", "RF1|P|||||R1^A", "cancelled"),
        ("RRI^I12", "RF1|A|||||R1^A", "accepted"),
        ("RRI^I13", "RF1|R||||||||||R1^A", "rejected"),
    ] {
        assert_eq!(one(kind, rf1), format!("referral-{expected}  of 1 referral R1^A"), "{kind} {rf1}");
    }
    for (kind, rf1) in [("RRI^I12", "RF1|P"), ("RRI^I14", "RF1|A"), ("REF^I13", "RF1|P"), ("RRI^I12", "RF1|E")] {
        assert_eq!(one(kind, rf1), "no: unknown-state", "{kind} {rf1}");
    }
}

#[test]
fn services() {
    let ft1 = |date: &str, kind: &str, code: &str| format!("FT1|1|||{date}||{kind}{}{code}", "|".repeat(19));
    let charges = [
        ft1("20260311", "CG", "1111F^^C4"),
        ft1("20260311", "CG", "99495^^C4"),
        ft1("20260312", "CR", "99495^^C4"),
        ft1("20260311", "CG", ""),
        ft1("20260313", "CG", "99496^^C4"),
    ];
    let segments: Vec<_> = std::iter::once("PID|1||1").chain(charges.iter().map(String::as_str)).collect();
    assert_eq!(
        found("DFT^P03", &segments),
        ["service-coded  of 1 at 2026-03-11T00:00:00Z", "service-coded  of 1 at 2026-03-13T00:00:00Z", "no: credit"]
    );
    let procedure = ["PID|1||1", "FT1|1|||||CG", "PR1|1||93000^^C4||20260311090000"];
    assert_eq!(found("DFT^P03", &procedure), ["service-coded  of 1 at 2026-03-11T09:00:00Z"]);
}

#[test]
fn there_is_a_limit() {
    let orders = vec!["ORC|NW|R1"; CANDIDATES_MAX + 1];
    let segments: Vec<_> = std::iter::once("PID|1||1").chain(orders).collect();
    let found = found("OMG^O19", &segments);
    assert_eq!((found.len(), found.last().map(String::as_str)), (CANDIDATES_MAX + 1, Some("no: too-many")));
}
