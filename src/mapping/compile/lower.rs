//! The last pass: elements that are the same in every message become text, the plainest rows get an operation of their own, and what is read each time
//! that a row is written lies close together.
//!
//! Explaining runs over the nodes as they were compiled, so that each value keeps its rule.
use crate::mapping::plan::*;
use std::collections::HashMap;
use std::ops::Range;

/// Fills the rows of all children, and replaces list elements that are always the same.
pub fn lower(plan: &mut Compiled) {
    let mut texts = HashMap::new();
    for number in 0..plan.children.len() {
        let child = plan.children[number].clone();
        // With one part alone, that part is there when the child is looked at.
        let known = if child.mask.is_power_of_two() { child.mask } else { 0 };
        push_row(plan, &mut texts, &child, CURRENT, known);
    }
    for number in 0..plan.programs.len() {
        plan.programs[number].alone = alone(plan, &mut texts, number);
    }
    for number in 0..plan.items.len() {
        let item = plan.items[number].clone();
        let plain = |only: &u32| {
            let only = &plan.alternatives[*only as usize];
            only.key == Text::default() && only.inner == item.inner
        };
        plan.items[number].only = only(plan, item.node, CURRENT).filter(plain).unwrap_or(NONE);
        let known = if item.part == CURRENT { 0 } else { 1 << item.part };
        if let Some(text) = constant(plan, item.node, known, item.inner) {
            let text = shared(plan, &mut texts, text);
            plan.nodes.push(Node::Constant { text, node: item.node });
            plan.items[number].node = plan.nodes.len() as u32 - 1;
        }
    }
    for structure in &mut plan.structures {
        structure.names = structure.statements.iter().flatten().flatten().map(|statement| statement.binding).collect();
        structure.names.sort_unstable();
        structure.names.dedup();
    }
    let patient = |(number, name): (usize, &String)| name.starts_with("patient").then_some(number as u16);
    plan.patients = plan.bindings.iter().enumerate().filter_map(patient).collect();
}

/// The children of a program's root as each of its parts alone writes them: what the part does not write is left out, its needs are those of its frame.
fn alone(plan: &mut Compiled, texts: &mut HashMap<Vec<u8>, Text>, program: usize) -> Vec<Range<u32>> {
    let Node::Object { children, .. } = &plan.nodes[plan.programs[program].root as usize] else { return Vec::new() };
    let children = children.clone();
    let kinds = plan.parts.iter().filter(|part| usize::from(part.program) == program).map(|part| part.kind).max();
    (0..=kinds.unwrap_or(0))
        .map(|kind| {
            let start = plan.children.len() as u32;
            for number in children.clone() {
                let mut child = plan.children[number as usize].clone();
                if child.mask != 0 && child.mask & (1 << kind) == 0 {
                    continue;
                }
                let needs = &plan.part_needs[child.part_needs.start as usize..child.part_needs.end as usize];
                child.need |= needs.iter().filter(|need| need.0 == kind).fold(0, |all, need| all | need.1);
                (child.part_needs, child.mask) = (0..0, 0);
                plan.children.push(child.clone());
                push_row(plan, texts, &child, kind, 1 << kind);
            }
            start..plan.children.len() as u32
        })
        .collect()
}

/// The row of a child. `kind`: the part whose frame is at hand, if it is one's; `known`: parts that are there.
fn push_row(plan: &mut Compiled, texts: &mut HashMap<Vec<u8>, Text>, child: &Child, kind: u8, known: u64) {
    let mut lead = Vec::from(b",");
    lead.extend_from_slice(plan.text(child.key));
    let op = match (constant(plan, child.node, known, child.inner), only(plan, child.node, kind)) {
        (Some(text), _) => {
            lead.extend(text);
            Op::Constant
        }
        (None, Some(only)) if plan.alternatives[only as usize].inner == child.inner => {
            // Where the type is a choice, the alternative brings the key.
            lead.extend_from_slice(plan.text(plan.alternatives[only as usize].key));
            operation(plan, only)
        }
        _ => Op::Node(child.node),
    };
    let plain = child.mask == 0 && child.part_needs.is_empty() && !child.required;
    // Without a value nothing of it is there, so that the gate alone keeps rows of the value out, but for those that need nothing.
    let asks = !plain || (child.inner && child.need == ALWAYS);
    let lead = shared(plan, texts, lead);
    plan.gates.push(if child.part_needs.is_empty() && !child.required { child.need } else { ALWAYS });
    plan.rows.push(ChildRow { lead, op, silent: child.silent, asks });
}

/// Keys and constants lie side by side, each of them once.
fn shared(plan: &mut Compiled, texts: &mut HashMap<Vec<u8>, Text>, text: Vec<u8>) -> Text {
    if let Some(known) = texts.get(&text) {
        return *known;
    }
    let start = plan.pool.len() as u32;
    plan.pool.extend_from_slice(&text);
    let new = Text { start, end: plan.pool.len() as u32 };
    texts.insert(text, new);
    new
}

/// How a value is written that has just one alternative.
fn operation(plan: &Compiled, only: u32) -> Op {
    let alternative = &plan.alternatives[only as usize];
    match alternative.emit {
        Emit::Primitive { source, conversion, table: None } if alternative.guard == NONE => {
            match &plan.sources[source as usize] {
                Source::Path(path) if path.plain => Op::Leaf { field: path.field, conversion },
                _ => Op::Alone(only),
            }
        }
        _ => Op::Alone(only),
    }
}

/// The only alternative of a value, if it reads the frame at hand (or that of a part), with no codes to check.
fn only(plan: &Compiled, node: NodeId, kind: u8) -> Option<u32> {
    let Node::Value { alternatives, codes } = &plan.nodes[node as usize] else { return None };
    let [only] = &plan.alternatives[alternatives.start as usize..alternatives.end as usize] else { return None };
    let own = only.part == CURRENT || only.part == kind;
    // What comes from a table was checked when the table was read.
    let checked = codes.is_none() || !matches!(only.emit, Emit::Primitive { table: None, .. } | Emit::Node(_));
    (own && !only.warn && checked).then_some(alternatives.start)
}

/// The text of a node that is the same in every message. `known`: parts that are there; `valued`: the value at hand is not empty.
fn constant(plan: &Compiled, node: NodeId, known: u64, valued: bool) -> Option<Vec<u8>> {
    match plan.nodes.get(node as usize)? {
        Node::Value { alternatives, .. } => {
            let first = &plan.alternatives[alternatives.start as usize..alternatives.end as usize].first()?;
            let there = first.part == CURRENT || known & (1 << first.part) != 0;
            if !there || first.guard != NONE || first.need != ALWAYS || (first.inner && !valued) {
                return None;
            }
            let mut text = plan.text(first.key).to_vec();
            match first.emit {
                Emit::Literal(literal) => text.extend_from_slice(plan.text(literal)),
                Emit::Node(node) if first.part == CURRENT => text.extend(constant(plan, node, known, valued)?),
                _ => return None,
            }
            Some(text)
        }
        Node::Object { children, enter: NONE, period: false, has_source: false } => {
            let children = &plan.children[children.start as usize..children.end as usize];
            let mut text = Vec::from(b"{");
            for child in children {
                if (child.mask & known == 0 && child.mask != 0) || (child.inner && !valued) {
                    return None;
                }
                if text.len() > 1 {
                    text.push(b',');
                }
                text.extend_from_slice(plan.text(child.key));
                text.extend(constant(plan, child.node, known, valued)?);
            }
            text.push(b'}');
            children.iter().any(|child| !child.silent).then_some(text)
        }
        Node::List { items } => {
            let [item] = &plan.items[items.start as usize..items.end as usize] else { return None };
            let there = item.part == CURRENT || known & (1 << item.part) != 0;
            if !there || item.guard != NONE || item.repeat != Repeat::Once || (item.inner && !valued) {
                return None;
            }
            let mut text = Vec::from(b"[");
            text.extend(constant(plan, item.node, known, valued)?);
            text.push(b']');
            Some(text)
        }
        Node::Constant { node, .. } => constant(plan, *node, known, valued),
        Node::Object { .. } | Node::Switch { .. } | Node::TableCoding { .. } => None,
    }
}
