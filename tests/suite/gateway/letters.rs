//! Dead letters: found, read, mended, sent again, dropped, while the gateway runs.
use super::process::{Gateway, Peer, handoff, lines, message, wait_for};
use super::server::{Server, update};
use std::path::Path;
use std::process::Stdio;

/// Exit code, standard output, standard error.
fn dead_letters(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = handoff();
    command.arg("dead-letters").args(arguments).arg("--config").arg(config).stdout(Stdio::piped());
    let done = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_dead_letter_is_mended_and_sent_again() {
    let gateway = Gateway::start("[[route]]\nname = \"out\"\nto = { file = \"out.ndjson\" }\n");
    let data = gateway.data();
    let config = data.parent().unwrap().join("handoff.toml");
    let mut peer = Peer::connect(&gateway);
    // A type that nothing maps, and an admission in the wrong words.
    let unknown = message("one", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99");
    for (sent, answer) in [(&unknown, "MSA|AR|one"), (&message("two", "A01"), "MSA|AA|two")] {
        assert!(peer.exchange(sent).contains(answer));
    }
    let listed = wait_for("the dead letter", || {
        let (code, listed, said) = dead_letters(&config, &["list"]);
        assert_eq!(code, Some(0), "{said}");
        Some(listed).filter(|listed| !listed.is_empty())
    });
    assert!(
        listed.starts_with("untranslated 1 ") && listed.contains(" ZZZ^Z99 ") && listed.lines().count() == 1,
        "{listed}"
    );
    assert!(!listed.contains("CANARY") && !listed.contains("patient-one"), "nothing of a patient: {listed}");

    let (code, shown, why) = dead_letters(&config, &["show", "untranslated", "1"]);
    assert_eq!((code, shown.as_str()), (Some(0), unknown.as_str()));
    assert!(why.contains("given up after 0 attempts: no message map covers ZZZ^Z99"), "{why}");

    let (code, _, said) = dead_letters(&config, &["resend", "untranslated", "1"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("not sent 1: no message map covers"), "{said}");

    let mended = data.parent().unwrap().join("mended.hl7");
    std::fs::write(&mended, message("one", "A01")).unwrap();
    let with = ["resend", "untranslated", "1", "--with", mended.to_str().unwrap()];
    let (code, sent, said) = dead_letters(&config, &with);
    assert_eq!((code, sent.as_str()), (Some(0), "sent 1 to out\n"), "{said}");
    let delivered = lines(&data.parent().unwrap().join("out.ndjson"));
    assert!(delivered.iter().any(|line| line.contains("patient-one")), "{delivered:?}");
    assert_eq!(dead_letters(&config, &["list"]).1, "");
    assert_eq!(dead_letters(&config, &["show", "untranslated", "1"]).0, Some(1), "it is none any more");

    assert!(peer.exchange(&unknown.replace("one", "three")).contains("MSA|AR|three"));
    wait_for("another one", || {
        Some(()).filter(|()| !dead_letters(&config, &["list", "--route", "untranslated"]).1.is_empty())
    });
    assert_eq!(dead_letters(&config, &["drop", "untranslated", "3"]).1, "dropped untranslated 3\n");
    assert_eq!(dead_letters(&config, &["list"]).1, "");
    gateway.stop();

    let (code, _, said) = dead_letters(&config.with_file_name("none.toml"), &["list"]);
    assert!(code == Some(2) && said.contains("none.toml: cannot be read"), "{said}");
}

#[test]
fn an_old_state_is_not_put_over_a_newer_one_unless_somebody_says_so() {
    let server = Server::start(|request| match (request.name.as_str(), request.earlier) {
        ("OLD" | "LAST", 0) => "422 Unprocessable Entity",
        _ => "200 OK",
    });
    let gateway = Gateway::start(&server.configuration("", ""));
    let data = gateway.data();
    let config = data.parent().unwrap().join("handoff.toml");
    let mut peer = Peer::connect(&gateway);
    for (patient, name) in [("ill", "OLD"), ("other", "NEW"), ("ill", "NEW"), ("ill", "LAST")] {
        peer.exchange(&update(patient, name));
    }
    server.wait_for(4);
    wait_for("both dead letters", || (dead_letters(&config, &["list"]).1.lines().count() == 2).then_some(()));
    // Nothing newer than the last has gone out.
    assert_eq!(dead_letters(&config, &["resend", "ehr", "4"]).1, "sent 4 to ehr\n");
    let (code, sent, said) = dead_letters(&config, &["resend", "ehr", "1"]);
    assert_eq!((code, sent.as_str()), (Some(1), ""));
    assert!(said.contains("not sent 1: message 4 of the same patient has gone out on ehr since"), "{said}");
    assert_eq!(server.requests().len(), 5);
    assert_eq!(dead_letters(&config, &["resend", "ehr", "1", "--anyway"]).1, "sent 1 to ehr\n");
    assert_eq!(dead_letters(&config, &["list"]).1, "");
    gateway.stop();
}
