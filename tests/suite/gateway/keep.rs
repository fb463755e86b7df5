//! The journal kept well: verified, pruned, backed up while it is written to, restored.
use super::messages::run;
use super::process::{Gateway, Peer, handoff, journal, message};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn handoff_data(arguments: &[&str], data: &Path) -> (Option<i32>, String, String) {
    let mut command: Command = handoff();
    let done = command.args(arguments).arg("--data").arg(data).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_backup_taken_under_load_is_a_journal_whose_routes_go_on() {
    let gateway = Gateway::start("");
    let data = gateway.data();
    let folder = data.parent().unwrap().to_owned();
    let config = folder.join("handoff.toml");
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (mut peer, stop, sent) = (Peer::connect(&gateway), Arc::clone(&stop), Arc::clone(&sent));
            std::thread::spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    peer.exchange(&message(&format!("s{sender}n{number}"), "A01"));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut backups = Vec::new();
    for number in 0..3 {
        let before = sent.load(Ordering::Relaxed);
        let to = folder.join(format!("backup-{number}"));
        let (code, said, wrong) = run(&config, &["journal", "backup", to.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{said}{wrong}");
        backups.push((to, before));
    }
    stop.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let (code, said, _) = run(&config, &["journal", "backup", folder.join("backup-0").to_str().unwrap()]);
    assert_eq!(code, Some(2), "a backup is not written over another: {said}");
    gateway.stop();
    let kept = journal(&data);

    for (backup, before) in backups {
        let restored = folder.join(format!("{}-restored", backup.display()));
        let (code, said, wrong) = handoff_data(&["journal", "restore", backup.to_str().unwrap()], &restored);
        assert_eq!(code, Some(0), "{said}{wrong}");
        assert_eq!(handoff_data(&["journal", "restore", backup.to_str().unwrap()], &restored).0, Some(2), "not twice");
        let there = journal(&restored);
        assert!(there.len() as u64 >= before, "what was acknowledged before: {before}, {}", there.len());
        assert_eq!(there, kept[..there.len()], "a prefix, as it came");
        // No route stands beyond the end.
        let state = handoff::journal::View::open(&restored).unwrap();
        let position = state.state().position("bundles").unwrap().unwrap();
        assert!(position.ahead <= there.len() as u64 + 1, "{position:?}, {}", there.len());
    }
}

#[test]
fn what_is_damaged_is_told_by_its_numbers() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    for number in 0..40 {
        peer.exchange(&message(&format!("m{number}-unmistakable"), "A01"));
    }
    let data = gateway.data();
    let config = data.parent().unwrap().join("handoff.toml");
    let (code, said, _) = run(&config, &["journal", "verify"]);
    assert!(code == Some(0) && said.contains("1 partitions, 40 records sound, 0 partitions damaged"), "{said}");
    assert_eq!(run(&config, &["messages", "show", "8"]).0, Some(0), "it is in the search index by now");
    gateway.stop();
    let path = data.join("journal/00000000000000000001.sqlite");
    let bytes = std::fs::read(&path).unwrap();
    let needle = b"|m7-unmistakable|";
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    // Also where it stood before its page was split, which nobody reads.
    let places =
        bytes.windows(needle.len()).enumerate().filter(|(_, window)| window == needle).map(|(at, _)| at as u64);
    let places: Vec<u64> = places.collect();
    assert!(!places.is_empty(), "the message is in the file");
    for at in places {
        file.write_all_at(b"X", at + 2).unwrap();
    }
    let (code, said, _) = run(&config, &["journal", "verify"]);
    assert!(code == Some(1) && said.contains("damaged: 8-8") && said.contains("39 records sound"), "{said}");
    let (code, _, said) = run(&config, &["messages", "show", "8"]);
    assert!(code == Some(1) && said.contains("cannot read message 8"), "{said}");
    let (code, _, said) = handoff_data(&["journal", "verify"], data.parent().unwrap());
    assert!(code == Some(2) && said.contains("no data directory"), "{said}");
}

#[test]
fn pruning_by_hand_is_left_to_a_running_gateway() {
    let gateway = Gateway::start("retention = { age = \"1s\" }\n");
    let mut peer = Peer::connect(&gateway);
    peer.exchange(&message("one", "A01"));
    gateway.wait_for_bundles(1);
    let data = gateway.data();
    let config = data.parent().unwrap().join("handoff.toml");
    let (code, _, said) = run(&config, &["journal", "prune"]);
    assert!(code == Some(2) && said.contains("a running gateway, which prunes by itself"), "{said}");
    gateway.stop();
    let (code, said, _) = run(&config, &["journal", "prune", "--dry-run"]);
    assert!(code == Some(0) && said.contains("would remove the partitions all before 1"), "{said}");
    let (code, said, _) = run(&config, &["journal", "prune"]);
    assert!(code == Some(0) && said.contains("removed 0 records"), "the partition that grows stays: {said}");
}
