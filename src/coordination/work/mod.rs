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
pub mod registered;
mod tell;
pub mod telling;
mod time;

pub use time::PRUNE_EVERY;

pub use registered::{consent_id, consents_now, person_of, roster_consent};

use super::care_team::{self, Member};
use super::event::{Identifier, Patient, VisitKey};
use super::fold::{Fold, Silent};
use super::loops::{Panel, Setting, Subject as Concerned, Tracker};
use super::registry::{self, Before, Registry};
use super::roster::{Aliases, How, Match, Rosters, Snapshot, learn, reviews};
use super::sensitivity::{self, Said, visit_text};
use super::store::{self, Place, Store};
use super::{Event, Options, PersonKey, subscription};
use crate::facets::{Facets, uuid_text};
use crate::journal::{self, Item, Limits, Reader};
use crate::privacy::{Found, Gate, visits};
use registered::{ENTRIES_MAX, Registered};
use rusqlite::{Connection, Transaction};
use std::path::Path;
use std::sync::Arc;
use time::Clock;

/// The tables of this part.
pub(super) const TABLES: [&str; 3] = [telling::TABLES, registered::TABLES, time::TABLES];

/// Messages that are taken at once.
const LIMITS: Limits = Limits { records_max: 256, bytes_max: 4 << 20 };
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
    /// None after an error: it is read from the database again.
    parts: Option<Parts>,
    /// When the database was made anew beside a journal that was there before, if it was.
    anew_ms: Option<i64>,
}

/// What stands in memory of the database.
struct Parts {
    fold: Fold,
    aliases: Aliases,
    tracker: Tracker,
    registered: Registered,
    clock: Clock,
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
            let parts = Parts::open(&store, &options, &registry)?;
            Ok((store, parts))
        });
        let (mut store, mut parts) = match opened {
            Err(error) if error.is_damage() => {
                tracing::warn!("made anew from the journal: {error}");
                Work::anew(data, &options, &registry)?
            }
            opened => opened?,
        };
        if !is_of(&store, reader)? {
            tracing::warn!("made anew: coordination.sqlite in the data directory was made from another journal");
            drop((store, parts));
            (store, parts) = Work::anew(data, &options, &registry)?;
        }
        let gate = options.privacy.gate();
        let anew_ms = registered::anew(store.connection(), reader.head()).map_err(Error::database)?;
        Ok(Work { options, store, registry, rosters, gate, parts: Some(parts), anew_ms })
    }

    fn anew(data: &Path, options: &Options, registry: &Registry) -> Result<(Store, Parts), Error> {
        let store = Store::anew(data)?;
        let parts = Parts::open(&store, options, registry)?;
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
        let mut items = match reader.read(place.next, LIMITS) {
            Err(journal::Error::Pruned { first, .. }) => reader.read(first, LIMITS)?,
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
        self.batch(|batch, transaction| batch.take(transaction, place, items, &entries))
    }

    /// Lets time pass, when everything in the journal has been taken: `now_ms` less [`BEHIND_MS`].
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn advance(&mut self, now_ms: i64) -> Result<Progress, Error> {
        let to_ms = now_ms.saturating_sub(BEHIND_MS);
        if self.parts()?.tracker.next_ms().is_none_or(|next| next >= to_ms) {
            return Ok(Progress::default());
        }
        let place = self.store.place()?.unwrap_or(Place { next: 1, ..Place::default() });
        self.batch(|batch, transaction| {
            let Parts { tracker, clock, .. } = &mut *batch.parts;
            let outcomes = tracker.advance_some(transaction, to_ms, TIMERS_MAX).map_err(Error::database)?;
            clock.fired(tracker.take_fired());
            let taken = outcomes.len().max(1);
            batch.outcomes(transaction, outcomes, Found::default())?;
            Ok((place, taken))
        })
    }

    /// What stands in memory, as the database has it.
    fn parts(&mut self) -> Result<&mut Parts, Error> {
        let parts = match self.parts.take() {
            Some(parts) => parts,
            None => Parts::open(&self.store, &self.options, &self.registry)?,
        };
        Ok(self.parts.insert(parts))
    }

    fn batch(
        &mut self,
        work: impl FnOnce(&mut Batch<'_>, &Transaction<'_>) -> Result<(Place, usize), Error>,
    ) -> Result<Progress, Error> {
        let snapshot = self.rosters.current();
        self.parts()?;
        // Taken out until it is written: after an error it is ahead of the database.
        let Some(mut parts) = self.parts.take() else { return Ok(Progress::default()) };
        let (options, gate, registry, anew_ms) = (&*self.options, &self.gate, &*self.registry, self.anew_ms);
        let mut batch = Batch { options, gate, registry, snapshot: &snapshot, parts: &mut parts, anew_ms, told: 0 };
        let done = self.store.batch(|transaction| {
            let (place, taken) = work(&mut batch, transaction)?;
            batch.parts.fold.flush(transaction)?;
            batch.parts.clock.flush(transaction)?;
            Ok::<_, Error>((place, Progress { taken, told: batch.told }))
        })?;
        self.parts = Some(parts);
        Ok(done)
    }
}

impl Parts {
    fn open(store: &Store, options: &Options, registry: &Registry) -> Result<Parts, Error> {
        let connection = store.connection();
        Ok(Parts {
            fold: Fold::open(options, connection)?,
            aliases: Aliases::read(connection).map_err(Error::database)?,
            tracker: Tracker::open(connection, options.loops.clone(), setting(options)).map_err(Error::database)?,
            registered: Registered::open(connection, registry, &options.subscriptions)?,
            clock: Clock::open(connection, registry)?,
        })
    }
}

fn setting(options: &Options) -> Setting {
    let panel = |panel: &super::roster::Panel| {
        let owner_npi = panel.owner_npi.clone().unwrap_or_default();
        (panel.id.clone(), Panel { owner_npi, zone: Some(panel.zone.clone()) })
    };
    let panels = options.rosters.panels.iter().map(panel).collect();
    Setting { facilities: options.facilities.clone(), panels, keep: options.keep }
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

/// One batch, while it is taken.
struct Batch<'w> {
    options: &'w Options,
    gate: &'w Gate,
    registry: &'w Registry,
    snapshot: &'w Snapshot,
    parts: &'w mut Parts,
    anew_ms: Option<i64>,
    told: usize,
}

/// Somebody of the rosters, at the time of something.
struct Person {
    key: PersonKey,
    /// As the API writes it.
    id: String,
    /// The panels, with the consent column of each.
    panels: Vec<(String, String)>,
}

impl Batch<'_> {
    fn take(
        &mut self,
        transaction: &Transaction<'_>,
        mut place: Place,
        items: Vec<Item>,
        entries: &[registry::Entry],
    ) -> Result<(Place, usize), Error> {
        let mut entries = entries.iter().peekable();
        let mut taken = items.len();
        for item in items {
            if let Item::Record(seq, record) = &item {
                while let Some(entry) = entries.next_if(|entry| entry.after_seq < *seq) {
                    self.said(transaction, entry)?;
                    taken += 1;
                }
                if let Some(facets) = Facets::decode(&record.facets) {
                    place.last = facets.message_id;
                    self.comes(transaction, Before::Message(*seq), facets.received_ms)?;
                    if seq.is_multiple_of(PRUNE_EVERY) {
                        self.prune(transaction, facets.received_ms).map_err(Error::database)?;
                    }
                    let events = self.parts.fold.message(transaction, *seq, &facets, &record.raw)?;
                    events.iter().try_for_each(|event| self.happened(transaction, event))?;
                    if let Some(silent) = self.parts.fold.silent() {
                        let Silent { visit, facility, feed, codes, confidentiality } = &silent;
                        let said = Said { facility, feed, codes, confidentiality };
                        self.labels(transaction, said, Some(visit), facets.received_ms)?;
                    }
                }
            }
            place.next = item.next();
        }
        while let Some(entry) = entries.next_if(|entry| entry.after_seq < place.next) {
            self.said(transaction, entry)?;
            taken += 1;
        }
        Ok((place, taken))
    }

    fn said(&mut self, transaction: &Transaction<'_>, entry: &registry::Entry) -> Result<(), Error> {
        self.comes(transaction, Before::Entry(entry.number), entry.at_ms)?;
        let Parts { registered, aliases, .. } = &mut *self.parts;
        registered.take(transaction, entry, &self.options.subscriptions, (aliases, self.snapshot))
    }

    fn happened(&mut self, transaction: &Transaction<'_>, event: &Event) -> Result<(), Error> {
        let matched = self.snapshot.find(&event.patient, &self.parts.aliases);
        reviews::note(transaction, event, &matched).map_err(Error::database)?;
        // Before what is learned, as a merge takes numbers from one to the other.
        let others = self.others(event);
        learn(transaction, &mut self.parts.aliases, self.snapshot, event, &matched).map_err(Error::database)?;
        let found = self.labels(transaction, event.into(), event.visit.as_ref(), event.received_ms)?;
        let Some(key) = matched.person() else { return Ok(()) };
        let memberships: Vec<_> = self.snapshot.memberships_at(&key, event.at_ms).collect();
        let members: Vec<_> = memberships
            .iter()
            .map(|one| Member { panel: &one.panel.id, pcp_npi: one.pcp, care_manager: one.care_manager })
            .collect();
        let zone = self.options.facilities.zone(&event.facility);
        care_team::take(transaction, event, key, zone).map_err(Error::database)?;
        let team = care_team::team(transaction, key, &members, event.at_ms, &self.options.care_team);
        let team = team.map_err(Error::database)?.numbers();
        let concerned = Concerned { person: key, others: &others, members: &members, team: &team };
        let outcomes = self.parts.tracker.apply(transaction, event, concerned).map_err(Error::database)?;
        let panels = memberships.iter().map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect();
        let person = Person { key, id: uuid_text(&key.0), panels };
        self.tell_event(transaction, event, &person, found)?;
        self.outcomes(transaction, outcomes, found)
    }

    /// The persons that the other identifiers of a merge or unlink stand for.
    fn others(&self, event: &Event) -> Vec<PersonKey> {
        let by_number = |identifier: &Identifier| {
            let patient = Patient { identifiers: vec![identifier.clone()], ..event.patient.clone() };
            match self.snapshot.find(&patient, &self.parts.aliases) {
                Match::Person(key, How::Decided | How::Strong | How::Alias) => Some(key),
                _ => None,
            }
        };
        let mut others: Vec<_> = event.others.iter().filter_map(by_number).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// The labels of what a message says, which its visit keeps.
    fn labels(
        &self,
        transaction: &Transaction<'_>,
        said: Said<'_>,
        visit: Option<&VisitKey>,
        received_ms: i64,
    ) -> Result<Found, Error> {
        let (labels, facilities) = (self.gate.labels(), &self.options.facilities);
        let Some(visit) = visit.map(visit_text) else {
            return Ok(sensitivity::found(labels, facilities, said, &[]));
        };
        let earlier = visits::labels_of(transaction, &visit).map_err(Error::database)?;
        let found = sensitivity::found(labels, facilities, said, &earlier);
        let at = Some(received_ms);
        visits::add(transaction, &visit, labels, found.all, at).map_err(Error::database)?;
        visits::add(transaction, &whole(&visit), labels, found.whole, at).map_err(Error::database)?;
        Ok(found)
    }
}

/// The key under which a visit keeps the labels of whole events of it.
fn whole(visit: &str) -> String {
    format!("{visit}|whole")
}

/// Forgets what is older than is kept; how much.
///
/// # Errors
/// A database that cannot be written.
pub fn forget(connection: &Connection, before_ms: i64) -> rusqlite::Result<usize> {
    let transaction = connection.unchecked_transaction()?;
    let count = telling::forget(&transaction, before_ms)?
        + subscription::store::forget(&transaction, before_ms)?
        + subscription::cache::forget(&transaction, before_ms)?;
    transaction.commit()?;
    Ok(count)
}
