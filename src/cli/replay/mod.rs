//! `handoff replay`: messages of the journal, or of files, once more: to a route, a receiver, a file, or nowhere; or only compared with what other mappings make of them.
//!
//! What is replayed goes past the order of its route: it is delivered now, by this command. So a patient of whom the journal holds something newer than what is replayed would
//! be set back; that is refused unless `--overwrite` says that it is meant.
mod compare;
mod source;
mod target;

use super::selection::{Data, Place, Selection};
use super::serve::{plans, with_plans};
use crate::config::Config;
use anyhow::{Context as _, bail};
use clap::Args;
use source::{Message, Source};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use target::{Sender, Sent, To};

/// Send messages of the journal, or of files, once more
///
/// A replayed message is delivered at once, beside the order of its route. Where the journal holds newer messages of the same patient than those that are replayed, the receiver
/// would be set back to older data: such a replay to a route is refused unless --overwrite is given.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// All messages of the journal that are chosen by nothing else
    #[arg(long)]
    all: bool,
    /// Where to: route:NAME, mllp:HOST:PORT, file:PATH (NDJSON of Bundles), or none (translated and counted)
    #[arg(long, value_name = "TARGET", required_unless_present_any = ["diff_against", "diff_site"])]
    to: Option<String>,
    /// How fast: original (as they were received), 10x (so many times as fast), or flat (one after the other)
    #[arg(long, value_name = "PACE", default_value = "flat")]
    pace: String,
    /// At most so many messages
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Replay to a route also what would overwrite newer data
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    against: compare::Against,
    /// Files of messages or batches instead of the journal; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// When a message is due.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    Flat,
    Times(f64),
}

/// Deliveries tried for one message.
const ATTEMPTS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Totals {
    delivered: usize,
    failed: usize,
    not_wanted: usize,
    unsent: usize,
    bytes: usize,
}

/// Runs the command: exit 0 when all that was wanted has arrived, 1 when some has not or nothing was found, 2 when the arguments, the data or the configuration are no good.
///
/// # Errors
/// Arguments, files or data that cannot be used; nothing was sent then.
pub fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let pace = parse_pace(&args.pace)?;
    // Without a target only a comparison is asked for, which delivers nothing.
    let to = args.to.as_deref().map_or(Ok(To::None), To::parse)?;
    if args.files.is_empty() && !args.all && args.selection.is_empty() {
        bail!("nothing is chosen: give filters such as --since 2h, files, or --all for the whole journal");
    }
    let Some(config) = args.place.configured() else { return Ok(ExitCode::from(2)) };
    if args.against.is_given() {
        // Read first: what is no good is told before the journal is searched.
        let plans = args.against.plans(config.mappings.as_ref(), &config.listeners)?;
        let mut source = chosen(&args, config, &to)?;
        return args.against.run(&mut source, &plans);
    }
    let plans = plans(&with_plans(config.mappings.clone(), config.listeners.clone())?)?;
    let mut sender = Sender::new(&to, &config, plans)?;
    let mut source = chosen(&args, config, &to)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let started = Instant::now();
    let totals = runtime.block_on(replay(&mut source, &mut sender, pace))?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = (totals.delivered + totals.failed) as f64 / seconds.max(0.001);
    eprintln!(
        "{} {}, {} failed, {} not wanted by the route, {} not sent, {} bytes in {seconds:.2} s ({rate:.0}/s)",
        totals.delivered,
        to.done(),
        totals.failed,
        totals.not_wanted,
        totals.unsent,
        totals.bytes
    );
    let nothing = totals.delivered + totals.failed + totals.not_wanted + totals.unsent == 0;
    Ok(ExitCode::from(u8::from(nothing || totals.failed + totals.unsent > 0)))
}

/// What is replayed: the files, or what was chosen from the journal.
fn chosen(args: &ReplayArgs, config: Config, to: &To) -> anyhow::Result<Source> {
    if args.files.is_empty() {
        let mut data = Data::open(config)?;
        let chosen = source::choose(&mut data, &args.selection, args.limit)?;
        guard(&data, &chosen, to, args.overwrite)?;
        let letters = args.selection.dead_on().filter(|route| to.route() == Some(*route)).map(str::to_owned);
        Ok(Source::Journal { data: Box::new(data), seqs: chosen.seqs.into_iter(), letters })
    } else {
        if args.all || !args.selection.is_empty_but_listener() {
            bail!("filters choose from the journal; of files everything is replayed");
        }
        let listener =
            args.selection.listener().map_or_else(|| default_listener(&config.listeners), |name| Ok(name.into()))?;
        Source::files(&args.files, &listener, args.limit)
    }
}

/// Files do not say where they came in; with one listener there is no doubt.
fn default_listener(listeners: &[crate::server::Listener]) -> anyhow::Result<String> {
    match listeners {
        [one] => Ok(one.name.clone()),
        _ => bail!(
            "the configuration has several listeners: name the one whose mappings the files are for with --listener"
        ),
    }
}

/// Nothing newer is overwritten by mistake, and nobody is told late that a route has not come so far itself.
fn guard(data: &Data, chosen: &source::Chosen, to: &To, overwrite: bool) -> anyhow::Result<()> {
    let Some(&last) = chosen.seqs.last() else { return Ok(()) };
    if let Some(route) = to.route()
        && let Some(waits) = data.standings.waits_from(route)
        && waits <= last
    {
        eprintln!(
            "warning: route {route} itself has not delivered all up to {last} yet (it stands at {waits}): some of these will arrive twice, and perhaps before older ones"
        );
    }
    if matches!(to, To::None | To::File(_)) {
        return Ok(());
    }
    let newer = source::superseded(data, chosen)?;
    let Some((patients, example)) = newer else { return Ok(()) };
    let told = format!(
        "the journal holds newer messages of {patients} of the patients than those that are replayed (such as {example}): the receiver would be set back to older data"
    );
    if to.route().is_some() && !overwrite {
        bail!("{told}; nothing was sent. Choose up to the newest (no --until), or say --overwrite");
    }
    eprintln!("warning: {told}");
    Ok(())
}

async fn replay(source: &mut Source, sender: &mut Sender, pace: Pace) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    let started = Instant::now();
    let mut first_ms = None;
    let mut reachable = true;
    while let Some(message) = source.next()? {
        let message = match message {
            Message::Readable(message) => message,
            Message::Unreadable(label) => {
                eprintln!("{label}: cannot be read");
                totals.failed += 1;
                continue;
            }
        };
        if !reachable {
            totals.unsent += 1;
            continue;
        }
        if let (Pace::Times(times), Some(at)) = (pace, message.at_ms) {
            let after = at.saturating_sub(*first_ms.get_or_insert(at)).max(0);
            let due = started + Duration::from_secs_f64(after as f64 / 1000.0 / times);
            tokio::time::sleep_until(due.into()).await;
        }
        totals.bytes += message.record.raw.len();
        let sent = sender.send(&message, ATTEMPTS_MAX, PAUSE).await;
        match sent {
            Sent::Arrived => {
                totals.delivered += 1;
                source.arrived(&message)?;
            }
            Sent::NotWanted => totals.not_wanted += 1,
            Sent::Failed(reason) => {
                eprintln!("{}: {reason}", message.label);
                totals.failed += 1;
            }
            Sent::OutOfReach(reason) => {
                eprintln!("{}: {reason}", message.label);
                totals.failed += 1;
                reachable = false;
            }
        }
    }
    Ok(totals)
}

fn parse_pace(text: &str) -> anyhow::Result<Pace> {
    let times = text.strip_suffix('x').and_then(|times| times.parse::<f64>().ok());
    match (text, times) {
        ("flat", _) => Ok(Pace::Flat),
        ("original", _) => Ok(Pace::Times(1.0)),
        (_, Some(times)) if times.is_finite() && times >= 0.001 => Ok(Pace::Times(times)),
        _ => bail!("--pace must be original, flat, or how many times as fast, such as 10x, not {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces() {
        assert_eq!(parse_pace("flat").unwrap(), Pace::Flat);
        assert_eq!(parse_pace("original").unwrap(), Pace::Times(1.0));
        assert_eq!(parse_pace("2.5x").unwrap(), Pace::Times(2.5));
        assert!(["", "x", "0x", "-1x", "fast", "NaNx", "infx"].into_iter().all(|text| parse_pace(text).is_err()));
    }
}
