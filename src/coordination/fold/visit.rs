//! A visit: what is known of it, and what a message about it means to those who follow it.
//!
//! Each kind of event is told once a visit, until a cancel takes it back; who sends the message again, or another that says no more, is not heard.
//!
//! | trigger | event |
//! |---|---|
//! | A01 A04 | by class: a stay → `admission`, E → `ed-visit`, others → `outpatient-visit` |
//! | A06, and A02 A08 where the visit was an emergency | a stay → `admission` |
//! | A03 | a stay → `discharge`, E → `ed-discharge` |
//! | A16 | `discharge-planned` |
//! | A02 | `transfer`, where PV1-3.4 is another facility than before (PV1-6.4, else what is known) |
//! | A11 A12 A13 | `*-cancelled`; the detail says what of |
//!
//! A visit number may come again: a begin (A01, A04) whose PV1-44 is after the end of the visit, or for one that has no stay on another day, is another visit.
use super::super::event::{Kind, VisitKey};
use super::super::options::Class;
use super::super::read::Moment;
use super::super::reason::Reason;
use jiff::tz::TimeZone;

/// What is known of a visit.
#[derive(Clone, PartialEq)]
pub struct Visit {
    /// Which.
    pub key: VisitKey,
    /// How it goes.
    pub course: Course,
    /// A hash over what its messages last said of who looks after the patient beyond it; 0 where none said anything.
    pub team: i64,
}

/// How a visit goes. Times are in milliseconds since 1970 (UTC).
#[derive(Clone, Default, PartialEq)]
pub struct Course {
    /// What kind of visit it is; none where no message said so.
    pub class: Option<Class>,
    /// Where: PV1-3.4.1; empty where no message said so.
    pub facility: String,
    /// Where it was before the last transfer.
    pub facility_before: String,
    /// When it began.
    pub admit_ms: Option<i64>,
    /// When it ended.
    pub discharge_ms: Option<i64>,
    /// PV1-36, two digits where it is a number.
    pub disposition: String,
    /// What has been told of it.
    pub notified: Kinds,
    /// Its beginning has not been seen.
    pub partial: bool,
    /// Nobody ended it: an emergency visit that is over by age.
    pub hanging: bool,
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u32);

const _: () = assert!(Kind::ALL.len() <= u32::BITS as usize, "a kind has a bit");

impl Kinds {
    /// Whether a kind is among them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    /// With a kind.
    pub fn insert(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u32;
    }

    /// Without a kind; whether it was there.
    pub fn remove(&mut self, kind: Kind) -> bool {
        let had = self.has(kind);
        self.0 &= !(1 << kind as u32);
        had
    }

    /// As the database has them: names, parted by blanks, as numbers would change with the vocabulary.
    pub(super) fn text(self) -> String {
        let mut text = String::new();
        for kind in Kind::ALL.into_iter().filter(|kind| self.has(*kind)) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(kind.name());
        }
        text
    }

    /// Reads them back; none where one is not known.
    pub(super) fn parse(text: &str) -> Option<Kinds> {
        let mut set = Kinds::default();
        for name in text.split_ascii_whitespace() {
            set.insert(Kind::parse(name)?);
        }
        Some(set)
    }
}

/// What a message tells of a visit.
pub(super) struct Told<'m> {
    /// MSH-9.2.
    pub trigger: &'m [u8],
    /// PV1-2, as it is mapped.
    pub class: Option<Class>,
    /// PV1-2 says something that is not mapped.
    pub class_unknown: bool,
    /// PV1-3.4.1.
    pub facility: String,
    /// PV1-6.4.1.
    pub facility_before: String,
    /// PV1-44.
    pub admit: Option<Moment>,
    /// PV1-45.
    pub discharge: Option<Moment>,
    /// PV1-36.
    pub disposition: String,
    /// When it was received.
    pub received_ms: i64,
    /// After this an emergency visit that nobody ended is over.
    pub hanging_ms: i64,
}

/// What happened to a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Happened {
    pub kind: Kind,
    pub detail: &'static str,
    /// What should have come before has not been seen.
    pub partial: bool,
}

/// Whether messages of that trigger are about a visit.
pub(super) fn is_about_visit(trigger: &[u8]) -> bool {
    matches!(
        trigger,
        b"A01"
            | b"A02"
            | b"A03"
            | b"A04"
            | b"A05"
            | b"A06"
            | b"A07"
            | b"A08"
            | b"A11"
            | b"A12"
            | b"A13"
            | b"A16"
            | b"A25"
    )
}

impl Course {
    /// Whether an admission, emergency or outpatient visit has been told of it.
    fn has_begun(&self) -> bool {
        BEGINS.into_iter().any(|kind| self.notified.has(kind))
    }

    /// Whether nothing more is to come of it but corrections.
    pub fn is_over(&self) -> bool {
        let goes_on = self.class.is_some_and(|class| class.is_stay() || class == Class::Emergency);
        self.discharge_ms.is_some() || !goes_on
    }

    /// An emergency visit that is over by age, as of a time.
    pub(super) fn close_if_hanging(&mut self, now_ms: i64, hanging_ms: i64) {
        let open = self.class == Some(Class::Emergency) && self.discharge_ms.is_none();
        let end = self.admit_ms.filter(|_| open).map(|admit| admit.saturating_add(hanging_ms));
        if let Some(end) = end.filter(|end| *end < now_ms) {
            self.discharge_ms = Some(end);
            self.hanging = true;
        }
    }

    /// Takes a message; `known` is false for the first about a visit. What happened by it, or why nothing did.
    pub(super) fn take(&mut self, known: bool, told: &Told<'_>, zone: &TimeZone) -> Result<Vec<Happened>, Reason> {
        self.close_if_hanging(told.received_ms, told.hanging_ms);
        let begins = matches!(told.trigger, b"A01" | b"A04");
        if begins && self.comes_again(told, zone) {
            *self = Course { facility: std::mem::take(&mut self.facility), ..Course::default() };
        }
        let before = self.class;
        // A11 and A13 may come without what they take back.
        self.class = told.class.or(before);
        let moves = matches!(told.trigger, b"A02" | b"A12");
        if !moves && (self.facility.is_empty() || (begins && !told.facility.is_empty())) {
            self.facility.clone_from(&told.facility);
        }
        let partial = !begins && told.trigger != b"A05" && !self.has_begun();
        self.partial = partial || (self.partial && !begins);
        let happened = |kind, detail| Happened { kind, detail, partial };
        let class = self.class.ok_or(Reason::UnknownClass);
        match told.trigger {
            b"A01" | b"A04" => {
                Ok(self.begin(before, class?).map(|(kind, detail)| happened(kind, detail)).into_iter().collect())
            }
            b"A02" | b"A06" | b"A08" => {
                let mut all = Vec::new();
                let closed = self.discharge_ms.is_some() && !self.hanging;
                let upgraded = told.trigger == b"A06" || before == Some(Class::Emergency);
                // Of an unknown class it cannot be told whether it is a stay; a transfer can all the same.
                if let Some(class) = self.class.filter(|class| class.is_stay() && upgraded && !closed) {
                    all.extend(self.begin(before, class).map(|(kind, detail)| happened(kind, detail)));
                }
                if told.trigger == b"A02" {
                    all.extend(self.transfer(known, told).map(|kind| happened(kind, "")));
                }
                if all.is_empty() && told.trigger == b"A06" { class.map(|_| all) } else { Ok(all) }
            }
            b"A03" if self.class.is_none() && !self.has_begun() => Err(Reason::UnknownClass),
            b"A03" => Ok(self.end(told).map(|kind| happened(kind, "")).into_iter().collect()),
            b"A16" => {
                class?;
                let new = !self.notified.has(Kind::DischargePlanned);
                self.notified.insert(Kind::DischargePlanned);
                Ok(Vec::from_iter(new.then(|| happened(Kind::DischargePlanned, ""))))
            }
            b"A25" => {
                self.notified.remove(Kind::DischargePlanned);
                Ok(Vec::new())
            }
            b"A11" | b"A13" => {
                let cancelled = if told.trigger == b"A11" { self.cancel_begin(known) } else { self.cancel_end(known) };
                match cancelled {
                    None if !known => class.map(|_| Vec::new()),
                    cancelled => Ok(cancelled.map(|(kind, detail)| happened(kind, detail)).into_iter().collect()),
                }
            }
            b"A12" => Ok(self.cancel_transfer(known, told).map(|kind| happened(kind, "")).into_iter().collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether a begin is of another visit under the number of one that has been.
    fn comes_again(&self, told: &Told<'_>, zone: &TimeZone) -> bool {
        let Some(admit) = told.admit.filter(|_| self.has_begun()) else { return false };
        if let Some(discharge) = self.discharge_ms {
            return admit.ms > discharge;
        }
        let single = self.class.is_some_and(|class| !class.is_stay() && class != Class::Emergency);
        let day = |ms| jiff::Timestamp::from_millisecond(ms).ok().map(|at| at.to_zoned(zone.clone()).date());
        single && self.admit_ms.is_some_and(|known| day(known) < day(admit.ms))
    }

    fn begin(&mut self, before: Option<Class>, class: Class) -> Option<(Kind, &'static str)> {
        let (kind, detail) = match class {
            Class::Preadmission => return None,
            Class::Emergency => (Kind::EdVisit, ""),
            class if !class.is_stay() => (Kind::OutpatientVisit, ""),
            _ if before == Some(Class::Emergency) => (Kind::Admission, "ed-to-inpatient"),
            Class::Observation => (Kind::Admission, "observation"),
            _ => (Kind::Admission, "inpatient"),
        };
        if self.notified.has(kind) {
            return None;
        }
        self.notified.insert(kind);
        self.notified.remove(Kind::AdmissionCancelled);
        // What was over by age goes on, or was never an end.
        if std::mem::take(&mut self.hanging) {
            self.discharge_ms = None;
        }
        Some((kind, detail))
    }

    fn end(&mut self, told: &Told<'_>) -> Option<Kind> {
        self.hanging = false;
        if !told.disposition.is_empty() {
            self.disposition.clone_from(&told.disposition);
        }
        // What began as a stay ends as one, whatever the class of this message.
        let stay = self.notified.has(Kind::Admission) || self.class.is_some_and(Class::is_stay);
        let emergency = self.notified.has(Kind::EdVisit) || self.class == Some(Class::Emergency);
        let kind = match (stay, emergency) {
            (true, _) => Kind::Discharge,
            (false, true) => Kind::EdDischarge,
            (false, false) => return None,
        };
        if self.notified.has(kind) {
            return None;
        }
        self.notified.insert(kind);
        self.notified.remove(Kind::DischargeCancelled);
        Some(kind)
    }

    fn transfer(&mut self, known: bool, told: &Told<'_>) -> Option<Kind> {
        if told.facility.is_empty() || (known && self.facility == told.facility) {
            return None;
        }
        let from = if told.facility_before.is_empty() { &self.facility } else { &told.facility_before };
        let from = from.clone();
        self.facility.clone_from(&told.facility);
        if from.is_empty() || from == told.facility {
            return None;
        }
        self.facility_before = from;
        self.notified.insert(Kind::Transfer);
        self.notified.remove(Kind::TransferCancelled);
        Some(Kind::Transfer)
    }

    fn cancel_begin(&mut self, known: bool) -> Option<(Kind, &'static str)> {
        let told = BEGINS.into_iter().find(|kind| self.notified.remove(*kind));
        let unseen = || match self.class? {
            Class::Preadmission => None,
            Class::Emergency => Some(Kind::EdVisit),
            class if class.is_stay() => Some(Kind::Admission),
            _ => Some(Kind::OutpatientVisit),
        };
        let cancelled = told.or_else(|| if known { None } else { unseen() })?;
        self.notified.insert(Kind::AdmissionCancelled);
        if !self.has_begun() {
            self.admit_ms = None;
        }
        Some((Kind::AdmissionCancelled, cancelled.name()))
    }

    fn cancel_end(&mut self, known: bool) -> Option<(Kind, &'static str)> {
        let told = ENDS.into_iter().find(|kind| self.notified.remove(*kind));
        let unseen = || match self.class? {
            Class::Emergency => Some(Kind::EdDischarge),
            class if class.is_stay() => Some(Kind::Discharge),
            _ => None,
        };
        self.discharge_ms = None;
        self.hanging = false;
        self.disposition.clear();
        let cancelled = told.or_else(|| if known { None } else { unseen() })?;
        self.notified.insert(Kind::DischargeCancelled);
        Some((Kind::DischargeCancelled, cancelled.name()))
    }

    fn cancel_transfer(&mut self, known: bool, told: &Told<'_>) -> Option<Kind> {
        let (back, from) = (&told.facility, &told.facility_before);
        let unseen = !known && !back.is_empty() && !from.is_empty() && back != from;
        if !self.notified.remove(Kind::Transfer) && !unseen {
            return None;
        }
        let before = std::mem::take(&mut self.facility_before);
        let back = if back.is_empty() { before } else { back.clone() };
        if !back.is_empty() {
            self.facility = back;
        }
        self.notified.insert(Kind::TransferCancelled);
        Some(Kind::TransferCancelled)
    }
}

/// A cancel takes back what was told last.
const BEGINS: [Kind; 3] = [Kind::Admission, Kind::EdVisit, Kind::OutpatientVisit];
const ENDS: [Kind; 2] = [Kind::Discharge, Kind::EdDischarge];
