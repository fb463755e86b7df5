//! The trend of a measure as a picture, made here: a line through the months that tell a rate, broken where one does not. The table beneath says the same.
use crate::coordination::measures::{Rate, Span};
use crate::server::care::Rates;
use maud::{Markup, html};

const WIDTH: u64 = 720;
const HEIGHT: u64 = 150;
const LEFT: u64 = 72;
const RIGHT: u64 = 44;
const TOP: u64 = 18;
const BOTTOM: u64 = 28;

/// The months of a measure.
pub(super) fn chart(rates: &Rates) -> Markup {
    let months: Vec<&Span> = rates.spans.iter().filter(|span| span.months.0 == span.months.1).collect();
    let rate = rates.definition.rate;
    let values: Vec<Option<u64>> = months.iter().map(|span| span.shown.rate(rate)).collect();
    let told = values.iter().flatten().count();
    if told == 0 {
        return html! {};
    }
    // The whole of a share; of a count a little more than the most.
    let most = match rate {
        Rate::Share => 100_000,
        Rate::PerThousand => (values.iter().flatten().max().copied().unwrap_or(0) * 5 / 4).max(1),
    };
    let step = (WIDTH - LEFT - RIGHT) / (months.len().max(2) as u64 - 1);
    let x = |at: usize| LEFT + at as u64 * step;
    let y = |value: u64| TOP + (HEIGHT - TOP - BOTTOM) * (most - value.min(most)) / most;
    let what = format!(
        "Trend of {}: {told} of {} months tell a rate, as the table says",
        rates.definition.title,
        months.len()
    );
    html! {
        svg.trend viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) role="img" aria-label=(what) {
            @for part in [0, most / 2, most] {
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(part)) y2=(y(part)) {}
                text.axis x=(LEFT - 6) y=(y(part) + 4) text-anchor="end" { (super::rate_text(part, rate).replace(".0", "")) }
            }
            @for line in lines(&values) {
                polyline.line fill="none" points=(line.iter().map(|(at, value)| format!("{},{}", x(*at), y(*value))).collect::<Vec<_>>().join(" ")) {}
            }
            @for (at, (span, value)) in months.iter().zip(&values).enumerate() {
                @if let Some(value) = value {
                    circle.dot cx=(x(at)) cy=(y(*value)) r="4" { title { (span.name) ": " (super::rate_text(*value, rate)) } }
                }
                @let third = (months.len() - 1 - at).is_multiple_of(3);
                @if months.len() <= 12 || third {
                    // Where there is little room only every third is written, larger.
                    text class=(if third { "axis" } else { "axis more" }) x=(x(at)) y=(HEIGHT - 6) text-anchor="middle" { (span.name) }
                }
            }
        }
    }
}

/// Runs of months that tell a rate.
fn lines(values: &[Option<u64>]) -> Vec<Vec<(usize, u64)>> {
    let mut all: Vec<Vec<(usize, u64)>> = vec![Vec::new()];
    for (at, value) in values.iter().enumerate() {
        match (value, all.last_mut()) {
            (Some(value), Some(line)) => line.push((at, *value)),
            _ => all.push(Vec::new()),
        }
    }
    all.retain(|line| line.len() > 1);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_a_month_tells_nothing() {
        let values = [Some(1), Some(2), None, Some(3), None, None, Some(4), Some(5), Some(6)];
        assert_eq!(lines(&values), [vec![(0, 1), (1, 2)], vec![(6, 4), (7, 5), (8, 6)]]);
        assert!(lines(&[None, Some(1), None]).is_empty());
    }
}
