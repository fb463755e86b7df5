//! Mapping files by name: a folder, those built in, or a folder at a git revision of the repository around.
use super::files::{MappingFolder, TESTS};
use crate::mapping::source::{Layer, SourceFile};
use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The word for the mappings that are part of the program.
const BUILT_IN: &str = "built-in";
/// Where the mappings lie in a revision that names no folder.
const FOLDER: &str = "mappings";

/// The mapping files that a word names: `DIR`, `built-in` (none of a folder), `REVISION` (its folder `mappings`) or `REVISION:FOLDER`; a folder comes before a revision of its name.
///
/// # Errors
/// When it names none, or cannot be read.
pub(super) fn named(word: &str) -> anyhow::Result<Option<MappingFolder>> {
    if Path::new(word).is_dir() {
        return MappingFolder::read(Path::new(word)).map(Some);
    }
    if word == BUILT_IN {
        return Ok(None);
    }
    let (revision, folder) = word.split_once(':').unwrap_or((word, FOLDER));
    at_revision(word, revision, folder).map(Some)
}

/// The same for the files of a site, which has no folder that goes without saying.
///
/// # Errors
/// As [`named`].
pub(super) fn named_site(word: &str) -> anyhow::Result<Option<MappingFolder>> {
    if !Path::new(word).is_dir() && !word.contains(':') {
        bail!("{word}: no such folder; of a git revision name the site's folder as well, as in {word}:examples/site");
    }
    named(word)
}

fn at_revision(word: &str, revision: &str, folder: &str) -> anyhow::Result<MappingFolder> {
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
    let mut wanted: Vec<(String, String)> = Vec::new();
    for line in String::from_utf8_lossy(&listed.stdout).split('\0') {
        // 100644 blob <id>\t<path>
        let Some((facts, path)) = line.split_once('\t') else { continue };
        let mapping = path.ends_with(".toml") || path.ends_with(".csv");
        let test = path.split_once('/').is_some_and(|(first, _)| first == TESTS);
        if let (Some(id), true, false) = (facts.split(' ').nth(2), mapping, test) {
            wanted.push((id.to_owned(), path.to_owned()));
        }
    }
    if wanted.is_empty() {
        bail!("{word}: no .toml or .csv file in it");
    }
    wanted.sort_by(|a, b| a.1.cmp(&b.1));
    let ids: String = wanted.iter().map(|(id, _)| format!("{id}\n")).collect();
    let read = git(&["cat-file", "--batch"], ids.as_bytes())?;
    let mut rest = read.stdout.as_slice();
    let mut files = Vec::with_capacity(wanted.len());
    for (_, path) in wanted {
        let name = format!("{revision}:{folder}/{path}");
        let text = blob(&mut rest).with_context(|| format!("{name}: git did not give it"))?;
        let text = String::from_utf8(text.to_vec()).with_context(|| format!("{name}: is no UTF-8 text"))?;
        files.push((path, SourceFile { name, text, layer: Layer::Core }));
    }
    Ok(MappingFolder { name: word.to_owned(), files })
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
