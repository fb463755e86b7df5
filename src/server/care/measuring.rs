//! The measures of a panel for whoever may ask: rates as of today, small ones hidden, and who is behind them.
use super::Shared;
use crate::coordination::measures::period::{day_of, month_of, parse_month};
use crate::coordination::measures::{
    Counted, Definition, MONTHS_MAX, Month, Names, Outcome, Page, Rate, Reader, Report, Someone, Span, Updated, Viewer,
    Wanted, report, spans,
};
use crate::coordination::roster::Panel;
use crate::coordination::roster::options::Form;
use crate::coordination::work::{consents_now, roster_consent};
use crate::coordination::{PersonKey, lineage, registry, store};
use crate::facets::uuid_text;
use crate::privacy::{Consent, Decision, Facts, Found, Labels, Recipient, Set};
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};

/// Why measures cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// There is no such panel.
    #[error("there is no panel of that name")]
    NoPanel,
    /// There is no such recipient of that panel.
    #[error("that panel has no recipient of that id")]
    NoRecipient,
    /// There is no such measure.
    #[error("there is no measure of that name")]
    NoMeasure,
    /// More, or other months than are kept.
    #[error(
        "measures are kept for {MONTHS_MAX} months: from must not be after to, nor earlier than that, nor to in the future"
    )]
    Months,
    /// The database of coordinated care.
    #[error("coordination.sqlite in the data directory: {0}")]
    Database(#[from] rusqlite::Error),
    /// What stands in it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Consents.
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// Those who ask, and those who deliver: none of them waits for the others.
pub(super) struct Reading {
    asked: Mutex<Source>,
    delivered: Mutex<Source>,
}

/// Words and definitions, and a connection of their own.
struct Source {
    reader: Reader,
    connection: Connection,
    members: Counted,
}

impl Reading {
    pub fn new(options: &crate::coordination::Options, connections: [Connection; 2]) -> Reading {
        let source = |connection| {
            let reader =
                Reader::new(&options.measures, &crate::coordination::work::setting(options), &options.privacy.labels);
            Mutex::new(Source { reader, connection, members: Counted::default() })
        };
        let [asked, delivered] = connections.map(source);
        Reading { asked, delivered }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The panel.
    pub panel: &'a str,
    /// One measure; all without it.
    pub measure: Option<&'a str>,
    /// The first and the last month; the last twelve without.
    pub months: (Option<i32>, Option<i32>),
    /// Whoever may read messages sees all, others what carries no label.
    pub everything: bool,
    /// As this recipient may see it, and no more.
    pub recipient: Option<&'a str>,
    /// Now, in milliseconds since 1970.
    pub now_ms: i64,
}

/// The rates of a measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// The measure.
    pub definition: Definition,
    /// Months, then whole quarters, then whole years; what is small is hidden.
    pub spans: Vec<Span>,
    /// The months as they are, for those who may look at each of the people.
    pub exact: Vec<Month>,
}

/// The measures of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The first and the last month.
    pub months: (i32, i32),
    /// The day, since 1970, before which windows must have ended to be complete.
    pub as_of: i32,
    /// In the order in which they are configured.
    pub rates: Vec<Rates>,
}

/// Who is behind a rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Behind {
    /// The first and the last month.
    pub months: (i32, i32),
    /// Today.
    pub as_of: i32,
    /// The measure.
    pub definition: Definition,
    /// Those for whom it has not happened in time, or not yet.
    pub people: Vec<Someone>,
    /// Behind whom there may be more.
    pub next: Option<(i32, PersonKey)>,
}

fn viewer<'s>(asked: &Asked<'_>, recipient: Option<&'s Recipient>, labels: &'s Labels) -> Viewer<'s> {
    match recipient {
        Some(recipient) if asked.everything => Viewer::Recipient(recipient, labels),
        None if asked.everything => Viewer::Everything,
        _ => Viewer::Unlabelled,
    }
}

impl Shared {
    /// The recipient as which somebody asks, which must look after the panel.
    fn asking(&self, asked: &Asked<'_>) -> Result<Option<&Recipient>, MeasureError> {
        let Some(id) = asked.recipient else { return Ok(None) };
        let found = self.options.privacy.recipient(id);
        let theirs = found.filter(|recipient| recipient.panels.iter().any(|panel| panel == asked.panel));
        theirs.map(Some).ok_or(MeasureError::NoRecipient)
    }

    /// The rates of a panel.
    ///
    /// # Errors
    /// A [`MeasureError`].
    pub fn measured(&self, asked: &Asked<'_>) -> Result<Measured, MeasureError> {
        self.measured_by(&self.measures.asked, asked)
    }

    fn measured_by(&self, source: &Mutex<Source>, asked: &Asked<'_>) -> Result<Measured, MeasureError> {
        let (months, as_of) = self.months(asked)?;
        let recipient = self.asking(asked)?;
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let Source { reader, connection, members } = &mut *source;
        // One state of the database for all of an answer.
        let reading = connection.transaction()?;
        reader.refresh(&reading)?;
        // What closes something may come a year later.
        let feeds = reader.feeds(&reading, (months.0, month_of(as_of)))?;
        let places = match asked.measure {
            Some(id) => vec![reader.measure(id).ok_or(MeasureError::NoMeasure)?.0],
            None => (0..reader.definitions().len()).collect(),
        };
        let of = |place: &usize| reader.definitions().get(*place).filter(|one| is_of(one, asked.panel)).cloned();
        let wanted: Vec<_> = places.iter().filter_map(|place| Some((*place, of(place)?))).collect();
        let counts = match wanted.iter().any(|(_, one)| one.rate == Rate::PerThousand) {
            true => members.months(&reading, &self.rosters.current(), asked.panel, months)?,
            false => &[],
        };
        let of_month = |month: i32| {
            let at = usize::try_from(month - months.0).unwrap_or(usize::MAX);
            counts.get(at).copied().unwrap_or(0)
        };
        let mut rates = Vec::new();
        for (measure, definition) in wanted {
            let viewer = viewer(asked, recipient, self.gate.labels());
            let wanted = Wanted { panel: asked.panel, measure, months, as_of, viewer };
            let exact = reader.series(&reading, &wanted, &feeds, &of_month)?;
            rates.push(Rates { spans: spans(&exact, definition.rate), definition, exact });
        }
        Ok(Measured { months, as_of, rates })
    }

    /// Who is behind a rate. Of a recipient each is judged by the gate, with the consents of now: what it would be told, and no more.
    ///
    /// # Errors
    /// A [`MeasureError`].
    pub fn behind(&self, asked: &Asked<'_>, page: Page) -> Result<Behind, MeasureError> {
        let (months, as_of) = self.months(asked)?;
        let recipient = self.asking(asked)?;
        let mut source = self.measures.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Source { reader, connection, .. } = &mut *source;
        let reading = connection.transaction()?;
        reader.refresh(&reading)?;
        let id = asked.measure.ok_or(MeasureError::NoMeasure)?;
        let (measure, definition) = reader.measure(id).ok_or(MeasureError::NoMeasure)?;
        if !is_of(definition, asked.panel) {
            return Err(MeasureError::NoMeasure);
        }
        let definition = definition.clone();
        let viewer = viewer(asked, recipient, self.gate.labels());
        let wanted = Wanted { panel: asked.panel, measure, months, as_of, viewer };
        let mut known: Option<(PersonKey, Option<Vec<Consent>>)> = None;
        let mut may = |person: PersonKey, at_ms: i64, labels: &Names| -> Result<bool, MeasureError> {
            let Some(recipient) = recipient else { return Ok(true) };
            if known.as_ref().is_none_or(|(last, _)| *last != person) {
                known = Some((person, self.consents(&reading, person)?));
            }
            let Some((_, Some(consents))) = &known else { return Ok(false) };
            self.may(&reading, (asked, recipient), (person, at_ms, labels), consents)
        };
        let (people, next) = reader.people(&reading, &wanted, page, &mut may)?;
        Ok(Behind { months, as_of, definition, people, next })
    }

    /// The reports that an update is of, as a recipient may know of them, as of a time in milliseconds since 1970.
    ///
    /// # Errors
    /// A [`MeasureError`].
    pub fn reports(&self, updated: &Updated, recipient: &str, now_ms: i64) -> Result<Vec<Value>, MeasureError> {
        let mut found = Vec::new();
        for of_one in updated.reports.chunk_by(|one, other| one.0 == other.0) {
            let mut asked = Asked {
                panel: &updated.panel,
                measure: of_one.first().map(|(id, _)| id.as_str()),
                months: (None, None),
                everything: true,
                recipient: Some(recipient),
                now_ms,
            };
            // What is older than can be asked for is no report any more.
            let this = self.months(&asked)?.0.1;
            let months = of_one.iter().filter_map(|(_, month)| parse_month(month));
            let first = months.filter(|month| (this - MONTHS_MAX + 1..=this).contains(month)).min();
            let Some(first) = first else { continue };
            asked.months = (Some(first), Some(this));
            let measured = match self.measured_by(&self.measures.delivered, &asked) {
                Err(MeasureError::NoMeasure | MeasureError::Months) => continue,
                measured => measured?,
            };
            let Measured { rates, as_of, .. } = measured;
            let (base, panel) = (self.topics.base(), updated.panel.as_str());
            for Rates { definition, spans, .. } in &rates {
                let is = |span: &&Span| of_one.iter().any(|(_, month)| *month == span.name);
                let report = |span: &Span| report(&Report { base, panel, definition, span, as_of });
                found.extend(spans.iter().filter(is).map(report));
            }
        }
        Ok(found)
    }

    /// What was said of consent for a person, under whatever key; none where it is not known.
    fn consents(&self, connection: &Connection, person: PersonKey) -> Result<Option<Vec<Consent>>, MeasureError> {
        let Some(same) = lineage::same(connection, person)? else { return Ok(None) };
        let id = uuid_text(&person.0);
        let mut consents = Vec::new();
        for key in &same {
            let Some(mut theirs) = consents_now(&self.registry, &uuid_text(&key.0))? else { return Ok(None) };
            theirs.iter_mut().for_each(|consent| id.clone_into(&mut consent.patient));
            consents.extend(theirs);
        }
        Ok(Some(consents))
    }

    /// Whether a recipient may be told of what carries these labels now.
    fn may(
        &self,
        connection: &Connection,
        (asked, recipient): (&Asked<'_>, &Recipient),
        (person, at_ms, names): (PersonKey, i64, &Names),
        consents: &[Consent],
    ) -> Result<bool, MeasureError> {
        let snapshot = self.rosters.current();
        let same = lineage::same(connection, person)?.unwrap_or_default();
        let memberships =
            same.iter().flat_map(|key| snapshot.memberships(key)).filter(|one| one.panel.id == asked.panel);
        let mut panels: Vec<_> = memberships.map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect();
        if panels.is_empty() {
            // They have left since. What their row said of consent nobody knows any more: it may have been no.
            let of = self.rosters.panels().iter().find(|panel| panel.id == asked.panel);
            let says = |panel: &Panel| match &panel.source.form {
                Form::Csv { columns, .. } => !columns.consent.is_empty(),
                Form::Group { .. } => false,
            };
            if of.is_none_or(says) {
                return Ok(false);
            }
            panels.push((asked.panel.to_owned(), String::new()));
        }
        let Some(roster) = roster_consent(recipient, &panels) else { return Ok(false) };
        let labels = self.gate.labels();
        // One that is not configured any more is no less of a secret.
        let set = |names: &[String]| {
            names.iter().fold(Set::EMPTY, |set, name| set.with(labels.of(name).unwrap_or(labels.every())))
        };
        let found = Found { all: set(&names.1), whole: set(&names.0) };
        let (id, now_ms) = (uuid_text(&person.0), asked.now_ms);
        let facts = Facts { found, person: &id, consents, roster: &roster, at_ms, now_ms };
        Ok(matches!(self.gate.decide(recipient, &facts), Decision::Share { .. }))
    }

    /// The months that are asked for, and today in the zone of the panel.
    fn months(&self, asked: &Asked<'_>) -> Result<((i32, i32), i32), MeasureError> {
        let panel = self.rosters.panels().iter().find(|panel| panel.id == asked.panel).ok_or(MeasureError::NoPanel)?;
        let now = Timestamp::from_millisecond(asked.now_ms).unwrap_or_default();
        let as_of = day_of(panel.zone.to_datetime(now).date());
        let this = month_of(as_of);
        let last = asked.months.1.unwrap_or(this);
        let first = asked.months.0.unwrap_or((last - 11).max(this - MONTHS_MAX + 1));
        if first > last || last > this || first <= this - MONTHS_MAX {
            return Err(MeasureError::Months);
        }
        Ok(((first, last), as_of))
    }
}

fn is_of(definition: &Definition, panel: &str) -> bool {
    definition.panels.is_empty() || definition.panels.iter().any(|one| one == panel)
}

/// What somebody's case is called: missing, late, or pending as long as it may still come in time; where fewer are better, that it happened.
pub fn state_of(definition: &Definition, someone: &Someone, as_of: i32) -> &'static str {
    match someone.outcome {
        _ if definition.rate == Rate::PerThousand || definition.lower_is_better => "happened",
        Outcome::Missing if someone.due_day >= as_of => "pending",
        outcome => outcome.name(),
    }
}
