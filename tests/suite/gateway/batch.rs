//! Batches in one frame.
use super::process::{Gateway, Peer, journal, message};

/// Segment by segment, without what changes from day to day.
fn msa(answer: &str) -> Vec<&str> {
    answer.split('\r').filter(|segment| segment.starts_with("MSA|")).collect()
}

#[test]
fn each_message_of_a_batch_is_kept_and_acknowledged_in_one_batch() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    let bad = message("b", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99");
    let quiet = message("c", "A01").replace("|P|2.5.1", "|P|2.5.1|||NE|NE");
    let batch = format!(
        "FHS|^~\\&|HIS\rBHS|^~\\&|HIS|HARBOR|LAB|CITY|2026||||77\r{}{bad}{quiet}{}BTS|4\rFTS|1\r",
        message("a", "A01"),
        message("d", "A08")
    );
    let answer = peer.exchange(&batch);
    assert!(answer.starts_with("BHS|^~\\&|LAB|CITY|HIS|HARBOR|") && answer.ends_with("\rBTS|3\r"), "{answer}");
    assert!(answer.split('\r').next().unwrap().ends_with("|77"), "it names the batch: {answer}");
    assert_eq!(msa(&answer), ["MSA|AA|a", "MSA|AR|b", "MSA|AA|d"]);
    let again = peer.exchange(&batch);
    assert_eq!(msa(&again), msa(&answer));
    assert!(peer.exchange("BHS|^~\\&|HIS|HARBOR|LAB|CITY\rBTS|0\r").ends_with("\rBTS|0\r"));
    peer.send(&format!("BHS|^~\\&|HIS\r{quiet}BTS|1\r"));
    assert!(peer.exchange(&message("e", "A01")).contains("MSA|AA|e"), "nobody asked for an answer to the batch");
    let data = gateway.data();
    gateway.stop();
    assert_eq!(journal(&data).len(), 5, "each once");
}
