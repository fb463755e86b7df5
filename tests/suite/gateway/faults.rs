//! Disks that fail: a sync that says EIO, a file system that is full.
use super::process::{Gateway, Peer, handoff, journal, message, wait_for};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Fails the k-th sync of a log of the journal, once, as a broken disk does: the next one says that all is well. Leaves a mark when it has.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int count;
static int fails(int fd) {
    char link[64], path[4096];
    const char *at = getenv("HANDOFF_FAIL_SYNC"), *mark = getenv("HANDOFF_FAIL_MARK");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!at || !mark || length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "/journal/") || !strstr(path, "-wal") || __sync_add_and_fetch(&count, 1) != atoi(at)) return 0;
    close(open(mark, O_CREAT | O_WRONLY, 0600));
    errno = EIO;
    return 1;
}
int fsync(int fd) { return fails(fd) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd); }
"#;

/// The sync that fails, by its number since the start; the first are those of a journal that is made.
const FAILS: [u32; 6] = [3, 4, 5, 9, 20, 60];
const CONFIGURATION: &str = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n[[route]]\nname = \"bundles\"\nto = { file = \"bundles.ndjson\" }\n";

/// A shim as a library, where there is a C compiler.
pub fn shim(folder: &Path, code: &str) -> Option<PathBuf> {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    std::fs::write(&source, code).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    match compiled {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library)
        }
        Err(error) => {
            eprintln!("NOT RUN: no C compiler (cc: {error}), so no call can be made to fail");
            None
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn after_a_sync_that_failed_nothing_is_acknowledged_and_what_was_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = shim(folder.path(), SHIM) else { return };
    let fails = match std::env::var("HANDOFF_FAILS").ok().and_then(|last| last.parse::<u32>().ok()) {
        Some(last) => (3..=last).collect(),
        None => FAILS.to_vec(),
    };
    for at in fails {
        let mark = folder.path().join(format!("mark-{at}"));
        let mut command = handoff();
        command.env("LD_PRELOAD", &library).env("HANDOFF_FAIL_SYNC", at.to_string()).env("HANDOFF_FAIL_MARK", &mark);
        let gateway = Gateway::start_with(CONFIGURATION, command);
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (mut peer, acknowledged, mark) = (Peer::connect(&gateway), Arc::clone(&acknowledged), mark.clone());
                std::thread::spawn(move || {
                    for number in 0..10_000 {
                        let id = format!("s{sender}n{number}");
                        let failed_before = mark.exists();
                        let bytes = [b"\x0b", message(&id, "A01").as_bytes(), b"\x1c\r"].concat();
                        if peer.try_write(&bytes).is_err() {
                            return;
                        }
                        let Some(ack) = peer.receive() else { return };
                        assert!(!failed_before, "acknowledged after a sync had failed: {ack}");
                        assert!(ack.contains(&format!("MSA|AA|{id}\r")), "{ack}");
                        acknowledged.lock().unwrap().insert(id);
                    }
                    panic!("sync {at} never came");
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let data = gateway.data();
        let (code, log) = gateway.wait();
        assert!(mark.exists(), "a sync was made to fail: {log}");
        assert!(code == Some(1) && log.contains("the journal failed"), "sync {at}: {log}");
        let kept: BTreeSet<String> =
            journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
        let acknowledged = acknowledged.lock().unwrap();
        assert!(acknowledged.is_subset(&kept), "sync {at}: {:?}", acknowledged.difference(&kept));
    }
}

/// A small file system of its own; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Small> {
        std::fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Small(path.to_owned()));
        }
        eprintln!(
            "NOT RUN: no file system can be mounted here (it takes root); the limit on the size of files stands in for a full disk"
        );
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_takes_nothing_keeps_what_it_has_and_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&folder.path().join("small")) else { return };
    let ballast = small.0.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let data = small.0.join("data");
    let gateway = Gateway::start(&format!(
        "data = \"{}\"\n[[route]]\nname = \"out\"\nto = {{ file = \"out.ndjson\" }}\n",
        data.display()
    ));
    let mut acknowledged = Vec::new();
    let filler = format!("NTE|1||{}\r", "x".repeat(20_000));
    let mut peer = Peer::connect(&gateway);
    peer.read_timeout(Duration::from_secs(2));
    wait_for("a full disk", || {
        let id = format!("m{}", acknowledged.len());
        let bytes = format!("\x0b{}{filler}\x1c\r", message(&id, "A01"));
        let answer = peer.try_write(bytes.as_bytes()).ok().and_then(|()| peer.receive());
        match answer {
            Some(ack) => {
                assert!(ack.contains(&format!("MSA|AA|{id}\r")), "{ack}");
                acknowledged.push(id);
                None
            }
            None => {
                peer = Peer::connect(&gateway);
                peer.read_timeout(Duration::from_secs(2));
                gateway.log().contains("nothing is accepted: the disk is full").then_some(())
            }
        }
    });
    assert!(acknowledged.len() > 5, "{}", acknowledged.len());
    std::fs::remove_file(&ballast).unwrap();
    wait_for("room again", || {
        let mut peer = Peer::connect(&gateway);
        peer.read_timeout(Duration::from_secs(2));
        peer.send(&message("after", "A01"));
        peer.receive().filter(|ack| ack.contains("MSA|AA|after\r"))
    });
    let log = gateway.log();
    gateway.stop();
    let kept: Vec<String> = journal(&data).iter().map(|raw| raw.split('|').nth(9).unwrap().to_owned()).collect();
    let missing: Vec<_> = acknowledged.iter().filter(|id| !kept.contains(id)).collect();
    assert!(missing.is_empty() && kept.contains(&"after".to_owned()), "{missing:?}\n{log}");
}
