//! Matches that somebody has to look at, what they decide of them, and how a patient would be matched now.
use super::Shared;
use crate::coordination::PersonKey;
use crate::coordination::event::Patient;
use crate::coordination::registry::{self, Kind, What};
use crate::coordination::roster::Aliases;
use crate::coordination::roster::reviews::{self, Decision, Review, Verdict};
use crate::hl7::{Index, transcode};
use serde_json::Value;

/// Which reviews.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of members of this panel only.
    pub panel: Option<String>,
    /// Those that were decided, instead of those that wait.
    pub decided: bool,
    /// Behind this number.
    pub after: u64,
    /// At most so many.
    pub most: usize,
}

/// A review, and what was said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// The review.
    pub review: Review,
    /// The panels in which its candidates are, or were.
    pub panels: Vec<String>,
    /// What was decided, by whom, and when, in milliseconds since 1970; none while it waits.
    pub decision: Option<(Decision, String, i64)>,
}

/// Why reviews cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The database of coordinated care.
    #[error("coordination.sqlite in the data directory: {0}")]
    Database(#[from] rusqlite::Error),
    /// What was decided.
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// Why a decision is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// There is no such review.
    #[error("there is no review {0}")]
    Unknown(u64),
    /// Nobody of that id is in a panel.
    #[error("nobody of that id is in a panel")]
    NoMember,
    /// There is nothing by which later messages could be told.
    #[error(
        "its messages have no number of which that could be said: all are somebody else's in the rosters, or there is none"
    )]
    NoNumber,
    /// It cannot be read or written down.
    #[error(transparent)]
    Review(#[from] ReviewError),
}

/// Reviews that are looked at in one go.
const PAGE: usize = 500;

impl Shared {
    /// Reviews by number, and behind which of them there may be more.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn reviews(&self, wanted: &Wanted) -> Result<(Vec<Reviewed>, Option<u64>), ReviewError> {
        let (mut found, mut after) = (Vec::new(), wanted.after);
        loop {
            let page = reviews::list(&self.database(), false, after, PAGE)?;
            let is_last = page.len() < PAGE;
            for review in page {
                after = review.id;
                let reviewed = self.reviewed(review)?;
                let is_of = wanted.panel.as_ref().is_none_or(|panel| reviewed.panels.contains(panel));
                if !is_of || reviewed.decision.is_some() != wanted.decided {
                    continue;
                }
                found.push(reviewed);
                if found.len() >= wanted.most {
                    return Ok((found, Some(after)));
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
    }

    fn reviewed(&self, review: Review) -> Result<Reviewed, ReviewError> {
        let snapshot = self.rosters.current();
        let mut panels: Vec<String> = Vec::new();
        for one in review.candidates.iter().flat_map(|key| snapshot.memberships(key)) {
            if !panels.contains(&one.panel.id) {
                panels.push(one.panel.id.clone());
            }
        }
        // As it was said: it takes its place in the journal a moment later.
        let id = PersonKey(review.subject).to_string();
        let entry = self.registry.current(Kind::MatchDecision, &id)?;
        let decision = entry.and_then(|entry| {
            let verdict = Verdict::parse(&id, entry.what.body()?)?;
            Some((verdict.decision, entry.who, entry.at_ms))
        });
        Ok(Reviewed { review, panels, decision })
    }

    /// Says whose the numbers of a review are, for all messages that come from now on; of how many numbers. A later word goes before an earlier one.
    ///
    /// # Errors
    /// A [`DecideError`]; nothing was said then.
    pub fn decide(&self, who: &str, id: u64, decision: Decision) -> Result<usize, DecideError> {
        let found = reviews::find(&self.database(), id).map_err(ReviewError::from)?;
        let review = found.ok_or(DecideError::Unknown(id))?;
        let snapshot = self.rosters.current();
        if let Decision::Person(key) = decision
            && !snapshot.has(&key)
        {
            return Err(DecideError::NoMember);
        }
        let verdict = Verdict { subject: review.subject, decision, identifiers: review.identifiers };
        let count = reviews::decidable(&verdict, &snapshot).count();
        if count == 0 {
            return Err(DecideError::NoNumber);
        }
        let what = What::Put { kind: Kind::MatchDecision, id: verdict.id(), body: verdict.body() };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        self.registry.say(|| self.head(), now_ms, who, what).map_err(ReviewError::from)?;
        Ok(count)
    }

    /// Whom of the rosters of now a patient would be, and how that is found. Names and numbers of members stand in it.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn explain(&self, patient: &Patient) -> rusqlite::Result<Value> {
        let aliases = Aliases::of_patient(&self.database(), patient)?;
        let snapshot = self.rosters.current();
        Ok(snapshot.explain(patient, &aliases).json(&snapshot, true))
    }
}

/// Who a message is about; none where it cannot be read, or names nobody.
pub fn patient_of(raw: &[u8]) -> Option<Patient> {
    let (raw, mut index) = (transcode(raw), Index::new());
    index.parse(&raw).ok()?;
    crate::coordination::patient(index.message(&raw))
}
