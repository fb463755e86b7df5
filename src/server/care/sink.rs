//! `[coordination.sink]`: a subscription of our own to whatever happens to the people of a recipient, that is sent as transactions to a FHIR server.
//!
//! It stands in the registry as those of clients do, so it is matched, judged, audited, ordered and tried again as they are; who changes the configuration writes it anew.
mod write;

pub use aside::Counts;
pub(super) use write::due;

use super::{CareError, Shared};
use crate::coordination::options::Sink;
use crate::coordination::registry::{Kind, What};
use crate::coordination::subscription::aside;
use crate::coordination::subscription::resource::{EXTENSIONS, Subscription};
use crate::coordination::subscription::topic::TOPICS;
use crate::coordination::subscription::transaction::TRANSACTION;
use reqwest::{Client, redirect};
use serde_json::{Value, json};

/// Its id. Clients cannot write it.
pub const SINK: &str = "coordination-sink";

/// The client for the server: the configuration says where it is.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder().redirect(redirect::Policy::none()).no_proxy().build()
}

/// Writes down what is wanted, where that is not what stands there.
pub(super) fn settle(shared: &Shared) -> Result<(), CareError> {
    let known = shared.registry.current(Kind::Subscription, SINK)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let Some(sink) = &shared.options.sink else {
        if let Some(known) = known.filter(|known| known.what.body().is_some()) {
            let what = What::Delete { kind: Kind::Subscription, id: SINK.into() };
            shared.registry.say(|| shared.head(), now_ms, &known.who, what)?;
        }
        return Ok(());
    };
    let panels = shared.options.privacy.recipient(&sink.recipient).map(|recipient| recipient.panels.as_slice());
    let body = body(shared, sink, panels.unwrap_or_default());
    // What was wanted before would go on, to where the configuration leads no more.
    let subscription = Subscription::stored(SINK, &body, &shared.topics).map_err(|_| CareError::Sink)?;
    let body = subscription.body();
    let is_same = known.is_some_and(|known| known.who == sink.recipient && known.what.body() == Some(&body));
    if !is_same {
        let what = What::Put { kind: Kind::Subscription, id: SINK.into(), body };
        shared.registry.say(|| shared.head(), now_ms, &sink.recipient, what)?;
    }
    Ok(())
}

fn body(shared: &Shared, sink: &Sink, panels: &[String]) -> Value {
    let topic = TOPICS.iter().find(|topic| topic.id == "patient-data-feed");
    let extension = |name: &str, kind: &str, value: Value| json!({ "url": format!("{EXTENSIONS}{name}"), kind: value });
    let groups: Vec<String> = panels.iter().map(|panel| format!("Group/{panel}")).collect();
    let filter = json!(format!("_in={}", groups.join(",")));
    let mut body = json!({
        "resourceType": "Subscription", "id": SINK, "status": "requested", "reason": "[coordination.sink]",
        "criteria": topic.map(|topic| shared.topics.canonical(topic)),
        "_criteria": { "extension": [extension("backport-filter-criteria", "valueString", filter)] },
        "channel": {
            "type": "rest-hook", "endpoint": sink.url.as_str(), "payload": "application/fhir+json",
            "_type": { "extension": [extension("backport-channel-type", "valueCoding", json!({ "code": TRANSACTION }))] },
            "_payload": { "extension": [extension("backport-payload-content", "valueCode", json!("full-resource"))] },
        },
    });
    if let Some(authorization) = &sink.authorization {
        body["channel"]["header"] = json!([format!("Authorization: {}", authorization.reveal())]);
    }
    body
}

impl Shared {
    /// How many events the server of `[coordination.sink]` has refused: those that wait, and those that were given up since a time. None without one, and while it cannot be read.
    pub fn sink_refusals(&self, since_ms: i64) -> Option<aside::Counts> {
        self.options.sink.as_ref()?;
        aside::counts(&self.database(), SINK, since_ms).ok()
    }
}
