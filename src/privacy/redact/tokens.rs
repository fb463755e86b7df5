//! Words of what went: they must stand nowhere else.
use crate::privacy::label::{Labels, Set};
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
