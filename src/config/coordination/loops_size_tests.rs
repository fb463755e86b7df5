//! Five million open steps: how long one takes to be opened and to be told of, how long a restart takes, and how much memory they need.
//!
//! `cargo test --release --lib five_million_open_steps -- --ignored --nocapture`
use crate::config::Config;
use crate::coordination::care_team::{self, Member};
use crate::coordination::event::{Confidentiality, Patient, VisitKey};
use crate::coordination::loops::{self, Setting, Subject, Tracker};
use crate::coordination::{Event, Kind, PersonKey};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

/// Each has five steps.
const LOOPS: u32 = 1_000_000;
const BATCH: u32 = 256;
/// 2026-03-05T05:00Z, midnight in New York.
const START: i64 = 1_772_686_800_000;
/// Timers that are done to see how long one takes.
const FIRED: usize = 200_000;

fn discharge(number: u32) -> Event {
    // Twenty hours: before anybody is told of the first.
    let at_ms = START + i64::from(number) * 72;
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    Event {
        id,
        seq: u64::from(number) + 1,
        kind: Kind::Discharge,
        detail: String::new(),
        at_ms,
        received_ms: at_ms,
        time_suspect: false,
        partial: false,
        stale: false,
        facility: "SBMC".into(),
        feed: "SBADT|SBMC".into(),
        trigger: "A03".into(),
        patient: Patient::default(),
        others: Vec::new(),
        visit: Some(VisitKey { authority: "SBMC".into(), number: format!("V{number}"), weak: false }),
        class: "IMP".into(),
        disposition: "06".into(),
        participants: Vec::new(),
        codes: Vec::new(),
        document: None,
        appointment: None,
        referral: None,
        confidentiality: Confidentiality::default(),
    }
}

/// Memory of the process in MB, where the system tells.
fn memory_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096 / 1_000_000
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.set_prepared_statement_cache_capacity(256);
    connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;").unwrap();
    connection
}

#[test]
#[ignore = "five million steps take minutes"]
fn five_million_open_steps() {
    let text = "[coordination]\ntz = \"America/New_York\"\n[[coordination.loop]]\nuse = \"post-discharge\"\n";
    let options = Config::parse(text, Path::new("handoff.toml"), &|_| None).unwrap().coordination.unwrap();
    let setting = Setting { facilities: options.facilities.clone(), keep: options.keep, ..Setting::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coordination.sqlite");
    let mut connection = open(&path);
    connection
        .execute_batch(&format!("{}{}{}", loops::TABLES.concat(), care_team::TABLES, crate::coordination::card::TABLES))
        .unwrap();
    let mut tracker = Tracker::open(&connection, options.loops.clone(), setting.clone()).unwrap();
    let members = [Member { panel: "aco-lakeshore", pcp_npi: "9990003037", care_manager: "" }];
    let (before_mb, started) = (memory_mb(), Instant::now());
    for first in (0..LOOPS).step_by(BATCH as usize) {
        let transaction = connection.transaction().unwrap();
        for number in first..(first + BATCH).min(LOOPS) {
            let event = discharge(number);
            let subject = Subject { person: PersonKey(event.id), others: &[], members: &members, team: &[] };
            tracker.apply(&transaction, &event, subject).unwrap();
        }
        transaction.commit().unwrap();
    }
    let steps = tracker.timers();
    assert_eq!(steps, LOOPS as usize * 5);
    let per = |time: Duration, count: usize| time.as_secs_f64() * 1e6 / count as f64;
    println!("{steps} steps opened, {:.2} µs each with all that is written", per(started.elapsed(), steps));
    println!("memory {} MB, {before_mb} before", memory_mb());
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("database {} MB", bytes / 1_000_000);

    drop((tracker, connection));
    let mut connection = open(&path);
    let (before_mb, started) = (memory_mb(), Instant::now());
    let mut tracker = Tracker::open(&connection, options.loops.clone(), setting).unwrap();
    println!("restart {:.1?}, memory {} MB, {before_mb} before", started.elapsed(), memory_mb());
    assert_eq!(tracker.timers(), steps);

    let (started, mut done) = (Instant::now(), 0);
    while done < FIRED {
        let transaction = connection.transaction().unwrap();
        let outcomes = tracker.advance_some(&transaction, START + 3 * 86_400_000, 1_000).unwrap();
        transaction.commit().unwrap();
        assert!(!outcomes.is_empty());
        done += 1_000;
    }
    println!("told of: {:.1} µs each with all that is written", per(started.elapsed(), done));
}
