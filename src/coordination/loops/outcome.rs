//! What comes of events and of time: what somebody is to hear of a loop.
use super::model::{Loop, Step};
use crate::coordination::event::VisitKey;
use crate::coordination::{Event, PersonKey};
use crate::fhir::identity::version_5;
use serde::{Deserialize, Serialize};

/// The namespace of the ids of loops and of what comes of them; drawn once.
pub(super) const NAMESPACE: [u8; 16] =
    [0x3f, 0x1c, 0x70, 0x2e, 0x8a, 0x55, 0x5b, 0x0e, 0x9d, 0x42, 0x6c, 0x6f, 0x6f, 0x70, 0x73, 0x31];

/// What stands in place of a step in an alert.
const ALERT: &str = "alert";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// A loop was opened.
    Opened,
    /// A step was closed in time.
    Met,
    /// It was closed, too late.
    MetLate,
    /// It is still open, and somebody is told before it is due.
    DueSoon,
    /// It was not closed in time.
    Overdue,
    /// Nothing closes it any more.
    Expired,
    /// The loop is not asked for any more.
    Void,
    /// What had closed a step was taken back.
    Reopened,
    /// The loop rests while the person is in a stay.
    Suspended,
    /// It goes on.
    Resumed,
    /// A value that somebody must hear of at once, whatever is due when.
    Alert,
    /// Something else that whoever looks after the person should know.
    Flag,
}

impl OutcomeKind {
    /// As it is answered.
    pub fn name(self) -> &'static str {
        match self {
            OutcomeKind::Opened => "opened",
            OutcomeKind::Met => "met",
            OutcomeKind::MetLate => "met-late",
            OutcomeKind::DueSoon => "due-soon",
            OutcomeKind::Overdue => "overdue",
            OutcomeKind::Expired => "expired",
            OutcomeKind::Void => "void",
            OutcomeKind::Reopened => "reopened",
            OutcomeKind::Suspended => "suspended",
            OutcomeKind::Resumed => "resumed",
            OutcomeKind::Alert => "alert",
            OutcomeKind::Flag => "flag",
        }
    }

    /// Whether somebody has something to do now.
    pub fn asks(self) -> bool {
        matches!(self, OutcomeKind::DueSoon | OutcomeKind::Overdue | OutcomeKind::Alert)
    }
}

/// What somebody is to hear.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// UUIDv5 over what it is about: the same however often events are folded.
    pub id: [u8; 16],
    /// What happened.
    pub kind: OutcomeKind,
    /// To whom.
    pub person: PersonKey,
    /// To whom before any merge.
    pub origin: PersonKey,
    /// The number and id of the loop; flags and alerts may be of none.
    pub found: Option<(i64, [u8; 16])>,
    /// The definition of the loop; empty where there is none.
    pub definition: String,
    /// The step; of an alert `alert`; empty where the whole loop is meant.
    pub step: String,
    /// How many have been told of the step by now.
    pub level: u8,
    /// When, in milliseconds since 1970 (UTC): of a flag or an alert when what it tells of happened, else when it was known.
    pub at_ms: i64,
    /// When it was known.
    pub received_ms: i64,
    /// Until when the step is in time.
    pub due_ms: Option<i64>,
    /// Who is told: `role:care-manager`, `org:SBMC`. With nobody here, those who subscribed hear of it and nobody else.
    pub to: Vec<String>,
    /// Of which panels.
    pub panels: Vec<String>,
    /// Where.
    pub facility: String,
    /// The visits that it tells of, by itself or by being there at all: what is secret of them is secret of it. None stands for one that nobody gave a key.
    pub visits: Vec<Option<VisitKey>>,
    /// The event that brought it; none where time did.
    pub event: Option<[u8; 16]>,
    /// Of a flag its name; why a loop is void.
    pub detail: String,
    /// It is history: it is kept, nobody is told.
    pub quiet: bool,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Outcome({} {}/{} {} at {})", self.kind.name(), self.definition, self.step, self.detail, self.at_ms)
    }
}

/// What brought an outcome.
#[derive(Clone, Copy)]
pub(super) struct Cause {
    /// The event; none where time did.
    pub event: Option<[u8; 16]>,
    /// When.
    pub at_ms: i64,
    /// Nobody is told.
    pub quiet: bool,
}

impl Cause {
    /// An event.
    pub fn of(event: &Event) -> Cause {
        Cause { event: Some(event.id), at_ms: event.received_ms, quiet: event.stale }
    }

    /// A moment that came.
    pub fn time(at_ms: i64) -> Cause {
        Cause { event: None, at_ms, quiet: false }
    }
}

impl Outcome {
    /// Of a loop, or of one of its steps.
    pub(super) fn of(found: &Loop, step: Option<&Step>, kind: OutcomeKind, cause: Cause) -> Outcome {
        let name = step.map_or("", |step| step.id.as_str());
        let (level, turn) = step.map_or((0, 0), |step| (step.level, step.turn));
        let id = version_5(
            &NAMESPACE,
            &[
                &found.id,
                kind.name().as_bytes(),
                b"|",
                name.as_bytes(),
                b"|",
                &[level],
                &turn.to_be_bytes(),
                &cause.at_ms.to_be_bytes(),
                &cause.event.unwrap_or_default(),
            ],
        );
        Outcome {
            id,
            kind,
            person: found.person,
            origin: found.origin,
            found: Some((found.number, found.id)),
            definition: found.definition.clone(),
            step: name.to_owned(),
            level,
            at_ms: cause.at_ms,
            received_ms: cause.at_ms,
            due_ms: step.and_then(|step| step.due_ms),
            to: Vec::new(),
            panels: found.facts.panels.clone(),
            facility: found.facts.facility.clone(),
            visits: found.facts.visit.iter().cloned().map(Some).collect(),
            event: cause.event,
            detail: String::new(),
            quiet: cause.quiet || found.facts.quiet_until_ms.is_some_and(|until| cause.at_ms <= until),
        }
    }

    /// A flag of a person; `origin`: before any merge.
    pub(super) fn flag(
        name: &str,
        (person, origin): (PersonKey, PersonKey),
        panels: Vec<String>,
        to: &str,
        event: &Event,
    ) -> Outcome {
        Outcome {
            id: version_5(&NAMESPACE, &[b"flag|", name.as_bytes(), b"|", &person.0, &event.id]),
            kind: OutcomeKind::Flag,
            person,
            origin,
            found: None,
            definition: String::new(),
            step: String::new(),
            level: 0,
            at_ms: event.at_ms,
            received_ms: event.received_ms,
            due_ms: None,
            to: vec![to.to_owned()],
            panels,
            facility: event.facility.clone(),
            visits: event.visit.iter().cloned().map(Some).collect(),
            event: Some(event.id),
            detail: name.to_owned(),
            quiet: event.stale,
        }
    }

    /// A value that somebody must hear of at once, by what a loop says of it.
    pub(super) fn alert(
        definition: &str,
        who: (PersonKey, PersonKey),
        panels: Vec<String>,
        to: &str,
        event: &Event,
    ) -> Outcome {
        Outcome {
            kind: OutcomeKind::Alert,
            definition: definition.to_owned(),
            step: ALERT.to_owned(),
            detail: String::new(),
            ..Outcome::flag(&format!("{definition}-alert"), who, panels, to, event)
        }
    }
}
