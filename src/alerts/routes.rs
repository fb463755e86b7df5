//! What is wrong with routes: `queue_age`, `queue_depth`, `route_held`, `error_rate`.
use super::rules::{ErrorRate, Found, Rules, key, millis, seconds};
use super::window::Window;
use crate::server::{RouteState, RouteStatus};
use std::collections::HashMap;

/// What must be remembered of routes from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Since when they do not deliver.
    held_since_ms: HashMap<String, i64>,
    ended: HashMap<String, Ended>,
}

/// What became of the messages of a route. Its own counts begin anew when it is started again; these do not.
#[derive(Debug)]
struct Ended {
    last: Counts,
    all: Counts,
    window: Window<Counts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    delivered: u64,
    dead: u64,
}

impl Routes {
    pub fn look(&mut self, rules: &Rules, routes: &[RouteStatus], started_ms: i64, found: &mut Found<'_>) {
        for route in routes {
            queue(rules, route, found);
            self.held(rules, route, found);
            if let Some(rate) = &rules.error_rate {
                let new = || Ended {
                    last: Counts::default(),
                    all: Counts::default(),
                    window: Window::new(rate.within, started_ms),
                };
                self.ended.entry(route.name.clone()).or_insert_with(new).look(rate, route, found);
            }
        }
        self.held_since_ms.retain(|name, _| routes.iter().any(|route| route.name == *name));
        self.ended.retain(|name, _| routes.iter().any(|route| route.name == *name));
    }

    fn held(&mut self, rules: &Rules, route: &RouteStatus, found: &mut Found<'_>) {
        let name = &route.name;
        let how = match (route.state, &route.rests) {
            (RouteState::Started, None) => {
                self.held_since_ms.remove(name);
                return;
            }
            (RouteState::Started, Some(reason)) => format!("resting: {reason}"),
            (state, _) => state.name().to_owned(),
        };
        let since = *self.held_since_ms.entry(name.clone()).or_insert(found.now_ms);
        if found.now_ms - since > millis(rules.route_held) {
            found.wrong(key("route_held", name), seconds(found.now_ms - since), format!("route {name} is {how}"));
        } else {
            // Since when is forgotten at a restart; that it is still so is not.
            found.unknown(&key("route_held", name));
        }
    }
}

fn queue(rules: &Rules, route: &RouteStatus, found: &mut Found<'_>) {
    let (name, queued) = (&route.name, route.queued);
    if let Some(age_ms) = route.oldest_queued_ms.map(|oldest_ms| found.now_ms - oldest_ms) {
        let age = seconds(age_ms);
        if age_ms > millis(rules.queue_age) {
            let text = format!("the oldest of {queued} messages has waited {age} s for route {name}");
            found.wrong(key("queue_age", name), age, text);
        }
    }
    if rules.queue_depth.is_some_and(|depth| queued > depth) {
        found.wrong(key("queue_depth", name), queued.cast_signed(), format!("{queued} messages wait for route {name}"));
    }
}

impl Ended {
    fn look(&mut self, rate: &ErrorRate, route: &RouteStatus, found: &mut Found<'_>) {
        let now = Counts { delivered: route.sent.saturating_sub(route.resent), dead: route.errored };
        let grown = |now: u64, last: u64| if now < last { now } else { now - last };
        self.all.delivered += grown(now.delivered, self.last.delivered);
        self.all.dead += grown(now.dead, self.last.dead);
        self.last = now;
        let (before, is_whole) = self.window.since(found.now_ms, self.all);
        let (delivered, dead) = (self.all.delivered - before.delivered, self.all.dead - before.dead);
        let (ended, key) = (delivered + dead, key("error_rate", &route.name));
        if dead >= rate.letters && dead > 0 && dead as f64 >= rate.share * ended as f64 {
            let (minutes, name) = (rate.within.as_secs().div_ceil(60), &route.name);
            let text = format!("{dead} of {ended} messages of route {name} became dead letters within {minutes} min");
            found.wrong(key, dead.cast_signed(), text);
        } else if !is_whole {
            // What was counted before a restart is forgotten.
            found.unknown(&key);
        }
    }
}
