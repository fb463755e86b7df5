//! One case: translated and compared with what is expected of it.
use super::case::{Case, REFUSALS};
use super::coverage::Coverage;
use super::facts::Broken;
use crate::fhir::diff::{Difference, differences};
use crate::hl7::split;
use crate::mapping::explain::Explained;
use crate::mapping::provenance::{ORIGINS_MAX, Origin, candidates, explained, of_path};
use crate::mapping::{Context, Failure, Plan, Scratch};
use anyhow::Context as _;
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What has come of a case.
pub(super) struct Outcome {
    pub name: String,
    pub status: Status,
    pub messages: usize,
    pub problems: Vec<Problem>,
    /// The expectations that were written anew.
    pub written: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Passed,
    Failed,
    /// Its expectation has been written anew.
    Updated,
    /// It cannot be read.
    Unreadable,
}

/// One way in which a translation is not as expected.
pub(super) enum Problem {
    /// A value of a Bundle; the number of the message where there are several.
    Value { message: Option<usize>, difference: Box<Difference>, origins: Vec<Origin> },
    /// A fact of a file.
    Fact { file: PathBuf, broken: Broken, origins: Vec<Origin> },
    /// A line of `error.txt` and the refusal of that number.
    Refusal { expected: Option<String>, found: Option<String> },
    /// As many Bundles were expected as messages were translated.
    Bundles { expected: usize, found: usize },
    /// Nothing is expected.
    New,
    /// The case cannot be read.
    Unreadable(String),
}

/// By what cases are judged.
pub(super) struct Judge<'p> {
    pub plan: &'p Plan,
    pub scratch: Scratch,
    pub coverage: Coverage<'p>,
    /// Expectations are written anew.
    pub update: bool,
}

/// The messages of a case, translated.
struct Translated {
    bundles: Vec<Value>,
    /// Of each Bundle, its message and where its values came from.
    sources: Vec<(Range<usize>, Option<Explained>)>,
    refusals: Vec<String>,
    messages: usize,
}

impl Judge<'_> {
    /// Judges the case in a folder.
    ///
    /// # Errors
    /// When an expectation cannot be written.
    pub fn judge(&mut self, root: &Path, folder: &Path) -> anyhow::Result<Outcome> {
        let case = match Case::read(root, folder) {
            Ok(case) => case,
            Err(mistakes) => {
                let name = super::case::name(root, folder);
                let problems = mistakes.into_iter().map(Problem::Unreadable).collect();
                return Ok(Outcome { name, status: Status::Unreadable, messages: 0, problems, written: Vec::new() });
            }
        };
        let translated = self.translate(&case.name, &case.raw);
        let mut problems = Vec::new();
        self.bundles(&case, &translated, &mut problems);
        refusals(&case, &translated, &mut problems);
        if case.is_new() {
            problems.push(Problem::New);
        }
        let renewable = !problems.is_empty();
        for (file, facts) in &case.facts {
            let broken = facts.iter().filter_map(|fact| fact.judge(&translated.bundles));
            problems.extend(broken.map(|broken| {
                let origins = fact_origins(self.plan, &broken, &translated.sources, &case.raw);
                Problem::Fact { file: file.clone(), broken, origins }
            }));
        }
        let mut written = Vec::new();
        let by_hand = problems.iter().any(|problem| matches!(problem, Problem::Fact { .. }));
        if self.update && renewable {
            written = write(&case, &translated)?;
        }
        let status = match (problems.is_empty(), self.update && !by_hand) {
            (true, _) => Status::Passed,
            (false, true) => Status::Updated,
            (false, false) => Status::Failed,
        };
        Ok(Outcome { name: case.name, status, messages: translated.messages, problems, written })
    }

    fn translate(&mut self, case: &str, raw: &[u8]) -> Translated {
        let mut translated = Translated { bundles: Vec::new(), sources: Vec::new(), refusals: Vec::new(), messages: 0 };
        for span in split(raw) {
            let raw = &raw[span.clone()];
            translated.messages += 1;
            match self.plan.translate(raw, &Context::default(), &mut self.scratch) {
                Ok(()) => {
                    // What the engine writes is JSON; were it not, the comparison says so.
                    translated.bundles.push(serde_json::from_slice(self.scratch.bundle()).unwrap_or(Value::Null));
                    let explained = explained(self.plan, raw, &mut self.scratch);
                    self.coverage.add(case, raw, &mut self.scratch);
                    translated.sources.push((span, explained));
                }
                Err(failure) => translated.refusals.push(refusal(&failure)),
            }
        }
        translated
    }

    fn bundles(&self, case: &Case, translated: &Translated, problems: &mut Vec<Problem>) {
        let Some((_, expected)) = &case.bundles else { return };
        let found = &translated.bundles;
        if expected.len() != found.len() {
            problems.push(Problem::Bundles { expected: expected.len(), found: found.len() });
        }
        for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
            let (span, explained) = &translated.sources[number];
            let message = (translated.messages > 1).then_some(number + 1);
            for difference in differences(expected, found) {
                let origins = origins(self.plan, &difference, &case.raw[span.clone()], explained.as_ref());
                problems.push(Problem::Value { message, difference: Box::new(difference), origins });
            }
        }
    }
}

/// Where a difference has its cause, as far as the engine knows.
fn origins(plan: &Plan, difference: &Difference, raw: &[u8], explained: Option<&Explained>) -> Vec<Origin> {
    match (&difference.found, explained) {
        (Some(found), Some(explained)) => of_path(explained, &found.path),
        _ => candidates(plan, raw, explained, &difference.pattern()),
    }
}

fn fact_origins(
    plan: &Plan,
    broken: &Broken,
    sources: &[(Range<usize>, Option<Explained>)],
    raw: &[u8],
) -> Vec<Origin> {
    if broken.places.is_empty() {
        // Facts are of all Bundles; the mappings of the first are as good as any.
        let Some((span, explained)) = sources.first() else { return Vec::new() };
        return candidates(plan, &raw[span.clone()], explained.as_ref(), &broken.path);
    }
    let mut found = Vec::new();
    for (bundle, path) in &broken.places {
        let Some((_, Some(explained))) = sources.get(*bundle) else { continue };
        for origin in of_path(explained, path) {
            if found.len() < ORIGINS_MAX && !found.contains(&origin) {
                found.push(origin);
            }
        }
    }
    found
}

/// A refusal as `error.txt` has it: the code, the place, the reason.
fn refusal(failure: &Failure) -> String {
    let place = failure.location.map_or_else(String::new, |(id, sequence, field)| {
        format!(" {}[{sequence}]-{field}", String::from_utf8_lossy(&id))
    });
    format!("error[{}]{place}: {}", failure.code, failure.text)
}

fn refusals(case: &Case, translated: &Translated, problems: &mut Vec<Problem>) {
    let none = Vec::new();
    let expected = case.refusals.as_ref().unwrap_or(&none);
    let found = &translated.refusals;
    for number in 0..expected.len().max(found.len()) {
        let (expected, found) = (expected.get(number), found.get(number));
        let agree = match (expected, found) {
            // Whoever writes it by hand may stop behind the code or the place.
            (Some(expected), Some(found)) => found.strip_prefix(expected.as_str()).is_some_and(|rest| {
                rest.is_empty()
                    || expected.ends_with(|c: char| !c.is_alphanumeric())
                    || !rest.starts_with(char::is_alphanumeric)
            }),
            _ => false,
        };
        if !agree {
            problems.push(Problem::Refusal { expected: expected.cloned(), found: found.cloned() });
        }
    }
}

/// Writes what was found as what is expected; facts are for people to write.
fn write(case: &Case, translated: &Translated) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let wants_bundles = case.bundles.is_some() || case.facts.is_empty();
    let path = case.bundles.as_ref().map_or_else(|| case.folder.join("bundle.json"), |(path, _)| path.clone());
    if wants_bundles && !translated.bundles.is_empty() {
        let value = match translated.bundles.as_slice() {
            [one] if translated.messages == 1 => one.clone(),
            all => Value::Array(all.to_vec()),
        };
        put(&path, Some(serde_json::to_string_pretty(&value)? + "\n"), &mut written)?;
    } else if wants_bundles {
        put(&path, None, &mut written)?;
    }
    let lines: String = translated.refusals.iter().map(|line| format!("{line}\n")).collect();
    put(&case.folder.join(REFUSALS), (!lines.is_empty()).then_some(lines), &mut written)?;
    Ok(written)
}

/// Writes a file, or takes it away; nothing where it is as it should be.
fn put(path: &Path, text: Option<String>, written: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(path).ok();
    if old == text {
        return Ok(());
    }
    match text {
        Some(text) => std::fs::write(path, text),
        None => std::fs::remove_file(path),
    }
    .with_context(|| format!("{}: cannot be written", path.display()))?;
    written.push(path.to_owned());
    Ok(())
}
