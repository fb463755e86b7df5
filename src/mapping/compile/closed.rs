//! What reads nothing but one value: two equal values then make the very same resource, or the very same element, which is made only once.
use crate::mapping::plan::*;
use std::collections::HashMap;

/// Datatypes whose values identify no patient: codes and their words, units, practitioners, organisations, places. What is made of them may be kept beyond its
/// message: a diagnosis is, whose it was is not.
pub const LASTING: [&str; 14] =
    ["CE", "CF", "CNE", "CNN", "CWE", "HD", "ID", "IS", "LA1", "LA2", "NDL", "PL", "XCN", "XON"];

/// How long what a closed map from this datatype wrote is kept.
pub fn keeps(datatype: &str) -> Keeps {
    if LASTING.contains(&datatype) { Keeps::Lasting } else { Keeps::Message }
}

/// Marks the parts whose resource, and whatever that refers to, is told by the bytes of one value.
pub fn mark(plan: &mut Compiled) {
    let walked: Vec<(bool, Vec<PartId>)> = plan.parts.iter().map(|part| walk(plan, part)).collect();
    let mut open: Vec<bool> = walked.iter().map(|(open, _)| *open).collect();
    // A resource that refers to an open one is open.
    while let Some(part) =
        (0..open.len()).find(|part| !open[*part] && walked[*part].1.iter().any(|made| open[usize::from(*made)]))
    {
        open[part] = true;
    }
    for (part, open) in plan.parts.iter_mut().zip(open) {
        part.closed = !open;
        let from = part.name.split('.').next().unwrap_or_default();
        part.lasting = part.closed && !part.name.contains("->") && keeps(from) == Keeps::Lasting;
    }
    let mut maps: HashMap<NodeId, bool> = HashMap::new();
    for number in 0..plan.alternatives.len() {
        let Emit::Map { node, .. } = plan.alternatives[number].emit else { continue };
        let is_closed = *maps.entry(node).or_insert_with(|| map_is_closed(plan, node));
        if let (Emit::Map { keeps, .. }, false) = (&mut plan.alternatives[number].emit, is_closed) {
            *keeps = Keeps::Not;
        }
    }
}

/// Whether a datatype map reads nothing but its value, and makes no resource.
fn map_is_closed(plan: &Compiled, node: NodeId) -> bool {
    let mut walk = Walk::new(plan, CURRENT);
    walk.node(node, 0);
    !walk.open && walk.makes.is_empty()
}

/// Whether a part reads more than its value, and the parts of the resources that it makes.
fn walk(plan: &Compiled, part: &Part) -> (bool, Vec<PartId>) {
    let mut walk = Walk::new(plan, part.kind);
    walk.open = part.events || part.distinct;
    walk.node(plan.programs[usize::from(part.program)].root, 0);
    part.identity.iter().for_each(|node| walk.node(*node, 0));
    part.required.iter().for_each(|required| walk.node(required.0, 0));
    (walk.open, walk.makes)
}

struct Walk<'p> {
    plan: &'p Compiled,
    /// The part whose rows are looked at.
    kind: u8,
    /// How many frames lie between the nodes seen and the value, where that is fewest.
    seen: HashMap<NodeId, u8>,
    /// Something is read that does not belong to the value.
    open: bool,
    /// Parts of resources made on the way.
    makes: Vec<PartId>,
}

impl<'p> Walk<'p> {
    fn new(plan: &'p Compiled, kind: u8) -> Walk<'p> {
        Walk { plan, kind, seen: HashMap::new(), open: false, makes: Vec::new() }
    }

    fn node(&mut self, node: NodeId, depth: u8) {
        if node == NONE || self.seen.get(&node).is_some_and(|seen| *seen <= depth) {
            return;
        }
        self.seen.insert(node, depth);
        let (plan, kind): (&'p Compiled, u8) = (self.plan, self.kind);
        let own = |part: u8| part == CURRENT || part == kind;
        match &plan.nodes[node as usize] {
            Node::Value { alternatives, .. } => {
                let alternatives = &plan.alternatives[alternatives.start as usize..alternatives.end as usize];
                for alternative in alternatives.iter().filter(|alternative| own(alternative.part)) {
                    let depth = if alternative.part == CURRENT { depth } else { 0 };
                    self.condition(alternative.guard, depth);
                    self.emit(&alternative.emit, depth);
                }
            }
            Node::Object { children, enter, .. } => {
                let enter = plan.enters.get(*enter as usize).filter(|enter| own(enter.part));
                for (source, guard) in enter.iter().flat_map(|enter| &enter.sources) {
                    self.source(*source, depth);
                    self.condition(*guard, depth);
                }
                let depth = if enter.is_some() { depth + 1 } else { depth };
                let children = &plan.children[children.start as usize..children.end as usize];
                for child in children.iter().filter(|child| child.mask == 0 || child.mask & (1 << kind) != 0) {
                    self.node(child.node, depth);
                }
            }
            Node::List { items } => {
                let items = &plan.items[items.start as usize..items.end as usize];
                for item in items.iter().filter(|item| own(item.part)) {
                    let depth = if item.part == CURRENT { depth } else { 0 };
                    self.condition(item.guard, depth);
                    self.node(item.node, depth);
                }
            }
            Node::Switch { on, cases, default } => {
                self.source(*on, depth);
                for (_, case) in &plan.cases[cases.start as usize..cases.end as usize] {
                    self.node(*case, depth);
                }
                self.node(*default, depth);
            }
            Node::Constant { .. } | Node::TableCoding { .. } => {}
        }
    }

    fn emit(&mut self, emit: &Emit, depth: u8) {
        match emit {
            // Links hang on the resource, not on a part of it.
            Emit::Literal(_) | Emit::Link(_) => {}
            Emit::Primitive { source, .. } | Emit::TableCoding { source, .. } => self.source(*source, depth),
            Emit::Coding { system, code, display, .. } => {
                [system, code, display].into_iter().for_each(|s| self.source(*s, depth))
            }
            Emit::Map { source, node, .. } => {
                self.source(*source, depth);
                self.node(*node, depth + 1);
            }
            Emit::Node(node) => self.node(*node, depth),
            Emit::Resource { source, part, extra, guard } => {
                self.source(*source, depth);
                self.condition(*guard, depth);
                self.makes.extend([*part, *extra].into_iter().flatten());
            }
            Emit::Bound(_) => self.open = true,
        }
    }

    fn condition(&mut self, condition: ConditionId, depth: u8) {
        let Some(condition) = self.plan.conditions.get(condition as usize) else { return };
        match condition {
            Condition::Valued(source) | Condition::In(source, _) | Condition::InTexts(source, _) => {
                self.source(*source, depth)
            }
            Condition::Order(measure, ..) | Condition::CountIn(measure, _) => match measure {
                Measure::Text(source) | Measure::Length(source) => self.source(*source, depth),
                // Repetitions are those of a field, which belongs to the segment around.
                Measure::Count(_) => self.open = true,
            },
            Condition::And(list) | Condition::Or(list) => list.iter().for_each(|inner| self.condition(*inner, depth)),
            Condition::Not(inner) => self.condition(*inner, depth),
            Condition::NotFromTable(_) => {}
        }
    }

    fn source(&mut self, source: SourceId, depth: u8) {
        match &self.plan.sources[source as usize] {
            Source::Path(path) | Source::Lines(path) => self.path(path, depth),
            Source::Join { arguments, .. } | Source::Phone(arguments) | Source::Authority(arguments) => {
                arguments.iter().for_each(|argument| self.source(*argument, depth));
            }
            Source::Ssn(inner)
            | Source::System(inner)
            | Source::TextOf(inner)
            | Source::Range(inner, _)
            | Source::Base64(inner) => {
                self.source(*inner, depth);
            }
            Source::Uri(id, kind) => [id, kind].into_iter().for_each(|s| self.source(*s, depth)),
            Source::Later(parts) => {
                // The offset of the message is that of its header.
                self.open = true;
                parts.iter().for_each(|part| self.source(*part, depth));
            }
            Source::PatientId(_)
            | Source::Patient
            | Source::Position
            | Source::Occurrence
            | Source::AllLines(..)
            | Source::DerivedStatus => self.open = true,
            Source::Literal(_) | Source::Nothing => {}
        }
    }

    fn path(&mut self, path: &Path, depth: u8) {
        self.open |= path.segment != CURRENT || path.up > depth;
        if let Repetition::Filter(condition) = path.repetition {
            self.condition(condition, depth + 1);
        }
    }
}
