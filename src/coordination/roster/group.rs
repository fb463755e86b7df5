//! Rosters as FHIR: a Group of the Da Vinci Member Attribution List, in a Bundle with its patients or with them inside it.
use super::options::Matching;
use super::rows::{Change, Draft, Place, ROWS_MAX, Reason, RosterError, Rows};
use super::{systems, values};
use crate::coordination::roster::options::DateForm;
use jiff::civil::Date;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Resource {
    resource_type: String,
    id: String,
    entry: Vec<Entry>,
    contained: Vec<Resource>,
    member: Vec<Member>,
    identifier: Vec<Identifier>,
    name: Names,
    birth_date: String,
    gender: String,
    address: Addresses,
    telecom: Vec<Telecom>,
}

/// `Patient.name` is a list of parts, `Group.name` a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    Many(Vec<HumanName>),
    Other(serde::de::IgnoredAny),
}

impl Default for Names {
    fn default() -> Names {
        Names::Many(Vec::new())
    }
}

/// `Location.address` is no list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Addresses {
    Many(Vec<Address>),
    Other(serde::de::IgnoredAny),
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses::Many(Vec::new())
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    full_url: String,
    resource: Resource,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Member {
    entity: Reference,
    period: Period,
    inactive: bool,
    extension: Vec<Extension>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Reference {
    reference: String,
    identifier: Identifier,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Identifier {
    system: String,
    value: String,
    r#type: Concept,
    assigner: Assigner,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Concept {
    coding: Vec<Coding>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Coding {
    code: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Assigner {
    display: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Period {
    start: String,
    end: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Extension {
    url: String,
    value_code: String,
    value_string: String,
    value_reference: Reference,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HumanName {
    r#use: String,
    family: String,
    given: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Address {
    line: Vec<String>,
    city: String,
    postal_code: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Telecom {
    system: String,
    value: String,
}

const NPI: &str = "http://hl7.org/fhir/sid/us-npi";

/// Reads a Group into the rows of its panel.
///
/// # Errors
/// What is no such JSON, no Group or several, or too many bad members.
pub(super) fn read(
    bytes: &[u8],
    path: &Path,
    id_system: &str,
    matching: &Matching,
    rows: &mut Rows,
) -> Result<(), RosterError> {
    let wrong = |text: String| RosterError::Form { path: path.to_owned(), text };
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    // The message of the parser may quote a value.
    let root: Resource = serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("is no FHIR in JSON: line {}, column {}", error.line(), error.column())))?;
    let mut known = HashMap::new();
    let group = match root.resource_type.as_str() {
        "Group" => &root,
        "Bundle" => {
            let mut groups = root.entry.iter().map(|entry| &entry.resource).filter(|one| one.resource_type == "Group");
            let group = groups.next().ok_or_else(|| wrong("is a Bundle without a Group".into()))?;
            if groups.next().is_some() {
                return Err(wrong("is a Bundle with several Groups; a panel is one".into()));
            }
            for Entry { full_url, resource } in &root.entry {
                known.insert(format!("{}/{}", resource.resource_type, resource.id), resource);
                known.insert(full_url.clone(), resource);
            }
            group
        }
        _ => return Err(wrong("is neither a Group nor a Bundle with one".into())),
    };
    known.extend(group.contained.iter().map(|one| (format!("#{}", one.id), one)));
    if group.member.is_empty() {
        return Err(wrong("its Group has no member".into()));
    }
    let file = u16::try_from(rows.files.len().saturating_sub(1)).unwrap_or(u16::MAX);
    let before = (rows.read, rows.bad);
    for (at, member) in group.member.iter().enumerate() {
        if rows.read >= ROWS_MAX {
            return Err(RosterError::Large { path: path.to_owned(), what: "members", max: ROWS_MAX });
        }
        rows.read += 1;
        let place = Place { file, line: u32::try_from(at + 1).unwrap_or(u32::MAX) };
        let draft = draft(member, &known, id_system);
        if let Err(reason) = draft.and_then(|draft| rows.take(draft, place, matching)) {
            rows.reject(place, reason);
        }
    }
    rows.judge(path, before.0, before.1)
}

fn draft(member: &Member, known: &HashMap<String, &Resource>, id_system: &str) -> Result<Draft, Reason> {
    let mut draft = Draft::default();
    let patient = find(known, &member.entity.reference).filter(|found| found.resource_type == "Patient");
    let of_patient = patient.into_iter().flat_map(|patient| &patient.identifier);
    for identifier in of_patient.chain([&member.entity.identifier]).take(systems::IDENTIFIERS_MAX) {
        identify(&mut draft, identifier, id_system);
    }
    match patient {
        Some(patient) => describe(&mut draft, patient)?,
        None if draft.identifiers.is_empty() => return Err(Reason::NoPatient),
        None => {}
    }
    draft.start = date(&member.period.start).map_err(|_| Reason::Start)?;
    draft.end = date(&member.period.end).map_err(|_| Reason::End)?;
    for extension in &member.extension {
        match extension.url.rsplit('/').next().unwrap_or_default() {
            "ext-changeType" | "changeType" => {
                let word =
                    if extension.value_code.is_empty() { &extension.value_string } else { &extension.value_code };
                draft.change = Change::parse(word).ok_or(Reason::Change)?;
            }
            "ext-attributedProvider" | "attributedProvider" => draft.pcp = provider(extension, known),
            _ => {}
        }
    }
    // Who is inactive is a member no more; since when, its period says.
    if member.inactive {
        draft.change = Change::Drop;
    }
    Ok(draft)
}

/// By its full URL, or by the type and id at the end of it.
fn find<'r>(known: &HashMap<String, &'r Resource>, reference: &str) -> Option<&'r Resource> {
    if reference.is_empty() {
        return None;
    }
    let tail = || {
        let mut steps = reference.rsplitn(3, '/');
        let (id, kind) = (steps.next()?, steps.next()?);
        known.get(&format!("{kind}/{id}"))
    };
    known.get(reference).or_else(tail).copied()
}

fn identify(draft: &mut Draft, identifier: &Identifier, id_system: &str) {
    let is_record_number = identifier.r#type.coding.iter().any(|coding| coding.code == "MR");
    let system = if identifier.system.is_empty() { &identifier.assigner.display } else { &identifier.system };
    if is_record_number && let Some(system) = systems::of_authority(system) {
        draft.identify(system, &identifier.value);
        return;
    }
    let system = if identifier.system.is_empty() { id_system } else { &identifier.system };
    draft.identify(systems::of_uri(system), &identifier.value);
}

/// The numbers (system and value) that an Identifier is, as rows have them.
pub(super) fn numbers(identifier: &serde_json::Value, id_system: &str) -> Vec<systems::Keyed> {
    let mut draft = Draft::default();
    if let Ok(identifier) = Identifier::deserialize(identifier) {
        identify(&mut draft, &identifier, id_system);
    }
    draft.identifiers
}

fn describe(draft: &mut Draft, patient: &Resource) -> Result<(), Reason> {
    draft.birth = date(&patient.birth_date).map_err(|_| Reason::Birth)?;
    draft.sex = values::sex(&patient.gender);
    if let Names::Many(names) = &patient.name {
        let official = names.iter().find(|name| matches!(name.r#use.as_str(), "official" | "usual"));
        if let Some(name) = official.or(names.first()) {
            draft.family = name.family.clone();
            draft.given = name.given.first().cloned().unwrap_or_default();
        }
    }
    if let Addresses::Many(addresses) = &patient.address
        && let Some(address) = addresses.first()
    {
        draft.street = address.line.join(" ");
        draft.city = address.city.clone();
        draft.zip = address.postal_code.clone();
    }
    let phone = patient.telecom.iter().find(|telecom| telecom.system == "phone");
    draft.phone = phone.map(|phone| phone.value.clone()).unwrap_or_default();
    Ok(())
}

/// The NPI of a provider.
fn provider(extension: &Extension, known: &HashMap<String, &Resource>) -> String {
    let reference = &extension.value_reference;
    let resource = find(known, &reference.reference);
    let mut all = resource.into_iter().flat_map(|one| &one.identifier).chain([&reference.identifier]);
    values::kept(all.find(|one| one.system == NPI).map_or("", |npi| &npi.value))
}

/// A FHIR date or dateTime; less than a day is no date.
fn date(text: &str) -> Result<Option<Date>, values::NoDate> {
    values::date(text, DateForm::Iso)
}
