//! `handoff bench reader`: what coordinated care makes of a journal, read as fast as it can be; nothing runs beside it.
//!
//! Figures are for each second that the reading thread had of a processor, so others on the machine count for less.
use super::care::{CareArgs, Mix, World, prepare};
use crate::config::Config;
use crate::coordination::registry::Registry;
use crate::coordination::roster::Rosters;
use crate::coordination::roster::in_force::InForce;
use crate::coordination::roster::kept::KeepError;
use crate::coordination::store::Store;
use crate::coordination::work::{self, Work};
use crate::facets::Facets;
use crate::hl7::Index;
use crate::journal::{Directory, Durability, Journal, Options, Reader, Record};
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub(super) struct ReaderArgs {
    /// Whose messages are read
    #[arg(long, value_delimiter = ',', default_value = "strangers,mixed,members")]
    mixes: Vec<Mix>,
    /// Messages that are read
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
    #[command(flatten)]
    care: CareArgs,
    /// Read the roster anew all the while, beside the journal
    #[arg(long)]
    reload: bool,
    /// The folder in which journal and database are made, and removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// One JSON object a mix on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// What cannot be made or read.
pub(super) fn run(args: &ReaderArgs) -> anyhow::Result<ExitCode> {
    for mix in &args.mixes {
        let folder = args.data.join(format!("handoff-bench-reader-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let figures = measure(&folder, *mix, args);
        std::fs::remove_dir_all(&folder)?;
        let figures = figures?;
        let (name, each) = (mix.name(), args.messages as f64);
        let (rate, cpu_rate) = (each / figures.seconds, each / figures.cpu_seconds);
        if args.json {
            let (members, subscriptions) = (args.care.members, args.care.subscriptions);
            println!(
                "{}",
                json!({ "mix": name, "messages": args.messages, "members": members, "subscriptions": subscriptions, "read_per_s": rate, "read_per_cpu_s": cpu_rate,
                    "longest_ms": figures.longest.as_secs_f64() * 1000.0, "reloads": figures.reloads, "told": figures.told, "database_bytes": figures.bytes })
            );
        } else {
            println!(
                "{name}: {rate:.0} msg/s read, {cpu_rate:.0} msg/s for each second of processor, longest batch {:.0} ms, roster read anew {} times, {} told, database {} MB",
                figures.longest.as_secs_f64() * 1000.0,
                figures.reloads,
                figures.told,
                figures.bytes >> 20
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Figures {
    seconds: f64,
    cpu_seconds: f64,
    /// The batch that took longest.
    longest: Duration,
    /// How often the roster was read meanwhile.
    reloads: usize,
    told: usize,
    bytes: u64,
}

fn measure(folder: &Path, mix: Mix, args: &ReaderArgs) -> anyhow::Result<Figures> {
    let data = folder.join("data");
    let directory = Arc::new(Directory::open(&data)?);
    let text = prepare(folder, &data, args.care)?;
    let config = Config::parse(&text, &folder.join("handoff.toml"), &|_| None)?;
    let Some(options) = config.coordination else { bail!("no coordination") };
    let world = World::new(args.care, mix);
    let journal = Journal::open(&directory, Options { durability: Durability::Memory, ..Options::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start threads")?;
    runtime.block_on(write(&journal, &world, args.messages))?;
    let (rosters, _) = Rosters::open(options.rosters.clone(), data.join("rosters"), InForce::default());
    take(&rosters)?;
    let people = rosters.current().people();
    if people as u64 != args.care.members {
        bail!("{people} of {} members were read", args.care.members);
    }
    let (registry, rosters) = (Arc::new(Registry::open(&data)?), Arc::new(rosters));
    let mut reader = journal.reader();
    let mut work = Work::open(&data, Arc::new(options), registry, Arc::clone(&rosters), &mut reader)?;
    let ended = AtomicBool::new(!args.reload);
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| reload(&rosters, &ended));
        let (started, cpu) = (Instant::now(), thread_seconds());
        let read = read(&mut work, &mut reader);
        let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), (thread_seconds() - cpu).max(0.001));
        ended.store(true, Ordering::Relaxed);
        let reloads = reloading.join().map_err(|_| anyhow!("reading the roster panicked"))??;
        let (told, longest) = read?;
        let bytes = std::fs::metadata(Store::path(&data)).map_or(0, |facts| facts.len());
        Ok(Figures { seconds, cpu_seconds, longest, reloads, told, bytes })
    })
}

/// Reads the roster again and again until the end; how often.
fn reload(rosters: &Rosters, ended: &AtomicBool) -> anyhow::Result<usize> {
    let mut count = 0;
    while !ended.load(Ordering::Relaxed) {
        take(rosters)?;
        count += 1;
    }
    Ok(count)
}

fn take(rosters: &Rosters) -> anyhow::Result<()> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    rosters.swap::<KeepError>(&rosters.load(now_ms, &|_, _| false), now_ms, |_| Ok(()))?;
    Ok(())
}

/// Reads to the end: what was told, and the longest batch. A function of its own, and never inlined: `valgrind --tool=callgrind --toggle-collect='*reader::read*'` counts this and
/// nothing else.
#[inline(never)]
fn read(work: &mut Work, reader: &mut Reader) -> Result<(usize, Duration), work::Error> {
    let (mut told, mut longest) = (0, Duration::ZERO);
    loop {
        let started = Instant::now();
        let progress = work.step(reader)?;
        longest = longest.max(started.elapsed());
        told += progress.told;
        if progress.taken == 0 {
            return Ok((told, longest));
        }
    }
}

/// A message a millisecond.
async fn write(journal: &Journal, world: &World, messages: u64) -> anyhow::Result<()> {
    let begin_ms = jiff::Timestamp::now().as_millisecond();
    let mut index = Index::new();
    let mut last = None;
    for number in 0..messages {
        let raw = world.message(number).into_bytes();
        let received_ms = begin_ms.saturating_add_unsigned(number);
        index.parse(&raw)?;
        let mut facets = Vec::new();
        Facets::of(&raw, Some(index.message(&raw)), b"bench", received_ms).encode(&mut facets);
        let record = Record { received_ms, facets, raw, ack: Vec::new() };
        last = Some(journal.append(Arc::new(record), |_| {}).await);
    }
    if let Some(last) = last {
        last.await?;
    }
    Ok(())
}

/// What this thread has had of a processor, in seconds; 0 where the system does not tell (Linux, proc(5), `schedstat`).
fn thread_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
