//! Which figures are told: none that stands for one to ten people, and none from which such a one could be worked out.
//!
//! A month is told when all its windows are over: before that the answers of two days would tell of one day. It tells a count that is 0 or stands for at least [`SMALL`] people,
//! where what is left of its whole does so too: of 30 discharges 24 visits are not told, as 6 would be missing. A quarter is told where that holds of it and of all its months together
//! that are not; a year, of all that are told neither by themselves nor in a quarter. So what is told never depends on which months were asked for, and no sum less its parts
//! gives one away; nor does a sum of what is hidden that leaves one of it fewer than three values. Counts beside a rate are told of a quarter or year only where all its months tell them.
//!
//! How many people stand behind a sum of counts is known as a lower bound that can be added up: somebody counts once in a month, in a quarter and in a year, where they were counted in
//! first. So whoever comes fifteen times is one, and of few who come often more is hidden than must be.
//!
//! Each measure is hidden by itself: whoever joins measures of one panel whose people are the same can work out how many were excluded, died or left of their own will; and what comes
//! later than its window still changes a month that was told.
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
    /// Whether all of that could be seen of every month; where it could not, what happened is not known.
    pub known: bool,
    /// Whether all windows are over: before that nothing is told.
    pub complete: bool,
    /// Whether messages of then are gone: how many there were is not known either.
    pub lost: bool,
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
    /// Of counts, and how many people these are.
    fn of(figures: &Figures, people: &Figures, rate: Rate) -> Shown {
        let tell = |count: fn(&Figures) -> u64| tell(count(figures), count(people));
        // Both of it and of what is left of its whole.
        let part = |of: Option<u64>, count: fn(&Figures) -> u64, rest: fn(&Figures) -> u64| {
            of.and_then(|_| tell(count)).filter(|_| tell(rest).is_some())
        };
        let (denominator, numerator) = match rate {
            // Members are counted in rosters, which are no secret to whoever has them.
            Rate::PerThousand => (Some(figures.denominator), tell(|of| of.numerator)),
            Rate::Share => {
                let denominator = tell(|of| of.denominator);
                (denominator, part(denominator, |of| of.numerator, Figures::missed))
            }
        };
        let pending = tell(|of| of.pending);
        Shown {
            denominator,
            numerator,
            inferred: part(numerator, |of| of.inferred, |of| of.numerator.saturating_sub(of.inferred)),
            late: part(numerator, |of| of.late, |of| of.missed().saturating_sub(of.late)),
            // Beside what is hidden it would tell it: another measure of the same people tells both together.
            excluded: numerator.and(denominator).and_then(|_| tell(|of| of.excluded)),
            pending,
            pending_met: part(pending, |of| of.pending_met, |of| of.pending.saturating_sub(of.pending_met)),
        }
    }

    /// What may be told of windows that are still open.
    fn open(figures: &Figures, rate: Rate) -> Shown {
        Shown { denominator: Some(figures.denominator).filter(|_| rate == Rate::PerThousand), ..Shown::default() }
    }

    /// Without what is not known of what could not be seen.
    fn unseen(self) -> Shown {
        Shown { numerator: None, inferred: None, late: None, pending_met: None, ..self }
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

fn tell(count: u64, people: u64) -> Option<u64> {
    (count == 0 || people >= SMALL).then_some(count)
}

/// The months with what may be told of them, then the whole quarters and the whole years among them.
pub fn spans(months: &[Month], rate: Rate) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::new();
    for one in months {
        // Who was counted in is told; that nothing happened to them is not known.
        let known = !is_unknown(one, rate);
        let shown = match one.complete && !one.lost {
            true => Shown::of(&one.figures, &one.people[0], rate),
            false => Shown::open(&one.figures, rate),
        };
        all.push(Span {
            name: month_text(one.month),
            months: (one.month, one.month),
            shown: if known { shown } else { shown.unseen() },
            observed: one.observed,
            known,
            complete: one.complete,
            lost: one.lost,
            events: one.events[1],
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

/// Whether the sum of what is hidden leaves one of it fewer than three values, by the bounds that it is known to have: three of at most ten that are thirty are ten each. Where few come
/// often there may be more than ten, which nobody who is told the sum knows.
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

/// Months of a quarter or year, and what is told within.
struct Whole<'a> {
    months: &'a [Month],
    within: Vec<&'a Span>,
    rate: Rate,
    /// Who was counted in first in the quarter, or in the year.
    level: usize,
}

impl Whole<'_> {
    fn sum<'m>(&self, of: impl IntoIterator<Item = &'m Month>) -> (Figures, Figures) {
        let (mut figures, mut people) = (Figures::default(), Figures::default());
        for one in of {
            figures.add(&one.figures);
            people.add(&one.people[self.level]);
        }
        (figures, people)
    }

    /// What of some months may be told by itself.
    fn shown<'m>(&self, of: impl IntoIterator<Item = &'m Month>) -> Shown {
        let (figures, people) = self.sum(of);
        Shown::of(&figures, &people, self.rate)
    }

    /// Months of which something is told neither by themselves nor in a quarter.
    fn hidden(&self, is_told: fn(&Shown) -> bool) -> Vec<&Month> {
        let known = |month: i32| {
            self.within.iter().any(|span| is_told(&span.shown) && span.months.0 <= month && month <= span.months.1)
        };
        self.months.iter().filter(|one| !known(one.month)).collect()
    }

    fn denominator(&self) -> Option<u64> {
        let told = self.shown(self.months).denominator?;
        let rest = self.hidden(|shown| shown.denominator.is_some());
        self.shown(rest.iter().copied()).denominator?;
        let bounds = |one: &Month| (1, (SMALL - 1).max(one.figures.denominator));
        let pinned = || is_pinned(&rest, |one| one.figures.denominator, bounds);
        (self.rate == Rate::PerThousand || !pinned()).then_some(told)
    }

    fn numerator(&self) -> Option<u64> {
        let told = self.shown(self.months).numerator?;
        let rest = self.hidden(|shown| shown.numerator.is_some());
        self.shown(rest.iter().copied()).numerator?;
        let is_hidden = |one: &Month| tell(one.figures.denominator, one.people[0].denominator).is_none();
        let few = SMALL - 1;
        let bounds = |one: &Month| match self.rate {
            Rate::PerThousand => (1, few.max(one.figures.numerator)),
            Rate::Share if is_hidden(one) => (0, few.max(one.figures.denominator)),
            Rate::Share => (1, one.figures.denominator.saturating_sub(1)),
        };
        (!is_pinned(&rest, |one| one.figures.numerator, bounds)).then_some(told)
    }

    /// What all months tell.
    fn by_month(&self, field: fn(&Shown) -> Option<u64>) -> Option<u64> {
        let months = self.within.iter().filter(|span| span.months.0 == span.months.1);
        months.map(|span| field(&span.shown)).sum()
    }

    fn told(&self) -> Shown {
        let denominator = self.denominator();
        Shown {
            denominator,
            numerator: denominator.and_then(|_| self.numerator()),
            inferred: self.by_month(|shown| shown.inferred),
            late: self.by_month(|shown| shown.late),
            excluded: self.by_month(|shown| shown.excluded),
            pending: self.by_month(|shown| shown.pending),
            pending_met: self.by_month(|shown| shown.pending_met),
        }
    }
}

/// Whether nobody told of a month what happened; where nobody was counted in there is nothing to be told.
fn is_unseen(one: &Month) -> bool {
    one.observed == Observed::Not && one.figures != Figures::default()
}

/// Whether nobody knows what happened, or, where messages are gone, how many there were.
fn is_unknown(one: &Month, rate: Rate) -> bool {
    one.lost || (rate != Rate::PerThousand && is_unseen(one))
}

fn span(months: &[Month], told: &[Span], rate: Rate, length: i32) -> Span {
    let first = months.first().map_or(0, |one| one.month);
    let last = first + length - 1;
    let within = told.iter().filter(|span| span.months.0 >= first && span.months.1 <= last).collect();
    let whole = Whole { months, within, rate, level: if length == 12 { 2 } else { 1 } };
    let complete = months.iter().all(|one| one.complete);
    let lost = months.iter().any(|one| one.lost);
    let shown = if complete && !lost { whole.told() } else { Shown::open(&whole.sum(months).0, rate) };
    let known = !months.iter().any(|one| is_unknown(one, rate));
    // The windows of the last month go on behind it, those of the others within the next ones.
    let [own, until] = months.last().map_or([(0, 0, 0); 2], |last| last.events);
    let behind = (until.0 - own.0, until.1 - own.1, until.2 - own.2);
    let add = |all: (u64, u64, u64), one: (u64, u64, u64)| (all.0 + one.0, all.1 + one.1, all.2 + one.2);
    let events = months.iter().map(|one| one.events[0]).fold(behind, add);
    let year = first.div_euclid(12);
    Span {
        name: if length == 12 { year.to_string() } else { format!("{year}-Q{}", first.rem_euclid(12) / 3 + 1) },
        months: (first, last),
        shown: if known { shown } else { shown.unseen() },
        observed: Observed::together(months),
        known,
        complete,
        lost,
        events,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn month(month: i32, denominator: u64, numerator: u64) -> Month {
        of_people(month, Figures { denominator, numerator, ..Figures::default() })
    }

    /// Each of them somebody else.
    fn of_people(month: i32, figures: Figures) -> Month {
        Month {
            month,
            figures,
            people: [figures; 3],
            observed: Observed::Wholly,
            complete: true,
            lost: false,
            events: [(0, 0, 0); 2],
        }
    }

    fn is_small(count: u64) -> bool {
        (1..SMALL).contains(&count)
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
            spans(&[of_people(2026 * 12, figures)], Rate::Share)[0].shown.excluded
        };
        assert_eq!((shown(30, 15), shown(30, 24), shown(9, 3)), (Some(12), None, None));
    }

    #[test]
    fn who_comes_often_is_one() {
        let of = |figures: Figures, people: [Figures; 3]| Month { people, ..of_people(2026 * 12, figures) };
        let shown = |months: &[Month], rate| spans(months, rate).last().unwrap().shown;
        let figures = |denominator, numerator| Figures { denominator, numerator, ..Figures::default() };
        // Fifteen visits of one, thirty discharges of eleven of whom one was seen fifteen times.
        assert_eq!(shown(&[of(figures(100, 15), [figures(1, 1); 3])], Rate::PerThousand).numerator, None);
        assert_eq!(shown(&[of(figures(100, 15), [figures(11, 11); 3])], Rate::PerThousand).numerator, Some(15));
        let often = shown(&[of(figures(30, 15), [figures(11, 1); 3])], Rate::Share);
        assert_eq!((often.denominator, often.numerator), (Some(30), None));
        assert_eq!(shown(&[of(figures(30, 15), [figures(22, 11); 3])], Rate::Share).numerator, Some(15));
        assert_eq!(shown(&[of(figures(30, 15), [figures(21, 11); 3])], Rate::Share).numerator, None, "ten are missing");
        // The same eight in each month of a quarter are eight.
        let same = [
            of_people(2026 * 12, figures(8, 0)),
            of_people(2026 * 12 + 1, figures(8, 0)),
            of_people(2026 * 12 + 2, figures(8, 0)),
        ];
        assert_eq!(shown(&same, Rate::Share).denominator, Some(24));
        let again = |one: Month| Month { people: [figures(8, 0), figures(0, 0), figures(0, 0)], ..one };
        assert_eq!(shown(&[same[0], again(same[1]), again(same[2])], Rate::Share).denominator, None);
    }

    #[test]
    fn what_is_not_over_is_not_told() {
        let open = Month { complete: false, ..month(2026 * 12, 40, 20) };
        assert_eq!(spans(&[open], Rate::Share)[0].shown, Shown::default());
        let all = spans(
            &[month(2026 * 12, 40, 20), month(2026 * 12 + 1, 40, 20), Month { month: 2026 * 12 + 2, ..open }],
            Rate::Share,
        );
        assert_eq!((all[1].shown.numerator, all[3].shown, all[3].complete), (Some(20), Shown::default(), false));
        let members = spans(&[open], Rate::PerThousand)[0].shown;
        assert_eq!((members.denominator, members.numerator), (Some(40), None));
    }

    #[test]
    fn what_could_be_seen_is_weighed_by_who_was_counted_in() {
        let of = |at: i32, whole: u64, observed| Month { observed, ..month(2026 * 12 + at, whole, 0) };
        let both = [of(0, 100, Observed::Wholly), of(1, 100, Observed::Wholly), of(2, 100, Observed::Not)];
        assert_eq!(Observed::together(&both), Observed::Partly(666));
        let back: Vec<_> = both.iter().rev().copied().collect();
        assert_eq!(Observed::together(&back), Observed::Partly(666), "in whatever order");
        let quarter = &spans(&both, Rate::Share)[3];
        assert_eq!((quarter.known, quarter.shown.denominator, quarter.shown.numerator), (false, Some(300), None));
        // Nobody was counted in where nothing was seen.
        let none = [of(0, 100, Observed::Wholly), of(1, 100, Observed::Wholly), of(2, 0, Observed::Not)];
        let quarter = &spans(&none, Rate::Share)[3];
        assert_eq!((quarter.known, quarter.observed, quarter.shown.numerator), (true, Observed::Wholly, Some(0)));
        assert_eq!(Observed::together(&[of(0, 0, Observed::Not)]), Observed::Not);
        assert_eq!(
            Observed::together(&[of(0, 9, Observed::Partly(500)), of(1, 1, Observed::Not)]),
            Observed::Partly(450)
        );
    }

    #[test]
    fn events_of_a_quarter_count_once() {
        // A window of a month: each month's events and those of the next.
        let of = |at: i32, own: u64, next: u64| Month {
            events: [(own, 1, 0), (own + next, 2, 0)],
            ..month(2026 * 12 + at, 40, 20)
        };
        let all = spans(&[of(0, 10, 20), of(1, 20, 30), of(2, 30, 5)], Rate::Share);
        assert_eq!((all[0].events, all[3].events), ((30, 2, 0), (65, 4, 0)));
    }

    #[test]
    fn what_is_lost_of_a_month_is_of_its_quarter() {
        let of = |at: i32, lost| Month { lost, ..month(2026 * 12 + at, 40, 20) };
        let lost = Month { observed: Observed::Not, ..of(0, true) };
        let all = spans(&[lost, of(1, false), of(2, false)], Rate::Share);
        assert_eq!((all[0].shown, all[0].known, all[0].lost), (Shown::default(), false, true));
        assert_eq!(
            (all[1].shown.numerator, all[3].shown, all[3].observed),
            (Some(20), Shown::default(), Observed::Not)
        );
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
