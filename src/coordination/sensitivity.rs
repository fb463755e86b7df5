//! What the privacy gate is told of an event.
use super::Event;
use super::event::{Code, Confidentiality, VisitKey};
use super::options::Facilities;
use crate::privacy::{Found, Labels};

/// What a message says of itself, whether or not anything comes of it.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    /// Where: the key of the facility.
    pub facility: &'a str,
    /// MSH-3.1 and MSH-4.1, joined by `|`.
    pub feed: &'a str,
    /// What was coded.
    pub codes: &'a [Code],
    /// What its sender says of confidentiality.
    pub confidentiality: &'a Confidentiality,
}

impl<'a> From<&'a Event> for Said<'a> {
    fn from(event: &'a Event) -> Said<'a> {
        let Event { facility, feed, codes, confidentiality, .. } = event;
        Said { facility, feed, codes, confidentiality }
    }
}

/// The labels of an event: of where it happened and who sent it, of its codes and what its sender says of them, and those that earlier messages left with its visit.
pub fn found<'a>(labels: &Labels, facilities: &Facilities, event: impl Into<Said<'a>>, earlier: &[String]) -> Found {
    let event = event.into();
    let sender = event.feed.split('|').nth(1).unwrap_or("");
    let part_2 = |key: &str| facilities.by_key.get(key).is_some_and(|facility| facility.part2);
    let mut look = labels
        .look()
        .facility(event.facility)
        .facility(sender)
        .unit(event.facility, &event.confidentiality.unit)
        .part_2(part_2(event.facility) || part_2(sender))
        .earlier(earlier.iter().map(String::as_str));
    for (field, code) in &event.confidentiality.codes {
        look = look.mark(field, code);
    }
    for code in event.codes {
        // A coded value comes without its system.
        look = look.code(&code.system, &code.code).code("", &code.value);
    }
    look.found()
}

/// How a visit is known beside its labels.
pub fn visit_text(visit: &VisitKey) -> String {
    format!("{}|{}", visit.authority, visit.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::Kind;
    use crate::coordination::event::{Code, Confidentiality, Patient};
    use crate::coordination::options::Facility;
    use crate::privacy::starter;

    fn event() -> Event {
        Event {
            id: [0; 16],
            seq: 1,
            kind: Kind::Admission,
            detail: String::new(),
            at_ms: 0,
            received_ms: 0,
            time_suspect: false,
            partial: false,
            stale: false,
            facility: "SBMC".into(),
            feed: "SBADT|SBMC".into(),
            trigger: "A01".into(),
            patient: Patient::default(),
            others: Vec::new(),
            visit: None,
            class: String::new(),
            disposition: String::new(),
            participants: Vec::new(),
            codes: Vec::new(),
            document: None,
            appointment: None,
            referral: None,
            confidentiality: Confidentiality::default(),
        }
    }

    #[test]
    fn everything_that_tells_is_looked_at() {
        let labels = Labels::new(starter::labels());
        let mut facilities = Facilities::default();
        facilities.by_key.insert("LAKERECOV".into(), Facility { part2: true, ..Facility::default() });
        let names = |event: &Event, earlier: &[&str]| {
            let earlier: Vec<String> = earlier.iter().map(|code| (*code).to_owned()).collect();
            let found = found(&labels, &facilities, event, &earlier);
            (labels.names(found.all).join(" "), labels.names(found.whole).join(" "))
        };
        let pair = |all: &str, whole: &str| (all.to_owned(), whole.to_owned());
        assert_eq!(names(&event(), &[]), pair("", ""));
        assert_eq!(names(&event(), &["HIV"]), pair("HIV", ""));
        assert_eq!(names(&Event { facility: "LAKERECOV".into(), ..event() }, &[]), pair("SUD", "SUD"));
        assert_eq!(names(&Event { feed: "X|LAKERECOV".into(), ..event() }, &[]), pair("SUD", "SUD"));
        let code = |system: &str, code: &str, value: &str| Code {
            field: "DG1-3".into(),
            system: system.into(),
            code: code.into(),
            value: value.into(),
        };
        let coded = Event { codes: vec![code("I10C", "F33.2", ""), code("LN", "29308-4", "F10.20")], ..event() };
        assert_eq!(names(&coded, &[]), pair("SUD PSY", ""));
        let marks = Confidentiality { codes: vec![("PV2-22".into(), "Y".into())], unit: String::new() };
        assert_eq!(names(&Event { confidentiality: marks, ..event() }, &[]), pair("R", "R"));
    }
}
