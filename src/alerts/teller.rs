//! What is under way to each receiver: one POST, one mail. Whoever looks never waits for it; what has come of it is noted in the book when it has.
use super::book::{Alert, Book, Told, Way};
use super::late::{Late, LateMail};
use super::mail::Mail;
use super::now_ms;
use super::pace::Pace;
use super::webhook::Webhook;
use lettre::Address;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Whom POSTs are made to.
#[derive(Debug)]
pub(super) struct Hook {
    webhook: Arc<Webhook>,
    pace: Pace,
    pub under_way: Option<JoinHandle<Posted>>,
}

/// What has come of a POST.
#[derive(Debug)]
pub(super) struct Posted {
    id: String,
    opens: bool,
    came: Result<(), String>,
}

impl Hook {
    pub fn new(webhook: Webhook) -> Hook {
        Hook { webhook: Arc::new(webhook), pace: Pace::default(), under_way: None }
    }

    /// One POST after the other, the oldest alert first; one failure makes all wait, as there is one receiver.
    pub fn tell(&mut self, book: &mut Book, now_ms: i64) {
        if self.under_way.is_some() || !self.pace.may(now_ms) {
            return;
        }
        let Some(alert) = book.due(Way::Webhook).into_iter().next() else { return };
        let (opens, webhook) = (alert.opens(Way::Webhook), Arc::clone(&self.webhook));
        book.telling(Way::Webhook, std::slice::from_ref(&alert));
        self.under_way = Some(tokio::spawn(async move {
            let came = webhook.post(&alert, opens).await;
            Posted { id: alert.id, opens, came }
        }));
    }

    /// What was under way has come to its end; nothing where it broke down: whether it arrived is not known.
    pub fn came(&mut self, book: &mut Book, posted: Option<Posted>) {
        self.under_way = None;
        let reason = match posted {
            Some(Posted { id, opens, came: Ok(()) }) => {
                self.pace.succeeded();
                return book.told(Way::Webhook, &id, if opens { Told::Open } else { Told::Resolved });
            }
            Some(Posted { came: Err(reason), .. }) => reason,
            None => "the POST broke down".to_owned(),
        };
        let pause = self.pace.failed(now_ms());
        tracing::warn!(pause_s = pause.as_secs(), "alerts cannot be told: {reason}");
    }
}

/// Whom mails are sent to.
#[derive(Debug)]
pub(super) struct Post {
    mail: Arc<Mail>,
    pace: Pace,
    late: Option<Late>,
    pub under_way: Option<JoinHandle<Mailed>>,
}

/// What has come of a mail.
#[derive(Debug)]
pub(super) enum Mailed {
    /// Of a new one: what it was about, its text, and who was refused for the moment.
    New(Vec<Alert>, Result<(String, Vec<Address>), String>),
    /// Of one that waited, and who still is.
    Late(LateMail, Result<Vec<Address>, String>),
}

impl Post {
    pub fn new(mail: Mail) -> Post {
        Post { mail: Arc::new(mail), pace: Pace::default(), late: None, under_way: None }
    }

    /// Reads what waited when the process before ended.
    pub fn open(&mut self, path: PathBuf) {
        self.late = Some(Late::open(path, &self.mail.readers()));
    }

    /// One mail of all that there is to tell; else one that waits for some of its readers. `ends`: there is no later one.
    pub fn tell(&mut self, book: &mut Book, now_ms: i64, ends: bool) {
        if self.under_way.is_some() {
            return;
        }
        let (due, mail) = (book.due(Way::Email), Arc::clone(&self.mail));
        if !due.is_empty() && (ends || self.pace.may(now_ms)) {
            book.telling(Way::Email, &due);
            self.under_way = Some(tokio::spawn(async move {
                let came = mail.send(&due).await;
                Mailed::New(due, came)
            }));
        } else if let Some(late) = self.late.as_ref().and_then(|late| late.due(now_ms)) {
            self.under_way = Some(tokio::spawn(async move {
                let came = mail.send_to(&late.readers(), &late.mail).await;
                Mailed::Late(late, came)
            }));
        }
    }

    /// What was under way has come to its end; nothing where it broke down: whether it arrived is not known.
    pub fn came(&mut self, book: &mut Book, mailed: Option<Mailed>) {
        self.under_way = None;
        let now_ms = now_ms();
        let reason = match mailed {
            Some(Mailed::New(due, Ok((text, refused)))) => {
                self.pace.mailed(self.mail.pause(), now_ms);
                for alert in &due {
                    let told = if alert.resolved_ms.is_some() { Told::Resolved } else { Told::Open };
                    book.told(Way::Email, &alert.id, told);
                }
                if let Some(late) = &mut self.late {
                    late.add(refused, text, now_ms);
                }
                return;
            }
            Some(Mailed::Late(tried, came)) => {
                let left = came.unwrap_or_else(|reason| {
                    tracing::warn!("alerts: a mail that waits cannot be sent: {reason}");
                    tried.readers()
                });
                if let Some(late) = &mut self.late {
                    late.came(&tried, left, now_ms);
                }
                return;
            }
            Some(Mailed::New(_, Err(reason))) => reason,
            None => "sending it broke down".to_owned(),
        };
        let pause = self.pace.failed(now_ms);
        tracing::warn!(pause_s = pause.as_secs(), "alerts cannot be mailed: {reason}");
    }
}

/// Waits for the end of what is under way; for ever where nothing is. It may be broken off and waited for again.
pub(super) async fn ended<T>(under_way: Option<&mut Option<JoinHandle<T>>>) -> Option<T> {
    match under_way.and_then(Option::as_mut) {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
