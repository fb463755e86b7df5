//! What subscribers are sent: each kind of notification is the Bundle in `golden/`, shaped as the examples of its guide are, and valid R4.
//!
//! `HANDOFF_UPDATE=1 cargo test --test suite coordination` rewrites the goldens; read the difference before it is committed.
use crate::fixtures::plan;
use crate::golden::difference;
use crate::validity::{mistakes, shaped};
use handoff::coordination::Kind;
use handoff::coordination::subscription::capability::{self, Interface, Issue};
use handoff::coordination::subscription::channel::Content;
use handoff::coordination::subscription::notification::{self, About, STATUS_PROFILE, Telling};
use handoff::coordination::subscription::standing::{Fault, State};
use handoff::coordination::subscription::store::Told;
use handoff::coordination::subscription::synthetic;
use handoff::coordination::subscription::topic::{TOPICS, Topic, Topics, Trigger};
use handoff::mapping::{Context, Scratch};
use serde_json::{Value, json};
use std::path::Path;

/// 2026-03-05T20:21:00Z, when they are sent.
const NOW_MS: i64 = 1_772_742_060_000;

fn topics() -> Topics {
    Topics::new("https://handoff.example/fhir")
}

fn topic(id: &str) -> &'static Topic {
    TOPICS.iter().find(|topic| topic.id == id).unwrap()
}

fn about<'a>(topics: &'a Topics, on: &str, content: Content) -> About<'a> {
    About {
        base: "https://gateway.example/fhir",
        focus_base: "https://gateway.example/fhir",
        topics,
        id: "aco-discharges",
        topic: topic(on),
        content,
        state: State::Active,
        last: 2,
        fault: None,
    }
}

fn told(number: u8, kind: Kind, v2_event: &str, at_ms: i64) -> Told {
    Told {
        event: [number; 16],
        seq: u64::from(number),
        at_ms,
        received_ms: at_ms + 1000,
        trigger: Trigger::Event(kind),
        v2_event: v2_event.into(),
        focus: vec!["Encounter".into()],
    }
}

/// A stay, as a translation gives it: resources that refer to each other by `urn:uuid:`, the focus not the first.
fn resources(status: &str) -> Vec<Value> {
    let [patient, stay, doctor, hospital] =
        ["1", "2", "3", "4"].map(|n| format!("0000000{n}-0000-5000-8000-000000000000"));
    let urn = |id: &str| json!({"reference": format!("urn:uuid:{id}")});
    vec![
        json!({"resourceType": "Patient", "id": patient, "name": [{"family": "Okafor", "given": ["Marisol"]}]}),
        json!({"resourceType": "Organization", "id": hospital, "name": "SBMC"}),
        json!({"resourceType": "Practitioner", "id": doctor, "name": [{"family": "Halversen"}]}),
        json!({"resourceType": "Encounter", "id": stay, "status": status,
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
            "subject": urn(&patient), "participant": [{"individual": urn(&doctor)}], "serviceProvider": urn(&hospital),
            "basedOn": [urn("00000009-0000-5000-8000-000000000000")]}),
    ]
}

/// Compares with a golden; two runs give the same bytes.
fn golden(name: &str, make: impl Fn() -> Value) -> Value {
    let (found, again) = (make(), make());
    assert_eq!(found.to_string(), again.to_string(), "{name}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/coordination/golden").join(name);
    if std::env::var_os("HANDOFF_UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(difference(&expected, &found, ""), None, "{name} (HANDOFF_UPDATE=1 rewrites it)");
    found
}

/// What the guide asks of every notification (backport-subscription-notification-r4).
fn check_history(bundle: &Value) {
    assert_eq!(shaped(bundle), Vec::<String>::new());
    assert_eq!(bundle["type"], "history");
    let status = &bundle["entry"][0];
    assert_eq!(status["resource"]["meta"]["profile"], json!([STATUS_PROFILE]));
    assert_eq!(status["fullUrl"], format!("urn:uuid:{}", status["resource"]["id"].as_str().unwrap()));
    assert!(status["request"]["url"].as_str().unwrap().ends_with("/Subscription/aco-discharges/$status"));
    for entry in bundle["entry"].as_array().unwrap() {
        assert!(entry["request"]["method"].is_string() && entry["response"]["status"].is_string(), "bdl-3, bdl-4");
        for reference in references(entry) {
            let own = bundle["entry"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["fullUrl"].as_str().unwrap().ends_with(&format!("/{reference}")));
            assert!(reference.starts_with("https://gateway.example/fhir/") || own, "{reference}");
        }
    }
    for forbidden in ["total", "search"] {
        assert!(bundle.get(forbidden).is_none());
    }
}

fn references(value: &Value) -> Vec<String> {
    let (mut found, mut waiting) = (Vec::new(), vec![value]);
    while let Some(value) = waiting.pop() {
        found.extend(value["reference"].as_str().map(str::to_owned));
        waiting.extend(value.as_array().into_iter().flatten());
        waiting.extend(value.as_object().into_iter().flat_map(|object| object.values()));
    }
    found
}

/// Names and values of the parameters of the first entry, those of events flattened.
fn parameters(bundle: &Value) -> Vec<String> {
    let show = |prefix: &str, parameter: &Value| {
        let (_, value) = parameter.as_object().unwrap().iter().find(|(key, _)| key.starts_with("value")).unwrap();
        let value = value["reference"].as_str().or(value["code"].as_str()).or(value.as_str()).unwrap_or("…");
        format!("{prefix}{} {}", parameter["name"].as_str().unwrap(), value.rsplit('/').next().unwrap())
    };
    let all = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    all.iter()
        .flat_map(|parameter| match parameter["part"].as_array() {
            Some(parts) => parts.iter().map(|part| show(". ", part)).collect(),
            None => vec![show("", parameter)],
        })
        .collect()
}

#[test]
fn handshake_and_heartbeat_count_nothing() {
    let topics = topics();
    let requested = About { state: State::Requested, last: 0, ..about(&topics, "discharge", Content::IdOnly) };
    let handshake = golden("handshake.json", || requested.handshake(NOW_MS));
    check_history(&handshake);
    assert_eq!(
        parameters(&handshake),
        [
            "subscription aco-discharges",
            "topic discharge",
            "status requested",
            "type handshake",
            "events-since-subscription-start 0"
        ]
    );
    let active = about(&topics, "discharge", Content::IdOnly);
    let heartbeat = golden("heartbeat.json", || active.heartbeat(NOW_MS));
    check_history(&heartbeat);
    assert_eq!(parameters(&heartbeat)[3..], ["type heartbeat", "events-since-subscription-start 2"]);
    assert_ne!(active.heartbeat(NOW_MS)["id"], active.heartbeat(NOW_MS + 1)["id"]);
}

#[test]
fn events_are_told_as_much_as_was_asked_for() {
    let (topics, resources) = (topics(), resources("finished"));
    let told = told(2, Kind::Discharge, "A03", NOW_MS - 60_000);
    let event = [Telling { number: 2, told: &told, resources: Some(&resources) }];
    let common = ["status active", "type event-notification", "events-since-subscription-start 2", ". event-number 2"];

    let empty = golden("empty.json", || about(&topics, "discharge", Content::Empty).events(&event, NOW_MS));
    check_history(&empty);
    assert_eq!(parameters(&empty)[1..5], common, "no topic");
    assert_eq!(
        parameters(&empty)[5..],
        [". timestamp 2026-03-05T20:20:00.000Z", ". trigger discharge", ". trigger A03"]
    );
    assert_eq!(empty["entry"].as_array().unwrap().len(), 1);

    let id_only = golden("id-only.json", || about(&topics, "discharge", Content::IdOnly).events(&event, NOW_MS));
    check_history(&id_only);
    assert_eq!(parameters(&id_only)[2..6], common);
    assert_eq!(parameters(&id_only)[7], ". focus 00000002-0000-5000-8000-000000000000");
    assert_eq!(parameters(&id_only).iter().filter(|text| text.starts_with(". additional-context")).count(), 3);
    assert!(id_only["entry"].as_array().unwrap()[1..].iter().all(|entry| entry.get("resource").is_none()));
    assert!(!id_only.to_string().contains("Okafor"));

    let full = golden("full-resource.json", || {
        about(&topics, "patient-data-feed", Content::FullResource).events(&event, NOW_MS)
    });
    check_history(&full);
    assert_eq!(full["entry"][1]["resource"]["resourceType"], "Encounter", "the focus comes first");
    assert_eq!(full["entry"][1]["resource"]["subject"]["reference"], "Patient/00000001-0000-5000-8000-000000000000");
    assert!(parameters(&full).contains(&". trigger feed-event".to_owned()));
    let later = about(&topics, "patient-data-feed", Content::FullResource).events(&event, NOW_MS + 9000);
    assert_eq!(later["id"], full["id"], "what is sent again is the same notification");
}

#[test]
fn what_must_not_be_told_keeps_its_number_and_nothing_else() {
    let topics = topics();
    let (before, after) = (resources("in-progress"), resources("finished"));
    let admission = told(1, Kind::Admission, "A01", NOW_MS - 300_000);
    let (withheld, discharge) =
        (told(2, Kind::Death, "A08", NOW_MS - 200_000), told(3, Kind::Discharge, "A03", NOW_MS - 60_000));
    let events = [
        Telling { number: 1, told: &admission, resources: Some(&before) },
        Telling { number: 2, told: &withheld, resources: None },
        Telling { number: 3, told: &discharge, resources: Some(&after) },
    ];
    let about = About { last: 3, ..about(&topics, "patient-data-feed", Content::FullResource) };
    let answer = golden("query-event.json", || about.query_events(&events, NOW_MS));
    check_history(&answer);
    let parts = answer["entry"][0]["resource"]["parameter"][6]["part"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!((names, &parts[0]["valueString"]), (vec!["event-number", "timestamp"], &json!("2")));
    let states: Vec<_> =
        answer["entry"].as_array().unwrap().iter().filter_map(|entry| entry["resource"]["status"].as_str()).collect();
    assert_eq!(states, ["in-progress", "finished"], "as it was at each event");
    assert_eq!(answer["entry"].as_array().unwrap().len(), 1 + 4 + 1, "who has not changed stands once");
    // The same where the gate took the focus out: the patient alone would tell.
    let rest = [Telling { number: 3, told: &discharge, resources: Some(&after[..3]) }];
    for content in [Content::IdOnly, Content::FullResource] {
        let notification = About { content, ..about.clone() }.events(&rest, NOW_MS);
        assert_eq!(notification["entry"].as_array().unwrap().len(), 1);
        assert!(
            !notification.to_string().contains("00000001-0000") && !notification.to_string().contains("\"discharge\"")
        );
    }
}

#[test]
fn status_tells_why_nothing_is_sent() {
    let topics = topics();
    let error =
        About { state: State::Error, fault: Some(Fault::NoResponse), ..about(&topics, "discharge", Content::Empty) };
    let adjusted = About {
        id: "feed",
        state: State::Error,
        fault: Some(Fault::Adjusted),
        last: 0,
        ..about(&topics, "patient-data-feed", Content::IdOnly)
    };
    let answer = golden("query-status.json", || notification::status(&[error.clone(), adjusted.clone()], NOW_MS));
    assert_eq!(shaped(&answer), Vec::<String>::new());
    assert_eq!((&answer["type"], &answer["total"]), (&json!("searchset"), &json!(2)));
    assert_eq!(
        parameters(&answer)[1..],
        ["topic discharge", "status error", "type query-status", "events-since-subscription-start 2", "error …"]
    );
    for entry in answer["entry"].as_array().unwrap() {
        assert!(
            entry.get("request").is_none() && entry.get("response").is_none() && entry["search"]["mode"] == "match"
        );
    }
    assert_eq!(shaped(&notification::status(&[], NOW_MS)), Vec::<String>::new());
}

#[test]
fn messages_begin_with_their_header() {
    let (topics, resources) = (topics(), resources("finished"));
    let told = told(2, Kind::Discharge, "A03", NOW_MS - 60_000);
    let event = Telling { number: 2, told: &told, resources: Some(&resources) };
    let about = about(&topics, "discharge", Content::FullResource);
    let message = golden("message.json", || {
        let notification = about.events(std::slice::from_ref(&event), NOW_MS);
        about.message(notification, "https://client.example/fhir", NOW_MS)
    });
    assert_eq!(shaped(&message), Vec::<String>::new());
    check_history(&message["entry"][1]["resource"]);
    assert_eq!(message["entry"][0]["resource"]["focus"][0]["reference"], message["entry"][1]["fullUrl"]);

    let endpoint = "https://client.example/fhir/$process-message";
    let alert = golden("davinci.json", || {
        // Da Vinci's references stay within the Bundle; one that was taken out is none of them.
        about.davinci(&event, endpoint, NOW_MS).unwrap()
    });
    assert_eq!(mistakes(alert.to_string().as_bytes()), Vec::<String>::new());
    let types: Vec<_> = alert["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["resource"]["resourceType"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["MessageHeader", "Encounter", "Patient", "Practitioner", "Organization"]);
    let header = &alert["entry"][0]["resource"];
    assert_eq!(
        (&header["eventCoding"]["code"], &header["focus"][0]["reference"]),
        (&json!("notification-discharge"), &alert["entry"][1]["fullUrl"])
    );
    assert_eq!(
        (&header["sender"], &header["author"]["reference"]),
        (&header["responsible"], &alert["entry"][3]["fullUrl"])
    );
    assert!(alert.get("total").is_none());
    assert!(
        alert["entry"].as_array().unwrap().iter().all(|entry| entry
            .as_object()
            .unwrap()
            .keys()
            .eq(["fullUrl", "resource"]))
    );
    let cancelled = Told { trigger: Trigger::Event(Kind::DischargeCancelled), ..told.clone() };
    assert!(about.davinci(&Telling { told: &cancelled, ..event.clone() }, endpoint, NOW_MS).is_none());
    assert!(about.davinci(&Telling { resources: None, ..event }, endpoint, NOW_MS).is_none());
}

/// The messages of the story, translated, give valid notifications of every kind.
#[test]
fn translated_messages_make_valid_notifications() {
    let topics = topics();
    for (file, kind, v2_event, focus) in [
        ("m1.hl7", Kind::Admission, "A01", "Encounter"),
        ("m2.hl7", Kind::Discharge, "A03", "Encounter"),
        ("m3.hl7", Kind::Document, "T02", "DocumentReference"),
        ("r1.hl7", Kind::ReferralRequested, "O19", "ServiceRequest"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/coordination/story").join(file);
        let mut scratch = Scratch::new();
        plan().translate(&std::fs::read(path).unwrap(), &Context::default(), &mut scratch).unwrap();
        let bundle: Value = serde_json::from_slice(scratch.bundle()).unwrap();
        let resources: Vec<Value> = bundle["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["resource"].clone())
            .filter(|resource| !["MessageHeader", "Provenance"].contains(&resource["resourceType"].as_str().unwrap()))
            .collect();
        let told = Told { focus: vec![focus.into()], ..told(1, kind, v2_event, NOW_MS) };
        let event = [Telling { number: 1, told: &told, resources: Some(&resources) }];
        for content in [Content::Empty, Content::IdOnly, Content::FullResource] {
            let about = about(&topics, "patient-data-feed", content);
            check_history(&about.events(&event, NOW_MS));
            check_history(&about.query_events(&event, NOW_MS));
        }
        let full = about(&topics, "patient-data-feed", Content::FullResource);
        assert_eq!(full.events(&event, NOW_MS)["entry"][1]["resource"]["resourceType"], focus, "{file}");
        let alert = full.davinci(&event[0], "https://client.example/fhir/$process-message", NOW_MS).unwrap();
        assert_eq!(mistakes(alert.to_string().as_bytes()), Vec::<String>::new(), "{file}");
    }
}

/// What a subscription is tested with is valid for whatever a topic is about, and all of it is marked.
#[test]
fn synthetic_resources_are_valid_and_marked() {
    for topic in TOPICS {
        for focus in topic.all_types() {
            let mut bundle = synthetic::bundle(focus.name, NOW_MS).unwrap_or_else(|| panic!("{}", focus.name));
            synthetic::mark(&mut bundle);
            assert_eq!(mistakes(bundle.to_string().as_bytes()), Vec::<String>::new(), "{}", focus.name);
            assert_eq!(bundle["entry"][0]["resource"]["resourceType"], focus.name);
            let marks = bundle.to_string().matches(synthetic::MARK.1).count();
            assert_eq!(marks, 1 + bundle["entry"].as_array().unwrap().len(), "{}", focus.name);
        }
    }
}

#[test]
fn what_the_interface_says_of_itself_is_valid() {
    let topics = topics();
    let types = ["Patient", "Encounter", "Group"];
    let interface =
        Interface { base: "https://gateway.example/fhir", topics: &topics, since_ms: NOW_MS, types: &types };
    let statement = capability::statement(&interface);
    assert_eq!(shaped(&statement), Vec::<String>::new());
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let names: Vec<_> = resources.iter().map(|resource| resource["type"].as_str().unwrap()).collect();
    let own =
        ["Subscription", "Basic", "Group", "Measure", "MeasureReport", "Consent", "CareTeam", "Patient", "Encounter"];
    assert_eq!(names, own);
    assert_eq!(resources[0]["extension"].as_array().unwrap().len(), TOPICS.len());
    for topic in TOPICS {
        assert_eq!(shaped(&topics.basic(topic)), Vec::<String>::new(), "{}", topic.id);
    }
    let token = notification::binding_token("t", NOW_MS, &["a", "b"], "wss://gateway.example/fhir/ws");
    assert_eq!(shaped(&token), Vec::<String>::new());
    let names: Vec<_> =
        token["parameter"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["token", "expiration", "subscription", "subscription", "websocket-url"]);
    let issue = Issue { code: "not-supported", text: "no".into(), expression: "Subscription.criteria".into() };
    for issues in [vec![issue], vec![]] {
        assert_eq!(shaped(&capability::outcome(&issues)), Vec::<String>::new());
    }
}
