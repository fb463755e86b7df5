//! What the journal promises, tried on many files: torn ends, flipped bits, and histories against a model.
//!
//! Quick forms; longer ones by `HANDOFF_TORN` (step in bytes, 97), `HANDOFF_FLIPS` (how many, 300) and `PROPTEST_CASES` (2000).
use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// In memory where the system has such a folder: thousands of journals are made here.
fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A record of its number, of many sizes: some fill pages of their own.
fn record(seq: u64) -> Record {
    let size = [20, 300, 900, 5000][usize::try_from(seq % 4).unwrap()];
    let raw = format!("record {seq} ").bytes().cycle().take(size).collect();
    Record { received_ms: seq.cast_signed(), facets: vec![7; 40], raw, ack: b"MSA|AA".to_vec() }
}

/// Nothing is synced: these files are for reading back at once.
fn options(partition_records_max: u64) -> Options {
    Options { durability: Durability::Memory, partition_records_max, batch_records_max: 4, ..Options::default() }
}

fn open(data: &Path, options: Options) -> Result<Journal, Error> {
    Journal::open(&Arc::new(Directory::open(data).unwrap()), options)
}

fn append(journal: &Journal, seqs: std::ops::RangeInclusive<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for seq in seqs {
            assert_eq!(journal.append(Arc::new(record(seq)), |_| {}).await.await, Ok(seq));
        }
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("journal")).unwrap();
    fs::copy(from.join("format"), to.join("format")).unwrap();
    for entry in fs::read_dir(from.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        // The shared index of the log is made anew by whoever opens it after a crash.
        if !path.to_str().unwrap().ends_with("-shm") {
            fs::copy(&path, to.join("journal").join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// What a journal gives back of the numbers up to `last`.
#[derive(Debug, PartialEq)]
struct Found {
    head: u64,
    read: Vec<u64>,
    told: Vec<u64>,
}

/// Opens and reads a journal; panics when anything comes back that was not written, or out of order, or twice.
fn recovered(data: &Path, last: u64) -> Result<Found, Error> {
    let journal = open(data, options(6))?;
    let (mut reader, mut from) = (journal.reader(), 1);
    let mut found = Found { head: *journal.head().borrow(), read: Vec::new(), told: Vec::new() };
    loop {
        let items = reader.read(from, Limits { records_max: 3, ..Limits::default() })?;
        let Some(end) = items.last() else { break };
        let after = end.next();
        for item in items {
            match item {
                Item::Record(seq, read) => {
                    assert_eq!((seq, &read), (from, &record(seq)), "what is read is what was written, in order");
                    found.read.push(seq);
                    from = seq + 1;
                }
                Item::Damaged(seqs) => {
                    assert_eq!(*seqs.start(), from, "without a gap");
                    found.told.extend(from..=(*seqs.end()).min(last));
                    from = seqs.end() + 1;
                }
            }
        }
        assert_eq!(from, after);
    }
    // What is written now gets a number that no record ever had, and comes back.
    let next = found.head + 1;
    append(&journal, next..=next);
    let items = journal.reader().read(next, Limits::default())?;
    assert_eq!(items, [Item::Record(next, record(next))]);
    Ok(found)
}

/// Every place of the last 64 KiB of the newest partition, or of its log, damaged in three ways.
#[test]
fn a_torn_end_gives_back_a_prefix_or_is_told() {
    const LAST: u64 = 20;
    let step = number("HANDOFF_TORN", 97);
    let whole = place();
    let journal = open(whole.path(), options(1000)).unwrap();
    append(&journal, 1..=LAST);
    // As kill -9 leaves it: all of it in the log. And as a stop leaves it: all of it in the file.
    let killed = place();
    copy(whole.path(), killed.path());
    drop(journal);
    let torn = place();
    for (from, name, is_log) in
        [(killed.path(), "00000000000000000001.sqlite-wal", true), (whole.path(), "00000000000000000001.sqlite", false)]
    {
        let bytes = fs::read(from.join("journal").join(name)).unwrap();
        for at in (bytes.len().saturating_sub(64 << 10)..bytes.len()).step_by(step) {
            let garbage: Vec<u8> = (at..bytes.len()).map(|at| (at * 31 % 251) as u8).collect();
            for end in [Vec::new(), vec![0; bytes.len() - at], garbage] {
                let data = torn.path().join("data");
                let _ = fs::remove_dir_all(&data);
                copy(from, &data);
                fs::write(data.join("journal").join(name), [&bytes[..at], &end].concat()).unwrap();
                let found = recovered(&data, LAST).unwrap_or_else(|error| panic!("{name} at {at}: {error}"));
                if is_log {
                    let prefix: Vec<u64> = (1..=found.head).collect();
                    assert_eq!((&found.read, found.told.len()), (&prefix, 0), "{name} at {at}");
                } else {
                    let mut all = [found.read, found.told].concat();
                    all.sort_unstable();
                    assert_eq!(all, (1..=LAST).collect::<Vec<_>>(), "{name} at {at}: all are read or told");
                }
            }
        }
    }
}

/// Bits anywhere in the files of a journal that was stopped in good order.
#[test]
fn a_flipped_bit_is_never_silently_wrong() {
    const LAST: u64 = 20;
    let whole = place();
    append(&open(whole.path(), options(6)).unwrap(), 1..=LAST);
    let names = partition::list(&whole.path().join("journal")).unwrap();
    assert!(names.len() >= 3);
    let (mut random, mut changed) = (0x9E37_79B9_7F4A_7C15_u64, 0);
    let data = place();
    for flip in 0..number("HANDOFF_FLIPS", 300) {
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below as u64).unwrap()
        };
        let name = &names[flip % names.len()];
        let mut bytes = fs::read(&name.path).unwrap();
        let (at, bit) = (next(bytes.len()), next(8));
        bytes[at] ^= 1 << bit;
        let path = data.path().join("data");
        let _ = fs::remove_dir_all(&path);
        copy(whole.path(), &path);
        fs::write(path.join("journal").join(name.path.file_name().unwrap()), bytes).unwrap();
        let found =
            recovered(&path, LAST).unwrap_or_else(|error| panic!("bit {bit} at {at} of {}: {error}", name.first));
        let following = names.iter().map(|other| other.first).find(|first| *first > name.first);
        let own = name.first..following.unwrap_or(LAST + 1);
        assert!(
            found.told.iter().all(|seq| own.contains(seq)),
            "one partition: {found:?}, bit {bit} at {at} of {own:?}"
        );
        let mut all = [found.read, found.told.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=LAST).collect::<Vec<_>>(), "all are read or told: bit {bit} at {at} of {own:?}");
        changed += usize::from(!found.told.is_empty());
    }
    assert!(changed > 0, "some flips did hit a record");
}

#[derive(Debug, Clone)]
enum Act {
    Append(u8),
    /// Stops, and starts again.
    Restart,
    /// Starts from what is on disk while the process still runs.
    Crash,
    /// Before this share of what there is, in tenths.
    Prune(u8),
    /// From this share on, so many at once.
    Replay(u8, u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..9_u8).prop_map(Act::Append),
        1 => Just(Act::Restart),
        1 => Just(Act::Crash),
        2 => (0..12_u8).prop_map(Act::Prune),
        4 => (0..12_u8, 1..6_u8).prop_map(|(from, most)| Act::Replay(from, most)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(number("PROPTEST_CASES", 2000)).unwrap(), failure_persistence: None, ..ProptestConfig::default()
    })]

    /// The model is two numbers: the first record that is kept and the last that was acknowledged.
    #[test]
    fn any_history_equals_the_model(acts in prop::collection::vec(act(), 1..12), records_max in 1..9_u64) {
        let mut folder = place();
        let mut journal = Some(open(folder.path(), options(records_max)).unwrap());
        let (mut first, mut last) = (1, 0);
        for act in acts {
            let share = |tenths: u8| first + (last + 1 - first) * u64::from(tenths) / 10;
            match act {
                Act::Append(count) => {
                    append(journal.as_ref().unwrap(), last + 1..=last + u64::from(count));
                    last += u64::from(count);
                }
                Act::Restart => {
                    drop(journal.take());
                    journal = Some(open(folder.path(), options(records_max)).unwrap());
                }
                Act::Crash => {
                    let other = place();
                    copy(folder.path(), other.path());
                    journal = Some(open(other.path(), options(records_max)).unwrap());
                    folder = other;
                }
                Act::Prune(tenths) => {
                    let before = share(tenths);
                    let removed = journal.as_ref().unwrap().prune(before).unwrap();
                    first += removed;
                    prop_assert!(first <= before.max(first - removed), "nothing from {before} on: now from {first}");
                    // A partition holds at most its limit and one batch: so much may stay of what may go.
                    prop_assert!(before.min(last + 1) < first + records_max + 4, "{before} {first}");
                }
                Act::Replay(tenths, most) => {
                    let from = share(tenths).min(last + 1);
                    let mut reader = journal.as_ref().unwrap().reader();
                    let mut next = from;
                    loop {
                        let limits = Limits { records_max: usize::from(most), ..Limits::default() };
                        let items = reader.read(next, limits).unwrap();
                        if items.is_empty() {
                            break;
                        }
                        for item in items {
                            prop_assert_eq!(item, Item::Record(next, record(next)));
                            next += 1;
                        }
                    }
                    prop_assert_eq!(next, last + 1);
                    if first > 1 {
                        let early = reader.read(first - 1, Limits::default());
                        prop_assert!(matches!(early, Err(Error::Pruned { .. })), "{early:?}");
                    }
                }
            }
            prop_assert_eq!(*journal.as_ref().unwrap().head().borrow(), last);
        }
    }
}
