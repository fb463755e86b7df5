//! A web server that keeps what it is sent and answers as it is told; plain, or with TLS and client certificates.
use super::process::wait_for;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Status line, further header lines, body.
pub type Answer = (&'static str, String, String);

type Policy = dyn Fn(&Request) -> Answer + Send + Sync;

#[derive(Clone, Debug)]
pub struct Request {
    /// `PUT /fhir/Patient/1`.
    pub line: String,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
    /// How many came before it, of any kind.
    pub earlier: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Web {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Web {
    pub fn start(policy: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Web {
        Web::start_with(None, policy)
    }

    pub fn start_with(tls: Option<ServerConfig>, policy: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, policy, tls): (_, Arc<Policy>, _) = (Arc::clone(&requests), Arc::new(policy), tls.map(Arc::new));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, policy, tls) = (Arc::clone(&kept), Arc::clone(&policy), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &kept, &*policy),
                    Some(tls) => serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), &kept, &*policy),
                });
            }
        });
        Web { address, requests }
    }

    pub fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        wait_for("requests", || Some(self.requests()).filter(|requests| requests.len() >= count))
    }
}

fn serve<S: Read + Write>(stream: S, kept: &Mutex<Vec<Request>>, policy: &Policy) {
    let mut reader = BufReader::new(stream);
    while let Some(()) = answer(&mut reader, kept, policy) {}
}

fn answer<S: Read + Write>(reader: &mut BufReader<S>, kept: &Mutex<Vec<Request>>, policy: &Policy) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let line = head.split(" HTTP/").next()?.to_owned();
    let head = head.to_ascii_lowercase();
    let length =
        head.split("content-length: ").nth(1).map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, headers, body) = {
        let mut kept = kept.lock().unwrap();
        let request = Request { line, head, body, earlier: kept.len() };
        kept.push(request.clone());
        policy(&request)
    };
    let stream = reader.get_mut();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    stream.flush().ok()
}

/// The answer of a FHIR server that takes all.
pub fn taken(request: &Request) -> Answer {
    let status = "201 Created";
    let body = match (request.line.split(' ').next(), request.json()["resourceType"].as_str()) {
        (Some("POST"), Some("Bundle")) => {
            let body = request.json();
            let count = body["entry"].as_array().map_or(0, Vec::len);
            let kind = format!("{}-response", body["type"].as_str().unwrap());
            let entries = vec![serde_json::json!({"response": {"status": status}}); count];
            serde_json::json!({"resourceType": "Bundle", "type": kind, "entry": entries})
        }
        _ => request.json(),
    };
    (status, String::new(), body.to_string())
}
