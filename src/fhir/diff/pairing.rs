//! Which resource of one side is which of the other.
//!
//! First those that say the same and are the only ones that do; then, as long as that leads on, those that only their neighbours tell apart (what they refer to, what refers to
//! them). What is left has no equal: it goes to what is most like it, neighbours included, best first; below [`ALIKE_MIN`] it stays alone, unless one of its type is left on each side.
use super::tree::{Graph, hash};
use std::collections::{BTreeMap, HashMap};

/// The result.
pub(super) struct Pairs {
    /// By the number of an expected node.
    pub to_found: Vec<Option<usize>>,
    /// By the number of a found node.
    pub to_expected: Vec<Option<usize>>,
}

/// Rounds of looking at neighbours; each pairs something, so that few Bundles need more than a handful.
const ROUNDS_MAX: usize = 1000;
/// Of [`u32::MAX`]: what two resources share, at least, to be the same one.
const ALIKE_MIN: u32 = u32::MAX / 10 * 3;
/// As many of a type as are all compared with all; of more only those that share something rare.
const ALL_WITH_ALL_MAX: usize = 64;
/// A value that so many resources have is rare.
const RARE_MAX: usize = 16;

impl Pairs {
    /// Stands for an expected node: the same as for the found one that it is.
    pub fn expected_token(&self, node: usize) -> u64 {
        if self.to_found[node].is_some() { hash(&(0, node)) } else { hash(&(1, node)) }
    }

    /// Stands for a found node.
    pub fn found_token(&self, node: usize) -> u64 {
        match self.to_expected[node] {
            Some(expected) => hash(&(0, expected)),
            None => hash(&(2, node)),
        }
    }

    fn put(&mut self, expected: usize, found: usize) {
        self.to_found[expected] = Some(found);
        self.to_expected[found] = Some(expected);
    }
}

pub(super) fn pair(expected: &Graph<'_>, found: &Graph<'_>) -> Pairs {
    let pairs = Pairs { to_found: vec![None; expected.nodes.len()], to_expected: vec![None; found.nodes.len()] };
    let mut pairer = Pairer { expected: Links::of(expected), found: Links::of(found), pairs };
    // The roots are the same, whatever they are.
    pairer.pairs.put(0, 0);
    let local = |links: &Links<'_>, node: usize| (links.local[node], true);
    let group = pairer.groups(|links, _, node| local(links, node));
    pairer.put_single(&group);
    for _ in 0..ROUNDS_MAX {
        if !pairer.by_neighbours() {
            break;
        }
    }
    for _ in 0..ROUNDS_MAX {
        if !pairer.by_likeness() {
            break;
        }
    }
    pairer.last_of_their_type();
    pairer.pairs
}

/// A graph with what leads where.
struct Links<'g> {
    graph: &'g Graph<'g>,
    /// Of each node, a hash of what it says itself.
    local: Vec<u64>,
    /// Of each node, its neighbours: a hash of the path, and the node.
    neighbours: Vec<Vec<(u64, usize)>>,
}

/// Nodes of both sides that have the same key.
#[derive(Default)]
struct Group {
    expected: Vec<usize>,
    found: Vec<usize>,
    /// Nothing that is still open can tell them apart.
    settled: bool,
}

/// What stands for a neighbour that is not paired yet.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    /// What it says itself.
    Local,
    /// Only its type.
    Type,
}

impl<'g> Links<'g> {
    fn of(graph: &'g Graph<'g>) -> Links<'g> {
        let mut neighbours = vec![Vec::new(); graph.nodes.len()];
        let mut local = Vec::with_capacity(graph.nodes.len());
        for (number, node) in graph.nodes.iter().enumerate() {
            let kinds = |to: usize| hash(&graph.nodes[to].kind);
            let entry = node.entry.as_ref().map(|entry| entry.digest(&kinds));
            local.push(hash(&(node.kind, node.tree.digest(&kinds), entry, node.owner.is_some())));
            let mut join = |path: u64, to: usize| {
                neighbours[number].push((hash(&("to", path)), to));
                neighbours[to].push((hash(&("from", node.kind, path)), number));
            };
            node.tree.links(0, &mut join);
            if let Some(owner) = node.owner {
                join(hash(&"owner"), owner);
            }
        }
        Links { graph, local, neighbours }
    }

    /// What tells a node from others, and whether all its neighbours are known.
    fn key(&self, node: usize, open: Open, token: &impl Fn(usize) -> Option<u64>) -> (u64, bool) {
        let mut settled = true;
        let mut all: Vec<(u64, u8, u64)> = Vec::with_capacity(self.neighbours[node].len());
        for (path, to) in &self.neighbours[node] {
            all.push(match (token(*to), open) {
                (Some(token), _) => (*path, 0, token),
                (None, Open::Local) => (*path, 1, self.local[*to]),
                (None, Open::Type) => (*path, 2, hash(&self.graph.nodes[*to].kind)),
            });
            settled &= token(*to).is_some();
        }
        all.sort_unstable();
        (hash(&(self.local[node], all)), settled)
    }
}

/// By type and by whether they are contained, nodes of the expected side and of the found one.
type OpenByKind<'g> = BTreeMap<(&'g str, bool), (Vec<usize>, Vec<usize>)>;

struct Pairer<'g> {
    expected: Links<'g>,
    found: Links<'g>,
    pairs: Pairs,
}

impl Pairer<'_> {
    /// What is not paired, by a key; in the order in which it stands.
    fn groups(&self, key: impl Fn(&Links<'_>, bool, usize) -> (u64, bool)) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut known: HashMap<u64, usize> = HashMap::new();
        for (links, paired, left) in
            [(&self.expected, &self.pairs.to_found, true), (&self.found, &self.pairs.to_expected, false)]
        {
            for node in (0..paired.len()).filter(|node| paired[*node].is_none()) {
                let (key, settled) = key(links, left, node);
                let number = *known.entry(key).or_insert_with(|| {
                    groups.push(Group { settled: true, ..Group::default() });
                    groups.len() - 1
                });
                let group = &mut groups[number];
                group.settled &= settled;
                if left { group.expected.push(node) } else { group.found.push(node) }
            }
        }
        groups.retain(|group| !group.expected.is_empty() && !group.found.is_empty());
        groups
    }

    fn put_single(&mut self, groups: &[Group]) -> bool {
        let mut any = false;
        for group in groups {
            if let ([expected], [found]) = (group.expected.as_slice(), group.found.as_slice()) {
                self.pairs.put(*expected, *found);
                any = true;
            }
        }
        any
    }

    fn by_key(&self, open: Open) -> Vec<Group> {
        let of_expected = |node: usize| self.pairs.to_found[node].map(|_| self.pairs.expected_token(node));
        let of_found = |node: usize| self.pairs.to_expected[node].map(|_| self.pairs.found_token(node));
        self.groups(
            |links, left, node| {
                if left { links.key(node, open, &of_expected) } else { links.key(node, open, &of_found) }
            },
        )
    }

    /// Pairs what says the same and has the same neighbours; whether there was any.
    fn by_neighbours(&mut self) -> bool {
        let strict = self.by_key(Open::Local);
        if self.put_single(&strict) {
            return true;
        }
        let loose = self.by_key(Open::Type);
        if self.put_single(&loose) {
            return true;
        }
        let mut any = false;
        for group in loose.iter().filter(|group| group.settled) {
            for (expected, found) in group.expected.iter().zip(&group.found) {
                self.pairs.put(*expected, *found);
                any = true;
            }
        }
        if any {
            return true;
        }
        // Alike down to their neighbours: any of them will do, and the neighbours follow.
        match strict.iter().find(|group| group.expected.len() == group.found.len()) {
            Some(group) => {
                self.pairs.put(group.expected[0], group.found[0]);
                true
            }
            None => false,
        }
    }

    /// Pairs those that are more like each other than like any other; where nobody is, the two that are most alike. Whether there was any.
    fn by_likeness(&mut self) -> bool {
        let mut all = self.candidates();
        all.retain(|(alike, _, _)| *alike >= ALIKE_MIN);
        let (mut best, mut rival) = (HashMap::new(), HashMap::new());
        for (alike, expected, found) in &all {
            for key in [(true, *expected), (false, *found)] {
                let highest = best.entry(key).or_insert(0);
                if alike > highest {
                    *highest = *alike;
                    rival.insert(key, false);
                } else if alike == highest {
                    rival.insert(key, true);
                }
            }
        }
        let alone = |key: (bool, usize), alike: u32| best[&key] == alike && !rival[&key];
        let chosen: Vec<(usize, usize)> = all
            .iter()
            .filter(|(alike, expected, found)| alone((true, *expected), *alike) && alone((false, *found), *alike))
            .map(|(_, expected, found)| (*expected, *found))
            .collect();
        if chosen.is_empty() {
            let first =
                all.iter().max_by_key(|(alike, expected, found)| (*alike, std::cmp::Reverse((*expected, *found))));
            let Some((_, expected, found)) = first else { return false };
            self.pairs.put(*expected, *found);
            return true;
        }
        chosen.into_iter().for_each(|(expected, found)| self.pairs.put(expected, found));
        true
    }

    /// How alike those are that are not paired.
    fn candidates(&self) -> Vec<(u32, usize, usize)> {
        let mut out = Vec::new();
        for (left, right) in self.open_by_kind().values() {
            let ones: Vec<Vec<u64>> = left.iter().map(|node| self.leaves(&self.expected, true, *node)).collect();
            let twos: Vec<Vec<u64>> = right.iter().map(|node| self.leaves(&self.found, false, *node)).collect();
            let mut owners: HashMap<u64, Vec<usize>> = HashMap::new();
            if right.len() > ALL_WITH_ALL_MAX {
                for (at, leaves) in twos.iter().enumerate() {
                    leaves.iter().for_each(|leaf| owners.entry(*leaf).or_default().push(at));
                }
            }
            for (leaves, expected) in ones.iter().zip(left) {
                let near: Vec<usize> = if right.len() > ALL_WITH_ALL_MAX {
                    let mut near: Vec<usize> = leaves
                        .iter()
                        .filter_map(|leaf| owners.get(leaf).filter(|all| all.len() <= RARE_MAX))
                        .flatten()
                        .copied()
                        .collect();
                    near.sort_unstable();
                    near.dedup();
                    near
                } else {
                    (0..right.len()).collect()
                };
                out.extend(near.into_iter().map(|at| (similarity(leaves, &twos[at]), *expected, right[at])));
            }
        }
        out
    }

    /// What a node says, and what its neighbours are, sorted.
    fn leaves(&self, links: &Links<'_>, left: bool, node: usize) -> Vec<u64> {
        let kind = |to: usize| hash(&links.graph.nodes[to].kind);
        let token = |to: usize| match left {
            true => self.pairs.to_found[to].map_or_else(|| kind(to), |_| self.pairs.expected_token(to)),
            false => self.pairs.to_expected[to].map_or_else(|| kind(to), |_| self.pairs.found_token(to)),
        };
        let mut leaves = vec![hash(&links.graph.nodes[node].kind)];
        links.graph.nodes[node].tree.leaves(0, &kind, &mut leaves);
        leaves.extend(links.neighbours[node].iter().map(|(path, to)| hash(&(path, token(*to)))));
        leaves.sort_unstable();
        leaves
    }

    /// What is not paired, by type and by whether it is contained.
    fn open_by_kind(&self) -> OpenByKind<'_> {
        let mut open = OpenByKind::new();
        let all = |paired: &[Option<usize>]| (0..paired.len()).filter(|n| paired[*n].is_none()).collect::<Vec<_>>();
        for number in all(&self.pairs.to_found) {
            let node = &self.expected.graph.nodes[number];
            open.entry((node.kind, node.owner.is_some())).or_default().0.push(number);
        }
        for number in all(&self.pairs.to_expected) {
            let node = &self.found.graph.nodes[number];
            open.entry((node.kind, node.owner.is_some())).or_default().1.push(number);
        }
        open
    }

    fn last_of_their_type(&mut self) {
        let last: Vec<(usize, usize)> = self
            .open_by_kind()
            .into_values()
            .filter_map(|(left, right)| {
                Some((*left.first()?, *right.first()?)).filter(|_| left.len() + right.len() == 2)
            })
            .collect();
        last.into_iter().for_each(|(expected, found)| self.pairs.put(expected, found));
    }
}

/// How much of two sorted lists is the same, of [`u32::MAX`].
pub(super) fn similarity(one: &[u64], other: &[u64]) -> u32 {
    let (mut i, mut j, mut shared) = (0, 0, 0u64);
    while let (Some(a), Some(b)) = (one.get(i), other.get(j)) {
        match a.cmp(b) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, shared) = (i + 1, j + 1, shared + 1),
        }
    }
    let all = (one.len() + other.len()).max(1) as u64;
    (2 * shared * u64::from(u32::MAX) / all) as u32
}
