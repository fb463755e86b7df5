//! One POST of an alert.
//!
//! ```text
//! {"id": "…", "rule": "queue_age", "subject": "ehr", "state": "open" | "resolved", "since": "2026-…Z", "at": "2026-…Z", "text": "…", "value": 930}
//! Handoff-Signature: t=1793880000,v1=<HMAC-SHA256 of "1793880000." and the body, hexadecimal>      (with a secret)
//! ```
use super::Secret;
use super::book::Alert;
use crate::delivery::channel::egress::{Egress, Resolver};
use hmac::{Hmac, Mac as _};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url, redirect};
use serde_json::json;
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

/// Whom alerts are told.
#[derive(Debug)]
pub(super) struct Webhook {
    client: Client,
    url: Url,
    secret: Option<Secret>,
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// The header of the signature.
const SIGNATURE: &str = "Handoff-Signature";

impl Webhook {
    pub fn new(url: Url, secret: Option<Secret>, egress: Egress) -> Result<Webhook, reqwest::Error> {
        let mut builder = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT);
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) {
            builder = builder.no_proxy();
        }
        if !egress.is_free() {
            // An address that is written out has been judged with the configuration; a proxy would look names up by itself.
            builder = builder.no_proxy().dns_resolver(Arc::new(Resolver(egress)));
        }
        Ok(Webhook { client: builder.build()?, url, secret })
    }

    /// Tells that an alert is open, or resolved; an answer of 2xx means that it is known.
    pub async fn post(&self, entry: &Alert, opens: bool) -> Result<(), String> {
        let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).unwrap_or_default();
        let at_ms = if opens { entry.since_ms } else { entry.resolved_ms.unwrap_or(entry.since_ms) };
        let body = json!({
            "id": entry.id,
            "rule": entry.rule,
            "subject": entry.subject,
            "state": if opens { "open" } else { "resolved" },
            "since": time(entry.since_ms),
            "at": time(at_ms),
            "text": entry.text,
            "value": entry.value,
        })
        .to_string();
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(Secret(secret)) = &self.secret {
            let now = jiff::Timestamp::now().as_second();
            request = request.header(SIGNATURE, format!("t={now},v1={}", sign(secret, now, &body)));
        }
        // The URL may hold a secret of its own, so it stays out of the reason.
        let answer = request.body(body).send().await.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("HTTP {}", answer.status())) }
    }
}

fn sign(secret: &str, seconds: i64, body: &str) -> String {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_2104() {
        // printf '1.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(sign("key", 1, "{}"), "1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224");
    }
}
