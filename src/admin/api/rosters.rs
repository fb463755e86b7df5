//! Rosters: how each stands, those that are held, reading them anew, and how a patient would be matched.
use super::super::Shared;
use super::super::gate::Who;
use super::super::problem::Problem;
use super::codes::whole_of;
use super::messages::record;
use super::{blocking, noted, time, view};
use crate::coordination::event::Patient;
use crate::coordination::roster::{identifier_of, kept};
use crate::server::care::{ApproveError, PanelStatus, Shared as Care, TakeError, patient_of};
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Number, Value, json};
use std::sync::Arc;

/// Which roster is approved of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Approval {
    sha256: String,
}

/// Who is to be explained: the patient of a message, or one that is described.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Asked {
    seq: Option<Number>,
    patient: Option<Described>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Described {
    identifiers: Vec<Numbered>,
    family: String,
    given: String,
    birth_date: String,
    sex: String,
    street: String,
    city: String,
    zip: String,
    phone: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbered {
    system: String,
    value: String,
}

/// Coordinated care, of a gateway that has it.
pub(super) async fn care(shared: &Shared) -> Result<Arc<Care>, Problem> {
    let care = shared.control.care().await.ok_or_else(Problem::stopping)?;
    let remedy = "give the configuration a section [coordination]";
    care.ok_or_else(|| Problem::not_found("this gateway has no rosters", remedy))
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn listed(care: &Care) -> Value {
    let panels: Vec<_> = care.panel_statuses(now_ms()).iter().map(shown).collect();
    json!({ "rosters": panels })
}

fn shown(status: &PanelStatus) -> Value {
    let [added, dropped, changed] = status.changes;
    let in_force = status.in_force.as_ref();
    json!({
        "panel": status.panel,
        "kind": status.kind,
        "state": status.state.name(),
        "why": status.why,
        "sha256": status.sha256,
        "read_at": time(status.read_ms),
        "rows": status.rows.0,
        "bad_rows": status.rows.1,
        "added": added,
        "dropped": dropped,
        "changed": changed,
        "in_force": in_force.map(|(sha256, since_ms)| json!({ "sha256": sha256, "accepted_at": time(*since_ms) })),
        "members": status.members,
        "members_today": status.attributed,
        "file_at": status.file_ms.and_then(time),
        "stale": status.stale.is_some(),
        "warnings": status.stale.iter().chain(&status.warnings).collect::<Vec<_>>(),
    })
}

pub(in super::super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let care = care(&shared).await?;
    blocking(move || Ok(Json(listed(&care)))).await
}

pub(in super::super) async fn reload(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
) -> Result<Json<Value>, Problem> {
    let care = care(&shared).await?;
    noted!(token = %who, "rosters to be read")?;
    blocking(move || {
        care.take_rosters(&who).map_err(refused)?;
        Ok(Json(listed(&care)))
    })
    .await
}

/// Takes on the roster that is held, if it is still the one that was looked at.
pub(in super::super) async fn approve(
    shared: State<Arc<Shared>>,
    who: Extension<Who>,
    panel: Result<Path<String>, PathRejection>,
    asked: Result<Json<Approval>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    decide(shared, who, panel, asked, true).await
}

/// Says that the roster that is held is not to be taken, if it is still the one that was looked at.
pub(in super::super) async fn reject(
    shared: State<Arc<Shared>>,
    who: Extension<Who>,
    panel: Result<Path<String>, PathRejection>,
    asked: Result<Json<Approval>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    decide(shared, who, panel, asked, false).await
}

async fn decide(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    panel: Result<Path<String>, PathRejection>,
    asked: Result<Json<Approval>, JsonRejection>,
    approves: bool,
) -> Result<Json<Value>, Problem> {
    let Path(panel) = panel?;
    let bad = || {
        let remedy =
            "send {\"sha256\": \"…\"} as application/json, as GET /api/v1/rosters tells it of the roster that is held";
        Problem::new(StatusCode::BAD_REQUEST, "bad body", "sha256 is no hash of 64 hexadecimal digits", remedy)
    };
    let files = asked.ok().and_then(|Json(Approval { sha256 })| kept::parse(&sha256)).ok_or_else(bad)?;
    let care = care(&shared).await?;
    if !care.rosters.panels().iter().any(|known| known.id == panel) {
        return Err(refused(ApproveError::Unknown("of that name".into())));
    }
    match approves {
        true => noted!(token = %who, panel, "roster to be approved of"),
        false => noted!(token = %who, panel, "roster to be rejected"),
    }?;
    let by = Arc::clone(&who);
    let named = panel.clone();
    let answer = blocking(move || {
        match approves {
            true => care.approve_roster(&who, &named, &files).map_err(refused)?,
            false => care.reject_roster(&who, &named, &files).map_err(refused)?,
        }
        let all = care.panel_statuses(now_ms());
        let status = all.iter().find(|status| status.panel == named);
        status.map(|status| Json(shown(status))).ok_or_else(|| refused(ApproveError::Unknown("of that name".into())))
    })
    .await?;
    match approves {
        true => tracing::info!(audit = true, token = %by, panel, "roster approved of"),
        false => tracing::info!(audit = true, token = %by, panel, "roster rejected"),
    }
    Ok(answer)
}

pub(crate) fn refused(error: ApproveError) -> Problem {
    let look = "look at GET /api/v1/rosters again";
    match error {
        ApproveError::Unknown(_) => {
            Problem::not_found("there is no panel of that name", "GET /api/v1/rosters tells which there are")
        }
        ApproveError::Another => Problem::new(StatusCode::CONFLICT, "another roster", error.to_string(), look),
        ApproveError::NotHeld(_) => Problem::new(StatusCode::CONFLICT, "not held", error.to_string(), look),
        ApproveError::Take(TakeError::Keep(kept::KeepError::Changed(_))) => {
            let remedy = "ask again once it is written to its end";
            Problem::new(StatusCode::CONFLICT, "changed meanwhile", "a roster changed while it was read", remedy)
        }
        ApproveError::Take(error) => Problem::internal(error.to_string()),
    }
}

/// Whom of the rosters a patient would be, and how that is found. What is asked is no part of the address: addresses are logged by others.
pub(in super::super) async fn explain(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let bad = || {
        let remedy =
            "send {\"seq\": 12} or {\"patient\": {\"family\": …}} as application/json; see /api/v1/openapi.json";
        // What a parser says may quote what was sent.
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad body",
            "it names neither a message nor a patient, or not as it should",
            remedy,
        )
    };
    let Json(asked) = asked.map_err(|_| bad())?;
    let seq = asked.seq.map(|seq| whole_of(&seq).ok_or_else(bad)).transpose()?;
    let care = care(&shared).await?;
    let answer = blocking(move || {
        let patient = match (seq, asked.patient) {
            (Some(seq), None) => {
                let record = record(&mut view(&shared.data)?, seq)?;
                let remedy = "it has no PID segment, or cannot be read";
                patient_of(&record.raw).ok_or_else(|| Problem::not_found("the message names no patient", remedy))?
            }
            (None, Some(described)) => described.patient(),
            _ => return Err(bad()),
        };
        care.explain(&patient).map_err(|error| Problem::internal(error.to_string()))
    })
    .await?;
    noted!(look = true, token = %who, seq, "match explained")?;
    Ok(Json(answer))
}

impl Described {
    fn patient(self) -> Patient {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        Patient {
            identifiers: self.identifiers.iter().map(|one| identifier_of(&one.system, &one.value)).collect(),
            family: self.family,
            given: self.given,
            birth_date: digits(&self.birth_date),
            sex: self.sex,
            street: self.street,
            city: self.city,
            zip: self.zip,
            phone: digits(&self.phone),
        }
    }
}
