//! Many dead letters at once: which, how many they are and why, and only then what is asked for.
use super::super::selection::parse_time;
use crate::journal::{DeadLetter, LetterPin, Letters, State};
use anyhow::Context as _;
use clap::Args;
use std::collections::BTreeMap;

/// Which dead letters of a route.
#[derive(Debug, Args)]
pub(super) struct Many {
    /// All of this route, or of `untranslated`: tells how many they are and why, and does nothing without --yes
    #[arg(long = "route", value_name = "NAME", conflicts_with = "route")]
    of: Option<String>,
    /// Of those the ones that were given up for a reason with this in it, letters in either case
    #[arg(long, value_name = "TEXT", requires = "of", conflicts_with = "route")]
    reason: Option<String>,
    /// Of those the ones that were given up at this time or later: 2026-01-31, 2026-01-31T08:30Z, or 90m, 2h, 7d ago; without an offset UTC
    #[arg(long, value_name = "TIME", requires = "of", conflicts_with = "route")]
    since: Option<String>,
    /// Of those so many at most, the lowest numbers
    #[arg(long, value_name = "N", requires = "of", conflicts_with = "route")]
    limit: Option<usize>,
    /// Only where they are so many, as they were counted before
    #[arg(long, value_name = "N", requires = "yes", conflicts_with = "route")]
    expected: Option<usize>,
    /// Only where they are exactly those that were counted before: the text that was told then
    #[arg(long, value_name = "TEXT", requires = "yes", conflicts_with = "route")]
    pin: Option<String>,
    /// Do it
    #[arg(long, requires = "of", conflicts_with = "route")]
    yes: bool,
}

/// Reasons that are told.
const REASONS_SHOWN: usize = 10;

impl Many {
    /// The route and its dead letters that are meant; none unless `--yes` says so, for then they have only been counted. `verb` is what would be done with them.
    pub fn chosen(&self, state: &State, verb: &str) -> anyhow::Result<Option<(String, Vec<DeadLetter>)>> {
        let Some(route) = &self.of else { return Ok(None) };
        let now = jiff::Timestamp::now();
        let since = self.since.as_ref().map(|text| parse_time(text, now).with_context(|| format!("--since {text}")));
        let meant = Letters { reason: self.reason.clone(), since_ms: since.transpose()?, ..Letters::of(route) };
        let found = state.dead_letters_after(&meant, None, self.limit.unwrap_or(usize::MAX))?;
        let letters: Vec<_> = found.into_iter().map(|(_, letter)| letter).collect();
        println!("{} dead letters of {route}", letters.len());
        if let Some(expected) = self.expected.filter(|expected| *expected != letters.len()) {
            anyhow::bail!("{expected} were expected: nothing was done; look at them again, without --yes");
        }
        let mut pin = LetterPin::default();
        letters.iter().for_each(|letter| pin.add(route, letter.seq, letter.last));
        let pin = pin.text();
        if self.pin.as_ref().is_some_and(|seen| *seen != pin) {
            anyhow::bail!("they are others than were seen: nothing was done; look at them again, without --yes");
        }
        if self.yes {
            return Ok(Some((route.clone(), letters)));
        }
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for letter in &letters {
            *reasons.entry(&letter.reason).or_default() += 1;
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (reason, count) in reasons.iter().take(REASONS_SHOWN) {
            println!("{count}: {reason}");
        }
        if reasons.len() > REASONS_SHOWN {
            println!("and {} other reasons", reasons.len() - REASONS_SHOWN);
        }
        if !letters.is_empty() {
            println!("nothing was done; with --yes they are {verb}, with --yes --pin {pin} these alone");
        }
        Ok(None)
    }
}
