//! Bytes that nobody would write, against everything that reads bytes of others: no panic, no hang, no output that is not JSON. Inputs are fixtures, bent by
//! chance; a failure prints the seed of its input. `HANDOFF_FUZZ_SECONDS` says how long each target is tried (2), `HANDOFF_FUZZ_SEED` where to begin.
use crate::fixtures;
use crate::twin::mutate::{Random, mutant};
use handoff::facets::Facets;
use handoff::hl7::{Index, ack};
use handoff::journal::{self, DeadLetter, Directory, Durability, Item, Journal, Limits, Record, State, Step};
use handoff::mapping::source::SourceFile;
use handoff::mapping::{Context, Plan, Scratch};
use handoff::mllp::decoder::{Decoder, Framing, Options};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls `one` with bent inputs until the time is over; how many it were.
fn try_all(target: &str, inputs: &[Vec<u8>], mut one: impl FnMut(&[u8], &mut Random)) {
    let setting = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().expect(name));
    let (seconds, seed) = (setting("HANDOFF_FUZZ_SECONDS", 2), setting("HANDOFF_FUZZ_SEED", 0) as usize);
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(seconds) || count < 20 {
        let mut random = Random::new(target, seed + count);
        let input = bend(&inputs[random.below(inputs.len())], inputs, &mut random);
        let (before, number) = (Instant::now(), seed + count);
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(&input, &mut random)));
        if let Err(panic) = tried {
            eprintln!("{target}: HANDOFF_FUZZ_SEED={number} repeats it first");
            std::panic::resume_unwind(panic);
        }
        // Linear in the input: the largest takes milliseconds; a loop without an end would take forever.
        assert!(before.elapsed() < Duration::from_secs(60), "{target}: seed {number} takes too long");
        count += 1;
    }
    eprintln!("{target}: {count} inputs in {seconds} s");
}

/// One to eight changes: bytes, runs of them, pieces of other inputs, lengths.
fn bend(input: &[u8], inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = if random.below(3) == 0 { mutant(input, random) } else { input.to_vec() };
    const ODD: &[u8] = b"|^~\\&\r\n\x0b\x1c\0\"\xff\x80\xc3{}[]=#'.$->,()0-";
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let scale = random.below(10);
        let run = random.below(1 << scale) + 1;
        let end = (at + run).min(bytes.len());
        match random.below(9) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, ODD[random.below(ODD.len())]),
            3 => bytes.splice(at..at, vec![ODD[random.below(ODD.len())]; run]).for_each(drop),
            4 => bytes.insert(at, random.below(256) as u8),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece).for_each(drop);
            }
            6 => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len());
                let piece = other[from..(from + run).min(other.len())].to_vec();
                bytes.splice(at..end, piece).for_each(drop);
            }
            _ if at < bytes.len() => bytes[at] = ODD[random.below(ODD.len())],
            _ => {}
        }
    }
    bytes
}

fn messages() -> Vec<Vec<u8>> {
    fixtures::fixtures().into_iter().map(|case| case.raw).collect()
}

#[test]
fn frames_are_the_same_however_the_bytes_arrive() {
    let framed: Vec<Vec<u8>> = messages()
        .iter()
        .map(|message| {
            let mut out = Vec::new();
            handoff::mllp::frame(message, &mut out);
            handoff::mllp::frame(b"MSH|^~\\&|A", &mut out);
            out
        })
        .collect();
    let decode = |bytes: &[u8], options: Options, piece: &mut dyn FnMut() -> usize| {
        let (mut decoder, mut events, mut rest) = (Decoder::new(options), Vec::new(), bytes);
        let end = 'all: loop {
            let (mut now, later) = rest.split_at(piece().clamp(1, rest.len().max(1)).min(rest.len()));
            rest = later;
            loop {
                match decoder.decode(&mut now) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(violation) => break 'all Some(violation),
                }
            }
            if rest.is_empty() {
                break None;
            }
        };
        // How much of a stream that is no MLLP has been seen when that shows depends on how it arrives.
        let partial = decoder.partial_bytes().filter(|_| end.is_none());
        (events, end.map(|violation| std::mem::discriminant(&violation)), partial)
    };
    try_all("framing", &framed, |bytes, random| {
        for framing in [Framing::Strict, Framing::Lenient] {
            let options = Options { framing, frame_bytes_max: 5000, ..Options::default() };
            let whole = decode(bytes, options, &mut || usize::MAX);
            let pieces = decode(bytes, options, &mut || 1 + random.below(40));
            assert!(whole == pieces, "{framing:?}");
        }
    });
}

#[test]
fn any_bytes_are_translated_or_refused_and_acknowledged() {
    let plan = fixtures::plan();
    let (mut index, mut scratch) = (Index::new(), Scratch::new());
    let mut largest = 0f64;
    try_all("translator", &messages(), |raw, _| {
        let parsed = index.parse(raw).is_ok();
        let message = parsed.then(|| index.message(raw));
        let facets = Facets::of(raw, message, b"fuzz", 0);
        let mut encoded = Vec::new();
        facets.encode(&mut encoded);
        assert_eq!(Facets::decode(&encoded).map(|decoded| decoded.message_id), Some(facets.message_id));
        let mut out = Vec::new();
        let stamp = ack::Stamp { time: "20240102030405", control_id: "H1" };
        let error = ack::Error { code: 207, location: Some((*b"PID", 1, 3)), component: 2, text: "why | what ^ do" };
        let reply = ack::Reply { code: ack::Code::ApplicationError, errors: &[error], sequence: Some(7), commit: true };
        ack::write(message, reply, stamp, &mut out);
        let mut written = Index::new();
        written.parse(&out).expect("an acknowledgement can be read");
        assert!(!out.contains(&0x0b) && !out.contains(&0x1c), "it fits in a frame");
        if plan.translate(raw, &Context { received_at: Some("2026-01-02T03:04:05Z") }, &mut scratch).is_ok() {
            let bundle = scratch.bundle();
            serde_json::from_slice::<serde::de::IgnoredAny>(bundle).expect("JSON");
            std::str::from_utf8(bundle).expect("UTF-8");
            assert!(bundle.len() <= raw.len() * 32 + (64 << 10), "{} bytes of {}", bundle.len(), raw.len());
            largest = largest.max(bundle.len() as f64 / raw.len() as f64);
        }
    });
    eprintln!("translator: at most {largest:.1} times as large");
}

#[test]
fn any_mapping_file_is_read_or_explained() {
    let files = Plan::embedded_files();
    // One file of a few kinds at a time, beside the few that every plan needs.
    let small: Vec<&SourceFile> = files.iter().filter(|file| (200..6000).contains(&file.text.len())).collect();
    let inputs: Vec<Vec<u8>> = small.iter().map(|file| file.text.clone().into_bytes()).collect();
    try_all("mapping loader", &inputs, |bytes, random| {
        let name = small[random.below(small.len())].name.clone();
        let text = String::from_utf8_lossy(bytes).into_owned();
        let other = small[random.below(small.len())].clone();
        match Plan::load(vec![SourceFile { name, text, ..SourceFile::default() }, other]) {
            Ok((_, diagnostics)) => assert!(!diagnostics.has_errors()),
            Err((sources, diagnostics)) => {
                assert!(diagnostics.has_errors());
                for diagnostic in diagnostics.sorted() {
                    assert!(!diagnostic.render(&sources).is_empty());
                }
            }
        }
    });
}

#[test]
fn any_configuration_is_read_or_explained() {
    let example = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/config/handoff.toml")).unwrap();
    let other = b"[[listener]]\nname = \"a\"\nmllp = \"127.0.0.1:1\"\nallow = [\"10.0.0.0/8\"]\nidle_timeout = \"1h\"\n[[route]]\nname = \"r\"\nfilter = \"MSH-9.1 in (ADT, ORU)\"\nto = { fhir = \"https://a.example\", bundle = \"batch\" }\nretry = { first = \"1s\" }\n".to_vec();
    try_all("configuration", &[example, other], |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        if let Err(problems) = handoff::config::Config::parse(&text, std::path::Path::new("/x/handoff.toml"), &|_| None)
        {
            assert!(!problems.problems.is_empty() && !problems.to_string().is_empty());
        }
    });
}

const FIRST: &str = "journal/00000000000000000001.sqlite";
const KEPT: u64 = 24;

/// Messages of fixtures, some with a tail that fills pages of its own.
fn record(seq: u64, messages: &[Vec<u8>]) -> Record {
    let mut raw = messages[usize::try_from(seq).unwrap() % messages.len()].clone();
    raw.extend(std::iter::repeat_n(b'x', usize::try_from(seq % 3).unwrap() * 3000));
    Record { received_ms: seq.cast_signed(), facets: vec![7; 40], raw, ack: b"MSA|AA".to_vec() }
}

fn append(journal: &Journal, seq: u64, record: Record) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime
        .block_on(async { journal.append(Arc::new(record), |_| {}).await.await.map_err(|error| error.to_string()) })?;
    Ok(seq)
}

/// The files of a data directory as kill -9 leaves them (all records in the log), and as a stop does (all in the partition), by their names.
fn journals(messages: &[Vec<u8>]) -> Vec<Vec<(String, Vec<u8>)>> {
    let folder = tempfile::tempdir().unwrap();
    let directory = Arc::new(Directory::open(folder.path()).unwrap());
    let state = State::open(&directory).unwrap();
    state.register("ehr", 1).unwrap();
    let letter = DeadLetter { seq: 3, last: 3, at_ms: 5, attempts: 2, reason: "refused".into() };
    let step = Step { cursor: 5, ahead: 9, parked: vec![5, 7], given_up: vec![letter], ..Step::default() };
    state.advance("ehr", &step).unwrap();
    let options = journal::Options { durability: Durability::Memory, ..journal::Options::default() };
    let journal = Journal::open(&directory, options).unwrap();
    for seq in 1..=KEPT {
        append(&journal, seq, record(seq, messages)).unwrap();
    }
    let read = || {
        let names = ["format".to_owned(), FIRST.to_owned(), format!("{FIRST}-wal"), "state.sqlite".to_owned()];
        let files =
            names.into_iter().filter_map(|name| Some((name.clone(), std::fs::read(folder.path().join(name)).ok()?)));
        files.collect::<Vec<_>>()
    };
    let killed = read();
    drop((journal, state));
    let stopped = read();
    assert!(killed.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()));
    vec![killed, stopped]
}

/// Whatever stands in the files of a data directory: it opens or says why not, gives back what was written or tells what is damaged, and goes on with numbers of its own.
#[test]
fn any_journal_is_opened_or_refused_and_never_silently_wrong() {
    let messages = messages();
    let journals = journals(&messages);
    let inputs: Vec<Vec<u8>> =
        journals.iter().flatten().filter(|(name, _)| name != "format").map(|(_, bytes)| bytes.clone()).collect();
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let (mut opened, mut whole) = (0_u32, 0_u32);
    try_all("journal", &inputs, |bytes, random| {
        let data = place.path().join("data");
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(data.join("journal")).unwrap();
        let files = &journals[random.below(journals.len())];
        for (name, content) in files {
            std::fs::write(data.join(name), content).unwrap();
        }
        // In the place of the partition, of its log, of the state, or of a newer partition.
        let names = [FIRST.to_owned(), format!("{FIRST}-wal"), "state.sqlite".to_owned(), FIRST.replace("01.", "25.")];
        std::fs::write(data.join(&names[random.below(names.len())]), bytes).unwrap();
        let directory = Arc::new(Directory::open(&data).unwrap());
        if let Ok(state) = State::open(&directory) {
            let _ = (state.position("ehr"), state.dead_letters("ehr"), state.wanted_from(&["ehr".into()]));
        }
        let options = journal::Options { durability: Durability::Memory, ..journal::Options::default() };
        let Ok(journal) = Journal::open(&directory, options) else { return };
        opened += 1;
        let (mut reader, mut from, mut read) = (journal.reader(), 1, 0);
        let head = *journal.head().borrow();
        while let Ok(items) = reader.read(from, Limits { records_max: 5, ..Limits::default() }) {
            let Some(last) = items.last() else { break };
            assert!(last.next() > from, "it goes on");
            for item in items {
                if let Item::Record(seq, found) = &item {
                    assert!(*seq >= from && *seq <= head, "in order, and known");
                    assert_eq!(found, &record(*seq, &messages), "what is read is what was written");
                    read += 1;
                }
                from = item.next();
            }
        }
        whole += u32::from(read == KEPT);
        if append(&journal, head + 1, record(head + 1, &messages)).is_ok() {
            let items = journal.reader().read(head + 1, Limits::default()).unwrap();
            assert_eq!(items, [Item::Record(head + 1, record(head + 1, &messages))]);
        }
    });
    eprintln!("journal: {opened} were opened, {whole} with all records");
    assert!(opened > 0);
}
