//! A message grammar as a tree: read from the facts, merged with an older version's, written in the syntax of `mappings/README.md`.
use serde_json::Value;

/// One place in a sequence.
#[derive(Clone, Debug)]
pub struct Node {
    pub item: Item,
    pub optional: bool,
    pub many: bool,
}

/// What stands there.
#[derive(Clone, Debug)]
pub enum Item {
    Segment(String),
    Choice(Vec<String>),
    Group(String, Vec<Node>),
}

/// Reads a sequence; segments without a fixed name ("any segment", `Hxx`) are left out, they are never lost in matching.
pub fn read(list: &Value, structure: &str) -> Vec<Node> {
    list.as_array().into_iter().flatten().filter_map(|value| node(value, structure)).collect()
}

fn node(value: &Value, structure: &str) -> Option<Node> {
    let full = value["name"].as_str()?;
    let (optional, many) = (value["min"] == 0, value["max"] != 1);
    let item = if value.get("group").is_some() {
        let name = full
            .get(..structure.len())
            .filter(|prefix| prefix.eq_ignore_ascii_case(structure))
            .and_then(|_| full.get(structure.len() + 1..))
            .unwrap_or(full);
        let name = if name == "TQ1TQ2_SUPPGRP" { "TIMING_QTY" } else { name };
        let nodes = read(&value["group"], structure);
        if name.ends_with("CHOICE") || name.ends_with("_OBJECT") || name.starts_with("OBR") && name.ends_with("SUPPGRP")
        {
            choice(nodes)?
        } else if nodes.is_empty() {
            return None;
        } else {
            Item::Group(name.to_owned(), nodes)
        }
    } else if is_segment(full) {
        Item::Segment(full.to_owned())
    } else {
        return None;
    };
    Some(Node { item, optional, many })
}

fn choice(nodes: Vec<Node>) -> Option<Item> {
    let mut names: Vec<String> = nodes
        .into_iter()
        .filter_map(|node| if let Item::Segment(name) = node.item { Some(name) } else { None })
        .collect();
    if names.len() > 1 { Some(Item::Choice(names)) } else { names.pop().map(Item::Segment) }
}

fn is_segment(name: &str) -> bool {
    name.len() == 3
        && !["HXX", "ZXX"].contains(&name)
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The newer sequence plus what only the older one has, at its place: both versions' messages match.
pub fn merge(newer: Vec<Node>, older: &[Node]) -> Vec<Node> {
    let pairs = align(&newer, older);
    let missing: Vec<&Node> = {
        let unpaired = older.iter().enumerate().filter(|(at, _)| !pairs.iter().any(|pair| pair.1 == *at));
        unpaired.filter(|(_, node)| is_missing(node, &newer, older)).map(|(_, node)| node).collect()
    };
    let mut out = vec![];
    let mut taken = 0;
    let mut add_missing = |out: &mut Vec<Node>, until: usize| {
        for node in &older[taken..until] {
            if missing.iter().any(|kept| std::ptr::eq(*kept, node)) {
                out.push(Node { optional: true, ..node.clone() });
            }
        }
        taken = until;
    };
    for (at, node) in newer.into_iter().enumerate() {
        match pairs.iter().find(|pair| pair.0 == at) {
            Some(pair) => {
                add_missing(&mut out, pair.1);
                out.push(unite(node, &older[pair.1]));
            }
            // A segment that the older version does not know cannot be required of its messages.
            None => {
                let unknown = matches!(&node.item, Item::Segment(name) if count(older, name) == 0);
                out.push(Node { optional: node.optional || unknown, ..node });
            }
        }
    }
    add_missing(&mut out, older.len());
    out
}

fn unite(newer: Node, older: &Node) -> Node {
    let item = match (newer.item, &older.item) {
        (Item::Group(name, nodes), Item::Group(older_name, older_nodes)) => {
            let name = if name.contains("SUPPGRP") { older_name.clone() } else { name };
            let anchored = nodes.first().is_some_and(|node| !node.optional);
            let mut nodes = merge(nodes, older_nodes);
            // A group keeps one required segment to be recognised by.
            if let Some(first) = nodes.first_mut().filter(|_| anchored)
                && older_nodes.iter().all(|node| node.optional)
            {
                first.optional = false;
            }
            Item::Group(name, nodes)
        }
        (Item::Choice(mut names), other) => {
            let more: Vec<String> = match other {
                Item::Choice(more) => more.clone(),
                Item::Segment(more) => vec![more.clone()],
                Item::Group(..) => vec![],
            };
            names.extend(more.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
            Item::Choice(names)
        }
        (Item::Segment(_), Item::Choice(names)) => Item::Choice(names.clone()),
        (item, _) => item,
    };
    Node { item, optional: newer.optional || older.optional, many: newer.many || older.many }
}

/// The longest common subsequence, as index pairs.
fn align(newer: &[Node], older: &[Node]) -> Vec<(usize, usize)> {
    let (rows, columns) = (newer.len(), older.len());
    let mut best = vec![vec![0; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            let here = if same(&newer[row], &older[column]) { best[row + 1][column + 1] + 1 } else { 0 };
            best[row][column] = here.max(best[row + 1][column]).max(best[row][column + 1]);
        }
    }
    let (mut row, mut column, mut pairs) = (0, 0, vec![]);
    while row < rows && column < columns {
        if same(&newer[row], &older[column]) && best[row][column] == best[row + 1][column + 1] + 1 {
            pairs.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if best[row + 1][column] >= best[row][column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

/// Groups changed their names between versions, hardly ever their first segment.
fn same(newer: &Node, older: &Node) -> bool {
    match (&newer.item, &older.item) {
        (Item::Segment(one), Item::Segment(other)) => one == other,
        (Item::Group(one, _), Item::Group(other, _)) => one == other || first(newer) == first(older),
        (Item::Group(..), _) | (_, Item::Group(..)) => false,
        _ => first(newer) == first(older),
    }
}

fn first(node: &Node) -> &str {
    match &node.item {
        Item::Segment(name) => name,
        Item::Choice(names) => names.first().map_or("", String::as_str),
        Item::Group(_, nodes) => nodes.first().map_or("", first),
    }
}

/// Whether the older node is truly gone, not just moved into a group, renamed or reordered.
fn is_missing(node: &Node, newer: &[Node], older: &[Node]) -> bool {
    let name = first(node);
    match node.item {
        Item::Segment(_) => count(newer, name) < count(older, name),
        _ => count(newer, name) == 0,
    }
}

fn count(nodes: &[Node], name: &str) -> usize {
    let of = |node: &Node| match &node.item {
        Item::Segment(own) => usize::from(own == name),
        Item::Choice(names) => names.iter().filter(|own| *own == name).count(),
        Item::Group(_, nodes) => count(nodes, name),
    };
    nodes.iter().map(of).sum()
}

/// Adds an optional repeating `added` next to every `anchor` whose sequence has none beside it.
pub fn accompany(nodes: &mut Vec<Node>, anchor: &str, added: &str, after: bool) {
    let is =
        |node: Option<&Node>, name: &str| matches!(node, Some(Node { item: Item::Segment(own), .. }) if own == name);
    let mut at = 0;
    while at < nodes.len() {
        if let Item::Group(_, inner) = &mut nodes[at].item {
            accompany(inner, anchor, added, after);
        }
        let beside = at > 0 && is(nodes.get(at - 1), added) || is(nodes.get(at + 1), added);
        if is(nodes.get(at), anchor) && !beside {
            nodes.insert(
                at + usize::from(after),
                Node { item: Item::Segment(added.to_owned()), optional: true, many: true },
            );
            at += 1;
        }
        at += 1;
    }
}

/// Makes the group `name` required wherever it stands.
pub fn require(nodes: &mut [Node], name: &str) {
    for node in nodes {
        if let Item::Group(own, inner) = &mut node.item {
            node.optional &= own != name;
            require(inner, name);
        }
    }
}

/// The sequence in the syntax of the structure files.
pub fn render(nodes: &[Node]) -> String {
    nodes.iter().map(render_node).collect::<Vec<_>>().join(" ")
}

fn render_node(node: &Node) -> String {
    let (inner, group) = match &node.item {
        Item::Segment(name) => (name.clone(), false),
        Item::Choice(names) => (format!("<{}>", names.join("|")), false),
        Item::Group(name, nodes) => (format!("{name}: {}", render(nodes)), true),
    };
    match (node.optional, node.many) {
        (true, true) => format!("[{{{inner}}}]"),
        (true, false) => format!("[{inner}]"),
        (false, true) => format!("{{{inner}}}"),
        (false, false) if group => format!("({inner})"),
        (false, false) => inner,
    }
}
