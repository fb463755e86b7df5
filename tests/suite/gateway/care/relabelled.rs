//! Labels that come after the messages: what is on a card already is judged by what it says, each resource of it.
use super::pictured::*;
use super::*;

const LATER: &str = r#"
[[coordination.label]]
code = "HIV"
conf = "R"
icd10_prefix = ["E11"]
codes = { rxnorm = ["7980"] }

[[coordination.label]]
code = "VIO"
facilities = ["LAKEPSY"]
"#;

fn seen(care: &Care, who: &str, person: &str) -> [Value; 2] {
    ["summary", "everything"].map(|operation| {
        let bundle = care.get(who, &format!("/fhir/Patient/{person}/${operation}"));
        is_closed(&bundle);
        is_valid(&bundle);
        bundle
    })
}

#[test]
fn labels_that_come_later_hold_for_what_is_on_a_card_already() {
    let recipients =
        recipient("aco-cm", "full-resource", "") + &recipient("cleared", "full-resource", "clear = [\"HIV\", \"VIO\"]");
    let named = told(
        "ADT^A08^ADT_A01",
        "SB000131",
        "AL1|1|DA|7980^Penicillin^RXNORM|SV|Hives\rAL1|2|DA|2670^Codeine^RXNORM|SV|Rash, seen at LAKEPSY\r",
    );
    let messages: Vec<String> = [M1.to_owned()].into_iter().chain(others()).chain([named]).collect();
    let (care, person) = start(&recipients, &messages);
    for bundle in seen(&care, "aco-cm", &person) {
        let text = bundle.to_string();
        assert!(["E11.9", "Penicillin", "Codeine", "LAKEPSY"].iter().all(|one| text.contains(one)), "{text}");
    }
    let id = |bundle: &Value, kind: &str, code: &str| {
        let found = of_kind(bundle, kind).into_iter().find(|one| one["code"].to_string().contains(code));
        key(found.unwrap_or_else(|| panic!("{code} in {bundle}"))).1
    };
    let [_, everything] = seen(&care, "aco-cm", &person);
    let secret = [
        ("Condition", id(&everything, "Condition", "E11.9")),
        ("AllergyIntolerance", id(&everything, "AllergyIntolerance", "7980")),
    ];

    let file = care.gateway.folder().join("handoff.toml");
    let care = care.kill_and_restart_after(|| {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("[coordination.subscriptions]", &format!("{LATER}\n[coordination.subscriptions]"));
        std::fs::write(&file, text).unwrap();
    });
    for bundle in seen(&care, "aco-cm", &person) {
        let text = bundle.to_string();
        assert!(!["E11.9", "Penicillin", "7980", "LAKEPSY"].iter().any(|one| text.contains(one)), "{text}");
        assert!(text.contains("I10"), "what carries nothing stays: {text}");
        assert!(text.contains("Codeine"), "only what names the place goes: {text}");
    }
    for (kind, id) in &secret {
        assert_eq!(care.ask("aco-cm", "GET", &format!("/fhir/{kind}/{id}"), None).status, 404, "{kind}");
    }
    for bundle in seen(&care, "cleared", &person) {
        let text = bundle.to_string();
        assert!(["E11.9", "Penicillin", "LAKEPSY"].iter().all(|one| text.contains(one)), "{text}");
        for (kind, id) in &secret {
            let found = of_kind(&bundle, kind).into_iter().find(|one| key(one).1 == *id).unwrap();
            let marks = found["meta"]["security"].to_string();
            assert!(marks.contains("\"HIV\"") && marks.contains("\"R\""), "{found}");
        }
        if bundle["type"] == "document" {
            assert_eq!(resources(&bundle)[0]["confidentiality"], "R");
        }
    }
    care.gateway.stop();
}

/// What a document shows can be read again by the address it stands under, also who told it.
#[test]
fn all_that_a_summary_shows_can_be_read() {
    let (care, person) = start(&recipient("aco-cm", "full-resource", ""), &story());
    let summary = care.get("aco-cm", &format!("/fhir/Patient/{person}/$summary"));
    let mut read = 0;
    for (kind, id) in resources(&summary).into_iter().map(key) {
        if matches!(kind.as_str(), "Composition" | "Device") {
            continue;
        }
        let answer = care.ask("aco-cm", "GET", &format!("/fhir/{kind}/{id}"), None);
        assert_eq!(answer.status, 200, "{kind}/{id}: {}", answer.body);
        read += usize::from(kind == "Provenance");
    }
    assert!(read > 3, "{read}");
    care.gateway.stop();
}
