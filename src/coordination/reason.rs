//! Why messages became no event: what is counted, so that silence can be told from deafness.

/// What a message, or part of it, became no event for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its type, trigger or outcome tells of none.
    Other,
    /// It cannot be read.
    Unreadable,
    /// MSH-11 says that it is for tests or debugging; `processing` may name it.
    Processing,
    /// The same MSH-3, MSH-4, MSH-9 and MSH-10 as one before about the same patient and visit.
    Duplicate,
    /// It changes nothing that anybody is told of, or repeats what was told.
    NothingNew,
    /// PV1-2 is not known; `class_map` may name it.
    UnknownClass,
    /// Nobody can tell whom it is about.
    NoPatient,
    /// A result that is not final.
    NotFinal,
    /// A referral or order whose state means nothing here.
    UnknownState,
    /// A charge that was taken back.
    Credit,
    /// The message tells of more than are read.
    TooMany,
}

impl Reason {
    /// Every one.
    pub const ALL: [Reason; 11] = [
        Reason::Other,
        Reason::Unreadable,
        Reason::Processing,
        Reason::Duplicate,
        Reason::NothingNew,
        Reason::UnknownClass,
        Reason::NoPatient,
        Reason::NotFinal,
        Reason::UnknownState,
        Reason::Credit,
        Reason::TooMany,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Other => "other",
            Reason::Unreadable => "unreadable",
            Reason::Processing => "processing",
            Reason::Duplicate => "duplicate",
            Reason::NothingNew => "nothing-new",
            Reason::UnknownClass => "unknown-class",
            Reason::NoPatient => "no-patient",
            Reason::NotFinal => "not-final",
            Reason::UnknownState => "unknown-state",
            Reason::Credit => "credit",
            Reason::TooMany => "too-many",
        }
    }
}
