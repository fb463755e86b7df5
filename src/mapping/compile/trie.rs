//! Rows of one map, grouped by the element they build: `name[legal]`, `name[legal].use` and a table `{ use = … }` meet in one place.
use crate::mapping::expression::{Condition, Row};
use crate::mapping::plan::PartId;
use crate::mapping::source::{Location, RowSource, RowValue, SwitchSource};
use crate::mapping::target::Step;

/// All that is said about one element (or slot of a list).
#[derive(Debug, Clone)]
pub struct Trie {
    pub name: String,
    pub label: String,
    pub extension: Option<String>,
    /// Left side as written, for diagnostics and explain.
    pub key: String,
    pub location: Location,
    pub wholes: Vec<Whole>,
    pub guard: Option<Condition>,
    pub children: Vec<Trie>,
    /// Elements of the resource that this element refers to, and its type if it was given.
    pub through: Option<(Option<String>, Vec<Trie>)>,
    /// The part made of `through`, once registered.
    pub extra: Option<PartId>,
}

/// A right side that fills a whole element.
#[derive(Debug, Clone)]
pub enum Whole {
    Row(Row, Location),
    Switch(SwitchSource),
}

/// Groups the rows of a map.
pub fn group(rows: &[RowSource]) -> Vec<Trie> {
    let mut root = Vec::new();
    for row in rows {
        insert(&mut root, &row.target.steps, row, &row.key);
    }
    root
}

fn insert(level: &mut Vec<Trie>, steps: &[Step], row: &RowSource, key: &str) {
    let Some((step, rest)) = steps.split_first() else { return };
    let label = step.label.clone().unwrap_or_default();
    let at = level
        .iter()
        .position(|t| t.name == step.name && t.label == label && t.extension == step.extension)
        .unwrap_or_else(|| {
            level.push(Trie {
                name: step.name.clone(),
                label: label.clone(),
                extension: step.extension.clone(),
                key: key.to_owned(),
                location: row.location,
                wholes: Vec::new(),
                guard: None,
                children: Vec::new(),
                through: None,
                extra: None,
            });
            level.len() - 1
        });
    match rest.first() {
        Some(next) => match &next.through {
            Some(kind) => {
                let through = level[at].through.get_or_insert_with(|| (kind.clone(), Vec::new()));
                insert(&mut through.1, rest, row, key);
            }
            None => insert(&mut level[at].children, rest, row, key),
        },
        None => fill(level, at, &row.value, key),
    }
}

fn fill(level: &mut Vec<Trie>, at: usize, value: &RowValue, key: &str) {
    match value {
        RowValue::Expression(expression, location) => level[at].wholes.push(Whole::Row(expression.clone(), *location)),
        RowValue::Switch(switch) => level[at].wholes.push(Whole::Switch(switch.clone())),
        RowValue::Table(rows, guard) => {
            if guard.is_some() {
                level[at].guard.clone_from(guard);
            }
            for inner in rows {
                let key = format!("{key}.{}", inner.key);
                if inner.target.steps.is_empty() {
                    fill(level, at, &inner.value, &key);
                } else if let Some(kind) = inner.target.steps.first().and_then(|s| s.through.clone()) {
                    insert(
                        &mut level[at].through.get_or_insert_with(|| (kind, Vec::new())).1,
                        &inner.target.steps,
                        inner,
                        &key,
                    );
                } else {
                    insert(&mut level[at].children, &inner.target.steps, inner, &key);
                }
            }
        }
        RowValue::Many(values) => {
            for (number, value) in values.iter().enumerate() {
                let at = if number == 0 { at } else { another(level, at, number) };
                fill(level, at, value, key);
            }
        }
    }
}

/// A further slot beside the one at `at`, for the elements of an array.
fn another(level: &mut Vec<Trie>, at: usize, number: usize) -> usize {
    let mut copy = level[at].clone();
    copy.label = format!("{}#{number}", copy.label);
    copy.wholes.clear();
    copy.children.clear();
    copy.guard = None;
    copy.through = None;
    level.push(copy);
    level.len() - 1
}
