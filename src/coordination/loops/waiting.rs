//! Events that may close a loop which opens after them: a summary is often here before the message of the discharge.
//!
//! They wait for 72 hours, by when they were received, without what says who the patient is; of one person no more than [`WAITING_MAX`], the oldest goes first.
use super::definition::{Definition, Options};
use super::model::same_number;
use super::store;
use crate::coordination::event::{Confidentiality, Patient};
use crate::coordination::lineage::{Gone, Under};
use crate::coordination::{Event, Kind, PersonKey};
use rusqlite::{Transaction, params};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS loop_waiting (
    number INTEGER PRIMARY KEY, person BLOB NOT NULL, origin BLOB NOT NULL, received_ms INTEGER NOT NULL, event TEXT NOT NULL,
    told_as INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS loop_waiting_person ON loop_waiting (person, number);
CREATE INDEX IF NOT EXISTS loop_waiting_received ON loop_waiting (received_ms, number);";

/// So long an event waits for what it closes.
pub const WAITING_MS: i64 = 72 * 3_600_000;
/// Events of one person that wait.
pub const WAITING_MAX: u32 = 64;

/// Whether an event could close a step of any loop.
pub(super) fn could_close(options: &Options, kind: Kind) -> bool {
    let closes = |definition: &Definition| {
        definition.steps.iter().flat_map(|step| &step.close).any(|pattern| pattern.kinds.contains(&kind))
    };
    options.definitions.iter().any(closes)
}

/// Keeps an event.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    person: PersonKey,
    origin: PersonKey,
    event: &Event,
) -> rusqlite::Result<()> {
    let bare = Event {
        patient: Patient::default(),
        others: Vec::new(),
        confidentiality: Confidentiality::default(),
        ..event.clone()
    };
    transaction
        .prepare_cached(
            "INSERT INTO loop_waiting (person, origin, received_ms, event, told_as) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            person.0,
            origin.0,
            event.received_ms,
            store::text(&bare)?,
            event.patient.told_as(&event.feed)
        ])?;
    transaction
        .prepare_cached(
            "DELETE FROM loop_waiting WHERE person = ?1 AND number <=
               (SELECT number FROM loop_waiting WHERE person = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![person.0, WAITING_MAX])?;
    Ok(())
}

/// An event that waits.
pub(super) struct Waiting {
    number: i64,
    /// For whom it was told.
    pub under: Under,
    pub event: Event,
}

/// What waits for a person, in the order of receipt.
pub(super) fn of_person(
    transaction: &Transaction<'_>,
    person: PersonKey,
    now_ms: i64,
) -> rusqlite::Result<Vec<Waiting>> {
    let sql = "SELECT number, event, origin, told_as FROM loop_waiting WHERE person = ?1 AND received_ms >= ?2 ORDER BY number";
    transaction
        .prepare_cached(sql)?
        .query_map(params![person.0, now_ms - WAITING_MS], |row| {
            Ok(Waiting {
                number: row.get(0)?,
                event: store::parse(1, row.get_ref(1)?.as_str()?)?,
                under: Under { origin: PersonKey(row.get(2)?), told_as: row.get(3)? },
            })
        })?
        .collect()
}

/// Takes out what was somebody else's.
pub(super) fn disown(transaction: &Transaction<'_>, person: PersonKey, gone: &Gone) -> rusqlite::Result<()> {
    for Waiting { number, under, event } in of_person(transaction, person, WAITING_MS)? {
        if gone.has(under, event.visit.as_ref()) {
            transaction.prepare_cached("DELETE FROM loop_waiting WHERE number = ?1")?.execute([number])?;
        }
    }
    Ok(())
}

/// Takes out what an event takes back: a cancelled appointment closes nothing, nor does a withdrawn document. One that was moved is kept with its new time.
pub(super) fn withdraw(transaction: &Transaction<'_>, person: PersonKey, event: &Event) -> rusqlite::Result<()> {
    let takes_back = matches!(
        event.kind,
        Kind::AppointmentCancelled
            | Kind::AppointmentNoShow
            | Kind::AppointmentChanged
            | Kind::DocumentCancelled
            | Kind::AdmissionCancelled
    );
    if !takes_back {
        return Ok(());
    }
    for Waiting { number, event: mut waiting, .. } in of_person(transaction, person, event.received_ms)? {
        let same = match event.kind {
            Kind::AppointmentCancelled | Kind::AppointmentNoShow | Kind::AppointmentChanged => {
                let both = waiting.appointment.as_ref().zip(event.appointment.as_ref());
                both.is_some_and(|(ours, theirs)| same_number(&ours.number, &theirs.number))
            }
            Kind::DocumentCancelled => {
                let both = waiting.document.as_ref().zip(event.document.as_ref());
                both.is_some_and(|(ours, theirs)| same_number(&ours.number, &theirs.number))
            }
            Kind::AdmissionCancelled => waiting.kind == Kind::Admission && waiting.visit == event.visit,
            _ => false,
        };
        if same && event.kind == Kind::AppointmentChanged {
            waiting.appointment.clone_from(&event.appointment);
            let values = params![number, store::text(&waiting)?];
            transaction.execute("UPDATE loop_waiting SET event = ?2 WHERE number = ?1", values)?;
        } else if same {
            transaction.execute("DELETE FROM loop_waiting WHERE number = ?1", [number])?;
        }
    }
    Ok(())
}

/// Takes out what has waited long enough, at most so much.
pub(super) fn prune(transaction: &Transaction<'_>, now_ms: i64, most: usize) -> rusqlite::Result<()> {
    let sql = "DELETE FROM loop_waiting WHERE number IN
                 (SELECT number FROM loop_waiting WHERE received_ms < ?1 ORDER BY received_ms, number LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    transaction.prepare_cached(sql)?.execute([now_ms.saturating_sub(WAITING_MS), most])?;
    Ok(())
}
