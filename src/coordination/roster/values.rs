//! Values as they are compared: names without accents and marks, dates, digits. Placeholders, which systems write where they know nothing, are no values.
use super::options::DateForm;
use jiff::civil::Date;

/// A family name: letters and digits, upper case, without `JR` and the like behind it.
pub(super) fn family(text: &str) -> String {
    let name = name(text, |last| matches!(last, "JR" | "SR" | "II" | "III" | "IV"));
    if matches!(name.as_str(), "UNKNOWN" | "UNK" | "UNIDENTIFIED" | "NLN" | "NONAME") { String::new() } else { name }
}

/// A given name, without a middle initial.
pub(super) fn given(text: &str) -> String {
    let name = name(text, |last| last.len() == 1);
    let whole = ["UNKNOWN", "UNK", "NFN", "NONAME", "BABY", "BOY", "GIRL", "INFANT", "MALE", "FEMALE", "BB", "BG"];
    let begins = ["BABYBOY", "BABYGIRL", "BABYMALE", "BABYFEMALE", "NEWBORN", "INFANTOF"];
    let nobody = whole.contains(&name.as_str()) || begins.iter().any(|start| name.starts_with(start));
    if nobody { String::new() } else { name }
}

/// Whether family and given name are what somebody without a name is called.
pub(super) fn is_nobody(family: &str, given: &str) -> bool {
    family == "DOE" && matches!(given, "JOHN" | "JANE")
}

fn name(text: &str, is_addition: impl Fn(&str) -> bool) -> String {
    let (mut out, mut word) = (String::with_capacity(text.len()), String::new());
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '.')).filter(|word| !word.is_empty());
    let mut next = words.next();
    while let Some(current) = next {
        next = words.next();
        word.clear();
        current.chars().for_each(|character| plain(character, &mut word));
        if !(next.is_none() && !out.is_empty() && is_addition(&word)) {
            out.push_str(&word);
        }
    }
    out
}

/// A street or town: words in upper case, the usual ones shortened.
pub(super) fn address(text: &str) -> String {
    let (mut out, mut word) = (String::with_capacity(text.len()), String::new());
    for part in text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()) {
        word.clear();
        part.chars().for_each(|character| plain(character, &mut word));
        if !out.is_empty() {
            out.push(' ');
        }
        let short = SHORT.iter().find(|(long, _)| *long == word).map(|(_, short)| *short);
        out.push_str(short.unwrap_or(&word));
    }
    if matches!(out.as_str(), "UNKNOWN" | "NONE" | "HOMELESS" | "NO ADDRESS" | "N A") { String::new() } else { out }
}

/// Words of addresses (USPS Publication 28, appendix C).
const SHORT: [(&str, &str); 18] = [
    ("AVENUE", "AVE"),
    ("BOULEVARD", "BLVD"),
    ("CIRCLE", "CIR"),
    ("COURT", "CT"),
    ("DRIVE", "DR"),
    ("HIGHWAY", "HWY"),
    ("LANE", "LN"),
    ("PARKWAY", "PKWY"),
    ("PLACE", "PL"),
    ("ROAD", "RD"),
    ("STREET", "ST"),
    ("APARTMENT", "APT"),
    ("SUITE", "STE"),
    ("NORTH", "N"),
    ("SOUTH", "S"),
    ("EAST", "E"),
    ("WEST", "W"),
    ("SAINT", "ST"),
];

/// A postal code: five digits of a ZIP or ZIP+4, others whole.
pub(super) fn zip(text: &str) -> String {
    let mut zip: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    zip.make_ascii_uppercase();
    if (zip.len() == 5 || zip.len() == 9) && zip.bytes().all(|byte| byte.is_ascii_digit()) {
        zip.truncate(5);
    }
    if zip.len() < 3 || is_repeated(&zip) && matches!(zip.as_bytes().first(), Some(b'0' | b'9')) {
        zip.clear();
    }
    zip
}

/// Digits of a telephone number, without the 1 of North America.
pub(super) fn phone(text: &str) -> String {
    let mut digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if digits.len() == 11 && digits.starts_with('1') {
        digits.remove(0);
    }
    if digits.len() < 7 || is_repeated(&digits) || digits == "1234567890" {
        digits.clear();
    }
    digits
}

/// Sex as a letter; 0 where it is not known.
pub(super) fn sex(text: &str) -> u8 {
    match text.trim().bytes().next().map(|first| first.to_ascii_uppercase()) {
        Some(b'U') | None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => letter,
        Some(_) => 0,
    }
}

/// An identifier as it is compared; none for a placeholder. Dashes count, except where the system prints its numbers with them.
pub(super) fn identifier(text: &str, printed_with_dashes: bool) -> Option<String> {
    let goes = |c: &char| c.is_whitespace() || c.is_control() || printed_with_dashes && *c == '-';
    let mut value: String = text.chars().filter(|c| !goes(c)).collect();
    value.make_ascii_uppercase();
    let placeholder = ["", "UNKNOWN", "UNK", "NONE", "NULL", "NA", "N/A", "PENDING", "TBD", "\"\"", "123456789"];
    let nothing =
        placeholder.contains(&value.as_str()) || is_repeated(&value) && !value.starts_with(char::is_alphabetic);
    (!nothing).then_some(value)
}

/// The same character three times or more, and no other: `999999999`, `---`.
fn is_repeated(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    text.len() >= 3 && characters.all(|character| Some(character) == first)
}

/// Free text that is only kept: one line, trimmed.
pub(super) fn kept(text: &str) -> String {
    text.trim().chars().filter(|character| !character.is_control()).collect()
}

/// A text is no date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoDate;

/// A date; none for nothing and for what stands for nothing.
pub(super) fn date(text: &str, form: DateForm) -> Result<Option<Date>, NoDate> {
    let text = text.trim();
    // Spreadsheets and databases add a time of day.
    let text = match text.find([' ', 'T']) {
        Some(at) if text[at + 1..].starts_with(|c: char| c.is_ascii_digit()) => &text[..at],
        _ => text,
    };
    if text.is_empty() || text.bytes().all(|byte| matches!(byte, b'0' | b'-' | b'/')) {
        return Ok(None);
    }
    let iso = || parts(text, '-').filter(|_| text.len() == 10).map(|[year, month, day]| (year, month, day));
    let us = || parts(text, '/').filter(|[_, _, year]| *year > 999).map(|[month, day, year]| (year, month, day));
    let compact = || {
        let number = Some(text).filter(|text| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()))?;
        let number: i32 = number.parse().ok()?;
        Some((number / 10_000, number / 100 % 100, number % 100))
    };
    let (year, month, day) = match form {
        DateForm::Iso => iso(),
        DateForm::Us => us(),
        DateForm::Compact => compact(),
        DateForm::Detect => iso().or_else(us).or_else(compact),
    }
    .ok_or(NoDate)?;
    let small = |number: i32| i8::try_from(number).map_err(|_| NoDate);
    let year = i16::try_from(year).map_err(|_| NoDate)?;
    let date = Date::new(year, small(month)?, small(day)?).map_err(|_| NoDate)?;
    let nothing =
        !(1850..2200).contains(&year) || date == Date::constant(1900, 1, 1) || date == Date::constant(1899, 12, 30);
    Ok((!nothing).then_some(date))
}

fn parts(text: &str, separator: char) -> Option<[i32; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse().ok() } else { None }
    });
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

/// A date of birth as a number: `19510314`.
pub(super) fn number(date: Date) -> u32 {
    let (year, month, day) = (date.year().unsigned_abs(), date.month().unsigned_abs(), date.day().unsigned_abs());
    u32::from(year) * 10_000 + u32::from(month) * 100 + u32::from(day)
}

/// Letters without accents and digits in upper case; other marks go.
fn plain(character: char, out: &mut String) {
    if character.is_ascii() {
        if character.is_ascii_alphanumeric() {
            out.push(character.to_ascii_uppercase());
        }
        return;
    }
    for upper in character.to_uppercase() {
        match upper {
            'À'..='Å' | 'Ā' | 'Ă' | 'Ą' => out.push('A'),
            'Æ' => out.push_str("AE"),
            'Ç' | 'Ć' | 'Ĉ' | 'Ċ' | 'Č' => out.push('C'),
            'Ð' | 'Ď' | 'Đ' => out.push('D'),
            'È'..='Ë' | 'Ē' | 'Ĕ' | 'Ė' | 'Ę' | 'Ě' => out.push('E'),
            'Ĝ' | 'Ğ' | 'Ġ' | 'Ģ' => out.push('G'),
            'Ĥ' | 'Ħ' => out.push('H'),
            'Ì'..='Ï' | 'Ĩ' | 'Ī' | 'Ĭ' | 'Į' | 'İ' => out.push('I'),
            'Ĵ' => out.push('J'),
            'Ķ' => out.push('K'),
            'Ĺ' | 'Ļ' | 'Ľ' | 'Ŀ' | 'Ł' => out.push('L'),
            'Ñ' | 'Ń' | 'Ņ' | 'Ň' => out.push('N'),
            'Ò'..='Ö' | 'Ø' | 'Ō' | 'Ŏ' | 'Ő' => out.push('O'),
            'Œ' => out.push_str("OE"),
            'Ŕ' | 'Ŗ' | 'Ř' => out.push('R'),
            'Ś' | 'Ŝ' | 'Ş' | 'Š' | 'Ș' => out.push('S'),
            'ẞ' => out.push_str("SS"),
            'Ţ' | 'Ť' | 'Ŧ' | 'Ț' => out.push('T'),
            'Ù'..='Ü' | 'Ũ' | 'Ū' | 'Ŭ' | 'Ů' | 'Ű' | 'Ų' => out.push('U'),
            'Ŵ' => out.push('W'),
            'Ý' | 'Ÿ' | 'Ŷ' => out.push('Y'),
            'Ź' | 'Ż' | 'Ž' => out.push('Z'),
            'Þ' => out.push_str("TH"),
            other if other.is_alphanumeric() => out.push(other),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_their_marks() {
        assert_eq!(family("O'Brien-Smith, Jr."), "OBRIENSMITH");
        assert_eq!(family("de la Cruz III"), "DELACRUZ");
        assert_eq!((family("Jr"), given("Q")), ("JR".into(), "Q".into()), "alone it is the name");
        assert_eq!((given("José María"), given("Marisol A.")), ("JOSEMARIA".into(), "MARISOL".into()));
        assert_eq!(
            (family("Müller"), family("Groß"), family("Łukasik")),
            ("MULLER".into(), "GROSS".into(), "LUKASIK".into())
        );
        assert_eq!(family("Жук"), "ЖУК");
    }

    #[test]
    fn placeholders_are_no_values() {
        for text in ["BABY BOY", "Baby Girl A", "newborn", "UNKNOWN", "BB", ""] {
            assert_eq!(given(text), "", "{text}");
        }
        for text in ["999999999", "000", "Unknown", "N/A", " ", "123456789", "---"] {
            assert_eq!(identifier(text, true), None, "{text}");
        }
        assert_eq!(identifier(" 1eg4-te5-mk73", true).as_deref(), Some("1EG4TE5MK73"));
        assert_eq!(identifier("00-12 a", false).as_deref(), Some("00-12A"));
        for text in ["1900-01-01", "01/01/1900", "19000101", "0000-00-00", "", "9999-12-31", "12/31/9999"] {
            assert_eq!(date(text, DateForm::Detect), Ok(None), "{text}");
        }
        assert_eq!(
            (phone("999-999-9999"), phone("(716) 555-0142"), phone("+1 716 555 0142")),
            ("".into(), "7165550142".into(), "7165550142".into())
        );
        assert_eq!(
            (zip("14150-1234"), zip("00000"), zip("k1a 0b1"), zip("22222")),
            ("14150".into(), "".into(), "K1A0B1".into(), "22222".into())
        );
        assert_eq!((sex("Female"), sex("u"), sex(""), sex("m")), (b'F', 0, 0, b'M'));
        assert!(is_nobody(&family("Doe"), &given("Jane")));
    }

    #[test]
    fn dates_in_their_spellings() {
        let day = Some(Date::constant(1951, 3, 14));
        for text in ["1951-03-14", "19510314", "03/14/1951", "3/14/1951", "1951-03-14T00:00:00", "3/14/1951 0:00"] {
            assert_eq!(date(text, DateForm::Detect), Ok(day), "{text}");
        }
        for text in [
            "14/03/1951",
            "3/14/51",
            "1951-3-14",
            "1951-02-30",
            "1951",
            "195103",
            "March 14",
            "19510314x",
            "1951-03-14-1",
        ] {
            assert_eq!(date(text, DateForm::Detect), Err(NoDate), "{text}");
        }
        assert_eq!(date("03/14/1951", DateForm::Iso), Err(NoDate), "told otherwise");
        assert_eq!(date("1951-03-14", DateForm::Us), Err(NoDate));
        assert_eq!(date("1951-03-14", DateForm::Compact), Err(NoDate));
        assert_eq!(number(Date::constant(1951, 3, 14)), 19_510_314);
    }

    #[test]
    fn addresses_are_shortened() {
        assert_eq!(address("418 Quarry Road, Apartment #2"), "418 QUARRY RD APT 2");
        assert_eq!((address("Saint  Paul"), address("unknown")), ("ST PAUL".into(), String::new()));
    }
}
