//! Tests of the index of duplicates against a real journal.
use super::*;
use crate::facets::Outcome;
use crate::journal::{Directory, Durability, Options as JournalOptions, Receipt, Retention};
use std::collections::BTreeMap;

const NOW_MS: i64 = 1_700_000_000_000;

fn small() -> Options {
    Options { table_records_max: 100, ..Options::default() }
}

/// A data directory with its journal and index.
struct Store {
    path: PathBuf,
    journal: Arc<Journal>,
    duplicates: Duplicates,
}

impl Store {
    fn open(path: &Path, options: Options) -> Store {
        Store::with_partitions(path, options, 20_000)
    }

    fn with_partitions(path: &Path, options: Options, partition_records_max: u64) -> Store {
        let directory = Arc::new(Directory::open(path).unwrap());
        let limits = JournalOptions { durability: Durability::Os, partition_records_max, ..JournalOptions::default() };
        let journal = Arc::new(Journal::open(&directory, limits).unwrap());
        let duplicates = Duplicates::open(path, &journal, options, NOW_MS).unwrap();
        Store { path: path.to_owned(), journal, duplicates }
    }

    fn reopen(self, options: Options) -> Store {
        let path = self.path.clone();
        self.settle();
        drop(self);
        Store::open(&path, options)
    }

    /// Waits for the tables that are being written.
    fn settle(&self) {
        while !self.duplicates.shared.lock().frozen.is_empty() {
            std::thread::yield_now();
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.settle();
        let mut files: Vec<_> =
            std::fs::read_dir(self.path.join("duplicates")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// As the intake does it; a message of a key that is not new is stored all the same.
    async fn take(&self, message: &Message) -> Took {
        let record = message.record();
        let print = Fingerprint::of_record(&record).unwrap();
        let (reservation, suspects) = match self.duplicates.look(print, false) {
            Look::Twin(waiting) => return Took::Twin(waiting),
            Look::Ours(reservation, suspects) => (reservation, suspects),
        };
        let oldest_ms = NOW_MS - millis(self.duplicates.shared.options.window);
        match self.duplicates.judge(&self.journal, print, suspects, oldest_ms).await {
            Verdict::Known(seq, record) => {
                reservation.known(seq, &record);
                Took::Known(seq, record)
            }
            Verdict::New { reused } => {
                let (record, kept) = (Arc::new(record.clone()), Arc::new(record));
                let receipt = self.journal.append(record, move |seq| reservation.stored(seq, &kept)).await;
                Took::New { reused, receipt }
            }
        }
    }

    /// The number under which it stands, and whether it came before, or its key did.
    async fn outcome(&self, message: &Message) -> (u64, &'static str) {
        match self.take(message).await {
            Took::Twin(waiting) => (waiting.await.unwrap().0, "twin"),
            Took::Known(seq, record) => {
                assert_eq!(record.ack, message.record().ack, "the acknowledgement of then");
                (seq, "known")
            }
            Took::New { reused, receipt } => (receipt.await.unwrap(), if reused { "reused" } else { "new" }),
        }
    }
}

enum Took {
    Twin(oneshot::Receiver<(u64, Arc<Record>)>),
    Known(u64, Arc<Record>),
    New { reused: bool, receipt: Receipt },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    key: u32,
    content: u32,
    received_ms: i64,
}

fn message(key: u32, content: u32) -> Message {
    Message { key, content, received_ms: NOW_MS }
}

impl Message {
    fn record(&self) -> Record {
        let raw = format!("MSH|^~\\&|A|B|C|D|{}||ADT^A01|{}|P|2.5\rPID|{}\r", self.received_ms, self.key, self.content);
        let mut index = Index::default();
        index.parse(raw.as_bytes()).unwrap();
        let mut facets = Vec::new();
        let mut read = Facets::of(raw.as_bytes(), Some(index.message(raw.as_bytes())), b"adt", self.received_ms);
        read.outcome = Outcome::Received;
        read.encode(&mut facets);
        let ack = format!("{} {}", self.key, self.content).into_bytes();
        Record { received_ms: self.received_ms, facets, raw: raw.into_bytes(), ack }
    }
}

#[tokio::test]
async fn the_same_message_is_known_in_memory_in_a_file_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), small());
    for number in 0..950 {
        assert_eq!(store.outcome(&message(number, 1)).await, (u64::from(number) + 1, "new"));
    }
    for restarted in [false, true] {
        if restarted {
            store = store.reopen(small());
        }
        assert_eq!(store.files().len(), 9, "nine full tables, and one that grows");
        for number in [0, 99, 100, 500, 899, 900, 949] {
            assert_eq!(store.outcome(&message(number, 1)).await, (u64::from(number) + 1, "known"), "{number}");
        }
    }
    assert_eq!(store.outcome(&message(5, 2)).await, (951, "reused"));
    assert_eq!(store.outcome(&message(5, 1)).await, (6, "known"), "the first one is not forgotten for it");
    assert_eq!(store.outcome(&message(5, 2)).await, (951, "known"));
    let later = Message { received_ms: NOW_MS + 5, ..message(5, 2) };
    assert_eq!(store.take(&later).await.seq(), Some(951), "MSH-7 does not count");
}

impl Took {
    fn seq(&self) -> Option<u64> {
        match self {
            Took::Known(seq, _) => Some(*seq),
            _ => None,
        }
    }
}

#[tokio::test]
async fn who_comes_while_the_first_is_stored_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small());
    let print = Fingerprint::of_record(&message(1, 1).record()).unwrap();
    let other = Fingerprint::of_record(&message(1, 2).record()).unwrap();
    let Look::Ours(first, suspects) = store.duplicates.look(print, false) else { panic!("it is the first") };
    assert!(suspects.are_none() && !suspects.reused);
    let (Look::Twin(second), Look::Twin(third)) =
        (store.duplicates.look(print, false), store.duplicates.look(print, false))
    else {
        panic!("it is being stored")
    };
    let Look::Ours(another, suspects) = store.duplicates.look(other, false) else { panic!("another message") };
    assert!(suspects.reused, "its key is in use");
    first.stored(1, &Arc::new(message(1, 1).record()));
    assert_eq!((second.await.unwrap().0, third.await.unwrap().0), (1, 1));
    let Look::Twin(fourth) = store.duplicates.look(other, false) else { panic!("it is being stored") };
    drop(another);
    assert!(fourth.await.is_err(), "it was not stored");
    assert!(matches!(store.duplicates.look(other, false), Look::Ours(..)), "and may be tried again");
    assert!(store.duplicates.shared.lock().pending_keys.is_empty(), "nothing stays behind");
}

#[tokio::test]
async fn files_that_are_damaged_or_gone_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small());
    for number in 0..520 {
        store.outcome(&message(number, 1)).await;
    }
    let files = store.files();
    let sound: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let mut damaged = sound[1].clone();
    damaged[60] ^= 1;
    std::fs::write(&files[1], damaged).unwrap();
    std::fs::remove_file(&files[3]).unwrap();
    std::fs::write(files[0].with_extension("new"), "half").unwrap();
    let store = store.reopen(small());
    assert_eq!(store.files(), files);
    assert!(files.iter().zip(&sound).all(|(file, sound)| std::fs::read(file).unwrap() == *sound));
    for number in 0..520 {
        assert_eq!(store.outcome(&message(number, 1)).await.1, "known", "{number}");
    }
    store.files().iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let store = store.reopen(small());
    for number in 0..520 {
        assert_eq!(store.outcome(&message(number, 1)).await.1, "known", "{number}");
    }
}

#[tokio::test]
async fn what_is_older_than_the_window_or_pruned_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { window: Duration::from_millis(1000), ..small() };
    let store = Store::with_partitions(folder.path(), options, 250);
    let at = |number: u32, age_ms: i64| Message { received_ms: NOW_MS - age_ms, ..message(number, 1) };
    for number in 0..300 {
        store.outcome(&at(number, if number < 250 { 5000 } else { 10 })).await;
    }
    assert_eq!(store.outcome(&at(3, 0)).await.1, "new", "too long ago");
    assert_eq!(store.outcome(&at(260, 0)).await.1, "known");
    let store = store.reopen(options);
    assert_eq!(store.files().len(), 1, "the other two are older than the window");
    assert_eq!(store.outcome(&at(260, 0)).await.1, "known");
    let keep = store.journal.keep_from(&Retention { age: Duration::ZERO, bytes: 0 }, NOW_MS).unwrap();
    store.journal.prune(keep).unwrap();
    assert!(keep > 250);
    assert_eq!(store.outcome(&at(249, 0)).await.1, "new", "its record is gone");
    assert_eq!(store.outcome(&at(260, 0)).await.1, "known");
}

#[tokio::test]
async fn there_is_a_limit_to_what_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { records_max: 250, ..small() };
    let store = Store::open(folder.path(), options);
    for number in 0..1000 {
        store.outcome(&message(number, 1)).await;
        store.settle();
    }
    assert_eq!(store.files().len(), 2);
    assert_eq!(store.outcome(&message(0, 1)).await.1, "new");
    assert_eq!(store.outcome(&message(950, 1)).await.1, "known");
    let store = store.reopen(options);
    assert!(store.files().len() <= 3);
    assert_eq!(store.outcome(&message(990, 1)).await.1, "known");
}

/// A hundred thousand messages and some that come again, as a simple model would have it; with restarts, and many on their way at the same time.
#[tokio::test]
async fn it_agrees_with_a_simple_model() {
    const MESSAGES: u32 = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { table_records_max: 4000, ..Options::default() };
    let mut store = Store::open(folder.path(), options);
    let mut seen: BTreeMap<u32, BTreeMap<u32, u64>> = BTreeMap::new();
    let (mut next, mut random) = (1, 88_172_645_463_325_252_u64);
    let mut receipts = Vec::new();
    let mut again = 0;
    for count in 0..MESSAGES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let message = message((random >> 20) as u32 % 150_000, (random >> 50) as u32 % 2);
        let contents = seen.entry(message.key).or_default();
        match (store.take(&message).await, contents.get(&message.content)) {
            (Took::Known(seq, _), Some(expected)) => {
                assert_eq!(seq, *expected);
                again += 1;
            }
            (Took::Twin(waiting), Some(expected)) => receipts.push((None, Some(waiting), *expected)),
            (Took::New { reused, receipt }, None) => {
                assert_eq!(reused, !contents.is_empty(), "message {count}");
                contents.insert(message.content, next);
                receipts.push((Some(receipt), None, next));
                next += 1;
            }
            (_, expected) => panic!("message {count}: {expected:?} was expected"),
        }
        if receipts.len() == 200 || count == MESSAGES - 1 {
            for (receipt, waiting, expected) in receipts.drain(..) {
                if let Some(receipt) = receipt {
                    assert_eq!(receipt.await, Ok(expected));
                }
                if let Some(waiting) = waiting {
                    assert_eq!(waiting.await.unwrap().0, expected);
                }
            }
        }
        if count % 30_000 == 29_999 {
            while let Some((receipt, _, _)) = receipts.pop() {
                if let Some(receipt) = receipt {
                    receipt.await.unwrap();
                }
            }
            store = store.reopen(options);
        }
    }
    assert!(again > 5_000 && store.files().len() > 10, "{again}");
}
