//! Messages found, shown, exported and replayed, while the gateway runs and when it is down.
use super::process::{Gateway, Peer, handoff, lines, message, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Exit code, standard output, standard error.
pub fn run(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = handoff();
    command.args(arguments).arg("--config").arg(config).stdout(Stdio::piped());
    let done = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

const ROUTES: &str = "[[route]]\nname = \"out\"\nto = { file = \"out.ndjson\" }\n[[route]]\nname = \"admissions\"\nfilter = \"MSH-9.2 = 'A01'\"\nto = { file = \"admissions.ndjson\" }\n";

/// A gateway with an admission, an update of another patient, and a message that nothing maps.
/// A gateway that takes the same message again for another one.
fn with_messages() -> Gateway {
    let listener = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nduplicates = \"off\"\n";
    let gateway = Gateway::start(&format!("{listener}{ROUTES}"));
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one"));
    assert!(peer.exchange(&message("two", "A08")).contains("MSA|AA|two"));
    assert!(peer.exchange(&message("three", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99")).contains("MSA|AR|three"));
    gateway
}

fn numbers(shown: &str) -> Vec<&str> {
    shown.lines().map(|line| line.split(' ').next().unwrap()).collect()
}

#[test]
fn messages_are_found_by_what_is_known_of_them() {
    let gateway = with_messages();
    let config = gateway.data().parent().unwrap().join("handoff.toml");
    let search = |arguments: &[&str]| {
        let (code, shown, said) = run(&config, &[&["messages", "search"], arguments].concat());
        assert!(!shown.contains("patient-") && !shown.contains("CANARY"), "nothing of a patient: {shown}");
        (code, numbers(&shown).join(","), said)
    };
    let found = |arguments: &[&str]| search(arguments).1;
    wait_for("deliveries", || (found(&["--status", "waiting"]).is_empty()).then_some(()));
    assert_eq!(found(&[]), "3,2,1");
    assert_eq!(found(&["--oldest-first", "--limit", "2"]), "1,2");
    assert_eq!(found(&["--control-id", "two"]), "2");
    assert_eq!(found(&["--patient", "patient-one"]), "1");
    assert_eq!(found(&["--type", "ADT"]), "2,1");
    assert_eq!(found(&["--type", "^A01"]), "1");
    assert_eq!(found(&["--sender", "HIS|HARBOR", "--listener", "adt", "--since", "1h"]), "3,2,1");
    assert_eq!(found(&["--until", "1h"]), "");
    assert_eq!(found(&["--outcome", "rejected"]), "3");
    assert_eq!(found(&["--route", "out"]), "2,1");
    assert_eq!(found(&["--route", "admissions", "--status", "sent"]), "1", "the update is not wanted there");
    assert_eq!(found(&["--status", "dead"]), "3");
    let (code, listed, said) = search(&["--text", "canary^name|", "--type", "^A08"]);
    assert!(code == Some(0) && listed == "2" && said.contains("1 messages read for the text"), "{listed} {said}");
    assert_eq!(search(&["--text", "nowhere"]).0, Some(1));
    for (wrong, told) in [
        (["--outcome", "lost"], "--outcome must be one of received, "),
        (["--route", "nowhere"], "there is no route nowhere; known here: admissions, out, untranslated"),
        (["--since", "soon"], "is no time"),
    ] {
        let (code, _, said) = search(&wrong);
        assert!(code == Some(2) && said.contains(told), "{said}");
    }

    let (_, shown, _) = run(&config, &["messages", "search", "--control-id", "one", "--format", "json", "--phi"]);
    let facts: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((facts["type"].as_str(), facts["patients"][0].as_str()), (Some("ADT^A01"), Some("patient-one")));
    assert_eq!(facts["routes"]["admissions"]["status"], "sent");
    assert_eq!(facts["event_time"], "2026-01-02T03:04:05.000Z");

    // Without a gateway, without a configuration, and without an index.
    let data = gateway.data();
    gateway.stop();
    std::fs::remove_file(data.join("index.sqlite")).unwrap();
    let mut command = handoff();
    command.args(["messages", "search", "--route", "out", "--data"]).arg(&*data).stdout(Stdio::piped());
    let done = command.output().unwrap();
    assert_eq!(
        numbers(&String::from_utf8(done.stdout).unwrap()),
        ["2", "1"],
        "what it wanted is kept beside the journal"
    );
}

#[test]
fn a_message_is_shown_with_what_became_of_it() {
    let gateway = with_messages();
    let config = gateway.data().parent().unwrap().join("handoff.toml");
    let show = |arguments: &[&str]| run(&config, &[&["messages", "show"], arguments].concat());
    wait_for("the deliveries", || {
        let (_, shown, _) = show(&["2"]);
        (shown.contains("route out: sent") && shown.contains("route admissions: not wanted")).then_some(())
    });
    let (code, shown, _) = show(&["1"]);
    assert!(code == Some(0) && shown.contains("acknowledged AA\n") && shown.contains("control id   one\n"), "{shown}");
    assert!(!shown.contains("patient-one") && !shown.contains("CANARY"), "{shown}");
    assert!(show(&["1", "--phi"]).1.contains("patient      patient-one\n"));
    assert_eq!(show(&["1", "--raw"]).1, message("one", "A01"));
    assert!(show(&["1", "--ack"]).1.ends_with("\rMSA|AA|one\r"));
    let bundle: serde_json::Value = serde_json::from_str(&show(&["1", "--fhir"]).1).unwrap();
    assert_eq!(bundle["resourceType"], "Bundle");
    wait_for("the dead letter", || show(&["3"]).1.contains("route untranslated: dead, given up").then_some(()));
    let (code, _, said) = show(&["3", "--fhir"]);
    assert!(code == Some(1) && said.contains("no message map covers ZZZ^Z99"), "{said}");
    let (code, _, said) = show(&["99"]);
    assert!(code == Some(1) && said.contains("the journal has no message 99"), "{said}");
    gateway.stop();
}

#[test]
fn exported_messages_are_those_that_came() {
    let gateway = with_messages();
    let folder = gateway.data().parent().unwrap().to_owned();
    let config = folder.join("handoff.toml");
    let export = |form: &str, name: &str| {
        let out = folder.join(name);
        run(&config, &["messages", "export", "--type", "ADT", "--as", form, "--out", out.to_str().unwrap()])
    };
    assert_eq!(export("file", "all.hl7").0, Some(0));
    let (one, two) = (message("one", "A01"), message("two", "A08"));
    assert_eq!(std::fs::read_to_string(folder.join("all.hl7")).unwrap(), format!("{one}{two}"));
    assert_eq!(export("mllp", "all.mllp").0, Some(0));
    let framed = format!("\x0b{one}\x1c\r\x0b{two}\x1c\r");
    assert_eq!(std::fs::read_to_string(folder.join("all.mllp")).unwrap(), framed);
    assert_eq!(export("folder", "all").0, Some(0));
    assert_eq!(std::fs::read_to_string(folder.join("all/00000000000000000002.hl7")).unwrap(), two);
    let (code, _, said) = export("file", "all.hl7");
    assert!(code == Some(2) && said.contains("cannot write"), "nothing is overwritten: {said}");
    gateway.stop();
}

#[test]
fn a_replay_delivers_what_was_chosen_and_counts() {
    let gateway = with_messages();
    let folder = gateway.data().parent().unwrap().to_owned();
    let config = folder.join("handoff.toml");
    let replay = |arguments: &[&str]| run(&config, &[&["replay"], arguments].concat());
    wait_for("the deliveries", || (lines(&folder.join("out.ndjson")).len() == 2).then_some(()));
    wait_for("their cursors", || {
        let (_, found, _) = run(&config, &["messages", "search", "--status", "waiting"]);
        found.is_empty().then_some(())
    });

    let (code, _, said) = replay(&["--type", "ADT", "--to", "none", "--pace", "1000x"]);
    assert!(code == Some(0) && said.contains("2 translated, 0 failed"), "{said}");
    let (code, _, said) = replay(&["--all", "--to", "none"]);
    assert!(
        code == Some(1) && said.contains("2 translated, 1 failed") && said.contains("message 3: no message map"),
        "{said}"
    );

    let out = folder.join("replayed.ndjson");
    let to = format!("file:{}", out.display());
    assert_eq!(replay(&["--control-id", "two", "--to", &to]).0, Some(0));
    assert_eq!(lines(&out), [lines(&folder.join("out.ndjson"))[1].clone()], "the same bytes as were delivered");

    let (code, _, said) = replay(&["--type", "ADT", "--to", "route:admissions"]);
    assert!(code == Some(0) && said.contains("1 delivered, 0 failed, 1 not wanted"), "{said}");
    assert_eq!(lines(&folder.join("admissions.ndjson")).len(), 2);

    // To a receiver: the gateway itself.
    let to = format!("mllp:{}", gateway.address());
    let (code, _, said) = replay(&["--control-id", "one", "--to", &to]);
    assert!(code == Some(0) && said.contains("1 delivered"), "{said}");
    let (_, found, _) = run(&config, &["messages", "search", "--control-id", "one"]);
    assert_eq!(numbers(&found), ["4", "1"]);

    // What would set a patient back is not sent to a route by mistake.
    wait_for("its delivery", || (lines(&folder.join("out.ndjson")).len() == 3).then_some(()));
    let first = ["--patient", "patient-one", "--limit", "1", "--to", "route:out"];
    let (code, _, said) = replay(&first);
    assert!(
        code == Some(2) && said.contains("newer messages of 1 of the patients") && said.contains("such as 4"),
        "{said}"
    );
    assert_eq!(lines(&folder.join("out.ndjson")).len(), 3, "nothing was sent");
    assert_eq!(replay(&[&first[..], &["--overwrite"]].concat()).0, Some(0));
    assert_eq!(lines(&folder.join("out.ndjson")).len(), 4);

    // Files: several messages in one.
    let file = folder.join("files.hl7");
    std::fs::write(&file, format!("{}{}", message("five", "A01"), message("six", "A08"))).unwrap();
    let (code, _, said) = replay(&[file.to_str().unwrap(), "--to", "route:out"]);
    assert!(code == Some(0) && said.contains("2 delivered"), "{said}");
    assert!(lines(&folder.join("out.ndjson"))[5].contains("patient-six"));

    for (wrong, told) in [
        (vec!["--to", "none"], "nothing is chosen"),
        (vec!["--all", "--to", "route:nowhere"], "no route \"nowhere\"; it has: out, admissions"),
        (vec!["--all", "--to", "ehr"], "--to must be"),
        (vec!["--all", "--to", "none", "--pace", "quick"], "--pace must be"),
    ] {
        let (code, _, said) = replay(&wrong);
        assert!(code == Some(2) && said.contains(told), "{said}");
    }
    let (code, _, said) = replay(&["--all", "--to", "mllp:127.0.0.1:1", "--limit", "2"]);
    assert!(code == Some(1) && said.contains("0 delivered, 1 failed") && said.contains("1 not sent"), "{said}");
    gateway.stop();
}

#[test]
fn a_comparison_over_the_journal_delivers_nothing_and_shows_no_values() {
    let gateway = with_messages();
    let folder = gateway.data().parent().unwrap().to_owned();
    let config = folder.join("handoff.toml");
    wait_for("the deliveries", || (lines(&folder.join("out.ndjson")).len() == 2).then_some(()));
    let site = folder.join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("site.toml"), "[PID.Patient.set]\n\"identifier[id]\" = \"\"\n").unwrap();
    let replay = |arguments: &[&str]| run(&config, &[&["replay", "--all"], arguments].concat());
    let (code, told, said) = replay(&["--diff-site", site.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}{said}");
    assert!(told.contains("output: 2 of 3 messages differ; neither translates 1\n"), "{told}");
    assert!(told.contains("  extra Patient.identifier: 2 values in 2 messages\n      such as message 1: Patient.identifier[0]\n      from    PID-3.5, rule CX.Identifier `type` ("), "{told}");
    assert!(!told.contains("patient-") && !said.contains("patient-"), "nothing of a patient: {told}{said}");
    let (code, told, _) = replay(&["--diff-site", site.to_str().unwrap(), "--phi", "--exit-code", "--format", "json"]);
    assert!(code == Some(1) && told.contains("patient-one"), "{told}");
    let (code, told, _) = replay(&["--diff-against", "built-in", "--exit-code"]);
    assert!(code == Some(0) && told.contains("output: 0 of 3 messages differ; neither translates 1\n"), "{told}");
    let (_, told, _) = replay(&["--control-id", "two", "--diff-site", site.to_str().unwrap(), "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["messages"], &report["differing"]), (&1.into(), &1.into()));
    assert_eq!(lines(&folder.join("out.ndjson")).len(), 2, "nothing was delivered");
    for (wrong, told) in [
        (vec!["--diff-against", "nowhere"], "neither a folder nor a git revision"),
        (vec!["--diff-against", "built-in", "--to", "route:out"], "cannot be used with"),
        (vec![], "--to <TARGET>"),
    ] {
        let (code, _, said) = replay(&wrong);
        assert!(code == Some(2) && said.contains(told), "{said}");
    }
    gateway.stop();
}

/// A receiver that refuses its first message and takes all others.
fn receiver() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answered = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answered) = (BufReader::new(stream.unwrap()), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut frame = Vec::new();
                while stream.read_until(0x1c, &mut frame).is_ok_and(|read| read > 0) {
                    let text = String::from_utf8_lossy(&frame).into_owned();
                    let Some(id) = text.split('|').nth(9) else { break };
                    let code = if answered.fetch_add(1, Ordering::Relaxed) == 0 { "AE" } else { "AA" };
                    let ack = format!("\x0bMSH|^~\\&|A|B|C|D|1||ACK|1|P|2.5\rMSA|{code}|{id}\r\x1c\r");
                    stream.get_mut().write_all(ack.as_bytes()).unwrap();
                    frame.clear();
                }
            });
        }
    });
    port
}

#[test]
fn dead_letters_that_a_replay_delivers_are_none_any_more() {
    let port = receiver();
    let gateway = Gateway::start(&format!("[[route]]\nname = \"out\"\nto = {{ mllp = \"127.0.0.1:{port}\" }}\n"));
    let config = gateway.data().parent().unwrap().join("handoff.toml");
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one"));
    let dead = || {
        let (_, found, _) = run(&config, &["messages", "search", "--status", "dead", "--route", "out"]);
        numbers(&found).join(",")
    };
    wait_for("the dead letter", || (dead() == "1").then_some(()));
    let (code, _, said) = run(&config, &["replay", "--status", "dead", "--route", "out", "--to", "route:out"]);
    assert!(code == Some(0) && said.contains("1 delivered"), "{said}");
    assert_eq!(dead(), "");
    gateway.stop();
}
