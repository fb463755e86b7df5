//! The topics: what can be subscribed to. A table, read by the matcher, by those who check a subscription, and by `GET` of a topic.
//!
//! A topic says what triggers it and, for each trigger, of which types the resource may be that it is about, the likeliest first. A type says by what it can be
//! filtered: so all topics filter alike. Sources: US Core 8.0.0 "Patient Data Feed", Da Vinci ATR 2.1 "Subscription", Subscriptions R5 Backport 1.1.0.
use crate::coordination::Kind;
use serde_json::{Value, json};

/// What can trigger a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trigger {
    /// An event.
    Event(Kind),
    /// A step of a loop is about to be due, overdue, or was closed after that; or a value that somebody must hear of at once.
    OpenLoop,
    /// A measure has other figures.
    MeasureUpdated,
    /// A panel has other members.
    RosterChanged,
    /// Somebody should know something of a person, beside what happens to them.
    Flag,
}

impl Trigger {
    /// How many there are.
    pub const COUNT: usize = Kind::ALL.len() + 4;

    /// Its place among them.
    pub fn index(self) -> usize {
        match self {
            Trigger::Event(kind) => kind as usize,
            Trigger::OpenLoop => Kind::ALL.len(),
            Trigger::MeasureUpdated => Kind::ALL.len() + 1,
            Trigger::RosterChanged => Kind::ALL.len() + 2,
            Trigger::Flag => Kind::ALL.len() + 3,
        }
    }

    /// As filters, notifications and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            Trigger::Event(kind) => kind.name(),
            Trigger::OpenLoop => "open-loop",
            Trigger::MeasureUpdated => "measure-updated",
            Trigger::RosterChanged => "roster-changed",
            Trigger::Flag => "flag",
        }
    }

    /// The trigger of that name.
    pub fn parse(name: &str) -> Option<Trigger> {
        let others = [Trigger::OpenLoop, Trigger::MeasureUpdated, Trigger::RosterChanged, Trigger::Flag];
        Kind::parse(name).map(Trigger::Event).or_else(|| others.into_iter().find(|other| other.name() == name))
    }
}

/// By what a subscription can be narrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Parameter {
    /// The person, by the id that the gateway gives them.
    Patient,
    /// Members of a panel: `Group/aco-lakeshore`.
    In,
    /// The key of the facility where it happened.
    Facility,
    /// The class of the visit: `IMP`.
    Class,
    /// Of a visit how it began, of a document what it is (LOINC).
    Type,
    /// `laboratory`, `imaging`, `clinical-note`.
    Category,
    /// A code of the message: a diagnosis of a visit, what was observed or done.
    Code,
    /// What happened: `admission`, `feed-event`, or the event of HL7 v2.
    Trigger,
    /// A label of confidentiality that the event carries.
    Security,
    /// Of a Task the NPI of whom it leads to.
    Owner,
    /// Of a Task the role that it is for: `care-manager`.
    Performer,
}

impl Parameter {
    /// Every one.
    pub const ALL: [Parameter; 11] = [
        Parameter::Patient,
        Parameter::In,
        Parameter::Facility,
        Parameter::Class,
        Parameter::Type,
        Parameter::Category,
        Parameter::Code,
        Parameter::Trigger,
        Parameter::Security,
        Parameter::Owner,
        Parameter::Performer,
    ];

    /// As a filter writes it.
    pub fn name(self) -> &'static str {
        match self {
            Parameter::Patient => "patient",
            Parameter::In => "_in",
            Parameter::Facility => "facility",
            Parameter::Class => "class",
            Parameter::Type => "type",
            Parameter::Category => "category",
            Parameter::Code => "code",
            Parameter::Trigger => "trigger",
            Parameter::Security => "_security",
            Parameter::Owner => "owner",
            Parameter::Performer => "performer",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Parameter::Patient => "The person it is about, by the id of the Patient here.",
            Parameter::In => "Whether the person was a member of the Group when it happened; of a Group, which.",
            Parameter::Facility => "The key of the facility where it happened.",
            Parameter::Class => "The class of the visit (v3 ActEncounterCode).",
            Parameter::Type => "Of an Encounter how it began, of a DocumentReference what kind of document it is.",
            Parameter::Category => "laboratory or imaging, or a section of HL7 table 0074; of documents clinical-note.",
            Parameter::Code => {
                "A code that the message gives: diagnosis, order, observation, procedure or service; of a Task its loop or step, of a Flag what it says."
            }
            Parameter::Trigger => "The kind of event, the event of HL7 v2 that told of it, or feed-event for any.",
            Parameter::Security => "A security label that the event carries.",
            Parameter::Owner => "The NPI of whom a loop leads to.",
            Parameter::Performer => "The role that a loop is for.",
        }
    }
}

/// A type of resource that notifications are about.
#[derive(Debug)]
pub struct Focus {
    /// Its name in FHIR.
    pub name: &'static str,
    /// By what it can be filtered.
    pub parameters: &'static [Parameter],
    /// Where its code stands in a message (`field` of [`crate::coordination::event::Code`]).
    pub code_fields: &'static [&'static str],
    /// Where its type does.
    pub type_fields: &'static [&'static str],
}

use Parameter::{Category, Class, Code, Facility, In, Owner, Patient, Performer, Security, Type};

/// The code system of what a `Basic` stands for.
pub const BASIC_TYPES: &str = "http://hl7.org/fhir/fhir-types";

const PERSON: &[Parameter] = &[Patient, In, Facility, Parameter::Trigger, Security];
const CODED: &[Parameter] = &[Patient, In, Facility, Code, Parameter::Trigger, Security];
const ASSIGNED: &[Parameter] = &[Patient, In, Facility, Code, Owner, Performer, Parameter::Trigger, Security];
const CATEGORISED: &[Parameter] = &[Patient, In, Facility, Category, Code, Parameter::Trigger, Security];

/// Every type that a topic speaks of.
pub const FOCUSES: &[Focus] = &[
    Focus {
        name: "Encounter",
        parameters: &[Patient, In, Facility, Class, Type, Code, Parameter::Trigger, Security],
        code_fields: &["DG1-3"],
        type_fields: &[],
    },
    Focus { name: "DiagnosticReport", parameters: CATEGORISED, code_fields: &["OBR-4"], type_fields: &[] },
    Focus { name: "Observation", parameters: CATEGORISED, code_fields: &["OBX-3"], type_fields: &[] },
    Focus {
        name: "DocumentReference",
        parameters: &[Patient, In, Facility, Type, Category, Parameter::Trigger, Security],
        code_fields: &[],
        type_fields: &["TXA-2", "TXA-16"],
    },
    Focus { name: "MedicationRequest", parameters: CODED, code_fields: &["RXE-2", "RXO-1"], type_fields: &[] },
    Focus { name: "MedicationDispense", parameters: CODED, code_fields: &["RXD-2"], type_fields: &[] },
    Focus { name: "ServiceRequest", parameters: CODED, code_fields: &["OBR-4"], type_fields: &[] },
    Focus { name: "Procedure", parameters: CODED, code_fields: &["PR1-3", "FT1-25"], type_fields: &[] },
    Focus { name: "Appointment", parameters: PERSON, code_fields: &[], type_fields: &[] },
    Focus { name: "Patient", parameters: PERSON, code_fields: &[], type_fields: &[] },
    Focus { name: "Task", parameters: ASSIGNED, code_fields: &["loop", "step"], type_fields: &[] },
    Focus { name: "Flag", parameters: CODED, code_fields: &["flag"], type_fields: &[] },
    Focus { name: "MeasureReport", parameters: &[In, Code], code_fields: &["measure"], type_fields: &[] },
    Focus { name: "Group", parameters: &[In], code_fields: &[], type_fields: &[] },
];

/// The type of that name, if topics speak of it.
pub fn focus(name: &str) -> Option<&'static Focus> {
    FOCUSES.iter().find(|focus| focus.name == name)
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    /// The last part of its canonical URL.
    pub id: &'static str,
    /// Its canonical URL, where somebody else has made it; our own hang below a base of the configuration.
    canonical: Option<&'static str>,
    /// For people.
    pub title: &'static str,
    /// What triggers it, and the types of what that is about.
    pub triggers: &'static [(Trigger, &'static [&'static str])],
    /// A filter that cannot be met is taken out, and the subscription kept with the status `error` until the client agrees (US Core, "Patient Data Feed").
    pub adjusts: bool,
}

const ENCOUNTER: &[&str] = &["Encounter"];
const REPORT: &[&str] = &["DiagnosticReport", "Observation"];
const DOCUMENT: &[&str] = &["DocumentReference"];
const MEDICATION: &[&str] = &["MedicationRequest", "MedicationDispense"];
const REQUEST: &[&str] = &["ServiceRequest", "Task"];
const APPOINTMENT: &[&str] = &["Appointment"];
const PATIENT: &[&str] = &["Patient"];

/// Every topic.
pub const TOPICS: &[Topic] = &[
    Topic {
        id: "patient-data-feed",
        canonical: Some("http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed"),
        title: "Whatever happens to a patient",
        triggers: &[
            (Trigger::Event(Kind::Admission), ENCOUNTER),
            (Trigger::Event(Kind::AdmissionCancelled), ENCOUNTER),
            (Trigger::Event(Kind::EdVisit), ENCOUNTER),
            (Trigger::Event(Kind::EdDischarge), ENCOUNTER),
            (Trigger::Event(Kind::Discharge), ENCOUNTER),
            (Trigger::Event(Kind::DischargeCancelled), ENCOUNTER),
            (Trigger::Event(Kind::DischargePlanned), ENCOUNTER),
            (Trigger::Event(Kind::Transfer), ENCOUNTER),
            (Trigger::Event(Kind::TransferCancelled), ENCOUNTER),
            (Trigger::Event(Kind::OutpatientVisit), ENCOUNTER),
            (Trigger::Event(Kind::Death), PATIENT),
            (Trigger::Event(Kind::IdentityMerge), PATIENT),
            (Trigger::Event(Kind::Unlink), PATIENT),
            (Trigger::Event(Kind::Result), REPORT),
            (Trigger::Event(Kind::MedicationChange), MEDICATION),
            (Trigger::Event(Kind::Document), DOCUMENT),
            (Trigger::Event(Kind::DocumentCancelled), DOCUMENT),
            (Trigger::Event(Kind::AppointmentBooked), APPOINTMENT),
            (Trigger::Event(Kind::AppointmentChanged), APPOINTMENT),
            (Trigger::Event(Kind::AppointmentCancelled), APPOINTMENT),
            (Trigger::Event(Kind::AppointmentNoShow), APPOINTMENT),
            (Trigger::Event(Kind::ReferralRequested), REQUEST),
            (Trigger::Event(Kind::ReferralAccepted), REQUEST),
            (Trigger::Event(Kind::ReferralRejected), REQUEST),
            (Trigger::Event(Kind::ReferralCompleted), REQUEST),
            (Trigger::Event(Kind::ReferralCancelled), REQUEST),
            (Trigger::Event(Kind::ServiceCoded), &["Procedure"]),
        ],
        adjusts: true,
    },
    Topic {
        id: "admission",
        canonical: None,
        title: "A stay began, or did not after all",
        triggers: &[
            (Trigger::Event(Kind::Admission), ENCOUNTER),
            (Trigger::Event(Kind::AdmissionCancelled), ENCOUNTER),
        ],
        adjusts: false,
    },
    Topic {
        id: "discharge",
        canonical: None,
        title: "A stay ends, ended, or did not after all",
        triggers: &[
            (Trigger::Event(Kind::Discharge), ENCOUNTER),
            (Trigger::Event(Kind::DischargeCancelled), ENCOUNTER),
            (Trigger::Event(Kind::DischargePlanned), ENCOUNTER),
        ],
        adjusts: false,
    },
    Topic {
        id: "transfer",
        canonical: None,
        title: "From one facility to another",
        triggers: &[(Trigger::Event(Kind::Transfer), ENCOUNTER), (Trigger::Event(Kind::TransferCancelled), ENCOUNTER)],
        adjusts: false,
    },
    Topic {
        id: "ed-visit",
        canonical: None,
        title: "An emergency visit began or ended",
        triggers: &[(Trigger::Event(Kind::EdVisit), ENCOUNTER), (Trigger::Event(Kind::EdDischarge), ENCOUNTER)],
        adjusts: false,
    },
    Topic {
        id: "new-lab-result",
        canonical: None,
        title: "A result is final, or was corrected",
        triggers: &[(Trigger::Event(Kind::Result), REPORT)],
        adjusts: false,
    },
    Topic {
        id: "medication-change",
        canonical: None,
        title: "A medication was ordered, changed, stopped or dispensed",
        triggers: &[(Trigger::Event(Kind::MedicationChange), MEDICATION)],
        adjusts: false,
    },
    Topic {
        id: "referral",
        canonical: None,
        title: "A referral was made, taken, refused, fulfilled or withdrawn",
        triggers: &[
            (Trigger::Event(Kind::ReferralRequested), REQUEST),
            (Trigger::Event(Kind::ReferralAccepted), REQUEST),
            (Trigger::Event(Kind::ReferralRejected), REQUEST),
            (Trigger::Event(Kind::ReferralCompleted), REQUEST),
            (Trigger::Event(Kind::ReferralCancelled), REQUEST),
        ],
        adjusts: false,
    },
    Topic {
        id: "document-available",
        canonical: None,
        title: "A document is there, or was withdrawn",
        triggers: &[(Trigger::Event(Kind::Document), DOCUMENT), (Trigger::Event(Kind::DocumentCancelled), DOCUMENT)],
        adjusts: false,
    },
    Topic {
        id: "open-loop",
        canonical: None,
        title: "Something that should have happened has not",
        triggers: &[(Trigger::OpenLoop, &["Task"])],
        adjusts: false,
    },
    Topic {
        id: "care-flag",
        canonical: None,
        title: "Something of a patient that whoever looks after them should know",
        triggers: &[(Trigger::Flag, &["Flag"])],
        adjusts: false,
    },
    Topic {
        id: "measure-updated",
        canonical: None,
        title: "A measure has new figures",
        triggers: &[(Trigger::MeasureUpdated, &["MeasureReport"])],
        adjusts: false,
    },
    Topic {
        id: "atr-list-change",
        canonical: Some("http://hl7.org/fhir/us/davinci-atr/SubscriptionTopic/atr-list-change"),
        title: "A panel has other members",
        triggers: &[(Trigger::RosterChanged, &["Group"])],
        adjusts: false,
    },
];

impl Topic {
    /// The types that it can be about when triggered so; none when it is not triggered by that.
    pub fn types(&self, trigger: Trigger) -> &'static [&'static str] {
        self.triggers.iter().find(|(own, _)| *own == trigger).map_or(&[], |(_, types)| types)
    }

    /// By what a type can be filtered here: only a loop leads to somebody.
    pub fn parameters(&self, focus: &Focus) -> impl Iterator<Item = Parameter> {
        let leads = !self.types(Trigger::OpenLoop).is_empty();
        focus.parameters.iter().copied().filter(move |parameter| leads || !matches!(parameter, Owner | Performer))
    }

    /// All types that it can be about, each once, in the order of the table.
    pub fn all_types(&self) -> impl Iterator<Item = &'static Focus> {
        FOCUSES.iter().filter(|focus| self.triggers.iter().any(|(_, types)| types.contains(&focus.name)))
    }
}

/// The topics below a base of canonical URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

impl Topics {
    /// `base`: what our own canonical URLs begin with, such as `https://handoff.example/fhir`.
    pub fn new(base: &str) -> Topics {
        Topics { base: base.trim_end_matches('/').to_owned() }
    }

    /// What our own canonical URLs begin with; code systems hang below it too.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The topic of a canonical URL.
    pub fn find(&self, canonical: &str) -> Option<&'static Topic> {
        TOPICS.iter().find(|topic| match topic.canonical {
            Some(url) => url == canonical,
            None => canonical
                .strip_prefix(&self.base)
                .and_then(|rest| rest.strip_prefix("/SubscriptionTopic/"))
                .is_some_and(|id| id == topic.id),
        })
    }

    /// The canonical URL of a topic.
    pub fn canonical(&self, topic: &Topic) -> String {
        topic.canonical.map_or_else(|| format!("{}/SubscriptionTopic/{}", self.base, topic.id), str::to_owned)
    }

    /// The code system of [`Trigger::name`].
    pub fn events_system(&self) -> String {
        format!("{}/CodeSystem/event", self.base)
    }

    /// A topic as the resource of R4B, which R4 does not have.
    pub fn resource(&self, topic: &Topic) -> Value {
        let triggers = topic.triggers.iter().flat_map(|(trigger, types)| {
            types.iter().map(|kind| {
                let event = json!({"coding": [{"system": self.events_system(), "code": trigger.name()}]});
                json!({"description": trigger.name(), "event": event, "resource": type_url(kind)})
            })
        });
        let filters = topic.all_types().flat_map(|focus| {
            topic.parameters(focus).map(|parameter| {
                json!({"description": parameter.description(), "resource": type_url(focus.name), "filterParameter": parameter.name()})
            })
        });
        json!({
            "resourceType": "SubscriptionTopic",
            "id": topic.id,
            "url": self.canonical(topic),
            "title": topic.title,
            "status": "active",
            "eventTrigger": triggers.collect::<Vec<_>>(),
            "canFilterBy": filters.collect::<Vec<_>>(),
        })
    }

    /// The same as R4 carries it: a `Basic` with the elements as extensions, as the guide's example of one has them.
    pub fn basic(&self, topic: &Topic) -> Value {
        let url = |version: &str, element: &str| {
            format!("http://hl7.org/fhir/{version}/StructureDefinition/extension-SubscriptionTopic.{element}")
        };
        let part = |name: &str, kind: &str, value: Value| json!({"url": name, format!("value{kind}"): value});
        let mut extensions = vec![
            json!({"url": url("5.0", "url"), "valueUri": self.canonical(topic)}),
            json!({"url": url("5.0", "title"), "valueString": topic.title}),
        ];
        for (trigger, types) in topic.triggers {
            for kind in *types {
                let event = json!({"coding": [{"system": self.events_system(), "code": trigger.name()}]});
                let parts = [
                    part("description", "Markdown", json!(trigger.name())),
                    part("event", "CodeableConcept", event),
                    part("resource", "Uri", json!(type_url(kind))),
                ];
                extensions.push(json!({"url": url("4.3", "eventTrigger"), "extension": parts}));
            }
        }
        for focus in topic.all_types() {
            for parameter in topic.parameters(focus) {
                let parts = [
                    part("description", "Markdown", json!(parameter.description())),
                    part("resource", "Uri", json!(type_url(focus.name))),
                    part("filterParameter", "String", json!(parameter.name())),
                ];
                extensions.push(json!({"url": url("4.3", "canFilterBy"), "extension": parts}));
            }
        }
        json!({
            "resourceType": "Basic",
            "id": topic.id,
            "extension": extensions,
            "modifierExtension": [{"url": url("5.0", "status"), "valueCode": "active"}],
            "code": {"coding": [{"system": BASIC_TYPES, "code": "SubscriptionTopic"}]},
        })
    }
}

fn type_url(kind: &str) -> String {
    format!("http://hl7.org/fhir/StructureDefinition/{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn canonicals_lead_to_their_topics_and_nothing_else_does() {
        let topics = Topics::new("https://h.example/fhir/");
        for topic in TOPICS {
            assert_eq!(topics.find(&topics.canonical(topic)).unwrap().id, topic.id);
        }
        assert_eq!(topics.canonical(&TOPICS[1]), "https://h.example/fhir/SubscriptionTopic/admission");
        for other in [
            "admission",
            "https://h.example/fhir/SubscriptionTopic/",
            "https://h.example/fhir/SubscriptionTopic/patient-data-feed",
            "https://h.example/fhir2/SubscriptionTopic/admission",
            "http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed/",
        ] {
            assert!(topics.find(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_table_is_whole() {
        let ids: BTreeSet<_> = TOPICS.iter().map(|topic| topic.id).collect();
        assert_eq!(ids.len(), TOPICS.len());
        let mut places: Vec<usize> = Kind::ALL.into_iter().map(|kind| Trigger::Event(kind).index()).collect();
        places.extend(
            [Trigger::OpenLoop, Trigger::MeasureUpdated, Trigger::RosterChanged, Trigger::Flag].map(Trigger::index),
        );
        assert_eq!(places, (0..Trigger::COUNT).collect::<Vec<_>>());
        let feed = topic("patient-data-feed");
        for kind in Kind::ALL {
            assert!(!feed.types(Trigger::Event(kind)).is_empty(), "{}", kind.name());
        }
        for topic in TOPICS {
            let triggers: BTreeSet<_> = topic.triggers.iter().map(|(trigger, _)| trigger).collect();
            assert_eq!(triggers.len(), topic.triggers.len());
            for (trigger, types) in topic.triggers {
                assert_eq!(Trigger::parse(trigger.name()), Some(*trigger));
                assert!(types.len() <= 8 && types.iter().all(|kind| focus(kind).is_some()));
                assert!(types.iter().all(|kind| crate::fhir::shape::is_resource(kind)));
            }
        }
        assert_eq!(topic("discharge").all_types().map(|focus| focus.name).collect::<Vec<_>>(), ["Encounter"]);
    }

    fn topic(id: &str) -> &'static Topic {
        TOPICS.iter().find(|topic| topic.id == id).unwrap()
    }

    #[test]
    fn a_topic_is_shown_as_r4b_and_as_r4_have_it() {
        let topics = Topics::new("https://h.example/fhir");
        let shown = topics.resource(topic("transfer"));
        assert_eq!(shown["url"], "https://h.example/fhir/SubscriptionTopic/transfer");
        assert_eq!(shown["eventTrigger"][1]["event"]["coding"][0]["code"], "transfer-cancelled");
        let filters: Vec<_> = shown["canFilterBy"].as_array().unwrap().iter().map(|f| &f["filterParameter"]).collect();
        assert_eq!(filters, ["patient", "_in", "facility", "class", "type", "code", "trigger", "_security"]);
        let basic = topics.basic(topic("transfer"));
        assert_eq!(basic["extension"].as_array().unwrap().len(), 2 + 2 + 8);
        assert_eq!(basic["code"]["coding"][0]["code"], "SubscriptionTopic");
    }
}
