//! What is wrong with mapping sources: a stable code, file:line:column, the line quoted, a suggestion.
use super::source::{Location, Sources};
use std::fmt::Write as _;

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The plan is not built.
    Error,
    /// The plan is built; somebody should look.
    Warning,
}

/// One mistake in the mapping sources.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Stable code, such as `M020`; listed in [`Code`].
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub location: Location,
    /// What would be right, if we can tell.
    pub suggestion: Option<String>,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// The stable codes of mapping diagnostics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $text] $name,)* }
        impl Code {
            /// The code as printed, such as `M020`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }
        }
    };
}

codes! {
    Toml = "M001", "The file is not TOML.";
    Key = "M002", "A key that means nothing here.";
    ValueKind = "M003", "A value of the wrong TOML type.";
    Expression = "M004", "An expression that cannot be read.";
    Statement = "M005", "A statement of a message map that cannot be read.";
    Structure = "M006", "A structure grammar that cannot be read.";
    UnknownSegment = "M010", "No such segment.";
    UnknownField = "M011", "No such field or component.";
    UnknownElement = "M012", "No such FHIR element.";
    UnknownType = "M013", "No such FHIR type.";
    UnknownMap = "M014", "No such map.";
    UnknownTable = "M015", "No such code table.";
    UnknownFunction = "M016", "No such function, or wrong arguments.";
    UnknownName = "M017", "No resource of that name in this message map.";
    UnknownGroup = "M018", "No such group or segment in the structure.";
    UnknownStructure = "M019", "No such message structure.";
    WrongType = "M020", "A value of the wrong FHIR type.";
    Repeats = "M021", "A repeating source into an element that does not repeat.";
    NotInCodes = "M022", "A code outside the required value set.";
    WrongReference = "M023", "A reference to a resource type that the element does not allow.";
    Duplicate = "M024", "Two rows for one target.";
    Cycle = "M025", "Maps that call one another in a circle.";
    Table = "M026", "A code table that cannot be read.";
    Replaces = "M027", "A row that takes the place of what a map spread beside it gives.";
    Missing = "M028", "An element that FHIR requires and no row writes.";
    Unused = "M030", "A map or table that nothing uses.";
}

/// All diagnostics of one load.
#[derive(Debug, Default, Clone)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds an error.
    pub fn error(&mut self, code: Code, location: Location, message: impl Into<String>) -> &mut Diagnostics {
        self.push(code, Severity::Error, location, message.into())
    }
    /// Adds a warning.
    pub fn warning(&mut self, code: Code, location: Location, message: impl Into<String>) -> &mut Diagnostics {
        self.push(code, Severity::Warning, location, message.into())
    }
    fn push(&mut self, code: Code, severity: Severity, location: Location, message: String) -> &mut Diagnostics {
        // The same row may be compiled into several programs; it is still one mistake.
        if let Some(at) =
            self.found.iter().position(|d| d.code == code && d.location == location && d.message == message)
        {
            let same = self.found.remove(at);
            self.found.push(same);
        } else {
            self.found.push(Diagnostic { code, severity, message, location, suggestion: None });
        }
        self
    }
    /// Sets the suggestion of the diagnostic just added.
    pub fn suggest_last(&mut self, text: impl Into<String>) {
        self.suggest_some(Some(text.into()));
    }
    /// The same, if there is one.
    pub fn suggest_some(&mut self, text: Option<String>) {
        if let (Some(last), Some(text)) = (self.found.last_mut(), text) {
            last.suggestion = Some(text);
        }
    }
    /// Takes over those of another load that pass.
    pub fn extend(&mut self, others: Diagnostics, pass: impl Fn(&Diagnostic) -> bool) {
        for other in others.found.into_iter().filter(pass) {
            self.push(other.code, other.severity, other.location, other.message);
            self.suggest_some(other.suggestion);
        }
    }
    /// Whether any is an error.
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|d| d.severity == Severity::Error)
    }
    /// All of them, in file order, errors and warnings mixed.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<_> = self.found.iter().collect();
        all.sort_by_key(|d| (d.location.file, d.location.start, d.code));
        all
    }
}

impl Diagnostic {
    /// `file:line:column: error[M012]: …`, the line quoted with a caret, and the suggestion.
    pub fn render(&self, sources: &Sources) -> String {
        let (file, line, column, quoted) = sources.position(self.location);
        let kind = if self.severity == Severity::Error { "error" } else { "warning" };
        let mut out = format!("{file}:{line}:{column}: {kind}[{}]: {}\n", self.code.as_str(), self.message);
        let number = line.to_string();
        let width = (self.location.end - self.location.start)
            .clamp(1, quoted.len().saturating_sub(column - 1).max(1) as u32) as usize;
        let _ = writeln!(out, " {number} | {quoted}");
        let _ = writeln!(out, " {} | {}{}", " ".repeat(number.len()), " ".repeat(column - 1), "^".repeat(width));
        if let Some(text) = &self.suggestion {
            let _ = writeln!(out, " {} = help: {text}", " ".repeat(number.len()));
        }
        out
    }

    /// The same as a JSON object, for editors and CI.
    pub fn json(&self, sources: &Sources) -> serde_json::Value {
        let (file, line, column, quoted) = sources.position(self.location);
        serde_json::json!({
            "code": self.code.as_str(), "severity": if self.severity == Severity::Error { "error" } else { "warning" },
            "message": self.message, "file": file, "line": line, "column": column, "quoted": quoted, "suggestion": self.suggestion,
        })
    }
}

/// The nearest of `names` to a misspelt word, if any is near.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 3).max(1) + 1;
    names
        .into_iter()
        .map(|name| (distance(word, name), name))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// Levenshtein distance in bytes, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut current = vec![i + 1];
        for (j, y) in b.bytes().enumerate() {
            let change = previous[j] + usize::from(x != y);
            current.push(change.min(previous[j + 1] + 1).min(current[j] + 1));
        }
        previous = current;
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_finds_typing_errors_only() {
        assert_eq!(nearest("birthdate", ["birthDate", "gender"]), Some("birthDate"));
        assert_eq!(nearest("ammended", ["amended", "final"]), Some("amended"));
        assert_eq!(nearest("zzzzzz", ["amended", "final"]), None);
    }
}
