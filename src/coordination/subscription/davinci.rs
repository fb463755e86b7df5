//! A notification as Da Vinci has it ("Unsolicited Notifications" 1.0.0): a message Bundle for `$process-message`.
//!
//! ```text
//! Bundle type=message                  no total; entries without search, request and response
//!   MessageHeader                      eventCoding, focus, source, destination; sender, responsible and author where the Encounter tells them
//!   Encounter, Patient, Location, Practitioner, Organization, Condition, Coverage, whatever else there is
//! ```
//!
//! Resources refer to each other by `urn:uuid:`. An event that Da Vinci has no code for, such as a cancellation, makes no notification; neither does one whose
//! focus must not be told.
use super::notification::{About, Telling, focus};
use super::reference::{Form, linked, named, urn, uuid};
use super::topic::Trigger;
use super::{id_of, instant};
use crate::coordination::Kind;
use serde_json::{Value, json};

/// The code system of events.
const EVENTS: &str = "http://hl7.org/fhir/us/davinci-alerts/CodeSystem/notification-event";
/// What its profiles begin with.
const PROFILES: &str = "http://hl7.org/fhir/us/davinci-alerts/StructureDefinition/";
/// The order in which resources stand, behind the focus.
const ORDER: [&str; 7] = ["Encounter", "Patient", "Location", "Practitioner", "Organization", "Condition", "Coverage"];

/// Of an event: code, display, and the profile of its MessageHeader where there is one.
fn code(trigger: Trigger) -> Option<(&'static str, &'static str, Option<&'static str>)> {
    let Trigger::Event(kind) = trigger else { return None };
    Some(match kind {
        Kind::Admission | Kind::EdVisit => {
            ("notification-admit", "Admit Notification", Some("admit-notification-messageheader"))
        }
        Kind::Discharge | Kind::EdDischarge => {
            ("notification-discharge", "Discharge Notification", Some("discharge-notification-messageheader"))
        }
        Kind::Transfer => {
            ("notification-transfer", "Transfer Notification", Some("transfer-notification-messageheader"))
        }
        Kind::OutpatientVisit => ("notification-outpatient-visit", "Outpatient Visit Notification", None),
        Kind::Death => ("notification-vitals", "Vital Statistics Notification", None),
        Kind::Result => ("notification-lab-report", "Laboratory Report Notification", None),
        Kind::MedicationChange => ("notification-tx-change", "Treatment Change Notification", None),
        Kind::Document => ("notification-summary-report", "Summary Report Notification", None),
        Kind::ReferralRequested => ("notification-referral", "Referral Notification", None),
        _ => return None,
    })
}

impl About<'_> {
    /// A notification of Da Vinci of one event to an endpoint. Sent again it has the same ids.
    pub fn davinci(&self, event: &Telling<'_>, endpoint: &str, at_ms: i64) -> Option<Value> {
        let (code, display, profile) = code(event.told.trigger)?;
        let resources = event.resources?;
        let (focus_name, focus_id) = named(focus(event.told, resources)?)?;
        let focus_urn = urn(focus_name, focus_id);
        let mut all: Vec<Value> = linked(resources, Form::Urn).into_iter().filter(|one| named(one).is_some()).collect();
        all.sort_by_key(|one| rank(one, focus_name, focus_id));
        let number = event.number.to_string();
        let bundle = id_of(&[b"davinci|", self.id.as_bytes(), b"|", number.as_bytes()]);
        let id = id_of(&[b"header|", bundle.as_bytes()]);
        let profiles: Vec<String> = ["notifications-messageheader"]
            .into_iter()
            .chain(profile)
            .map(|name| format!("{PROFILES}{name}"))
            .collect();
        let mut header = json!({
            "resourceType": "MessageHeader",
            "id": id,
            "meta": {"profile": profiles},
            "eventCoding": {"system": EVENTS, "code": code, "display": display},
            "destination": [{"endpoint": endpoint}],
        });
        let encounter = all.iter().find(|one| one["resourceType"] == "Encounter");
        if let Some(provider) =
            encounter.and_then(|encounter| bundled(&encounter["serviceProvider"], &all, "Organization"))
        {
            header["sender"] = json!({"reference": provider});
            header["responsible"] = json!({"reference": provider});
        }
        let participants = encounter.and_then(|encounter| encounter["participant"].as_array()).into_iter().flatten();
        if let Some(author) = participants.filter_map(|one| bundled(&one["individual"], &all, "Practitioner")).next() {
            header["author"] = json!({"reference": author});
        }
        header["source"] = json!({"name": "handoff", "software": "handoff", "version": env!("CARGO_PKG_VERSION"), "endpoint": self.base});
        header["focus"] = json!([{"reference": focus_urn}]);
        let mut entries = vec![json!({"fullUrl": format!("urn:uuid:{id}"), "resource": header})];
        for mut resource in all {
            let Some((name, id)) = named(&resource).map(|(name, id)| (name.to_owned(), id.to_owned())) else {
                continue;
            };
            resource["id"] = json!(uuid(&name, &id));
            entries.push(json!({"fullUrl": urn(&name, &id), "resource": resource}));
        }
        Some(json!({
            "resourceType": "Bundle",
            "id": bundle,
            "meta": {"profile": [format!("{PROFILES}notifications-bundle")]},
            "type": "message",
            "timestamp": instant(at_ms),
            "entry": entries,
        }))
    }
}

/// The focus, then by type; those of one type in the order in which they came.
fn rank(resource: &Value, focus_name: &str, focus_id: &str) -> usize {
    let Some((name, id)) = named(resource) else { return usize::MAX };
    if (name, id) == (focus_name, focus_id) {
        return 0;
    }
    1 + ORDER.iter().position(|own| *own == name).unwrap_or(ORDER.len())
}

/// Where a reference leads, if to a resource of that type which is sent too.
fn bundled<'v>(reference: &'v Value, all: &[Value], name: &str) -> Option<&'v str> {
    let target = reference["reference"].as_str()?;
    let is_it = |one: &Value| named(one).is_some_and(|(own, id)| own == name && urn(own, id) == target);
    all.iter().any(is_it).then_some(target)
}
