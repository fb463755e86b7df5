//! The group grammar of a message structure: the notation in which it is written, checked and flattened.
//!
//! ```text
//! MSH [{SFT}] {PATIENT_RESULT: [PATIENT: PID [PD1]] {ORDER_OBSERVATION: [ORC] OBR [{NTE}]}} [DSC]
//! ```
//! `[ ]` optional, `{ }` repeating, `NAME:` after an opening bracket names a group, `( )` is a group that must stand once, `<A|B>` a choice.
use std::collections::BTreeSet;

use super::grammar_text::read_groups;
use super::span::SegmentId;

/// A message structure as a flat list of groups.
#[derive(Clone, Debug)]
pub struct Structure {
    /// `ORU_R01`
    pub name: String,
    /// The root first, each group before those within it.
    pub groups: Vec<Group>,
    /// The segments it knows, sorted; their places are the *symbols* that the matcher works with.
    pub(super) symbols: Vec<SegmentId>,
}

/// A group: the root of a structure, or a part of it that repeats or may be missing as a whole.
#[derive(Clone, Debug)]
pub struct Group {
    /// `PATIENT`, or the structure's name for the root.
    pub name: String,
    /// From the root: `ORU_R01.PATIENT_RESULT.PATIENT`.
    pub path: String,
    /// The group around it; `None` for the root.
    pub parent: Option<u16>,
    /// In grammar order.
    pub children: Vec<Child>,
    /// The symbols it can begin with.
    pub(super) first: Symbols,
    /// The symbols anywhere in it.
    pub(super) all: Symbols,
}

/// A segment or group within a group.
#[derive(Clone, Debug)]
pub struct Child {
    /// Which it is.
    pub kind: ChildKind,
    /// Unique within the group: `ROL`, for the second in grammar order `ROL#2`, or the name of a group.
    pub key: String,
    /// Whether it must be there. Of a choice: whether one of it must.
    pub required: bool,
    /// Whether it may stand more than once.
    pub repeats: bool,
    /// The position of the first alternative, if it is one of a choice.
    pub choice: Option<u16>,
    /// Place of the segment in the structure's symbols.
    pub(super) symbol: u16,
}

/// What a child is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChildKind {
    /// A segment.
    Segment(SegmentId),
    /// A group, by its place in [`Structure::groups`].
    Group(u16),
}

/// Why a text is no grammar. `column` counts characters from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct GrammarError {
    /// Where.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// A set of symbols.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols(Vec<u64>);

impl Symbols {
    #[inline]
    pub(super) fn contains(&self, symbol: u16) -> bool {
        self.0.get(usize::from(symbol) / 64).is_some_and(|word| word >> (symbol % 64) & 1 == 1)
    }

    fn insert(&mut self, symbol: u16) {
        let word = usize::from(symbol) / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (symbol % 64);
    }

    fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }
}

impl Structure {
    /// Reads the grammar of the structure `name`.
    ///
    /// ```
    /// use handoff::hl7::Structure;
    /// let structure = Structure::parse("ADT_A05", "MSH EVN PID [{ROL}] PV1 [{ROL}] [{PROCEDURE: PR1 [{ROL}]}]")?;
    /// assert_eq!(structure.groups[0].children[5].key, "ROL#2");
    /// assert_eq!(structure.groups[1].path, "ADT_A05.PROCEDURE");
    /// # Ok::<(), handoff::hl7::GrammarError>(())
    /// ```
    ///
    /// # Errors
    /// For the first place that does not follow the notation.
    pub fn parse(name: &str, text: &str) -> Result<Self, GrammarError> {
        let groups = read_groups(name, text)?;
        let mut structure = Self { name: name.to_owned(), groups, symbols: Vec::new() };
        structure.assign_symbols();
        structure.compute_sets();
        Ok(structure)
    }

    /// The place of a segment among those that the structure knows.
    #[inline]
    pub(super) fn symbol(&self, id: SegmentId) -> Option<u16> {
        self.symbols.binary_search(&id).ok().map(|at| at as u16)
    }

    fn assign_symbols(&mut self) {
        let of = |child: &Child| {
            if let ChildKind::Segment(id) = child.kind { Some(id) } else { None }
        };
        let ids: BTreeSet<SegmentId> =
            self.groups.iter().flat_map(|group| group.children.iter().filter_map(of)).collect();
        self.symbols = ids.into_iter().collect();
        for child in self.groups.iter_mut().flat_map(|group| &mut group.children) {
            child.symbol =
                of(child).and_then(|id| self.symbols.binary_search(&id).ok()).map_or(u16::MAX, |at| at as u16);
        }
    }

    /// Inner groups stand behind outer ones, so one pass from the end sees each before it is needed.
    fn compute_sets(&mut self) {
        for at in (0..self.groups.len()).rev() {
            let (mut first, mut all) = (Symbols::default(), Symbols::default());
            let mut open = true;
            let children = &self.groups[at].children;
            for (position, child) in children.iter().enumerate() {
                match child.kind {
                    ChildKind::Segment(_) => {
                        all.insert(child.symbol);
                        if open {
                            first.insert(child.symbol);
                        }
                    }
                    ChildKind::Group(inner) => {
                        let inner = &self.groups[usize::from(inner)];
                        all.extend(&inner.all);
                        if open {
                            first.extend(&inner.first);
                        }
                    }
                }
                let choice_goes_on = child.choice.is_some()
                    && children.get(position + 1).is_some_and(|next| next.choice == child.choice);
                open &= !child.required || choice_goes_on;
            }
            (self.groups[at].first, self.groups[at].all) = (first, all);
        }
    }
}

impl Group {
    pub(super) fn new(name: &str, path: String, parent: Option<u16>) -> Self {
        Self {
            name: name.to_owned(),
            path,
            parent,
            children: Vec::new(),
            first: Symbols::default(),
            all: Symbols::default(),
        }
    }
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
