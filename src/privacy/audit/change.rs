//! A list of people that a steward changed, as AuditEvent (IHE BALP, `IHE.BasicAudit.Update`).
//!
//! It stands there before the list is changed. Where it could not be changed after all, a second entry of the same version says so (serious failure).
use super::Record;
use super::record::instant;
use serde_json::json;

/// What is done to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It is another one.
    Put,
    /// Somebody comes.
    Add,
    /// Somebody goes.
    Remove,
}

impl Verb {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Put => "update",
            Verb::Add => "member-add",
            Verb::Remove => "member-remove",
        }
    }
}

/// One change. Every text in it is an opaque id or a name from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who: the name of their token.
    pub steward: &'a str,
    /// The panel.
    pub panel: &'a str,
    /// What they do.
    pub verb: Verb,
    /// What the files of the panel are then.
    pub version: &'a str,
    /// The opaque id of the person, where it is about one.
    pub person: Option<&'a str>,
    /// Whether it is done; what is not stood there before as done.
    pub is_done: bool,
}

/// The namespace of the ids of these entries, a UUID of our own.
const CHANGES: [u8; 16] =
    [0x2c, 0x71, 0xe0, 0x5b, 0x94, 0x0d, 0x4f, 0x36, 0x8e, 0x25, 0xb7, 0x4a, 0x60, 0xd9, 0x13, 0xfc];

impl Record for Change<'_> {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (at, done) = (self.at_ms.to_string(), if self.is_done { "" } else { "not-written" });
        let person = self.person.unwrap_or_default();
        let text = [self.steward, self.panel, self.verb.name(), self.version, person, &at, done].join("\n");
        let id = crate::fhir::identity::version_5(&CHANGES, &[text.as_bytes()]);
        let id = crate::fhir::identity::text(&id);
        let coding = |system: &str, code: &str| json!({ "system": system, "code": code });
        let named = |system: &str, value: &str| json!({ "identifier": { "system": system, "value": value } });
        let (kind, role) = (
            "http://terminology.hl7.org/CodeSystem/audit-entity-type",
            "http://terminology.hl7.org/CodeSystem/object-role",
        );
        let mut entities = vec![json!({
            "what": named("urn:handoff:panel", self.panel), "type": coding(kind, "2"), "role": coding(role, "4"),
            "detail": [{ "type": "version", "valueString": self.version }],
        })];
        if let Some(person) = self.person {
            let what = named("urn:handoff:person", person);
            entities.push(json!({ "what": what, "type": coding(kind, "1"), "role": coding(role, "1") }));
        }
        let dicom = "http://dicom.nema.org/resources/ontology/DCM";
        let restful = if self.verb == Verb::Put { "update" } else { "operation" };
        let mut event = json!({
            "resourceType": "AuditEvent",
            "id": String::from_utf8_lossy(&id),
            "type": coding("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest"),
            "subtype": [coding("http://hl7.org/fhir/restful-interaction", restful), coding("urn:handoff:audit", self.verb.name())],
            "action": "U",
            "recorded": instant(self.at_ms),
            "outcome": if self.is_done { "0" } else { "8" },
            "agent": [
                { "type": { "coding": [coding(dicom, "110153")] }, "who": named("urn:handoff:steward", self.steward), "requestor": true },
                { "type": { "coding": [coding(dicom, "110152")] }, "who": { "display": "handoff" }, "requestor": false },
            ],
            "source": { "observer": { "display": "handoff" }, "type": [coding("http://terminology.hl7.org/CodeSystem/security-source-type", "4")] },
            "entity": entities,
        });
        if !self.is_done {
            event["outcomeDesc"] = done.into();
        }
        out.extend_from_slice(event.to_string().as_bytes());
    }
}
