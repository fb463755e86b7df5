//! `handoff rosters explain`: for each message, whom of the rosters its patient is, and what was tried to find that out.
use super::super::files::{Format, messages, read_messages};
use crate::coordination::patient;
use crate::coordination::roster::{Aliases, Explanation, How, Match, Options, Part, PersonKey, Snapshot, Step};
use crate::hl7::{Index, transcode};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Show the names, dates of birth and identifiers of the members that are told of
    #[arg(long)]
    phi: bool,
    /// A file of messages or a batch; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Explains each message; whether all could be read.
pub(super) fn run(args: &ExplainArgs, options: &Options, format: Format) -> anyhow::Result<bool> {
    let name = args.file.display().to_string();
    let bytes = match read_messages(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{name}: error: {error:#}");
            return Ok(false);
        }
    };
    let snapshot = super::members(options)?;
    let (mut good, mut list, mut index) = (true, Vec::new(), Index::new());
    for (label, span) in messages(&name, &bytes).0 {
        let raw = transcode(&bytes[span]);
        if let Err(error) = index.parse(&raw) {
            good = false;
            eprintln!("{label}: error: {error}");
            continue;
        }
        let Some(patient) = patient(index.message(&raw)) else {
            good = false;
            eprintln!("{label}: error: it has no PID segment");
            continue;
        };
        let explained = snapshot.explain(&patient, &Aliases::default());
        if format == Format::Json {
            let mut object = json!({ "message": label });
            let said = explained.json(&snapshot, args.phi);
            if let (Value::Object(object), Value::Object(said)) = (&mut object, said) {
                object.extend(said);
            }
            list.push(object);
        } else {
            print(&label, &explained, &snapshot, args.phi);
        }
    }
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&list)?);
    }
    Ok(good)
}

fn print(label: &str, explained: &Explanation, snapshot: &Snapshot, phi: bool) {
    let found = match &explained.found {
        Match::Person(key, How::Score(score)) => format!("score {score:.3}: {}", shown(*key, snapshot, phi)),
        Match::Person(key, how) => format!("{}: {}", how.name(), shown(*key, snapshot, phi)),
        Match::Review { reason, .. } => format!("review ({}): {reason}", reason.name()),
        Match::None => "nobody of the rosters".to_owned(),
    };
    println!("{label}: {found}");
    if let Match::Person(key, _) = &explained.found {
        for one in snapshot.memberships(key) {
            let day = |day: Option<jiff::civil::Date>| day.map_or_else(String::new, |day| day.to_string());
            println!("  member  {} {}..{}", one.panel.id, day(one.start), day(one.end));
        }
    }
    if let Match::Review { candidates, .. } = &explained.found {
        candidates.iter().for_each(|key| println!("  may be  {}", shown(*key, snapshot, phi)));
    }
    for step in &explained.steps {
        print_step(step, snapshot, phi);
    }
}

fn print_step(step: &Step, snapshot: &Snapshot, phi: bool) {
    match step {
        Step::Identifier { system, people, alias, confirmed } => {
            let kind = if *alias { "alias" } else { "identifier" };
            println!("  {kind} of {system}: {} people, {} confirmed by strong_guard", people.len(), confirmed.len());
        }
        Step::Fields { set, people } => println!("  set {set}: {} people", people.len()),
        Step::Broad { block } => println!("  block {block}: more people than are looked at"),
        Step::Compared { person, score, parts, another_given } => {
            let score = score.map_or_else(|| "below review".to_owned(), |score| format!("{score:.3}"));
            let twin = if *another_given { ", another given name (given_min)" } else { "" };
            println!("  compared with {}: {score}{twin}", shown(*person, snapshot, phi));
            for Part { field, alike, adds, most } in parts {
                let alike = alike.map_or_else(|| "not told".to_owned(), |alike| format!("alike {alike:.3}"));
                println!("    {:<8} {adds:.3} of {most:.3}  {alike}", field.name());
            }
        }
    }
}

/// A key, and who it is where that may be shown.
fn shown(key: PersonKey, snapshot: &Snapshot, phi: bool) -> String {
    match snapshot.about(&key).filter(|_| phi) {
        Some(about) => format!("{key} {}, {} {}", about.family, about.given, about.birth),
        None => key.to_string(),
    }
}
