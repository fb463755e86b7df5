//! Mails that a server has taken for some of their readers and refused for others for the moment (4xx: greylisting, a full box): kept for those, and tried again, so often and no
//! more. A file, replaced as a whole, so that a restart forgets none; there is none where nothing waits.
//!
//! ```text
//! DATA/alerts-late.json    [{"to": ["desk@a.example"], "mail": "From: …", "tries": 2, "again_ms": …}, …]
//! ```
use lettre::Address;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// One mail, and who has not got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LateMail {
    to: Vec<String>,
    /// As it was sent to the others. ASCII, as all that we send is.
    pub mail: String,
    /// How often it has been refused to these.
    tries: u32,
    again_ms: i64,
}

/// Those that wait.
#[derive(Debug)]
pub(super) struct Late {
    path: PathBuf,
    mails: Vec<LateMail>,
}

/// Mails that wait at once; of more the oldest is given up.
const MAILS_MAX: usize = 20;
/// With the pauses below about three hours; a server that greylists takes minutes.
const TRIES_MAX: u32 = 16;
const PAUSE_MAX: Duration = Duration::from_secs(1800);

impl Late {
    /// What waited when the process before ended, for who is still a reader.
    pub fn open(path: PathBuf, readers: &[Address]) -> Late {
        let mut mails: Vec<LateMail> = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::error!("{}: {error}: mails that waited are forgotten", path.display());
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        let is_reader = |to: &String| readers.iter().any(|reader| AsRef::<str>::as_ref(reader) == to);
        mails.iter_mut().for_each(|mail| mail.to.retain(is_reader));
        mails.retain(|mail| !mail.to.is_empty());
        Late { path, mails }
    }

    /// A mail was refused to these for the moment.
    pub fn add(&mut self, to: Vec<Address>, mail: String, now_ms: i64) {
        if to.is_empty() {
            return;
        }
        if self.mails.len() >= MAILS_MAX {
            let oldest = self.mails.remove(0);
            oldest.give_up("too many wait");
        }
        let to = texts(&to);
        self.mails.push(LateMail { to, mail, tries: 1, again_ms: now_ms + pause_ms(1) });
        self.keep();
    }

    /// The first that may be tried again.
    pub fn due(&self, now_ms: i64) -> Option<LateMail> {
        self.mails.iter().find(|mail| now_ms >= mail.again_ms).cloned()
    }

    /// What has come of one: it is still refused to these, or to all where it could not be sent at all.
    pub fn came(&mut self, tried: &LateMail, left: Vec<Address>, now_ms: i64) {
        let Some(at) = self.mails.iter().position(|mail| mail == tried) else { return };
        let mut mail = self.mails.remove(at);
        (mail.to, mail.tries) = (texts(&left), mail.tries.saturating_add(1));
        mail.again_ms = now_ms + pause_ms(mail.tries);
        if mail.tries >= TRIES_MAX {
            mail.give_up("refused again and again");
        } else if !mail.to.is_empty() {
            self.mails.insert(at, mail);
        }
        self.keep();
    }

    fn keep(&self) {
        let kept = || -> io::Result<()> {
            if self.mails.is_empty() {
                return fs::remove_file(&self.path).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                });
            }
            let unfinished = self.path.with_extension("new");
            let mut file = File::create(&unfinished)?;
            file.write_all(&serde_json::to_vec(&self.mails)?)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)
        };
        if let Err(error) = kept() {
            tracing::error!("{}: {error}", self.path.display());
        }
    }
}

impl LateMail {
    /// Who has not got it.
    pub fn readers(&self) -> Vec<Address> {
        self.to.iter().filter_map(|to| to.parse().ok()).collect()
    }

    fn give_up(&self, why: &str) {
        for to in &self.to {
            tracing::error!("alerts: no mail to {to}: {why}, {} times", self.tries);
        }
    }
}

fn texts(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(|address| AsRef::<str>::as_ref(address).to_owned()).collect()
}

fn pause_ms(tries: u32) -> i64 {
    super::rules::millis(Duration::from_secs(1 << tries.min(16)).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> Address {
        format!("{name}@a.example").parse().unwrap()
    }

    #[test]
    fn who_was_refused_for_the_moment_is_tried_again_over_a_restart_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts-late.json");
        let readers = [address("a"), address("b")];
        let mut late = Late::open(path.clone(), &readers);
        late.add(vec![], "Subject: none".into(), 0);
        assert!(late.due(i64::MAX).is_none() && !path.exists());
        late.add(readers.to_vec(), "Subject: one".into(), 0);
        assert_eq!((late.due(1999), late.due(2000).map(|mail| mail.readers().len())), (None, Some(2)));
        let tried = late.due(2000).unwrap();
        late.came(&tried, vec![address("b")], 2000);
        let mut late = Late::open(path.clone(), &readers);
        assert_eq!((late.due(5999), late.due(6000).map(|mail| mail.readers())), (None, Some(vec![address("b")])));
        assert!(Late::open(path.clone(), &readers[..1]).due(i64::MAX).is_none(), "who is no reader any more");
        let (mut now_ms, mut tries) = (6000, 2);
        while let Some(tried) = late.due(now_ms) {
            late.came(&tried, tried.readers(), now_ms);
            now_ms += super::super::rules::millis(PAUSE_MAX);
            tries += 1;
        }
        assert_eq!((tries, path.exists()), (TRIES_MAX, false));
        (0..30).for_each(|number| late.add(vec![address("a")], number.to_string(), 0));
        assert_eq!((late.mails.len(), late.mails[0].mail.as_str()), (MAILS_MAX, "10"));
        let tried = late.due(i64::MAX).unwrap();
        late.came(&tried, vec![], 1);
        assert_eq!(late.mails.len(), MAILS_MAX - 1, "it has arrived");
    }
}
