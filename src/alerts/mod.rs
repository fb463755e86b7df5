//! Alerts: somebody is told, by a webhook, that something needs looking at, and later that it does not any more.
//!
//! | file | what |
//! |---|---|
//! | `rules` | what is wrong at this moment; knows no clock and no network |
//! | `book` | which alerts are open, and what of them has been told; kept in the data directory |
//! | `webhook` | one POST, signed |
//!
//! One POST opens an alert, one resolves it, and neither is forgotten at a restart: `DATA/alerts.json` is written before anything is told. A POST that fails is made
//! again, with growing pauses; it bears the same id, so a receiver that had it already can tell. Nothing of a patient is in it.
mod book;
mod rules;
mod webhook;

pub use rules::Rules;

use crate::delivery::channel::egress::Egress;
use crate::journal::{Durability, Health};
use crate::server::{Control, JournalStatus};
use crate::telemetry::disk_free;
use book::Book;
use reqwest::Url;
use rules::{Moment, Watch};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use webhook::Webhook;

/// Whom to tell what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whom.
    pub webhook: Url,
    /// What each POST is signed with.
    pub secret: Option<Secret>,
    /// What.
    pub rules: Rules,
    /// How often it is looked at.
    pub every: Duration,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How often it is looked at, unless the configuration says otherwise.
pub const EVERY: Duration = Duration::from_secs(10);
/// Looks after a start before an alert of the process before is resolved: queues and endpoints must have been tried first.
const SETTLE_LOOKS: u32 = 6;
/// A gateway that does not answer for so long is asked again later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Looks and tells, where `egress` lets it, until `done` turns true. A journal that fails ends the gateway; that is told nevertheless, so `health` is looked at by itself.
pub async fn run(
    options: Options,
    egress: Egress,
    control: Control,
    mut health: watch::Receiver<Health>,
    data: PathBuf,
    mut done: watch::Receiver<bool>,
) {
    let webhook = match Webhook::new(options.webhook, options.secret, egress) {
        Ok(webhook) => webhook,
        Err(error) => return tracing::error!("no alerts: {error}"),
    };
    let mut book = Book::open(data.join("alerts.json"));
    let mut watch = Watch::new(options.rules, jiff::Timestamp::now().as_millisecond());
    let mut looks = 0_u32;
    loop {
        let ends = *done.borrow_and_update();
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let now = health.borrow_and_update().clone();
        let failed = matches!(now, Health::Failed(_));
        let moment = if failed { Some(alone(now, now_ms)) } else { moment(&control, &data, now_ms).await };
        if let Some(moment) = moment {
            looks = looks.saturating_add(1);
            let (wrong, unknown) = watch.look(&moment, &book.open_keys());
            if let Err(error) = book.update(wrong, &unknown, !failed && looks > SETTLE_LOOKS, now_ms) {
                tracing::error!("alerts are not kept over a restart: {error}");
            }
        }
        // What cannot be told is told later; looking goes on meanwhile.
        book.tell(&webhook, now_ms).await;
        if ends {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(options.every) => {}
            _ = done.changed() => {}
            Ok(()) = health.changed() => {}
        }
    }
}

/// The journal and nothing else: the gateway is going down.
fn alone(health: Health, now_ms: i64) -> Moment {
    let journal = JournalStatus { head: 0, health, durability: Durability::default() };
    Moment {
        now_ms,
        journal,
        listeners: vec![],
        routes: vec![],
        certificates: vec![],
        disk_free: None,
        rosters: vec![],
    }
}

/// The gateway at this moment; none while it does not answer or is stopping.
async fn moment(control: &Control, data: &std::path::Path, now_ms: i64) -> Option<Moment> {
    let asked = async {
        let journal = control.journal().await?;
        let care = control.care().await?;
        Some((journal, control.listeners().await, control.routes().await, care))
    };
    let (journal, listeners, routes, care) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok()??;
    let files = listeners.iter().filter_map(|listener| Some((listener.name.clone(), listener.certificate.clone()?)));
    let files: Vec<_> = files.collect();
    let read = tokio::task::spawn_blocking(move || {
        files.into_iter().filter_map(|(listener, file)| Some((listener, rules::ends_ms(&file)?))).collect()
    });
    let certificates = read.await.unwrap_or_default();
    let rosters = care.map(|care| care.panel_statuses(now_ms)).unwrap_or_default();
    Some(Moment { now_ms, journal, listeners, routes, certificates, disk_free: disk_free(data), rosters })
}
