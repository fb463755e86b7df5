//! What an acknowledgement is worth. The oracle is the sender's own list of what was acknowledged to it.
use super::process::{Gateway, Peer, journal, lines, message};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Kills in a row, unless `HANDOFF_KILLS` says otherwise.
const KILLS: u64 = 8;
/// Senders at the same time, one message of each on its way.
const SENDERS: usize = 64;

#[test]
fn what_was_acknowledged_survives_kills_under_load_and_is_delivered_in_order() {
    let kills = std::env::var("HANDOFF_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut gateway = Gateway::start("");
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..kills {
        let senders: Vec<_> = (0..SENDERS)
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
        std::thread::sleep(Duration::from_millis(60 + 41 * (round % 7)));
        // Every third time it is killed once more while it starts.
        let while_starting = (round % 3 == 2).then(|| Duration::from_millis(5 * (round % 11)));
        gateway = gateway.kill_and_restart(while_starting);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }
    let (data, path) = (gateway.data(), gateway.bundles_path());
    gateway.stop();
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > 50, "the test has done something: {}", acknowledged.len());
    let kept: Vec<String> = journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
    let missing: Vec<_> = acknowledged.iter().filter(|id| !kept.contains(id)).collect();
    assert!(missing.is_empty(), "acknowledged, not in the journal: {missing:?}");
    // A delivery may be repeated; what counts is when each came first.
    let mut seen = BTreeSet::new();
    let delivered: Vec<String> =
        lines(&path).iter().map(|line| patient(line)).filter(|id| seen.insert(id.clone())).collect();
    assert_eq!(delivered, kept, "everything in the journal is delivered, in its order");
    let mut last = BTreeMap::new();
    for id in &kept {
        let (sender, number) = id.split_once('n').unwrap();
        let number: u64 = number.parse().unwrap();
        let before = last.insert(sender.to_owned(), number);
        assert!(before.is_none_or(|before| before < number), "{id} after {before:?}: the order of its sender");
    }
}

/// The id of the message that a delivered line is about.
fn patient(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line).expect("no torn line");
    let (_, rest) = line.split_once("\"patient-").expect("a patient");
    rest.split_once('"').unwrap().0.to_owned()
}

/// A limit on the size of files stands in for a broken disk: from some record on, writing fails. `conditions` are MSH-15 and MSH-16. Gives what was acknowledged with
/// `code`, what was answered last if that is something else, and the gateway.
fn until_it_fails(conditions: &str, code: &str) -> (usize, Option<String>, Gateway) {
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_handoff")]);
    limited.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let configuration = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n[[route]]\nname = \"bundles\"\nto = { file = \"handoff-data/bundles.ndjson\" }\n";
    let gateway = Gateway::start_with(configuration, limited);
    let mut peer = Peer::connect(&gateway);
    let mut acknowledged = 0;
    loop {
        let text = message(&format!("m{acknowledged}"), "A01").replace("|P|2.5.1", &format!("|P|2.5.1|||{conditions}"));
        let bytes = format!("\x0b{text}NTE|1||{}\r\x1c\r", "x".repeat(20_000));
        if peer.try_write(bytes.as_bytes()).is_err() {
            return (acknowledged, None, gateway);
        }
        match peer.receive() {
            Some(ack) if ack.contains(&format!("MSA|{code}|m{acknowledged}\r")) => acknowledged += 1,
            last => return (acknowledged, last, gateway),
        }
        assert!(acknowledged < 10_000, "the limit was never met");
    }
}

#[test]
fn what_cannot_be_written_is_not_acknowledged() {
    let (acknowledged, last, gateway) = until_it_fails("|", "AA");
    assert!(acknowledged > 0);
    assert_eq!(last, None, "silence");
    let data = gateway.data();
    let (code, log) = gateway.wait();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the journal failed") && log.contains("not acknowledged, not stored"), "{log}");
    let kept = journal(&data).len();
    assert!(kept >= acknowledged, "{acknowledged} acknowledged, {kept} kept");
}

#[test]
fn in_the_enhanced_mode_the_sender_is_told() {
    let (acknowledged, last, gateway) = until_it_fails("AL|NE", "CA");
    assert!(acknowledged > 0);
    let last = last.expect("a commit error");
    assert!(last.contains(&format!("MSA|CE|m{acknowledged}\rERR|||207^")), "{last}");
    assert_eq!(gateway.wait().0, Some(1));
}
