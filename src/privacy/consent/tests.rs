//! Consents as patients give and withdraw them.
use super::*;
use serde_json::json;

/// 2026-03-05T12:00Z.
const NOW: i64 = 1_772_712_000_000;

fn consent(provision: Value) -> Consent {
    with(json!({ "provision": provision }))
}

fn with(more: Value) -> Consent {
    let mut resource = json!({ "resourceType": "Consent", "status": "active", "scope": { "coding": [{ "code": "patient-privacy" }] }, "patient": { "reference": "Patient/p1" } });
    for (key, value) in more.as_object().unwrap() {
        resource[key] = value.clone();
    }
    Consent::parse(&resource).unwrap()
}

fn asked(label: Option<&'static str>) -> Asked<'static> {
    Asked {
        recipient: "aco-cm",
        purpose: "HOPERAT",
        panels: &[],
        label: label.map(|code| (code, "R")),
        now_ms: NOW,
        at_ms: NOW,
    }
}

fn said(consents: &[Consent], label: Option<&'static str>) -> Said {
    ask(consents, &asked(label))
}

fn actor(name: &str) -> Value {
    json!([{ "role": { "text": "recipient" }, "reference": { "reference": format!("Organization/{name}") } }])
}

const EXPLICIT: Said = Said::Permit { explicit: true };
const GENERAL: Said = Said::Permit { explicit: false };

#[test]
fn a_permit_names_recipient_and_label() {
    let given = consent(json!({ "type": "permit", "actor": actor("aco-cm"), "securityLabel": [{ "code": "SUD" }] }));
    assert_eq!(said(&[given], Some("SUD")), EXPLICIT);
    let given = consent(json!({ "type": "permit", "actor": actor("aco-cm"), "securityLabel": [{ "code": "SUD" }] }));
    assert_eq!([said(std::slice::from_ref(&given), Some("PSY")), said(&[given], None)], [Said::Nothing, Said::Nothing]);
    let other = consent(json!({ "type": "permit", "actor": actor("payer"), "securityLabel": [{ "code": "SUD" }] }));
    assert_eq!(said(&[other], Some("SUD")), Said::Nothing);
    let all = consent(json!({ "type": "permit" }));
    assert_eq!(said(&[all], Some("SUD")), GENERAL, "general, not by name");
    let by_number = json!([{ "reference": { "identifier": { "value": "aco-cm" } } }]);
    let given = consent(json!({ "type": "permit", "actor": by_number, "securityLabel": [{ "code": "SUD" }] }));
    assert_eq!(said(&[given], Some("SUD")), EXPLICIT);
}

#[test]
fn what_forbids_goes_first_across_consents() {
    let permit = consent(json!({ "type": "permit", "actor": actor("aco-cm"), "securityLabel": [{ "code": "SUD" }] }));
    let deny = consent(json!({ "type": "deny", "securityLabel": [{ "code": "SUD" }] }));
    assert_eq!(said(&[permit.clone(), deny.clone()], Some("SUD")), Said::Deny);
    assert_eq!(said(&[deny.clone(), permit], Some("SUD")), Said::Deny);
    assert_eq!(said(&[deny], None), Said::Nothing, "about what carries no label it says nothing");
    let by_level = consent(json!({ "type": "deny", "securityLabel": [{ "code": "R" }] }));
    assert_eq!(said(&[by_level], Some("PSY")), Said::Deny);
}

#[test]
fn nested_provisions_are_exceptions() {
    let only = with(
        json!({ "policyRule": { "coding": [{ "code": "OPTOUT" }] }, "provision": { "provision": [{ "type": "permit", "actor": actor("aco-cm") }] } }),
    );
    assert_eq!(said(std::slice::from_ref(&only), None), GENERAL);
    assert_eq!(ask(&[only], &Asked { recipient: "payer", ..asked(None) }), Said::Deny);
    let all_but = consent(
        json!({ "type": "permit", "provision": [{ "type": "deny", "securityLabel": [{ "code": "SUD" }], "provision": [{ "type": "permit", "actor": actor("aco-cm") }] }] }),
    );
    assert_eq!(
        said(std::slice::from_ref(&all_but), Some("SUD")),
        EXPLICIT,
        "the label is that of the provision around it"
    );
    assert_eq!(ask(&[all_but], &Asked { recipient: "payer", ..asked(Some("SUD")) }), Said::Deny);
    let both = consent(json!({ "provision": [{ "type": "permit" }, { "type": "deny", "actor": actor("aco-cm") }] }));
    assert_eq!(said(&[both], None), Said::Deny, "as deep as each other");
}

#[test]
fn periods_are_narrow_for_permits_and_wide_for_prohibitions() {
    let permit = |period: Value| said(&[consent(json!({ "type": "permit", "period": period }))], None);
    let deny = |period: Value| said(&[consent(json!({ "type": "deny", "period": period }))], None);
    let open = json!({ "start": "2026-01-01", "end": "2026-12-31" });
    assert_eq!((permit(open.clone()), deny(open)), (GENERAL, Said::Deny));
    let over = json!({ "end": "2026-03-05T11:59:59Z" });
    assert_eq!((permit(over.clone()), deny(over)), (Said::Nothing, Said::Nothing));
    let today = json!({ "end": "2026-03-05" });
    assert_eq!((permit(today.clone()), deny(today)), (Said::Nothing, Said::Deny), "in some zone the day is over");
    let month = json!({ "start": "2026-03" });
    assert_eq!((permit(month.clone()), deny(month)), (GENERAL, Said::Deny));
    let unreadable = json!({ "end": "soon" });
    assert_eq!((permit(unreadable.clone()), deny(unreadable)), (Said::Nothing, Said::Deny));
}

#[test]
fn what_cannot_be_judged_permits_nothing_and_forbids_all() {
    for more in [
        json!({ "code": [{ "text": "x" }] }),
        json!({ "class": [{ "code": "x" }] }),
        json!({ "data": [{ "meaning": "instance" }] }),
        json!({ "actor": [{ "role": { "text": "x" } }] }),
        json!({ "purpose": [{ "display": "x" }] }),
        json!({ "action": [{ "text": "x" }] }),
    ] {
        let said = |kind: &str| {
            let mut provision = more.clone();
            provision["type"] = json!(kind);
            said(&[consent(provision)], None)
        };
        assert_eq!((said("permit"), said("deny")), (Said::Nothing, Said::Deny), "{more}");
    }
    let purpose =
        |kind: &str, code: &str| said(&[consent(json!({ "type": kind, "purpose": [{ "code": code }] }))], None);
    assert_eq!(
        [
            purpose("permit", "HOPERAT"),
            purpose("permit", "TREAT"),
            purpose("deny", "HOPERAT"),
            purpose("deny", "TREAT")
        ],
        [GENERAL, Said::Nothing, Said::Deny, Said::Nothing]
    );
    let action = |kind: &str, code: &str| {
        said(&[consent(json!({ "type": kind, "action": [{ "coding": [{ "code": code }] }] }))], None)
    };
    assert_eq!(
        [
            action("permit", "disclose"),
            action("permit", "collect"),
            action("deny", "access"),
            action("deny", "correct")
        ],
        [GENERAL, Said::Nothing, Said::Deny, Said::Nothing]
    );
}

#[test]
fn one_that_does_not_hold_says_nothing() {
    for status in ["inactive", "rejected", "draft", "entered-in-error"] {
        let revoked = with(json!({ "status": status, "provision": { "type": "permit" } }));
        assert_eq!(said(&[revoked], None), Said::Nothing, "{status}");
    }
}

#[test]
fn mistakes_say_where() {
    let good = json!({ "resourceType": "Consent", "status": "active", "scope": { "coding": [{ "code": "patient-privacy" }] }, "patient": { "reference": "Patient/p1" }, "provision": { "type": "deny" } });
    assert!(Consent::parse(&good).is_ok());
    for (key, value, expected) in [
        ("resourceType", json!("Patient"), "resourceType"),
        ("status", json!("fine"), "Consent.status"),
        ("scope", json!({ "coding": [{ "code": "research" }] }), "Consent.scope"),
        ("patient", json!({ "display": "x" }), "Consent.patient"),
        ("provision", Value::Null, "Consent.provision"),
        ("provision", json!({ "provision": [{ "actor": [] }] }), "Consent.provision.type"),
        ("modifierExtension", json!([]), "Consent.modifierExtension"),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(Consent::parse(&bad).unwrap_err().to_string().contains(expected), "{expected}");
    }
    let mut deep = json!({ "type": "deny" });
    for _ in 0..PROVISION_DEPTH_MAX {
        deep = json!({ "type": "deny", "provision": [deep] });
    }
    let mut bad = good;
    bad["provision"] = deep;
    assert_eq!(Consent::parse(&bad), Err(ConsentError::TooMany));
}

#[test]
fn the_column_of_a_roster() {
    for (text, expected) in [
        ("", RosterConsent::Unknown),
        ("Y", RosterConsent::Permit(vec![])),
        (" opt-in ", RosterConsent::Permit(vec![])),
        ("Y:SUD, PSY", RosterConsent::Permit(vec!["SUD".into(), "PSY".into()])),
        ("N", RosterConsent::Deny),
        ("opt-out", RosterConsent::Deny),
        ("maybe", RosterConsent::Deny),
        (":SUD", RosterConsent::Deny),
    ] {
        assert_eq!(RosterConsent::parse(text), expected, "{text}");
    }
}
