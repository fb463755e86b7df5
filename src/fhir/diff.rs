//! What two Bundles (or resources) say differently, whatever the order of their lists and the ids of their resources.
//!
//! | module | holds |
//! |---|---|
//! | `tree` | both sides as trees without ids, in which a reference is a link to a resource |
//! | `pairing` | which resource of one side is which of the other |
//! | `compare` | the differences between what was paired |
//!
//! Ids (`id`, `fullUrl`) count for nothing; a reference is the same when it leads to the same resource, contained ones included. Elements of a list are compared with those that are
//! most like them. Numbers count as written: `1.50` is not `1.5`. Pure; the depth of recursion is that of the values, which a JSON reader limits.
mod compare;
mod pairing;
mod tree;

use serde_json::Value;

/// One place at which two values differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What was expected; none where nothing was.
    pub expected: Option<Side>,
    /// What was found; none where nothing was.
    pub found: Option<Side>,
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// From the root: `Bundle.entry[3].resource.name[0].family`, as `explain` writes it.
    pub path: String,
    /// From the resource: `Patient.name[0].family`, `Observation(2).status`.
    pub name: String,
    /// The value: a scalar, or all of what the other side lacks.
    pub value: Value,
    /// For a reference within the Bundle, the resource that it leads to, as the expected side calls it: `Patient`, `Observation(2)`.
    pub refers_to: Option<String>,
}

/// What kind of difference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Both sides have a value, another one each.
    Changed,
    /// Expected, not found.
    Missing,
    /// Found, not expected.
    Extra,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Changed => "changed",
            Kind::Missing => "missing",
            Kind::Extra => "extra",
        }
    }
}

impl Difference {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match (&self.expected, &self.found) {
            (Some(_), None) => Kind::Missing,
            (None, _) => Kind::Extra,
            _ => Kind::Changed,
        }
    }

    /// Where, in the words of the expected side if it has any.
    pub fn name(&self) -> &str {
        self.expected.as_ref().or(self.found.as_ref()).map_or("", |side| &side.name)
    }

    /// The same for all elements of a list and all resources of a type: `Observation.status`.
    pub fn pattern(&self) -> String {
        without_numbers(self.name())
    }
}

/// All differences, in the order of the expected side, then what only the other has.
///
/// ```
/// use handoff::fhir::diff::differences;
/// use serde_json::json;
/// let expected = json!({ "resourceType": "Patient", "id": "a", "name": [{ "given": ["Odile", "Marguerite"] }] });
/// let found = json!({ "resourceType": "Patient", "id": "b", "name": [{ "given": ["Marguerite", "Odette"] }] });
/// let differences = differences(&expected, &found);
/// assert_eq!(differences.len(), 1);
/// assert_eq!(differences[0].name(), "Patient.name[0].given[0]");
/// ```
pub fn differences(expected: &Value, found: &Value) -> Vec<Difference> {
    if expected == found {
        return Vec::new();
    }
    let (expected, found) = (tree::Graph::of(expected), tree::Graph::of(found));
    let pairs = pairing::pair(&expected, &found);
    compare::compare(&expected, &found, &pairs)
}

/// A name without the numbers of list elements and resources.
fn without_numbers(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut inside = false;
    for character in name.chars() {
        match character {
            '[' | '(' => inside = true,
            ']' | ')' => inside = false,
            _ if inside => {}
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests;
