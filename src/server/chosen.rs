//! Which messages a search means, all of them, the oldest first: so that something can be done with each.
use super::fate::{self, Became, Status};
use crate::delivery::Options;
use crate::delivery::past::Pasts;
use crate::journal::{self, Limits, View};
use crate::search::{self, Entry, Filter, Index, Order, Standings, contains};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

/// What is looked for; all of it must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chosen {
    /// What the index knows.
    pub filter: Filter,
    /// On this route.
    pub route: Option<String>,
    /// What has become of it there, or on any.
    pub state: Option<Became>,
    /// In the message, letters in either case.
    pub text: Option<String>,
}

/// A message, and what has become of it on each route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Its number.
    pub seq: u64,
    /// By route.
    pub statuses: Vec<(String, Status)>,
}

/// Why they cannot be named.
#[derive(Debug, thiserror::Error)]
pub enum PickError {
    /// They are too many for one go.
    #[error("there are more than {MANY_MAX} messages like that")]
    TooMany,
    /// Looking takes too long.
    #[error("they could not be looked through in time")]
    TooLong,
    /// The index has not come so far.
    #[error("the search index has not come to message {0} yet")]
    Behind(u64),
    /// The journal or the state database.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The index.
    #[error(transparent)]
    Search(#[from] search::Error),
}

/// Messages of one choice.
pub const MANY_MAX: usize = 10_000;
/// So long it may take to name them.
const TIME: Duration = Duration::from_secs(10);
/// Messages that are judged at once.
const BATCH: usize = 256;

/// All that are meant behind a number, up to [`Filter::last`], which must be given: what comes meanwhile is no part of it. What has become of them is told where that is asked
/// for, or looked for. Blocks.
///
/// # Errors
/// A [`PickError`]: then it is not known which they are.
pub fn pick(
    view: &mut View,
    routes: &[Options],
    chosen: &Chosen,
    after: u64,
    tells: bool,
) -> Result<Vec<Pick>, PickError> {
    let began = Instant::now();
    let mut index = Index::open(view.path())?;
    let mut reader = view.reader()?;
    let last = chosen.filter.last.unwrap_or(u64::MAX).min(reader.head());
    while index.next()? <= last {
        let followed = index.follow(&mut reader, Limits { records_max: 256, bytes_max: 1 << 20 })?;
        if followed == 0 || began.elapsed() > TIME {
            return Err(PickError::Behind(last));
        }
    }
    let names = fate::names(routes);
    let pasts = Pasts::read(view.state(), &names)?;
    let looks = chosen.route.is_some() || chosen.state.is_some();
    let needs = chosen.text.is_some() || ((tells || looks) && pasts.need_message(routes));
    let mut filter = index.narrowed(&chosen.filter)?;
    filter.last = Some(filter.last.map_or(last, |given| given.min(last)));
    let (mut picked, mut next) = (Vec::new(), filter.first.unwrap_or(0).max(after.saturating_add(1)));
    loop {
        let page = index.page(&Filter { first: Some(next), ..filter.clone() }, Order::OldestFirst, BATCH)?;
        let Some(end) = page.last() else { return Ok(picked) };
        next = end.seq + 1;
        let seqs: Vec<u64> = page.iter().map(|entry| entry.seq).collect();
        let standings = if tells || looks { Some(Standings::read_of(view.state(), &names, &seqs)?) } else { None };
        for Entry { seq, outcome, .. } in page {
            let raw = if needs { message(view, seq)? } else { None };
            if chosen.text.as_ref().is_some_and(|text| !raw.as_ref().is_some_and(|raw| contains(raw, text))) {
                continue;
            }
            let of = |standings| fate::of(routes, (standings, &pasts), seq, outcome, raw.as_deref());
            let statuses = standings.as_ref().map(of).unwrap_or_default();
            if !looks || fate::is_meant(&statuses, chosen.route.as_deref(), chosen.state) {
                picked.push(Pick { seq, statuses });
            }
        }
        if picked.len() > MANY_MAX {
            return Err(PickError::TooMany);
        }
        if began.elapsed() > TIME {
            return Err(PickError::TooLong);
        }
    }
}

/// Says which they are: another one among them, one fewer or one more make another text.
pub fn pin(picked: &[Pick]) -> String {
    let mut hash = Sha256::new();
    picked.iter().for_each(|pick| hash.update(pick.seq.to_be_bytes()));
    hash.finalize().iter().take(PIN_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Of the hash so much is told: by chance two choices never have the same.
const PIN_BYTES: usize = 16;

/// A message of the journal; none where it is damaged, or was pruned a moment ago.
fn message(view: &mut View, seq: u64) -> Result<Option<Vec<u8>>, journal::Error> {
    match view.record(seq) {
        Err(journal::Error::Pruned { .. }) => Ok(None),
        record => Ok(record?.map(|record| record.raw)),
    }
}
