//! Peers that do nothing, do it slowly, or do too much of it: honest traffic goes on, and memory stays where it was.
//!
//! `HANDOFF_IDLE` and `HANDOFF_HOSTILE` set how many connections do nothing and how many do harm (1000 and 100), `HANDOFF_OVERLOAD` how many messages come while
//! nothing is delivered (4000). Needs as many file descriptors.
use super::process::{Gateway, Peer, message};
use super::server::{Server, update};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect(name))
}

#[test]
fn idle_slow_and_endless_connections_leave_honest_traffic_alone() {
    let (idle, hostile) = (setting("HANDOFF_IDLE", 1000), setting("HANDOFF_HOSTILE", 100));
    let gateway = Gateway::start(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nframe_bytes_max = 65536\nframe_timeout = \"20s\"\n",
    );
    let mut honest = Peer::connect(&gateway);
    for number in 0..50 {
        honest.exchange(&message(&format!("w{number}"), "A01"));
    }
    let before = gateway.memory_bytes();
    let idle: Vec<_> = (0..idle).map(|_| Peer::connect(&gateway)).collect();
    let mut hostile: Vec<_> = (0..hostile).map(|_| Peer::connect(&gateway)).collect();
    let (mut refused, mut sent) = (0, 0);
    for round in 0..20 {
        for (number, peer) in hostile.iter_mut().enumerate() {
            let bytes: &[u8] = match number % 4 {
                0 if round == 0 => b"\x0bMSH|^~\\&|A|B|C|D|1||ADT^A01|1|P|2.5\rZZZ|",
                0 => b"x",                            // a frame that never ends, byte by byte
                1 => &[b'y'; 5000],                   // no frame at all
                2 => b"\x0b\x0b\x0b\x0b\x0b\x0b",     // starts only
                _ => &[0x0b, b'z', b'z', b'z', 0x1c], // ends that are none
            };
            // Being shut out is one right answer.
            refused += usize::from(peer.try_write(bytes).is_err());
        }
        for number in 0..10 {
            let id = format!("h{round}.{number}");
            assert!(honest.exchange(&message(&id, "A01")).contains(&format!("MSA|AA|{id}\r")));
            sent += 1;
        }
    }
    // A frame that grows beyond the limit ends its connection; it does not end up in memory.
    let mut endless = Peer::connect(&gateway);
    endless.write(b"\x0bMSH|^~\\&|");
    while endless.try_write(&[b'e'; 4096]).is_ok() {}
    let grown = gateway.memory_bytes().saturating_sub(before);
    let each = grown / (idle.len() + hostile.len()) as u64;
    eprintln!(
        "{} idle, {} hostile ({refused} writes refused): {grown} bytes more, {each} a connection",
        idle.len(),
        hostile.len()
    );
    assert!(each < 24 << 10, "{each} bytes a connection");
    let more = gateway.wait_for_bundles(50 + sent);
    assert_eq!(more.len(), 50 + sent, "each message once, and nothing of the others");
    drop((idle, hostile));
    gateway.stop();
}

#[test]
fn what_cannot_be_delivered_waits_on_disk_and_not_in_memory() {
    let count = setting("HANDOFF_OVERLOAD", 4000);
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server =
        Server::start(move |_| if is_well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" });
    let gateway = Gateway::start(&server.configuration("", "waiting_max = 100"));
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let mut peer = Peer::connect(&gateway);
            std::thread::spawn(move || {
                for number in 0..count / 8 {
                    let id = format!("s{sender}.{number}");
                    let sent = update(&format!("p{sender}.{}", number % 50), &id);
                    assert!(peer.exchange(&sent).contains("MSA|AA|"), "no drop, no refusal");
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let memory = gateway.memory_bytes();
    eprintln!("{count} messages wait: {memory} bytes");
    // What is kept of the newest messages (40 MB), of the route (8 MB), the mappings, and the program.
    assert!(memory < 250 << 20, "{memory} bytes");
    well.store(true, Ordering::SeqCst);
    assert_eq!(server.wait_for_taken(count / 8 * 8).len(), count / 8 * 8);
    gateway.stop();
}
