//! Tests of the journal as a whole.
use super::partition::Partition;
use super::*;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn record(text: &str) -> Arc<Record> {
    Arc::new(Record { received_ms: 1, facets: b"f".to_vec(), raw: text.as_bytes().to_vec(), ack: b"AA".to_vec() })
}

fn open(path: &Path, options: Options) -> Journal {
    Journal::open(&Arc::new(Directory::open(path).unwrap()), options).unwrap()
}

fn small() -> Options {
    Options { partition_records_max: 4, batch_records_max: 2, ..Options::default() }
}

async fn append(journal: &Journal, texts: std::ops::RangeInclusive<u32>) -> Vec<Result<u64, AppendError>> {
    let mut receipts = Vec::new();
    for text in texts {
        receipts.push(journal.append(record(&text.to_string()), |_| {}).await);
    }
    let mut seqs = Vec::new();
    for receipt in receipts {
        seqs.push(receipt.await);
    }
    seqs
}

/// Everything from a number on, as text: `7` for a record, `7!` for a damaged one.
fn read_all(journal: &Journal, mut from: u64, limits: Limits) -> Vec<String> {
    let mut reader = journal.reader();
    let mut found = Vec::new();
    loop {
        let items = reader.read(from, limits).unwrap();
        let Some(last) = items.last() else { return found };
        from = last.next();
        for item in items {
            match item {
                Item::Record(seq, record) => {
                    assert_eq!(record.raw, seq.to_string().as_bytes(), "records come back as they were written");
                    found.push(seq.to_string());
                }
                Item::Damaged(seqs) => found.extend(seqs.map(|seq| format!("{seq}!"))),
            }
        }
    }
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn records_are_numbered_in_order_across_partitions_and_restarts() {
    let temporary = tempfile::tempdir().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    {
        let journal = open(temporary.path(), small());
        assert_eq!(append(&journal, 1..=9).await, (1..=9).map(Ok).collect::<Vec<_>>());
        let seen = Arc::clone(&order);
        assert_eq!(journal.append(record("10"), move |seq| seen.lock().unwrap().push(seq)).await.await, Ok(10));
        assert_eq!(*journal.head().borrow(), 10);
        assert_eq!(read_all(&journal, 0, Limits { records_max: 3, bytes_max: 8 }), numbers(1..=10));
    }
    assert_eq!(*order.lock().unwrap(), [10]);
    let journal = open(temporary.path(), small());
    assert_eq!(append(&journal, 11..=11).await, [Ok(11)]);
    assert_eq!(read_all(&journal, 6, Limits::default()), numbers(6..=11));
    assert!(partition::list(&temporary.path().join("journal")).unwrap().len() >= 3, "partitions were rolled");
}

#[tokio::test]
async fn what_is_old_or_too_much_goes_but_nothing_that_is_wanted() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path(), small());
    // Numbers 1 to 12, received at 100, 200, …
    for number in 1..=12_i64 {
        let record = Record { received_ms: number * 100, raw: number.to_string().into_bytes(), ..Record::default() };
        journal.append(Arc::new(record), |_| {}).await.await.unwrap();
    }
    let names = partition::list(&temporary.path().join("journal")).unwrap();
    let firsts: Vec<u64> = names.iter().map(|name| name.first).collect();
    assert_eq!(firsts, [1, 5, 9]);
    let keep = |age_ms, bytes, now| {
        let retention = Retention { age: std::time::Duration::from_millis(age_ms), bytes };
        journal.keep_from(&retention, now).unwrap()
    };
    assert_eq!(keep(1000, u64::MAX, 1400), 1, "5 was received at 500, which is not a second ago");
    assert_eq!(keep(1000, u64::MAX, 1501), 5);
    assert_eq!(keep(1000, u64::MAX, 9999), 9, "the partition that grows stays");
    assert_eq!(keep(u64::MAX, 1, 9999), 9);
    assert_eq!(keep(u64::MAX, u64::MAX, 9999), 1);

    let state = State::at(temporary.path().join("state.sqlite")).unwrap();
    assert_eq!(state.wanted_from(&["a".into()]).unwrap(), Some(0), "a reader that has not begun wants all");
    state.register("a", 7).unwrap();
    state.register("gone", 2).unwrap();
    assert_eq!(state.wanted_from(&["a".into()]).unwrap(), Some(7), "a route that is no more wants nothing");
    let letter = DeadLetter { seq: 6, last: 6, at_ms: 0, attempts: 1, reason: "no".into() };
    state
        .advance("a", &Step { cursor: 9, ahead: 12, parked: vec![9], given_up: vec![letter], ..Step::default() })
        .unwrap();
    let wanted = state.wanted_from(&["a".into()]).unwrap().unwrap();
    assert_eq!(wanted, 6, "a dead letter can be sent again");
    // What is said of a message goes with it, and no sooner: 5 may go, but its partition stays for 6.
    let skipped = |seq| Unsent { seq, last: seq, at_ms: 0, dropped: false, reason: "404".into() };
    let step = Step { cursor: 9, ahead: 12, unsent: vec![skipped(4), skipped(5)], ..Step::default() };
    state.advance("a", &step).unwrap();
    let retention = Retention { age: std::time::Duration::ZERO, bytes: 0 };
    let pruned = retain(&journal, &state, &["a".into()], &retention, 9999, false).unwrap();
    assert_eq!(pruned, Pruned { removed: 4, keep: 9, wanted: 6 });
    assert!(matches!(journal.reader().read(4, Limits::default()), Err(Error::Pruned { first: 5, .. })));
    assert_eq!(state.unsent("a", 0, u64::MAX).unwrap(), [skipped(5)]);
}

#[tokio::test]
async fn pruning_removes_whole_partitions_and_says_so_to_late_readers() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path(), small());
    append(&journal, 1..=10).await;
    let names = partition::list(&temporary.path().join("journal")).unwrap();
    assert_eq!(journal.prune(names[1].first - 1).unwrap(), 0, "a partition with a wanted record stays");
    assert_eq!(journal.prune(names[1].first).unwrap(), names[1].first - 1);
    assert!(matches!(journal.reader().read(1, Limits::default()), Err(Error::Pruned { asked: 1, .. })));
    assert_eq!(read_all(&journal, names[1].first, Limits::default()).len() as u64, 11 - names[1].first);
}

#[tokio::test]
async fn damage_is_reported_never_skipped() {
    let temporary = tempfile::tempdir().unwrap();
    drop({
        let journal = open(temporary.path(), Options::default());
        append(&journal, 1..=6).await;
        journal
    });
    let folder = temporary.path().join("journal");
    {
        let partition = Partition::open(&folder, 1, Durability::Fsync).unwrap();
        let change = "UPDATE record SET raw = x'00' WHERE seq = 2; DELETE FROM record WHERE seq IN (4, 6); INSERT INTO record SELECT 6, received_ms, facets, raw, ack, crc FROM record WHERE seq = 5";
        partition.connection().execute_batch(change).unwrap();
    }
    let journal = open(temporary.path(), Options::default());
    assert_eq!(read_all(&journal, 1, Limits::default()), ["1", "2!", "3", "4!", "5", "6!"]);
    assert_eq!(read_all(&journal, 1, Limits { records_max: 1, bytes_max: 1 }), ["1", "2!", "3", "4!", "5", "6!"]);
}

#[tokio::test]
async fn numbers_are_not_given_twice_where_the_end_was_lost() {
    let temporary = tempfile::tempdir().unwrap();
    {
        let journal = open(temporary.path(), Options::default());
        append(&journal, 1..=5).await;
    }
    let folder = temporary.path().join("journal");
    let damaged = rusqlite::Connection::open(&partition::list(&folder).unwrap()[0].path).unwrap();
    damaged.execute_batch("DELETE FROM record WHERE seq = 5").unwrap();
    drop(damaged);
    let journal = open(temporary.path(), Options::default());
    let seq = journal.append(record("new"), |_| {}).await.await.unwrap();
    assert!(seq > 250_000, "{seq}");
    let items = journal.reader().read(5, Limits::default()).unwrap();
    assert_eq!(items, [Item::Damaged(5..=seq - 1)], "and the stretch between is told");
}

#[tokio::test]
async fn a_large_partition_is_not_written_to_again_after_a_start() {
    let temporary = tempfile::tempdir().unwrap();
    let big = Arc::new(Record { raw: vec![1; 9 << 20], ..Record::default() });
    for seq in 1..=3 {
        let journal = open(temporary.path(), Options::default());
        assert_eq!(journal.append(Arc::clone(&big), |_| {}).await.await, Ok(seq));
    }
    let names = partition::list(&temporary.path().join("journal")).unwrap();
    let firsts: Vec<u64> = names.iter().map(|name| name.first).collect();
    assert_eq!(firsts, [1, 3], "two of them are more than is read through at a start");
    let items = open(temporary.path(), Options::default()).reader().read(1, Limits::default()).unwrap();
    assert!(matches!(items[..], [Item::Record(1, _), Item::Record(2, _)]));
}

#[tokio::test]
async fn a_destroyed_partition_is_one_damaged_stretch() {
    let temporary = tempfile::tempdir().unwrap();
    {
        let journal = open(temporary.path(), small());
        append(&journal, 1..=10).await;
    }
    let names = partition::list(&temporary.path().join("journal")).unwrap();
    std::fs::write(&names[0].path, vec![0x55; 8192]).unwrap();
    let journal = open(temporary.path(), small());
    let items = journal.reader().read(1, Limits::default()).unwrap();
    assert_eq!(items, [Item::Damaged(1..=names[1].first - 1)]);
}

#[tokio::test]
async fn every_byte_counts_a_torn_log_gives_back_a_prefix() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path(), Options::default());
    append(&journal, 1..=5).await;
    let folder = temporary.path().join("journal");
    let name = partition::list(&folder).unwrap().remove(0).path;
    let log = std::fs::read(format!("{}-wal", name.display())).unwrap();
    let file = std::fs::read(&name).unwrap();
    for cut in (0..log.len()).step_by(997) {
        let copy = tempfile::tempdir().unwrap();
        let there = copy.path().join("journal");
        std::fs::create_dir(&there).unwrap();
        let path = there.join(name.file_name().unwrap());
        std::fs::write(&path, &file).unwrap();
        std::fs::write(format!("{}-wal", path.display()), &log[..cut]).unwrap();
        let torn = open(copy.path(), Options::default());
        let head = u32::try_from(*torn.head().borrow()).unwrap();
        assert_eq!(read_all(&torn, 1, Limits::default()), numbers(1..=head), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_failed_write_stops_the_journal_and_a_full_disk_does_not() {
    let temporary = tempfile::tempdir().unwrap();
    let journal = open(temporary.path(), Options::default());
    append(&journal, 1..=1).await;
    let folder = temporary.path().join("journal");
    // Somebody else's hands in our file: the next insert breaks on its number.
    rusqlite::Connection::open(partition::list(&folder).unwrap().remove(0).path)
        .unwrap()
        .execute_batch("INSERT INTO record SELECT 2, received_ms, facets, raw, ack, crc FROM record")
        .unwrap();
    assert!(matches!(append(&journal, 2..=3).await[..], [Err(AppendError::Stopped(_)), Err(AppendError::Stopped(_))]));
    assert!(matches!(*journal.health().borrow(), Health::Failed(_)));
    assert_eq!(*journal.head().borrow(), 1);

    let other = tempfile::tempdir().unwrap();
    let mut partition = Partition::open(other.path(), 1, Durability::Fsync).unwrap();
    partition.connection().execute_batch("PRAGMA max_page_count = 4").unwrap();
    let big = Arc::new(Record { raw: vec![1; 100_000], ..Record::default() });
    assert!(partition.append(std::slice::from_ref(&big)).unwrap_err().is_full());
    partition.connection().execute_batch("PRAGMA max_page_count = 4000").unwrap();
    partition.append(&[big]).unwrap();
    assert_eq!(partition.next(), 2);
}
