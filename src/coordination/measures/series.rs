//! The figures of a panel by month, as of a date: what is complete, what still waits, and how much of it could be seen at all.
use super::cell::{Outcome, Ways};
use super::counting::{Cleared, Viewer};
use super::definition::{Definition, Options, Rate};
use super::lens::{Fit, Lens};
use super::period::{first_day, month_of};
use super::since;
use super::take::{TEAM, day};
use super::words::{Sort, Words};
use crate::coordination::Kind;
use crate::coordination::loops::Setting;
use crate::privacy::Labels;
use hashbrown::HashMap;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Months of one answer at most.
pub const MONTHS_MAX: i32 = 24;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The panel.
    pub panel: &'a str,
    /// Place of the measure.
    pub measure: usize,
    /// The first and the last month.
    pub months: (i32, i32),
    /// Windows that end before this day are over.
    pub as_of: i32,
    /// Who asks.
    pub viewer: Viewer<'a>,
}

/// Counts of a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Counted in, and their windows are over; of a measure by thousand, member-months.
    pub denominator: u64,
    /// Of them those for whom it happened in time.
    pub numerator: u64,
    /// Of these those of whom that was inferred.
    pub inferred: u64,
    /// Of those for whom it did not those for whom it happened late.
    pub late: u64,
    /// Not counted, as something else came first.
    pub excluded: u64,
    /// Their windows are still open.
    pub pending: u64,
    /// Of them those for whom it has happened.
    pub pending_met: u64,
}

impl Figures {
    /// With more.
    pub fn add(&mut self, other: &Figures) {
        self.denominator += other.denominator;
        self.numerator += other.numerator;
        self.inferred += other.inferred;
        self.late += other.late;
        self.excluded += other.excluded;
        self.pending += other.pending;
        self.pending_met += other.pending_met;
    }

    /// With so many of whom that became, whose windows are over or not.
    fn count(&mut self, outcome: Outcome, over: bool, count: u64) {
        let add = |to: &mut u64, is: bool| *to += if is { count } else { 0 };
        let counts = outcome.counts();
        add(&mut self.excluded, outcome == Outcome::Excluded);
        add(&mut self.denominator, counts && over);
        add(&mut self.pending, counts && !over);
        add(&mut self.numerator, outcome.is_met() && over);
        add(&mut self.pending_met, outcome.is_met() && !over);
        add(&mut self.inferred, outcome == Outcome::MetInferred && over);
        add(&mut self.late, matches!(outcome, Outcome::Late | Outcome::LateInferred) && over);
    }

    /// Those for whom it has not happened in time.
    pub fn missed(&self) -> u64 {
        self.denominator.saturating_sub(self.numerator)
    }
}

/// Whether it could have been seen that it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Wherever it could have.
    Wholly,
    /// For so many in a thousand of those counted in.
    Partly(u32),
    /// Nobody who would tell of it told of anything of the kind.
    Not,
}

impl Observed {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Observed::Wholly => "observable",
            Observed::Partly(_) => "partially-observable",
            Observed::Not => "not-observable",
        }
    }

    /// Of months together, each by how many were counted in; where one of them is lost, nobody knows how many these were.
    #[must_use]
    pub fn together(months: &[Month]) -> Observed {
        let counted = |one: &Month| one.figures.denominator + one.figures.excluded + one.figures.pending;
        let all: u64 = months.iter().map(counted).sum();
        let weight = |one: &Month| if all == 0 { 1 } else { counted(one) };
        let seen: u64 = months.iter().map(|one| u64::from(one.observed.share()) * weight(one)).sum();
        let whole: u64 = months.iter().map(|one| 1000 * weight(one)).sum();
        match seen {
            0 => Observed::Not,
            _ if months.iter().any(|one| one.lost) => Observed::Not,
            seen if seen == whole => Observed::Wholly,
            seen => Observed::Partly(u32::try_from(seen * 1000 / whole).unwrap_or(1000)),
        }
    }

    fn share(self) -> u32 {
        match self {
            Observed::Wholly => 1000,
            Observed::Partly(share) => share,
            Observed::Not => 0,
        }
    }
}

/// A month of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// Which.
    pub month: i32,
    /// Its counts.
    pub figures: Figures,
    /// How many people these are at least: of the month, and of its quarter and its year those who were counted in first in this month.
    pub people: [Figures; 3],
    /// Whether it could have been seen.
    pub observed: Observed,
    /// Whether all windows are over.
    pub complete: bool,
    /// Messages of then are gone, and what they told: counts are of what is left.
    pub lost: bool,
    /// Events of the kinds that the measure uses, of all who sent any; of them those of nobody of any roster, and those whose time cannot be. Of the month, and of all until its windows are over.
    pub events: [(u64, u64, u64); 2],
}

/// The words and definitions for those who ask; brought up to date before each question.
pub struct Reader {
    pub(super) words: Words,
    pub(super) lens: Lens,
    /// From when on all messages are known, in milliseconds since 1970; none where they always were.
    since_ms: Option<i64>,
}

impl Reader {
    /// One that knows no words yet.
    pub fn new(options: &Options, setting: &Setting, labels: &Arc<Labels>) -> Reader {
        let words = Words::default();
        Reader { lens: Lens::new(options, setting, labels, &words), words, since_ms: None }
    }

    /// Reads the words that were written since, and from when on messages are known.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let known = self.words.len();
        self.words.more(connection)?;
        (known + 1..=self.words.len()).for_each(|number| self.lens.learn(number, &self.words));
        self.since_ms = since::read(connection)?;
        Ok(())
    }

    /// The definitions as they are held against facts.
    pub fn lens(&self) -> &Lens {
        &self.lens
    }

    /// The definitions.
    pub fn definitions(&self) -> &[Definition] {
        self.lens.definitions()
    }

    /// Place and definition of a measure by its id.
    pub fn measure(&self, id: &str) -> Option<(usize, &Definition)> {
        self.definitions().iter().enumerate().find(|(_, one)| one.id == id)
    }

    /// The feeds of some months.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn feeds(&self, connection: &Connection, months: (i32, i32)) -> rusqlite::Result<Feeds> {
        let sql = "SELECT month, kind, facility, code, known, unknown, suspect FROM measure_feed WHERE month BETWEEN ?1 AND ?2";
        let mut feeds = Feeds::default();
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query([months.0, months.1])?;
        while let Some(row) = rows.next()? {
            let key = (row.get::<_, i32>(0)?, row.get::<_, u32>(1)?);
            let counts: [i64; 3] = [row.get(4)?, row.get(5)?, row.get(6)?];
            feeds.0.entry(key).or_default().push(((row.get(2)?, row.get(3)?), counts.map(i64::unsigned_abs)));
        }
        Ok(feeds)
    }

    /// The months of a measure. `members` gives member-months, for measures by thousand.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn series(
        &self,
        connection: &Connection,
        wanted: &Wanted<'_>,
        feeds: &Feeds,
        members: &dyn Fn(i32) -> u64,
    ) -> rusqlite::Result<Vec<Month>> {
        let Some(definition) = self.definitions().get(wanted.measure) else { return Ok(Vec::new()) };
        let (first, last) = wanted.months;
        let panel = self.words.find(Sort::Panel, wanted.panel);
        let cleared = Cleared::of(wanted.viewer, self.lens.labels());
        let mut figures: BTreeMap<i32, [Figures; 4]> =
            (first..=last).map(|month| (month, Default::default())).collect();
        let mut places: HashMap<i32, Vec<(u32, u64)>> = HashMap::new();
        if let Some(panel) = panel {
            self.days(connection, (panel, wanted, cleared), definition, &mut figures)?;
            places = self.places(connection, (panel, wanted, cleared))?;
        }
        let zone = self.lens.setting().zone("", &[wanted.panel.to_owned()]);
        let since = self.since_ms.map(|since_ms| day(since_ms, &zone));
        let month = |(month, [mut figures, mut people @ ..]): (i32, [Figures; 4])| {
            if definition.rate == Rate::PerThousand {
                people.iter_mut().chain([&mut figures]).for_each(|one| one.numerator = one.denominator);
                // Of a month that is not over so many as its days that are.
                let (first, next) = (first_day(month), first_day(month + 1));
                let past = (wanted.as_of - definition.days() - first).clamp(0, next - first);
                let part = |days: i32| u64::from(days.unsigned_abs());
                figures.denominator = members(month) * part(past) / part(next - first).max(1);
            }
            let last_day = first_day(month + 1) - 1;
            let until = month_of((last_day + definition.days()).min(wanted.as_of)).max(month);
            let lost = since.is_some_and(|since| first_day(month) - definition.days_before() <= since);
            let none = Vec::new();
            let places = places.get(&month).unwrap_or(&none);
            let measure = (wanted.measure, panel.unwrap_or(0));
            let observed = if lost { Observed::Not } else { self.observed(measure, feeds, (month, until), places) };
            let events = [month, until].map(|until| feeds.events(&definition.kinds(), (month, until)));
            let complete = last_day + definition.days() < wanted.as_of;
            Month { month, figures, people, observed, complete, lost, events }
        };
        Ok(figures.into_iter().map(month).collect())
    }

    fn days(
        &self,
        connection: &Connection,
        (panel, wanted, cleared): (u32, &Wanted<'_>, Cleared),
        definition: &Definition,
        figures: &mut BTreeMap<i32, [Figures; 4]>,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT day, needed, carried, ways, count, of_month, of_quarter, of_year FROM measure_day
                   WHERE panel = ?1 AND measure = ?2 AND day BETWEEN ?3 AND ?4";
        let mut select = connection.prepare_cached(sql)?;
        let days = (first_day(wanted.months.0), first_day(wanted.months.1 + 1) - 1);
        let mut rows = select.query(params![panel, wanted.measure, days.0, days.1])?;
        while let Some(row) = rows.next()? {
            let day: i32 = row.get(0)?;
            let bits = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
            if !cleared.covers((bits(1)?, bits(2)?)) {
                continue;
            }
            let outcome = Ways::decode(row.get_ref(3)?.as_blob().unwrap_or_default()).seen(cleared);
            let Some(month) = figures.get_mut(&month_of(day)) else { continue };
            let over = day.saturating_add(definition.days()) < wanted.as_of;
            for (column, figures) in (4..).zip(month) {
                figures.count(outcome, over, row.get::<_, i64>(column)?.unsigned_abs());
            }
        }
        Ok(())
    }

    /// How many were counted in at which facility.
    fn places(
        &self,
        connection: &Connection,
        (panel, wanted, cleared): (u32, &Wanted<'_>, Cleared),
    ) -> rusqlite::Result<HashMap<i32, Vec<(u32, u64)>>> {
        let sql = "SELECT month, facility, needed, carried, count FROM measure_place
                   WHERE panel = ?1 AND measure = ?2 AND month BETWEEN ?3 AND ?4";
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query(params![panel, wanted.measure, wanted.months.0, wanted.months.1])?;
        let mut found: HashMap<i32, Vec<(u32, u64)>> = HashMap::new();
        while let Some(row) = rows.next()? {
            let bits = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
            if cleared.covers((bits(2)?, bits(3)?)) {
                let count = row.get::<_, i64>(4)?.unsigned_abs();
                found.entry(row.get(0)?).or_default().push((row.get(1)?, count));
            }
        }
        Ok(found)
    }

    /// Whether what would tell of it told of anything of the kind, with a code or with somebody that is asked for: the facility where somebody was counted in, where it must be of the same visit; else anybody.
    fn observed(
        &self,
        (measure, panel): (usize, u32),
        feeds: &Feeds,
        months: (i32, i32),
        places: &[(u32, u64)],
    ) -> Observed {
        let Some(compiled) = self.lens.compiled.get(measure) else { return Observed::Not };
        let team = self.words.find(Sort::Code, TEAM).unwrap_or(0);
        let fits = if compiled.close.is_empty() { &compiled.open } else { &compiled.close };
        let tells = |fit: &Fit, at: Option<u32>| {
            let kind = fit.pattern.facility_type.as_deref();
            let here = |facility: u32, code: u32| {
                at.is_none_or(|at| at == facility)
                    && (kind.is_none() || self.lens.kind_of(facility) == kind)
                    && self.lens.would_tell(fit, (facility, code, team), panel)
            };
            feeds.has(fit.kinds, months, here)
        };
        if fits.iter().any(|fit| !fit.same_visit && tells(fit, None)) {
            return Observed::Wholly;
        }
        let own: Vec<&Fit> = fits.iter().filter(|fit| fit.same_visit).collect();
        let all: u64 = places.iter().map(|(_, count)| count).sum();
        if all == 0 {
            return if own.iter().any(|fit| tells(fit, None)) { Observed::Wholly } else { Observed::Not };
        }
        let told = places.iter().filter(|(facility, _)| own.iter().any(|fit| tells(fit, Some(*facility))));
        match told.map(|(_, count)| count).sum::<u64>() {
            0 => Observed::Not,
            told if told == all => Observed::Wholly,
            told => Observed::Partly(u32::try_from(told * 1000 / all).unwrap_or(1000)),
        }
    }
}

/// Which events came, by month and kind: facility, of known people, of others, with a time that cannot be.
#[derive(Debug, Default)]
pub struct Feeds(HashMap<(i32, u32), Vec<Feed>>);

/// Facility and code, and how many.
type Feed = ((u32, u32), [u64; 3]);

impl Feeds {
    fn rows(&self, (first, last): (i32, i32), kinds: u32) -> impl Iterator<Item = &Feed> {
        let of =
            move |month: i32| (0..32_u32).filter(move |kind| kinds >> kind & 1 == 1).map(move |kind| (month, kind));
        (first..=last).flat_map(of).filter_map(|key| self.0.get(&key)).flatten()
    }

    fn has(&self, kinds: u32, months: (i32, i32), here: impl Fn(u32, u32) -> bool) -> bool {
        self.rows(months, kinds).any(|((facility, code), _)| here(*facility, *code))
    }

    fn events(&self, kinds: &[Kind], months: (i32, i32)) -> (u64, u64, u64) {
        let kinds = kinds.iter().fold(0, |all, kind| all | super::lens::bit(*kind));
        let any = self.rows(months, kinds).filter(|((_, code), _)| *code == 0);
        any.fold((0, 0, 0), |(all, unknown, suspect), (_, [known, not, odd])| {
            (all + known + not, unknown + not, suspect + odd)
        })
    }
}
