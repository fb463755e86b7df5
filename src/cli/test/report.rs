//! What is told of the cases: for people, for programs, and as JUnit XML for CI.
use super::coverage::Coverage;
use super::judge::{Outcome, Problem, Status};
use crate::fhir::diff::Side;
use crate::mapping::provenance::Origin;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// In the text form, longer values are cut; JSON has all of them.
const SHOWN_CHARACTERS: usize = 200;
/// Fields that reached nothing, named when too few reached something.
const LOST_SHOWN: usize = 10;

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Passed => "ok",
            Status::Failed => "FAILED",
            Status::Updated => "updated",
            Status::Unreadable => "UNREADABLE",
        }
    }
}

/// One case.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut out = format!("{:<7} {}\n", outcome.status.name(), outcome.name);
    for problem in &outcome.problems {
        for line in lines(problem) {
            let _ = writeln!(out, "    {line}");
        }
    }
    for path in &outcome.written {
        let word = if path.exists() { "wrote" } else { "removed" };
        let _ = writeln!(out, "    {word} {}", path.display());
    }
    out
}

/// A problem in a few lines; the first says what it is.
fn lines(problem: &Problem) -> Vec<String> {
    match problem {
        Problem::Value { message, difference, origins } => {
            let of = message.map(|number| format!("message {number}: ")).unwrap_or_default();
            let mut lines = vec![format!("{of}{} {}", difference.kind().name(), difference.name())];
            lines.push(format!("  expected {}", side(difference.expected.as_ref())));
            lines.push(format!("  found    {}", side(difference.found.as_ref())));
            lines.extend(origins.iter().map(origin));
            lines
        }
        Problem::Fact { file, broken, origins } => {
            let file = file.file_name().unwrap_or_default().to_string_lossy();
            let mut lines = vec![format!("{file}:{}: {}", broken.line, broken.path)];
            lines.push(format!("  expected {}", cut(&broken.expected)));
            lines.push(format!("  found    {}", cut(&broken.found)));
            lines.extend(origins.iter().map(origin));
            lines
        }
        Problem::Refusal { expected, found } => {
            let shown = |line: &Option<String>| line.clone().unwrap_or_else(|| "no refusal".into());
            let what = match (expected, found) {
                (Some(_), None) => "is translated, though a refusal is expected",
                (None, _) => "is refused",
                _ => "is refused for another reason",
            };
            vec![what.into(), format!("  expected {}", shown(expected)), format!("  found    {}", shown(found))]
        }
        Problem::Bundles { expected, found } => vec![format!("expected {expected} Bundles, found {found}")],
        Problem::New => {
            vec!["nothing is expected yet: write facts.toml, or let --update write bundle.json, and read it".into()]
        }
        Problem::Unreadable(what) => vec![what.clone()],
    }
}

fn origin(origin: &Origin) -> String {
    format!("  from     {origin}")
}

fn side(side: Option<&Side>) -> String {
    match side {
        None => "nothing".to_owned(),
        Some(Side { refers_to: Some(name), .. }) => format!("a reference to {name}"),
        Some(side) => cut(&side.value.to_string()),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
        None => text.to_owned(),
    }
}

/// The last lines.
pub(super) fn summary(outcomes: &[Outcome], coverage: &Coverage<'_>, least: Option<f64>) -> String {
    let count = |status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    let mut out = format!("{} cases: {} passed", outcomes.len(), count(Status::Passed));
    for (status, word) in [(Status::Failed, "failed"), (Status::Updated, "updated"), (Status::Unreadable, "unreadable")]
    {
        if count(status) > 0 {
            let _ = write!(out, ", {} {word}", count(status));
        }
    }
    let _ = writeln!(out, "; {:.1} % of {} populated values reached FHIR", coverage.percent(), coverage.populated());
    if let Some(least) = least
        && coverage.percent() < least
    {
        let _ = writeln!(out, "{}", too_little(least, coverage));
    }
    out
}

fn too_little(least: f64, coverage: &Coverage<'_>) -> String {
    let lost: Vec<String> =
        coverage.most_lost(LOST_SHOWN).iter().map(|(name, count)| format!("{name} ({count})")).collect();
    format!("less than the {least} % of --min-coverage; most often lost: {}", lost.join(", "))
}

pub(super) fn json(outcomes: &[Outcome], coverage: &Coverage<'_>) -> Value {
    let cases: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "name": outcome.name,
                "status": outcome.status.name().to_lowercase(),
                "messages": outcome.messages,
                "problems": outcome.problems.iter().map(problem).collect::<Vec<_>>(),
                "written": outcome.written.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let count = |status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    json!({
        "cases": cases,
        "passed": count(Status::Passed), "failed": count(Status::Failed), "updated": count(Status::Updated), "unreadable": count(Status::Unreadable),
        "coverage": { "populated": coverage.populated(), "reached": coverage.reached(), "percent": (coverage.percent() * 10.0).round() / 10.0 },
    })
}

fn problem(problem: &Problem) -> Value {
    let origins = |all: &[Origin]| all.iter().map(Origin::json).collect::<Vec<_>>();
    match problem {
        Problem::Value { message, difference, origins: from } => {
            let side = |side: &Option<Side>| {
                side.as_ref().map(|side| json!({ "path": side.path, "name": side.name, "value": side.value, "refers_to": side.refers_to }))
            };
            json!({ "kind": difference.kind().name(), "message": message, "name": difference.name(),
                "expected": side(&difference.expected), "found": side(&difference.found), "origins": origins(from) })
        }
        Problem::Fact { file, broken, origins: from } => json!({
            "kind": "fact", "file": file.display().to_string(), "line": broken.line, "path": broken.path,
            "expected": broken.expected, "found": broken.found, "origins": origins(from) }),
        Problem::Refusal { expected, found } => json!({ "kind": "refusal", "expected": expected, "found": found }),
        Problem::Bundles { expected, found } => json!({ "kind": "bundles", "expected": expected, "found": found }),
        Problem::New => json!({ "kind": "new" }),
        Problem::Unreadable(what) => json!({ "kind": "unreadable", "what": what }),
    }
}

/// What Jenkins, GitLab and others read; too little coverage is a failed case of its own.
pub(super) fn junit(outcomes: &[Outcome], coverage: Option<(f64, &Coverage<'_>)>) -> String {
    let count = |status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    let short = coverage.filter(|(least, coverage)| coverage.percent() < *least);
    let tests = outcomes.len() + usize::from(coverage.is_some());
    let failures = count(Status::Failed) + usize::from(short.is_some());
    let errors = count(Status::Unreadable);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"handoff test\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">\n"
    );
    for outcome in outcomes {
        let told: Vec<String> = outcome.problems.iter().flat_map(lines).collect();
        let element = match outcome.status {
            Status::Passed | Status::Updated => None,
            Status::Failed => Some("failure"),
            Status::Unreadable => Some("error"),
        };
        testcase(&mut out, &outcome.name, element.map(|element| (element, told)));
    }
    if let Some((least, coverage)) = coverage {
        let told =
            short.map(|_| ("failure", vec![format!("{:.1} %", coverage.percent()), too_little(least, coverage)]));
        testcase(&mut out, "--min-coverage", told);
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

fn testcase(out: &mut String, name: &str, told: Option<(&str, Vec<String>)>) {
    let head = format!("<testcase classname=\"handoff\" name=\"{}\"", escaped(name));
    let _ = match told {
        None => writeln!(out, "{head}/>"),
        Some((element, lines)) => {
            let message = escaped(lines.first().map_or("", String::as_str));
            writeln!(
                out,
                "{head}><{element} message=\"{message}\">{}</{element}></testcase>",
                escaped(&lines.join("\n"))
            )
        }
    };
}

/// Text as XML has it; what XML cannot have is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
