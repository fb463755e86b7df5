//! What has come of many messages that are sent again, over all turns: how many have arrived, and of those that have not how many for which reason, the first of each by number.
//!
//! Whoever asks for turn after turn hands back the text of what there was so far, so that nothing has to be kept here and a restart changes nothing:
//!
//! ```text
//! sent=120;overtaken=3/17,19,20;conflict=1/ehr:44        count / the first ones, with their route where there are several
//! ```
use crate::delivery::Undone;
use crate::delivery::channel::is_conflict;
use crate::delivery::resend::ResendError;
use std::collections::BTreeMap;
use std::fmt;

/// Why one of many was not sent, or has not arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A newer message of its patient has gone out since, or may have.
    Overtaken,
    /// A filter of today, or what became of it at intake, keeps it away.
    Filtered,
    /// The target has something that contradicts it.
    Conflict,
    /// A route has it still before it.
    Queued,
    /// An earlier message of its patient fails.
    Waits,
    /// Somebody dropped it.
    Dropped,
    /// Somebody sent it since it was looked at.
    SentMeanwhile,
    /// Somebody sends it just now.
    UnderWay,
    /// The mappings make nothing of it.
    Unmade,
    /// It is not there any more.
    Gone,
    /// Its route is paused or stopped.
    Held,
    /// It was tried, and has not arrived.
    Failed,
    /// It was tried, has not arrived, and whoever asked went on without it.
    Left,
}

impl Cause {
    /// All of them, as they are told, with what each says and what to do.
    pub const ALL: [(Cause, &'static str, &'static str, &'static str); 13] = [
        (
            Cause::Overtaken,
            "overtaken",
            "a newer message of the same patient has gone out since, or may have",
            "look at both; the own page of each sends it all the same",
        ),
        (
            Cause::Filtered,
            "filtered",
            "a route's filter of today, or what became of it at intake, keeps it away",
            "look whether they belong there; sending them all the same has to be said",
        ),
        (
            Cause::Conflict,
            "conflict",
            "the target has something that contradicts it (409 or 412)",
            "look at what the target has; send it again, or an edited copy",
        ),
        (
            Cause::Queued,
            "queued",
            "a route has it still before it",
            "nothing, where the route runs: it sends it by itself",
        ),
        (
            Cause::Waits,
            "waits",
            "an earlier message of the same patient fails on the route",
            "mend the earlier one, then send them again",
        ),
        (Cause::Dropped, "dropped", "somebody dropped it", "nothing, or send it from its own page"),
        (
            Cause::SentMeanwhile,
            "sent_meanwhile",
            "somebody has sent it since it was looked at",
            "nothing, where it has arrived",
        ),
        (Cause::UnderWay, "under_way", "somebody else was sending it just then", "look at it in a moment"),
        (
            Cause::Unmade,
            "unmade",
            "there is nothing to send: the mappings make nothing of it",
            "mend the mappings, or send it by others",
        ),
        (
            Cause::Gone,
            "gone",
            "it is not there any more: sent, dropped or pruned meanwhile, or damaged",
            "look at what became of it",
        ),
        (Cause::Held, "held", "its route is paused or stopped", "start the route, then send them again"),
        (Cause::Failed, "failed", "it was tried and has not arrived", "mend what is said, then send them again"),
        (
            Cause::Left,
            "left_behind",
            "it was tried, has not arrived, and was left behind",
            "mend what was said, then send them again",
        ),
    ];

    fn row(self) -> (&'static str, &'static str, &'static str) {
        let row = Cause::ALL.iter().find(|(cause, ..)| *cause == self);
        row.map_or(("", "", ""), |(_, name, text, remedy)| (*name, *text, *remedy))
    }

    /// As programs are told it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What it says.
    pub fn text(self) -> &'static str {
        self.row().1
    }

    /// What to do.
    pub fn remedy(self) -> &'static str {
        self.row().2
    }

    fn parse(name: &str) -> Option<Cause> {
        Cause::ALL.iter().find(|(_, known, ..)| *known == name).map(|(cause, ..)| *cause)
    }

    /// Whether it would meet the next one as well: then going on is for whoever asked to say.
    pub fn stops(self) -> bool {
        matches!(self, Cause::Held | Cause::Failed)
    }

    /// Why a target has not taken it.
    pub fn of_failure(reason: &str) -> Cause {
        if is_conflict(reason) { Cause::Conflict } else { Cause::Failed }
    }

    /// Why a lane has not sent it, or it has not arrived.
    pub fn of_lane(undone: &Undone) -> Cause {
        match undone {
            Undone::Due => Cause::Queued,
            Undone::Held(_) => Cause::Held,
            Undone::Fails(_) => Cause::Waits,
            Undone::Overtaken(_) => Cause::Overtaken,
            Undone::Failed(reason) => Cause::of_failure(reason),
            // Of these the next meets the same.
            Undone::Rests(_) | Undone::Busy | Undone::Ended => Cause::Failed,
        }
    }

    /// Why a dead letter was not sent.
    pub fn of_letter(error: &ResendError) -> Cause {
        match error {
            ResendError::Damaged(..) => Cause::Gone,
            ResendError::Nothing(_) => Cause::Unmade,
            ResendError::Overtaken { .. } | ResendError::Unknown { .. } => Cause::Overtaken,
            ResendError::Held { .. } => Cause::Held,
            ResendError::NoRoute | ResendError::Unwanted { .. } => Cause::Filtered,
            ResendError::Store(_) => Cause::Failed,
        }
    }
}

/// A message, and its route where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The route of a dead letter.
    pub route: Option<String>,
    /// The number.
    pub seq: u64,
}

/// Those that have not been sent for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsent {
    /// How many.
    pub count: u64,
    /// The first of them, at most [`PLACES_MAX`].
    pub first: Vec<Place>,
}

/// What has come of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many have arrived.
    pub sent: u64,
    not: BTreeMap<Cause, Unsent>,
}

/// Of each reason so many are named; of the others the number is told.
pub const PLACES_MAX: usize = 50;
/// Digits of a number in the text.
const DIGITS_MAX: usize = 18;

impl Tally {
    /// One has arrived.
    pub fn add_sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// One has not, for this reason.
    pub fn add(&mut self, cause: Cause, place: Place) {
        let some = self.not.entry(cause).or_default();
        some.count = some.count.saturating_add(1);
        if some.first.len() < PLACES_MAX {
            some.first.push(place);
        }
    }

    /// Those that have not, by reason.
    pub fn not(&self) -> impl Iterator<Item = (Cause, &Unsent)> {
        self.not.iter().map(|(cause, some)| (*cause, some))
    }

    /// How many have not.
    pub fn count_not(&self) -> u64 {
        self.not.values().fold(0, |sum, some| sum.saturating_add(some.count))
    }

    /// How many are in it.
    pub fn count(&self) -> u64 {
        self.sent.saturating_add(self.count_not())
    }

    /// Reads its text; none where it is no such text.
    pub fn parse(text: &str) -> Option<Tally> {
        let mut parts = text.split(';');
        let sent = number(parts.next()?.strip_prefix("sent=")?)?;
        let mut tally = Tally { sent, not: BTreeMap::new() };
        for part in parts {
            let (name, rest) = part.split_once('=')?;
            let (count, first) = rest.split_once('/').map_or((rest, None), |(count, first)| (count, Some(first)));
            let first: Option<Vec<Place>> =
                first.map_or(Some(Vec::new()), |first| first.split(',').map(place).collect());
            let first = first.filter(|first| first.len() <= PLACES_MAX)?;
            tally.not.insert(Cause::parse(name)?, Unsent { count: number(count)?, first });
        }
        Some(tally)
    }
}

fn number(text: &str) -> Option<u64> {
    let plain = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

fn place(text: &str) -> Option<Place> {
    let named = |text: &str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match text.rsplit_once(':') {
        None => Some(Place { route: None, seq: number(text)? }),
        Some((route, seq)) if named(route) => Some(Place { route: Some(route.to_owned()), seq: number(seq)? }),
        Some(_) => None,
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent={}", self.sent)?;
        for (cause, Unsent { count, first }) in self.not() {
            write!(f, ";{}={count}", cause.name())?;
            for (at, Place { route, seq }) in first.iter().enumerate() {
                f.write_str(if at == 0 { "/" } else { "," })?;
                if let Some(route) = route {
                    write!(f, "{route}:")?;
                }
                write!(f, "{seq}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_was_so_far_is_handed_back_as_it_was() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "sent=0");
        tally.add_sent();
        let at = |seq| Place { route: None, seq };
        for seq in 1..=60 {
            tally.add(Cause::Overtaken, at(seq));
        }
        tally.add(Cause::Conflict, Place { route: Some("lab.a-b_c".into()), seq: 7 });
        let text = tally.to_string();
        assert!(
            text.starts_with("sent=1;overtaken=60/1,2,3,") && text.ends_with(",50;conflict=1/lab.a-b_c:7"),
            "{text}"
        );
        assert_eq!(Tally::parse(&text).as_ref(), Some(&tally));
        assert_eq!((tally.count(), tally.count_not()), (62, 61));
    }

    #[test]
    fn what_nobody_was_told_is_not_believed() {
        let long = format!("sent=1;gone=99/{}", vec!["1"; PLACES_MAX + 1].join(","));
        for wrong in [
            "",
            "gone=1",
            "sent=1;",
            "sent=1;sent=2",
            "sent",
            "sent=",
            "sent=x",
            "sent=1/2",
            "sent=1;lost=1",
            "sent=1;gone=1/",
            "sent=1;gone=1/a:b:1",
            "sent=1;gone=1/<b>:1",
            "sent=+1",
            "sent=1;gone=1/1234567890123456789",
            long.as_str(),
        ] {
            assert_eq!(Tally::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_cause_has_a_name_of_its_own_and_says_what_to_do() {
        for (cause, name, text, remedy) in Cause::ALL {
            assert_eq!(Cause::parse(name), Some(cause));
            assert!(!text.is_empty() && !remedy.is_empty() && cause.name() == name);
        }
    }
}
