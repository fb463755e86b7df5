//! Who is behind a rate, by the day on which they were counted in: people for whom it has not happened in time, or, where fewer are better, for whom it has.
use super::cell::{Case, Outcome};
use super::contribute::Scratch;
use super::counting::Cleared;
use super::definition::Definition;
use super::period::first_day;
use super::series::{Reader, Wanted};
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
    pub labels: (Vec<String>, Vec<String>),
}

impl Reader {
    /// Those of some months for whom it has not happened in time, by day and person, and behind whom there may be more. What the viewer is not cleared for is not among them.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn people(
        &self,
        connection: &Connection,
        wanted: &Wanted<'_>,
        page: Page,
    ) -> Result<(Vec<Someone>, Next), Error> {
        let Some(panel) = self.words.find(Sort::Panel, wanted.panel) else { return Ok((Vec::new(), None)) };
        let sql = "SELECT day, person FROM measure_case
                   WHERE panel = ?1 AND measure = ?2 AND day <= ?4 AND (day, person) > (?3, ?5) ORDER BY day, person LIMIT ?6";
        let first = first_day(wanted.months.0);
        let last = first_day(wanted.months.1 + 1) - 1;
        // Before everybody of the first day.
        let (after_day, after) = page
            .after
            .filter(|(day, _)| *day >= first)
            .map_or((first - 1, vec![0xff; 17]), |(day, key)| (day, key.0.to_vec()));
        let mut select = connection.prepare_cached(sql)?;
        let rows = select.query_map(params![panel, wanted.measure, after_day, last, after, LOOKED_MAX + 1], |row| {
            Ok((row.get::<_, i32>(0)?, PersonKey(row.get(1)?)))
        })?;
        let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
        let (mut found, mut scratch) = (Vec::new(), Scratch::default());
        for (count, (day, person)) in rows.iter().enumerate() {
            if count == LOOKED_MAX || found.len() >= page.most {
                let last = rows.get(count.saturating_sub(1)).copied();
                return Ok((found, last));
            }
            self.someone(connection, wanted, (*day, *person), &mut scratch, &mut found)?;
        }
        Ok((found, None))
    }

    fn someone(
        &self,
        connection: &Connection,
        wanted: &Wanted<'_>,
        (day, person): (i32, PersonKey),
        scratch: &mut Scratch,
        found: &mut Vec<Someone>,
    ) -> Result<(), Error> {
        scratch.facts();
        let mut select =
            connection.prepare_cached("SELECT facts FROM measure_fact WHERE person = ?1 ORDER BY origin")?;
        let mut rows = select.query([person.0])?;
        while let Some(row) = rows.next()? {
            scratch.more(row.get_ref(0)?.as_blob().unwrap_or_default()).map_err(|_| Error::Damaged("measure_fact"))?;
        }
        let cleared = Cleared::of(wanted.viewer, self.lens.labels());
        let panel = self.words.find(Sort::Panel, wanted.panel).unwrap_or_default();
        let Some(definition) = self.definitions().get(wanted.measure) else { return Ok(()) };
        self.lens.cases(scratch, |case| {
            let cell = case.cell;
            let is = cell.measure as usize == wanted.measure && cell.day == day;
            if !is || !self.lens.panels(case.panels).contains(&panel) || !cleared.covers(cell.labels) {
                return;
            }
            // What happened may be a secret of its own: then it has not, as in the rate.
            let place = cell.ways.place(cleared);
            let (labels, outcome) = cell.ways.at(place);
            if !definition.lists(outcome) {
                return;
            }
            let closed_ms = place.and_then(|place| case.closed_ms.get(place).copied().flatten());
            found.push(Someone {
                person,
                day,
                at_ms: case.at_ms,
                facility: self.words.text(cell.facility).to_owned(),
                due_day: self.due_day(definition, &case, wanted.panel),
                outcome,
                closed_ms,
                labels: (self.names(cell.labels.0 | labels.0), self.names(cell.labels.1 | labels.1)),
            });
        });
        Ok(())
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

    /// The labels of bits; one that has no name any more has one that nobody has.
    fn names(&self, bits: u64) -> Vec<String> {
        let name = |bit: usize| self.lens.labels().get(bit).cloned().unwrap_or_else(|| "?".to_owned());
        (0..64).filter(|bit| bits >> bit & 1 == 1).map(name).collect()
    }
}
