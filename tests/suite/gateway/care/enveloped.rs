//! What is posted, to the byte but for ids and times that differ each time: notifications of each content, and those of the channels that have an envelope of their own. Each golden
//! Bundle is checked against the rules of its guide as well.
use super::*;
use crate::golden::difference;
use crate::validity::{mistakes, shaped};
use std::collections::BTreeSet;

const STATUS: &str =
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4";

/// The same with ids by the order in which they come, and what is of now as `NOW`.
pub(super) fn normal(value: &Value, began: jiff::Timestamp) -> Value {
    fn ids(text: &str, known: &mut Vec<String>) -> String {
        let is_id = |part: &str| {
            let mut bytes = part.bytes().enumerate();
            part.len() == 36
                && bytes.all(
                    |(at, byte)| if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() },
                )
        };
        let mut found = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some(part) = rest.get(..36).filter(|part| is_id(part)) else {
                let next = rest.chars().next().unwrap();
                found.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            };
            let at = known.iter().position(|one| one == part).unwrap_or_else(|| {
                known.push(part.to_owned());
                known.len() - 1
            });
            found += &format!("00000000-0000-0000-0000-{:012}", at + 1);
            rest = &rest[36..];
        }
        found
    }
    fn walk(value: &Value, began: jiff::Timestamp, known: &mut Vec<String>) -> Value {
        match value {
            Value::Object(object) => {
                object.iter().map(|(key, value)| (key.clone(), walk(value, began, known))).collect()
            }
            Value::Array(items) => items.iter().map(|item| walk(item, began, known)).collect(),
            Value::String(text) => match text.parse::<jiff::Timestamp>() {
                Ok(time) if time >= began => "NOW".into(),
                _ => ids(text, known).into(),
            },
            other => other.clone(),
        }
    }
    walk(value, began, &mut Vec::new())
}

/// Compares with a golden; `HANDOFF_UPDATE=1` writes it.
pub(super) fn golden(name: &str, found: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/gateway/care/golden").join(name);
    if std::env::var_os("HANDOFF_UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, serde_json::to_string_pretty(found).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(difference(&expected, found, ""), None, "{name} (HANDOFF_UPDATE=1 rewrites it)");
}

/// The rules of backport-subscription-notification-r4, of a history Bundle (bdl-3, bdl-4, bdl-7), and of the content that was asked for.
pub(super) fn check_notification(bundle: &Value, content: &str) {
    assert_eq!(shaped(bundle), Vec::<String>::new());
    assert_eq!(bundle["type"], "history");
    assert!(bundle["timestamp"].is_string() && bundle.get("total").is_none());
    let entries = bundle["entry"].as_array().unwrap();
    for entry in entries {
        assert!(entry["request"]["method"].is_string() && entry["request"]["url"].is_string(), "{entry}");
        assert!(entry["response"]["status"].as_str().unwrap().starts_with('2'), "{entry}");
    }
    let urls: BTreeSet<_> = entries.iter().map(|entry| entry["fullUrl"].as_str().unwrap()).collect();
    assert_eq!(urls.len(), entries.len(), "each stands once");
    let status = &entries[0]["resource"];
    assert_eq!((&status["resourceType"], &status["meta"]["profile"]), (&"Parameters".into(), &json!([STATUS])));
    assert!(
        entries[0]["request"]["url"].as_str().unwrap().ends_with("/$status")
            && entries[0]["request"]["method"] == "GET"
    );
    let known =
        ["subscription", "topic", "status", "type", "events-since-subscription-start", "notification-event", "error"];
    let parameters = status["parameter"].as_array().unwrap();
    let count = |name: &str| parameters.iter().filter(|one| one["name"] == name).count();
    assert!(parameters.iter().all(|one| known.contains(&one["name"].as_str().unwrap())), "{parameters:?}");
    for name in ["subscription", "status", "type", "events-since-subscription-start"] {
        assert_eq!(count(name), 1, "{name}");
    }
    assert_eq!(count("topic"), usize::from(content != "empty"));
    let mut told = BTreeSet::new();
    for (_, event) in events_in(bundle) {
        for part in event["part"].as_array().unwrap() {
            if ["focus", "additional-context"].contains(&part["name"].as_str().unwrap()) {
                told.insert(part["valueReference"]["reference"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(part(&event, "focus").is_null(), content == "empty");
    }
    let rest: BTreeSet<_> = entries[1..].iter().map(|entry| entry["fullUrl"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rest, told, "what is referred to is what is there");
    assert!(!bundle.to_string().contains("/Provenance/"), "who sent the message is nothing to its reader");
    assert_eq!(!rest.is_empty(), ["id-only", "full-resource"].contains(&content));
    for entry in &entries[1..] {
        assert_eq!(entry.get("resource").is_some(), content == "full-resource", "{entry}");
    }
}

/// Makes a subscription under an id, and waits until it is active.
fn put(care: &Care, id: &str, mut resource: Value) {
    resource["id"] = id.into();
    let made = care.ask("aco-cm", "PUT", &format!("/fhir/Subscription/{id}"), Some(&resource));
    assert_eq!(made.status, 201, "{}", made.body);
    care.wait_for_state("aco-cm", id, "active");
}

fn all() -> String {
    recipient("aco-cm", "full-resource", "")
}

#[test]
fn a_notification_tells_as_much_as_was_asked_for() {
    let began = jiff::Timestamp::now();
    let care = Care::start("", &all());
    let webs = ["empty", "id-only", "full-resource"].map(|content| (content, receiver()));
    for (content, web) in &webs {
        put(&care, content, subscription("discharge", &web.address, content));
        let handshake = &notifications(&web.requests(), "handshake")[0];
        check_notification(handshake, if *content == "empty" { "empty" } else { "handshake" });
    }
    care.send(&[M2]);
    for (content, web) in &webs {
        let told = wait_for(content, || notifications(&web.requests(), "event-notification").pop());
        check_notification(&told, content);
        golden(&format!("{content}.json"), &normal(&told, began));
    }
    care.gateway.stop();
}

/// The channel `message`: all of it in messages, the handshake too.
#[test]
fn a_message_holds_the_notification() {
    let began = jiff::Timestamp::now();
    let (web, care) = (receiver(), Care::start("", &all()));
    let mut asked = subscription("discharge", &web.address, "id-only");
    asked["channel"]["type"] = "message".into();
    put(&care, "messages", asked);
    care.send(&[M2]);
    let requests = web.wait_for(2);
    for (request, kind) in requests.iter().zip(["handshake", "event-notification"]) {
        let message = request.json();
        assert_eq!(shaped(&message), Vec::<String>::new());
        assert_eq!((&message["type"], message["entry"].as_array().unwrap().len()), (&"message".into(), 2));
        let (header, notification) = (&message["entry"][0]["resource"], &message["entry"][1]);
        assert_eq!(
            (&header["resourceType"], &header["eventUri"]),
            (&"MessageHeader".into(), &format!("{TOPICS}discharge").into())
        );
        assert_eq!(header["focus"][0]["reference"], notification["fullUrl"]);
        assert_eq!(header["destination"][0]["endpoint"], format!("http://{}/notify", web.address));
        let notification = &notification["resource"];
        assert_eq!(text_of(&notification["entry"][0]["resource"], "type"), kind);
        check_notification(notification, if kind == "handshake" { "handshake" } else { "id-only" });
    }
    let told = requests[1].json().to_string().replace(&web.address, "127.0.0.1:1");
    golden("message.json", &normal(&serde_json::from_str(&told).unwrap(), began));
    care.gateway.stop();
}

/// As the published example of an admit notification is built (Da Vinci Unsolicited Notifications 1.1.0).
#[test]
fn da_vinci_is_sent_its_own_messages() {
    let began = jiff::Timestamp::now();
    let (web, care) = (receiver(), Care::start("", &all()));
    for topic in ["admission", "discharge"] {
        let mut asked = subscription(topic, &web.address, "full-resource");
        asked["channel"]["type"] = "message".into();
        asked["channel"]["endpoint"] = format!("http://{}/$process-message", web.address).into();
        let custom =
            json!({ "url": format!("{EXTENSIONS}backport-channel-type"), "valueCoding": { "code": "davinci-alert" } });
        asked["channel"]["_type"] = json!({ "extension": [custom] });
        put(&care, topic, asked);
    }
    // M2 takes its turn when M1 has been told.
    for (at, (message, code, display)) in
        [(M1, "notification-admit", "Admit Notification"), (M2, "notification-discharge", "Discharge Notification")]
            .into_iter()
            .enumerate()
    {
        care.send(&[message]);
        let request = web.wait_for(at + 1).remove(at);
        assert_eq!(
            (request.line.as_str(), request.header("content-type")),
            ("POST /$process-message", Some("application/fhir+json"))
        );
        let bundle = request.json();
        check_alert(&bundle, code, display, &web);
        let told = bundle.to_string().replace(&web.address, "127.0.0.1:1");
        golden(&format!("{code}.json"), &normal(&serde_json::from_str(&told).unwrap(), began));
    }
    care.gateway.stop();
}

fn check_alert(bundle: &Value, code: &str, display: &str, web: &Web) {
    assert_eq!(mistakes(bundle.to_string().as_bytes()), Vec::<String>::new());
    let alerts = "http://hl7.org/fhir/us/davinci-alerts";
    assert_eq!(bundle["meta"]["profile"], json!([format!("{alerts}/StructureDefinition/notifications-bundle")]));
    assert_eq!(bundle["type"], "message");
    assert!(bundle["timestamp"].is_string() && bundle.get("total").is_none());
    let entries = bundle["entry"].as_array().unwrap();
    for entry in entries {
        assert!(entry.as_object().unwrap().keys().eq(["fullUrl", "resource"]), "no request, response or search");
        assert_eq!(entry["fullUrl"], format!("urn:uuid:{}", entry["resource"]["id"].as_str().unwrap()));
    }
    let header = &entries[0]["resource"];
    assert_eq!(header["resourceType"], "MessageHeader");
    let event =
        json!({ "system": format!("{alerts}/CodeSystem/notification-event"), "code": code, "display": display });
    assert_eq!(header["eventCoding"], event);
    assert_eq!(header["destination"], json!([{ "endpoint": format!("http://{}/$process-message", web.address) }]));
    assert!(header["source"]["endpoint"].is_string() && header.get("response").is_none());
    let at = |reference: &Value| {
        entries
            .iter()
            .find(|entry| entry["fullUrl"] == *reference)
            .map(|entry| entry["resource"]["resourceType"].as_str().unwrap())
    };
    assert_eq!(header["focus"].as_array().unwrap().len(), 1);
    assert_eq!(at(&header["focus"][0]["reference"]), Some("Encounter"));
    assert_eq!(at(&header["author"]["reference"]), Some("Practitioner"));
    for name in ["sender", "responsible"] {
        assert_eq!(at(&header[name]["reference"]), Some("Organization"), "{name}");
    }
    // Every resource is on a way from the header, along references in either direction.
    let leads = |from: &Value, to: &Value| from["resource"].to_string().contains(to["fullUrl"].as_str().unwrap());
    let (mut reached, mut waiting) = (BTreeSet::from([0]), vec![0]);
    while let Some(one) = waiting.pop() {
        for (other, entry) in entries.iter().enumerate() {
            let beside = leads(&entries[one], entry) || leads(entry, &entries[one]);
            if beside && reached.insert(other) {
                waiting.push(other);
            }
        }
    }
    let apart: Vec<_> = (0..entries.len()).filter(|at| !reached.contains(at)).map(|at| &entries[at]).collect();
    assert!(apart.is_empty(), "{apart:?}");
    assert_eq!(entries[1]["resource"]["resourceType"], "Encounter");
    assert!(entries.iter().any(|entry| entry["resource"]["resourceType"] == "Patient"));
}
