//! From an event to what is kept of it.
use super::fact::{self, ACTING_MAX, CODES_MAX, Coded, Fact, Numbered, hash};
use super::lens::Lens;
use super::words::{Sort, Words};
use crate::coordination::event::{Code, PRINCIPAL};
use crate::coordination::loops::{acting, value};
use crate::coordination::sensitivity::visit_text;
use crate::coordination::{Event, Kind};
use crate::privacy::{Found, Labels, Set};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What longer texts stand where a code or a facility belongs is none.
const TEXT_MAX: usize = 64;

/// Stands where a code does for events with somebody of the care team. A system is written in capitals.
pub(super) const TEAM: &str = "care-team|";

/// Who an event is about, as far as measures ask.
pub struct Subject<'a> {
    /// The panels they were in when it happened.
    pub panels: &'a [&'a str],
    /// NPIs of their care team.
    pub team: &'a [String],
    /// Labels of the event.
    pub found: Found,
    /// All labels.
    pub labels: &'a Labels,
}

/// A fact, with its codes and who did something.
pub struct Taken {
    pub fact: Fact,
    pub codes: Vec<Coded>,
    pub acting: Vec<u64>,
}

/// The words and the definitions that see them.
pub struct Sight {
    /// The words.
    pub words: Words,
    /// The definitions.
    pub lens: Lens,
}

impl Sight {
    fn word(&mut self, sort: Sort, text: &str) -> u32 {
        if text.len() > TEXT_MAX {
            return 0;
        }
        let (number, is_new) = self.words.intern(sort, text);
        if is_new {
            self.lens.learn(number, &self.words);
        }
        number
    }

    /// The word of a facility; of one that is not configured and that only strangers tell of none, as anything can stand there.
    pub fn place(&mut self, key: &str, known: bool) -> u32 {
        if known || self.lens.setting().facilities.by_key.contains_key(key) {
            return self.word(Sort::Facility, key);
        }
        self.words.find(Sort::Facility, key).unwrap_or(0)
    }

    /// The word for what somebody of the care team did.
    pub fn team(&mut self) -> u32 {
        self.word(Sort::Code, TEAM)
    }

    /// The words of those codes of an event that a measure asks for, each once.
    pub fn asked(&mut self, event: &Event) -> Vec<u32> {
        let mut words = Vec::new();
        for code in &event.codes {
            let Some((sort, text)) = coded(code) else { continue };
            if self.lens.asks_text(sort, &text) {
                words.push(self.word(sort, &text));
            }
        }
        words.sort_unstable();
        words.dedup();
        words.retain(|word| *word != 0);
        words
    }

    fn bits(&mut self, labels: &Labels, set: Set) -> u64 {
        let names = labels.names(set);
        for name in &names {
            self.word(Sort::Label, name);
        }
        self.lens.bits(names.into_iter())
    }

    /// The words of panels, and that of all of them together.
    fn panels(&mut self, panels: &[&str]) -> u32 {
        let mut names: Vec<&str> = panels.to_vec();
        names.sort_unstable();
        names.dedup();
        for name in &names {
            self.word(Sort::Panel, name);
        }
        let (number, is_new) = self.words.intern(Sort::Panels, &names.join(" "));
        if is_new {
            self.lens.learn(number, &self.words);
        }
        number
    }

    /// What is kept of an event; none of one that no measure could ask for.
    pub fn fact(&mut self, event: &Event, subject: &Subject<'_>) -> Option<Taken> {
        if matches!(event.kind, Kind::IdentityMerge | Kind::Unlink | Kind::MedicationChange) {
            return None;
        }
        let codes = self.codes(event, subject.labels);
        if event.kind == Kind::Result && codes.is_empty() && event.referral.is_none() {
            return None;
        }
        let panels: Vec<String> = subject.panels.iter().map(|panel| (*panel).to_owned()).collect();
        let zone = self.lens.setting().zone(&event.facility, &panels);
        let number = |number: Option<&crate::coordination::event::Number>| number.map(Numbered::of).unwrap_or_default();
        let (document, appointment) = (event.document.as_ref(), event.appointment.as_ref());
        let on_team = acting(event).any(|npi| subject.team.iter().any(|member| member == npi));
        let flags = [
            (on_team, fact::TEAM),
            (event.visit.as_ref().is_some_and(|visit| visit.weak), fact::WEAK),
            (event.time_suspect, fact::SUSPECT),
            (event.partial, fact::PARTIAL),
            (event.stale, fact::STALE),
            (!event.codes.is_empty(), fact::CODED),
        ];
        let (whole, all) = self.labels(subject);
        let fact = Fact {
            seq: event.seq,
            kind: event.kind as u8,
            flags: flags.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag),
            at_ms: event.at_ms,
            received_ms: event.received_ms,
            day: day(event.at_ms, &zone),
            received_day: day(event.received_ms, &zone),
            facility: self.word(Sort::Facility, &event.facility),
            class: self.word(Sort::Class, &event.class),
            disposition: self.word(Sort::Disposition, &event.disposition),
            trigger: self.word(Sort::Trigger, &event.trigger),
            completion: self.word(Sort::Completion, document.map_or("", |document| document.completion.as_str())),
            panels: self.panels(subject.panels),
            whole,
            all,
            visit: event.visit.as_ref().map_or(0, |visit| hash(&[&visit_text(visit)])),
            referral: number(event.referral.as_ref()),
            document: number(document.map(|document| &document.number)),
            parent: number(document.and_then(|document| document.parent.as_ref())),
            appointment: number(appointment.map(|appointment| &appointment.number)),
            told_as: fact::told_as(event.patient.told_as(&event.feed)),
            start: appointment.and_then(|one| one.start_ms).map_or((0, 0), |start| (start, day(start, &zone))),
            ..Fact::default()
        };
        let acting = acting(event).filter_map(|npi| npi.parse().ok()).take(ACTING_MAX).collect();
        Some(Taken { fact, codes, acting })
    }

    /// The bits of the labels of what somebody is told of: as a whole, and all.
    pub fn labels(&mut self, subject: &Subject<'_>) -> (u64, u64) {
        let Found { whole, all } = subject.found;
        (self.bits(subject.labels, whole), self.bits(subject.labels, all.with(whole)))
    }

    /// Whether a fact carries any label.
    pub fn is_labelled(&self, taken: &Taken) -> bool {
        let Taken { fact, codes, .. } = taken;
        let marks = &self.lens.marks;
        // By the word too, which is what marks it where it is counted: never is less looked at than that changes.
        let is = |code: &Coded| code.labels != 0 || marks.of(code.word) != 0;
        fact.all != 0 || marks.of(fact.facility) != 0 || codes.iter().any(is)
    }

    /// The date of panels at a time.
    pub fn day_of(&self, panels: &[&str], at_ms: i64) -> i32 {
        let of: Vec<String> = panels.iter().map(|panel| (*panel).to_owned()).collect();
        day(at_ms, &self.lens.setting().zone("", &of))
    }

    /// That somebody of these panels is in no roster from a time on.
    pub fn left(&mut self, panels: &[&str], seq: u64, at_ms: i64) -> Taken {
        let day = self.day_of(panels, at_ms);
        let fact = Fact { seq, kind: fact::LEFT, at_ms, received_ms: at_ms, day, received_day: day, ..Fact::default() };
        Taken { fact, codes: Vec::new(), acting: Vec::new() }
    }

    /// The codes that are kept: those that a measure asks for first. Of a result no others: most of what a laboratory sends is of no measure.
    fn codes(&mut self, event: &Event, labels: &Labels) -> Vec<Coded> {
        let mut found: Vec<(bool, Coded)> = Vec::new();
        for code in &event.codes {
            let Some((sort, text)) = coded(code) else { continue };
            let asked = self.lens.asks_text(sort, &text);
            if event.kind == Kind::Result && !asked {
                continue;
            }
            let word = self.word(sort, &text);
            let set = labels.of_code(&code.system, &code.code).with(labels.of_code("", &code.value));
            #[expect(clippy::cast_possible_truncation, reason = "what is larger is no score")]
            let value = value(code).map(|value| (value * 1000.0).round() as i64);
            let principal = sort == Sort::Diagnosis && code.value == PRINCIPAL;
            let coded = Coded { word, labels: self.bits(labels, set), value, principal };
            match found.iter_mut().find(|(_, known)| known.word == word) {
                _ if word == 0 => {}
                // A test that is ordered by the code of what is observed says its value only there.
                Some((_, known)) => {
                    known.labels |= coded.labels;
                    known.value = known.value.or(value);
                    known.principal |= principal;
                }
                None => found.push((asked, coded)),
            }
        }
        found.sort_by_key(|(asked, _)| !asked);
        found.into_iter().map(|(_, coded)| coded).take(CODES_MAX).collect()
    }
}

/// A code as a word; none of what is no code.
fn coded(code: &Code) -> Option<(Sort, String)> {
    let plain = !code.code.is_empty() && code.code.len() <= 24 && code.code.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || code.system.len() > 32 {
        return None;
    }
    let sort = if code.field == "DG1-3" { Sort::Diagnosis } else { Sort::Code };
    Some((sort, format!("{}|{}", code.system.to_uppercase(), code.code)))
}

/// The date of a place, in days since 1970.
pub fn day(at_ms: i64, zone: &TimeZone) -> i32 {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let offset_ms = i64::from(zone.to_offset(at).seconds()) * 1000;
    i32::try_from(at_ms.saturating_add(offset_ms).div_euclid(86_400_000)).unwrap_or(0)
}
