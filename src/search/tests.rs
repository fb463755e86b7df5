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
