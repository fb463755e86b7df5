//! Delivery to a FHIR server that says yes, no and later.
use super::process::{Gateway, Peer, dead_letters, message, wait_for};
use super::server::{Request, Server};
use std::net::TcpListener;

/// Each Bundle once, in the order of first arrival: delivery is at least once.
fn once(bundles: Vec<serde_json::Value>) -> Vec<serde_json::Value> {
    let mut seen: Vec<serde_json::Value> = Vec::new();
    for bundle in bundles {
        if !seen.contains(&bundle) {
            seen.push(bundle);
        }
    }
    seen
}

#[test]
fn a_transaction_is_posted_and_tried_again_until_it_is_taken() {
    let server = Server::start(|request| match (request.patient.as_str(), request.earlier) {
        ("patient-a", 0) => "503 Service Unavailable",
        ("patient-a", 1) => "429 Too Many Requests",
        ("patient-b", 0) => "401 Unauthorized",
        _ => "200 OK",
    });
    let gateway = Gateway::start(&server.configuration("", ""));
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("a", "A01")).contains("MSA|AA|a"), "an acknowledgement waits for no route");
    peer.exchange(&message("b", "A01"));
    let requests = server.wait_for(5);
    let of = |patient: &str| -> Vec<Request> {
        requests.iter().filter(|request| request.patient == patient).cloned().collect()
    };
    let (a, b) = (of("patient-a"), of("patient-b"));
    assert_eq!((a.len(), b.len()), (3, 2), "until each is taken, and no more");
    assert!(a[0].head.starts_with("POST /fhir HTTP/1.1\r\n") && a[0].head.contains("application/fhir+json"));
    assert_eq!(a[0].body, a[2].body, "the same again");
    let patient =
        a[0].body["entry"].as_array().unwrap().iter().find(|entry| entry["resource"]["resourceType"] == "Patient");
    assert_eq!(patient.unwrap()["request"]["method"], "PUT");
    let key =
        |request: &Request| request.head.lines().find(|line| line.starts_with("idempotency-key: ")).unwrap().to_owned();
    assert!(key(&a[0]) == key(&a[2]) && key(&a[2]) != key(&b[0]));
    let data = gateway.data();
    let log = gateway.stop();
    assert!(dead_letters(&data, "ehr").is_empty());
    assert!(!log.contains("CANARY"), "{log}");
}

#[test]
fn what_is_refused_is_a_dead_letter_and_the_next_goes_on() {
    let server = Server::start(|request| match request.patient.as_str() {
        "patient-a" => "422 Unprocessable Entity",
        "patient-c" => "500 Internal Server Error",
        _ => "200 OK",
    });
    let gateway = Gateway::start(&server.configuration(", attempts = 2", ""));
    let mut peer = Peer::connect(&gateway);
    for id in ["a", "b", "c", "d"] {
        peer.exchange(&message(id, "A01"));
    }
    let mut patients: Vec<_> = server.wait_for(5).into_iter().map(|request| request.patient).collect();
    patients.sort();
    assert_eq!(patients, ["patient-a", "patient-b", "patient-c", "patient-c", "patient-d"]);
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(dead_letters(&data, "ehr"), [1, 3]);
    assert!(log.contains("dead letter: HTTP 422 Unprocessable Entity (error invalid)"), "{log}");
    assert!(log.contains("dead letter: given up after 2 attempts: HTTP 500"), "{log}");
    assert!(!log.contains("CANARY"), "what a server quotes stays out of the log:\n{log}");
}

#[test]
fn a_route_takes_up_where_it_was_stopped() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"ehr\"\nto = {{ fhir = \"http://{address}/\", bundle = \"message\" }}\nretry = {{ first = \"10ms\", max = \"20ms\" }}\norder = \"link\"\n[[route]]\nname = \"archive\"\nto = {{ file = \"handoff-data/bundles.ndjson\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    for id in ["a", "b", "c"] {
        assert!(peer.exchange(&message(id, "A01")).contains("MSA|AA|"));
    }
    gateway.wait_for_bundles(3);
    wait_for("an attempt", || gateway.log().contains("not delivered, to be tried again").then_some(()));
    let gateway = gateway.kill_and_restart(None);
    // The server comes up at last. The file has its three; killed before its cursor was synced, it may be given some again.
    let server = Server::start_at(&address, |_| "200 OK");
    let found = server.wait_for(3);
    assert!(found[0].head.starts_with("POST /$process-message "), "{}", found[0].head);
    let archived: Vec<serde_json::Value> =
        gateway.wait_for_bundles(3).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let posted: Vec<_> = found.into_iter().map(|request| request.body).collect();
    assert!(once(posted) == once(archived), "translated again, the same Bundles as at first");
    gateway.stop();
}

#[test]
fn credentials_are_shown_to_the_server_and_to_nobody_else() {
    let server = Server::start(|_| "200 OK");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret-token\n").unwrap();
    let to = |more: String| format!("to = {{ fhir = \"http://{}/fhir\", {more} }}\n", server.address);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"one\"\n{}[[route]]\nname = \"two\"\n{}",
        to(format!("bearer = \"file:{}\"", token.display())),
        to("basic = \"nurse:s3cret-word\"".into())
    ));
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    let heads: Vec<String> = server.wait_for(2).into_iter().map(|request| request.head.to_ascii_lowercase()).collect();
    let shown = |value: &str| heads.iter().any(|head| head.contains(&format!("authorization: {value}\r\n")));
    // The second is nurse:s3cret-word in base64, in lower case as all of the heads here.
    assert!(shown("bearer s3cret-token") && shown("basic bnvyc2u6cznjcmv0lxdvcmq="), "{heads:?}");
    let log = gateway.stop();
    assert!(!log.contains("s3cret"), "{log}");
}
