//! What comes of events and of time: what somebody is to hear of a loop.
use super::model::{Loop, Step};
use crate::coordination::PersonKey;
use crate::fhir::identity::version_5;

/// The namespace of the ids of loops and of what comes of them; drawn once.
pub(super) const NAMESPACE: [u8; 16] =
    [0x3f, 0x1c, 0x70, 0x2e, 0x8a, 0x55, 0x5b, 0x0e, 0x9d, 0x42, 0x6c, 0x6f, 0x6f, 0x70, 0x73, 0x31];

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            OutcomeKind::Flag => "flag",
        }
    }
}

/// What somebody is to hear.
#[derive(Clone, PartialEq)]
pub struct Outcome {
    /// UUIDv5 over what it is about: the same however often events are folded.
    pub id: [u8; 16],
    /// What happened.
    pub kind: OutcomeKind,
    /// To whom.
    pub person: PersonKey,
    /// The number and id of the loop; a flag may be of none.
    pub found: Option<(i64, [u8; 16])>,
    /// The definition of the loop; empty where there is none.
    pub definition: String,
    /// The step; empty where the whole loop is meant.
    pub step: String,
    /// How many have been told of the step by now.
    pub level: u8,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Until when the step is in time.
    pub due_ms: Option<i64>,
    /// Who is told: `role:care-manager`, `org:SBMC`. With nobody here, those who subscribed hear of it and nobody else.
    pub to: Vec<String>,
    /// Of which panels.
    pub panels: Vec<String>,
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
    pub fn of(event: &crate::coordination::Event) -> Cause {
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
            found: Some((found.number, found.id)),
            definition: found.definition.clone(),
            step: name.to_owned(),
            level,
            at_ms: cause.at_ms,
            due_ms: step.and_then(|step| step.due_ms),
            to: Vec::new(),
            panels: found.facts.panels.clone(),
            event: cause.event,
            detail: String::new(),
            quiet: cause.quiet || found.facts.quiet_until_ms.is_some_and(|until| cause.at_ms <= until),
        }
    }

    /// A flag of a person.
    pub(super) fn flag(name: &str, person: PersonKey, panels: Vec<String>, to: &str, cause: Cause) -> Outcome {
        Outcome {
            id: version_5(&NAMESPACE, &[b"flag|", name.as_bytes(), b"|", &person.0, &cause.event.unwrap_or_default()]),
            kind: OutcomeKind::Flag,
            person,
            found: None,
            definition: String::new(),
            step: String::new(),
            level: 0,
            at_ms: cause.at_ms,
            due_ms: None,
            to: vec![to.to_owned()],
            panels,
            event: cause.event,
            detail: name.to_owned(),
            quiet: cause.quiet,
        }
    }
}
