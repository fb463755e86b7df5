//! The codes that a required binding allows.

/// The codes of one value set, sorted.
#[derive(Debug, Default)]
pub struct CodeSet {
    /// (code, system), sorted by code.
    pairs: Vec<(&'static str, &'static str)>,
}

impl CodeSet {
    pub(super) fn add(&mut self, system: &'static str, codes: impl Iterator<Item = &'static str>) {
        self.pairs.extend(codes.map(|code| (code, system)));
        self.pairs.sort_unstable();
    }

    /// Whether the code is allowed. Codes are case-sensitive.
    pub fn contains(&self, code: &str) -> bool {
        self.system(code).is_some()
    }

    /// The code system of an allowed code.
    pub fn system(&self, code: &str) -> Option<&'static str> {
        let at = self.pairs.binary_search_by(|(known, _)| (*known).cmp(code)).ok()?;
        self.pairs.get(at).map(|(_, system)| *system)
    }

    /// All codes in alphabetical order.
    pub fn codes(&self) -> impl Iterator<Item = &'static str> {
        self.pairs.iter().map(|(code, _)| *code)
    }

    /// How many codes there are.
    #[expect(clippy::len_without_is_empty, reason = "a set that is handed out is never empty")]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }
}
