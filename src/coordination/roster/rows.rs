//! The rows of a panel as they were read, checked and in little room; what was wrong with the others.
use super::fields::{Demographics, Field, FieldSet, SEPARATOR, hash_of};
use super::key::PersonKey;
use super::options::Matching;
use super::systems::{self, Words};
use super::values;
use jiff::civil::Date;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Rows of one panel that are read.
pub const ROWS_MAX: usize = 20_000_000;
/// Rejected rows that are listed; all are counted.
pub const LISTED_MAX: usize = 10_000;
/// Bytes of the texts of a row.
const TEXT_BYTES_MAX: usize = 2048;
/// Per cent of its rows that may be bad before nothing of a file is taken.
const BAD_PCT_MAX: usize = 5;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of [`Rows::files`].
    pub file: u16,
    /// Its line in a table, from 1; the number of the member in a Group.
    pub line: u32,
}

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it stands.
    pub place: Place,
    /// Why; nothing of what stands in it.
    pub reason: Reason,
}

/// Why a row was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A date of birth that is no date.
    #[error("the date of birth is no date in the form of this roster")]
    Birth,
    /// A start that is no date.
    #[error("the start is no date in the form of this roster")]
    Start,
    /// An end that is no date.
    #[error("the end is no date in the form of this roster")]
    End,
    /// It ends before it begins.
    #[error("the membership ends before it begins")]
    Period,
    /// Nothing by which to find them.
    #[error("no identifier, and not enough of name, birth and address to find them without one")]
    Unidentified,
    /// Nothing that could confirm an identifier.
    #[error("nothing that could confirm the identifier (strong_guard)")]
    Unguarded,
    /// An unknown word for what a row of a delta does.
    #[error("the kind of change is none of new, add, changed, change, nochange, dropped, drop")]
    Change,
    /// Too long a text.
    #[error("its texts are longer than {TEXT_BYTES_MAX} bytes")]
    Long,
    /// Another number of fields than the header.
    #[error("it has another number of fields than the header")]
    Fields,
    /// Quotes or an encoding that cannot be read.
    #[error("it cannot be read")]
    Unreadable,
    /// A Group member without a patient.
    #[error("the patient of this member is not in the file, and it has no identifier")]
    NoPatient,
}

/// Why nothing of a file was taken; what was there before stays.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// It cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A folder without a file.
    #[error("{}: no file in it; the first one is the whole panel", .0.display())]
    Empty(PathBuf),
    /// Not a roster at all.
    #[error("{}: {text}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        text: String,
    },
    /// A column of the configuration is not in the header.
    #[error("{}: no column \"{column}\" ({key}); its header has {}", path.display(), header.join(", "))]
    Column {
        /// The file.
        path: PathBuf,
        /// Of `columns`.
        key: &'static str,
        /// What it should be called.
        column: String,
        /// What there is.
        header: Vec<String>,
    },
    /// Too much of it is bad.
    #[error("{}: {bad} of {read} rows are bad, more than {BAD_PCT_MAX} %; the first: {}", path.display(), told(first))]
    Bad {
        /// The file.
        path: PathBuf,
        /// Rows that were not taken.
        bad: usize,
        /// All rows.
        read: usize,
        /// The first of them.
        first: Vec<Rejected>,
    },
    /// No room.
    #[error("{}: more than {max} {what}; split the panel", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

fn told(rejected: &[Rejected]) -> String {
    let line = |one: &Rejected| format!("line {}: {}", one.place.line, one.reason);
    rejected.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// The members of a panel as its files tell them.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// The names of the files, in the order in which they were read.
    pub files: Vec<String>,
    /// Rows that were read, good or bad.
    pub read: usize,
    /// Rows that were not taken.
    pub bad: usize,
    /// The first of them.
    pub rejected: Vec<Rejected>,
    /// SHA-256 over the files.
    pub fingerprint: [u8; 32],
    pub(super) rows: Vec<Row>,
    pub(super) systems: Words,
    pub(super) words: Words,
}

/// One period of one member.
#[derive(Clone)]
pub(super) struct Row {
    pub key: PersonKey,
    pub place: Place,
    pub birth: u32,
    pub sex: u8,
    pub change: Change,
    /// `Date::MIN` where it is open.
    pub start: Date,
    /// `Date::MAX` where it is open.
    pub end: Date,
    pub pcp: u32,
    pub care_manager: u32,
    pub consent: u32,
    /// Packed demographics, then identifiers as `system=value`, strongest first.
    pub text: Box<str>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Row({}:{})", self.place.file, self.place.line)
    }
}

impl Row {
    pub fn demographics(&self) -> Demographics<'_> {
        Demographics::unpack(&self.text, self.birth, self.sex).0
    }

    /// The demographics as they are packed.
    pub fn demographics_text(&self) -> (&str, u32, u8) {
        let identifiers = Demographics::unpack(&self.text, self.birth, self.sex).1;
        (&self.text[..self.text.len() - identifiers.len()], self.birth, self.sex)
    }

    /// The identifiers: number of the system, and value.
    pub fn identifiers(&self) -> impl Iterator<Item = (u32, &str)> {
        identifiers(Demographics::unpack(&self.text, self.birth, self.sex).1)
    }
}

/// Reads packed identifiers.
pub(super) fn identifiers(packed: &str) -> impl Iterator<Item = (u32, &str)> {
    packed.split(SEPARATOR).filter_map(|one| {
        let (system, value) = one.split_once('=')?;
        Some((system.parse().ok()?, value))
    })
}

/// What a row of a delta does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Change {
    /// The member is there, with what stands in the row.
    #[default]
    Set,
    /// The member goes: at the end that is told, else altogether.
    Drop,
}

impl Change {
    /// The words of Da Vinci's `changeType`, and those that rosters use.
    pub fn parse(word: &str) -> Option<Change> {
        match word.trim().to_ascii_lowercase().as_str() {
            "" | "new" | "add" | "added" | "change" | "changed" | "nochange" => Some(Change::Set),
            "drop" | "dropped" | "remove" | "removed" => Some(Change::Drop),
            _ => None,
        }
    }
}

/// A row before it is checked: texts as they stand in the file.
#[derive(Default)]
pub(super) struct Draft {
    /// System and value.
    pub identifiers: Vec<(String, String)>,
    pub family: String,
    pub given: String,
    pub street: String,
    pub city: String,
    pub zip: String,
    pub phone: String,
    pub sex: u8,
    pub birth: Option<Date>,
    pub start: Option<Date>,
    pub end: Option<Date>,
    pub pcp: String,
    pub care_manager: String,
    pub consent: String,
    pub change: Change,
}

impl Draft {
    /// Adds an identifier, unless it is a placeholder.
    pub fn identify(&mut self, system: String, value: &str) {
        if let Some(value) = values::identifier(value, systems::has_dashes(&system)) {
            self.identifiers.push((system, value));
        }
    }
}

impl Rows {
    /// Checks a row and takes it.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub(super) fn take(&mut self, draft: Draft, place: Place, matching: &Matching) -> Result<(), Reason> {
        let (start, end) = (draft.start.unwrap_or(Date::MIN), draft.end.unwrap_or(Date::MAX));
        if start > end {
            return Err(Reason::Period);
        }
        let (mut family, mut given) = (values::family(&draft.family), values::given(&draft.given));
        if values::is_nobody(&family, &given) {
            (family, given) = (String::new(), String::new());
        }
        let (street, city) = (values::address(&draft.street), values::address(&draft.city));
        let (zip, phone) = (values::zip(&draft.zip), values::phone(&draft.phone));
        let birth = draft.birth.map_or(0, values::number);
        let person = Demographics {
            family: &family,
            given: &given,
            street: &street,
            city: &city,
            zip: &zip,
            phone: &phone,
            birth,
            sex: draft.sex,
        };
        // Only what patients are looked up by is kept.
        let ranked = |(system, value): (String, String)| Some((matching.rank(&system)?, system, value));
        let mut identifiers: Vec<_> = draft.identifiers.into_iter().filter_map(ranked).collect();
        identifiers.sort_unstable();
        identifiers.dedup();
        if !identifiers.is_empty() && !matching.guard.iter().any(|field| person.has(*field)) {
            return Err(Reason::Unguarded);
        }
        let key = match identifiers.first() {
            Some((_, system, value)) => PersonKey::of_identifier(system, value),
            None => key_of_demographics(&person, &matching.deterministic).ok_or(Reason::Unidentified)?,
        };
        let mut text = String::new();
        person.pack(&mut text);
        for (_, system, value) in &identifiers {
            text.push_str(&format!("{}={value}{SEPARATOR}", self.systems.add(system)));
        }
        let kept = draft.pcp.len() + draft.care_manager.len() + draft.consent.len();
        if text.len() + kept > TEXT_BYTES_MAX {
            return Err(Reason::Long);
        }
        self.rows.push(Row {
            key,
            place,
            birth,
            sex: draft.sex,
            change: draft.change,
            start,
            end,
            pcp: self.words.add(&draft.pcp),
            care_manager: self.words.add(&draft.care_manager),
            consent: self.words.add(&draft.consent),
            text: text.into(),
        });
        Ok(())
    }

    /// Notes a row that was not taken.
    pub(super) fn reject(&mut self, place: Place, reason: Reason) {
        self.bad += 1;
        if self.rejected.len() < LISTED_MAX {
            self.rejected.push(Rejected { place, reason });
        }
    }

    /// Refuses a file of which too much is bad: `read` and `bad` are what there was before it.
    pub(super) fn judge(&self, path: &std::path::Path, read: usize, bad: usize) -> Result<(), RosterError> {
        let (read, bad) = (self.read - read, self.bad - bad);
        if bad * 100 <= read * BAD_PCT_MAX {
            return Ok(());
        }
        let of_it = self.rejected.iter().filter(|one| usize::from(one.place.file) + 1 == self.files.len());
        Err(RosterError::Bad { path: path.to_owned(), bad, read, first: of_it.take(3).cloned().collect() })
    }

    /// Adds a file to the fingerprint.
    pub(super) fn fingerprint(&mut self, bytes: &[u8]) {
        let mut sha = Sha256::new();
        sha.update(self.fingerprint);
        sha.update(Sha256::digest(bytes));
        self.fingerprint = sha.finalize().into();
    }

    /// How many members there are, whatever their periods.
    pub fn members(&self) -> usize {
        let mut keys: Vec<_> = self.rows.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    /// How many members there are on a day.
    pub fn members_on(&self, day: Date) -> usize {
        let current = self.rows.iter().filter(|row| row.start <= day && day <= row.end);
        let mut keys: Vec<_> = current.map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }
}

/// The key of somebody without an identifier: over the first set of fields all of which are known.
pub(super) fn key_of_demographics(person: &Demographics<'_>, sets: &[FieldSet]) -> Option<PersonKey> {
    let ways = sets.iter().flat_map(FieldSet::alternatives);
    let known = |way: Vec<Field>| hash_of(&way, person).map(|_| way);
    ways.filter_map(known).next().map(|way| PersonKey::of_fields(&way, person))
}
