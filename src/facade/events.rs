//! `$status` and `$events`: how a subscription stands, and what was missed.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking};
use super::subscriptions::{Known, all, known, now_ms, recipient};
use crate::coordination::subscription::channel::Content;
use crate::coordination::subscription::notification::{About, Telling, status as status_of};
use crate::coordination::subscription::standing::Standing;
use crate::coordination::subscription::store::{self, EVENTS_READ_MAX};
use crate::server::care::{Shared as Care, released};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Asked {
    events_since_number: Option<u64>,
    events_until_number: Option<u64>,
    content: Option<String>,
}

fn standing(care: &Care, known: &Known) -> Result<Standing, Problem> {
    let found = store::standing(&care.database(), known.entry.what.id()).map_err(|error| Problem::internal(&error))?;
    Ok(found.unwrap_or_default())
}

fn about<'a>(care: &'a Care, known: &'a Known, standing: &Standing, content: Content) -> About<'a> {
    let options = &care.options.subscriptions;
    About {
        base: options.base(),
        focus_base: options.focus_base(),
        topics: &care.topics,
        id: known.entry.what.id(),
        topic: known.subscription.topic,
        content,
        state: standing.state,
        last: standing.last,
        fault: standing.fault,
    }
}

/// What whoever binds to a subscription is told first.
pub(super) fn handshake(care: &Care, who: &str, id: &str) -> Result<Value, Problem> {
    let known = known(care, who, id)?.ok_or_else(Problem::not_found)?;
    let standing = standing(care, &known)?;
    Ok(about(care, &known, &standing, known.subscription.channel.content).handshake(now_ms()))
}

pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    blocking(move || {
        let care = &shared.care;
        let known = known(care, &who, &id)?.ok_or_else(Problem::not_found)?;
        let standing = standing(care, &known)?;
        let about = about(care, &known, &standing, known.subscription.channel.content);
        Ok(Resource::found(status_of(&[about], now_ms())))
    })
    .await
}

/// Of several; what is asked stands in the URL, or by POST in a Parameters.
pub(super) async fn statuses(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    asked: Result<Query<Vec<(String, String)>>, QueryRejection>,
    body: Bytes,
) -> Result<Resource, Problem> {
    let asked = if body.is_empty() { asked.ok().map(|Query(asked)| asked) } else { named_values(&body) };
    let asked = asked.filter(|asked| asked.iter().all(|(name, _)| ["id", "status"].contains(&name.as_str())));
    let asked = asked.ok_or_else(|| wrong("$status takes id and status"))?;
    blocking(move || {
        let care = &shared.care;
        // Several stand in one, with commas, or each in its own.
        let list = |name: &str| {
            let of_name = asked.iter().filter(|(own, _)| own == name);
            let all: Vec<&str> = of_name.flat_map(|(_, value)| value.split(',')).collect();
            (!all.is_empty()).then_some(all)
        };
        let (ids, states) = (list("id"), list("status"));
        let mut found = Vec::new();
        for known in all(care, &who)? {
            let standing = standing(care, &known)?;
            let by_id = ids.as_ref().is_none_or(|ids| ids.contains(&known.entry.what.id()));
            if by_id && states.as_ref().is_none_or(|states| states.contains(&standing.state.name())) {
                found.push((known, standing));
            }
        }
        let content = |known: &Known| known.subscription.channel.content;
        let abouts: Vec<_> =
            found.iter().map(|(known, standing)| about(care, known, standing, content(known))).collect();
        Ok(Resource::found(status_of(&abouts, now_ms())))
    })
    .await
}

pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Resource, Problem> {
    let Query(asked) = asked.map_err(|_| wrong(ASKED))?;
    found(shared, who, id, asked).await
}

/// By POST: what is asked stands in a Parameters, or in the URL where there is no body.
pub(super) async fn events_of_body(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    body: Bytes,
) -> Result<Resource, Problem> {
    let Query(asked) = asked.map_err(|_| wrong(ASKED))?;
    let asked = if body.is_empty() { asked } else { of_parameters(&body).ok_or_else(|| wrong(ASKED))? };
    found(shared, who, id, asked).await
}

/// What `$events` takes.
const ASKED: &str = "$events takes eventsSinceNumber, eventsUntilNumber and content: whole numbers, and a code; in a body as Parameters";

fn wrong(text: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid", text)
}

/// The parameters of a Parameters; none where it is none.
fn parameters(body: &[u8]) -> Option<Vec<Value>> {
    let mut resource: Value = serde_json::from_slice(body).ok()?;
    if resource["resourceType"] != "Parameters" {
        return None;
    }
    match resource.get_mut("parameter") {
        Some(parameters) => Some(std::mem::take(parameters.as_array_mut()?)),
        None => Some(Vec::new()),
    }
}

/// The ids, codes and texts of a Parameters with their names; none where it holds something else.
fn named_values(body: &[u8]) -> Option<Vec<(String, String)>> {
    let named_value = |one: &Value| {
        let value = ["valueId", "valueCode", "valueString"].iter().find_map(|kind| one[kind].as_str())?;
        Some((one["name"].as_str()?.to_owned(), value.to_owned()))
    };
    parameters(body)?.iter().map(named_value).collect()
}

/// What a Parameters asks for; none where it is none, or holds something else.
fn of_parameters(body: &[u8]) -> Option<Asked> {
    let mut asked = Asked::default();
    for parameter in parameters(body)? {
        let number = || match (parameter["valueString"].as_str(), &parameter["valueInteger"]) {
            (Some(text), _) => text.parse().ok(),
            (None, number) => number.as_u64(),
        };
        match parameter["name"].as_str()? {
            "eventsSinceNumber" => asked.events_since_number = Some(number()?),
            "eventsUntilNumber" => asked.events_until_number = Some(number()?),
            "content" => asked.content = Some(parameter["valueCode"].as_str()?.to_owned()),
            _ => return None,
        }
    }
    Some(asked)
}

async fn found(shared: Arc<Shared>, who: Arc<str>, id: String, asked: Asked) -> Result<Resource, Problem> {
    let content = match asked.content.as_deref().map(Content::parse) {
        Some(None) => return Err(wrong("content is one of empty, id-only, full-resource")),
        Some(content) => content,
        None => None,
    };
    blocking(move || {
        let care = &shared.care;
        let known = known(care, &who, &id)?.ok_or_else(Problem::not_found)?;
        let recipient = recipient(care, &who)?;
        let standing = standing(care, &known)?;
        // No more than what the subscription is for.
        let content = content.unwrap_or(known.subscription.channel.content).min(known.subscription.channel.content);
        let until = asked.events_until_number.unwrap_or(standing.last).min(standing.last);
        // Without a number where to begin, the newest that are given at once.
        let since = asked.events_since_number.unwrap_or((until + 1).saturating_sub(EVENTS_READ_MAX)).max(1);
        let events = store::events(&care.database(), &id, since, until).map_err(|error| Problem::internal(&error))?;
        let now_ms = now_ms();
        let released = released(care, recipient, (&id, known.subscription.topic.id), content, &events, now_ms);
        let released = released.map_err(|error| Problem::internal(&error))?;
        let tellings: Vec<_> = events
            .iter()
            .zip(&released)
            .map(|((number, told), one)| Telling { number: *number, told, resources: one.resources.as_deref() })
            .collect();
        Ok(Resource::found(about(care, &known, &standing, content).query_events(&tellings, now_ms)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_asks_as_an_address_does() {
        let read = |parameters: &str| {
            let asked = of_parameters(format!(r#"{{"resourceType":"Parameters"{parameters}}}"#).as_bytes())?;
            Some((asked.events_since_number, asked.events_until_number, asked.content))
        };
        let all = r#","parameter":[{"name":"eventsSinceNumber","valueString":"2"},{"name":"eventsUntilNumber","valueInteger":7},{"name":"content","valueCode":"id-only"}]"#;
        assert_eq!(read(all), Some((Some(2), Some(7), Some("id-only".into()))));
        assert_eq!(read(""), Some((None, None, None)));
        for bad in ["eventsSinceNumber\",\"valueString\":\"x", "eventsSinceNumber", "content", "other"] {
            assert_eq!(read(&format!(r#","parameter":[{{"name":"{bad}"}}]"#)), None, "{bad}");
        }
        assert!(of_parameters(b"{").is_none() && of_parameters(b"{}").is_none());
    }
}
