//! `handoff bench gateway`: a gateway in its own process, a load of MLLP senders, and sinks that take what its routes deliver; all on this machine.
//!
//! | workload | acknowledged when | routes |
//! |---|---|---|
//! | T1 | stored (`ack_on = "durable"`) | none |
//! | T2 | stored | one, the raw message to an MLLP receiver |
//! | T3 | stored and translated | one, a transaction Bundle to a FHIR endpoint |
//! | T4 | stored and translated | four, a transaction Bundle each |
//!
//! With `--coordination` the messages are those of visits, a panel, subscriptions and loops are configured, and what is told beside is how fast coordinated care reads the journal: while
//! the load goes on, and afterwards, when nothing else runs. `handoff bench reader` measures that without a gateway.
//!
//! Without `--rate` each connection sends as soon as the acknowledgement before has come. With it messages are sent at fixed times, whether or not the gateway
//! keeps up, and an acknowledgement is as late as it comes after that time: no pause of the gateway hides the messages that it held up.
mod care;
mod figures;
mod gateway;
mod load;
mod pages;
mod plot;
mod reader;
mod report;
mod samples;
mod sink;

use anyhow::Context as _;
use care::{CareArgs, Mix, World};
use clap::{Args, Subcommand, ValueEnum};
use figures::{Care, Figures, millis};
use gateway::Process;
use pages::{Desk, Pages};
use report::Run;
use samples::Sampler;
use sink::Sinks;
use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Measure this gateway on this machine
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Start a gateway and measure acknowledgements and deliveries under load
    Gateway(GatewayArgs),
    /// Measure how fast coordinated care reads a journal
    Reader(reader::ReaderArgs),
}

#[derive(Debug, Args)]
struct GatewayArgs {
    /// What is measured
    #[arg(long, value_delimiter = ',', default_value = "T1,T3", ignore_case = true)]
    workloads: Vec<Workload>,
    /// Senders, each with one message on its way
    #[arg(long, value_name = "N", default_value_t = 128)]
    connections: usize,
    /// Messages per second over all connections; without it as many as are acknowledged
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How long is measured
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Seconds under load before that
    #[arg(long, value_name = "N", default_value_t = 2)]
    warm_up: u64,
    /// Seconds that deliveries may take after that, until all of them have arrived
    #[arg(long, value_name = "N", default_value_t = 120)]
    drain: u64,
    /// How sure a message must be before it is acknowledged
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Sureness,
    /// Whether the search index is kept up meanwhile
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    index: bool,
    /// Measure each workload once more beside something else, and tell the ratio
    #[arg(long, value_delimiter = ',')]
    beside: Vec<Beside>,
    /// With coordinated care: visits of people, one in twenty of them in a panel
    #[arg(long)]
    coordination: bool,
    #[command(flatten)]
    care: CareArgs,
    /// The folder whose disk the journal is written to; a folder of its own is made in it and removed
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// One JSON object a workload on standard output
    #[arg(long)]
    json: bool,
    /// Write a page with plots beside that: one file without scripts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    #[value(name = "T1")]
    Acknowledge,
    #[value(name = "T2")]
    Raw,
    #[value(name = "T3")]
    Fhir,
    #[value(name = "T4")]
    FourRoutes,
}

/// What else the gateway has to do, which is not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Beside {
    /// A route more, whose endpoint is out of reach.
    Dead,
    /// A route more, whose endpoint answers each request after a second.
    Slow,
    /// Five open dashboards of the desk.
    Pages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sureness {
    Fsync,
    Os,
    Memory,
}

/// Runs the command: exit 0, or 1 when fewer deliveries arrived than were acknowledged. Arrivals are counted, not compared: the tests see to what is delivered.
///
/// # Errors
/// When a gateway cannot be started or a sender fails.
pub fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let args = match args.what {
        What::Gateway(args) => args,
        What::Reader(args) => return reader::run(&args),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let fsync = fsync_latency(&args.data).with_context(|| format!("cannot write to {}", args.data.display()))?;
    if !args.json {
        let durability = args.durability.name();
        println!("durability {durability}, one fsync {:.2} ms, {} connections", millis(fsync), args.connections);
    }
    // Opened first: what is measured in minutes is not lost to a folder that is not there.
    let page =
        args.html.as_ref().map(|path| File::create(path).with_context(|| format!("cannot write {}", path.display())));
    let page = page.transpose()?;
    let machine = report::Machine::look();
    let (mut lost, mut runs) = (0, Vec::new());
    for workload in &args.workloads {
        let mut alone = None;
        for beside in [None].into_iter().chain(args.beside.iter().copied().map(Some)) {
            let figures = runtime.block_on(measure(*workload, beside, &args))?;
            lost += figures.missing;
            let speeds = [figures.rate(), figures.cpu_rate(), figures.delivered_rate()];
            let alone = alone.get_or_insert(speeds);
            let ratios = std::array::from_fn(|which| speeds[which] / alone[which]);
            if args.json {
                println!("{}", figures.json(*workload, &args, fsync, beside, ratios));
            } else {
                println!("{}", figures.line(*workload, beside, ratios));
            }
            runs.push(Run { workload: *workload, beside, figures });
        }
    }
    if let Some(mut page) = page {
        page.write_all(report::page(&machine, &args, fsync, &runs).as_bytes())?;
    }
    Ok(ExitCode::from(u8::from(lost > 0)))
}

async fn measure(workload: Workload, beside: Option<Beside>, args: &GatewayArgs) -> anyhow::Result<Figures> {
    let (sinks, desk) = (Sinks::start().await?, Desk::new().await?);
    let care = args.coordination.then_some(args.care);
    // The desk is there in either case: what is compared is that somebody looks.
    let configuration = workload.configuration(&sinks, beside, args) + &desk.configuration();
    let process = Process::start(&args.data, &configuration, care)?;
    let pages = if beside == Some(Beside::Pages) { Some(desk.open().await?) } else { None };
    let begin = Instant::now() + Duration::from_secs(args.warm_up);
    let measured = begin..begin + Duration::from_secs(args.seconds);
    let (acknowledged, samples) = (Arc::new(AtomicU64::new(0)), RefCell::default());
    let load = Duration::from_secs(args.warm_up + args.seconds);
    let sampler = Sampler { process: &process, sinks: &sinks, acknowledged: &acknowledged, begin, load };
    let figures = tokio::select! {
        figures = load_and_drain(workload, args, &process, &sinks, measured, Arc::clone(&acknowledged)) => figures?,
        never = sampler.run(&samples) => match never {},
    };
    pages.as_ref().map_or(Ok(()), Pages::were_told)?;
    Ok(Figures { samples: samples.into_inner(), ..figures })
}

async fn load_and_drain(
    workload: Workload,
    args: &GatewayArgs,
    process: &Process,
    sinks: &Sinks,
    measured: Range<Instant>,
    acknowledged: Arc<AtomicU64>,
) -> anyhow::Result<Figures> {
    let care = args.coordination.then_some(args.care);
    let world = care.map(|care| World::new(care, Mix::Mixed));
    let read = || if care.is_some() { process.read() } else { Ok(0) };
    let pace = args.rate.map(|rate| Duration::from_secs_f64(args.connections as f64 / rate.max(0.001)));
    let senders = load::run(process.address(), args.connections, pace, measured.clone(), world, acknowledged);
    let usage = async {
        tokio::time::sleep_until(measured.start.into()).await;
        let (cpu, delivered, read_before) = (process.cpu_seconds(), sinks.count(), read()?);
        tokio::time::sleep_until(measured.end.into()).await;
        anyhow::Ok((process.cpu_seconds() - cpu, delivered, read()? - read_before))
    };
    let (tally, usage) = tokio::join!(senders, usage);
    let (tally, (cpu_seconds, delivered_before, read_beside)) = (tally?, usage?);
    let (ended, read_then) = (Instant::now(), read()?);
    let behind = tally.acknowledged_ever.saturating_sub(read_then);
    let expected = tally.acknowledged_ever * workload.routes();
    while sinks.count() < expected && measured.end.elapsed() < Duration::from_secs(args.drain) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let delivered_seconds = measured.start.elapsed().as_secs_f64();
    let count = sinks.count();
    while care.is_some() && read()? < tally.acknowledged_ever && ended.elapsed() < Duration::from_secs(args.drain) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let alone = (read()? - read_then) as f64 / ended.elapsed().as_secs_f64();
    let care = care.map(|_| Care { beside: read_beside as f64 / args.seconds as f64, behind, alone });
    Ok(Figures {
        tally,
        seconds: args.seconds as f64,
        cpu_seconds,
        memory_bytes: process.memory_bytes_max(),
        delivered_seconds,
        delivered: count - delivered_before.min(count),
        missing: expected.saturating_sub(count),
        care,
        samples: Vec::new(),
    })
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Workload::Acknowledge => "T1",
            Workload::Raw => "T2",
            Workload::Fhir => "T3",
            Workload::FourRoutes => "T4",
        }
    }

    fn routes(self) -> u64 {
        match self {
            Workload::Acknowledge => 0,
            Workload::Raw | Workload::Fhir => 1,
            Workload::FourRoutes => 4,
        }
    }

    fn configuration(self, sinks: &Sinks, beside: Option<Beside>, args: &GatewayArgs) -> String {
        let ack_on = match self {
            Workload::Acknowledge | Workload::Raw => "durable",
            Workload::Fhir | Workload::FourRoutes => "translated",
        };
        let mut text = format!("durability = \"{}\"\nindex = {}\n", args.durability.name(), args.index);
        let endpoint = beside.and_then(|beside| beside.endpoint(sinks));
        if self == Workload::Acknowledge && endpoint.is_none() {
            text += "route = []\n";
        }
        text += &format!(
            "[[listener]]\nname = \"bench\"\nmllp = \"127.0.0.1:0\"\nack_on = \"{ack_on}\"\nconnections_max = 20000\nconnections_per_address_max = 20000\n"
        );
        for number in 0..self.routes() {
            let target = match self {
                Workload::Raw => format!("mllp = \"{}\"", sinks.mllp),
                _ => format!("fhir = \"http://{}/fhir\", bundle = \"transaction\"", sinks.http),
            };
            text += &format!("[[route]]\nname = \"sink{number}\"\nto = {{ {target} }}\n");
        }
        if let Some(address) = endpoint {
            text += &format!("[[route]]\nname = \"beside\"\nto = {{ fhir = \"http://{address}/fhir\" }}\n");
        }
        text
    }
}

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Beside::Dead => "dead",
            Beside::Slow => "slow",
            Beside::Pages => "pages",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Beside::Dead => " beside a dead endpoint",
            Beside::Slow => " beside a slow endpoint",
            Beside::Pages => " beside five open dashboards",
        }
    }

    /// The endpoint of the route more, where it is one.
    fn endpoint(self, sinks: &Sinks) -> Option<&str> {
        match self {
            Beside::Dead => Some(&sinks.dead),
            Beside::Slow => Some(&sinks.slow),
            Beside::Pages => None,
        }
    }
}

impl Sureness {
    fn name(self) -> &'static str {
        match self {
            Sureness::Fsync => "fsync",
            Sureness::Os => "os",
            Sureness::Memory => "memory",
        }
    }
}

/// The median of fifty appends of 4 KB, each synced, on the disk of the journal.
fn fsync_latency(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(format!("handoff-bench-fsync-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
