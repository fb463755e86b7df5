//! `handoff test`: messages with what they must become, as folders; the translation of today is compared with what is expected.
mod case;
mod coverage;
mod facts;
mod judge;
mod path;
mod report;

use super::files::{Format, Layers, load};
use crate::mapping::Scratch;
use crate::mapping::folder::TESTS;
use anyhow::{Context as _, bail};
use clap::Args;
use judge::{Judge, Status};
use std::path::PathBuf;
use std::process::ExitCode;

/// Test mappings: translate the message of each case and compare with what is expected of it
///
/// A case is a folder with `message.hl7` and any of `bundle.json` (an array for a batch), `error.txt` (why it is refused) and `facts.toml` (what must hold). The order of lists, and ids,
/// make no difference. Exit status 0: all passed; 1: some did not, or less than --min-coverage was reached; 2: nothing could be tested, or a case cannot be read.
#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    layers: Layers,
    /// Only cases with this in their name; may be given several times
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Show what has changed and make it the expectation; facts are left to you
    #[arg(long)]
    update: bool,
    /// Write the results for CI as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// At least so many of a hundred populated values must have reached FHIR, as `handoff coverage` counts
    #[arg(long, value_name = "PERCENT")]
    min_coverage: Option<f64>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Folder of cases, at any depth; default: `tests` of the site if that is there, else the current folder
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the mappings do not compile, there is no case, or a result cannot be written.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    if let Some(percent) = args.min_coverage
        && !(0.0..=100.0).contains(&percent)
    {
        bail!("--min-coverage: {percent} is no percentage; write a number from 0 to 100");
    }
    let plan = load(&args.layers)?;
    let root = args.folder.clone().unwrap_or_else(|| default_folder(&args.layers));
    if !root.is_dir() {
        bail!("{}: not a folder; name the folder that holds the cases", root.display());
    }
    let mut folders = case::find(&root)?;
    if folders.is_empty() {
        bail!(
            "{}: no case in it; a case is a folder with a {} and what is expected of it",
            root.display(),
            case::MESSAGE
        );
    }
    let all = folders.len();
    folders.retain(|folder| {
        let name = case::name(&root, folder);
        args.filter.is_empty() || args.filter.iter().any(|text| name.contains(text))
    });
    if folders.is_empty() {
        bail!("none of the {all} cases has {} in its name", args.filter.join(" or "));
    }
    let mut judge =
        Judge { plan: &plan, scratch: Scratch::new(), coverage: coverage::Coverage::new(&plan), update: args.update };
    let mut outcomes = Vec::with_capacity(folders.len());
    for folder in folders {
        let outcome = judge.judge(&root, &folder)?;
        if args.format == Format::Text {
            print!("{}", report::text(&outcome));
        }
        outcomes.push(outcome);
    }
    let short = args.min_coverage.filter(|percent| judge.coverage.percent() < *percent);
    match args.format {
        Format::Text => print!("{}", report::summary(&outcomes, &judge.coverage, args.min_coverage)),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report::json(&outcomes, &judge.coverage))?),
    }
    if let Some(path) = &args.junit {
        let coverage = args.min_coverage.map(|least| (least, &judge.coverage));
        std::fs::write(path, report::junit(&outcomes, coverage))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    let any = |status| outcomes.iter().any(|outcome| outcome.status == status);
    Ok(ExitCode::from(if any(Status::Unreadable) { 2 } else { u8::from(any(Status::Failed) || short.is_some()) }))
}

fn default_folder(layers: &Layers) -> PathBuf {
    let tests = layers.site.as_ref().map(|site| site.join(TESTS));
    tests.filter(|tests| tests.is_dir()).unwrap_or_else(|| PathBuf::from("."))
}
