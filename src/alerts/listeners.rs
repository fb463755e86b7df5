//! What is wrong with listeners: `silence`, `ack_latency`, `certificate`.
use super::rules::{Found, Rules, key, millis, seconds};
use super::window::Window;
use crate::server::ListenerStatus;
use crate::telemetry::Observed;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use x509_parser::pem::Pem;

/// What must be remembered of listeners from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    acknowledged: HashMap<String, Window<Observed>>,
}

/// Acknowledgements are judged over so long.
const ACK_SPAN: Duration = Duration::from_secs(60);
/// With fewer of them, one that was slow by chance would be told.
const ACKS_MIN: u64 = 10;
const ACK_SHARE: f64 = 0.99;

impl Listeners {
    /// `acknowledged` are the times of acknowledgements so far, by listener.
    pub fn look(&mut self, rules: &Rules, acknowledged: &[(String, Observed)], started_ms: i64, found: &mut Found<'_>) {
        let Some(longest) = rules.ack_latency else { return };
        for (name, observed) in acknowledged {
            let new = || Window::new(ACK_SPAN, started_ms);
            let window = self.acknowledged.entry(name.clone()).or_insert_with(new);
            let (before, is_whole) = window.since(found.now_ms, *observed);
            let (recent, key) = (observed.since(&before), key("ack_latency", name));
            let slowest = recent.quantile(ACK_SHARE).filter(|_| recent.count() >= ACKS_MIN);
            match slowest.map(|seconds| (seconds * 1000.0) as i64) {
                Some(ms) if ms > millis(longest) => {
                    let count = recent.count();
                    let text = format!("99 in 100 of {count} acknowledgements of listener {name} took up to {ms} ms");
                    found.wrong(key, ms, text);
                }
                None if !is_whole => found.unknown(&key),
                _ => {}
            }
        }
        self.acknowledged.retain(|name, _| acknowledged.iter().any(|(known, _)| known == name));
    }
}

/// Whether a message should have come since the last one, or since the start.
pub(super) fn silence(rules: &Rules, listener: &ListenerStatus, started_ms: i64, found: &mut Found<'_>) {
    let Some(silence) = listener.silence.as_ref().or(rules.silence.as_ref()) else { return };
    let name = &listener.name;
    let quiet = silence.counted(listener.last_received_ms.unwrap_or(started_ms), found.now_ms);
    if quiet > silence.after {
        let (value, within) = (seconds(millis(quiet)), if silence.hours.is_some() { " of its hours" } else { "" });
        let text = format!("no message has come to listener {name} for {value} s{within}");
        found.wrong(key("silence", name), value, text);
    } else if listener.last_received_ms.is_none() {
        // It was silent before the start, and has been since.
        found.unknown(&key("silence", name));
    }
}

/// Whether the certificate of a listener ends soon.
pub(super) fn certificate(rules: &Rules, listener: &str, ends_ms: i64, found: &mut Found<'_>) {
    let left = seconds(ends_ms - found.now_ms);
    if left < rules.certificate.as_secs().cast_signed() {
        let text = match left.div_euclid(86_400) {
            days if days < 0 => format!("the certificate of listener {listener} has ended"),
            days => format!("the certificate of listener {listener} ends in {days} days"),
        };
        found.wrong(key("certificate", listener), left, text);
    }
}

/// When the first of the certificates in a PEM file ends, in milliseconds since 1970; none where no certificate can be read, which TLS itself complains of.
pub(super) fn ends_ms(file: &Path) -> Option<i64> {
    let text = std::fs::read(file).ok()?;
    let ends = Pem::iter_from_buffer(&text)
        .filter_map(Result::ok)
        .filter_map(|pem| pem.parse_x509().ok().map(|found| found.validity().not_after.timestamp()));
    ends.min().and_then(|seconds| seconds.checked_mul(1000))
}
