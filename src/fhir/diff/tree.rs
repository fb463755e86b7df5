//! A value as a graph: one node a resource, each a tree without ids in which a reference is a link to a node.
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// All resources of a value; the first is the value itself.
pub(super) struct Graph<'v> {
    pub nodes: Vec<Node<'v>>,
}

/// A resource.
pub(super) struct Node<'v> {
    /// Its type; empty when it says none.
    pub kind: &'v str,
    pub value: &'v Value,
    pub tree: Tree<'v>,
    /// What the entry of the Bundle says beside it: `request`, `search`.
    pub entry: Option<Tree<'v>>,
    /// `Bundle.entry[3].resource`.
    pub path: String,
    /// `Observation(2)`.
    pub name: String,
    /// The resource that contains it.
    pub owner: Option<usize>,
}

/// A value without ids.
pub(super) struct Tree<'v> {
    pub value: &'v Value,
    pub form: Form<'v>,
}

pub(super) enum Form<'v> {
    Scalar,
    /// To a node.
    Link(usize),
    Object(Vec<(&'v str, Tree<'v>)>),
    List(Vec<Tree<'v>>),
    /// An element of a list of primitives, with what stands beside it under `_name`.
    Beside(Box<Tree<'v>>),
}

/// Where references lead.
#[derive(Default)]
struct Addresses<'v> {
    urls: HashMap<&'v str, usize>,
    /// `Patient/1`.
    relative: HashMap<String, usize>,
    /// By the resource that contains it and its id.
    contained: HashMap<(usize, &'v str), usize>,
}

/// A resource that was found, before its tree is made.
struct Found<'v> {
    value: &'v Map<String, Value>,
    whole: &'v Value,
    entry: Option<&'v Value>,
    path: String,
    owner: Option<usize>,
}

static NULL: Value = Value::Null;

impl<'v> Graph<'v> {
    pub fn of(root: &'v Value) -> Graph<'v> {
        let mut addresses = Addresses::default();
        let Value::Object(object) = root else {
            let tree = Builder { addresses: &addresses, container: 0 }.tree(root);
            let (path, name) = ("value".to_owned(), "value".to_owned());
            return Graph { nodes: vec![Node { kind: "", value: root, tree, entry: None, path, name, owner: None }] };
        };
        let path = kind(object).to_owned();
        let mut found = vec![Found { value: object, whole: root, entry: None, path, owner: None }];
        // Resources are appended while those before them are looked through.
        let mut at = 0;
        while at < found.len() {
            collect(at, &mut found, &mut addresses);
            at += 1;
        }
        let names = names(&found);
        let nodes = found.iter().zip(names).enumerate().map(|(number, (resource, name))| {
            let builder = Builder { addresses: &addresses, container: resource.owner.unwrap_or(number) };
            Node {
                kind: kind(resource.value),
                value: resource.whole,
                tree: builder.resource(resource),
                entry: resource.entry.map(|entry| builder.entry(entry)),
                path: resource.path.clone(),
                name,
                owner: resource.owner,
            }
        });
        Graph { nodes: nodes.collect() }
    }
}

fn kind(object: &Map<String, Value>) -> &str {
    object.get("resourceType").and_then(Value::as_str).unwrap_or("")
}

/// Finds the resources directly within one.
fn collect<'v>(at: usize, found: &mut Vec<Found<'v>>, addresses: &mut Addresses<'v>) {
    let (object, path) = (found[at].value, found[at].path.clone());
    if kind(object) == "Bundle" {
        for (number, entry) in object.get("entry").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let Some((whole, value)) = entry.get("resource").and_then(|r| Some((r, r.as_object()?))) else { continue };
            if let Some(url) = entry.get("fullUrl").and_then(Value::as_str) {
                addresses.urls.insert(url, found.len());
            }
            if let Some(id) = value.get("id").and_then(Value::as_str) {
                addresses.relative.insert(format!("{}/{id}", kind(value)), found.len());
            }
            let path = format!("{path}.entry[{number}].resource");
            found.push(Found { value, whole, entry: Some(entry), path, owner: None });
        }
    }
    for (number, whole) in object.get("contained").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let Value::Object(value) = whole else { continue };
        if let Some(id) = value.get("id").and_then(Value::as_str) {
            addresses.contained.insert((at, id), found.len());
        }
        let path = format!("{path}.contained[{number}]");
        found.push(Found { value, whole, entry: None, path, owner: Some(at) });
    }
}

/// `Patient`, `Observation(2)`, `Observation(2).contained[0]`.
fn names(found: &[Found<'_>]) -> Vec<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for resource in found.iter().filter(|resource| resource.owner.is_none()) {
        *counts.entry(kind(resource.value)).or_default() += 1;
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut names: Vec<String> = Vec::with_capacity(found.len());
    for resource in found {
        let kind = kind(resource.value);
        names.push(match resource.owner {
            // An owner stands before what it contains.
            Some(owner) => format!("{}{}", names[owner], &resource.path[found[owner].path.len()..]),
            None => {
                let ordinal = seen.entry(kind).or_default();
                *ordinal += 1;
                if counts[kind] > 1 { format!("{kind}({ordinal})") } else { kind.to_owned() }
            }
        });
    }
    names
}

struct Builder<'a, 'v> {
    addresses: &'a Addresses<'v>,
    /// The resource whose contained ones `#id` means.
    container: usize,
}

impl<'v> Builder<'_, 'v> {
    /// Without what are nodes of their own.
    fn resource(&self, found: &Found<'v>) -> Tree<'v> {
        let bundle = kind(found.value) == "Bundle";
        let own = |name: &str| name != "contained" && !(bundle && name == "entry");
        Tree { value: found.whole, form: Form::Object(self.members(found.value, own)) }
    }

    fn entry(&self, entry: &'v Value) -> Tree<'v> {
        let Value::Object(object) = entry else { return self.tree(entry) };
        let own = |name: &str| name != "resource" && name != "fullUrl";
        Tree { value: entry, form: Form::Object(self.members(object, own)) }
    }

    fn tree(&self, value: &'v Value) -> Tree<'v> {
        let form = match value {
            Value::Object(object) => Form::Object(self.members(object, |_| true)),
            Value::Array(items) => Form::List(items.iter().map(|item| self.tree(item)).collect()),
            _ => Form::Scalar,
        };
        Tree { value, form }
    }

    fn members(&self, object: &'v Map<String, Value>, own: impl Fn(&str) -> bool) -> Vec<(&'v str, Tree<'v>)> {
        let mut members = Vec::with_capacity(object.len());
        for (name, value) in object {
            if !own(name) || (name == "id" && value.is_string()) {
                continue;
            }
            // What stands beside the elements of a list belongs to them, wherever they go.
            if let (Some(base), Value::Array(beside)) = (name.strip_prefix('_'), value) {
                if !object.get(base).is_some_and(Value::is_array) {
                    members.push((base, self.list(value, &[], beside)));
                }
                continue;
            }
            let tree = match value {
                Value::Array(items) => {
                    let beside = object.get(&format!("_{name}")).and_then(Value::as_array);
                    self.list(value, items, beside.map_or(&[], Vec::as_slice))
                }
                Value::String(text) => {
                    let form = self.target(name, text).map_or(Form::Scalar, Form::Link);
                    Tree { value, form }
                }
                _ => self.tree(value),
            };
            members.push((name.as_str(), tree));
        }
        members
    }

    fn list(&self, value: &'v Value, items: &'v [Value], beside: &'v [Value]) -> Tree<'v> {
        let item = |at: usize| {
            let value = items.get(at).unwrap_or(&NULL);
            match beside.get(at).filter(|beside| !beside.is_null()) {
                Some(beside) => Tree { value, form: Form::Beside(Box::new(self.tree(beside))) },
                None => self.tree(value),
            }
        };
        Tree { value, form: Form::List((0..items.len().max(beside.len())).map(item).collect()) }
    }

    /// The node that a text leads to. `url` is where a request of a transaction names its resource.
    fn target(&self, name: &str, text: &str) -> Option<usize> {
        if name == "reference"
            && let Some(id) = text.strip_prefix('#')
        {
            return if id.is_empty() {
                Some(self.container)
            } else {
                self.addresses.contained.get(&(self.container, id)).copied()
            };
        }
        let relative = || self.addresses.relative.get(text).filter(|_| matches!(name, "reference" | "url"));
        self.addresses.urls.get(text).or_else(relative).copied()
    }
}

impl<'v> Tree<'v> {
    /// A hash of all that it says; `link` gives that of a node. The order of lists and members does not matter.
    pub fn digest(&self, link: &impl Fn(usize) -> u64) -> u64 {
        match &self.form {
            Form::Scalar => hash(&(0, scalar(self.value))),
            Form::Link(node) => hash(&(1, link(*node))),
            Form::Object(members) => {
                let mut all: Vec<(&str, u64)> = members.iter().map(|(name, tree)| (*name, tree.digest(link))).collect();
                all.sort_unstable();
                hash(&(2, all))
            }
            Form::List(items) => {
                let mut all: Vec<u64> = items.iter().map(|item| item.digest(link)).collect();
                all.sort_unstable();
                hash(&(3, all))
            }
            Form::Beside(beside) => hash(&(4, scalar(self.value), beside.digest(link))),
        }
    }

    /// A hash of each scalar and link with its path, list elements of one place under one path.
    pub fn leaves(&self, path: u64, link: &impl Fn(usize) -> u64, out: &mut Vec<u64>) {
        match &self.form {
            Form::Scalar => out.push(hash(&(path, 0, scalar(self.value)))),
            Form::Link(node) => out.push(hash(&(path, 1, link(*node)))),
            Form::Object(members) => {
                members.iter().for_each(|(name, tree)| tree.leaves(hash(&(path, name)), link, out))
            }
            Form::List(items) => items.iter().for_each(|item| item.leaves(path, link, out)),
            Form::Beside(beside) => {
                out.push(hash(&(path, 0, scalar(self.value))));
                beside.leaves(hash(&(path, "_")), link, out);
            }
        }
    }

    /// Calls `visit` with the path and target of each link.
    pub fn links(&self, path: u64, visit: &mut impl FnMut(u64, usize)) {
        match &self.form {
            Form::Scalar => {}
            Form::Link(node) => visit(path, *node),
            Form::Object(members) => members.iter().for_each(|(name, tree)| tree.links(hash(&(path, name)), visit)),
            Form::List(items) => items.iter().for_each(|item| item.links(path, visit)),
            Form::Beside(beside) => beside.links(path, visit),
        }
    }
}

/// Numbers as written, a text never the same as a word.
fn scalar(value: &Value) -> String {
    value.to_string()
}

/// The same for the same value in one run of the program; never stored.
pub(super) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
