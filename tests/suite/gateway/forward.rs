//! Routes that choose by filter, and routes to another HL7 v2 receiver.
use super::process::{Gateway, Peer, dead_letters, journal, lines, message, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

#[test]
fn filters_send_each_message_where_it_belongs() {
    let gateway = Gateway::start(
        "[[route]]\nname = \"admissions\"\nfilter = \"MSH-9.2 in (A01, A04)\"\nto = { file = \"admissions.ndjson\" }\n\
         [[route]]\nname = \"women\"\nfilter = \"PID-8 = 'F' and MSH-9.2 != 'A03'\"\nto = { file = \"women.ndjson\" }\n\
         [[route]]\nname = \"all\"\nto = { file = \"all.ndjson\" }\n",
    );
    let mut peer = Peer::connect(&gateway);
    let man = |id: &str, event: &str| message(id, event).replace("|19800101|F", "|19800101|M");
    for sent in [message("one", "A01"), man("two", "A01"), message("three", "A08"), message("four", "A03")] {
        assert!(peer.exchange(&sent).contains("MSA|AA|"));
    }
    let data = gateway.data();
    let folder = data.parent().unwrap();
    wait_for("all messages", || Some(()).filter(|()| lines(&folder.join("all.ndjson")).len() == 4));
    gateway.stop();
    let patients = |file: &str| -> Vec<String> {
        let named = |line: &String| line.split("patient-").nth(1).unwrap().split('"').next().unwrap().to_owned();
        lines(&folder.join(file)).iter().map(named).collect()
    };
    assert_eq!(patients("admissions.ndjson"), ["one", "two"]);
    assert_eq!(patients("women.ndjson"), ["one", "three"]);
    assert_eq!(patients("all.ndjson"), ["one", "two", "three", "four"]);
}

#[test]
fn the_message_goes_on_as_it_came() {
    let receiver = Gateway::start("");
    let route = format!("[[route]]\nname = \"lab\"\nto = {{ mllp = \"{}\" }}\n", receiver.address());
    let gateway = Gateway::start(&route);
    let mut peer = Peer::connect(&gateway);
    let sent: Vec<String> = (0..20)
        .map(|number| format!("{}ZBX|odd \\F\\ \\X0D\\|\"\"|^~&|été|\r", message(&format!("m{number}"), "A08")))
        .collect();
    for message in &sent {
        assert!(peer.exchange(message).contains("MSA|AA|"));
    }
    receiver.wait_for_bundles(sent.len());
    let (data, from) = (receiver.data(), gateway.data());
    gateway.stop();
    receiver.stop();
    assert_eq!(journal(&data), sent, "byte for byte and in order");
    assert!(dead_letters(&from, "lab").is_empty());
}

/// A receiver that answers each message with the next of `answers` (`{id}` stands for the control id), AA once they are used up; keeps what came.
fn receiver(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let got: Arc<Mutex<Vec<String>>> = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            loop {
                let mut frame = Vec::new();
                let read = reader.read_until(0x1c, &mut frame).and_then(|_| reader.read_exact(&mut [0]));
                if read.is_err() || frame.len() < 2 {
                    break;
                }
                let text = String::from_utf8(frame[1..frame.len() - 1].to_vec()).unwrap();
                let id = text.split('|').nth(9).unwrap().to_owned();
                let mut kept = kept.lock().unwrap();
                let answer = answers.get(kept.len()).unwrap_or(&"MSA|AA|{id}").replace("{id}", &id);
                kept.push(text);
                drop(kept);
                if answer == "close" {
                    break;
                }
                let ack = format!("\x0bMSH|^~\\&|LAB|CITY|HIS|HARBOR|20260102||ACK|9|P|2.5.1\r{answer}\r\x1c\r");
                (&stream).write_all(ack.as_bytes()).unwrap();
            }
        }
    });
    (address, got)
}

#[test]
fn only_the_receivers_own_yes_counts() {
    // Another message's acknowledgement, none at all, a commit error: the same bytes again. AE: a dead letter, and the next goes on.
    let (address, got) = receiver(&["MSA|AA|other", "close", "MSA|CE|{id}", "MSA|AA|{id}", "MSA|AE|{id}"]);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"lab\"\nto = {{ mllp = \"{address}\" }}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    let (one, two, three) = (message("one", "A01"), message("two", "A01"), message("three", "A01"));
    for sent in [&one, &two, &three] {
        assert!(peer.exchange(sent).contains("MSA|AA|"));
    }
    wait_for("the third message", || Some(()).filter(|()| got.lock().unwrap().contains(&three)));
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(*got.lock().unwrap(), [one.clone(), one.clone(), one.clone(), one, two, three]);
    assert_eq!(dead_letters(&data, "lab"), [2], "{log}");
    assert!(log.contains("the receiver answers AE") && !log.contains("CANARY"), "{log}");
}

/// MSH-15 has a commit acknowledgement come at once, MSH-16 one of the application later: a message of its own, which its receiver says it has kept.
#[test]
fn the_acknowledgement_of_the_application_comes_on_an_exchange_of_its_own() {
    let (address, got) = receiver(&["MSA|CE|{id}", "MSA|CA|{id}", "MSA|CA|{id}"]);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"acks\"\nto = {{ mllp = \"{address}\", send = \"acknowledgement\" }}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    let asks = |id: &str, conditions: &str| message(id, "A01").replace("|P|2.5.1", &format!("|P|2.5.1|||{conditions}"));
    assert!(peer.exchange(&asks("good", "AL|AL")).contains("MSA|CA|good\r"));
    assert!(peer.exchange(&asks("quiet", "AL|NE")).contains("MSA|CA|quiet\r"));
    assert!(peer.exchange(&message("plain", "A01")).contains("MSA|AA|plain\r"));
    // Two messages in one frame can be kept, and not be used.
    let two = format!("{}{}", asks("bad", "AL|ER"), message("other", "A01"));
    assert!(peer.exchange(&two).contains("MSA|CA|bad\r"));
    let arrived = wait_for("acknowledgements", || Some(got.lock().unwrap().clone()).filter(|got| got.len() == 3));
    let (data, log) = (gateway.data(), gateway.stop());
    assert_eq!(arrived[0], arrived[1], "not kept, so the same bytes again");
    assert!(arrived[1].contains("||ACK^A01^ACK|A") && arrived[1].contains("|AL|NE\rMSA|AA|good\r"), "{arrived:?}");
    assert!(arrived[2].contains("MSA|AE|bad\rERR||"), "{arrived:?}");
    assert!(dead_letters(&data, "acks").is_empty() && !log.contains("CANARY"), "{log}");
}
