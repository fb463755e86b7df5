//! Line charts as SVG within a page: 360 units wide, which is a phone's width, so that their words are as large there as the text beside. Colours are those of the page's style sheet, and
//! lines differ by more than colour.
use crate::cli::html::escaped;
use std::fmt::Write as _;
use std::ops::Range;

/// A chart.
pub(super) struct Chart<'a> {
    /// Unique within the page.
    pub id: String,
    pub title: &'a str,
    /// In a sentence, what it shows, for those who do not see it.
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// A stretch of x that is set off: what was measured.
    pub band: Option<Range<f64>>,
}

/// A line by its name; the first of a chart is solid, the second dashed.
pub(super) struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// What lies between two ends, and what is written beside it.
pub(super) struct Axis {
    pub label: &'static str,
    /// Such as seconds or messages, or their logarithm to the base of ten.
    ends: (f64, f64),
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
/// What is left of, above, right of and below the lines.
const MARGINS: (f64, f64, f64, f64) = (46.0, 30.0, 12.0, 38.0);

impl Axis {
    /// Even, with a mark at about five round numbers.
    pub fn linear(label: &'static str, from: f64, to: f64) -> Axis {
        let to = if to > from { to } else { from + 1.0 };
        let step = round_step((to - from) / 5.0);
        let first = (from / step).ceil() as i64;
        let last = (to / step).ceil() as i64;
        let ticks = (first..=last).map(|number| number as f64 * step).map(|value| (value, short(value))).collect();
        Axis { label, ends: (from, last as f64 * step), is_log: false, ticks }
    }

    /// The same, and no longer than what it shows.
    pub fn until(label: &'static str, from: f64, to: f64) -> Axis {
        let mut axis = Axis::linear(label, from, to);
        axis.ends.1 = to.max(from + 1.0);
        axis.ticks.retain(|(value, _)| *value <= axis.ends.1);
        axis
    }

    /// Each power of ten as far from the next, with a mark at 1, 2 and 5 of each.
    pub fn log(label: &'static str, from: f64, to: f64) -> Axis {
        let from = from.max(0.001);
        let ends = (from.log10().floor(), to.max(from * 2.0).log10());
        let marks = (ends.0 as i32..=ends.1.ceil() as i32)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|times| times * 10_f64.powi(power)))
            .filter(|value| value.log10() <= ends.1 + 0.001);
        let marks: Vec<f64> = marks.collect();
        // Where they would lie too close only the powers of ten.
        let is_wide = ends.1 - ends.0 > 3.0;
        let kept = marks.into_iter().filter(|value| !is_wide || (value.log10() - value.log10().round()).abs() < 0.001);
        Axis { label, ends, is_log: true, ticks: kept.map(|value| (value, short(value))).collect() }
    }

    /// Even, with marks of one's own.
    pub fn marked(label: &'static str, from: f64, to: f64, ticks: Vec<(f64, String)>) -> Axis {
        Axis { label, ends: (from, to), is_log: false, ticks }
    }

    /// From 0 to 1 where it lies between the ends.
    fn place(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.ends.0) / (self.ends.1 - self.ends.0)).clamp(0.0, 1.0)
    }
}

impl Chart<'_> {
    /// The element, without its figures in words.
    pub fn draw(&self, out: &mut String) {
        let (id, title, description) = (&self.id, escaped(self.title), escaped(&self.description));
        let _ = writeln!(
            out,
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>"
        );
        if let Some(band) = &self.band {
            let (left, right) = (self.across(band.start), self.across(band.end));
            let (_, top, _, bottom) = MARGINS;
            let (width, height) = (right - left, HEIGHT - top - bottom);
            let _ = writeln!(
                out,
                "<rect class=\"band\" x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"/>"
            );
        }
        self.grid(out);
        for (number, line) in self.lines.iter().enumerate() {
            let points: Vec<String> =
                line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.across(*x), self.down(*y))).collect();
            let _ = writeln!(out, "<polyline class=\"line l{number}\" points=\"{}\"/>", points.join(" "));
        }
        self.legend(out);
        out.push_str("</svg>\n");
    }

    fn across(&self, x: f64) -> f64 {
        let (left, _, right, _) = MARGINS;
        left + self.x.place(x) * (WIDTH - left - right)
    }

    fn down(&self, y: f64) -> f64 {
        let (_, top, _, bottom) = MARGINS;
        HEIGHT - bottom - self.y.place(y) * (HEIGHT - top - bottom)
    }

    fn grid(&self, out: &mut String) {
        let (left, top, right, bottom) = MARGINS;
        for (value, text) in &self.y.ticks {
            let y = self.down(*value);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - right,
                left - 5.0,
                y + 4.0
            );
        }
        for (value, text) in &self.x.ticks {
            let x = self.across(*value);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {top}V{}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                HEIGHT - bottom,
                HEIGHT - bottom + 14.0
            );
        }
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{left} {top}V{}H{}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            HEIGHT - bottom,
            WIDTH - right,
            WIDTH - right,
            HEIGHT - 6.0,
            escaped(self.x.label)
        );
    }

    /// What the axis upwards counts, and which line is which, above the chart.
    fn legend(&self, out: &mut String) {
        let _ = writeln!(out, "<text x=\"4\" y=\"14\">{}</text>", escaped(self.y.label));
        if self.lines.len() < 2 {
            return;
        }
        let (_, _, right, _) = MARGINS;
        for (number, line) in self.lines.iter().enumerate() {
            let x = WIDTH - right - 116.0 * (self.lines.len() - number) as f64;
            let _ = writeln!(
                out,
                "<path class=\"line l{number}\" d=\"M{x} 10h22\"/><text x=\"{}\" y=\"14\">{}</text>",
                x + 27.0,
                escaped(line.name)
            );
        }
    }
}

/// 1, 2 or 5 times a power of ten, and no less than that.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= least * 0.999);
    times.unwrap_or(10.0) * power
}

/// A number in few characters.
fn short(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| {
        let text = format!("{value:.2}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value.abs() {
        size if size >= 1e6 => trimmed(value / 1e6, "M"),
        size if size >= 1e4 => trimmed(value / 1e3, "k"),
        size if size >= 0.01 || size == 0.0 => trimmed(value, ""),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_reach_over_what_is_shown() {
        let marks = |axis: Axis| axis.ticks.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(marks(Axis::linear("", 0.0, 37_300.0)), ["0", "10k", "20k", "30k", "40k"]);
        assert_eq!(marks(Axis::linear("", -2.0, 8.4)), ["0", "5", "10"]);
        assert_eq!(marks(Axis::until("", -2.0, 8.4)), ["0", "5"]);
        assert_eq!(marks(Axis::linear("", 0.0, 0.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(marks(Axis::log("", 0.3, 14.0)), ["0.1", "0.2", "0.5", "1", "2", "5", "10"]);
        assert_eq!(marks(Axis::log("", 0.02, 1_500.0)), ["0.01", "0.1", "1", "10", "100", "1000"]);
    }

    #[test]
    fn places_lie_between_the_ends() {
        let axis = Axis::log("", 1.0, 100.0);
        assert!((axis.place(10.0) - 0.5).abs() < 1e-9 && axis.place(0.0) == 0.0 && axis.place(1e9) == 1.0);
    }
}
