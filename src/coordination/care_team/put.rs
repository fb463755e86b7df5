//! A CareTeam (FHIR R4) that somebody puts: who looks after a person, before all that messages say.
use super::{CARE_MANAGER, PCP, Source, TeamMember, store};
use crate::coordination::PersonKey;
use rusqlite::Transaction;
use serde_json::Value;

/// Participants of one CareTeam.
const PARTICIPANTS_MAX: usize = 32;
/// Characters of a role or name.
const TEXT_MAX: usize = 128;

/// What is wrong with a CareTeam.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Something else.
    #[error("resourceType must be CareTeam")]
    NotACareTeam,
    /// Too long.
    #[error("CareTeam.participant: {0} are too many; at most {PARTICIPANTS_MAX} are kept")]
    TooMany(usize),
    /// A participant cannot be used.
    #[error("CareTeam.participant[{at}].{what}")]
    Participant {
        /// Which, from 0.
        at: usize,
        /// What it lacks, and what to give.
        what: &'static str,
    },
    /// The database.
    #[error("the care team cannot be written: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Puts a CareTeam in the place of the one before; messages and rosters are not touched. Without participants it takes it away.
///
/// # Errors
/// A CareTeam that cannot be used, of which nothing is kept; a database that cannot be written.
pub fn put(transaction: &Transaction<'_>, person: PersonKey, care_team: &Value, now_ms: i64) -> Result<(), PutError> {
    Ok(store::replace(transaction, person, &read(care_team, now_ms)?)?)
}

/// Whether a CareTeam can be put.
///
/// # Errors
/// Why not.
pub fn check(care_team: &Value) -> Result<(), PutError> {
    read(care_team, 0).map(drop)
}

fn read(care_team: &Value, now_ms: i64) -> Result<Vec<TeamMember>, PutError> {
    if care_team["resourceType"] != "CareTeam" {
        return Err(PutError::NotACareTeam);
    }
    let participants = care_team["participant"].as_array().map_or(&[][..], Vec::as_slice);
    if participants.len() > PARTICIPANTS_MAX {
        return Err(PutError::TooMany(participants.len()));
    }
    let read = |(at, participant)| member(participant, now_ms).map_err(|what| PutError::Participant { at, what });
    participants.iter().enumerate().map(read).collect()
}

fn member(participant: &Value, since_ms: i64) -> Result<TeamMember, &'static str> {
    let role = role(participant).ok_or("role: give a code or text, such as \"care-manager\"")?;
    let identifier = &participant["member"]["identifier"];
    let npi = identifier["system"] == "http://hl7.org/fhir/sid/us-npi";
    let number = identifier["value"].as_str().filter(|_| npi).unwrap_or_default();
    let display = participant["member"]["display"].as_str().unwrap_or_default();
    if number.is_empty() && display.is_empty() {
        return Err("member: give an identifier with the system http://hl7.org/fhir/sid/us-npi, or a display");
    }
    if role.len() > TEXT_MAX || number.len() > TEXT_MAX || display.len() > TEXT_MAX {
        return Err("member: at most 128 characters are kept of a role, number or name");
    }
    let until_ms = match participant["period"]["end"].as_str() {
        None => None,
        Some(end) => Some(end_ms(end).ok_or("period.end: give a date or an instant with its offset")?),
    };
    Ok(TeamMember {
        role,
        source: Source::Api,
        number: number.to_owned(),
        family: display.to_owned(),
        given: String::new(),
        since_ms,
        until_ms,
        secret: false,
    })
}

/// The role by its first code that is known here, else by its text or first code as it stands.
fn role(participant: &Value) -> Option<String> {
    let roles = participant["role"].as_array()?;
    let codings = || roles.iter().filter_map(|role| role["coding"].as_array()).flatten();
    let codes = || codings().filter_map(|coding| coding["code"].as_str());
    let known = codes().find_map(|code| match code {
        // SNOMED CT: primary care provider, care coordinator.
        "446050000" | PCP => Some(PCP),
        "768820003" | CARE_MANAGER => Some(CARE_MANAGER),
        _ => None,
    });
    let text = || roles.iter().find_map(|role| role["text"].as_str());
    let word = known.or_else(text).or_else(|| codes().next())?.trim().to_lowercase().replace(' ', "-");
    (!word.is_empty()).then_some(word)
}

/// A date ends with its last millisecond, in UTC.
fn end_ms(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_millisecond());
    }
    let next = text.parse::<jiff::civil::Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond() - 1)
}
