//! Which alerts are open and what of them has been told. A file, replaced as a whole: whoever reads it sees all of it or what was there before.
//!
//! ```text
//! DATA/alerts.json    [{"id": "…", "rule": "queue_age", "subject": "ehr", "since_ms": …, "value": …, "text": "…", "told": "nothing", "mailed": "nothing", "resolved_ms": null}, …]
//! ```
use super::rules::{Key, NAMES, Wrong};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// The alerts of a gateway.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    entries: Vec<Alert>,
    /// By which ways somebody is told.
    ways: Vec<Way>,
}

/// One alert, open or resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Random, the same in everything that is told of it.
    pub id: String,
    /// Which rule.
    pub rule: String,
    /// What it is about: a route, a listener, a panel, `data` or `journal`.
    pub subject: String,
    /// When it was opened, in milliseconds since 1970.
    pub since_ms: i64,
    /// What was measured then: seconds, of acknowledgements milliseconds, bytes, messages, or 1.
    pub value: i64,
    /// What was wrong then.
    pub text: String,
    /// What the webhook knows of it.
    pub told: Told,
    /// What the readers of mails know of it.
    #[serde(default)]
    pub mailed: Told,
    /// When it was resolved, in milliseconds since 1970.
    pub resolved_ms: Option<i64>,
}

/// How much somebody knows of an alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Nobody was told.
    #[default]
    Nothing,
    /// Somebody was told that it is open; whether it arrived is not known.
    Perhaps,
    /// That it is open.
    Open,
    /// That it was, and is resolved.
    Resolved,
}

impl Told {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Told::Nothing => "nothing",
            Told::Perhaps => "perhaps",
            Told::Open => "open",
            Told::Resolved => "resolved",
        }
    }
}

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Webhook,
    Email,
}

/// Alerts at the same time; there are a few for each listener and route.
const ENTRIES_MAX: usize = 10_000;
/// Alerts that are over and of which nothing is to be told, kept for people to look at.
const RESOLVED_MAX: usize = 100;

impl Alert {
    fn told(&self, way: Way) -> Told {
        match way {
            Way::Webhook => self.told,
            Way::Email => self.mailed,
        }
    }

    fn set_told(&mut self, way: Way, told: Told) {
        match way {
            Way::Webhook => self.told = told,
            Way::Email => self.mailed = told,
        }
    }

    /// Whether there is something to tell by that way. What nobody heard of and is over, nobody needs to hear of.
    pub(super) fn is_due(&self, way: Way) -> bool {
        self.opens(way) || (self.resolved_ms.is_some() && matches!(self.told(way), Told::Perhaps | Told::Open))
    }

    /// Whether it is to be told first that it is open.
    pub(super) fn opens(&self, way: Way) -> bool {
        match self.told(way) {
            Told::Nothing => self.resolved_ms.is_none(),
            Told::Perhaps => true,
            Told::Open | Told::Resolved => false,
        }
    }
}

impl Book {
    /// The alerts of the process before.
    pub fn open(path: PathBuf, ways: Vec<Way>) -> Book {
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
        Book { path, entries, ways }
    }

    /// What is open.
    pub fn open_keys(&self) -> Vec<Key> {
        let open = self.entries.iter().filter(|entry| entry.resolved_ms.is_none());
        open.filter_map(|entry| {
            let rule = NAMES.into_iter().find(|rule| *rule == entry.rule)?;
            Some(Key { rule, subject: entry.subject.clone() })
        })
        .collect()
    }

    /// Those that are open, the oldest first, and the last that are not, the newest first.
    pub fn seen(&self) -> (Vec<Alert>, Vec<Alert>) {
        let (open, mut resolved): (Vec<_>, Vec<_>) =
            self.entries.iter().cloned().partition(|entry| entry.resolved_ms.is_none());
        resolved.sort_by_key(|entry| std::cmp::Reverse(entry.resolved_ms));
        resolved.truncate(RESOLVED_MAX);
        (open, resolved)
    }

    /// Opens what is wrong and not open, and resolves (if it may) what is open and neither wrong nor unknown. On the disk when this returns; where the disk takes
    /// nothing, which may be what is wrong, in memory at least.
    pub fn update(&mut self, wrong: Vec<Wrong>, unknown: &[Key], resolves: bool, now_ms: i64) -> io::Result<()> {
        let is = |entry: &Alert, key: &Key| entry.rule == key.rule && entry.subject == key.subject;
        let mut entries = self.entries.clone();
        for entry in entries.iter_mut().filter(|entry| resolves && entry.resolved_ms.is_none()) {
            let known = wrong.iter().map(|wrong| &wrong.key).chain(unknown).any(|key| is(entry, key));
            if !known {
                tracing::info!(rule = entry.rule, subject = entry.subject, "alert resolved");
                entry.resolved_ms = Some(now_ms);
            }
        }
        self.forget(&mut entries);
        for wrong in wrong {
            let open = entries.iter().any(|entry| entry.resolved_ms.is_none() && is(entry, &wrong.key));
            if !open && entries.len() < ENTRIES_MAX {
                let Wrong { key, value, text } = wrong;
                tracing::warn!(rule = key.rule, subject = key.subject, "alert: {text}");
                entries.push(Alert {
                    id: new_id()?,
                    rule: key.rule.to_owned(),
                    subject: key.subject,
                    since_ms: now_ms,
                    value,
                    text,
                    told: Told::Nothing,
                    mailed: Told::Nothing,
                    resolved_ms: None,
                });
            }
        }
        if entries != self.entries {
            self.keep(entries)?;
        }
        Ok(())
    }

    /// Drops the oldest of those of which nothing is to be told any more.
    fn forget(&self, entries: &mut Vec<Alert>) {
        let is_over = |entry: &Alert| entry.resolved_ms.is_some() && !self.ways.iter().any(|way| entry.is_due(*way));
        let mut over: Vec<i64> =
            entries.iter().filter(|entry| is_over(entry)).filter_map(|entry| entry.resolved_ms).collect();
        over.sort_unstable();
        let Some(last) = over.len().checked_sub(RESOLVED_MAX).and_then(|excess| over.get(excess)) else { return };
        entries.retain(|entry| !is_over(entry) || entry.resolved_ms >= Some(*last));
    }

    /// Of what somebody is to be told by a way, the oldest first.
    pub fn due(&self, way: Way) -> Vec<Alert> {
        self.entries.iter().filter(|entry| entry.is_due(way)).cloned().collect()
    }

    /// Notes that somebody is about to be told of these: should we die now, it may have arrived.
    pub fn telling(&mut self, way: Way, due: &[Alert]) {
        let mut entries = self.entries.clone();
        for entry in entries.iter_mut().filter(|entry| due.iter().any(|due| due.id == entry.id)) {
            if entry.told(way) == Told::Nothing {
                entry.set_told(way, Told::Perhaps);
            }
        }
        self.keep_if_possible(entries);
    }

    /// Notes that somebody knows of an alert: that it is open, or resolved.
    pub fn told(&mut self, way: Way, id: &str, told: Told) {
        let mut entries = self.entries.clone();
        entries.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.set_told(way, told));
        // If not, it is told again after a restart, which is better than never.
        self.keep_if_possible(entries);
    }

    fn keep_if_possible(&mut self, entries: Vec<Alert>) {
        if entries == self.entries {
            return;
        }
        if let Err(error) = self.keep(entries) {
            tracing::error!("{}: {error}", self.path.display());
        }
    }

    fn keep(&mut self, entries: Vec<Alert>) -> io::Result<()> {
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

    fn book(folder: &tempfile::TempDir, ways: &[Way]) -> Book {
        Book::open(folder.path().join("alerts.json"), ways.to_vec())
    }

    #[test]
    fn a_disk_that_takes_nothing_keeps_no_alert_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::open(folder.path().join("nowhere/alerts.json"), vec![]);
        assert!(book.update(vec![wrong("a")], &[], true, 5).is_err());
        assert_eq!(book.open_keys().len(), 1);
    }

    #[test]
    fn an_alert_opens_once_also_over_a_restart_and_resolves_once() {
        let folder = tempfile::tempdir().unwrap();
        let ways = [Way::Webhook];
        let mut first = book(&folder, &ways);
        first.update(vec![wrong("a"), wrong("b")], &[], true, 5).unwrap();
        first.update(vec![wrong("a"), wrong("b")], &[], true, 6).unwrap();
        let ids: Vec<_> = first.entries.iter().map(|entry| entry.id.clone()).collect();
        assert_eq!(ids.len(), 2);
        first.told(Way::Webhook, &ids[0], Told::Open);

        let mut book = book(&folder, &ways);
        book.update(vec![], &[], false, 7).unwrap();
        assert_eq!(book.open_keys().len(), 2, "nothing is resolved before it is known");
        book.update(vec![wrong("a")], &[], true, 8).unwrap();
        assert_eq!((book.open_keys().len(), book.due(Way::Webhook)), (1, vec![]), "nobody was told of b");
        assert_eq!((book.entries[0].id.as_str(), book.entries[0].resolved_ms), (ids[0].as_str(), None));
        book.update(vec![], &[wrong("a").key], true, 9).unwrap();
        assert_eq!(book.entries[0].resolved_ms, None, "unknown");
        book.update(vec![], &[], true, 10).unwrap();
        let mut book = self::book(&folder, &ways);
        assert_eq!(book.entries[0].resolved_ms, Some(10));
        book.update(vec![wrong("a")], &[], true, 11).unwrap();
        assert_eq!(book.due(Way::Webhook).len(), 2, "it opens anew beside the one that is yet to be told resolved");
        let (open, resolved) = book.seen();
        assert_eq!(open.iter().map(|entry| entry.since_ms).collect::<Vec<_>>(), [11]);
        assert_eq!(resolved.iter().map(|entry| entry.resolved_ms).collect::<Vec<_>>(), [Some(10), Some(8)]);
    }

    #[test]
    fn each_way_is_told_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = book(&folder, &[Way::Webhook, Way::Email]);
        book.update(vec![wrong("a")], &[], true, 5).unwrap();
        let due = book.due(Way::Email);
        book.telling(Way::Email, &due);
        book.update(vec![], &[], true, 6).unwrap();
        assert_eq!(book.due(Way::Webhook), [], "it never heard of it");
        assert!(book.due(Way::Email)[0].opens(Way::Email), "whether it arrived is not known");
        book.told(Way::Email, &due[0].id, Told::Open);
        assert!(!book.due(Way::Email)[0].opens(Way::Email));
        book.told(Way::Email, &due[0].id, Told::Resolved);
        assert_eq!(book.due(Way::Email), []);
    }

    #[test]
    fn what_is_over_is_kept_for_a_while_and_what_is_to_be_told_until_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = book(&folder, &[Way::Webhook]);
        book.update(vec![wrong("told")], &[], true, 1).unwrap();
        let id = book.entries[0].id.clone();
        book.told(Way::Webhook, &id, Told::Open);
        for now in 0..250 {
            book.update(vec![wrong("a")], &[], true, 2 * now).unwrap();
            book.update(vec![], &[], true, 2 * now + 1).unwrap();
        }
        let (_, resolved) = book.seen();
        assert_eq!((resolved.len(), resolved[0].resolved_ms), (RESOLVED_MAX, Some(499)));
        assert_eq!(book.entries.len(), RESOLVED_MAX + 1);
        assert_eq!(book.due(Way::Webhook).len(), 1, "told is still to be told");
    }

    #[test]
    fn a_file_of_a_version_that_sent_no_mails_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"[{"id":"1","rule":"queue_age","subject":"ehr","since_ms":1,"value":1,"text":"old","told":"open","resolved_ms":null}]"#;
        std::fs::write(folder.path().join("alerts.json"), text).unwrap();
        let book = book(&folder, &[Way::Webhook, Way::Email]);
        assert_eq!((book.open_keys().len(), book.due(Way::Webhook).len(), book.due(Way::Email).len()), (1, 0, 1));
    }
}
