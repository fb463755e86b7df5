//! What a message tells of the patient, of those who took part, of what was coded and of confidentiality. Built only for messages that become an event.
use super::{Reading, valued};
use crate::coordination::event::{Code, Confidentiality, PRINCIPAL, Participant, Patient};
use crate::hl7::Span;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// People of one event.
const PARTICIPANTS_MAX: usize = 64;
/// Codes of one event.
const CODES_MAX: usize = 512;
/// What was said of confidentiality in one message.
const CONFIDENTIALITY_MAX: usize = 64;

/// People: segment, field and the role they have there.
///
/// Those of orders, documents, charges and resources count for what is told of these, the others for the visit.
const PEOPLE: [(&[u8; 3], usize, &str); 13] = [
    (b"PV1", 7, "attending"),
    (b"PV1", 8, "referring"),
    (b"PV1", 9, "consulting"),
    (b"PV1", 17, "admitting"),
    (b"PD1", 4, "primary-care"),
    (b"TXA", 5, "performing"),
    (b"TXA", 9, "author"),
    (b"TXA", 22, "authenticator"),
    (b"AIP", 3, "appointment"),
    (b"ORC", 12, "ordering"),
    (b"OBR", 16, "ordering"),
    (b"FT1", 20, "performing"),
    (b"FT1", 21, "ordering"),
];
const PEOPLE_OF_PART: [&[u8; 3]; 5] = [b"TXA", b"AIP", b"ORC", b"OBR", b"FT1"];
/// People whose role stands in a field of its own: segment, role, person.
const PEOPLE_WITH_ROLES: [(&[u8; 3], usize, usize); 2] = [(b"ROL", 3, 4), (b"PRT", 4, 5)];

/// Where people are told who look after the patient beyond a visit.
const TEAM: [(&[u8; 3], &[usize]); 4] = [(b"PD1", &[4]), (b"ROL", &[3, 4]), (b"PRT", &[4, 5]), (b"IN3", &[21])];

/// Codes that belong to the visit, wherever in the message an event stands.
const CODES_OF_VISIT: [(&[u8; 3], usize, &str); 2] = [(b"DG1", 3, "DG1-3"), (b"PV2", 3, "PV2-3")];
/// Codes that belong to the part of the message where they stand.
const CODES: [(&[u8; 3], usize, &str); 12] = [
    (b"PR1", 3, "PR1-3"),
    (b"FT1", 19, "FT1-19"),
    (b"FT1", 25, "FT1-25"),
    (b"OBR", 4, "OBR-4"),
    (b"OBR", 24, "OBR-24"),
    (b"OBR", 31, "OBR-31"),
    (b"OBX", 3, "OBX-3"),
    (b"TXA", 2, "TXA-2"),
    (b"AIS", 3, "AIS-3"),
    (b"RXO", 1, "RXO-1"),
    (b"RXE", 2, "RXE-2"),
    (b"RXD", 2, "RXD-2"),
];

/// What was said of confidentiality: segment, field, name.
const CONFIDENTIALITY: [(&[u8; 3], usize, &str); 7] = [
    (b"MSH", 8, "MSH-8"),
    (b"MSH", 26, "MSH-26"),
    (b"MSH", 27, "MSH-27"),
    (b"PV2", 22, "PV2-22"),
    (b"TXA", 18, "TXA-18"),
    (b"ARV", 3, "ARV-3"),
    (b"ARV", 4, "ARV-4"),
];

impl Reading<'_> {
    /// The patient of a PID.
    pub fn patient(self, pid: usize) -> Patient {
        let at = Some(pid);
        Patient {
            identifiers: self.identifiers(pid, 3),
            family: self.text(at, 5, 1),
            given: self.text(at, 5, 2),
            birth_date: date(self.bytes(at, 7, 1)),
            sex: self.text(at, 8, 1),
            street: self.text(at, 11, 1),
            city: self.text(at, 11, 3),
            zip: self.text(at, 11, 5),
            phone: self
                .repetitions(pid, 13)
                .map(|span| self.phone(span))
                .find(|phone| !phone.is_empty())
                .unwrap_or_default(),
        }
    }

    /// The digits of a telephone number (XTN): area and local number, else the number as a whole.
    fn phone(self, span: Span) -> String {
        let digits = |component| digits_of(self.part(span, component, 1));
        let local = digits(7);
        match local.is_empty() {
            false => digits(6) + &local,
            true => [12, 1].into_iter().map(digits).find(|whole| !whole.is_empty()).unwrap_or_default(),
        }
    }

    /// The segments that tell of something: those about the patient, and those of the part of the message.
    fn union(self, part: &Range<usize>, whole: Range<usize>) -> impl Iterator<Item = usize> {
        self.all().filter(move |segment| whole.contains(segment) || part.contains(segment))
    }

    /// Who took part, in the order of the message.
    pub fn participants(self, part: &Range<usize>, whole: Range<usize>) -> Vec<Participant> {
        let mut found: Vec<Participant> = Vec::new();
        let mut add = |participant: Participant| {
            let named = !participant.number.is_empty() || !participant.family.is_empty();
            if named && found.len() < PARTICIPANTS_MAX && !found.contains(&participant) {
                found.push(participant);
            }
        };
        for segment in self.union(part, whole) {
            let id = self.id(segment);
            if PEOPLE_OF_PART.contains(&&id) && !part.contains(&segment) {
                continue;
            }
            for (_, field, role) in PEOPLE.iter().filter(|(name, ..)| **name == id) {
                self.repetitions(segment, *field).for_each(|person| add(self.person(person, (*role).to_owned())));
            }
            for (_, role, person) in PEOPLE_WITH_ROLES.iter().filter(|(name, ..)| **name == id) {
                let role = self.text(Some(segment), *role, 1);
                self.repetitions(segment, *person).for_each(|person| add(self.person(person, role.clone())));
            }
            match &id {
                b"PRD" => add(self.provider(segment)),
                // A text in most versions: nothing by which a message could be addressed, and still whom people would ask.
                b"IN3" => add(Participant {
                    role: "case-manager".into(),
                    family: self.text(Some(segment), 21, 1),
                    ..Participant::default()
                }),
                _ => {}
            }
        }
        found
    }

    /// A hash over what is said of who looks after the patient beyond a visit (PD1-4, ROL, PRT, IN3-21); 0 where nothing is. It is stored, so it is the same in every run.
    pub fn team(self) -> i64 {
        let mut sha = None;
        for segment in self.all() {
            let id = self.id(segment);
            for (_, fields) in TEAM.iter().filter(|(name, _)| **name == id) {
                for field in *fields {
                    let bytes = self.message.bytes(self.message.field(segment, *field));
                    if valued(bytes) {
                        let sha: &mut Sha256 = sha.get_or_insert_default();
                        sha.update(id);
                        sha.update((bytes.len() as u64).to_le_bytes());
                        sha.update(bytes);
                    }
                }
            }
        }
        let Some(sha) = sha else { return 0 };
        let mut first = [0; 8];
        first.copy_from_slice(&sha.finalize()[..8]);
        i64::from_le_bytes(first) | 1
    }

    /// A person (XCN).
    fn person(self, span: Span, role: String) -> Participant {
        let [number, family, given] = [1, 2, 3].map(|component| self.component(span, component));
        Participant { role, number, family, given }
    }

    /// A provider of a referral (PRD): the first number that they are known by.
    fn provider(self, segment: usize) -> Participant {
        let at = Some(segment);
        let role = match self.bytes(at, 1, 1) {
            b"RP" => "referring".into(),
            b"PP" => "primary-care".into(),
            other => self.decode(other),
        };
        Participant { role, number: self.text(at, 7, 1), family: self.text(at, 2, 1), given: self.text(at, 2, 2) }
    }

    /// What was coded in a part of the message, and for the visit as a whole.
    pub fn codes(self, part: &Range<usize>, whole: Range<usize>) -> Vec<Code> {
        let mut found = Vec::new();
        let principal = self.principal(part, whole.clone());
        for segment in self.union(part, whole) {
            let id = self.id(segment);
            let of_part = if part.contains(&segment) { &CODES[..] } else { &[] };
            for (_, field, name) in CODES_OF_VISIT.iter().chain(of_part).filter(|(name, ..)| **name == id) {
                let value = match *name {
                    "OBX-3" => self.observed(segment),
                    "DG1-3" if principal == Some(segment) => PRINCIPAL.to_owned(),
                    _ => String::new(),
                };
                for span in self.repetitions(segment, *field) {
                    // The code and the one that says the same in another system.
                    for first in [1, 4] {
                        let code = self.component(span, first);
                        if !code.is_empty() && found.len() < CODES_MAX {
                            let system = self.component(span, first + 2);
                            found.push(Code { field: (*name).into(), system, code, value: value.clone() });
                        }
                    }
                }
            }
            // A name of a file or of a type, as sites use it: no code of a system.
            if id == *b"TXA" && part.contains(&segment) {
                let code = self.text(Some(segment), 16, 1);
                if !code.is_empty() && found.len() < CODES_MAX {
                    found.push(Code { field: "TXA-16".into(), code, ..Code::default() });
                }
            }
        }
        found
    }

    /// The DG1 of the principal diagnosis (v2.5.1, 6.5.2): that of priority 1 (DG1-15, table 0359; 2 and more are secondary, 0 is not ranked). Where none has it, one of those without a
    /// priority, or where nothing is ranked one of all: the first final one (DG1-6 `F`), else the first. For what somebody was
    /// admitted (`A`) is not what it turned out to be: it counts where nothing else is told.
    fn principal(self, part: &Range<usize>, whole: Range<usize>) -> Option<usize> {
        let all = || self.union(part, whole.clone()).filter(|segment| self.id(*segment) == *b"DG1");
        let is = |segment: &usize, field: usize, value: &[u8]| self.bytes(Some(*segment), field, 1) == value;
        let settled = || all().filter(|segment| !is(segment, 6, b"A"));
        if settled().next().is_none() {
            return all().next();
        }
        let priority =
            |segment: &usize| std::str::from_utf8(self.bytes(Some(*segment), 15, 1)).ok()?.parse::<u32>().ok();
        if let Some(first) = settled().find(|segment| priority(segment) == Some(1)) {
            return Some(first);
        }
        let is_ranked = settled().any(|segment| priority(&segment) > Some(0));
        let left = || settled().filter(|segment| !is_ranked || priority(segment).is_none());
        left().find(|segment| is(segment, 6, b"F")).or_else(|| left().next())
    }

    /// OBX-5 where it is a number or a code; texts are content of the record, and not kept.
    fn observed(self, segment: usize) -> String {
        let at = Some(segment);
        match self.bytes(at, 2, 1) {
            b"NM" | b"CE" | b"CWE" | b"CNE" | b"CF" | b"IS" | b"ID" => self.text(at, 5, 1),
            b"SN" => {
                let [comparator, number, separator] = [1, 2, 3].map(|component| self.text(at, 5, component));
                // A range or a ratio is no one number.
                if separator.is_empty() {
                    comparator.trim_start_matches('=').to_owned() + &number
                } else {
                    String::new()
                }
            }
            b"ST" => Some(self.text(at, 5, 1)).filter(|text| text.parse::<f64>().is_ok()).unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// What was said of confidentiality in the header, of the patient and of the part.
    pub fn confidentiality(self, part: &Range<usize>, whole: Range<usize>) -> Confidentiality {
        let mut codes = Vec::new();
        let others = self.union(part, whole.clone()).filter(|segment| *segment != self.header());
        for segment in std::iter::once(self.header()).chain(others) {
            let id = self.id(segment);
            for (_, field, name) in CONFIDENTIALITY.iter().filter(|(name, ..)| **name == id) {
                let said = self.repetitions(segment, *field).map(|span| self.component(span, 1));
                codes.extend(said.filter(|code| !code.is_empty()).map(|code| ((*name).to_owned(), code)));
            }
        }
        codes.truncate(CONFIDENTIALITY_MAX);
        Confidentiality { codes, unit: self.text(self.find(whole, b"PV1"), 3, 1) }
    }
}

/// The date of a time, as far as it is told.
fn date(bytes: &[u8]) -> String {
    bytes.iter().take(8).take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect()
}

fn digits_of(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len());
    digits.extend(bytes.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)));
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Index;

    fn reading<T>(segments: &[&str], test: impl FnOnce(Reading<'_>) -> T) -> T {
        let raw = format!("MSH|^~\\&|A|B|||1|SEC|ORU^R01|1|P|2.5\r{}\r", segments.join("\r"));
        let mut index = Index::new();
        index.parse(raw.as_bytes()).unwrap();
        test(Reading::new(index.message(raw.as_bytes())).unwrap())
    }

    #[test]
    fn who_it_is_about() {
        let pid = "PID|1||1^^^A^MR||OKAFOR&VAN^MARISOL||19510314083000|F|||1 A ST&A^^B^^14150||^NET^Internet^a@b~^PRN^PH^^1^716^555-0142";
        let patient = reading(&[pid], |message| message.patient(1));
        assert_eq!([patient.family, patient.given, patient.birth_date], ["OKAFOR", "MARISOL", "19510314"]);
        assert_eq!([patient.street, patient.city, patient.zip], ["1 A ST", "B", "14150"]);
        assert_eq!(patient.phone, "7165550142");
        let old = reading(&["PID|1||||A||||||||(716)555-0142"], |message| message.patient(1));
        assert_eq!((old.phone.as_str(), old.identifiers.len()), ("7165550142", 0));
    }

    #[test]
    fn who_took_part() {
        let segments = [
            "PID|1||1",
            "PD1||||9990003037^BAPTISTE^RENEE",
            "ROL|1|AD|CM^Case manager|77^ORTEGA^LUIS~77^ORTEGA^LUIS",
            "PV1|1|I|||||1^A~2^B|3^C|\"\"",
            "PRD|RP|HALVERSEN^INGRID|||||9990002021^NPI",
            "IN3|1||||||||||||||||||||MORROW",
        ];
        let found = reading(&segments, |message| message.participants(&message.all(), message.all()));
        let shown: Vec<_> = found.iter().map(|p| format!("{} {} {}", p.role, p.number, p.family)).collect();
        assert_eq!(
            shown,
            [
                "primary-care 9990003037 BAPTISTE",
                "CM 77 ORTEGA",
                "attending 1 A",
                "attending 2 B",
                "referring 3 C",
                "referring 9990002021 HALVERSEN",
                "case-manager  MORROW"
            ]
        );
    }

    #[test]
    fn what_was_coded() {
        let segments = [
            "DG1|1||F33.2^x^I10C^296.33^y^I9C",
            "OBR|1|||44249-1^PHQ-9^LN||||||||||||||||||||CH",
            "OBX|1|NM|44261-6^Total^LN||14",
            "OBX|2|SN|2345-7^Glucose^LN||>^400",
            "OBX|3|SN|1-8^Titre^LN||^1^:^128",
            "OBX|4|CWE|44260-8^Item 9^LN||LA6569-3^Several days^LN",
            "OBX|5|ST|8302-2^Height^LN||163.5",
            "OBX|6|TX|48766-0^Text^LN||He said 12",
            "OBR|2|||OTHER||||||||||||||||||||RAD",
        ];
        let shown = reading(&segments, |message| {
            let codes = message.codes(&(2..9), message.all());
            codes.iter().map(|c| [&*c.field, &c.system, &c.code, &c.value].join(" ")).collect::<Vec<_>>()
        });
        assert_eq!(
            shown,
            [
                "DG1-3 I10C F33.2 principal",
                "DG1-3 I9C 296.33 principal",
                "OBR-4 LN 44249-1 ",
                "OBR-24  CH ",
                "OBX-3 LN 44261-6 14",
                "OBX-3 LN 2345-7 >400",
                "OBX-3 LN 1-8 ",
                "OBX-3 LN 44260-8 LA6569-3",
                "OBX-3 LN 8302-2 163.5",
                "OBX-3 LN 48766-0 "
            ]
        );
    }

    #[test]
    fn one_diagnosis_is_the_principal_one() {
        let of = |segments: &[&str]| {
            let codes = reading(segments, |message| message.codes(&(1..1), message.all()));
            codes.into_iter().filter(|code| code.value == PRINCIPAL).map(|code| code.code).collect::<Vec<_>>()
        };
        assert_eq!(of(&["DG1|1||A||", "DG1|2||B||"]), ["A"]);
        assert_eq!(of(&["DG1|1||A|||W", "DG1|2||B|||F"]), ["B"], "the first final one");
        assert_eq!(of(&["DG1|1||A|||A", "DG1|2||B|||W"]), ["B"], "not why they came");
        assert_eq!(of(&["DG1|1||A|||A"]), ["A"], "unless that is all");
        assert_eq!(of(&["DG1|1||A|||F|||||||||2", "DG1|2||B|||F|||||||||1"]), ["B"]);
        assert!(of(&["DG1|1||A|||F|||||||||2", "DG1|2||B|||F|||||||||3"]).is_empty());
        // Where only secondary ones say which they are.
        assert_eq!(of(&["DG1|1||A|||F|||||||||2", "DG1|2||B|||F", "DG1|3||C|||F"]), ["B"]);
        assert_eq!(of(&["DG1|1||A|||W", "DG1|2||B|||F|||||||||2"]), ["A"]);
        assert_eq!(
            of(&["DG1|1||A|||F|||||||||0", "DG1|2||B|||F|||||||||2", "DG1|3||C|||F"]),
            ["C"],
            "0: in no ranking"
        );
        assert!(of(&["DG1|1||A|||F|||||||||0", "DG1|2||B|||F|||||||||2"]).is_empty());
        assert_eq!(of(&["DG1|1||A|||F|||||||||0", "DG1|2||B|||F|||||||||0"]), ["A"], "nothing is ranked");
        assert_eq!(of(&["DG1|1||A|||F|||||||||0", "DG1|2||B|||F|||||||||01"]), ["B"]);
    }

    #[test]
    fn what_was_said_of_confidentiality() {
        let segments = ["PV1|1|I|DETOX^1", "PV2||||||||||||||||||||||Y", "ARV|1|A|DEM|PHY^Physician~SMD"];
        let said = reading(&segments, |message| message.confidentiality(&message.all(), message.all()));
        let codes: Vec<_> = said.codes.iter().map(|(field, code)| format!("{field} {code}")).collect();
        assert_eq!(codes, ["MSH-8 SEC", "PV2-22 Y", "ARV-3 DEM", "ARV-4 PHY", "ARV-4 SMD"]);
        assert_eq!(said.unit, "DETOX");
    }
}
