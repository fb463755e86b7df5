//! What is wrong with a configuration, and where.
use crate::delivery::channel::egress::Allowed;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line and column from 1; none when the file as a whole is meant.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub text: String,
}

/// Everything that is wrong with a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Problems {
        Problems {
            path: path.to_owned(),
            problems: vec![Problem { place: None, text: format!("cannot be read: {error}") }],
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some((line, column)) = problem.place {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}", problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A file that is being checked; collects what is wrong.
pub(super) struct Document<'a> {
    pub text: &'a str,
    pub path: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    /// Where targets may lead; read before they are.
    pub allowed: OnceCell<Allowed>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    pub fn new(text: &'a str, path: &'a Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Document<'a> {
        Document { text, path, environment, allowed: OnceCell::new(), problems: RefCell::default() }
    }

    /// Notes a mistake at bytes of the file.
    pub fn wrong(&self, at: Option<Range<usize>>, text: impl Into<String>) {
        let place = at.map(|span| self.place(span.start));
        self.problems.borrow_mut().push(Problem { place, text: text.into() });
    }

    /// The value when nothing is wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        if problems.is_empty() { Ok(value) } else { Err(Problems { path: self.path.to_owned(), problems }) }
    }

    /// Where targets may lead.
    pub fn allowed(&self) -> Allowed {
        self.allowed.get().cloned().unwrap_or_default()
    }

    /// Notes a host that `[egress]` does not let through.
    pub fn check_host(&self, host: &str, at: &Range<usize>) {
        if let Err(refused) = self.allowed().check(host) {
            self.wrong(Some(at.clone()), refused.to_string());
        }
    }

    /// A path, relative to the folder of the file.
    pub fn relative(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A text with each `${NAME}` replaced.
    pub fn expand(&self, text: &str, at: Range<usize>) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.wrong(Some(at), "`${` without `}`: an environment variable is written ${NAME}");
                return out;
            };
            match (self.environment)(name) {
                Some(value) => out.push_str(&value),
                None => self.wrong(Some(at.clone()), format!("the environment variable {name} is not set")),
            }
            rest = after;
        }
        out + rest
    }

    fn place(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
