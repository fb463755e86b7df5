//! The counters at work: each event of somebody of the rosters changes them by what the person added before and adds after.
use super::cell::Cell;
use super::definition::Options;
use super::fact::{FACTS_MAX, Fact, Facts, LEFT, hash, told_as};
use super::kept::{bound, write};
use super::lens::Lens;
use super::members;
use super::news::{Audience, Changed, audiences, differ, news, together};
use super::period::month_of;
use super::recompute::recompute;
use super::secrets;
use super::settle::Scratch;
use super::since::{self, Since};
use super::store::{self, Counters};
use super::take::{Sight, Subject, Taken, day};
use super::waiting::{self, Waiting};
use super::words::{self, Sort, Words};
use crate::coordination::lineage::{self, Gone, Under};
use crate::coordination::loops::Setting;
use crate::coordination::store::Error;
use crate::coordination::{Event, Kind, PersonKey};
use crate::privacy::{self, DenyAction, Labels, Recipient, Set};
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The tables, but for [`super::FACTS`], which stands where rows move with persons.
pub const TABLES: [&str; 6] =
    [words::TABLES, store::TABLES, waiting::TABLES, members::TABLES, secrets::TABLES, since::TABLES];

/// Every measure.
pub(super) const ALL: u64 = u64::MAX;

/// Facts are kept for so long by the time of the journal, 26 months: two more than can be asked for.
pub const KEPT_MS: i64 = 800 * 86_400_000;
/// Keys whose old facts go at once.
const PRUNED_MAX: i64 = 100;
/// Changes that wait for the end of a batch.
const WAITING_MAX: usize = 100_000;

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
    /// Who is told that figures change.
    audiences: Vec<Audience>,
    since: Since,
    pub(super) waiting: Waiting,
}

impl Measures {
    /// As a database has them. Counters that were made by other definitions or labels are made anew from the facts.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn open(
        connection: &Connection,
        options: &Options,
        setting: &Setting,
        privacy: &privacy::Options,
    ) -> Result<Measures, Error> {
        store::create(connection, "main")?;
        let mut words = Words::open(connection)?;
        let labels: &Arc<Labels> = &privacy.labels;
        for name in labels.names(labels.every()) {
            words.intern(Sort::Label, name);
        }
        let lens = Lens::new(options, setting, labels, &words);
        let sql = "SELECT fingerprint FROM measure_state";
        let made_with: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
        if made_with.as_deref() != Some(lens.fingerprint()) {
            let transaction = connection.unchecked_transaction()?;
            words.flush(&transaction)?;
            if made_with.is_some() {
                tracing::info!("measures are counted anew: what they are has changed, or what is a secret");
                recompute(&transaction, &lens, "main")?;
            }
            transaction.execute("INSERT OR REPLACE INTO measure_state VALUES (0, ?1)", [lens.fingerprint()])?;
            transaction.commit()?;
        }
        Ok(Measures {
            waiting: Waiting::open(connection, setting)?,
            since: Since::open(connection)?,
            audiences: audiences(privacy, lens.labels()),
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
        if month_of(day) < first_month(event.received_ms) {
            return;
        }
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
            let labels = self.sight.labels(subject);
            return self.settle(transaction, labels);
        }
        let Some(taken) = self.sight.fact(event, subject) else { return Ok(Vec::new()) };
        if taken.fact.has(super::fact::TEAM) {
            let day = taken.fact.day;
            let team = self.sight.team();
            self.counters.feed(taken.fact.facility, (event.kind, team), day, (true, false));
        }
        self.add(transaction, origin, &taken, event.received_ms)
    }

    /// Whether anything is kept of somebody.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn knows(&self, transaction: &Transaction<'_>, key: PersonKey) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM measure_fact WHERE person = ?1 LIMIT 1";
        let person = lineage::root(transaction, key)?;
        Ok(transaction.prepare_cached(sql)?.query_row([person.0], |_| Ok(())).optional()?.is_some())
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
        if !self.knows(transaction, origin)? {
            return Ok(Vec::new());
        }
        let taken = self.sight.left(panels, seq, at_ms);
        self.add(transaction, origin, &taken, at_ms)
    }

    /// Somebody is in these panels again from a time on, if they had left.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn back(
        &mut self,
        transaction: &Transaction<'_>,
        key: PersonKey,
        panels: &[&str],
        at_ms: i64,
    ) -> Result<Vec<Changed>, Error> {
        let person = lineage::root(transaction, key)?;
        let start = (at_ms, self.sight.day_of(panels, at_ms));
        let mut select =
            transaction.prepare_cached("SELECT origin, facts FROM measure_fact WHERE person = ?1 ORDER BY origin")?;
        let mut rows = select.query([person.0])?;
        let mut others = Vec::new();
        while let Some(row) = rows.next()? {
            let mut own = Facts::default();
            own.decode(row.get_ref(1)?.as_blob().unwrap_or_default()).map_err(|_| Error::Damaged("measure_fact"))?;
            let away = own.list.iter_mut().filter(|fact| fact.kind == LEFT && fact.start == (0, 0));
            if away.map(|fact| fact.start = start).count() > 0 {
                others.push((PersonKey(row.get(0)?), own));
            }
        }
        if others.is_empty() {
            return Ok(Vec::new());
        }
        self.read(transaction, person, None)?;
        self.evaluate(true);
        for (origin, own) in others {
            write(transaction, (origin, person), &own, &[])?;
        }
        self.read(transaction, person, None)?;
        self.evaluate(false);
        Ok(self.count(person, (0, 0)))
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
        let labelled = self.sight.is_labelled(taken);
        let far = goes || labelled || self.scratch.has(taken.fact.seq);
        self.touched = if far { ALL } else { self.sight.lens.touched(&self.scratch, &taken.fact) };
        self.evaluate(true);
        let anchors = if goes { self.sight.lens.anchors(&self.scratch, oldest_ms) } else { Vec::new() };
        // Of one message, of another key of theirs: their order is that of the keys.
        let tied = own.list.len() < self.scratch.len() && self.scratch.has(taken.fact.seq);
        own.push(taken.fact, &taken.codes, &taken.acting);
        let gone = bound(&mut own, received_ms, &anchors);
        write(transaction, (origin, person), &own, &anchors)?;
        if gone || tied {
            self.read(transaction, person, None)?;
        } else {
            self.scratch.add(taken.fact, &taken.codes, &taken.acting);
        }
        self.evaluate(false);
        let changed = self.count(person, (taken.fact.whole, taken.fact.all));
        self.touched = ALL;
        if self.counters.len() > WAITING_MAX {
            self.flush(transaction)?;
        }
        Ok(changed)
    }

    /// Rows of facts have moved from one person to another, for something of these labels: what each of them added is taken out, and what they add now put in.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn settle(&mut self, transaction: &Transaction<'_>, labels: (u64, u64)) -> Result<Vec<Changed>, Error> {
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
            together(&mut changed, self.count(person, labels));
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
        let (mut is_open, mut labels) = (false, (0, 0));
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
                labels = if goes { (labels.0 | fact.whole, labels.1 | fact.all) } else { labels };
                !goes
            });
            if own.list.len() != count {
                write(transaction, (origin, person), &own, &[])?;
            }
        }
        self.read(transaction, person, None)?;
        self.evaluate(false);
        // Where all of it is secret it is news for those who may know of that.
        Ok(self.count(person, if is_open { (0, 0) } else { labels }))
    }

    /// Lets go of facts that are older than is kept, of some keys at once.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn prune(&mut self, transaction: &Transaction<'_>, now_ms: i64) -> Result<Vec<Changed>, Error> {
        secrets::prune(transaction, now_ms.saturating_sub(KEPT_MS))?;
        self.counters.prune_feeds(transaction, first_month(now_ms))?;
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
            let anchors = self.sight.lens.anchors(&self.scratch, before_ms);
            bound(&mut own, now_ms, &anchors);
            write(transaction, (origin, person), &own, &anchors)?;
            self.read(transaction, person, None)?;
            self.evaluate(false);
            together(&mut changed, self.count(person, (0, 0)));
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

    /// Counts the difference of before and after, which something of these labels has made; what of it is news.
    fn count(&mut self, person: PersonKey, labels: (u64, u64)) -> Vec<Changed> {
        let Measures { sight, counters, before, after, touched, audiences, .. } = self;
        counters.list(sight.lens.definitions(), person, [before, after], *touched);
        before.sort_unstable();
        after.sort_unstable();
        differ(before, after, |cell, by| counters.add(cell, by));
        news(audiences, (before, after), labels, &sight.words)
    }

    /// Messages of the journal were gone before they were read: what was received until the next one is not known.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn lost(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        Ok(self.since.lost(transaction)?)
    }

    /// A message was received.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn heard(&mut self, transaction: &Transaction<'_>, received_ms: i64) -> Result<(), Error> {
        Ok(self.since.heard(transaction, received_ms)?)
    }
}

/// The first month of which anything is kept.
fn first_month(now_ms: i64) -> i32 {
    month_of(day(now_ms.saturating_sub(KEPT_MS), &TimeZone::UTC))
}
