//! The lanes of a gateway: one for each route, and the one that collects what could not be translated.
use super::control::{ControlError, RouteState, RouteStatus};
use crate::delivery::channel::Channel;
use crate::delivery::{Common, Door, Gauge, Lane, OpenError, Options, Reading, Wish};
use crate::facets::Facets;
use crate::journal::{Item, Limits, Reader};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, timeout_at};

/// Lanes by the names of their cursors.
#[derive(Debug)]
pub(super) struct Lanes {
    common: Common,
    routes: BTreeMap<String, Route>,
    untranslated: Option<AbortHandle>,
    tasks: JoinSet<()>,
    wish_untranslated: watch::Sender<Wish>,
    /// Lanes that ended while others were waited for.
    ended: Vec<Id>,
}

#[derive(Debug)]
struct Route {
    options: Options,
    state: RouteState,
    wish: watch::Sender<Wish>,
    gauge: Arc<Gauge>,
    door: Door,
    /// What stood in the files of its target when it started.
    files: [u8; 32],
    /// Messages that had arrived outside its lane, as dead letters sent again, before it started.
    resent_before: u64,
    /// None while it is stopped.
    task: Option<AbortHandle>,
}

/// What a route shows at one moment.
struct Looked {
    name: String,
    kind: &'static str,
    state: RouteState,
    reading: Reading,
    resent_before: u64,
}

/// What has become of the routes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

/// Time for deliveries that are under way when a lane is told to end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

impl Lanes {
    pub fn new(common: Common) -> Result<Lanes, OpenError> {
        let lane = Lane::open_untranslated(&common)?;
        let (wish_untranslated, wishes) = watch::channel(Wish::Deliver);
        let mut tasks = JoinSet::new();
        let untranslated = Some(tasks.spawn(lane.run(wishes)));
        Ok(Lanes { common, routes: BTreeMap::new(), untranslated, tasks, wish_untranslated, ended: Vec::new() })
    }

    /// The names whose cursors the journal must heed.
    pub fn readers(&self) -> Vec<String> {
        self.routes.keys().cloned().chain([crate::delivery::UNTRANSLATED.to_owned()]).collect()
    }

    /// The routes as they are configured.
    pub fn options(&self) -> Vec<Options> {
        self.routes.values().map(|route| route.options.clone()).collect()
    }

    /// By which messages are handed to the routes that run, paused or not.
    pub fn doors(&self) -> BTreeMap<String, Door> {
        let running = self.routes.iter().filter(|(_, route)| route.task.is_some());
        running.map(|(name, route)| (name.clone(), route.door.clone())).collect()
    }

    /// Makes the routes those that are wanted. Their channels are tried first, so that nothing has changed when one of them cannot be made.
    pub async fn apply(&mut self, wanted: Vec<Options>) -> Result<Changes, OpenError> {
        for options in &wanted {
            Channel::several(options.target.clone(), &options.replies, 1)?;
        }
        let mut changes = Changes::default();
        let named = |name: &str| wanted.iter().find(|options| options.route.name == name);
        for (name, route) in &self.routes {
            match named(name) {
                None => changes.removed.push(name.clone()),
                Some(options) if *options != route.options || contents(options) != route.files => {
                    changes.changed.push(name.clone());
                }
                Some(_) => {}
            }
        }
        // What can fail comes before anything ends: states are read, new routes opened.
        let mut states = BTreeMap::new();
        for options in &wanted {
            let held = self.common.state.hold(&options.route.name)?;
            let state = held.and_then(|how| RouteState::parse(&how)).unwrap_or_default();
            states.insert(options.route.name.clone(), state);
        }
        let state = |options: &Options| states.get(&options.route.name).copied().unwrap_or_default();
        for options in
            wanted.iter().filter(|options| !self.routes.contains_key(&options.route.name)).collect::<Vec<_>>()
        {
            if let Err(error) = self.open(options.clone(), state(options)) {
                self.end(&changes.added).await;
                changes.added.iter().for_each(|name| _ = self.routes.remove(name));
                return Err(error);
            }
            changes.added.push(options.route.name.clone());
        }
        self.end(&[changes.removed.as_slice(), &changes.changed].concat()).await;
        for name in &changes.removed {
            self.routes.remove(name);
        }
        let mut failed = None;
        for options in wanted.into_iter().filter(|options| changes.changed.contains(&options.route.name)) {
            let before = self.routes.remove(&options.route.name);
            let state = state(&options);
            if let Err(error) = self.open(options, state) {
                // As it was, if that still goes; the error says that it did not become what it should.
                let reopened = before.map(|before| self.open(before.options, before.state));
                tracing::error!(reopened = matches!(reopened, Some(Ok(()))), "a route could not be changed: {error}");
                failed = Some(error);
            }
        }
        self.common.settled.set_routes(self.routes.keys().cloned().collect());
        failed.map_or(Ok(changes), Err)
    }

    fn open(&mut self, options: Options, state: RouteState) -> Result<(), OpenError> {
        // Before they are read: what changes meanwhile is then taken up at the next reload.
        let files = contents(&options);
        // Opened in any case: a new route begins with the next message, also if it is stopped.
        let lane = Lane::open(options.clone(), &self.common)?;
        let (wish, wishes) = watch::channel(if state == RouteState::Paused { Wish::Pause } else { Wish::Deliver });
        let (name, gauge, door) = (options.route.name.clone(), lane.gauge(), lane.door());
        let resent_before = self.common.state.resent()?.get(&name).map_or(0, |(count, _)| *count);
        let task = (state != RouteState::Stopped).then(|| self.tasks.spawn(lane.run(wishes)));
        self.routes.insert(name, Route { options, state, wish, gauge, door, files, resent_before, task });
        Ok(())
    }

    pub async fn set(&mut self, name: &str, state: RouteState) -> Result<(), ControlError> {
        let failed = |error: &dyn std::fmt::Display| ControlError::Failed(error.to_string());
        let Some(route) = self.routes.get_mut(name) else { return Err(ControlError::UnknownRoute(name.to_owned())) };
        if route.state == state {
            return Ok(());
        }
        // Written down first: a route that somebody stopped must not deliver after a crash.
        let held = (state != RouteState::Started).then_some(state.name());
        self.common.state.set_hold(name, held).map_err(|error| failed(&error))?;
        tracing::info!(route = name, from = route.state.name(), to = state.name(), "route");
        match (state, &route.task) {
            (RouteState::Stopped, _) => {
                self.end(&[name.to_owned()]).await;
                if let Some(route) = self.routes.get_mut(name) {
                    (route.state, route.task) = (state, None);
                }
                Ok(())
            }
            (_, Some(_)) => {
                route.state = state;
                route.wish.send_replace(if state == RouteState::Paused { Wish::Pause } else { Wish::Deliver });
                Ok(())
            }
            (_, None) => {
                let options = route.options.clone();
                self.open(options, state).map_err(|error| failed(&error))
            }
        }
    }

    /// Ends lanes with what they have under way; what takes too long is cut, and made again when the lane starts again.
    async fn end(&mut self, names: &[String]) {
        let mut waiting: Vec<AbortHandle> = Vec::new();
        for (_, route) in self.routes.iter_mut().filter(|(name, _)| names.contains(name)) {
            route.wish.send_replace(Wish::End);
            waiting.extend(route.task.take());
        }
        self.wait_for(waiting).await;
    }

    async fn wait_for(&mut self, mut waiting: Vec<AbortHandle>) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while !waiting.is_empty() {
            let id = match timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(None) => return,
                Ok(Some(ended)) => ended.map_or_else(|error| error.id(), |(id, ())| id),
                Err(_) if Instant::now() < deadline + FLUSH_TIMEOUT => {
                    tracing::warn!("some deliveries were cut; they are made again when the route starts again");
                    waiting.iter().for_each(AbortHandle::abort);
                    // Aborted tasks end as soon as they are looked at.
                    while let Some(ended) = self.tasks.join_next_with_id().await {
                        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                        self.note_end(id, &mut waiting);
                        if waiting.is_empty() {
                            return;
                        }
                    }
                    return;
                }
                Err(_) => return,
            };
            self.note_end(id, &mut waiting);
        }
    }

    fn note_end(&mut self, id: Id, waiting: &mut Vec<AbortHandle>) {
        match waiting.iter().position(|handle| handle.id() == id) {
            Some(at) => _ = waiting.swap_remove(at),
            None => self.ended.push(id),
        }
    }

    /// Waits until a lane that should be running has ended; its name.
    pub async fn died(&mut self) -> String {
        loop {
            let id = match self.ended.pop() {
                Some(id) => id,
                None => match self.tasks.join_next_with_id().await {
                    None => return std::future::pending().await,
                    Some(ended) => ended.map_or_else(|error| error.id(), |(id, ())| id),
                },
            };
            let is = |task: &Option<AbortHandle>| task.as_ref().is_some_and(|task| task.id() == id);
            if is(&self.untranslated) {
                return crate::delivery::UNTRANSLATED.to_owned();
            }
            if let Some((name, _)) = self.routes.iter().find(|(_, route)| is(&route.task)) {
                return name.clone();
            }
        }
    }

    /// How each route is; reads the journal for the age of what waits, and the state for what is no business of its lane.
    pub async fn status(&self) -> Vec<RouteStatus> {
        let head = *self.common.journal.head().borrow();
        let looked = |(name, route): (&String, &Route)| Looked {
            name: name.clone(),
            kind: route.options.target.kind(),
            state: route.state,
            reading: route.gauge.read(),
            resent_before: route.resent_before,
        };
        let read: Vec<_> = self.routes.iter().map(looked).collect();
        let (mut reader, kept) = (self.common.journal.reader(), Arc::clone(&self.common.state));
        let known = tokio::task::spawn_blocking(move || {
            let (letters, resent) = (kept.dead_letter_counts().unwrap_or_default(), kept.resent().unwrap_or_default());
            let mut status = |Looked { name, kind, state, reading, resent_before }: Looked| {
                let oldest_queued_ms =
                    if reading.cursor <= head { received(&mut reader, reading.cursor) } else { None };
                let (count, at_ms) = resent.get(&name).copied().unwrap_or_default();
                let resent = count.saturating_sub(resent_before);
                RouteStatus {
                    dead_letters: letters.get(&name).copied().unwrap_or(0),
                    resent,
                    name,
                    kind,
                    state,
                    filtered: reading.filtered,
                    queued: reading.waiting + (head + 1).saturating_sub(reading.ahead),
                    sent: reading.sent + resent,
                    errored: reading.errored,
                    failed: reading.failed,
                    last_sent_ms: reading.last_sent_ms.max((resent > 0).then_some(at_ms)),
                    oldest_queued_ms,
                    rests: reading.rests,
                    parked: reading.parked,
                    mishaps: reading.mishaps,
                }
            };
            read.into_iter().map(&mut status).collect()
        });
        known.await.unwrap_or_default()
    }

    /// Lets all lanes deliver what they can, and ends them.
    pub async fn drain(mut self) {
        self.wish_untranslated.send_replace(Wish::Drain);
        for route in self.routes.values_mut() {
            route.wish.send_replace(if route.state == RouteState::Started { Wish::Drain } else { Wish::End });
        }
        let tasks = self.routes.values_mut().filter_map(|route| route.task.take()).chain(self.untranslated.take());
        let waiting = tasks.collect();
        self.wait_for(waiting).await;
    }
}

/// A hash of the files that a route reads when it starts; what cannot be read fails when it does.
fn contents(options: &Options) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in options.target.files() {
        let content = std::fs::read(file).unwrap_or_default();
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

/// When a message was received.
fn received(reader: &mut Reader, seq: u64) -> Option<i64> {
    let item = reader.read(seq, Limits { records_max: 1, bytes_max: 1 }).ok()?.into_iter().next()?;
    match item {
        Item::Record(_, record) => Facets::decode(&record.facets).map(|facets| facets.received_ms),
        Item::Damaged(_) => None,
    }
}
