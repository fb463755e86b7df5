//! What an acknowledgement is worth. The oracle is the sender's own list of what was acknowledged to it.
use super::process::{Gateway, Peer, journal, lines, message};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn what_was_acknowledged_survives_a_kill_and_is_delivered() {
    let mut gateway = Gateway::start("");
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..5 {
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let (mut peer, acknowledged) = (Peer::connect(&gateway), Arc::clone(&acknowledged));
                std::thread::spawn(move || {
                    for number in 0.. {
                        let id = format!("r{round}s{sender}n{number}");
                        let bytes = [b"\x0b", message(&id, "A01").as_bytes(), b"\x1c\r"].concat();
                        if peer.try_write(&bytes).is_err() {
                            return;
                        }
                        let Some(ack) = peer.receive() else { return };
                        assert!(ack.contains(&format!("MSA|AA|{id}\r")), "{ack}");
                        acknowledged.lock().unwrap().insert(id);
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(60 + 70 * round));
        gateway = gateway.kill_and_restart();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }
    let (data, path) = (gateway.data(), gateway.bundles_path());
    gateway.stop();
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > 50, "the test has done something: {}", acknowledged.len());
    let kept: BTreeSet<String> = journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
    let missing: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(missing.is_empty(), "acknowledged, not in the journal: {missing:?}");
    let delivered: BTreeSet<String> = lines(&path).iter().map(|line| patient(line)).collect();
    let missing: Vec<_> = kept.difference(&delivered).collect();
    assert!(missing.is_empty(), "in the journal, not delivered: {missing:?}");
}

/// The id of the message that a delivered line is about.
fn patient(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line).expect("no torn line");
    let (_, rest) = line.split_once("\"patient-").expect("a patient");
    rest.split_once('"').unwrap().0.to_owned()
}

/// A limit on the size of files stands in for a broken disk: from some record on, writing fails.
#[test]
fn what_cannot_be_written_is_not_acknowledged() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_handoff")]);
    limited.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let configuration = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n[[route]]\nname = \"bundles\"\nto = { file = \"handoff-data/bundles.ndjson\" }\n";
    let gateway = Gateway::start_with(configuration, limited);
    let mut peer = Peer::connect(&gateway);
    let mut acknowledged = 0;
    loop {
        let filler = "x".repeat(4000);
        let bytes = format!("\x0b{}NTE|1||{filler}\r\x1c\r", message(&format!("m{acknowledged}"), "A01"));
        if peer.try_write(bytes.as_bytes()).is_err() {
            break;
        }
        match peer.receive() {
            Some(ack) => assert!(ack.contains(&format!("MSA|AA|m{acknowledged}\r")), "{ack}"),
            None => break,
        }
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the limit was never met");
    }
    assert!(acknowledged > 0);
    let data = gateway.data();
    let (code, log) = gateway.wait();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the journal failed") && log.contains("not acknowledged, not stored"), "{log}");
    let kept = journal(&data).len();
    assert!(kept >= acknowledged, "{acknowledged} acknowledged, {kept} kept");
}
