//! The list of a panel, written through the FHIR interface: what is written becomes a file of the panel's source, and is then read, judged, held or taken on as any other.
//!
//! So the files stay the truth: whoever reads them finds what is in force, or waits to be. The audit says of each write that it is about to be done, before it is.
use super::{ApproveError, is_approved, lock};
use crate::coordination::PersonKey;
use crate::coordination::roster::edit::{self, Change, Draft, EditError};
use crate::coordination::roster::holder::{Warning, changed_ms, warnings};
use crate::coordination::roster::kept::{self, Fingerprint};
use crate::coordination::roster::rows::Rejected;
use crate::coordination::roster::{Difference, Panel, files};
use crate::privacy::audit;
use crate::server::care::Shared;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What a write asks for beside the change.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The steward.
    pub who: &'a str,
    /// The panel.
    pub panel: &'a str,
    /// The versions one of which must be in force; none where any may.
    pub versions: Option<&'a [String]>,
    /// Only what would come of it is asked for.
    pub dry_run: bool,
}

/// What came of a write, or would.
#[derive(Debug)]
pub struct Written {
    /// Whether it is in force.
    pub became: Became,
    /// What the files of the panel are then.
    pub sha256: String,
    /// What it changes.
    pub difference: Difference,
    /// Rows of the files, and those that were not taken.
    pub rows: (usize, usize),
    /// The first of them.
    pub rejected: Vec<Rejected>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    /// `max_drop_pct` of the panel.
    pub max_drop_pct: u8,
}

/// Whether a list that was written is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// The same lies there already.
    Unchanged,
    /// It is.
    Accepted,
    /// It lies there, and waits for somebody to approve of it.
    Held,
}

impl Became {
    /// As answers write it.
    pub fn name(self) -> &'static str {
        match self {
            Became::Unchanged => "unchanged",
            Became::Accepted => "accepted",
            Became::Held => "held",
        }
    }
}

/// Why a list is not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is none of that name.
    #[error("there is no such panel")]
    Unknown,
    /// Another version is in force.
    #[error("another version of this list is in force: read it again")]
    Version,
    /// The change cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Its file cannot be written.
    #[error("the source of the panel cannot be written: {0}")]
    File(#[from] io::Error),
    /// The audit cannot.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// It lies there, and cannot be taken on.
    #[error(transparent)]
    Take(#[from] ApproveError),
}

impl Shared {
    /// Changes the list of a panel. Blocks.
    ///
    /// # Errors
    /// A [`WriteError`]. Nothing was changed then, but for [`WriteError::Take`]: the file lies there, and is taken on when the rosters are read next.
    pub fn write_list(&self, write: &Write<'_>, change: Change<'_>) -> Result<Written, WriteError> {
        let panel = self.rosters.panels().iter().find(|panel| panel.id == write.panel).ok_or(WriteError::Unknown)?;
        let _one_at_a_time = lock(&self.seen.reading);
        let in_force = self.rosters.in_force().of(&panel.id).map(|taken| taken.sha256);
        let is = |version: &String| in_force.is_some_and(|now| version == "*" || *version == kept::digits(&now));
        if write.versions.is_some_and(|versions| !versions.iter().any(is)) {
            return Err(WriteError::Version);
        }
        let verb = match &change {
            Change::Put(_) => audit::Verb::Put,
            Change::Add(_) => audit::Verb::Add,
            Change::Remove(_) => audit::Verb::Remove,
        };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let rows = || self.rosters.rows(panel);
        let draft = edit::draft(panel, self.rosters.matching(), (in_force, &rows), change, now_ms)?;
        let written = self.judged(panel, &draft, now_ms);
        if write.dry_run || written.became == Became::Unchanged {
            return Ok(written);
        }
        let person = draft.person.as_ref().map(PersonKey::to_string);
        let mut entry = audit::Change {
            at_ms: now_ms,
            steward: write.who,
            panel: &panel.id,
            verb,
            version: &written.sha256,
            person: person.as_deref(),
            is_done: true,
        };
        self.audit(&[entry])?;
        tracing::info!(audit = true, steward = write.who, panel = panel.id, verb = verb.name(), "list to be written");
        if let Err(error) = put(&draft.path, &draft.bytes) {
            entry.is_done = false;
            self.audit(&[entry])?;
            return Err(error.into());
        }
        let said = (write.who, None);
        self.seen.take_of(Some(&panel.id), &self.rosters, &self.registry, || self.head(), said)?;
        Ok(written)
    }

    /// What comes of a draft.
    fn judged(&self, panel: &Panel, draft: &Draft<'_>, now_ms: i64) -> Written {
        let Draft { rows, difference, .. } = draft;
        let is_held = difference.drops_more_than(panel.max_drop_pct)
            && !is_approved(&self.registry, &panel.id, &rows.fingerprint);
        let became = match lies(panel) {
            Some(lies) if lies == rows.fingerprint && !is_held => Became::Unchanged,
            _ if is_held => Became::Held,
            _ => Became::Accepted,
        };
        let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let attributed = rows.members_on(panel.zone.to_datetime(time).date());
        let file_ms = if became == Became::Unchanged { changed_ms(&draft.path) } else { Some(now_ms) };
        Written {
            became,
            sha256: kept::digits(&rows.fingerprint),
            difference: difference.clone(),
            rows: (rows.read, rows.bad),
            rejected: rows.rejected.clone(),
            warnings: warnings(panel, rows, attributed, file_ms, now_ms),
            max_drop_pct: panel.max_drop_pct,
        }
    }
}

/// What the files are that lie in the source of a panel now; none where they cannot be read.
fn lies(panel: &Panel) -> Option<Fingerprint> {
    files::fingerprint(&files::files(&panel.source).ok()?).ok()
}

/// Writes a file, whole or not at all; it is there for good when this returns. Whoever could read the one before can read it, nobody else.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The file itself, where the source is a link to it.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let nowhere = || io::Error::new(io::ErrorKind::InvalidInput, "it has no folder");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(nowhere)?.to_string_lossy().into_owned();
    // Files with a dot in front are no rosters.
    let new = folder.join(format!(".{name}.new"));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        if let Ok(before) = fs::metadata(&path) {
            file.set_permissions(before.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    let written = write();
    if written.is_err() {
        // Nobody reads it; the next write begins it anew.
        let _ = fs::remove_file(&new);
    }
    written.and_then(|()| File::open(folder)?.sync_all())
}
