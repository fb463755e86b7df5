//! The rows of a map as a tree: what is said about each element, with the labels that keep list elements apart.
use handoff::mapping::expression::{Condition, Row};
use handoff::mapping::source::{RowSource, RowValue, SwitchSource};
use handoff::mapping::target::{Step, Target};
use std::rc::Rc;

/// All that a map says about one element, or one slot of a list.
#[derive(Clone)]
pub struct Tree {
    pub name: String,
    pub label: String,
    /// What stands in `extension(…)`.
    pub url: Option<String>,
    pub wholes: Vec<Whole>,
    pub guard: Option<Condition>,
    pub children: Vec<Tree>,
    /// `->`: the rows of the resource that the element refers to.
    pub behind: Option<Behind>,
    /// Made by a link of the message map: its number.
    pub link: Option<usize>,
}

#[derive(Clone)]
pub struct Behind {
    /// Which of the map's arrows.
    pub number: usize,
    pub resource: Option<String>,
    pub trees: Rc<Vec<Tree>>,
}

#[derive(Clone)]
pub enum Whole {
    Row(Row),
    Switch(SwitchSource),
}

/// A row with its left side, cut down while it is put in place.
struct Put<'a> {
    steps: &'a [Step],
    value: &'a RowValue,
}

/// The tree of a map's rows.
pub fn of_rows(rows: &[RowSource]) -> Vec<Tree> {
    let mut root = Vec::new();
    for row in rows {
        put(&mut root, Put { steps: &row.target.steps, value: &row.value });
    }
    number(&mut root, &mut 0);
    root
}

/// The row `"*"` of a datatype map, with the rows beside it.
pub fn of_itself(rows: &[RowSource], beside: &[Tree]) -> Option<Tree> {
    let row = rows.iter().find(|row| row.target.steps.is_empty())?;
    let RowValue::Expression(expression, _) = &row.value else { return None };
    let step = Step { name: "*".into(), label: None, extension: None, through: None };
    Some(Tree { wholes: vec![Whole::Row(expression.clone())], children: beside.to_vec(), ..empty(&step) })
}

/// The tree of a link: one element with a reference at its end.
pub fn of_link(target: &Target, link: usize) -> Vec<Tree> {
    target.steps.iter().rev().fold(Vec::new(), |inner, step| {
        let mut tree = empty(step);
        tree.label = format!("link {link}");
        tree.link = Some(link);
        tree.children = inner;
        vec![tree]
    })
}

fn empty(step: &Step) -> Tree {
    Tree {
        name: step.name.clone(),
        label: step.label.clone().unwrap_or_default(),
        url: step.extension.clone(),
        wholes: Vec::new(),
        guard: None,
        children: Vec::new(),
        behind: None,
        link: None,
    }
}

fn put(level: &mut Vec<Tree>, row: Put<'_>) {
    let Some((step, rest)) = row.steps.split_first() else { return };
    let wanted = empty(step);
    let same = |tree: &Tree| tree.name == wanted.name && tree.label == wanted.label && tree.url == wanted.url;
    let at = level.iter().position(same).unwrap_or_else(|| {
        level.push(wanted.clone());
        level.len() - 1
    });
    match rest.first() {
        None => fill(level, at, row.value),
        Some(next) => match &next.through {
            Some(kind) => arrow(&mut level[at], kind.as_ref(), Put { steps: rest, value: row.value }),
            None => put(&mut level[at].children, Put { steps: rest, value: row.value }),
        },
    }
}

fn arrow(tree: &mut Tree, kind: Option<&String>, row: Put<'_>) {
    let behind = tree.behind.get_or_insert_with(|| Behind { number: 0, resource: kind.cloned(), trees: Rc::default() });
    put(Rc::make_mut(&mut behind.trees), row);
}

fn fill(level: &mut Vec<Tree>, at: usize, value: &RowValue) {
    match value {
        RowValue::Expression(row, _) => level[at].wholes.push(Whole::Row(row.clone())),
        RowValue::Switch(switch) => level[at].wholes.push(Whole::Switch(switch.clone())),
        RowValue::Table(rows, guard) => {
            if guard.is_some() {
                level[at].guard.clone_from(guard);
            }
            for row in rows {
                match row.target.steps.first() {
                    None => fill(level, at, &row.value),
                    Some(step) => {
                        let inner = Put { steps: &row.target.steps, value: &row.value };
                        match &step.through {
                            Some(kind) => arrow(&mut level[at], kind.as_ref(), inner),
                            None => put(&mut level[at].children, inner),
                        }
                    }
                }
            }
        }
        RowValue::Many(values) => {
            for (number, value) in values.iter().enumerate() {
                let mut target = at;
                if number > 0 {
                    let mut another = level[at].clone();
                    (another.wholes, another.children, another.guard, another.behind) =
                        (Vec::new(), Vec::new(), None, None);
                    another.label = format!("{} {number}", another.label);
                    level.push(another);
                    target = level.len() - 1;
                }
                fill(level, target, value);
            }
        }
    }
}

fn number(trees: &mut [Tree], next: &mut usize) {
    for tree in trees {
        number(&mut tree.children, next);
        if let Some(behind) = &mut tree.behind {
            behind.number = *next;
            *next += 1;
            number(Rc::make_mut(&mut behind.trees).as_mut_slice(), next);
        }
    }
}
