//! MLLP release 2: commit acknowledgements before those of HL7, in both directions.
use super::faults::shim;
use super::process::{Gateway, Peer, dead_letters, handoff, journal, lines, message, wait_for};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const LISTENER: &str = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nrelease = 2\n";
const ACK: &str = "\x06";
const NAK: &str = "\x15";

#[test]
fn a_message_is_first_said_to_be_kept_and_then_answered() {
    let gateway = Gateway::start(LISTENER);
    let mut peer = Peer::connect(&gateway);
    assert_eq!(peer.exchange(&message("one", "A01")), ACK);
    assert!(peer.receive().unwrap().contains("MSA|AA|one\r"));
    // The peer says that it has that, and then that it has not.
    peer.send(ACK);
    assert_eq!(peer.exchange(&message("two", "A01")), ACK);
    let answer = peer.receive().unwrap();
    assert!(answer.contains("MSA|AA|two\r"));
    assert_eq!(peer.exchange(NAK), answer, "so it comes again");
    // What is refused is kept as well, and said to be; an acknowledgement is kept and not answered.
    assert_eq!(peer.exchange(&message("three", "A01").replace("|P|2.5.1", "|P|3.0")), ACK);
    assert!(peer.receive().unwrap().contains("MSA|AR|three\r"));
    assert_eq!(peer.exchange("MSH|^~\\&|A|B|C|D|1||ACK^A01^ACK|9|P|2.5\rMSA|AA|1\r"), ACK);
    assert_eq!(peer.exchange(&message("one", "A01")), ACK, "the same message again");
    assert!(peer.receive().unwrap().contains("MSA|AA|one\r"));
    peer.close_sending();
    assert_eq!(peer.receive(), None);
    let data = gateway.data();
    gateway.stop();
    assert_eq!(journal(&data).len(), 4, "commit acknowledgements are no messages");
}

#[test]
fn that_it_is_kept_is_said_before_it_is_delivered() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap();
    let gateway = Gateway::start(&format!(
        "{LISTENER}ack_on = \"delivered\"\n[[route]]\nname = \"lab\"\nto = {{ mllp = \"{address}\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    assert_eq!(peer.exchange(&message("one", "A01")), ACK, "while nobody has accepted the connection");
    let (mut receiver, _) = target.accept().unwrap();
    assert_eq!(next_block(&mut receiver).unwrap(), message("one", "A01"));
    receiver.write_all(b"\x0bMSH|^~\\&|LAB|CITY|HIS|HARBOR|20260102||ACK|9|P|2.5.1\rMSA|AA|one\r\x1c\r").unwrap();
    assert!(peer.receive().unwrap().contains("MSA|AA|one\r"));
    gateway.stop();
}

/// Writes into the journal fail as on a full disk while a file is there.
const FULL: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int full(int fd) {
    char link[64], path[4096];
    const char *mark = getenv("HANDOFF_FULL");
    if (!mark || access(mark, F_OK)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "/journal/")) return 0;
    errno = ENOSPC;
    return 1;
}
ssize_t write(int fd, const void *bytes, size_t count) { return full(fd) ? -1 : syscall(SYS_write, fd, bytes, count); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return full(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return full(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at); }
"#;

#[cfg(target_os = "linux")]
#[test]
fn what_the_journal_refuses_is_said_not_to_be_kept_and_taken_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = shim(folder.path(), FULL) else { return };
    let mark = folder.path().join("full");
    let mut command = handoff();
    command.env("LD_PRELOAD", &library).env("HANDOFF_FULL", &mark);
    let route = "[[route]]\nname = \"bundles\"\nto = { file = \"handoff-data/bundles.ndjson\" }\n";
    let gateway = Gateway::start_with(&format!("{LISTENER}{route}"), command);
    let mut peer = Peer::connect(&gateway);
    assert_eq!(peer.exchange(&message("before", "A01")), ACK);
    assert!(peer.receive().unwrap().contains("MSA|AA|before\r"));
    std::fs::write(&mark, "").unwrap();
    let enhanced = message("second", "A01").replace("|P|2.5.1", "|P|2.5.1|||AL|NE");
    for refused in [message("first", "A01"), message("first", "A01"), enhanced.clone()] {
        assert_eq!(peer.exchange(&refused), NAK, "the connection goes on");
    }
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(peer.exchange(&message("first", "A01")), ACK);
    assert!(peer.receive().unwrap().contains("MSA|AA|first\r"));
    assert_eq!(peer.exchange(&enhanced), ACK);
    assert!(peer.receive().unwrap().contains("MSA|CA|second\r"));
    gateway.wait_for_bundles(3);
    let data = gateway.data();
    gateway.stop();
    let kept: Vec<_> = journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
    assert_eq!(kept, ["before", "first", "second"]);
}

/// What stands in the next block; `None` when the peer has closed.
fn next_block(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut one) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\x1c\r") {
        stream.read_exact(&mut one).ok()?;
        bytes.push(one[0]);
    }
    assert_eq!(bytes[0], 0x0b);
    Some(String::from_utf8(bytes[1..bytes.len() - 2].to_vec()).unwrap())
}

/// A receiver that answers the blocks that it is sent by a list, and then commits and acknowledges everything (or only commits); keeps what came.
fn receiver(answers: &'static [&'static [&'static str]], acknowledges: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let kept: Arc<Mutex<Vec<String>>> = Arc::default();
    let got = Arc::clone(&kept);
    std::thread::spawn(move || {
        let mut taken = 0;
        for mut stream in listener.incoming().map_while(Result::ok) {
            while let Some(block) = next_block(&mut stream) {
                let id = block.split('|').nth(9).map(str::to_owned);
                kept.lock().unwrap().push(block);
                let Some(id) = id else { continue };
                let usual: &[&str] = if acknowledges { &[ACK, "MSA|AA|{id}"] } else { &[ACK] };
                for answer in *answers.get(taken).unwrap_or(&usual) {
                    let block = match *answer {
                        ACK | NAK => (*answer).to_owned(),
                        msa => format!("MSH|^~\\&|L|C|H|H|20260102||ACK|9|P|2.5.1\r{}\r", msa.replace("{id}", &id)),
                    };
                    stream.write_all(format!("\x0b{block}\x1c\r").as_bytes()).unwrap();
                }
                taken += 1;
            }
        }
    });
    (address, got)
}

#[test]
fn a_target_says_whether_it_has_kept_a_message() {
    // Not kept; kept, and an answer of another message; kept and refused; kept and taken.
    let (address, got) =
        receiver(&[&[NAK], &[ACK, "MSA|AA|other"], &[ACK, "MSA|AA|{id}"], &[ACK, "MSA|AE|{id}"]], true);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"lab\"\nto = {{ mllp = \"{address}\", release = 2 }}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    let sent = [message("one", "A01"), message("two", "A01"), message("three", "A01")];
    for message in &sent {
        assert!(peer.exchange(message).contains("MSA|AA|"), "the listener speaks release 1");
    }
    let [one, two, three] = sent;
    let ack = ACK.to_owned();
    let expected = [&one, &one, &ack, &one, &ack, &two, &ack, &three, &ack].map(String::clone);
    wait_for("all blocks", || Some(()).filter(|()| got.lock().unwrap().len() >= expected.len()));
    let (data, log) = (gateway.data(), gateway.stop());
    assert_eq!(*got.lock().unwrap(), expected, "its acknowledgements are acknowledged");
    assert_eq!(dead_letters(&data, "lab"), [2], "{log}");
    assert!(log.contains("negative commit acknowledgement"), "{log}");
}

#[test]
fn a_commit_acknowledgement_may_be_all_that_is_waited_for() {
    let (address, got) = receiver(&[&[NAK], &[ACK]], false);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"lab\"\nto = {{ mllp = \"{address}\", release = 2, wait_for = \"commit\" }}\nretry = {{ first = \"10ms\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    let (one, two) = (message("one", "A01"), message("two", "A01"));
    assert!(peer.exchange(&one).contains("MSA|AA|one"));
    assert!(peer.exchange(&two).contains("MSA|AA|two"));
    wait_for("both", || Some(()).filter(|()| got.lock().unwrap().len() == 3));
    gateway.stop();
    assert_eq!(*got.lock().unwrap(), [one.clone(), one, two]);
}

#[test]
fn an_acknowledgement_that_comes_nevertheless_is_answered_and_passed_over() {
    // Before the commit acknowledgement, and behind it.
    let (address, got) = receiver(&[&["MSA|AA|earlier", ACK], &[ACK, "MSA|AA|{id}"]], true);
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"lab\"\nto = {{ mllp = \"{address}\", release = 2, wait_for = \"commit\" }}\nretry = {{ first = \"10ms\" }}\n"
    ));
    let mut peer = Peer::connect(&gateway);
    let sent = ["one", "two", "three"].map(|id| message(id, "A01"));
    for message in &sent {
        assert!(peer.exchange(message).contains("MSA|AA|"));
    }
    let messages = || got.lock().unwrap().iter().filter(|block| *block != ACK).cloned().collect::<Vec<_>>();
    wait_for("all", || Some(()).filter(|()| messages().len() >= sent.len()));
    let data = gateway.data();
    gateway.stop();
    assert_eq!(messages(), sent, "each once");
    assert!(got.lock().unwrap().iter().any(|block| block == ACK) && dead_letters(&data, "lab").is_empty());
}

#[test]
fn gateways_speak_it_with_each_other_and_send_does() {
    let receiver = Gateway::start(LISTENER);
    let route = format!("[[route]]\nname = \"on\"\nto = {{ mllp = \"{}\", release = 2 }}\n", receiver.address());
    let gateway = Gateway::start(&format!("{route}{LISTENER}"));
    let file = gateway.folder().join("messages.hl7");
    std::fs::write(&file, (0..20).map(|number| message(&format!("m{number}"), "A01")).collect::<String>()).unwrap();
    let sent = handoff().args(["send", "--release", "2", "--to", &gateway.address()]).arg(&file).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    receiver.wait_for_bundles(20);
    // To a listener of release 1 it says what is wrong.
    let plain = Gateway::start("");
    let sent = handoff().args(["send", "--release", "2", "--to", &plain.address()]).arg(&file).output().unwrap();
    let told = String::from_utf8(sent.stderr).unwrap();
    assert!(sent.status.code() == Some(1) && told.contains("does not speak release 2"), "{told}");
    let (path, data) = (receiver.bundles_path(), gateway.data());
    gateway.stop();
    receiver.stop();
    plain.stop();
    assert!(lines(&path).len() == 20 && dead_letters(&data, "on").is_empty());
}
