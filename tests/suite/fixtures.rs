//! The fixtures, and the plan that all tests share.
use handoff::hl7::{split, transcode};
use handoff::mapping::Plan;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One folder of `fixtures/<structure>/<case>`.
pub struct Fixture {
    /// `ADT_A01/a01-admission`.
    pub name: String,
    pub folder: PathBuf,
    /// `message.hl7`; a batch holds several messages.
    pub raw: Vec<u8>,
}

impl Fixture {
    /// Whether it shows what cannot be translated.
    pub fn refused(&self) -> bool {
        self.name.starts_with("refused/")
    }
}

/// All fixtures by name.
pub fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut found = Vec::new();
    for structure in folders(&root) {
        for folder in folders(&structure) {
            let Ok(raw) = std::fs::read(folder.join("message.hl7")) else { continue };
            let name = folder.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Fixture { name, folder, raw });
        }
    }
    assert!(found.len() > 50, "{} holds only {} fixtures", root.display(), found.len());
    found
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The messages of a file, as the program takes them apart.
pub fn messages(file: &[u8]) -> Vec<Vec<u8>> {
    let utf16 = file.iter().take(16).any(|byte| *byte == 0);
    let text = if utf16 { transcode(file) } else { file.into() };
    split(&text).map(|span| text[span].to_vec()).collect()
}

/// The mappings built in, compiled once.
pub fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(Plan::embedded)
}
