//! Matches that somebody has to look at: nobody is told until it is decided, and how a match comes about.
use super::*;

/// A message about somebody else who has the same MBI.
pub fn doubtful(message: &str) -> String {
    message.replace("OKAFOR^MARISOL", "LINDQVIST^OLE").replace("19510314", "19770809")
}

fn begin(web: &Web) -> Care {
    let care = Care::start_with("", &recipient("aco-cm", "id-only", ""), "");
    for topic in ["admission", "discharge"] {
        let mut resource = subscription(topic, &web.address, "id-only");
        resource["id"] = topic.into();
        let put = care.ask("aco-cm", "PUT", &format!("/fhir/Subscription/{topic}"), Some(&resource));
        assert_eq!(put.status, 201, "{}", put.body);
        care.wait_for_state("aco-cm", topic, "active");
    }
    care
}

fn reviews(care: &Care, role: &str, query: &str) -> Value {
    let answer = care.operate(role, "GET", &format!("rosters/reviews{query}"), None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["reviews"].clone()
}

fn decide(care: &Care, role: &str, id: u64, body: &Value) -> u16 {
    care.operate(role, "POST", &format!("rosters/reviews/{id}"), Some(body)).status
}

#[test]
fn nobody_is_told_of_a_doubtful_match_until_it_is_decided() {
    let web = receiver();
    let care = begin(&web);
    assert_eq!(reviews(&care, "operator", ""), json!([]));
    care.send(&[&doubtful(M1)]);
    care.wait_until_read(1);

    let seen = reviews(&care, "operator", "?panel=aco-lakeshore");
    let review = &seen[0];
    assert_eq!((&review["id"], &review["reason"], &review["messages"]), (&1.into(), &"guard".into(), &1.into()));
    assert_eq!((&review["panels"], &review["decision"]), (&json!(["aco-lakeshore"]), &Value::Null));
    let person = review["candidates"][0]["key"].as_str().unwrap().to_owned();
    // No years: those are in the fractions of many times.
    let names = ["LINDQVIST", "OLE", "19770809", "OKAFOR", "19510314", "1EG4TE5MK73", "00718243"];
    assert!(names.iter().all(|name| !seen.to_string().contains(name)), "{seen}");
    let seen = reviews(&care, "phi-reader", "").to_string();
    for name in names {
        assert!(seen.contains(name), "{name}: {seen}");
    }
    for query in ["?panel=another", "?state=decided", "?after=1"] {
        assert_eq!(reviews(&care, "operator", query), json!([]), "{query}");
    }
    for query in ["?state=x", "?limit=0", "?nonsense=1", "?after=18446744073709551615"] {
        let path = format!("rosters/reviews{query}");
        assert_eq!(care.operate("operator", "GET", &path, None).status, 400, "{query}");
    }

    // Who may see whom it is about decides nothing; who says nothing has not decided that it is nobody.
    let stranger = json!({ "person": "00000000-0000-0000-0000-000000000000" });
    assert_eq!(decide(&care, "phi-reader", 1, &json!({ "person": person })), 403);
    assert_eq!(decide(&care, "operator", 1, &json!({})), 400);
    assert_eq!(decide(&care, "operator", 1, &json!({ "person": "x" })), 400);
    assert_eq!(decide(&care, "operator", 1, &stranger), 422);
    assert_eq!(decide(&care, "operator", 9, &json!({ "person": person })), 404);
    let (code, said) = care.operate_by_command("operator", &["rosters", "reviews", "list"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("guard") && said.contains(&person), "{said}");
    let (code, said) = care.operate_by_command("operator", &["rosters", "reviews", "decide", "1", &person]);
    assert_eq!((code, said.contains("numbers, from now on")), (Some(0), true), "{said}");
    let decided = reviews(&care, "operator", "?state=decided");
    assert_eq!(
        (&decided[0]["decision"]["person"], &decided[0]["decision"]["by"]),
        (&person.into(), &"the-operator".into())
    );
    assert_eq!(reviews(&care, "operator", ""), json!([]));

    // From here on it is told; what came before is not.
    care.send(&[&doubtful(M2)]);
    care.wait_for_events("aco-cm", "discharge", 1);
    care.wait_for_events("aco-cm", "admission", 0);
    wait_for("the notification", || notifications(&web.requests(), "event-notification").pop());
    let explained = care.operate("phi-reader", "POST", "rosters/explain", Some(&json!({ "seq": 2 }))).json();
    assert_eq!(explained["match"], "decided", "{explained}");

    let log = care.gateway.log();
    assert!(log.contains("review decided") && names.iter().all(|name| !log.contains(name)), "{log}");
    // The same when the journal is read again.
    let care = care.kill_and_make_anew();
    care.wait_for_events("aco-cm", "discharge", 1);
    care.wait_until_read(2);
    care.wait_for_events("aco-cm", "admission", 0);
    assert_eq!(reviews(&care, "operator", "?state=decided"), decided);
    care.gateway.stop();
}

#[test]
fn nobody_is_a_decision_too_and_the_number_of_a_member_stays_theirs() {
    let web = receiver();
    let care = begin(&web);
    care.send(&[&doubtful(M1)]);
    care.wait_until_read(1);
    let (code, said) = care.operate_by_command("operator", &["rosters", "reviews", "decide", "1", "--nobody"]);
    assert_eq!((code, said.contains("nobody, by 3 numbers")), (Some(0), true), "{said}");
    // The stranger is nobody, and no doubt any more; whose number it is is told of.
    let okafor =
        M2.replace("00718243", "00718299").replace("SB000188", "SB000189").replace("V20260302001", "V20260302009");
    care.send(&[&doubtful(M2), &okafor]);
    care.wait_for_events("aco-cm", "discharge", 1);
    care.wait_until_read(3);
    assert_eq!(reviews(&care, "operator", ""), json!([]));
    // Without a number of their own there is nothing to tell them by.
    let nameless = doubtful(M1)
        .replace("00718243^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR~", "")
        .replace("SB000101", "SB000102")
        .replace("V20260302001", "V20260302002");
    care.send(&[&nameless]);
    care.wait_until_read(4);
    let id = reviews(&care, "operator", "")[0]["id"].as_u64().unwrap();
    assert_eq!(decide(&care, "operator", id, &json!({ "person": null })), 409);
    care.gateway.stop();
}

#[test]
fn how_a_match_comes_about_is_for_those_who_may_read_messages() {
    let care = Care::start_with("", &recipient("aco-cm", "id-only", ""), "");
    care.send(&[M1]);
    care.wait_until_read(1);
    let explain = |role: &str, body: Value| care.operate(role, "POST", "rosters/explain", Some(&body));
    for role in ["viewer", "operator", "admin"] {
        assert_eq!(explain(role, json!({ "seq": 1 })).status, 403, "{role}");
    }
    let of_message = explain("phi-reader", json!({ "seq": 1 })).json();
    assert_eq!((&of_message["match"], &of_message["person"]["family"]), (&"strong".into(), &"OKAFOR".into()));
    assert_eq!(of_message["memberships"][0]["panel"], "aco-lakeshore");
    let mbi = json!({ "system": "http://hl7.org/fhir/sid/us-mbi", "value": "1EG4-TE5-MK73" });
    let described = json!({ "identifiers": [mbi], "family": "Okafor", "birth_date": "1951-03-14" });
    let found = explain("phi-reader", json!({ "patient": described })).json();
    assert_eq!((&found["match"], &found["person"]), (&"strong".into(), &of_message["person"]));
    let another = json!({ "identifiers": [mbi], "family": "Lindqvist", "birth_date": "1977-08-09" });
    let found = explain("phi-reader", json!({ "patient": another })).json();
    assert_eq!((&found["match"], &found["reason"]), (&"review".into(), &"guard".into()));
    assert_eq!(explain("phi-reader", json!({ "patient": {} })).json()["match"], "none");
    assert_eq!(explain("phi-reader", json!({ "seq": 1.0 })).json(), of_message);
    assert_eq!(explain("phi-reader", json!({ "seq": 99 })).status, 404);
    for wrong in [
        json!({}),
        json!({ "seq": 1, "patient": {} }),
        json!({ "patient": { "family": 7 } }),
        json!({ "seq": -1 }),
        json!([]),
    ] {
        let answer = explain("phi-reader", wrong);
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    let log = care.gateway.stop();
    assert!(log.contains("match explained") && !log.contains("OKAFOR") && !log.contains("Lindqvist"), "{log}");
}
