//! The worklist: loops of a panel in a state, the oldest first. People stand in it by their opaque ids.
use super::super::Shared;
use super::super::problem::Problem;
use super::page::{LIMIT, bad_query, limit, number};
use super::{blocking, time};
use crate::coordination::care_team::Route;
use crate::coordination::loops::{Loop, State as LoopState, Step, worklist};
use crate::coordination::store::Store;
use crate::coordination::work::responsible;
use crate::facets::uuid_text;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Which loops.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Page {
    panel: String,
    state: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
}

/// How long somebody else may write.
const BUSY: Duration = Duration::from_secs(5);

pub(in super::super) async fn list(
    State(shared): State<Arc<Shared>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(page) = page?;
    let (limit, after) = (limit(page.limit, LIMIT)?, number(page.after)?.cast_signed());
    let state = page.state.as_deref().map_or(Some(LoopState::Overdue), LoopState::parse);
    let state = state.ok_or_else(|| bad_query("state is none of open, overdue, met, met-late, void, expired"))?;
    blocking(move || {
        let Some(connection) = database(&shared.data)? else {
            let remedy = "give the configuration a section [coordination]";
            return Err(Problem::not_found("this gateway follows no loops", remedy));
        };
        let failed = |error: rusqlite::Error| Problem::internal(error.to_string());
        let found = worklist(&connection, &page.panel, state, after, limit).map_err(failed)?;
        let next = found.last().filter(|_| found.len() == limit).map(|found| found.number);
        let shown = |found: &Loop| Ok(shown(found, &responsible::of_loop(&connection, found.number).map_err(failed)?));
        let loops = found.iter().map(shown).collect::<Result<Vec<_>, Problem>>()?;
        Ok(Json(json!({ "loops": loops, "next": next })))
    })
    .await
}

/// The database of coordinated care, looked at as from outside; none where there is none.
pub(crate) fn database(data: &Path) -> Result<Option<Connection>, Problem> {
    let path = Store::path(data);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |error: rusqlite::Error| Problem::internal(error.to_string());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    Ok(Some(connection))
}

fn shown(found: &Loop, responsible: &BTreeMap<String, Vec<Route>>) -> Value {
    let routes = |step: &Step| responsible.get(&step.id).map(Vec::as_slice).unwrap_or_default();
    json!({
        "number": found.number,
        "id": uuid_text(&found.id),
        "definition": found.definition,
        "person": found.person.to_string(),
        "panels": found.facts.panels,
        "facility": found.facts.facility,
        "state": found.state.name(),
        "opened_at": time(found.opened_ms),
        "received_at": time(found.received_ms),
        "steps": found.steps.iter().map(|one| step(one, routes(one))).collect::<Vec<_>>(),
    })
}

fn step(step: &Step, routes: &[Route]) -> Value {
    let closed = step.closed.as_ref().filter(|_| step.state.is_met());
    json!({
        "id": step.id,
        "state": step.state.name(),
        "due_at": step.due_ms.and_then(time),
        "closed_at": closed.and_then(|closed| time(closed.event_ms)),
        "inferred": closed.is_some_and(|closed| closed.inferred),
        "asked": routes.iter().map(asked).collect::<Vec<_>>(),
    })
}

/// Whom a step leads to, as of the last time that somebody was asked; nobody where `unroutable` says whom it was for.
fn asked(route: &Route) -> Value {
    let (role, organization, unroutable) = match route {
        Route::Recipient { role, .. } => (Some(role), None, None),
        Route::Organization { facility, .. } => (None, Some(facility), None),
        Route::PanelOwner { panel, .. } => (None, Some(panel), None),
        Route::Unroutable { to } => (None, None, Some(to)),
    };
    json!({ "npi": route.npi(), "role": role, "organization": organization, "unroutable": unroutable })
}
