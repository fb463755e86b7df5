//! Order by key: what fails holds its own patient and no other; whatever fails, no patient's messages change places and none is lost.
use super::process::{Gateway, Peer, dead_letters, message, wait_for};
use super::server::{Server, configuration, update};
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn named(patient: &str, names: std::ops::Range<usize>) -> Vec<(String, String)> {
    names.map(|name| (patient.to_owned(), format!("N{name}"))).collect()
}

fn of<'t>(taken: &'t [(String, String)], patient: &str) -> Vec<&'t (String, String)> {
    taken.iter().filter(|(of, _)| of == patient).collect()
}

#[test]
fn a_patient_whose_messages_fail_holds_no_other_and_a_restart_repeats_none_of_the_others() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = Server::start(move |request| match request.patient.as_str() {
        "ill" if !is_well.load(Ordering::SeqCst) => "503 Service Unavailable",
        _ => "200 OK",
    });
    let gateway = Gateway::start(&server.configuration("", ""));
    let mut peer = Peer::connect(&gateway);
    for name in 0..30 {
        peer.exchange(&update("ill", &format!("N{name}")));
        peer.exchange(&update("other", &format!("N{name}")));
    }
    assert_eq!(server.wait_for_taken(30), named("other", 0..30));
    // The last two may be under way or unwritten when it is killed; the rest is known to be settled, beyond the message that still waits.
    peer.exchange(&update("other", "N30"));
    server.wait_for_taken(31);
    let before = server.requests().iter().filter(|request| request.patient == "other").count();
    let gateway = gateway.kill_and_restart(None);
    wait_for("further attempts", || {
        let ill = |name: &str| server.requests().iter().filter(|request| request.name == name).count();
        (ill("N0") > 40).then_some(())
    });
    well.store(true, Ordering::SeqCst);
    let taken = server.wait_for_taken(61);
    assert!(of(&taken, "ill").into_iter().eq(&named("ill", 0..30)));
    let again = server.requests().iter().filter(|request| request.patient == "other").count() - before;
    assert!(again <= 2, "{again} of the others were delivered again");
    let data = gateway.data();
    gateway.stop();
    assert!(dead_letters(&data, "ehr").is_empty());
}

#[test]
fn attempts_are_counted_over_a_restart() {
    let server = Server::start(|_| "503 Service Unavailable");
    let gateway = Gateway::start(&server.configuration(", attempts = 8", "").replace("\"10ms\"", "\"40ms\""));
    Peer::connect(&gateway).exchange(&update("ill", "N0"));
    server.wait_for(4);
    let gateway = gateway.kill_and_restart(None);
    wait_for("the end of its attempts", || {
        Some(()).filter(|()| gateway.log().contains("dead letter: given up after 8 attempts"))
    });
    let data = gateway.data();
    gateway.stop();
    assert_eq!(dead_letters(&data, "ehr"), [1]);
    // The attempts that were under way, or not written down, when it was killed were made again: with none remembered there would be twelve or more.
    let requests = server.requests().len();
    assert!((8..=10).contains(&requests), "{requests} attempts");
}

#[test]
fn order_holds_for_each_patient_under_failures_and_kills() {
    let dice = RandomState::new();
    let server =
        Server::start(move |request| match dice.hash_one((&request.patient, &request.name, request.earlier)) % 9 {
            0 => "503 Service Unavailable",
            1 => "500 Internal Server Error",
            2 if request.earlier == 0 => "401 Unauthorized",
            _ => "200 OK",
        });
    let configuration = server.configuration("", "concurrency = 5\nwaiting_max = 40");
    let mut gateway = Gateway::start(&configuration.replace("\"10ms\", max = \"50ms\"", "\"1ms\", max = \"4ms\""));
    let patients: Vec<String> = (0..12).map(|patient| format!("p{patient}")).collect();
    let mut sent = 0;
    for _ in 0..4 {
        let mut peer = Peer::connect(&gateway);
        for _ in 0..8 {
            for patient in &patients {
                let ack = peer.exchange(&update(patient, &format!("N{sent}")));
                assert!(ack.contains("MSA|AA|"), "{ack}");
            }
            sent += 1;
        }
        gateway = gateway.kill_and_restart(None);
    }
    let taken = server.wait_for_taken(sent * patients.len());
    for patient in &patients {
        assert!(of(&taken, patient).into_iter().eq(&named(patient, 0..sent)), "{patient}: {:?}", of(&taken, patient));
    }
    // Nor did a later one ever come while an earlier one had not been taken, be it only to be sent away.
    let requests = server.requests();
    for (at, request) in requests.iter().enumerate() {
        let number: usize = request.name[1..].parse().unwrap();
        let taken = requests[..at].iter().filter(|earlier| earlier.status.starts_with("200"));
        let mut before = taken.filter(|earlier| earlier.patient == request.patient);
        let waits_for = format!("N{}", number.saturating_sub(1));
        assert!(number == 0 || before.any(|earlier| earlier.name == waits_for), "{} {}", request.patient, request.name);
    }
    let data = gateway.data();
    gateway.stop();
    assert!(dead_letters(&data, "ehr").is_empty());
}

#[test]
fn an_endpoint_that_was_down_is_asked_with_one_message_and_then_drained_in_order() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let gateway = Gateway::start(&configuration(&address, ", attempts = 2", ""));
    let mut peer = Peer::connect(&gateway);
    for name in 0..25 {
        for patient in ["p", "q", "r", "s"] {
            peer.exchange(&update(patient, &format!("N{name}")));
        }
    }
    let attempts = || gateway.log().matches("not delivered, to be tried again").count();
    wait_for("attempts", || (attempts() > 20).then_some(()));
    let server = Server::start_at(&address, |_| "200 OK");
    let taken = server.wait_for_taken(100);
    for patient in ["p", "q", "r", "s"] {
        assert!(of(&taken, patient).into_iter().eq(&named(patient, 0..25)));
    }
    let data = gateway.data();
    let log = gateway.stop();
    assert!(log.contains("waits=\"route\""), "{log}");
    assert!(dead_letters(&data, "ehr").is_empty(), "to be out of reach is no message's fault");
}

#[test]
fn as_many_messages_wait_as_may_and_then_the_route_waits() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = Server::start(move |request| match request.patient.as_str() {
        "ill" if !is_well.load(Ordering::SeqCst) => "503 Service Unavailable",
        _ => "200 OK",
    });
    let gateway = Gateway::start(&server.configuration("", "waiting_max = 6"));
    let mut peer = Peer::connect(&gateway);
    for name in 0..5 {
        peer.exchange(&update("ill", &format!("N{name}")));
        peer.exchange(&update("other", &format!("N{name}")));
    }
    server.wait_for_taken(5);
    for name in 5..20 {
        peer.exchange(&update("ill", &format!("N{name}")));
    }
    peer.exchange(&update("other", "N5"));
    let full = "as many messages wait as may: the route waits";
    wait_for("the warning", || gateway.log().contains(full).then_some(()));
    let attempts = server.requests().len();
    server.wait_for(attempts + 20);
    assert_eq!(server.taken(), named("other", 0..5), "the route waits");
    assert_eq!(gateway.log().matches(full).count(), 1, "told once");
    well.store(true, Ordering::SeqCst);
    let taken = server.wait_for_taken(26);
    assert!(of(&taken, "ill").into_iter().eq(&named("ill", 0..20)));
    assert!(of(&taken, "other").into_iter().eq(&named("other", 0..6)));
    gateway.stop();
}

#[test]
fn a_merge_waits_for_all_before_it_and_all_behind_it_wait() {
    let server = Server::start(|request| match (request.patient.as_str(), request.earlier) {
        ("slow", 0..15) => "503 Service Unavailable",
        _ => "200 OK",
    });
    let gateway = Gateway::start(&server.configuration("", ""));
    let mut peer = Peer::connect(&gateway);
    let merge = message("m", "A40")
        .replace("ADT_A01", "ADT_A39")
        .replace("patient-m", "survivor")
        .replace("CANARY", "MERGED")
        .replace("PV1|1|I\r", "MRG|gone^^^HARBOR^MR\r");
    for message in [update("other", "N0"), update("slow", "N0"), update("other", "N1"), merge, update("other", "N2")] {
        let ack = peer.exchange(&message);
        assert!(ack.contains("MSA|AA|"), "{ack}");
    }
    let names: Vec<_> =
        server.wait_for_taken(5).into_iter().map(|(patient, name)| format!("{patient} {name}")).collect();
    assert_eq!(names, ["other N0", "other N1", "slow N0", "survivor MERGED", "other N2"]);
    gateway.stop();
}
