//! All parts together: what comes of the next messages of the journal.
//!
//! ```text
//! message → events (fold) → the person (rosters) → their care team, their loops ┐
//!                         → labels                                              ├→ subscriptions that match → the gate → numbered, or withheld
//!                                                  what time brings (advance)   ┘
//! ```
//!
//! All that a batch of messages brings is written in one transaction with how far the journal was read; after an error everything is read from the database again. What people said
//! through the API takes effect at its place in the journal ([`registered`]). Who delivers what was numbered stands elsewhere.
mod batch;
mod card;
mod followed;
mod leaves;
mod listed;
mod measured;
mod outcomes;
mod parts;
pub mod registered;
pub mod responsible;
pub mod self_test;
mod tell;
pub mod telling;
mod time;

pub use card::{labels_of_loop, whole_of};
pub use outcomes::labels_of;
pub use parts::setting;
pub use registered::{consent_id, consents_now, person_of, roster_consent};
pub use time::PRUNE_EVERY;

use super::registry::{self, Registry};
use super::roster::Rosters;
use super::store::{self, Place, Store};
use super::{Options, subscription};
use crate::facets::Facets;
use crate::journal::{self, Item, Limits, Reader};
use crate::privacy::{Found, Gate};
use crate::telemetry::telemetry;
use batch::{Batch, Person, whole};
use outcomes::Unroutable;
use parts::Parts;
use registered::ENTRIES_MAX;
use rusqlite::{Connection, Transaction};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The tables of this part.
pub(super) const TABLES: [&str; 4] = [telling::TABLES, registered::TABLES, responsible::TABLES, time::TABLES];

/// Messages that are taken at once, where as many are there, and bytes of them: a page of the database that several of them change is written once…
const LIMITS: Limits = Limits { records_max: 4_096, bytes_max: 8 << 20 };
/// …but those that concern somebody take fifty times as long, and others wait to write: with more of them it is half as many next time, down to as many.
const CONCERNED_MAX: usize = 256;
/// Timers that are done at once, where no message drives them.
const TIMERS_MAX: usize = 1_000;
/// Time passes so much later here than it does: a message that was received before a moment is rarely overtaken by it.
pub const BEHIND_MS: i64 = 5_000;

/// Why the journal cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database of this layer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What people said.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

impl Error {
    fn database(error: rusqlite::Error) -> Error {
        Error::Store(error.into())
    }

    fn is_damage(&self) -> bool {
        matches!(self, Error::Store(error) if error.is_damage())
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records of the journal and entries of the registry that were taken.
    pub taken: usize,
    /// Of them, entries of the registry.
    pub said: usize,
    /// Notifications that were numbered, and things withheld.
    pub told: usize,
}

/// The coordination layer, following a journal.
pub struct Work {
    options: Arc<Options>,
    store: Store,
    registry: Arc<Registry>,
    rosters: Arc<Rosters>,
    gate: Gate,
    /// By panel the NPI of its owner.
    owners: BTreeMap<String, String>,
    /// None after an error: it is read from the database again.
    parts: Option<Parts>,
    /// Messages that are taken next time at most. What comes of them is the same however many they are.
    records_max: usize,
    /// When the database was made anew beside a journal that was there before, if it was.
    anew_ms: Option<i64>,
}

impl Work {
    /// Opens the database of a data directory, or makes it, anew where it is damaged or belongs to another journal.
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn open(
        data: &Path,
        options: Arc<Options>,
        registry: Arc<Registry>,
        rosters: Arc<Rosters>,
        reader: &mut Reader,
    ) -> Result<Work, Error> {
        let opened = Store::open(data).map_err(Error::from).and_then(|store| {
            let parts = Parts::open(&store, &options, &registry, &rosters)?;
            Ok((store, parts))
        });
        let (mut store, mut parts) = match opened {
            Err(error) if error.is_damage() => {
                tracing::warn!("made anew from the journal: {error}");
                Work::anew(data, &options, &registry, &rosters)?
            }
            opened => opened?,
        };
        if !is_of(&store, reader)? {
            tracing::warn!("made anew: coordination.sqlite in the data directory was made from another journal");
            drop((store, parts));
            (store, parts) = Work::anew(data, &options, &registry, &rosters)?;
        }
        let gate = options.privacy.gate();
        let owner = |panel: &super::roster::Panel| Some((panel.id.clone(), panel.owner_npi.clone()?));
        let owners = options.rosters.panels.iter().filter_map(owner).collect();
        let anew_ms = registered::anew(store.connection(), reader.head()).map_err(Error::database)?;
        let (parts, records_max) = (Some(parts), CONCERNED_MAX);
        Ok(Work { options, store, registry, rosters, gate, owners, parts, records_max, anew_ms })
    }

    fn anew(data: &Path, options: &Options, registry: &Registry, rosters: &Rosters) -> Result<(Store, Parts), Error> {
        let store = Store::anew(data)?;
        let parts = Parts::open(&store, options, registry, rosters)?;
        Ok((store, parts))
    }

    /// The database, for those who only read.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes the next messages, and what people said by then. Nothing was there when nothing was taken.
    ///
    /// # Errors
    /// What cannot be read or written; nothing of the batch has been taken then.
    pub fn step(&mut self, reader: &mut Reader) -> Result<Progress, Error> {
        let place = match self.store.place()? {
            Some(place) => place,
            None => Place { next: reader.first()?, ..Place::default() },
        };
        let limits = Limits { records_max: self.records_max, ..LIMITS };
        // A new database finds all messages that ever were, or those that retention has left.
        let mut lost = place.last == [0; 16] && place.next > 1;
        let mut items = match reader.read(place.next, limits) {
            Err(journal::Error::Pruned { first, .. }) => {
                lost = true;
                reader.read(first, limits)?
            }
            items => items?,
        };
        // After the messages: an entry that is said in between holds for none of them.
        let number = self.parts()?.registered.number;
        let mut entries = self.registry.after(number, ENTRIES_MAX)?;
        // A journal that has lost its end with the power is behind what was said after it.
        let head = reader.head();
        entries.iter_mut().for_each(|entry| entry.after_seq = entry.after_seq.min(head));
        // More may follow of the same place: what lies behind it waits for them.
        if let Some(last) = entries.last().filter(|_| entries.len() == ENTRIES_MAX) {
            items.retain(|item| item.next() <= last.after_seq + 1);
        }
        if items.is_empty() && entries.first().is_none_or(|entry| entry.after_seq >= place.next) {
            return Ok(Progress::default());
        }
        self.batch(|batch, transaction| {
            if lost {
                batch.parts.measures.lost(transaction)?;
            }
            batch.take(transaction, place, items, &entries)
        })
    }

    /// Lets time pass, when everything in the journal has been taken: `now_ms` less [`BEHIND_MS`].
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn advance(&mut self, now_ms: i64) -> Result<Progress, Error> {
        let to_ms = now_ms.saturating_sub(BEHIND_MS);
        let parts = self.parts()?;
        if parts.tracker.next_ms().into_iter().chain(parts.measures.next_ms()).all(|next| next >= to_ms) {
            return Ok(Progress::default());
        }
        let place = self.store.place()?.unwrap_or(Place { next: 1, ..Place::default() });
        self.batch(|batch, transaction| {
            let Parts { tracker, clock, .. } = &mut *batch.parts;
            let outcomes = tracker.advance_some(transaction, to_ms, TIMERS_MAX).map_err(Error::database)?;
            clock.fired(tracker.take_fired());
            let taken = outcomes.len().max(1);
            batch.outcomes(transaction, outcomes, Found::default())?;
            let told_ms = batch.tell_measures(transaction, to_ms)?;
            batch.parts.clock.fired(told_ms);
            Ok((place, taken))
        })
    }

    /// What stands in memory, as the database has it.
    fn parts(&mut self) -> Result<&mut Parts, Error> {
        let parts = match self.parts.take() {
            Some(parts) => parts,
            None => Parts::open(&self.store, &self.options, &self.registry, &self.rosters)?,
        };
        Ok(self.parts.insert(parts))
    }

    fn batch(
        &mut self,
        work: impl FnOnce(&mut Batch<'_>, &Transaction<'_>) -> Result<(Place, usize), Error>,
    ) -> Result<Progress, Error> {
        self.parts()?;
        // Taken out until it is written: after an error it is ahead of the database.
        let Some(mut parts) = self.parts.take() else { return Ok(Progress::default()) };
        let (options, gate, rosters, anew_ms) = (&*self.options, &self.gate, &*self.rosters, self.anew_ms);
        let registry = &*self.registry;
        let snapshot = Arc::clone(&parts.listed.snapshot);
        let mut batch = Batch {
            options,
            gate,
            owners: &self.owners,
            registry,
            rosters,
            snapshot,
            parts: &mut parts,
            anew_ms,
            now_ms: 0,
            concerned: 0,
            said: 0,
            told: 0,
            unroutable: Vec::new(),
        };
        let done = self.store.batch(|transaction| {
            let (place, taken) = work(&mut batch, transaction)?;
            batch.parts.fold.flush(transaction)?;
            batch.parts.clock.flush(transaction)?;
            batch.parts.measures.flush(transaction)?;
            Ok::<_, Error>((place, Progress { taken, said: batch.said, told: batch.told }))
        })?;
        let fewer = batch.concerned > CONCERNED_MAX;
        self.records_max = if fewer { self.records_max / 2 } else { self.records_max * 2 };
        self.records_max = self.records_max.clamp(CONCERNED_MAX, LIMITS.records_max);
        // Once it is written: what is taken again after an error counts once.
        say(batch.unroutable);
        telemetry().oversized(std::mem::take(&mut parts.oversized));
        self.parts = Some(parts);
        Ok(done)
    }
}

/// Says what leads to nobody: counted each, told once of each kind in a batch.
fn say(mut unroutable: Vec<Unroutable>) {
    unroutable.iter().for_each(|one| telemetry().unroutable(&one.to));
    unroutable.sort();
    for same in unroutable.chunk_by(|one, other| one == other) {
        if let Some(Unroutable { to, definition, step }) = same.first() {
            let count = same.len();
            tracing::warn!(to, definition, step, count, "unroutable: nobody is found for what should be done");
        }
    }
}

/// Whether the last message that was taken is the one that the journal has there. One that it has let go cannot be told from it.
fn is_of(store: &Store, reader: &mut Reader) -> Result<bool, Error> {
    let Some(Place { next, last }) = store.place()? else { return Ok(true) };
    if last == [0; 16] {
        return Ok(true);
    }
    if next > reader.head() + 1 {
        return Ok(false);
    }
    let one = Limits { records_max: 1, ..LIMITS };
    match reader.read(next.saturating_sub(1), one) {
        Ok(items) => Ok(items.first().is_none_or(|item| match item {
            Item::Record(_, record) => Facets::decode(&record.facets).is_none_or(|facets| facets.message_id == last),
            Item::Damaged(_) => true,
        })),
        Err(journal::Error::Pruned { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Forgets what is older than is kept; how much.
///
/// # Errors
/// A database that cannot be written.
pub fn forget(connection: &Connection, before_ms: i64) -> rusqlite::Result<usize> {
    let transaction = connection.unchecked_transaction()?;
    let count = telling::forget(&transaction, before_ms)?
        + subscription::store::forget(&transaction, before_ms)?
        + subscription::cache::forget(&transaction, before_ms)?
        + super::card::forget(&transaction, before_ms)?;
    transaction.commit()?;
    Ok(count)
}
