//! A message structure as a tree of groups and segments, with the statements of its message map.
use super::{Line, Shown};
use crate::hl7::{Child, ChildKind};
use crate::mapping::Plan;
use crate::mapping::plan::StructurePlan;
use serde_json::{Value, json};

impl Plan {
    pub(super) fn show_structure(&self, number: u16) -> Shown {
        let plan = &self.compiled.structures[usize::from(number)];
        let name = &plan.structure.name;
        let events = self.events_of(name);
        let mut lines = Vec::new();
        let tree = self.group(plan, 0, 1, &mut lines);
        let grammar = self.sources().structures.get(name);
        let mut head = format!("structure {name}");
        if let Some((_, location)) = grammar {
            let (file, line) = self.at(*location);
            head.push_str(&format!("  {file}:{line}"));
        }
        let covers = if events.is_empty() {
            "no trigger event".to_owned()
        } else {
            format!("trigger events {}", events.join(" "))
        };
        let mapped = if plan.mapped { "" } else { "\nno message map covers it: its messages are refused" };
        let text = format!("{head}\n{covers}{mapped}\n{}", self.lines_text(&lines));
        let json = json!({ "structure": name, "grammar": grammar.map(|g| &g.0), "events": events, "mapped": plan.mapped, "children": tree });
        Shown { text, json }
    }

    /// Depth is that of the grammar, which was read from a mapping file.
    fn group(&self, plan: &StructurePlan, group: u16, depth: usize, lines: &mut Vec<Line>) -> Value {
        let mut children = Vec::new();
        for (number, child) in plan.structure.groups[usize::from(group)].children.iter().enumerate() {
            lines.push(Line { depth, text: shown(child), location: None });
            let mut object = json!({ "name": child.key, "required": child.required, "repeats": child.repeats });
            match child.kind {
                ChildKind::Group(inner) => object["children"] = self.group(plan, inner, depth + 1, lines),
                ChildKind::Segment(_) => {
                    object["statements"] = self.statements(plan, usize::from(group), number, depth + 1, lines)
                }
            }
            children.push(object);
        }
        Value::Array(children)
    }

    fn statements(
        &self,
        plan: &StructurePlan,
        group: usize,
        child: usize,
        depth: usize,
        lines: &mut Vec<Line>,
    ) -> Value {
        let mut found = Vec::new();
        for statement in &plan.statements[group][child] {
            let rule = &self.compiled.rules[statement.rule as usize];
            let text = self.written(rule.location);
            let (file, line) = self.at(rule.location);
            let links: Vec<Value> = statement
                .links
                .iter()
                .map(|link| json!({ "from": link.from.map(|n| &self.compiled.bindings[usize::from(n)]), "to": self.compiled.bindings[usize::from(link.to)] }))
                .collect();
            found.push(json!({
                "statement": text, "name": self.compiled.bindings[usize::from(statement.binding)], "add": statement.add,
                "map": self.compiled.parts[usize::from(statement.part)].name, "links": links, "file": file, "line": line,
            }));
            lines.push(Line { depth, text: text.to_owned(), location: Some(rule.location) });
        }
        Value::Array(found)
    }
}

/// `PID`, `[{NK1}]`, `[{PROCEDURE}]`: with the brackets of the grammar.
fn shown(child: &Child) -> String {
    let mut text = child.key.clone();
    if child.repeats {
        text = format!("{{{text}}}");
    }
    if !child.required {
        text = format!("[{text}]");
    }
    if child.choice.is_some() {
        text.push_str("  (a choice)");
    }
    if matches!(child.kind, ChildKind::Group(_)) {
        text.push(':');
    }
    text
}
