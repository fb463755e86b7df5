//! A subscription as clients write it: an R4 `Subscription` of profile backport-subscription, read and checked once, and written back.
//!
//! ```text
//! criteria                        the canonical URL of the topic
//!   extension backport-filter-criteria      filters, see [`super::filter`]
//! channel
//!   type, endpoint, header        see [`super::channel`]
//!   payload                       application/fhir+json
//!     extension backport-payload-content    empty | id-only | full-resource
//!   extension backport-heartbeat-period, backport-timeout (seconds), backport-max-count (events in one notification)
//! end                             when nothing is sent any more
//! status                          requested | off; `active`, of a client that writes back what it read, is the same as requested
//! ```
//!
//! What is not understood is a [`Mistake`], and all of them are told at once. Only a topic that says so has its filters adjusted instead
//! ([`super::topic::Topic::adjusts`]): then the subscription is kept with the status `error`, and nothing is sent until the client says `requested` to it.
//!
//! Headers may be secrets. They are kept as they came and shown as `Authorization: ***`; who writes that back keeps what is stored, as long as the endpoint is
//! the same: else a reader of the resource could have the secret sent elsewhere.
use super::channel::{Channel, HEADERS_MAX, MASK};
use super::filter::{Criterion, FILTERS_MAX, FilterError};
use super::standing::State;
use super::topic::{Parameter, Topic, Topics};
use crate::fhir::shape;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Bytes of a resource.
pub const RESOURCE_BYTES_MAX: usize = 64 << 10;
/// What all extensions of the guide begin with.
pub const EXTENSIONS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

/// What the client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To be told.
    Requested,
    /// Nothing yet: filters were adjusted, and it has not agreed.
    Agreement,
    /// Nothing any more.
    Off,
}

/// A checked subscription. `Debug` tells no secrets, and not whom it is about.
#[derive(Clone)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub topic: &'static Topic,
    /// What narrows that.
    pub criteria: Vec<Criterion>,
    /// How the client is told.
    pub channel: Channel,
    /// When nothing is sent any more, in milliseconds since 1970 (UTC).
    pub end_ms: Option<i64>,
    /// What the client wants.
    pub wanted: Wanted,
    /// As it was written, secrets included.
    source: Map<String, Value>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Subscription({} to {}, {:?})", self.id, self.topic.id, self.criteria)
    }
}

/// What a resource is checked against.
#[derive(Clone, Copy)]
pub struct Checks<'c> {
    /// The topics there are.
    pub topics: &'c Topics,
    /// Whether there is a panel of that id.
    pub panel: &'c dyn Fn(&str) -> bool,
    /// Whether an endpoint may be connected to; why not, where it may not.
    pub allowed: &'c dyn Fn(&reqwest::Url) -> Result<(), String>,
    /// What is stored under that id.
    pub stored: Option<&'c Subscription>,
}

/// What is wrong with a resource. The texts are for the client who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// It is something else.
    #[error("this is no Subscription: send one with resourceType Subscription")]
    Type,
    /// It is too large.
    #[error("the resource has {0} bytes, {RESOURCE_BYTES_MAX} are read")]
    TooLarge(usize),
    /// R4 has no such element, or not in that form.
    #[error("R4 has no {0}, or not in this form")]
    Unknown(String),
    /// It would mean something else than it says.
    #[error("a modifier extension is not understood here: leave it out")]
    Modifier,
    /// Not for a client to say.
    #[error("status must be requested or off; the others are for the server to say")]
    Status,
    /// There is no such topic.
    #[error("there is no such topic: GET the CapabilityStatement or SubscriptionTopic for those there are")]
    Topic,
    /// Too many filters.
    #[error("there are {0} filters, {FILTERS_MAX} are read")]
    Filters(usize),
    /// A filter is wrong.
    #[error("{error}")]
    Filter {
        /// Which.
        at: usize,
        /// What is wrong with it.
        error: FilterError,
    },
    /// A filter is no text.
    #[error("a filter is written as valueString")]
    FilterForm(usize),
    /// None of the filters can be met.
    #[error("none of the filters can be met")]
    NothingLeft,
    /// There is no such panel.
    #[error("there is no such Group")]
    Panel(usize),
    /// Filters name different persons (US Core, "Handling Multiple Resource Types and Filters").
    #[error("the filters of one subscription name different patients: use one subscription for each, or a Group")]
    Patients,
    /// No such channel.
    #[error("channel.type must be rest-hook, websocket or message")]
    ChannelType,
    /// No such custom channel.
    #[error(
        "this custom channel is not known; davinci-alert is, on channel.type message with the content full-resource"
    )]
    CustomChannel,
    /// There is no endpoint.
    #[error("this channel needs an endpoint, such as https://client.example/notifications")]
    NoEndpoint,
    /// It is no URL.
    #[error("the endpoint must be a URL of https, without a user or a fragment")]
    Endpoint,
    /// What is sent could be read on its way.
    #[error("http is not encrypted: use https")]
    Plaintext,
    /// The gateway may not connect there.
    #[error("the endpoint may not be connected to: {0}")]
    Refused(String),
    /// Too many headers.
    #[error("there are {0} headers, {HEADERS_MAX} are kept")]
    Headers(usize),
    /// A header is wrong.
    #[error("a header is written as `Name: value`, and must not be one that the gateway sets itself")]
    Header(usize),
    /// A header is masked, and there is none to keep.
    #[error("the value of this header is {MASK}, and none is stored for this endpoint: send the value")]
    Masked(usize),
    /// Not JSON.
    #[error("channel.payload must be application/fhir+json")]
    Payload,
    /// How much is to be sent is not told, or not as it must be.
    #[error("backport-payload-content must be empty, id-only or full-resource")]
    Content,
    /// A number is not one that is taken.
    #[error("{name} must be a whole number from {min} to {max}")]
    Number {
        /// The extension.
        name: &'static str,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// No instant.
    #[error("end must be an instant such as 2027-12-31T12:00:00Z")]
    End,
}

impl Mistake {
    /// Where it is, as FHIRPath says it.
    pub fn expression(&self) -> String {
        let filter = |at: &usize| format!("Subscription.criteria.extension[{at}]");
        match self {
            Mistake::Type | Mistake::TooLarge(_) => "Subscription".into(),
            Mistake::Unknown(path) => path.clone(),
            Mistake::Modifier => "Subscription.modifierExtension".into(),
            Mistake::Status => "Subscription.status".into(),
            Mistake::Topic => "Subscription.criteria".into(),
            Mistake::Filters(_) | Mistake::NothingLeft | Mistake::Patients => "Subscription.criteria.extension".into(),
            Mistake::Filter { at, .. } | Mistake::FilterForm(at) | Mistake::Panel(at) => filter(at),
            Mistake::ChannelType => "Subscription.channel.type".into(),
            Mistake::CustomChannel => "Subscription.channel.type.extension".into(),
            Mistake::NoEndpoint | Mistake::Endpoint | Mistake::Plaintext | Mistake::Refused(_) => {
                "Subscription.channel.endpoint".into()
            }
            Mistake::Headers(_) => "Subscription.channel.header".into(),
            Mistake::Header(at) | Mistake::Masked(at) => format!("Subscription.channel.header[{at}]"),
            Mistake::Payload => "Subscription.channel.payload".into(),
            Mistake::Content => "Subscription.channel.payload.extension".into(),
            Mistake::Number { .. } => "Subscription.channel.extension".into(),
            Mistake::End => "Subscription.end".into(),
        }
    }

    /// The code of the issue in an OperationOutcome (value set issue-type).
    pub fn code(&self) -> &'static str {
        match self {
            Mistake::NoEndpoint | Mistake::Masked(_) => "required",
            Mistake::TooLarge(_) | Mistake::Filters(_) | Mistake::Headers(_) => "too-long",
            Mistake::Type | Mistake::Unknown(_) => "structure",
            Mistake::Modifier => "extension",
            Mistake::Refused(_) | Mistake::Plaintext => "security",
            Mistake::Panel(_) => "not-found",
            Mistake::Topic
            | Mistake::Filter { .. }
            | Mistake::NothingLeft
            | Mistake::ChannelType
            | Mistake::CustomChannel
            | Mistake::Payload => "not-supported",
            _ => "value",
        }
    }
}

impl Subscription {
    /// Reads and checks a resource that a client has sent; `id` is where it is to stand, whatever the resource says.
    ///
    /// # Errors
    /// All that is wrong with it: a 422.
    pub fn read(id: &str, resource: &Value, checks: &Checks<'_>) -> Result<Subscription, Vec<Mistake>> {
        let bytes = resource.to_string().len();
        if bytes > RESOURCE_BYTES_MAX {
            return Err(vec![Mistake::TooLarge(bytes)]);
        }
        let source = resource.as_object().filter(|_| resource["resourceType"] == "Subscription");
        let Some(source) = source else { return Err(vec![Mistake::Type]) };
        let mut wrong = elements(source);
        let wanted = match resource["status"].as_str() {
            Some("requested" | "active") => Wanted::Requested,
            Some("off") => Wanted::Off,
            _ => {
                wrong.push(Mistake::Status);
                Wanted::Off
            }
        };
        let topic = resource["criteria"].as_str().and_then(|url| checks.topics.find(url));
        if topic.is_none() {
            wrong.push(Mistake::Topic);
        }
        let filters = topic.map(|topic| filters(resource, topic, &mut wrong)).unwrap_or_default();
        for (at, criterion) in filters.places.iter().zip(&filters.criteria) {
            let known = |panel: &&str| !(checks.panel)(panel);
            if criterion.values(Parameter::In).map(|token| token.code.as_str()).find(known).is_some() {
                wrong.push(Mistake::Panel(*at));
            }
        }
        let end_ms = end(resource, &mut wrong);
        let channel = Channel::read(&resource["channel"], checks, &mut wrong);
        let (Some(topic), Some(channel), true) = (topic, channel, wrong.is_empty()) else { return Err(wrong) };
        let wanted = if filters.adjusted && wanted == Wanted::Requested { Wanted::Agreement } else { wanted };
        let mut source = source.clone();
        if filters.adjusted {
            set_filters(&mut source, &filters.criteria);
        }
        // What the channel keeps is what stands in the source: a masked value is the stored one again.
        if !channel.headers.is_empty() {
            let headers = channel.headers.iter().map(|header| json!(header.reveal())).collect();
            source["channel"]["header"] = Value::Array(headers);
        }
        Ok(Subscription { id: id.to_owned(), topic, criteria: filters.criteria, channel, end_ms, wanted, source })
    }

    /// Reads what [`Subscription::body`] gave. Panels and endpoints were checked when it was taken.
    ///
    /// # Errors
    /// What is wrong with it: an older version or another configuration took it.
    pub fn stored(id: &str, body: &Value, topics: &Topics) -> Result<Subscription, Vec<Mistake>> {
        let mut body = body.clone();
        let agreement = body["status"] == "error";
        if let Some(status) = body.get_mut("status").filter(|_| agreement) {
            *status = json!("requested");
        }
        let checks = Checks { topics, panel: &|_| true, allowed: &|_| Ok(()), stored: None };
        let mut subscription = Subscription::read(id, &body, &checks)?;
        if agreement {
            subscription.wanted = Wanted::Agreement;
        }
        Ok(subscription)
    }

    /// What the registry keeps: the resource with what the client wants as its status, secrets included.
    pub fn body(&self) -> Value {
        let status = match self.wanted {
            Wanted::Requested => "requested",
            Wanted::Agreement => "error",
            Wanted::Off => "off",
        };
        self.with(|source| source.insert("status".into(), json!(status)))
    }

    /// The resource as clients are shown it: headers masked. `version` is the number of its entry in the registry, `updated_ms` when that was made.
    pub fn resource(&self, state: State, error: Option<&str>, version: u64, updated_ms: i64) -> Value {
        self.with(|source| {
            source.insert("status".into(), json!(state.name()));
            source.shift_remove("error");
            if let Some(error) = error {
                source.insert("error".into(), json!(error));
            }
            let meta = source.entry("meta").or_insert_with(|| json!({}));
            meta["versionId"] = json!(version.to_string());
            meta["lastUpdated"] = json!(super::instant(updated_ms));
            if !self.channel.headers.is_empty() {
                let headers = self.channel.headers.iter().map(|header| json!(header.masked())).collect();
                source["channel"]["header"] = Value::Array(headers);
            }
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Map<String, Value>) -> T) -> Value {
        let mut resource = Map::new();
        resource.insert("resourceType".into(), json!("Subscription"));
        resource.insert("id".into(), json!(self.id));
        for (name, value) in self.source.iter().filter(|(name, _)| !matches!(name.as_str(), "resourceType" | "id")) {
            resource.insert(name.clone(), value.clone());
        }
        change(&mut resource);
        Value::Object(resource)
    }
}

/// The id of a subscription that is created: of who, when and what, so that a request that is repeated at once makes no second one.
pub fn new_id(owner: &str, at_ms: i64, resource: &Value) -> String {
    let resource = resource.to_string();
    super::id_of(&[b"subscription|", owner.as_bytes(), b"|", &at_ms.to_be_bytes(), b"|", resource.as_bytes()])
}

/// The values of an element's extensions of a name, of any type.
pub(super) fn extensions<'v>(element: &'v Value, name: &'v str) -> impl Iterator<Item = &'v Value> {
    let all = element["extension"].as_array().into_iter().flatten();
    all.filter(move |one| one["url"].as_str().and_then(|url| url.strip_prefix(EXTENSIONS)) == Some(name))
}

/// Names that R4 does not have. What stands below is kept and given back as it came.
fn elements(source: &Map<String, Value>) -> Vec<Mistake> {
    let known = |parent: &str, name: &String| {
        name == "resourceType" || shape::child(parent, name.strip_prefix('_').unwrap_or(name)).is_some()
    };
    let mut wrong: Vec<Mistake> = source
        .keys()
        .filter(|name| !known("Subscription", name))
        .map(|name| Mistake::Unknown(format!("Subscription.{}", name.chars().take(64).collect::<String>())))
        .collect();
    for name in source.get("channel").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        if !known("Subscription.channel", name) {
            wrong.push(Mistake::Unknown(format!("Subscription.channel.{}", name.chars().take(64).collect::<String>())));
        }
    }
    // It is written to when the resource is shown.
    if source.get("meta").is_some_and(|meta| !meta.is_object()) {
        wrong.push(Mistake::Unknown("Subscription.meta".into()));
    }
    let channel = source.get("channel").and_then(|channel| channel.get("modifierExtension"));
    if source.contains_key("modifierExtension") || channel.is_some() {
        wrong.push(Mistake::Modifier);
    }
    wrong
}

#[derive(Default)]
struct Filters {
    criteria: Vec<Criterion>,
    /// Which of the filters that were sent each of them was.
    places: Vec<usize>,
    adjusted: bool,
}

fn filters(resource: &Value, topic: &'static Topic, wrong: &mut Vec<Mistake>) -> Filters {
    let mut filters = Filters::default();
    let mut refused = Vec::new();
    let texts: Vec<&Value> = extensions(&resource["_criteria"], "backport-filter-criteria").collect();
    if texts.len() > FILTERS_MAX {
        wrong.push(Mistake::Filters(texts.len()));
        return filters;
    }
    for (at, text) in texts.iter().enumerate() {
        let Some(text) = text["valueString"].as_str() else {
            wrong.push(Mistake::FilterForm(at));
            continue;
        };
        let (kept, errors) = Criterion::adjust(text, topic);
        filters.places.extend(kept.iter().map(|_| at));
        filters.criteria.extend(kept);
        refused.extend(errors.into_iter().map(|error| Mistake::Filter { at, error }));
    }
    let persons: BTreeSet<&str> = filters
        .criteria
        .iter()
        .flat_map(|criterion| criterion.values(Parameter::Patient))
        .map(|token| token.code.as_str())
        .collect();
    if persons.len() > 1 {
        wrong.push(Mistake::Patients);
    }
    if !topic.adjusts {
        wrong.extend(refused);
    } else if !refused.is_empty() {
        filters.adjusted = true;
        // Without any filter it would be told of everything.
        if filters.criteria.is_empty() {
            wrong.extend(refused);
            wrong.push(Mistake::NothingLeft);
        }
    }
    filters
}

/// Writes adjusted filters in place of those that the client wrote.
fn set_filters(source: &mut Map<String, Value>, criteria: &[Criterion]) {
    let url = format!("{EXTENSIONS}backport-filter-criteria");
    let Some(Value::Array(all)) = source.get_mut("_criteria").and_then(|beside| beside.get_mut("extension")) else {
        return;
    };
    all.retain(|one| one["url"] != url.as_str());
    all.extend(criteria.iter().map(|criterion| json!({"url": url, "valueString": criterion.text})));
}

fn end(resource: &Value, wrong: &mut Vec<Mistake>) -> Option<i64> {
    let end = resource.get("end")?;
    let end = end.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if end.is_none() {
        wrong.push(Mistake::End);
    }
    end.map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;
