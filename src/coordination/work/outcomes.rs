//! What became of loops, and what else somebody should know: whom it is for, what is secret of it, and who has subscribed to it.
use super::super::care_team::{self, Member, NPI, Route};
use super::super::event::Code;
use super::super::loops::{self, CODES, Definition, Outcome, OutcomeKind, find as find_loop};
use super::super::sensitivity::visit_text;
use super::super::subscription::filter::Candidate;
use super::super::subscription::store::Told;
use super::super::subscription::topic::Trigger;
use super::telling::{self, Subject};
use super::{Batch, Error, Person, responsible, whole};
use crate::privacy::{Found, Labels, visits};
use rusqlite::{Connection, Transaction};

/// Something that somebody should do and that leads to nobody: names of the configuration alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unroutable {
    /// Whom it was for.
    pub to: String,
    /// The loop.
    pub definition: String,
    /// Its step.
    pub step: String,
}

/// What an outcome is told as; none where nobody is told of such.
pub(super) fn trigger(kind: OutcomeKind) -> Option<Trigger> {
    match kind {
        OutcomeKind::Overdue | OutcomeKind::MetLate | OutcomeKind::DueSoon | OutcomeKind::Alert => {
            Some(Trigger::OpenLoop)
        }
        OutcomeKind::Flag => Some(Trigger::Flag),
        _ => None,
    }
}

/// The labels that an outcome carries by what is known by now, with those that are known of it already: of its loop, and of the visits that it tells of.
///
/// # Errors
/// A database that cannot be read.
pub fn labels_of(
    connection: &Connection,
    labels: &Labels,
    options: &loops::Options,
    outcome: &Outcome,
    known: Found,
) -> rusqlite::Result<Found> {
    let mut keys: Vec<_> = outcome.visits.iter().flatten().map(visit_text).collect();
    keys.extend(outcome.found.map(|(number, _)| of_loop(number)));
    let (mut all, mut over) = (Vec::new(), Vec::new());
    for key in keys {
        all.extend(visits::labels_of(connection, &key)?);
        over.extend(visits::labels_of(connection, &whole(&key))?);
    }
    let look = |codes: &[String]| labels.look().earlier(codes.iter().map(String::as_str)).found().all;
    let mut found = Found { all: known.all.with(look(&all)), whole: known.whole.with(look(&over)) };
    // Of a visit without a key nothing is known: it may have been anywhere.
    if outcome.visits.iter().any(Option::is_none) {
        found = Found { all: labels.every(), whole: labels.every() };
    }
    // Where a diagnosis or result is what it is about, its name alone tells of that; nothing could be left out.
    let definition = options.definitions.iter().find(|one| one.id == outcome.definition);
    if !outcome.definition.is_empty() && definition.is_none_or(Definition::is_coded) {
        found.whole = found.all;
    }
    Ok(found)
}

/// The key under which a loop keeps the labels of what belongs to it.
fn of_loop(number: i64) -> String {
    format!("loop|{number}")
}

impl Batch<'_> {
    /// What became of loops, to those who subscribed to that. `found`: the labels of the event that brought it.
    pub(super) fn outcomes(
        &mut self,
        transaction: &Transaction<'_>,
        outcomes: Vec<Outcome>,
        found: Found,
    ) -> Result<(), Error> {
        for outcome in outcomes {
            if let Some((number, _)) = outcome.found {
                // For as long as the loop itself.
                let (labels, key) = (self.gate.labels(), of_loop(number));
                visits::add(transaction, &key, labels, found.all, None).map_err(Error::database)?;
                visits::add(transaction, &whole(&key), labels, found.whole, None).map_err(Error::database)?;
            }
            let last_ms = outcome.at_ms.max(outcome.received_ms);
            for visit in outcome.visits.iter().flatten().map(visit_text) {
                visits::touch(transaction, &visit, Some(last_ms)).map_err(Error::database)?;
                visits::touch(transaction, &whole(&visit), Some(last_ms)).map_err(Error::database)?;
            }
            if let Some(trigger) = trigger(outcome.kind).filter(|_| !outcome.quiet) {
                self.outcome(transaction, outcome, trigger, found)?;
            }
        }
        Ok(())
    }

    fn outcome(
        &mut self,
        transaction: &Transaction<'_>,
        outcome: Outcome,
        trigger: Trigger,
        found: Found,
    ) -> Result<(), Error> {
        let mut received_ms = outcome.received_ms;
        if let Some((number, _)) = outcome.found {
            let Some(about) = find_loop(transaction, number).map_err(Error::database)? else { return Ok(()) };
            // Due before anybody knew of the loop: it is not older than that, and not forgotten before it could be read.
            received_ms = received_ms.max(about.received_ms);
        }
        let labels = self.gate.labels();
        let found = labels_of(transaction, labels, &self.options.loops, &outcome, found).map_err(Error::database)?;
        let person = self.concerned(transaction, &outcome)?;
        let routes = self.routes(transaction, &outcome)?;
        if outcome.kind.asks() {
            if let Some((number, _)) = outcome.found {
                responsible::put(transaction, number, &outcome.step, &routes).map_err(Error::database)?;
            }
            if !self.is_past(received_ms) {
                self.unroutable.extend(unroutable(&outcome, &routes));
            }
        }
        let names = telling::codes(self.gate.labels(), found.all);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let of_panels: Vec<_> = person.panels.iter().map(|(panel, _)| panel.as_str()).collect();
        let ids = person.ids();
        let candidate = Candidate {
            trigger,
            v2_event: "",
            detail: &outcome.definition,
            facility: &outcome.facility,
            class: "",
            codes: &codes(&outcome, &routes),
            people: &ids,
            panels: &of_panels,
            labels: &names,
            received_ms,
        };
        let told = Told {
            event: outcome.id,
            seq: 0,
            at_ms: outcome.at_ms,
            received_ms,
            trigger,
            v2_event: String::new(),
            focus: Vec::new(),
        };
        let addressed = care_team::addressed(&outcome.to, &routes, &self.options.care_team);
        let subject = || Subject::Outcome { outcome: Box::new(outcome.clone()), routes: routes.clone() };
        self.tell(transaction, &candidate, told, subject, (&person, found), &addressed)
    }

    /// Whom it is about, with the panels of the outcome that they are in at its time.
    fn concerned(&self, transaction: &Transaction<'_>, outcome: &Outcome) -> Result<Person, Error> {
        let Outcome { person, at_ms, panels, .. } = outcome;
        let theirs = self.snapshot.memberships_at(person, *at_ms).filter(|one| panels.contains(&one.panel.id));
        let theirs = theirs.map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect();
        self.person(transaction, *person, theirs, *at_ms)
    }

    /// Whom it leads to, by the team that the person has at its time.
    fn routes(&self, transaction: &Transaction<'_>, outcome: &Outcome) -> Result<Vec<Route>, Error> {
        let memberships: Vec<_> = self.snapshot.memberships_at(&outcome.person, outcome.at_ms).collect();
        let members: Vec<_> = memberships.iter().map(Member::of).collect();
        let options = &self.options.care_team;
        let team = care_team::team(transaction, outcome.person, &members, outcome.at_ms, options);
        let team = team.map_err(Error::database)?;
        let (panels, facilities) = (&outcome.panels, &self.options.facilities);
        let lead = |to: &String| care_team::route(to, &team, panels, self.owners, facilities, options);
        Ok(outcome.to.iter().map(lead).collect())
    }
}

/// What can be asked for of an outcome.
fn codes(outcome: &Outcome, routes: &[Route]) -> Vec<Code> {
    let code = |field: &str, system: &str, code: &str| Code {
        field: field.into(),
        system: system.into(),
        code: code.into(),
        ..Code::default()
    };
    if outcome.kind == OutcomeKind::Flag {
        return vec![code("flag", CODES, &outcome.detail)];
    }
    let mut codes = vec![code("loop", CODES, &outcome.definition), code("step", CODES, &outcome.step)];
    codes.extend(routes.iter().filter_map(Route::npi).map(|npi| code("owner", NPI, npi)));
    codes
        .extend(outcome.to.iter().filter_map(|to| to.strip_prefix("role:")).map(|role| code("performer", CODES, role)));
    codes
}

/// What leads to nobody.
fn unroutable(outcome: &Outcome, routes: &[Route]) -> Vec<Unroutable> {
    let nobody = |route: &Route| match route {
        Route::Unroutable { to } => {
            Some(Unroutable { to: to.clone(), definition: outcome.definition.clone(), step: outcome.step.clone() })
        }
        _ => None,
    };
    routes.iter().filter_map(nobody).collect()
}
