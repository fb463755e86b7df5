//! Traces on their way to a collector: batches of spans, posted one after the other (OTLP/HTTP 1.x, in JSON).
//!
//! Nobody waits for this. While a batch cannot be sent the next wait in a queue of limited length; what comes when that is full is dropped and counted (`handoff_trace_spans_total`), as is a
//! batch that the collector does not take or that finds it out of reach for too long. Left out: credentials and headers. What needs those is reached through a collector nearby, which has them.
use crate::delivery::channel::egress::{Egress, Resolver};
use crate::delivery::channel::http;
use crate::telemetry::names::{SPANS_REFUSED, SPANS_SENT};
use crate::telemetry::telemetry;
use crate::telemetry::traces::{Span, request};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url, redirect};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// Who is told how much.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The collector, such as `http://127.0.0.1:4318`; `/v1/traces` goes behind it.
    pub endpoint: Url,
    /// The share of messages whose traces are told of, 0 to 1.
    pub share: f64,
}

/// Told of, unless the configuration says otherwise.
pub const SHARE: f64 = 0.01;
/// Spans in one request.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// To answer a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After the first failure; doubled by each.
const PAUSE: Duration = Duration::from_secs(1);
/// As often a batch is sent, which is over half a minute.
const ATTEMPTS_MAX: u32 = 6;
/// As much of an answer as is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// For what is left when the gateway ends.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends what `spans` brings, where `egress` lets it, until `done` turns true; then what is left, once.
pub async fn run(options: Options, egress: Egress, mut spans: mpsc::Receiver<Span>, mut done: watch::Receiver<bool>) {
    let collector = match Collector::new(&options.endpoint, egress) {
        Ok(collector) => collector,
        Err(error) => return tracing::error!("no traces: {error}"),
    };
    let mut batch = Vec::new();
    tokio::select! {
        () = collector.send_all(&mut spans, &mut batch) => return,
        _ = done.wait_for(|done| *done) => {}
    }
    spans.close();
    let rest = async {
        // What was under way once more: that may come twice, under the same ids.
        while !batch.is_empty() || spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let _ = collector.post(&batch).await;
            batch.clear();
        }
    };
    let _ = timeout(REST_TIMEOUT, rest).await;
}

/// Where spans go.
struct Collector {
    client: Client,
    url: Url,
}

/// Why a batch was not taken.
enum Failure {
    /// Another attempt may succeed.
    Again(String),
    /// It never will.
    Refused(String),
}

impl Collector {
    fn new(endpoint: &Url, egress: Egress) -> Result<Collector, reqwest::Error> {
        let mut builder = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT);
        if http::is_loopback(endpoint) {
            builder = builder.no_proxy();
        }
        if !egress.is_free() {
            // An address that is written out has been judged with the configuration; a proxy would look names up by itself.
            builder = builder.no_proxy().dns_resolver(Arc::new(Resolver(egress)));
        }
        let mut url = endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v1", "traces"]);
        }
        Ok(Collector { client: builder.build()?, url })
    }

    /// Sends what comes, until nothing more can; `batch` holds what is not sent.
    async fn send_all(&self, spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
        while spans.recv_many(batch, BATCH_MAX).await > 0 {
            if batch.len() < BATCH_MAX {
                sleep(GATHER).await;
                while batch.len() < BATCH_MAX
                    && let Ok(span) = spans.try_recv()
                {
                    batch.push(span);
                }
            }
            self.send(batch).await;
            batch.clear();
        }
    }

    /// Sends a batch until it is taken or hopeless.
    async fn send(&self, batch: &[Span]) {
        for attempt in 1..=ATTEMPTS_MAX {
            let reason = match self.post(batch).await {
                Ok(()) => return,
                Err(Failure::Again(reason)) if attempt < ATTEMPTS_MAX => {
                    tracing::debug!(attempt, "the collector of traces does not take them: {reason}");
                    sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
                    continue;
                }
                Err(Failure::Again(reason) | Failure::Refused(reason)) => reason,
            };
            tracing::warn!(
                spans = batch.len(),
                "spans are dropped, the collector of traces does not take them: {reason}"
            );
            return telemetry().spans(SPANS_REFUSED, batch.len() as u64);
        }
    }

    async fn post(&self, batch: &[Span]) -> Result<(), Failure> {
        let post = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(request(batch));
        let again = |error: reqwest::Error| Failure::Again(error.without_url().to_string());
        let answer = post.send().await.map_err(again)?;
        let status = answer.status();
        // Those that the protocol says may be tried again.
        if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Err(Failure::Again(format!("HTTP {status}")));
        }
        if !status.is_success() {
            return Err(Failure::Refused(format!("HTTP {status}")));
        }
        let all = batch.len() as u64;
        let refused = refused(answer).await.min(all);
        if refused > 0 {
            telemetry().spans(SPANS_REFUSED, refused);
        }
        telemetry().spans(SPANS_SENT, all - refused);
        Ok(())
    }
}

/// How many spans of a request that was taken were not (`partialSuccess`); a 64-bit number is a text, though not every collector knows.
async fn refused(mut answer: reqwest::Response) -> u64 {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return 0;
        }
        body.extend_from_slice(&chunk);
    }
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}
