//! What is wrong at one moment.
//!
//! | rule | subject | when |
//! |---|---|---|
//! | `queue_age` | route | its oldest message has waited too long |
//! | `route_held` | route | it has been paused, stopped or resting too long |
//! | `silence` | listener | no message has come for too long |
//! | `certificate` | listener | its certificate ends soon |
//! | `disk_free` | `data` | little space is left |
//! | `journal` | `journal` | it has failed, or its disk is full |
//! | `roster_held` | panel | its roster waits for somebody to approve of it |
//! | `roster_refused` | panel | its roster cannot be used |
//! | `roster_stale` | panel | its roster is older than `stale_after` |
use crate::journal::Health;
use crate::server::care::{PanelState, PanelStatus};
use crate::server::{JournalStatus, ListenerStatus, RouteState, RouteStatus};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use x509_parser::pem::Pem;

/// What is worth an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The age of the oldest message that waits for a route.
    pub queue_age: Duration,
    /// How long a route may be paused, stopped or resting.
    pub route_held: Duration,
    /// Bytes that must be free.
    pub disk_free: u64,
    /// How long before a certificate ends.
    pub certificate: Duration,
    /// How long a listener may be without a message, unless it says so itself; without one: for ever.
    pub silence: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Rules {
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
        Rules {
            queue_age: 15 * minute,
            route_held: 60 * minute,
            disk_free: 2 << 30,
            certificate: 21 * day,
            silence: None,
        }
    }
}

/// The gateway at one moment.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub now_ms: i64,
    pub journal: JournalStatus,
    pub listeners: Vec<ListenerStatus>,
    pub routes: Vec<RouteStatus>,
    /// Listener and when its certificate ends.
    pub certificates: Vec<(String, i64)>,
    pub disk_free: Option<u64>,
    /// How rosters stand.
    pub rosters: Vec<PanelStatus>,
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
    /// What was measured: seconds, bytes, or 1.
    pub value: i64,
    pub text: String,
}

/// Looks at one moment after the other.
#[derive(Debug)]
pub(super) struct Watch {
    rules: Rules,
    started_ms: i64,
    /// Since when routes do not deliver.
    held_since_ms: HashMap<String, i64>,
}

impl Watch {
    pub fn new(rules: Rules, started_ms: i64) -> Watch {
        Watch { rules, started_ms, held_since_ms: HashMap::new() }
    }

    /// All that is wrong, and of the alerts that are `open` those of which nothing can be known yet.
    pub fn look(&mut self, moment: &Moment, open: &[Key]) -> (Vec<Wrong>, Vec<Key>) {
        let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
        self.journal(moment, &mut wrong);
        for route in &moment.routes {
            self.route(route, moment.now_ms, open, &mut wrong, &mut unknown);
        }
        self.held_since_ms.retain(|name, _| moment.routes.iter().any(|route| route.name == *name));
        for listener in &moment.listeners {
            self.listener(listener, moment.now_ms, open, &mut wrong, &mut unknown);
        }
        moment.rosters.iter().for_each(|roster| wrong.extend(of_roster(roster, moment.now_ms)));
        for (listener, ends_ms) in &moment.certificates {
            let left = seconds(ends_ms - moment.now_ms);
            if left < self.rules.certificate.as_secs().cast_signed() {
                let text = match left.div_euclid(86_400) {
                    days if days < 0 => format!("the certificate of listener {listener} has ended"),
                    days => format!("the certificate of listener {listener} ends in {days} days"),
                };
                wrong.push(Wrong { key: key("certificate", listener), value: left, text });
            }
        }
        (wrong, unknown)
    }

    fn journal(&self, moment: &Moment, wrong: &mut Vec<Wrong>) {
        if let Some(free) = moment.disk_free.filter(|free| *free < self.rules.disk_free) {
            let text = format!("{free} bytes are free where the data directory lies");
            wrong.push(Wrong { key: key("disk_free", "data"), value: free.cast_signed(), text });
        }
        let text = match &moment.journal.health {
            Health::Ready => return,
            Health::Full => "no message is taken: the disk is full",
            Health::Failed(_) => "no message is taken: the journal has failed; see the log",
        };
        wrong.push(Wrong { key: key("journal", "journal"), value: 1, text: text.into() });
    }

    fn route(
        &mut self,
        route: &RouteStatus,
        now_ms: i64,
        open: &[Key],
        wrong: &mut Vec<Wrong>,
        unknown: &mut Vec<Key>,
    ) {
        let name = &route.name;
        if let Some(oldest_ms) = route.oldest_queued_ms {
            let age = seconds(now_ms - oldest_ms);
            if now_ms - oldest_ms > millis(self.rules.queue_age) {
                let text = format!("the oldest of {} messages has waited {age} s for route {name}", route.queued);
                wrong.push(Wrong { key: key("queue_age", name), value: age, text });
            }
        }
        let how = match (route.state, &route.rests) {
            (RouteState::Started, None) => {
                self.held_since_ms.remove(name);
                return;
            }
            (RouteState::Started, Some(reason)) => format!("resting: {reason}"),
            (state, _) => state.name().to_owned(),
        };
        let since = *self.held_since_ms.entry(name.clone()).or_insert(now_ms);
        if now_ms - since > millis(self.rules.route_held) {
            let value = seconds(now_ms - since);
            wrong.push(Wrong { key: key("route_held", name), value, text: format!("route {name} is {how}") });
        } else {
            // Since when is forgotten at a restart; that it is still so is not.
            unknown.extend(open.iter().find(|open| **open == key("route_held", name)).cloned());
        }
    }

    fn listener(
        &self,
        listener: &ListenerStatus,
        now_ms: i64,
        open: &[Key],
        wrong: &mut Vec<Wrong>,
        unknown: &mut Vec<Key>,
    ) {
        let Some(silence) = listener.silence.or(self.rules.silence) else { return };
        let name = &listener.name;
        let quiet_ms = now_ms - listener.last_received_ms.unwrap_or(self.started_ms);
        if quiet_ms > millis(silence) {
            let value = seconds(quiet_ms);
            let text = format!("no message has come to listener {name} for {value} s");
            wrong.push(Wrong { key: key("silence", name), value, text });
        } else if listener.last_received_ms.is_none() {
            // It was silent before the start, and has been since.
            unknown.extend(open.iter().find(|open| **open == key("silence", name)).cloned());
        }
    }
}

/// What is wrong with the roster of a panel. Nothing of a row stands in it.
fn of_roster(roster: &PanelStatus, now_ms: i64) -> impl Iterator<Item = Wrong> + use<> {
    let panel = &roster.panel;
    let why = roster.why.as_deref().unwrap_or_default();
    let state = match roster.state {
        PanelState::Accepted => None,
        PanelState::Held => Some(("roster_held", format!("the roster of panel {panel} is held: {why}"))),
        PanelState::Refused => Some(("roster_refused", format!("the roster of panel {panel} is refused: {why}"))),
    };
    let state = state.map(|(rule, text)| Wrong { key: key(rule, panel), value: 1, text });
    let age = roster.file_ms.map_or(0, |file_ms| seconds(now_ms - file_ms));
    let stale = roster.stale.as_ref().map(|stale| format!("the roster of panel {panel} is old: {stale}"));
    let stale = stale.map(|text| Wrong { key: key("roster_stale", panel), value: age, text });
    state.into_iter().chain(stale)
}

fn key(rule: &'static str, subject: &str) -> Key {
    Key { rule, subject: subject.to_owned() }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}

/// When the first of the certificates in a PEM file ends, in milliseconds since 1970; none where no certificate can be read, which TLS itself complains of.
pub(super) fn ends_ms(file: &Path) -> Option<i64> {
    let text = std::fs::read(file).ok()?;
    let ends = Pem::iter_from_buffer(&text)
        .filter_map(Result::ok)
        .filter_map(|pem| pem.parse_x509().ok().map(|found| found.validity().not_after.timestamp()));
    ends.min().and_then(|seconds| seconds.checked_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Durability;

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
            silence: Some(Duration::from_secs(60)),
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
            disk_free: Some(u64::MAX),
            rosters: vec![],
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
}
