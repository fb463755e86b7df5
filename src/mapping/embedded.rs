//! The mapping files built into the binary.
use super::source::{Layer, SourceFile};
use include_dir::{Dir, include_dir};

static MAPPINGS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/mappings");

/// Those of the core, by name.
pub fn files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&MAPPINGS, &mut files);
    files.retain(|f: &SourceFile| !f.name.starts_with("realms/"));
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// Those of a realm, by name; none when there is no such realm.
pub fn realm(name: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    if let Some(folder) = MAPPINGS.get_dir(format!("realms/{name}")) {
        collect(folder, &mut files);
    }
    for file in &mut files {
        file.layer = Layer::Realm(name.to_owned());
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// The realms that there are.
pub fn realms() -> Vec<String> {
    let folders = MAPPINGS.get_dir("realms").into_iter().flat_map(Dir::dirs);
    folders.filter_map(|folder| Some(folder.path().file_name()?.to_string_lossy().into_owned())).collect()
}

fn collect(folder: &Dir<'_>, files: &mut Vec<SourceFile>) {
    for file in folder.files() {
        let name = file.path().to_string_lossy().replace('\\', "/");
        if let (true, Some(text)) = (name.ends_with(".toml") || name.ends_with(".csv"), file.contents_utf8()) {
            files.push(SourceFile { name, text: text.to_owned(), layer: Layer::Core });
        }
    }
    for inner in folder.dirs() {
        collect(inner, files);
    }
}
