//! Parses the embedded texts. They are our own, and a test reads every line, so a line that does not fit is left out here.
use super::{CodeSet, Element, Kind, Shape, Type, TypeRef};
use std::borrow::Cow;
use std::collections::HashMap;

const ELEMENTS: &str = include_str!("r4.txt");
const CODES: &str = include_str!("codes.txt");

pub(super) fn shape() -> Shape {
    let (sets, urls) = code_sets();
    let mut types: HashMap<Cow<'static, str>, Type> = HashMap::with_capacity(1024);
    // The path of the innermost open type at each depth.
    let mut open: Vec<Cow<'static, str>> = vec![];
    let mut primitives = vec![];
    for line in ELEMENTS.lines().filter(|line| !line.starts_with('#')) {
        let text = line.trim_start_matches(' ');
        let depth = line.len() - text.len();
        open.truncate(depth);
        if let Some(names) = text.strip_prefix("!primitives ") {
            primitives = names.split(' ').collect();
        } else if depth == 0 {
            let (name, base) = text.split_once(" < ").map_or((text, None), |(name, base)| (name, Some(base)));
            types.insert(Cow::Borrowed(name), heading(base, &types));
            open.push(Cow::Borrowed(name));
        } else if let Some(parent) = open.last().cloned()
            && let Some(element) = element(text, &urls)
        {
            let path = format!("{parent}.{}", element.name);
            if depth > 1 && !types.contains_key(&parent) {
                let base = element_base(&types, &open);
                types.insert(parent.clone(), Type { kind: Kind::Backbone, children: inherited(base, &types) });
            }
            if let Some(known) = types.get_mut(&parent) {
                let order = u16::try_from(known.children.len()).unwrap_or(u16::MAX);
                known.children.push(Element { order, ..element });
            }
            open.push(Cow::Owned(path));
        }
    }
    for name in primitives {
        types.insert(Cow::Borrowed(name), Type { kind: Kind::Primitive, children: inherited("Element", &types) });
    }
    Shape { types, sets }
}

/// A type by its heading line, with what it inherits.
fn heading(base: Option<&str>, types: &HashMap<Cow<'static, str>, Type>) -> Type {
    let kind = match base {
        None => Kind::Abstract,
        Some("Resource" | "DomainResource") => Kind::Resource,
        Some(_) => Kind::Datatype,
    };
    Type { kind, children: base.map_or_else(Vec::new, |base| inherited(base, types)) }
}

fn inherited(base: &str, types: &HashMap<Cow<'static, str>, Type>) -> Vec<Element> {
    types.get(base).map_or_else(Vec::new, |base| base.children.clone())
}

/// `Element` or `BackboneElement`: the declared type of the element that the innermost open path names.
fn element_base(types: &HashMap<Cow<'static, str>, Type>, open: &[Cow<'static, str>]) -> &'static str {
    let declared = match open {
        [.., parent, _] => {
            types.get(parent).and_then(|known| known.children.last()).and_then(|element| element.types.first())
        }
        _ => None,
    };
    declared.map_or("BackboneElement", |declared| declared.name)
}

/// `name cardinality types [!value-set]`
fn element(line: &'static str, urls: &HashMap<&'static str, &'static str>) -> Option<Element> {
    let mut words = line.split(' ');
    let (name, card, types) = (words.next()?, words.next()?, words.next()?);
    let set = words.next().and_then(|word| word.strip_prefix('!')).and_then(|name| urls.get(name).copied());
    let content = types.strip_prefix('#');
    let types = if content.is_some() {
        vec![TypeRef { name: "BackboneElement", targets: vec![] }]
    } else {
        types.split(',').map(type_ref).collect()
    };
    Some(Element {
        name,
        types,
        min: u8::from(matches!(card, "1" | "+")),
        many: matches!(card, "*" | "+"),
        order: 0,
        required_codes: set,
        content,
    })
}

/// `Reference(Patient|Group)`
fn type_ref(text: &'static str) -> TypeRef {
    match text.split_once('(') {
        Some((name, targets)) => TypeRef { name, targets: targets.trim_end_matches(')').split('|').collect() },
        None => TypeRef { name: text, targets: vec![] },
    }
}

type Sets = HashMap<&'static str, CodeSet>;

/// The sets and the URLs, both by the URL's last part.
fn code_sets() -> (Sets, HashMap<&'static str, &'static str>) {
    let (mut sets, mut urls) = (Sets::new(), HashMap::new());
    let mut current = "";
    for line in CODES.lines().filter(|line| !line.starts_with('#')) {
        if let Some((system, codes)) = line.strip_prefix(' ').and_then(|line| line.split_once(' ')) {
            sets.entry(current).or_default().add(system, codes.split(' '));
        } else {
            current = line.rsplit('/').next().unwrap_or(line);
            urls.insert(current, line);
        }
    }
    (sets, urls)
}
