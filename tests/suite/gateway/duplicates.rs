//! The same message again: kept once, answered each time with the same bytes.
use super::process::{Gateway, Peer, dead_letters, journal, lines, message, wait_for};

/// The same message sent later: another MSH-7.
fn later(message: &str) -> String {
    message.replacen("|20260102030405+0000|", "|20260102030999+0000|", 1)
}

fn listener(lines: &str) -> String {
    format!("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n{lines}\n")
}

#[test]
fn a_message_that_comes_again_is_answered_as_it_was_also_after_a_stop_and_a_kill() {
    let mut gateway = Gateway::start("");
    let one = message("one", "A01");
    let refused = message("two", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99");
    let mut peer = Peer::connect(&gateway);
    let answers = [peer.exchange(&one), peer.exchange(&refused)];
    assert!(answers[0].contains("MSA|AA|one") && answers[1].contains("MSA|AR|two"), "{answers:?}");
    for killed in [false, true, true] {
        if killed {
            gateway = gateway.kill_and_restart(None);
        }
        let mut peer = Peer::connect(&gateway);
        assert_eq!([peer.exchange(&one), peer.exchange(&refused)], answers, "byte for byte");
        assert_eq!(peer.exchange(&later(&one)), answers[0], "MSH-7 does not count");
    }
    gateway.wait_for_bundles(1);
    let (data, path) = (gateway.data(), gateway.bundles_path());
    let log = gateway.stop();
    assert!(log.contains("a message that came before was answered as it was then"), "{log}");
    assert_eq!(journal(&data), [one, refused], "kept once");
    let delivered = lines(&path);
    assert!(delivered.iter().all(|line| *line == delivered[0]), "nothing but the first is delivered");
}

#[test]
fn twins_in_one_read_are_one_message() {
    let gateway = Gateway::start("");
    let (mut peer, mut other) = (Peer::connect(&gateway), Peer::connect(&gateway));
    let (one, two) = (message("one", "A01"), message("two", "A01"));
    let frames = |messages: &[&String]| -> Vec<u8> {
        messages.iter().flat_map(|text| format!("\x0b{text}\x1c\r").into_bytes()).collect()
    };
    peer.write(&frames(&[&one, &one, &two, &one, &two]));
    other.write(&frames(&[&two, &one]));
    let answers: Vec<String> = (0..5).map(|_| peer.receive().unwrap()).collect();
    assert!(answers[0].contains("MSA|AA|one") && answers[2].contains("MSA|AA|two"), "{answers:?}");
    assert_eq!([&answers[1], &answers[3], &answers[4]], [&answers[0], &answers[0], &answers[2]]);
    assert_eq!([other.receive().unwrap(), other.receive().unwrap()], [answers[2].clone(), answers[0].clone()]);
    let data = gateway.data();
    gateway.stop();
    let mut kept = journal(&data);
    kept.sort();
    assert_eq!(kept, [one, two]);
}

#[test]
fn a_control_id_that_is_used_again_is_told_or_refused() {
    let gateway = Gateway::start(&listener(""));
    let mut peer = Peer::connect(&gateway);
    let (one, other) = (message("one", "A01"), message("one", "A01").replace("CANARY", "OTHER"));
    assert!(peer.exchange(&one).contains("MSA|AA|one"));
    assert!(peer.exchange(&other).contains("MSA|AA|one"), "another message");
    let elsewhere = one.replace("|HARBOR|LAB|", "|QUAY|LAB|");
    assert!(peer.exchange(&elsewhere).contains("MSA|AA|one"), "another feed");
    let data = gateway.data();
    gateway.wait_for_bundles(3);
    let log = gateway.stop();
    assert_eq!(journal(&data), [one.clone(), other.clone(), elsewhere]);
    assert_eq!(log.matches("was the control id of an earlier message").count(), 1, "{log}");

    let gateway = Gateway::start(&listener("duplicates = \"strict\""));
    let mut peer = Peer::connect(&gateway);
    let bytes = [&one, &other, &one].map(|text| format!("\x0b{text}\x1c\r")).concat();
    peer.write(bytes.as_bytes());
    let answers = [peer.receive().unwrap(), peer.receive().unwrap(), peer.receive().unwrap()];
    assert!(answers[0].contains("MSA|AA|one"), "{answers:?}");
    assert!(
        answers[1].contains("MSA|AE|one\rERR||MSH^1^10|205^Duplicate key identifier^HL70357|E|"),
        "also while the first is on its way: {answers:?}"
    );
    assert_eq!(answers[2], answers[0]);
    assert_eq!(peer.exchange(&other), answers[1], "refused as before");
    let data = gateway.data();
    wait_for("the dead letter", || Some(()).filter(|()| gateway.log().contains("earlier message")));
    gateway.stop();
    assert_eq!(journal(&data), [one, other], "kept all the same");
    assert_eq!(dead_letters(&data, "untranslated"), [2]);
}

#[test]
fn without_a_control_id_or_where_it_is_switched_off_nothing_is_a_duplicate() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    let nameless = message("one", "A01").replacen("|one|", "||", 1);
    assert!(peer.exchange(&nameless).contains("MSA|AA|\r") && peer.exchange(&nameless).contains("MSA|AA|\r"));
    let data = gateway.data();
    gateway.stop();
    assert_eq!(journal(&data).len(), 2);

    let gateway = Gateway::start(&listener("duplicates = \"off\""));
    let mut peer = Peer::connect(&gateway);
    let one = message("one", "A01");
    assert_ne!(peer.exchange(&one), peer.exchange(&one), "each is answered for itself");
    let data = gateway.data();
    gateway.stop();
    assert_eq!(journal(&data).len(), 2);
}
