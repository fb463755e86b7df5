//! Reading what the user named: mapping folders, message files, standard input.
use crate::hl7::{BatchNote, split, transcode};
use crate::mapping::diagnostic::Severity;
use crate::mapping::source::{Layer, SourceFile};
use crate::mapping::{Failure, Plan, layers};
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
    /// When a folder or file cannot be read.
    pub fn read(&self) -> anyhow::Result<Vec<SourceFile>> {
        let read = |folder: &Option<PathBuf>| folder.as_deref().map(MappingFolder::read).transpose();
        layered(read(&self.mappings)?.as_ref(), &self.realm, read(&self.site)?.as_ref())
    }
}

/// The files of all layers: the core (built in where no folder is given), realms, the site, its feeds.
///
/// # Errors
/// When there is no such realm, or a layer has no file.
pub fn layered(
    mappings: Option<&MappingFolder>,
    realms: &[String],
    site: Option<&MappingFolder>,
) -> anyhow::Result<Vec<SourceFile>> {
    let site = site.map(MappingFolder::site).transpose()?.unwrap_or_default();
    let mut files = match mappings {
        Some(folder) => folder.some(folder.part("", &["realms"], &Layer::Core))?,
        None => Plan::embedded_files(),
    };
    let mut realms = realms.to_vec();
    let named = layers::realms(&site);
    realms.extend(named.into_iter().filter(|name| !realms.contains(name)).collect::<Vec<_>>());
    for name in &realms {
        let found = match mappings {
            Some(folder) => folder.part(&format!("realms/{name}/"), &[], &Layer::Realm(name.clone())),
            None => Plan::embedded_realm(name),
        };
        if found.is_empty() {
            let known = mappings.map_or_else(Plan::embedded_realms, |folder| folder.folders("realms/"));
            bail!("there is no realm `{name}`; known: {}", known.join(", "));
        }
        files.extend(found);
    }
    files.extend(site);
    Ok(files)
}

/// The mapping files of a folder, those of a country or a sender with it. What lies in `tests/` are cases, no mappings.
pub struct MappingFolder {
    /// The folder as the user named it.
    pub name: String,
    /// Below it, with the path from there; by name.
    pub files: Vec<(String, SourceFile)>,
}

/// The folder within a site or the mappings that holds its test cases.
pub const TESTS: &str = "tests";

impl MappingFolder {
    /// Reads all `.toml` and `.csv` files below a folder.
    ///
    /// # Errors
    /// When it is no folder, or a file cannot be read.
    pub fn read(folder: &Path) -> anyhow::Result<MappingFolder> {
        let name = folder.display().to_string();
        if !folder.is_dir() {
            bail!("{name}: not a folder; name the folder that holds the mapping files");
        }
        let mut files = Vec::new();
        collect(folder, "", &mut files)?;
        files.sort_by(|a: &(String, SourceFile), b| a.1.name.cmp(&b.1.name));
        Ok(MappingFolder { name, files })
    }

    /// A site's own files, then those of its feeds (`feeds/<name>/`).
    fn site(&self) -> anyhow::Result<Vec<SourceFile>> {
        let mut files = self.some(self.part("", &["feeds"], &Layer::Site))?;
        for name in self.folders("feeds/") {
            files.extend(self.part(&format!("feeds/{name}/"), &[], &Layer::Feed(name.clone())));
        }
        Ok(files)
    }

    /// The files below a path, but for some folders right there.
    fn part(&self, within: &str, without: &[&str], layer: &Layer) -> Vec<SourceFile> {
        let wanted = |path: &str| {
            let Some(rest) = path.strip_prefix(within) else { return false };
            !without.iter().any(|folder| rest.split_once('/').is_some_and(|(first, _)| first == *folder))
        };
        let files = self.files.iter().filter(|(path, _)| wanted(path));
        files.map(|(_, file)| SourceFile { layer: layer.clone(), ..file.clone() }).collect()
    }

    /// The folders right below a path.
    fn folders(&self, within: &str) -> Vec<String> {
        let below = self.files.iter().filter_map(|(path, _)| path.strip_prefix(within)?.split_once('/'));
        let mut names: Vec<String> = below.map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn some(&self, files: Vec<SourceFile>) -> anyhow::Result<Vec<SourceFile>> {
        if files.is_empty() {
            bail!("{}: no .toml or .csv file in it", self.name);
        }
        Ok(files)
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

fn collect(folder: &Path, below: &str, files: &mut Vec<(String, SourceFile)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}: cannot be listed", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if !below.is_empty() || name != TESTS {
                collect(&path, &format!("{below}{name}/"), files)?;
            }
        } else if path.extension().is_some_and(|e| e == "toml" || e == "csv") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{}: cannot be read as UTF-8 text", path.display()))?;
            let file = SourceFile { name: path.to_string_lossy().into_owned(), text, layer: Layer::Core };
            files.push((format!("{below}{name}"), file));
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
