//! Delivery to a FHIR server that says yes, no and later.
use super::process::{Gateway, Peer, dead_letters, message, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A server that answers each request with the next status, 200 once they are used up, and keeps what it was sent.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone)]
struct Request {
    head: String,
    body: serde_json::Value,
}

impl Server {
    fn start(statuses: &'static [&'static str]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || while let Some(()) = answer(&stream, &kept, statuses) {});
            }
        });
        Server { address, requests }
    }

    fn configuration(&self, more: &str) -> String {
        format!(
            "[[route]]\nname = \"ehr\"\nto = {{ fhir = \"http://{}/fhir\", bundle = \"transaction\" }}\nretry = {{ first = \"10ms\", max = \"50ms\"{more} }}\n",
            self.address
        )
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn wait_for(&self, count: usize) -> Vec<Request> {
        wait_for("requests", || Some(self.requests()).filter(|requests| requests.len() >= count))
    }
}

fn answer(stream: &TcpStream, kept: &Mutex<Vec<Request>>, statuses: &[&str]) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.to_ascii_lowercase().split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut kept = kept.lock().unwrap();
    let status = statuses.get(kept.len()).unwrap_or(&"200 OK");
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let count = body["entry"].as_array().unwrap().len();
    kept.push(Request { head, body });
    drop(kept);
    let outcome = match status.starts_with("200") {
        true => {
            let entries = vec![serde_json::json!({"response": {"status": "201 Created"}}); count];
            serde_json::json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
        }
        false => {
            serde_json::json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid", "diagnostics": "CANARY"}]})
        }
    }
    .to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/fhir+json\r\nContent-Length: {}\r\n\r\n{outcome}",
        outcome.len()
    )
    .ok()
}

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

/// The identifiers of the patients of the requests.
fn patients(requests: &[Request]) -> Vec<String> {
    let patient = |request: &Request| {
        let entries = request.body["entry"].as_array().unwrap();
        let patient = entries.iter().find(|entry| entry["resource"]["resourceType"] == "Patient").unwrap();
        assert_eq!(patient["request"]["method"], "PUT");
        patient["resource"]["identifier"][0]["value"].as_str().unwrap().to_owned()
    };
    requests.iter().map(patient).collect()
}

#[test]
fn a_transaction_is_posted_and_tried_again_until_it_is_taken() {
    let server = Server::start(&["503 Service Unavailable", "429 Too Many Requests", "200 OK", "401 Unauthorized"]);
    let gateway = Gateway::start(&server.configuration(""));
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("a", "A01")).contains("MSA|AA|a"), "an acknowledgement waits for no route");
    peer.exchange(&message("b", "A01"));
    let requests = server.wait_for(5);
    assert_eq!(
        patients(&requests),
        ["patient-a", "patient-a", "patient-a", "patient-b", "patient-b"],
        "in order, none passed over"
    );
    assert!(
        requests[0].head.starts_with("POST /fhir HTTP/1.1\r\n") && requests[0].head.contains("application/fhir+json")
    );
    assert_eq!(requests[0].body, requests[2].body, "the same again");
    let key =
        |request: &Request| request.head.lines().find(|line| line.starts_with("idempotency-key: ")).unwrap().to_owned();
    assert!(key(&requests[0]) == key(&requests[2]) && key(&requests[2]) != key(&requests[3]));
    let data = gateway.data();
    let log = gateway.stop();
    assert!(dead_letters(&data, "ehr").is_empty());
    assert!(!log.contains("CANARY"), "{log}");
}

#[test]
fn what_is_refused_is_a_dead_letter_and_the_next_goes_on() {
    let server = Server::start(&[
        "422 Unprocessable Entity",
        "200 OK",
        "500 Internal Server Error",
        "500 Internal Server Error",
    ]);
    let gateway = Gateway::start(&server.configuration(", attempts = 2"));
    let mut peer = Peer::connect(&gateway);
    for id in ["a", "b", "c", "d"] {
        peer.exchange(&message(id, "A01"));
    }
    assert_eq!(patients(&server.wait_for(5)), ["patient-a", "patient-b", "patient-c", "patient-c", "patient-d"]);
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
    let address = gone.local_addr().unwrap();
    drop(gone);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"ehr\"\nto = {{ fhir = \"http://{address}/\", bundle = \"message\" }}\nretry = {{ first = \"10ms\", max = \"20ms\" }}\n[[route]]\nname = \"archive\"\nto = {{ file = \"handoff-data/bundles.ndjson\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    for id in ["a", "b", "c"] {
        assert!(peer.exchange(&message(id, "A01")).contains("MSA|AA|"));
    }
    gateway.wait_for_bundles(3);
    wait_for("an attempt", || gateway.log().contains("not delivered, to be tried again").then_some(()));
    let gateway = gateway.kill_and_restart(None);
    // The server comes up at last. The file has its three; killed before its cursor was synced, it may be given some again.
    let listener = TcpListener::bind(address).unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            while let Some(()) = answer(&stream, &kept, &[]) {}
        }
    });
    let found = wait_for("requests", || Some(requests.lock().unwrap().clone()).filter(|requests| requests.len() >= 3));
    assert!(found[0].head.starts_with("POST /$process-message "), "{}", found[0].head);
    let archived: Vec<serde_json::Value> =
        gateway.wait_for_bundles(3).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let posted: Vec<_> = found.into_iter().map(|request| request.body).collect();
    assert!(once(posted) == once(archived), "translated again, the same Bundles as at first");
    gateway.stop();
}
