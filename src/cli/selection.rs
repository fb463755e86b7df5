//! Choosing messages of a data directory, for `messages` and `replay`: where the data is, what is looked for, and what became of each message on each route.
use super::configuration::Configuration;
use crate::config::Config;
use crate::delivery::UNTRANSLATED;
use crate::delivery::past::Pasts;
use crate::facets::{Facets, Outcome};
use crate::journal::{DeadLetter, Error, Limits, Record, State, Unsent, View};
use crate::search::{self, Entry, Filter, Index, Order, Standing, Standings, contains};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Where the data is.
#[derive(Debug, Clone, Args)]
pub struct Place {
    #[command(flatten)]
    pub config: Configuration,
    /// The data directory, instead of the configuration's
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
}

/// What is looked for: everything that is given must hold.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Received at this time or later: 2026-01-31, 2026-01-31T08:30Z, or 90m, 2h, 7d ago; without an offset UTC
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// MSH-10
    #[arg(long, value_name = "ID")]
    control_id: Option<String>,
    /// One of the identifiers in PID-3
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// MSH-9: ADT^A01, ADT, or ^A01
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// MSH-3 or MSH-4; both as "HIS|HARBOR"
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// Where it came in
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// What became of it at intake: received, translated, untranslated, rejected, unreadable, ignored
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Of this route, or `untranslated`; without --status everything that its filter lets through
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// What has become of it on that route, or on any
    #[arg(long, value_enum)]
    status: Option<Wanted>,
    /// A text anywhere in the message, letters in either case
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Read at most so many messages for --text
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    scan_max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Delivered
    Sent,
    /// Not delivered yet
    Waiting,
    /// Given up: a dead letter
    Dead,
    /// Given up, and its dead letter dropped by somebody
    Dropped,
    /// Passed over, as the route says of such replies
    Skipped,
}

/// What has become of a message on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Sent,
    Waiting,
    Dead(DeadLetter),
    /// Dropped by somebody, or passed over by its route.
    Unsent(Unsent),
    /// The filter or the outcome kept it away, or the route came later.
    NotWanted,
    /// Passed by a route: delivered or filtered, by a filter that is not known any more.
    Passed,
}

impl Status {
    pub fn name(&self) -> &'static str {
        match self {
            Status::Sent => "sent",
            Status::Waiting => "waiting",
            Status::Dead(_) => "dead",
            Status::Unsent(Unsent { dropped: true, .. }) => "dropped",
            Status::Unsent(_) => "skipped",
            Status::NotWanted => "not wanted",
            Status::Passed => "passed",
        }
    }
}

/// One message that was looked for.
pub(super) struct Found {
    pub entry: Entry,
    /// By route.
    pub statuses: Vec<(String, Status)>,
    /// The message itself; `None` when the journal cannot read it.
    pub record: Option<Record>,
}

/// A data directory with its configuration, and its index caught up.
pub(super) struct Data {
    pub config: Config,
    pub view: View,
    index: Index,
    pub standings: Standings,
    pasts: Pasts,
}

/// How a selection went.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Scanned {
    /// Messages read for `--text`.
    pub read: u64,
    /// It stopped at `--scan-max`.
    pub cut: bool,
}

const CATCH_UP: Limits = Limits { records_max: 512, bytes_max: 4 << 20 };
/// Fewer are taken in without a word.
const BEHIND_TOLD: u64 = 1000;

impl Place {
    /// The configuration, with `--data` in it; `None` when it is wrong, which has been said.
    pub fn configured(&self) -> Option<Config> {
        match self.config.read() {
            Ok(mut config) => {
                if let Some(data) = &self.data {
                    config.data.clone_from(data);
                    if self.config.file_if_any().is_none() {
                        config.routes.clear(); // The default route is nobody's word for these data.
                    }
                }
                Some(config)
            }
            Err(problems) => {
                eprintln!("{problems}");
                None
            }
        }
    }
}

impl Data {
    /// Opens the data and brings the index up to what is there now.
    pub fn open(config: Config) -> anyhow::Result<Data> {
        let view = View::open(&config.data)?;
        let index = match catch_up(&view) {
            Err(error) if error.is_damage() => {
                eprintln!("the search index is damaged; it is made anew");
                Index::open(view.path())?.discard()?;
                catch_up(&view)?
            }
            index => index?,
        };
        let mut routes: Vec<String> = config.routes.iter().map(|route| route.route.name.clone()).collect();
        for reader in view.state().readers()?.into_iter().chain(view.state().readers_with_dead_letters()?) {
            if !routes.contains(&reader) {
                routes.push(reader);
            }
        }
        let standings = Standings::read(view.state(), &routes)?;
        let pasts = Pasts::read(view.state(), &routes)?;
        Ok(Data { config, view, index, standings, pasts })
    }

    /// Shows each message that is looked for until `each` breaks off.
    pub fn select(
        &mut self,
        selection: &Selection,
        order: Order,
        mut each: impl FnMut(Found) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Scanned> {
        let filter = self.filter(selection)?;
        let mut scanned = Scanned::default();
        let Data { config, view, index, standings, pasts } = self;
        index.search(&filter, order, |entry| {
            if selection.text.is_some() && scanned.read >= selection.scan_max {
                scanned.cut = true;
                return Ok(ControlFlow::Break(()));
            }
            let record = view.record(entry.seq).or_else(|error| match error {
                crate::journal::Error::Pruned { .. } => Ok(None), // A moment ago.
                error => Err(error),
            })?;
            if let Some(text) = &selection.text {
                scanned.read += 1;
                if !record.as_ref().is_some_and(|record| contains(&record.raw, text)) {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            let mut statuses = statuses(config, (standings, pasts), entry.seq, record.as_ref());
            sent_by_hand(view.state(), entry.seq, &mut statuses)?;
            let found = Found { entry, statuses, record };
            if selection.takes(&found) { each(found) } else { Ok(ControlFlow::Continue(())) }
        })?;
        Ok(scanned)
    }

    /// One message by its number.
    pub fn find(&mut self, seq: u64) -> anyhow::Result<Option<Found>> {
        let filter = Filter { only: Some(vec![seq]), ..Filter::default() };
        let Some(entry) = self.index.page(&filter, Order::OldestFirst, 1)?.pop() else { return Ok(None) };
        let record = self.view.record(seq)?;
        let mut statuses = statuses(&self.config, (&self.standings, &self.pasts), seq, record.as_ref());
        sent_by_hand(self.view.state(), seq, &mut statuses)?;
        Ok(Some(Found { entry, statuses, record }))
    }

    /// The newest message of a patient.
    pub fn newest_of(&self, patient: &str) -> anyhow::Result<Option<u64>> {
        let filter = Filter { patient: Some(patient.to_owned()), ..Filter::default() };
        Ok(self.index.page(&filter, Order::NewestFirst, 1)?.pop().map(|entry| entry.seq))
    }

    fn filter(&self, selection: &Selection) -> anyhow::Result<Filter> {
        let now = jiff::Timestamp::now();
        let time = |name: &str, text: &Option<String>| match text {
            Some(text) => Ok(Some(parse_time(text, now).with_context(|| format!("--{name} {text}"))?)),
            None => anyhow::Ok(None),
        };
        let (code, event) = match selection.kind.as_deref().map(|kind| kind.split_once('^').unwrap_or((kind, ""))) {
            Some((code, event)) => {
                let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                // ADT^A01^ADT_A01 is how it stands in the message.
                (given(code), given(event.split('^').next().unwrap_or_default()))
            }
            None => (None, None),
        };
        let outcome = match &selection.outcome {
            Some(name) => {
                let names = Outcome::ALL.map(Outcome::name).join(", ");
                let found = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
                Some(found.with_context(|| format!("--outcome must be one of {names}"))?)
            }
            None => None,
        };
        if let Some(route) = &selection.route
            && !self.standings.routes().any(|known| known == route)
        {
            let known: Vec<_> = self.standings.routes().collect();
            bail!("--route: there is no route {route}; known here: {}", known.join(", "));
        }
        let routes: Vec<&str> = match &selection.route {
            Some(route) => vec![route],
            None => self.standings.routes().collect(),
        };
        let (mut first, mut only) = (None, None);
        match selection.status {
            Some(Wanted::Dead) => {
                let dead = routes.iter().flat_map(|route| self.standings.dead(route)).map(|letter| letter.seq);
                only = Some(dead.collect());
            }
            Some(Wanted::Waiting) => first = routes.iter().filter_map(|route| self.standings.waits_from(route)).min(),
            _ => {}
        }
        Ok(Filter {
            since_ms: time("since", &selection.since)?,
            until_ms: time("until", &selection.until)?,
            control_id: selection.control_id.clone(),
            patient: selection.patient.clone(),
            code,
            event,
            sender: selection.sender.clone(),
            listener: selection.listener.clone(),
            outcome,
            first,
            last: None,
            only,
        })
    }
}

impl Selection {
    /// Whether a dead letter is looked for, and on which route.
    pub fn dead_on(&self) -> Option<&str> {
        self.route.as_deref().filter(|_| self.status == Some(Wanted::Dead))
    }

    /// Whether it chooses everything.
    pub fn is_empty(&self) -> bool {
        self.is_empty_but_listener() && self.listener.is_none()
    }

    /// Whether it chooses everything, but for the listener.
    pub fn is_empty_but_listener(&self) -> bool {
        let texts = [&self.since, &self.until, &self.control_id, &self.patient, &self.kind, &self.sender];
        texts.into_iter().chain([&self.outcome, &self.route, &self.text]).all(Option::is_none) && self.status.is_none()
    }

    /// The listener that is looked for.
    pub fn listener(&self) -> Option<&str> {
        self.listener.as_deref()
    }

    fn takes(&self, found: &Found) -> bool {
        if self.route.is_none() && self.status.is_none() {
            return true;
        }
        let wanted = |status: &Status| match self.status {
            None => !matches!(status, Status::NotWanted),
            Some(Wanted::Sent) => matches!(status, Status::Sent | Status::Passed),
            Some(Wanted::Waiting) => matches!(status, Status::Waiting),
            Some(Wanted::Dead) => matches!(status, Status::Dead(_)),
            Some(Wanted::Dropped) => matches!(status, Status::Unsent(unsent) if unsent.dropped),
            Some(Wanted::Skipped) => matches!(status, Status::Unsent(unsent) if !unsent.dropped),
        };
        let routes =
            found.statuses.iter().filter(|(route, _)| self.route.as_ref().is_none_or(|wanted| wanted == route));
        routes.map(|(_, status)| status).any(wanted)
    }
}

fn catch_up(view: &View) -> Result<Index, crate::search::Error> {
    let mut index = Index::open(view.path())?;
    let mut reader = view.reader()?;
    index.check_against(&mut reader)?;
    let behind = (reader.head() + 1).saturating_sub(index.next()?.max(reader.first()?));
    if behind >= BEHIND_TOLD {
        eprintln!("the search index is {behind} messages behind the journal; catching up");
    }
    while index.follow(&mut reader, CATCH_UP)? > 0 {}
    Ok(index)
}

/// What has become of a message on every route.
fn statuses(
    config: &Config,
    (standings, pasts): (&Standings, &Pasts),
    seq: u64,
    record: Option<&Record>,
) -> Vec<(String, Status)> {
    let facets = record.and_then(|record| Facets::decode(&record.facets).map(|facets| (facets, record)));
    let status = |name: &str| {
        let route = config.routes.iter().find(|options| options.route.name == name).map(|options| &options.route);
        // What it is done with its filter of then has judged; what waits, that of today will.
        let (passed, today) = match &facets {
            Some((facets, record)) => (
                pasts.wanted(name, seq, facets.outcome, &record.raw),
                route.map(|route| route.wants(facets, &record.raw)),
            ),
            None => (None, None),
        };
        match standings.of(name, seq)? {
            Standing::Dead(letter) => Some(Status::Dead(letter.clone())),
            Standing::Unsent(unsent) => Some(Status::Unsent(unsent.clone())),
            // That lane is there for those that it gave up.
            _ if name == UNTRANSLATED => None,
            Standing::Before => Some(Status::NotWanted),
            Standing::Waiting if today == Some(false) => Some(Status::NotWanted),
            Standing::Waiting => Some(Status::Waiting),
            Standing::Settled => Some(match passed {
                Some(true) => Status::Sent,
                Some(false) => Status::NotWanted,
                None => Status::Passed,
            }),
        }
    };
    standings.routes().filter_map(|name| Some((name.to_owned(), status(name)?))).collect()
}

/// What somebody has sent once more and has arrived was sent, whatever a filter says, or when the route began.
fn sent_by_hand(state: &State, seq: u64, statuses: &mut [(String, Status)]) -> Result<(), Error> {
    let open = |status: &Status| matches!(status, Status::NotWanted | Status::Passed);
    if !statuses.iter().any(|(_, status)| open(status)) {
        return Ok(());
    }
    let resends = state.resends(seq)?;
    let arrived = |route: &str| resends.iter().any(|sent| sent.failure.is_none() && sent.reader == route);
    for (_, status) in statuses.iter_mut().filter(|(route, status)| open(status) && arrived(route)) {
        *status = Status::Sent;
    }
    Ok(())
}

/// A time in milliseconds since 1970.
pub(super) fn parse_time(text: &str, now: jiff::Timestamp) -> anyhow::Result<i64> {
    search::parse_time(text, now)
        .context("is no time: write 2026-01-31, 2026-01-31T08:30Z, or how long ago, as 90m, 2h, 7d")
}

/// As it may be shown in a terminal: a text of a message may hold anything.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// A time as it is shown.
pub(super) fn shown_time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_message_moves_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r"), "a?[2Jb?");
    }
}
