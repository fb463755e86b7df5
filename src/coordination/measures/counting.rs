//! The counters at work: each event of somebody of the rosters changes them by what the person added before and adds after.
use super::cell::{Cell, Outcome};
use super::definition::Options;
use super::fact::{FACTS_MAX, Fact, Facts, hash, told_as};
use super::lens::Lens;
use super::members;
use super::recompute::recompute;
use super::secrets;
use super::settle::Scratch;
use super::store::{self, Counters};
use super::take::{Sight, Subject, Taken, day};
use super::waiting::{self, Waiting};
use super::words::{self, Words};
use crate::coordination::lineage::{self, Gone, Under};
use crate::coordination::loops::Setting;
use crate::coordination::store::Error;
use crate::coordination::{Event, Kind, PersonKey};
use crate::privacy::{DenyAction, Labels, Recipient, Set};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The tables, but for [`super::FACTS`], which stands where rows move with persons.
pub const TABLES: [&str; 5] = [words::TABLES, store::TABLES, waiting::TABLES, members::TABLES, secrets::TABLES];

/// Every measure.
pub(super) const ALL: u64 = u64::MAX;

/// Facts are kept for so long by the time of the journal, 26 months: two more than can be asked for.
pub const KEPT_MS: i64 = 800 * 86_400_000;
/// Keys whose old facts go at once.
const PRUNED_MAX: i64 = 100;
/// Changes that wait for the end of a batch.
const WAITING_MAX: usize = 100_000;

/// A panel whose counters changed, and which months of which measures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Its id.
    pub panel: String,
    /// Place of the measure, and its month.
    pub what: BTreeSet<(u32, i32)>,
}

/// That figures of a panel are others, as subscribers are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// The panel.
    pub panel: String,
    /// When the day was over on which what changed them was received.
    pub at_ms: i64,
    /// Measures, each with its month `2026-03`.
    pub reports: Vec<(String, String)>,
}

/// What somebody who asks may know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer<'a> {
    /// Whoever reads messages themselves: everything.
    Everything,
    /// Whoever may read none: what carries no label.
    Unlabelled,
    /// A recipient: what it is cleared for without asking each patient.
    Recipient(&'a Recipient, &'a Labels),
}

/// The bits of labels that somebody is cleared for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cleared {
    bits: u64,
    /// All labels of an event must be.
    strict: bool,
}

impl Cleared {
    pub fn of(viewer: Viewer<'_>, names: &[String]) -> Cleared {
        match viewer {
            Viewer::Everything => Cleared { bits: u64::MAX, strict: false },
            Viewer::Unlabelled => Cleared { bits: 0, strict: false },
            Viewer::Recipient(recipient, labels) => {
                let clear = recipient.clear.without(recipient.consent_required);
                let is = |name: &String| labels.of(name).is_some_and(|set: Set| set.is_within(clear));
                let bits = (0..).zip(names).filter(|(_, name)| is(name)).fold(0, |all, (bit, _)| all | 1 << bit);
                Cleared { bits, strict: recipient.deny_action == DenyAction::DropEvent }
            }
        }
    }

    /// For nothing that carries a label.
    const NOTHING: Cleared = Cleared { bits: 0, strict: true };

    /// Whether what needs these labels, and carries those, may be known of.
    pub fn covers(self, (needed, carried): (u64, u64)) -> bool {
        let labels = if self.strict { carried | needed } else { needed };
        labels & !self.bits == 0
    }
}

/// The measures.
pub struct Measures {
    sight: Sight,
    counters: Counters,
    scratch: Scratch,
    before: Vec<Cell>,
    after: Vec<Cell>,
    /// The measures that are looked at, by their bits.
    touched: u64,
    pub(super) waiting: Waiting,
}

impl Measures {
    /// As a database has them. Counters that were made by other definitions are made anew from the facts.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn open(connection: &Connection, options: &Options, setting: &Setting) -> Result<Measures, Error> {
        store::create(connection, "main")?;
        let words = Words::open(connection)?;
        let lens = Lens::new(options, setting, &words);
        let sql = "SELECT fingerprint FROM measure_state";
        let made_with: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
        if made_with.as_deref() != Some(lens.fingerprint()) {
            let transaction = connection.unchecked_transaction()?;
            if made_with.is_some() {
                tracing::info!("measures are counted anew: what they are has changed");
                recompute(&transaction, &lens, "main")?;
            }
            transaction.execute("INSERT OR REPLACE INTO measure_state VALUES (0, ?1)", [lens.fingerprint()])?;
            transaction.commit()?;
        }
        Ok(Measures {
            waiting: Waiting::open(connection, setting)?,
            sight: Sight { words, lens },
            counters: Counters::default(),
            scratch: Scratch::default(),
            before: Vec::new(),
            after: Vec::new(),
            touched: ALL,
        })
    }

    /// The definitions.
    pub fn lens(&self) -> &Lens {
        &self.sight.lens
    }

    /// An event came, of somebody of the rosters or not.
    pub fn came(&mut self, event: &Event, known: bool) {
        let zone = self.sight.lens.setting().zone(&event.facility, &[]);
        let day = day(event.at_ms, &zone);
        let facility = self.sight.place(&event.facility, known);
        let counts = (known, event.time_suspect);
        self.counters.feed(facility, (event.kind, 0), day, counts);
        for code in self.sight.asked(event) {
            self.counters.feed(facility, (event.kind, code), day, counts);
        }
    }

    /// An event of somebody, by the key that messages have for them; the panels whose counters it changed.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn take(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        origin: PersonKey,
        subject: &Subject<'_>,
    ) -> Result<Vec<Changed>, Error> {
        if matches!(event.kind, Kind::IdentityMerge | Kind::Unlink) {
            return self.settle(transaction);
        }
        let Some(taken) = self.sight.fact(event, subject) else { return Ok(Vec::new()) };
        if taken.fact.has(super::fact::TEAM) {
            let day = taken.fact.day;
            let team = self.sight.team();
            self.counters.feed(taken.fact.facility, (event.kind, team), day, (true, false));
        }
        self.add(transaction, origin, &taken, event.received_ms)
    }

    /// Somebody of the panels is in no roster from a time on, behind that message; nothing where nothing is kept of them that could still be waited for.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn left(
        &mut self,
        transaction: &Transaction<'_>,
        origin: PersonKey,
        panels: &[&str],
        (seq, at_ms): (u64, i64),
    ) -> Result<Vec<Changed>, Error> {
        let sql = "SELECT 1 FROM measure_fact WHERE person = ?1 LIMIT 1";
        let person = lineage::root(transaction, origin)?;
        if transaction.prepare_cached(sql)?.query_row([person.0], |_| Ok(())).optional()?.is_none() {
            return Ok(Vec::new());
        }
        let taken = self.sight.left(panels, seq, at_ms);
        self.add(transaction, origin, &taken, at_ms)
    }

    fn add(
        &mut self,
        transaction: &Transaction<'_>,
        origin: PersonKey,
        taken: &Taken,
        received_ms: i64,
    ) -> Result<Vec<Changed>, Error> {
        let person = lineage::root(transaction, origin)?;
        let mut own = Facts::default();
        self.read(transaction, person, Some((origin, &mut own)))?;
        let oldest_ms = received_ms.saturating_sub(KEPT_MS);
        let goes =
            own.list.len() >= FACTS_MAX || own.list.iter().chain([&taken.fact]).any(|fact| fact.at_ms < oldest_ms);
        // What other facts become of it is not looked for where it goes beyond its own kind.
        let far = goes || taken.fact.all != 0 || self.scratch.has(taken.fact.seq);
        self.touched = if far { ALL } else { self.sight.lens.touched(&self.scratch, &taken.fact) };
        self.evaluate(true);
        // Of one message, of another key of theirs: their order is that of the keys.
        let tied = own.list.len() < self.scratch.len() && self.scratch.has(taken.fact.seq);
        own.push(taken.fact, &taken.codes, &taken.acting);
        if bound(&mut own, received_ms) || tied {
            write(transaction, origin, person, &own)?;
            self.read(transaction, person, None)?;
        } else {
            write(transaction, origin, person, &own)?;
            self.scratch.add(taken.fact, &taken.codes, &taken.acting);
        }
        self.evaluate(false);
        let changed = self.count(person);
        self.touched = ALL;
        if self.counters.len() > WAITING_MAX {
            self.flush(transaction)?;
        }
        // What goes with a secret that nobody may know of is no news.
        Ok(if taken.fact.whole == 0 { changed } else { Vec::new() })
    }

    /// Rows of facts have moved from one person to another: what each of them added is taken out, and what they add now put in.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn settle(&mut self, transaction: &Transaction<'_>) -> Result<Vec<Changed>, Error> {
        let mut changed = Vec::new();
        let sql = "SELECT person FROM measure_moved UNION SELECT fact.person FROM measure_moved JOIN measure_fact AS fact USING (origin)";
        let people: Vec<[u8; 16]> =
            transaction.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let was = "SELECT origin, facts FROM measure_fact WHERE person = ?1 AND origin NOT IN (SELECT origin FROM measure_moved)
                   UNION ALL SELECT origin, facts FROM measure_moved AS moved JOIN measure_fact AS fact USING (origin) WHERE moved.person = ?1
                   ORDER BY origin";
        for person in people.into_iter().map(PersonKey) {
            let facts = self.scratch.facts();
            let mut select = transaction.prepare_cached(was)?;
            let mut rows = select.query([person.0])?;
            while let Some(row) = rows.next()? {
                facts
                    .decode(row.get_ref(1)?.as_blob().unwrap_or_default())
                    .map_err(|_| Error::Damaged("measure_fact"))?;
            }
            self.evaluate(true);
            self.read(transaction, person, None)?;
            self.evaluate(false);
            together(&mut changed, self.count(person));
        }
        transaction.prepare_cached("DELETE FROM measure_moved")?.execute([])?;
        if self.counters.len() > WAITING_MAX {
            self.flush(transaction)?;
        }
        Ok(changed)
    }

    /// Takes out what was told of a person and is another patient's.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn disown(
        &mut self,
        transaction: &Transaction<'_>,
        person: PersonKey,
        gone: &Gone,
    ) -> Result<Vec<Changed>, Error> {
        let person = lineage::root(transaction, person)?;
        let hashed = |visits: &BTreeSet<String>| visits.iter().map(|visit| hash(&[visit])).collect::<BTreeSet<_>>();
        let (visits, kept) = (hashed(&gone.visits), hashed(&gone.kept));
        let is_gone = |origin: PersonKey, fact: &Fact| {
            let under = |under: &Under| under.origin == origin && fact.told_as == told_as(under.told_as);
            let is_told = fact.told_as != 0 && gone.under.iter().any(under);
            visits.contains(&fact.visit) || is_told && !kept.contains(&fact.visit)
        };
        let mut is_open = false;
        self.read(transaction, person, None)?;
        self.evaluate(true);
        let sql = "SELECT origin, facts FROM measure_fact WHERE person = ?1 ORDER BY origin";
        let mut select = transaction.prepare_cached(sql)?;
        let rows = select.query_map([person.0], |row| Ok((PersonKey(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))?;
        for (origin, blob) in rows.collect::<rusqlite::Result<Vec<_>>>()? {
            let mut own = Facts::default();
            own.decode(&blob).map_err(|_| Error::Damaged("measure_fact"))?;
            let count = own.list.len();
            own.list.retain(|fact| {
                let goes = is_gone(origin, fact);
                is_open |= goes && fact.whole == 0;
                !goes
            });
            if own.list.len() != count {
                write(transaction, origin, person, &own)?;
            }
        }
        self.read(transaction, person, None)?;
        self.evaluate(false);
        let changed = self.count(person);
        // What goes with a secret that nobody may know of is no news.
        Ok(if is_open { changed } else { Vec::new() })
    }

    /// Lets go of facts that are older than is kept, of some keys at once.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn prune(&mut self, transaction: &Transaction<'_>, now_ms: i64) -> Result<Vec<Changed>, Error> {
        secrets::prune(transaction, now_ms.saturating_sub(KEPT_MS))?;
        let mut changed = Vec::new();
        let sql = "SELECT origin, person FROM measure_fact WHERE oldest_ms < ?1 ORDER BY oldest_ms, origin LIMIT ?2";
        let before_ms = now_ms.saturating_sub(KEPT_MS);
        let old: Vec<(PersonKey, PersonKey)> = transaction
            .prepare_cached(sql)?
            .query_map([before_ms, PRUNED_MAX], |row| Ok((PersonKey(row.get(0)?), PersonKey(row.get(1)?))))?
            .collect::<Result<_, _>>()?;
        for (origin, person) in old {
            let mut own = Facts::default();
            self.read(transaction, person, Some((origin, &mut own)))?;
            self.evaluate(true);
            own.list.retain(|fact| fact.at_ms >= before_ms);
            write(transaction, origin, person, &own)?;
            self.read(transaction, person, None)?;
            self.evaluate(false);
            together(&mut changed, self.count(person));
        }
        Ok(changed)
    }

    /// Writes what has changed since the last time. Must come before the transaction is committed.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn flush(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        self.sight.words.flush(transaction)?;
        self.counters.flush_feeds(transaction)?;
        Ok(self.counters.flush(transaction, "main")?)
    }

    /// Reads the facts of a person; those of one of their keys also aside.
    fn read(
        &mut self,
        transaction: &Transaction<'_>,
        person: PersonKey,
        mut aside: Option<(PersonKey, &mut Facts)>,
    ) -> Result<(), Error> {
        let facts = self.scratch.facts();
        let mut select =
            transaction.prepare_cached("SELECT origin, facts FROM measure_fact WHERE person = ?1 ORDER BY origin")?;
        let mut rows = select.query([person.0])?;
        let damaged = |_| Error::Damaged("measure_fact");
        while let Some(row) = rows.next()? {
            let blob = row.get_ref(1)?.as_blob().unwrap_or_default();
            facts.decode(blob).map_err(damaged)?;
            if let Some((origin, own)) = &mut aside
                && row.get_ref(0)?.as_blob().ok() == Some(&origin.0)
            {
                own.decode(blob).map_err(damaged)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, before: bool) {
        let Measures { sight, scratch, before: was, after: is, touched, .. } = self;
        let out = if before { was } else { is };
        out.clear();
        sight.lens.contributions(scratch, *touched, |cell| out.push(cell));
    }

    /// Counts the difference of before and after; what it changed of panels, as far as everybody may know.
    fn count(&mut self, person: PersonKey) -> Vec<Changed> {
        let Measures { sight, counters, before, after, touched, .. } = self;
        counters.list(sight.lens.definitions(), person, [before, after], *touched);
        before.sort_unstable();
        after.sort_unstable();
        differ(before, after, |cell, by| counters.add(cell, by));
        let (was, is) = (known(before), known(after));
        let mut changed: Vec<Changed> = Vec::new();
        differ(&was, &is, |(panel, measure, day, ..), _| {
            let (panel, what) = (sight.words.text(*panel), (*measure, super::period::month_of(*day)));
            match changed.iter_mut().find(|one| one.panel == panel) {
                Some(one) => _ = one.what.insert(what),
                None => changed.push(Changed { panel: panel.to_owned(), what: [what].into() }),
            }
        });
        changed
    }
}

/// Adds what has changed to what had.
fn together(all: &mut Vec<Changed>, more: Vec<Changed>) {
    for one in more {
        match all.iter_mut().find(|known| known.panel == one.panel) {
            Some(known) => known.what.extend(one.what),
            None => all.push(one),
        }
    }
}

/// Panel, measure, day, facility and what became of it.
type Known = (u32, u32, i32, u32, Outcome);

/// What everybody may know of cells, in order.
fn known(cells: &[Cell]) -> Vec<Known> {
    let all = cells.iter().filter(|cell| Cleared::NOTHING.covers(cell.labels));
    let seen = |cell: &Cell| (cell.panel, cell.measure, cell.day, cell.facility, cell.ways.seen(Cleared::NOTHING));
    let mut known: Vec<_> = all.map(seen).filter(|one| one.4 != Outcome::Void).collect();
    known.sort_unstable();
    known
}

/// What is only in one of two sorted lists: -1 in the first, 1 in the second.
fn differ<T: Ord>(before: &[T], after: &[T], mut note: impl FnMut(&T, i64)) {
    let (mut was, mut is) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (was.peek(), is.peek()) {
            (None, None) => break,
            (Some(one), Some(other)) if one == other => {
                was.next();
                is.next();
            }
            (Some(one), other) if other.is_none_or(|other| one < other) => {
                note(one, -1);
                was.next();
            }
            (_, Some(other)) => {
                note(other, 1);
                is.next();
            }
            (Some(_), None) => break,
        }
    }
}

/// Keeps to how much is kept; whether anything went. What is old goes by the time of the journal.
fn bound(own: &mut Facts, now_ms: i64) -> bool {
    let count = own.list.len();
    let oldest_ms = now_ms.saturating_sub(KEPT_MS);
    own.list.retain(|fact| fact.at_ms >= oldest_ms);
    while own.list.len() > FACTS_MAX {
        let oldest = own.list.iter().enumerate().min_by_key(|(_, fact)| fact.at_ms).map(|(at, _)| at);
        oldest.into_iter().for_each(|at| _ = own.list.remove(at));
    }
    own.list.len() != count
}

fn write(transaction: &Transaction<'_>, origin: PersonKey, person: PersonKey, own: &Facts) -> Result<(), Error> {
    if own.list.is_empty() {
        transaction.prepare_cached("DELETE FROM measure_fact WHERE origin = ?1")?.execute([origin.0])?;
        return Ok(());
    }
    let mut blob = Vec::new();
    own.encode(&mut blob);
    let oldest_ms = own.list.iter().map(|fact| fact.at_ms).min().unwrap_or_default();
    let sql = "INSERT INTO measure_fact VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET count = excluded.count, oldest_ms = excluded.oldest_ms, facts = excluded.facts";
    transaction.prepare_cached(sql)?.execute(params![origin.0, person.0, own.list.len(), oldest_ms, blob])?;
    Ok(())
}
