//! Websockets: a token, a connection that binds with it, what is pushed, and what is not lost when it breaks off.
use super::*;
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::{Message, WebSocket};

struct Client(WebSocket<TcpStream>);

impl Client {
    /// Connects to the path of a `websocket-url`. No header tells who it is.
    fn connect(care: &Care, url: &str) -> Client {
        let path = url.strip_prefix("wss://handoff.example").unwrap();
        let stream = TcpStream::connect(&care.fhir).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{}{path}", care.fhir), stream).unwrap();
        Client(socket)
    }

    fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// The next text; pings are answered and passed over.
    fn hear(&mut self) -> String {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return text.to_string();
            }
        }
    }

    /// The next notification: its type, the count, and its events.
    fn notification(&mut self) -> (String, String, Vec<(u64, Value)>) {
        let bundle: Value = serde_json::from_str(&self.hear()).unwrap();
        assert_eq!(bundle["type"], "history", "{bundle}");
        let status = &bundle["entry"][0]["resource"];
        (text_of(status, "type"), text_of(status, "events-since-subscription-start"), events_in(&bundle))
    }

    /// Until the other side has let go of it.
    fn close(mut self) {
        self.0.close(None).unwrap();
        while self.0.read().is_ok() {}
    }
}

fn asked() -> Value {
    let mut asked = subscription("patient-data-feed", "nowhere.example", "id-only");
    asked["criteria"] = "http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed".into();
    let filter = json!({ "url": format!("{EXTENSIONS}backport-filter-criteria"), "valueString": "Encounter?trigger=admission,discharge" });
    asked["_criteria"]["extension"].as_array_mut().unwrap().push(filter);
    asked["_criteria"]["extension"][0]["valueString"] = "Encounter?_in=Group/aco-lakeshore".into();
    asked["channel"]["type"] = "websocket".into();
    asked["channel"].as_object_mut().unwrap().remove("endpoint");
    asked
}

/// A token, and where to bind with it.
fn token_of(care: &Care, id: &str) -> (String, String) {
    let answer = care.get("aco-cm", &format!("/fhir/Subscription/{id}/$get-ws-binding-token"));
    assert_eq!((&answer["resourceType"], text_of(&answer, "subscription")), (&"Parameters".into(), id.to_owned()));
    let expiration: jiff::Timestamp = text_of(&answer, "expiration").parse().unwrap();
    assert!(expiration > jiff::Timestamp::now());
    (text_of(&answer, "token"), text_of(&answer, "websocket-url"))
}

#[test]
fn what_is_told_over_a_websocket_is_what_events_has() {
    let care = Care::start("", &(recipient("aco-cm", "id-only", "") + &recipient("other", "id-only", "")));
    let id = care.subscribe("aco-cm", &asked());
    care.wait_for_state("aco-cm", &id, "active");
    let (token, url) = token_of(&care, &id);
    assert_eq!(url, "wss://handoff.example/fhir/$ws");
    let path = format!("/fhir/Subscription/{id}/$get-ws-binding-token");
    assert_eq!(care.ask("other", "GET", &path, None).status, 404);
    assert_eq!(care.ask("nobody", "GET", &path, None).status, 401);

    let mut client = Client::connect(&care, &url);
    for wrong in ["hello", "bind-with-token", "bind-with-token handoff_0123456789"] {
        client.say(wrong);
        assert!(client.hear().starts_with("error: "), "{wrong}");
    }
    client.say(&format!("bind-with-token {token}"));
    assert_eq!(client.notification(), ("handshake".into(), "0".into(), vec![]));
    care.send(&[M1]);
    let (kind, count, first) = client.notification();
    assert_eq!((kind.as_str(), count.as_str(), first.len(), first[0].0), ("event-notification", "1", 1, 1));

    // A token is used up when it binds.
    let mut second = Client::connect(&care, &url);
    second.say(&format!("bind-with-token {token}"));
    assert!(second.hear().contains("this token does not hold"));
    second.close();

    // What happens while nobody is there waits for who binds next.
    client.close();
    care.send(&[M2]);
    care.wait_for_events("aco-cm", &id, 2);
    let mut client = Client::connect(&care, &url);
    client.say(&format!("bind-with-token {}", token_of(&care, &id).0));
    assert_eq!(client.notification(), ("handshake".into(), "2".into(), vec![]));
    let (kind, count, later) = client.notification();
    assert_eq!((kind.as_str(), count.as_str(), later.len(), later[0].0), ("event-notification", "2", 1, 2));
    let pushed: Vec<_> = first.into_iter().chain(later).collect();
    assert_eq!(pushed, events_in(&care.events("aco-cm", &id, 1)), "what $events has");
    client.close();
    let disclosed = audit(&care).iter().filter(|entry| entry["event"]["outcome"] == "0").count();
    assert_eq!(disclosed, 4, "two that were pushed, and two of $events");
    care.gateway.stop();
}

#[test]
fn nobody_binds_to_what_is_no_websocket_or_is_gone() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let hook = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    let path = format!("/fhir/Subscription/{hook}/$get-ws-binding-token");
    assert_eq!(care.ask("aco-cm", "GET", &path, None).status, 422);

    let id = care.subscribe("aco-cm", &asked());
    let (token, url) = token_of(&care, &id);
    assert_eq!(care.ask("aco-cm", "DELETE", &format!("/fhir/Subscription/{id}"), None).status, 204);
    let mut client = Client::connect(&care, &url);
    client.say(&format!("bind-with-token {token}"));
    let said = client.hear();
    assert!(said.starts_with("error: "), "{said}");
    client.close();
    care.gateway.stop();
}
