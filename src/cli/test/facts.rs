//! `facts.toml` and `facts.json`: what must hold of a translation, one line each, written by hand.
//!
//! ```toml
//! Patient.birthDate = "1958-04-17"                      # this value, and no other
//! Patient.name.given = ["Odile", "Marguerite"]          # these, in any order
//! Patient.identifier = { contains = { system = "https://harborpt.example/ids/mrn", value = "70011834" } }
//! Patient.deceasedBoolean = { absent = true }
//! Observation = { count = 15 }
//! "Observation[code.coding.code=2345-7].note.text" = { text = "haemolysed" }
//! ```
use super::path::{Path, Place, text};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A fact.
#[derive(Debug)]
pub(super) struct Fact {
    /// As written.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    parsed: Path,
    wanted: Wanted,
}

#[derive(Debug, PartialEq)]
enum Wanted {
    /// At least one value, and each is this.
    Is(Value),
    /// Exactly these, in any order.
    Are(Vec<Value>),
    /// Among the values is one like this; an object needs only what is written.
    Contains(Value),
    /// One of the values is a text with this in it.
    Text(String),
    Count(usize),
    Exists(bool),
}

/// A fact that does not hold.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub path: String,
    pub line: usize,
    pub expected: String,
    pub found: String,
    /// Where what was found stands: the number of the Bundle and the path in it.
    pub places: Vec<(usize, String)>,
}

const OPERATORS: [&str; 5] = ["absent", "contains", "count", "exists", "text"];
/// A fact, its lists included, is no longer.
const LINES_MAX: usize = 200;
/// Of more values, the first are shown.
const SHOWN_MAX: usize = 5;

impl Fact {
    /// What is wrong, if it does not hold.
    pub fn judge(&self, bundles: &[Value]) -> Option<Broken> {
        let places = self.parsed.places(bundles);
        let values: Vec<&Value> = places.iter().map(|place| place.value).collect();
        let holds = match &self.wanted {
            Wanted::Is(wanted) => !values.is_empty() && values.iter().all(|value| same(wanted, value)),
            Wanted::Are(wanted) => are(wanted, &values),
            Wanted::Contains(wanted) => values.iter().any(|value| covers(wanted, value)),
            Wanted::Text(wanted) => values.iter().any(|value| value.as_str().is_some_and(|text| text.contains(wanted))),
            Wanted::Count(wanted) => values.len() == *wanted,
            Wanted::Exists(wanted) => values.is_empty() != *wanted,
        };
        (!holds).then(|| self.broken(&places))
    }

    fn broken(&self, places: &[Place<'_>]) -> Broken {
        let expected = match &self.wanted {
            Wanted::Is(value) => value.to_string(),
            Wanted::Are(values) => format!("exactly {}", Value::Array(values.clone())),
            Wanted::Contains(value) => format!("one like {value}"),
            Wanted::Text(text) => format!("a text with {text:?} in it"),
            Wanted::Count(count) => format!("{count} of them"),
            Wanted::Exists(true) => "a value".to_owned(),
            Wanted::Exists(false) => "nothing".to_owned(),
        };
        let shown: Vec<String> = places.iter().take(SHOWN_MAX).map(|place| place.value.to_string()).collect();
        let count = matches!(self.wanted, Wanted::Count(_)).then(|| format!("{}: ", places.len())).unwrap_or_default();
        let more =
            if places.len() > SHOWN_MAX { format!(", and {} more", places.len() - SHOWN_MAX) } else { String::new() };
        let found = if places.is_empty() { "nothing".to_owned() } else { format!("{count}{}{more}", shown.join(", ")) };
        let places = places.iter().take(SHOWN_MAX).map(|place| (place.bundle, place.path.clone())).collect();
        Broken { path: self.path.clone(), line: self.line, expected, found, places }
    }
}

/// Whether a found value is the one written. Numbers are the same when they are as large, texts when they read the same.
fn same(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a)),
        (Value::String(wanted), found) if !found.is_object() && !found.is_array() => text(found) == *wanted,
        _ => wanted == found,
    }
}

fn are(wanted: &[Value], found: &[&Value]) -> bool {
    let mut left = found.to_vec();
    wanted.iter().all(|wanted| {
        let at = left.iter().position(|value| same(wanted, value));
        at.map(|at| left.swap_remove(at)).is_some()
    }) && left.is_empty()
}

/// Whether everything that is written is there.
fn covers(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(name, value)| found.get(name).is_some_and(|found| covers(value, found)))
        }
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.iter().all(|value| found.iter().any(|found| covers(value, found)))
        }
        // A list of one may be written as that one.
        (wanted, Value::Array(found)) => found.iter().any(|found| covers(wanted, found)),
        _ => same(wanted, found),
    }
}

/// The facts of a TOML file; its mistakes with their lines otherwise.
///
/// Each fact is read on its own: as one document `Patient = { count = 1 }` and `Patient.birthDate = …` would be the same key twice.
pub(super) fn read_toml(source: &str) -> Result<Vec<Fact>, Vec<String>> {
    let lines: Vec<&str> = source.lines().collect();
    let mut reader = Reader { facts: Vec::new(), mistakes: Vec::new() };
    let mut at = 0;
    while at < lines.len() {
        let number = at + 1;
        let bare = lines[at].trim();
        if bare.is_empty() || bare.starts_with('#') {
            at += 1;
        } else if bare.starts_with('[') {
            reader.mistakes.push(format!("{number}: sections mean nothing here; write the whole path on each line"));
            at += 1;
        } else {
            at += reader.fact_at(&lines[at..], number);
        }
    }
    reader.done()
}

/// The same as JSON: an object from paths to what is wanted.
pub(super) fn read_json(source: &str) -> Result<Vec<Fact>, Vec<String>> {
    let object = match serde_json::from_str::<Value>(source) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(vec!["1: facts are one object, from paths to what is wanted".into()]),
        Err(error) => return Err(vec![format!("{}: {error}", error.line())]),
    };
    let mut reader = Reader { facts: Vec::new(), mistakes: Vec::new() };
    for (path, value) in object {
        let line = source.find(&Value::from(path.as_str()).to_string()).map_or(1, |at| line_of(source, at));
        reader.fact(&path, line, value);
    }
    reader.done()
}

struct Reader {
    facts: Vec<Fact>,
    mistakes: Vec<String>,
}

impl Reader {
    fn done(self) -> Result<Vec<Fact>, Vec<String>> {
        if self.mistakes.is_empty() { Ok(self.facts) } else { Err(self.mistakes) }
    }

    /// Reads the fact that begins on the first line, and says how many lines it has.
    fn fact_at(&mut self, lines: &[&str], number: usize) -> usize {
        let mut text = String::new();
        let mut first = None;
        for (count, line) in lines.iter().take(LINES_MAX).enumerate() {
            text.push_str(line);
            text.push('\n');
            match DeTable::parse(&text) {
                Ok(document) => {
                    self.table("", document.get_ref(), &text, number);
                    return count + 1;
                }
                Err(error) => drop(first.get_or_insert_with(|| error.message().to_owned())),
            }
        }
        let quoted = !lines[0].trim_start().starts_with('"')
            && lines[0].split('=').next().is_some_and(|key| key.contains(['[', '(', '>']));
        let help = if quoted { "; put a path with `[`, `(` or `->` in quotes" } else { "" };
        self.mistakes.push(format!("{number}: {}{help}", first.unwrap_or_default()));
        1
    }

    /// Keys with dots are tables within tables to TOML; only one in braces says what is wanted.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>, source: &str, line: usize) {
        for (key, value) in table {
            let path =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            match value.get_ref() {
                DeValue::Table(inner) if !source[value.span().start..].starts_with('{') => {
                    self.table(&path, inner, source, line)
                }
                _ => match json(value) {
                    Ok(value) => self.fact(&path, line, value),
                    Err(what) => self.mistakes.push(format!("{line}: {path}: {what}")),
                },
            }
        }
    }

    fn fact(&mut self, path: &str, line: usize, value: Value) {
        let read = Path::parse(path).and_then(|parsed| Ok((parsed, wanted(value)?)));
        match read {
            Ok((parsed, all)) => self.facts.extend(all.into_iter().map(|wanted| Fact {
                path: path.to_owned(),
                line,
                parsed: parsed.clone(),
                wanted,
            })),
            Err(what) => self.mistakes.push(format!("{line}: {path}: {what}")),
        }
    }
}

fn wanted(value: Value) -> Result<Vec<Wanted>, String> {
    match value {
        Value::Object(operators) => {
            if operators.is_empty() {
                return Err(format!("in the braces stands one of {}", OPERATORS.join(", ")));
            }
            operators.into_iter().map(|(name, value)| operator(&name, value)).collect()
        }
        Value::Array(values) if values.iter().any(|v| v.is_array() || v.is_object()) => {
            Err("a list holds texts, numbers and words only; `{ contains = … }` looks for more".into())
        }
        Value::Array(values) => Ok(vec![Wanted::Are(values)]),
        value => Ok(vec![Wanted::Is(value)]),
    }
}

fn operator(name: &str, value: Value) -> Result<Wanted, String> {
    let wrong = |what: &str| Err(format!("`{name}` takes {what}"));
    match (name, value) {
        ("count", value) => match value.as_u64() {
            Some(count) => Ok(Wanted::Count(count as usize)),
            None => wrong("a number"),
        },
        ("exists", Value::Bool(word)) => Ok(Wanted::Exists(word)),
        ("absent", Value::Bool(word)) => Ok(Wanted::Exists(!word)),
        ("exists" | "absent", _) => wrong("true or false"),
        ("contains", value) => Ok(Wanted::Contains(value)),
        ("text", Value::String(text)) => Ok(Wanted::Text(text)),
        ("text", _) => wrong("a text"),
        _ => Err(format!("`{name}` means nothing here; known: {}", OPERATORS.join(", "))),
    }
}

/// A TOML value as JSON; numbers as written, dates as text.
fn json(value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    let number = |text: &str| {
        let plain = text.replace('_', "");
        serde_json::from_str(plain.trim_start_matches('+')).map_err(|_| format!("`{text}` is no decimal number"))
    };
    Ok(match value.get_ref() {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(word) => (*word).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Integer(digits) if digits.radix() == 10 => number(digits.as_str())?,
        DeValue::Integer(digits) => return Err(format!("`{}` is no decimal number", digits.as_str())),
        DeValue::Float(digits) => number(digits.as_str())?,
        DeValue::Array(items) => items.iter().map(json).collect::<Result<Vec<Value>, String>>()?.into(),
        DeValue::Table(table) => {
            let members = table.iter().map(|(key, value)| Ok((key.get_ref().to_string(), json(value)?)));
            Value::Object(members.collect::<Result<_, String>>()?)
        }
    })
}

fn line_of(source: &str, at: usize) -> usize {
    source[..at.min(source.len())].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bundles() -> Vec<Value> {
        vec![json!({ "resourceType": "Bundle", "entry": [
            { "resource": { "resourceType": "Patient", "birthDate": "1958-04-17", "active": true,
                "name": [{ "family": "Castellane", "given": ["Odile", "Marguerite"] }],
                "identifier": [{ "system": "m", "value": "1", "type": { "coding": [{ "code": "MR" }] } }, { "system": "s", "value": "2" }] } },
            { "resource": { "resourceType": "Observation", "valueQuantity": { "value": 5.60 }, "note": [{ "text": "slightly haemolysed" }] } } ] })]
    }

    fn broken(toml: &str) -> Vec<(usize, String, String)> {
        let facts = read_toml(toml).unwrap();
        let judged = facts.iter().filter_map(|fact| fact.judge(&bundles()));
        judged.map(|broken| (broken.line, broken.path, broken.found)).collect()
    }

    #[test]
    fn facts_that_hold() {
        let toml = "
            Patient.birthDate = 1958-04-17
            Patient.name.given = [\"Marguerite\", \"Odile\"]
            Patient = { count = 1, exists = true }
            \"Patient.name[0]\".family = \"Castellane\"
            Patient.identifier = { contains = { system = \"m\", type = { coding = { code = \"MR\" } } } }
            Patient.gender = { absent = true }
            Observation.valueQuantity.value = 5.6
            Encounter = { exists = false }
            Observation.note.text = { text = \"haemolysed\" }
            Patient.active = true  # by the way
            Patient.identifier.value = [
                \"2\", # in any order
                \"1\",
            ]
        ";
        assert_eq!(broken(toml), []);
        assert_eq!(read_toml(toml).unwrap().len(), 12);
        let json = r#"{ "Patient.birthDate": "1958-04-17", "Patient.identifier.value": ["1", "2"], "Observation": { "count": 1 } }"#;
        assert!(read_json(json).unwrap().iter().all(|fact| fact.judge(&bundles()).is_none()));
    }

    #[test]
    fn facts_that_do_not_hold() {
        let toml = "Patient.birthDate = \"1958-04-18\"\nPatient.name.given = \"Odile\"\nPatient.name = { count = 2 }\n\
                    Patient.identifier = { contains = { system = \"m\", value = \"2\" } }\nPatient.active = { absent = true }\n\
                    Patient.gender = { exists = true }\nPatient.name.given = [\"Odile\"]\n\"Observation.note.text\" = { text = \"lipaemic\" }\n";
        let found = broken(toml);
        let lines: Vec<usize> = found.iter().map(|(line, _, _)| *line).collect();
        assert_eq!(found.len(), 8, "{found:?}");
        assert!((1..=8).all(|line| lines.contains(&line)), "{found:?}");
        assert!(found.contains(&(1, "Patient.birthDate".into(), "\"1958-04-17\"".into())));
        assert!(found.contains(&(6, "Patient.gender".into(), "nothing".into())));
    }

    #[test]
    fn mistakes_have_their_line() {
        for (wrong, told) in [
            (
                "\nPatient.birthdate = 1",
                "2: Patient.birthdate: Patient has no element `birthdate`; did you mean `birthDate`?",
            ),
            (
                "Patient.name = { size = 1 }",
                "1: Patient.name: `size` means nothing here; known: absent, contains, count",
            ),
            ("Patient.name = { count = true }", "`count` takes a number"),
            ("Patient.name = {}", "in the braces"),
            ("Patient.name = [{ given = 1 }]", "a list holds texts"),
            ("Patient.name = ", "1: "),
            ("Patient.active = true\n[Patient]\n", "2: sections mean nothing here"),
            ("Patient.name[0].family = 1", "1: "),
            ("Patient.name[0].family = 1", "in quotes"),
            ("Patient.name = [\n1,\nPatient.active = true", "1: "),
        ] {
            let mistakes = read_toml(wrong).unwrap_err();
            assert!(mistakes[0].contains(told), "{wrong}: {mistakes:?}");
        }
        assert!(read_json("{\n\"Patient.birthdate\": 1}").unwrap_err()[0].starts_with("2: "));
        assert!(read_json("[]").is_err() && read_json("{").is_err());
    }
}
