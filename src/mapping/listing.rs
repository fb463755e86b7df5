//! A compiled plan in readable form: what there is, and what a structure, a map or a table was compiled to.
mod nodes;
mod rows;
mod structure;
pub(super) mod written;

use super::Plan;
use super::diagnostic::nearest;
use super::source::{Location, TableSource};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Something to print, as text or JSON.
#[derive(Debug)]
pub struct Shown {
    text: String,
    json: Value,
}

impl Shown {
    /// For people.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// For programs.
    pub fn json(&self) -> &Value {
        &self.json
    }
}

/// One line of a tree: how deep, what, and where it is written.
struct Line {
    depth: usize,
    text: String,
    location: Option<Location>,
}

impl Plan {
    /// All message maps, maps and tables.
    pub fn listing(&self) -> Shown {
        let sources = self.sources();
        let mut sections: Vec<(&str, &str, Vec<Value>, Vec<Line>)> = Vec::new();
        let mut messages = (Vec::new(), Vec::new());
        for message in sources.messages.values() {
            let events = self.events_of(&message.name);
            let (file, line) = self.at(message.location);
            messages.0.push(json!({ "name": message.name, "events": events, "extends": message.extends.as_ref().map(|e| &e.0), "file": file, "line": line }));
            messages.1.push(self.line(&message.name, &events.join(" "), message.location));
        }
        sections.push(("messages", "message maps", messages.0, messages.1));
        for (key, title, segments) in [("segments", "segment maps", true), ("datatypes", "datatype maps", false)] {
            let (mut values, mut lines) = (Vec::new(), Vec::new());
            for map in sources.maps.values().filter(|m| is_segment(&m.from) == segments) {
                let rows = map.rows.len() + usize::from(map.value.is_some());
                let (file, line) = self.at(map.location);
                values.push(json!({ "name": map.name, "from": map.from, "to": map.to, "rows": rows, "file": file, "line": line }));
                lines.push(self.line(&map.name, &count(rows), map.location));
            }
            sections.push((key, title, values, lines));
        }
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        for table in sources.tables.values() {
            let (file, line) = self.at(table.location);
            values.push(json!({ "name": table.name, "rows": table.rows.len(), "file": file, "line": line }));
            lines.push(self.line(&table.name, &count(table.rows.len()), table.location));
        }
        sections.push(("tables", "code tables", values, lines));
        let (mut text, mut object) = (String::new(), serde_json::Map::new());
        for (key, title, values, lines) in sections {
            let _ = writeln!(text, "{} {title}", lines.len());
            text.push_str(&self.lines_text(&lines));
            object.insert(key.to_owned(), Value::Array(values));
        }
        Shown { text, json: Value::Object(object) }
    }

    /// A structure (`ADT_A01`), a map (`PID.Patient`) or a table (`AdministrativeSex`).
    ///
    /// # Errors
    /// A suggestion when there is none of that name, to be put behind it.
    pub fn show(&self, name: &str) -> Result<Shown, String> {
        let sources = self.sources();
        if let Some(number) = self.compiled.structure_names.get(name.as_bytes()) {
            return Ok(self.show_structure(*number));
        }
        if let Some(map) = sources.maps.get(name) {
            return Ok(self.show_map(map));
        }
        if let Some(table) = sources.tables.get(name) {
            return Ok(self.show_table(table));
        }
        let names =
            sources.structures.keys().chain(sources.maps.keys()).chain(sources.tables.keys()).map(String::as_str);
        Err(nearest(name, names).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())
    }

    fn show_table(&self, table: &TableSource) -> Shown {
        let (mut lines, mut values) = (Vec::new(), Vec::new());
        for row in &table.rows {
            let (file, line) = self.at(row.location);
            values.push(json!({ "v2_code": row.code, "fhir_code": row.fhir, "display": row.display, "system": row.system, "file": file, "line": line }));
            let mut text = format!("{} → {}", row.code, if row.fhir.is_empty() { "(no code)" } else { &row.fhir });
            for more in [&row.display, &row.system] {
                if !more.is_empty() {
                    let _ = write!(text, "  {more}");
                }
            }
            lines.push(Line { depth: 1, text, location: Some(row.location) });
        }
        let text = format!("table {}, {}\n{}", table.name, count(table.rows.len()), self.lines_text(&lines));
        Shown { text, json: json!({ "table": table.name, "rows": values }) }
    }

    /// The trigger events that lead to a structure.
    fn events_of(&self, structure: &str) -> Vec<String> {
        let Some(number) = self.compiled.structure_names.get(structure.as_bytes()) else { return Vec::new() };
        let events = self.compiled.events.iter().filter(|(_, n)| *n == number);
        let mut names: Vec<String> = events.map(|(event, _)| String::from_utf8_lossy(event).into_owned()).collect();
        names.sort();
        names
    }

    /// File and line.
    fn at(&self, location: Location) -> (&str, usize) {
        let (file, line, ..) = self.sources().position(location);
        (file, line)
    }

    fn line(&self, name: &str, what: &str, location: Location) -> Line {
        Line { depth: 1, text: format!("{name}  {what}"), location: Some(location) }
    }

    fn written(&self, location: Location) -> &str {
        self.sources().written(location)
    }

    /// Indented lines, their places aligned at the right.
    fn lines_text(&self, lines: &[Line]) -> String {
        /// Lines that are longer do not push the places of all others to the right.
        const WIDTH_MAX: usize = 90;
        let width = |line: &Line| 2 * line.depth + line.text.chars().count();
        let column =
            lines.iter().filter(|l| l.location.is_some()).map(width).filter(|w| *w <= WIDTH_MAX).max().unwrap_or(0);
        let mut out = String::new();
        for line in lines {
            let _ = write!(out, "{}{}", "  ".repeat(line.depth), line.text);
            if let Some(location) = line.location {
                let (file, number) = self.at(location);
                let _ = write!(out, "{}  {file}:{number}", " ".repeat(column.saturating_sub(width(line))));
            }
            out.push('\n');
        }
        out
    }

    fn lines_json(&self, lines: &[Line]) -> Value {
        let object = |line: &Line| match line.location {
            Some(location) => {
                let (file, number) = self.at(location);
                json!({ "depth": line.depth, "text": line.text, "file": file, "line": number })
            }
            None => json!({ "depth": line.depth, "text": line.text }),
        };
        Value::Array(lines.iter().map(object).collect())
    }
}

fn count(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

fn is_segment(from: &str) -> bool {
    crate::hl7::names::segment(from).is_some() || (from.len() == 3 && from.starts_with('Z'))
}
