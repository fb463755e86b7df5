//! The card of a person: all of it (`$everything`), and by the ids that it has.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking, searchset};
use super::subscriptions::{now_ms, recipient};
use crate::coordination::card::{Section, shown, was_shown};
use crate::coordination::subscription::cache;
use crate::coordination::work::telling;
use crate::coordination::{PersonKey, lineage};
use crate::privacy::audit::{Entry, Outcome};
use crate::privacy::{Reason, Recipient};
use crate::server::care::{Picture, Seen, Shared as Care, picture};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET Patient/[id]/$everything`
pub(super) async fn everything(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Resource, Problem> {
    unlimited(query.as_deref(), &body)?;
    blocking(move || {
        let care = &shared.care;
        let recipient = recipient(care, &who)?;
        let person = person(care, recipient, &id)?.ok_or_else(Problem::not_found)?;
        let picture = look(care, recipient, person, ("everything", now_ms()))?;
        Ok(Resource::found(bundle(care.options.subscriptions.base(), &picture)))
    })
    .await
}

/// Refuses what would be a part: whoever asks for a year must not take all for it.
pub(super) fn unlimited(query: Option<&str>, body: &[u8]) -> Result<(), Problem> {
    const PARTS: [&str; 5] = ["start", "end", "_since", "_type", "_count"];
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let of_body = body["parameter"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    let of_query = query.unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
    match of_query.chain(of_body).find_map(|name| PARTS.into_iter().find(|part| *part == name)) {
        Some(part) => {
            let text = format!("`{part}` is not served here: all of the card is given, or nothing");
            Err(Problem::new(StatusCode::BAD_REQUEST, "not-supported", text))
        }
        None => Ok(()),
    }
}

fn bundle(base: &str, picture: &Picture) -> Value {
    let base = base.trim_end_matches('/');
    let is_match = |kind: &str, id: &str| {
        let own = matches!(kind, "Task" | "CareTeam" | "Provenance") || (kind == "Patient" && id == picture.id);
        own || picture.entries.iter().any(|entry| entry.kind == kind && entry.id == id)
    };
    let entry = |resource: &Value| {
        let (kind, id) = named(resource);
        let mode = if is_match(kind, id) { "match" } else { "include" };
        json!({ "fullUrl": format!("{base}/{kind}/{id}"), "resource": resource, "search": { "mode": mode } })
    };
    let mut bundle = searchset(picture.resources.iter().map(entry).collect());
    let matches = picture.resources.iter().map(named).filter(|(kind, id)| is_match(kind, id)).count();
    bundle["total"] = matches.into();
    bundle
}

/// A resource of a card: of the person by their id, else one that the recipient has been shown on it. None where it has not.
pub(super) fn read(care: &Care, who: &Recipient, kind: &str, id: &str) -> Result<Option<Resource>, Problem> {
    let internal = |error: rusqlite::Error| Problem::internal(&error);
    let person = match PersonKey::parse(id).filter(|_| kind == "Patient") {
        Some(key) if is_known(care, key)? => Some(key),
        _ => was_shown(&care.database(), &who.id, kind, id).map_err(internal)?,
    };
    let Some(person) = person else { return Ok(None) };
    let picture = look(care, who, person, (id, now_ms()))?;
    Ok(Some(Resource::found(picture.resource(kind, id).cloned().ok_or_else(Problem::not_found)?)))
}

/// Whom an id means: a person, or a Patient that the recipient has been told of or shown.
pub(super) fn person(care: &Care, who: &Recipient, id: &str) -> Result<Option<PersonKey>, Problem> {
    let internal = |error: rusqlite::Error| Problem::internal(&error);
    if let Some(key) = PersonKey::parse(id)
        && is_known(care, key)?
    {
        return Ok(Some(key));
    }
    let database = care.database();
    if let Some(person) = was_shown(&database, &who.id, "Patient", id).map_err(internal)? {
        return Ok(Some(person));
    }
    let Some(notified) = cache::find(&database, &who.id, "Patient", id).map_err(internal)? else { return Ok(None) };
    let telling = telling::find(&database, &notified.event).map_err(internal)?;
    Ok(telling.map(|telling| telling.person))
}

/// Whether a key is, or was, that of somebody of the rosters.
fn is_known(care: &Care, key: PersonKey) -> Result<bool, Problem> {
    let now = lineage::known_as(&care.database(), key).map_err(|error| Problem::internal(&error))?;
    Ok(care.rosters.current().has(&now))
}

/// What the recipient may see, written into the audit before it is shown; nothing where they may see nothing. Blocks.
pub(super) fn look(
    care: &Care,
    recipient: &Recipient,
    person: PersonKey,
    (what, now_ms): (&str, i64),
) -> Result<Picture, Problem> {
    let seen = picture(care, recipient, person, now_ms).map_err(|error| Problem::internal(&error))?;
    let (outcome, whose) = match &seen {
        Seen::Picture(picture) => (Outcome::Disclosed, picture.person),
        Seen::Withheld(reason) => (Outcome::Suppressed(*reason), person),
        Seen::Nobody => (Outcome::Suppressed(Reason::Policy), person),
    };
    let event = telling::audit_id(&whose.0, &recipient.id, "card");
    let whose_text = whose.to_string();
    let entry = Entry {
        id: telling::audit_id(&event, what, &format!("card|{now_ms}")),
        at_ms: now_ms,
        outcome,
        recipient: &recipient.id,
        purpose: &recipient.purpose,
        person: &whose_text,
        event,
        subscription: None,
        number: None,
    };
    care.audit(&[entry]).map_err(|error| Problem::internal(&error))?;
    let Seen::Picture(picture) = seen else { return Err(Problem::not_found()) };
    // It is shown all the same: what cannot be remembered can be asked for again.
    if let Err(error) = remember(care, recipient, &picture, now_ms) {
        tracing::warn!(%error, "what was shown of a card could not be remembered");
    }
    Ok(*picture)
}

/// What was shown can be read by whoever saw it.
fn remember(care: &Care, recipient: &Recipient, picture: &Picture, now_ms: i64) -> rusqlite::Result<()> {
    let connection = care.database();
    let transaction = connection.unchecked_transaction()?;
    shown(&transaction, &recipient.id, picture.person, picture.resources.iter().map(named), now_ms)?;
    transaction.commit()
}

/// Type and id of a resource.
pub(super) fn named(resource: &Value) -> (&str, &str) {
    let text = |name: &str| resource[name].as_str().unwrap_or_default();
    (text("resourceType"), text("id"))
}

/// Whether an entry is of a section.
pub(super) fn of(picture: &Picture, sections: &[Section]) -> Vec<usize> {
    let own = picture.entries.iter().enumerate().filter(|(_, entry)| sections.contains(&entry.section));
    own.map(|(at, _)| at).collect()
}
