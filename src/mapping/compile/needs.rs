//! Which fields a row needs: a last pass over the plan, so that the executor can pass over rows whose fields are all empty.
//!
//! A *need* is a bit set of field (or component) numbers of the frame at hand ([`field_bit`]), and of components that have parts of their own
//! ([`composite_bit`]), which rows need that read the second or a later one. [`ALWAYS`] means that the row may write something whatever the frame holds. A node
//! without any of its fields writes nothing.
use crate::mapping::plan::*;

/// What a node needs, of the frame at hand and of the frames of parts.
#[derive(Debug, Clone, Default)]
struct Need {
    current: u64,
    parts: Vec<(u8, u64)>,
}

impl Need {
    fn add(&mut self, other: Need) {
        self.current |= other.current;
        for (part, mask) in other.parts {
            self.of_part(part, mask);
        }
    }
    fn of_part(&mut self, part: u8, mask: u64) {
        if part == CURRENT {
            self.current |= mask;
        } else if let Some(known) = self.parts.iter_mut().find(|p| p.0 == part) {
            known.1 |= mask;
        } else {
            self.parts.push((part, mask));
        }
    }
}

/// Fills the needs of all children, items and alternatives.
pub fn fill(plan: &mut Compiled) {
    let alternatives: Vec<u64> = plan.alternatives.iter().map(|a| of_alternative(plan, a, 0, false)).collect();
    for (alternative, need) in plan.alternatives.iter_mut().zip(alternatives) {
        alternative.need = need;
    }
    let items: Vec<u64> = plan.items.iter().map(|i| of_item(plan, i, 0, false)).collect();
    for (item, need) in plan.items.iter_mut().zip(items) {
        item.need = need;
    }
    let children: Vec<Need> = plan.children.iter().map(|c| of_node(plan, c.node, 0, false)).collect();
    for (child, need) in plan.children.iter_mut().zip(children) {
        child.need = need.current;
        let start = plan.part_needs.len() as u32;
        plan.part_needs.extend(need.parts);
        child.part_needs = start..plan.part_needs.len() as u32;
    }
}

/// `depth`: how many frames lie between the node and the frame that is asked about. `sourced`: only what makes an element be there, so no literals.
fn of_node(plan: &Compiled, node: NodeId, depth: u8, sourced: bool) -> Need {
    let mut need = Need::default();
    match &plan.nodes[node as usize] {
        Node::Value { alternatives, .. } => {
            for alternative in &plan.alternatives[alternatives.start as usize..alternatives.end as usize] {
                let depth = if alternative.part == CURRENT { depth } else { 0 };
                need.of_part(alternative.part, of_alternative(plan, alternative, depth, sourced));
                if let (CURRENT, Emit::Node(inner)) = (alternative.part, &alternative.emit) {
                    need.add(of_node(plan, *inner, depth, sourced));
                }
            }
        }
        Node::Object { children, enter, has_source, .. } => {
            let sourced = sourced || *has_source;
            let enter = plan.enters.get(*enter as usize);
            let inner = if enter.is_some() { depth + 1 } else { depth };
            if let Some(enter) = enter {
                let depth = if enter.part == CURRENT { depth } else { 0 };
                let mask = enter.sources.iter().fold(0, |m, (source, _)| m | of_source(plan, *source, depth));
                need.of_part(enter.part, mask);
            }
            for child in &plan.children[children.start as usize..children.end as usize] {
                let mut of_child = of_node(plan, child.node, inner, sourced || child.silent);
                if child.silent {
                    of_child = Need::default();
                }
                // Rows around a part's value read that part one frame further up.
                if let Some(Enter { part, .. }) = enter
                    && *part != CURRENT
                {
                    need.of_part(*part, of_child.current);
                    of_child.current = 0;
                }
                need.add(of_child);
            }
        }
        Node::List { items } => {
            for item in &plan.items[items.start as usize..items.end as usize] {
                let depth = if item.part == CURRENT { depth } else { 0 };
                need.of_part(item.part, of_item(plan, item, depth, sourced));
                if item.part == CURRENT {
                    need.add(Need { current: 0, parts: of_node(plan, item.node, depth, sourced).parts });
                }
            }
        }
        Node::Switch { cases, default, .. } => {
            for (_, case) in &plan.cases[cases.start as usize..cases.end as usize] {
                need.add(of_node(plan, *case, depth, sourced));
            }
            if *default != NONE {
                need.add(of_node(plan, *default, depth, sourced));
            }
        }
        Node::Constant { node, .. } => need = of_node(plan, *node, depth, sourced),
        Node::TableCoding { .. } => need.current |= if depth == 0 { field_bit(1) } else { 0 },
    }
    need
}

fn of_item(plan: &Compiled, item: &Item, depth: u8, sourced: bool) -> u64 {
    let need = match item.repeat {
        Repeat::Links(_) => ALWAYS,
        Repeat::Field(_) | Repeat::Once => {
            let need = of_node(plan, item.node, depth, sourced);
            // A part within a part: ask no further.
            if need.parts.is_empty() { need.current } else { ALWAYS }
        }
    };
    if need == ALWAYS { of_guard(plan, item.guard, depth) } else { need }
}

fn of_alternative(plan: &Compiled, alternative: &Alternative, depth: u8, sourced: bool) -> u64 {
    if alternative.warn {
        return ALWAYS;
    }
    let need = of_emit(plan, alternative, depth, sourced);
    if need == ALWAYS { of_guard(plan, alternative.guard, depth) } else { need }
}

/// What a guard needs in order to hold.
fn of_guard(plan: &Compiled, guard: ConditionId, depth: u8) -> u64 {
    let Some(condition) = plan.conditions.get(guard as usize) else { return ALWAYS };
    match condition {
        Condition::Valued(source) => of_source(plan, *source, depth),
        Condition::In(source, codes) if !plan.codes[codes.start as usize..codes.end as usize].contains(&0) => {
            of_source(plan, *source, depth)
        }
        Condition::InTexts(source, texts) if texts.iter().all(|text| !text.is_empty()) => {
            of_source(plan, *source, depth)
        }
        // Each must hold, so any of their needs will do.
        Condition::And(list) => {
            list.iter().map(|inner| of_guard(plan, *inner, depth)).find(|need| *need != ALWAYS).unwrap_or(ALWAYS)
        }
        Condition::Or(list) => list.iter().fold(0, |need, inner| need | of_guard(plan, *inner, depth)),
        _ => ALWAYS,
    }
}

fn of_emit(plan: &Compiled, alternative: &Alternative, depth: u8, sourced: bool) -> u64 {
    let literal = if sourced { 0 } else { ALWAYS };
    match &alternative.emit {
        Emit::Literal(_) => literal,
        Emit::Primitive { source, .. } | Emit::TableCoding { source, .. } | Emit::Map { source, .. } => {
            of_source(plan, *source, depth)
        }
        Emit::Coding { code, .. } => match &plan.sources[*code as usize] {
            Source::Literal(_) => literal,
            _ => of_source(plan, *code, depth),
        },
        Emit::Node(node) => {
            let need = of_node(plan, *node, depth, sourced);
            if need.parts.is_empty() { need.current } else { ALWAYS }
        }
        Emit::Resource { source, part: Some(_), .. } => of_source(plan, *source, depth),
        Emit::Resource { .. } | Emit::Bound(_) | Emit::Link(_) => ALWAYS,
    }
}

fn of_source(plan: &Compiled, source: SourceId, depth: u8) -> u64 {
    let all = |list: &[SourceId]| list.iter().fold(0, |need, source| need | of_source(plan, *source, depth));
    match &plan.sources[source as usize] {
        Source::Path(path) | Source::Lines(path) | Source::PatientId(path) => of_path(path, depth),
        Source::Join { arguments, .. } => all(arguments),
        Source::Phone(arguments) | Source::Authority(arguments) => all(arguments),
        Source::Ssn(inner)
        | Source::System(inner)
        | Source::TextOf(inner)
        | Source::Range(inner, _)
        | Source::Base64(inner) => of_source(plan, *inner, depth),
        Source::Uri(id, _) => of_source(plan, *id, depth),
        // Without an amount there is nothing, nor without a start.
        Source::Later([start, amount, _]) => match of_source(plan, *amount, depth) {
            ALWAYS => of_source(plan, *start, depth),
            need => need,
        },
        Source::Literal(_)
        | Source::Patient
        | Source::Position
        | Source::Occurrence
        | Source::AllLines(..)
        | Source::DerivedStatus => ALWAYS,
        Source::Nothing => 0,
    }
}

fn of_path(path: &Path, depth: u8) -> u64 {
    match path.up.cmp(&depth) {
        // A frame nearer than the one asked about: it is there only when that one is.
        std::cmp::Ordering::Less if path.segment == CURRENT => 0,
        std::cmp::Ordering::Equal if path.segment == CURRENT && path.field > 0 => {
            if path.component > 1 {
                composite_bit(path.field)
            } else {
                field_bit(path.field)
            }
        }
        _ => ALWAYS,
    }
}
