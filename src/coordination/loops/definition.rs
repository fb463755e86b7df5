//! What loops there are: when one opens, what closes its steps, until when, and who is told. Made of the configuration, checked there.
use super::calendar::Span;
use super::steps::EXPIRE;
use crate::coordination::Kind;

/// What this part runs on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// The loops, in the order of the configuration; their ids differ.
    pub definitions: Vec<Definition>,
}

/// A loop.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definition {
    /// Its name in answers and metrics.
    pub id: String,
    /// For members of these panels; of any, where none is named.
    pub panels: Vec<String>,
    /// An event that one of these fits opens it.
    pub open: Vec<Pattern>,
    /// These end it: a death always, anything else when it is of the same visit or referral.
    pub void: Vec<Kind>,
    /// What another stay does to it.
    pub on_readmit: OnReadmit,
    /// Not while the person has one that is open.
    pub once: bool,
    /// It follows a score.
    pub score: Option<Score>,
    /// A value that somebody must hear of at once, loop or not.
    pub alert: Option<Alert>,
    /// What has to happen.
    pub steps: Vec<StepDefinition>,
}

/// What another stay of the person does to a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReadmit {
    /// Nothing.
    #[default]
    Keep,
    /// Nobody is reminded while it lasts. When it ends and opens a loop of its own, that one takes this one's place.
    Suspend,
    /// It ends the loop.
    Void,
}

/// Something that has to happen.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDefinition {
    /// Its name within the loop.
    pub id: String,
    /// Only where the event that opens the loop fits this.
    pub when: Option<Pattern>,
    /// Time runs from the appointment of that step (from when it was closed, where there is none), not from the opening.
    pub after: Option<String>,
    /// Not before: the first part of `window`.
    pub from: Option<Span>,
    /// Not later: `due`, or the second part of `window`.
    pub due: Span,
    /// Later than that nothing closes it any more.
    pub late_until: Option<Span>,
    /// Which time of what closes it counts.
    pub clock: Clock,
    /// Once closed it begins again, until the score is where it should be.
    pub repeat: bool,
    /// An event that one of these fits closes it.
    pub close: Vec<Pattern>,
    /// Who is told when, in order.
    pub escalate: Vec<Escalation>,
}

/// Which time of an event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// When it happened.
    #[default]
    Event,
    /// When it was received: a summary that was written and never sent helps nobody.
    Received,
}

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// When.
    pub at: At,
    /// `role:care-manager`, `org:SBMC`.
    pub to: String,
}

/// When somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// So long after time began to run.
    After(Span),
    /// When the step is due.
    Due,
}

/// A score that is measured again and again (PHQ-9).
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Its LOINC code.
    pub loinc: String,
    /// Below this the loop is closed.
    pub remission_below: f64,
    /// At this share of the first one or less, treatment is answered.
    pub response: f64,
}

/// A value that somebody must hear of at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The LOINC code of the observation.
    pub loinc: String,
    /// From this on.
    pub value_min: f64,
    /// Whom.
    pub to: String,
}

/// Which events are meant. What is empty is not asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pattern {
    /// One of these.
    pub kinds: Vec<Kind>,
    /// Class of the visit.
    pub class: Vec<String>,
    /// How the stay ended.
    pub disposition: Vec<String>,
    /// How it must not have ended.
    pub disposition_not: Vec<String>,
    /// MSH-9.2.
    pub trigger: Vec<String>,
    /// One of these LOINC codes.
    pub loinc: Vec<String>,
    /// A code, and none of these.
    pub loinc_not: Vec<String>,
    /// A diagnosis that begins so (ICD-10).
    pub icd10_prefix: Vec<String>,
    /// As the principal diagnosis.
    pub icd10_principal: bool,
    /// One of these codes: system and code.
    pub codes: Vec<(String, String)>,
    /// Of the code in `loinc`, a value of at least that.
    pub value_min: Option<f64>,
    /// Of a document.
    pub completion: Vec<String>,
    /// The kind of the facility where it happened.
    pub facility_type: Option<String>,
    /// Of the visit that the loop is about.
    pub same_visit: bool,
    /// The appointment starts within so long from the opening.
    pub starts_within: Option<Span>,
    /// With somebody who looks after the person.
    pub provider: Provider,
}

/// With whom. Where both are asked for, one is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Provider {
    /// Somebody of the care team.
    pub care_team: bool,
    /// At the owner of the panel.
    pub panel_org: bool,
}

impl StepDefinition {
    /// About how long it stays open at most, in milliseconds, from when its time begins to run.
    pub fn about_ms(&self) -> i64 {
        self.late_until.map_or(self.due.about_ms().saturating_add(EXPIRE.about_ms()), Span::about_ms)
    }
}

impl Definition {
    /// Whether a diagnosis, a result or another code is what it is about.
    pub fn is_coded(&self) -> bool {
        let coded = |pattern: &Pattern| {
            !pattern.loinc.is_empty() || !pattern.icd10_prefix.is_empty() || !pattern.codes.is_empty()
        };
        self.score.is_some() || self.alert.is_some() || self.open.iter().any(coded)
    }

    /// A step by its name.
    pub fn step(&self, id: &str) -> Option<&StepDefinition> {
        self.steps.iter().find(|step| step.id == id)
    }
}
