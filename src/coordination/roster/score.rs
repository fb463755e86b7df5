//! How alike two people are: log-odds of each field that agrees, as a part of what full agreement counts.
//!
//! A field that one of them does not tell counts half, as in the CDC's RecordLinker: it tells neither for nor against.
use super::fields::{Demographics, Field};
use super::options::Matching;

/// Names less alike than this (Jaro-Winkler) are different names.
const ALIKE: f64 = 0.9;

/// What one field adds to a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// The field.
    pub field: Field,
    /// How alike they are, 0 to 1; none where one of them does not tell.
    pub alike: Option<f64>,
    /// What it adds to the score, 0 to 1.
    pub adds: f64,
    /// What it could add.
    pub most: f64,
}

/// The score of two people, 0 to 1; none as soon as it cannot reach `least` any more. `each` is shown every part that was compared.
pub(super) fn score(
    matching: &Matching,
    left: &Demographics<'_>,
    right: &Demographics<'_>,
    least: f64,
    mut each: impl FnMut(Part),
) -> Option<f64> {
    let weights = &matching.weights;
    let total = weights.total();
    // What costs nothing to compare goes first: most people are told apart by it.
    let fields = [
        (Field::Dob, weights.dob),
        (Field::Zip, weights.zip),
        (Field::Sex, weights.sex),
        (Field::Family, weights.family),
        (Field::Given, weights.given),
        (Field::Address, weights.address),
        (Field::City, weights.city),
    ];
    let mut lost = 0.0;
    for (field, weight) in fields {
        let alike = alike(field, left, right);
        let counts = match alike {
            None => 0.5,
            Some(alike) if alike >= ALIKE => alike,
            Some(_) => 0.0,
        };
        lost += weight * (1.0 - counts);
        each(Part { field, alike, adds: weight * counts / total, most: weight / total });
        if 1.0 - lost / total < least {
            return None;
        }
    }
    Some(1.0 - lost / total)
}

/// How alike two people are in a field; none where one of them does not tell it.
pub(super) fn alike(field: Field, left: &Demographics<'_>, right: &Demographics<'_>) -> Option<f64> {
    if !left.has(field) || !right.has(field) {
        return None;
    }
    let texts = match field {
        Field::Family => (left.family, right.family),
        Field::Given => (left.given, right.given),
        Field::Address => (left.street, right.street),
        Field::City => (left.city, right.city),
        _ => return Some(f64::from(u8::from(left.agrees(right, field)))),
    };
    if texts.0 == texts.1 { Some(1.0) } else { Some(strsim::jaro_winkler(texts.0, texts.1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OKAFOR: Demographics<'_> = Demographics {
        family: "OKAFOR",
        given: "MARISOL",
        street: "418 QUARRY RD",
        city: "LAKESHORE",
        zip: "14150",
        phone: "7165550142",
        birth: 19_510_314,
        sex: b'F',
    };

    #[test]
    fn what_agrees_adds_up() {
        let matching = Matching::default();
        let mut parts = Vec::new();
        let whole = score(&matching, &OKAFOR, &OKAFOR, 0.0, |part| parts.push(part)).unwrap();
        assert!((whole - 1.0).abs() < 1e-9);
        assert!((parts.iter().map(|part| part.adds).sum::<f64>() - whole).abs() < 1e-9);
        assert_eq!(parts.len(), 7);
        let moved = Demographics { street: "9 ELM ST", city: "BUFFALO", zip: "14201", ..OKAFOR };
        let score_of = |other| score(&matching, &OKAFOR, &other, 0.0, |_| ()).unwrap();
        // dob, sex, family and given of 39.94.
        assert!((score_of(moved) - 24.08 / 39.94).abs() < 1e-9);
        let bare = Demographics { street: "", city: "", zip: "", ..OKAFOR };
        assert!((score_of(bare) - (24.08 + 15.86 / 2.0) / 39.94).abs() < 1e-9);
        assert_eq!(score(&matching, &OKAFOR, &moved, 0.8, |_| ()), None, "given up early");
    }

    #[test]
    fn twins_are_not_alike() {
        let twin = Demographics { given: "MARISSA", ..OKAFOR };
        let likeness = alike(Field::Given, &OKAFOR, &twin).unwrap();
        assert!((0.88..0.89).contains(&likeness));
        assert_eq!(alike(Field::Given, &OKAFOR, &Demographics { given: "", ..twin }), None);
        assert_eq!(alike(Field::Dob, &OKAFOR, &Demographics { birth: 19_510_315, ..twin }), Some(0.0));
    }
}
