//! HL7 v2 over HTTP, byte by byte.
use super::process::{Gateway, journal, message};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

struct Client(BufReader<TcpStream>);

/// Status line, headers in lower case, body.
type Response = (String, String, String);

impl Client {
    fn connect(gateway: &Gateway) -> Client {
        let stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client(BufReader::new(stream))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn receive(&mut self) -> Option<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let (status, headers) = head.split_once("\r\n").unwrap();
        let headers = headers.to_ascii_lowercase();
        let length =
            headers.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status.to_owned(), headers, String::from_utf8(body).unwrap()))
    }

    fn post(&mut self, headers: &str, body: &[u8]) -> Response {
        let head = format!("POST /hl7 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        self.write(head.as_bytes());
        self.write(body);
        self.receive().expect("a response")
    }
}

const HL7: &str = "Content-Type: application/hl7-v2; charset=utf-8\r\n";

fn listener(lines: &str) -> String {
    format!("[[listener]]\nname = \"web\"\nhttp = \"127.0.0.1:0\"\n{lines}\n")
}

#[test]
fn a_message_is_posted_and_its_acknowledgement_is_the_answer() {
    let gateway = Gateway::start(&listener(""));
    let mut client = Client::connect(&gateway);
    let (one, two) = (message("one", "A01"), message("two", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99"));
    let (status, headers, ack) = client.post(HL7, one.as_bytes());
    assert!(status.starts_with("HTTP/1.1 200 ") && ack.ends_with("\rMSA|AA|one\r"), "{status} {ack}");
    assert!(headers.contains("content-type: application/hl7-v2; charset=utf-8\r\n") && headers.contains("date: "));
    let again = client.post("Content-Type: X-Application/HL7-v2+er7\r\n", one.as_bytes());
    assert_eq!(again.2, ack, "the same message again");
    let (status, _, refused) = client.post("Content-Type: text/plain\r\n", two.as_bytes());
    assert!(status.starts_with("HTTP/1.1 200 ") && refused.contains("\rMSA|AR|two\r"), "{status} {refused}");
    let quiet = message("three", "A01").replace("|P|2.5.1", "|P|2.5.1|||NE|NE");
    assert!(client.post(HL7, quiet.as_bytes()).0.starts_with("HTTP/1.1 204 "));
    let batch = format!("BHS|^~\\&|HIS|HARBOR\r{one}{}BTS|2\r", message("four", "A01"));
    let (_, _, answer) = client.post(HL7, batch.as_bytes());
    assert!(
        answer.starts_with("BHS|") && answer.contains("MSA|AA|one\r") && answer.contains("MSA|AA|four\r"),
        "{answer}"
    );
    gateway.wait_for_bundles(3);
    let data = gateway.data();
    let log = gateway.stop();
    let kept: Vec<String> = journal(&data).iter().map(|raw| format!("{}\r", raw.trim_end())).collect();
    assert_eq!(kept, [one, two, quiet, message("four", "A01")]);
    assert!(!log.contains("CANARY"), "{log}");
}

#[test]
fn what_is_no_message_is_refused_and_nothing_is_kept() {
    let gateway = Gateway::start(&listener("frame_bytes_max = 2000\nframe_timeout = \"100ms\""));
    let post = |headers: &str, body: &[u8]| Client::connect(&gateway).post(headers, body).0;
    assert!(post("Content-Type: application/json\r\n", b"{}").starts_with("HTTP/1.1 415 "));
    assert!(post("", b"MSH|").starts_with("HTTP/1.1 415 "));
    assert!(post(HL7, b" \r\n").starts_with("HTTP/1.1 400 "));
    let page = format!("{HL7}Origin: http://evil.example\r\n");
    assert!(
        post(&page, message("a", "A01").as_bytes()).starts_with("HTTP/1.1 403 "),
        "no page in a browser sends messages"
    );
    assert!(post(HL7, &[b'x'; 3000]).starts_with("HTTP/1.1 413 "));
    let latin = message("a", "A01").replace("|P|2.5.1", "|P|2.5.1||||||8859/2").replace("CANARY", "C\u{e9}");
    assert!(post(HL7, latin.as_bytes()).starts_with("HTTP/1.1 400 "), "UTF-8 against 8859/2");
    let unknown = "Content-Type: text/plain; charset=klingon\r\n";
    assert!(post(unknown, latin.as_bytes()).starts_with("HTTP/1.1 415 "));
    for (request, status) in [
        ("GET /hl7 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 "),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /hl7 HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nMSH", "HTTP/1.1 408 "),
    ] {
        let mut client = Client::connect(&gateway);
        client.write(request.as_bytes());
        let (found, _, _) = client.receive().unwrap();
        assert!(found.starts_with(status), "{request}: {found}");
    }
    let mut client = Client::connect(&gateway);
    let chunked = format!(
        "POST /hl7 HTTP/1.1\r\nHost: x\r\n{HL7}Transfer-Encoding: chunked\r\n\r\nfff\r\n{}",
        "x".repeat(20_000)
    );
    client.write(chunked.as_bytes());
    assert!(client.receive().unwrap().0.starts_with("HTTP/1.1 413 "));
    let data = gateway.data();
    gateway.stop();
    assert!(journal(&data).is_empty());
}

#[test]
fn without_its_token_a_request_is_refused_before_its_body_is_there() {
    let gateway = Gateway::start(&listener("bearer = \"canary-token\""));
    for shown in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic canary-token\r\n"] {
        let mut client = Client::connect(&gateway);
        client.write(format!("POST /hl7 HTTP/1.1\r\nHost: x\r\n{HL7}Content-Length: 999\r\n{shown}\r\n").as_bytes());
        let (status, headers, _) = client.receive().unwrap();
        assert!(
            status.starts_with("HTTP/1.1 401 ") && headers.contains("www-authenticate: bearer"),
            "{shown}: {status}"
        );
    }
    let shown = format!("{HL7}Authorization: bearer canary-token\r\n");
    let (_, _, ack) = Client::connect(&gateway).post(&shown, message("one", "A01").as_bytes());
    assert!(ack.contains("MSA|AA|one"), "{ack}");
    let data = gateway.data();
    let log = gateway.stop();
    assert!(!log.contains("canary-token"), "{log}");
    assert_eq!(journal(&data).len(), 1);
}

#[test]
fn networks_are_kept_out_and_what_was_taken_is_answered_at_a_stop() {
    let gateway = Gateway::start(&listener("allow = [\"10.0.0.0/8\"]"));
    let mut client = Client::connect(&gateway);
    assert!(client.receive().is_none());
    assert!(gateway.stop().contains("in no network of allow"));

    let gateway = Gateway::start(&listener(""));
    let mut client = Client::connect(&gateway);
    let body = message("one", "A01");
    let (first, rest) = body.split_at(40);
    let head = format!("POST /hl7 HTTP/1.1\r\nHost: x\r\n{HL7}Content-Length: {}\r\n\r\n{first}", body.len());
    // Answered once, so the next request is known to have been begun on a connection that is served.
    assert!(client.post(HL7, message("zero", "A01").as_bytes()).2.contains("MSA|AA|zero"));
    client.write(head.as_bytes());
    std::thread::sleep(Duration::from_millis(200));
    gateway.terminate();
    super::process::wait_for("the stop", || gateway.log().contains("stopping").then_some(()));
    client.write(rest.as_bytes());
    assert!(client.receive().unwrap().2.contains("MSA|AA|one"), "a request that had begun is answered");
    let data = gateway.data();
    gateway.stop();
    assert_eq!(journal(&data).len(), 2);
}

/// One that sends a byte now and then is never silent.
#[test]
fn a_head_that_comes_too_slowly_is_cut_off_and_an_idle_connection_is_not() {
    let gateway = Gateway::start(&listener("frame_timeout = \"300ms\""));
    let mut idle = Client::connect(&gateway);
    assert!(idle.post(HL7, message("one", "A01").as_bytes()).2.contains("MSA|AA|one"));
    let mut slow = Client::connect(&gateway);
    for attempt in ["first request", "later one"] {
        if attempt == "later one" {
            slow = Client::connect(&gateway);
            assert!(slow.post(HL7, message("two", "A01").as_bytes()).2.contains("MSA|AA|two"));
        }
        slow.write(b"POST /hl7 HTTP/1.1\r\nX-Slow: ");
        let cut = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            slow.0.get_mut().write_all(b"x").is_err()
        });
        assert!(cut && slow.receive().is_none(), "{attempt}");
    }
    assert!(idle.post(HL7, message("three", "A01").as_bytes()).2.contains("MSA|AA|three"), "it was only idle");
    assert!(gateway.stop().contains("the head of a request did not come in time"));
}

/// Over MLLP it would be two messages, and nobody would have asked whether the second is wanted.
#[test]
fn a_message_that_holds_the_end_of_a_frame_goes_nowhere() {
    let receiver = Gateway::start("");
    let route = format!("[[route]]\nname = \"lab\"\nto = {{ mllp = \"{}\" }}\n", receiver.address());
    let gateway = Gateway::start(&format!("{}{route}", listener("")));
    let mut client = Client::connect(&gateway);
    let hidden = format!("{}NTE|1||x\x1c\r\x0b{}", message("a", "A01"), message("hidden", "A08"));
    let (status, _, body) = client.post(HL7, hidden.as_bytes());
    assert!(
        status.starts_with("HTTP/1.1 200 ") && body.contains("MSA|AE|a\r") && body.contains("end of an MLLP frame")
    );
    assert!(client.post(HL7, message("b", "A01").as_bytes()).2.contains("MSA|AA|b\r"));
    receiver.wait_for_bundles(1);
    let (data, arrived) = (gateway.data(), receiver.data());
    gateway.stop();
    receiver.stop();
    assert_eq!(journal(&arrived), [message("b", "A01")]);
    assert_eq!((journal(&data).len(), super::process::dead_letters(&data, "untranslated")), (2, vec![1]));
}

/// A limit on the size of files stands in for a broken disk.
#[test]
fn what_cannot_be_stored_is_said_to_be_tried_again() {
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_handoff")]);
    limited.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let route = "[[route]]\nname = \"bundles\"\nto = { file = \"handoff-data/bundles.ndjson\" }\n";
    let gateway = Gateway::start_with(&format!("{}{route}", listener("")), limited);
    let mut client = Client::connect(&gateway);
    for number in 0..10_000 {
        let text = format!("{}NTE|1||{}\r", message(&format!("m{number}"), "A01"), "x".repeat(20_000));
        let (status, headers, body) = client.post(HL7, text.as_bytes());
        if status.starts_with("HTTP/1.1 503 ") {
            assert!(number > 0 && headers.contains("retry-after: ") && headers.contains("content-type: text/plain"));
            assert!(body.contains("send it again"), "{body}");
            assert_eq!(gateway.wait().0, Some(1));
            return;
        }
        assert!(body.contains(&format!("MSA|AA|m{number}\r")), "{status} {body}");
    }
    panic!("the limit was never met");
}
