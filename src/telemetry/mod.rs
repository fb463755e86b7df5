//! Telemetry: what the gateway counts and measures of itself, for Prometheus (OpenMetrics text).
//!
//! Whoever counts in the way of a message asks for its meter once, when a listener or route is made, and from then on only adds to atomics: no lock, no look-up by
//! label, no allocation. What can be asked for instead of counted (the state of routes, of the journal, of the process) is a [`Figures`] that is handed over when
//! somebody looks. Names and labels stand in [`names`]; nothing of a message is ever one of them.
//!
//! There is one registry a process ([`telemetry`]), as there is one gateway a process: the data directory is locked. So no constructor on the way of a message has to
//! hand it through.
mod figures;
mod histogram;
pub mod names;
mod process;
pub mod traces;

pub use figures::{Figures, RouteFigures};
pub use histogram::{Histogram, Observed};
pub use process::{Usage, disk_free};

use figures::Board;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::sync::{LazyLock, Mutex, PoisonError};

type Labels = Vec<(&'static str, String)>;
type Times = Family<Labels, Histogram, fn() -> Histogram>;

/// The media type of [`Telemetry::render`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a gateway.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    messages: Family<Labels, Counter>,
    received: Family<Labels, Counter>,
    unmapped: Family<Labels, Counter>,
    unroutable: Family<Labels, Counter>,
    oversized: Counter,
    refused: Family<Labels, Counter>,
    spans: Family<Labels, Counter>,
    stages: Times,
    deliveries: Times,
    journal: JournalMeter,
    tail: TailMeter,
    /// Held while a moment is shown: two that look at once must not mix theirs.
    board: Mutex<Board>,
}

/// What a listener counts.
#[derive(Debug, Clone)]
pub struct ListenerMeter {
    outcomes: Vec<(&'static str, Counter)>,
    bytes: Counter,
    /// From the frame to the draft of what is stored.
    pub translate: Histogram,
    /// From the draft until it is durable.
    pub journal: Histogram,
    /// From the frame to the acknowledgement.
    pub ack: Histogram,
}

/// What a route counts: the time of its attempts, by result.
#[derive(Debug, Clone)]
pub struct RouteMeter {
    attempts: [Histogram; names::RESULTS.len()],
}

/// How an attempt to deliver ended; the places of [`names::RESULTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Taken.
    Delivered = 0,
    /// Refused for good.
    Refused = 1,
    /// To be tried again.
    Again = 2,
    /// The endpoint takes nothing.
    Endpoint = 3,
}

/// What the journal counts.
#[derive(Debug, Clone)]
pub struct JournalMeter {
    /// Records written by one sync.
    pub batch: Histogram,
    /// Time to write and sync a batch.
    pub sync: Histogram,
    /// Records that wait.
    pub queue: Gauge,
}

/// What the tail counts.
#[derive(Debug, Clone)]
pub struct TailMeter {
    /// Reads that found their messages in memory.
    pub hits: Counter,
    /// Reads that had to go to the journal.
    pub misses: Counter,
}

static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(Telemetry::new);

/// The telemetry of this process.
pub fn telemetry() -> &'static Telemetry {
    &TELEMETRY
}

impl Telemetry {
    fn new() -> Telemetry {
        let mut registry = Registry::with_prefix(names::PREFIX);
        let times = || Times::new_with_constructor(Histogram::of_times);
        let (messages, received) = (Family::default(), Family::default());
        let (unmapped, unroutable, refused) = (Family::default(), Family::default(), Family::default());
        let (spans, oversized) = (Family::default(), Counter::default());
        let (stages, deliveries) = (times(), times());
        let journal =
            JournalMeter { batch: Histogram::of_counts(), sync: Histogram::of_times(), queue: Gauge::default() };
        let reads = Family::<Labels, Counter>::default();
        let read = |result| reads.get_or_create_owned(&labels(&[(names::RESULT, result)]));
        let tail = TailMeter { hits: read("hit"), misses: read("miss") };
        let version = labels(&[(names::VERSION, env!("CARGO_PKG_VERSION"))]);
        registry.register(names::BUILD.0, names::BUILD.1, Info::new(version));
        describe(&mut registry, names::MESSAGES, None, &messages);
        describe(&mut registry, names::RECEIVED, Some(Unit::Bytes), &received);
        describe(&mut registry, names::UNMAPPED, None, &unmapped);
        describe(&mut registry, names::UNROUTABLE, None, &unroutable);
        describe(&mut registry, names::OVERSIZED, None, &oversized);
        describe(&mut registry, names::REFUSED, None, &refused);
        describe(&mut registry, names::SPANS, None, &spans);
        describe(&mut registry, names::STAGE, Some(Unit::Seconds), &stages);
        describe(&mut registry, names::DELIVERY, Some(Unit::Seconds), &deliveries);
        describe(&mut registry, names::JOURNAL_BATCH, None, &journal.batch);
        describe(&mut registry, names::JOURNAL_SYNC, Some(Unit::Seconds), &journal.sync);
        describe(&mut registry, names::JOURNAL_QUEUE, None, &journal.queue);
        describe(&mut registry, names::TAIL, None, &reads);
        let board = Board::default();
        board.register(&mut registry);
        let board = Mutex::new(board);
        Telemetry {
            registry,
            messages,
            received,
            unmapped,
            unroutable,
            oversized,
            refused,
            spans,
            stages,
            deliveries,
            journal,
            tail,
            board,
        }
    }

    /// The meter of a listener; `outcomes` are all that its messages can have, beside [`names::NOT_STORED`].
    pub fn listener(&self, name: &str, outcomes: impl IntoIterator<Item = &'static str>) -> ListenerMeter {
        let stage =
            |stage| self.stages.get_or_create_owned(&labels(&[(names::LISTENER, name), (names::STAGE_OF, stage)]));
        let counter = |outcome| {
            let which = labels(&[(names::LISTENER, name), (names::OUTCOME, outcome)]);
            (outcome, self.messages.get_or_create_owned(&which))
        };
        ListenerMeter {
            outcomes: outcomes.into_iter().chain([names::NOT_STORED]).map(counter).collect(),
            bytes: self.received.get_or_create_owned(&labels(&[(names::LISTENER, name)])),
            translate: stage("translate"),
            journal: stage("journal"),
            ack: stage(names::STAGE_ACK),
        }
    }

    /// The times of acknowledgements of a listener so far; none of one that has no meter.
    pub fn acknowledgements(&self, listener: &str) -> Option<Observed> {
        let which = labels(&[(names::LISTENER, listener), (names::STAGE_OF, names::STAGE_ACK)]);
        self.stages.get(&which).map(|histogram| histogram.observed())
    }

    /// Messages of a listener so far by these outcomes; those that it has no counter of are left out.
    pub fn outcomes(
        &self,
        listener: &str,
        outcomes: impl IntoIterator<Item = &'static str>,
    ) -> Vec<(&'static str, u64)> {
        let of = |outcome| {
            let which = labels(&[(names::LISTENER, listener), (names::OUTCOME, outcome)]);
            self.messages.get(&which).map(|counter| (outcome, counter.get()))
        };
        outcomes.into_iter().filter_map(of).collect()
    }

    /// Senders that a listener did not let in so far, by reason; those that there are none of are left out.
    pub fn refusals(&self, listener: &str) -> Vec<(&'static str, u64)> {
        let of = |reason| {
            let which = labels(&[(names::LISTENER, listener), (names::REASON, reason)]);
            self.refused.get(&which).map(|counter| (reason, counter.get()))
        };
        names::REFUSALS.into_iter().filter_map(of).collect()
    }

    /// Codes of a message that no table has; neither table nor code is told. Looks the counter up: such messages are few.
    pub fn unmapped_codes(&self, listener: &str, noted: bool, count: u64) {
        let result = if noted { "noted" } else { "not_noted" };
        let which = labels(&[(names::LISTENER, listener), (names::RESULT, result)]);
        self.unmapped.get_or_create_owned(&which).inc_by(count);
    }

    /// Something that a loop asks of a role or an organisation, as the configuration names it, and that leads to nobody.
    pub fn unroutable(&self, to: &str) {
        self.unroutable.get_or_create_owned(&labels(&[(names::TO, to)])).inc();
    }

    /// Entries that are longer than a card of a patient has room for.
    pub fn oversized(&self, count: u64) {
        self.oversized.inc_by(count);
    }

    /// A sender that a listener did not let in. Looks the counter up: those few are no load, and one that comes again and again costs more by its handshake.
    pub fn refused(&self, listener: &str, reason: &str) {
        self.refused.get_or_create_owned(&labels(&[(names::LISTENER, listener), (names::REASON, reason)])).inc();
    }

    /// What has come of spans of traces. Looks the counter up: spans are few, and those that are dropped are many only where nobody waits for them.
    pub fn spans(&self, result: &str, count: u64) {
        self.spans.get_or_create_owned(&labels(&[(names::RESULT, result)])).inc_by(count);
    }

    /// The meter of a route.
    pub fn route(&self, name: &str) -> RouteMeter {
        let attempts = names::RESULTS.map(|result| {
            self.deliveries.get_or_create_owned(&labels(&[(names::ROUTE, name), (names::RESULT, result)]))
        });
        RouteMeter { attempts }
    }

    /// The meter of the journal.
    pub fn journal(&self) -> JournalMeter {
        self.journal.clone()
    }

    /// The meter of the tail.
    pub fn tail(&self) -> TailMeter {
        self.tail.clone()
    }

    /// Everything, with the state of the gateway at this moment, as OpenMetrics text.
    pub fn render(&self, figures: &Figures) -> String {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.show(figures);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl ListenerMeter {
    /// A message of so many bytes with that outcome.
    pub fn message(&self, outcome: &str, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
        if let Some((_, counter)) = self.outcomes.iter().find(|(name, _)| *name == outcome) {
            counter.inc();
        }
    }
}

impl RouteMeter {
    /// An attempt that took so long.
    pub fn attempt(&self, attempt: Attempt, time: std::time::Duration) {
        let [delivered, refused, again, endpoint] = &self.attempts;
        let histogram = match attempt {
            Attempt::Delivered => delivered,
            Attempt::Refused => refused,
            Attempt::Again => again,
            Attempt::Endpoint => endpoint,
        };
        histogram.time(time);
    }
}

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

fn describe<M: Metric + Clone>(registry: &mut Registry, name: names::Name, unit: Option<Unit>, metric: &M) {
    match unit {
        Some(unit) => registry.register_with_unit(name.0, name.1, unit, metric.clone()),
        None => registry.register(name.0, name.1, metric.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    fn value(text: &str, series: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    #[test]
    fn what_is_counted_is_shown_under_its_names() {
        let telemetry = Telemetry::new();
        let meter = telemetry.listener("adt", ["translated", "rejected"]);
        meter.message("translated", 300);
        meter.message("translated", 100);
        telemetry.listener("adt", ["rejected"]).message("rejected", 1);
        meter.ack.time(Duration::from_millis(3));
        telemetry.route("ehr").attempt(Attempt::Again, Duration::from_millis(7));
        telemetry.journal().batch.count(64);
        telemetry.tail().misses.inc();
        let text = telemetry.render(&Figures::default());
        for (series, expected) in [
            ("handoff_messages_total{listener=\"adt\",outcome=\"translated\"}", 2.0),
            ("handoff_messages_total{listener=\"adt\",outcome=\"rejected\"}", 1.0),
            ("handoff_messages_total{listener=\"adt\",outcome=\"not_stored\"}", 0.0),
            ("handoff_received_bytes_total{listener=\"adt\"}", 401.0),
            ("handoff_stage_seconds_count{listener=\"adt\",stage=\"ack\"}", 1.0),
            ("handoff_delivery_attempt_seconds_sum{route=\"ehr\",result=\"again\"}", 0.007),
            ("handoff_journal_batch_records_sum", 64.0),
            ("handoff_tail_reads_total{result=\"miss\"}", 1.0),
        ] {
            let found = value(&text, series);
            assert!(found.is_some_and(|found| (found - expected).abs() < 1e-9), "{series}: {found:?} in\n{text}");
        }
        assert!(text.contains("handoff_build_info{version=\"") && text.ends_with("# EOF\n"), "{text}");
    }

    /// The names of what a text counts and its labels; a histogram has three names.
    fn series(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut found = BTreeMap::<String, BTreeSet<String>>::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap().to_owned();
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let keys = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            found.entry(name).or_default().extend(keys);
        }
        found
    }

    #[test]
    fn what_dashboards_and_rules_ask_for_is_there() {
        let telemetry = Telemetry::new();
        telemetry.listener("adt", []);
        telemetry.route("ehr");
        telemetry.unmapped_codes("adt", true, 1);
        telemetry.unroutable("role:pcp");
        telemetry.oversized(3);
        telemetry.refused("adt", names::REFUSED_LIMIT);
        let known = series(&telemetry.render(&Figures {
            listeners: vec![("adt".into(), 3)],
            routes: vec![RouteFigures::default()],
            alerts: vec![("certificate".into(), "adt".into())],
            disk_free: Some(1),
            ..Figures::default()
        }));
        // Prometheus itself puts these there.
        let given = ["job", "instance"];
        let mut asked = BTreeSet::new();
        for text in [
            include_str!("../../docs/observability/grafana.json"),
            include_str!("../../docs/observability/alerts.rules.yml"),
            include_str!("../../docs/observability/alerts.test.yml"),
        ] {
            let text = text.replace("\\\"", "\"");
            for (at, _) in text.match_indices("handoff_") {
                let rest = &text[at..];
                let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap();
                let (name, rest) = rest.split_at(end);
                let labels = known.get(name).unwrap_or_else(|| panic!("{name} is no metric"));
                asked.insert(name.to_owned());
                let Some(matchers) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { continue };
                for matcher in matchers.0.split(", ") {
                    let key = matcher.split(['=', '!']).next().unwrap().trim();
                    assert!(given.contains(&key) || labels.contains(key), "{name} has no label {key}");
                }
            }
        }
        let halves = |name: &&String| !["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        let unasked: Vec<_> = known.keys().filter(halves).filter(|name| !asked.contains(name.as_str())).collect();
        assert_eq!(unasked, [""; 0], "nobody looks at these");
    }

    #[test]
    fn a_moment_replaces_the_one_before() {
        let telemetry = Telemetry::new();
        let route = |name: &str| RouteFigures {
            name: name.into(),
            state: "paused",
            resting: true,
            sent: 7,
            oldest_seconds: 1.5,
            ..RouteFigures::default()
        };
        let mut figures = Figures {
            listeners: vec![("adt".into(), 3)],
            routes: vec![route("ehr"), route("old")],
            journal_head: 12,
            journal_health: "full",
            alerts: vec![("queue_age".into(), "ehr".into())],
            disk_free: Some(99),
            usage: Usage { cpu_seconds: 2.5, ..Usage::default() },
        };
        let text = telemetry.render(&figures);
        for (series, expected) in [
            ("handoff_connections{listener=\"adt\"}", 3.0),
            ("handoff_route_state{route=\"ehr\",state=\"paused\"}", 1.0),
            ("handoff_route_state{route=\"ehr\",state=\"started\"}", 0.0),
            ("handoff_route_resting{route=\"ehr\"}", 1.0),
            ("handoff_route_sent_total{route=\"old\"}", 7.0),
            ("handoff_route_oldest_queued_age_seconds{route=\"ehr\"}", 1.5),
            ("handoff_journal_head", 12.0),
            ("handoff_journal_health{state=\"full\"}", 1.0),
            ("handoff_alert_open{rule=\"queue_age\",subject=\"ehr\"}", 1.0),
            ("handoff_process_cpu_seconds_total", 2.5),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
        }
        assert!(text.contains("handoff_disk_free_bytes"), "{text}");
        figures.routes.pop();
        figures.alerts.clear();
        let text = telemetry.render(&figures);
        assert!(text.contains("route=\"ehr\"") && !text.contains("route=\"old\""), "{text}");
        assert!(!text.contains("queue_age"), "{text}");
    }
}
