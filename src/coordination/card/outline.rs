//! What stands on cards but for bodies, in memory, of those of whom messages came last: what a message tells is then written without reading what is there.
//!
//! An outline is a section of one origin, and all of its rows but the one that says that there are more. It is changed by what changes the table through it ([`super::take`], [`super::mark`]);
//! whoever else writes to the table empties this ([`Outlines::clear`]). One that is wrong all the same is found where a row is written that is not there, or is: nothing of the batch is
//! written then. Builds for tests hold the outlines of a person against the table with each message. It goes with the rest of what is in memory when a batch fails.
use super::Section;
use super::store::MORE;
use crate::coordination::PersonKey;
use hashbrown::HashMap;
use rusqlite::{Connection, params};

/// Rows of the people of whom messages came last, and as many again of those of before: some 200 bytes each.
const ROWS_MAX: usize = 32_768;
/// What an outline counts for beside its rows.
const OUTLINE_ROWS: usize = 4;

/// A row without its body.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub key: [u8; 16],
    pub at_ms: i64,
    pub seq: i64,
    pub head: [u8; 16],
    pub labels: String,
    /// Bytes of the body.
    pub length: usize,
    pub sent_ms: i64,
    pub rank: u8,
    pub stay: String,
    pub series: [u8; 16],
}

/// The rows of a section of one origin, in no order.
struct Outline {
    origin: PersonKey,
    section: Section,
    rows: Vec<Known>,
}

/// Outlines by whose cards they are of.
#[derive(Default)]
pub(in crate::coordination) struct Outlines {
    young: HashMap<PersonKey, Vec<Outline>>,
    /// How many rows these have had at most.
    young_rows: usize,
    /// Goes as a whole when there are enough younger ones.
    old: HashMap<PersonKey, Vec<Outline>>,
    /// Not held against the table, for figures.
    is_trusted: bool,
}

impl std::fmt::Debug for Outlines {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Outlines({} people)", self.young.len() + self.old.len())
    }
}

impl Outlines {
    /// To be measured.
    #[cfg(test)]
    pub(super) fn trusted() -> Outlines {
        Outlines { is_trusted: true, ..Outlines::default() }
    }

    /// The rows of a section, read where they are not known.
    pub(super) fn rows(
        &mut self,
        connection: &Connection,
        (person, origin): (PersonKey, PersonKey),
        section: Section,
    ) -> rusqlite::Result<&mut Vec<Known>> {
        if self.young_rows > ROWS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_rows = 0;
        }
        let all = self.young.entry(person).or_insert_with(|| {
            let all = self.old.remove(&person).unwrap_or_default();
            self.young_rows += all.iter().map(|one| one.rows.len() + OUTLINE_ROWS).sum::<usize>();
            all
        });
        let at = match all.iter().position(|one| one.section == section && one.origin == origin) {
            Some(at) => at,
            None => {
                let rows = read(connection, (person, origin), section)?;
                self.young_rows += rows.len() + OUTLINE_ROWS;
                all.push(Outline { origin, section, rows });
                all.len() - 1
            }
        };
        all.get_mut(at).map(|one| &mut one.rows).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Adds a row that has been written.
    pub(super) fn add(
        &mut self,
        connection: &Connection,
        whose: (PersonKey, PersonKey),
        section: Section,
        row: Known,
    ) -> rusqlite::Result<()> {
        self.young_rows += 1;
        self.rows(connection, whose, section)?.push(row);
        Ok(())
    }

    /// Forgets what is on the card of a person: it was changed.
    pub(super) fn forget(&mut self, person: PersonKey) {
        self.young.remove(&person);
        self.old.remove(&person);
    }

    /// Forgets all: cards were changed by somebody else.
    pub fn clear(&mut self) {
        *self = Outlines::default();
    }

    /// Whether all that is known of a person is so.
    pub(super) fn are_right(&self, connection: &Connection, person: PersonKey) -> rusqlite::Result<bool> {
        if self.is_trusted {
            return Ok(true);
        }
        let known = [&self.young, &self.old].into_iter().filter_map(|all| all.get(&person)).flatten();
        for one in known {
            let mut there = read(connection, (person, one.origin), one.section)?;
            let mut rows = one.rows.clone();
            for all in [&mut there, &mut rows] {
                all.sort_unstable_by_key(|row| row.key);
            }
            if there != rows {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn read(
    connection: &Connection,
    (person, origin): (PersonKey, PersonKey),
    section: Section,
) -> rusqlite::Result<Vec<Known>> {
    let sql = "SELECT key, at_ms, seq, head, labels, length(body), sent_ms, rank, stay, series
               FROM card WHERE person = ?1 AND origin = ?2 AND section = ?3 AND key <> ?4";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(params![person.0, origin.0, section.number(), MORE], |row| {
        Ok(Known {
            key: row.get(0)?,
            at_ms: row.get(1)?,
            seq: row.get(2)?,
            head: row.get(3)?,
            labels: row.get(4)?,
            length: row.get(5)?,
            sent_ms: row.get(6)?,
            rank: row.get(7)?,
            stay: row.get(8)?,
            series: row.get(9)?,
        })
    })?;
    rows.collect()
}
