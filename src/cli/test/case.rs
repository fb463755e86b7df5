//! Test cases: folders with a message and with what is expected of it.
//!
//! ```text
//! admission/
//!   message.hl7    a message or a batch
//!   bundle.json    the Bundle that it becomes; bundles.json, or an array: those of a batch, in order
//!   error.txt      one line for each message that is refused; a line may be cut short
//!   facts.toml     or facts.json: what must hold of the Bundle
//! ```
//! Any of the expectations may be left out, but not all of them.
use super::super::files::decoded;
use super::facts::{Fact, read_json, read_toml};
use anyhow::Context as _;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A case, as it is written.
pub(super) struct Case {
    /// Its folder below the one that is tested.
    pub name: String,
    pub folder: PathBuf,
    pub raw: Vec<u8>,
    /// The file that holds them, and the Bundles.
    pub bundles: Option<(PathBuf, Vec<Value>)>,
    /// Lines of `error.txt`.
    pub refusals: Option<Vec<String>>,
    /// The file that holds them, and the facts.
    pub facts: Vec<(PathBuf, Vec<Fact>)>,
}

pub(super) const MESSAGE: &str = "message.hl7";
pub(super) const REFUSALS: &str = "error.txt";
/// Folders within folders.
const DEPTH_MAX: usize = 32;

/// The folders of all cases at and below a folder, by name.
///
/// # Errors
/// When a folder cannot be listed.
pub(super) fn find(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        if folder.join(MESSAGE).is_file() {
            found.push(folder.clone());
        }
        let entries = std::fs::read_dir(&folder).with_context(|| format!("{}: cannot be listed", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            // Links are not followed: they may lead in circles.
            if entry.file_type()?.is_dir() && depth < DEPTH_MAX && !entry.file_name().to_string_lossy().starts_with('.')
            {
                waiting.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What a case is called: its folder below the one that is tested.
pub(super) fn name(root: &Path, folder: &Path) -> String {
    let below = folder.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
    match below {
        Some(below) => below.to_string_lossy().replace('\\', "/"),
        None => folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
    }
}

impl Case {
    /// Reads a case; what is wrong with it otherwise, one line each.
    pub fn read(root: &Path, folder: &Path) -> Result<Case, Vec<String>> {
        let mut mistakes = Vec::new();
        let raw = std::fs::read(folder.join(MESSAGE)).map(decoded);
        let raw = raw.map_err(|error| vec![format!("{MESSAGE}: cannot be read: {error}")])?;
        let mut bundles = None;
        for file in ["bundle.json", "bundles.json"] {
            let Some(text) = text(folder, file, &mut mistakes) else { continue };
            if bundles.is_some() {
                mistakes.push("bundle.json and bundles.json stand side by side; one of them is enough".into());
            }
            match serde_json::from_str(&text) {
                Ok(Value::Array(all)) => bundles = Some((folder.join(file), all)),
                Ok(one) => bundles = Some((folder.join(file), vec![one])),
                Err(error) => mistakes.push(format!("{file}:{}: {error}", error.line())),
            }
        }
        let lines =
            |text: String| text.lines().map(|line| line.trim_end().to_owned()).filter(|l| !l.is_empty()).collect();
        let refusals = text(folder, REFUSALS, &mut mistakes).map(lines);
        let mut facts = Vec::new();
        type Read = fn(&str) -> Result<Vec<Fact>, Vec<String>>;
        for (file, read) in [("facts.toml", read_toml as Read), ("facts.json", read_json)] {
            let Some(text) = text(folder, file, &mut mistakes) else { continue };
            match read(&text) {
                Ok(all) => facts.push((folder.join(file), all)),
                Err(wrong) => mistakes.extend(wrong.into_iter().map(|line| format!("{file}:{line}"))),
            }
        }
        if mistakes.is_empty() {
            Ok(Case { name: name(root, folder), folder: folder.to_owned(), raw, bundles, refusals, facts })
        } else {
            Err(mistakes)
        }
    }

    /// Whether nothing is expected: nobody has looked at it yet.
    pub fn is_new(&self) -> bool {
        self.bundles.is_none() && self.refusals.is_none() && self.facts.is_empty()
    }
}

/// A file that may be missing.
fn text(folder: &Path, file: &str, mistakes: &mut Vec<String>) -> Option<String> {
    match std::fs::read_to_string(folder.join(file)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            mistakes.push(format!("{file}: cannot be read as UTF-8 text: {error}"));
            None
        }
    }
}
