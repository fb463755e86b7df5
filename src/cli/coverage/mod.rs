//! `handoff coverage`: over a pile of messages, what reached no FHIR element, which codes no table has, and which rules nothing used.
mod html;

use super::files::{Layers, load};
use super::pile::each_message;
use crate::mapping::coverage::{Coverage, Example, FieldLine, Origin, Report, Tally};
use crate::mapping::{Context, Scratch};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Count what of a pile of messages reached FHIR, and list what did not
#[derive(Debug, Args)]
pub struct CoverageArgs {
    #[command(flatten)]
    layers: Layers,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Show the values of the examples, which may be a patient's
    #[arg(long)]
    phi: bool,
    /// Files of messages or batches, and folders of them (.hl7, .er7, .msg, .txt, .dat); `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For programs
    Json,
    /// One page that needs nothing else
    Html,
}

/// Unused rules of one map that the text form names; the others are counted.
const UNUSED_SHOWN: usize = 12;

/// Runs the command: exit 0 when every file was read and held messages, else 1; messages that cannot be translated are part of the report.
///
/// # Errors
/// When the mappings do not compile.
pub fn run(args: &CoverageArgs) -> anyhow::Result<ExitCode> {
    let plan = load(&args.layers)?;
    let mut coverage = Coverage::new(args.phi);
    let mut scratch = Scratch::new();
    let mut file: Arc<str> = Arc::from("");
    let failed = each_message(&args.files, |name, number, raw| {
        if *file != *name {
            file = Arc::from(name);
        }
        let origin = Origin { file: file.clone(), number };
        // A failure is counted, and stands in the report.
        let _ = coverage.add(&plan, raw, &Context::default(), &origin, &mut scratch);
        Ok(())
    })?;
    let report = coverage.report(&plan);
    match args.format {
        Form::Text => print!("{}", text(&report)),
        Form::Json => println!("{}", serde_json::to_string_pretty(&report.json())?),
        Form::Html => print!("{}", html::page(&report)),
    }
    Ok(ExitCode::from(u8::from(failed > 0 || report.messages == 0)))
}

/// `81.3 %`; what is not all is never called 100.0.
fn percent(part: u64, all: u64) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    let tenths = part as u128 * 1000 / u128::from(all);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn reached(tally: Tally) -> String {
    percent(tally.mapped + tally.read_only, tally.all())
}

/// `message.hl7#2 OBX(3)-5.1 (4 characters)`.
fn example_text(example: &Example) -> String {
    let mut text = format!("{}#{} {}", example.origin.file, example.origin.number, example.place);
    match &example.value {
        Some(value) => {
            let _ = write!(text, " = {}", value.replace(['\r', '\n'], "⏎"));
        }
        None if example.length > 0 => {
            let _ = write!(text, " ({} characters)", example.length);
        }
        None => {}
    }
    text
}

fn code_shown(code: &str) -> &str {
    if code.is_empty() { "(no code: too long)" } else { code }
}

fn head(report: &Report) -> String {
    let total = report.total;
    format!(
        "{} messages, {} of them not translated; {} values: {} reached ({} mapped, {} read as condition or identity only), {} nowhere",
        report.messages,
        report.failed,
        total.all(),
        reached(total),
        percent(total.mapped, total.all()),
        percent(total.read_only, total.all()),
        percent(total.nowhere, total.all()),
    )
}

fn text(report: &Report) -> String {
    let mut out = format!("{}\n", head(report));
    out.push_str("\nsegments\n  segment     count    values    mapped read only   nowhere   reached\n");
    for line in &report.segments {
        let tally = line.tally;
        let _ = writeln!(
            out,
            "  {:<7} {:>9} {:>9} {:>9} {:>9} {:>9}   {:>7}",
            line.segment,
            line.occurrences,
            tally.all(),
            tally.mapped,
            tally.read_only,
            tally.nowhere,
            reached(tally)
        );
    }
    fields(&mut out, "reached nothing", &report.lost, |tally| tally.nowhere);
    fields(&mut out, "read as condition or identity only", &report.read_only, |tally| tally.read_only);
    if !report.codes.is_empty() {
        let _ = writeln!(out, "\ncodes that their table lacks");
    }
    for line in &report.codes {
        let _ = writeln!(
            out,
            "  {:>7}  {}  `{}`{}\n           {}",
            line.count,
            line.table,
            code_shown(&line.code),
            if line.is_open { "" } else { "  (another table has it, or it is of the header)" },
            example_text(&line.example)
        );
    }
    if !report.failures.is_empty() {
        let _ = writeln!(out, "\nmessages not translated");
    }
    for line in &report.failures {
        let example = example_text(&line.example);
        let _ = writeln!(out, "  {:>7}  [{}] {}\n           {example}", line.count, line.code, line.text);
    }
    unused(&mut out, report);
    if report.unlisted > 0 {
        let _ = writeln!(
            out,
            "\n{} more places, codes or failures are counted in the sums but not listed",
            report.unlisted
        );
    }
    out
}

fn fields(out: &mut String, title: &str, lines: &[FieldLine], count: impl Fn(Tally) -> u64) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for line in lines {
        let name = if line.name.is_empty() { String::new() } else { format!("  {}", line.name) };
        let _ = writeln!(out, "  {:>7} of {}  {}{name}", count(line.tally), line.tally.all(), line.place);
        let why = line.reason.as_ref().map(|(_, text)| format!("{text}; ")).unwrap_or_default();
        let _ = writeln!(out, "           {why}{}", example_text(&line.example));
    }
}

fn unused(out: &mut String, report: &Report) {
    let (used, all) = report.rules;
    let _ = writeln!(out, "\nrules: {used} of {all} used");
    for map in &report.unused {
        if map.unused.len() == map.rules {
            let _ = writeln!(out, "  {}: none of its {} rules", map.map, map.rules);
            continue;
        }
        let _ = writeln!(out, "  {}: {} of {} rules not", map.map, map.unused.len(), map.rules);
        for rule in map.unused.iter().take(UNUSED_SHOWN) {
            let _ = writeln!(out, "    `{}`  {}:{}", rule.target, rule.file, rule.line);
        }
        if let Some(more) = map.unused.len().checked_sub(UNUSED_SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(out, "    and {more} more, which --format json names");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_not_rounded_up() {
        assert_eq!(percent(9_999, 10_000), "99.9 %");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(3, 3), "100.0 %");
        assert_eq!(percent(0, 0), "-");
    }
}
