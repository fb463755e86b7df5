//! How a client is told: the `channel` of a subscription.
//!
//! | `type` | what is done |
//! |---|---|
//! | `rest-hook` | the notification is posted to the endpoint |
//! | `websocket` | it is sent to whoever has bound to the subscription; there is no endpoint |
//! | `message` | it is the content of a FHIR message to the endpoint's `$process-message` |
//! | `message`, and the custom type `davinci-alert` | a notification of Da Vinci, see [`super::davinci`] |
//!
//! An endpoint is of https, or on this machine. What clients may not ask for: `rest-hook` with the custom type `fhir-transaction`, by which `[coordination.sink]` is served.
use super::resource::{Checks, Mistake, extensions};
use super::transaction::TRANSACTION;
use reqwest::Url;
use serde_json::Value;

/// Headers of a subscription.
pub const HEADERS_MAX: usize = 16;
/// Bytes of a header.
pub const HEADER_BYTES_MAX: usize = 4096;
/// Bytes of an endpoint.
pub const ENDPOINT_BYTES_MAX: usize = 2048;
/// What stands for the value of a header.
pub const MASK: &str = "***";
/// The custom channel of Da Vinci notifications.
pub const DAVINCI: &str = "davinci-alert";

/// Seconds between heartbeats.
const HEARTBEAT_S: (u32, u32) = (10, 7 * 86_400);
/// Seconds that a delivery may take.
const TIMEOUT_S: (u32, u32) = (1, 300);
/// Events in one notification.
const COUNT: (u32, u32) = (1, 1_000);

/// The way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Posted.
    RestHook,
    /// Sent to whoever has bound.
    Websocket,
    /// As the content of a FHIR message.
    Message,
    /// As a notification of Da Vinci.
    DavinciAlert,
    /// As a transaction of a FHIR server: the gateway's own, see [`super::transaction`].
    Transaction,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// That something happened.
    Empty,
    /// Where to read it.
    IdOnly,
    /// All of it.
    FullResource,
}

impl Content {
    /// The content of that code.
    pub fn parse(code: &str) -> Option<Content> {
        [Content::Empty, Content::IdOnly, Content::FullResource].into_iter().find(|content| content.code() == code)
    }

    /// Its code (backport-content-code-system).
    pub fn code(self) -> &'static str {
        match self {
            Content::Empty => "empty",
            Content::IdOnly => "id-only",
            Content::FullResource => "full-resource",
        }
    }
}

/// A header that is sent along. `Debug` and what clients are shown do not tell its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    value: String,
}

impl Header {
    /// Reads `Name: value`; none where it is no header, or one that the gateway sets itself.
    fn parse(text: &str) -> Option<Header> {
        const OWN: [&str; 12] = [
            "host",
            "content-length",
            "content-type",
            "content-encoding",
            "transfer-encoding",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "expect",
            "idempotency-key",
            "x-handoff-signature",
        ];
        let (name, value) = text.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let good = !name.is_empty()
            && name.bytes().all(token)
            && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && text.len() <= HEADER_BYTES_MAX
            && !OWN.contains(&name.to_ascii_lowercase().as_str());
        good.then(|| Header { name: name.to_owned(), value: value.to_owned() })
    }

    /// Its value, to be sent and nowhere else.
    pub fn value(&self) -> &str {
        &self.value
    }

    pub(super) fn reveal(&self) -> String {
        format!("{}: {}", self.name, self.value)
    }

    pub(super) fn masked(&self) -> String {
        format!("{}: {MASK}", self.name)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Header({})", self.name)
    }
}

/// How a client is told. `Debug` tells no secrets: the path of an endpoint may be one.
#[derive(Clone, PartialEq, Eq)]
pub struct Channel {
    /// The way.
    pub kind: Kind,
    /// Where to; none of a websocket.
    pub endpoint: Option<Url>,
    /// What is sent along.
    pub headers: Vec<Header>,
    /// The content type of what is sent.
    pub payload: &'static str,
    /// How much is told.
    pub content: Content,
    /// Seconds after which, if nothing else was sent, a heartbeat is.
    pub heartbeat_s: Option<u32>,
    /// Seconds that a delivery may take.
    pub timeout_s: Option<u32>,
    /// Events in one notification, at most.
    pub count_max: Option<u32>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.endpoint.as_ref().and_then(Url::host_str).unwrap_or_default();
        write!(out, "Channel({:?} to {host}, {}, {:?})", self.kind, self.content.code(), self.headers)
    }
}

impl Channel {
    pub(super) fn read(channel: &Value, checks: &Checks<'_>, wrong: &mut Vec<Mistake>) -> Option<Channel> {
        let before = wrong.len();
        let kind = kind(channel, wrong);
        let endpoint = endpoint(channel, kind, checks, wrong);
        let headers = headers(channel, endpoint.as_ref(), checks, wrong);
        let payload = match channel["payload"].as_str().map(str::trim) {
            Some("application/fhir+json") => Some("application/fhir+json"),
            Some("application/json") => Some("application/json"),
            _ => {
                wrong.push(Mistake::Payload);
                None
            }
        };
        let content = extensions(&channel["_payload"], "backport-payload-content").next();
        let content = content.and_then(|content| content["valueCode"].as_str()).and_then(Content::parse);
        if content.is_none() {
            wrong.push(Mistake::Content);
        }
        let takes_all = matches!(kind, Some(Kind::DavinciAlert | Kind::Transaction));
        if takes_all && content.is_some_and(|content| content != Content::FullResource) {
            wrong.push(Mistake::CustomChannel);
        }
        let mut number = |name, kind, limits| number(channel, name, kind, limits, wrong);
        let heartbeat_s = number("backport-heartbeat-period", "valueUnsignedInt", HEARTBEAT_S);
        let timeout_s = number("backport-timeout", "valueUnsignedInt", TIMEOUT_S);
        let count_max = number("backport-max-count", "valuePositiveInt", COUNT);
        let (kind, payload, content) = (kind?, payload?, content?);
        let channel = Channel { kind, endpoint, headers, payload, content, heartbeat_s, timeout_s, count_max };
        (wrong.len() == before).then_some(channel)
    }
}

fn kind(channel: &Value, wrong: &mut Vec<Mistake>) -> Option<Kind> {
    let kind = match channel["type"].as_str() {
        Some("rest-hook") => Some(Kind::RestHook),
        Some("websocket") => Some(Kind::Websocket),
        Some("message") => Some(Kind::Message),
        _ => {
            wrong.push(Mistake::ChannelType);
            None
        }
    };
    let custom: Vec<_> = extensions(&channel["_type"], "backport-channel-type")
        .map(|custom| custom["valueCoding"]["code"].as_str())
        .collect();
    match (kind, custom.as_slice()) {
        (_, []) => kind,
        (Some(Kind::Message), [Some(DAVINCI)]) => Some(Kind::DavinciAlert),
        (Some(Kind::RestHook), [Some(TRANSACTION)]) => Some(Kind::Transaction),
        _ => {
            wrong.push(Mistake::CustomChannel);
            None
        }
    }
}

fn endpoint(channel: &Value, kind: Option<Kind>, checks: &Checks<'_>, wrong: &mut Vec<Mistake>) -> Option<Url> {
    let text = match (channel.get("endpoint"), kind) {
        (_, Some(Kind::Websocket)) => return None,
        (Some(text), _) => text.as_str().filter(|text| text.len() <= ENDPOINT_BYTES_MAX),
        (None, Some(_)) => {
            wrong.push(Mistake::NoEndpoint);
            return None;
        }
        (None, None) => return None,
    };
    let url = text.and_then(|text| Url::parse(text).ok()).filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && plain
    });
    let Some(url) = url else {
        wrong.push(Mistake::Endpoint);
        return None;
    };
    // Of our own the configuration says whether the network is trusted.
    if url.scheme() == "http" && !is_loopback(&url) && kind != Some(Kind::Transaction) {
        wrong.push(Mistake::Plaintext);
    }
    if let Err(why) = (checks.allowed)(&url) {
        wrong.push(Mistake::Refused(why));
    }
    Some(url)
}

/// Whether it leads nowhere but to this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn headers(channel: &Value, endpoint: Option<&Url>, checks: &Checks<'_>, wrong: &mut Vec<Mistake>) -> Vec<Header> {
    let texts: &[Value] = match channel.get("header") {
        Some(Value::Array(texts)) => texts,
        Some(_) => {
            wrong.push(Mistake::Header(0));
            return Vec::new();
        }
        None => return Vec::new(),
    };
    if texts.len() > HEADERS_MAX {
        wrong.push(Mistake::Headers(texts.len()));
        return Vec::new();
    }
    let stored = checks.stored.map(|stored| &stored.channel).filter(|stored| stored.endpoint.as_ref() == endpoint);
    let mut headers = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let Some(header) = text.as_str().and_then(Header::parse) else {
            wrong.push(Mistake::Header(at));
            continue;
        };
        if header.value != MASK {
            headers.push(header);
            continue;
        }
        let same = |own: &&Header| own.name.eq_ignore_ascii_case(&header.name);
        match stored.and_then(|stored| stored.headers.iter().find(same)) {
            Some(stored) => headers.push(stored.clone()),
            None => wrong.push(Mistake::Masked(at)),
        }
    }
    headers
}

fn number(
    channel: &Value,
    name: &'static str,
    kind: &str,
    (min, max): (u32, u32),
    wrong: &mut Vec<Mistake>,
) -> Option<u32> {
    let value = extensions(channel, name).next()?;
    let number = value[kind].as_u64().and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| (min..=max).contains(number));
    if number.is_none() {
        wrong.push(Mistake::Number { name, min, max });
    }
    number
}
