//! `handoff messages show`: facts, findings of the translation, and what became of the message on each route.
use super::super::files::{Format, failure_line};
use super::super::selection::{Data, Found, Status, plain, shown_time};
use super::super::serve::with_plans;
use super::facts;
use crate::delivery::Plans;
use crate::facets::Facets;
use crate::hl7::{Index, SegmentId};
use crate::journal::Record;
use crate::mapping::{Context, Scratch};
use crate::server::by_name;
use clap::Args;
use std::io::Write as _;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Its number in the journal
    #[arg(value_name = "NUMBER")]
    seq: u64,
    /// Print only the message as it came
    #[arg(long, group = "only")]
    raw: bool,
    /// Print only its Bundle, translated again
    #[arg(long, group = "only")]
    fhir: bool,
    /// Print only the acknowledgement that was sent for it
    #[arg(long, group = "only")]
    ack: bool,
    /// For people, or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Show the identifiers of the patient as well
    #[arg(long)]
    phi: bool,
}

/// What translating it once more gives.
#[derive(Default)]
struct Translation {
    bundle: Vec<u8>,
    findings: Vec<String>,
    failure: Option<String>,
}

pub(super) fn run(data: &mut Data, args: &ShowArgs) -> anyhow::Result<bool> {
    let Some(found) = data.find(args.seq)? else {
        eprintln!("the journal has no message {}: it was pruned, is damaged, or has not come yet", args.seq);
        return Ok(false);
    };
    let Some(record) = &found.record else {
        eprintln!("the journal cannot read message {}; `handoff journal verify` tells what is damaged", args.seq);
        return Ok(false);
    };
    let mut out = std::io::stdout().lock();
    if args.raw || args.ack {
        out.write_all(if args.raw { &record.raw } else { &record.ack })?;
        return Ok(args.raw || !record.ack.is_empty());
    }
    let translation = translate(data, record)?;
    if args.fhir {
        out.write_all(&translation.bundle)?;
        if let Some(failure) = translation.failure {
            eprintln!("{failure}");
            return Ok(false);
        }
        writeln!(out)?;
        return Ok(true);
    }
    if args.format == Format::Json {
        let mut told = facts(&found, args.phi);
        told["message_id"] = message_id(record).into();
        told["acknowledged"] = acknowledged(record).into();
        told["findings"] = translation.findings.into();
        told["failure"] = translation.failure.into();
        writeln!(out, "{told}")?;
    } else {
        write_text(&mut out, &found, record, &translation, args.phi)?;
    }
    Ok(true)
}

fn write_text(
    out: &mut impl std::io::Write,
    found: &Found,
    record: &Record,
    translation: &Translation,
    phi: bool,
) -> std::io::Result<()> {
    let entry = &found.entry;
    let pair = |left: &str, right: &str| format!("{left}|{right}");
    let mut facts = vec![
        ("number", entry.seq.to_string()),
        ("received", shown_time(entry.received_ms)),
        ("event time", entry.event_ms.map(shown_time).unwrap_or_default()),
        ("listener", entry.listener.clone()),
        ("sender", pair(&entry.sending_application, &entry.sending_facility)),
        ("receiver", pair(&entry.receiving_application, &entry.receiving_facility)),
        ("type", entry.kind()),
        ("structure", entry.structure.clone()),
        ("control id", entry.control_id.clone()),
        ("message id", message_id(record)),
        ("outcome", entry.outcome.name().into()),
        ("acknowledged", acknowledged(record)),
        ("bytes", entry.bytes.to_string()),
    ];
    if phi {
        facts.push(("patient", entry.patients.join(", ")));
    }
    for (name, value) in facts {
        writeln!(out, "{name:<13}{}", plain(&value))?;
    }
    for (route, status) in &found.statuses {
        match status {
            Status::Dead(letter) => writeln!(
                out,
                "route {route}: dead, given up {} after {} attempts: {}",
                shown_time(letter.at_ms),
                letter.attempts,
                plain(&letter.reason)
            )?,
            Status::Unsent(unsent) => {
                let (how, at) = (status.name(), shown_time(unsent.at_ms));
                writeln!(out, "route {route}: {how} {at}, it has not arrived: {}", plain(&unsent.reason))?
            }
            status => writeln!(out, "route {route}: {}", status.name())?,
        }
    }
    for text in translation.findings.iter().chain(&translation.failure) {
        writeln!(out, "{}", plain(text))?;
    }
    Ok(())
}

/// Translates it as it was when it came, where those mappings are still there, else by those of its listener today.
fn translate(data: &Data, record: &Record) -> anyhow::Result<Translation> {
    let listeners = with_plans(data.config.mappings.clone(), data.config.listeners.clone())?;
    let plans = Plans::read_from(data.config.data.join("plans"));
    plans.replace(&by_name(&listeners))?;
    let none = |why: &str| Ok(Translation { failure: Some(why.into()), ..Translation::default() });
    let Some(facets) = Facets::decode(&record.facets) else {
        return none("its facets were written by another version: it cannot be translated");
    };
    let Some(plan) = plans.find(&facets) else {
        return none("its listener is not in this configuration: no mappings are known for it (give --config)");
    };
    let mut scratch = Scratch::new();
    let received = jiff::Timestamp::from_millisecond(facets.received_ms).map(|time| time.to_string());
    let context = Context { received_at: received.as_deref().ok() };
    let translated = plan.translate(&record.raw, &context, &mut scratch);
    let mut findings = Vec::new();
    for finding in scratch.findings() {
        let line =
            format!("warning[{}]: {}", finding.code.as_str(), finding.render(&plan, scratch.message(&record.raw)));
        if !findings.contains(&line) {
            findings.push(line);
        }
    }
    Ok(match translated {
        Ok(()) => Translation { bundle: scratch.bundle().to_vec(), findings, failure: None },
        Err(failure) => {
            Translation { findings, failure: Some(failure_line("translation", &failure)), ..Translation::default() }
        }
    })
}

fn message_id(record: &Record) -> String {
    Facets::decode(&record.facets).map(|facets| facets.message_id_text()).unwrap_or_default()
}

/// MSA-1 of the acknowledgement.
fn acknowledged(record: &Record) -> String {
    let mut index = Index::new();
    if record.ack.is_empty() || index.parse(&record.ack).is_err() {
        return "no".into();
    }
    let ack = index.message(&record.ack);
    let code = ack.find(SegmentId(*b"MSA")).map(|msa| String::from_utf8_lossy(ack.text(msa, 1)).into_owned());
    code.unwrap_or_else(|| "no".into())
}
