//! Rosters as operators see them: read anew, held ones approved of, and how each stands. Which are in force is said into the registry, at its place in the journal.
mod written;

pub use written::{Became, Write, WriteError, Written};

use super::Shared;
use crate::coordination::registry::{self, Kind, Registry, What};
use crate::coordination::roster::holder::{Loaded, Outcome, PanelLoaded, Warning, stale};
use crate::coordination::roster::in_force::{self, InForce};
use crate::coordination::roster::kept::{self, Fingerprint, KeepError};
use crate::coordination::roster::{Difference, Panel, Rosters};
use serde_json::json;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why rosters that were read are not in force.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Their files.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// That they are.
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// Why a roster is not approved of.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// There is none of that name.
    #[error("there is no panel \"{0}\"")]
    Unknown(String),
    /// It is another one than was looked at, or is not there any more.
    #[error("the roster that lies there is another one than was looked at")]
    Another,
    /// It is in force, or cannot be used at all.
    #[error("the roster is {0}, not held")]
    NotHeld(&'static str),
    /// It cannot be taken on.
    #[error(transparent)]
    Take(#[from] TakeError),
}

/// How the roster of a panel stands that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanelState {
    /// In force.
    Accepted,
    /// It waits for somebody to approve of it; the one before is in force.
    Held,
    /// It cannot be used; the one before is in force.
    Refused,
    /// It was held, and somebody rejected it; the one before is in force until other files come.
    Rejected,
}

impl PanelState {
    /// As answers write it.
    pub fn name(self) -> &'static str {
        match self {
            PanelState::Accepted => "accepted",
            PanelState::Held => "held",
            PanelState::Refused => "refused",
            PanelState::Rejected => "rejected",
        }
    }
}

/// A panel and its roster.
#[derive(Debug, Clone, PartialEq)]
pub struct PanelStatus {
    /// The panel.
    pub panel: String,
    /// `aco`, …
    pub kind: &'static str,
    /// Of the roster that was read last.
    pub state: PanelState,
    /// Why it is not in force.
    pub why: Option<String>,
    /// What its files are, where they can be read.
    pub sha256: Option<String>,
    /// When it was read, in milliseconds since 1970.
    pub read_ms: i64,
    /// Rows that were read, and those that were not taken.
    pub rows: (usize, usize),
    /// What it changes: members that are new, gone, different. What is in force changed so much when it was taken on.
    pub changes: [usize; 3],
    /// The roster that is in force: its files, and since when, in milliseconds since 1970.
    pub in_force: Option<(String, i64)>,
    /// Members of it, whatever their periods.
    pub members: usize,
    /// Members of it on the day it was read.
    pub attributed: usize,
    /// When the last file of it was written, in milliseconds since 1970.
    pub file_ms: Option<i64>,
    /// Why it counts as old (`stale_after`); none while it does not.
    pub stale: Option<String>,
    /// What else somebody should look at.
    pub warnings: Vec<String>,
}

/// What was last read of the sources. Reading takes seconds; asking does not wait for it.
#[derive(Default)]
pub(super) struct Seen {
    reading: Mutex<()>,
    last: Mutex<Vec<PanelLoaded>>,
}

impl Seen {
    /// Reads all rosters from their sources, and takes on those that can be; `approval` is said first, where those are the files that it is for. Blocks.
    pub fn take(
        &self,
        rosters: &Rosters,
        registry: &Registry,
        head: impl Fn() -> u64,
        (who, approval): (&str, Option<(&str, &Fingerprint)>),
    ) -> Result<(), ApproveError> {
        let _one_at_a_time = lock(&self.reading);
        self.take_of(None, rosters, registry, head, (who, approval))
    }

    /// The same of one panel, or of all. For those who hold `reading`.
    fn take_of(
        &self,
        only: Option<&str>,
        rosters: &Rosters,
        registry: &Registry,
        head: impl Fn() -> u64,
        (who, approval): (&str, Option<(&str, &Fingerprint)>),
    ) -> Result<(), ApproveError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let approved =
            |panel: &str, files: &Fingerprint| approval == Some((panel, files)) || is_approved(registry, panel, files);
        let loaded = match only {
            Some(panel) => rosters.load_one(panel, now_ms, &approved),
            None => rosters.load(now_ms, &approved),
        };
        let taken = self.swap(rosters, registry, head, (who, approval), (&loaded, now_ms));
        log(&loaded);
        let mut last = lock(&self.last);
        if only.is_none() {
            *last = loaded.panels;
        } else {
            for panel in loaded.panels {
                if let Some(old) = last.iter_mut().find(|old| old.panel == panel.panel) {
                    *old = panel;
                }
            }
        }
        drop(last);
        if let Err(error) = &taken {
            tracing::error!("the rosters of before stay in force: {error}");
        }
        taken
    }

    fn swap(
        &self,
        rosters: &Rosters,
        registry: &Registry,
        head: impl Fn() -> u64,
        (who, approval): (&str, Option<(&str, &Fingerprint)>),
        (loaded, now_ms): (&Loaded, i64),
    ) -> Result<(), ApproveError> {
        if let Some((id, files)) = approval {
            let panel = loaded.panels.iter().find(|loaded| loaded.panel == id);
            let panel = panel.ok_or_else(|| ApproveError::Unknown(id.to_owned()))?;
            match &panel.outcome {
                Outcome::Refused(_) => return Err(ApproveError::NotHeld("refused")),
                _ if panel.fingerprint != Some(*files) => return Err(ApproveError::Another),
                Outcome::Unchanged => return Err(ApproveError::NotHeld("in force")),
                Outcome::Held | Outcome::Accepted => {}
            }
            let body = json!({ "sha256": kept::digits(files) });
            let what = What::Put { kind: Kind::RosterApproval, id: id.to_owned(), body };
            registry.say(&head, now_ms, who, what).map_err(TakeError::from)?;
        }
        let say = |in_force: &InForce| {
            let what = What::Put { kind: Kind::Roster, id: in_force::ID.to_owned(), body: in_force.body() };
            registry.say(&head, now_ms, who, what)?;
            Ok::<_, TakeError>(())
        };
        rosters.swap(loaded, now_ms, say)?;
        Ok(())
    }
}

impl Seen {
    /// Says that a roster that is held is not to be taken, if it is still the one of these files. Blocks.
    fn reject(
        &self,
        registry: &Registry,
        head: impl Fn() -> u64,
        who: &str,
        (id, files): (&str, &Fingerprint),
    ) -> Result<(), ApproveError> {
        let _one_at_a_time = lock(&self.reading);
        let last = lock(&self.last);
        let panel = last.iter().find(|loaded| loaded.panel == id);
        let panel = panel.ok_or_else(|| ApproveError::Unknown(id.to_owned()))?;
        match &panel.outcome {
            _ if panel.fingerprint != Some(*files) => return Err(ApproveError::Another),
            Outcome::Held => {}
            Outcome::Refused(_) => return Err(ApproveError::NotHeld("refused")),
            Outcome::Unchanged | Outcome::Accepted => return Err(ApproveError::NotHeld("in force")),
        }
        drop(last);
        // In the place of an approval: the last word about the panel counts, and this one approves of nothing.
        let body = json!({ "rejected": kept::digits(files) });
        let what = What::Put { kind: Kind::RosterApproval, id: id.to_owned(), body };
        registry.say(&head, jiff::Timestamp::now().as_millisecond(), who, what).map_err(TakeError::from)?;
        tracing::info!(panel = id, "roster rejected: the one before stays in force");
        Ok(())
    }
}

/// Says that no roster is in force, where nobody has said anything yet: what is taken on later holds from then on, also when the journal is read once more.
///
/// # Errors
/// A registry that cannot be read or written.
pub(super) fn begin(registry: &Registry, head: impl Fn() -> u64) -> Result<(), registry::Error> {
    if registry.current(Kind::Roster, in_force::ID)?.is_none() {
        let body = InForce::default().body();
        let what = What::Put { kind: Kind::Roster, id: in_force::ID.to_owned(), body };
        registry.say(&head, jiff::Timestamp::now().as_millisecond(), super::READER, what)?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody approved of these files. When that cannot be read, nobody did.
fn is_approved(registry: &Registry, panel: &str, files: &Fingerprint) -> bool {
    let entry = registry.current(Kind::RosterApproval, panel).ok().flatten();
    let said = entry.as_ref().and_then(|entry| entry.what.body()?["sha256"].as_str());
    said.is_some_and(|said| said == kept::digits(files))
}

/// Who rejected these files, and when in milliseconds since 1970. When that cannot be read, nobody did.
fn rejection(registry: &Registry, panel: &str, files: &Fingerprint) -> Option<(String, i64)> {
    let entry = registry.current(Kind::RosterApproval, panel).ok().flatten()?;
    let said = entry.what.body()?["rejected"].as_str() == Some(&kept::digits(files));
    said.then_some((entry.who, entry.at_ms))
}

fn log(loaded: &Loaded) {
    for panel in &loaded.panels {
        let outcome = panel.outcome.name();
        match &panel.outcome {
            Outcome::Unchanged | Outcome::Accepted => tracing::info!(panel = panel.panel, outcome, "roster read"),
            Outcome::Held => {
                let remedy = "look at `handoff rosters status`, and approve of it with `handoff rosters approve`";
                tracing::error!(panel = panel.panel, outcome, "more members are gone than max_drop_pct: {remedy}");
            }
            Outcome::Refused(why) => tracing::error!(panel = panel.panel, outcome, "roster not taken on: {why}"),
        }
        panel.warnings.iter().for_each(|warning| tracing::warn!(panel = panel.panel, "roster: {warning}"));
    }
}

impl Shared {
    /// Reads the rosters anew, and takes on those that can be. Blocks.
    ///
    /// # Errors
    /// What cannot be kept or written down; the rosters before stay in force.
    pub fn take_rosters(&self, who: &str) -> Result<(), ApproveError> {
        self.seen.take(&self.rosters, &self.registry, || self.head(), (who, None))
    }

    /// Takes on a roster that is held, if it is still the one of these files. Blocks.
    ///
    /// # Errors
    /// An [`ApproveError`]; the roster before stays in force.
    pub fn approve_roster(&self, who: &str, panel: &str, files: &Fingerprint) -> Result<(), ApproveError> {
        self.seen.take(&self.rosters, &self.registry, || self.head(), (who, Some((panel, files))))
    }

    /// Says that a roster that is held is not to be taken, if it is still the one of these files. Blocks.
    ///
    /// # Errors
    /// An [`ApproveError`]; it is held as it was.
    pub fn reject_roster(&self, who: &str, panel: &str, files: &Fingerprint) -> Result<(), ApproveError> {
        self.seen.reject(&self.registry, || self.head(), who, (panel, files))
    }

    /// How the roster of each panel stands, in the order of the configuration.
    pub fn panel_statuses(&self, now_ms: i64) -> Vec<PanelStatus> {
        let in_force = self.rosters.in_force();
        let last = lock(&self.seen.last);
        let panels = self.rosters.panels().iter().zip(&*last);
        let of = |(panel, loaded): (&Panel, &PanelLoaded)| {
            let mut status = status(panel, loaded, &in_force, now_ms);
            let files = loaded.fingerprint.filter(|_| status.state == PanelState::Held);
            if let Some((who, at_ms)) = files.and_then(|files| rejection(&self.registry, &panel.id, &files)) {
                let at = jiff::Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.0}")).unwrap_or_default();
                status.state = PanelState::Rejected;
                status.why =
                    Some(format!("rejected by {who} at {at}; the one before stays in force until other files come"));
            }
            status
        };
        panels.map(of).collect()
    }
}

fn status(panel: &Panel, loaded: &PanelLoaded, in_force: &InForce, now_ms: i64) -> PanelStatus {
    let taken = in_force.of(&panel.id);
    let (state, why) = match &loaded.outcome {
        Outcome::Unchanged => (PanelState::Accepted, None),
        // It was, and then could not be kept or written down.
        Outcome::Accepted if loaded.fingerprint != taken.map(|taken| taken.sha256) => {
            (PanelState::Refused, Some("it could not be taken on: see the log".to_owned()))
        }
        Outcome::Accepted => (PanelState::Accepted, None),
        Outcome::Held => {
            let Difference { before, dropped, .. } = loaded.difference;
            let most = panel.max_drop_pct;
            (
                PanelState::Held,
                Some(format!("{dropped} of {before} members are gone, more than the {most} % of max_drop_pct")),
            )
        }
        Outcome::Refused(error) => (PanelState::Refused, Some(error.to_string())),
    };
    let Difference { added, dropped, changed, .. } = loaded.difference;
    let changes = match (state, taken) {
        (PanelState::Accepted, Some(taken)) => [taken.added, taken.dropped, taken.changed],
        _ => [added, dropped, changed],
    };
    // The same files may have been written again.
    let file_ms = if state == PanelState::Accepted { loaded.file_ms } else { taken.and_then(|taken| taken.file_ms) };
    let stale = stale(panel, file_ms, now_ms).map(|warning| warning.to_string());
    let other = |warning: &&Warning| !matches!(warning, Warning::Stale { .. });
    PanelStatus {
        panel: panel.id.clone(),
        kind: panel.kind.name(),
        state,
        why,
        sha256: loaded.fingerprint.as_ref().map(kept::digits),
        read_ms: loaded.read_ms,
        rows: (loaded.read, loaded.bad),
        changes,
        in_force: taken.map(|taken| (kept::digits(&taken.sha256), taken.since_ms)),
        members: taken.map_or(0, |taken| taken.members),
        attributed: loaded.attributed,
        file_ms,
        stale,
        warnings: loaded.warnings.iter().filter(other).map(ToString::to_string).collect(),
    }
}
