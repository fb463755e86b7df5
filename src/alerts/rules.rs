//! What is wrong at one moment. Knows no clock and no network: a moment comes in, what is wrong goes out.
//!
//! | rule | subject | when |
//! |---|---|---|
//! | `queue_age` | route | its oldest message has waited too long |
//! | `queue_depth` | route | too many messages wait |
//! | `route_held` | route | it has been paused, stopped or resting too long |
//! | `error_rate` | route | too many of its messages became dead letters |
//! | `silence` | listener | no message has come for too long, of the time in which some should |
//! | `ack_latency` | listener | its acknowledgements take too long |
//! | `certificate` | listener | its certificate ends soon |
//! | `disk_free` | `data` | little space is left |
//! | `journal` | `journal` | it has failed, or its disk is full |
//! | `roster_held` | panel | its roster waits for somebody to approve of it |
//! | `roster_refused` | panel | its roster cannot be used |
//! | `roster_stale` | panel | its roster is older than `stale_after` |
//! | `sink_refused` | `coordination-sink` | its FHIR server refuses events: some wait, or were given up within a day |
use super::listeners::{self, Listeners};
use super::routes::Routes;
use crate::journal::Health;
use crate::server::care::{Counts, PanelState, PanelStatus, SINK};
use crate::server::{JournalStatus, ListenerStatus, RouteStatus, Silence};
use crate::telemetry::Observed;
use std::time::Duration;

/// What is worth an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The age of the oldest message that waits for a route.
    pub queue_age: Duration,
    /// How many messages may wait for a route; without one: any number, as long as none grows old.
    pub queue_depth: Option<u64>,
    /// How long a route may be paused, stopped or resting.
    pub route_held: Duration,
    /// How many dead letters a route may make.
    pub error_rate: Option<ErrorRate>,
    /// Bytes that must be free.
    pub disk_free: u64,
    /// How long before a certificate ends.
    pub certificate: Duration,
    /// How long 99 in 100 acknowledgements of a listener may take.
    pub ack_latency: Option<Duration>,
    /// How long a listener may be without a message, unless it says so itself; without one: for ever.
    pub silence: Option<Silence>,
}

/// From when on dead letters are worth an alert: both must be met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorRate {
    /// So many of them,
    pub letters: u64,
    /// and that share, from 0 to 1, of all that was delivered or given up,
    pub share: f64,
    /// within so long.
    pub within: Duration,
}

impl Default for ErrorRate {
    fn default() -> ErrorRate {
        ErrorRate { letters: 5, share: 0.05, within: Duration::from_secs(3600) }
    }
}

impl Default for Rules {
    fn default() -> Rules {
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
        Rules {
            queue_age: 15 * minute,
            queue_depth: None,
            route_held: 60 * minute,
            error_rate: Some(ErrorRate::default()),
            disk_free: 2 << 30,
            certificate: 21 * day,
            ack_latency: Some(Duration::from_secs(5)),
            silence: None,
        }
    }
}

/// Every rule by its name.
pub(super) const NAMES: [&str; 13] = [
    "queue_age",
    "queue_depth",
    "route_held",
    "error_rate",
    "silence",
    "ack_latency",
    "certificate",
    "disk_free",
    "journal",
    "roster_held",
    "roster_refused",
    "roster_stale",
    "sink_refused",
];

/// The gateway at one moment.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub now_ms: i64,
    pub journal: JournalStatus,
    pub listeners: Vec<ListenerStatus>,
    pub routes: Vec<RouteStatus>,
    /// Listener and when its certificate ends.
    pub certificates: Vec<(String, i64)>,
    /// Listener and the times of its acknowledgements so far.
    pub acknowledged: Vec<(String, Observed)>,
    pub disk_free: Option<u64>,
    /// How rosters stand.
    pub rosters: Vec<PanelStatus>,
    /// What the FHIR server of `[coordination.sink]` has refused.
    pub sink: Option<Counts>,
}

/// What an alert is about; there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub rule: &'static str,
    pub subject: String,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wrong {
    pub key: Key,
    /// What was measured: seconds, of acknowledgements milliseconds, bytes, messages, or 1.
    pub value: i64,
    pub text: String,
}

/// What a look has found so far.
pub(super) struct Found<'a> {
    pub now_ms: i64,
    open: &'a [Key],
    wrong: Vec<Wrong>,
    unknown: Vec<Key>,
}

impl Found<'_> {
    pub fn wrong(&mut self, key: Key, value: i64, text: String) {
        self.wrong.push(Wrong { key, value, text });
    }

    /// Whether that is wrong cannot be known yet: an alert that is open stays so.
    pub fn unknown(&mut self, key: &Key) {
        self.unknown.extend(self.open.iter().find(|open| *open == key).cloned());
    }
}

/// Looks at one moment after the other.
#[derive(Debug)]
pub(super) struct Watch {
    rules: Rules,
    started_ms: i64,
    routes: Routes,
    listeners: Listeners,
}

impl Watch {
    pub fn new(rules: Rules, started_ms: i64) -> Watch {
        Watch { rules, started_ms, routes: Routes::default(), listeners: Listeners::default() }
    }

    /// All that is wrong, and of the alerts that are `open` those of which nothing can be known yet.
    pub fn look(&mut self, moment: &Moment, open: &[Key]) -> (Vec<Wrong>, Vec<Key>) {
        let mut found = Found { now_ms: moment.now_ms, open, wrong: Vec::new(), unknown: Vec::new() };
        self.journal(moment, &mut found);
        self.routes.look(&self.rules, &moment.routes, self.started_ms, &mut found);
        for listener in &moment.listeners {
            listeners::silence(&self.rules, listener, self.started_ms, &mut found);
        }
        self.listeners.look(&self.rules, &moment.acknowledged, self.started_ms, &mut found);
        for (listener, ends_ms) in &moment.certificates {
            listeners::certificate(&self.rules, listener, *ends_ms, &mut found);
        }
        moment.rosters.iter().for_each(|roster| found.wrong.extend(of_roster(roster, moment.now_ms)));
        if let Some(refused) = moment.sink.filter(|refused| *refused != Counts::default()) {
            let Counts { waiting, given_up } = refused;
            let text = format!(
                "of the events for the FHIR server of [coordination.sink], {waiting} wait because it refuses them or one before them, and {given_up} were given up within a day"
            );
            found.wrong(key("sink_refused", SINK), waiting.saturating_add(given_up).cast_signed(), text);
        }
        (found.wrong, found.unknown)
    }

    fn journal(&self, moment: &Moment, found: &mut Found<'_>) {
        if let Some(free) = moment.disk_free.filter(|free| *free < self.rules.disk_free) {
            let text = format!("{free} bytes are free where the data directory lies");
            found.wrong(key("disk_free", "data"), free.cast_signed(), text);
        }
        let text = match &moment.journal.health {
            Health::Ready => return,
            Health::Full => "no message is taken: the disk is full",
            Health::Failed(_) => "no message is taken: the journal has failed; see the log",
        };
        found.wrong(key("journal", "journal"), 1, text.into());
    }
}

/// What is wrong with the roster of a panel. Nothing of a row stands in it.
fn of_roster(roster: &PanelStatus, now_ms: i64) -> impl Iterator<Item = Wrong> + use<> {
    let panel = &roster.panel;
    let why = roster.why.as_deref().unwrap_or_default();
    let state = match roster.state {
        // Somebody has looked at what was rejected, and decided.
        PanelState::Accepted | PanelState::Rejected => None,
        PanelState::Held => Some(("roster_held", format!("the roster of panel {panel} is held: {why}"))),
        PanelState::Refused => Some(("roster_refused", format!("the roster of panel {panel} is refused: {why}"))),
    };
    let state = state.map(|(rule, text)| Wrong { key: key(rule, panel), value: 1, text });
    let age = roster.file_ms.map_or(0, |file_ms| seconds(now_ms - file_ms));
    let stale = roster.stale.as_ref().map(|stale| format!("the roster of panel {panel} is old: {stale}"));
    let stale = stale.map(|text| Wrong { key: key("roster_stale", panel), value: age, text });
    state.into_iter().chain(stale)
}

pub(super) fn key(rule: &'static str, subject: &str) -> Key {
    Key { rule, subject: subject.to_owned() }
}

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Durability;
    use crate::server::{Hours, RouteState};
    use crate::telemetry::Histogram;
    use jiff::tz::TimeZone;

    const MINUTE: i64 = 60_000;

    fn route(state: RouteState, rests: Option<&str>, oldest_queued_ms: Option<i64>) -> RouteStatus {
        RouteStatus {
            name: "ehr".into(),
            kind: "fhir",
            state,
            filtered: 0,
            resent: 0,
            dead_letters: 0,
            queued: 3,
            sent: 0,
            errored: 0,
            failed: 0,
            last_sent_ms: None,
            oldest_queued_ms,
            rests: rests.map(str::to_owned),
            parked: Default::default(),
            mishaps: Vec::new(),
        }
    }

    fn listener(last_received_ms: Option<i64>) -> ListenerStatus {
        ListenerStatus {
            name: "adt".into(),
            kind: "mllp",
            address: String::new(),
            tls: false,
            certificate: None,
            connections: 0,
            peers: Vec::new(),
            told: Vec::new(),
            silence: Some(Duration::from_secs(60).into()),
            received: 0,
            last_received_ms,
        }
    }

    fn moment(now_ms: i64) -> Moment {
        let journal = JournalStatus { head: 0, health: Health::Ready, durability: Durability::Fsync };
        Moment {
            now_ms,
            journal,
            listeners: vec![],
            routes: vec![],
            certificates: vec![],
            acknowledged: vec![],
            disk_free: Some(u64::MAX),
            rosters: vec![],
            sink: None,
        }
    }

    fn found(watch: &mut Watch, moment: &Moment, open: &[Key]) -> (Vec<&'static str>, usize) {
        let (wrong, unknown) = watch.look(moment, open);
        (wrong.iter().map(|wrong| wrong.key.rule).collect(), unknown.len())
    }

    #[test]
    fn each_rule_at_its_bound() {
        let mut watch = Watch::new(Rules::default(), 0);
        let now = 100 * MINUTE;
        assert_eq!(found(&mut watch, &moment(now), &[]), (vec![], 0));
        let waits = |since| Moment { routes: vec![route(RouteState::Started, None, Some(since))], ..moment(now) };
        assert_eq!(found(&mut watch, &waits(now - 15 * MINUTE), &[]).0, [""; 0]);
        assert_eq!(found(&mut watch, &waits(now - 15 * MINUTE - 1), &[]).0, ["queue_age"]);
        let free = |disk_free| Moment { disk_free, ..moment(now) };
        assert_eq!(found(&mut watch, &free(Some(2 << 30)), &[]).0, [""; 0]);
        assert_eq!(found(&mut watch, &free(Some((2 << 30) - 1)), &[]).0, ["disk_free"]);
        assert_eq!(found(&mut watch, &free(None), &[]).0, [""; 0]);
        let ends = |ends_ms| Moment { certificates: vec![("adt".into(), ends_ms)], ..moment(now) };
        assert_eq!(found(&mut watch, &ends(now + 21 * 24 * 60 * MINUTE), &[]).0, [""; 0]);
        assert_eq!(found(&mut watch, &ends(now + 21 * 24 * 60 * MINUTE - 1), &[]).0, ["certificate"]);
        for health in [Health::Full, Health::Failed("x".into())] {
            let mut moment = moment(now);
            moment.journal.health = health;
            assert_eq!(found(&mut watch, &moment, &[]).0, ["journal"]);
        }
    }

    #[test]
    fn rosters_that_are_held_refused_or_old_are_told() {
        let mut watch = Watch::new(Rules::default(), 0);
        let roster = |state, stale: Option<&str>| PanelStatus {
            panel: "aco".into(),
            kind: "aco",
            state,
            why: Some("why".into()),
            sha256: None,
            read_ms: 0,
            rows: (0, 0),
            changes: [0; 3],
            in_force: None,
            members: 0,
            attributed: 0,
            file_ms: Some(0),
            stale: stale.map(str::to_owned),
            warnings: vec![],
        };
        let mut rules =
            |state, stale| found(&mut watch, &Moment { rosters: vec![roster(state, stale)], ..moment(5) }, &[]).0;
        assert_eq!(rules(PanelState::Accepted, None), [""; 0]);
        assert_eq!(rules(PanelState::Held, None), ["roster_held"]);
        assert_eq!(rules(PanelState::Refused, Some("old")), ["roster_refused", "roster_stale"]);
    }

    #[test]
    fn what_a_server_of_ours_refuses_is_told() {
        let mut watch = Watch::new(Rules::default(), 0);
        let mut rules = |waiting, given_up| {
            found(&mut watch, &Moment { sink: Some(Counts { waiting, given_up }), ..moment(5) }, &[]).0
        };
        assert_eq!(rules(0, 0), [""; 0]);
        assert_eq!((rules(1, 0), rules(0, 1)), (vec!["sink_refused"], vec!["sink_refused"]));
    }

    #[test]
    fn a_route_that_does_not_deliver_is_told_after_a_while() {
        let mut watch = Watch::new(Rules::default(), 0);
        let at = |now: i64, state, rests| Moment { routes: vec![route(state, rests, None)], ..moment(now) };
        let open = [key("route_held", "ehr")];
        assert_eq!(found(&mut watch, &at(0, RouteState::Paused, None), &[]).0, [""; 0]);
        assert_eq!(found(&mut watch, &at(60 * MINUTE + 1, RouteState::Started, Some("x")), &[]).0, ["route_held"]);
        assert_eq!(found(&mut watch, &at(61 * MINUTE, RouteState::Started, None), &open), (vec![], 0), "resolved");
        assert_eq!(
            found(&mut watch, &at(62 * MINUTE, RouteState::Stopped, None), &open),
            (vec![], 1),
            "after a restart"
        );
    }

    #[test]
    fn silence_counts_from_the_start_and_an_alert_of_before_stays_open() {
        let mut watch = Watch::new(Rules::default(), 0);
        let at = |now: i64, last| Moment { listeners: vec![listener(last)], ..moment(now) };
        let open = [key("silence", "adt")];
        assert_eq!(found(&mut watch, &at(MINUTE, None), &[]), (vec![], 0));
        assert_eq!(found(&mut watch, &at(MINUTE, None), &open), (vec![], 1));
        assert_eq!(found(&mut watch, &at(MINUTE + 1, None), &open), (vec!["silence"], 0));
        assert_eq!(found(&mut watch, &at(2 * MINUTE, Some(2 * MINUTE)), &open), (vec![], 0), "resolved");
    }

    #[test]
    fn every_rule_has_its_name() {
        let told = include_str!("rules.rs").lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next());
        assert_eq!(told.collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn silence_counts_within_its_hours() {
        let hours = Hours::parse("01:00-02:00", None, TimeZone::UTC);
        let silence = Silence { after: Duration::from_secs(60), hours };
        let rules = Rules { silence: Some(silence), ..Rules::default() };
        let mut watch = Watch::new(rules, 0);
        let own = |last| ListenerStatus { silence: None, ..listener(last) };
        let at = |now: i64| Moment { listeners: vec![own(Some(0))], ..moment(now) };
        assert_eq!(found(&mut watch, &at(60 * MINUTE), &[]).0, [""; 0], "an hour, before they begin");
        assert_eq!(found(&mut watch, &at(61 * MINUTE), &[]).0, [""; 0]);
        assert_eq!(found(&mut watch, &at(61 * MINUTE + 1), &[]).0, ["silence"]);
        assert_eq!(
            found(&mut watch, &at(600 * MINUTE), &[]).0,
            ["silence"],
            "no message has come, though they are over"
        );
    }

    #[test]
    fn a_long_queue_is_told_where_somebody_asks_for_it() {
        let at = |queued| {
            let route = RouteStatus { queued, ..route(RouteState::Started, None, None) };
            Moment { routes: vec![route], ..moment(0) }
        };
        let rules = Rules { queue_depth: Some(100), ..Rules::default() };
        let mut watch = Watch::new(rules, 0);
        assert_eq!(found(&mut watch, &at(100), &[]).0, [""; 0]);
        assert_eq!(found(&mut watch, &at(101), &[]).0, ["queue_depth"]);
        assert_eq!(found(&mut Watch::new(Rules::default(), 0), &at(u64::MAX >> 1), &[]).0, [""; 0]);
    }

    #[test]
    fn dead_letters_are_told_by_number_and_share_of_a_while() {
        let rate = ErrorRate { letters: 3, share: 0.5, within: Duration::from_secs(3600) };
        let mut watch = Watch::new(Rules { error_rate: Some(rate), ..Rules::default() }, 0);
        let open = [key("error_rate", "ehr")];
        // Minute, delivered, dead letters; what is told, and of how many nothing is known.
        for (minute, sent, errored, told, unknown) in [
            (1, 0, 2, false, 1),
            (2, 0, 3, true, 0),
            (3, 3, 3, true, 0),
            (4, 4, 3, false, 1),
            (61, 4, 3, false, 0),
            (62, 4, 3, false, 0),
            // Started again: its counts begin anew, and those of before are no part of them.
            (63, 1, 1, false, 0),
            (64, 1, 3, true, 0),
            (122, 1, 3, true, 0),
            (125, 1, 3, false, 0),
        ] {
            let route = RouteStatus { sent, errored, ..route(RouteState::Started, None, None) };
            let moment = Moment { routes: vec![route], ..moment(minute * MINUTE) };
            let (rules, unknowns) = found(&mut watch, &moment, &open);
            assert_eq!((rules == ["error_rate"], unknowns), (told, unknown), "minute {minute}: {rules:?}");
        }
    }

    #[test]
    fn dead_letters_that_are_sent_again_are_no_further_deliveries() {
        let rate = ErrorRate { letters: 1, share: 0.5, within: Duration::from_secs(3600) };
        let mut watch = Watch::new(Rules { error_rate: Some(rate), ..Rules::default() }, 0);
        let route = RouteStatus { sent: 101, resent: 100, errored: 1, ..route(RouteState::Started, None, None) };
        assert_eq!(found(&mut watch, &Moment { routes: vec![route], ..moment(MINUTE) }, &[]).0, ["error_rate"]);
    }

    #[test]
    fn slow_acknowledgements_of_the_last_minute_are_told() {
        let mut watch = Watch::new(Rules::default(), 0);
        let histogram = Histogram::of_times();
        let mut at = |second: i64, times: &[(u64, usize)]| {
            for (seconds, count) in times {
                (0..*count).for_each(|_| histogram.time(Duration::from_secs(*seconds)));
            }
            let acknowledged = vec![("adt".to_owned(), histogram.observed())];
            found(&mut watch, &Moment { acknowledged, ..moment(second * 1000) }, &[key("ack_latency", "adt")])
        };
        assert_eq!(at(10, &[(9, 9)]), (vec![], 1), "too few to tell");
        assert_eq!(at(20, &[(9, 1)]), (vec!["ack_latency"], 0));
        assert_eq!(at(30, &[(1, 2000)]), (vec![], 0), "less than one in a hundred");
        assert_eq!(at(70, &[]), (vec![], 0));
        assert_eq!(at(200, &[]), (vec![], 0), "nobody sends: that is over, too");
        assert_eq!(at(210, &[(9, 50), (1, 50)]), (vec!["ack_latency"], 0));
        assert_eq!(at(280, &[(1, 50)]), (vec![], 0), "a minute later");
    }
}
