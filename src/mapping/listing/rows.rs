//! A map as its effective rows, all layers laid over one another, and what they were compiled to.
use super::{Line, Shown, written};
use crate::mapping::Plan;
use crate::mapping::expression::Demand;
use crate::mapping::source::{MapSource, RowSource, RowValue};
use serde_json::{Value, json};

impl Plan {
    pub(super) fn show_map(&self, map: &MapSource) -> Shown {
        let mut lines = Vec::new();
        for (_, location) in &map.identity {
            lines.push(Line {
                depth: 1,
                text: format!("identity: {}", self.written(*location)),
                location: Some(*location),
            });
        }
        if let Some((_, location)) = &map.value {
            lines.push(Line {
                depth: 1,
                text: format!("value = {}", self.written(*location)),
                location: Some(*location),
            });
        }
        let rows: Vec<Value> = map.rows.iter().flat_map(|row| self.row(row, 1, &mut lines)).collect();
        let (compiled, note) = self.compiled_map(map);
        let (file, line) = self.at(map.location);
        let mut text = format!("map {}: {} → {}  {file}:{line}\n", map.name, map.from, map.to);
        if !map.parameters.is_empty() {
            text.push_str(&format!("parameters: {}\n", map.parameters.join(", ")));
        }
        if map.events {
            text.push_str("events: occurrences never merge\n");
        }
        if map.distinct {
            text.push_str("distinct: never the same as a resource of another map\n");
        }
        text.push_str(&format!("rows\n{}compiled ({note})\n{}", self.lines_text(&lines), self.lines_text(&compiled)));
        let identity: Vec<&str> = map.identity.iter().map(|(_, location)| self.written(*location)).collect();
        let json = json!({
            "map": map.name, "from": map.from, "to": map.to, "file": file, "line": line, "identity": identity, "events": map.events, "distinct": map.distinct, "parameters": map.parameters,
            "value": map.value.as_ref().map(|(_, location)| self.written(*location)),
            "rows": rows, "compiled": { "note": note, "lines": self.lines_json(&compiled) },
        });
        Shown { text, json }
    }

    /// One row; several objects where its right side is an array.
    fn row(&self, row: &RowSource, depth: usize, lines: &mut Vec<Line>) -> Vec<Value> {
        let mut found = Vec::new();
        self.right_side(row, &row.value, depth, lines, &mut found);
        found
    }

    /// Depth is that of the tables written in a mapping file.
    fn right_side(&self, row: &RowSource, value: &RowValue, depth: usize, lines: &mut Vec<Line>, out: &mut Vec<Value>) {
        let (file, line) = self.at(row.location);
        let head = |text: String| Line { depth, text, location: Some(row.location) };
        match value {
            RowValue::Expression(expression, location) => {
                let right = self.written(*location);
                lines.push(head(format!("{} = {right}", row.key)));
                let (file, line) = self.at(*location);
                let demand = match expression.demand {
                    Demand::None => Value::Null,
                    Demand::Warn => "warn".into(),
                    Demand::Required => "required".into(),
                    Demand::Fatal => "fatal".into(),
                };
                out.push(json!({ "left": row.key, "right": right, "demand": demand, "file": file, "line": line }));
            }
            RowValue::Table(rows, guard) => {
                let guard = guard.as_ref().map(written::condition);
                lines.push(head(match &guard {
                    Some(guard) => format!("{} if {guard}", row.key),
                    None => row.key.clone(),
                }));
                let inner: Vec<Value> = rows.iter().flat_map(|r| self.row(r, depth + 1, lines)).collect();
                out.push(json!({ "left": row.key, "if": guard, "rows": inner, "file": file, "line": line }));
            }
            RowValue::Many(values) => values.iter().for_each(|v| self.right_side(row, v, depth, lines, out)),
            RowValue::Switch(switch) => {
                let on = written::path(&switch.on);
                lines.push(head(format!("{} switch on {on}", row.key)));
                let mut cases = Vec::new();
                for (codes, _, location) in &switch.cases {
                    let (right, codes) = (self.written(*location), codes.join(","));
                    let (file, line) = self.at(*location);
                    lines.push(Line {
                        depth: depth + 1,
                        text: format!("{codes} = {right}"),
                        location: Some(*location),
                    });
                    cases.push(json!({ "codes": codes, "right": right, "file": file, "line": line }));
                }
                out.push(json!({ "left": row.key, "on": on, "cases": cases, "file": file, "line": line }));
            }
        }
    }
}
