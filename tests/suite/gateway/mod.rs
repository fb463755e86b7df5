//! The gateway as its users meet it: the program itself, real sockets, real files.
mod admin;
mod again;
mod alerts;
mod batch;
mod bench;
pub mod care;
mod codes;
mod configured;
mod crash;
mod delivered;
mod delivery;
mod desk;
mod directory;
mod duplicates;
mod egress;
mod faults;
mod forward;
mod framing;
mod hook;
mod hostile;
mod http;
mod keep;
mod lanes;
mod letters;
mod letters_many;
mod mail;
mod messages;
mod outward;
mod over_http;
mod process;
mod refused;
mod release_2;
mod reload;
mod requests;
mod rolled;
mod sending;
mod sequence;
mod server;
mod service;
mod smart;
mod tls;
mod traces;
mod web;

use process::{Gateway, Peer, message};

#[test]
fn a_message_is_acknowledged_and_its_bundle_delivered() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    let ack = peer.exchange(&message("one", "A01"));
    assert!(ack.starts_with("MSH|^~\\&|LAB|CITY|HIS|HARBOR|"), "{ack}");
    assert!(ack.contains("||ACK^A01^ACK|") && ack.ends_with("\rMSA|AA|one\r"), "{ack}");
    let bundles = gateway.wait_for_bundles(1);
    let bundle: serde_json::Value = serde_json::from_str(&bundles[0]).unwrap();
    assert_eq!((bundle["resourceType"].as_str(), bundle["type"].as_str()), (Some("Bundle"), Some("message")));
    assert!(bundles[0].contains("patient-one"));
    let log = gateway.stop();
    assert!(log.contains("outcome=\"translated\""), "{log}");
    assert!(!log.contains("patient-one") && !log.contains("CANARY"), "nothing of a patient in the log:\n{log}");
}

#[test]
fn what_cannot_be_translated_is_refused_kept_and_a_dead_letter() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    let unknown = peer.exchange(&message("two", "Z99").replace("ADT^Z99^ADT_A01", "ZZZ^Z99"));
    assert!(unknown.contains("MSA|AR|two\rERR||MSH^1^9|200^Unsupported message type^HL70357|E|"), "{unknown}");
    let version = peer.exchange(&message("three", "A01").replace("|P|2.5.1", "|P|3.0"));
    assert!(version.contains("MSA|AR|three\rERR||MSH^1^12|203^"), "{version}");
    let nothing = peer.exchange("hello");
    assert!(nothing.contains("MSA|AR|\rERR||MSH^1|100^"), "{nothing}");
    let two = peer.exchange(&format!("{}{}", message("four", "A01"), message("five", "A01")));
    assert!(two.contains("MSA|AE|four\rERR||MSH^2|100^"), "{two}");
    assert!(peer.exchange(&message("six", "A01")).contains("MSA|AA|six"));
    let data = gateway.data();
    gateway.wait_for_bundles(1);
    gateway.stop();
    assert_eq!(process::dead_letters(&data, "untranslated"), [1, 2, 3, 4]);
    assert_eq!(process::journal(&data).len(), 5, "all are kept");
}

#[test]
fn acknowledgements_are_not_acknowledged() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.send("MSH|^~\\&|A|B|C|D|1||ACK^A01^ACK|9|P|2.5\rMSA|AA|1\r");
    assert!(peer.exchange(&message("next", "A01")).contains("MSA|AA|next"), "the next answer is for the next message");
    gateway.stop();
}

#[test]
fn durable_acknowledges_before_translating_and_the_route_gives_up_what_it_cannot_use() {
    let gateway = Gateway::start("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nack_on = \"durable\"\n");
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one"));
    assert!(peer.exchange(&message("two", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99")).contains("MSA|AA|two"));
    assert!(peer.exchange(&message("three", "A01")).contains("MSA|AA|three"));
    let bundles = gateway.wait_for_bundles(2);
    assert!(bundles[0].contains("patient-one") && bundles[1].contains("patient-three"));
    let data = gateway.data();
    gateway.stop();
    assert_eq!(process::dead_letters(&data, "bundles"), [2]);
}

#[test]
fn a_stopped_gateway_answers_and_delivers_what_it_has_taken() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    for number in 0..50 {
        peer.send(&message(&format!("m{number}"), "A01"));
    }
    assert!(peer.receive().unwrap().contains("MSA|AA|m0"));
    gateway.terminate();
    let mut acknowledged = 1;
    while peer.receive().is_some() {
        acknowledged += 1;
    }
    let path = gateway.bundles_path();
    let data = gateway.data();
    gateway.stop();
    let kept = process::journal(&data).len();
    assert_eq!(acknowledged, kept, "every message that was taken is answered");
    assert_eq!(process::lines(&path).len(), kept, "and delivered");
}

#[test]
fn one_data_directory_one_process() {
    let gateway = Gateway::start("");
    let mut second = gateway.command().spawn().unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(1));
    gateway.stop();
}

#[test]
fn a_wrong_configuration_is_explained_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handoff.toml");
    std::fs::write(&path, "[[listner]]\nname = \"a\"\n").unwrap();
    let output = process::handoff().args(["serve", "--config"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("handoff.toml:1:3: unknown key \"listner\"; did you mean \"listener\"?"), "{text}");
    assert!(!folder.path().join("handoff-data").exists());
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(folder.path().join("handoff.toml"), text).unwrap();
        let output = process::handoff()
            .stdout(std::process::Stdio::piped())
            .args(["check", "--config"])
            .arg(folder.path().join("handoff.toml"))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = check("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:2575\"\n");
    assert!(code == Some(0) && text.contains("good (1 listeners, 1 routes)"), "{code:?} {text}");
    let tls =
        "[[listener]]\nname = \"adt\"\nmllp = \"0.0.0.0:2575\"\ntls = { certificate = \"no.pem\", key = \"no.key\" }\n";
    let (code, text) = check(tls);
    assert!(
        code == Some(2) && text.contains("listener adt: tls:") && text.contains("no.key: cannot be read"),
        "{text}"
    );
    let (code, text) = check("[[rout]]\nname = \"x\"\n");
    assert!(code == Some(2) && text.contains("handoff.toml:1:") && text.contains("did you mean \"route\"?"), "{text}");
    let (code, text) = check("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:2575\"\nsite = \"nowhere\"\n");
    assert!(code == Some(2) && text.contains("nowhere"), "{code:?} {text}");
    assert!(!folder.path().join("handoff-data").exists(), "nothing was started");
}

#[test]
fn send_checks_every_acknowledgement() {
    let gateway = Gateway::start("");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good =
        path("good.hl7", format!("FHS|^~\\&\rBHS|^~\\&\r{}{}BTS|2\rFTS|1\r", message("a", "A01"), message("b", "A08")));
    let lines = path("lines.hl7", message("c", "A01").replace('\r', "\n"));
    let bad = path("bad.hl7", message("d", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99"));
    let send = |to: &str, files: &[&std::path::PathBuf]| {
        let output = process::handoff().args(["send", "--to", to]).args(files).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let here = gateway.address();
    let (code, text) = send(&here, &[&good, &lines]);
    assert!(code == Some(0) && text.contains("3 accepted, 0 failed"), "{code:?} {text}");
    let (code, text) = send(&here, &[&bad, &lines]);
    assert!(
        code == Some(1) && text.contains("bad.hl7: message 1: AR") && text.contains("1 accepted, 1 failed"),
        "{code:?} {text}"
    );
    assert_eq!(send(&here, &[&folder.path().join("missing")]).0, Some(2));
    assert_eq!(send("nonsense", &[&good]).0, Some(2));
    gateway.stop();
    let (code, text) = send(&here, &[&good]);
    assert!(code == Some(1) && text.contains("1 failed, 1 not sent"), "nobody listens any more: {code:?} {text}");
}
