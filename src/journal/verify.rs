//! Reading everything once, to know that it can be read: on demand, or slowly in the background.
use super::partition::{self, Name, Source};
use super::{Directory, Error, State};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a partition is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its file.
    pub path: PathBuf,
    /// The numbers that it should hold; none when it is new.
    pub numbers: Option<RangeInclusive<u64>>,
    /// Records that were read and are what was written.
    pub sound: u64,
    /// Records that are there, and not what was written.
    pub damaged: Vec<RangeInclusive<u64>>,
    /// Records that are not there, or cannot be reached.
    pub missing: Vec<RangeInclusive<u64>>,
    /// What is wrong with the file itself.
    pub file: Option<String>,
}

impl Report {
    /// Whether everything is as it was written.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty() && self.file.is_none()
    }
}

/// Records read at once.
const RECORDS: usize = 256;
const BYTES: usize = 1 << 20;
/// Mistakes of one partition that are listed.
const RANGES_MAX: usize = 1000;

/// Reads every record of a data directory, partition after partition, and shows each report.
///
/// # Errors
/// Partitions that cannot be listed. Everything else stands in the reports.
pub fn verify(data: &Path, mut each: impl FnMut(&Report)) -> Result<(), Error> {
    let names = partition::list(&Directory::journal_of(data))?;
    for (at, name) in names.iter().enumerate() {
        let following = names.get(at + 1).map(|next| next.first);
        let mut report = read(name, following, &mut |_| ControlFlow::Continue(()));
        check_file(name, following.is_none(), &mut report);
        each(&report);
    }
    Ok(())
}

/// Reads a partition; `pace` is told the bytes that were read and may stop it.
fn read(name: &Name, following: Option<u64>, pace: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Report {
    let (path, numbers) = (name.path.clone(), None);
    let mut report = Report { path, numbers, sound: 0, damaged: Vec::new(), missing: Vec::new(), file: None };
    let mut next = name.first;
    let opened =
        Source::open(name).and_then(|source| Ok((following.map(|first| first - 1).max(source.last()?), source)));
    let (last, source) = match opened {
        Ok((last, source)) => (last, source),
        Err(error) => {
            report.file = Some(error.to_string());
            report.numbers = following.map(|first| next..=first - 1);
            report.missing.extend(report.numbers.clone());
            return report;
        }
    };
    // A row of a number that belongs elsewhere makes the partition longer than it may be: it is told below.
    let last = following.map(|first| first - 1).or(last).filter(|last| *last >= next);
    report.numbers = last.map(|last| next..=last);
    let Some(last) = last else { return report };
    while next <= last {
        let rows = match source.read(next, RECORDS, BYTES) {
            Ok(rows) => rows,
            Err(error) => {
                report.file = Some(error.to_string());
                break;
            }
        };
        let mut bytes = 0;
        for (seq, record) in rows.rows.into_iter().take_while(|(seq, _)| *seq <= last) {
            if seq > next {
                add(&mut report.missing, next..=seq - 1);
            }
            match record {
                Some(record) => {
                    report.sound += 1;
                    bytes += record.len();
                }
                None => add(&mut report.damaged, seq..=seq),
            }
            next = seq + 1;
        }
        if pace(bytes).is_break() {
            report.numbers = Some(name.first..=next - 1);
            return report;
        }
        if rows.exhausted {
            break;
        }
    }
    if next <= last {
        add(&mut report.missing, next..=last);
    }
    report
}

fn add(ranges: &mut Vec<RangeInclusive<u64>>, range: RangeInclusive<u64>) {
    match ranges.last_mut() {
        Some(before) if *before.end() + 1 == *range.start() => *before = *before.start()..=*range.end(),
        _ => ranges.push(range),
    }
    // The last one then covers all that follow: rather too much told than too little.
    if ranges.len() > RANGES_MAX
        && let (Some(last), Some(before)) = (ranges.pop(), ranges.last_mut())
    {
        *before = *before.start()..=*last.end();
    }
}

/// What SQLite finds wrong with the file, and rows that belong elsewhere.
fn check_file(name: &Name, grows: bool, report: &mut Report) {
    let found = Source::open(name).and_then(|source| source.check(report.numbers.clone(), grows));
    match found {
        Ok(None) => {}
        Ok(Some(wrong)) => report.file = report.file.take().or(Some(wrong)),
        Err(error) => report.file = report.file.take().or(Some(error.to_string())),
    }
}

/// Reads closed partitions in the background, slowly, each once a week. Dropping it stops it.
#[derive(Debug)]
pub struct Scrub {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Bytes read in a second.
const SCRUB_RATE: f64 = (4 << 20) as f64;
/// Between two readings of a partition.
const SCRUB_AGAIN_MS: i64 = 7 * 86_400_000;
/// Between looks for something to read.
const SCRUB_LOOK: Duration = Duration::from_secs(60);

impl Scrub {
    /// Begins; `now_ms` tells the time.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(data: &Path, state: Arc<State>, now_ms: fn() -> i64) -> std::io::Result<Scrub> {
        let (stop, stopped) = mpsc::channel();
        let folder = Directory::journal_of(data);
        let work = move || {
            // Of this thread only: everything else of the gateway goes first.
            let _ = rustix::process::setpriority_process(None, 10);
            loop {
                match scrub(&folder, &state, now_ms(), &stopped) {
                    Ok(reports) => reports.iter().for_each(tell),
                    Err(error) => tracing::warn!("the journal is not read through: {error}"),
                }
                if !matches!(stopped.recv_timeout(SCRUB_LOOK), Err(mpsc::RecvTimeoutError::Timeout)) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("scrub".into()).spawn(work)?;
        Ok(Scrub { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal is not read through any more: that thread panicked");
        }
    }
}

fn tell(report: &Report) {
    let Report { path, damaged, missing, file, .. } = report;
    tracing::error!(path = %path.display(), ?damaged, ?missing, file, "journal partition is damaged; see `handoff journal verify`");
}

/// Reads what is due, until it is told to stop; what is not sound.
fn scrub(folder: &Path, state: &State, now_ms: i64, stopped: &mpsc::Receiver<()>) -> Result<Vec<Report>, Error> {
    let names = partition::list(folder)?;
    let mut found = Vec::new();
    for pair in names.windows(2) {
        let due = state.scrubbed(pair[0].first)?.is_none_or(|at| now_ms.saturating_sub(at) >= SCRUB_AGAIN_MS);
        if !due || !pair[0].path.exists() {
            continue;
        }
        let mut cut = false;
        let report = read(&pair[0], Some(pair[1].first), &mut |bytes| {
            let pause = Duration::from_secs_f64(bytes as f64 / SCRUB_RATE);
            cut = !matches!(stopped.recv_timeout(pause), Err(mpsc::RecvTimeoutError::Timeout));
            if cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if cut {
            break;
        }
        // One that was pruned meanwhile is no damage.
        if !report.is_sound() && pair[0].path.exists() {
            found.push(report);
        }
        state.set_scrubbed(pair[0].first, now_ms, names[0].first)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, Options, Record};

    /// Three partitions: 1 to 4, 5 to 8, 9 to 10.
    fn three(data: &Path) {
        let directory = Arc::new(Directory::open(data).unwrap());
        let options = Options { partition_records_max: 4, batch_records_max: 1, ..Options::default() };
        let journal = Journal::open(&directory, options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for seq in 1..=10 {
            let record = Record { received_ms: seq, raw: vec![b'x'; 100], ..Record::default() };
            runtime.block_on(async { journal.append(Arc::new(record), |_| {}).await.await }).unwrap();
        }
    }

    fn change(data: &Path, first: u64, sql: &str) {
        let path = data.join(format!("journal/{first:020}.sqlite"));
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    fn reports(data: &Path) -> Vec<Report> {
        let mut found = Vec::new();
        verify(data, |report| found.push(report.clone())).unwrap();
        found
    }

    #[test]
    fn damaged_missing_and_strange_records_are_told_apart() {
        let data = tempfile::tempdir().unwrap();
        three(data.path());
        let sound = reports(data.path());
        assert!(sound.iter().all(Report::is_sound));
        let numbers: Vec<_> = sound.iter().map(|report| report.numbers.clone().unwrap()).collect();
        assert_eq!(numbers, [1..=4, 5..=8, 9..=10]);

        change(data.path(), 1, "UPDATE record SET raw = x'00' WHERE seq IN (1, 2); DELETE FROM record WHERE seq = 4");
        change(
            data.path(),
            5,
            "INSERT INTO record SELECT 77, received_ms, facets, raw, ack, crc FROM record WHERE seq = 5",
        );
        change(data.path(), 9, "UPDATE record SET received_ms = 0 WHERE seq = 10");
        let found = reports(data.path());
        assert_eq!((found[0].sound, &found[0].damaged[..], &found[0].missing[..]), (1, &[1..=2][..], &[4..=4][..]));
        assert_eq!((found[1].sound, found[1].file.as_deref()), (4, Some("1 records of numbers that belong elsewhere")));
        assert_eq!((found[2].sound, &found[2].damaged[..]), (1, &[10..=10][..]));

        std::fs::write(data.path().join("journal/00000000000000000005.sqlite"), [0x55; 5000]).unwrap();
        let found = reports(data.path());
        assert_eq!((found[1].sound, &found[1].missing[..]), (0, &[5..=8][..]));
        assert!(found[1].file.as_ref().is_some_and(|file| file.contains("not a database")), "{found:?}");
    }

    #[test]
    fn closed_partitions_are_read_once_a_week() {
        let data = tempfile::tempdir().unwrap();
        three(data.path());
        change(data.path(), 5, "UPDATE record SET raw = x'00' WHERE seq = 6");
        let folder = Directory::journal_of(data.path());
        let state = State::at(Directory::state_of(data.path())).unwrap();
        let (_stop, stopped) = mpsc::channel();
        let scrub = |now_ms| scrub(&folder, &state, now_ms, &stopped).unwrap();
        let found = scrub(1000);
        assert_eq!((found.len(), &found[0].damaged[..]), (1, &[6..=6][..]));
        assert_eq!(scrub(SCRUB_AGAIN_MS), [], "not before its time");
        assert_eq!(scrub(1000 + SCRUB_AGAIN_MS).len(), 1);
        let read = [1, 5, 9].map(|first| state.scrubbed(first).unwrap().is_some());
        assert_eq!(read, [true, true, false], "the one that grows is not read");
        std::fs::remove_file(folder.join("00000000000000000001.sqlite")).unwrap();
        scrub(1000 + 2 * SCRUB_AGAIN_MS);
        assert_eq!(state.scrubbed(1).unwrap(), None, "what is gone is forgotten");
    }

    #[test]
    fn it_stops_when_it_is_told() {
        let data = tempfile::tempdir().unwrap();
        three(data.path());
        let state = State::at(Directory::state_of(data.path())).unwrap();
        let (stop, stopped) = mpsc::channel();
        drop(stop);
        assert_eq!(scrub(&Directory::journal_of(data.path()), &state, 1000, &stopped).unwrap(), []);
        assert_eq!(state.scrubbed(1).unwrap(), None, "not read to its end");
    }
}
