//! HTTP by hand: what is asked is exactly what the test says, and nothing is retried or followed.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
pub struct Answer {
    pub status: u16,
    /// Lower case.
    pub head: String,
    /// As it came.
    pub raw_head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Asks once; `headers` are whole lines.
pub fn ask(address: &str, method: &str, path: &str, headers: &[&str]) -> Answer {
    let host = format!("Host: {address}");
    let headers = [&[host.as_str()], headers].concat();
    ask_plainly(address, method, path, &headers)
}

/// The same with a body.
pub fn ask_with(address: &str, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let (host, length) = (format!("Host: {address}"), format!("Content-Length: {}", body.len()));
    send(address, method, path, &[&[host.as_str(), length.as_str()], headers].concat(), body)
}

/// The same without a Host of ours.
pub fn ask_plainly(address: &str, method: &str, path: &str, headers: &[&str]) -> Answer {
    send(address, method, path, headers, "")
}

fn send(address: &str, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        request += header;
        request += "\r\n";
    }
    request += "\r\n";
    request += body;
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the answer broke off: {head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = Vec::new();
    let _ = reader.read_to_end(&mut body); // A server that did not read all of a request may reset the connection.
    Answer { status, head: head.to_ascii_lowercase(), raw_head: head, body: String::from_utf8(body).unwrap() }
}
