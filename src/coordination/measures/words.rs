//! Texts as numbers: facilities, classes, codes, panels and labels stand in facts by the place at which they were first seen.
//!
//! Numbers follow from the journal alone, so whoever reads it again gives the same. 0 is the empty text. Nothing of a patient is a word: numbers of visits and documents are hashed.
use hashbrown::HashMap;
use rusqlite::{Connection, Transaction, params};

pub(super) const TABLES: &str =
    "CREATE TABLE IF NOT EXISTS measure_word (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;";

/// Words that are told apart: more than all of ICD-10-CM. What comes beyond them counts as nothing said.
pub const WORDS_MAX: usize = 1 << 18;
/// Of them so many are for what configuration and standards name, however many codes and places senders make up.
const RESERVED: usize = 1 << 14;

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The key of a facility.
    Facility,
    /// Class of a visit.
    Class,
    /// Discharge disposition.
    Disposition,
    /// MSH-9.2.
    Trigger,
    /// TXA-17.
    Completion,
    /// The panels somebody is in, parted by blanks.
    Panels,
    /// A panel.
    Panel,
    /// A label of confidentiality.
    Label,
    /// A diagnosis: system and code, parted by a bar.
    Diagnosis,
    /// Another code.
    Code,
    /// A measure.
    Measure,
}

impl Sort {
    const ALL: [(char, Sort); 11] = [
        ('f', Sort::Facility),
        ('c', Sort::Class),
        ('d', Sort::Disposition),
        ('t', Sort::Trigger),
        ('k', Sort::Completion),
        ('g', Sort::Panels),
        ('p', Sort::Panel),
        ('l', Sort::Label),
        ('x', Sort::Diagnosis),
        ('o', Sort::Code),
        ('m', Sort::Measure),
    ];

    fn letter(self) -> char {
        Sort::ALL.iter().find(|(_, sort)| *sort == self).map_or('?', |(letter, _)| *letter)
    }
}

/// The words there are.
#[derive(Debug, Default)]
pub struct Words {
    numbers: HashMap<Box<str>, u32>,
    /// A letter for the sort, then the text; the first is word 1.
    texts: Vec<Box<str>>,
    written: usize,
    /// It was said that there is no room.
    full: bool,
}

impl Words {
    /// Those of a database.
    pub fn open(connection: &Connection) -> rusqlite::Result<Words> {
        let mut words = Words::default();
        words.more(connection)?;
        Ok(words)
    }

    /// Reads those that were written since.
    pub fn more(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut select =
            connection.prepare_cached("SELECT text FROM measure_word WHERE number > ?1 ORDER BY number")?;
        for text in select.query_map([self.len()], |row| row.get::<_, String>(0))? {
            self.push(text?.into());
        }
        self.written = self.texts.len();
        Ok(())
    }

    /// The number of a word, and whether it is a new one.
    pub fn intern(&mut self, sort: Sort, text: &str) -> (u32, bool) {
        if text.is_empty() {
            return (0, false);
        }
        let whole = format!("{}{text}", sort.letter());
        if let Some(number) = self.numbers.get(whole.as_str()) {
            return (*number, false);
        }
        let most = match sort {
            Sort::Diagnosis | Sort::Code | Sort::Facility => WORDS_MAX - RESERVED,
            _ => WORDS_MAX,
        };
        if self.texts.len() >= most {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(
                    words = self.texts.len(),
                    "measures have no room for more codes and facilities: others count as none"
                );
            }
            return (0, false);
        }
        (self.push(whole.into()), true)
    }

    /// The number of a word that is there.
    pub fn find(&self, sort: Sort, text: &str) -> Option<u32> {
        self.numbers.get(format!("{}{text}", sort.letter()).as_str()).copied()
    }

    /// What a number stands for.
    pub fn word(&self, number: u32) -> Option<(Sort, &str)> {
        let text = self.texts.get((number as usize).checked_sub(1)?)?;
        let letter = text.chars().next()?;
        let sort = Sort::ALL.iter().find(|(own, _)| *own == letter)?.1;
        Some((sort, text.get(letter.len_utf8()..)?))
    }

    /// The text of a number; empty where there is none.
    pub fn text(&self, number: u32) -> &str {
        self.word(number).map_or("", |(_, text)| text)
    }

    /// How many there are: their numbers are 1 to that.
    pub fn len(&self) -> u32 {
        u32::try_from(self.texts.len()).unwrap_or(u32::MAX)
    }

    /// Writes those that are new.
    pub fn flush(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        for (number, text) in (1_i64..).zip(&self.texts).skip(self.written) {
            transaction.prepare_cached("INSERT INTO measure_word VALUES (?1, ?2)")?.execute(params![number, text])?;
        }
        self.written = self.texts.len();
        Ok(())
    }

    fn push(&mut self, text: Box<str>) -> u32 {
        self.texts.push(text.clone());
        let number = self.len();
        self.numbers.insert(text, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_senders_make_up_leaves_room_for_what_is_configured() {
        let mut words = Words::default();
        for number in 0..WORDS_MAX + 10 {
            words.intern(if number % 2 == 0 { Sort::Facility } else { Sort::Code }, &format!("|{number}"));
        }
        assert_eq!(words.len() as usize, WORDS_MAX - RESERVED);
        assert_eq!(words.intern(Sort::Diagnosis, "I10C|F33.2"), (0, false));
        for (sort, text) in [(Sort::Panel, "aco"), (Sort::Panels, "aco"), (Sort::Class, "IMP"), (Sort::Label, "SUD")] {
            let (number, is_new) = words.intern(sort, text);
            assert!(is_new && words.word(number) == Some((sort, text)), "{text}");
        }
    }
}
