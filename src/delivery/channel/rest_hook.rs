//! A web hook: the Bundle, or the message as it came, posted to a URL. Any 2xx is a delivery; there is no other proof that every receiver could give.
//!
//! ```text
//! Idempotency-Key: <message id, or that of what was made of the message otherwise since>
//! X-Handoff-Signature: t=<seconds since 1970>,v1=<HMAC-SHA256, hexadecimal>[,v1=<the same with the second key>]
//! ```
//!
//! What is signed is the time as it stands there, a full stop, and the body. With two keys both sign: a receiver that takes either can change keys at any time.
//! 410 Gone means that the receiver has gone for good; nothing is given up over that, the route rests until somebody looks.
use super::answer;
use super::replies::{Action, Replies, Reply};
use super::{Failure, Progress, Secret, http};
use crate::fhir::envelope::Envelope;
use crate::routing::Live;
use hmac::{Hmac, Mac};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use sha2::Sha256;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where and what to post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The receiver.
    pub url: Url,
    /// The Bundle of this kind; `None` for the message as it came.
    pub envelope: Option<Envelope>,
    /// Keys that sign; none, one or two.
    pub secrets: Vec<Secret>,
    /// How the receiver is spoken to.
    pub http: http::Options,
}

/// Posts to a URL. Its copies share connections.
#[derive(Debug, Clone)]
pub struct RestHookChannel {
    client: Client,
    options: Arc<Options>,
    replies: Arc<Replies>,
}

const GONE: Reply = Reply::Status(410);

impl RestHookChannel {
    pub(super) fn new(options: Options, mut replies: Replies) -> Result<RestHookChannel, http::ClientError> {
        let client = http::client(&options.url, &options.http)?;
        // Behind what the route says of it, if anything.
        replies.0.push((GONE, Action::Pause));
        Ok(RestHookChannel { client, options: Arc::new(options), replies: Arc::new(replies) })
    }

    /// Whether it sends the Bundle, and not the message as it came.
    pub(super) fn wants_bundle(&self) -> bool {
        self.options.envelope.is_some()
    }

    pub(super) async fn deliver(&mut self, messages: &[Arc<Live>], traceparent: Option<&str>) -> Progress {
        for (delivered, live) in messages.iter().enumerate() {
            if let Err(failure) = self.send(live, traceparent).await {
                return Progress { delivered, failure: Some(failure) };
            }
        }
        Progress { delivered: messages.len(), failure: None }
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.options.secrets.iter().map(Secret::reveal)
    }

    async fn send(&self, live: &Live, traceparent: Option<&str>) -> Result<(), Failure> {
        let (kind, body) = match self.options.envelope {
            None => ("application/hl7-v2", live.raw.to_vec()),
            Some(envelope) => {
                let mut body = Vec::new();
                envelope.render(&live.bundle, &live.entries, &mut body);
                ("application/fhir+json", body)
            }
        };
        let mut request = self.client.post(self.options.url.clone()).header(CONTENT_TYPE, kind);
        if let Some(id) = live.delivery_id() {
            request = request.header("Idempotency-Key", id);
        }
        if let Some(traceparent) = traceparent {
            request = request.header(http::TRACEPARENT, traceparent);
        }
        if !self.options.secrets.is_empty() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            request = request.header(SIGNATURE, signature(now, &body, self.keys()));
        }
        answer::taken(request.body(body).send().await, &self.replies).await.map(|_| ())
    }
}

/// The header that tells who has posted.
pub const SIGNATURE: &str = "X-Handoff-Signature";

/// The value of [`SIGNATURE`]; `time` in seconds since 1970.
pub fn signature<'k>(time: u64, body: &[u8], keys: impl IntoIterator<Item = &'k str>) -> String {
    let mut header = format!("t={time}");
    for key in keys {
        // Of any length: HMAC takes every key.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { continue };
        mac.update(format!("{time}.").as_bytes());
        mac.update(body);
        header.push_str(",v1=");
        for byte in mac.finalize().into_bytes() {
            let _ = write!(header, "{byte:02x}");
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As python3 gives it: hmac.new(b'key-1', b'1700000000.{"a":1}', 'sha256').hexdigest()
    #[test]
    fn the_signature_is_that_of_others() {
        let one = "ca774bf7b74ca4375d684b2d75b40c0aeb85d75cc80c8dda64740a2aff020088";
        let two = "0081271b4c884c885849363d4acc62ce79d5b4d1e87e71f88f05f900412ce0af";
        let keys = ["key-1", "key-2"];
        assert_eq!(signature(1_700_000_000, b"{\"a\":1}", keys), format!("t=1700000000,v1={one},v1={two}"));
        assert_eq!(signature(1_700_000_000, b"{\"a\":1}", ["key-2"]), format!("t=1700000000,v1={two}"));
    }
}
