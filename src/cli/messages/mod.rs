//! `handoff messages`: what the journal holds, found, shown and exported. Reads the data directory itself, so that it works while the gateway runs and when it is down.
//!
//! A listing shows nothing of a patient unless `--phi` asks for it; `show --raw`, `--fhir` and `--ack` and `export` are asked for by name.
mod export;
mod show;

use super::files::Format;
use super::selection::{Data, Found, Place, Selection, Status, plain, shown_time};
use crate::search::Order;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

/// Find, show and export the messages of the journal
#[derive(Debug, Args)]
pub struct MessagesArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One line each, the newest first: number, received, type, control id, sender, listener, outcome, bytes, what became of it on each route
    Search(SearchArgs),
    /// Everything that is known of one message
    Show(show::ShowArgs),
    /// Write messages to a file or a folder, the oldest first
    Export(export::ExportArgs),
}

#[derive(Debug, Args)]
struct SearchArgs {
    #[command(flatten)]
    selection: Selection,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// For people, or for programs: one JSON object a line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Show the identifiers of the patient as well
    #[arg(long)]
    phi: bool,
}

/// Runs the command: exit 0, 1 when nothing was found, 2 when the data, the configuration or the arguments are no good.
///
/// # Errors
/// A data directory or file that cannot be used.
pub fn run(args: MessagesArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.place.configured() else { return Ok(ExitCode::from(2)) };
    let mut data = Data::open(config)?;
    let found = match args.what {
        What::Search(args) => search(&mut data, &args)?,
        What::Show(args) => show::run(&mut data, &args)?,
        What::Export(args) => export::run(&mut data, &args)?,
    };
    Ok(ExitCode::from(u8::from(!found)))
}

fn search(data: &mut Data, args: &SearchArgs) -> anyhow::Result<bool> {
    let order = if args.oldest_first { Order::OldestFirst } else { Order::NewestFirst };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut shown, mut more) = (0, false);
    let scanned = data.select(&args.selection, order, |found| {
        if shown == args.limit {
            more = true;
            return Ok(ControlFlow::Break(()));
        }
        shown += 1;
        match args.format {
            Format::Text => writeln!(out, "{}", line(&found, args.phi))?,
            Format::Json => writeln!(out, "{}", facts(&found, args.phi))?,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    out.flush()?;
    if more {
        eprintln!("there are more; --limit shows them");
    }
    if scanned.read > 0 {
        let cut = if scanned.cut { "; stopped there: narrow the search, or raise --scan-max" } else { "" };
        eprintln!("{} messages read for the text{cut}", scanned.read);
    }
    Ok(shown > 0)
}

fn line(found: &Found, phi: bool) -> String {
    let entry = &found.entry;
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { plain(text).replace(' ', "_") };
    let routes: Vec<String> =
        found.statuses.iter().map(|(route, status)| format!("{route}={}", status.name().replace(' ', "-"))).collect();
    let mut line = format!(
        "{} {} {} {} {}|{} {} {} {} {}",
        entry.seq,
        shown_time(entry.received_ms),
        dash(&entry.kind()),
        dash(&entry.control_id),
        plain(&entry.sending_application),
        plain(&entry.sending_facility),
        dash(&entry.listener),
        entry.outcome.name(),
        entry.bytes,
        dash(&routes.join(",")),
    );
    if phi {
        line.push_str(&format!(" {}", dash(&entry.patients.join(","))));
    }
    line
}

/// A message as a JSON object.
fn facts(found: &Found, phi: bool) -> Value {
    let entry = &found.entry;
    let routes: serde_json::Map<String, Value> = found
        .statuses
        .iter()
        .map(|(route, status)| {
            let mut told = json!({ "status": status.name() });
            if let Status::Dead(letter) = status {
                told["reason"] = letter.reason.as_str().into();
                told["attempts"] = letter.attempts.into();
                told["at"] = shown_time(letter.at_ms).into();
            }
            if let Status::Unsent(unsent) = status {
                told["reason"] = unsent.reason.as_str().into();
                told["at"] = shown_time(unsent.at_ms).into();
            }
            (route.clone(), told)
        })
        .collect();
    let mut facts = json!({
        "seq": entry.seq,
        "received": shown_time(entry.received_ms),
        "event_time": entry.event_ms.map(shown_time),
        "listener": entry.listener,
        "sender": [entry.sending_application, entry.sending_facility],
        "receiver": [entry.receiving_application, entry.receiving_facility],
        "type": entry.kind(),
        "structure": entry.structure,
        "control_id": entry.control_id,
        "outcome": entry.outcome.name(),
        "bytes": entry.bytes,
        "routes": routes,
    });
    if phi {
        facts["patients"] = entry.patients.clone().into();
    }
    facts
}
