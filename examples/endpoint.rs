//! The smallest FHIR endpoint one can send to: it accepts every Bundle, prints a line on each, and keeps nothing.
//!
//! For the demo and for trying a route. It validates nothing, so it is no stand-in for a FHIR server.
//! `cargo run --example endpoint [ADDRESS]`; the default address is 127.0.0.1:0 (any free port), the first line says which it became.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

/// More than any Bundle of the fixtures; a bigger body is refused.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    print_line(&format!("listening on http://{}/fhir", listener.local_addr()?))?;
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(answer) {
            eprintln!("endpoint: {error}");
        }
    }
    Ok(())
}

/// Reads one request, prints what came, answers it and closes.
fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let length = read_head(&mut reader)?;
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let (status, reply) = match serde_json::from_slice::<Value>(&body) {
        Ok(bundle) => {
            print_line(&summary(&bundle))?;
            ("200 OK", response_to(&bundle))
        }
        Err(_) => (
            "400 Bad Request",
            json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "error", "code": "structure" }] }),
        ),
    };
    let reply = reply.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/fhir+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reply}",
        reply.len()
    )
}

/// The request's Content-Length.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<u64> {
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    if length > BODY_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, "the body is too big"));
    }
    Ok(length)
}

/// `Bundle transaction: 1 Encounter, 1 Patient`.
fn summary(bundle: &Value) -> String {
    let mut count = BTreeMap::new();
    for entry in entries(bundle) {
        *count.entry(entry["resource"]["resourceType"].as_str().unwrap_or("?")).or_insert(0) += 1;
    }
    let resources: Vec<String> = count.iter().map(|(name, number)| format!("{number} {name}")).collect();
    format!("received Bundle {}: {}", bundle["type"].as_str().unwrap_or("?"), resources.join(", "))
}

/// What a server says to a transaction or batch: one answer an entry.
fn response_to(bundle: &Value) -> Value {
    let entry: Vec<Value> = entries(bundle).iter().map(|_| json!({ "response": { "status": "201" } })).collect();
    json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": entry })
}

fn entries(bundle: &Value) -> &[Value] {
    bundle["entry"].as_array().map_or(&[], Vec::as_slice)
}

/// Flushed at once: the demo reads these lines through a pipe.
fn print_line(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
