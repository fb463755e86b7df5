//! Which alerts are open and what of them has been told. A file, replaced as a whole: whoever reads it sees all of it or what was there before.
//!
//! ```text
//! DATA/alerts.json    [{"id": "…", "rule": "queue_age", "subject": "ehr", "since_ms": …, "value": …, "text": "…", "told": "nothing", "resolved_ms": null}, …]
//! ```
use super::rules::{Key, Wrong};
use super::webhook::Webhook;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// The alerts of a gateway.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    entries: Vec<Entry>,
    /// Failed POSTs in a row, and when the next may be tried.
    failed: u32,
    again_ms: i64,
}

/// One alert, open or waiting to be told that it is resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub id: String,
    pub rule: String,
    pub subject: String,
    pub since_ms: i64,
    pub value: i64,
    pub text: String,
    told: Told,
    pub resolved_ms: Option<i64>,
}

/// How much the receiver knows of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Nothing,
    /// A POST was made; whether it arrived is not known.
    Perhaps,
    Open,
}

/// Alerts at the same time; there are a few for each listener and route.
const ENTRIES_MAX: usize = 10_000;
const PAUSE_MAX: Duration = Duration::from_secs(300);

impl Book {
    /// The alerts of the process before.
    pub fn open(path: PathBuf) -> Book {
        let entries = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::error!("{}: {error}; alerts that are still open are told once more", path.display());
                Vec::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!("{}: {error}; alerts that are still open are told once more", path.display());
                Vec::new()
            }
        };
        Book { path, entries, failed: 0, again_ms: 0 }
    }

    /// What is open.
    pub fn open_keys(&self) -> Vec<Key> {
        let rules = [
            "queue_age",
            "route_held",
            "silence",
            "certificate",
            "disk_free",
            "journal",
            "roster_held",
            "roster_refused",
            "roster_stale",
        ];
        let open = self.entries.iter().filter(|entry| entry.resolved_ms.is_none());
        open.filter_map(|entry| {
            let rule = rules.into_iter().find(|rule| *rule == entry.rule)?;
            Some(Key { rule, subject: entry.subject.clone() })
        })
        .collect()
    }

    /// Opens what is wrong and not open, and resolves (if it may) what is open and neither wrong nor unknown. On the disk when this returns; where the disk takes
    /// nothing, which may be what is wrong, in memory at least.
    pub fn update(&mut self, wrong: Vec<Wrong>, unknown: &[Key], resolves: bool, now_ms: i64) -> io::Result<()> {
        let is = |entry: &Entry, key: &Key| entry.rule == key.rule && entry.subject == key.subject;
        let mut entries = self.entries.clone();
        for entry in entries.iter_mut().filter(|entry| resolves && entry.resolved_ms.is_none()) {
            let known = wrong.iter().map(|wrong| &wrong.key).chain(unknown).any(|key| is(entry, key));
            if !known {
                tracing::info!(rule = entry.rule, subject = entry.subject, "alert resolved");
                entry.resolved_ms = Some(now_ms);
            }
        }
        // Nobody was ever told: then nobody needs to hear that it is over.
        entries.retain(|entry| entry.resolved_ms.is_none() || entry.told != Told::Nothing);
        for wrong in wrong {
            let open = entries.iter().any(|entry| entry.resolved_ms.is_none() && is(entry, &wrong.key));
            if !open && entries.len() < ENTRIES_MAX {
                let Wrong { key, value, text } = wrong;
                tracing::warn!(rule = key.rule, subject = key.subject, "alert: {text}");
                entries.push(Entry {
                    id: new_id()?,
                    rule: key.rule.to_owned(),
                    subject: key.subject,
                    since_ms: now_ms,
                    value,
                    text,
                    told: Told::Nothing,
                    resolved_ms: None,
                });
            }
        }
        if entries != self.entries {
            self.keep(entries)?;
        }
        Ok(())
    }

    /// Tells what has not been told, the oldest first; one failure makes all wait, as there is one receiver.
    pub async fn tell(&mut self, webhook: &Webhook, now_ms: i64) {
        if now_ms < self.again_ms {
            return;
        }
        while let Some(at) =
            self.entries.iter().position(|entry| entry.told != Told::Open || entry.resolved_ms.is_some())
        {
            let mut entries = self.entries.clone();
            let opens = entries[at].told != Told::Open;
            if entries[at].told == Told::Nothing {
                // Before the POST: should we die now, it may have arrived.
                entries[at].told = Told::Perhaps;
                self.keep_if_possible(entries.clone());
            }
            if let Err(reason) = webhook.post(&entries[at], opens).await {
                self.failed = self.failed.saturating_add(1);
                let pause = Duration::from_secs(1 << self.failed.min(10)).min(PAUSE_MAX);
                self.again_ms = now_ms + i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                tracing::warn!(pause_s = pause.as_secs(), "alerts cannot be told: {reason}");
                return;
            }
            self.failed = 0;
            if opens {
                entries[at].told = Told::Open;
            } else {
                entries.remove(at);
            }
            // If not, it is told again after a restart, which is better than never.
            self.keep_if_possible(entries);
        }
    }

    fn keep_if_possible(&mut self, entries: Vec<Entry>) {
        if let Err(error) = self.keep(entries) {
            tracing::error!("{}: {error}", self.path.display());
        }
    }

    fn keep(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        self.entries = entries;
        let unfinished = self.path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(&self.entries)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)
    }
}

fn new_id() -> io::Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(subject: &str) -> Wrong {
        Wrong { key: Key { rule: "queue_age", subject: subject.into() }, value: 1, text: "old".into() }
    }

    #[test]
    fn a_disk_that_takes_nothing_keeps_no_alert_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::open(folder.path().join("nowhere/alerts.json"));
        assert!(book.update(vec![wrong("a")], &[], true, 5).is_err());
        assert_eq!(book.open_keys().len(), 1);
    }

    #[test]
    fn an_alert_opens_once_also_over_a_restart_and_resolves_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.json");
        let mut book = Book::open(path.clone());
        book.update(vec![wrong("a"), wrong("b")], &[], true, 5).unwrap();
        book.update(vec![wrong("a"), wrong("b")], &[], true, 6).unwrap();
        let ids: Vec<_> = book.entries.iter().map(|entry| entry.id.clone()).collect();
        assert_eq!(ids.len(), 2);
        book.entries[0].told = Told::Open;
        let entries = book.entries.clone();
        book.keep(entries).unwrap();

        let mut book = Book::open(path.clone());
        book.update(vec![], &[], false, 7).unwrap();
        assert_eq!(book.open_keys().len(), 2, "nothing is resolved before it is known");
        book.update(vec![wrong("a")], &[], true, 8).unwrap();
        assert_eq!(book.entries.len(), 1, "nobody was told of b");
        assert_eq!((book.entries[0].id.as_str(), book.entries[0].resolved_ms), (ids[0].as_str(), None));
        book.update(vec![], &[wrong("a").key], true, 9).unwrap();
        assert_eq!(book.entries[0].resolved_ms, None, "unknown");
        book.update(vec![], &[], true, 10).unwrap();
        assert_eq!(Book::open(path).entries[0].resolved_ms, Some(10));
        book.update(vec![wrong("a")], &[], true, 11).unwrap();
        assert_eq!(book.entries.len(), 2, "it opens anew beside the one that is yet to be told resolved");
    }
}
