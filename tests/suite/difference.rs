//! What must hold of the semantic difference whatever the Bundle: it does not see order and ids, and it sees each single value.
use super::fixtures::fixtures;
use handoff::fhir::diff::{Difference, Kind, differences};
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The Bundles of the fixtures.
fn bundles() -> &'static [(String, Value)] {
    static BUNDLES: OnceLock<Vec<(String, Value)>> = OnceLock::new();
    BUNDLES.get_or_init(|| {
        let mut found = Vec::new();
        for fixture in fixtures() {
            let Ok(text) = std::fs::read(fixture.folder.join("bundle.json")) else { continue };
            match serde_json::from_slice(&text).unwrap() {
                Value::Array(all) => found.extend(all.into_iter().map(|bundle| (fixture.name.clone(), bundle))),
                bundle => found.push((fixture.name, bundle)),
            }
        }
        found
    })
}

/// Puts entries, contained resources and the elements of all lists in another order, extensions of primitives with their values.
fn shuffle(value: &mut Value, random: &mut TestRng) {
    match value {
        Value::Object(object) => {
            let lists: Vec<String> = object
                .iter()
                .filter(|(name, value)| value.is_array() && !name.starts_with('_'))
                .map(|(name, _)| name.clone())
                .collect();
            for name in lists {
                let beside = format!("_{name}");
                let size = [&name, &beside].map(|n| object.get(n).and_then(Value::as_array).map_or(0, Vec::len));
                let order = order(size[0].max(size[1]), random);
                for list in [&name, &beside] {
                    if let Some(Value::Array(items)) = object.get_mut(list) {
                        *items = order.iter().map(|at| items.get(*at).cloned().unwrap_or(Value::Null)).collect();
                    }
                }
            }
            object.values_mut().for_each(|value| shuffle(value, random));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shuffle(item, random)),
        _ => {}
    }
}

fn order(size: usize, random: &mut TestRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..size).collect();
    for at in (1..size).rev() {
        order.swap(at, random.random_range(0..=at));
    }
    order
}

/// Other ids everywhere, references with them.
fn rename(bundle: &mut Value, salt: u32) {
    let mut names: HashMap<String, String> = HashMap::new();
    each_object(bundle, &mut |object| {
        if let (Some(_), Some(id)) = (object.get("resourceType"), object.get("id").and_then(Value::as_str)) {
            let new = format!("{salt:08x}-{:04}", names.len());
            for form in ["", "urn:uuid:", "#"] {
                names.insert(format!("{form}{id}"), format!("{form}{new}"));
            }
        }
    });
    each_object(bundle, &mut |object| {
        for key in ["id", "fullUrl", "reference"] {
            if let Some(Value::String(text)) = object.get_mut(key)
                && let Some(new) = names.get(text)
            {
                text.clone_from(new);
            }
        }
    });
}

fn each_object(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|value| each_object(value, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, visit)),
        _ => {}
    }
}

/// The paths of all scalars but ids and types: as a JSON pointer, and as a difference names them.
fn scalars(value: &Value, pointer: String, path: String, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if !matches!(name.as_str(), "id" | "fullUrl" | "resourceType") {
                    scalars(value, format!("{pointer}/{name}"), format!("{path}.{name}"), out);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                scalars(item, format!("{pointer}/{at}"), format!("{path}[{at}]"), out);
            }
        }
        Value::Null => {}
        _ => out.push((pointer, path)),
    }
}

fn changed(value: &Value) -> Value {
    match value {
        Value::String(text) => format!("{text}~").into(),
        Value::Bool(word) => (!word).into(),
        _ => 987_654_321.into(),
    }
}

fn told(differences: &[Difference]) -> String {
    differences
        .iter()
        .map(|d| format!("{} {}: {:?} / {:?}\n", d.kind().name(), d.name(), d.expected, d.found))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn order_and_ids_make_no_difference(which: prop::sample::Index, salt: u32, random in any::<u64>().prop_perturb(|_, random| random)) {
        let (name, bundle) = &bundles()[which.index(bundles().len())];
        let (mut other, mut random) = (bundle.clone(), random);
        shuffle(&mut other, &mut random);
        rename(&mut other, salt);
        prop_assert_ne!(bundle, &other);
        let found = differences(bundle, &other);
        prop_assert!(found.is_empty(), "{}: {}", name, told(&found));
    }

    #[test]
    fn each_changed_scalar_is_exactly_one_difference(which: prop::sample::Index, scalar: prop::sample::Index, salt: u32, random in any::<u64>().prop_perturb(|_, random| random)) {
        let (name, bundle) = &bundles()[which.index(bundles().len())];
        let (mut other, mut random) = (bundle.clone(), random);
        shuffle(&mut other, &mut random);
        rename(&mut other, salt);
        let mut all = Vec::new();
        scalars(&other, String::new(), "Bundle".into(), &mut all);
        let (pointer, path) = &all[scalar.index(all.len())];
        let place = other.pointer_mut(pointer).unwrap();
        let new = changed(place);
        let old = std::mem::replace(place, new.clone());
        let found = differences(bundle, &other);
        prop_assert_eq!(found.len(), 1, "{}: {}: {}", name, path, told(&found));
        prop_assert_eq!(found[0].kind(), Kind::Changed);
        let (expected, found) = (found[0].expected.as_ref().unwrap(), found[0].found.as_ref().unwrap());
        prop_assert_eq!((&found.path, &found.value), (path, &new), "{}", name);
        // A reference has another id on each side.
        prop_assert!(expected.value == old || expected.refers_to.is_some(), "{}: {} {:?}", name, path, expected);
    }
}

/// The same for every scalar of a few Bundles, one of them with many results that are alike.
#[test]
fn no_scalar_is_overlooked() {
    for wanted in ["ORU_R01/same-code-twice", "ADT_A01/z-segment"] {
        let (_, bundle) = bundles().iter().find(|(name, _)| name == wanted).unwrap();
        let mut all = Vec::new();
        scalars(bundle, String::new(), "Bundle".into(), &mut all);
        assert!(all.len() > 100, "{wanted} has {} scalars", all.len());
        for (pointer, path) in all {
            let mut other = bundle.clone();
            let place = other.pointer_mut(&pointer).unwrap();
            *place = changed(place);
            let found = differences(bundle, &other);
            let paths: Vec<&str> = found.iter().map(|d| d.found.as_ref().map_or("", |side| &side.path)).collect();
            assert_eq!(paths, [path.as_str()], "{wanted}: {}", told(&found));
            assert_eq!(differences(&other, bundle).len(), 1, "{wanted}: {path} the other way round");
        }
    }
}
