//! Tests of the index against journals of its own.
use super::*;
use crate::facets::{Facets, Outcome};
use crate::hl7;
use crate::journal::{DeadLetter, Directory, Journal, Limits, Options, Record, State, Step, Unsent, View};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// A message of a day: every number is its own control id, every tenth patient comes again.
fn record(number: u32) -> Record {
    let event = if number.is_multiple_of(3) { "A01" } else { "A08" };
    let raw = format!(
        "MSH|^~\\&|HIS|HARBOR|LAB|CITY|20260102030405+0100||ADT^{event}^ADT_A01|c{number}|P|2.5.1\rEVN|{event}|202601020400\rPID|1||99^^^^SS~x{number}^^^B^XX~p{}^^^HARBOR^MR||CANARY^Née\r",
        number % 10
    );
    let outcome = if number.is_multiple_of(7) { Outcome::Untranslated } else { Outcome::Translated };
    with_facets(raw.into_bytes(), i64::from(number) * 1000, outcome)
}

fn with_facets(raw: Vec<u8>, received_ms: i64, outcome: Outcome) -> Record {
    let mut index = hl7::Index::new();
    index.parse(&raw).unwrap();
    let mut facets = Vec::new();
    let of = Facets::of(&raw, Some(index.message(&raw)), b"adt", received_ms);
    Facets { outcome, ..of }.encode(&mut facets);
    Record { received_ms, facets, raw, ack: Vec::new() }
}

fn small() -> Options {
    Options { partition_records_max: 40, batch_records_max: 16, ..Options::default() }
}

fn open(path: &Path) -> Journal {
    Journal::open(&Arc::new(Directory::open(path).unwrap()), small()).unwrap()
}

async fn append(journal: &Journal, numbers: std::ops::RangeInclusive<u32>) {
    let mut receipts = Vec::new();
    for number in numbers {
        receipts.push(journal.append(Arc::new(record(number)), |_| {}).await);
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
}

fn catch_up(path: &Path) -> Index {
    let mut index = Index::open(path).unwrap();
    let mut reader = View::open(path).unwrap().reader().unwrap();
    index.check_against(&mut reader).unwrap();
    while index.follow(&mut reader, Limits { records_max: 17, ..Limits::default() }).unwrap() > 0 {}
    index
}

fn seqs(index: &Index, filter: &Filter, order: Order) -> Vec<u64> {
    let mut found = Vec::new();
    index
        .search::<Error>(filter, order, |entry| {
            found.push(entry.seq);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

fn oldest(index: &Index, filter: Filter) -> Vec<u64> {
    let found = seqs(index, &filter, Order::OldestFirst);
    let mut turned = seqs(index, &filter, Order::NewestFirst);
    turned.reverse();
    assert_eq!(found, turned, "both ways the same");
    found
}

#[tokio::test]
async fn every_filter_finds_what_a_look_at_every_message_finds() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path());
    append(&journal, 1..=1200).await;
    let index = catch_up(temporary.path());
    assert_eq!(index.next().unwrap(), 1201);
    let text = |text: &str| Some(text.to_owned());
    let all = |wanted: &dyn Fn(u64) -> bool| (1..=1200).filter(|seq| wanted(*seq)).collect::<Vec<u64>>();
    assert_eq!(oldest(&index, Filter::default()), all(&|_| true), "more than a page");
    let span = Filter { since_ms: Some(100_000), until_ms: Some(900_000), ..Filter::default() };
    assert_eq!(oldest(&index, span.clone()), all(&|seq| (100..900).contains(&seq)));
    assert!(oldest(&index, Filter { since_ms: Some(9_000_000), ..Filter::default() }).is_empty());
    assert_eq!(oldest(&index, Filter { control_id: text("c77"), ..Filter::default() }), [77]);
    assert_eq!(oldest(&index, Filter { patient: text("p3"), ..span.clone() }).len(), 80);
    assert_eq!(oldest(&index, Filter { patient: text("x3"), ..Filter::default() }), [3], "any identifier of PID-3");
    assert!(oldest(&index, Filter { patient: text("CANARY"), ..Filter::default() }).is_empty());
    let admissions = Filter { code: text("ADT"), event: text("A01"), ..Filter::default() };
    assert_eq!(oldest(&index, admissions), all(&|seq| seq.is_multiple_of(3)));
    let untranslated = Filter { outcome: Some(Outcome::Untranslated), ..Filter::default() };
    assert_eq!(oldest(&index, untranslated), all(&|seq| seq.is_multiple_of(7)));
    for (sender, count) in [("HIS", 1200), ("HARBOR", 1200), ("HIS|HARBOR", 1200), ("HARBOR|HIS", 0), ("LAB", 0)] {
        let found = oldest(&index, Filter { sender: text(sender), ..Filter::default() });
        assert_eq!(found.len(), count, "{sender}");
    }
    assert_eq!(oldest(&index, Filter { listener: text("adt"), ..Filter::default() }).len(), 1200);
    assert_eq!(oldest(&index, Filter { only: Some(vec![5, 3000, 9]), ..Filter::default() }), [5, 9]);
    let entry = index.page(&Filter::default(), Order::NewestFirst, 1).unwrap().remove(0);
    assert_eq!((entry.seq, entry.patients.as_slice()), (1200, &["p0".into(), "99".into(), "x1200".into()][..]));
    assert_eq!(entry.event_ms, Some(1_767_322_800_000), "EVN-2 at the offset of MSH-7");
    assert!(!format!("{entry:?}").contains("x1200"), "nothing of a patient");
}

/// All pages of a look, one after the other.
fn looked(index: &Index, look: &Look) -> Vec<u64> {
    let (mut look, mut found) = (look.clone(), Vec::new());
    loop {
        let page = index.look::<Error>(&look, Ok).unwrap();
        assert!(page.entries.len() <= look.wanted && (!page.full || page.entries.len() == look.wanted));
        found.extend(page.entries.iter().map(|entry| entry.seq));
        let Some(next) = page.next else { return found };
        assert!(look.filter.last.is_none_or(|last| next < last), "it goes on");
        look.filter.last = Some(next);
    }
}

#[tokio::test]
async fn a_look_finds_page_by_page_what_a_search_finds() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path());
    append(&journal, 1..=3000).await;
    let index = catch_up(temporary.path());
    let text = |text: &str| Some(text.to_owned());
    let filters = [
        Filter::default(),
        Filter { code: text("ADT"), event: text("A01"), ..Filter::default() },
        Filter { outcome: Some(Outcome::Untranslated), event: text("A08"), ..Filter::default() },
        Filter { outcome: Some(Outcome::Unreadable), ..Filter::default() },
        Filter { sender: text("HARBOR"), since_ms: Some(2_000_000), ..Filter::default() },
        Filter { sender: text("HIS|HARBOR"), listener: text("adt"), last: Some(77), ..Filter::default() },
        Filter { sender: text("LAB"), ..Filter::default() },
        Filter { patient: text("p3"), event: text("A01"), ..Filter::default() },
        Filter { control_id: text("c1234"), ..Filter::default() },
    ];
    for filter in filters {
        let mut expected = oldest(&index, filter.clone());
        expected.reverse();
        for (wanted, batch, time) in [(50, 51, 60_000), (7, 3, 60_000), (50, 20, 0)] {
            let time = std::time::Duration::from_millis(time);
            let look = Look { filter: filter.clone(), within: None, wanted, batch, time };
            assert_eq!(looked(&index, &look), expected, "{wanted} {batch} {time:?}");
            let within = Some(vec![2900..=2950, 1500..=1500, 3..=900]);
            let among: Vec<u64> = expected
                .iter()
                .copied()
                .filter(|seq| {
                    within.iter().flatten().any(|stretch: &std::ops::RangeInclusive<u64>| stretch.contains(seq))
                })
                .collect();
            assert_eq!(looked(&index, &Look { within, ..look }), among);
        }
    }
    // What is kept out by whoever judges does not end the look.
    let look = Look { filter: Filter::default(), within: None, wanted: 5, batch: 6, time: std::time::Duration::MAX };
    let odd = |entries: Vec<Entry>| Ok(entries.into_iter().filter(|entry| entry.seq.is_multiple_of(500)).collect());
    let page = index.look::<Error>(&look, odd).unwrap();
    let found: Vec<u64> = page.entries.iter().map(|entry| entry.seq).collect();
    assert_eq!((found, page.next, page.full), (vec![3000, 2500, 2000, 1500, 1000], Some(999), true));
}

#[tokio::test]
async fn times_out_of_order_are_found_all_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path());
    // A clock that jitters, and is set back by 40 seconds in the middle.
    let times: Vec<i64> =
        (0..300).map(|at| at * 1000 + (at * 7919) % 5000 - if at >= 150 { 40_000 } else { 0 } + 100_000).collect();
    for &received_ms in &times {
        let raw = record(1).raw;
        journal.append(Arc::new(with_facets(raw, received_ms, Outcome::Received)), |_| {}).await.await.unwrap();
    }
    let index = catch_up(temporary.path());
    for since in (90_000..420_000).step_by(7001) {
        for until in [since + 1, since + 3000, since + 60_000] {
            let filter = Filter { since_ms: Some(since), until_ms: Some(until), ..Filter::default() };
            let expected: Vec<u64> =
                (1..).zip(&times).filter(|(_, ms)| (since..until).contains(*ms)).map(|(seq, _)| seq).collect();
            assert_eq!(oldest(&index, filter), expected, "{since} to {until}");
        }
    }
}

#[tokio::test]
async fn searches_use_the_indexes() {
    let temporary = tempfile::tempdir().unwrap();
    drop(open(temporary.path()));
    let index = catch_up(temporary.path());
    let text = Some("x".to_owned());
    let plans = [
        (Filter { control_id: text.clone(), ..Filter::default() }, "USING INDEX message_control"),
        (Filter { patient: text, ..Filter::default() }, "USING PRIMARY KEY (id=?)"),
        (Filter { since_ms: Some(1), first: Some(1), ..Filter::default() }, "USING INTEGER PRIMARY KEY (rowid>?)"),
        (Filter { only: Some(vec![1]), ..Filter::default() }, "USING INTEGER PRIMARY KEY (rowid=?)"),
    ];
    for (filter, expected) in plans {
        let plan = index.explain(&filter);
        assert!(plan.contains(expected), "{plan}");
    }
    let text = || Some("x".to_owned());
    for filter in [
        Filter { listener: text(), ..Filter::default() },
        Filter { sender: text(), code: text(), ..Filter::default() },
        Filter { sender: Some("x|y".into()), event: text(), outcome: Some(Outcome::Rejected), ..Filter::default() },
    ] {
        let plan = index.explain_blocks(&filter);
        let reads: Vec<&str> = plan.lines().filter(|line| line.contains("seen")).collect();
        assert!(!reads.is_empty(), "{plan}");
        for read in reads {
            assert!(read.contains("USING PRIMARY KEY (kind=? AND value=? AND block>? AND block<?)"), "{plan}");
        }
        // Within a block it goes by the number, and no further than the stretch.
        let plan = index.explain(&Filter { first: Some(1), last: Some(9), ..filter });
        assert!(plan.contains("USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{plan}");
    }
}

#[tokio::test]
async fn an_index_that_is_missing_damaged_or_of_another_journal_is_made_again() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let journal = open(path);
    append(&journal, 1..=90).await;
    assert_eq!(oldest(&catch_up(path), Filter::default()).len(), 90);

    for damage in [vec![0x55; 8192], vec![], b"SQLite format 3\0".to_vec()] {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(path.join(format!("index.sqlite{suffix}")));
        }
        std::fs::write(path.join("index.sqlite"), damage).unwrap();
        assert_eq!(oldest(&catch_up(path), Filter::default()).len(), 90);
    }
    let damaged = Index::open(path).unwrap();
    damaged.connection.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(damaged);
    assert_eq!(Index::open(path).unwrap().next().unwrap(), 1, "another version");

    // The journal of another day under the same numbers.
    drop(catch_up(path));
    drop(journal);
    std::fs::remove_dir_all(path.join("journal")).unwrap();
    let journal = open(path);
    append(&journal, 500..=560).await;
    let index = catch_up(path);
    assert_eq!(oldest(&index, Filter::default()).len(), 61);
    assert_eq!(oldest(&index, Filter { control_id: Some("c500".into()), ..Filter::default() }), [1]);
    drop(index);
    drop(journal);
    std::fs::remove_dir_all(path.join("journal")).unwrap();
    let journal = open(path);
    append(&journal, 500..=600).await;
    append(&journal, 1..=1).await;
    let index = catch_up(path);
    assert_eq!(oldest(&index, Filter { control_id: Some("c1".into()), ..Filter::default() }), [102]);
}

#[tokio::test]
async fn the_index_is_pruned_with_the_journal_and_starts_where_it_starts() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let journal = open(path);
    append(&journal, 1..=100).await;
    let mut index = catch_up(path);
    assert!(journal.prune(90).unwrap() > 0);
    let first = journal.reader().first().unwrap();
    assert_eq!(index.prune(first, 10).unwrap(), 10);
    while index.prune(first, 10).unwrap() > 0 {}
    assert_eq!(oldest(&index, Filter::default()), (first..=100).collect::<Vec<_>>());
    assert!(oldest(&index, Filter { patient: Some("x1".into()), ..Filter::default() }).is_empty());
    let left: i64 = index.connection.query_row("SELECT count(*) FROM patient", [], |row| row.get(0)).unwrap();
    assert_eq!(left.unsigned_abs(), 3 * (101 - first));
    let blocks: i64 = index.connection.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap();
    assert!(blocks > 0, "those that are left are known");
    index.discard().unwrap();
    assert_eq!(oldest(&catch_up(path), Filter::default()), (first..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_follower_keeps_up_and_two_writers_do_not_disturb_each_other() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let journal = open(path);
    let follower = Follower::start(path, journal.reader()).unwrap();
    append(&journal, 1..=300).await;
    assert_eq!(oldest(&catch_up(path), Filter::default()).len(), 300, "a search beside it");
    append(&journal, 301..=400).await;
    let index = Index::open(path).unwrap();
    let started = std::time::Instant::now();
    while index.next().unwrap() < 401 {
        assert!(started.elapsed().as_secs() < 60, "the follower does not follow");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(follower);
    assert_eq!(oldest(&index, Filter::default()), (1..=400).collect::<Vec<_>>());
}

#[test]
fn standings_tell_settled_from_waiting_and_dead() {
    let temporary = tempfile::tempdir().unwrap();
    let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
    let letter = DeadLetter { seq: 3, last: 4, at_ms: 5, attempts: 2, reason: "no".into() };
    state.register("ehr", 2).unwrap();
    let step = Step { cursor: 6, ahead: 9, parked: vec![6, 8], given_up: vec![letter.clone()], ..Step::default() };
    state.advance("ehr", &step).unwrap();
    let skipped = Unsent { seq: 5, last: 5, at_ms: 6, dropped: false, reason: "404".into() };
    let step = Step { cursor: 6, ahead: 9, unsent: vec![skipped.clone()], ..Step::default() };
    state.advance("ehr", &step).unwrap();
    let standings = Standings::read(&state, &["ehr".into(), "new".into()]).unwrap();
    let of = |seq| standings.of("ehr", seq).unwrap();
    assert_eq!(of(1), Standing::Before);
    assert_eq!([2, 7].map(of), [const { Standing::Settled }; 2]);
    assert_eq!(of(5), Standing::Unsent(&skipped));
    assert_eq!([6, 8, 9, 100].map(of), [const { Standing::Waiting }; 4]);
    assert_eq!([3, 4].map(of), [Standing::Dead(&letter), Standing::Dead(&letter)]);
    assert_eq!((standings.waits_from("ehr"), standings.waits_from("new")), (Some(6), Some(0)));
    assert_eq!(standings.of("new", 1), Some(Standing::Waiting), "a route that has not begun");
    assert_eq!(standings.of("other", 1), None);
    let some = Standings::read_of(&state, &["ehr".into()], &[1, 2, 4, 5, 7, 100]).unwrap();
    assert!([1, 2, 4, 5, 7, 100].into_iter().all(|seq| some.of("ehr", seq) == standings.of("ehr", seq)));
    assert_eq!(state.dead_letter_of("ehr", 5).unwrap(), None);
}

#[test]
fn texts_are_found_in_either_case() {
    assert!(contains(b"PID|1||7||Example^Sam", "EXAMPLE^s") && contains(b"a", "") && contains(b"aab", "ab"));
    assert!(!contains(b"Exampl", "example") && !contains(b"", "x"));
}

#[tokio::test]
async fn a_search_ends_where_it_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path());
    append(&journal, 1..=20).await;
    let index = catch_up(temporary.path());
    let mut seen = 0;
    let stopped: Result<(), Error> = index.search(&Filter::default(), Order::OldestFirst, |_| {
        seen += 1;
        Ok(if seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    assert!(stopped.is_ok() && seen == 5);
}

/// Says how long looks take among millions of messages; how many, `MESSAGES` tells.
#[test]
#[ignore = "a measurement: cargo test --release --lib search::tests::how_long_looks_take -- --ignored --nocapture"]
fn how_long_looks_take() {
    let count: u64 = std::env::var("MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let temporary = tempfile::tempdir().unwrap();
    drop(open(temporary.path()));
    let mut index = Index::open(temporary.path()).unwrap();
    let started = std::time::Instant::now();
    let entry = |seq: u64| Entry {
        seq,
        received_ms: 1_700_000_000_000 + i64::try_from(seq).unwrap() * 100,
        listener: if seq.is_multiple_of(5) { "lab".into() } else { "adt".into() },
        sending_application: format!("APP{}", seq % 20),
        sending_facility: "HARBOR".into(),
        code: if seq.is_multiple_of(3) { "ORU".into() } else { "ADT".into() },
        event: match seq % 100_000 {
            77 => "A40".into(),
            _ if seq.is_multiple_of(3) => "R01".into(),
            _ => format!("A0{}", seq % 9),
        },
        control_id: format!("c{:016x}", seq.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        patients: vec![format!("p{}", seq * 7919 % (count / 20)), format!("visit-{seq}")],
        outcome: if seq % 100_000 == 5 { Outcome::Untranslated } else { Outcome::Translated },
        bytes: 900,
        ..Entry::default()
    };
    let mut next = 1;
    while next <= count {
        let after = (next + 1024).min(count + 1);
        let entries: Vec<Entry> = (next..after).map(entry).collect();
        index.write(next, after, &entries).unwrap();
        next = after;
    }
    println!("{count} messages in {:.1?}", started.elapsed());
    index.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let size = std::fs::metadata(temporary.path().join("index.sqlite")).unwrap().len();
    let blocks: u64 =
        index.connection.query_row("SELECT count(*) FROM seen", [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
    println!("{} MB, {blocks} rows of blocks", size / 1_000_000);
    let text = |text: &str| Some(text.to_owned());
    let middle = 1_700_000_000_000 + i64::try_from(count).unwrap() * 50;
    for (name, filter) in [
        ("the newest", Filter::default()),
        ("from the middle on", Filter { last: Some(count / 2), ..Filter::default() }),
        ("an hour", Filter { since_ms: Some(middle), until_ms: Some(middle + 3_600_000), ..Filter::default() }),
        ("a control id", Filter { control_id: text(&entry(count / 3).control_id), ..Filter::default() }),
        ("a patient", Filter { patient: text("p17"), ..Filter::default() }),
        ("a type", Filter { code: text("ORU"), event: text("R01"), ..Filter::default() }),
        ("a type of one in 100,000", Filter { event: text("A40"), ..Filter::default() }),
        ("a sender", Filter { sender: text("APP7"), ..Filter::default() }),
        ("a sender that there is not", Filter { sender: text("NONE"), ..Filter::default() }),
        ("an outcome of one in 100,000", Filter { outcome: Some(Outcome::Untranslated), ..Filter::default() }),
        ("what never comes together", Filter { listener: text("lab"), sender: text("APP7"), ..Filter::default() }),
    ] {
        let look = Look { filter, within: None, wanted: 50, batch: 51, time: std::time::Duration::from_millis(150) };
        // As a page does: opened for it.
        let started = std::time::Instant::now();
        let index = Index::open(temporary.path()).unwrap();
        let page = index.look::<Error>(&look, Ok).unwrap();
        let end = if page.full || page.next.is_none() { "" } else { ", not all looked through" };
        println!("{name}: {} in {:.1?}{end}", page.entries.len(), started.elapsed());
    }
}
