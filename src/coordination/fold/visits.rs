//! The visits that are known: rows of the database, and in memory those that were asked for lately.
//!
//! What has changed in memory is written by [`Visits::flush`] before the transaction ends; a restart reads the same. A visit is let go some time after the last
//! message about it, by the days of receipt that messages tell, so the same journal always leaves the same rows.
use super::super::event::VisitKey;
use super::super::options::Class;
use super::super::store::Error;
use super::visit::{Course, Kinds, Visit};
use hashbrown::HashMap;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS visit (
    authority TEXT NOT NULL, number TEXT NOT NULL, weak INTEGER NOT NULL, person BLOB NOT NULL, admit_ms INTEGER, discharge_ms INTEGER,
    let_go_day INTEGER NOT NULL, class TEXT, facility TEXT NOT NULL, facility_before TEXT NOT NULL, disposition TEXT NOT NULL, notified TEXT NOT NULL,
    partial INTEGER NOT NULL, hanging INTEGER NOT NULL, team INTEGER NOT NULL, PRIMARY KEY (authority, number, weak)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS visit_let_go ON visit (let_go_day);
CREATE INDEX IF NOT EXISTS visit_weak ON visit (person, authority) WHERE weak = 1;";

/// Days after the last message about a visit that is over, or an emergency visit, which is over by itself: late cancels, documents and bills come within them.
const OVER_DAYS: i64 = 90;
/// Days after the last message about a stay that nobody ended.
const OPEN_DAYS: i64 = 400;
/// Visits that are kept; each day the ones that would go next go before their time.
const VISITS_MAX: i64 = 4_000_000;
/// Visits in memory.
const CACHED_MAX: usize = 50_000;

/// Who a visit is of: a hash, 0 where nobody can tell.
pub(super) type Person = [u8; 16];

#[derive(Default)]
pub(super) struct Visits {
    cached: HashMap<VisitKey, Cached>,
    /// Those of them that have changed.
    dirty: Vec<VisitKey>,
}

struct Cached {
    visit: Visit,
    person: Person,
    let_go_day: i64,
    /// As the database has it; none for one that is not there.
    stored_day: Option<i64>,
    dirty: bool,
}

impl Visits {
    /// A visit, as it is known.
    pub fn find(&mut self, connection: &Connection, key: &VisitKey) -> Result<Option<&Visit>, Error> {
        if !self.cached.contains_key(key) {
            let Some(read) = read(connection, key)? else { return Ok(None) };
            self.cached.insert(key.clone(), read);
        }
        Ok(self.cached.get(key).map(|cached| &cached.visit))
    }

    /// Keeps how a visit goes, as of a message that was received on a day; with it what that says of the team (0: nothing).
    pub fn keep(&mut self, key: &VisitKey, person: Person, course: Course, day: i64, team: i64) {
        let open = course.class.is_some_and(|class| class.is_stay()) && !course.is_over();
        let let_go_day = day + if open { OPEN_DAYS } else { OVER_DAYS };
        let visit = || Visit { key: key.clone(), course: Course::default(), team: 0 };
        let empty = || Cached { visit: visit(), person, let_go_day: 0, stored_day: None, dirty: false };
        let cached = self.cached.entry_ref(key).or_insert_with(empty);
        let team = if team == 0 { cached.visit.team } else { team };
        let changed = cached.visit.course != course || cached.let_go_day != let_go_day || cached.visit.team != team;
        if changed {
            cached.visit.course = course;
            cached.visit.team = team;
            cached.let_go_day = let_go_day;
            if !std::mem::replace(&mut cached.dirty, true) {
                self.dirty.push(key.clone());
            }
        }
    }

    /// The visit without a number of a person at a sender: the newest that goes on at a time, else the newest that ended at this very time.
    pub fn latest_weak(
        &mut self,
        transaction: &Transaction<'_>,
        person: Person,
        authority: &str,
        at_ms: i64,
    ) -> Result<Option<VisitKey>, Error> {
        self.flush(transaction)?;
        let sql = "SELECT number FROM visit WHERE weak = 1 AND person = ?1 AND authority = ?2
                   AND (discharge_ms IS NULL OR discharge_ms = ?3) ORDER BY discharge_ms IS NULL DESC, admit_ms DESC, number LIMIT 1";
        let number = transaction.prepare_cached(sql)?.query_row(params![person, authority, at_ms], |row| row.get(0));
        Ok(number.optional()?.map(|number| VisitKey { authority: authority.to_owned(), number, weak: true }))
    }

    /// The same, of those that have ended: what a cancelled discharge is about.
    pub fn latest_ended_weak(
        &mut self,
        transaction: &Transaction<'_>,
        person: Person,
        authority: &str,
    ) -> Result<Option<VisitKey>, Error> {
        self.flush(transaction)?;
        let sql = "SELECT number FROM visit WHERE weak = 1 AND person = ?1 AND authority = ?2
                   AND discharge_ms IS NOT NULL ORDER BY discharge_ms DESC, number LIMIT 1";
        let number = transaction.prepare_cached(sql)?.query_row(params![person, authority], |row| row.get(0));
        Ok(number.optional()?.map(|number| VisitKey { authority: authority.to_owned(), number, weak: true }))
    }

    /// Writes what has changed.
    pub fn flush(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO visit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?;
        // Most messages change nothing that an index has: none is written then.
        let mut update = transaction.prepare_cached(
            "UPDATE visit SET admit_ms = ?5, discharge_ms = ?6, class = ?8, facility = ?9, facility_before = ?10, disposition = ?11, notified = ?12,
               partial = ?13, hanging = ?14, team = ?15 WHERE authority = ?1 AND number = ?2 AND weak = ?3",
        )?;
        for key in self.dirty.drain(..) {
            let Some(cached) = self.cached.get_mut(&key) else { continue };
            let Course { facility, facility_before, admit_ms, discharge_ms, disposition, partial, hanging, .. } =
                &cached.visit.course;
            let same_day = cached.stored_day == Some(cached.let_go_day);
            let write = if same_day { &mut update } else { &mut insert };
            write.execute(params![
                key.authority,
                key.number,
                key.weak,
                cached.person,
                admit_ms,
                discharge_ms,
                cached.let_go_day,
                cached.visit.course.class.map(Class::code),
                facility,
                facility_before,
                disposition,
                cached.visit.course.notified.text(),
                partial,
                hanging,
                cached.visit.team
            ])?;
            (cached.stored_day, cached.dirty) = (Some(cached.let_go_day), false);
        }
        if self.cached.len() > CACHED_MAX {
            self.cached.clear();
        }
        Ok(())
    }

    /// Lets go of what has been kept long enough on a day.
    pub fn let_go(&mut self, transaction: &Transaction<'_>, day: i64) -> Result<(), Error> {
        self.flush(transaction)?;
        self.cached.clear();
        transaction.execute("DELETE FROM visit WHERE let_go_day < ?1", [day])?;
        let sql = "DELETE FROM visit WHERE (authority, number, weak) IN (
                       SELECT authority, number, weak FROM visit ORDER BY let_go_day, authority, number, weak
                       LIMIT max(0, (SELECT count(*) FROM visit) - ?1))";
        transaction.execute(sql, [VISITS_MAX])?;
        Ok(())
    }
}

fn read(connection: &Connection, key: &VisitKey) -> Result<Option<Cached>, Error> {
    let sql = "SELECT person, admit_ms, discharge_ms, let_go_day, class, facility, facility_before, disposition, notified, partial, hanging, team
               FROM visit WHERE authority = ?1 AND number = ?2 AND weak = ?3";
    let course = |row: &Row<'_>| -> rusqlite::Result<Option<Course>> {
        let Some(notified) = Kinds::parse(row.get_ref(8)?.as_str()?) else { return Ok(None) };
        let class = match row.get_ref(4)?.as_str_or_null()? {
            None => None,
            Some(code) => match Class::parse(code) {
                None => return Ok(None),
                class => class,
            },
        };
        Ok(Some(Course {
            class,
            facility: row.get(5)?,
            facility_before: row.get(6)?,
            admit_ms: row.get(1)?,
            discharge_ms: row.get(2)?,
            disposition: row.get(7)?,
            notified,
            partial: row.get(9)?,
            hanging: row.get(10)?,
        }))
    };
    let mut select = connection.prepare_cached(sql)?;
    let row = select.query_row(params![key.authority, key.number, key.weak], |row| {
        Ok((row.get::<_, Person>(0)?, row.get::<_, i64>(3)?, course(row)?, row.get::<_, i64>(11)?))
    });
    let Some((person, let_go_day, course, team)) = row.optional()? else { return Ok(None) };
    let course = course.ok_or(Error::Damaged("visit"))?;
    let visit = Visit { key: key.clone(), course, team };
    Ok(Some(Cached { visit, person, let_go_day, stored_day: Some(let_go_day), dirty: false }))
}

/// A visit as it stands in the database: for those who answer.
pub(super) fn visit(connection: &Connection, key: &VisitKey) -> Result<Option<Visit>, Error> {
    Ok(read(connection, key)?.map(|cached| cached.visit))
}
