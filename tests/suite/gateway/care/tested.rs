//! `$self-test`: a synthetic event goes the whole way of one subscription, and nobody else hears of it.
use super::enveloped::{check_notification, golden, normal};
use super::*;

/// Whether it arrived, and what each stage says.
fn test(care: &Care, who: &str, id: &str) -> (bool, Vec<(String, bool, String)>) {
    let answer = care.ask(who, "POST", &format!("/fhir/Subscription/{id}/$self-test"), None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    assert_eq!(crate::validity::shaped(&answer), Vec::<String>::new());
    let stages = answer["parameter"].as_array().unwrap().iter().filter(|one| one["name"] == "stage");
    let stage =
        |one: &Value| (text_of(one, "name"), part(one, "passed")["valueBoolean"] == true, text_of(one, "detail"));
    (part(&answer, "result")["valueBoolean"] == true, stages.map(stage).collect())
}

fn stage(name: &str, passed: bool, text: &str) -> (String, bool, String) {
    (name.into(), passed, text.into())
}

fn is_marked(resource: &Value) -> bool {
    let labels = resource["meta"]["security"].as_array().unwrap();
    labels.contains(&json!({ "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST" }))
}

/// A filter in place of the panel.
fn filtered(topic: &str, address: &str, filters: &[&str]) -> Value {
    let mut asked = subscription(topic, address, "id-only");
    let filter = |text: &&str| json!({ "url": format!("{EXTENSIONS}backport-filter-criteria"), "valueString": text });
    asked["_criteria"]["extension"] = filters.iter().map(filter).collect();
    asked
}

#[test]
fn a_test_arrives_marked_and_disturbs_nothing() {
    let began = jiff::Timestamp::now();
    let (web, beside) = (receiver(), receiver());
    let recipients = recipient("aco-cm", "full-resource", "") + &recipient("other", "full-resource", "");
    let care = Care::start("", &recipients);
    let mut asked = subscription("discharge", &web.address, "full-resource");
    asked["id"] = "tested".into();
    assert_eq!(care.ask("aco-cm", "PUT", "/fhir/Subscription/tested", Some(&asked)).status, 201);
    let id = "tested".to_owned();
    let other = care.subscribe("other", &subscription("discharge", &beside.address, "full-resource"));
    let loops = care.subscribe("other", &subscription("open-loop", &beside.address, "full-resource"));
    for (who, id) in [("aco-cm", &id), ("other", &other), ("other", &loops)] {
        care.wait_for_state(who, id, "active");
    }
    let opened = || -> i64 {
        let data = care.gateway.data();
        let sql = "SELECT (SELECT count(*) FROM loop) + (SELECT count(*) FROM subscription_event) + (SELECT count(*) FROM telling)";
        database(&data).query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let (passed, stages) = test(&care, "aco-cm", &id);
    let expected = [
        stage("match", true, "discharge"),
        stage("gate", true, "full-resource: Encounter, Organization, Patient"),
        stage("delivery", true, "the endpoint answered 200"),
    ];
    assert_eq!((passed, stages.as_slice()), (true, expected.as_slice()));
    let told = notifications(&web.requests(), "event-notification").pop().unwrap();
    check_notification(&told, "full-resource");
    assert!(is_marked(&told) && told["entry"].as_array().unwrap().iter().all(|entry| is_marked(&entry["resource"])));
    golden("self-test.json", &normal(&told, began));
    let entry = audit(&care).pop().unwrap();
    assert_eq!((&entry["event"]["outcome"], &entry["event"]["subtype"][0]["code"]), (&"0".into(), &"disclose".into()));

    assert_eq!(opened(), 0, "no loop, no number");

    // What happens behind it is the first.
    care.send(&[M2]);
    let first = wait_for("the discharge", || notifications(&web.requests(), "event-notification").into_iter().nth(1));
    assert_eq!(events_in(&first)[0].0, 1);
    care.wait_for_events("other", &other, 1);
    let of_other = |told: &Value| text_of(&told["entry"][0]["resource"], "subscription").ends_with(&other);
    let told =
        wait_for("the other", || notifications(&beside.requests(), "event-notification").into_iter().find(of_other));
    assert_eq!(events_in(&told)[0].0, 1);
    assert!(beside.requests().iter().all(|request| !request.json().to_string().contains("HTEST")));
    assert!(opened() > 0);
    assert_eq!(events_in(&care.events("aco-cm", &id, 0)).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
    assert_eq!(care.ask("other", "POST", &format!("/fhir/Subscription/{id}/$self-test"), None).status, 404);
    assert_eq!(care.ask("nobody", "POST", &format!("/fhir/Subscription/{id}/$self-test"), None).status, 401);
    care.gateway.stop();
}

#[test]
fn a_test_says_where_it_ended() {
    let web = Web::start(|request| says(if request.earlier == 1 { "503 Service Unavailable" } else { "200 OK" }));
    let keys = "clear = [\"PSY\"]";
    let care = Care::start("", &recipient("aco-cm", "id-only", keys));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    let (passed, stages) = test(&care, "aco-cm", &id);
    assert_eq!((passed, stages.last().unwrap()), (false, &stage("delivery", false, "the endpoint answered 503")));
    let last = audit(&care).pop().unwrap();
    assert_eq!((&last["event"]["outcome"], &last["event"]["outcomeDesc"]), (&"4".into(), &"not-taken".into()));
    assert_eq!(care.get("aco-cm", &format!("/fhir/Subscription/{id}"))["status"], "active", "it stands as before");
    assert!(test(&care, "aco-cm", &id).0);

    let address = web.address.as_str();
    let ask = |asked: Value| {
        let id = care.subscribe("aco-cm", &asked);
        test(&care, "aco-cm", &id)
    };
    let unmatched = stage("match", false, "nothing that could happen meets all of its filters");
    assert_eq!(ask(filtered("admission", address, &["class=IMP", "class=EMER"])), (false, vec![unmatched]));
    let matched = stage("match", true, "admission");
    let unseen = stage("gate", false, "withheld: it filters by what the recipient may not see");
    for filter in ["_security=SUD", "code=F10.20"] {
        assert_eq!(
            ask(filtered("admission", address, &[filter])),
            (false, vec![matched.clone(), unseen.clone()]),
            "{filter}"
        );
    }
    let secret = stage("gate", false, "withheld: policy");
    assert_eq!(ask(filtered("admission", address, &["facility=LAKERECOV"])), (false, vec![matched, secret]));
    for filters in [
        &["_security=PSY"][..],
        &["_security=http://terminology.hl7.org/CodeSystem/v3-ActCode|PSY"],
        &["patient=Patient/p1&class=OBSENC&type=observation&trigger=A01&facility=SBMC"],
    ] {
        assert!(ask(filtered("admission", address, filters)).0, "{filters:?}");
    }
    let mut empty = filtered("admission", address, &["class=IMP"]);
    empty["channel"]["_payload"]["extension"][0]["valueCode"] = "empty".into();
    assert_eq!(ask(empty).1[1], stage("gate", true, "empty"));
    let mut off = subscription("admission", address, "id-only");
    off["status"] = "off".into();
    assert_eq!(ask(off).1, [stage("match", false, "it is off: set status to requested")]);
    care.gateway.stop();
}

/// Whoever gets ids reads what they stand for, of a test as of anything else.
#[test]
fn what_a_test_refers_to_can_be_read() {
    let web = receiver();
    let few = recipient("few", "full-resource", "fields_profile = \"cop-minimum\"");
    let care = Care::start("", &(recipient("aco-cm", "id-only", "") + &few));
    let of_few = care.subscribe("few", &subscription("care-flag", &web.address, "full-resource"));
    let number = stage("gate", true, "number and time alone: what it is about is not for the recipient");
    assert_eq!(test(&care, "few", &of_few).1[1], number);
    let id = care.subscribe("aco-cm", &subscription("open-loop", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    assert!(test(&care, "aco-cm", &id).0);
    let told = notifications(&web.requests(), "event-notification").pop().unwrap();
    check_notification(&told, "id-only");
    assert!(is_marked(&told));
    let entries = told["entry"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    for entry in &entries[1..] {
        let url = entry["request"]["url"].as_str().unwrap();
        let read = care.get("aco-cm", &format!("/fhir/{url}"));
        assert!(is_marked(&read) && read["resourceType"] == *url.split('/').next().unwrap(), "{read}");
    }
    care.gateway.stop();
}

#[test]
fn every_channel_can_be_tested() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "full-resource", ""));
    let mut asked = subscription("admission", &web.address, "full-resource");
    asked["channel"]["type"] = "message".into();
    let id = care.subscribe("aco-cm", &asked);
    care.wait_for_state("aco-cm", &id, "active");
    assert!(test(&care, "aco-cm", &id).0);
    let message = web.requests()[1].json();
    let entries = message["entry"].as_array().unwrap();
    assert!(is_marked(&message) && entries.iter().all(|entry| is_marked(&entry["resource"])));
    check_notification(&entries[1]["resource"], "full-resource");

    let custom =
        json!({ "url": format!("{EXTENSIONS}backport-channel-type"), "valueCoding": { "code": "davinci-alert" } });
    asked["channel"]["_type"] = json!({ "extension": [custom] });
    let id = care.subscribe("aco-cm", &asked);
    assert!(test(&care, "aco-cm", &id).0);
    let alert = web.requests()[2].json();
    let header = &alert["entry"][0]["resource"];
    assert!(is_marked(&alert) && is_marked(header) && header["eventCoding"]["code"] == "notification-admit");

    asked["channel"]["type"] = "websocket".into();
    asked["channel"].as_object_mut().unwrap().remove("_type");
    let id = care.subscribe("aco-cm", &asked);
    let (passed, stages) = test(&care, "aco-cm", &id);
    assert_eq!((passed, stages.last().unwrap()), (false, &stage("delivery", false, "no websocket is bound to it")));
    care.gateway.stop();
}
