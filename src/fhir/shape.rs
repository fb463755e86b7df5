//! The shape of FHIR R4: which elements a type has, of which types, how often, and which codes a required binding allows.
//!
//! Read when mappings are loaded, never per message. The facts are two embedded texts, parsed once on first use:
//!
//! ```text
//! shape/r4.txt     Patient < DomainResource            a type and its base, whose children it has first
//!                   gender ? code !administrative-gender   name, cardinality (? 0..1, 1 1..1, * 0..*, + 1..*), types, required value set
//!                   contact * BackboneElement
//!                    organization ? Reference(Organization)   deeper: the children of "Patient.contact"
//!                  …
//!                   part * #Parameters.parameter       content reference: the children stand there
//! shape/codes.txt  http://…/ValueSet/administrative-gender   a required value set; no codes below: it cannot be enumerated
//!                   http://…/administrative-gender female …   system and its codes
//! ```
//!
//! Leaves out: invariants, bindings weaker than required, and the `value` and extensions of primitives, which JSON spells in its own way.
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

mod codes;
mod load;

pub use codes::CodeSet;

/// One child of a resource, datatype or backbone element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// As R4 writes it: `birthDate`, `value[x]`.
    pub name: &'static str,
    /// What it may be; more than one only for a choice. A content reference counts as `BackboneElement`.
    pub types: Vec<TypeRef>,
    /// 0 or 1.
    pub min: u8,
    /// A list in JSON.
    pub many: bool,
    /// Position among its siblings as R4 defines them; inherited ones come first.
    pub order: u16,
    /// The value set that alone supplies its codes, without a version: see [`required_codes`].
    pub required_codes: Option<&'static str>,
    /// The path whose children it has, when that is not its own.
    content: Option<&'static str>,
}

impl Element {
    /// Whether its JSON name depends on the type chosen.
    pub fn is_choice(&self) -> bool {
        self.name.ends_with("[x]")
    }

    /// The entry for a type of this name, if the element may be of it.
    pub fn type_ref(&self, name: &str) -> Option<&TypeRef> {
        self.types.iter().find(|known| known.name == name)
    }
}

/// One type that an element may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRef {
    /// `code`, `CodeableConcept`, `Reference`, `BackboneElement` …
    pub name: &'static str,
    /// For `Reference` and `canonical`, the types it may point to; empty: any.
    pub targets: Vec<&'static str>,
}

struct Shape {
    /// By type name or backbone path.
    types: HashMap<Cow<'static, str>, Type>,
    sets: HashMap<&'static str, CodeSet>,
}

struct Type {
    kind: Kind,
    children: Vec<Element>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Abstract,
    Primitive,
    Datatype,
    Resource,
    Backbone,
}

/// Whether R4 has a concrete resource of this name (`Resource` and `DomainResource` are none).
pub fn is_resource(name: &str) -> bool {
    kind(name) == Some(Kind::Resource)
}

/// The name of a concrete resource, with the lifetime of the table.
pub fn resource_name(name: &str) -> Option<&'static str> {
    shape().types.get_key_value(name).filter(|_| is_resource(name)).map(|(name, _)| name.as_ref())
}

/// Whether R4 has a datatype of this name, primitive or complex.
pub fn is_type(name: &str) -> bool {
    matches!(kind(name), Some(Kind::Primitive | Kind::Datatype))
}

/// The names of all concrete resources and complex datatypes, sorted.
pub fn structured_types() -> Vec<&'static str> {
    let all = shape().types.iter().filter(|(_, known)| matches!(known.kind, Kind::Resource | Kind::Datatype));
    let mut names: Vec<&'static str> = all.map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names
}

/// Whether R4 has a primitive type of this name.
pub fn is_primitive(name: &str) -> bool {
    kind(name) == Some(Kind::Primitive)
}

/// The child of a resource, datatype or backbone path (`Patient.contact`), a choice also by its spelled-out name (`valueQuantity`).
///
/// ```
/// use handoff::fhir::shape::child;
/// assert!(child("Patient", "name").is_some_and(|name| name.many));
/// assert_eq!(child("Observation", "valueQuantity"), child("Observation", "value[x]"));
/// ```
pub fn child(parent_type: &str, name: &str) -> Option<&'static Element> {
    let plain = children(parent_type).iter().find(|element| element.name == name);
    plain.or_else(|| choice(parent_type, name).map(|(element, _)| element))
}

/// Splits the spelled-out name of a choice: `valueQuantity` → the element `value[x]` and its type `Quantity`.
pub fn choice(parent_type: &str, name: &str) -> Option<(&'static Element, &'static TypeRef)> {
    choice_of(children(parent_type), name)
}

/// The one of some children that JSON spells so, with its type: by its own name, or a choice by its spelled-out name (`valueQuantity`).
pub fn spelled(children: &'static [Element], name: &str) -> Option<(&'static Element, &'static TypeRef)> {
    let plain = children.iter().find(|element| element.name == name).filter(|element| !element.is_choice());
    let plain = plain.and_then(|element| Some((element, element.types.first()?)));
    plain.or_else(|| choice_of(children, name))
}

fn choice_of(children: &'static [Element], name: &str) -> Option<(&'static Element, &'static TypeRef)> {
    children.iter().find_map(|element| {
        let chosen = name.strip_prefix(element.name.strip_suffix("[x]")?)?;
        Some((element, element.types.iter().find(|known| spells(chosen, known.name))?))
    })
}

/// All children of a type in R4's order, with those inherited from `Resource`, `DomainResource`, `Element` and `BackboneElement`; empty for an unknown type.
pub fn children(parent_type: &str) -> &'static [Element] {
    shape().types.get(parent_type).map_or(&[], |known| &known.children)
}

/// The `parent_type` below an element of the chosen type: the type itself, or for a backbone element its path, content references resolved.
///
/// ```
/// use handoff::fhir::shape::{child, child_type};
/// let link = child("Bundle.entry", "link").unwrap();
/// assert_eq!(child_type("Bundle.entry", link, "BackboneElement"), "Bundle.link");
/// ```
pub fn child_type<'a>(parent_type: &str, element: &Element, type_name: &'a str) -> &'a str {
    if type_name != "BackboneElement" && type_name != "Element" {
        return type_name;
    }
    if let Some(path) = element.content {
        return path;
    }
    let path = shape().types.get_key_value(format!("{parent_type}.{}", element.name).as_str());
    path.map_or(type_name, |(path, _)| path.as_ref())
}

/// The codes of a required value set, by its URL or the URL's last part; `None` if unknown or not enumerable (`mimetypes`, `currencies`, `ucum-units`).
pub fn required_codes(value_set: &str) -> Option<&'static CodeSet> {
    let name = value_set.split('|').next()?.rsplit('/').next()?;
    shape().sets.get(name).filter(|set| set.len() > 0)
}

/// Up to three children whose names are nearest to a misspelt one, nearest first; choices as `value[x]`.
pub fn suggestions(parent_type: &str, misspelt: &str) -> Vec<&'static str> {
    let wanted = misspelt.strip_suffix("[x]").unwrap_or(misspelt);
    let far = (wanted.chars().count() / 3).max(2);
    let measure = |element: &'static Element| {
        (distance(wanted, element.name.strip_suffix("[x]").unwrap_or(element.name)), element.name)
    };
    let mut near: Vec<(usize, &'static str)> =
        children(parent_type).iter().map(measure).filter(|(steps, _)| *steps <= far).collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

fn kind(name: &str) -> Option<Kind> {
    shape().types.get(name).map(|known| known.kind)
}

fn shape() -> &'static Shape {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    SHAPE.get_or_init(load::shape)
}

/// Whether `chosen` is the type's name with a capital first letter.
fn spells(chosen: &str, type_name: &str) -> bool {
    let capital = type_name.as_bytes().first().map(u8::to_ascii_uppercase);
    chosen.as_bytes().first().copied() == capital && chosen.get(1..) == type_name.get(1..)
}

/// Edit distance where a swap of neighbours counts once (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: [Vec<usize>; 3] = [vec![], (0..=other.len()).collect(), vec![0; other.len() + 1]];
    for (at, a) in one.iter().enumerate() {
        rows[2][0] = at + 1;
        for (to, b) in other.iter().enumerate() {
            let mut steps = (rows[1][to] + usize::from(a != b)).min(rows[1][to + 1] + 1).min(rows[2][to] + 1);
            if at > 0 && to > 0 && *a == other[to - 1] && one[at - 1] == *b {
                steps = steps.min(rows[0][to - 1] + 1);
            }
            rows[2][to + 1] = steps;
        }
        rows.rotate_left(1);
        rows[2] = vec![0; other.len() + 1];
    }
    rows[1][other.len()]
}

#[cfg(test)]
mod tests;
