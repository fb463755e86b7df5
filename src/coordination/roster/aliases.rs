//! Record numbers that are not in the rosters, and whose they are: learned from messages that name somebody for certain as well, or decided by somebody.
//!
//! What is learned is confirmed by a guarding field each time it is used, as an identifier of the roster is; what somebody decided is not. A37 (unlink) takes back what
//! was learned of both sides, and what was decided.
use super::key::PersonKey;
use super::matching::{Match, Reason};
use super::reviews;
use super::snapshot::Snapshot;
use super::systems::{self, Keyed, MRN};
use crate::coordination::event::{Event, Identifier, Kind, Patient};
use hashbrown::{Equivalent, HashMap};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

/// Numbers that are kept; with more nothing is learned.
pub const ALIASES_MAX: usize = 4_000_000;

/// Whose a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// Who; none where somebody said that it is nobody's in the rosters.
    pub person: Option<PersonKey>,
    /// Somebody said so.
    pub decided: bool,
}

/// All of them, as the database has them.
#[derive(Default, Clone, PartialEq)]
pub struct Aliases {
    known: HashMap<(Box<str>, Box<str>), Alias>,
}

/// A number that is asked for, system and value, without a copy. Hashed as the key is.
#[derive(Hash)]
struct Number<'a>(&'a str, &'a str);

impl Equivalent<(Box<str>, Box<str>)> for Number<'_> {
    fn equivalent(&self, (system, value): &(Box<str>, Box<str>)) -> bool {
        *self.0 == **system && *self.1 == **value
    }
}

impl std::fmt::Debug for Aliases {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Aliases({})", self.known.len())
    }
}

/// What came of [`learn`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Learned {
    /// Numbers that were learned.
    pub learned: usize,
    /// Numbers that were taken back.
    pub forgotten: usize,
    /// Numbers that had no room.
    pub left_out: usize,
    /// A merge of two people of the rosters was put before somebody.
    pub review: bool,
}

impl Aliases {
    /// Reads all of them, at start and after a transaction that was not committed.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn read(connection: &Connection) -> rusqlite::Result<Aliases> {
        let mut select = connection.prepare("SELECT system, value, person, decided FROM roster_alias")?;
        let mut rows = select.query([])?;
        let mut known = HashMap::new();
        while let Some(row) = rows.next()? {
            let key = (row.get::<_, String>(0)?.into(), row.get::<_, String>(1)?.into());
            let person = row.get::<_, Option<[u8; 16]>>(2)?.map(PersonKey);
            known.insert(key, Alias { person, decided: row.get(3)? });
        }
        Ok(Aliases { known })
    }

    /// Those of a patient alone, for those who only look.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn of_patient(connection: &Connection, patient: &Patient) -> rusqlite::Result<Aliases> {
        let sql = "SELECT person, decided FROM roster_alias WHERE system = ?1 AND value = ?2";
        let (mut select, mut known) = (connection.prepare_cached(sql)?, HashMap::new());
        for (system, value) in systems::of_message(&patient.identifiers) {
            let row = select.query_row([&system, &value], |row| {
                let person = row.get::<_, Option<[u8; 16]>>(0)?.map(PersonKey);
                Ok(Alias { person, decided: row.get(1)? })
            });
            let key = (system.as_str().into(), value.as_str().into());
            known.extend(row.optional()?.map(|alias| (key, alias)));
        }
        Ok(Aliases { known })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whose a number is.
    pub(in crate::coordination) fn find(&self, system: &str, value: &str) -> Option<Alias> {
        self.known.get(&Number(system, value)).copied()
    }

    /// Writes whose a number is, in the database and here. False where there is no room.
    pub(super) fn set(
        &mut self,
        transaction: &Transaction<'_>,
        (system, value): &Keyed,
        alias: Alias,
        seq: u64,
    ) -> rusqlite::Result<bool> {
        if self.known.len() >= ALIASES_MAX && self.find(system, value).is_none() {
            return Ok(false);
        }
        let sql =
            "INSERT OR REPLACE INTO roster_alias (system, value, person, decided, seq) VALUES (?1, ?2, ?3, ?4, ?5)";
        let person = alias.person.map(|person| person.0);
        transaction.prepare_cached(sql)?.execute(params![system, value, person, alias.decided, seq.cast_signed()])?;
        self.known.insert((system.as_str().into(), value.as_str().into()), alias);
        Ok(true)
    }

    /// Those of people whose key is another now are theirs under that one: `new` tells it of an old one.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn rename(
        &mut self,
        transaction: &Transaction<'_>,
        new: impl Fn(&PersonKey) -> Option<PersonKey>,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE roster_alias SET person = ?3 WHERE system = ?1 AND value = ?2";
        for ((system, value), alias) in &mut self.known {
            let Some(now) = alias.person.as_ref().and_then(&new) else { continue };
            transaction.prepare_cached(sql)?.execute(params![system, value, now.0])?;
            alias.person = Some(now);
        }
        Ok(())
    }

    /// Takes back whose a number is. Whether anything was known of it.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn forget(&mut self, transaction: &Transaction<'_>, system: &str, value: &str) -> rusqlite::Result<bool> {
        if self.known.remove(&Number(system, value)).is_none() {
            return Ok(false);
        }
        let sql = "DELETE FROM roster_alias WHERE system = ?1 AND value = ?2";
        transaction.prepare_cached(sql)?.execute(params![system, value])?;
        Ok(true)
    }
}

/// The numbers of a person that are not in the rosters: system, value, and whether somebody decided.
///
/// # Errors
/// A database that cannot be read.
pub fn of_person(connection: &Connection, person: &PersonKey) -> rusqlite::Result<Vec<(String, String, bool)>> {
    let sql = "SELECT system, value, decided FROM roster_alias WHERE person = ?1 ORDER BY system, value";
    let mut select = connection.prepare_cached(sql)?;
    select.query_map([person.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Learns from an event and whom it was found to be about; takes back what an unlink tells apart.
///
/// After an error, or when the transaction is not committed, [`Aliases::read`] them again.
///
/// # Errors
/// A database that cannot be written.
pub fn learn(
    transaction: &Transaction<'_>,
    aliases: &mut Aliases,
    snapshot: &Snapshot,
    event: &Event,
    found: &Match,
) -> rusqlite::Result<Learned> {
    let mut learned = Learned::default();
    match event.kind {
        Kind::Unlink => {
            for (system, value) in
                systems::of_message(&event.patient.identifiers).into_iter().chain(systems::of_message(&event.others))
            {
                learned.forgotten += usize::from(aliases.forget(transaction, &system, &value)?);
            }
        }
        Kind::IdentityMerge => merge(transaction, aliases, snapshot, event, found, &mut learned)?,
        _ => {
            if let Match::Person(person, how) = found
                && how.is_certain()
            {
                add(transaction, aliases, snapshot, *person, &event.patient.identifiers, event.seq, &mut learned)?;
            }
        }
    }
    Ok(learned)
}

/// Two sets of identifiers are of one patient: who has one of them has the other. Of two people of the rosters somebody has to say what is true.
fn merge(
    transaction: &Transaction<'_>,
    aliases: &mut Aliases,
    snapshot: &Snapshot,
    event: &Event,
    found: &Match,
    learned: &mut Learned,
) -> rusqlite::Result<()> {
    let replaced = Patient { identifiers: event.others.clone(), ..event.patient.clone() };
    let other = by_identifier(snapshot, aliases, &replaced);
    let certain = match found {
        Match::Person(key, how) if how.is_certain() => Some(*key),
        _ => None,
    };
    match (by_identifier(snapshot, aliases, &event.patient).or(certain), other) {
        (Some(one), Some(other)) if one != other => {
            let candidates = vec![one.min(other), one.max(other)];
            let found = Match::Review { reason: Reason::Conflict, candidates };
            learned.review = reviews::note(transaction, event, &found)?;
        }
        (Some(person), _) => add(transaction, aliases, snapshot, person, &event.others, event.seq, learned)?,
        (None, Some(person)) => {
            add(transaction, aliases, snapshot, person, &event.patient.identifiers, event.seq, learned)?;
        }
        (None, None) => {}
    }
    Ok(())
}

/// Whom identifiers name, without what name and birth say.
fn by_identifier(snapshot: &Snapshot, aliases: &Aliases, patient: &Patient) -> Option<PersonKey> {
    match snapshot.find(patient, aliases) {
        Match::Person(key, super::How::Decided | super::How::Strong | super::How::Alias) => Some(key),
        _ => None,
    }
}

fn add(
    transaction: &Transaction<'_>,
    aliases: &mut Aliases,
    snapshot: &Snapshot,
    person: PersonKey,
    identifiers: &[Identifier],
    seq: u64,
    learned: &mut Learned,
) -> rusqlite::Result<()> {
    for keyed in systems::of_message(identifiers) {
        let (system, value) = &keyed;
        // Numbers of other systems are the same everywhere: the roster has them, or they are another's.
        if !system.starts_with(MRN) || snapshot.is_known(system, value) {
            continue;
        }
        let known = aliases.find(system, value);
        if known.is_some_and(|known| known.decided || known.person == Some(person)) {
            continue;
        }
        let alias = Alias { person: Some(person), decided: false };
        if aliases.set(transaction, &keyed, alias, seq)? {
            learned.learned += 1;
        } else {
            learned.left_out += 1;
        }
    }
    Ok(())
}
