//! The files of rosters that were taken on, as they were: `DATA/rosters/PANEL/SHA-256/00000-NAME`. Whoever reads the journal again finds the roster of then.
//!
//! Of each panel the last [`KEPT_MAX`] are kept. Where an older one is asked for it is gone, and whoever asks uses the one of now.
use super::files;
use super::options::{Options, Panel, Source};
use super::rows::{RosterError, Rows};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Rosters of a panel that are kept.
pub const KEPT_MAX: usize = 32;

/// What tells a roster from every other one: `Rows::fingerprint`.
pub type Fingerprint = [u8; 32];

/// 64 digits.
pub fn digits(fingerprint: &Fingerprint) -> String {
    fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads 64 digits.
pub fn parse(text: &str) -> Option<Fingerprint> {
    let mut fingerprint = [0; 32];
    let good = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 64 || !text.bytes().all(good) {
        return None;
    }
    for (byte, pair) in fingerprint.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(fingerprint)
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

/// Reads a roster that was kept.
///
/// # Errors
/// One that is gone, or cannot be read with the columns of now.
pub(super) fn read(
    folder: &Path,
    panel: &Panel,
    options: &Options,
    fingerprint: &Fingerprint,
) -> Result<Rows, RosterError> {
    let source = Source { path: folder.join(&panel.id).join(digits(fingerprint)), ..panel.source.clone() };
    files::read(&source, &options.matching)
}

/// Copies files to where [`read`] finds them; they are there for good when this returns.
///
/// # Errors
/// Files that cannot be copied, or have changed since they were read.
pub(super) fn keep(folder: &Path, files: &[PathBuf], fingerprint: &Fingerprint) -> Result<(), KeepError> {
    let kept = folder.join(digits(fingerprint));
    let write = |error| KeepError::Write { path: kept.clone(), error };
    if kept.exists() {
        // Taken on once more: it is the newest again.
        return fs::File::open(&kept).and_then(|kept| kept.set_modified(SystemTime::now())).map_err(write);
    }
    let new = folder.join(".new");
    let copied = copy(&new, files).map_err(write)?;
    if files::fingerprint(&copied).map_err(write)? != *fingerprint {
        return Err(KeepError::Changed(folder.to_owned()));
    }
    fs::rename(&new, &kept).and_then(|()| sync(folder)).map_err(write)
}

fn copy(new: &Path, files: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    if new.exists() {
        fs::remove_dir_all(new)?;
    }
    fs::create_dir_all(new)?;
    let mut copied = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // In the order in which they were read, whatever they are called.
        let kept = new.join(format!("{number:05}-{name}"));
        fs::copy(file, &kept)?;
        fs::File::open(&kept)?.sync_all()?;
        copied.push(kept);
    }
    sync(new)?;
    Ok(copied)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

/// Removes those that were taken on before the last [`KEPT_MAX`]. What cannot be removed stays.
pub(super) fn forget(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_kept = |path: &Path| path.file_name().is_some_and(|name| parse(&name.to_string_lossy()).is_some());
    let aged = |path: PathBuf| Some((fs::metadata(&path).and_then(|facts| facts.modified()).ok()?, path));
    let mut all: Vec<_> = entries.map(|entry| entry.path()).filter(|path| is_kept(path)).filter_map(aged).collect();
    all.sort_unstable();
    for (_, path) in all.iter().rev().skip(KEPT_MAX) {
        if let Err(error) = fs::remove_dir_all(path) {
            tracing::warn!("{}: an old roster cannot be removed: {error}", path.display());
        }
    }
}
