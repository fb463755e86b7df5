//! Who has signed in. Sessions live in memory alone: a restart signs everybody out, and nobody can take one from a disk.
use crate::admin::credentials::Need;
use crate::admin::users::Roles;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// Somebody who has signed in.
#[derive(Debug)]
pub(crate) struct Session {
    /// Their name.
    pub who: Arc<str>,
    roles: Roles,
    /// What a page of ours sends along when it changes something; another site cannot know it.
    csrf: String,
}

impl Session {
    /// Whether they may do that.
    pub fn may(&self, need: Need) -> bool {
        self.roles.may(need)
    }

    /// `operator, phi-reader`
    pub fn roles(&self) -> String {
        self.roles.names()
    }

    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }

    pub(super) fn is_ours(&self, csrf: &str) -> bool {
        bool::from(self.csrf.as_bytes().ct_eq(csrf.as_bytes()))
    }
}

/// A session that nobody uses for so long is over.
const IDLE_MAX: Duration = Duration::from_secs(12 * 3600);
/// And one that is used, after so long.
const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Sessions at the same time; with more, the one that has been idle longest ends.
const SESSIONS_MAX: usize = 256;

/// All of them, by the hash of what their cookie holds.
#[derive(Default)]
pub(super) struct Sessions {
    by_hash: Mutex<HashMap<[u8; 32], Kept>>,
}

struct Kept {
    session: Arc<Session>,
    made: Instant,
    used: Instant,
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= IDLE_MAX || now.duration_since(self.made) >= AGE_MAX
    }
}

impl Sessions {
    /// Begins one; gives what its cookie is to hold.
    pub fn begin(&self, who: &str, roles: Roles, now: Instant) -> Result<String, getrandom::Error> {
        let (secret, csrf) = (random()?, random()?);
        let mut sessions = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, kept| !kept.is_over(now));
        if sessions.len() >= SESSIONS_MAX
            && let Some(longest) = sessions.iter().min_by_key(|(_, kept)| kept.used).map(|(hash, _)| *hash)
        {
            sessions.remove(&longest);
        }
        let session = Arc::new(Session { who: who.into(), roles, csrf });
        sessions.insert(hash(&secret), Kept { session, made: now, used: now });
        Ok(secret)
    }

    /// The session of a cookie, which is used by this.
    pub fn find(&self, secret: &str, now: Instant) -> Option<Arc<Session>> {
        let mut sessions = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = sessions.get_mut(&hash(secret)).filter(|kept| !kept.is_over(now))?;
        kept.used = now;
        Some(Arc::clone(&kept.session))
    }

    /// Whether a session goes on; this does not use it.
    pub fn is_on(&self, session: &Arc<Session>, now: Instant) -> bool {
        let sessions = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.values().any(|kept| Arc::ptr_eq(&kept.session, session) && !kept.is_over(now))
    }

    /// Ends one.
    pub fn end(&self, secret: &str) {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(secret));
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn random() -> Result<String, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Role;

    #[test]
    fn a_session_ends_by_sign_out_idleness_or_age() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let begin = |who: &str| sessions.begin(who, Roles(vec![Role::Viewer]), start).unwrap();
        let (one, two) = (begin("ada"), begin("bob"));
        assert_eq!(sessions.find(&one, start).map(|session| session.who.to_string()), Some("ada".into()));
        assert!(sessions.find("", start).is_none() && sessions.find(&one[1..], start).is_none());
        let ada = sessions.find(&one, start).unwrap();
        assert!(sessions.is_on(&ada, start));
        sessions.end(&one);
        assert!(sessions.find(&one, start).is_none() && !sessions.is_on(&ada, start));
        let mut now = start;
        while now.duration_since(start) + IDLE_MAX < AGE_MAX {
            now += IDLE_MAX - Duration::from_secs(1);
            assert!(sessions.find(&two, now).is_some(), "it was used in between");
        }
        assert!(sessions.find(&two, start + AGE_MAX).is_none(), "too old");
        let three = begin("eve");
        let eve = sessions.find(&three, start).unwrap();
        assert!(sessions.is_on(&eve, start + IDLE_MAX / 2), "a page that is open");
        assert!(sessions.find(&three, start + IDLE_MAX).is_none(), "too long idle");
    }

    #[test]
    fn there_are_only_so_many() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let second = Duration::from_secs(1);
        let first = sessions.begin("first", Roles::default(), start).unwrap();
        let kept = sessions.begin("second", Roles::default(), start + second).unwrap();
        for _ in 2..=SESSIONS_MAX {
            sessions.begin("more", Roles::default(), start + 2 * second).unwrap();
        }
        assert!(sessions.find(&first, start + 3 * second).is_none());
        assert!(sessions.find(&kept, start + 3 * second).is_some());
    }
}
