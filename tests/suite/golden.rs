//! Goldens: each fixture translates to exactly the `bundle.json` beside it, and twice to the same bytes.
//!
//! A batch has an array of Bundles. What is refused has its one line in `error.txt`. `HANDOFF_UPDATE=1 cargo test golden` rewrites them all; read the difference before it is
//! committed.
use super::fixtures::{Fixture, fixtures, messages, plan};
use handoff::mapping::{Context, Failure, Scratch};
use serde_json::Value;

#[test]
fn golden_bundles() {
    let update = std::env::var_os("HANDOFF_UPDATE").is_some_and(|value| value == "1");
    let mut scratch = Scratch::new();
    let mut wrong: Vec<String> = Vec::new();
    for fixture in fixtures() {
        let (file, text) = if fixture.refused() {
            ("error.txt", refusal(&fixture, &mut scratch))
        } else {
            ("bundle.json", bundles(&fixture, &mut scratch))
        };
        let text = match text {
            Ok(text) => text,
            Err(what) => {
                wrong.push(format!("{}: {what}", fixture.name));
                continue;
            }
        };
        let path = fixture.folder.join(file);
        if update {
            std::fs::write(&path, &text).unwrap();
            continue;
        }
        match std::fs::read_to_string(&path) {
            Err(_) => wrong.push(format!("{}: no {file}", fixture.name)),
            Ok(golden) if fixture.refused() && golden != text => wrong.push(format!("{}: {text}", fixture.name)),
            Ok(golden) if !fixture.refused() => {
                let (golden, found): (Value, Value) =
                    (serde_json::from_str(&golden).unwrap(), serde_json::from_str(&text).unwrap());
                if let Some(place) = difference(&golden, &found, "") {
                    wrong.push(format!("{}: {place}", fixture.name));
                }
            }
            Ok(_) => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "{} fixtures differ (HANDOFF_UPDATE=1 rewrites the goldens):\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The Bundle of a fixture, or all of a batch, as indented JSON.
fn bundles(fixture: &Fixture, scratch: &mut Scratch) -> Result<String, String> {
    let mut found: Vec<Value> = Vec::new();
    for raw in messages(&fixture.raw) {
        plan().translate(&raw, &Context::default(), scratch).map_err(|failure| failure.to_string())?;
        let first = scratch.bundle().to_vec();
        found.push(serde_json::from_slice(&first).map_err(|error| error.to_string())?);
        plan().translate(&raw, &Context::default(), &mut Scratch::new()).map_err(|failure| failure.to_string())?;
        plan().translate(&raw, &Context::default(), scratch).map_err(|failure| failure.to_string())?;
        if scratch.bundle() != first {
            return Err("a second run gives other bytes".into());
        }
    }
    let value = if found.len() == 1 { found.remove(0) } else { Value::Array(found) };
    Ok(serde_json::to_string_pretty(&value).unwrap() + "\n")
}

/// Why a fixture is refused, as one line.
fn refusal(fixture: &Fixture, scratch: &mut Scratch) -> Result<String, String> {
    let mut lines = String::new();
    for raw in messages(&fixture.raw) {
        match plan().translate(&raw, &Context::default(), scratch) {
            Ok(()) => return Err("is not refused".into()),
            Err(Failure { code, location, text }) => {
                let place = location.map_or_else(String::new, |(id, sequence, field)| {
                    format!(" {}[{sequence}]-{field}", String::from_utf8_lossy(&id))
                });
                lines.push_str(&format!("error[{code}]{place}: {text}\n"));
            }
        }
    }
    if lines.is_empty() { Err("holds nothing that could be refused".into()) } else { Ok(lines) }
}

/// The first place at which two values differ; the order of keys does not matter, numbers count as written.
pub fn difference(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                match found.get(key) {
                    None => return Some(format!("{path}.{key}: expected {}, found nothing", short(value))),
                    Some(other) => {
                        if let Some(place) = difference(value, other, &format!("{path}.{key}")) {
                            return Some(place);
                        }
                    }
                }
            }
            let extra = found.keys().find(|key| !expected.contains_key(*key))?;
            Some(format!("{path}.{extra}: expected nothing, found {}", short(&found[extra])))
        }
        (Value::Array(expected), Value::Array(found)) => {
            let pairs = expected.iter().zip(found).enumerate();
            for (at, (one, other)) in pairs {
                if let Some(place) = difference(one, other, &format!("{path}[{at}]")) {
                    return Some(place);
                }
            }
            (expected.len() != found.len()).then(|| {
                let extra = expected.get(found.len()).or(found.get(expected.len())).map_or_else(String::new, short);
                format!("{path}: expected {} elements, found {}; {extra}", expected.len(), found.len())
            })
        }
        _ if expected == found => None,
        _ => Some(format!("{path}: expected {}, found {}", short(expected), short(found))),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}
