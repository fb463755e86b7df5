//! Traces: one a message, over its way in and every attempt to deliver it, for collectors that speak OTLP.
//!
//! The ids of a trace and of its root follow from the record (its number, when it was received, its message id), so what happens after a restart, or years later by hand, joins the trace
//! that began at intake, and the journal keeps nothing for it. Which traces are told of follows from the id, too (W3C Trace Context Level 2: its last 56 bits are as good as random), so
//! everybody who sees it decides alike; what went wrong is told of in any case.
//!
//! Whoever has a span hands it over and goes on: where there is no room it is dropped and counted. As long as no collector is configured nothing is computed at all. What stands in a span are
//! names from the configuration, words from lists, numbers, and the codes of MSH-9: nothing of a patient, no control id.
mod otlp;

pub use otlp::request;

use super::names::SPANS_DROPPED;
use super::telemetry;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// A message whose trace is told of. There is none while traces are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 16],
    root: [u8; 8],
    is_sampled: bool,
}

/// Something that took its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    trace: Trace,
    id: [u8; 8],
    name: &'static str,
    kind: Kind,
    begin: SystemTime,
    end: SystemTime,
    attributes: Vec<(&'static str, Value)>,
    error: Option<&'static str>,
}

/// On which side of a connection a span stands (OpenTelemetry, trace API, SpanKind).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On none.
    Internal = 1,
    /// Somebody asked us.
    Server = 2,
    /// We ask somebody.
    Client = 3,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A name or word.
    Text(String),
    /// A count, or a number in the journal.
    Number(u64),
}

/// A span that has begun: its id can be told before it ends.
#[derive(Debug, Clone)]
pub struct Begun {
    trace: Trace,
    id: [u8; 8],
    began: Instant,
}

#[derive(Debug)]
struct Tracer {
    share: f64,
    spans: mpsc::Sender<Span>,
}

/// One a process, as there is one gateway a process.
static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Spans that wait for the collector: some 4 MB.
const WAITING_MAX: usize = 8192;
/// What the hash of a record begins with, so that it is no other hash.
const SALT: &[u8] = b"handoff trace 1";

/// Switches traces on, once a process: that share of them (0 to 1) is told of. Gives what is to be sent; `None` where they are on.
pub fn begin(share: f64) -> Option<mpsc::Receiver<Span>> {
    let (spans, waiting) = mpsc::channel(WAITING_MAX);
    TRACER.set(Tracer { share, spans }).ok().map(|()| waiting)
}

/// Whether anybody is told of traces.
pub fn are_on() -> bool {
    TRACER.get().is_some()
}

impl Trace {
    /// The trace of a record, by what stands in it.
    pub fn of(seq: u64, received_ms: i64, message_id: &[u8; 16]) -> Option<Trace> {
        TRACER.get().map(|tracer| Trace::new(seq, received_ms, message_id, tracer.share))
    }

    fn new(seq: u64, received_ms: i64, message_id: &[u8; 16], share: f64) -> Trace {
        let hash = Sha256::new()
            .chain_update(SALT)
            .chain_update(seq.to_le_bytes())
            .chain_update(received_ms.to_le_bytes())
            .chain_update(message_id)
            .finalize();
        let (mut id, mut root) = ([0; 16], [0; 8]);
        id.iter_mut().chain(&mut root).zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        let is_sampled = is_sampled(&id, share);
        Trace { id, root, is_sampled }
    }

    /// Whether it belongs to the share that is told of whatever comes of it.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The span above all others, which has ended now.
    pub fn root(&self, name: &'static str, kind: Kind, time: Duration) -> Span {
        Span::new(*self, self.root, name, kind, time)
    }

    /// A span below the root.
    pub fn begin(&self) -> Begun {
        let mut id = [0; 8];
        // Without randomness an id that is still unlike those of other messages.
        if getrandom::fill(&mut id).is_err() || id == [0; 8] {
            id = self.root.map(|byte| !byte);
        }
        Begun { trace: *self, id, began: Instant::now() }
    }

    /// A span below the root that began and ended then.
    pub fn child(&self, name: &'static str, began: Instant, ended: Instant) -> Span {
        let mut span = Span::new(*self, self.begin().id, name, Kind::Internal, ended.saturating_duration_since(began));
        let since = ended.elapsed();
        span.begin = span.begin.checked_sub(since).unwrap_or(span.begin);
        span.end = span.end.checked_sub(since).unwrap_or(span.end);
        span
    }
}

/// W3C Trace Context Level 2, 3.2.3 and OpenTelemetry, probability sampling: the last seven bytes, which are at least the threshold.
fn is_sampled(id: &[u8; 16], share: f64) -> bool {
    const ALL: f64 = (1_u64 << 56) as f64;
    let [.., a, b, c, d, e, f, g] = *id;
    let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
    random >= ((1.0 - share.clamp(0.0, 1.0)) * ALL) as u64
}

impl Begun {
    /// The header that tells whoever is asked where it belongs (W3C Trace Context, 3.2).
    pub fn traceparent(&self) -> String {
        let Begun { trace, id, .. } = self;
        let flags = u8::from(trace.is_sampled);
        format!("00-{}-{}-{flags:02x}", hexadecimal(&trace.id), hexadecimal(id))
    }

    /// It has ended now.
    pub fn end(self, name: &'static str, kind: Kind) -> Span {
        Span::new(self.trace, self.id, name, kind, self.began.elapsed())
    }
}

impl Span {
    /// One that ended now, after so long.
    fn new(trace: Trace, id: [u8; 8], name: &'static str, kind: Kind, time: Duration) -> Span {
        let end = SystemTime::now();
        let begin = end.checked_sub(time).unwrap_or(end);
        Span { trace, id, name, kind, begin, end, attributes: Vec::new(), error: None }
    }

    /// At that time in place of now, in milliseconds since 1970.
    pub fn at(mut self, ms: i64) -> Span {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        (self.begin, self.end) = (time, time);
        self
    }

    /// Says something more of it.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Span {
        self.attributes.push((key, value.into()));
        self
    }

    /// It went wrong, in a word; or not.
    pub fn failed(self, error: Option<&'static str>) -> Span {
        Span { error, ..self }
    }

    /// Whether it went wrong.
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Hands it over: where its trace belongs to the share that is told of, or it went wrong.
    pub fn tell(self) {
        if self.trace.is_sampled || self.error.is_some() {
            self.tell_always();
        }
    }

    /// Hands it over whatever its share: others that go wrong hang on it.
    pub fn tell_always(self) {
        let Some(tracer) = TRACER.get() else { return };
        if tracer.spans.try_send(self).is_err() {
            telemetry().spans(SPANS_DROPPED, 1);
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// python3: hashlib.sha256(b'handoff trace 1' + (7).to_bytes(8,'little') + (1700000000000).to_bytes(8,'little') + bytes(range(16))).hexdigest()[:48]
    const EXPECTED: &str = "8d063c2aeb03efd931a25bf803518cac1124feeb008aaef5";

    fn trace(seq: u64, share: f64) -> Trace {
        Trace::new(seq, 1_700_000_000_000, &std::array::from_fn(|at| at as u8), share)
    }

    #[test]
    fn ids_follow_from_the_record() {
        let one = trace(7, 1.0);
        assert_eq!(hexadecimal(&one.id) + &hexadecimal(&one.root), EXPECTED);
        assert_ne!((one.id, one.root), (trace(8, 1.0).id, trace(8, 1.0).root));
        let (first, second) = (one.begin(), one.begin());
        assert_ne!(first.id, second.id, "each attempt is a span of its own");
        let header = format!("00-{}-{}-01", &EXPECTED[..32], hexadecimal(&first.id));
        assert_eq!(first.traceparent(), header);
        assert!(trace(7, 0.0).begin().traceparent().ends_with("-00"));
    }

    #[test]
    fn a_share_is_sampled_by_the_id_alone() {
        let sampled = |share| (0..10_000).filter(|seq| trace(*seq, share).is_sampled()).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((900..1_100).contains(&sampled(0.1)), "{}", sampled(0.1));
        // A larger share has all of the smaller one.
        assert!((0..10_000).all(|seq| !trace(seq, 0.1).is_sampled() || trace(seq, 0.2).is_sampled()));
    }

    #[test]
    fn nothing_is_computed_while_traces_are_off() {
        assert_eq!(Trace::of(1, 2, &[3; 16]), None);
    }

    #[test]
    fn a_stage_lies_where_it_was() {
        let began = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        let span = trace(1, 1.0).child("translate", began, began + Duration::from_secs(20));
        assert_eq!(span.end.duration_since(span.begin).unwrap(), Duration::from_secs(20));
        assert!(span.end.elapsed().unwrap() >= Duration::from_secs(40));
    }
}
