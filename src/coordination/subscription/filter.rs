//! Filters: what narrows a topic for one subscription.
//!
//! | written | means |
//! |---|---|
//! | `Encounter?patient=Patient/a&class=IMP,OBSENC` | encounters of this person, of either class |
//! | `facility=SBMC` | whatever the type, only what happened there |
//! | `Group/aco-lakeshore` | the same as `_in=Group/aco-lakeshore` |
//!
//! Filters of one type hold together, and with those that name none; of several types one suffices. Where a filter names a type, other types are not wanted.
//! Values of one parameter, parted by commas, are alternatives; a token may name its system (`http://loinc.org|18842-5`). Modifiers such as `:not` are not known: what
//! is not understood is refused and never passed over, as that would tell a recipient of more than they asked for.
use super::topic::{self, Focus, Parameter, Topic, Trigger};
use crate::coordination::event::Code;
use crate::coordination::{Event, Kind};
use reqwest::Url;
use std::collections::BTreeSet;

/// Bytes of one filter.
pub const FILTER_BYTES_MAX: usize = 2048;
/// Filters of one subscription.
pub const FILTERS_MAX: usize = 32;
/// Values of one parameter.
pub const VALUES_MAX: usize = 64;

/// The code system of `feed-event` (US Core 8.0.0, "Patient Data Feed").
pub const FEED_SYSTEM: &str = "http://hl7.org/fhir/us/core/CodeSystem/trigger";
/// The code system of the events of HL7 v2.
pub const V2_EVENTS: &str = "http://terminology.hl7.org/CodeSystem/v2-0003";

/// A code, and of which system where that matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// Its system; none where any will do, empty where there must be none.
    pub system: Option<String>,
    /// The code.
    pub code: String,
}

/// One parameter and the values that it may have.
#[derive(Clone, PartialEq, Eq)]
pub struct Test {
    /// What is looked at.
    pub parameter: Parameter,
    /// What it may be: one of these.
    pub values: Vec<Token>,
}

/// One filter, as it was written and as it is meant. `Debug` does not tell whom it is about.
#[derive(Clone, PartialEq, Eq)]
pub struct Criterion {
    /// As it was written.
    pub text: String,
    /// The type that it is about; none for all of the topic.
    pub focus: Option<&'static str>,
    /// All of these must hold.
    pub tests: Vec<Test>,
}

impl std::fmt::Debug for Criterion {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.tests.iter().map(|test| test.parameter.name()).collect();
        write!(out, "Criterion({}?{})", self.focus.unwrap_or_default(), names.join("&"))
    }
}

/// Why a text is no filter of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It says nothing.
    #[error("a filter is empty: write it as Encounter?patient=…, as patient=… or as Group/…")]
    Empty,
    /// It is too long.
    #[error("a filter has {0} bytes, {FILTER_BYTES_MAX} are read: use several subscriptions")]
    TooLong(usize),
    /// Too many alternatives.
    #[error("`{0}` has more than {VALUES_MAX} values: use several subscriptions, or a Group")]
    TooMany(&'static str),
    /// The topic is not about that.
    #[error("the topic {topic} is not about {name}, but about {known}")]
    Type {
        /// What was asked for.
        name: String,
        /// The topic.
        topic: &'static str,
        /// What it is about.
        known: String,
    },
    /// That cannot be filtered by.
    #[error("{focus} cannot be filtered by `{name}`, but by {known}")]
    Parameter {
        /// What was asked for.
        name: String,
        /// Of what.
        focus: &'static str,
        /// What it can be filtered by.
        known: String,
    },
    /// A modifier.
    #[error("`{0}` has a modifier, and none is supported: name the values that are wanted")]
    Modifier(String),
    /// No value.
    #[error("`{0}` has no value")]
    NoValue(&'static str),
    /// A reference to something else.
    #[error("`{parameter}` takes {form}")]
    Reference {
        /// Of which parameter.
        parameter: &'static str,
        /// What it takes.
        form: &'static str,
    },
}

impl Criterion {
    /// Reads a filter.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse(text: &str, topic: &'static Topic) -> Result<Criterion, FilterError> {
        let (focus, pieces) = split(text, topic)?;
        let mut tests = Vec::new();
        for piece in &pieces {
            tests.push(test(piece, focus, topic)?);
        }
        Ok(Criterion { text: text.trim().to_owned(), focus: focus.map(|focus| focus.name), tests })
    }

    /// What can be met of a filter, and what cannot; nothing where none of it can, as a filter without a parameter lets everything through.
    pub fn adjust(text: &str, topic: &'static Topic) -> (Option<Criterion>, Vec<FilterError>) {
        let (focus, pieces) = match split(text, topic) {
            Ok(parts) => parts,
            Err(error) => return (None, vec![error]),
        };
        let (mut tests, mut kept, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces {
            match test(&piece, focus, topic) {
                Ok(test) => {
                    tests.push(test);
                    kept.push(piece);
                }
                Err(error) => errors.push(error),
            }
        }
        if tests.is_empty() && !errors.is_empty() {
            return (None, errors);
        }
        let prefix = focus.map(|focus| format!("{}?", focus.name)).unwrap_or_default();
        let text = if errors.is_empty() { text.trim().to_owned() } else { prefix + &kept.join("&") };
        (Some(Criterion { text, focus: focus.map(|focus| focus.name), tests }), errors)
    }

    /// The values that a parameter may have, where this filter names it.
    pub fn values(&self, parameter: Parameter) -> impl Iterator<Item = &Token> {
        self.tests.iter().filter(move |test| test.parameter == parameter).flat_map(|test| &test.values)
    }
}

/// The type that a filter names, and its parameters as they are written.
fn split(text: &str, topic: &'static Topic) -> Result<(Option<&'static Focus>, Vec<String>), FilterError> {
    let text = text.trim();
    if text.len() > FILTER_BYTES_MAX {
        return Err(FilterError::TooLong(text.len()));
    }
    if text.starts_with("Group/") {
        return Ok((None, vec![format!("_in={text}")]));
    }
    let (name, query) = match text.split_once('?') {
        Some((name, query)) => (Some(name), query),
        // `Encounter` alone: all of them.
        None if !text.is_empty() && !text.contains('=') => (Some(text), ""),
        None => (None, text),
    };
    let focus = match name.filter(|name| !name.is_empty()) {
        Some(name) => Some(topic.all_types().find(|focus| focus.name == name).ok_or_else(|| FilterError::Type {
            name: name.chars().take(64).collect(),
            topic: topic.id,
            known: joined(topic.all_types().map(|focus| focus.name)),
        })?),
        None => None,
    };
    let pieces: Vec<String> = query.split('&').filter(|piece| !piece.is_empty()).map(str::to_owned).collect();
    if focus.is_none() && pieces.is_empty() {
        return Err(FilterError::Empty);
    }
    Ok((focus, pieces))
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// `class=IMP,OBSENC`. Without a type it must be known of every type of the topic: else it would take some out without a word.
fn test(piece: &str, focus: Option<&'static Focus>, topic: &'static Topic) -> Result<Test, FilterError> {
    let (name, value) = decoded(piece);
    let focuses: Vec<&'static Focus> = focus.map_or_else(|| topic.all_types().collect(), |focus| vec![focus]);
    let (bare, modifier) = name.split_once(':').unwrap_or((&name, ""));
    let found = Parameter::ALL.into_iter().find(|parameter| parameter.name() == bare);
    let lacking =
        focuses.iter().find(|focus| found.is_none_or(|found| topic.parameters(focus).all(|known| known != found)));
    if let Some(focus) = lacking {
        let known = joined(topic.parameters(focus).map(Parameter::name));
        return Err(FilterError::Parameter { name: bare.chars().take(64).collect(), focus: focus.name, known });
    }
    let Some(parameter) = found else { return Err(FilterError::Empty) };
    // Who a Task leads to is known by nothing but an identifier: `owner:identifier` says so in the words of R4.
    if !modifier.is_empty() && (parameter, modifier) != (Parameter::Owner, "identifier") {
        return Err(FilterError::Modifier(name.chars().take(64).collect()));
    }
    let mut values = Vec::new();
    for value in alternatives(&value) {
        values.push(token(parameter, &value)?);
        if values.len() > VALUES_MAX {
            return Err(FilterError::TooMany(parameter.name()));
        }
    }
    if values.is_empty() {
        return Err(FilterError::NoValue(parameter.name()));
    }
    values.sort();
    values.dedup();
    Ok(Test { parameter, values })
}

/// Name and value of one parameter, percent-encoding resolved.
fn decoded(piece: &str) -> (String, String) {
    // A plus is a plus in what people write by hand, and never a blank in an id or a code.
    let piece = piece.replace('+', "%2B");
    let Ok(mut url) = Url::parse("http://filter/") else { return Default::default() };
    url.set_query(Some(&piece));
    let pair = url.query_pairs().next();
    pair.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).unwrap_or_default()
}

/// Values parted by commas; `\,` and `\|` are not parting (R4, 3.1.1.5.0.1), and a `|` so written stays marked.
fn alternatives(value: &str) -> Vec<String> {
    let (mut all, mut current, mut escaped) = (Vec::new(), String::new(), false);
    for character in value.chars() {
        match character {
            '\\' if !escaped => escaped = true,
            ',' if !escaped => all.push(std::mem::take(&mut current)),
            '|' if escaped => {
                current.push_str("\\|");
                escaped = false;
            }
            other => {
                current.push(other);
                escaped = false;
            }
        }
    }
    all.push(current);
    all.into_iter().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
}

fn token(parameter: Parameter, value: &str) -> Result<Token, FilterError> {
    let reference = |kind: &str, form: &'static str| {
        let wrong = || FilterError::Reference { parameter: parameter.name(), form };
        let (before, id) = value.rsplit_once('/').unwrap_or(("", value));
        let fits = before.is_empty() && !value.starts_with('/')
            || before == kind
            || before.strip_suffix(kind).is_some_and(|base| base.ends_with('/') && base.contains("://"));
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        if !fits || id.is_empty() || id.len() > 64 || !id.bytes().all(good) {
            return Err(wrong());
        }
        Ok(Token { system: None, code: id.to_owned() })
    };
    match parameter {
        Parameter::Patient => reference("Patient", "the id of a Patient, such as Patient/6f1c"),
        Parameter::In => reference("Group", "the id of a Group, such as Group/aco-lakeshore"),
        _ => {
            let parts = value
                .char_indices()
                .find(|(at, character)| *character == '|' && !value[..*at].ends_with('\\'))
                .map(|(at, _)| (&value[..at], &value[at + 1..]));
            let plain = |text: &str| text.replace("\\|", "|");
            let token = match parts {
                Some((system, code)) => Token { system: Some(plain(system)), code: plain(code) },
                None => Token { system: None, code: plain(value) },
            };
            if token.code.is_empty() { Err(FilterError::NoValue(parameter.name())) } else { Ok(token) }
        }
    }
}

/// What is matched: an event, with what others have found out about it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// What happened.
    pub trigger: Trigger,
    /// MSH-9.2; empty where no message told of it.
    pub v2_event: &'a str,
    /// How it happened ([`Event::detail`]).
    pub detail: &'a str,
    /// Where.
    pub facility: &'a str,
    /// The class of the visit.
    pub class: &'a str,
    /// What was coded.
    pub codes: &'a [Code],
    /// The ids of the person, by whichever of them somebody asks; none where nobody knows who it is, or it is about nobody.
    pub people: &'a [&'a str],
    /// The panels that the person belonged to when it happened; of a change of a panel, that one.
    pub panels: &'a [&'a str],
    /// The labels that it carries: `SUD`, or `system|code`.
    pub labels: &'a [&'a str],
    /// When its message was received, in milliseconds since 1970 (UTC).
    pub received_ms: i64,
}

impl<'a> Candidate<'a> {
    /// Of an event; none when it is too old for anybody to be told.
    pub fn of(
        event: &'a Event,
        people: &'a [&'a str],
        panels: &'a [&'a str],
        labels: &'a [&'a str],
    ) -> Option<Candidate<'a>> {
        (!event.stale).then_some(Candidate {
            trigger: Trigger::Event(event.kind),
            v2_event: &event.trigger,
            detail: &event.detail,
            facility: &event.facility,
            class: &event.class,
            codes: &event.codes,
            people,
            panels,
            labels,
            received_ms: event.received_ms,
        })
    }
}

impl Test {
    /// Whether it holds for something that a notification of this type would be about. `events_system`: the code system of our own events.
    pub fn holds(&self, focus: &Focus, candidate: &Candidate<'_>, events_system: &str) -> bool {
        let coded = |fields: &[&str]| {
            let of_field = candidate.codes.iter().filter(|code| fields.contains(&code.field.as_str()));
            of_field.into_iter().any(|code| self.any(&code.code, &[code.system.as_str(), system_url(&code.system)]))
        };
        match self.parameter {
            Parameter::Patient => candidate.people.iter().any(|person| self.any(person, &[])),
            Parameter::In => candidate.panels.iter().any(|panel| self.any(panel, &[])),
            Parameter::Facility => self.any(candidate.facility, &[]),
            Parameter::Class => self.any(candidate.class, &["http://terminology.hl7.org/CodeSystem/v3-ActCode"]),
            Parameter::Type if focus.name == "Encounter" => self.any(candidate.detail, &[events_system]),
            Parameter::Type => coded(focus.type_fields),
            Parameter::Code => coded(focus.code_fields),
            Parameter::Owner => coded(&["owner"]),
            Parameter::Performer => coded(&["performer"]),
            Parameter::Category => self.category(candidate),
            Parameter::Trigger => {
                self.any(candidate.trigger.name(), &[events_system])
                    || self.any("feed-event", &[FEED_SYSTEM])
                    || self.any(candidate.v2_event, &[V2_EVENTS])
            }
            Parameter::Security => candidate.labels.iter().any(|label| match label.rsplit_once('|') {
                Some((system, code)) => self.any(code, &[system]),
                None => self.any(label, LABELS),
            }),
        }
    }

    /// Whether one of the values is this code; a value that names a system wants one of these.
    fn any(&self, code: &str, systems: &[&str]) -> bool {
        let fits = |token: &Token| {
            token.system.as_deref().is_none_or(|system| match system {
                "" => systems.iter().all(|system| system.is_empty()),
                system => systems.contains(&system),
            })
        };
        !code.is_empty() && self.values.iter().any(|token| token.code == code && fits(token))
    }

    /// Of a result OBR-24 says it; where that is not told, results are taken to be the laboratory's.
    fn category(&self, candidate: &Candidate<'_>) -> bool {
        let laboratory = || {
            self.any("laboratory", &["http://terminology.hl7.org/CodeSystem/observation-category"])
                || self.any("LAB", &[SECTIONS])
        };
        match candidate.trigger {
            Trigger::Event(Kind::Document | Kind::DocumentCancelled) => self
                .any("clinical-note", &["http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category"]),
            Trigger::Event(Kind::Result) => {
                let mut sections = candidate.codes.iter().filter(|code| code.field == "OBR-24").peekable();
                if sections.peek().is_none() {
                    return laboratory();
                }
                sections.any(|section| {
                    let code = section.code.as_str();
                    self.any(code, &[SECTIONS])
                        || LABORATORY.contains(&code) && laboratory()
                        || IMAGING.contains(&code)
                            && self.any("imaging", &["http://terminology.hl7.org/CodeSystem/observation-category"])
                })
            }
            _ => false,
        }
    }
}

/// The code systems of labels.
const LABELS: &[&str] =
    &["http://terminology.hl7.org/CodeSystem/v3-ActCode", "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"];
/// Diagnostic service sections (table 0074).
const SECTIONS: &str = "http://terminology.hl7.org/CodeSystem/v2-0074";
/// Those of them that are a laboratory's.
const LABORATORY: &[&str] = &[
    "BG", "BLB", "CG", "CH", "CP", "HM", "ICU", "IMM", "LAB", "MB", "MCB", "MYC", "SP", "SR", "TX", "URN", "VR", "GE",
];
/// Those of them that make images.
const IMAGING: &[&str] = &["RAD", "CT", "CUS", "NMR", "NMS", "OUS", "RUS", "VUS", "RX", "XRC", "MRI"];

/// What HL7 table 0396 calls a coding system, as FHIR names it; itself where nothing is known of it.
fn system_url(system: &str) -> &str {
    match system {
        "LN" => "http://loinc.org",
        "SCT" | "SNM3" => "http://snomed.info/sct",
        "I10C" | "I10" => "http://hl7.org/fhir/sid/icd-10-cm",
        "I10P" => "http://www.cms.gov/Medicare/Coding/ICD10",
        "I9CDX" | "I9C" | "I9" => "http://hl7.org/fhir/sid/icd-9-cm",
        "C4" | "CPT" | "CPT4" => "http://www.ama-assn.org/go/cpt",
        "HCPCS" | "HPC" => "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
        "RXNORM" | "RXN" => "http://www.nlm.nih.gov/research/umls/rxnorm",
        "NDC" => "http://hl7.org/fhir/sid/ndc",
        other => other,
    }
}

/// The filters of a subscription, compiled: for each type that is wanted, what must hold.
#[derive(Clone)]
pub struct Branch {
    /// The type; none for all of the topic.
    pub focus: Option<&'static Focus>,
    /// All of these must hold.
    pub tests: Vec<Test>,
}

/// Compiles filters: what names no type holds for every one.
pub fn branches(criteria: &[Criterion]) -> Vec<Branch> {
    let common: Vec<Test> =
        criteria.iter().filter(|one| one.focus.is_none()).flat_map(|one| one.tests.iter().cloned()).collect();
    let named: BTreeSet<&'static str> = criteria.iter().filter_map(|one| one.focus).collect();
    if named.is_empty() {
        return vec![Branch { focus: None, tests: common }];
    }
    let branch = |name: &'static str| {
        let own = criteria.iter().filter(|one| one.focus == Some(name)).flat_map(|one| one.tests.iter().cloned());
        Branch { focus: topic::focus(name), tests: own.chain(common.iter().cloned()).collect() }
    };
    named.into_iter().map(branch).collect()
}

#[cfg(test)]
mod tests {
    use super::super::topic::TOPICS;
    use super::*;

    fn topic(id: &str) -> &'static Topic {
        TOPICS.iter().find(|topic| topic.id == id).unwrap()
    }

    /// As it was understood: `Encounter?patient=a&class=IMP|x`.
    fn meant(text: &str, of: &str) -> Result<String, String> {
        let read = Criterion::parse(text, topic(of)).map_err(|error| error.to_string())?;
        let value = |token: &Token| match &token.system {
            Some(system) => format!("[{system}]{}", token.code),
            None => token.code.clone(),
        };
        let test = |test: &Test| {
            format!("{}={}", test.parameter.name(), test.values.iter().map(value).collect::<Vec<_>>().join(","))
        };
        let tests: Vec<_> = read.tests.iter().map(test).collect();
        Ok(format!("{}?{}", read.focus.unwrap_or("*"), tests.join("&")))
    }

    #[test]
    fn filters_are_read_in_every_form() {
        for (text, of, expected) in [
            ("patient=a", "admission", "*?patient=a"),
            ("Encounter?patient=Patient/a", "admission", "Encounter?patient=a"),
            ("Encounter?patient=https://h.example/fhir/Patient/a", "admission", "Encounter?patient=a"),
            ("Group/aco-lakeshore", "admission", "*?_in=aco-lakeshore"),
            (" Group/x ", "atr-list-change", "*?_in=x"),
            ("_in=Group/x,y", "discharge", "*?_in=x,y"),
            ("Encounter?_in=Group%2Fx&class=IMP", "discharge", "Encounter?_in=x&class=IMP"),
            ("Encounter", "patient-data-feed", "Encounter?"),
            ("Encounter?", "patient-data-feed", "Encounter?"),
            ("?patient=a", "patient-data-feed", "*?patient=a"),
            (
                "Observation?code=http://loinc.org|44261-6,718-7",
                "new-lab-result",
                "Observation?code=718-7,[http://loinc.org]44261-6",
            ),
            ("code=http://loinc.org%7C1-8", "new-lab-result", "*?code=[http://loinc.org]1-8"),
            (
                "Observation?trigger=http://terminology.hl7.org/CodeSystem/v2-0003|R01",
                "patient-data-feed",
                "Observation?trigger=[http://terminology.hl7.org/CodeSystem/v2-0003]R01",
            ),
            ("class=|IMP", "admission", "*?class=[]IMP"),
            (r"code=a\,b,c\|d,e", "admission", "*?code=a,b,c|d,e"),
            ("facility=A+B&_security=R", "admission", "*?facility=A+B&_security=R"),
            ("class=IMP,IMP", "admission", "*?class=IMP"),
            (
                "DocumentReference?type=18842-5&category=clinical-note",
                "document-available",
                "DocumentReference?type=18842-5&category=clinical-note",
            ),
        ] {
            assert_eq!(meant(text, of).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, of, part) in [
            ("", "admission", "is empty"),
            ("?", "admission", "is empty"),
            ("&", "admission", "is not about &"),
            ("Observation?code=1", "admission", "is not about Observation, but about Encounter"),
            ("encounter?class=IMP", "admission", "is not about encounter"),
            ("Encounter?category=x", "admission", "Encounter cannot be filtered by `category`, but by patient, _in"),
            ("bogus=1", "admission", "cannot be filtered by `bogus`"),
            ("class=IMP", "patient-data-feed", "DiagnosticReport cannot be filtered by `class`"),
            ("Encounter?class:not=IMP", "admission", "`class:not` has a modifier"),
            ("Encounter?class=", "admission", "`class` has no value"),
            ("Encounter?class", "admission", "`class` has no value"),
            ("class=system|", "admission", "`class` has no value"),
            ("patient=Practitioner/1", "admission", "`patient` takes the id of a Patient"),
            ("patient=NotPatient/1", "admission", "`patient` takes the id of a Patient"),
            ("patient=/1", "admission", "`patient` takes the id of a Patient"),
            ("patient=a b", "admission", "`patient` takes the id of a Patient"),
            ("_in=Patient/1", "admission", "`_in` takes the id of a Group"),
            (
                "Task?owner=9990003037",
                "referral",
                "Task cannot be filtered by `owner`, but by patient, _in, facility, code",
            ),
            ("owner=9990003037", "patient-data-feed", "cannot be filtered by `owner`"),
            ("Task?owner:not=9990003037", "open-loop", "has a modifier"),
            ("Group/", "admission", "`_in` takes the id of a Group"),
            ("Group/x?patient=a", "admission", "`_in` takes the id of a Group"),
        ] {
            let error = meant(text, of).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        let many = format!("class={}", (0..=VALUES_MAX).map(|n| format!("c{n}")).collect::<Vec<_>>().join(","));
        assert_eq!(Criterion::parse(&many, topic("admission")), Err(FilterError::TooMany("class")));
        let long = format!("class={}", "x".repeat(FILTER_BYTES_MAX));
        assert!(matches!(Criterion::parse(&long, topic("admission")), Err(FilterError::TooLong(_))));
    }

    #[test]
    fn what_cannot_be_met_is_taken_out_and_never_widens_to_everything() {
        let adjust = |text: &str| {
            let (kept, errors) = Criterion::adjust(text, topic("patient-data-feed"));
            (kept.map(|kept| kept.text), errors.len())
        };
        assert_eq!(adjust("Encounter?patient=a&length=5&class=IMP"), (Some("Encounter?patient=a&class=IMP".into()), 1));
        assert_eq!(adjust("Encounter?patient=a"), (Some("Encounter?patient=a".into()), 0));
        assert_eq!(adjust("Encounter"), (Some("Encounter".into()), 0));
        assert_eq!(adjust("Encounter?length=5"), (None, 1));
        assert_eq!(adjust("CareTeam?patient=a"), (None, 1));
    }

    fn code(field: &str, system: &str, code: &str) -> Code {
        Code { field: field.into(), system: system.into(), code: code.into(), value: String::new() }
    }

    fn holds(text: &str, of: &str, candidate: &Candidate<'_>) -> bool {
        let criteria = [Criterion::parse(text, topic(of)).unwrap()];
        let types = topic(of).types(candidate.trigger);
        types.iter().any(|name| {
            branches(&criteria).iter().any(|branch| {
                let focus = topic::focus(name).unwrap();
                branch.focus.is_none_or(|own| own.name == focus.name)
                    && branch.tests.iter().all(|test| test.holds(focus, candidate, "https://h.example/events"))
            })
        })
    }

    #[test]
    fn every_parameter_looks_where_it_should() {
        let codes = [
            code("DG1-3", "I10C", "I50.23"),
            code("OBR-4", "LN", "57133-1"),
            code("TXA-2", "LN", "18842-5"),
            code("OBX-3", "L", "X1"),
        ];
        let stay = Candidate {
            trigger: Trigger::Event(Kind::Admission),
            v2_event: "A01",
            detail: "inpatient",
            facility: "SBMC",
            class: "IMP",
            codes: &codes,
            people: &["p1"],
            panels: &["aco", "bh"],
            labels: &["R", "http://x|SUD"],
            received_ms: 0,
        };
        let result = Candidate { trigger: Trigger::Event(Kind::Result), v2_event: "R01", ..stay };
        let document = Candidate { trigger: Trigger::Event(Kind::Document), v2_event: "T02", ..stay };
        for (text, candidate, expected) in [
            ("Encounter?patient=p1", &stay, true),
            ("Encounter?patient=p2", &stay, false),
            ("_in=Group/bh", &stay, true),
            ("_in=Group/x", &stay, false),
            ("facility=SBMC", &stay, true),
            ("facility=SB", &stay, false),
            ("Encounter?class=OBSENC,IMP", &stay, true),
            ("Encounter?class=http://terminology.hl7.org/CodeSystem/v3-ActCode|IMP", &stay, true),
            ("Encounter?class=http://other|IMP", &stay, false),
            ("Encounter?type=inpatient", &stay, true),
            ("Encounter?type=observation", &stay, false),
            ("Encounter?code=I50.23", &stay, true),
            ("Encounter?code=http://hl7.org/fhir/sid/icd-10-cm|I50.23", &stay, true),
            ("Encounter?code=I10C|I50.23", &stay, true),
            ("Encounter?code=http://loinc.org|I50.23", &stay, false),
            ("Encounter?code=57133-1", &stay, false),
            ("trigger=admission", &stay, true),
            ("trigger=feed-event", &stay, true),
            ("trigger=https://h.example/events|admission", &stay, true),
            ("trigger=http://terminology.hl7.org/CodeSystem/v2-0003|A01", &stay, true),
            ("trigger=http://terminology.hl7.org/CodeSystem/v2-0003|admission", &stay, false),
            ("trigger=A08", &stay, false),
            ("_security=R", &stay, true),
            ("_security=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R", &stay, true),
            ("_security=http://loinc.org|R", &stay, false),
            ("_security=http://x|SUD", &stay, true),
            ("_security=http://y|SUD", &stay, false),
            ("_security=PSY", &stay, false),
            ("Observation?code=X1", &result, true),
            ("DiagnosticReport?code=X1", &result, false),
            ("DiagnosticReport?code=57133-1", &result, true),
            ("DiagnosticReport?category=LAB", &result, true),
            ("Observation?category=laboratory", &result, true),
            ("Observation?category=imaging", &result, false),
            ("DocumentReference?type=http://loinc.org|18842-5", &document, true),
            ("DocumentReference?category=clinical-note", &document, true),
            ("DocumentReference?category=laboratory", &document, false),
            ("Encounter?patient=p1", &document, false),
        ] {
            assert_eq!(holds(text, "patient-data-feed", candidate), expected, "{text}");
        }
        let (radiology, chemistry) = ([code("OBR-24", "", "RAD")], [code("OBR-24", "", "CH")]);
        let image = Candidate { codes: &radiology, ..result };
        let chemistry = Candidate { codes: &chemistry, ..result };
        for (text, wanted) in [("laboratory", [false, true]), ("imaging", [true, false]), ("CH", [false, true])] {
            let text = format!("DiagnosticReport?category={text}");
            assert_eq!([&image, &chemistry].map(|it| holds(&text, "patient-data-feed", it)), wanted, "{text}");
        }
        let npi = "http://hl7.org/fhir/sid/us-npi";
        let codes = [
            code("step", "urn:handoff:coordination", "summary"),
            code("owner", npi, "9990003037"),
            code("performer", "urn:handoff:coordination", "pcp"),
        ];
        let task = Candidate { trigger: Trigger::OpenLoop, codes: &codes, v2_event: "", ..stay };
        for (text, expected) in [
            ("Task?owner=9990003037", true),
            ("Task?owner=http://hl7.org/fhir/sid/us-npi|9990003037", true),
            ("Task?owner:identifier=http://hl7.org/fhir/sid/us-npi|9990003037", true),
            ("Task?owner=9990005057", false),
            ("Task?owner=pcp", false),
            ("Task?performer=pcp", true),
            ("Task?performer=urn:handoff:coordination|pcp", true),
            ("Task?performer=care-manager", false),
            ("Task?code=summary&performer=pcp", true),
            ("Task?code=urn:handoff:coordination|summary", true),
            ("Task?code=visit", false),
        ] {
            assert_eq!(holds(text, "open-loop", &task), expected, "{text}");
        }
        let nobody = Candidate { people: &[], panels: &[], v2_event: "", ..stay };
        assert!(!holds("patient=p1", "admission", &nobody) && holds("trigger=admission", "admission", &nobody));
    }

    #[test]
    fn debug_tells_nobody_whom_a_filter_is_about() {
        let criterion = Criterion::parse("Encounter?patient=Canary", topic("admission")).unwrap();
        assert_eq!(format!("{criterion:?}"), "Criterion(Encounter?patient)");
    }
}
