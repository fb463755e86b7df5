//! Code tables and structures of mapping files: CSV, inline rows, segments that a site inserts.
use super::Reader;
use crate::mapping::diagnostic::Code;
use crate::mapping::source::*;
use std::collections::HashMap;
use toml::Spanned;
use toml::de::DeValue;

impl Reader<'_> {
    pub(super) fn inline_tables(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(tables) = self.table(value, "table") else { return };
        for (name, rows) in tables {
            let Some(rows) = self.table(rows, "a code table") else { continue };
            for (code, value) in rows {
                let at = self.location(code.span());
                match value.get_ref() {
                    DeValue::String(path) if code.get_ref() == "file" => self.csv_reference(name.get_ref(), path, at),
                    DeValue::String(fhir) => {
                        let row = TableRow {
                            code: code.get_ref().to_string(),
                            fhir: fhir.to_string(),
                            location: at,
                            ..TableRow::default()
                        };
                        self.add_row(name.get_ref(), row);
                    }
                    DeValue::Table(columns) => {
                        let column = |name: &str| {
                            columns
                                .iter()
                                .find(|(k, _)| k.get_ref() == name)
                                .and_then(|(_, v)| v.get_ref().as_str())
                                .unwrap_or("")
                        };
                        let row = TableRow {
                            code: code.get_ref().to_string(),
                            fhir: column("code").into(),
                            display: column("display").into(),
                            system: column("system").into(),
                            location: at,
                        };
                        self.add_row(name.get_ref(), row);
                    }
                    _ => drop(self.diagnostics.error(
                        Code::ValueKind,
                        at,
                        "a row is `\"v2 code\" = \"FHIR code\"` or `{ code = …, display = …, system = … }`",
                    )),
                }
            }
        }
    }

    fn csv_reference(&mut self, table: &str, path: &str, at: Location) {
        let found = self.sources.files.iter().position(|f| f.name == path || f.name.ends_with(&format!("/{path}")));
        match found {
            Some(number) => {
                self.sources.named.push(number as u16);
                let (text, back) = (self.sources.files[number].text.clone(), self.file);
                self.file = number as u16;
                self.csv(table, &text);
                self.file = back;
            }
            None => drop(self.diagnostics.error(Code::Table, at, format!("no file `{path}` beside this one"))),
        }
    }

    pub(super) fn csv(&mut self, name: &str, text: &str) {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let headers = reader.headers().cloned().unwrap_or_default();
        let column = |record: &csv::StringRecord, names: [&str; 2]| {
            headers
                .iter()
                .position(|h| names.contains(&h.trim()))
                .and_then(|i| record.get(i))
                .unwrap_or("")
                .trim()
                .to_owned()
        };
        let place = |names: [&str; 2]| headers.iter().position(|header| names.contains(&header.trim()));
        let Some((_, fhir)) = place(["v2_code", "v2code"]).zip(place(["fhir_code", "code"])) else {
            let at = self.location(0..text.find('\n').unwrap_or(text.len()));
            self.diagnostics.error(
                Code::Table,
                at,
                "a code table begins with the line `v2_code,fhir_code,display,system`",
            );
            return;
        };
        let mut first: HashMap<String, usize> = HashMap::new();
        for record in reader.records() {
            match record {
                Ok(record) if record.iter().all(|cell| cell.trim().is_empty()) => {}
                Ok(record) => {
                    let start = record.position().map_or(0, |p| p.byte() as usize).min(text.len());
                    // Behind the empty lines before it.
                    let start = start + text[start..].bytes().take_while(|byte| b"\r\n".contains(byte)).count();
                    let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
                    let at = self.location(start..end);
                    if let Some((wrong, remedy)) = wrong_row(&record, headers.len(), fhir) {
                        self.diagnostics.error(Code::Table, at, wrong).suggest_last(remedy);
                        continue;
                    }
                    let code = column(&record, ["v2_code", "v2code"]);
                    if let Some(first) = first.get(&code) {
                        let line = text[..*first].matches('\n').count() + 1;
                        let text = format!("a second row for `{code}`: the first stands in line {line}");
                        self.diagnostics
                            .error(Code::Duplicate, at, text)
                            .suggest_last("remove one of the two; a code becomes one code");
                        continue;
                    }
                    first.insert(code.clone(), start);
                    let row = TableRow {
                        code,
                        fhir: column(&record, ["fhir_code", "code"]),
                        display: column(&record, ["display", "display"]),
                        system: column(&record, ["system", "system"]),
                        location: at,
                    };
                    self.add_row(name, row);
                }
                Err(error) => {
                    let start = error.position().map_or(0, |p| p.byte() as usize);
                    let at = self.location(start..start + 1);
                    self.diagnostics.error(Code::Table, at, error.to_string());
                }
            }
        }
    }

    fn add_row(&mut self, table: &str, row: TableRow) {
        let location = row.location;
        let table = self.sources.tables.entry(table.to_owned()).or_insert_with(|| TableSource {
            name: table.to_owned(),
            location,
            rows: Vec::new(),
        });
        match table.rows.iter_mut().find(|r| r.code == row.code) {
            Some(old) if old.location.file != location.file => {
                // A site row that only names a code keeps the system of the core table, which it overlays.
                let system = if row.system.is_empty() { std::mem::take(&mut old.system) } else { row.system.clone() };
                let before = std::mem::replace(old, TableRow { system, ..row });
                self.sources.replaced.push((location, before.location));
            }
            Some(_) => {}
            None => {
                let system = if row.system.is_empty() {
                    table.rows.iter().find(|r| r.fhir == row.fhir).map_or(String::new(), |r| r.system.clone())
                } else {
                    row.system.clone()
                };
                table.rows.push(TableRow { system, ..row });
            }
        }
    }

    /// `[structure.ADT_A01] insert = { ZPD = "after PD1" }`.
    pub(super) fn insertions(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(structures) = self.table(value, "structure") else { return };
        for (name, settings) in structures {
            let at = self.location(name.span());
            let Some(settings) = self.table(settings, "a structure") else { continue };
            for (key, inserts) in settings {
                if key.get_ref() != "insert" {
                    let (at, text) = (self.location(key.span()), format!("unknown key `{}`", key.get_ref()));
                    self.unknown(at, text, key.get_ref(), ["insert"]);
                    continue;
                }
                let Some(inserts) = self.table(inserts, "insert") else { continue };
                for (segment, place) in inserts {
                    let Some(place) = self.string(place, "a place").map(str::to_owned) else { continue };
                    self.insert(name.get_ref(), segment.get_ref(), &place, at);
                }
            }
        }
    }

    fn insert(&mut self, structure: &str, segment: &str, place: &str, at: Location) {
        let Some((grammar, _)) = self.sources.structures.get_mut(structure) else {
            self.diagnostics.error(Code::UnknownStructure, at, format!("there is no message structure `{structure}`"));
            return;
        };
        let anchor = place.strip_prefix("after ").unwrap_or("").trim();
        // The anchor as a word of the grammar, together with the brackets that close right behind it.
        let found = grammar.match_indices(anchor).find(|(i, _)| {
            let before = grammar[..*i].bytes().next_back();
            let after = grammar.as_bytes().get(i + anchor.len());
            !anchor.is_empty()
                && before.is_none_or(|b| b" [{(".contains(&b))
                && after.is_none_or(|b| b" ]})".contains(b))
        });
        match found {
            Some((i, _)) => {
                let mut end = i + anchor.len();
                while grammar.as_bytes().get(end).is_some_and(|b| b"]})".contains(b)) {
                    end += 1;
                }
                grammar.insert_str(end, &format!(" [{{{segment}}}]"));
            }
            None => self
                .diagnostics
                .error(
                    Code::UnknownSegment,
                    at,
                    format!("cannot insert `{segment}`: `{place}` names no segment of {structure}"),
                )
                .suggest_last("write `after PD1`"),
        }
    }
}

/// What is wrong with a row of a CSV table whose first line names so many columns, the FHIR code in the one of that number; and what to do.
fn wrong_row(record: &csv::StringRecord, columns: usize, fhir: usize) -> Option<(String, &'static str)> {
    // The reader takes what follows an open quote for one text, up to the end of the file.
    if record.iter().any(|cell| cell.contains('\n')) {
        let remedy = "close it on its line; a quote within a text is written twice";
        return Some(("a quote on this line is not closed".to_owned(), remedy));
    }
    let count = record.len();
    if count > columns {
        let remedy = "put a text that holds a comma in quotes";
        return Some((format!("the row has {count} columns, and the first line names {columns}"), remedy));
    }
    if count <= fhir {
        let remedy = "columns are separated by commas; a code that becomes none is written `X,`";
        return Some((format!("the row ends after {count} of its columns, before the FHIR code"), remedy));
    }
    None
}
