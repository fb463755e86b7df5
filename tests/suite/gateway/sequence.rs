//! The sequence number protocol between a sender and the gateway.
use super::process::{Gateway, Peer, journal, message};

fn numbered(id: &str, number: i64) -> String {
    message(id, "A01").replacen("|P|2.5.1\r", &format!("|P|2.5.1|{number}\r"), 1)
}

/// The MSA of an answer.
fn msa(answer: &str) -> &str {
    answer.split('\r').find(|segment| segment.starts_with("MSA|")).expect("an MSA")
}

#[test]
fn numbers_are_followed_over_kills_and_a_gap_freezes_the_link() {
    let configuration = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nsequence = true\n";
    let mut gateway = Gateway::start(configuration);
    let mut peer = Peer::connect(&gateway);
    let start = "MSH|^~\\&|HIS|HARBOR|LAB|CITY|20260102||^|start|P|2.5.1|0\r";
    assert_eq!(msa(&peer.exchange(start)), "MSA|AA|start||-1", "nothing is known yet");
    assert_eq!(msa(&peer.exchange(&numbered("a", 41))), "MSA|AA|a||41");
    assert_eq!(msa(&peer.exchange(&numbered("b", 42))), "MSA|AA|b||42");
    gateway = gateway.kill_and_restart(None);
    let mut peer = Peer::connect(&gateway);
    assert_eq!(msa(&peer.exchange(&numbered("b", 42))), "MSA|AA|b||43", "its acknowledgement was lost");
    assert_eq!(msa(&peer.exchange(start)), "MSA|AA|start||43", "how it stands now, not then");
    let gap = peer.exchange(&numbered("d", 44));
    assert_eq!(msa(&gap), "MSA|AE|d||43");
    assert!(gap.contains("ERR||MSH^1^13|100^"), "{gap}");
    assert_eq!(msa(&peer.exchange(&numbered("c", 43))), "MSA|AE|c||43", "the link is frozen");
    let enhanced = numbered("c", 43).replacen("|2.5.1|43\r", "|2.5.1|43||AL|NE\r", 1);
    assert_eq!(msa(&peer.exchange(&enhanced)), "MSA|CE|c||43");
    assert_eq!(msa(&peer.exchange(start)), "MSA|AA|start||43");
    // Many at once, and from another connection of the same peer.
    let bytes: String =
        (43..60).map(|number| format!("\x0b{}\x1c\r", numbered(&format!("m{number}"), number))).collect();
    peer.write(bytes.as_bytes());
    for number in 43..60 {
        assert_eq!(msa(&peer.receive().unwrap()), format!("MSA|AA|m{number}||{number}"));
    }
    let mut other = Peer::connect(&gateway);
    assert_eq!(msa(&other.exchange(&numbered("z", -1))), "MSA|AA|z||-1");
    assert_eq!(msa(&other.exchange(&numbered("y", 7))), "MSA|AA|y||7");
    assert_eq!(msa(&peer.exchange(&numbered("x", 8))), "MSA|AA|x||8");
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(log.matches("the link is frozen").count(), 1, "{log}");
    let ids: Vec<String> = journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
    let mut expected: Vec<String> = ["start", "a", "b", "start", "start"].map(str::to_owned).to_vec();
    expected.extend((43..60).map(|number| format!("m{number}")));
    expected.extend(["z", "y", "x"].map(str::to_owned));
    assert_eq!(ids, expected, "what was refused or had come before is not kept");
}

#[test]
fn the_number_of_the_message_before_answers_only_that_message() {
    let configuration = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nsequence = true\n";
    let gateway = Gateway::start(configuration);
    let mut peer = Peer::connect(&gateway);
    assert_eq!(msa(&peer.exchange(&numbered("a", 7))), "MSA|AA|a||7");
    assert_eq!(msa(&peer.exchange(&numbered("a", 7))), "MSA|AA|a||8", "the same once more");
    // Another one is not taken for it: whoever sends it must not believe that it is kept.
    assert_eq!(msa(&peer.exchange(&numbered("b", 7))), "MSA|AE|b||8");
    assert_eq!(msa(&peer.exchange(&numbered("a", 7).replace("|F\r", "|M\r"))), "MSA|AE|a||8");
    // What was refused stays refused, however often it is sent.
    let unknown = numbered("c", 8).replace("ADT^A01^ADT_A01", "ZZZ^Z99");
    for _ in 0..2 {
        assert!(msa(&peer.exchange(&unknown)).starts_with("MSA|AR|c|"));
    }
    assert_eq!(msa(&peer.exchange(&numbered("d", 9))), "MSA|AA|d||9");
    let data = gateway.data();
    gateway.stop();
    let ids: Vec<String> = journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
    assert_eq!(ids, ["a", "c", "d"]);
}
