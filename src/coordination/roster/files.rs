//! The files of a panel, read in order: the last one alone, or each as a change to those before it.
use super::key::PersonKey;
use super::options::{Form, Matching, Mode, Source};
use super::rows::{Change, RosterError, Row, Rows};
use super::{group, table};
use jiff::civil::Date;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Files of a folder that are read.
const FILES_MAX: usize = 10_000;
/// Bytes of a file.
const FILE_BYTES_MAX: usize = 4 << 30;

/// Reads a panel from where its configuration says.
///
/// # Errors
/// A file that cannot be read or of which nothing can be taken.
pub fn read(source: &Source, matching: &Matching) -> Result<Rows, RosterError> {
    read_from(source, &files(source)?, matching)
}

/// Reads a panel from these files.
///
/// # Errors
/// A file that cannot be read or of which nothing can be taken.
pub fn read_from(source: &Source, files: &[PathBuf], matching: &Matching) -> Result<Rows, RosterError> {
    let mut rows = Rows::default();
    for path in files {
        let unreadable = |error| RosterError::Unreadable { path: path.clone(), error };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if usize::try_from(size).is_ok_and(|size| size > FILE_BYTES_MAX) {
            return Err(RosterError::Large { path: path.clone(), what: "bytes", max: FILE_BYTES_MAX });
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        add(&mut rows, source, &bytes, path, matching)?;
    }
    Ok(rows)
}

/// Reads the bytes of one more file of a panel.
///
/// # Errors
/// A file of which nothing can be taken.
pub fn add(
    rows: &mut Rows,
    source: &Source,
    bytes: &[u8],
    path: &Path,
    matching: &Matching,
) -> Result<(), RosterError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    rows.files.push(name.unwrap_or_default());
    rows.fingerprint(bytes);
    let before = std::mem::take(&mut rows.rows);
    match &source.form {
        Form::Csv { columns, dates, latin_1 } => {
            table::read(bytes, path, (columns, *dates, *latin_1), matching, rows)?;
        }
        Form::Group { id_system } => group::read(bytes, path, id_system, matching, rows)?,
    }
    let new = std::mem::take(&mut rows.rows);
    rows.rows = changed(before, new);
    Ok(())
}

/// What `Rows::fingerprint` of these files is.
///
/// # Errors
/// A file that cannot be read.
pub fn fingerprint(files: &[PathBuf]) -> std::io::Result<[u8; 32]> {
    let mut rows = Rows::default();
    for path in files {
        rows.fingerprint(&std::fs::read(path)?);
    }
    Ok(rows.fingerprint)
}

/// The files of a panel, in the order in which they are read.
///
/// # Errors
/// A folder that cannot be listed, holds nothing, or too much.
pub fn files(source: &Source) -> Result<Vec<PathBuf>, RosterError> {
    let path = &source.path;
    if !path.is_dir() {
        return Ok(vec![path.clone()]);
    }
    let unreadable = |error| RosterError::Unreadable { path: path.clone(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?.path();
        let hidden = entry.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if entry.is_file() && !hidden {
            files.push(entry);
        }
        if files.len() > FILES_MAX {
            return Err(RosterError::Large { path: path.clone(), what: "files", max: FILES_MAX });
        }
    }
    files.sort();
    match (source.mode, files.pop()) {
        (_, None) => Err(RosterError::Empty(path.clone())),
        (Mode::Supersede, Some(last)) => Ok(vec![last]),
        (Mode::Delta, Some(last)) => Ok([files, vec![last]].concat()),
    }
}

/// What is left of rows after those of a later file: whoever it names has what it says and nothing else.
fn changed(before: Vec<Row>, new: Vec<Row>) -> Vec<Row> {
    if before.is_empty() && new.iter().all(|row| row.change == Change::Set) {
        return new;
    }
    let (mut ends, mut set) = (HashMap::new(), HashSet::new());
    for row in &new {
        if row.change == Change::Set {
            set.insert(row.key);
        } else {
            // Without a day they were never there.
            ends.insert(row.key, Some(row.end).filter(|end| *end != Date::MAX));
        }
    }
    let mut left = Vec::with_capacity(before.len() + new.len());
    for mut row in before {
        if set.contains(&row.key) {
            continue;
        }
        match ends.get(&row.key) {
            None => left.push(row),
            Some(None) => {}
            Some(Some(end)) if row.start > *end => {}
            Some(Some(end)) => {
                row.end = row.end.min(*end);
                left.push(row);
            }
        }
    }
    // Of somebody who is dropped with a day, and was not there before, the row tells the period that is over.
    let known: HashSet<PersonKey> = left.iter().map(|row| row.key).collect();
    let stays = |row: &Row| row.change == Change::Set || row.end != Date::MAX && !known.contains(&row.key);
    left.extend(new.into_iter().filter(stays));
    left
}
