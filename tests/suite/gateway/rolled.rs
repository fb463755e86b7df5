//! A target of many files: each is published whole, and no line is torn, whatever kills the gateway.
use super::process::{Gateway, Peer, journal, message, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The published files of a folder with their content.
fn published(folder: &Path) -> BTreeMap<PathBuf, String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The patients of Bundles, each of which must be whole.
fn patients<'t>(files: impl IntoIterator<Item = &'t String>) -> Vec<String> {
    let mut found = Vec::new();
    for text in files {
        assert!(text.ends_with('\n') && text.len() > 1, "a published file is not empty and ends with a line");
        for line in text.lines() {
            let bundle: serde_json::Value = serde_json::from_str(line).expect("a whole Bundle");
            assert_eq!(bundle["resourceType"], "Bundle");
            found.push(line.split("patient-").nth(1).unwrap().split('"').next().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn files_are_published_by_size_by_age_and_at_the_end() {
    let gateway = Gateway::start(
        "[[route]]\nname = \"size\"\nto = { file = \"size/out.ndjson\", roll = { size = \"30KB\" } }\n\
         [[route]]\nname = \"age\"\nto = { file = \"age/out.ndjson\", roll = { age = \"200ms\" } }\n",
    );
    let folder = gateway.folder().to_owned();
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("p0", "A01")).contains("MSA|AA|"));
    wait_for("a file that is old enough", || (!published(&folder.join("age")).is_empty()).then_some(()));
    for number in 1..10 {
        assert!(peer.exchange(&message(&format!("p{number}"), "A01")).contains("MSA|AA|"));
    }
    wait_for("a file that is large enough", || (!published(&folder.join("size")).is_empty()).then_some(()));
    let keep = gateway.data();
    gateway.stop();
    let expected: Vec<_> = (0..10).map(|number| format!("p{number}")).collect();
    for kind in ["size", "age"] {
        let files = published(&folder.join(kind));
        assert!(files.len() > 1, "{kind}: {:?}", files.keys());
        assert_eq!(patients(files.values()), expected, "{kind}: in order of their names");
        assert!(kind == "age" || files.values().all(|text| text.len() <= 30 << 10));
        let left = std::fs::read_dir(folder.join(kind)).unwrap().count();
        assert_eq!(left, files.len() + 1, "{kind}: nothing but the lock is left");
    }
    drop(keep);
}

#[test]
fn whatever_kills_the_gateway_what_is_published_is_whole_and_stays_as_it_is() {
    let mut gateway = Gateway::start(
        "[[route]]\nname = \"out\"\nto = { file = \"out/b.ndjson\", roll = { size = \"100KB\", age = \"1s\" } }\n",
    );
    let out = gateway.folder().join("out");
    let mut seen: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut look = |out: &Path| {
        for (path, text) in published(out) {
            patients([&text]);
            assert_eq!(*seen.entry(path.clone()).or_insert_with(|| text.clone()), text, "{} changed", path.display());
        }
    };
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut round = 0;
    while round < 6 {
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (mut peer, stop, acknowledged) =
                    (Peer::connect(&gateway), Arc::clone(&stop), Arc::clone(&acknowledged));
                std::thread::spawn(move || {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("r{round}s{sender}n{number}");
                        let bytes = [b"\x0b", message(&id, "A01").as_bytes(), b"\x1c\r"].concat();
                        if peer.try_write(&bytes).is_err() || peer.receive().is_none() {
                            return;
                        }
                        acknowledged.lock().unwrap().insert(id);
                        number += 1;
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(150 + 70 * round));
        gateway = gateway.kill_and_restart(None);
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        look(&out);
        round += 1;
    }
    let data = gateway.data();
    gateway.stop();
    look(&out);
    let files = published(&out);
    let delivered: BTreeSet<String> = patients(files.values()).into_iter().collect();
    let acknowledged = acknowledged.lock().unwrap();
    assert!(files.len() > 6 && acknowledged.len() > 50, "{} {}", files.len(), acknowledged.len());
    let missing: Vec<_> = acknowledged.difference(&delivered).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(journal(&data).len() >= acknowledged.len());
}
