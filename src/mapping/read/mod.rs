//! TOML and CSV text → [`Sources`]. Every mistake of every file is reported; what can be read is kept.
mod tables;

use super::diagnostic::{Code, Diagnostics, nearest};
use super::expression::{self, Row, SyntaxError};
use super::source::*;
use super::{statement, target};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// Reads the files of the layers that are wanted, later ones over earlier ones. The others keep their number, so that a location means the same everywhere.
pub fn read(files: Vec<SourceFile>, wanted: &dyn Fn(&Layer) -> bool, diagnostics: &mut Diagnostics) -> Sources {
    let mut reader = Reader { sources: Sources { files, ..Sources::default() }, diagnostics, file: 0, chain: false };
    reader.all(wanted);
    reader.sources
}

/// Keys of a mapping file that are no maps.
const SECTIONS: [&str; 8] =
    ["structures", "events", "systems", "authorities", "short", "profile", "table", "structure"];

struct Reader<'d> {
    sources: Sources,
    diagnostics: &'d mut Diagnostics,
    file: u16,
    /// Right sides are names of maps, fed with the whole value.
    chain: bool,
}

impl Reader<'_> {
    fn all(&mut self, wanted: &dyn Fn(&Layer) -> bool) {
        let files = self.sources.files.clone();
        let mut documents = Vec::new();
        for (number, file) in files.iter().enumerate().filter(|(_, file)| wanted(&file.layer)) {
            self.file = number as u16;
            if let Some(name) = file.name.strip_suffix(".csv") {
                let name = name.rsplit('/').next().unwrap_or(name).to_owned();
                // A site's CSV only counts where a `[table.X] file = …` names it, or under tables/.
                self.csv(&name, &file.text);
            } else if file.name.ends_with(".toml") {
                let (document, errors) = DeTable::parse_recoverable(&file.text);
                for error in errors {
                    let at = self.location(error.span().unwrap_or(0..1));
                    self.diagnostics.error(Code::Toml, at, error.message().to_owned());
                }
                documents.push((number as u16, document));
            }
        }
        for (number, document) in &documents {
            self.file = *number;
            for entry in document.get_ref() {
                self.shared(entry);
            }
        }
        for (number, document) in &documents {
            self.file = *number;
            for entry in document.get_ref() {
                self.map_or_message(entry);
            }
        }
    }

    fn location(&self, span: std::ops::Range<usize>) -> Location {
        Location { file: self.file, start: span.start as u32, end: span.end as u32 }
    }

    fn table<'a, 'i>(&mut self, value: &'a Spanned<DeValue<'i>>, what: &str) -> Option<&'a DeTable<'i>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        let at = self.location(value.span());
        self.diagnostics.error(Code::ValueKind, at, format!("{what} must be a table"));
        None
    }

    fn string<'a>(&mut self, value: &'a Spanned<DeValue<'_>>, what: &str) -> Option<&'a str> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text);
        }
        let at = self.location(value.span());
        self.diagnostics.error(Code::ValueKind, at, format!("{what} must be a string"));
        None
    }

    fn strings(&mut self, value: &Spanned<DeValue<'_>>, what: &str) -> Vec<(String, Location)> {
        match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| self.string(item, what).map(|s| (s.to_owned(), self.location(item.span()))))
                .collect(),
            _ => self.string(value, what).map(|s| (s.to_owned(), self.location(value.span()))).into_iter().collect(),
        }
    }

    /// The tables that are not maps: structures, events, systems, authorities, short, profile, table, structure.
    fn shared(&mut self, (key, value): Entry<'_, '_>) {
        match key.get_ref().as_ref() {
            "structures" => {
                self.pairs(value, |s, name, text, at| drop(s.structures.insert(name.into(), (text.into(), at))))
            }
            "events" => self.pairs(value, |s, name, text, at| drop(s.events.insert(name.into(), (text.into(), at)))),
            "systems" => self.pairs(value, |s, name, text, _| drop(s.systems.insert(name.to_uppercase(), text.into()))),
            "authorities" => {
                self.pairs(value, |s, name, text, _| drop(s.authorities.insert(name.to_uppercase(), text.into())))
            }
            "short" => self.pairs(value, |s, name, text, _| drop(s.short.insert(name.into(), text.into()))),
            "profile" => self.profile(value),
            "table" => self.inline_tables(value),
            "structure" => self.insertions(value),
            _ => {}
        }
    }

    fn pairs(&mut self, value: &Spanned<DeValue<'_>>, mut put: impl FnMut(&mut Sources, &str, &str, Location)) {
        let Some(table) = self.table(value, "this section") else { return };
        for (key, value) in table {
            let at = self.location(key.span());
            if let Some(text) = self.string(value, "the right side") {
                put(&mut self.sources, key.get_ref(), text, at);
            }
        }
    }

    fn profile(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(table) = self.table(value, "profile") else { return };
        self.sources.profile.location = self.location(value.span());
        const KEYS: [&str; 7] = ["namespace", "timezone", "charset", "patient_types", "nulls", "extends", "when"];
        for (key, value) in table {
            let at = self.location(key.span());
            match key.get_ref().as_ref() {
                "namespace" => self.sources.profile.namespace = self.string(value, "namespace").map(str::to_owned),
                "timezone" => self.sources.profile.timezone = self.string(value, "timezone").map(str::to_owned),
                "charset" => self.sources.profile.charset = self.string(value, "charset").map(str::to_owned),
                "patient_types" => {
                    self.sources.profile.patient_types =
                        self.strings(value, "patient_types").into_iter().map(|(s, _)| s).collect()
                }
                "nulls" => match self.string(value, "nulls") {
                    Some("drop") => self.sources.profile.nulls = Nulls::Drop,
                    Some("data-absent") => self.sources.profile.nulls = Nulls::DataAbsent,
                    Some(other) => {
                        let text = format!("`{other}` is no way to treat nulls");
                        self.diagnostics.error(Code::ValueKind, at, text).suggest_last("`drop` or `data-absent`");
                    }
                    None => {}
                },
                // Which realms lie below is read by whoever composes the layers.
                "extends" => {}
                "when" => self.when(value),
                other => {
                    let text = format!("unknown key `{other}` in profile");
                    self.unknown(at, text, other, KEYS);
                }
            }
        }
    }

    /// `when = { MSH-3 = "OLDLAB", MSH-4 = ["A", "B"] }`.
    fn when(&mut self, value: &Spanned<DeValue<'_>>) {
        let at = self.location(value.span());
        let layer = self.sources.files.get(usize::from(self.file)).map(|file| file.layer.clone()).unwrap_or_default();
        if !matches!(layer, Layer::Site | Layer::Feed(_)) {
            self.diagnostics.error(Code::Key, at, "`when` chooses a site or a feed; this file is neither");
            return;
        }
        let Some(table) = self.table(value, "when") else { return };
        for (key, value) in table {
            let at = self.location(key.span());
            let path = key.get_ref().strip_prefix("MSH-").map(|rest| rest.split_once('.').unwrap_or((rest, "1")));
            let numbers = path.and_then(|(field, component)| Some((field.parse().ok()?, component.parse().ok()?)));
            let Some((field @ 3..=99, component @ 1..=99)) = numbers else {
                let text = format!("`{}` is no field of MSH", key.get_ref());
                self.diagnostics.error(Code::UnknownField, at, text).suggest_last("such as `MSH-3` or `MSH-4.2`");
                continue;
            };
            let values = self.strings(value, "the right side").into_iter().map(|(text, _)| text).collect();
            self.sources.when.entry(layer.clone()).or_default().push(When { field, component, values });
        }
    }

    fn unknown<const N: usize>(&mut self, at: Location, text: String, word: &str, known: [&str; N]) {
        let suggestion = match nearest(word, known) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.diagnostics.error(Code::Key, at, text).suggest_last(suggestion);
    }

    fn map_or_message(&mut self, (key, value): Entry<'_, '_>) {
        let name = key.get_ref().as_ref();
        if SECTIONS.contains(&name) {
            return;
        }
        let at = self.location(key.span());
        // Segments and datatypes are named in capitals: anything else is a section that somebody misspelt.
        if !name.contains('_') && name.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return self.unknown(
                at,
                format!("there is no section `{name}`, and no segment is called so"),
                name,
                SECTIONS,
            );
        }
        if self.sources.structures.contains_key(name) {
            self.message(name, at, value);
        } else if name.contains('_') {
            let suggestion = nearest(name, self.sources.structures.keys().map(String::as_str))
                .map(|n| format!("did you mean `{n}`?"));
            self.diagnostics
                .error(Code::UnknownStructure, at, format!("there is no message structure `{name}`"))
                .suggest_some(suggestion);
        } else if let Some(targets) = self.table(value, "a map") {
            for (to, body) in targets {
                let at = self.location(to.span());
                if let Some(body) = self.table(body, "a map") {
                    self.map(name, to.get_ref(), at, body);
                }
            }
        }
    }

    fn map(&mut self, from: &str, to: &str, location: Location, body: &DeTable<'_>) {
        let name = format!("{from}.{to}");
        let mut map = self.sources.maps.remove(&name).unwrap_or_else(|| MapSource {
            name: name.clone(),
            from: from.to_owned(),
            to: to.split('-').next().unwrap_or(to).to_owned(),
            location,
            identity: Vec::new(),
            parameters: Vec::new(),
            events: false,
            distinct: false,
            value: None,
            rows: Vec::new(),
        });
        for (key, value) in body {
            let at = self.location(value.span());
            match key.get_ref().as_ref() {
                "identity" => {
                    map.identity = self
                        .strings(value, "identity")
                        .into_iter()
                        .filter_map(|(text, at)| Some((self.identity(&text, at)?, at)))
                        .collect();
                }
                "params" => map.parameters = self.strings(value, "params").into_iter().map(|(s, _)| s).collect(),
                "events" => map.events = value.get_ref().as_bool() == Some(true),
                "distinct" => map.distinct = value.get_ref().as_bool() == Some(true),
                "value" => {
                    map.value =
                        self.string(value, "value").map(str::to_owned).and_then(|text| Some((self.row(&text, at)?, at)))
                }
                "set" => self.rows(value, &mut map.rows, false),
                "chain" => self.rows(value, &mut map.rows, true),
                "switch" => self.switches(value, &mut map.rows),
                other => {
                    let at = self.location(key.span());
                    self.unknown(
                        at,
                        format!("unknown key `{other}` in map {name}"),
                        other,
                        ["identity", "params", "events", "distinct", "value", "set", "chain", "switch"],
                    );
                }
            }
        }
        self.sources.maps.insert(name, map);
    }

    fn identity(&mut self, text: &str, at: Location) -> Option<Row> {
        if text == "patient" {
            return Some(Row {
                alternatives: vec![expression::Alternative {
                    value: expression::Value::Call("patient".into(), Vec::new()),
                    via: None,
                    table: None,
                    guard: None,
                }],
                demand: expression::Demand::None,
            });
        }
        self.row(text, at)
    }

    fn row(&mut self, text: &str, at: Location) -> Option<Row> {
        let parsed = if self.chain { expression::parse_chain(text) } else { expression::parse_row(text) };
        parsed.map_err(|e| self.syntax(e, at)).ok()
    }

    fn syntax(&mut self, error: SyntaxError, at: Location) {
        // The value's span begins at its opening quote.
        let start = at.start + 1 + error.offset as u32;
        let at = Location { start, end: start + 1, ..at };
        self.diagnostics.error(
            Code::Expression,
            at,
            format!("cannot read this expression: expected {}", error.expected),
        );
    }

    fn rows(&mut self, value: &Spanned<DeValue<'_>>, rows: &mut Vec<RowSource>, chain: bool) {
        let Some(table) = self.table(value, "set") else { return };
        for (key, value) in table {
            if let DeValue::String(text) = value.get_ref()
                && text.is_empty()
            {
                rows.retain(|row| row.key != key.get_ref().as_ref());
                continue;
            }
            self.chain = chain;
            if let Some(row) = self.row_source(key, value) {
                let whole = self.location(key.span().start..value.span().end);
                self.replace(whole, rows.iter().find(|old| old.key == row.key).map(|old| old.location));
                put(rows, row);
            }
            self.chain = false;
        }
    }

    /// Notes that a row takes the place of another one.
    fn replace(&mut self, new: Location, old: Option<Location>) {
        if let Some(old) = old {
            self.sources.replaced.push((new, old));
        }
    }

    fn row_source(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<RowSource> {
        let location = self.location(key.span());
        let text = key.get_ref().to_string();
        match target::parse(&text) {
            Ok(target) => Some(RowSource { key: text, target, location, value: self.row_value(value)? }),
            Err((offset, expected)) => {
                let start = location.start + offset as u32 + 1;
                self.diagnostics.error(
                    Code::UnknownElement,
                    Location { start, end: start + 1, ..location },
                    format!("cannot read the left side `{text}`: expected {expected}"),
                );
                None
            }
        }
    }

    fn row_value(&mut self, value: &Spanned<DeValue<'_>>) -> Option<RowValue> {
        let at = self.location(value.span());
        match value.get_ref() {
            DeValue::String(text) => Some(RowValue::Expression(self.row(text, at)?, at)),
            DeValue::Array(items) => {
                Some(RowValue::Many(items.iter().filter_map(|item| self.row_value(item)).collect()))
            }
            DeValue::Table(table) => {
                let (mut rows, mut guard) = (Vec::new(), None);
                for (key, value) in table {
                    if key.get_ref() == "if" {
                        let at = self.location(value.span());
                        let text = self.string(value, "if")?.to_owned();
                        guard = expression::parse_condition(&text).map_err(|e| self.syntax(e, at)).ok();
                    } else {
                        rows.extend(self.row_source(key, value));
                    }
                }
                Some(RowValue::Table(rows, guard))
            }
            _ => {
                self.diagnostics.error(
                    Code::ValueKind,
                    at,
                    "a row is an expression in quotes, a table of sub-rows, or an array of these",
                );
                None
            }
        }
    }

    fn switches(&mut self, value: &Spanned<DeValue<'_>>, rows: &mut Vec<RowSource>) {
        let Some(table) = self.table(value, "switch") else { return };
        for (key, body) in table {
            let location = self.location(key.span());
            let Some(body) = self.table(body, "a switch") else { continue };
            let target = match target::parse(key.get_ref()) {
                Ok(target) => target,
                Err((_, expected)) => {
                    self.diagnostics.error(
                        Code::UnknownElement,
                        location,
                        format!("cannot read the left side: expected {expected}"),
                    );
                    continue;
                }
            };
            let old = rows
                .iter()
                .find(|r| r.key == key.get_ref().as_ref())
                .and_then(|r| if let RowValue::Switch(s) = &r.value { Some(s.clone()) } else { None });
            let mut on = old.as_ref().map(|s| s.on.clone());
            let mut cases = old.map_or_else(Vec::new, |s| s.cases);
            for (code, value) in body {
                let at = self.location(value.span());
                let Some(text) = self.string(value, "a case").map(str::to_owned) else { continue };
                if code.get_ref() == "on" {
                    on = expression::parse_path(&text).map_err(|e| self.syntax(e, at)).ok();
                } else if let Some(row) = self.row(&text, at) {
                    let codes: Vec<String> = code.get_ref().split(',').map(|c| c.trim().to_owned()).collect();
                    let same = |(old, _, _): &(Vec<String>, Row, Location)| *old == codes;
                    self.replace(at, cases.iter().find(|case| same(case)).map(|(.., old)| *old));
                    cases.retain(|case| !same(case));
                    cases.push((codes, row, at));
                }
            }
            match on {
                Some(on) => put(
                    rows,
                    RowSource {
                        key: key.get_ref().to_string(),
                        target,
                        location,
                        value: RowValue::Switch(SwitchSource { on, cases }),
                    },
                ),
                None => drop(self.diagnostics.error(Code::Key, location, "a switch needs `on = \"<field>\"`")),
            }
        }
    }

    fn message(&mut self, name: &str, location: Location, value: &Spanned<DeValue<'_>>) {
        let Some(table) = self.table(value, "a message map") else { return };
        let mut message = self.sources.messages.remove(name).unwrap_or_else(|| MessageSource {
            name: name.to_owned(),
            location,
            ..MessageSource::default()
        });
        self.group("", table, &mut message);
        self.sources.messages.insert(name.to_owned(), message);
    }

    fn group(&mut self, path: &str, table: &DeTable<'_>, message: &mut MessageSource) {
        for (key, value) in table {
            let at = self.location(key.span());
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(inner) => {
                    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    self.group(&path, inner, message);
                }
                _ if path.is_empty() && name == "covers" => message.covers = self.strings(value, "covers"),
                _ if path.is_empty() && name == "extends" => {
                    message.extends = self.strings(value, "extends").into_iter().next()
                }
                _ => {
                    let statements = self.statements(value);
                    let place = PlaceSource { group: path.to_owned(), key: name.to_owned(), location: at, statements };
                    let same = |p: &PlaceSource| (p.group.as_str(), p.key.as_str()) == (path, name);
                    let whole = self.location(key.span().start..value.span().end);
                    self.replace(whole, message.places.iter().find(|p| same(p)).map(|p| p.location));
                    message.places.retain(|p| !same(p));
                    message.places.push(place);
                }
            }
        }
    }

    fn statements(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Statement> {
        let mut found = Vec::new();
        for (text, location) in self.strings(value, "a statement") {
            if text.is_empty() {
                continue;
            }
            match statement::parse(&text) {
                Ok(parsed) => found.push(Statement {
                    binding: parsed.binding,
                    add: parsed.add,
                    map: parsed.map,
                    links: parsed.links,
                    guard: parsed.guard,
                    location,
                }),
                Err((offset, message)) => {
                    let start = location.start + 1 + offset as u32;
                    self.diagnostics
                        .error(Code::Statement, Location { start, end: start + 1, ..location }, message)
                        .suggest_last("a statement is `name = Map; element -> name if condition`, such as `cov = IN1.Coverage; beneficiary -> patient if 1 valued`");
                }
            }
        }
        found
    }
}

fn put(rows: &mut Vec<RowSource>, row: RowSource) {
    match rows.iter_mut().find(|r| r.key == row.key) {
        Some(old) => *old = row,
        None => rows.push(row),
    }
}
