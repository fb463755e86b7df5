//! Messages in the journal by their number: what is known of them, and, for `phi-reader`, the messages themselves.
use super::super::Shared;
use super::super::gate::Who;
use super::super::problem::Problem;
use super::{blocking, noted, time, view};
use crate::facets::Facets;
use crate::journal::{Error, Record, View};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::sync::Arc;

/// The media type of HL7 v2 as it came.
const HL7: &str = "x-application/hl7-v2+er7";

type Number = Result<Path<u64>, PathRejection>;

/// What routing knows of it, and nothing that a sender may have written freely: a control id can be a patient's number.
pub(in super::super) async fn facts(State(shared): State<Arc<Shared>>, number: Number) -> Result<Json<Value>, Problem> {
    let Path(seq) = number?;
    let record = blocking(move || record(&mut view(&shared.data)?, seq)).await?;
    let facets = Facets::decode(&record.facets);
    let facets = facets.ok_or_else(|| Problem::internal("the facets were written by another version"))?;
    Ok(Json(json!({
        "seq": seq,
        "message_id": facets.message_id_text(),
        "received_at": time(facets.received_ms),
        "listener": String::from_utf8_lossy(facets.listener),
        "type": kind(&record),
        "outcome": facets.outcome.name(),
        "bytes": record.raw.len(),
    })))
}

pub(in super::super) async fn raw(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    number: Number,
) -> Result<Response, Problem> {
    let Path(seq) = number?;
    let record = blocking(move || record(&mut view(&shared.data)?, seq)).await?;
    noted!(look = true, token = %who, seq, "message read")?;
    Ok(show(record))
}

pub(crate) fn show(record: Record) -> Response {
    ([(header::CONTENT_TYPE, HL7)], record.raw).into_response()
}

/// A record by its number. Blocks.
pub(crate) fn record(view: &mut View, seq: u64) -> Result<Record, Problem> {
    let gone =
        || Problem::not_found("the journal has no message of that number", "it may be too old, or not there yet");
    if seq == 0 || i64::try_from(seq).is_err() {
        return Err(gone());
    }
    match view.record(seq) {
        Ok(found) => found.ok_or_else(gone),
        Err(Error::Pruned { .. }) => Err(gone()),
        Err(error) => Err(Problem::internal(error.to_string())),
    }
}

/// The type of a message, as [`shown_kind`] has it.
pub(crate) fn kind(record: &Record) -> Option<String> {
    let facets = Facets::decode(&record.facets)?;
    Some(shown_kind(facets.code, facets.event))
}

/// `ADT^A01` where both are what codes look like, else `?` in their place: they stand in answers that hold nothing of a patient.
pub(crate) fn shown_kind(code: &[u8], event: &[u8]) -> String {
    let shown = |bytes: &[u8]| match bytes {
        [_, _, _] if bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        _ => "?".to_owned(),
    };
    format!("{}^{}", shown(code), shown(event))
}
