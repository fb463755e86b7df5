//! The rosters of a running gateway: read aside, judged, and swapped while messages go on.
//!
//! Of each panel the files that were accepted last are kept in `DATA/rosters/PANEL/`: a file that is refused or held changes nothing, over a restart either.
use super::difference::{Difference, rekeyed};
use super::files;
use super::key::PersonKey;
use super::options::{Options, Panel};
use super::rows::{Rejected, RosterError, Rows};
use super::snapshot::Snapshot;
use arc_swap::ArcSwap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

/// The rosters that are in force.
pub struct Rosters {
    options: Options,
    folder: PathBuf,
    current: ArcSwap<Snapshot>,
    /// Held while rosters are swapped: one at a time.
    swapping: Mutex<()>,
}

/// Rosters that were read and are not in force yet.
#[derive(Debug)]
pub struct Loaded {
    /// The people, with the rosters before where new ones are refused or held.
    pub snapshot: Arc<Snapshot>,
    /// What became of each panel, in the order of the configuration.
    pub panels: Vec<PanelLoaded>,
    /// People who are known by another key than before: old and new.
    pub rekeyed: Vec<(PersonKey, PersonKey)>,
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
    /// The names of the files, as [`super::rows::Place::file`] counts them.
    pub files: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    /// The files, where they are to be kept as the accepted ones.
    keep: Vec<PathBuf>,
    fingerprint: [u8; 32],
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

/// What subscribers of `atr-list-change` are told of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListChange {
    /// The panel.
    pub panel: String,
    /// How many are new.
    pub added: usize,
    /// How many are gone.
    pub dropped: usize,
    /// Of how many something is different.
    pub changed: usize,
    /// How many there are now.
    pub members: usize,
}

/// Accepted files cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A folder or file that cannot be written.
    #[error("{}: the accepted roster cannot be kept: {error}", path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// They are not what was read.
    #[error("{}: the roster changed while it was read; load it again", .0.display())]
    Changed(PathBuf),
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
    let days = |ms: u64| ms / 86_400_000;
    let age = file_ms.map_or(0, |file_ms| now_ms.saturating_sub(file_ms).max(0).unsigned_abs());
    let most = u64::try_from(panel.stale_after.as_millis()).unwrap_or(u64::MAX);
    if age > most {
        found.push(Warning::Stale { days: days(age), most: days(most) });
    }
    found
}

impl Rosters {
    /// The rosters that were accepted last, from `folder` (`DATA/rosters`). A panel without one has no members until one is loaded; one that cannot be read any more,
    /// such as after a change of its columns, is told, and has none either.
    pub fn open(options: Options, folder: PathBuf) -> (Rosters, Vec<RosterError>) {
        let (accepted, errors) = accepted(&options, &folder);
        let current = ArcSwap::from_pointee(snapshot(&options, &accepted));
        (Rosters { options, folder, current, swapping: Mutex::default() }, errors)
    }

    /// The people of now. Cheap, and never waits for a roster that is read.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Reads the rosters from where the configuration says, aside; nothing is in force before [`Rosters::swap`]. `approved` names the panels whose roster may drop more
    /// than `max_drop_pct`.
    pub fn load(&self, now_ms: i64, approved: &[&str]) -> Loaded {
        let mut panels = Vec::new();
        let mut all = Vec::new();
        let (accepted, _) = accepted(&self.options, &self.folder);
        for (panel, before) in self.options.panels.iter().zip(accepted) {
            let (told, rows) = load_panel(panel, &self.options, before, now_ms, approved.contains(&panel.id.as_str()));
            panels.push(told);
            all.push(rows);
        }
        let snapshot = Arc::new(snapshot(&self.options, &all));
        let rekeyed = rekeyed(&self.current.load(), &snapshot);
        Loaded { snapshot, panels, rekeyed }
    }

    /// Puts loaded rosters in force; the accepted files are kept first, so that a restart has the same ones. Tells what changed of each panel.
    ///
    /// # Errors
    /// Files that cannot be kept; the rosters before stay in force.
    pub fn swap(&self, loaded: &Loaded) -> Result<Vec<ListChange>, KeepError> {
        let _one_at_a_time = self.swapping.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for panel in &loaded.panels {
            if matches!(panel.outcome, Outcome::Accepted) {
                keep(&self.folder.join(&panel.panel), &panel.keep, &panel.fingerprint)?;
            }
        }
        self.current.store(Arc::clone(&loaded.snapshot));
        let accepted = loaded.panels.iter().filter(|panel| matches!(panel.outcome, Outcome::Accepted));
        let change = |panel: &PanelLoaded| ListChange {
            panel: panel.panel.clone(),
            added: panel.difference.added,
            dropped: panel.difference.dropped,
            changed: panel.difference.changed,
            members: panel.difference.after,
        };
        Ok(accepted.filter(|panel| !panel.difference.is_empty()).map(change).collect())
    }
}

fn snapshot(options: &Options, rows: &[Rows]) -> Snapshot {
    let panels: Vec<_> = options.panels.iter().zip(rows).collect();
    Snapshot::new(&panels, &options.matching)
}

/// The rows of each panel that were accepted last; none of those that have none.
fn accepted(options: &Options, folder: &Path) -> (Vec<Rows>, Vec<RosterError>) {
    let mut errors = Vec::new();
    let mut read = |panel: &Panel| {
        // Between two renames the old ones are the accepted ones.
        let kept = [folder.join(&panel.id), folder.join(format!(".{}.old", panel.id))];
        let Some(path) = kept.into_iter().find(|path| path.is_dir()) else { return Rows::default() };
        let source = super::options::Source { path, ..panel.source.clone() };
        files::read(&source, &options.matching).unwrap_or_else(|error| {
            errors.push(error);
            Rows::default()
        })
    };
    let rows = options.panels.iter().map(&mut read).collect();
    (rows, errors)
}

/// The roster of one panel, and the rows that hold: the new ones, or those before.
fn load_panel(panel: &Panel, options: &Options, before: Rows, now_ms: i64, approved: bool) -> (PanelLoaded, Rows) {
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
        files: Vec::new(),
        warnings: Vec::new(),
        keep: Vec::new(),
        fingerprint: [0; 32],
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
    told.warnings = warnings(panel, &rows, attributed, paths.last().and_then(|path| changed_ms(path)), now_ms);
    if told.difference.drops_more_than(panel.max_drop_pct) && !approved {
        told.outcome = Outcome::Held;
        return (told, before);
    }
    if rows.fingerprint != before.fingerprint {
        told.outcome = Outcome::Accepted;
    }
    told.attributed = attributed;
    (told.keep, told.fingerprint) = (paths, rows.fingerprint);
    (told, rows)
}

/// When a file was changed, in milliseconds since 1970.
pub fn changed_ms(path: &Path) -> Option<i64> {
    let changed = fs::metadata(path).and_then(|facts| facts.modified()).ok()?;
    changed.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok())
}

/// Copies files into a new folder beside `folder`, and puts it in its place.
fn keep(folder: &Path, files: &[PathBuf], fingerprint: &[u8; 32]) -> Result<(), KeepError> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let (new, old) = (parent.join(format!(".{name}.new")), parent.join(format!(".{name}.old")));
    let write = |error| KeepError::Write { path: folder.to_owned(), error };
    let copied = copy(&new, parent, files).map_err(write)?;
    if files::fingerprint(&copied).map_err(write)? != *fingerprint {
        return Err(KeepError::Changed(folder.to_owned()));
    }
    replace(folder, &new, &old, parent).map_err(write)
}

fn copy(new: &Path, parent: &Path, files: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    fs::create_dir_all(parent)?;
    if new.exists() {
        fs::remove_dir_all(new)?;
    }
    fs::create_dir(new)?;
    let mut copied = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // In the order in which they were read, whatever they are called.
        let kept = new.join(format!("{number:05}-{name}"));
        fs::copy(file, &kept)?;
        fs::File::open(&kept)?.sync_all()?;
        copied.push(kept);
    }
    fs::File::open(new)?.sync_all()?;
    Ok(copied)
}

fn replace(folder: &Path, new: &Path, old: &Path, parent: &Path) -> std::io::Result<()> {
    if folder.exists() {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
        fs::rename(folder, old)?;
    }
    fs::rename(new, folder)?;
    fs::File::open(parent)?.sync_all()?;
    if old.exists() {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}
