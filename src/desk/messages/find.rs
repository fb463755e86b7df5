//! Finding a page of messages. All of it blocks, and ends in time.
use super::asked::Asked;
use crate::admin::api;
use crate::admin::problem::Problem;
use crate::delivery::Options;
use crate::delivery::past::Pasts;
use crate::journal::{Limits, View};
use crate::search::{Entry, Index, Look, Order, Standings, contains};
use crate::server::chosen::Chosen;
use crate::server::fate::{self, Became, Status};
use axum::http::StatusCode;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

/// Messages of a page.
pub(super) const PAGE: usize = 50;
/// How long the index may catch up before a search: under load it never does, and a page is to come within 100 ms.
const CATCH_UP: Duration = Duration::from_millis(50);
/// How long is looked through what the index narrows down.
const TIME: Duration = Duration::from_millis(150);
/// How long messages are read for a text in them, or for what a filter of a route thinks of them.
const TIME_TO_READ: Duration = Duration::from_millis(1500);
/// Messages that are judged at once where that costs something.
const BATCH: usize = 16;
/// Dead letters of a route that one page looks at.
const LETTERS: usize = 1000;

/// A message, and what became of it on each route.
pub(super) type Row = (Entry, Vec<(String, Status)>);

/// A page of messages.
pub(super) struct Found {
    /// The newest first.
    pub rows: Vec<Row>,
    /// What is left: this number and those before it.
    pub next: Option<u64>,
    /// The page is full; else, with something left, it looked no further.
    pub full: bool,
    /// Messages read for a text, or for a filter.
    pub read: u64,
    /// The last number in the index, and in the journal.
    pub indexed: u64,
    pub head: u64,
    /// As what a word without a key was understood.
    pub meaning: Option<&'static str>,
    /// As long as it took.
    pub took: Duration,
}

/// Whether somebody may look for it.
fn may(asked: &Asked, phi: bool) -> Result<(), Problem> {
    let of_patient = asked.text.is_some() || asked.filter.patient.is_some() || asked.filter.control_id.is_some();
    if phi || !(asked.personal || of_patient || asked.filter.sender.is_some()) {
        return Ok(());
    }
    let detail = "control ids, patients, senders and texts are looked for by who may read messages";
    let remedy = "look by number, time, type, listener, outcome, route or state, or ask for the role phi-reader";
    Err(Problem::new(StatusCode::FORBIDDEN, "not allowed", detail, remedy))
}

/// What a search means, for something that is to be done with all of it.
///
/// # Errors
/// As [`find`].
pub(super) fn chosen(data: &Path, mut asked: Asked, phi: bool) -> Result<Chosen, Problem> {
    may(&asked, phi)?;
    understand(&Index::open(data).map_err(unusable)?, &mut asked, phi)?;
    may(&asked, phi)?;
    Ok(Chosen { filter: asked.filter, route: asked.route, state: asked.state, text: asked.text })
}

/// Finds what is asked for.
///
/// # Errors
/// A journal or index that cannot be read, or what cannot be looked for by somebody who may not read messages.
pub(super) fn find(data: &Path, routes: &[Options], mut asked: Asked, phi: bool) -> Result<Found, Problem> {
    may(&asked, phi)?;
    let started = Instant::now();
    let mut view = api::view(data)?;
    let mut index = Index::open(data).map_err(unusable)?;
    let mut reader = view.reader().map_err(|error| Problem::internal(error.to_string()))?;
    while started.elapsed() < CATCH_UP
        && index.follow(&mut reader, Limits { records_max: 256, bytes_max: 1 << 20 }).map_err(unusable)? > 0
    {}
    let indexed = index.next().map_err(unusable)?.saturating_sub(1);
    let meaning = understand(&index, &mut asked, phi)?;
    // However its words have been understood.
    may(&asked, phi)?;
    let pasts = Pasts::read(view.state(), fate::names(routes)).map_err(|error| Problem::internal(error.to_string()))?;
    let needed = pasts.need_message(routes);
    let mut search = Search { view: &mut view, routes, pasts, needed, asked: &asked, read: 0 };
    let (within, rest) = search.candidates()?;
    let reads = asked.text.is_some() || (asked.state.is_some() && needed);
    let look = Look {
        filter: asked.filter.clone(),
        within,
        wanted: PAGE,
        batch: if asked.text.is_some() || asked.state.is_some() { BATCH } else { PAGE + 1 },
        time: if reads { TIME_TO_READ } else { TIME },
    };
    let mut looked = index.look(&look, |entries| search.kept(entries)).map_err(|Stop(problem)| problem)?;
    if looked.next.is_none() {
        looked.next = rest;
    }
    let rows = search.rows(looked.entries)?;
    Ok(Found {
        rows,
        next: looked.next.filter(|next| *next > 0),
        full: looked.full,
        read: search.read,
        indexed,
        head: reader.head(),
        meaning,
        took: started.elapsed(),
    })
}

fn unusable(error: crate::search::Error) -> Problem {
    Problem::internal(error.to_string())
}

/// Why a look was broken off.
struct Stop(Problem);

impl From<crate::search::Error> for Stop {
    fn from(error: crate::search::Error) -> Stop {
        Stop(unusable(error))
    }
}

/// A word without a key: a control id, a patient, a number, else a text in the message.
fn understand(index: &Index, asked: &mut Asked, phi: bool) -> Result<Option<&'static str>, Problem> {
    let Some(words) = asked.words.take() else { return Ok(None) };
    let some = |filter: &crate::search::Filter| {
        index.page(filter, Order::NewestFirst, 1).map(|found| !found.is_empty()).map_err(unusable)
    };
    if phi {
        let by_control = crate::search::Filter { control_id: Some(words.clone()), ..Default::default() };
        if some(&by_control)? {
            asked.filter.control_id = Some(words);
            return Ok(Some("control id"));
        }
        let by_patient = crate::search::Filter { patient: Some(words.clone()), ..Default::default() };
        if some(&by_patient)? {
            asked.filter.patient = Some(words);
            return Ok(Some("patient id"));
        }
    }
    if let Ok(seq) = words.parse::<u64>() {
        (asked.filter.first, asked.filter.last) = (Some(seq), Some(seq));
        return Ok(Some("number"));
    }
    asked.text = Some(words);
    Ok(Some("text in the message"))
}

struct Search<'a> {
    view: &'a mut View,
    routes: &'a [Options],
    /// What the routes thought of what they are done with.
    pasts: Pasts,
    /// Whether that depends on the message itself.
    needed: bool,
    asked: &'a Asked,
    read: u64,
}

type Stretches = Vec<RangeInclusive<u64>>;

impl Search<'_> {
    /// Whether a route is meant.
    fn means(&self, route: &str) -> bool {
        self.asked.route.as_deref().is_none_or(|wanted| wanted == route)
    }

    /// The numbers that a state leaves, the newest first, and from where on more may be left.
    fn candidates(&self) -> Result<(Option<Stretches>, Option<u64>), Problem> {
        let failed = |error: crate::journal::Error| Problem::internal(error.to_string());
        let (state, mut found, mut rest) = (self.view.state(), Stretches::new(), 0);
        let names = fate::names(self.routes).into_iter().filter(|name| self.means(name));
        match self.asked.state {
            Some(Became::Errored) => {
                for name in names {
                    let from = self.asked.filter.last.unwrap_or(u64::MAX);
                    let letters = state.dead_letters_before(&name, from, LETTERS).map_err(failed)?;
                    if letters.len() == LETTERS {
                        rest = letters.last().map_or(0, |letter| letter.seq).max(rest);
                    }
                    found.extend(letters.iter().map(|letter| letter.seq..=letter.last));
                }
            }
            Some(Became::Queued) => {
                for name in names {
                    let Some(position) = state.position(&name).map_err(failed)? else { continue };
                    found.extend(position.waiting.iter().map(|seq| *seq..=*seq));
                    found.push(position.ahead..=u64::MAX);
                }
            }
            _ => return Ok((None, None)),
        }
        // Of the numbers before, not all are known yet.
        let known = united(found).into_iter().filter(|stretch| *stretch.end() >= rest);
        let found = known.map(|stretch| rest.max(*stretch.start())..=*stretch.end()).collect();
        Ok((Some(found), rest.checked_sub(1).filter(|rest| *rest > 0)))
    }

    /// Those of some entries that are looked for.
    fn kept(&mut self, entries: Vec<Entry>) -> Result<Vec<Entry>, Stop> {
        let mut kept = Vec::with_capacity(entries.len());
        if let Some(text) = &self.asked.text {
            for entry in entries {
                if self.message(entry.seq).map_err(Stop)?.is_some_and(|raw| contains(&raw, text)) {
                    kept.push(entry);
                }
            }
        } else {
            kept = entries;
        }
        if self.asked.state.is_none() && self.asked.route.is_none() {
            return Ok(kept);
        }
        let statuses = self.statuses(&kept).map_err(Stop)?;
        let mut taken = statuses.iter().map(|statuses| self.takes(statuses));
        kept.retain(|_| taken.next().unwrap_or(false));
        Ok(kept)
    }

    fn takes(&self, statuses: &[(String, Status)]) -> bool {
        fate::is_meant(statuses, self.asked.route.as_deref(), self.asked.state)
    }

    fn rows(&mut self, entries: Vec<Entry>) -> Result<Vec<Row>, Problem> {
        let statuses = self.statuses(&entries)?;
        Ok(entries.into_iter().zip(statuses).collect())
    }

    fn statuses(&mut self, entries: &[Entry]) -> Result<Vec<Vec<(String, Status)>>, Problem> {
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
        let standings = Standings::read_of(self.view.state(), &fate::names(self.routes), &seqs);
        let standings = standings.map_err(|error| Problem::internal(error.to_string()))?;
        let (routes, needed) = (self.routes, self.needed);
        let mut found = Vec::with_capacity(entries.len());
        for Entry { seq, outcome, .. } in entries {
            let raw = if needed { self.message(*seq)? } else { None };
            found.push(fate::of(routes, (&standings, &self.pasts), *seq, *outcome, raw.as_deref()));
        }
        Ok(found)
    }

    /// A message of the journal; none where it is damaged, or was pruned a moment ago.
    fn message(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Problem> {
        self.read += 1;
        match self.view.record(seq) {
            Err(crate::journal::Error::Pruned { .. }) => Ok(None),
            record => Ok(record.map_err(|error| Problem::internal(error.to_string()))?.map(|record| record.raw)),
        }
    }
}

/// Stretches that overlap or touch as one, the newest first.
fn united(mut stretches: Stretches) -> Stretches {
    stretches.sort_by_key(|stretch| std::cmp::Reverse(*stretch.end()));
    let mut found = Stretches::new();
    for stretch in stretches.into_iter().filter(|stretch| stretch.start() <= stretch.end()) {
        match found.last_mut() {
            Some(before) if stretch.end().saturating_add(1) >= *before.start() => {
                *before = *stretch.start().min(before.start())..=*before.end();
            }
            _ => found.push(stretch),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::united;

    #[test]
    fn stretches_are_united() {
        assert_eq!(united(vec![5..=5, 9..=u64::MAX, 4..=4, 1..=2, 8..=8, 9..=9]), [8..=u64::MAX, 4..=5, 1..=2]);
        assert!(united(Vec::new()).is_empty());
    }
}
