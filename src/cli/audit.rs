//! `handoff audit`: is the audit what was written?
use super::selection::Place;
use crate::privacy::audit;
use anyhow::bail;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Check the audit of what was shared and withheld
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
}

/// Runs the command: exit 0, 1 when the chain is broken, 2 when there is no audit or it cannot be read.
///
/// # Errors
/// A data directory or file that cannot be used.
pub fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.place.configured() else { return Ok(ExitCode::from(2)) };
    let What::Verify = args.what;
    let folder = config.data.join("audit");
    if !folder.is_dir() {
        bail!("{} is not there: nothing was audited in this data directory, or it is another one", folder.display());
    }
    let report = audit::verify(&folder)?;
    if let Some(broken) = &report.broken {
        let place = if broken.line == 0 { String::new() } else { format!("{}:", broken.line) };
        println!("{}:{place} {}", broken.path.display(), broken.what);
        println!("{} lines in {} files are sound, up to number {}", report.lines, report.files, report.last);
        return Ok(ExitCode::from(1));
    }
    let hash: String = report.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{} lines in {} files, all sound; the last is {} {hash}", report.lines, report.files, report.last);
    Ok(ExitCode::SUCCESS)
}
