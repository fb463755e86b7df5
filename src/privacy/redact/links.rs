//! References: to what went, and what can still be reached.
use super::kind_of;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What references may no longer lead to.
#[derive(Default)]
pub(super) struct Links {
    gone: BTreeSet<String>,
}

impl Links {
    /// An entry went.
    pub fn gone(&mut self, entry: &Value) {
        self.gone.extend(addresses(entry));
    }

    /// Whether a reference leads to what went.
    pub fn lead_to_gone(&self, reference: &str) -> bool {
        !self.gone.is_empty() && spellings(reference).any(|spelling| self.gone.contains(spelling))
    }
}

/// How an entry can be referred to.
fn addresses(entry: &Value) -> Vec<String> {
    let url = entry.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
    let id = entry.get("resource").and_then(|resource| resource.get("id")).and_then(Value::as_str);
    let relative = id.map(|id| format!("{}/{id}", kind_of(entry.get("resource"))));
    url.into_iter().chain(relative).collect()
}

/// A reference as it stands, without its version, and relative.
fn spellings(reference: &str) -> impl Iterator<Item = &str> {
    let plain = reference.split("/_history/").next().unwrap_or(reference);
    let plain = plain.split('#').next().unwrap_or(plain);
    let mut slashes = plain.rmatch_indices('/').map(|(at, _)| at);
    let relative = slashes.nth(1).and_then(|at| plain.get(at + 1..));
    [Some(plain), relative].into_iter().flatten()
}

/// What could be reached, and from where, before anything went.
pub(super) struct Reach {
    /// Entries that nothing referred to, by address: whoever reads begins there.
    roots: BTreeSet<String>,
}

impl Reach {
    pub fn of(bundle: &Map<String, Value>) -> Reach {
        let web = Web::of(bundle);
        let mut referred: BTreeSet<usize> = BTreeSet::new();
        for (number, links) in web.links.iter().enumerate() {
            referred.extend(links.iter().filter(|to| **to != number));
        }
        let mut roots: BTreeSet<usize> = (0..web.links.len()).filter(|number| !referred.contains(number)).collect();
        roots.extend((0..web.links.len()).filter(|number| super::is_essential(&web.kinds[*number])));
        // Rings that nothing leads to are as good as roots.
        let reached = web.reached(roots.iter().copied());
        roots.extend((0..web.links.len()).filter(|number| !reached.contains(number)));
        Reach { roots: roots.into_iter().flat_map(|number| web.addresses[number].clone()).collect() }
    }

    /// Entries that cannot be reached any more, the last first.
    pub fn lost(&self, bundle: &Map<String, Value>) -> Vec<usize> {
        let web = Web::of(bundle);
        let is_root = |number: &usize| web.addresses[*number].iter().any(|address| self.roots.contains(address));
        // What has no address cannot be led to at all.
        let roots = (0..web.links.len()).filter(|number| is_root(number) || web.addresses[*number].is_empty());
        let reached = web.reached(roots);
        (0..web.links.len()).rev().filter(|number| !reached.contains(number)).collect()
    }
}

/// Which entry refers to which. The three lists are as long as there are entries.
struct Web {
    kinds: Vec<String>,
    addresses: Vec<Vec<String>>,
    links: Vec<BTreeSet<usize>>,
}

impl Web {
    fn of(bundle: &Map<String, Value>) -> Web {
        let entries = bundle.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let addresses: Vec<Vec<String>> = entries.iter().map(addresses).collect();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, own) in addresses.iter().enumerate() {
            numbers.extend(own.iter().map(|address| (address.as_str(), number)));
        }
        let links = entries.iter().map(|entry| {
            let mut to = BTreeSet::new();
            references(entry.get("resource"), |reference| {
                to.extend(spellings(reference).filter_map(|spelling| numbers.get(spelling)));
            });
            to
        });
        let links = links.collect();
        Web { kinds: entries.iter().map(|entry| kind_of(entry.get("resource")).to_owned()).collect(), links, addresses }
    }

    fn reached(&self, roots: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        let mut reached: BTreeSet<usize> = roots.collect();
        let mut waiting: Vec<usize> = reached.iter().copied().collect();
        while let Some(number) = waiting.pop() {
            for to in self.links.get(number).into_iter().flatten() {
                if reached.insert(*to) {
                    waiting.push(*to);
                }
            }
        }
        reached
    }
}

/// Every reference of a resource; not those by which a Provenance speaks of what others brought.
fn references<'v>(resource: Option<&'v Value>, mut each: impl FnMut(&'v str)) {
    let speaks = kind_of(resource) == "Provenance";
    let mut waiting: Vec<&Value> = Vec::new();
    for (key, value) in resource.and_then(Value::as_object).into_iter().flatten() {
        if !(speaks && key == "target") {
            waiting.push(value);
        }
    }
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(object) => {
                if let Some(reference) = object.get("reference").and_then(Value::as_str) {
                    each(reference);
                }
                waiting.extend(object.values());
            }
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
}
