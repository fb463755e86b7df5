//! Notifications: the Bundles that clients are sent, and those that `$status` and `$events` answer with (Subscriptions R5 Backport 1.1.0, R4).
//!
//! ```text
//! Bundle type=history
//!   entry[0]  Parameters of profile backport-subscription-status-r4
//!               subscription, topic, status, type, events-since-subscription-start
//!               notification-event*: event-number, timestamp, focus, additional-context*, trigger*
//!               error
//!   entry[…]  what the events are about: nothing | where it is to be read | all of it
//! ```
//!
//! Every entry has a request and a response, as a history Bundle needs (bdl-3, bdl-4). A handshake and a heartbeat count no event. Of an event that must not be told
//! any more only number and time are left. All is made of what is passed in: the same again gives the same bytes, ids included.
use super::channel::Content;
use super::filter::{FEED_SYSTEM, V2_EVENTS};
use super::reference::{Form, linked, named};
use super::standing::{Fault, State};
use super::store::Told;
use super::topic::{Topic, Topics};
use super::{id_of, instant};
use serde_json::{Value, json};

/// The profile of the first entry.
pub const STATUS_PROFILE: &str =
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4";
/// The code system of errors.
const ERRORS: &str = "http://terminology.hl7.org/CodeSystem/subscription-error";

/// The subscription that a notification is of.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// What our own URLs begin with.
    pub base: &'a str,
    /// What the URLs of resources begin with.
    pub focus_base: &'a str,
    /// The topics.
    pub topics: &'a Topics,
    /// Its id.
    pub id: &'a str,
    /// Its topic.
    pub topic: &'static Topic,
    /// How much is told; of `$events`, how much is asked for and allowed.
    pub content: Content,
    /// How it stands.
    pub state: State,
    /// How many events there have been.
    pub last: u64,
    /// Why nothing is sent.
    pub fault: Option<Fault>,
}

/// An event, and what of it may be told.
#[derive(Clone)]
pub struct Telling<'a> {
    /// Its number.
    pub number: u64,
    /// What happened.
    pub told: &'a Told,
    /// The resources that the recipient may see, with ids; none when it must not be told any more.
    pub resources: Option<&'a [Value]>,
}

/// What a notification is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Handshake,
    Heartbeat,
    Event,
    QueryStatus,
    QueryEvent,
}

impl Purpose {
    /// Its code (value set subscription-notification-type).
    fn code(self) -> &'static str {
        match self {
            Purpose::Handshake => "handshake",
            Purpose::Heartbeat => "heartbeat",
            Purpose::Event => "event-notification",
            Purpose::QueryStatus => "query-status",
            Purpose::QueryEvent => "query-event",
        }
    }
}

impl About<'_> {
    /// Whether the endpoint is there, and wants it.
    pub fn handshake(&self, at_ms: i64) -> Value {
        self.history(Purpose::Handshake, &[], at_ms)
    }

    /// That the way is open.
    pub fn heartbeat(&self, at_ms: i64) -> Value {
        self.history(Purpose::Heartbeat, &[], at_ms)
    }

    /// Events, as they are pushed. Sent again it has the same ids.
    pub fn events(&self, events: &[Telling<'_>], at_ms: i64) -> Value {
        self.history(Purpose::Event, events, at_ms)
    }

    /// Events, as `$events` answers with them.
    pub fn query_events(&self, events: &[Telling<'_>], at_ms: i64) -> Value {
        self.history(Purpose::QueryEvent, events, at_ms)
    }

    /// A notification as the content of a FHIR message (channel `message`). R4 has no event code for that: the topic is the event.
    pub fn message(&self, notification: Value, endpoint: &str, at_ms: i64) -> Value {
        let inner = notification["id"].as_str().unwrap_or_default().to_owned();
        let (id, header) = (id_of(&[b"message|", inner.as_bytes()]), id_of(&[b"header|", inner.as_bytes()]));
        json!({
            "resourceType": "Bundle",
            "id": id,
            "type": "message",
            "timestamp": instant(at_ms),
            "entry": [
                {"fullUrl": format!("urn:uuid:{header}"), "resource": {
                    "resourceType": "MessageHeader",
                    "id": header,
                    "eventUri": self.topics.canonical(self.topic),
                    "destination": [{"endpoint": endpoint}],
                    "source": {"name": "handoff", "endpoint": self.base},
                    "focus": [{"reference": format!("urn:uuid:{inner}")}],
                }},
                {"fullUrl": format!("urn:uuid:{inner}"), "resource": notification},
            ],
        })
    }

    fn history(&self, purpose: Purpose, events: &[Telling<'_>], at_ms: i64) -> Value {
        let id = self.bundle_id(purpose, events, at_ms);
        let status = id_of(&[b"status|", id.as_bytes()]);
        let visible: Vec<Visible<'_>> = events.iter().map(Visible::of).collect();
        let mut entries = vec![json!({
            "fullUrl": format!("urn:uuid:{status}"),
            "resource": self.status(purpose, &visible, &status),
            "request": {"method": "GET", "url": format!("{}/$status", self.url())},
            "response": {"status": "200"},
        })];
        if self.content != Content::Empty {
            for event in &visible {
                for (at, resource) in event.resources.iter().enumerate() {
                    let Some(entry) = self.entry(resource, at == 0) else { continue };
                    // A patient stands once, however many events tell of them; what has changed between two events stands as it was at each.
                    if !entries.contains(&entry) {
                        entries.push(entry);
                    }
                }
            }
        }
        json!({"resourceType": "Bundle", "id": id, "type": "history", "timestamp": instant(at_ms), "entry": entries})
    }

    fn bundle_id(&self, purpose: Purpose, events: &[Telling<'_>], at_ms: i64) -> String {
        let (first, last) =
            (events.first().map_or(0, |event| event.number), events.last().map_or(0, |event| event.number));
        // What is pushed again is the same notification; the others are made once.
        let time = if purpose == Purpose::Event { 0 } else { at_ms };
        let parts = [purpose.code(), self.id, self.content.code()].join("|");
        let numbers = format!("|{first}|{last}|{time}|");
        let mut pieces = vec![b"notification|".as_slice(), parts.as_bytes(), numbers.as_bytes()];
        // A subscription that is deleted and made again counts from 1 again: those are other notifications.
        pieces.extend(events.iter().map(|event| event.told.event.as_slice()));
        id_of(&pieces)
    }

    /// The focus is what was written, by the event; the rest was there to be read.
    fn entry(&self, resource: &Value, is_focus: bool) -> Option<Value> {
        let (name, id) = named(resource)?;
        let method = if is_focus { "PUT" } else { "GET" };
        let mut entry = json!({"fullUrl": self.resource_url(name, id)});
        if self.content == Content::FullResource {
            entry["resource"] = resource.clone();
        }
        entry["request"] = json!({"method": method, "url": format!("{name}/{id}")});
        entry["response"] = json!({"status": "200"});
        Some(entry)
    }

    fn status(&self, purpose: Purpose, events: &[Visible<'_>], id: &str) -> Value {
        let mut parameters = vec![json!({"name": "subscription", "valueReference": {"reference": self.url()}})];
        // The profile: not with an empty payload.
        if self.content != Content::Empty {
            parameters.push(json!({"name": "topic", "valueCanonical": self.topics.canonical(self.topic)}));
        }
        parameters.push(json!({"name": "status", "valueCode": self.state.name()}));
        parameters.push(json!({"name": "type", "valueCode": purpose.code()}));
        parameters.push(json!({"name": "events-since-subscription-start", "valueString": self.last.to_string()}));
        parameters.extend(events.iter().map(|event| self.event(event)));
        if let Some(fault) = self.fault {
            let mut concept = json!({"text": fault.text()});
            if let Some(code) = fault.code() {
                concept["coding"] = json!([{"system": ERRORS, "code": code}]);
            }
            parameters.push(json!({"name": "error", "valueCodeableConcept": concept}));
        }
        json!({"resourceType": "Parameters", "id": id, "meta": {"profile": [STATUS_PROFILE]}, "parameter": parameters})
    }

    fn event(&self, event: &Visible<'_>) -> Value {
        let Telling { number, told, resources } = event.telling;
        let mut parts = vec![
            json!({"name": "event-number", "valueString": number.to_string()}),
            json!({"name": "timestamp", "valueInstant": instant(told.at_ms)}),
        ];
        if self.content != Content::Empty {
            for (at, (name, id)) in event.resources.iter().filter_map(named).enumerate() {
                let part = if at == 0 { "focus" } else { "additional-context" };
                parts.push(json!({"name": part, "valueReference": {"reference": self.resource_url(name, id)}}));
            }
        }
        let may_tell = resources.is_some() && (self.content == Content::Empty || !event.resources.is_empty());
        for (system, code) in self.triggers(told).into_iter().filter(|_| may_tell) {
            parts.push(json!({"name": "trigger", "valueCoding": {"system": system, "code": code}}));
        }
        json!({"name": "notification-event", "part": parts})
    }

    /// What has triggered it, in the words of the feed, in our own and in those of HL7 v2 (US Core, "Conformance Requirements for Triggering Events").
    fn triggers<'t>(&self, told: &'t Told) -> Vec<(String, &'t str)> {
        let mut triggers = Vec::new();
        if self.topic.adjusts {
            triggers.push((FEED_SYSTEM.to_owned(), "feed-event"));
        }
        triggers.push((self.topics.events_system(), told.trigger.name()));
        if !told.v2_event.is_empty() {
            triggers.push((V2_EVENTS.to_owned(), told.v2_event.as_str()));
        }
        triggers
    }

    fn url(&self) -> String {
        format!("{}/Subscription/{}", self.base.trim_end_matches('/'), self.id)
    }

    fn resource_url(&self, name: &str, id: &str) -> String {
        format!("{}/{name}/{id}", self.focus_base.trim_end_matches('/'))
    }
}

/// How subscriptions stand, as `$status` answers.
pub fn status(abouts: &[About<'_>], at_ms: i64) -> Value {
    let entry = |about: &About<'_>| {
        let id = id_of(&[b"status|", about.bundle_id(Purpose::QueryStatus, &[], at_ms).as_bytes()]);
        // It is the client that asks, and over the API: the topic may be told whatever the payload.
        let about = About { content: about.content.max(Content::IdOnly), ..about.clone() };
        let resource = about.status(Purpose::QueryStatus, &[], &id);
        json!({"fullUrl": format!("urn:uuid:{id}"), "resource": resource, "search": {"mode": "match"}})
    };
    let entries: Vec<Value> = abouts.iter().map(entry).collect();
    let ids: Vec<&str> = abouts.iter().map(|about| about.id).collect();
    let id = id_of(&[b"statuses|", ids.join(",").as_bytes(), at_ms.to_string().as_bytes()]);
    let mut bundle = json!({
        "resourceType": "Bundle", "id": id, "type": "searchset", "timestamp": instant(at_ms), "total": entries.len(),
    });
    if !entries.is_empty() {
        bundle["entry"] = Value::Array(entries);
    }
    bundle
}

/// What `$get-ws-binding-token` answers: a token for these subscriptions, until when, and where to bind with it.
pub fn binding_token(token: &str, until_ms: i64, subscriptions: &[&str], websocket_url: &str) -> Value {
    let mut parameters = vec![
        json!({"name": "token", "valueString": token}),
        json!({"name": "expiration", "valueDateTime": instant(until_ms)}),
    ];
    parameters.extend(subscriptions.iter().map(|id| json!({"name": "subscription", "valueString": id})));
    parameters.push(json!({"name": "websocket-url", "valueUrl": websocket_url}));
    json!({"resourceType": "Parameters", "parameter": parameters})
}

/// The resource that an event is about: of the first of its types that is there.
pub fn focus<'r>(told: &Told, resources: &'r [Value]) -> Option<&'r Value> {
    told.focus.iter().find_map(|wanted| {
        let (name, id) = wanted.split_once('/').map_or((wanted.as_str(), None), |(name, id)| (name, Some(id)));
        resources.iter().find(|resource| {
            named(resource).is_some_and(|(own, own_id)| own == name && id.is_none_or(|id| id == own_id))
        })
    })
}

/// An event with what is told of it, the focus first. Without its focus nothing is: what surrounds it would tell of it.
struct Visible<'a> {
    telling: &'a Telling<'a>,
    resources: Vec<Value>,
}

impl<'a> Visible<'a> {
    fn of(telling: &'a Telling<'a>) -> Visible<'a> {
        let resources = telling.resources.unwrap_or_default();
        let Some(focus) = focus(telling.told, resources) else { return Visible { telling, resources: Vec::new() } };
        let all = linked(resources, Form::Relative);
        let at = resources.iter().position(|resource| std::ptr::eq(resource, focus)).unwrap_or_default();
        let is_named = |resource: &Value| named(resource).is_some();
        let others = all.iter().enumerate().filter(|(own, resource)| *own != at && is_named(resource));
        let ordered = all.get(at).into_iter().chain(others.map(|(_, resource)| resource)).cloned().collect();
        Visible { telling, resources: ordered }
    }
}
