//! A watched directory: what becomes of files that are put there.
use super::process::{Gateway, journal, message, wait_for};
use std::path::{Path, PathBuf};

const CONFIGURATION: &str = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n[[listener]]\nname = \"files\"\ndirectory = \"inbox\"\nage = \"300ms\"\n";

fn inbox(gateway: &Gateway) -> PathBuf {
    gateway.data().parent().unwrap().join("inbox")
}

/// As a careful sender does it: under another name first.
fn put(folder: &Path, name: &str, text: &str) {
    let half = folder.join(format!("{name}.part"));
    std::fs::write(&half, text).unwrap();
    std::fs::rename(half, folder.join(name)).unwrap();
}

fn wait_for_file(path: &Path) -> String {
    wait_for(&path.display().to_string(), || std::fs::read_to_string(path).ok())
}

fn control_ids(data: &Path) -> Vec<String> {
    journal(data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect()
}

#[test]
fn files_are_taken_and_answered_beside_them() {
    let gateway = Gateway::start(CONFIGURATION);
    let inbox = inbox(&gateway);
    wait_for("the directory", || inbox.join("done").is_dir().then_some(()));
    let bad = message("b", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99");
    put(&inbox, "some.hl7", &format!("{}{bad}\n{}", message("a", "A01"), message("c", "A08").replace('\r', "\n")));
    let answers = wait_for_file(&inbox.join("done/some.hl7.ack"));
    let codes: Vec<_> = answers.split('\r').filter(|line| line.starts_with("MSA")).collect();
    assert_eq!(codes, ["MSA|AA|a", "MSA|AR|b", "MSA|AA|c"]);
    wait_for_file(&inbox.join("done/some.hl7"));

    put(&inbox, "batch.hl7", &format!("BHS|^~\\&|HIS|HARBOR|||||||77\r{}BTS|1\r", message("d", "A01")));
    let answer = wait_for_file(&inbox.join("done/batch.hl7.ack"));
    assert!(answer.starts_with("BHS|^~\\&|||HIS|HARBOR|") && answer.ends_with("BTS|1\r"), "{answer}");

    put(&inbox, "junk.hl7", "this is no message, CANARY");
    let reason = wait_for_file(&inbox.join("failed/junk.hl7.error.txt"));
    assert!(reason.contains("byte 0: no message") && !reason.contains("CANARY"), "{reason}");
    put(&inbox, "half.hl7", &format!("CANARY first\r{}", message("e", "A01")));
    let reason = wait_for_file(&inbox.join("failed/half.hl7.error.txt"));
    assert!(reason.contains("1 messages were taken") && reason.contains("bytes 0 to 12"), "{reason}");
    assert_eq!(wait_for_file(&inbox.join("failed/half.hl7")).len(), message("e", "A01").len() + 13);

    put(&inbox, "other.txt", &message("x", "A01"));
    put(&inbox, "some.hl7", &message("a", "A01"));
    let again = wait_for_file(&inbox.join("done/some.hl7~1.ack"));
    assert!(answers.starts_with(&again), "the same message again, answered as before: {again}");
    let data = gateway.data();
    let log = gateway.stop();
    assert!(inbox.join("other.txt").exists(), "its name does not fit");
    assert_eq!(control_ids(&data), ["a", "b", "c", "d", "e"]);
    assert!(!log.contains("CANARY"), "{log}");
}

#[test]
fn a_file_that_is_still_being_written_waits() {
    let gateway = Gateway::start(&CONFIGURATION.replace("300ms", "3s").replace("age =", "after = \"delete\"\nage ="));
    let inbox = inbox(&gateway);
    wait_for("the directory", || inbox.join("done").is_dir().then_some(()));
    let text = message("slow", "A01");
    for end in (20..text.len()).step_by(10) {
        std::fs::write(inbox.join("slow.hl7"), &text[..end]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    std::fs::write(inbox.join("slow.hl7"), &text).unwrap();
    assert!(wait_for_file(&inbox.join("done/slow.hl7.ack")).contains("MSA|AA|slow"));
    wait_for("its removal", || (!inbox.join(".working/slow.hl7").exists()).then_some(()));
    let data = gateway.data();
    gateway.stop();
    assert!(!inbox.join("done/slow.hl7").exists() && !inbox.join("slow.hl7").exists());
    assert_eq!(control_ids(&data), ["slow"]);
}

#[test]
fn a_kill_in_the_middle_of_a_file_loses_and_doubles_nothing() {
    let mut gateway = Gateway::start(CONFIGURATION);
    let inbox = inbox(&gateway);
    wait_for("the directory", || inbox.join("done").is_dir().then_some(()));
    let ids: Vec<String> = (0..3000).map(|number| format!("m{number}")).collect();
    let text: String = ids.iter().map(|id| message(id, "A01")).collect();
    for round in 0..4 {
        let name = format!("f{round}.hl7");
        put(&inbox, &name, &text);
        wait_for("the claim", || {
            let begun = inbox.join(".working").join(&name).exists() || inbox.join("done").join(&name).exists();
            begun.then_some(())
        });
        std::thread::sleep(std::time::Duration::from_millis(15 * round));
        gateway = gateway.kill_and_restart(None);
    }
    for round in 0..4 {
        let answers = wait_for_file(&inbox.join(format!("done/f{round}.hl7.ack")));
        assert_eq!(answers.matches("MSA|AA|").count(), ids.len(), "round {round}");
    }
    wait_for("the end", || (std::fs::read_dir(inbox.join(".working")).unwrap().count() == 0).then_some(()));
    let data = gateway.data();
    gateway.stop();
    assert_eq!(control_ids(&data), ids, "each once and in order");
}
