//! Subscribers: the handshake, one notification of one admission, and what a receiver has missed.
use super::*;

/// What every entry of a history Bundle has.
fn is_history(bundle: &Value) -> bool {
    let entries = bundle["entry"].as_array().unwrap();
    bundle["type"] == "history"
        && entries[0]["resource"]["resourceType"] == "Parameters"
        && entries.iter().all(|entry| entry["request"]["method"].is_string() && entry["response"]["status"].is_string())
}

#[test]
fn an_admission_is_told_once_and_can_be_read() {
    let web = receiver();
    let care = Care::start("", &(recipient("aco-cm", "id-only", "") + &recipient("other", "id-only", "")));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    let other = care.subscribe("other", &subscription("discharge", &web.address, "id-only"));
    for (who, id) in [("aco-cm", &id), ("other", &other)] {
        care.wait_for_state(who, id, "active");
    }
    assert_eq!(notifications(&web.requests(), "handshake").len(), 2);
    let again =
        M1.replace("SB000101", "SB000102").replace("ADT^A01^ADT_A01", "ADT^A08^ADT_A01").replace("EVN|A01", "EVN|A08");
    care.send(&[M1, M1, &again]);
    care.wait_until_read(2);
    let told = wait_for("the notification", || notifications(&web.requests(), "event-notification").pop());
    // A discharge that comes behind is told too: then nothing is on its way any more.
    care.send(&[M2]);
    care.wait_for_events("other", &other, 1);
    let all =
        wait_for("both", || Some(notifications(&web.requests(), "event-notification")).filter(|all| all.len() >= 2));
    assert_eq!(all.len(), 2);
    care.wait_for_events("aco-cm", &id, 1);

    assert!(is_history(&told), "{told}");
    let status = &told["entry"][0]["resource"];
    assert_eq!(text_of(status, "events-since-subscription-start"), "1");
    assert_eq!((text_of(status, "status"), text_of(status, "topic")), ("active".into(), format!("{TOPICS}admission")));
    assert!(text_of(status, "subscription").ends_with(&format!("Subscription/{id}")));
    let events = events_in(&told);
    assert_eq!((events.len(), events[0].0), (1, 1));
    assert_eq!(text_of(&events[0].1, "timestamp"), "2026-03-02T14:08:00.000Z");
    let focus = text_of(&events[0].1, "focus");
    let encounter = focus.rsplit("/Encounter/").next().unwrap();
    assert!(focus.contains("/Encounter/"), "{focus}");
    assert!(!told.to_string().contains("OKAFOR") && !told.to_string().contains("1EG4TE5MK73"), "{told}");

    let path = format!("/fhir/Encounter/{encounter}");
    let read = care.get("aco-cm", &path);
    assert_eq!((&read["resourceType"], read["id"].as_str()), (&"Encounter".into(), Some(encounter)));
    assert_eq!(read["class"]["code"], "IMP");
    // Every other reference of the notification leads somewhere too.
    for entry in told["entry"].as_array().unwrap().iter().skip(1) {
        let url = entry["request"]["url"].as_str().unwrap();
        assert_eq!(care.get("aco-cm", &format!("/fhir/{url}"))["resourceType"], url.split('/').next().unwrap());
    }
    let unknown = care.ask("aco-cm", "GET", "/fhir/Encounter/00000000-0000-0000-0000-000000000000", None);
    assert_eq!((unknown.status, &unknown.json()["resourceType"]), (404, &"OperationOutcome".into()));
    for path in [&path, &format!("/fhir/Subscription/{id}"), &format!("/fhir/Subscription/{id}/$events")] {
        assert_eq!(care.ask("nobody", "GET", path, None).status, 401, "{path}");
    }
    for path in [format!("/fhir/Subscription/{id}"), format!("/fhir/Subscription/{id}/$events")] {
        assert_eq!(care.ask("other", "GET", &path, None).status, 404, "{path}");
    }
    let folder = care.gateway.folder().to_owned();
    let (code, said) = command(&folder, &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    let log = care.gateway.stop();
    assert!(!log.contains("OKAFOR") && !log.contains("1EG4TE5MK73"), "{log}");
}

/// Another recipient that was told of nothing of a visit does not find it.
#[test]
fn what_somebody_was_not_told_of_is_not_there() {
    let web = receiver();
    let care = Care::start("", &(recipient("aco-cm", "id-only", "") + &recipient("other", "id-only", "")));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1]);
    let told = wait_for("the notification", || notifications(&web.requests(), "event-notification").pop());
    let focus = text_of(&events_in(&told)[0].1, "focus");
    let path = format!("/fhir/Encounter/{}", focus.rsplit('/').next().unwrap());
    assert_eq!(care.ask("aco-cm", "GET", &path, None).status, 200);
    let answer = care.ask("other", "GET", &path, None);
    assert_eq!(answer.status, 404, "{}", answer.body);
    care.gateway.stop();
}

/// What the receiver answers in the test below.
#[derive(Default)]
struct Mood(std::sync::atomic::AtomicBool);

impl Mood {
    fn set(&self, refuses: bool) {
        self.0.store(refuses, std::sync::atomic::Ordering::SeqCst);
    }

    fn answer(&self) -> web::Answer {
        says(if self.0.load(std::sync::atomic::Ordering::SeqCst) { "500 Internal Server Error" } else { "200 OK" })
    }
}

#[test]
fn what_was_missed_is_counted_and_read_when_the_client_asks_again() {
    let mood = std::sync::Arc::new(Mood::default());
    let of_web = std::sync::Arc::clone(&mood);
    let web = Web::start(move |_| of_web.answer());
    let care = Care::start("attempts_max = 2", &recipient("aco-cm", "id-only", ""));
    let mut asked = subscription("patient-data-feed", &web.address, "id-only");
    asked["criteria"] = "http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed".into();
    asked["_criteria"]["extension"] = json!([
        { "url": format!("{EXTENSIONS}backport-filter-criteria"), "valueString": "Encounter?_in=Group/aco-lakeshore" },
        { "url": format!("{EXTENSIONS}backport-filter-criteria"), "valueString": "Encounter?trigger=admission,discharge" },
    ]);
    let id = care.subscribe("aco-cm", &asked);
    care.wait_for_state("aco-cm", &id, "active");
    mood.set(true);
    care.send(&[M1]);
    care.wait_for_state("aco-cm", &id, "error");
    let tried = notifications(&web.requests(), "event-notification");
    assert_eq!(tried.len(), 2, "as often as is tried");
    assert_eq!(tried[0]["id"], tried[1]["id"], "the same notification");
    let shown = care.get("aco-cm", &format!("/fhir/Subscription/{id}"));
    assert!(shown["error"].as_str().unwrap().contains("$events"), "{shown}");

    care.send(&[M2]);
    care.wait_for_events("aco-cm", &id, 2);
    let missed = care.events("aco-cm", &id, 2);
    assert_eq!(text_of(&missed["entry"][0]["resource"], "type"), "query-event");
    mood.set(false);
    // What it read is what it writes back, with another status.
    let mut again = shown;
    again["status"] = "requested".into();
    let put = care.ask("aco-cm", "PUT", &format!("/fhir/Subscription/{id}"), Some(&again));
    assert_eq!(put.status, 200, "{}", put.body);
    care.wait_for_state("aco-cm", &id, "active");
    let greetings = notifications(&web.requests(), "handshake");
    assert_eq!(greetings.len(), 2);
    assert_eq!(text_of(&greetings[1]["entry"][0]["resource"], "events-since-subscription-start"), "2");

    let answer = care.events("aco-cm", &id, 2);
    assert!(is_history(&answer), "{answer}");
    let events = events_in(&answer);
    assert_eq!((events.len(), events[0].0), (1, 2));
    assert_eq!(text_of(&events[0].1, "timestamp"), "2026-03-05T20:20:00.000Z");
    let triggers: Vec<_> =
        events[0].1["part"].as_array().unwrap().iter().filter(|one| one["name"] == "trigger").collect();
    assert!(triggers.iter().any(|one| one["valueCoding"]["code"] == "discharge"), "{triggers:?}");
    assert!(text_of(&events[0].1, "focus").contains("/Encounter/"));
    assert_eq!(events_in(&care.events("aco-cm", &id, 1)).len(), 2);
    assert!(events_in(&care.events("aco-cm", &id, 3)).is_empty());
    let status = care.get("aco-cm", &format!("/fhir/Subscription/{id}/$status"));
    assert_eq!((&status["type"], &status["total"]), (&"searchset".into(), &1.into()));
    assert_eq!(text_of(&status["entry"][0]["resource"], "status"), "active");
    for wrong in ["eventsSinceNumber=x", "content=all", "nonsense=1"] {
        let path = format!("/fhir/Subscription/{id}/$events?{wrong}");
        assert_eq!(care.ask("aco-cm", "GET", &path, None).status, 400, "{wrong}");
    }
    // The next one is told again; what was missed is not.
    care.send(&[&M1.replace("SB000101", "SB000900").replace("V20260302001", "V20260310001")]);
    care.wait_for_events("aco-cm", &id, 3);
    let told = wait_for("the third", || notifications(&web.requests(), "event-notification").into_iter().nth(2));
    assert_eq!(events_in(&told).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3]);
    care.gateway.stop();
}

#[test]
fn what_a_recipient_may_not_have_is_refused() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let asked = |topic: &str, content: &str| subscription(topic, &web.address, content);
    let mut elsewhere = asked("admission", "id-only");
    elsewhere["_criteria"]["extension"][0]["valueString"] = "_in=Group/aco-elsewhere".into();
    let mut filter = asked("admission", "id-only");
    filter["_criteria"]["extension"][0]["valueString"] = "shoe-size=44".into();
    let mut plain = asked("admission", "id-only");
    plain["channel"]["endpoint"] = "http://192.0.2.7/notify".into();
    for (what, resource) in [
        ("topic", asked("nonsense", "id-only")),
        ("not its topic", asked("transfer", "id-only")),
        ("content", asked("admission", "full-resource")),
        ("panel", elsewhere),
        ("filter", filter),
        ("endpoint", plain),
        ("nothing", json!({ "resourceType": "Subscription" })),
    ] {
        let answer = care.ask("aco-cm", "POST", "/fhir/Subscription", Some(&resource));
        assert_eq!((answer.status, &answer.json()["resourceType"]), (422, &"OperationOutcome".into()), "{what}");
    }
    assert_eq!(care.get("aco-cm", "/fhir/Subscription")["total"], 0);
    care.gateway.stop();
    assert!(web.requests().is_empty());
}

/// A message may tell of a consent, which stands where stewards put theirs: whoever was told of it reads it there.
#[test]
fn a_consent_of_a_message_is_read_by_who_was_told_of_it() {
    let web = receiver();
    let care = Care::start("", &(recipient("aco-cm", "id-only", "") + &recipient("other", "id-only", "")));
    let mut asked = subscription("patient-data-feed", &web.address, "id-only");
    asked["criteria"] = "http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed".into();
    let id = care.subscribe("aco-cm", &asked);
    care.wait_for_state("aco-cm", &id, "active");
    let consent = "CON|1|016^Operation/Procedure^HL70496|CF-12|CN-8801^SBDOC|||||||A^Active^HL70498|20260305180000-0500|20260305183000-0500\rOBX|1|";
    care.send(&[&M3.replace("2.5.1", "2.8.2").replacen("OBX|1|", consent, 1)]);
    let told = wait_for("the notification", || notifications(&web.requests(), "event-notification").pop());
    let urls = told["entry"].as_array().unwrap().iter().skip(1).map(|entry| entry["request"]["url"].as_str().unwrap());
    let urls: Vec<_> = urls.collect();
    let of_consent = *urls.iter().find(|url| url.starts_with("Consent/")).unwrap_or_else(|| panic!("{urls:?}"));
    for url in &urls {
        assert_eq!(care.get("aco-cm", &format!("/fhir/{url}"))["id"], url.split('/').nth(1).unwrap());
    }
    for who in ["other", "privacy-office"] {
        assert_eq!(care.ask(who, "GET", &format!("/fhir/{of_consent}"), None).status, 404, "{who}");
    }
    care.gateway.stop();
}
