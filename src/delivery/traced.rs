//! Deliveries as traces tell of them: each attempt and each dead letter is a span below the root of its message, which intake told of.
//!
//! Where a message does not belong to the share that is told of, only what went wrong is; so that it does not hang in the air, its root is told of as well, from what its record says.
use super::channel::Progress;
use crate::facets::Facets;
use crate::routing::Live;
use crate::telemetry::traces::{Begun, Kind, Span, Trace, are_on};
use crate::telemetry::{Attempt, names};
use std::sync::Arc;
use std::time::Duration;

/// An attempt at messages, under way.
#[derive(Debug)]
pub(super) struct Attempting {
    name: &'static str,
    target: &'static str,
    begun: Vec<Begun>,
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Attempted(Vec<Span>);

/// The span of an attempt of a route.
pub(super) const DELIVER: &str = "deliver";
/// The span of an attempt that somebody asked for.
pub(super) const RESEND: &str = "resend";

impl Attempting {
    /// One that begins now; `None` while traces are off.
    pub fn begin(name: &'static str, target: &'static str, messages: &[Arc<Live>]) -> Option<Attempting> {
        // All have a trace or none has: what has no facets is never delivered.
        let begun: Option<Vec<Begun>> = messages.iter().map(|live| Some(trace(live)?.begin())).collect();
        Some(Attempting { name, target, begun: begun? })
    }

    /// What an HTTP target is told: it gets one message at a time.
    pub fn traceparent(&self) -> Option<String> {
        self.begun.first().map(Begun::traceparent)
    }

    /// So far it came: the first have arrived, the next may have failed, and those behind it were not tried.
    pub fn end(self, progress: &Progress, ended: Attempt) -> Attempted {
        let Attempting { name, target, begun } = self;
        let tried = progress.delivered + usize::from(progress.failure.is_some());
        let spans = begun.into_iter().take(tried).enumerate().map(|(at, begun)| {
            // An attempt is a place in that list.
            let failed = (at == progress.delivered).then(|| names::RESULTS[ended as usize]);
            begun.end(name, Kind::Client).with("handoff.target", target).failed(failed)
        });
        Attempted(spans.collect())
    }
}

impl Attempted {
    /// Tells of it. `failures` are those of the message that failed, this one included.
    pub fn tell(self, route: &str, messages: &[Arc<Live>], failures: u32) {
        for (span, live) in self.0.into_iter().zip(messages) {
            let mut span = span.with("handoff.seq", live.seq).with("handoff.route", route);
            if span.is_error() {
                span = span.with("handoff.attempts", u64::from(failures));
                tell_root(live, failures <= 1);
            }
            span.tell();
        }
    }
}

/// Tells of a message that a route has given up after so many attempts; none of them where it could not be tried at all.
pub(super) fn dead_letter(route: &str, live: &Live, attempts: u32) {
    let Some(trace) = trace(live) else { return };
    // Else the attempt that failed has brought it.
    tell_root(live, attempts == 0);
    let span = trace.begin().end("dead letter", Kind::Internal).failed(Some("dead_letter"));
    span.with("handoff.seq", live.seq)
        .with("handoff.route", route)
        .with("handoff.attempts", u64::from(attempts))
        .tell();
}

/// The root of a message of which intake told nothing.
fn tell_root(live: &Live, is_first: bool) {
    let Some((facets, trace)) = Facets::decode(&live.facets).zip(trace(live)).filter(|_| is_first) else { return };
    if trace.is_sampled() {
        return;
    }
    let root = trace.root("message", Kind::Server, Duration::ZERO).at(facets.received_ms);
    root.with("handoff.seq", live.seq)
        .with("handoff.listener", String::from_utf8_lossy(facets.listener).into_owned())
        .with("handoff.message_type", facets.kind_text())
        .with("handoff.outcome", facets.outcome.name())
        .tell_always();
}

fn trace(live: &Live) -> Option<Trace> {
    if !are_on() {
        return None;
    }
    let facets = Facets::decode(&live.facets)?;
    Trace::of(live.seq, facets.received_ms, &facets.message_id)
}
