//! The team of a person as a CareTeam, and whom something leads to as a Reference (FHIR R4).
use super::{Conflict, Route, Team, TeamMember};
use crate::coordination::loops::instant;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The identifier system of NPIs.
pub const NPI: &str = "http://hl7.org/fhir/sid/us-npi";

/// Whom a route leads to, by their NPI, with what they are shown as; none where it leads to nobody.
pub fn reference(route: &Route) -> Option<Value> {
    let (kind, npi, display) = match route {
        Route::Recipient { role, member, .. } => {
            let name = name(member);
            let display = if name.is_empty() { role.clone() } else { format!("{name} ({role})") };
            ("Practitioner", &member.number, display)
        }
        Route::Organization { facility, npi } => ("Organization", npi, facility.clone()),
        Route::PanelOwner { panel, npi } => ("Organization", npi, panel.clone()),
        Route::Unroutable { .. } => return None,
    };
    Some(json!({ "type": kind, "identifier": { "system": NPI, "value": npi }, "display": display }))
}

fn name(member: &TeamMember) -> String {
    [member.given.as_str(), member.family.as_str()].join(" ").trim().to_owned()
}

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
        who["identifier"] = json!({ "system": NPI, "value": member.number });
    }
    let name = name(member);
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
