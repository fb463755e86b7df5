//! What the CapabilityStatement says is there.
use super::*;
use std::collections::BTreeSet;

#[test]
fn topics_are_read_and_searched_as_r4_has_them() {
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let statement = care.get("aco-cm", "/fhir/metadata");
    let topics = statement["rest"][0]["resource"][0]["extension"].as_array().unwrap().len();
    let topic = care.get("aco-cm", "/fhir/Basic/discharge");
    assert_eq!(topic["extension"][0]["valueUri"], format!("{TOPICS}discharge"));
    for (query, count) in [
        ("", topics),
        ("?code=SubscriptionTopic", topics),
        ("?code=http://hl7.org/fhir/fhir-types%7CSubscriptionTopic", topics),
        ("?code=http://example.org%7CSubscriptionTopic", 0),
        ("?code=other", 0),
    ] {
        let found = care.get("aco-cm", &format!("/fhir/Basic{query}"));
        assert_eq!((&found["type"], &found["total"]), (&"searchset".into(), &count.into()), "{query}");
        assert_eq!(found.get("entry").map_or(0, |entries| entries.as_array().unwrap().len()), count, "{query}");
        assert!(count == 0 || found.to_string().contains(&topic.to_string()), "{query}");
    }
    assert_eq!(care.ask("aco-cm", "GET", "/fhir/Basic?name=x", None).status, 400);
    assert_eq!(care.ask("aco-cm", "GET", "/fhir/Basic/nonsense", None).status, 404);
    care.gateway.stop();
}

#[test]
fn several_subscriptions_are_asked_for_with_commas_or_one_by_one() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let ids: Vec<String> = ["admission", "discharge", "open-loop"]
        .map(|topic| care.subscribe("aco-cm", &subscription(topic, &web.address, "id-only")))
        .into();
    ids.iter().for_each(|id| care.wait_for_state("aco-cm", id, "active"));
    for (query, count) in [
        (String::new(), 3),
        (format!("?id={}", ids[0]), 1),
        (format!("?id={},{}", ids[0], ids[1]), 2),
        (format!("?id={}&id={}", ids[0], ids[1]), 2),
        (format!("?id={}&status=error&status=active", ids[2]), 1),
        ("?status=error".into(), 0),
    ] {
        let found = care.get("aco-cm", &format!("/fhir/Subscription/$status{query}"));
        assert_eq!(found["total"], count, "{query}");
    }
    let posted = |parameters: Value| {
        let body = json!({ "resourceType": "Parameters", "parameter": parameters });
        care.ask("aco-cm", "POST", "/fhir/Subscription/$status", Some(&body))
    };
    let one = |id: &str| json!({ "name": "id", "valueId": id });
    let active = json!({ "name": "status", "valueCode": "active" });
    for (parameters, count) in
        [(json!([]), 3), (json!([one(&ids[0]), one(&ids[1])]), 2), (json!([one(&ids[0]), active]), 1)]
    {
        assert_eq!(posted(parameters.clone()).json()["total"], count, "{parameters}");
    }
    assert_eq!(care.ask("aco-cm", "GET", "/fhir/Subscription/$status?name=x", None).status, 400);
    assert_eq!(posted(json!([{ "name": "name", "valueString": "x" }])).status, 400);
    assert_eq!(posted(json!([{ "name": "id", "valueInteger": 1 }])).status, 400);
    care.gateway.stop();
}

/// A Provenance of the header would be one of nothing: the header is not told.
#[test]
fn what_is_told_has_a_type_that_can_be_read_and_speaks_of_something() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "full-resource", ""));
    let mut asked = subscription("admission", &web.address, "full-resource");
    asked["criteria"] = "http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed".into();
    let id = care.subscribe("aco-cm", &asked);
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1, R1, R3]);
    care.wait_for_events("aco-cm", &id, 3);
    let statement = care.get("aco-cm", "/fhir/metadata");
    let all = statement["rest"][0]["resource"].as_array().unwrap();
    let stated: BTreeSet<_> = all.iter().map(|one| one["type"].as_str().unwrap()).collect();
    let events = care.events("aco-cm", &id, 1);
    let entries = &events["entry"].as_array().unwrap()[1..];
    let told: Vec<_> = entries.iter().map(|entry| &entry["resource"]).collect();
    let types: BTreeSet<_> = told.iter().map(|one| one["resourceType"].as_str().unwrap()).collect();
    assert!(types.is_subset(&stated), "{types:?}");
    assert!(["Appointment", "Encounter", "Provenance", "ServiceRequest"].iter().all(|one| types.contains(one)));
    for provenance in told.iter().filter(|one| one["resourceType"] == "Provenance") {
        let target = provenance["target"][0]["reference"].as_str().expect("it speaks of something");
        let speaks_of = told
            .iter()
            .any(|one| target == format!("{}/{}", one["resourceType"].as_str().unwrap(), one["id"].as_str().unwrap()));
        assert!(speaks_of, "{provenance}");
    }
    care.gateway.stop();
}
