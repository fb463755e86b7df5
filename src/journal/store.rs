//! The writer: one thread, whole batches, one sync each.
use super::partition::{self, Partition};
use super::reader::Reader;
use super::record::Record;
use super::{AppendError, Directory, Error, Options};
use crate::telemetry::{Gauge, JournalMeter, telemetry};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// The journal. Dropping it writes what is queued and closes the files.
#[derive(Debug)]
pub struct Journal {
    queue: Option<mpsc::Sender<Append>>,
    room: Arc<Semaphore>,
    head: watch::Receiver<u64>,
    health: watch::Receiver<Health>,
    folder: PathBuf,
    options: Options,
    writer: Mutex<Option<JoinHandle<()>>>,
    meter: JournalMeter,
    _directory: Arc<Directory>,
}

/// Whether the journal takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// The disk is full; it tries again with every record.
    Full,
    /// A write or sync failed: it takes no more.
    Failed(String),
}

/// The number of an appended record, once it is durable.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<u64, AppendError>>);

impl Future for Receipt {
    type Output = Result<u64, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(stopped())))
    }
}

/// A record on its way to the writer.
struct Append {
    record: Arc<Record>,
    durable: Box<dyn FnOnce(u64) + Send>,
    answer: oneshot::Sender<Result<u64, AppendError>>,
    _room: OwnedSemaphorePermit,
    _place: Waiting,
}

/// One record more in the queue; leaves the count when dropped, wherever that is.
struct Waiting(Gauge);

impl Waiting {
    fn enter(meter: &JournalMeter) -> Waiting {
        meter.queue.inc();
        Waiting(meter.queue.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Room in the queue is counted in units of this many bytes.
const ROOM_BYTES: usize = 1024;

impl Journal {
    /// Opens the journal of a data directory and starts its writer.
    ///
    /// # Errors
    /// A partition that cannot be listed or opened. A torn end was repaired by then; a damaged partition is left as it is, and a new one begun.
    pub fn open(directory: &Arc<Directory>, options: Options) -> Result<Journal, Error> {
        let folder = directory.journal();
        let first = partition::list(&folder)?.last().map_or(1, |name| name.first);
        let partition = open_newest(&folder, first, &options)?;
        let (head_sender, head) = watch::channel(partition.next() - 1);
        let (health_sender, health) = watch::channel(Health::Ready);
        let (queue, appends) = mpsc::channel(options.queue_records_max.max(1));
        let meter = telemetry().journal();
        let writer = Writer {
            partition,
            folder: folder.clone(),
            options,
            head: head_sender,
            health: health_sender,
            meter: meter.clone(),
        };
        let spawned = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(appends))
            .map_err(Error::file(&folder))?;
        let room = Arc::new(Semaphore::new(room_units(options.queue_bytes_max)));
        Ok(Journal {
            queue: Some(queue),
            room,
            head,
            health,
            folder,
            options,
            writer: Mutex::new(Some(spawned)),
            meter,
            _directory: Arc::clone(directory),
        })
    }

    /// Queues a record, waiting for room, and returns the receipt to come. Records queued by one task keep their order.
    ///
    /// `durable` runs on the writer's thread in the order of the numbers, after the sync and before any reader is woken; it must be short.
    pub async fn append(&self, record: Arc<Record>, durable: impl FnOnce(u64) + Send + 'static) -> Receipt {
        let (answer, receipt) = oneshot::channel();
        let units = room_units(record.len()).min(room_units(self.options.queue_bytes_max));
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await;
        match (room, &self.queue) {
            (Ok(room), Some(queue)) => {
                let place = Waiting::enter(&self.meter);
                // When the writer is gone the sender of the answer is dropped with the message, which the receipt reports.
                let _ =
                    queue.send(Append { record, durable: Box::new(durable), answer, _room: room, _place: place }).await;
            }
            _ => drop(answer),
        }
        Receipt(receipt)
    }

    /// A reader of its own.
    pub fn reader(&self) -> Reader {
        Reader::new(self.folder.clone(), self.head.clone())
    }

    /// The last durable number, 0 when there is none; changes wake readers.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    /// Whether it takes records.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes partitions all of whose records come before `before`. Who calls this must ask the cursors first.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn prune(&self, before: u64) -> Result<u64, Error> {
        let names = partition::list(&self.folder)?;
        let mut removed = 0;
        for pair in names.windows(2).filter(|pair| pair[1].first <= before) {
            for suffix in ["", "-wal", "-shm"] {
                let mut path = pair[0].path.clone().into_os_string();
                path.push(suffix);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::file(&pair[0].path)(error));
                    }
                    _ => {}
                }
            }
            removed += pair[1].first - pair[0].first;
        }
        super::directory::sync(&self.folder).map_err(Error::file(&self.folder))?;
        Ok(removed)
    }
}

/// The partition that grows. Where it is damaged, nobody knows which numbers it has given: the new one begins beyond all that it can have given, and readers are told
/// of the stretch between.
fn open_newest(folder: &Path, first: u64, options: &Options) -> Result<Partition, Error> {
    let opened = Partition::open(folder, first, options.durability);
    let why = match opened {
        Ok(partition) if partition.ends_soundly() && partition.is_checked() => return Ok(partition),
        Ok(partition) if partition.ends_soundly() => {
            let next = Partition::open(folder, partition.next(), options.durability)?;
            partition.close();
            return Ok(next);
        }
        Ok(_) => "its last record is not what was written".to_owned(),
        Err(error) if error.is_damage() => error.to_string(),
        Err(error) => return Err(error),
    };
    // Earlier versions may have been given other limits, never larger ones than these.
    let records = options.partition_records_max.max(Options::default().partition_records_max);
    let next = first + records + options.batch_records_max as u64;
    tracing::error!(first, next, "the newest partition of the journal is damaged, a new one is begun: {why}");
    Partition::open(folder, next, options.durability)
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer panicked");
        }
    }
}

struct Writer {
    partition: Partition,
    folder: PathBuf,
    options: Options,
    head: watch::Sender<u64>,
    health: watch::Sender<Health>,
    meter: JournalMeter,
}

impl Writer {
    fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        let mut batch = Vec::new();
        loop {
            if appends.blocking_recv_many(&mut batch, self.options.batch_records_max.max(1)) == 0 {
                self.partition.close();
                return;
            }
            match self.write(&batch) {
                Ok(first) => self.confirm(first, &mut batch),
                Err(error) if error.is_full() => {
                    tracing::error!("nothing is accepted: the disk is full: {error}");
                    self.health.send_replace(Health::Full);
                    refuse(&mut batch, &AppendError::Full);
                }
                Err(error) => {
                    tracing::error!("nothing is accepted any more: the journal failed: {error}");
                    self.health.send_replace(Health::Failed(error.to_string()));
                    let reason = AppendError::Stopped(error.to_string());
                    refuse(&mut batch, &reason);
                    appends.close();
                    while appends.blocking_recv_many(&mut batch, usize::MAX >> 1) > 0 {
                        refuse(&mut batch, &reason);
                    }
                    return;
                }
            }
        }
    }

    /// Writes a batch; the number of its first record.
    fn write(&mut self, batch: &[Append]) -> Result<u64, Error> {
        if self.partition.records() >= self.options.partition_records_max
            || self.partition.bytes() >= self.options.partition_bytes_max
        {
            self.roll()?;
        }
        let records: Vec<_> = batch.iter().map(|append| Arc::clone(&append.record)).collect();
        let first = self.partition.next();
        let began = Instant::now();
        self.partition.append(&records)?;
        self.meter.sync.time(began.elapsed());
        self.meter.batch.count(records.len() as u64);
        Ok(first)
    }

    fn roll(&mut self) -> Result<(), Error> {
        let next = Partition::open(&self.folder, self.partition.next(), self.options.durability)?;
        std::mem::replace(&mut self.partition, next).close();
        Ok(())
    }

    fn confirm(&self, first: u64, batch: &mut Vec<Append>) {
        let last = first + batch.len() as u64 - 1;
        let mut answers = Vec::with_capacity(batch.len());
        for (seq, append) in (first..).zip(batch.drain(..)) {
            (append.durable)(seq);
            answers.push((seq, append.answer));
        }
        // Known at once, told last: readers have time, and those who wait for an acknowledgement are not to stand behind them.
        self.head.send_if_modified(|head| {
            *head = last;
            false
        });
        for (seq, answer) in answers {
            let _ = answer.send(Ok(seq)); // Whoever asked may be gone; the record stays.
        }
        self.head.send_modify(|_| {});
        self.health.send_if_modified(|health| std::mem::replace(health, Health::Ready) != Health::Ready);
    }
}

fn refuse(batch: &mut Vec<Append>, reason: &AppendError) {
    for append in batch.drain(..) {
        let _ = append.answer.send(Err(reason.clone()));
    }
}

fn stopped() -> AppendError {
    AppendError::Stopped("its writer is gone".into())
}

fn room_units(bytes: usize) -> usize {
    bytes.div_ceil(ROOM_BYTES).max(1)
}
