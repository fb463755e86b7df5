//! The lists of panels, written: `PUT Group/[panel]`, `$member-add` and `$member-remove` (Da Vinci Member Attribution, STU 2).
//!
//! Whom a list is about must be found again in messages by more than a number. So who comes is described by a Patient, which is a parameter of our own (`patient`) beside those of the
//! guide; who goes is there already, and may be named by the number alone.
use super::Shared;
use super::access::{Steward, Who};
use super::answer::{Problem, Resource, blocking};
use super::reading;
use crate::admin::socket::Peer;
use crate::coordination::PersonKey;
use crate::coordination::roster::edit::{Addition, Change, EditError, LIST_BYTES_MAX, Named, Removal};
use crate::coordination::roster::in_force::group as listed;
use crate::coordination::subscription::capability::Issue;
use crate::server::care::{Became, Shared as Care, Write, WriteError, Written};
use axum::Extension;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OwnedSemaphorePermit;

/// Rejected rows that are listed.
const REJECTED_MAX: usize = 20;
/// The system of an NPI, and what else it is called.
const NPI: [&str; 3] = ["http://hl7.org/fhir/sid/us-npi", "urn:oid:2.16.840.1.113883.4.6", ""];

/// What stands behind the address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    dry_run: Option<bool>,
}

type Asking = Result<Query<Asked>, QueryRejection>;

/// A panel: who it is, how many, and what its last list changed; its members are not listed. Recipients see theirs, stewards all.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    who: Option<Extension<Who>>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    match who {
        Some(who) => reading::group(State(shared), who, Path(id)).await,
        None => group(&shared.care, &id).map(Resource::found),
    }
}

fn group(care: &Care, id: &str) -> Result<Value, Problem> {
    let snapshot = care.rosters.current();
    let panel = snapshot.panels().iter().find(|panel| panel.id == id).ok_or_else(Problem::not_found)?;
    Ok(listed(panel, care.rosters.in_force().of(id), care.topics.base()))
}

/// The list is another one. One is sent at a time: it goes to the disk as it comes, and is read once it is there.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Extension(Steward(who)): Extension<Steward>,
    Path(id): Path<String>,
    asked: Asking,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    (headers, body): (HeaderMap, Body),
) -> Result<Resource, Problem> {
    let write = Asks::new(&headers, asked)?;
    let Ok(place) = Arc::clone(&shared.lists).try_acquire_owned() else {
        let text = "another list is being sent; try again once it is through";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", text).retry_after(10));
    };
    let sent = Sent { path: shared.care.rosters.sent(), _place: place };
    receive(&sent.path, body, peer.as_ref().map(|Extension(ConnectInfo(peer))| peer)).await?;
    blocking(move || {
        let bytes = std::fs::read(&sent.path).map_err(|error| Problem::internal(&error))?;
        is_of(&bytes, &id)?;
        write.done(&shared.care, (&who, &id), Change::Put(&bytes))
    })
    .await
}

/// A list that was sent. The file goes, and the next one may come, when nobody works with it any more: whoever sent it may be gone long before.
struct Sent {
    path: PathBuf,
    _place: OwnedSemaphorePermit,
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!("{}: what was sent cannot be removed: {error}", self.path.display());
        }
    }
}

/// Writes a body to a file, piece by piece.
async fn receive(path: &std::path::Path, mut body: Body, peer: Option<&Peer>) -> Result<(), Problem> {
    let failed = |error: std::io::Error| Problem::internal(&error);
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).await.map_err(failed)?;
    let mut left = LIST_BYTES_MAX;
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "incomplete", "the body broke off");
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        left = left.checked_sub(piece.len() as u64).ok_or_else(too_long)?;
        file.write_all(&piece).await.map_err(failed)?;
        if let Some(peer) = peer {
            peer.heard.now();
        }
    }
    file.flush().await.map_err(failed)
}

/// A list has more bytes than are taken.
fn too_long() -> Problem {
    let text = format!(
        "the list is longer than {LIST_BYTES_MAX} bytes: put a file in its place, and read it with `handoff rosters reload`"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", text)
}

/// What of a list says which it is.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Outline {
    resource_type: String,
    id: Option<String>,
    entry: Vec<Held>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Held {
    resource: Option<Box<Outline>>,
}

/// The Group that is sent must be that of the address: FHIR asks it of every update.
fn is_of(bytes: &[u8], id: &str) -> Result<(), Problem> {
    let wrong = |text: &str| Problem::new(StatusCode::BAD_REQUEST, "structure", text);
    let text = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    let sent: Outline = serde_json::from_slice(text).map_err(|_| wrong("the body is no FHIR in JSON"))?;
    let is_group = |one: &&Outline| one.resource_type == "Group";
    let inner = sent.entry.iter().filter_map(|entry| entry.resource.as_deref()).find(is_group);
    let group = Some(&sent).filter(is_group).or(inner);
    let group = group
        .ok_or_else(|| wrong("send a Group with its patients inside it, or a Bundle with a Group and its patients"))?;
    if group.id.as_deref() != Some(id) {
        return Err(wrong("the id of the Group must be that of the URL"));
    }
    Ok(())
}

/// Somebody comes.
pub(super) async fn add(
    State(shared): State<Arc<Shared>>,
    Extension(Steward(who)): Extension<Steward>,
    Path(id): Path<String>,
    asked: Asking,
    (headers, body): (HeaderMap, Bytes),
) -> Result<Resource, Problem> {
    let write = Asks::new(&headers, asked)?;
    blocking(move || {
        let given = Given::of(&body, true)?;
        let Some(patient) = given.patient else {
            let text = "somebody is not named by a number alone: add {\"name\": \"patient\", \"resource\": {\"resourceType\": \"Patient\", \"identifier\": …, \"name\": …, \"birthDate\": …}}, by which messages about them are told from those about others";
            return Err(unfit("required", text, "patient"));
        };
        if let Some(reference) = &given.patient_reference
            && patient["id"].as_str().is_none_or(|id| reference.rsplit(['/', '#']).next() != Some(id))
        {
            return Err(unfit("value", "patientReference must be to the Patient that is sent with it", "patientReference"));
        }
        let addition =
            Addition { patient, member_id: given.member_id, provider_npi: given.provider, period: given.period };
        write.done(&shared.care, (&who, &id), Change::Add(addition))
    })
    .await
}

/// Somebody goes.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Extension(Steward(who)): Extension<Steward>,
    Path(id): Path<String>,
    asked: Asking,
    (headers, body): (HeaderMap, Bytes),
) -> Result<Resource, Problem> {
    let write = Asks::new(&headers, asked)?;
    blocking(move || {
        let given = Given::of(&body, false)?;
        let named = match (given.member_id, given.patient_reference) {
            (Some(number), None) => Named::Number(number),
            (None, Some(reference)) => {
                let key = reference.strip_prefix("Patient/").and_then(PersonKey::parse);
                let text = "patientReference must be Patient/[id], the id of a person of the panel";
                let key = key.ok_or_else(|| unfit("value", text, "patientReference"))?;
                let snapshot = shared.care.rosters.current();
                let own = |(system, value): (&str, &str)| (system.to_owned(), value.to_owned());
                Named::Person(key, snapshot.identifiers(&key).map(own).collect())
            }
            _ => return Err(unfit("required", "give memberId or patientReference, one of them", "memberId")),
        };
        let removal = Removal { named, provider_npi: given.provider };
        write.done(&shared.care, (&who, &id), Change::Remove(removal))
    })
    .await
}

/// What stands in a Parameters.
#[derive(Default)]
struct Given {
    member_id: Option<Value>,
    provider: Option<String>,
    patient_reference: Option<String>,
    patient: Option<Value>,
    period: Option<Value>,
}

impl Given {
    /// Reads it; who comes may have a Patient and a period.
    fn of(body: &[u8], comes: bool) -> Result<Given, Problem> {
        let structure = |text: &str| Problem::new(StatusCode::BAD_REQUEST, "structure", text);
        let resource: Value = serde_json::from_slice(body).map_err(|_| structure("the body is no JSON"))?;
        let parameters = resource["parameter"].as_array().filter(|_| resource["resourceType"] == "Parameters");
        let mut given = Given::default();
        for parameter in parameters.ok_or_else(|| structure("the body must be a Parameters with parameters"))? {
            let name = parameter["name"].as_str().unwrap_or_default();
            let wrong = |text: &str| unfit("value", text, name);
            let object = |name: &str| parameter.get(name).filter(|value| value.is_object()).cloned();
            match name {
                "memberId" => {
                    let id = object("valueIdentifier").filter(|id| id["value"].is_string());
                    given.member_id = Some(id.ok_or_else(|| wrong("it is a valueIdentifier with a value"))?);
                }
                "providerNpi" | "providerReference" => {
                    let value = object("valueIdentifier")
                        .or_else(|| Some(parameter["valueReference"].get("identifier")?.clone()));
                    let text = "the provider is given by NPI: 10 digits in a valueIdentifier of http://hl7.org/fhir/sid/us-npi";
                    given.provider = Some(value.as_ref().and_then(npi).ok_or_else(|| wrong(text))?);
                }
                "patientReference" => {
                    let reference = parameter["valueReference"]["reference"].as_str();
                    given.patient_reference =
                        Some(reference.ok_or_else(|| wrong("it is a valueReference"))?.to_owned());
                }
                "patient" if comes => {
                    let patient = object("resource").filter(|patient| patient["resourceType"] == "Patient");
                    given.patient = Some(patient.ok_or_else(|| wrong("it is a resource: a Patient"))?);
                }
                "attributionPeriod" if comes => {
                    given.period = Some(object("valuePeriod").ok_or_else(|| wrong("it is a valuePeriod"))?);
                }
                _ => {
                    let text = "this operation takes memberId, providerNpi, patientReference, and to add somebody patient and attributionPeriod";
                    return Err(unfit("not-supported", text, ""));
                }
            }
        }
        Ok(given)
    }
}

fn npi(identifier: &Value) -> Option<String> {
    let system = identifier["system"].as_str().unwrap_or_default();
    let value = identifier["value"].as_str().filter(|_| NPI.contains(&system))?;
    (value.len() == 10 && value.bytes().all(|byte| byte.is_ascii_digit())).then(|| value.to_owned())
}

fn unfit(code: &'static str, text: impl Into<String>, parameter: &str) -> Problem {
    let expression = match parameter {
        "" => "Parameters.parameter".to_owned(),
        // A name as it was sent may be anything.
        name => format!("Parameters.parameter.where(name = '{name}')"),
    };
    Problem::wrong(vec![Issue { code, text: text.into(), expression }])
}

/// What a write asks for beside the change.
struct Asks {
    versions: Option<Vec<String>>,
    dry_run: bool,
}

impl Asks {
    fn new(headers: &HeaderMap, asked: Asking) -> Result<Asks, Problem> {
        let text = "only dry_run=true and dry_run=false may stand behind the address";
        let Query(asked) = asked.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid", text))?;
        let versions = headers.get(header::IF_MATCH).map(|value| {
            let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
            tags.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned()).collect()
        });
        Ok(Asks { versions, dry_run: asked.dry_run.unwrap_or(false) })
    }

    fn done(&self, care: &Care, (who, panel): (&str, &str), change: Change<'_>) -> Result<Resource, Problem> {
        let write = Write { who, panel, versions: self.versions.as_deref(), dry_run: self.dry_run };
        let written = care.write_list(&write, change).map_err(refused)?;
        if self.dry_run {
            return Ok(Resource::found(told(&written)));
        }
        care.wake();
        if written.became == Became::Held {
            let (status, value) = (StatusCode::ACCEPTED, held(&written, panel));
            return Ok(Resource { status, value, location: None });
        }
        group(care, panel).map(Resource::found)
    }
}

/// What a write would change, and what would become of it.
fn told(written: &Written) -> Value {
    let count = |name: &str, count: usize| json!({ "name": name, "valueUnsignedInt": count });
    let change = &written.difference;
    let mut parameters = vec![
        json!({ "name": "outcome", "valueCode": written.became.name() }),
        json!({ "name": "version", "valueId": written.sha256 }),
        count("members", change.after),
        count("added", change.added),
        count("dropped", change.dropped),
        count("changed", change.changed),
        count("rows", written.rows.0),
        count("bad", written.rows.1),
    ];
    let texts = written.warnings.iter().map(|warning| ("warning", warning.to_string()));
    let row = |one: &crate::coordination::roster::rows::Rejected| {
        ("rejected", format!("member {}: {}", one.place.line, one.reason))
    };
    let held = (written.became == Became::Held).then(|| ("warning", why_held(written)));
    let texts = held.into_iter().chain(texts).chain(written.rejected.iter().take(REJECTED_MAX).map(row));
    parameters.extend(texts.map(|(name, text)| json!({ "name": name, "valueString": text })));
    json!({ "resourceType": "Parameters", "parameter": parameters })
}

fn why_held(written: &Written) -> String {
    let (change, most) = (&written.difference, written.max_drop_pct);
    format!("{} of {} members are gone, more than the {most} % of max_drop_pct", change.dropped, change.before)
}

/// It lies there, and is not in force.
fn held(written: &Written, panel: &str) -> Value {
    let text = format!(
        "written, and held: {}. The list before stays in force until an operator approves of this one: `handoff rosters approve {panel} {}`; or write another one",
        why_held(written),
        written.sha256
    );
    json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "warning", "code": "business-rule", "details": { "text": text } }] })
}

fn refused(error: WriteError) -> Problem {
    let (status, code) = match &error {
        WriteError::Unknown => return Problem::not_found(),
        WriteError::Version => (StatusCode::PRECONDITION_FAILED, "conflict"),
        WriteError::Edit(why) => match why {
            EditError::NotGroup | EditError::Changes => (StatusCode::CONFLICT, "not-supported"),
            EditError::Unseen | EditError::SomebodyElse | EditError::Several | EditError::OtherProvider => {
                (StatusCode::CONFLICT, "conflict")
            }
            EditError::NoMember => (StatusCode::NOT_FOUND, "not-found"),
            EditError::Large | EditError::OutOfReach => (StatusCode::UNPROCESSABLE_ENTITY, "too-costly"),
            EditError::Rejected(_) | EditError::Refused(_) | EditError::NoNumber => {
                (StatusCode::UNPROCESSABLE_ENTITY, "value")
            }
        },
        WriteError::File(_) | WriteError::Audit(_) | WriteError::Take(_) => return Problem::internal(&error),
    };
    Problem::new(status, code, error.to_string())
}
