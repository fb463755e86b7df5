//! What is audited, as AuditEvent.
//!
//! A delivery is a Privacy Disclosure as its source records it (IHE BALP, `IHE.BasicAudit.PrivacyDisclosure.Source`): type Export, subtype disclose, agents source and recipient, entities
//! patient and data. BALP has no shape for what is not disclosed; a suppression is the same with a subtype of our own and the outcome of a minor failure. Neither claims the profile in
//! `meta`: persons and recipients are identifiers of our own, not resources that anybody could read.
//!
//! A disclosure stands there before it happens. When the attempt fails, a second entry of the same event and number says how: `not-taken` (minor failure), where the receiver may have
//! read it, `not-sent` (serious failure), where nothing has left.
use crate::fhir::json;
use std::fmt::Write as _;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It goes out: this is written before it does.
    Disclosed,
    /// It was withheld.
    Suppressed(crate::privacy::Reason),
    /// What was to go out was not taken, and may have been read all the same: it stays a disclosure.
    NotTaken,
    /// What was to go out was not sent after all: nobody was there to connect to. The disclosure that was written before it was none.
    NotSent,
}

impl Outcome {
    /// Its code (value set audit-event-outcome), and why it is no success.
    fn told(self) -> (&'static str, Option<&'static str>) {
        match self {
            Outcome::Disclosed => ("0", None),
            Outcome::Suppressed(reason) => ("4", Some(reason.name())),
            Outcome::NotTaken => ("4", Some("not-taken")),
            Outcome::NotSent => ("8", Some("not-sent")),
        }
    }
}

/// One delivery or suppression. Every text in it is an opaque id or a name from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Of this entry; [`Entry::identified`] makes it.
    pub id: [u8; 16],
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What became of it.
    pub outcome: Outcome,
    /// The recipient's id.
    pub recipient: &'a str,
    /// Its purpose of use (v3 ActReason).
    pub purpose: &'a str,
    /// The person's opaque id.
    pub person: &'a str,
    /// The event.
    pub event: [u8; 16],
    /// The subscription, where there is one.
    pub subscription: Option<&'a str>,
    /// The number of the notification in it.
    pub number: Option<u64>,
}

const TYPE: &str = r#""type":{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110106"},"subtype":["#;
const DISCLOSE: &str = r#"{"system":"http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle","code":"disclose"}"#;
const SUPPRESS: &str = r#"{"system":"urn:handoff:audit","code":"suppress"}"#;
const SOURCE: &str = r#""agent":[{"type":{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110153"}]},"who":{"display":"handoff"},"requestor":false},{"type":{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110152"}]},"who":{"identifier":{"system":"urn:handoff:recipient","value":"#;
const OBSERVER: &str = r#"}},"requestor":true}],"source":{"observer":{"display":"handoff"},"type":[{"system":"http://terminology.hl7.org/CodeSystem/security-source-type","code":"4"}]},"entity":[{"what":{"identifier":{"system":"urn:handoff:person","value":"#;
const PERSON: &str = r#"}},"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"1"},"role":{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"1"}}"#;
const OBJECT: &str = r#"}},"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"2"},"role":{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"#;

/// The namespace of the ids of our entries, a UUID of our own.
const ENTRIES: [u8; 16] =
    [0x91, 0x4c, 0x7a, 0x02, 0x3d, 0x5e, 0x4b, 0x61, 0xa8, 0x13, 0x6f, 0x20, 0xc4, 0x9b, 0x57, 0xee];

impl Entry<'_> {
    /// The same with its id, made from all that it says: written again after a crash it has it again.
    #[must_use]
    pub fn identified(mut self) -> Self {
        let number = self.number.map(|number| number.to_string()).unwrap_or_default();
        let outcome = self.outcome.told().1.unwrap_or_default();
        let at = self.at_ms.to_string();
        // No text holds a line feed: ids are names.
        let parts = [self.recipient, self.person, self.subscription.unwrap_or(""), &number, outcome, &at];
        let text = parts.join("\n");
        self.id = crate::fhir::identity::version_5(&ENTRIES, &[&self.event, text.as_bytes()]);
        self
    }

    fn object(&self, out: &mut Vec<u8>, system: &str, value: &str, role: &str) {
        let mut start = String::from(r#",{"what":{"identifier":{"system":""#);
        start.push_str(system);
        start.push_str(r#"","value":"#);
        out.extend_from_slice(start.as_bytes());
        json::string(out, value.as_bytes());
        let mut end = String::from(OBJECT);
        let _ = write!(end, r#""{role}"}}"#); // A String takes everything.
        if let (Some(number), "9") = (self.number, role) {
            let _ = write!(end, r#","detail":[{{"type":"event-number","valueString":"{number}"}}]"#);
        }
        end.push('}');
        out.extend_from_slice(end.as_bytes());
    }
}

impl super::Record for Entry<'_> {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }

    fn write(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| json::string(out, text.as_bytes());
        let plain = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
        plain(out, r#"{"resourceType":"AuditEvent","id":""#);
        out.extend_from_slice(&crate::fhir::identity::text(&self.id));
        plain(out, "\",");
        let subtype = if matches!(self.outcome, Outcome::Suppressed(_)) { SUPPRESS } else { DISCLOSE };
        let (outcome, reason) = self.outcome.told();
        for part in [TYPE, subtype, r#"],"action":"R","recorded":""#, &instant(self.at_ms)] {
            plain(out, part);
        }
        plain(out, r#"","outcome":""#);
        plain(out, outcome);
        if let Some(reason) = reason {
            plain(out, r#"","outcomeDesc":""#);
            plain(out, reason);
        }
        plain(
            out,
            r#"","purposeOfEvent":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"#,
        );
        text(out, self.purpose);
        plain(out, "}]}],");
        plain(out, SOURCE);
        text(out, self.recipient);
        plain(out, OBSERVER);
        text(out, self.person);
        plain(out, PERSON);
        self.object(out, "urn:handoff:event", &crate::facets::uuid_text(&self.event), "4");
        if let Some(subscription) = self.subscription {
            self.object(out, "urn:handoff:subscription", subscription, "9");
        }
        plain(out, "]}");
    }
}

/// As FHIR instant, in UTC.
pub(super) fn instant(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    format!("{at:.3}")
}
