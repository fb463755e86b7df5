//! `handoff journal`: is everything there that was written, what may go, and copies of it.
use super::selection::Place;
use crate::config::Config;
use crate::delivery::UNTRANSLATED;
use crate::journal::{self, Directory, DirectoryError, Journal, Report, State, View};
use crate::server::care::READER;
use anyhow::bail;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Check, prune, back up and restore the journal
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read every record and tell what is damaged or missing; works while the gateway runs
    Verify,
    /// Remove now what is past its retention and what no route and no dead letter needs; a running gateway does so by itself
    Prune {
        /// Only tell what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Copy journal and state to a new folder, while the gateway runs or not, and read the copy through
    Backup {
        /// The folder to make
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
    /// Put a backup back into a data directory that holds nothing; routes deliver again what they delivered since
    Restore {
        /// The folder of the backup
        #[arg(value_name = "DIR")]
        from: PathBuf,
    },
}

/// Runs the command: exit 0, 1 when something is damaged or missing, 2 when the data or the configuration cannot be used.
///
/// # Errors
/// A data directory or file that cannot be used.
pub fn run(args: &JournalArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.place.configured() else { return Ok(ExitCode::from(2)) };
    let mut total = Total::default();
    match &args.what {
        What::Verify => {
            View::open(&config.data)?;
            journal::verify(&config.data, |report| total.add(report))?;
            total.tell();
        }
        What::Prune { dry_run } => {
            let mut config = config;
            if args.place.config.file_if_any().is_none() {
                config.routes.clear(); // The default route is nobody's word for these data.
            }
            prune(&config, *dry_run)?;
        }
        What::Backup { to } => {
            journal::backup(&config.data, to, |report| total.add(report))?;
            total.tell();
            println!("backed up {} to {}", config.data.display(), to.display());
        }
        What::Restore { from } => {
            journal::restore(from, &config.data, |report| total.add(report))?;
            total.tell();
            println!("restored {} to {}", from.display(), config.data.display());
        }
    }
    Ok(ExitCode::from(u8::from(total.bad > 0)))
}

/// What was read.
#[derive(Default)]
struct Total {
    partitions: usize,
    records: u64,
    bad: usize,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.partitions += 1;
        self.records += report.sound;
        let name = report.path.file_name().unwrap_or_default().to_string_lossy();
        let numbers =
            report.numbers.as_ref().map_or("empty".into(), |numbers| format!("{}-{}", numbers.start(), numbers.end()));
        if report.is_sound() {
            println!("{name}: {numbers}: sound");
            return;
        }
        self.bad += 1;
        let list = |ranges: &[std::ops::RangeInclusive<u64>]| {
            let shown: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
            shown.join(", ")
        };
        println!("{name}: {numbers}: {} sound", report.sound);
        for (what, ranges) in [("damaged", &report.damaged), ("missing", &report.missing)] {
            if !ranges.is_empty() {
                println!("{name}: {what}: {}", list(ranges));
            }
        }
        if let Some(file) = &report.file {
            println!("{name}: file: {file}");
        }
    }

    fn tell(&self) {
        println!("{} partitions, {} records sound, {} partitions damaged", self.partitions, self.records, self.bad);
    }
}

fn prune(config: &Config, trial: bool) -> anyhow::Result<()> {
    // Making a data directory where there is none would be no help.
    View::open(&config.data)?;
    let directory = match Directory::open(&config.data) {
        Err(DirectoryError::InUse(path)) => bail!(
            "{} is in use by a running gateway, which prunes by itself every ten minutes: set retention in its configuration",
            path.display()
        ),
        directory => Arc::new(directory?),
    };
    let state = State::open(&directory)?;
    // Without a configuration every reader that there ever was counts.
    let mut readers: Vec<String> = config.routes.iter().map(|route| route.route.name.clone()).collect();
    if readers.is_empty() {
        readers = state.readers()?;
    }
    if !readers.iter().any(|reader| reader == UNTRANSLATED) {
        readers.push(UNTRANSLATED.into());
    }
    if config.coordination.is_some() && !readers.iter().any(|reader| reader == READER) {
        readers.push(READER.into());
    }
    let journal = Journal::open(&directory, config.journal)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let pruned = journal::retain(&journal, &state, &readers, &config.retention, now_ms, trial)?;
    if pruned.wanted < pruned.keep {
        println!(
            "kept from {} on, beyond the retention (from {} on): a route or a dead letter still needs it",
            pruned.wanted, pruned.keep
        );
    }
    if trial {
        println!("would remove the partitions all before {}", pruned.keep.min(pruned.wanted));
    } else {
        println!("removed {} records", pruned.removed);
    }
    Ok(())
}
