//! Plan and twin side by side.
use super::mutate::{Random, mutant};
use super::translate;
use crate::fixtures::{fixtures, messages, plan};
use crate::golden::difference;
use handoff::mapping::{Context, Scratch};
use serde_json::Value as Json;

/// How many mutants of each message are judged; `HANDOFF_MUTANTS` overrides it.
const MUTANTS: usize = 4;

#[test]
fn plan_and_twin_agree_on_every_fixture() {
    let mut scratch = Scratch::new();
    let mut wrong = Vec::new();
    for fixture in fixtures() {
        for raw in messages(&fixture.raw) {
            wrong.extend(disagreement(&raw, &mut scratch).map(|what| format!("{}: {what}", fixture.name)));
        }
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn plan_and_twin_agree_on_mutants() {
    let count = std::env::var("HANDOFF_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(MUTANTS);
    let mut scratch = Scratch::new();
    let mut wrong = Vec::new();
    for fixture in fixtures().iter().filter(|fixture| !fixture.refused()) {
        for (number, raw) in messages(&fixture.raw).iter().enumerate() {
            for seed in 0..count {
                let mut random = Random::new(&fixture.name, number + 1000 * seed);
                let changed = mutant(raw, &mut random);
                if let Some(what) = disagreement(&changed, &mut scratch) {
                    let shown = String::from_utf8_lossy(&changed).replace('\r', "\n");
                    wrong.push(format!(
                        "{} {number}/{seed}: {what}{}",
                        fixture.name,
                        if wrong.is_empty() { format!("\n{shown}") } else { String::new() }
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where plan and twin differ on a message, if they do.
fn disagreement(raw: &[u8], scratch: &mut Scratch) -> Option<String> {
    let planned = plan().translate(raw, &Context::default(), scratch);
    if let Some(what) = super::super::memory::changes(raw, scratch, &planned) {
        return Some(what);
    }
    match (planned, translate(plan().sources(), raw)) {
        (Ok(()), Some(twin)) => differs(&twin.bundle, scratch.bundle()),
        (Err(_), None) => None,
        (Err(failure), Some(_)) => Some(format!("only the plan refuses: {failure}")),
        (Ok(()), None) => Some("only the twin refuses".into()),
    }
}

/// Where the twin's Bundle and the plan's differ.
pub fn differs(twin: &Json, bundle: &[u8]) -> Option<String> {
    let bundle: Json = serde_json::from_slice(bundle).expect("JSON");
    difference(&numbered(twin), &numbered(&bundle), "")
}

/// The Bundle with its ids replaced by the numbers of its entries.
fn numbered(bundle: &Json) -> Json {
    let urls = bundle["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| entry["fullUrl"].as_str().unwrap_or("").to_owned());
    let ids: Vec<(String, String)> =
        urls.enumerate().map(|(number, url)| (url, format!("urn:uuid:entry-{number}"))).collect();
    replaced(bundle, &ids)
}

fn replaced(value: &Json, ids: &[(String, String)]) -> Json {
    match value {
        Json::Object(object) => object.iter().map(|(key, value)| (key.clone(), replaced(value, ids))).collect(),
        Json::Array(items) => items.iter().map(|value| replaced(value, ids)).collect(),
        Json::String(text) => {
            let bare = |url: &str| url.strip_prefix("urn:uuid:").map(str::to_owned);
            let found = ids.iter().find_map(|(old, new)| {
                if old == text {
                    Some(new.clone())
                } else if bare(old).as_deref() == Some(text) {
                    bare(new)
                } else {
                    None
                }
            });
            Json::String(found.unwrap_or_else(|| text.clone()))
        }
        other => other.clone(),
    }
}
