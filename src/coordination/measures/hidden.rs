//! Which figures are told: none that stands for one to ten people, and none from which such a one could be worked out.
//!
//! A month tells a count that is 0 or at least [`SMALL`], where what is left of its whole is so too: of 30 discharges 24 visits are not told, as 6 would be missing. A quarter is told
//! where that holds of it and of all its months together that are not; a year, of all that are told neither by themselves nor in a quarter. So what is told never depends on
//! which months were asked for, and no sum less its parts gives one away; nor does a sum of what is hidden that leaves one of it fewer than three values. Counts beside a rate are told of a quarter or year only where all its months tell them.
//!
//! What counts is cases, not people: one who comes fifteen times is fifteen. And each measure is hidden by itself: whoever joins measures of one panel whose people are the same
//! can work out how many were excluded, died or left of their own will, and whoever stores the answers of two days, what changed between them.
use super::definition::Rate;
use super::period::month_text;
use super::series::{Figures, Month, Observed};

/// Fewer people than that stand for themselves.
pub const SMALL: u64 = 11;

/// A month, quarter or year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `2026-03`, `2026-Q1` or `2026`.
    pub name: String,
    /// Its first and last month.
    pub months: (i32, i32),
    /// What is told; the rest is hidden.
    pub shown: Shown,
    /// Whether it could have been seen.
    pub observed: Observed,
    /// Whether all windows are over.
    pub complete: bool,
    /// Events of the kinds that the measure uses; of them of nobody known, and with a time that cannot be.
    pub events: (u64, u64, u64),
}

/// Figures that may be told; none where one is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shown {
    /// Counted in, or member-months.
    pub denominator: Option<u64>,
    /// It happened in time.
    pub numerator: Option<u64>,
    /// Inferred.
    pub inferred: Option<u64>,
    /// Late.
    pub late: Option<u64>,
    /// Excluded.
    pub excluded: Option<u64>,
    /// Open.
    pub pending: Option<u64>,
    /// Open, and it has happened.
    pub pending_met: Option<u64>,
}

impl Shown {
    /// All of it, for those who may look at each.
    pub fn all(figures: &Figures) -> Shown {
        Shown {
            denominator: Some(figures.denominator),
            numerator: Some(figures.numerator),
            inferred: Some(figures.inferred),
            late: Some(figures.late),
            excluded: Some(figures.excluded),
            pending: Some(figures.pending),
            pending_met: Some(figures.pending_met),
        }
    }

    fn of(figures: &Figures, rate: Rate) -> Shown {
        let part = |of: Option<u64>, value: u64, whole: u64| {
            of.and_then(|_| tell(value)).filter(|_| !is_small(whole.saturating_sub(value)))
        };
        let (denominator, numerator) = match rate {
            // Members are counted in rosters, which are no secret to whoever has them.
            Rate::PerThousand => (Some(figures.denominator), tell(figures.numerator)),
            Rate::Share => {
                let denominator = tell(figures.denominator);
                (denominator, part(denominator, figures.numerator, figures.denominator))
            }
        };
        let pending = tell(figures.pending);
        Shown {
            denominator,
            numerator,
            inferred: part(numerator, figures.inferred, figures.numerator),
            late: part(numerator, figures.late, figures.missed()),
            // Beside what is hidden it would tell it: another measure of the same people tells both together.
            excluded: numerator.and(denominator).and_then(|_| tell(figures.excluded)),
            pending,
            pending_met: part(pending, figures.pending_met, figures.pending),
        }
    }

    /// The rate, in thousandths of a percent, or of visits by thousand members in a year.
    pub fn rate(&self, rate: Rate) -> Option<u64> {
        let (numerator, denominator) = (self.numerator?, self.denominator.filter(|count| *count > 0)?);
        Some(match rate {
            Rate::Share => (numerator * 200_000 + denominator) / (denominator * 2),
            Rate::PerThousand => (numerator * 24_000_000 + denominator) / (denominator * 2),
        })
    }
}

fn is_small(count: u64) -> bool {
    (1..SMALL).contains(&count)
}

fn tell(count: u64) -> Option<u64> {
    (!is_small(count)).then_some(count)
}

/// The months with what may be told of them, then the whole quarters and the whole years among them.
pub fn spans(months: &[Month], rate: Rate) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::new();
    for one in months {
        let shown = if one.observed == Observed::Not && rate == Rate::Share {
            // Who was counted in is told; that nothing happened to them is not known.
            Shown { numerator: None, inferred: None, late: None, pending_met: None, ..Shown::of(&one.figures, rate) }
        } else {
            Shown::of(&one.figures, rate)
        };
        all.push(Span {
            name: month_text(one.month),
            months: (one.month, one.month),
            shown,
            observed: one.observed,
            complete: one.complete,
            events: one.events,
        });
    }
    for length in [3, 12] {
        let wholes: Vec<&[Month]> = wholes(months, length).collect();
        for whole in wholes {
            let span = span(whole, &all, rate, length);
            all.push(span);
        }
    }
    all
}

/// Whether the sum of what is hidden leaves one of it fewer than three values, by the bounds that it is known to have: three of at most ten that are thirty are ten each.
fn is_pinned(hidden: &[&Month], count: fn(&Month) -> u64, bounds: impl Fn(&Month) -> (u64, u64)) -> bool {
    let (mut sum, mut least, mut most) = (0, 0, 0);
    for one in hidden {
        let (low, high) = bounds(one);
        (sum, least, most) = (sum + count(one), least + low, most + high);
    }
    hidden.iter().any(|one| {
        let (low, high) = bounds(one);
        let lowest = low.max(u64::saturating_sub(sum, most - high));
        let highest = high.min(u64::saturating_sub(sum, least - low));
        highest < lowest + 2
    })
}

/// The whole quarters or years in a series of months.
fn wholes(months: &[Month], length: i32) -> impl Iterator<Item = &[Month]> {
    let size = usize::try_from(length).unwrap_or(1);
    months.windows(size).filter(move |window| window.first().is_some_and(|first| first.month % length == 0))
}

fn span(whole: &[Month], told: &[Span], rate: Rate, length: i32) -> Span {
    let first = whole.first().map_or(0, |one| one.month);
    let last = first + length - 1;
    let within: Vec<&Span> = told.iter().filter(|span| span.months.0 >= first && span.months.1 <= last).collect();
    let mut sum = Figures::default();
    whole.iter().for_each(|one| sum.add(&one.figures));
    // What is neither told by itself nor in a quarter, by what is asked of a span.
    let hidden = |is_told: fn(&Shown) -> bool| -> Vec<&Month> {
        let known = |month: i32| {
            within.iter().any(|span| is_told(&span.shown) && span.months.0 <= month && month <= span.months.1)
        };
        whole.iter().filter(|one| !known(one.month)).collect()
    };
    let rest = |is_told: fn(&Shown) -> bool| {
        let mut rest = Figures::default();
        hidden(is_told).iter().for_each(|one| rest.add(&one.figures));
        rest
    };
    let observed = whole.iter().map(|one| one.observed).reduce(Observed::and).unwrap_or(Observed::Not);
    let seen = whole.iter().all(|one| one.observed != Observed::Not);
    let own = Shown::of(&sum, rate);
    let of_rest = Shown::of(&rest(|shown| shown.denominator.is_some()), rate);
    let denominator = own.denominator.filter(|_| of_rest.denominator.is_some()).filter(|_| {
        let hidden = hidden(|shown| shown.denominator.is_some());
        rate == Rate::PerThousand || !is_pinned(&hidden, |one| one.figures.denominator, |_| (1, SMALL - 1))
    });
    let of_rest = Shown::of(&rest(|shown| shown.numerator.is_some()), rate);
    let numerator = own
        .numerator
        .filter(|_| denominator.is_some() && of_rest.numerator.is_some() && (seen || rate == Rate::PerThousand))
        .filter(|_| {
            let bounds = |one: &Month| match (rate, one.figures.denominator) {
                (Rate::PerThousand, _) => (1, SMALL - 1),
                (Rate::Share, whole) if is_small(whole) => (0, SMALL - 1),
                (Rate::Share, whole) => (1, whole.saturating_sub(1)),
            };
            !is_pinned(&hidden(|shown| shown.numerator.is_some()), |one| one.figures.numerator, bounds)
        });
    let by_month = |field: fn(&Shown) -> Option<u64>| -> Option<u64> {
        let months = within.iter().filter(|span| span.months.0 == span.months.1);
        months.map(|span| field(&span.shown)).sum()
    };
    let events =
        whole.iter().fold((0, 0, 0), |all, one| (all.0 + one.events.0, all.1 + one.events.1, all.2 + one.events.2));
    let year = first.div_euclid(12);
    Span {
        name: if length == 12 { year.to_string() } else { format!("{year}-Q{}", first.rem_euclid(12) / 3 + 1) },
        months: (first, last),
        shown: Shown {
            denominator,
            numerator,
            inferred: by_month(|shown| shown.inferred),
            late: by_month(|shown| shown.late),
            excluded: by_month(|shown| shown.excluded),
            pending: by_month(|shown| shown.pending),
            pending_met: by_month(|shown| shown.pending_met),
        },
        observed,
        complete: whole.iter().all(|one| one.complete),
        events,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn month(month: i32, denominator: u64, numerator: u64) -> Month {
        let figures = Figures { denominator, numerator, ..Figures::default() };
        Month { month, figures, observed: Observed::Wholly, complete: true, events: (0, 0, 0) }
    }

    fn told(figures: &[(u64, u64)]) -> Vec<(String, Option<u64>, Option<u64>)> {
        let months: Vec<_> = (2026 * 12..).zip(figures).map(|(at, (whole, part))| month(at, *whole, *part)).collect();
        let spans = spans(&months, Rate::Share);
        spans.into_iter().map(|span| (span.name, span.shown.denominator, span.shown.numerator)).collect()
    }

    #[test]
    fn small_ones_are_hidden_and_so_is_what_gives_them_away() {
        let only = |whole, part| told(&[(whole, part)])[0].clone();
        assert_eq!((only(30, 15).1, only(30, 15).2), (Some(30), Some(15)));
        assert_eq!((only(30, 24).1, only(30, 24).2), (Some(30), None), "six are missing");
        assert_eq!((only(30, 4).1, only(30, 4).2), (Some(30), None));
        assert_eq!((only(30, 30).2, only(30, 0).2, only(0, 0).1), (Some(30), Some(0), Some(0)));
        assert_eq!((only(10, 0).1, only(10, 0).2), (None, None));
        // One month is hidden: the quarter would tell it.
        let all = told(&[(40, 20), (40, 20), (8, 4)]);
        assert_eq!(all[3], ("2026-Q1".into(), None, None));
        // Two are: together they are enough.
        let all = told(&[(40, 20), (9, 9), (8, 2)]);
        assert_eq!(all[3], ("2026-Q1".into(), Some(57), None), "six of the 17 are missing: {all:?}");
        let all = told(&[(10, 5), (10, 5), (10, 5)]);
        assert_eq!(all[3], ("2026-Q1".into(), None, None), "thirty can only be ten each");
        let all = told(&[(40, 20), (9, 9), (10, 2)]);
        assert_eq!(all[3].1, None, "nineteen can only be nine and ten");
        let all = told(&[(8, 5), (9, 6), (10, 5)]);
        assert_eq!(all[3], ("2026-Q1".into(), Some(27), Some(16)));
        // Forty, and eleven that are one each.
        let year: Vec<_> = [(40, 20)].into_iter().chain([(1, 0); 11]).collect();
        assert_eq!(told(&year).last().unwrap().1, None);
    }

    #[test]
    fn what_is_excluded_is_hidden_beside_what_is() {
        let shown = |denominator, numerator| {
            let figures = Figures { excluded: 12, ..month(2026 * 12, denominator, numerator).figures };
            spans(&[Month { figures, ..month(2026 * 12, 0, 0) }], Rate::Share)[0].shown.excluded
        };
        assert_eq!((shown(30, 15), shown(30, 24), shown(9, 3)), (Some(12), None, None));
    }

    #[test]
    fn what_was_not_seen_is_no_nought() {
        let unseen = Month { observed: Observed::Not, ..month(2026 * 12, 30, 0) };
        let span = &spans(&[unseen], Rate::Share)[0];
        assert_eq!(
            (span.shown.denominator, span.shown.numerator, span.shown.rate(Rate::Share)),
            (Some(30), None, None)
        );
    }

    #[test]
    fn rates() {
        let of = |denominator, numerator, rate| {
            Shown { denominator: Some(denominator), numerator: Some(numerator), ..Shown::default() }.rate(rate)
        };
        assert_eq!(
            (of(3, 1, Rate::Share), of(3, 2, Rate::Share), of(0, 0, Rate::Share)),
            (Some(33_333), Some(66_667), None)
        );
        assert_eq!(
            of(5_000, 150, Rate::PerThousand),
            Some(360_000),
            "150 in 5 000 member-months are 360 a year by thousand"
        );
    }

    proptest! {
        /// Of the months that a quarter hides each has at least three values that the sum allows.
        #[test]
        fn no_month_is_known_by_its_quarter(figures in proptest::collection::vec(0..15_u64, 3)) {
            let all = told(&figures.iter().map(|whole| (*whole, 0)).collect::<Vec<_>>());
            let Some(sum) = all[3].1 else { return Ok(()) };
            let of = |at: usize| -> Vec<u64> { all[at].1.map_or_else(|| (1..=10).collect(), |told| vec![told]) };
            let mut values = [(); 3].map(|()| std::collections::BTreeSet::new());
            for one in of(0) {
                for two in of(1) {
                    for three in of(2).into_iter().filter(|three| one + two + three == sum) {
                        [one, two, three].iter().zip(&mut values).for_each(|(value, values)| _ = values.insert(*value));
                    }
                }
            }
            for (at, values) in values.iter().enumerate() {
                prop_assert!(all[at].1.is_some() || values.len() >= 3, "{:?}: {:?}", figures, values);
            }
        }

        /// Whatever is told of a year, its quarters and months: no set of months that is told together by differences is small.
        #[test]
        fn nothing_small_can_be_worked_out(figures in proptest::collection::vec((0..40_u64, 0..40_u64), 12)) {
            let figures: Vec<_> = figures.into_iter().map(|(whole, part)| (whole, part.min(whole))).collect();
            let all = told(&figures);
            let mut known: Vec<(Vec<usize>, bool)> = Vec::new();
            let months = |name: &str| -> Vec<usize> {
                match name.split_once('-') {
                    None => (0..12).collect(),
                    Some((_, part)) => match part.strip_prefix('Q') {
                        Some(quarter) => { let first = (quarter.parse::<usize>().unwrap() - 1) * 3; (first..first + 3).collect() }
                        None => vec![part.parse::<usize>().unwrap() - 1],
                    },
                }
            };
            for (name, _, numerator) in &all {
                if numerator.is_some() {
                    known.push((months(name), true));
                }
            }
            // Differences of sums that are told, down to what they leave.
            let mut sets: Vec<Vec<usize>> = known.into_iter().map(|(set, _)| set).collect();
            for _ in 0..2 {
                let now = sets.clone();
                for whole in &now {
                    let mut rest = whole.clone();
                    for part in now.iter().filter(|part| part.len() < whole.len() && part.iter().all(|one| whole.contains(one))) {
                        if part.iter().all(|one| rest.contains(one)) {
                            rest.retain(|one| !part.contains(one));
                        }
                    }
                    if !rest.is_empty() && !sets.contains(&rest) {
                        sets.push(rest);
                    }
                }
            }
            for set in sets {
                let (whole, part) = set.iter().fold((0, 0), |(whole, part), at| (whole + figures[*at].0, part + figures[*at].1));
                prop_assert!(!is_small(part) && !is_small(whole - part) && !is_small(whole), "{:?} of {:?}: {}/{}", set, figures, part, whole);
            }
        }
    }
}
