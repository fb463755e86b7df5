//! Puts each segment of a message at its place in the grammar of its structure, whatever the message looks like.
//!
//! The open instances, from the root to the innermost, each remember how far they have come. For a segment, the first of these that some open instance can take,
//! asked from the innermost outward, wins:
//!
//! 1. a legal continuation: the same segment again, a later child without passing a required one, a new repetition of a child group; or a required segment
//!    that was passed (the OBR of `ORC NTE OBR`), which is misplaced but does not begin a new group;
//! 2. a later child past required ones: something is missing;
//! 3. an earlier child segment: it is misplaced;
//! 4. a later group that holds it somewhere: the head of that group is missing;
//! 5. an earlier group that holds it: it is misplaced, and those that follow it may join it there.
//!
//! What the structure does not know stays with the innermost open instance. So every segment gets exactly one place. The work for a segment is bounded by the size of
//! the grammar, however long the message is.
use super::fit::{Fit, begins, holds, later, legal};
use super::grammar::{ChildKind, Structure};
use super::message::Message;

/// Reusable buffers that hold the places of the message matched last.
#[derive(Debug, Default)]
pub struct Matcher {
    instances: Vec<Instance>,
    placements: Vec<Placement>,
    /// For each instance one entry a child: the first segment there, or the latest instance of the group there.
    slots: Vec<u32>,
    /// The open instances, the root first.
    open: Vec<u32>,
    /// An instance behind the others that a misplaced segment opened.
    aside: Option<u32>,
}

/// One occurrence of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Instance {
    /// Its group, by its place in [`Structure::groups`].
    pub group: u16,
    /// Its position among the children of the parent's group; 0 for the root.
    pub child: u16,
    /// The instance around it; the root is its own parent.
    pub parent: u32,
    /// Which occurrence within the parent it is, from 0.
    pub index: u32,
    /// The segment that opened it.
    pub segment: u32,
    /// The next child that may come: one more than the position of the last.
    state: u16,
    /// Whether it began with a segment that it can begin with.
    headed: bool,
    /// Where its slots begin.
    slots: u32,
}

/// The place of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Placement {
    /// The instance it belongs to.
    pub instance: u32,
    /// Its position among the children of the instance's group; `u16::MAX` for [`PlacementKind::Extra`].
    pub child: u16,
    /// How well it fits.
    pub kind: PlacementKind,
}

/// How a segment fits into the grammar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlacementKind {
    /// Where it belongs; others may be missing before it.
    Matched,
    /// The structure knows it, but not here.
    Misplaced,
    /// The structure does not know it.
    Extra,
}

impl Matcher {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Matches a message, which replaces the one before.
    pub fn run(&mut self, structure: &Structure, message: Message<'_>) {
        self.instances.clear();
        self.placements.clear();
        self.slots.clear();
        self.open.clear();
        self.aside = None;
        let root = self.instance(structure, 0, 0, 0, 0);
        self.open.push(root);
        for segment in 0..message.segment_count() {
            let placement = match structure.symbol(message.segment_id(segment)) {
                Some(symbol) => self.place(structure, symbol, segment as u32),
                None => None,
            };
            let innermost = self.aside.or(self.open.last().copied()).unwrap_or(root);
            self.placements.push(placement.unwrap_or(Placement {
                instance: innermost,
                child: u16::MAX,
                kind: PlacementKind::Extra,
            }));
        }
    }

    /// The instances in the order of their first segments; the root is the first, even in an empty message.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Where a segment of the message stands; beyond the last an extra of the root.
    #[inline]
    pub fn placement(&self, segment: usize) -> Placement {
        let extra = Placement { instance: 0, child: u16::MAX, kind: PlacementKind::Extra };
        self.placements.get(segment).copied().unwrap_or(extra)
    }

    /// The first segment at a child position of an instance. `None` also for a position that holds a group.
    #[inline]
    pub fn first(&self, instance: u32, child: u16) -> Option<u32> {
        let entry = self.slot(instance, child)?;
        // The slot of a group holds an instance, whose parent is this one.
        (entry & GROUP_BIT == 0).then_some(entry)
    }

    /// The latest instance of the group at a child position of an instance.
    #[inline]
    pub fn latest(&self, instance: u32, child: u16) -> Option<u32> {
        let entry = self.slot(instance, child)?;
        (entry & GROUP_BIT != 0).then_some(entry & !GROUP_BIT)
    }

    fn slot(&self, instance: u32, child: u16) -> Option<u32> {
        let at = self.instances.get(instance as usize)?.slots as usize;
        let end = self.instances.get(instance as usize + 1).map_or(self.slots.len(), |next| next.slots as usize);
        let entry = *self.slots.get(at..end)?.get(usize::from(child))?;
        (entry != EMPTY).then_some(entry)
    }

    fn place(&mut self, structure: &Structure, symbol: u16, segment: u32) -> Option<Placement> {
        if let Some(aside) = self.aside
            && let Some(child) = self.candidate(structure, aside, symbol, Fit::Legal)
        {
            return self.settle(structure, aside, child, symbol, segment, Fit::Legal, true);
        }
        for round in Fit::ROUNDS {
            for depth in (0..self.open.len()).rev() {
                let instance = self.open[depth];
                let Some((fit, child)) = self.candidate_of(structure, instance, symbol, round) else {
                    continue;
                };
                self.aside = None;
                if !fit.is_behind() {
                    self.open.truncate(depth + 1);
                }
                return self.settle(structure, instance, child, symbol, segment, fit, fit.is_behind());
            }
        }
        None
    }

    /// The first of some fits that an instance offers.
    fn candidate_of(&self, structure: &Structure, instance: u32, symbol: u16, fits: &[Fit]) -> Option<(Fit, u16)> {
        fits.iter().find_map(|fit| Some((*fit, self.candidate(structure, instance, symbol, *fit)?)))
    }

    /// The child of an instance that takes the symbol with this fit.
    fn candidate(&self, structure: &Structure, instance: u32, symbol: u16, fit: Fit) -> Option<u16> {
        let Instance { group, state, headed, slots, .. } = *self.instances.get(instance as usize)?;
        let group = &structure.groups[usize::from(group)];
        if !group.all.contains(symbol) {
            return None;
        }
        let state = usize::from(state);
        let found = match fit {
            Fit::Legal => legal(structure, group, state, symbol),
            Fit::Hole if headed => {
                let empty = |at: usize| self.slots.get(slots as usize + at) == Some(&EMPTY);
                group.children[..state]
                    .iter()
                    .enumerate()
                    .position(|(at, child)| child.symbol == symbol && child.required && empty(at))
            }
            Fit::Hole => None,
            Fit::PastRequired => {
                later(group, state).find(|(_, child)| begins(structure, child, symbol)).map(|(at, _)| at)
            }
            Fit::EarlierSegment => group.children[..state].iter().rposition(|child| child.symbol == symbol),
            Fit::LaterGroup => later(group, state).find(|(_, child)| holds(structure, child, symbol)).map(|(at, _)| at),
            Fit::EarlierGroup => group.children[..state].iter().rposition(|child| holds(structure, child, symbol)),
        };
        found.map(|at| at as u16)
    }

    /// Puts the segment at a child of an instance, and opens groups on the way down to it.
    #[expect(clippy::too_many_arguments, reason = "one step of a loop, split off for its length")]
    fn settle(
        &mut self,
        structure: &Structure,
        instance: u32,
        child: u16,
        symbol: u16,
        segment: u32,
        fit: Fit,
        behind: bool,
    ) -> Option<Placement> {
        let kind = if fit.is_behind() { PlacementKind::Misplaced } else { PlacementKind::Matched };
        let (mut instance, mut child) = (instance, child);
        loop {
            let group = self.instances.get(instance as usize)?.group;
            let entry = structure.groups[usize::from(group)].children.get(usize::from(child))?;
            let state = &mut self.instances[instance as usize].state;
            *state = (*state).max(child + 1);
            let ChildKind::Group(inner) = entry.kind else {
                let slot = self.instances[instance as usize].slots as usize + usize::from(child);
                if self.slots[slot] == EMPTY {
                    self.slots[slot] = segment;
                }
                return Some(Placement { instance, child, kind });
            };
            instance = self.enter(structure, instance, child, inner, entry.repeats, symbol, segment, behind);
            if behind {
                self.aside = Some(instance);
            } else {
                self.open.push(instance);
            }
            child = Fit::ROUNDS.iter().find_map(|round| self.candidate_of(structure, instance, symbol, round))?.1;
        }
    }

    /// The instance of a child group that takes a segment: a new one, unless a misplaced segment can join the latest.
    #[expect(clippy::too_many_arguments, reason = "one step of a loop, split off for its length")]
    fn enter(
        &mut self,
        structure: &Structure,
        parent: u32,
        child: u16,
        group: u16,
        repeats: bool,
        symbol: u16,
        segment: u32,
        behind: bool,
    ) -> u32 {
        let latest = self.latest(parent, child);
        let begins_anew = repeats && structure.groups[usize::from(group)].first.contains(symbol);
        match latest {
            Some(latest) if behind && !begins_anew => latest,
            _ => {
                let index = latest.map_or(0, |latest| self.instances[latest as usize].index + 1);
                let instance = self.instance(structure, group, child, parent, segment);
                let entry = &mut self.instances[instance as usize];
                (entry.index, entry.headed) = (index, structure.groups[usize::from(group)].first.contains(symbol));
                let slot = self.instances[parent as usize].slots as usize + usize::from(child);
                self.slots[slot] = instance | GROUP_BIT;
                instance
            }
        }
    }

    fn instance(&mut self, structure: &Structure, group: u16, child: u16, parent: u32, segment: u32) -> u32 {
        let slots = self.slots.len();
        self.slots.resize(slots + structure.groups[usize::from(group)].children.len(), EMPTY);
        self.instances.push(Instance {
            group,
            child,
            parent,
            index: 0,
            segment,
            state: 0,
            headed: true,
            slots: slots as u32,
        });
        self.instances.len() as u32 - 1
    }
}

const EMPTY: u32 = u32::MAX;
/// Marks a slot that holds an instance; there are fewer of either than 2³¹.
const GROUP_BIT: u32 = 1 << 31;

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
