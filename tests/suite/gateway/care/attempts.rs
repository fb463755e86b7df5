//! The audit of attempts that fail: whether anybody may have read what was sent.
use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;

/// Outcome and why, of each disclosure of an event.
fn outcomes(care: &Care) -> Vec<(String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all = audit(care);
    let disclosures = all.iter().map(|line| &line["event"]).filter(|event| event["subtype"][0]["code"] == "disclose");
    disclosures.map(|event| (text(&event["outcome"]).unwrap(), text(&event["outcomeDesc"]))).collect()
}

fn outcome(code: &str, why: Option<&str>) -> (String, Option<String>) {
    (code.to_owned(), why.map(str::to_owned))
}

#[test]
fn what_an_endpoint_refuses_it_may_have_read() {
    let web = Web::start(|request| says(if request.earlier == 1 { "500 Internal Server Error" } else { "200 OK" }));
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1]);
    web.wait_for(3);
    assert_eq!(outcomes(&care), [outcome("0", None), outcome("4", Some("not-taken")), outcome("0", None)]);
    let (code, said) = command(care.gateway.folder(), &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    care.gateway.stop();
}

/// An endpoint that takes one request, and then is not there any more.
fn once() -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut request = Vec::new();
        let whole = |request: &[u8]| {
            let text = String::from_utf8_lossy(request).to_ascii_lowercase();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
            (body.len() >= length).then_some(())
        };
        while whole(&request).is_none() {
            let mut some = [0; 4096];
            let count = stream.read(&mut some).unwrap();
            request.extend_from_slice(&some[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    (address, thread)
}

#[test]
fn where_nobody_is_connected_to_nothing_was_disclosed() {
    let (address, thread) = once();
    let care = Care::start("attempts_max = 2", &recipient("aco-cm", "id-only", ""));
    let id = care.subscribe("aco-cm", &subscription("admission", &address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    thread.join().unwrap();
    care.send(&[M1]);
    care.wait_for_state("aco-cm", &id, "error");
    let (began, ended) = (outcome("0", None), outcome("8", Some("not-sent")));
    assert_eq!(outcomes(&care), [began.clone(), ended.clone(), began, ended]);
    let all = audit(&care);
    let ids: std::collections::BTreeSet<_> = all.iter().map(|line| line["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4, "each has an id of its own");
    let detail =
        |line: &Value| line["event"]["entity"].as_array().unwrap().iter().find_map(|one| one.get("detail").cloned());
    assert!(all.iter().all(|line| detail(line).unwrap()[0]["valueString"] == "1"), "all of the same number");
    care.gateway.stop();
}
