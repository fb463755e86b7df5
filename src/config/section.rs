//! Reading one TOML table: each key is asked for once, by its type; what nobody asked for is a mistake.
use super::problem::Document;
use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table of the file.
pub(super) struct Section<'a> {
    pub document: &'a Document<'a>,
    pub at: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

/// A value and where it stands.
pub(super) struct Placed<T> {
    pub value: T,
    pub at: Range<usize>,
}

impl<'a> Section<'a> {
    pub fn new(document: &'a Document<'a>, at: Range<usize>, table: &'a DeTable<'a>) -> Section<'a> {
        Section { document, at, table, known: RefCell::default() }
    }

    /// Notes a mistake at the whole section.
    pub fn wrong(&self, text: impl Into<String>) {
        self.document.wrong(Some(self.at.clone()), text);
    }

    /// A text, `${NAME}` replaced.
    pub fn text(&self, key: &'static str) -> Option<Placed<String>> {
        self.known.borrow_mut().push(key);
        self.text_of(key)
    }

    fn text_of(&self, key: &str) -> Option<Placed<String>> {
        let value = self.find(key)?;
        let text = self.typed(key, value, "a text in quotes", DeValue::as_str)?;
        Some(Placed { value: self.document.expand(text, value.span()), at: value.span() })
    }

    /// A text that nobody should read here: `${NAME}` or `file:PATH`, whose content it then is.
    pub fn secret(&self, key: &'static str) -> Option<Placed<String>> {
        let text = self.secret_file(key)?;
        if text.value.is_empty() || text.value.contains(char::is_control) {
            self.document.wrong(Some(text.at), format!("{key} is empty or holds control characters"));
            return None;
        }
        Some(text)
    }

    /// The same of several lines, such as a key in PEM.
    pub fn secret_file(&self, key: &'static str) -> Option<Placed<String>> {
        let mut text = self.text(key)?;
        if let Some(path) = text.value.strip_prefix("file:") {
            let path = self.document.relative(path);
            match std::fs::read_to_string(&path) {
                Ok(content) => text.value = content.trim().to_owned(),
                Err(error) => {
                    self.document.wrong(Some(text.at), format!("{key}: {} cannot be read: {error}", path.display()));
                    return None;
                }
            }
        }
        Some(text)
    }

    /// The keys that stand here, for a table whose keys are values themselves. None of them counts as unknown: whoever asks judges each.
    pub fn keys(&self) -> Vec<Placed<String>> {
        self.table.keys().map(|key| Placed { value: key.get_ref().to_string(), at: key.span() }).collect()
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Placed<String>>> {
        self.list(key, self.value(key)?)
    }

    /// A table of tables, whatever their keys.
    pub fn all_tables(self) -> Vec<(String, Section<'a>)> {
        let section = |(key, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            let table = self.typed(key, value, "a table", DeValue::as_table)?;
            Some((key.clone().into_owned(), Section::new(self.document, value.span(), table)))
        };
        self.table.iter().filter_map(section).collect()
    }

    /// A table of lists of texts, whatever their keys.
    pub fn all_texts(self) -> Vec<(String, Vec<Placed<String>>)> {
        let list = |(key, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            Some((key.clone().into_owned(), self.list(key, value)?))
        };
        self.table.iter().filter_map(list).collect()
    }

    fn list(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Vec<Placed<String>>> {
        let form = "a list of texts in quotes";
        let array = self.typed(key, value, form, DeValue::as_array)?;
        let text = |value: &'a Spanned<DeValue<'a>>| {
            let text = self.typed(key, value, form, DeValue::as_str)?;
            Some(Placed { value: self.document.expand(text, value.span()), at: value.span() })
        };
        Some(array.iter().filter_map(text).collect())
    }

    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        self.typed(key, value, "true or false", DeValue::as_bool)
    }

    /// A whole number from `min` on.
    pub fn number<T: TryFrom<i64>>(&self, key: &'static str, min: i64) -> Option<T> {
        let value = self.value(key)?;
        let number = |value: &DeValue<'_>| {
            let integer = value.as_integer()?;
            i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix())
                .ok()
                .filter(|number| *number >= min)
                .and_then(|number| T::try_from(number).ok())
        };
        self.typed(key, value, &format!("a whole number, {min} or more"), number)
    }

    /// A number with or without decimals, from `min` to `max`.
    pub fn decimal(&self, key: &'static str, min: f64, max: f64) -> Option<f64> {
        let value = self.value(key)?;
        let number = |value: &DeValue<'_>| {
            let text = value.as_float().map(|float| float.as_str());
            let text = text
                .or_else(|| value.as_integer().filter(|integer| integer.radix() == 10).map(|integer| integer.as_str()));
            text?.replace('_', "").parse().ok().filter(|number| (min..=max).contains(number))
        };
        self.typed(key, value, &format!("a number from {min} to {max}"), number)
    }

    /// A list of lists of texts.
    pub fn lists(&self, key: &'static str) -> Option<Vec<Placed<Vec<String>>>> {
        let form = "a list of lists of texts, such as [[\"dob\", \"sex\"]]";
        let value = self.value(key)?;
        let array = self.typed(key, value, form, DeValue::as_array)?;
        let list = |value: &'a Spanned<DeValue<'a>>| {
            let texts = self.typed(key, value, form, DeValue::as_array)?;
            let text = |text: &'a Spanned<DeValue<'a>>| self.typed(key, text, form, DeValue::as_str).map(str::to_owned);
            Some(Placed { value: texts.iter().filter_map(text).collect(), at: value.span() })
        };
        Some(array.iter().filter_map(list).collect())
    }

    /// A time span such as `"90s"`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let parsed = parse_duration(&text.value);
        if parsed.is_none() {
            self.document.wrong(
                Some(text.at),
                format!("{key} must be a time span such as \"500ms\", \"30s\", \"5m\" or \"72h\""),
            );
        }
        parsed
    }

    /// A number of bytes such as `"50GB"`.
    pub fn size(&self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        let parsed = parse_size(&text.value);
        if parsed.is_none() {
            self.document.wrong(Some(text.at), format!("{key} must be a size such as \"500MB\" or \"50GB\""));
        }
        parsed
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.known.borrow_mut().push(key);
        self.choice_of(key, choices)
    }

    /// The same of one of [`Section::keys`].
    pub fn choice_of<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text_of(key)?;
        let found = choices.iter().find(|(name, _)| *name == text.value).map(|(_, choice)| *choice);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let hint = closest(&text.value, choices.iter().map(|(name, _)| *name))
                .map(|name| format!("; did you mean \"{name}\"?"))
                .unwrap_or_default();
            self.document.wrong(Some(text.at), format!("{key} must be one of {}{hint}", names.join(", ")));
        }
        found
    }

    /// A table within this one.
    pub fn table(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        let table = self.typed(key, value, "a table", DeValue::as_table)?;
        Some(Section::new(self.document, value.span(), table))
    }

    /// Whether a table stands there, where something else could as well.
    pub fn is_table(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// The tables `[[key]]`.
    pub fn tables(&self, key: &'static str) -> Option<Vec<Section<'a>>> {
        self.sections(key, &format!("written as [[{key}]]"))
    }

    fn sections(&self, key: &'static str, form: &str) -> Option<Vec<Section<'a>>> {
        let value = self.value(key)?;
        let array = self.typed(key, value, form, DeValue::as_array)?;
        let section = |value: &'a Spanned<DeValue<'a>>| {
            Some(Section::new(self.document, value.span(), self.typed(key, value, form, DeValue::as_table)?))
        };
        Some(array.iter().filter_map(section).collect())
    }

    /// The tables in a list, `[{ … }, { … }]`.
    pub fn inline_tables(&self, key: &'static str) -> Option<Vec<Section<'a>>> {
        self.sections(key, "a list of tables in braces")
    }

    /// A table in braces, or a list of such.
    pub fn table_or_tables(&self, key: &'static str) -> Option<Vec<Section<'a>>> {
        match self.find(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.inline_tables(key),
            _ => self.table(key).map(|table| vec![table]),
        }
    }

    /// Refuses keys that have a meaning, only not in this version: to ignore them would be worse.
    pub fn not_yet(&self, keys: &[&'static str]) {
        for key in keys {
            if let Some(at) = self.place(key) {
                self.known.borrow_mut().push(key);
                self.document.wrong(Some(at), format!("{key} is not supported by this version; remove it"));
            }
        }
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        let known = self.known.into_inner();
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let hint = match closest(name, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.document.wrong(Some(key.span()), format!("unknown key \"{name}\"; {hint}"));
        }
    }

    /// Whether anything stands there; it is asked for as well.
    pub fn is_there(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn place(&self, key: &str) -> Option<Range<usize>> {
        self.table.keys().find(|name| name.get_ref().as_ref() == key).map(Spanned::span)
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    fn typed<'v, T>(
        &self,
        key: &str,
        value: &'v Spanned<DeValue<'v>>,
        form: &str,
        read: impl FnOnce(&'v DeValue<'v>) -> Option<T>,
    ) -> Option<T> {
        let found = read(value.get_ref());
        if found.is_none() {
            self.document.wrong(Some(value.span()), format!("{key} must be {form}"));
        }
        found
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The name that was probably meant.
pub(super) fn closest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.map(|name| (distance(word, name), name)).min()?;
    (near.0 <= (word.len() / 3).max(1)).then_some(near.1)
}

/// Edit distance (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (to_at, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[to_at + 1];
            row[to_at + 1] = changed.min(diagonal + 1).min(row[to_at] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans() {
        let ms = |text| parse_duration(text).map(|span| span.as_millis());
        assert_eq!(
            [ms("500ms"), ms("1s"), ms("5m"), ms("72h"), ms("2d")],
            [Some(500), Some(1000), Some(300_000), Some(259_200_000), Some(172_800_000)]
        );
        assert_eq!([ms(""), ms("5"), ms("s"), ms("1.5s"), ms("-1s"), ms("99999999999999999999s")], [None; 6]);
    }

    #[test]
    fn sizes() {
        assert_eq!([parse_size("50GB"), parse_size("3 KB")], [Some(50 << 30), Some(3 << 10)]);
        assert_eq!(["", "50", "GB", "1.5GB", "99999999TB"].map(parse_size), [None; 5]);
    }

    #[test]
    fn the_name_that_was_meant() {
        let names = ["listener", "route", "data"];
        assert_eq!(closest("lisener", names.into_iter()), Some("listener"));
        assert_eq!(closest("routes", names.into_iter()), Some("route"));
        assert_eq!(closest("xyz", names.into_iter()), None);
    }
}
