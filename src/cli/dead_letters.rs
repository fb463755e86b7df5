//! `handoff dead-letters`: what routes gave up, and what is to become of it, of one or of many. Reads the data directory itself, so that it works while the gateway runs and when it is down.
mod many;

use super::configuration::Configuration;
use super::serve::{plans, with_plans};
use crate::config::Config;
use crate::delivery::resend::{self, Despite, Outlets, ResendError, Sent};
use crate::facets::Facets;
use crate::journal::{DeadLetter, View};
use crate::server::tally::Cause;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use many::Many;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// List, show, send again and drop what could not be delivered
#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    config: Configuration,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One line each: route, number, when, attempts, type, why
    List {
        /// Of this route only
        #[arg(long, value_name = "NAME")]
        route: Option<String>,
    },
    /// Print the message as it came, and on standard error why it was given up
    Show(Letter),
    /// Translate and deliver once more, now; what arrives is no dead letter any more. One by its number, or many with --route
    Resend {
        #[command(flatten)]
        which: Which,
        /// Send the message in this file instead, an edited copy
        #[arg(long, value_name = "FILE", conflicts_with = "of")]
        with: Option<PathBuf>,
        /// Send it even where newer messages of its patient have gone out, whose state it would replace
        #[arg(long)]
        anyway: bool,
    },
    /// Forget it; the message stays in the journal. One by its number, or many with --route
    Drop(Which),
}

#[derive(Debug, Args)]
struct Letter {
    /// The route, or `untranslated`
    #[arg(value_name = "ROUTE")]
    route: String,
    /// Its number in the journal
    #[arg(value_name = "NUMBER")]
    number: u64,
}

#[derive(Debug, Args)]
struct Which {
    /// The route, or `untranslated`
    #[arg(value_name = "ROUTE", required_unless_present = "of", requires = "number")]
    route: Option<String>,
    /// Its number in the journal
    #[arg(value_name = "NUMBER")]
    number: Option<u64>,
    #[command(flatten)]
    many: Many,
}

impl Which {
    /// The one that is named.
    fn one(&self) -> Option<Letter> {
        Some(Letter { route: self.route.clone()?, number: self.number? })
    }
}

/// Runs the command: exit 0, 1 when there is no such dead letter or it did not arrive, 2 when the data or the configuration cannot be read.
///
/// # Errors
/// A data directory or file that cannot be used.
pub fn run(args: DeadLettersArgs) -> anyhow::Result<ExitCode> {
    let config = match args.config.read() {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut view = View::open(&config.data)?;
    let done = match args.what {
        What::List { route } => list(&mut view, route)?,
        What::Show(letter) => show(&mut view, &letter)?,
        What::Drop(which) => match which.one() {
            Some(letter) => drop_letter(&view, &letter)?,
            None => drop_many(&view, &which.many)?,
        },
        What::Resend { which, with, anyway } => match which.one() {
            Some(letter) => send_again(&mut view, &letter, with, anyway, config)?,
            None => send_many(&mut view, &which.many, anyway, config)?,
        },
    };
    Ok(ExitCode::from(u8::from(!done)))
}

fn list(view: &mut View, route: Option<String>) -> anyhow::Result<bool> {
    let routes = match route {
        Some(route) => vec![route],
        None => view.state().readers_with_dead_letters()?,
    };
    let mut out = std::io::stdout().lock();
    for route in routes {
        for letter in view.state().dead_letters(&route)? {
            let at = jiff::Timestamp::from_millisecond(letter.at_ms).map(|at| at.to_string()).unwrap_or_default();
            let kind = kind(view, &letter);
            writeln!(out, "{route} {} {at} {} {kind} {}", letter.seq, letter.attempts, letter.reason)?;
        }
    }
    Ok(true)
}

/// `ADT^A01`, or `-` where the record cannot be read.
fn kind(view: &mut View, letter: &DeadLetter) -> String {
    let record = view.record(letter.seq).ok().flatten();
    let plain = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let named = record.as_ref().and_then(|record| Facets::decode(&record.facets)).map(|facets| {
        let (code, event): (String, String) = (plain(facets.code), plain(facets.event));
        format!("{code}^{event}")
    });
    named.filter(|kind| kind != "^").unwrap_or_else(|| "-".into())
}

fn find(view: &View, letter: &Letter) -> anyhow::Result<Option<DeadLetter>> {
    let letters = view.state().dead_letters(&letter.route)?;
    let found = letters.into_iter().find(|found| found.seq == letter.number);
    if found.is_none() {
        eprintln!(
            "route {} has no dead letter {}; `handoff dead-letters list` tells which there are",
            letter.route, letter.number
        );
    }
    Ok(found)
}

fn show(view: &mut View, letter: &Letter) -> anyhow::Result<bool> {
    let Some(found) = find(view, letter)? else { return Ok(false) };
    eprintln!("given up after {} attempts: {}", found.attempts, found.reason);
    match view.record(letter.number)? {
        Some(record) => {
            std::io::stdout().write_all(&record.raw)?;
            Ok(true)
        }
        None => {
            eprintln!("the journal cannot read it: records {} to {} are damaged", found.seq, found.last);
            Ok(false)
        }
    }
}

fn drop_letter(view: &View, letter: &Letter) -> anyhow::Result<bool> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let dropped =
        find(view, letter)?.is_some() && view.state().drop_dead_letter(&letter.route, letter.number, now_ms)?;
    if dropped {
        println!("dropped {} {}", letter.route, letter.number);
    }
    Ok(dropped)
}

fn drop_many(view: &View, many: &Many) -> anyhow::Result<bool> {
    let Some((route, letters)) = many.chosen(view.state(), "dropped")? else { return Ok(true) };
    let (now_ms, mut dropped) = (jiff::Timestamp::now().as_millisecond(), 0);
    for letter in &letters {
        dropped += usize::from(view.state().drop_dead_letter(&route, letter.seq, now_ms)?);
    }
    println!("{dropped} dropped");
    Ok(dropped == letters.len())
}

fn send_again(
    view: &mut View,
    letter: &Letter,
    with: Option<PathBuf>,
    anyway: bool,
    config: Config,
) -> anyhow::Result<bool> {
    let Some(found) = find(view, letter)? else { return Ok(false) };
    let Some(mut record) = view.record(letter.number)? else {
        eprintln!("the journal cannot read the message; `--with FILE` needs it as well, for where it came from");
        return Ok(false);
    };
    let edited = with.is_some();
    if let Some(path) = with {
        let raw = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        record = resend::edited(record, raw).map_err(anyhow::Error::msg)?;
    }
    let outlets = Outlets { edited, ..outlets(config)? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    told(found.seq, runtime.block_on(resend::letter(view, &letter.route, &found, record, &outlets, despite(anyway))))
}

fn send_many(view: &mut View, many: &Many, anyway: bool, config: Config) -> anyhow::Result<bool> {
    let Some((route, letters)) = many.chosen(view.state(), "sent again")? else { return Ok(true) };
    let (outlets, mut arrived, mut left) = (outlets(config)?, 0, BTreeMap::<&str, u64>::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // In their order: what comes later of a patient must not have gone out when what came before does.
    for letter in &letters {
        // Since they were listed the gateway, or somebody at its desk, may have sent or dropped it.
        let Some(letter) = view.state().dead_letter(&route, letter.seq)? else {
            eprintln!("not sent {}: it is no dead letter any more, sent or dropped meanwhile", letter.seq);
            *left.entry(Cause::Gone.name()).or_default() += 1;
            continue;
        };
        let Some(record) = view.record(letter.seq)? else {
            eprintln!("not sent {}: the journal cannot read the message", letter.seq);
            *left.entry(Cause::Gone.name()).or_default() += 1;
            continue;
        };
        let sent = runtime.block_on(resend::letter(view, &route, &letter, record, &outlets, despite(anyway)));
        match cause(&sent) {
            None => arrived += 1,
            Some(cause) => *left.entry(cause.name()).or_default() += 1,
        }
        told(letter.seq, sent)?;
    }
    println!("{arrived} of {} sent again", letters.len());
    for (name, count) in left {
        println!("{count} not: {name}");
    }
    Ok(arrived == letters.len())
}

/// What `--anyway` says.
fn despite(newer: bool) -> Despite {
    Despite { newer, filter: false }
}

/// Why one has not arrived, in a word.
fn cause(sent: &Result<Vec<Sent>, ResendError>) -> Option<Cause> {
    match sent {
        Ok(sent) => sent.iter().find_map(|sent| sent.failure.as_deref()).map(Cause::of_failure),
        Err(error) => Some(Cause::of_letter(error)),
    }
}

fn outlets(mut config: Config) -> anyhow::Result<Outlets> {
    let plans = plans(&with_plans(config.mappings.take(), config.listeners)?)?;
    let who = "handoff dead-letters".into();
    let by = resend::Mappings::Current;
    Ok(Outlets { plans: Arc::new(plans), routes: config.routes, doors: BTreeMap::new(), by, edited: false, who })
}

/// Says what has come of a message; whether it has arrived.
fn told(number: u64, sent: Result<Vec<Sent>, ResendError>) -> anyhow::Result<bool> {
    let sent = match sent {
        Ok(sent) => sent,
        Err(ResendError::Store(error)) => return Err(error.into()),
        Err(why @ ResendError::NoRoute) => {
            eprintln!("not sent {number}: {why}: name the configuration of the gateway with --config, or drop it");
            return Ok(false);
        }
        Err(why) => {
            eprintln!("not sent {number}: {why}");
            return Ok(false);
        }
    };
    for sent in &sent {
        match &sent.failure {
            None => println!("sent {number} to {}", sent.route),
            Some(reason) => eprintln!("not sent {number} to {}: {reason}", sent.route),
        }
    }
    Ok(sent.iter().all(|sent| sent.failure.is_none()))
}
