//! How the gateway is and was: one task looks at it for however many pages are open, and keeps the rates of the last minutes.
//!
//! While somebody looks it looks every [`EVERY`]; else only as often as a rate needs a point ([`STEP`]), and then at nothing but counts.
use crate::admin::Shared;
use crate::admin::api::status::{self, Sight};
use crate::alerts;
use crate::server::{ListenerStatus, RouteStatus};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

/// Between one look and the next, while somebody looks.
const EVERY: Duration = Duration::from_secs(2);
/// What a point of a rate is about.
const STEP: Duration = Duration::from_secs(10);
/// Points that are kept: ten minutes.
pub(super) const POINTS_MAX: usize = 60;
/// Pages that are kept up to date at the same time; the socket has 128 connections for everything.
const STREAMS_MAX: usize = 64;

/// The gateway at one moment, and its rates.
pub(super) struct Seen {
    pub sight: Sight,
    /// Alerts.
    pub open: alerts::Seen,
    pub rates: Rates,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: i64,
}

/// What comes of the looking.
pub(super) struct Pulse {
    /// Ends when the gateway does.
    newest: watch::Receiver<Option<Arc<Seen>>>,
    rates: Arc<Mutex<Rates>>,
    sooner: Arc<Notify>,
    places: Arc<Semaphore>,
}

/// The newest of what is seen, for as long as the place is held.
pub(super) struct Watching {
    pub newest: watch::Receiver<Option<Arc<Seen>>>,
    pub place: OwnedSemaphorePermit,
}

impl Pulse {
    /// Begins to look; ends by itself when the gateway does.
    pub fn start(admin: Arc<Shared>) -> Pulse {
        let (sender, newest) = watch::channel(None);
        let (rates, sooner) = (Arc::<Mutex<Rates>>::default(), Arc::<Notify>::default());
        tokio::spawn(run(admin, sender, Arc::clone(&rates), Arc::clone(&sooner)));
        Pulse { newest, rates, sooner, places: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// What a page shows: as it is now.
    pub async fn look(&self, admin: &Arc<Shared>) -> Result<Seen, crate::admin::problem::Problem> {
        let sight = status::look(admin).await?;
        let started_ms = admin.started.as_millisecond();
        Ok(Seen { sight, open: admin.alerts.seen(), rates: lock(&self.rates).clone(), started_ms })
    }

    /// To be told of every look; `None` when too many are already.
    pub fn watch(&self) -> Option<Watching> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut newest = self.newest.clone();
        // What was seen before may be old: the look that comes at once is the first to be told.
        newest.mark_unchanged();
        self.sooner();
        Some(Watching { newest, place })
    }

    /// Something has been done: pages are to show it at once.
    pub fn sooner(&self) {
        self.sooner.notify_one();
    }
}

async fn run(
    admin: Arc<Shared>,
    newest: watch::Sender<Option<Arc<Seen>>>,
    rates: Arc<Mutex<Rates>>,
    sooner: Arc<Notify>,
) {
    loop {
        // One is kept for those to come.
        let watched = newest.receiver_count() > 1;
        if watched {
            // That it does not answer is seen by what does not come.
            if let Ok(sight) = status::look(&admin).await {
                let mut kept = lock(&rates);
                kept.note(Instant::now(), &sight.listeners, &sight.routes);
                let (open, started_ms) = (admin.alerts.seen(), admin.started.as_millisecond());
                let seen = Seen { sight, open, rates: kept.clone(), started_ms };
                drop(kept);
                newest.send_replace(Some(Arc::new(seen)));
            }
        } else {
            let (listeners, routes) = (admin.control.listeners().await, admin.control.routes().await);
            lock(&rates).note(Instant::now(), &listeners, &routes);
        }
        tokio::select! {
            () = admin.control.gone() => return,
            () = sooner.notified() => {}
            () = sleep(if watched { EVERY } else { STEP }) => {}
        }
    }
}

fn lock(rates: &Mutex<Rates>) -> std::sync::MutexGuard<'_, Rates> {
    rates.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages a minute, by listener and route, over the last minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    listeners: BTreeMap<String, Line>,
    routes: BTreeMap<String, Line>,
    at: Option<Instant>,
}

/// The rates of one of them; the newest last.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    counted: u64,
    pub points: VecDeque<u32>,
}

impl Rates {
    /// Takes in what has been counted, if it is time for another point.
    fn note(&mut self, now: Instant, listeners: &[ListenerStatus], routes: &[RouteStatus]) {
        let passed = self.at.map(|at| now.duration_since(at));
        // A look may come a little before its time.
        if passed.is_some_and(|passed| passed + EVERY / 2 < STEP) {
            return;
        }
        self.at = Some(now);
        let received = listeners.iter().map(|listener| (listener.name.as_str(), listener.received));
        take(&mut self.listeners, received, passed);
        take(&mut self.routes, routes.iter().map(|route| (route.name.as_str(), route.sent)), passed);
    }

    /// Messages that have come to a listener.
    pub fn listener(&self, name: &str) -> Option<&Line> {
        self.listeners.get(name)
    }

    /// Messages that a route has delivered.
    pub fn route(&self, name: &str) -> Option<&Line> {
        self.routes.get(name)
    }
}

fn take<'n>(
    lines: &mut BTreeMap<String, Line>,
    counts: impl Iterator<Item = (&'n str, u64)> + Clone,
    passed: Option<Duration>,
) {
    lines.retain(|name, _| counts.clone().any(|(counted, _)| counted == name));
    for (name, count) in counts {
        let line = lines.entry(name.to_owned()).or_default();
        // One that was started anew counts from nothing.
        let more = if count < line.counted { count } else { count - line.counted };
        line.counted = count;
        let Some(passed) = passed else { continue };
        if line.points.len() == POINTS_MAX {
            line.points.pop_front();
        }
        line.points.push_back((more as f64 * 60.0 / passed.as_secs_f64().max(0.001)).round() as u32);
    }
}

impl Line {
    /// Messages a minute over the last minute.
    pub fn now(&self) -> u32 {
        let newest: Vec<u32> = self.points.iter().rev().take(6).copied().collect();
        if newest.is_empty() { 0 } else { newest.iter().sum::<u32>() / newest.len() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rates: &mut Rates, seconds: u64, start: Instant, count: u64) {
        take(&mut rates.routes, [("ehr", count)].into_iter(), rates.at.map(|_| STEP));
        rates.at = Some(start + Duration::from_secs(seconds));
    }

    #[test]
    fn a_rate_is_what_has_come_in_a_step() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for (seconds, count) in [(0, 50), (10, 60), (20, 60), (30, 5)] {
            counted(&mut rates, seconds, start, count);
        }
        let line = rates.route("ehr").unwrap();
        assert_eq!(line.points, [60, 0, 30], "the first look only begins; one started anew counts from nothing");
        assert_eq!((line.now(), rates.route("other").is_none()), (30, true));
        for seconds in 4..200 {
            counted(&mut rates, 10 * seconds, start, 5);
        }
        let line = rates.route("ehr").unwrap();
        assert_eq!((line.points.len(), line.now()), (POINTS_MAX, 0));
    }

    #[test]
    fn looks_in_between_make_no_points() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for seconds in 0..31 {
            rates.note(start + Duration::from_secs(seconds), &[], &[]);
        }
        assert_eq!(rates.at, Some(start + Duration::from_secs(27)), "every nine to ten seconds");
    }
}
