//! What is not counted as it happens but asked for when somebody looks: the state of listeners, routes and the journal.
use super::names;
use super::process::Usage;
use super::{Labels, describe, labels};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};

/// The gateway at one moment.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Its listeners: name, open connections.
    pub listeners: Vec<(String, u64)>,
    /// Its routes.
    pub routes: Vec<RouteFigures>,
    /// The last durable number.
    pub journal_head: u64,
    /// `ready`, `full` or `failed`.
    pub journal_health: &'static str,
    /// The alerts that are open: rule and subject.
    pub alerts: Vec<(String, String)>,
    /// Free bytes where the data lies, if the system tells.
    pub disk_free: Option<u64>,
    /// What the process uses.
    pub usage: Usage,
}

/// A route at one moment.
#[derive(Debug, Clone, Default)]
pub struct RouteFigures {
    /// Its name.
    pub name: String,
    /// `started`, `paused` or `stopped`.
    pub state: &'static str,
    /// Whether it rests.
    pub resting: bool,
    /// Messages looked at.
    pub received: u64,
    /// Messages not wanted.
    pub filtered: u64,
    /// Messages delivered.
    pub sent: u64,
    /// Messages given up.
    pub dead_letters: u64,
    /// Messages that wait.
    pub queued: u64,
    /// Age of the oldest that waits, in seconds.
    pub oldest_seconds: f64,
}

type Numbers = Family<Labels, Gauge>;
type Fractions = Family<Labels, Gauge<f64, AtomicU64>>;
type Counts = Family<Labels, Counter>;

/// The metrics that are set from [`Figures`] each time they are looked at.
#[derive(Debug, Default)]
pub(super) struct Board {
    connections: Numbers,
    route_state: Numbers,
    route_resting: Numbers,
    route_queued: Numbers,
    route_oldest: Fractions,
    route_received: Counts,
    route_filtered: Counts,
    route_sent: Counts,
    route_dead: Counts,
    journal_head: Gauge,
    journal_health: Numbers,
    disk_free: Numbers,
    alerts: Numbers,
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    open_files: Gauge,
}

const JOURNAL_STATES: [&str; 3] = ["ready", "full", "failed"];
const ROUTE_STATES: [&str; 3] = ["started", "paused", "stopped"];

impl Board {
    pub fn register(&self, registry: &mut Registry) {
        describe(registry, names::CONNECTIONS, None, &self.connections);
        describe(registry, names::ROUTE_STATE, None, &self.route_state);
        describe(registry, names::ROUTE_RESTING, None, &self.route_resting);
        describe(registry, names::ROUTE_QUEUED, None, &self.route_queued);
        describe(registry, names::ROUTE_OLDEST, Some(Unit::Seconds), &self.route_oldest);
        describe(registry, names::ROUTE_LOOKED, None, &self.route_received);
        describe(registry, names::ROUTE_FILTERED, None, &self.route_filtered);
        describe(registry, names::ROUTE_SENT, None, &self.route_sent);
        describe(registry, names::ROUTE_DEAD, None, &self.route_dead);
        describe(registry, names::JOURNAL_HEAD, None, &self.journal_head);
        describe(registry, names::JOURNAL_HEALTH, None, &self.journal_health);
        describe(registry, names::DISK_FREE, Some(Unit::Bytes), &self.disk_free);
        describe(registry, names::ALERT, None, &self.alerts);
        describe(registry, names::CPU, Some(Unit::Seconds), &self.cpu);
        describe(registry, names::RESIDENT, Some(Unit::Bytes), &self.resident);
        describe(registry, names::FILES, None, &self.open_files);
    }

    /// Takes over a moment; what is no longer configured disappears.
    pub fn show(&self, figures: &Figures) {
        for numbers in [&self.connections, &self.route_state, &self.route_resting, &self.route_queued] {
            numbers.clear();
        }
        for counts in [&self.route_received, &self.route_filtered, &self.route_sent, &self.route_dead] {
            counts.clear();
        }
        self.route_oldest.clear();
        for (name, connections) in &figures.listeners {
            set(&self.connections, &labels(&[(names::LISTENER, name)]), *connections);
        }
        for route in &figures.routes {
            self.route(route);
        }
        self.journal_head.set(figures.journal_head.cast_signed());
        for state in JOURNAL_STATES {
            set(&self.journal_health, &labels(&[(names::STATE, state)]), u64::from(state == figures.journal_health));
        }
        self.disk_free.clear();
        if let Some(free) = figures.disk_free {
            set(&self.disk_free, &Labels::default(), free);
        }
        self.alerts.clear();
        for (rule, subject) in &figures.alerts {
            set(&self.alerts, &labels(&[(names::RULE, rule), (names::SUBJECT, subject)]), 1);
        }
        self.cpu.inner().store(figures.usage.cpu_seconds.to_bits(), Ordering::Relaxed);
        self.resident.set(figures.usage.resident_bytes.cast_signed());
        self.open_files.set(figures.usage.open_files.cast_signed());
    }

    fn route(&self, route: &RouteFigures) {
        let own = labels(&[(names::ROUTE, &route.name)]);
        for state in ROUTE_STATES {
            let which = labels(&[(names::ROUTE, &route.name), (names::STATE, state)]);
            set(&self.route_state, &which, u64::from(state == route.state));
        }
        set(&self.route_resting, &own, u64::from(route.resting));
        set(&self.route_queued, &own, route.queued);
        self.route_oldest.get_or_create_owned(&own).set(route.oldest_seconds);
        for (counts, value) in [
            (&self.route_received, route.received),
            (&self.route_filtered, route.filtered),
            (&self.route_sent, route.sent),
            (&self.route_dead, route.dead_letters),
        ] {
            counts.get_or_create_owned(&own).inner().store(value, Ordering::Relaxed);
        }
    }
}

fn set(numbers: &Numbers, labels: &Labels, value: u64) {
    numbers.get_or_create_owned(labels).set(value.cast_signed());
}
