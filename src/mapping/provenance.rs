//! Where a value of a translation came from, for reports of differences.
use super::explain::{Explained, Explanation, Origin as Wrote, without_indices};
use super::{Context, Plan, Scratch};
use crate::hl7::Index;
use serde_json::{Value, json};

/// The field and the rule of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// `PID-7`; none for literals, ids, references, and for what is missing.
    pub field: Option<String>,
    /// ``PID.Patient `birthDate` ``; empty for what the Bundle itself says.
    pub rule: String,
    /// Its file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// Nothing was written: this rule could have.
    pub candidate: bool,
}

/// Rules named for one difference.
pub const ORIGINS_MAX: usize = 3;

/// The explanation of a message's translation; none where it cannot be had.
pub fn explained(plan: &Plan, raw: &[u8], scratch: &mut Scratch) -> Option<Explained> {
    plan.explain(raw, &Context::default(), None, scratch).ok()
}

/// Where the value at a path of the Bundle came from: its own rule, or for an object or list those of what is in it, each once.
pub fn of_path(explained: &Explained, path: &str) -> Vec<Origin> {
    let below = |value: &&Explanation| {
        value.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let mut found: Vec<Origin> = Vec::new();
    for value in explained.values.iter().filter(below) {
        let Some(origin) = of_value(value) else { continue };
        match found.iter_mut().find(|known| (&known.file, known.line) == (&origin.file, origin.line)) {
            None => found.push(origin),
            Some(known) if known.field.is_none() => *known = origin,
            Some(_) => {}
        }
    }
    // Literals say less about where an object came from than what was read for it.
    found.sort_by_key(|origin| origin.field.is_none());
    found.truncate(ORIGINS_MAX);
    found
}

/// The field and the rule of one value; none for what the Bundle itself says.
pub fn of_value(value: &Explanation) -> Option<Origin> {
    let field = value.source.as_ref().map(|source| source.place.clone());
    match &value.origin {
        Wrote::Rule(rule) => {
            let name =
                if rule.target.is_empty() { rule.map.clone() } else { format!("{} `{}`", rule.map, rule.target) };
            Some(Origin { field, rule: name, file: rule.file.clone(), line: rule.line, candidate: false })
        }
        Wrote::Bundle(_) | Wrote::Unknown => None,
    }
}

/// The rules that could have written something that is missing: those for the same element, or for what is in it, of the resource's maps. Where the message went through some of
/// these maps, the others are passed over.
pub fn candidates(plan: &Plan, raw: &[u8], explained: Option<&Explained>, name: &str) -> Vec<Origin> {
    let mut index = Index::new();
    let plan = if index.parse(raw).is_ok() { plan.of_message(index.message(raw)) } else { plan };
    let pattern = without_indices(name);
    let Some((resource, wanted)) = pattern.split_once('.') else { return Vec::new() };
    let (sources, mut found) = (plan.sources(), Vec::new());
    for map in sources.maps.values().filter(|map| map.to == resource) {
        for row in &map.rows {
            let choice = row.key.strip_suffix("[x]").is_some_and(|base| wanted.starts_with(base));
            if choice || writes(&without_indices(&row.key), wanted) {
                let (file, line, ..) = sources.position(row.location);
                let rule = format!("{} `{}`", map.name, row.key);
                let origin = Origin { field: None, rule, file: file.to_owned(), line, candidate: true };
                found.push((map.name.as_str(), origin));
            }
        }
    }
    let used = |map: &str| explained.is_some_and(|explained| explained.values.iter().any(|value| wrote(value, map)));
    if found.iter().any(|(map, _)| used(map)) {
        found.retain(|(map, _)| used(map));
    }
    found.into_iter().map(|(_, origin)| origin).take(ORIGINS_MAX).collect()
}

fn wrote(value: &Explanation, map: &str) -> bool {
    let own = matches!(&value.origin, Wrote::Rule(rule) if rule.map == map);
    own || value.via.iter().any(|rule| rule.map == map)
}

/// Whether a row for one path may write another: the same, one around it, or one within, which an extension beside a value is not.
fn writes(row: &str, wanted: &str) -> bool {
    let below = |path: &str, around: &str| path.strip_prefix(around).and_then(|rest| rest.strip_prefix('.')).is_some();
    let extends = row.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(".extension"));
    row == wanted || below(wanted, row) || (below(row, wanted) && !extends)
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}, ")?;
        }
        let word = if self.candidate { "perhaps rule" } else { "rule" };
        write!(f, "{word} {} ({}:{})", self.rule, self.file, self.line)
    }
}

impl Origin {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({ "field": self.field, "rule": self.rule, "file": self.file, "line": self.line, "candidate": self.candidate })
    }
}
