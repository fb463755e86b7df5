//! What the coordination layer is told by its configuration. Each part reads its own; what several of them need, facilities and their zones, stands here.
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// `[coordination]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// `[coordination.events]`: what becomes an event.
    pub events: EventOptions,
    /// `[coordination.facility.KEY]`.
    pub facilities: Facilities,
    /// `[[coordination.panel]]` and `[coordination.match]`.
    pub rosters: super::roster::Options,
    /// `[[coordination.label]]` and `[[coordination.recipient]]`: who may see what.
    pub privacy: crate::privacy::Options,
    /// `[[coordination.loop]]`.
    pub loops: super::loops::Options,
    /// `[[coordination.measure]]`.
    pub measures: super::measures::Options,
    /// `[coordination.care_team]`.
    pub care_team: super::care_team::Options,
    /// `[coordination.subscriptions]`: how clients are told.
    pub subscriptions: super::subscription::Options,
    /// `keep`: how long what is over is kept.
    pub keep: Keep,
    /// `[coordination.sink]`: a FHIR server that takes what happens.
    pub sink: Option<Sink>,
}

/// A FHIR server of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its base.
    pub url: reqwest::Url,
    /// Whose policy says what goes there.
    pub recipient: String,
    /// The value of the header `Authorization`.
    pub authorization: Option<crate::privacy::Key>,
}

/// How long loops that are over, and the labels of visits that nobody tells of any more, are kept, by the times of receipt that messages tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(pub Duration);

impl Keep {
    /// No less: a cancelled appointment opens its step again, and a visit told of once more no second loop, for so long.
    pub const MIN: Duration = Duration::from_secs(400 * 86_400);

    /// In milliseconds.
    pub fn ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Default for Keep {
    fn default() -> Keep {
        Keep(Keep::MIN)
    }
}

/// What becomes an event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventOptions {
    /// Older events are kept, and nobody is told.
    pub max_event_age: Duration,
    /// An emergency visit that nobody ended is over after this time.
    pub hanging_ed_close: Duration,
    /// PV1-2 as sent to a code of v3 ActEncounterCode; goes before [`EventOptions::class`]'s own.
    pub class_map: BTreeMap<String, Class>,
    /// MSH-11.1 of messages that are of patients; of others (T, D) nobody is told, and nothing is kept. One that says nothing is taken.
    pub processing: Vec<String>,
}

impl Default for EventOptions {
    fn default() -> EventOptions {
        EventOptions {
            max_event_age: Duration::from_secs(72 * 3600),
            hanging_ed_close: Duration::from_secs(48 * 3600),
            class_map: BTreeMap::new(),
            processing: vec!["P".into()],
        }
    }
}

impl EventOptions {
    /// Whether a message with that MSH-11.1 is taken.
    pub fn processes(&self, processing_id: &[u8]) -> bool {
        let id = processing_id.trim_ascii();
        id.is_empty() || self.processing.iter().any(|one| id.eq_ignore_ascii_case(one.as_bytes()))
    }

    /// The class that PV1-2 means, by the map, else by HL7 table 0004.
    pub fn class(&self, patient_class: &str) -> Option<Class> {
        self.class_map.get(patient_class).copied().or(match patient_class {
            "I" | "B" => Some(Class::Inpatient),
            "E" => Some(Class::Emergency),
            "O" | "R" => Some(Class::Outpatient),
            "P" => Some(Class::Preadmission),
            _ => None,
        })
    }
}

/// What kind of visit it is, by v3 ActEncounterCode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// `IMP`
    #[serde(rename = "IMP")]
    Inpatient,
    /// `ACUTE`
    #[serde(rename = "ACUTE")]
    Acute,
    /// `NONAC`
    #[serde(rename = "NONAC")]
    NonAcute,
    /// `OBSENC`
    #[serde(rename = "OBSENC")]
    Observation,
    /// `EMER`
    #[serde(rename = "EMER")]
    Emergency,
    /// `AMB`
    #[serde(rename = "AMB")]
    Outpatient,
    /// `SS`
    #[serde(rename = "SS")]
    ShortStay,
    /// `HH`
    #[serde(rename = "HH")]
    HomeHealth,
    /// `VR`
    #[serde(rename = "VR")]
    Virtual,
    /// `FLD`
    #[serde(rename = "FLD")]
    Field,
    /// `PRENC`
    #[serde(rename = "PRENC")]
    Preadmission,
}

impl Class {
    /// Every one with its code.
    pub const ALL: [(&'static str, Class); 11] = [
        ("IMP", Class::Inpatient),
        ("ACUTE", Class::Acute),
        ("NONAC", Class::NonAcute),
        ("OBSENC", Class::Observation),
        ("EMER", Class::Emergency),
        ("AMB", Class::Outpatient),
        ("SS", Class::ShortStay),
        ("HH", Class::HomeHealth),
        ("VR", Class::Virtual),
        ("FLD", Class::Field),
        ("PRENC", Class::Preadmission),
    ];

    /// The code.
    pub fn code(self) -> &'static str {
        Class::ALL.into_iter().find(|(_, class)| *class == self).map_or("", |(code, _)| code)
    }

    /// The class of that code.
    pub fn parse(code: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|(name, _)| *name == code).map(|(_, class)| class)
    }

    /// Whether such a visit is a stay, which begins with an admission and ends with a discharge.
    pub fn is_stay(self) -> bool {
        matches!(self, Class::Inpatient | Class::Acute | Class::NonAcute | Class::Observation)
    }
}

/// The facilities that messages tell of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facilities {
    /// By PV1-3.4.1, else MSH-4.1.
    pub by_key: BTreeMap<String, Facility>,
    /// The zone of times without an offset where a facility has none; UTC where nothing is said.
    pub zone: Option<TimeZone>,
}

impl Facilities {
    /// The zone of a facility.
    pub fn zone(&self, key: &str) -> &TimeZone {
        let zone = self.by_key.get(key).and_then(|facility| facility.zone.as_ref());
        zone.or(self.zone.as_ref()).unwrap_or(&UTC)
    }
}

static UTC: TimeZone = TimeZone::UTC;

/// A facility.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facility {
    /// Its organisation's NPI.
    pub npi: Option<String>,
    /// Where it is, for times without an offset and for calendar dates.
    pub zone: Option<TimeZone>,
    /// What it is, as loops ask with `facility_type`: `HHA`, `SNF`, …
    pub kind: Option<String>,
    /// Whether it is a programme under 42 CFR Part 2.
    pub part2: bool,
}

/// Whether a text is a National Provider Identifier: ten digits with the check digit of ISO/IEC 7812 over `80840` and them (CMS, "Requirements for NPI check
/// digit").
pub fn is_npi(text: &str) -> bool {
    let digits = text.as_bytes();
    if digits.len() != 10 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum = |(at, digit): (usize, &u8)| {
        let digit = digit - b'0';
        u32::from(if at.is_multiple_of(2) { doubled(digit) } else { digit })
    };
    // What 80840 adds is always 24.
    (24 + digits.iter().enumerate().map(sum).sum::<u32>()).is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits() {
        for good in ["9990001015", "9990002021", "9990003037", "9990004043", "1234567893"] {
            assert!(is_npi(good), "{good}");
        }
        for bad in ["", "9990002022", "999000202", "99900020210", "999000202X", "CHSTAFF7"] {
            assert!(!is_npi(bad), "{bad}");
        }
    }

    #[test]
    fn classes() {
        for (code, class) in Class::ALL {
            assert_eq!((Class::parse(code), class.code()), (Some(class), code));
        }
        let mut options = EventOptions::default();
        assert_eq!((options.class("I"), options.class("V")), (Some(Class::Inpatient), None));
        options.class_map.insert("V".into(), Class::Observation);
        options.class_map.insert("I".into(), Class::ShortStay);
        assert_eq!((options.class("I"), options.class("V")), (Some(Class::ShortStay), Some(Class::Observation)));
    }
}
