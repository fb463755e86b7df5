//! Mapping files as they lie in folders: whose a file is, by its path, and a site's files over the mappings.
use super::source::{Layer, SourceFile};
use super::{Plan, layers};
use std::path::Path;

/// What a folder of mapping files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// The core, with the realms in `realms/<name>/`.
    Mappings,
    /// A site, with its feeds in `feeds/<name>/`.
    Site,
}

/// The folder within a site or the mappings that holds its test cases.
pub const TESTS: &str = "tests";

/// A site asks for a realm that the mappings do not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no realm `{name}`; known: {}", known.join(", "))]
pub struct NoRealm {
    /// The realm.
    pub name: String,
    /// Those that there are.
    pub known: Vec<String>,
}

impl Folder {
    /// Whose file it is, by its path within the folder; none when it holds no mappings: what `handoff test` runs lies beside them and is none of them.
    pub fn layer(self, path: &Path) -> Option<Layer> {
        let mapping = path.extension().is_some_and(|e| e == "toml" || e == "csv");
        let mut above: Vec<_> = path.iter().map(|step| step.to_string_lossy()).collect();
        above.pop();
        if !mapping || above.iter().any(|step| step == TESTS) {
            return None;
        }
        match (self, above.as_slice()) {
            (Folder::Mappings, [first, name, ..]) if first == "realms" => Some(Layer::Realm(name.to_string())),
            (Folder::Site, [first, name, ..]) if first == "feeds" => Some(Layer::Feed(name.to_string())),
            (Folder::Mappings, _) => Some(Layer::Core),
            (Folder::Site, _) => Some(Layer::Site),
        }
    }
}

/// What is built into the binary: the core and all realms.
pub fn built_in() -> Vec<SourceFile> {
    let realms = Plan::embedded_realms();
    Plan::embedded_files().into_iter().chain(realms.iter().flat_map(|name| Plan::embedded_realm(name))).collect()
}

/// Mappings with a site over them: of the realms those that the site or `realms` asks for.
///
/// # Errors
/// When there is no such realm.
pub fn composed(
    mut mappings: Vec<SourceFile>,
    site: Vec<SourceFile>,
    realms: &[String],
) -> Result<Vec<SourceFile>, NoRealm> {
    let mut wanted = realms.to_vec();
    wanted.extend(layers::realms(&site).into_iter().filter(|name| !realms.contains(name)));
    for name in &wanted {
        if !mappings.iter().any(|file| matches!(&file.layer, Layer::Realm(found) if found == name)) {
            let mut known: Vec<String> =
                mappings.iter().filter_map(|file| realm_of(&file.layer).map(str::to_owned)).collect();
            known.dedup();
            return Err(NoRealm { name: name.clone(), known });
        }
    }
    mappings.retain(|file| realm_of(&file.layer).is_none_or(|name| wanted.iter().any(|wanted| wanted == name)));
    // In the order in which they were asked for, behind the core.
    mappings.sort_by_key(|file| {
        realm_of(&file.layer).and_then(|name| wanted.iter().position(|wanted| wanted == name)).map_or(0, |at| at + 1)
    });
    mappings.extend(site);
    Ok(mappings)
}

fn realm_of(layer: &Layer) -> Option<&str> {
    match layer {
        Layer::Realm(name) => Some(name),
        _ => None,
    }
}
