//! `handoff audit`: is the audit what was written? And what of it need not be kept any longer.
use super::selection::{Place, parse_time};
use crate::privacy::audit;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use std::path::Path;
use std::process::ExitCode;

/// Check the audit of what was shared and withheld, and remove what is old of it
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read every line and tell where the chain breaks; the hash of the last line, kept elsewhere, proves all before it
    Verify,
    /// Remove the oldest files, whole ones of which every line is older; the hash of the last line that went is kept, and verify goes on from it
    Prune {
        /// Older than this: 2020-01-31, 2020-01-31T08:30Z, or 2190d ago; without an offset UTC
        #[arg(long, value_name = "TIME")]
        before: String,
    },
}

/// Runs the command: exit 0, 1 when the chain is broken, 2 when there is no audit, or it cannot be read or removed.
///
/// # Errors
/// A data directory or file that cannot be used.
pub fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.place.configured() else { return Ok(ExitCode::from(2)) };
    // What went to whom, and who looked at what.
    let folders = ["audit", "access"].map(|name| config.data.join(name));
    let folders: Vec<_> = folders.into_iter().filter(|folder| folder.is_dir()).collect();
    if folders.is_empty() {
        let folder = config.data.join("audit");
        bail!("{} is not there: nothing was audited in this data directory, or it is another one", folder.display());
    }
    let mut code = ExitCode::SUCCESS;
    for folder in &folders {
        if folder.ends_with("access") {
            print!("access: ");
        }
        let done = match &args.what {
            What::Verify => verify(folder)?,
            What::Prune { before } => prune(folder, before)?,
        };
        if done != ExitCode::SUCCESS {
            code = done;
        }
    }
    Ok(code)
}

fn verify(folder: &Path) -> anyhow::Result<ExitCode> {
    let report = audit::verify(folder)?;
    if report.pruned > 0 {
        println!("lines up to number {} were removed by `handoff audit prune`", report.pruned);
    }
    if let Some(broken) = &report.broken {
        let place = if broken.line == 0 { String::new() } else { format!("{}:", broken.line) };
        println!("{}:{place} {}", broken.path.display(), broken.what);
        println!("{} lines in {} files are sound, up to number {}", report.lines, report.files, report.last);
        return Ok(ExitCode::from(1));
    }
    let hash = hexadecimal(&report.hash);
    println!("{} lines in {} files, all sound; the last is {} {hash}", report.lines, report.files, report.last);
    Ok(ExitCode::SUCCESS)
}

fn prune(folder: &Path, before: &str) -> anyhow::Result<ExitCode> {
    let before_ms = parse_time(before, jiff::Timestamp::now()).with_context(|| format!("--before {before}"))?;
    let done = audit::prune(folder, before_ms)?;
    if done.files == 0 {
        println!("nothing is removed: no file but the newest holds only lines from before then");
        return Ok(ExitCode::SUCCESS);
    }
    let hash = hexadecimal(&done.hash);
    println!("{} lines in {} files are removed; the chain goes on from {} {hash}", done.lines, done.files, done.last);
    Ok(ExitCode::SUCCESS)
}

fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
