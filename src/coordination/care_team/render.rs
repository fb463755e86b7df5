//! The team of a person as a CareTeam (FHIR R4).
use super::{Conflict, Team, TeamMember};
use crate::coordination::loops::instant;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The CareTeam of a person; `patient` is a reference to them.
pub fn care_team(team: &Team, id: &str, patient: &str, zone: &TimeZone) -> Value {
    let participants: Vec<_> = team.members.iter().map(|member| participant(member, zone)).collect();
    let mut resource = json!({
        "resourceType": "CareTeam",
        "id": id,
        "status": "active",
        "subject": { "reference": patient },
    });
    // FHIR has no empty lists.
    if !participants.is_empty() {
        resource["participant"] = Value::Array(participants);
    }
    if !team.conflicts.is_empty() {
        resource["note"] = team.conflicts.iter().map(note).collect();
    }
    resource
}

fn participant(member: &TeamMember, zone: &TimeZone) -> Value {
    let mut who = json!({ "type": "Practitioner" });
    if member.is_routable() {
        who["identifier"] = json!({ "system": "http://hl7.org/fhir/sid/us-npi", "value": member.number });
    }
    let name = [member.given.as_str(), member.family.as_str()].join(" ").trim().to_owned();
    // A number that is no NPI is a text, as good as a name.
    let display = if name.is_empty() && !member.is_routable() { member.number.clone() } else { name };
    if !display.is_empty() {
        who["display"] = Value::String(display);
    }
    let mut participant = json!({ "role": [{ "text": member.role }], "member": who });
    if let Some(until_ms) = member.until_ms {
        participant["period"] = json!({ "end": instant(until_ms, zone) });
    }
    participant
}

fn note(conflict: &Conflict) -> Value {
    let sources: Vec<_> = conflict.sources.iter().map(|source| source.name()).collect();
    json!({ "text": format!("{}: sources differ; in order of precedence: {}", conflict.role, sources.join(", ")) })
}
