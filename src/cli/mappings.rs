//! `handoff mappings check|list|show|diff`: what the mapping files say, what is wrong with them, and what others say differently.
mod diff;

use super::files::{Format, Layers, load};
use crate::mapping::Plan;
use crate::mapping::diagnostic::{Diagnostics, Severity};
use crate::mapping::listing::Shown;
use crate::mapping::source::Sources;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Look at the mappings.
#[derive(Debug, Args)]
pub struct MappingsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read all mapping files and print every mistake at once; exit 1 when there is an error
    Check(CheckArgs),
    /// List message maps, segment maps, datatype maps and code tables
    List(ListArgs),
    /// Show a message structure, a map or a table as it was compiled
    Show(ShowArgs),
    Diff(diff::DiffArgs),
    /// Print the JSON schema of mapping files, for editors
    Schema,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    layers: Layers,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    layers: Layers,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// `ADT_A01`, `PID.Patient`, `CX.Identifier` or `AdministrativeSex`
    name: String,
    #[command(flatten)]
    layers: Layers,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs the command.
///
/// # Errors
/// When a folder cannot be read.
pub fn run(args: MappingsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check(args) => check(&args),
        Command::List(args) => list(&args),
        Command::Show(args) => show(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Schema => {
            println!("{}", serde_json::to_string(&crate::mapping::schema::schema())?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (sources, diagnostics) = match Plan::load(args.layers.read()?) {
        Ok((plan, diagnostics)) => (plan.sources().clone(), diagnostics),
        Err((sources, diagnostics)) => (sources, diagnostics),
    };
    let found = diagnostics.sorted();
    let count = |severity| found.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if args.format == Format::Json {
        let list: Vec<_> = found.iter().map(|d| d.json(&sources)).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
    } else {
        print_diagnostics(&diagnostics, &sources);
        println!(
            "{} files, {} maps, {} tables: {errors} errors, {warnings} warnings",
            sources.files.len(),
            sources.maps.len(),
            sources.tables.len()
        );
    }
    Ok(ExitCode::from(u8::from(errors > 0)))
}

/// Prints all diagnostics, in file order.
pub fn print_diagnostics(diagnostics: &Diagnostics, sources: &Sources) {
    for diagnostic in diagnostics.sorted() {
        println!("{}", diagnostic.render(sources));
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let plan = load(&args.layers)?;
    print_shown(&plan, args.format, &plan.listing(), |plan| Some(plan.listing()))?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let plan = load(&args.layers)?;
    let shown = plan.show(&args.name).or_else(|suggestion| {
        // A site that has a `when` may be alone in knowing it.
        plan.feeds().iter().find_map(|feed| feed.plan().show(&args.name).ok()).ok_or(suggestion)
    });
    match shown {
        Ok(shown) => print_shown(&plan, args.format, &shown, |plan| plan.show(&args.name).ok())?,
        Err(suggestion) => {
            eprintln!(
                "error: there is no structure, map or table `{}`{suggestion}; `handoff mappings list` names them all",
                args.name
            );
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what all messages get, and then what those get that meet the `when` of a site or feed, where that is something else.
fn print_shown(plan: &Plan, format: Format, first: &Shown, of: impl Fn(&Plan) -> Option<Shown>) -> anyhow::Result<()> {
    let feeds = plan.feeds().iter().filter_map(|feed| Some((feed.layer().to_string(), of(feed.plan())?)));
    let others: Vec<(String, Shown)> = feeds.filter(|(_, shown)| shown.text() != first.text()).collect();
    if format == Format::Json {
        let mut json = first.json().clone();
        if !others.is_empty() {
            let list = others.iter().map(|(layer, shown)| serde_json::json!({ "layer": layer, "shown": shown.json() }));
            json["when"] = list.collect();
        }
        println!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(());
    }
    print!("{}", first.text());
    for (layer, shown) in &others {
        print!("\nmessages that meet the `when` of the {layer}:\n{}", shown.text());
    }
    Ok(())
}
