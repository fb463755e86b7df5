//! `ack_on = "delivered"`: a sender is answered once every route has done with its message.
use super::process::{Gateway, Peer, message};
use super::server::{Server, update};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn gateway(server: &Server, ack_timeout: &str) -> Gateway {
    Gateway::start(&format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nack_on = \"delivered\"\nack_timeout = \"{ack_timeout}\"\n{}[[route]]\nname = \"file\"\nfilter = \"MSH-9.2 = 'A01'\"\nto = {{ file = \"handoff-data/bundles.ndjson\" }}\n",
        server.configuration("", "")
    ))
}

/// Takes nothing until it is told that it is well, and one message never.
fn ill_server() -> (Server, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = Server::start(move |request| match request.name.as_str() {
        "REFUSED" => "422 Unprocessable Entity",
        _ if is_well.load(Ordering::SeqCst) => "200 OK",
        _ => "503 Service Unavailable",
    });
    (server, well)
}

#[test]
fn the_acknowledgement_comes_with_the_delivery() {
    let (server, well) = ill_server();
    let gateway = gateway(&server, "60s");
    let mut peer = Peer::connect(&gateway);
    peer.send(&update("p", "FIRST"));
    server.wait_for(3);
    peer.read_timeout(Duration::from_millis(50));
    assert_eq!(peer.receive(), None, "tried, not delivered");
    well.store(true, Ordering::SeqCst);
    peer.read_timeout(Duration::from_secs(60));
    assert!(peer.receive().unwrap().contains("MSA|AA|p.FIRST\r"));
    // The other route does not want an update; this one both want.
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one\r"));
    let refused = peer.exchange(&update("p", "REFUSED"));
    assert!(refused.contains("MSA|AE|p.REFUSED\r") && refused.contains("route ehr has given it up"), "{refused}");
    // A commit acknowledgement says only that the message is kept.
    well.store(false, Ordering::SeqCst);
    let enhanced = update("q", "ENHANCED").replace("|P|2.5.1", "|P|2.5.1|||AL|NE");
    assert!(peer.exchange(&enhanced).contains("MSA|CA|q.ENHANCED\r"));
    well.store(true, Ordering::SeqCst);
    gateway.stop();
}

#[test]
fn a_sender_that_waited_in_vain_asks_again_and_is_told_how_it_stands() {
    let (server, well) = ill_server();
    let gateway = gateway(&server, "200ms");
    let mut peer = Peer::connect(&gateway);
    let sent = update("p", "LATE");
    for _ in 0..2 {
        let answer = peer.exchange(&sent);
        assert!(
            answer.contains("MSA|AE|p.LATE\r") && answer.contains("it is kept, but not delivered within"),
            "{answer}"
        );
    }
    well.store(true, Ordering::SeqCst);
    server.wait_for_taken(1);
    super::process::wait_for("the acknowledgement", || peer.exchange(&sent).contains("MSA|AA|p.LATE\r").then_some(()));
    let mut given_up = || {
        let refused = peer.exchange(&update("p", "REFUSED"));
        assert!(refused.contains("MSA|AE|p.REFUSED\r"), "{refused}");
        refused.contains("route ehr has given it up")
    };
    // On a busy machine the refusal itself may come too late for the first answer.
    super::process::wait_for("the refusal", || given_up().then_some(()));
    assert!(given_up(), "it is told again");
    let data = gateway.data();
    gateway.stop();
    assert_eq!(super::process::journal(&data).len(), 2, "each is kept once");
    assert_eq!(server.taken().len(), 1, "and delivered once");
}
