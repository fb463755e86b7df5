//! Messages of others, where they lie beside the checkout. They are read, never copied.
use std::path::PathBuf;

/// Every file of a folder of `../shared/cases`, with its name; empty, with a word on the console, when there is none.
pub fn cases(folder: &str) -> Vec<(String, Vec<u8>)> {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let folder = PathBuf::from(root).join("../shared/cases").join(folder);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("no {}: its messages are not tried", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable folder").path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    paths.iter().map(|path| (name(path), std::fs::read(path).expect("a readable file"))).collect()
}
