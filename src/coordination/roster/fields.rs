//! What is compared of two people, and keys over some of it.
use std::hash::Hasher;

/// Something two people may agree in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Family name.
    Family,
    /// How the family name sounds (Soundex).
    FamilySound,
    /// Given name.
    Given,
    /// Date of birth.
    Dob,
    /// Year of birth.
    BirthYear,
    /// Administrative sex.
    Sex,
    /// The first five digits of a postal code.
    Zip,
    /// Telephone.
    Phone,
    /// Street and number.
    Address,
    /// Town.
    City,
}

impl Field {
    /// Every one, as the configuration writes it.
    pub const ALL: [(&'static str, Field); 10] = [
        ("family", Field::Family),
        ("family_sdx", Field::FamilySound),
        ("given", Field::Given),
        ("dob", Field::Dob),
        ("birth_year", Field::BirthYear),
        ("sex", Field::Sex),
        ("zip5", Field::Zip),
        ("phone", Field::Phone),
        ("address", Field::Address),
        ("city", Field::City),
    ];

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        Field::ALL.into_iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }

    /// The field of that name.
    pub fn parse(name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, field)| field)
    }
}

/// What is known of a person, as it is compared; empty and 0 where it is not known.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Demographics<'a> {
    pub family: &'a str,
    pub given: &'a str,
    pub street: &'a str,
    pub city: &'a str,
    pub zip: &'a str,
    pub phone: &'a str,
    /// `19510314` as a number.
    pub birth: u32,
    /// An upper-case letter.
    pub sex: u8,
}

/// Between the texts of a person; no text holds it.
pub(super) const SEPARATOR: char = '\u{1f}';

impl<'a> Demographics<'a> {
    /// Appends the texts.
    pub fn pack(&self, out: &mut String) {
        for text in [self.family, self.given, self.street, self.city, self.zip, self.phone] {
            out.push_str(text);
            out.push(SEPARATOR);
        }
    }

    /// Reads them back; returns what stands behind them.
    pub fn unpack(packed: &'a str, birth: u32, sex: u8) -> (Demographics<'a>, &'a str) {
        let mut rest = packed;
        let mut next = || match rest.split_once(SEPARATOR) {
            Some((text, after)) => {
                rest = after;
                text
            }
            None => "",
        };
        let (family, given, street) = (next(), next(), next());
        let (city, zip, phone) = (next(), next(), next());
        (Demographics { family, given, street, city, zip, phone, birth, sex }, rest)
    }

    /// Takes over what is not known from somebody else's.
    pub fn fill_from(&mut self, other: &Demographics<'a>) {
        let texts = [
            (&mut self.family, other.family),
            (&mut self.given, other.given),
            (&mut self.street, other.street),
            (&mut self.city, other.city),
            (&mut self.zip, other.zip),
            (&mut self.phone, other.phone),
        ];
        for (ours, theirs) in texts.into_iter().filter(|(ours, _)| ours.is_empty()) {
            *ours = theirs;
        }
        if self.birth == 0 {
            self.birth = other.birth;
        }
        if self.sex == 0 {
            self.sex = other.sex;
        }
    }

    /// A field as bytes; none where it is not known.
    fn value<T>(&self, field: Field, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match field {
            Field::Family => valued(self.family.as_bytes(), with),
            Field::Given => valued(self.given.as_bytes(), with),
            Field::Zip => valued(self.zip.as_bytes(), with),
            Field::Phone => valued(self.phone.as_bytes(), with),
            Field::Address => valued(self.street.as_bytes(), with),
            Field::City => valued(self.city.as_bytes(), with),
            Field::FamilySound => soundex(self.family).map(|code| with(&code)),
            Field::Dob => (self.birth != 0).then(|| with(&self.birth.to_le_bytes())),
            Field::BirthYear => (self.birth != 0).then(|| with(&(self.birth / 10_000).to_le_bytes())),
            Field::Sex => (self.sex != 0).then(|| with(&[self.sex])),
        }
    }

    /// Whether both know a field, and agree in it.
    pub fn agrees(&self, other: &Demographics<'_>, field: Field) -> bool {
        self.value(field, |ours| other.value(field, |theirs| ours == theirs)).flatten().unwrap_or(false)
    }

    /// A field as text; empty where it is not known.
    pub fn shown(&self, field: Field) -> String {
        let text = match field {
            Field::Family => self.family,
            Field::Given => self.given,
            Field::Zip => self.zip,
            Field::Phone => self.phone,
            Field::Address => self.street,
            Field::City => self.city,
            Field::FamilySound => {
                return soundex(self.family)
                    .map(|code| String::from_utf8_lossy(&code).into_owned())
                    .unwrap_or_default();
            }
            Field::Dob if self.birth != 0 => return self.birth.to_string(),
            Field::BirthYear if self.birth != 0 => return (self.birth / 10_000).to_string(),
            Field::Sex if self.sex != 0 => return char::from(self.sex).to_string(),
            Field::Dob | Field::BirthYear | Field::Sex => "",
        };
        text.to_owned()
    }

    /// Whether a field is known.
    pub fn has(&self, field: Field) -> bool {
        self.value(field, |_| ()).is_some()
    }
}

fn valued<T>(bytes: &[u8], with: impl FnOnce(&[u8]) -> T) -> Option<T> {
    if bytes.is_empty() { None } else { Some(with(bytes)) }
}

/// Fields all of which must agree; of a term with several, one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    terms: Vec<Vec<Field>>,
}

/// Ways to read a set with alternatives: each has an index of its own.
const ALTERNATIVES_MAX: usize = 8;

/// Why a set of fields cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSetError {
    /// No such field.
    #[error(
        "there is no field \"{0}\"; known: family, family_sdx, given, dob, birth_year, sex, zip5, phone, address, city"
    )]
    Unknown(String),
    /// Nothing in it.
    #[error("a set of fields is empty; everybody would agree in it")]
    Empty,
    /// Too many alternatives.
    #[error("its alternatives make more than {ALTERNATIVES_MAX} sets; write fewer of them")]
    Alternatives,
}

impl FieldSet {
    /// Reads terms such as `dob` and `zip5|phone`.
    ///
    /// # Errors
    /// An unknown field, no field, or too many alternatives.
    pub fn parse<'t>(terms: impl Iterator<Item = &'t str>) -> Result<FieldSet, FieldSetError> {
        let term = |text: &str| text.split('|').map(|name| parse_field(name.trim())).collect::<Result<Vec<_>, _>>();
        let terms = terms.map(term).collect::<Result<Vec<_>, _>>()?;
        if terms.is_empty() {
            return Err(FieldSetError::Empty);
        }
        let ways = terms.iter().fold(1usize, |ways, term| ways.saturating_mul(term.len()));
        if ways > ALTERNATIVES_MAX {
            return Err(FieldSetError::Alternatives);
        }
        Ok(FieldSet { terms })
    }

    /// Each way to read it: fields that must all agree.
    pub(super) fn alternatives(&self) -> Vec<Vec<Field>> {
        self.terms.iter().fold(vec![Vec::new()], |ways, term| {
            let with = |way: &Vec<Field>, field: &Field| way.iter().chain([field]).copied().collect();
            ways.iter().flat_map(|way| term.iter().map(move |field| with(way, field))).collect()
        })
    }

    /// As the configuration writes it.
    pub(super) fn name(&self) -> String {
        let term = |term: &Vec<Field>| term.iter().map(|field| field.name()).collect::<Vec<_>>().join("|");
        self.terms.iter().map(term).collect::<Vec<_>>().join(" + ")
    }
}

/// Reads `dob|family`.
///
/// # Errors
/// An unknown field.
pub fn parse_fields(text: &str) -> Result<Vec<Field>, FieldSetError> {
    text.split('|').map(|name| parse_field(name.trim())).collect()
}

fn parse_field(name: &str) -> Result<Field, FieldSetError> {
    Field::parse(name).ok_or_else(|| FieldSetError::Unknown(name.to_owned()))
}

/// A hash over fields; none unless all are known. The same in every run: what is made in its order is kept.
pub(super) fn hash_of(fields: &[Field], person: &Demographics<'_>) -> Option<u64> {
    let mut hasher = std::hash::DefaultHasher::new();
    for field in fields {
        person.value(*field, |bytes| {
            hasher.write(bytes);
            hasher.write_u8(0xff);
        })?;
    }
    Some(hasher.finish())
}

/// A hash over an identifier.
pub(super) fn hash_of_identifier(system: &str, value: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for text in [system, value] {
        hasher.write(text.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// American Soundex; none for a name that does not begin with a Latin letter.
pub(super) fn soundex(name: &str) -> Option<[u8; 4]> {
    let mut letters = name.bytes().filter(u8::is_ascii_alphabetic).map(|letter| letter.to_ascii_uppercase());
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    let first = letters.next()?;
    let (mut code, mut length, mut before) = ([first, b'0', b'0', b'0'], 1, sound(first));
    for letter in letters {
        let sound = sound(letter);
        match sound {
            b'1'..=b'6' if sound != before => {
                if let Some(place) = code.get_mut(length) {
                    *place = sound;
                    length += 1;
                }
                before = sound;
            }
            // H and W do not part two letters that sound alike; vowels do.
            b'-' => {}
            _ => before = sound,
        }
    }
    Some(code)
}

fn sound(letter: u8) -> u8 {
    match letter {
        b'B' | b'F' | b'P' | b'V' => b'1',
        b'C' | b'G' | b'J' | b'K' | b'Q' | b'S' | b'X' | b'Z' => b'2',
        b'D' | b'T' => b'3',
        b'L' => b'4',
        b'M' | b'N' => b'5',
        b'R' => b'6',
        b'H' | b'W' => b'-',
        _ => b'0',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_sound_alike() {
        // The examples of the National Archives, "The Soundex Indexing System".
        let examples = [
            ("WASHINGTON", "W252"),
            ("LEE", "L000"),
            ("GUTIERREZ", "G362"),
            ("PFISTER", "P236"),
            ("JACKSON", "J250"),
            ("TYMCZAK", "T522"),
            ("ASHCRAFT", "A261"),
        ];
        for (name, code) in examples {
            assert_eq!(soundex(name).map(|code| String::from_utf8_lossy(&code).into_owned()).as_deref(), Some(code));
        }
        assert_eq!((soundex(""), soundex("ЖУК"), soundex("ÆRØ")), (None, None, None));
    }

    #[test]
    fn alternatives_are_told_apart() {
        let set = FieldSet::parse(["family", "zip5|phone"].into_iter()).unwrap();
        assert_eq!(set.alternatives(), [vec![Field::Family, Field::Zip], vec![Field::Family, Field::Phone]]);
        assert_eq!(set.name(), "family + zip5|phone");
        assert_eq!(FieldSet::parse(["dob", "name"].into_iter()), Err(FieldSetError::Unknown("name".into())));
        assert_eq!(FieldSet::parse([].into_iter()), Err(FieldSetError::Empty));
        let many = ["family|given|dob", "zip5|phone|city"];
        assert_eq!(FieldSet::parse(many.into_iter()), Err(FieldSetError::Alternatives));
    }

    #[test]
    fn what_is_not_known_agrees_with_nothing() {
        let nobody = Demographics::default();
        let somebody = Demographics { family: "OKAFOR", birth: 19_510_314, sex: b'F', ..nobody };
        for (_, field) in Field::ALL {
            assert!(!nobody.agrees(&nobody, field) && !somebody.agrees(&nobody, field));
            assert_eq!(somebody.agrees(&somebody, field), somebody.has(field));
        }
        assert_eq!(hash_of(&[Field::Family, Field::Given], &somebody), None);
        let mut packed = String::new();
        somebody.pack(&mut packed);
        packed.push_str("rest");
        let (read, rest) = Demographics::unpack(&packed, 19_510_314, b'F');
        assert!(read == somebody && rest == "rest");
    }
}
