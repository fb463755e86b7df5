//! The mapping files built into the binary.
use super::source::SourceFile;
use include_dir::{Dir, include_dir};

static MAPPINGS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/mappings");

/// All of them, in the order of layers: tables and systems, structures, datatypes, segments, messages.
pub fn files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&MAPPINGS, &mut files);
    files.retain(|f: &SourceFile| !f.name.starts_with("realms/"));
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn collect(folder: &Dir<'_>, files: &mut Vec<SourceFile>) {
    for file in folder.files() {
        let name = file.path().to_string_lossy().replace('\\', "/");
        if let (true, Some(text)) = (name.ends_with(".toml") || name.ends_with(".csv"), file.contents_utf8()) {
            files.push(SourceFile { name, text: text.to_owned() });
        }
    }
    for inner in folder.dirs() {
        collect(inner, files);
    }
}
