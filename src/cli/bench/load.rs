//! The senders: each its own connection, one message on its way at a time.
use super::care::World;
use crate::mllp::client::{Client, Options};
use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What was acknowledged, and how late.
#[derive(Debug)]
pub(super) struct Tally {
    /// In the time that is measured.
    pub acknowledged: u64,
    /// The warm-up included.
    pub acknowledged_ever: u64,
    /// From when a message was due until its acknowledgement was there, in microseconds.
    late: Histogram<u64>,
}

impl Tally {
    fn new() -> anyhow::Result<Tally> {
        Ok(Tally { acknowledged: 0, acknowledged_ever: 0, late: Histogram::new(3)? })
    }

    /// The time within which that share of the messages was acknowledged.
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.late.value_at_quantile(quantile))
    }

    /// Acknowledgements whose time was taken.
    pub fn timed(&self) -> u64 {
        self.late.len()
    }

    /// The 50th, 99th and 99.9th percentile.
    pub fn quantiles(&self) -> [Duration; 3] {
        [0.5, 0.99, 0.999].map(|quantile| self.at(quantile))
    }
}

/// Numbers of messages of a connection: more than it ever sends, and no part of a visit.
const NUMBERS: u64 = 10_000_000;

/// Sends until `measured` ends, and counts in `acknowledged` as it goes. `pace` is the time between two messages of one connection, if they are sent at fixed times. Visits of `world`, else admissions.
pub(super) async fn run(
    address: String,
    connections: usize,
    pace: Option<Duration>,
    measured: Range<Instant>,
    world: Option<World>,
    acknowledged: Arc<AtomicU64>,
) -> anyhow::Result<Tally> {
    let mut senders = JoinSet::new();
    for number in 0..connections {
        let (address, measured, world) = (address.clone(), measured.clone(), world.clone());
        let acknowledged = Arc::clone(&acknowledged);
        // Due times of the connections lie evenly between one another.
        let first = Instant::now() + pace.unwrap_or_default().mul_f64(number as f64 / connections as f64);
        let schedule = pace.map(|pace| (first, pace));
        senders.spawn(async move { send(&address, number, schedule, measured, world.as_ref(), &acknowledged).await });
    }
    let mut all = Tally::new()?;
    while let Some(tally) = senders.join_next().await {
        let tally = tally.context("a sender panicked")??;
        all.acknowledged += tally.acknowledged;
        all.acknowledged_ever += tally.acknowledged_ever;
        all.late.add(&tally.late)?;
    }
    Ok(all)
}

async fn send(
    address: &str,
    number: usize,
    schedule: Option<(Instant, Duration)>,
    measured: Range<Instant>,
    world: Option<&World>,
    acknowledged: &AtomicU64,
) -> anyhow::Result<Tally> {
    let patient = Options {
        connect_timeout: Duration::from_secs(30),
        reply_timeout: Duration::from_secs(60),
        ..Options::default()
    };
    let mut client = Client::connect(address, None, patient).await?;
    let mut tally = Tally::new()?;
    for count in 0_u32.. {
        let due = match schedule {
            Some((first, pace)) => first + pace * count,
            None => Instant::now(),
        };
        if due >= measured.end {
            break;
        }
        // Only where it is not due yet: the timer counts whole milliseconds, also for a time that has come.
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let (id, text) = match world {
            Some(world) => {
                let number = number as u64 * NUMBERS + u64::from(count);
                (format!("B{number}"), world.message(number))
            }
            None => {
                let id = format!("B{number}-{count}");
                let text = message(&id, number);
                (id, text)
            }
        };
        let answer = client.exchange(text.as_bytes()).await?;
        let accepted = [b"MSA|AA|", id.as_bytes()].concat();
        if memchr::memmem::find(&answer, &accepted).is_none() {
            bail!("message {id} was not accepted: {}", String::from_utf8_lossy(&answer).replace('\r', " "));
        }
        tally.acknowledged_ever += 1;
        acknowledged.fetch_add(1, Ordering::Relaxed);
        if due >= measured.start && Instant::now() < measured.end {
            tally.acknowledged += 1;
        }
        if due >= measured.start {
            tally.late.record(due.elapsed().as_micros() as u64)?;
        }
    }
    Ok(tally)
}

/// An admission of about 1 KB of an invented patient; each connection sends those of its own.
fn message(id: &str, patient: usize) -> String {
    format!(
        "MSH|^~\\&|ADMIT|STELLA|EHR|STELLA|20240310221503+0100||ADT^A01^ADT_A01|{id}|P|2.5.1|||||DEU|UNICODE UTF-8\r\
         EVN|A01|20240310221500+0100|||5512^Hoang^Mai\r\
         PID|1||9{patient:05}^^^STELLA&1.2.276.0.76.3.1.999&ISO^MR||Brandt{patient}^Leonie^Marie^^Dr.^^L||19790523|F|||Lindenweg 7^^Freiburg^^79100^DEU^H||^PRN^PH^^49^761^5550142||de|M\r\
         NK1|1|Brandt^Oskar|SPO^Spouse^HL70063|Lindenweg 7^^Freiburg^^79100^DEU|^PRN^PH^^49^761^5550143||C^Emergency Contact^HL70131\r\
         PV1|1|I|W3^12^B^STELLA^^^^N|E|||2201^Yilmaz^Deniz^^^Dr.|3304^Seidel^Jonas^^^Dr.||MED||||7|||2201^Yilmaz^Deniz^^^Dr.|IN|V{id}^^^STELLA^VN|||||||||||||||||||||||||20240310220000+0100\r\
         PV2||PR^Private^L|R07.4^Chest pain^I10|||||20240311|3\r\
         DG1|1||R07.4^Chest pain, unspecified^I10||20240310|A\r\
         DG1|2||I10^Essential hypertension^I10||20180604|F\r"
    )
}
