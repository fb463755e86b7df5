//! Compiles overlays beside the running gateway: one at a time, and of one session only the newest that was asked for. What was compiled last is kept, so that another message, or all of
//! the last ones, cost no more than their translation.
use super::overlay::Overlay;
use crate::admin::problem::Problem;
use crate::mapping::Plan;
use crate::mapping::diagnostic::Diagnostics;
use crate::mapping::folder::{built_in, composed};
use crate::mapping::source::{Layer, SourceFile, Sources};
use crate::server::ListenerMappings;
use axum::http::StatusCode;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Mappings with an overlay, or what keeps them from compiling.
pub(super) struct Built {
    key: [u8; 32],
    /// None where there is an error.
    pub plan: Option<Plan>,
    /// What was read, where there is no plan.
    sources: Sources,
    /// All that is wrong.
    pub diagnostics: Diagnostics,
    /// What keeps it from being read at all.
    pub refusal: Option<String>,
    /// How long it took to compile.
    pub took: Duration,
}

impl Built {
    /// What the diagnostics are about.
    pub fn sources(&self) -> &Sources {
        self.plan.as_ref().map_or(&self.sources, Plan::sources)
    }
}

/// Where that is done.
pub(in super::super) struct Workshop {
    place: Arc<Semaphore>,
    /// Comparing the last messages takes longer, and must not hold up who types.
    wide_place: Arc<Semaphore>,
    /// The newest thing that each session has asked for.
    newest: Mutex<HashMap<String, u64>>,
    kept: Mutex<VecDeque<Arc<Built>>>,
}

/// Sessions that are told apart.
const SESSIONS_MAX: usize = 512;
/// Compiled overlays that are kept; each is some megabytes.
const KEPT_MAX: usize = 3;
/// Somebody who has waited so long is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(15);

impl Default for Workshop {
    fn default() -> Workshop {
        Workshop {
            place: Arc::new(Semaphore::new(1)),
            wide_place: Arc::new(Semaphore::new(1)),
            newest: Mutex::default(),
            kept: Mutex::default(),
        }
    }
}

/// One thing that a session has asked for.
pub(super) struct Turn {
    workshop: Arc<Workshop>,
    session: String,
    number: u64,
}

impl Turn {
    /// Whether the session has not asked for another since.
    pub fn is_newest(&self) -> bool {
        let newest = lock(&self.workshop.newest);
        newest.get(&self.session).is_none_or(|newest| *newest == self.number)
    }
}

impl Workshop {
    /// Takes note that a session asks for something; `what` keeps things apart of which one does not replace the other.
    pub(super) fn turn(self: &Arc<Workshop>, session: &str, what: &str) -> Turn {
        let session = format!("{what} {session}");
        let mut newest = lock(&self.newest);
        if newest.len() >= SESSIONS_MAX && !newest.contains_key(&session) {
            newest.clear();
        }
        let number = newest.entry(session.clone()).or_default();
        *number += 1;
        Turn { workshop: Arc::clone(self), session, number: *number }
    }

    /// A place to work, for as long as it is held.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        waited(&self.place).await
    }

    /// The same for what takes long.
    pub(super) async fn wide_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        waited(&self.wide_place).await
    }

    /// The mappings of a listener with an overlay; compiled unless that has been done. Blocks.
    pub(super) fn build(&self, at: &ListenerMappings, overlay: &Overlay) -> Arc<Built> {
        let key = key(at, overlay);
        let mut kept = lock(&self.kept);
        if let Some(place) = kept.iter().position(|built| built.key == key)
            && let Some(built) = kept.remove(place)
        {
            kept.push_front(Arc::clone(&built));
            return built;
        }
        drop(kept);
        let built = Arc::new(compile(key, at, overlay));
        let mut kept = lock(&self.kept);
        kept.truncate(KEPT_MAX - 1);
        kept.push_front(Arc::clone(&built));
        built
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn waited(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    match timeout(WAIT_MAX, Arc::clone(semaphore).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => {
            let (detail, remedy) = ("others are trying mappings just now", "try again in a moment");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, remedy).retry_after(1))
        }
    }
}

fn key(at: &ListenerMappings, overlay: &Overlay) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(at.plan.hash());
    for piece in [overlay.path.as_bytes(), b"\0", overlay.text.as_bytes()] {
        hash.update(piece);
    }
    hash.finalize().into()
}

fn compile(key: [u8; 32], at: &ListenerMappings, overlay: &Overlay) -> Built {
    let started = Instant::now();
    let mut built = Built {
        key,
        plan: None,
        sources: Sources::default(),
        diagnostics: Diagnostics::default(),
        refusal: None,
        took: Duration::ZERO,
    };
    match files(at, overlay) {
        Err(refusal) => built.refusal = Some(refusal),
        Ok(files) => match Plan::load(files) {
            Ok((plan, diagnostics)) => (built.plan, built.diagnostics) = (Some(plan), diagnostics),
            Err((sources, diagnostics)) => (built.sources, built.diagnostics) = (sources, diagnostics),
        },
    }
    built.took = started.elapsed();
    built
}

/// The files of a listener's mappings as they would be with the overlay in its site, in the order in which a folder is read.
fn files(at: &ListenerMappings, overlay: &Overlay) -> Result<Vec<SourceFile>, String> {
    let is_below = |file: &SourceFile| matches!(file.layer, Layer::Core | Layer::Realm(_));
    let running = &at.plan.sources().files;
    let mut mappings: Vec<SourceFile> = running.iter().filter(|file| is_below(file)).cloned().collect();
    // The running plan has only those realms that the site asks for; the overlay may ask for one more.
    let all = built_in();
    let same = |a: &SourceFile, b: &SourceFile| a.name == b.name && a.text == b.text;
    if mappings.iter().all(|file| all.iter().any(|other| same(file, other))) {
        mappings = all;
    }
    let mut site: Vec<SourceFile> = running.iter().filter(|file| !is_below(file)).cloned().collect();
    let name = name(at.site.as_deref(), &overlay.path);
    match site.iter_mut().find(|file| file.name == name) {
        Some(file) => file.text.clone_from(&overlay.text),
        None => site.push(SourceFile { name, text: overlay.text.clone(), layer: overlay.layer.clone() }),
    }
    site.sort_by(|a, b| (&a.layer, &a.name).cmp(&(&b.layer, &b.name)));
    composed(mappings, site, &[]).map_err(|no_realm| no_realm.to_string())
}

/// How a file of a site is called.
pub(super) fn name(site: Option<&Path>, path: &str) -> String {
    site.map_or_else(|| path.to_owned(), |site| site.join(path).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_question_of_a_session_counts() {
        let workshop = Arc::new(Workshop::default());
        let first = workshop.turn("ada", "trial");
        let (other, beside) = (workshop.turn("bob", "trial"), workshop.turn("ada", "messages"));
        assert!(first.is_newest());
        let second = workshop.turn("ada", "trial");
        assert!(!first.is_newest() && second.is_newest() && other.is_newest() && beside.is_newest());
    }

    #[test]
    fn what_was_compiled_is_kept_for_a_while() {
        let workshop = Workshop::default();
        let at = ListenerMappings { listener: "adt".into(), site: None, plan: Arc::new(Plan::embedded()) };
        let build = |text: &str| workshop.build(&at, &Overlay::of("", text).unwrap());
        let first = build("[table.AdministrativeSex]\nX = \"male\"\n");
        assert!(Arc::ptr_eq(&first, &build("[table.AdministrativeSex]\nX = \"male\"\n")));
        (0..KEPT_MAX).for_each(|number| drop(build(&format!("wrong {number}"))));
        assert_eq!(lock(&workshop.kept).len(), KEPT_MAX);
        assert!(!Arc::ptr_eq(&first, &build("[table.AdministrativeSex]\nX = \"male\"\n")));
    }
}
