//! A loop and its steps, as they are kept.
use crate::coordination::PersonKey;
use crate::coordination::event::{Number, VisitKey};
use crate::coordination::lineage::By;
use serde::{Deserialize, Serialize};

/// What has become of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Something has still to happen, and there is time.
    Open,
    /// All of it happened in time.
    Met,
    /// All of it happened, not all in time.
    MetLate,
    /// Something should have happened by now.
    Overdue,
    /// It is not asked for any more.
    Void,
    /// Something did not happen, and would not help any more.
    Expired,
}

impl State {
    /// Every one.
    pub const ALL: [State; 6] = [State::Open, State::Met, State::MetLate, State::Overdue, State::Void, State::Expired];

    /// As it is stored and answered.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Met => "met",
            State::MetLate => "met-late",
            State::Overdue => "overdue",
            State::Void => "void",
            State::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What has become of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Its time does not run yet: the step that it comes after is not closed.
    Dormant,
    /// As of a loop.
    Of(State),
}

impl StepState {
    /// As it is stored and answered.
    pub fn name(self) -> &'static str {
        match self {
            StepState::Dormant => "dormant",
            StepState::Of(state) => state.name(),
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<StepState> {
        match name {
            "dormant" => Some(StepState::Dormant),
            name => State::parse(name).map(StepState::Of),
        }
    }

    /// Whether something can still close it.
    pub fn is_open(self) -> bool {
        matches!(self, StepState::Dormant | StepState::Of(State::Open | State::Overdue))
    }

    /// Whether something has closed it.
    pub fn is_met(self) -> bool {
        matches!(self, StepState::Of(State::Met | State::MetLate))
    }
}

/// A loop. `Debug` tells nothing of the person.
#[derive(Clone, PartialEq)]
pub struct Loop {
    /// Its number here, in the order of opening.
    pub number: i64,
    /// UUIDv5 over definition and the event that opened it.
    pub id: [u8; 16],
    /// The id of its definition.
    pub definition: String,
    /// Whose it is.
    pub person: PersonKey,
    /// For whom it was opened, before any merge.
    pub origin: PersonKey,
    /// Under which number of which feed that was told, hashed.
    pub told_as: i64,
    /// The event that opened it.
    pub opener: [u8; 16],
    /// When that happened, in milliseconds since 1970 (UTC).
    pub opened_ms: i64,
    /// When that was received.
    pub received_ms: i64,
    /// What has become of it.
    pub state: State,
    /// What else is known.
    pub facts: Facts,
    /// Its steps, in the order of the definition.
    pub steps: Vec<Step>,
}

impl std::fmt::Debug for Loop {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Loop({} {} {})", self.number, self.definition, self.state.name())
    }
}

/// What is known of a loop beside its state.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// The visit that it is about.
    pub visit: Option<VisitKey>,
    /// The referral or order that it is about.
    pub referral: Option<Number>,
    /// Where it was opened.
    pub facility: String,
    /// The panels that it is of.
    pub panels: Vec<String>,
    /// Numbers of who took part in what belongs to it.
    pub providers: Vec<String>,
    /// Documents that belong to it, finished or not.
    pub documents: Vec<Number>,
    /// The stay that suspends it.
    pub suspended: Option<VisitKey>,
    /// Why it is void.
    pub reason: String,
    /// What ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The first score.
    pub baseline: Option<f64>,
    /// That score was answered.
    pub responded: bool,
    /// It was opened by an old event: of what should have been told up to here, nobody is.
    pub quiet_until_ms: Option<i64>,
}

/// What ended a loop.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How it was told.
    pub by: By,
    /// When that was received.
    pub at_ms: i64,
}

/// A step.
#[derive(Clone, PartialEq)]
pub struct Step {
    /// Its name in the definition.
    pub id: String,
    /// What has become of it.
    pub state: StepState,
    /// From when its time runs.
    pub base_ms: Option<i64>,
    /// Nothing earlier closes it.
    pub from_ms: Option<i64>,
    /// The last moment in time.
    pub due_ms: Option<i64>,
    /// The last moment at which anything closes it.
    pub expire_ms: Option<i64>,
    /// How many have been told.
    pub level: u8,
    /// How often it was begun again.
    pub turn: u32,
    /// When something has to be done about it.
    pub timer_ms: Option<i64>,
    /// What closed it; of one that repeats, the last time.
    pub closed: Option<Closed>,
}

/// What closed a step.
#[derive(Clone, PartialEq)]
pub struct Closed {
    /// The event.
    pub event: [u8; 16],
    /// When it happened.
    pub event_ms: i64,
    /// When it was received.
    pub received_ms: i64,
    /// How it was told.
    pub by: By,
    /// It is not known to belong to the loop; person, provider and time fit.
    pub inferred: bool,
    /// By what it can be taken back.
    pub reference: Reference,
    /// When the appointment starts.
    pub start_ms: Option<i64>,
    /// Which of the six parts of a handoff the document has, a bit each; none, where it cannot be told.
    pub handoff: Option<u8>,
}

/// What a later message names to take something back.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Reference {
    /// Nothing does.
    #[default]
    None,
    /// An appointment.
    Appointment(Number),
    /// A document.
    Document(Number),
    /// A visit.
    Visit(VisitKey),
}

impl Loop {
    /// Its state follows from those of its steps, until it is void.
    pub fn settle(&mut self) {
        if self.state == State::Void {
            return;
        }
        let any = |state: State| self.steps.iter().any(|step| step.state == StepState::Of(state));
        let dormant = self.steps.iter().any(|step| step.state == StepState::Dormant);
        self.state = match () {
            () if any(State::Overdue) => State::Overdue,
            () if dormant || any(State::Open) => State::Open,
            () if any(State::Expired) => State::Expired,
            () if any(State::MetLate) => State::MetLate,
            () => State::Met,
        };
    }

    /// Whether time brings nothing more of it: it is over, or a stay that goes on suspends it.
    pub fn is_idle(&self) -> bool {
        self.steps.iter().all(|step| step.timer_ms.is_none())
    }

    /// Whether anything is still expected.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Open | State::Overdue)
    }
}

/// Whether two numbers are one: some senders leave out who assigned it.
pub fn same_number(left: &Number, right: &Number) -> bool {
    let authority = |number: &Number| number.authority.is_empty();
    !left.value.is_empty()
        && left.value == right.value
        && (left.authority == right.authority || authority(left) || authority(right))
}
