//! `handoff translate`: messages in files → one FHIR Bundle a line.
use super::files::{Layers, failure_line, load, messages, read_messages};
use crate::hl7::BatchNote;
use crate::mapping::{Context, Plan, Scratch};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Translate HL7 v2 messages to FHIR R4: one Bundle a line, in input order
#[derive(Debug, Args)]
pub struct TranslateArgs {
    #[command(flatten)]
    layers: Layers,
    /// Bundle.timestamp (a FHIR instant); default: MSH-7 of each message
    #[arg(long, value_name = "TIME")]
    received_at: Option<String>,
    /// Indent the JSON
    #[arg(long)]
    pretty: bool,
    /// No diagnostics on standard error
    #[arg(long, short)]
    quiet: bool,
    /// Files of messages or batches; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command: exit 0 when all messages were translated, 1 when some failed.
///
/// # Errors
/// When the mappings do not compile or standard output breaks.
pub fn run(args: &TranslateArgs) -> anyhow::Result<ExitCode> {
    if let Some(time) = &args.received_at
        && time.parse::<jiff::Timestamp>().is_err()
    {
        anyhow::bail!("--received-at: `{time}` is no FHIR instant; write one such as 2026-01-31T08:30:00Z");
    }
    let plan = load(&args.layers)?;
    let mut job =
        Job { plan, args, scratch: Scratch::new(), failed: 0, out: std::io::BufWriter::new(std::io::stdout().lock()) };
    for file in &args.files {
        let name = file.display().to_string();
        match read_messages(file) {
            Ok(bytes) => job.file(&name, &bytes)?,
            Err(error) => {
                eprintln!("{name}: error: {error:#}");
                job.failed += 1;
            }
        }
    }
    job.out.flush()?;
    Ok(ExitCode::from(u8::from(job.failed > 0)))
}

struct Job<'a, W: Write> {
    plan: Plan,
    args: &'a TranslateArgs,
    scratch: Scratch,
    failed: usize,
    out: W,
}

impl<W: Write> Job<'_, W> {
    fn file(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (messages, notes) = messages(name, bytes);
        for (label, span) in messages {
            self.message(&label, &bytes[span])?;
        }
        for note in &notes {
            self.note(name, note);
        }
        Ok(())
    }

    fn note(&mut self, name: &str, note: &BatchNote) {
        if !self.args.quiet {
            eprintln!("{name}: warning: {note}");
        }
    }

    fn message(&mut self, label: &str, raw: &[u8]) -> anyhow::Result<()> {
        let context = Context { received_at: self.args.received_at.as_deref() };
        if let Err(failure) = self.plan.translate(raw, &context, &mut self.scratch) {
            self.failed += 1;
            eprintln!("{}", failure_line(label, &failure));
            return Ok(());
        }
        if self.args.pretty {
            let value: serde_json::Value = serde_json::from_slice(self.scratch.bundle())?;
            serde_json::to_writer_pretty(&mut self.out, &value)?;
        } else {
            self.out.write_all(self.scratch.bundle())?;
        }
        self.out.write_all(b"\n")?;
        if !self.args.quiet && !self.scratch.findings().is_empty() {
            let message = self.scratch.message(raw);
            let mut lines: Vec<String> = Vec::new();
            for finding in self.scratch.findings() {
                let line =
                    format!("{label}: warning[{}]: {}", finding.code.as_str(), finding.render(&self.plan, message));
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
            for line in lines {
                eprintln!("{line}");
            }
        }
        Ok(())
    }
}
