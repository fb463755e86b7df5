//! A FHIR R4 server: each message is one request, or one for each part of it, proven by the server's answers (`answer`).
//!
//! A message in several parts has arrived when all of them have. When one fails, all are sent again: resources are put under ids or found by identifiers that stay the
//! same, so what is there already is only written once more.
//!
//! A message that is sent again could put an older state over a newer one. Within a route it cannot: the messages of a patient go out one after the other, and after a
//! crash those that follow are repeated as well, so that the newest state is the last to arrive; what somebody sends again by hand is looked at by `resend`. Left out: two
//! routes or gateways that write the same resources, which would take a read and `If-Match` for every resource.
use super::answer::{self, Taken};
use super::replies::Replies;
use super::smart::{self, Tokens};
use super::{Failure, Progress, Secret, http};
use crate::fhir::envelope::Envelope;
use crate::fhir::requests::{Conditional, Method, Requests};
use crate::routing::Live;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use std::sync::Arc;

/// Where and what to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The server's base, such as `https://ehr.example/fhir`.
    pub base: Url,
    /// The kind of Bundle.
    pub envelope: Envelope,
    /// Whether resources are found by their identifier.
    pub conditional: Option<Conditional>,
    /// Resources in one transaction or batch.
    pub entries_max: usize,
    /// How the server is spoken to.
    pub http: http::Options,
    /// Who we are to the server.
    pub credentials: Option<Credentials>,
}

/// What a request shows of us; never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token (RFC 6750).
    Bearer(Secret),
    /// User and password (RFC 7617).
    Basic(String, Secret),
    /// A token that a server gives for a signature (SMART Backend Services).
    Smart(smart::Options),
}

/// Posts to a FHIR server. Its copies share connections and token.
#[derive(Debug, Clone)]
pub struct FhirChannel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    options: Options,
    replies: Replies,
    tokens: Option<Tokens>,
}

/// What a request says of its message beside the body.
#[derive(Debug, Clone)]
struct Labels<'a> {
    /// The same for every attempt.
    key: Option<String>,
    /// Its trace and this attempt.
    traceparent: Option<&'a str>,
}

impl<'a> Labels<'a> {
    /// Those of one of several requests, by its number.
    fn of_part(&self, number: usize) -> Labels<'a> {
        Labels { key: self.key.as_ref().map(|key| format!("{key}.{number}")), ..*self }
    }
}

const JSON: &str = "application/fhir+json";

impl FhirChannel {
    pub(super) fn new(options: Options, replies: Replies) -> Result<FhirChannel, http::ClientError> {
        let client = http::client(&options.base, &options.http)?;
        let tokens = match &options.credentials {
            Some(Credentials::Smart(smart)) => Some(Tokens::new(smart.clone(), &options, client.clone())),
            _ => None,
        };
        Ok(FhirChannel { shared: Arc::new(Shared { client, options, replies, tokens }) })
    }

    pub(super) async fn deliver(&mut self, messages: &[Arc<Live>], traceparent: Option<&str>) -> Progress {
        for (delivered, live) in messages.iter().enumerate() {
            if let Err(failure) = self.shared.send(live, traceparent).await {
                return Progress { delivered, failure: Some(failure) };
            }
        }
        Progress { delivered: messages.len(), failure: None }
    }
}

impl Shared {
    async fn send(&self, live: &Live, traceparent: Option<&str>) -> Result<(), Failure> {
        let whole = Labels { key: live.delivery_id(), traceparent };
        let kind = match self.options.envelope {
            Envelope::Message | Envelope::Collection => return self.send_whole(live, whole).await,
            Envelope::Put => None,
            Envelope::Transaction => Some("transaction-response"),
            Envelope::Batch => Some("batch-response"),
        };
        let mut requests = Requests::new(&live.bundle, &live.entries, self.options.conditional.as_ref());
        let parts = requests.parts(if kind.is_some() { self.options.entries_max } else { 1 });
        let several = parts.len() > 1;
        for (number, part) in parts.iter().enumerate() {
            // Each request has a key of its own: a server that remembers keys would take the second part for the first once more.
            let labels = if several { whole.of_part(number + 1) } else { whole.clone() };
            match (kind, part.first()) {
                (None, Some(&at)) => self.send_one(&mut requests, at, labels).await?,
                (None, None) => {}
                (Some(kind), _) => self.send_part(&mut requests, part, kind, labels).await?,
            }
        }
        Ok(())
    }

    /// The Bundle as it is.
    async fn send_whole(&self, live: &Live, labels: Labels<'_>) -> Result<(), Failure> {
        let mut body = Vec::new();
        self.options.envelope.render(&live.bundle, &live.entries, &mut body);
        let url = match self.options.envelope {
            Envelope::Message => self.url("$process-message"),
            _ => self.options.base.clone(),
        };
        let taken = self.request(self.client.post(url), body, labels).await?;
        answer::whole_proven(&taken, &self.replies)
    }

    /// A transaction or batch of some entries.
    async fn send_part(
        &self,
        requests: &mut Requests<'_>,
        part: &[usize],
        kind: &str,
        labels: Labels<'_>,
    ) -> Result<(), Failure> {
        let mut body = Vec::new();
        let rendered = requests.render(self.options.envelope, part, &mut body);
        rendered.map_err(|error| Failure::Refused(error.to_string()))?;
        let taken = self.request(self.client.post(self.options.base.clone()), body, labels).await?;
        let entries = answer::proven(&taken, kind, part.len())?;
        answer::entries(entries, taken.after(), &self.replies)?;
        for (&at, entry) in part.iter().zip(entries) {
            if let Some(address) = answer::entry_address(entry, requests.resource_type(at)) {
                requests.told(at, address);
            }
        }
        Ok(())
    }

    /// One resource.
    async fn send_one(&self, requests: &mut Requests<'_>, at: usize, labels: Labels<'_>) -> Result<(), Failure> {
        let mut body = Vec::new();
        requests.resource(at, &mut body).map_err(|error| Failure::Refused(error.to_string()))?;
        let url = self.url(&requests.url(at));
        let request = match requests.method(at) {
            Method::Put | Method::PutWhere(_) => self.client.put(url),
            Method::PostUnless(query) => self.client.post(url).header("If-None-Exist", query),
        };
        let taken = self.request(request, body, labels).await?;
        if let Some(address) = answer::resource_proven(&taken, requests.resource_type(at))? {
            requests.told(at, address);
        }
        Ok(())
    }

    /// Below the base, whose last `/` may be missing; the origin stays that of the base, to which credentials belong.
    fn url(&self, below: &str) -> Url {
        let (path, query) = below.split_once('?').map_or((below, None), |(path, query)| (path, Some(query)));
        let mut url = self.options.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url.set_query(query);
        url
    }

    /// Sends with credentials; where a token is refused, once more with a new one.
    async fn request(&self, request: RequestBuilder, body: Vec<u8>, labels: Labels<'_>) -> Result<Taken, Failure> {
        let mut request = request.header(CONTENT_TYPE, JSON).header(ACCEPT, JSON).body(body);
        if let Some(key) = labels.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(traceparent) = labels.traceparent {
            request = request.header(http::TRACEPARENT, traceparent);
        }
        let request = match &self.options.credentials {
            Some(Credentials::Bearer(token)) => request.bearer_auth(token.reveal()),
            Some(Credentials::Basic(user, password)) => request.basic_auth(user, Some(password.reveal())),
            Some(Credentials::Smart(_)) | None => request,
        };
        let Some(tokens) = &self.tokens else { return answer::taken(request.send().await, &self.replies).await };
        let again = request.try_clone();
        let token = tokens.current().await?;
        let response = request.bearer_auth(token.reveal()).send().await;
        match (response, again) {
            (Ok(response), Some(again)) if response.status() == StatusCode::UNAUTHORIZED => {
                let token = tokens.instead_of(&token).await?;
                answer::taken(again.bearer_auth(token.reveal()).send().await, &self.replies).await
            }
            (response, _) => answer::taken(response, &self.replies).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stay_below_the_base() {
        for base in ["https://ehr.example/fhir", "https://ehr.example/fhir/"] {
            let options = Options {
                base: Url::parse(base).unwrap(),
                envelope: Envelope::Put,
                conditional: None,
                entries_max: 1,
                http: http::Options::default(),
                credentials: Some(Credentials::Basic("nurse".into(), Secret::new("CANARY"))),
            };
            let channel = FhirChannel::new(options, Replies::default()).unwrap();
            let url = |below: &str| channel.shared.url(below).to_string();
            assert_eq!(url("Patient/1"), "https://ehr.example/fhir/Patient/1");
            assert_eq!(url("Patient?identifier=a%7Cb"), "https://ehr.example/fhir/Patient?identifier=a%7Cb");
            assert_eq!(url("$process-message"), "https://ehr.example/fhir/$process-message");
            assert!(!format!("{channel:?}").contains("CANARY"));
        }
    }
}
