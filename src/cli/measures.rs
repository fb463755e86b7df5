//! `handoff measures`: are the counters of the measures what the facts say? And counting them anew.
use super::selection::Place;
use crate::config::Config;
use crate::coordination::measures::{self, Reader};
use crate::coordination::store::Store;
use crate::coordination::work::setting;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use rusqlite::{Connection, OpenFlags};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Count the measures anew from what is kept of each patient, or check that the counters are what they must be
#[derive(Debug, Args)]
pub struct MeasuresArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Count all facts anew; a gateway that runs waits meanwhile, and goes on with what comes of it
    Recompute {
        /// Change nothing: tell where the counters differ from the facts
        #[arg(long)]
        check: bool,
    },
}

/// How long a gateway that runs may write.
const BUSY: Duration = Duration::from_secs(60);

/// Runs the command: exit 0; 1 when counters and facts differ; 2 when the configuration is wrong or there are none.
///
/// # Errors
/// A database that is not there, cannot be used, or was counted by other definitions.
pub fn run(args: &MeasuresArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.place.configured() else { return Ok(ExitCode::from(2)) };
    let What::Recompute { check } = args.what;
    let (path, mut reader) = (Store::path(&config.data), reader(&config)?);
    if !path.exists() {
        bail!("{} is not there: nothing was counted in this data directory, or it is another one", path.display());
    }
    let flags = if check { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let mut connection = Connection::open_with_flags(&path, flags).with_context(|| path.display().to_string())?;
    connection.busy_timeout(BUSY)?;
    let started = Instant::now();
    let Some((count, differences)) = measures::recount(&mut connection, &mut reader, check)? else {
        bail!(
            "the counters were made by other measures than this configuration has; a gateway that is started with it counts them anew"
        );
    };
    println!("{count} facts counted in {:.1} s", started.elapsed().as_secs_f64());
    for one in &differences {
        println!("{}: {} rows should not be there, {} are missing", one.table, one.more, one.fewer);
    }
    if check && differences.is_empty() {
        println!("the counters are what the facts say");
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}

fn reader(config: &Config) -> anyhow::Result<Reader> {
    let Some(options) = &config.coordination else { bail!("the configuration has no section [coordination]") };
    Ok(Reader::new(&options.measures, &setting(options), &options.privacy.labels))
}
