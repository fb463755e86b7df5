//! What `/fhir/metadata` says and what is answered are the same.
use super::*;
use handoff::fhir::shape;
use std::collections::{BTreeMap, BTreeSet};

/// How an interaction of a type is asked for.
fn request(kind: &str, code: &str) -> (&'static str, String) {
    match code {
        "read" => ("GET", format!("/fhir/{kind}/x")),
        "update" => ("PUT", format!("/fhir/{kind}/x")),
        "delete" => ("DELETE", format!("/fhir/{kind}/x")),
        "create" => ("POST", format!("/fhir/{kind}")),
        "search-type" => ("GET", format!("/fhir/{kind}")),
        other => panic!("{other}"),
    }
}

const INTERACTIONS: [&str; 5] = ["read", "update", "delete", "create", "search-type"];

/// Whether there is anything that answers. What stands behind it may well not be there.
fn is_answered(care: &Care, kind: &str, method: &str, path: &str) -> bool {
    let who = if ["Consent", "CareTeam", "Group"].contains(&kind) { "privacy-office" } else { "aco-cm" };
    let answer = care.ask(who, method, path, Some(&json!({})));
    assert!(![401, 429, 500].contains(&answer.status), "{method} {path}: {}", answer.body);
    let is_unknown = answer.status == 404 && answer.json()["issue"][0]["code"] == "not-supported";
    !is_unknown && answer.status != 405
}

#[test]
fn all_that_is_named_is_answered_and_all_that_is_answered_is_named() {
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let statement = care.get("nobody", "/fhir/metadata");
    assert_eq!(crate::validity::shaped(&statement), Vec::<String>::new());
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut operations = Vec::new();
    for resource in statement["rest"][0]["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        let codes = resource["interaction"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap());
        assert!(named.insert(kind, codes.collect()).is_none(), "{kind} stands twice");
        for operation in resource["operation"].as_array().into_iter().flatten() {
            assert!(operation["definition"].as_str().unwrap().contains("/OperationDefinition/"));
            operations.push((kind, operation["name"].as_str().unwrap()));
        }
    }
    for kind in shape::structured_types().into_iter().filter(|kind| shape::is_resource(kind)) {
        for code in INTERACTIONS {
            let (method, path) = request(kind, code);
            let is_named = named.get(kind).is_some_and(|codes| codes.contains(code));
            assert_eq!(is_answered(&care, kind, method, &path), is_named, "{code} of {kind}");
        }
    }
    assert_eq!(
        operations.iter().map(|(_, name)| *name).collect::<Vec<_>>(),
        [
            "status",
            "events",
            "get-ws-binding-token",
            "self-test",
            "member-add",
            "member-remove",
            "summary",
            "everything"
        ]
    );
    for (kind, name) in operations {
        assert!(is_answered(&care, kind, "POST", &format!("/fhir/{kind}/x/${name}")), "{name}");
    }
    for parameter in ["_id", "status", "url", "criteria"] {
        assert_eq!(care.get("aco-cm", &format!("/fhir/Subscription?{parameter}=x"))["total"], 0, "{parameter}");
    }
    care.gateway.stop();
}

#[test]
fn topics_are_found_as_r4_has_them() {
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let all = care.get("aco-cm", "/fhir/Basic?code=SubscriptionTopic");
    assert_eq!(crate::validity::shaped(&all), Vec::<String>::new());
    let statement = care.get("nobody", "/fhir/metadata");
    let advertised: BTreeSet<_> = statement["rest"][0]["resource"][0]["extension"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["valueCanonical"].as_str().unwrap().to_owned())
        .collect();
    let mut found = BTreeSet::new();
    for entry in all["entry"].as_array().unwrap() {
        let id = entry["resource"]["id"].as_str().unwrap();
        assert_eq!(care.get("aco-cm", &format!("/fhir/Basic/{id}")), entry["resource"]);
        assert_eq!(care.get("aco-cm", &format!("/fhir/SubscriptionTopic/{id}"))["resourceType"], "SubscriptionTopic");
        found.insert(entry["resource"]["extension"][0]["valueUri"].as_str().unwrap().to_owned());
    }
    assert_eq!(found, advertised);
    assert_eq!(care.get("aco-cm", "/fhir/Basic?code=other")["total"], 0);
    assert_eq!(care.ask("aco-cm", "GET", "/fhir/Basic?subject=x", None).status, 400);
    care.gateway.stop();
}

/// A recipient is no steward: it reads no consent that somebody put, and a steward writes none for it.
#[test]
fn consents_are_for_stewards() {
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    assert_eq!(care.ask("aco-cm", "GET", "/fhir/Consent/x", None).status, 404);
    for method in ["PUT", "DELETE"] {
        assert_eq!(care.ask("aco-cm", method, "/fhir/Consent/x", Some(&json!({}))).status, 401, "{method}");
    }
    assert_eq!(care.ask("nobody", "GET", "/fhir/Consent/x", None).status, 401);
    assert_eq!(care.ask("privacy-office", "GET", "/fhir/CareTeam/x", None).status, 404);
    care.gateway.stop();
}
