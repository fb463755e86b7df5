//! The plans with which records are translated again: those in use, and all that ever were, kept under their hash beside the journal. So a route that lags behind a
//! change of the mappings still delivers what was made of a message when it came.
//!
//! ```text
//! DATA/plans/<hash>.json     {"engine": "0.1.0", "files": [["segments/pid.toml", "…"], …]}
//! ```
use crate::facets::Facets;
use crate::mapping::Plan;
use crate::mapping::source::{Layer, SourceFile};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Plans by their hash and by the listener that uses them now.
#[derive(Debug, Default)]
pub struct Plans {
    current: ArcSwap<Current>,
    archive: Option<PathBuf>,
    /// Whether plans are added to the archive.
    keeps: bool,
    /// Those of before that were asked for last, and that some cannot be had.
    former: Mutex<VecDeque<Former>>,
}

#[derive(Debug, Default)]
struct Current {
    by_hash: HashMap<[u8; 32], Arc<Plan>>,
    by_listener: HashMap<String, Arc<Plan>>,
}

/// Plans that are kept and not in use yet.
#[derive(Debug)]
pub struct Prepared(Current);

/// A plan of before under its hash, if it can be had.
type Former = ([u8; 32], Option<Arc<Plan>>);

/// Plans of before in memory at once.
const FORMER_MAX: usize = 4;

/// What a plan was made from.
#[derive(Serialize, Deserialize)]
struct Kept {
    engine: String,
    files: Vec<(String, String)>,
    /// Whose each file is; a plan kept before there were layers has none.
    #[serde(default)]
    layers: Vec<Layer>,
}

impl Plans {
    /// Plans that are kept in a folder, which is made where it is missing; none is in use yet.
    pub fn kept_in(folder: PathBuf) -> Plans {
        Plans { archive: Some(folder), keeps: true, ..Plans::default() }
    }

    /// The same, for commands that look and change nothing.
    pub fn read_from(folder: PathBuf) -> Plans {
        Plans { archive: Some(folder), ..Plans::default() }
    }

    /// The plans of listeners take the place of those before; messages under way keep theirs.
    ///
    /// # Errors
    /// A plan that cannot be kept; nothing has changed then.
    pub fn replace(&self, listeners: &[(String, Arc<Plan>)]) -> io::Result<()> {
        self.apply(self.prepare(listeners)?);
        Ok(())
    }

    /// Keeps plans that are to take the place of those before: all of it that can fail.
    ///
    /// # Errors
    /// A plan that cannot be kept.
    pub fn prepare(&self, listeners: &[(String, Arc<Plan>)]) -> io::Result<Prepared> {
        let mut current = Current::default();
        for (name, plan) in listeners {
            current.by_listener.insert(name.clone(), Arc::clone(plan));
            current.by_hash.insert(plan.hash(), Arc::clone(plan));
        }
        if let Some(folder) = self.archive.as_ref().filter(|_| self.keeps) {
            for plan in current.by_hash.values() {
                keep(folder, plan)?;
            }
        }
        Ok(Prepared(current))
    }

    /// Plans that were prepared take the place of those before.
    pub fn apply(&self, plans: Prepared) {
        self.current.store(Arc::new(plans.0));
    }

    /// The types of resources that the plans in use write, each once.
    pub fn resource_types(&self) -> Vec<&'static str> {
        let current = self.current.load();
        let mut types: Vec<_> = current.by_hash.values().flat_map(|plan| plan.resource_types()).collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    /// The plan that a record names, else the one that its listener has now.
    pub fn find(&self, facets: &Facets<'_>) -> Option<Arc<Plan>> {
        let current = self.current.load();
        if let Some(plan) = current.by_hash.get(&facets.plan) {
            return Some(Arc::clone(plan));
        }
        let named = if facets.plan == [0; 32] { None } else { self.former(facets.plan) };
        named.or_else(|| {
            std::str::from_utf8(facets.listener).ok().and_then(|name| current.by_listener.get(name)).cloned()
        })
    }

    fn former(&self, hash: [u8; 32]) -> Option<Arc<Plan>> {
        let folder = self.archive.as_deref()?;
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = former.iter().find(|(known, _)| *known == hash) {
            return plan.clone();
        }
        let plan = match load(folder, hash) {
            Ok(plan) => Some(Arc::new(plan)),
            Err(reason) => {
                let plan = hex(hash);
                tracing::warn!(plan, "messages are translated again with the mappings of now: {reason}");
                None
            }
        };
        former.truncate(FORMER_MAX - 1);
        former.push_front((hash, plan.clone()));
        plan
    }
}

/// Writes down what a plan was made from, unless that has been done: first beside its name, so that a torn file never has it.
fn keep(folder: &Path, plan: &Plan) -> io::Result<()> {
    let path = path(folder, plan.hash());
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let files = plan.sources().files.iter();
    let layers = files.clone().map(|file| file.layer.clone()).collect();
    let files = files.map(|file| (file.name.clone(), file.text.clone())).collect();
    let text = serde_json::to_vec(&Kept { engine: env!("CARGO_PKG_VERSION").into(), files, layers })?;
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    File::open(folder)?.sync_all()
}

fn load(folder: &Path, hash: [u8; 32]) -> Result<Plan, String> {
    let path = path(folder, hash);
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let text = fs::read(&path).map_err(|error| wrong(&error))?;
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    let layers = kept.layers.into_iter().chain(std::iter::repeat_with(Layer::default));
    let files =
        kept.files.into_iter().zip(layers).map(|((name, text), layer)| SourceFile { name, text, layer }).collect();
    let (plan, _) = Plan::load(files)
        .map_err(|_| wrong(&format!("written by version {}, its mappings do not compile any more", kept.engine)))?;
    if plan.hash() == hash { Ok(plan) } else { Err(wrong(&"does not hold what its name says")) }
}

fn path(folder: &Path, hash: [u8; 32]) -> PathBuf {
    folder.join(format!("{}.json", hex(hash)))
}

fn hex(hash: [u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(changed: &str) -> Arc<Plan> {
        let mut files = Plan::embedded_files();
        files.push(SourceFile {
            name: "site.toml".into(),
            text: format!("[profile]\nnamespace = \"urn:{changed}\"\n"),
            layer: Layer::Site,
        });
        Arc::new(Plan::load(files).map_err(|_| "does not compile").unwrap().0)
    }

    #[test]
    fn a_record_finds_the_plan_that_it_names_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (plan("old"), plan("new"));
        let facets = |hash| Facets { plan: hash, listener: b"adt", ..Facets::default() };
        let plans = Plans::kept_in(folder.path().join("plans"));
        plans.replace(&[("adt".into(), Arc::clone(&old))]).unwrap();
        plans.replace(&[("adt".into(), Arc::clone(&new))]).unwrap();
        assert_eq!(plans.find(&facets(old.hash())).unwrap().hash(), old.hash());
        assert_eq!(plans.find(&facets([0; 32])).unwrap().hash(), new.hash());
        let prepared = plans.prepare(&[("adt".into(), Arc::clone(&old))]).unwrap();
        assert_eq!(plans.find(&facets([0; 32])).unwrap().hash(), new.hash(), "not in use yet");
        drop(prepared);
        let again = Plans::kept_in(folder.path().join("plans"));
        again.replace(&[("adt".into(), Arc::clone(&new))]).unwrap();
        assert_eq!(again.find(&facets(old.hash())).unwrap().hash(), old.hash());
        assert_eq!(again.find(&facets([1; 32])).unwrap().hash(), new.hash(), "one that nobody knows");
        // What lies under a name must be what the name says.
        fs::copy(path(&folder.path().join("plans"), new.hash()), path(&folder.path().join("plans"), [2; 32])).unwrap();
        assert!(load(&folder.path().join("plans"), [2; 32]).is_err());
    }
}
