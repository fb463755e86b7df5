//! The report as one page.
use super::{code_shown, example_text, head, percent, reached};
use crate::cli::html::{begin, escaped};
use crate::mapping::coverage::{FieldLine, Report, Tally};
use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1b1b;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}code{font-size:.9em;overflow-wrap:anywhere}\
.bar{display:block;width:100%;min-width:6rem;height:.7rem;background:#c0392b}.bar i{display:block;height:100%;float:left}\
.m{background:#2e7d32}.r{background:#f0b429}small{color:#555}\
@media(prefers-color-scheme:dark){body{background:#161616;color:#e8e8e8}th,td{border-color:#333}small{color:#aaa}}";

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut out = begin("handoff coverage", STYLE);
    let _ = writeln!(out, "<h1>Coverage</h1>\n<p>{}</p>\n{}", escaped(&head(report)), bar(report.total));
    segments(&mut out, report);
    fields(&mut out, "Reached nothing", &report.lost, |tally| tally.nowhere);
    fields(&mut out, "Read as condition or identity only", &report.read_only, |tally| tally.read_only);
    codes(&mut out, report);
    failures(&mut out, report);
    unused(&mut out, report);
    if report.unlisted > 0 {
        let _ = writeln!(
            out,
            "<p>{} more places, codes or failures are counted in the sums but not listed.</p>",
            report.unlisted
        );
    }
    out.push_str("</body></html>\n");
    out
}

fn segments(out: &mut String, report: &Report) {
    out.push_str(
        "<h2>Segments</h2>\n<table><tr><th>Segment<th class=n>Count<th class=n>Values<th class=n>Mapped<th class=n>Read only\
         <th class=n>Nowhere<th class=n>Reached<th></tr>\n",
    );
    for line in &report.segments {
        let tally = line.tally;
        let _ = writeln!(
            out,
            "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td>{}</tr>",
            escaped(&line.segment),
            line.occurrences,
            tally.all(),
            tally.mapped,
            tally.read_only,
            tally.nowhere,
            reached(tally),
            bar(tally)
        );
    }
    out.push_str("</table>\n");
}

fn fields(out: &mut String, title: &str, lines: &[FieldLine], count: impl Fn(Tally) -> u64) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<h2>{title}</h2>\n<table><tr><th>Field<th>Name<th class=n>Count<th class=n>Of<th>Why<th>For example</tr>"
    );
    for line in lines {
        let why = line.reason.as_ref().map_or("", |(_, text)| text.as_str());
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code><td>{}<td class=n>{}<td class=n>{}<td>{}<td><code>{}</code></tr>",
            escaped(&line.place),
            escaped(line.name),
            count(line.tally),
            line.tally.all(),
            escaped(why),
            escaped(&example_text(&line.example))
        );
    }
    out.push_str("</table>\n");
}

fn codes(out: &mut String, report: &Report) {
    if report.codes.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Codes that their table lacks</h2>\n<table><tr><th>Table<th>Code<th class=n>Count<th>For example</tr>\n",
    );
    for line in &report.codes {
        let _ = writeln!(
            out,
            "<tr><td>{}<td><code>{}</code>{}<td class=n>{}<td><code>{}</code></tr>",
            escaped(&line.table),
            escaped(code_shown(&line.code)),
            if line.is_open { "" } else { " <small>another table has it, or it is of the header</small>" },
            line.count,
            escaped(&example_text(&line.example))
        );
    }
    out.push_str("</table>\n");
}

fn failures(out: &mut String, report: &Report) {
    if report.failures.is_empty() {
        return;
    }
    out.push_str("<h2>Messages not translated</h2>\n<table><tr><th class=n>Count<th>Why<th>For example</tr>\n");
    for line in &report.failures {
        let _ = writeln!(
            out,
            "<tr><td class=n>{}<td>[{}] {}<td><code>{}</code></tr>",
            line.count,
            line.code,
            escaped(&line.text),
            escaped(&example_text(&line.example))
        );
    }
    out.push_str("</table>\n");
}

fn unused(out: &mut String, report: &Report) {
    let (used, all) = report.rules;
    let _ = writeln!(out, "<h2>Rules never used</h2>\n<p>{used} of {all} rules were used.</p>");
    for map in &report.unused {
        let _ = writeln!(
            out,
            "<details><summary>{} <small>{} of {} rules not used</small></summary><ul>",
            escaped(&map.map),
            map.unused.len(),
            map.rules
        );
        for rule in &map.unused {
            let _ = writeln!(
                out,
                "<li><code>{}</code> <small>{}:{}</small>",
                escaped(&rule.target),
                escaped(&rule.file),
                rule.line
            );
        }
        out.push_str("</ul></details>\n");
    }
}

/// Mapped, read only and lost as widths.
fn bar(tally: Tally) -> String {
    let width = |part: u64| percent(part, tally.all()).replace(' ', "").replace('-', "0%");
    format!(
        "<span class=bar><i class=m style=\"width:{}\"></i><i class=r style=\"width:{}\"></i></span>",
        width(tally.mapped),
        width(tally.read_only)
    )
}
