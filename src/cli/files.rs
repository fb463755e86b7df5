//! Reading what the user named: mapping folders, message files, standard input.
use crate::hl7::{BatchNote, split, transcode};
use crate::mapping::diagnostic::Severity;
use crate::mapping::folder::{Folder, built_in, composed};
use crate::mapping::source::SourceFile;
use crate::mapping::{Failure, Plan};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where the mappings come from.
#[derive(Debug, Clone, Default, Args)]
pub struct Layers {
    /// Folder of mappings instead of those built in
    #[arg(long, value_name = "DIR")]
    pub mappings: Option<PathBuf>,
    /// What a country adds, such as `us`; a site's profile names its own (`extends = ["core", "us"]`)
    #[arg(long, value_name = "NAME")]
    pub realm: Vec<String>,
    /// Folder of a site (profile and overlay), laid over the mappings
    #[arg(long, value_name = "DIR")]
    pub site: Option<PathBuf>,
}

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Layers {
    /// The mapping files of all layers, core first.
    ///
    /// # Errors
    /// When a folder or file cannot be read, or there is no such realm.
    pub fn read(&self) -> anyhow::Result<Vec<SourceFile>> {
        let mappings = match &self.mappings {
            Some(folder) => folder_files(folder, Folder::Mappings)?,
            None => built_in(),
        };
        let site = self.site.as_deref().map(|folder| folder_files(folder, Folder::Site)).transpose()?;
        Ok(composed(mappings, site.unwrap_or_default(), &self.realm)?)
    }
}

/// Compiles the mappings of the layers.
///
/// # Errors
/// When a folder cannot be read or the mappings do not compile; it says all that is wrong with them.
pub fn load(layers: &Layers) -> anyhow::Result<Plan> {
    compiled(layers.read()?)
}

/// Compiles mapping files.
///
/// # Errors
/// When they do not compile; it says all that is wrong with them.
pub fn compiled(files: Vec<SourceFile>) -> anyhow::Result<Plan> {
    match Plan::load(files) {
        Ok((plan, _)) => Ok(plan),
        Err((sources, diagnostics)) => {
            let sorted = diagnostics.sorted();
            let errors = sorted.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
            let told: String = errors.map(|diagnostic| diagnostic.render(&sources) + "\n").collect();
            bail!("the mappings do not compile\n{told}`handoff mappings check` shows it once more")
        }
    }
}

/// The mapping files below a folder, by layer and name.
///
/// # Errors
/// When it is no folder, cannot be read, or holds none.
pub fn folder_files(folder: &Path, kind: Folder) -> anyhow::Result<Vec<SourceFile>> {
    if !folder.is_dir() {
        bail!("{}: not a folder; name the folder that holds the mapping files", folder.display());
    }
    let mut files = Vec::new();
    collect(folder, folder, kind, &mut files)?;
    files.sort_by(|a: &SourceFile, b| (&a.layer, &a.name).cmp(&(&b.layer, &b.name)));
    if files.is_empty() {
        bail!("{}: no .toml or .csv file in it", folder.display());
    }
    Ok(files)
}

fn collect(top: &Path, folder: &Path, kind: Folder, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}: cannot be listed", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(top, &path, kind, files)?;
        } else if let Some(layer) = kind.layer(path.strip_prefix(top).unwrap_or(&path)) {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{}: cannot be read as UTF-8 text", path.display()))?;
            files.push(SourceFile { name: path.to_string_lossy().into_owned(), text, layer });
        }
    }
    Ok(())
}

/// The bytes of a file, `-` for standard input; one clear line for whatever is not a file of messages.
///
/// # Errors
/// For a missing file, a folder, an empty file, or one that holds no MSH segment.
pub fn read_messages(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
    } else if path.is_dir() {
        bail!("is a folder; name the files in it, such as {}/*.hl7", path.display());
    } else {
        bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("no such file"),
            Err(error) => bail!("cannot be read: {error}"),
        };
    }
    bytes = decoded(bytes);
    if bytes.is_empty() {
        bail!("is empty; a message begins with an MSH segment");
    }
    if memchr::memmem::find(&bytes, b"MSH").is_none() && memchr::memmem::find(&bytes, b"msh").is_none() {
        let binary = bytes.iter().take(512).any(|b| *b == 0);
        bail!(
            "{}",
            if binary {
                "is a binary file without any MSH segment; is it really HL7 v2?"
            } else {
                "holds no MSH segment; an HL7 v2 message begins with one"
            }
        );
    }
    Ok(bytes)
}

/// What an editor saved as UTF-16, whatever MSH-18 says, as UTF-8; all else as it is.
pub fn decoded(bytes: Vec<u8>) -> Vec<u8> {
    match bytes.as_slice() {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [b'M' | b'F' | b'B', 0, ..] | [0, b'M' | b'F' | b'B', ..] => {
            transcode(&bytes).into_owned()
        }
        _ => bytes,
    }
}

/// A message within a file, with the name to call it by: `file`, or `file#2` where there are several.
pub type Labelled = (String, Range<usize>);

/// The messages of a file, and what was noticed between them.
pub fn messages(name: &str, bytes: &[u8]) -> (Vec<Labelled>, Vec<BatchNote>) {
    let mut split = split(bytes);
    let spans: Vec<Range<usize>> = split.by_ref().collect();
    let several = spans.len() > 1;
    let label = |number: usize| if several { format!("{name}#{}", number + 1) } else { name.to_owned() };
    let labelled = spans.into_iter().enumerate().map(|(number, span)| (label(number), span)).collect();
    (labelled, split.notes().to_vec())
}

/// `file.hl7#2: error[101]: PID-3: …`.
pub fn failure_line(label: &str, failure: &Failure) -> String {
    let place = failure.location.map(|(id, _, field)| {
        let id = String::from_utf8_lossy(&id).into_owned();
        if field > 0 { format!(" {id}-{field}:") } else { format!(" {id}:") }
    });
    format!("{label}: error[{}]:{} {}", failure.code, place.unwrap_or_default(), failure.text)
}
