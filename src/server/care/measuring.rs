//! The measures of a panel for whoever may ask: rates as of today, small ones hidden, and who is behind them.
use super::Shared;
use crate::coordination::measures::period::{day_of, month_of, parse_month};
use crate::coordination::measures::{
    Definition, MONTHS_MAX, Month, Outcome, Page, Rate, Reader, Report, Someone, Span, Updated, Viewer, Wanted, report,
    spans,
};
use crate::coordination::roster::Snapshot;
use crate::coordination::work::{consents_now, roster_consent};
use crate::coordination::{PersonKey, lineage, registry, store};
use crate::facets::uuid_text;
use crate::privacy::audit::{Entry, Outcome as Audited};
use crate::privacy::{Decision, Facts, Found, Labels, Reason, Recipient, Set, audit};
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
    /// The audit.
    #[error("audit: {0}")]
    Audit(#[from] audit::Error),
}

/// Words and definitions, and a connection of their own: nobody who delivers waits for who asks.
pub(super) struct Reading(Mutex<(Reader, Connection, Option<Members>)>);

/// Member-months of a panel that were counted last, by the roster that they were counted of.
struct Members {
    roster: [u8; 32],
    panel: String,
    months: (i32, i32),
    counts: Vec<u64>,
}

impl Reading {
    pub fn new(options: &crate::coordination::Options, connection: Connection) -> Reading {
        let reader = Reader::new(&options.measures, &crate::coordination::work::setting(options));
        Reading(Mutex::new((reader, connection, None)))
    }
}

/// Who was looked at, whether it was let through, and for what.
type Look = (String, Result<(), Reason>, String);

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
        let (months, as_of) = self.months(asked)?;
        let recipient = self.asking(asked)?;
        let mut reading = self.measures.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, connection, members) = &mut *reading;
        reader.refresh(connection)?;
        // What closes something may come a year later.
        let feeds = reader.feeds(connection, (months.0, month_of(as_of)))?;
        let places = match asked.measure {
            Some(id) => vec![reader.measure(id).ok_or(MeasureError::NoMeasure)?.0],
            None => (0..reader.definitions().len()).collect(),
        };
        let of = |place: &usize| reader.definitions().get(*place).filter(|one| is_of(one, asked.panel)).cloned();
        let wanted: Vec<_> = places.iter().filter_map(|place| Some((*place, of(place)?))).collect();
        if wanted.iter().any(|(_, one)| one.rate == Rate::PerThousand) {
            self.count_members(asked.panel, months, members);
        }
        let of_month = |month: i32| {
            let at = usize::try_from(month - months.0).unwrap_or(usize::MAX);
            members.as_ref().and_then(|members| members.counts.get(at).copied()).unwrap_or(0)
        };
        let mut rates = Vec::new();
        for (measure, definition) in wanted {
            let viewer = viewer(asked, recipient, self.gate.labels());
            let wanted = Wanted { panel: asked.panel, measure, months, as_of, viewer };
            let exact = reader.series(connection, &wanted, &feeds, &of_month)?;
            rates.push(Rates { spans: spans(&exact, definition.rate), definition, exact });
        }
        Ok(Measured { months, as_of, rates })
    }

    /// Who is behind a rate. Of a recipient each is judged by the gate, with the consents of now, and audited; what is withheld is audited too.
    ///
    /// # Errors
    /// A [`MeasureError`].
    pub fn behind(&self, asked: &Asked<'_>, page: Page) -> Result<Behind, MeasureError> {
        let (months, as_of) = self.months(asked)?;
        let recipient = self.asking(asked)?;
        let mut reading = self.measures.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, connection, _) = &mut *reading;
        reader.refresh(connection)?;
        let id = asked.measure.ok_or(MeasureError::NoMeasure)?;
        let (measure, definition) = reader.measure(id).ok_or(MeasureError::NoMeasure)?;
        if !is_of(definition, asked.panel) {
            return Err(MeasureError::NoMeasure);
        }
        let definition = definition.clone();
        let viewer = viewer(asked, recipient, self.gate.labels());
        let wanted = Wanted { panel: asked.panel, measure, months, as_of, viewer };
        let (mut people, next) = reader.people(connection, &wanted, page)?;
        if let Some(recipient) = recipient {
            let mut entries = Vec::new();
            let mut kept = Vec::new();
            for one in people {
                let verdict = self.judge(connection, asked, recipient, &one)?;
                let looked = format!("measure|{id}|{}|{}", one.day, asked.now_ms);
                entries.push((uuid_text(&one.person.0), verdict, looked));
                if verdict.is_ok() {
                    kept.push(one);
                }
            }
            self.audit_looks(recipient, &entries, asked.now_ms)?;
            people = kept;
        }
        Ok(Behind { months, as_of, definition, people, next })
    }

    /// The reports that an update is of, as a recipient may know of them.
    ///
    /// # Errors
    /// A [`MeasureError`].
    pub fn reports(&self, updated: &Updated, recipient: &str) -> Result<Vec<Value>, MeasureError> {
        let mut found = Vec::new();
        for (id, month) in &updated.reports {
            let months = (parse_month(month), parse_month(month));
            let asked = Asked {
                panel: &updated.panel,
                measure: Some(id),
                months,
                everything: true,
                recipient: Some(recipient),
                now_ms: Timestamp::now().as_millisecond(),
            };
            let measured = match self.measured(&asked) {
                Err(MeasureError::NoMeasure | MeasureError::Months) => continue,
                measured => measured?,
            };
            let Measured { rates, as_of, .. } = measured;
            found.extend(rates.iter().filter_map(|rates| {
                let span = rates.spans.iter().find(|span| span.name == *month)?;
                let (base, panel) = (self.topics.base(), updated.panel.as_str());
                report(&Report { base, panel, definition: &rates.definition, span, as_of })
            }));
        }
        Ok(found)
    }

    /// Whether a recipient may be told of somebody's case now.
    fn judge(
        &self,
        connection: &Connection,
        asked: &Asked<'_>,
        recipient: &Recipient,
        one: &Someone,
    ) -> Result<Result<(), Reason>, MeasureError> {
        let Some(same) = lineage::same(connection, one.person)? else { return Ok(Err(Reason::Failed)) };
        let id = uuid_text(&one.person.0);
        let mut consents = Vec::new();
        for key in &same {
            let Some(mut theirs) = consents_now(&self.registry, &uuid_text(&key.0))? else {
                return Ok(Err(Reason::Failed));
            };
            theirs.iter_mut().for_each(|consent| id.clone_into(&mut consent.patient));
            consents.extend(theirs);
        }
        let snapshot = self.rosters.current();
        let memberships =
            same.iter().flat_map(|key| snapshot.memberships(key)).filter(|one| one.panel.id == asked.panel);
        let mut panels: Vec<_> = memberships.map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect();
        if panels.is_empty() {
            // They have left since; what was theirs then stays so.
            panels.push((asked.panel.to_owned(), String::new()));
        }
        let Some(roster) = roster_consent(recipient, &panels) else { return Ok(Err(Reason::Policy)) };
        let labels = self.gate.labels();
        // One that is not configured any more is no less of a secret.
        let set = |names: &[String]| {
            names.iter().fold(Set::EMPTY, |set, name| set.with(labels.of(name).unwrap_or(labels.every())))
        };
        let found = Found { all: set(&one.labels.1), whole: set(&one.labels.0) };
        let (at_ms, now_ms) = (one.at_ms, asked.now_ms);
        let facts = Facts { found, person: &id, consents: &consents, roster: &roster, at_ms, now_ms };
        Ok(match self.gate.decide(recipient, &facts) {
            Decision::Share { .. } => Ok(()),
            Decision::Withhold(reason) => Err(reason),
        })
    }

    fn audit_looks(&self, recipient: &Recipient, looks: &[Look], now_ms: i64) -> Result<(), audit::Error> {
        let entry = |(person, verdict, looked): &Look| -> [u8; 16] {
            crate::coordination::work::telling::audit_id(&[0; 16], person, &format!("{looked}|{}", verdict.is_ok()))
        };
        let ids: Vec<_> = looks.iter().map(entry).collect();
        let entries: Vec<_> = looks
            .iter()
            .zip(&ids)
            .map(|((person, verdict, _), id)| Entry {
                id: *id,
                at_ms: now_ms,
                outcome: verdict.map_or_else(Audited::Suppressed, |()| Audited::Disclosed),
                recipient: &recipient.id,
                purpose: &recipient.purpose,
                person,
                event: *id,
                subscription: None,
                number: None,
            })
            .collect();
        if entries.is_empty() { Ok(()) } else { self.audit(&entries) }
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

    fn count_members(&self, panel: &str, months: (i32, i32), members: &mut Option<Members>) {
        let snapshot = self.rosters.current();
        let known = |one: &Members| one.roster == *snapshot.fingerprint() && one.panel == panel && one.months == months;
        if !members.as_ref().is_some_and(known) {
            let counts = member_months(&snapshot, panel, months);
            *members = Some(Members { roster: *snapshot.fingerprint(), panel: panel.to_owned(), months, counts });
        }
    }
}

fn is_of(definition: &Definition, panel: &str) -> bool {
    definition.panels.is_empty() || definition.panels.iter().any(|one| one == panel)
}

/// Members of a panel on the 15th of each month, by the roster of now.
fn member_months(snapshot: &Snapshot, panel: &str, (first, last): (i32, i32)) -> Vec<u64> {
    let month = |date: jiff::civil::Date| i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
    let spans = snapshot.members(panel).map(|(key, one)| {
        // The first month whose 15th lies in it, and the first behind it whose 15th does not.
        let from = one.start.map_or(first, |start| month(start) + i32::from(start.day() > 15));
        (key, from, one.end.map_or(last + 1, |end| month(end) + i32::from(end.day() >= 15)))
    });
    by_month(spans.collect(), (first, last))
}

/// How many there are in each month: each person once, whatever rows there are of them.
fn by_month(mut spans: Vec<(PersonKey, i32, i32)>, (first, last): (i32, i32)) -> Vec<u64> {
    let mut steps = vec![0_i64; usize::try_from(last - first + 2).unwrap_or(0)];
    let mut step = |month: i32, by: i64| {
        let at = usize::try_from((month - first).clamp(0, last - first + 1)).unwrap_or(0);
        if let Some(step) = steps.get_mut(at) {
            *step += by;
        }
    };
    spans.sort_unstable();
    let mut counted: Option<(PersonKey, i32)> = None;
    for (key, from, until) in spans {
        let known = counted.filter(|(last, _)| *last == key).map_or(i32::MIN, |(_, until)| until);
        let from = from.max(known);
        if from < until {
            step(from, 1);
            step(until, -1);
        }
        counted = Some((key, until.max(known)));
    }
    let mut members = 0;
    steps.pop();
    let so_far = steps.iter().map(|step| {
        members += step;
        u64::try_from(members).unwrap_or(0)
    });
    so_far.collect()
}

/// What somebody's case is called: missing, late, or pending as long as it may still come in time; where fewer are better, that it happened.
pub fn state_of(definition: &Definition, someone: &Someone, as_of: i32) -> &'static str {
    match someone.outcome {
        _ if definition.rate == Rate::PerThousand || definition.lower_is_better => "happened",
        Outcome::Missing if someone.due_day >= as_of => "pending",
        outcome => outcome.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_counts_once_a_month() {
        let [one, other] = [1, 2].map(|byte| PersonKey([byte; 16]));
        // Two rows that overlap, one within another, and one after a gap.
        let spans = vec![(one, 2, 4), (other, 1, 9), (one, 0, 3), (one, 5, 6), (other, 2, 3)];
        assert_eq!(by_month(spans, (0, 6)), [1, 2, 2, 2, 1, 2, 1]);
    }
}
