//! Which child of a group can take a segment, and how well: the questions that the matcher asks of the grammar.
use super::grammar::{Child, ChildKind, Group, Structure};

/// How far from the grammar a place is; the order in which they are asked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fit {
    Legal,
    Hole,
    PastRequired,
    EarlierSegment,
    LaterGroup,
    EarlierGroup,
}

impl Fit {
    /// What is asked of all open instances before the next is.
    pub(super) const ROUNDS: [&[Self]; 5] = [
        &[Self::Legal, Self::Hole],
        &[Self::PastRequired],
        &[Self::EarlierSegment],
        &[Self::LaterGroup],
        &[Self::EarlierGroup],
    ];

    /// Whether the place lies before one that is taken.
    pub(super) fn is_behind(self) -> bool {
        matches!(self, Self::Hole | Self::EarlierSegment | Self::EarlierGroup)
    }
}

/// The children that may still come, with their positions.
pub(super) fn later(group: &Group, state: usize) -> impl Iterator<Item = (usize, &Child)> {
    group.children.iter().enumerate().skip(state)
}

/// The child that takes the symbol without anything required being passed over.
pub(super) fn legal(structure: &Structure, group: &Group, state: usize, symbol: u16) -> Option<usize> {
    let mut from = state;
    if let Some(last) = state.checked_sub(1).and_then(|at| group.children.get(at)) {
        // Again the same; of a choice any alternative again, or, when it does not repeat, none of the others.
        let start = last.choice.map_or(state - 1, usize::from);
        let end = last.choice.map_or(state, |choice| choice_end(group, choice));
        let mut alternatives = if last.repeats { start..end } else { 0..0 };
        if let Some(at) = alternatives.find(|&at| begins(structure, &group.children[at], symbol)) {
            return Some(at);
        }
        from = end;
    }
    for (at, child) in later(group, from) {
        if begins(structure, child, symbol) {
            return Some(at);
        }
        let last_of_choice = child.choice.is_none_or(|choice| at + 1 == choice_end(group, choice));
        if child.required && last_of_choice {
            return None;
        }
    }
    None
}

/// The position after the last alternative of a choice.
fn choice_end(group: &Group, choice: u16) -> usize {
    let start = usize::from(choice);
    start + group.children[start..].iter().take_while(|child| child.choice == Some(choice)).count()
}

pub(super) fn begins(structure: &Structure, child: &Child, symbol: u16) -> bool {
    match child.kind {
        ChildKind::Segment(_) => child.symbol == symbol,
        ChildKind::Group(group) => structure.groups[usize::from(group)].first.contains(symbol),
    }
}

pub(super) fn holds(structure: &Structure, child: &Child, symbol: u16) -> bool {
    matches!(child.kind, ChildKind::Group(group) if structure.groups[usize::from(group)].all.contains(symbol))
}
