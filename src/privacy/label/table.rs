//! Codes → labels: one look-up a code, nothing allocated.
use super::{CODE_MAX, Set};
use crate::privacy::systems::System;
use hashbrown::HashMap;

/// Systems, [`System::Other`] and [`System::Unknown`] among them.
const SYSTEMS: usize = System::Unknown as usize + 1;

/// Codes of all labels by system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    by_system: [Codes; SYSTEMS],
}

/// Codes of one system, as [`plain`] writes them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Codes {
    codes: HashMap<Box<[u8]>, Set>,
    /// Bit n: there are some of n bytes.
    lengths: u32,
}

impl Default for Table {
    fn default() -> Table {
        Table { by_system: std::array::from_fn(|_| Codes::default()) }
    }
}

impl Table {
    pub fn add(&mut self, system: System, code: &str, set: Set) {
        let mut buffer = [0; CODE_MAX];
        let code = plain(code, &mut buffer);
        if code.is_empty() {
            return;
        }
        let codes = &mut self.by_system[system as usize];
        codes.lengths |= 1 << code.len();
        let entry = codes.codes.entry(code.into()).or_default();
        *entry = entry.with(set);
    }

    /// What a code carries. One of no known system is taken for what it looks like.
    pub fn find(&self, system: System, code: &str) -> Set {
        let mut buffer = [0; CODE_MAX];
        let code = plain(code, &mut buffer);
        match system {
            System::Other => Set::EMPTY,
            System::Unknown => self.guess(code),
            _ if system.has_prefixes() => self.by_system[system as usize].prefix(code),
            _ => self.by_system[system as usize].exact(code),
        }
    }

    fn guess(&self, code: &[u8]) -> Set {
        // Shorter ones are the codes of everybody's small tables.
        const EXACT_MIN: usize = 5;
        // Longer ones are sentences.
        const CLASSIFIED_MAX: usize = 8;
        let mut set = Set::EMPTY;
        if let [letter, digit, third, ..] = code
            && letter.is_ascii_uppercase()
            && digit.is_ascii_digit()
            && third.is_ascii_alphanumeric()
            && code.len() <= CLASSIFIED_MAX
        {
            for system in [System::Icd10, System::Atc] {
                set = set.with(self.by_system[system as usize].prefix(code));
            }
        }
        if code.len() >= EXACT_MIN {
            for (_, system) in System::LISTED.into_iter().filter(|(_, system)| !system.has_prefixes()) {
                set = set.with(self.by_system[system as usize].exact(code));
            }
        }
        set
    }
}

impl Codes {
    fn exact(&self, code: &[u8]) -> Set {
        if self.lengths >> code.len() & 1 == 0 {
            return Set::EMPTY;
        }
        self.codes.get(code).copied().unwrap_or_default()
    }

    fn prefix(&self, code: &[u8]) -> Set {
        let prefixes = (1..=code.len()).filter_map(|length| code.get(..length));
        prefixes.map(|prefix| self.exact(prefix)).fold(Set::EMPTY, Set::with)
    }
}

/// A code in capitals, without dots and blanks: `f10.20` → `F1020`. Of a longer one than any list has, the beginning.
fn plain<'b>(code: &str, buffer: &'b mut [u8; CODE_MAX]) -> &'b [u8] {
    let bytes = code.bytes().filter(|byte| !matches!(byte, b'.' | b' ' | b'\t' | b'\r' | b'\n'));
    let mut length = 0;
    for (place, byte) in buffer.iter_mut().zip(bytes) {
        *place = byte.to_ascii_uppercase();
        length += 1;
    }
    buffer.get(..length).unwrap_or_default()
}
