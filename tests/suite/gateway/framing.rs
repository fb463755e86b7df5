//! MLLP on real sockets.
use super::process::{Gateway, Peer, journal, message};
use std::time::Duration;

fn codes(peer: &mut Peer) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(ack) = peer.receive() {
        let msa = ack.split('\r').find(|segment| segment.starts_with("MSA")).expect("an MSA").to_owned();
        found.push(msa);
    }
    found
}

#[test]
fn pipelined_frames_in_one_write_are_all_answered_in_order() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    let mut bytes = Vec::new();
    for number in 0..200 {
        bytes.extend_from_slice(format!("\x0b{}\x1c\r", message(&format!("m{number}"), "A01")).as_bytes());
    }
    peer.write(&bytes);
    peer.close_sending();
    let expected: Vec<_> = (0..200).map(|number| format!("MSA|AA|m{number}")).collect();
    assert_eq!(codes(&mut peer), expected);
    let data = gateway.data();
    gateway.stop();
    let kept: Vec<_> = journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
    assert_eq!(kept, (0..200).map(|number| format!("m{number}")).collect::<Vec<_>>(), "and kept in order");
}

#[test]
fn bytes_that_trickle_in_are_one_message() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    for byte in format!("\r\n\x0b{}\x1c\r", message("slow", "A01")).bytes() {
        peer.write(&[byte]);
    }
    assert!(peer.receive().unwrap().contains("MSA|AA|slow"));
    gateway.stop();
}

#[test]
fn half_a_frame_is_neither_answered_nor_kept() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.write(format!("\x0b{}", message("half", "A01")).as_bytes());
    peer.send(&message("whole", "A01"));
    peer.write(format!("\x0b{}\x1c", message("torn", "A01")).as_bytes());
    peer.close_sending();
    assert_eq!(codes(&mut peer), ["MSA|AA|whole"]);
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(journal(&data).len(), 1);
    assert!(
        log.contains("was dropped, not acknowledged") && log.contains("discarded without acknowledgement"),
        "{log}"
    );
}

#[test]
fn what_is_not_mllp_is_cut_off() {
    let gateway = Gateway::start("");
    for (bytes, reason) in
        [(vec![b'x'; 2000], "is the peer speaking MLLP?"), (b"\x0bMSH|^~\\&|\x1cX".to_vec(), "framing = \"lenient\"")]
    {
        let mut peer = Peer::connect(&gateway);
        peer.write(&bytes);
        assert_eq!(peer.receive(), None);
        super::process::wait_for("the reason in the log", || gateway.log().contains(reason).then_some(()));
    }
    gateway.stop();
}

#[test]
fn limits_of_a_listener_hold() {
    let gateway = Gateway::start(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nframe_bytes_max = 1024\nframe_timeout = \"100ms\"\nconnections_max = 2\nframing = \"lenient\"\n",
    );
    let mut large = Peer::connect(&gateway);
    large.write(format!("\x0bMSH|^~\\&|{}", "x".repeat(2000)).as_bytes());
    assert_eq!(large.receive(), None);
    let mut slow = Peer::connect(&gateway);
    slow.write(b"\x0bMSH|");
    assert_eq!(slow.receive(), None);
    let mut lenient = Peer::connect(&gateway);
    lenient.write(format!("\x0b{}\x1c", message("a", "A01")).as_bytes());
    assert!(lenient.receive().unwrap().contains("MSA|AA|a"), "silence ends a lenient frame");
    let mut second = Peer::connect(&gateway);
    assert!(second.exchange(&message("b", "A01")).contains("MSA|AA|b"));
    let mut third = Peer::connect(&gateway);
    third.read_timeout(Duration::from_secs(10));
    assert_eq!(third.receive(), None, "one connection too many");
    gateway.stop();
}
