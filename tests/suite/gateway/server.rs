//! A FHIR server that keeps what it is sent and answers as it is told. What it has seen is the oracle of the delivery tests: it knows nothing of the gateway's books.
use super::process::{message, wait_for};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The status for a request.
type Policy = dyn Fn(&Request) -> &'static str + Send + Sync;

pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone)]
pub struct Request {
    pub head: String,
    pub body: serde_json::Value,
    /// The identifier of its patient.
    pub patient: String,
    /// The family name of its patient.
    pub name: String,
    /// How many requests with the same patient and name came before it.
    pub earlier: usize,
    pub status: &'static str,
}

impl Server {
    pub fn start(policy: impl Fn(&Request) -> &'static str + Send + Sync + 'static) -> Server {
        Server::start_at("127.0.0.1:0", policy)
    }

    pub fn start_at(address: &str, policy: impl Fn(&Request) -> &'static str + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, policy): (_, Arc<Policy>) = (Arc::clone(&requests), Arc::new(policy));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, policy) = (Arc::clone(&kept), Arc::clone(&policy));
                std::thread::spawn(move || while let Some(()) = answer(&stream, &kept, &*policy) {});
            }
        });
        Server { address, requests }
    }

    /// A route to it; `retry` and `route` are further keys of these tables.
    pub fn configuration(&self, retry: &str, route: &str) -> String {
        configuration(&self.address, retry, route)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Those that it took, each once, by order of first arrival: (patient, name).
    pub fn taken(&self) -> Vec<(String, String)> {
        let (mut seen, mut taken) = (HashSet::new(), Vec::new());
        for request in self.requests.lock().unwrap().iter().filter(|request| request.status.starts_with("200")) {
            let which = (request.patient.clone(), request.name.clone());
            if seen.insert(which.clone()) {
                taken.push(which);
            }
        }
        taken
    }

    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        wait_for("requests", || Some(self.requests()).filter(|requests| requests.len() >= count))
    }

    pub fn wait_for_taken(&self, count: usize) -> Vec<(String, String)> {
        wait_for("deliveries", || {
            std::thread::sleep(Duration::from_millis(10));
            Some(self.taken()).filter(|taken| taken.len() >= count)
        })
    }
}

pub fn configuration(address: &str, retry: &str, route: &str) -> String {
    format!(
        "[[route]]\nname = \"ehr\"\nto = {{ fhir = \"http://{address}/fhir\", bundle = \"transaction\" }}\nretry = {{ first = \"10ms\", max = \"50ms\"{retry} }}\n{route}\n"
    )
}

/// An update of a patient that bears this name from then on.
pub fn update(patient: &str, name: &str) -> String {
    let id = format!("{patient}.{name}");
    message(&id, "A08").replace(&format!("patient-{id}"), patient).replace("CANARY", name)
}

fn answer(stream: &TcpStream, kept: &Mutex<Vec<Request>>, policy: &Policy) -> Option<()> {
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
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let entries = body["entry"].as_array().unwrap();
    let count = entries.len();
    let patient = entries.iter().find(|entry| entry["resource"]["resourceType"] == "Patient");
    // A message may be about nobody, or about somebody without a name.
    let text = |path: &str| {
        let value = patient.and_then(|patient| patient["resource"].pointer(path)?.as_str());
        value.unwrap_or_default().to_owned()
    };
    let (patient, name) = (text("/identifier/0/value"), text("/name/0/family"));
    let status = {
        let mut kept = kept.lock().unwrap();
        // From the newest on: one that comes again mostly came just now.
        let same = |request: &&Request| request.patient == patient && request.name == name;
        let earlier = kept.iter().rev().find(same).map_or(0, |request| request.earlier + 1);
        let mut request = Request { head, body, patient, name, earlier, status: "" };
        request.status = policy(&request);
        let status = request.status;
        kept.push(request);
        status
    };
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
