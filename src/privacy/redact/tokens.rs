//! Words of what went: they must stand nowhere else.
use crate::privacy::label::{Labels, Set};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What is noted while one Bundle is redacted. When there are more, the oldest stay: what they stand for is gone in any case. Names that the configuration has all count.
const TOKENS_MAX: usize = 2000;
/// Shorter codes and words are everybody's.
const CODE_MIN: usize = 3;
const WORDS_MIN: usize = 4;
/// From here on a code is looked for within words too.
const WITHIN_MIN: usize = 5;

/// Codes and words, in small letters.
#[derive(Default)]
pub(in crate::privacy) struct Tokens {
    texts: BTreeSet<String>,
    /// Those that must stand alone.
    alone: BTreeSet<String>,
    /// How many of them were noted.
    noted: usize,
}

impl Tokens {
    /// The names of the facilities of labels.
    pub fn of_facilities(labels: &Labels, set: Set) -> Tokens {
        let mut tokens = Tokens::default();
        labels.facilities(set).for_each(|name| tokens.add_name(name));
        tokens
    }

    /// The names of their facilities, and of their units.
    pub fn of_places(labels: &Labels, set: Set) -> Tokens {
        let mut tokens = Tokens::of_facilities(labels, set);
        for unit in labels.labels(set).flat_map(|label| &label.units) {
            tokens.add_name(unit.split_once('|').map_or(unit, |(_, unit)| unit));
        }
        tokens
    }

    /// A code, with and without its dots.
    pub fn add_code(&mut self, code: &str) {
        if self.noted < TOKENS_MAX {
            self.noted += 1;
            self.add_name(code);
        }
    }

    /// What the configuration calls by a name that tells something, with and without its dots: never left out for want of room.
    pub fn add_name(&mut self, code: &str) {
        let code = code.trim().to_lowercase();
        let bare = code.replace('.', "");
        for code in [code, bare] {
            match code.chars().count() {
                length if length < CODE_MIN => {}
                length if length < WITHIN_MIN => self.insert(code, true),
                _ => self.insert(code, false),
            }
        }
    }

    /// What a concept is called.
    pub fn add_words(&mut self, words: &str) {
        let words = words.trim().to_lowercase();
        if words.chars().count() >= WORDS_MIN && self.noted < TOKENS_MAX {
            self.noted += 1;
            self.insert(words, false);
        }
    }

    fn insert(&mut self, text: String, alone: bool) {
        if alone {
            self.alone.insert(text)
        } else {
            self.texts.insert(text)
        };
    }

    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        self.texts.is_empty() && self.alone.is_empty()
    }

    /// Whether a text holds one of them.
    pub fn are_in(&self, text: &str) -> bool {
        if self.are_none() {
            return false;
        }
        let text = text.to_lowercase();
        self.texts.iter().any(|token| text.contains(token.as_str()))
            || self.alone.iter().any(|token| stands_alone(&text, token))
    }
}

impl Tokens {
    /// Whether any text of a resource may hold one of them, by the JSON of all of it: never false where one does.
    pub fn may_be_in(&self, json: &str) -> bool {
        if self.are_none() {
            return false;
        }
        let json = json.to_lowercase();
        let mut all = self.texts.iter().chain(&self.alone);
        all.any(|token| !is_as_written(token) || json.contains(token.as_str()))
    }
}

/// How systems begin that the mappings make of the name of a feed and of what it calls them.
const MADE: &str = "urn:v2:";
/// How those begin that are the same whoever sends: they are made of nobody's name, and most are such.
const PUBLISHED: [&str; 8] = [
    "http://terminology.hl7.org/",
    "http://hl7.org/",
    "http://loinc.org",
    "http://snomed.info/",
    "http://unitsofmeasure.org",
    "http://www.nlm.nih.gov/",
    "urn:oid:",
    "urn:ietf:",
];

impl Tokens {
    /// Whether the name of a system of codes, made of that of a feed, holds one of them.
    pub fn are_in_made(&self, system: &str) -> bool {
        !self.are_none() && system.starts_with(MADE) && self.are_in(&decoded(system))
    }

    /// The same of a system of numbers, whoever made its name.
    pub fn are_in_system(&self, system: &str) -> bool {
        !self.are_none() && !PUBLISHED.iter().any(|one| system.starts_with(one)) && self.are_in(&decoded(system))
    }

    /// Whether the name of any system or of who assigned a number may hold one of them, by the JSON of all of it: never false where one does.
    pub fn may_be_in_systems(&self, json: &str) -> bool {
        if self.are_none() {
            return false;
        }
        let mut systems = json.split("\"system\"").skip(1).map(|rest| {
            let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
            let (system, _) = rest.split_once('"')?;
            (!system.contains('\\')).then_some(system)
        });
        // One that is not written as ours are may be anything.
        systems.any(|system| system.is_none_or(|system| self.are_in_system(system)))
            || (json.contains("\"assigner\"") && self.may_be_in(json))
    }
}

/// A system as it was called before it was made an URI; of bytes that are no UTF-8 each is a character.
fn decoded(system: &str) -> Cow<'_, str> {
    if !system.contains('%') {
        return Cow::Borrowed(system);
    }
    let digit =
        |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|one| u8::try_from(one).ok());
    let (mut out, mut rest) = (Vec::with_capacity(system.len()), system.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        match (digit(after.first()), digit(after.get(1))) {
            (Some(high), Some(low)) if *first == b'%' => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect()).into()
}

/// Whether a text stands in JSON as it is: neither of our writers escapes anything else.
fn is_as_written(text: &str) -> bool {
    !text.chars().any(|one| matches!(one, '"' | '\\') || one.is_control())
}

fn stands_alone(text: &str, token: &str) -> bool {
    text.match_indices(token).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + token.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::Label;

    #[test]
    fn names_are_never_left_out_for_want_of_room() {
        let mut tokens = Tokens::default();
        for number in 0..=TOKENS_MAX {
            tokens.add_name(&format!("PROGRAMME-{number}."));
            tokens.add_code(&format!("CODE-{number}"));
        }
        tokens.add_name("LAKEPSY");
        tokens.add_words("one word more");
        assert!(tokens.are_in("seen at lakepsy") && tokens.may_be_in(r#"{"a":"LAKEPSY"}"#));
        assert!(tokens.are_in("code-0") && !tokens.are_in("one word more"));
    }

    #[test]
    fn names_are_found_in_systems_that_are_made_of_them() {
        let detox = Label {
            code: "SUD".into(),
            facilities: vec!["St. Mary's".into(), "KÖLNSUCHT".into()],
            units: vec!["SBMC|DETOX".into(), "DTX".into(), "CLINIC".into()],
            ..Label::default()
        };
        let labels = Labels::new(vec![detox]);
        let tokens = Tokens::of_places(&labels, labels.every());
        for system in [
            "urn:v2:DETOXADT.SBMC:MR",
            "urn:v2:SBADT.SBMC:Detox",
            "urn:v2:DTX.SBMC:MR",
            "urn:v2:A.ST.%20MARY%27S:MR",
            "urn:v2:A.K%D6LNSUCHT:MR",
            "urn:v2:A.K%C3%96LNSUCHT:MR",
        ] {
            assert!(tokens.are_in_made(system) && tokens.are_in_system(system), "{system}");
            assert!(
                tokens.may_be_in_systems(&format!("{{\"a\":[{{\"system\":\"{system}\",\"value\":\"1\"}}]}}")),
                "{system}"
            );
        }
        assert!(tokens.are_in_system("http://detox.example/mrn") && !tokens.are_in_made("http://detox.example/mrn"));
        for system in
            ["urn:v2:SBADT.SBMC:MR", "http://terminology.hl7.org/CodeSystem/condition-clinical", "urn:v2:%", "%4"]
        {
            assert!(!tokens.are_in_system(system), "{system}");
            assert!(
                !tokens.may_be_in_systems(&format!("{{\"system\": \"{system}\",\"display\":\"DETOX\"}}")),
                "{system}"
            );
        }
        for json in [
            r#"{"system":"a\"b"}"#,
            r#"{"system":["x"]}"#,
            r#"{"system" : "urn:v2:DTX.A:B"}"#,
            r#"{"assigner":{"display":"Detox"}}"#,
        ] {
            assert!(tokens.may_be_in_systems(json), "{json}");
        }
        assert!(!Tokens::of_places(&labels, Set::EMPTY).are_in_system("urn:v2:DETOXADT.SBMC:MR"));
    }

    #[test]
    fn codes_and_words_are_found_where_they_stand() {
        let mut tokens = Tokens::default();
        tokens.add_code("F10.20");
        tokens.add_code("B20");
        tokens.add_code("R");
        tokens.add_words("Alcohol dependence");
        for text in ["see f10.20", "F1020", "xF1020x", "B20", "(B20)", "an ALCOHOL DEPENDENCE, mild"] {
            assert!(tokens.are_in(text), "{text}");
        }
        assert!(tokens.may_be_in(r#"{"a":"see f10.20"}"#) && tokens.may_be_in(r#"{"a":"AB20"}"#));
        assert!(!tokens.may_be_in(r#"{"a":"alcohol","b":"dependence"}"#) && !Tokens::default().may_be_in("F10.20"));
        let mut quoted = Tokens::default();
        quoted.add_words("the \"house\"");
        assert!(quoted.may_be_in("{}"), "it is written in another way there");
        let mut named = Tokens::default();
        named.add_name("St. Mary's & Sons");
        assert!(named.may_be_in(r#"{"a":"at ST. MARY'S & SONS"}"#) && !named.may_be_in("{}"));
        for text in ["", "F10", "AB20", "B201", "R", "alcohol", "dependence"] {
            assert!(!tokens.are_in(text), "{text}");
        }
    }
}
