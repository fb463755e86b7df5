//! Web hooks: what is posted, who signed it, and what becomes of it when the receiver says no.
use super::process::{Gateway, Peer, dead_letters, handoff, lines, message, wait_for};
use super::web::{Answer, Request, Web};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const FIRST: &str = "first-secret-0123456789abcdef";
const NEXT: &str = "next-secret-0123456789abcdef";

fn says(status: &'static str) -> Answer {
    (status, String::new(), String::new())
}

fn route(web: &Web, more: &str, keys: &str) -> String {
    format!(
        "[[route]]\nname = \"hook\"\nto = {{ rest_hook = \"http://{}/in?tenant=1\"{more} }}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n{keys}\n",
        web.address
    )
}

/// Whether one of the signatures is that of the key; written from what the README tells receivers.
pub fn is_signed(request: &Request, key: &str) -> bool {
    let header = request.header("x-handoff-signature").unwrap();
    let values = |name: &str| -> Vec<&str> { header.split(',').filter_map(|part| part.strip_prefix(name)).collect() };
    let time = values("t=")[0];
    assert!(time.parse::<u64>().unwrap() > 1_700_000_000);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(&[time.as_bytes(), b".", &request.body].concat());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    values("v1=").contains(&expected.as_str())
}

#[test]
fn a_bundle_is_posted_and_both_keys_sign() {
    let web =
        Web::start(|request| says(if request.earlier == 0 { "503 Service Unavailable" } else { "204 No Content" }));
    let keys = format!(", secret = \"{FIRST}\", secret_next = \"{NEXT}\"");
    let gateway = Gateway::start(&route(&web, &keys, ""));
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    let requests = web.wait_for(2);
    assert_eq!(requests[0].line, "POST /in?tenant=1");
    assert_eq!(requests[0].header("content-type"), Some("application/fhir+json"));
    assert_eq!((&requests[0].json()["type"], requests[0].body == requests[1].body), (&"message".into(), true));
    assert!(requests.iter().all(|request| is_signed(request, FIRST) && is_signed(request, NEXT)));
    assert!(!is_signed(&requests[0], "another"));
    let key = requests[0].header("idempotency-key").unwrap();
    assert!(key.len() == 36 && requests[1].header("idempotency-key") == Some(key), "the same message");
    let data = gateway.data();
    let log = gateway.stop();
    assert!(dead_letters(&data, "hook").is_empty());
    assert!(!log.contains("secret-0123") && !log.contains("CANARY"), "{log}");
}

#[test]
fn a_message_as_it_came_and_a_receiver_that_has_gone() {
    let web = Web::start(|request| match request.earlier {
        0 => says("200 OK"),
        1 | 2 => says("410 Gone"),
        3 => says("404 Not Found"),
        _ => says("200 OK"),
    });
    let gateway = Gateway::start(&route(&web, ", raw = true", "order = \"link\""));
    let mut peer = Peer::connect(&gateway);
    let sent: Vec<String> = ["a", "b", "c"].map(|id| message(id, "A01")).to_vec();
    for message in &sent {
        peer.exchange(message);
    }
    let requests = web.wait_for(5);
    let bodies: Vec<_> = requests.iter().map(|request| String::from_utf8(request.body.clone()).unwrap()).collect();
    assert_eq!(bodies, [&sent[0], &sent[1], &sent[1], &sent[1], &sent[2]].map(String::clone));
    assert_eq!(requests[0].header("content-type"), Some("application/hl7-v2"));
    assert_eq!(requests[0].header("x-handoff-signature"), None, "there is no key");
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(dead_letters(&data, "hook"), [2], "404 after all; not over 410");
    assert!(log.contains("waits=\"route\"") && log.contains("HTTP 410 Gone"), "{log}");
}

#[test]
fn a_route_says_what_replies_mean_and_how_fast() {
    let web = Web::start(|request| match request.earlier {
        0 => says("404 Not Found"),
        1 => says("409 Conflict"),
        2 => says("422 Unprocessable Entity"),
        _ => says("200 OK"),
    });
    let keys = "order = \"link\"\nrate = 1000\nreplies = { 404 = \"skip\", 409 = \"dead\", 422 = \"retry\" }";
    let gateway = Gateway::start(&route(&web, "", keys));
    let mut peer = Peer::connect(&gateway);
    for id in ["a", "b", "c"] {
        peer.exchange(&message(id, "A01"));
    }
    web.wait_for(4);
    let data = gateway.data();
    let config = gateway.folder().join("handoff.toml");
    let command = |arguments: &[&str]| {
        let mut command = handoff();
        command.args(arguments).arg("--config").arg(&config).stdout(std::process::Stdio::piped());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let shown = |number: &str, expected: &str| {
        wait_for(expected, || command(&["messages", "show", number]).contains(expected).then_some(()));
    };
    shown("1", "route hook: skipped ");
    shown("2", "route hook: dead, given up ");
    shown("3", "route hook: sent\n");
    assert!(command(&["messages", "show", "1"]).contains(", it has not arrived: HTTP 404 Not Found\n"));
    let log = gateway.stop();
    assert_eq!(web.requests().len(), 4);
    assert_eq!(dead_letters(&data, "hook"), [2], "{log}");
    assert!(
        log.contains("not delivered, passed over as the route says: HTTP 404 Not Found route=\"hook\" seq=1"),
        "{log}"
    );
    assert_eq!(command(&["dead-letters", "drop", "hook", "2"]), "dropped hook 2\n");
    shown("2", "route hook: dropped ");
    assert!(command(&["messages", "show", "2", "--format", "json"]).contains("\"status\":\"dropped\""));
    for (status, number) in [("sent", "3 "), ("skipped", "1 "), ("dropped", "2 ")] {
        let found = command(&["messages", "search", "--route", "hook", "--status", status]);
        assert!(found.lines().count() == 1 && found.starts_with(number), "{status}: {found}");
    }
}

#[test]
fn a_target_that_must_be_public_is_not_reached_inside() {
    let web = Web::start(|_| says("200 OK"));
    let route = |name: &str, to: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nto = {{ {to}, public_only = true }}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n"
        )
    };
    let by_name = |kind: &str| format!("{kind} = \"http://localhost:{}/\"", web.port());
    let archive = "[[route]]\nname = \"archive\"\nto = { file = \"handoff-data/bundles.ndjson\" }\n";
    let routes = route("hook", &by_name("rest_hook")) + &route("ehr", &by_name("fhir")) + archive;
    let gateway = Gateway::start(&routes);
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    for name in ["hook", "ehr"] {
        wait_for("the refusal", || {
            let log = gateway.log();
            let refused = |line: &str| {
                line.contains("localhost is not on the public internet") && line.contains(&format!("route=\"{name}\""))
            };
            log.lines().any(refused).then_some(())
        });
    }
    let path = gateway.bundles_path();
    gateway.stop();
    assert_eq!((web.requests().len(), lines(&path).len()), (0, 1));
    // An address that is written out is told before anything starts.
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("handoff.toml");
    std::fs::write(&config, route("hook", &format!("rest_hook = \"http://{}/\"", web.address))).unwrap();
    let output = handoff().args(["check", "--config"]).arg(&config).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("route hook: 127.0.0.1 is not on the public"), "{text}");
}
