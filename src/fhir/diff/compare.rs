//! The differences between resources that were paired.
use super::pairing::{Pairs, similarity};
use super::tree::{Form, Graph, Node, Tree, hash};
use super::{Difference, Side};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};

/// Lists whose elements are all compared with all; longer ones in order.
const ALL_WITH_ALL_MAX: usize = 250_000;

pub(super) fn compare(expected: &Graph<'_>, found: &Graph<'_>, pairs: &Pairs) -> Vec<Difference> {
    let mut comparison = Comparison { expected, found, pairs, differences: Vec::new() };
    for (number, node) in expected.nodes.iter().enumerate() {
        match pairs.to_found[number] {
            Some(other) => comparison.node(node, &found.nodes[other]),
            // What is contained goes with what contains it.
            None if node.owner.is_some_and(|owner| pairs.to_found[owner].is_none()) => {}
            None => comparison.missing(&node.whole(), &Place::of(node)),
        }
    }
    for (number, node) in found.nodes.iter().enumerate() {
        let alone = pairs.to_expected[number].is_none();
        if alone && node.owner.is_none_or(|owner| pairs.to_expected[owner].is_some()) {
            comparison.extra(&node.whole(), &Place::of(node));
        }
    }
    comparison.differences
}

impl<'v> Node<'v> {
    fn whole(&self) -> Tree<'v> {
        Tree { value: self.value, form: Form::Scalar }
    }
}

/// Where a tree stands.
#[derive(Clone)]
struct Place {
    path: String,
    name: String,
}

impl Place {
    fn of(node: &Node<'_>) -> Place {
        Place { path: node.path.clone(), name: node.name.clone() }
    }

    fn below(&self, step: &str) -> Place {
        Place { path: format!("{}.{step}", self.path), name: format!("{}.{step}", self.name) }
    }

    fn item(&self, number: usize) -> Place {
        Place { path: format!("{}[{number}]", self.path), name: format!("{}[{number}]", self.name) }
    }

    /// `_given[1]` of `given[1]`.
    fn beside(&self) -> Place {
        let of = |text: &str| match text.rfind('.') {
            Some(at) => format!("{}._{}", &text[..at], &text[at + 1..]),
            None => format!("_{text}"),
        };
        Place { path: of(&self.path), name: of(&self.name) }
    }
}

struct Comparison<'a, 'v> {
    expected: &'a Graph<'v>,
    found: &'a Graph<'v>,
    pairs: &'a Pairs,
    differences: Vec<Difference>,
}

impl<'v> Comparison<'_, 'v> {
    fn node(&mut self, expected: &Node<'v>, found: &Node<'v>) {
        self.tree(&expected.tree, &found.tree, &Place::of(expected), &Place::of(found));
        // The entry around a resource.
        let place = |node: &Node<'_>| {
            let cut = |text: &str| text.strip_suffix(".resource").unwrap_or(text).to_owned();
            Place { path: cut(&node.path), name: cut(&node.path) }
        };
        if let (Some(one), Some(other)) = (&expected.entry, &found.entry) {
            self.tree(one, other, &place(expected), &place(found));
        }
    }

    fn digests(&self) -> (impl Fn(usize) -> u64 + '_, impl Fn(usize) -> u64 + '_) {
        (|node| self.pairs.expected_token(node), |node| self.pairs.found_token(node))
    }

    fn same(&self, expected: &Tree<'v>, found: &Tree<'v>) -> bool {
        let (of_expected, of_found) = self.digests();
        expected.digest(&of_expected) == found.digest(&of_found)
    }

    fn tree(&mut self, expected: &Tree<'v>, found: &Tree<'v>, at: &Place, other: &Place) {
        if self.same(expected, found) {
            return;
        }
        match (&expected.form, &found.form) {
            (Form::Object(one), Form::Object(two)) => self.members(one, two, at, other),
            (Form::List(one), Form::List(two)) => self.list(one, two, at, other),
            (Form::Beside(one), Form::Beside(two)) => {
                if expected.value != found.value {
                    self.changed(expected, found, at, other);
                }
                self.tree(one, two, &at.beside(), &other.beside());
            }
            (Form::Beside(one), Form::Scalar) => {
                if expected.value != found.value {
                    self.changed(expected, found, at, other);
                }
                self.missing(one, &at.beside());
            }
            (Form::Scalar, Form::Beside(two)) => {
                if expected.value != found.value {
                    self.changed(expected, found, at, other);
                }
                self.extra(two, &other.beside());
            }
            _ => self.changed(expected, found, at, other),
        }
    }

    fn members(&mut self, one: &[(&'v str, Tree<'v>)], two: &[(&'v str, Tree<'v>)], at: &Place, other: &Place) {
        for (name, expected) in one {
            match two.iter().find(|(known, _)| known == name) {
                Some((_, found)) => {
                    if !self.same(expected, found) {
                        self.tree(expected, found, &at.below(name), &other.below(name));
                    }
                }
                None => self.missing(expected, &at.below(name)),
            }
        }
        for (name, found) in two {
            if !one.iter().any(|(known, _)| known == name) {
                self.extra(found, &other.below(name));
            }
        }
    }

    fn list(&mut self, one: &[Tree<'v>], two: &[Tree<'v>], at: &Place, other: &Place) {
        let matches = self.matches(one, two);
        for (number, expected) in one.iter().enumerate() {
            match matches[number] {
                Some(to) => self.tree(expected, &two[to], &at.item(number), &other.item(to)),
                None => self.missing(expected, &at.item(number)),
            }
        }
        let matched: HashSet<usize> = matches.into_iter().flatten().collect();
        for (number, found) in two.iter().enumerate().filter(|(number, _)| !matched.contains(number)) {
            self.extra(found, &other.item(number));
        }
    }

    /// For each expected element the one to compare it with: the same one, else the one that is most like it.
    fn matches(&self, one: &[Tree<'v>], two: &[Tree<'v>]) -> Vec<Option<usize>> {
        let (of_expected, of_found) = self.digests();
        let mut matches = vec![None; one.len()];
        let mut taken = vec![false; two.len()];
        let mut waiting: HashMap<u64, VecDeque<usize>> = HashMap::new();
        let wanted: Vec<u64> = one.iter().map(|tree| tree.digest(&of_expected)).collect();
        for (number, tree) in two.iter().enumerate() {
            let digest = tree.digest(&of_found);
            if wanted.get(number) == Some(&digest) {
                (matches[number], taken[number]) = (Some(number), true);
            } else {
                waiting.entry(digest).or_default().push_back(number);
            }
        }
        for (number, digest) in wanted.iter().enumerate() {
            if matches[number].is_none()
                && let Some(to) = waiting.get_mut(digest).and_then(VecDeque::pop_front)
            {
                (matches[number], taken[to]) = (Some(to), true);
            }
        }
        let left: Vec<usize> = (0..one.len()).filter(|number| matches[*number].is_none()).collect();
        let right: Vec<usize> = (0..two.len()).filter(|number| !taken[*number]).collect();
        for (from, to) in self.nearest(one, two, left, right) {
            matches[from] = Some(to);
        }
        matches
    }

    /// Pairs of those that have no equal: most similar first; what shares nothing stays alone, unless one each is left or all are scalars.
    fn nearest(
        &self,
        one: &[Tree<'v>],
        two: &[Tree<'v>],
        mut left: Vec<usize>,
        mut right: Vec<usize>,
    ) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        let structured = |tree: &Tree<'_>| matches!(tree.form, Form::Object(_) | Form::List(_));
        let plain = !left.iter().any(|n| structured(&one[*n])) && !right.iter().any(|n| structured(&two[*n]));
        if plain || left.len() * right.len() > ALL_WITH_ALL_MAX {
            return left.into_iter().zip(right).collect();
        }
        if left.len() > 1 || right.len() > 1 {
            let (of_expected, of_found) = self.digests();
            let ones: Vec<Vec<u64>> = left.iter().map(|n| sorted_leaves(&one[*n], &of_expected)).collect();
            let twos: Vec<Vec<u64>> = right.iter().map(|n| sorted_leaves(&two[*n], &of_found)).collect();
            let mut all: Vec<(u32, usize, usize)> = Vec::new();
            for (i, a) in ones.iter().enumerate() {
                for (j, b) in twos.iter().enumerate() {
                    all.push((u32::MAX - similarity(a, b), left[i], right[j]));
                }
            }
            all.sort_unstable();
            for (distance, from, to) in all {
                if distance < u32::MAX && left.contains(&from) && right.contains(&to) {
                    left.retain(|n| *n != from);
                    right.retain(|n| *n != to);
                    pairs.push((from, to));
                }
            }
        }
        if let ([from], [to]) = (left.as_slice(), right.as_slice()) {
            pairs.push((*from, *to));
        }
        pairs
    }

    fn expected_side(&self, tree: &Tree<'v>, at: &Place) -> Side {
        side(tree, at, |node| self.expected.nodes[node].name.clone())
    }

    /// What it refers to has the name that it has on the expected side: both count their resources on their own.
    fn found_side(&self, tree: &Tree<'v>, at: &Place) -> Side {
        side(tree, at, |node| match self.pairs.to_expected[node] {
            Some(expected) => self.expected.nodes[expected].name.clone(),
            None => format!("another {}", self.found.nodes[node].kind),
        })
    }

    fn changed(&mut self, expected: &Tree<'v>, found: &Tree<'v>, at: &Place, other: &Place) {
        let (expected, found) = (self.expected_side(expected, at), self.found_side(found, other));
        self.differences.push(Difference { expected: Some(expected), found: Some(found) });
    }

    /// Of a list each element, so that as many are told whether or not another is left.
    fn missing(&mut self, tree: &Tree<'v>, at: &Place) {
        if let Form::List(items) = &tree.form {
            return items.iter().enumerate().for_each(|(number, item)| self.missing(item, &at.item(number)));
        }
        let expected = Some(self.expected_side(tree, at));
        self.differences.push(Difference { expected, found: None });
    }

    fn extra(&mut self, tree: &Tree<'v>, at: &Place) {
        if let Form::List(items) = &tree.form {
            return items.iter().enumerate().for_each(|(number, item)| self.extra(item, &at.item(number)));
        }
        let found = Some(self.found_side(tree, at));
        self.differences.push(Difference { expected: None, found });
    }
}

fn sorted_leaves(tree: &Tree<'_>, link: &impl Fn(usize) -> u64) -> Vec<u64> {
    let mut leaves = Vec::new();
    tree.leaves(hash(&0), link, &mut leaves);
    leaves.sort_unstable();
    leaves
}

fn side(tree: &Tree<'_>, at: &Place, named: impl FnOnce(usize) -> String) -> Side {
    let (mut at, mut value) = (at.clone(), tree.value.clone());
    // An element of which only the extension is there.
    if let (Form::Beside(beside), Value::Null) = (&tree.form, &value) {
        (at, value) = (at.beside(), beside.value.clone());
    }
    let refers_to = if let Form::Link(node) = tree.form { Some(named(node)) } else { None };
    Side { path: at.path, name: at.name, value, refers_to }
}
