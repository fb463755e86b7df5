//! Checks on the shape of the project itself: which module may name which, how long a file may be, and that every fixture is described.
//!
//! A single crate does not stop `journal` from importing `hl7`; this does. To add an edge, add it to `MAY_USE` in the same commit and say why in the
//! message. Left out: paths that climb with `super`, which cannot be told from a module's own parts without a parser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A row may use what its list names, all of it above, never below. A module may always use itself; `lib.rs` and `main.rs` may use everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("telemetry", &[]),
    ("words", &[]),
    ("hl7", &[]),
    ("fhir", &["words"]),
    ("journal", &["telemetry"]),
    ("mllp", &["telemetry"]),
    ("mapping", &["words", "hl7", "fhir"]),
    ("facets", &["hl7"]),
    ("privacy", &["facets", "fhir"]),
    ("search", &["hl7", "journal", "facets"]),
    ("routing", &["hl7", "fhir", "facets", "mapping", "telemetry"]),
    ("intake", &["hl7", "facets", "mapping", "journal", "routing", "telemetry"]),
    ("delivery", &["journal", "search", "facets", "routing", "privacy", "fhir", "hl7", "mapping", "mllp", "telemetry"]),
    ("coordination", &["journal", "facets", "routing", "privacy", "fhir", "hl7", "mapping", "telemetry"]),
    (
        "server",
        &[
            "hl7",
            "fhir",
            "journal",
            "search",
            "mllp",
            "mapping",
            "facets",
            "privacy",
            "routing",
            "intake",
            "delivery",
            "coordination",
            "telemetry",
        ],
    ),
    ("alerts", &["journal", "delivery", "server", "telemetry"]),
    (
        "admin",
        &[
            "facets",
            "journal",
            "search",
            "mllp",
            "mapping",
            "privacy",
            "delivery",
            "coordination",
            "server",
            "alerts",
            "telemetry",
        ],
    ),
    (
        "desk",
        &[
            "hl7",
            "fhir",
            "journal",
            "mapping",
            "facets",
            "privacy",
            "routing",
            "search",
            "delivery",
            "coordination",
            "server",
            "alerts",
            "admin",
            "telemetry",
        ],
    ),
    ("traces", &["delivery", "telemetry"]),
    ("facade", &["facets", "mllp", "privacy", "delivery", "coordination", "server", "admin"]),
    (
        "config",
        &[
            "facade",
            "journal",
            "mllp",
            "mapping",
            "facets",
            "privacy",
            "routing",
            "intake",
            "delivery",
            "coordination",
            "server",
            "admin",
            "alerts",
            "traces",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "desk",
            "facade",
            "hl7",
            "fhir",
            "journal",
            "mllp",
            "mapping",
            "facets",
            "privacy",
            "routing",
            "search",
            "intake",
            "delivery",
            "coordination",
            "server",
            "admin",
            "alerts",
            "traces",
            "config",
            "telemetry",
        ],
    ),
];

/// Without its tests; generated files, which say `@generated` at the top, are not counted.
const LINES_MAX: usize = 600;

#[test]
fn modules_import_only_downwards() {
    let mut errors = Vec::new();
    for (file, text) in sources() {
        let Some((module, allowed)) = row_of(&file) else {
            continue;
        };
        let code = without_comments(&text);
        for (line, used) in crate_names(&code) {
            let known = MAY_USE.iter().any(|(name, _)| *name == used);
            if known && used != *module && !allowed.contains(&used) {
                errors.push(format!("{}:{line}: {module} may not use {used}", file.display()));
            }
        }
    }
    assert!(errors.is_empty(), "\n{}", errors.join("\n"));
}

#[test]
fn table_names_every_module_and_has_no_cycle() {
    for (file, _) in sources() {
        let module = module_of(&file);
        let root = matches!(module.as_str(), "lib" | "main");
        assert!(root || row_of(&file).is_some(), "{}: module {module} is not in MAY_USE", file.display());
    }
    for (position, (module, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            let above = MAY_USE[..position].iter().any(|(name, _)| name == used);
            assert!(above, "{module} may use {used}, which does not stand above it");
        }
    }
}

#[test]
fn files_fit_in_the_head() {
    let mut errors = Vec::new();
    for (file, text) in sources() {
        if is_test(&file) || text.lines().take(5).any(|line| line.contains("@generated")) {
            continue;
        }
        let lines = text.split("#[cfg(test)]\nmod ").next().unwrap_or("").lines().count();
        if lines > LINES_MAX {
            errors.push(format!("{}: {lines} lines, limit {LINES_MAX}", file.display()));
        }
    }
    assert!(errors.is_empty(), "\n{}", errors.join("\n"));
}

#[test]
fn files_open_with_their_purpose() {
    let bare: Vec<String> = sources()
        .iter()
        .filter(|(file, text)| !is_test(file) && !text.trim_start().starts_with("//!"))
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(bare.is_empty(), "no //! at the top of {}", bare.join(", "));
}

/// Who runs the gateway does not read sources: what `src/config/mod.rs` says of the keys stands in a page, too.
#[test]
fn every_key_of_the_configuration_stands_in_the_docs() {
    let read = |file: &str| fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    let header = read("src/config/mod.rs");
    let lines = header.lines().map_while(|line| line.strip_prefix("//!"));
    let text: String = lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
    let page = format!("# Every key of the configuration\n\n{text}");
    assert!(read("docs/configuration.md") == page, "docs/configuration.md is not the header of src/config/mod.rs");
}

#[test]
fn every_fixture_is_described_once() {
    let page = fs::read_to_string(Path::new(ROOT).join("fixtures/README.md")).unwrap();
    let mut described = BTreeSet::new();
    let mut structure = "";
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            structure = title;
        } else if let Some(case) = line.strip_prefix("| `").and_then(|row| row.split('`').next()) {
            assert!(
                described.insert(format!("{structure}/{case}")),
                "fixtures/README.md describes {structure}/{case} twice"
            );
        }
    }
    let present: BTreeSet<String> = folders(&Path::new(ROOT).join("fixtures"))
        .iter()
        .flat_map(|structure| folders(structure))
        .map(|case| {
            assert!(case.join("message.hl7").is_file(), "{} has no message.hl7", case.display());
            let mut names = case.iter().rev().map(|name| name.to_string_lossy().into_owned());
            let (case, structure) = (names.next().unwrap(), names.next().unwrap());
            format!("{structure}/{case}")
        })
        .collect();
    assert_eq!(described, present, "fixtures/README.md and the folders differ");
}

#[test]
fn crate_names_sees_through_braces_and_lines() {
    let code = "use crate::{\n    hl7::{Message, path::{Field}},\n    fhir as f,\n};\nlet x = crate::journal::Record; pub(crate) fn y() {}";
    let names: Vec<(usize, &str)> = crate_names(code);
    assert_eq!(names, [(2, "hl7"), (3, "fhir"), (5, "journal")]);
}

#[test]
fn comments_are_not_code() {
    assert_eq!(without_comments("a // crate::hl7\n/// crate::fhir\nb \"http://x\" c"), "a \n\nb \"http://x\" c\n");
}

/// Every name that directly follows `crate::`, also within braces, with its line.
fn crate_names(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let start = start + "crate::".len();
        if !code[start..].starts_with('{') {
            found.push((start, word_at(code, start)));
            continue;
        }
        let (mut depth, mut expected) = (0, false);
        for (offset, character) in code[start..].char_indices() {
            match character {
                '{' => (depth, expected) = (depth + 1, depth == 0),
                '}' => depth -= 1,
                ',' => expected = depth == 1,
                _ if character.is_whitespace() => {}
                _ if expected => {
                    found.push((start + offset, word_at(code, start + offset)));
                    expected = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.iter().map(|(offset, name)| (code[..*offset].matches('\n').count() + 1, *name)).collect()
}

fn word_at(code: &str, start: usize) -> &str {
    code[start..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

/// The same lines without what follows `//`, unless that stands behind a colon, as in a URL.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        let end = line.match_indices("//").map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
        code.push_str(&line[..end.unwrap_or(line.len())]);
        code.push('\n');
    }
    code
}

fn row_of(file: &Path) -> Option<&'static (&'static str, &'static [&'static str])> {
    let module = module_of(file);
    MAY_USE.iter().find(|(name, _)| *name == module)
}

/// `hl7` of `src/hl7/index.rs`.
fn module_of(file: &Path) -> String {
    let first = file.iter().nth(1).unwrap().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn is_test(file: &Path) -> bool {
    let name = file.file_stem().unwrap().to_string_lossy();
    name == "tests" || name.ends_with("_tests")
}

/// Every Rust file below `src`, relative to the project, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![Path::new(ROOT).join("src")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(ROOT).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources below {ROOT}/src");
    found
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}
