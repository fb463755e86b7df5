//! Alerts: somebody is told, by a webhook or by mail, that something needs looking at, and later that it does not any more. The admin API shows them as well.
//!
//! | file | what |
//! |---|---|
//! | `rules`, `routes`, `listeners` | what is wrong at this moment; they know no clock and no network |
//! | `window` | what was counted a while ago |
//! | `book` | which alerts are open, and what of them has been told; kept in the data directory |
//! | `open` | the same, for others to look at |
//! | `pace` | how often somebody is told |
//! | `teller` | what is under way to each receiver |
//! | `webhook` | one POST, signed |
//! | `mail`, `smtp` | one mail, and how it is sent |
//! | `late` | mails that were refused to some readers for the moment |
//!
//! One POST or mail opens an alert, one resolves it, and neither is forgotten at a restart: `DATA/alerts.json` is written before anything is told. What fails is tried
//! again, with growing pauses, while looking goes on; a POST bears the same id, so a receiver that had it already can tell. What comes up while a mail may not be sent yet is in the next one.
//! Nothing of a patient is in any of it.
mod book;
mod late;
mod listeners;
mod mail;
mod open;
mod pace;
mod routes;
mod rules;
mod smtp;
mod teller;
mod webhook;
mod window;

pub use book::{Alert, Told};
pub use mail::{Options as Email, PAUSE as EMAIL_PAUSE, Security};
pub use open::{Open, Seen};
pub use rules::{ErrorRate, Rules};
pub use smtp::StartError as EmailError;

use crate::delivery::channel::egress::Egress;
use crate::journal::{Durability, Health};
use crate::server::{Control, JournalStatus};
use crate::telemetry::{disk_free, telemetry};
use book::{Book, Way};
use mail::Mail;
use reqwest::Url;
use rules::{Moment, Watch};
use std::path::{Path, PathBuf};
use std::time::Duration;
use teller::{Hook, Post, ended};
use tokio::sync::watch;
use webhook::Webhook;

/// Whom to tell what. Nobody need be told: what is open can be looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Who gets POSTs.
    pub webhook: Option<Url>,
    /// What each POST is signed with.
    pub secret: Option<Secret>,
    /// Who gets mails.
    pub email: Option<Email>,
    /// What.
    pub rules: Rules,
    /// How often it is looked at.
    pub every: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { webhook: None, secret: None, email: None, rules: Rules::default(), every: EVERY }
    }
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

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// By a webhook.
    #[error("[alerts] webhook: {0}")]
    Webhook(#[from] reqwest::Error),
    /// By mail.
    #[error(transparent)]
    Email(#[from] EmailError),
}

/// Looks and tells.
#[derive(Debug)]
pub struct Alerts {
    watch: Watch,
    every: Duration,
    webhook: Option<Hook>,
    email: Option<Post>,
    open: Open,
}

/// How often it is looked at, unless the configuration says otherwise.
pub const EVERY: Duration = Duration::from_secs(10);
/// Looks after a start before an alert of the process before is resolved: queues and endpoints must have been tried first.
const SETTLE_LOOKS: u32 = 6;
/// A gateway that does not answer for so long is asked again later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What a FHIR server of ours made us give up is told for so long; it can be found for longer.
const DAY_MS: i64 = 86_400_000;

impl Alerts {
    /// Tells where `egress` lets it, and shows `open` what there is.
    ///
    /// # Errors
    /// A [`StartError`].
    pub fn new(options: Options, egress: &Egress, open: Open) -> Result<Alerts, StartError> {
        let webhook = options.webhook.map(|url| Webhook::new(url, options.secret, egress.clone())).transpose()?;
        let email = options.email.map(|email| Mail::new(email, egress.clone())).transpose()?;
        Ok(Alerts {
            watch: Watch::new(options.rules, now_ms()),
            every: options.every,
            webhook: webhook.map(Hook::new),
            email: email.map(Post::new),
            open,
        })
    }

    /// Looks and tells until `done` turns true. A journal that fails ends the gateway; that is told nevertheless, so `health` is looked at by itself.
    pub async fn run(
        mut self,
        control: Control,
        mut health: watch::Receiver<Health>,
        data: PathBuf,
        mut done: watch::Receiver<bool>,
    ) {
        let ways = [self.webhook.as_ref().map(|_| Way::Webhook), self.email.as_ref().map(|_| Way::Email)];
        let mut book = Book::open(data.join("alerts.json"), ways.into_iter().flatten().collect());
        if let Some(post) = &mut self.email {
            post.open(data.join("alerts-late.json"));
        }
        let (mut looks, mut looked_ms) = (0_u32, None);
        loop {
            let ends = *done.borrow_and_update();
            let now_ms = now_ms();
            let now = health.borrow_and_update().clone();
            let failed = matches!(now, Health::Failed(_));
            let moment = if failed { Some(alone(now, now_ms)) } else { moment(&control, &data, now_ms).await };
            if let Some(moment) = moment {
                (looks, looked_ms) = (looks.saturating_add(1), Some(now_ms));
                let (wrong, unknown) = self.watch.look(&moment, &book.open_keys());
                if let Err(error) = book.update(wrong, &unknown, !failed && looks > SETTLE_LOOKS, now_ms) {
                    tracing::error!("alerts are not kept over a restart: {error}");
                }
                self.show(&book, looked_ms);
            }
            if ends {
                return self.finish(&mut book, looked_ms).await;
            }
            let next = tokio::time::sleep(self.every);
            tokio::pin!(next);
            // What cannot be told is told later; looking goes on meanwhile.
            loop {
                self.tell(&mut book, false);
                self.show(&book, looked_ms);
                tokio::select! {
                    () = &mut next => break,
                    _ = done.changed() => break,
                    Ok(()) = health.changed() => break,
                    () = self.came(&mut book) => {}
                }
            }
        }
    }

    fn show(&self, book: &Book, looked_ms: Option<i64>) {
        let (open, resolved) = book.seen();
        self.open.show(Seen {
            looked_ms,
            webhook: self.webhook.is_some(),
            email: self.email.is_some(),
            open,
            resolved,
        });
    }

    /// Begins to tell what there is, of each receiver one thing at a time: nobody waits for a receiver that is slow. `ends`: there is no later mail.
    fn tell(&mut self, book: &mut Book, ends: bool) {
        let now_ms = now_ms();
        if let Some(hook) = &mut self.webhook {
            hook.tell(book, now_ms);
        }
        if let Some(post) = &mut self.email {
            post.tell(book, now_ms, ends);
        }
    }

    /// Waits until something that is under way has come to its end, and notes what has come of it; for ever where nothing is.
    async fn came(&mut self, book: &mut Book) {
        let Alerts { webhook, email, .. } = self;
        let (hook, post) =
            (webhook.as_mut().map(|hook| &mut hook.under_way), email.as_mut().map(|post| &mut post.under_way));
        tokio::select! {
            posted = ended(hook) => if let Some(hook) = webhook { hook.came(book, posted) },
            mailed = ended(post) => if let Some(post) = email { post.came(book, mailed) },
        }
    }

    fn is_under_way(&self) -> bool {
        let hook = self.webhook.as_ref().is_some_and(|hook| hook.under_way.is_some());
        hook || self.email.as_ref().is_some_and(|post| post.under_way.is_some())
    }

    /// Tells what there is, for the last time; how long it may take is for whoever waits for it to say.
    async fn finish(&mut self, book: &mut Book, looked_ms: Option<i64>) {
        let mut owes_mail = true;
        loop {
            let free = self.email.as_ref().is_none_or(|post| post.under_way.is_none());
            self.tell(book, owes_mail && free);
            owes_mail &= !free;
            if !self.is_under_way() {
                return;
            }
            self.came(book).await;
            self.show(book, looked_ms);
        }
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
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
        acknowledged: vec![],
        disk_free: None,
        rosters: vec![],
        sink: None,
    }
}

/// The gateway at this moment; none while it does not answer or is stopping.
async fn moment(control: &Control, data: &Path, now_ms: i64) -> Option<Moment> {
    let asked = async {
        let journal = control.journal().await?;
        let care = control.care().await?;
        Some((journal, control.listeners().await, control.routes().await, care))
    };
    let (journal, listeners, routes, care) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok()??;
    let files = listeners.iter().filter_map(|listener| Some((listener.name.clone(), listener.certificate.clone()?)));
    let files: Vec<_> = files.collect();
    let read = tokio::task::spawn_blocking(move || {
        files.into_iter().filter_map(|(listener, file)| Some((listener, listeners::ends_ms(&file)?))).collect()
    });
    let certificates = read.await.unwrap_or_default();
    let rosters = care.as_ref().map(|care| care.panel_statuses(now_ms)).unwrap_or_default();
    let sink = care.and_then(|care| care.sink_refusals(now_ms - DAY_MS));
    let acknowledged = listeners
        .iter()
        .filter_map(|listener| Some((listener.name.clone(), telemetry().acknowledgements(&listener.name)?)));
    let (acknowledged, disk_free) = (acknowledged.collect(), disk_free(data));
    Some(Moment { now_ms, journal, listeners, routes, certificates, acknowledged, disk_free, rosters, sink })
}
