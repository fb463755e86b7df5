//! Who is behind a rate, by the day on which they were counted in: people for whom it has not happened in time, or, where fewer are better, for whom it has.
use super::cell::{Case, Outcome};
use super::counting::Cleared;
use super::definition::Definition;
use super::period::first_day;
use super::secrets::{self, Names};
use super::series::{Reader, Wanted};
use super::settle::Scratch;
use super::take::day as date;
use super::words::Sort;
use crate::coordination::PersonKey;
use crate::coordination::loops::Span;
use crate::coordination::store::Error;
use rusqlite::{Connection, params};

/// Rows that are looked at for one page: those whom the viewer may not know of are passed over.
const LOOKED_MAX: usize = 5_000;

/// Behind which day and person there may be more.
pub type Next = Option<(i32, PersonKey)>;

/// Which of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Page {
    /// Behind this day and person.
    pub after: Next,
    /// At most so many.
    pub most: usize,
}

/// Somebody who is behind a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Someone {
    /// Who.
    pub person: PersonKey,
    /// The day on which they were counted in, in days since 1970.
    pub day: i32,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Where.
    pub facility: String,
    /// The last day on which it is in time.
    pub due_day: i32,
    /// What became of it.
    pub outcome: Outcome,
    /// When it came.
    pub closed_ms: Option<i64>,
    /// Labels of what counted them in and of what became of it: those that tell so, and all.
    pub labels: Names,
}

/// Whether somebody may be told of, of whom these labels tell: those of what is told, and all. When it happened stands before them.
pub trait May<E>: FnMut(PersonKey, i64, &Names) -> Result<bool, E> {}

impl<E, F: FnMut(PersonKey, i64, &Names) -> Result<bool, E>> May<E> for F {}

impl Reader {
    /// Those of some months for whom it has not happened in time, by day and person, and behind whom there may be more. What the viewer is not cleared for is not among them, nor what
    /// `may` says no to; its labels are those of then and those that the visit has got since.
    ///
    /// # Errors
    /// A database that cannot be read, and what `may` cannot tell.
    pub fn people<E: From<Error> + From<rusqlite::Error>>(
        &self,
        connection: &Connection,
        wanted: &Wanted<'_>,
        page: Page,
        may: &mut impl May<E>,
    ) -> Result<(Vec<Someone>, Next), E> {
        let Some(panel) = self.words.find(Sort::Panel, wanted.panel) else { return Ok((Vec::new(), None)) };
        let sql = "SELECT day, person FROM measure_case
                   WHERE panel = ?1 AND day <= ?4 AND (day, person) > (?3, ?5) AND measures & ?2 <> 0 ORDER BY day, person LIMIT ?6";
        let bit = (1_u64 << (wanted.measure & 63)).cast_signed();
        let first = first_day(wanted.months.0);
        let last = first_day(wanted.months.1 + 1) - 1;
        // Before everybody of the first day.
        let (after_day, after) = page
            .after
            .filter(|(day, _)| *day >= first)
            .map_or((first - 1, vec![0xff; 17]), |(day, key)| (day, key.0.to_vec()));
        let mut select = connection.prepare_cached(sql)?;
        let rows = select.query_map(params![panel, bit, after_day, last, after, LOOKED_MAX + 1], |row| {
            Ok((row.get::<_, i32>(0)?, PersonKey(row.get(1)?)))
        })?;
        let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
        let (mut found, mut scratch) = (Vec::new(), Scratch::default());
        for (count, (day, person)) in rows.iter().enumerate() {
            if count == LOOKED_MAX || found.len() >= page.most {
                let last = rows.get(count.saturating_sub(1)).copied();
                return Ok((found, last));
            }
            for case in self.cases_on(connection, (wanted.measure, *day, *person), &mut scratch)? {
                if self.lens.panels(case.panels).contains(&panel) {
                    found.extend(self.someone(connection, wanted, (*person, &case), may)?);
                }
            }
        }
        Ok((found, None))
    }

    /// The cases of somebody of a measure that began on a day.
    fn cases_on(
        &self,
        connection: &Connection,
        (measure, day, person): (usize, i32, PersonKey),
        scratch: &mut Scratch,
    ) -> Result<Vec<Case>, Error> {
        scratch.facts();
        let mut select =
            connection.prepare_cached("SELECT facts FROM measure_fact WHERE person = ?1 ORDER BY origin")?;
        let mut rows = select.query([person.0])?;
        while let Some(row) = rows.next()? {
            scratch.more(row.get_ref(0)?.as_blob().unwrap_or_default()).map_err(|_| Error::Damaged("measure_fact"))?;
        }
        let mut cases = Vec::new();
        self.lens.cases(scratch, measure, |case| {
            if case.cell.day == day {
                cases.push(case);
            }
        });
        Ok(cases)
    }

    /// A case, as far as somebody may be told of it.
    fn someone<E: From<Error> + From<rusqlite::Error>>(
        &self,
        connection: &Connection,
        wanted: &Wanted<'_>,
        (person, case): (PersonKey, &Case),
        may: &mut impl May<E>,
    ) -> Result<Option<Someone>, E> {
        let cleared = Cleared::of(wanted.viewer, self.lens.labels());
        let Some(definition) = self.definitions().get(wanted.measure) else { return Ok(None) };
        let mut is_told = |labels: &Names| -> Result<bool, E> {
            let bits = |names: &[String]| self.lens.bits(names.iter().map(String::as_str));
            Ok(cleared.covers((bits(&labels.0), bits(&labels.1))) && may(person, case.at_ms, labels)?)
        };
        let opened = self.names(connection, case.cell.labels, case.visit)?;
        if !is_told(&opened)? {
            return Ok(None);
        }
        // What happened may be a secret of its own: then it has not, as in the rate.
        let (mut outcome, mut closed_ms, mut labels) = (Outcome::Missing, None, opened.clone());
        for (place, (needed, became)) in case.cell.ways.iter().enumerate() {
            let visit = case.visits.get(place).copied().unwrap_or_default();
            let of_way = both(&opened, self.names(connection, *needed, visit)?);
            if of_way == opened || is_told(&of_way)? {
                (outcome, labels) = (*became, of_way);
                closed_ms = case.closed_ms.get(place).copied().flatten();
                break;
            }
        }
        Ok(definition.lists(outcome).then(|| Someone {
            person,
            day: case.cell.day,
            at_ms: case.at_ms,
            facility: self.words.text(case.cell.facility).to_owned(),
            due_day: self.due_day(definition, case, wanted.panel),
            outcome,
            closed_ms,
            labels,
        }))
    }

    /// The last local date on which it is in time.
    fn due_day(&self, definition: &Definition, case: &Case, panel: &str) -> i32 {
        match definition.due.0 {
            Span::Days(days) => case.cell.day.saturating_add(i32::from(days)),
            Span::Ms(ms) => {
                let facility = self.words.text(case.cell.facility);
                let zone = self.lens.setting().zone(facility, &[panel.to_owned()]);
                date(case.at_ms.saturating_add(ms), &zone)
            }
        }
    }

    /// The labels of bits, and those that a visit has got since; one that has no name any more has one that nobody has.
    fn names(&self, connection: &Connection, (needed, carried): (u64, u64), visit: u64) -> rusqlite::Result<Names> {
        let name = |bit: usize| self.lens.labels().get(bit).cloned().unwrap_or_else(|| "?".to_owned());
        let names = |bits: u64| (0..64).filter(|bit| bits >> bit & 1 == 1).map(name).collect::<Vec<_>>();
        let since = if visit == 0 { Names::default() } else { secrets::of(connection, visit)? };
        Ok(both(&(names(needed), names(carried)), since))
    }
}

/// The labels of both, each once.
fn both(one: &Names, other: Names) -> Names {
    let add = |one: &[String], other: Vec<String>| {
        let mut all: Vec<String> = one.iter().cloned().chain(other).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    (add(&one.0, other.0), add(&one.1, other.1))
}
