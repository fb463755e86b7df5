//! R4 elements and required code sets → `src/fhir/shape/{r4,codes}.txt`. The formats are drawn in `src/fhir/shape.rs`.
use super::HEADER;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Abstract types, written first: the loader copies their children into every type that names them as its base.
const BASES: [&str; 4] = ["Element", "BackboneElement", "Resource", "DomainResource"];
/// In the source, which a server's vendor extended, but not in R4 4.0.1: resources, elements (with all below them), reference targets.
const NOT_R4: &[&str] = &[
    "SubscriptionStatus",
    "Bot",
    "ClientApplication",
    "Binary.url",
    "DeviceDefinition.bodySite",
    "DeviceDefinition.classification",
    "EvidenceVariable.characteristic.definitionByCombination",
    "EvidenceVariable.characteristic.definitionByTypeAndValue",
    "EvidenceVariable.characteristic.definitionCanonical",
    "EvidenceVariable.characteristic.definitionCodeableConcept",
    "EvidenceVariable.characteristic.definitionExpression",
    "EvidenceVariable.characteristic.definitionId",
    "EvidenceVariable.characteristic.definitionReference",
    "EvidenceVariable.characteristic.linkId",
    "EvidenceVariable.characteristic.note",
    "EvidenceVariable.characteristic.timeFromEvent",
    "HealthcareService.offeredIn",
    "Meta.account",
    "Meta.accounts",
    "Meta.author",
    "Meta.compartment",
    "Meta.deleted",
    "Meta.onBehalfOf",
    "Meta.project",
    "ObservationDefinition.publisher",
    "ResearchStudy.associatedParty",
    "ResearchStudy.classifier",
    "ResearchStudy.comparisonGroup",
    "ResearchStudy.descriptionSummary",
    "ResearchStudy.label",
    "ResearchStudy.name",
    "ResearchStudy.objective.description",
    "ResearchStudy.outcomeMeasure",
    "ResearchStudy.progressStatus",
    "ResearchStudy.recruitment",
    "ResearchStudy.region",
    "ResearchStudy.result",
    "ResearchStudy.studyDesign",
    "ResearchStudy.whyStopped",
];

/// Renders the element table.
pub fn elements(all: &[Value]) -> Result<String> {
    let mut children: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let mut roots = vec![];
    for element in all {
        let path = text(element, "path")?;
        match path.rsplit_once('.') {
            _ if NOT_R4.contains(&path) => {}
            Some((parent, _)) => children.entry(parent).or_default().push(element),
            None => roots.push(path),
        }
    }
    let mut out = HEADER.to_owned();
    let (primitives, complex): (Vec<&str>, Vec<&str>) = roots
        .iter()
        .filter(|root| !BASES.contains(root))
        .partition(|root| root.starts_with(|c: char| c.is_ascii_lowercase()));
    writeln!(out, "!primitives {}", primitives.join(" "))?;
    for root in BASES {
        writeln!(out, "{root}")?;
        block(&mut out, &children, root, 0, 1)?;
    }
    for root in complex {
        let base = base_of(&children, root)?;
        writeln!(out, "{root} < {base}")?;
        block(&mut out, &children, root, children.get(base).map_or(0, Vec::len), 1)?;
    }
    Ok(out)
}

/// The children of one type below its heading, without the first `skip` ones, which its base has.
fn block(
    out: &mut String,
    children: &BTreeMap<&str, Vec<&Value>>,
    parent: &str,
    skip: usize,
    depth: usize,
) -> Result<()> {
    for element in children.get(parent).into_iter().flatten().skip(skip) {
        let path = text(element, "path")?;
        let name = path.rsplit('.').next().unwrap_or(path);
        let card = match (element["min"].as_u64(), element["max"].as_str()) {
            (Some(0), Some("1")) => "?",
            (Some(1), Some("1")) => "1",
            (Some(0), Some("*")) => "*",
            (Some(_), Some("*")) => "+",
            other => anyhow::bail!("{path}: cardinality {other:?}"),
        };
        write!(out, "{:depth$}{name} {card} {}", "", types(element, path)?)?;
        if element["binding"]["strength"] == "required" {
            let set = text(&element["binding"], "valueSet")?;
            write!(out, " !{}", set.rsplit('/').next().unwrap_or(set))?;
        }
        out.push('\n');
        if children.contains_key(path) {
            let base = if element["types"][0]["type"] == "Element" { "Element" } else { "BackboneElement" };
            block(out, children, path, children.get(base).map_or(0, Vec::len), depth + 1)?;
        }
    }
    Ok(())
}

fn types(element: &Value, path: &str) -> Result<String> {
    if let Some(content) = element["content"].as_str() {
        return Ok(content.to_owned());
    }
    // The specification's own quirk: `Resource.id` is typed as a string through an extension.
    if path == "Resource.id" || path == "DomainResource.id" {
        return Ok("id".to_owned());
    }
    let list = element["types"].as_array().with_context(|| format!("{path} has no types"))?;
    let mut names = vec![];
    for entry in list {
        let name = text(entry, "type")?;
        let targets: Vec<&str> = entry["targets"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|target| !NOT_R4.contains(target))
            .collect();
        if targets.is_empty() || targets.contains(&"Resource") {
            names.push(name.to_owned());
        } else {
            names.push(format!("{name}({})", targets.join("|")));
        }
    }
    Ok(names.join(","))
}

/// The base whose children the type starts with.
fn base_of(children: &BTreeMap<&str, Vec<&Value>>, path: &str) -> Result<&'static str> {
    let names = |path: &str| -> Vec<String> {
        let list = children.get(path).into_iter().flatten();
        list.filter_map(|element| element["path"].as_str()?.rsplit('.').next().map(str::to_owned)).collect()
    };
    let own = names(path);
    let found = ["DomainResource", "Resource", "BackboneElement", "Element"]
        .into_iter()
        .find(|base| own.starts_with(&names(base)));
    found.with_context(|| format!("{path} has no base"))
}

/// Renders the required value sets: those that cannot be enumerated have a heading and no codes.
pub fn codes(all: &Value) -> Result<String> {
    let mut out = HEADER.to_owned();
    let sets: BTreeMap<&String, &Value> = all.as_object().context("required codes: not an object")?.iter().collect();
    for (url, codes) in sets {
        writeln!(out, "{url}")?;
        let mut systems: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for pair in codes.as_array().into_iter().flatten() {
            let (Some(system), Some(code)) = (pair[0].as_str(), pair[1].as_str()) else {
                anyhow::bail!("{url}: {pair}")
            };
            systems.entry(system).or_default().push(code);
        }
        for (system, mut codes) in systems {
            codes.sort_unstable();
            writeln!(out, " {system} {}", codes.join(" "))?;
        }
    }
    Ok(out)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}
