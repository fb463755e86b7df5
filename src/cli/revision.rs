//! Mapping files by name: a folder, those built in, or a folder at a git revision of the repository around.
use super::files::folder_files;
use crate::mapping::folder::{Folder, built_in};
use crate::mapping::source::{Layer, SourceFile};
use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The word for the mappings that are part of the program.
const BUILT_IN: &str = "built-in";
/// Where the mappings lie in a revision that names no folder.
const FOLDER: &str = "mappings";

/// The mapping files that a word names, core and realms: `DIR`, `built-in`, `REVISION` (its folder `mappings`) or `REVISION:FOLDER`; a folder comes before a revision of its name.
///
/// # Errors
/// When it names none, or cannot be read.
pub(super) fn named(word: &str) -> anyhow::Result<Vec<SourceFile>> {
    if word == BUILT_IN && !Path::new(word).is_dir() {
        return Ok(built_in());
    }
    files(word, Folder::Mappings)
}

/// The same for the files of a site, which has no folder that goes without saying.
///
/// # Errors
/// As [`named`].
pub(super) fn named_site(word: &str) -> anyhow::Result<Vec<SourceFile>> {
    if !Path::new(word).is_dir() && !word.contains(':') {
        bail!("{word}: no such folder; of a git revision name the site's folder as well, as in {word}:examples/site");
    }
    files(word, Folder::Site)
}

fn files(word: &str, kind: Folder) -> anyhow::Result<Vec<SourceFile>> {
    if Path::new(word).is_dir() {
        return folder_files(Path::new(word), kind);
    }
    let (revision, folder) = word.split_once(':').unwrap_or((word, FOLDER));
    at_revision(word, revision, folder, kind)
}

fn at_revision(word: &str, revision: &str, folder: &str, kind: Folder) -> anyhow::Result<Vec<SourceFile>> {
    // What looks like an option must not become one.
    if revision.is_empty() || revision.starts_with('-') {
        bail!("{word}: neither a folder nor a git revision");
    }
    let folder = folder.trim_end_matches('/');
    let relative = if folder.starts_with("./") || folder.starts_with("../") { "" } else { "./" };
    let tree = format!("{revision}:{relative}{folder}");
    let listed = git(&["ls-tree", "-r", "-z", "--full-tree", &tree], b"")?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        let said = said.lines().next().unwrap_or("").trim_start_matches("fatal: ");
        bail!(
            "{word}: neither a folder nor a git revision with a folder {folder} below the current one (git says: {said})"
        );
    }
    let mut wanted: Vec<(Layer, String, String)> = Vec::new();
    for line in String::from_utf8_lossy(&listed.stdout).split('\0') {
        // 100644 blob <id>\t<path>
        let Some((facts, path)) = line.split_once('\t') else { continue };
        if let (Some(id), Some(layer)) = (facts.split(' ').nth(2), kind.layer(Path::new(path))) {
            wanted.push((layer, path.to_owned(), id.to_owned()));
        }
    }
    if wanted.is_empty() {
        bail!("{word}: no .toml or .csv file in it");
    }
    wanted.sort();
    let ids: String = wanted.iter().map(|(.., id)| format!("{id}\n")).collect();
    let read = git(&["cat-file", "--batch"], ids.as_bytes())?;
    let mut rest = read.stdout.as_slice();
    let mut files = Vec::with_capacity(wanted.len());
    for (layer, path, _) in wanted {
        let name = format!("{revision}:{folder}/{path}");
        let text = blob(&mut rest).with_context(|| format!("{name}: git did not give it"))?;
        let text = String::from_utf8(text.to_vec()).with_context(|| format!("{name}: is no UTF-8 text"))?;
        files.push(SourceFile { name, text, layer });
    }
    Ok(files)
}

/// Takes `<id> blob <size>\n<bytes>\n` from the front.
fn blob<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let header = std::str::from_utf8(&rest[..end]).ok()?;
    let size: usize = header.split_once(" blob ")?.1.parse().ok()?;
    let bytes = rest.get(end + 1..end + 1 + size)?;
    *rest = rest.get(end + 2 + size..)?;
    Some(bytes)
}

fn git(arguments: &[&str], input: &[u8]) -> anyhow::Result<Output> {
    let child =
        Command::new("git").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("git is not installed, or not on the PATH: revisions cannot be read; name folders instead")
        }
        Err(error) => return Err(error).context("git cannot be started"),
    };
    let mut pipe = child.stdin.take();
    std::thread::scope(|scope| {
        // Written beside the reading: git answers before it has read all, and neither side may wait for the other.
        scope.spawn(move || pipe.as_mut().map(|pipe| pipe.write_all(input)));
        child.wait_with_output().context("git has failed")
    })
}
