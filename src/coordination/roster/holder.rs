//! The rosters of a running gateway: read aside, judged, and swapped while messages go on.
//!
//! Which are in force says the registry ([`super::in_force`]); their files are kept ([`super::kept`]): a file that is refused or held changes nothing, over a restart either, and
//! whoever reads the journal again has the rosters of then.
use super::difference::Difference;
use super::files;
use super::in_force::{InForce, Taken};
use super::kept::{self, Fingerprint, KeepError};
use super::options::{Matching, Options, Panel};
use super::rows::{Rejected, RosterError, Rows};
use super::snapshot::Snapshot;
use arc_swap::ArcSwap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

/// The rosters that are in force.
pub struct Rosters {
    options: Options,
    folder: PathBuf,
    current: ArcSwap<Snapshot>,
    in_force: Mutex<InForce>,
    /// Held while rosters are swapped, one at a time: copying their files takes seconds, and nobody who asks which are in force waits for that.
    swapping: Mutex<()>,
}

/// Rosters that were read and are not in force yet.
#[derive(Debug)]
pub struct Loaded {
    /// The people, with the rosters before where new ones are refused or held.
    pub snapshot: Arc<Snapshot>,
    /// What became of each panel that was read, in the order of the configuration.
    pub panels: Vec<PanelLoaded>,
}

/// What became of the roster of a panel.
#[derive(Debug)]
pub struct PanelLoaded {
    /// The panel.
    pub panel: String,
    /// Whether it is taken.
    pub outcome: Outcome,
    /// What it changes; nothing where it cannot be read.
    pub difference: Difference,
    /// Members on the day it was read, of the roster that holds now.
    pub attributed: usize,
    /// Rows that were read.
    pub read: usize,
    /// Rows that were not taken.
    pub bad: usize,
    /// The first of them.
    pub rejected: Vec<Rejected>,
    /// When it was read, in milliseconds since 1970.
    pub read_ms: i64,
    /// The names of the files, as [`super::rows::Place::file`] counts them.
    pub files: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    /// What its files are; nothing where they cannot be read.
    pub fingerprint: Option<Fingerprint>,
    /// When the last of its files was written, in milliseconds since 1970.
    pub file_ms: Option<i64>,
    /// The files, where they are to be kept as the accepted ones.
    keep: Vec<PathBuf>,
}

/// Whether a roster is taken.
#[derive(Debug)]
pub enum Outcome {
    /// It is the same as before.
    Unchanged,
    /// It is in force with the next swap.
    Accepted,
    /// More members are gone than `max_drop_pct`: the one before stays until somebody approves of this one.
    Held,
    /// It cannot be used: the one before stays.
    Refused(RosterError),
}

impl Outcome {
    /// As answers and the command line write it.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Unchanged => "unchanged",
            Outcome::Accepted => "accepted",
            Outcome::Held => "held",
            Outcome::Refused(_) => "refused",
        }
    }
}

/// What somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Fewer members than `min_attributed`.
    #[error("{attributed} members, fewer than the {least} of min_attributed")]
    Few {
        /// Members today.
        attributed: usize,
        /// The least.
        least: usize,
    },
    /// Its file is older than `stale_after`.
    #[error("its file is {days} days old, more than the {most} of stale_after")]
    Stale {
        /// Its age.
        days: u64,
        /// The most.
        most: u64,
    },
    /// Some rows were not taken.
    #[error("{bad} of {read} rows were not taken")]
    Bad {
        /// Those not taken.
        bad: usize,
        /// All rows.
        read: usize,
    },
}

/// The warnings that a roster gives rise to. Times are milliseconds since 1970.
pub fn warnings(panel: &Panel, rows: &Rows, attributed: usize, file_ms: Option<i64>, now_ms: i64) -> Vec<Warning> {
    let mut found = Vec::new();
    if rows.bad > 0 {
        found.push(Warning::Bad { bad: rows.bad, read: rows.read });
    }
    if attributed < panel.min_attributed {
        found.push(Warning::Few { attributed, least: panel.min_attributed });
    }
    found.extend(stale(panel, file_ms, now_ms));
    found
}

/// Whether a file is older than `stale_after`. Times are milliseconds since 1970.
pub fn stale(panel: &Panel, file_ms: Option<i64>, now_ms: i64) -> Option<Warning> {
    let days = |ms: u64| ms / 86_400_000;
    let age = file_ms.map_or(0, |file_ms| now_ms.saturating_sub(file_ms).max(0).unsigned_abs());
    let most = u64::try_from(panel.stale_after.as_millis()).unwrap_or(u64::MAX);
    (age > most).then(|| Warning::Stale { days: days(age), most: days(most) })
}

impl Rosters {
    /// The rosters that are in force, their files from `folder` (`DATA/rosters`). A panel without one has no members until one is taken on; one that cannot be read any more, such
    /// as after a change of its columns, is told, and has none either.
    pub fn open(options: Options, folder: PathBuf, in_force: InForce) -> (Rosters, Vec<RosterError>) {
        let (rows, errors) = accepted(&options, &folder, &in_force);
        let current = ArcSwap::from_pointee(snapshot(&options, &rows));
        (Rosters { options, folder, current, in_force: Mutex::new(in_force), swapping: Mutex::default() }, errors)
    }

    /// The people of now. Cheap, and never waits for a roster that is read.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Which rosters they are of.
    pub fn in_force(&self) -> InForce {
        self.lock().clone()
    }

    /// The panels as configured.
    pub fn panels(&self) -> &[Panel] {
        &self.options.panels
    }

    /// The people of other rosters, such as those of an earlier place in the journal. Of a panel whose roster of then is not kept any more, those of now.
    pub fn at(&self, wanted: &InForce) -> Arc<Snapshot> {
        let current = self.current();
        if *current.fingerprint() == Snapshot::fingerprint_of(wanted.fingerprints(&self.options)) {
            return current;
        }
        let now = self.in_force();
        let read = |panel: &Panel| {
            let Some(then) = wanted.of(&panel.id) else { return Rows::default() };
            let rows = kept::read(&self.folder, panel, &self.options, &then.sha256).or_else(|error| {
                tracing::warn!(panel = panel.id, "its roster of now counts for what was received earlier: {error}");
                let now = now.of(&panel.id).map(|taken| taken.sha256).unwrap_or_default();
                kept::read(&self.folder, panel, &self.options, &now)
            });
            rows.unwrap_or_default()
        };
        let rows: Vec<Rows> = self.options.panels.iter().map(read).collect();
        Arc::new(snapshot(&self.options, &rows))
    }

    /// How patients are matched.
    pub fn matching(&self) -> &Matching {
        &self.options.matching
    }

    /// The rows of a panel that are in force; none where there are none, or they cannot be read any more.
    pub fn rows(&self, panel: &Panel) -> Rows {
        let taken = self.in_force().of(&panel.id).map(|taken| taken.sha256);
        let read = |sha256| kept::read(&self.folder, panel, &self.options, &sha256).ok();
        taken.and_then(read).unwrap_or_default()
    }

    /// Where a list is kept while it is sent: beside the folder, which is copied when a backup is made.
    pub fn sent(&self) -> PathBuf {
        self.folder.with_file_name("list.sent")
    }

    /// Reads the rosters from where the configuration says, aside; nothing is in force before [`Rosters::swap`]. `approved` says of which panel which files may drop more than
    /// `max_drop_pct`.
    pub fn load(&self, now_ms: i64, approved: &dyn Fn(&str, &Fingerprint) -> bool) -> Loaded {
        self.load_of(None, now_ms, approved)
    }

    /// The same of one panel; the others stay as they are.
    pub fn load_one(&self, panel: &str, now_ms: i64, approved: &dyn Fn(&str, &Fingerprint) -> bool) -> Loaded {
        self.load_of(Some(panel), now_ms, approved)
    }

    fn load_of(&self, only: Option<&str>, now_ms: i64, approved: &dyn Fn(&str, &Fingerprint) -> bool) -> Loaded {
        let mut panels = Vec::new();
        let mut all = Vec::new();
        let (accepted, _) = accepted(&self.options, &self.folder, &self.in_force());
        for (panel, before) in self.options.panels.iter().zip(accepted) {
            if only.is_some_and(|only| only != panel.id) {
                all.push(before);
                continue;
            }
            let (told, rows) = load_panel(panel, &self.options, before, now_ms, approved);
            panels.push(told);
            all.push(rows);
        }
        let snapshot = Arc::new(snapshot(&self.options, &all));
        Loaded { snapshot, panels }
    }

    /// Puts loaded rosters in force. Their files are kept first, then `say` writes down which they are, where they are others than before; whether they were.
    ///
    /// # Errors
    /// Files that cannot be kept, and what `say` says; the rosters before stay in force.
    pub fn swap<E: From<KeepError>>(
        &self,
        loaded: &Loaded,
        now_ms: i64,
        say: impl FnOnce(&InForce) -> Result<(), E>,
    ) -> Result<bool, E> {
        let _one_at_a_time = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let in_force = self.in_force();
        let accepted = || loaded.panels.iter().filter(|panel| matches!(panel.outcome, Outcome::Accepted));
        for panel in accepted() {
            let fingerprint = panel.fingerprint.unwrap_or_default();
            kept::keep(&self.folder.join(&panel.panel), &panel.keep, &fingerprint)?;
        }
        let next = next(&self.options, &in_force, loaded, now_ms);
        let is_new = next.panels.iter().any(|one| in_force.of(&one.panel).is_none_or(|old| old.sha256 != one.sha256));
        let before = self.current.load_full();
        // First: whoever reads what was said finds them here. The same people again would only take the memory twice.
        if is_new || before.fingerprint() != loaded.snapshot.fingerprint() {
            self.current.store(Arc::clone(&loaded.snapshot));
        }
        if is_new {
            if let Err(error) = say(&next) {
                self.current.store(before);
                return Err(error);
            }
            *self.lock() = next;
        }
        accepted().for_each(|panel| kept::forget(&self.folder.join(&panel.panel)));
        Ok(is_new)
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which rosters are in force when the loaded ones are.
fn next(options: &Options, before: &InForce, loaded: &Loaded, now_ms: i64) -> InForce {
    let taken = |panel: &Panel| {
        let before = before.of(&panel.id).cloned();
        let accepted = |one: &&PanelLoaded| one.panel == panel.id && matches!(one.outcome, Outcome::Accepted);
        let Some((panel, sha256)) =
            loaded.panels.iter().find(accepted).and_then(|panel| Some((panel, panel.fingerprint?)))
        else {
            return before;
        };
        if before.as_ref().is_some_and(|old| old.sha256 == sha256) {
            return before;
        }
        let Difference { after: members, added, dropped, changed, .. } = panel.difference;
        let (panel, file_ms) = (panel.panel.clone(), panel.file_ms);
        Some(Taken { panel, sha256, since_ms: now_ms, file_ms, members, added, dropped, changed })
    };
    InForce { panels: options.panels.iter().filter_map(taken).collect() }
}

fn snapshot(options: &Options, rows: &[Rows]) -> Snapshot {
    let panels: Vec<_> = options.panels.iter().zip(rows).collect();
    Snapshot::new(&panels, &options.matching)
}

/// The rows of each panel that are in force; none of those that have none.
fn accepted(options: &Options, folder: &Path, in_force: &InForce) -> (Vec<Rows>, Vec<RosterError>) {
    let mut errors = Vec::new();
    let mut read = |panel: &Panel| {
        let Some(taken) = in_force.of(&panel.id) else { return Rows::default() };
        kept::read(folder, panel, options, &taken.sha256).unwrap_or_else(|error| {
            errors.push(error);
            Rows::default()
        })
    };
    let rows = options.panels.iter().map(&mut read).collect();
    (rows, errors)
}

/// The roster of one panel, and the rows that hold: the new ones, or those before.
fn load_panel(
    panel: &Panel,
    options: &Options,
    before: Rows,
    now_ms: i64,
    approved: &dyn Fn(&str, &Fingerprint) -> bool,
) -> (PanelLoaded, Rows) {
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let today = panel.zone.to_datetime(time).date();
    let read = files::files(&panel.source)
        .and_then(|files| files::read_from(&panel.source, &files, &options.matching).map(|rows| (files, rows)));
    let mut told = PanelLoaded {
        panel: panel.id.clone(),
        outcome: Outcome::Unchanged,
        difference: Difference::default(),
        attributed: before.members_on(today),
        read: 0,
        bad: 0,
        rejected: Vec::new(),
        read_ms: now_ms,
        files: Vec::new(),
        warnings: Vec::new(),
        fingerprint: None,
        file_ms: None,
        keep: Vec::new(),
    };
    let (paths, rows) = match read {
        Ok(read) => read,
        Err(error) => {
            if let RosterError::Bad { bad, read, .. } = &error {
                (told.bad, told.read) = (*bad, *read);
            }
            told.outcome = Outcome::Refused(error);
            return (told, before);
        }
    };
    told.difference = Difference::between(&before, &rows);
    (told.read, told.bad) = (rows.read, rows.bad);
    (told.rejected, told.files) = (rows.rejected.clone(), rows.files.clone());
    let attributed = rows.members_on(today);
    told.fingerprint = Some(rows.fingerprint);
    told.file_ms = paths.last().and_then(|path| changed_ms(path));
    told.warnings = warnings(panel, &rows, attributed, told.file_ms, now_ms);
    if told.difference.drops_more_than(panel.max_drop_pct) && !approved(&panel.id, &rows.fingerprint) {
        told.outcome = Outcome::Held;
        return (told, before);
    }
    if rows.fingerprint != before.fingerprint {
        told.outcome = Outcome::Accepted;
    }
    told.attributed = attributed;
    told.keep = paths;
    (told, rows)
}

/// When a file was changed, in milliseconds since 1970.
pub fn changed_ms(path: &Path) -> Option<i64> {
    let changed = fs::metadata(path).and_then(|facts| facts.modified()).ok()?;
    changed.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok())
}
