//! The bench as a page: what was run and on what, the figures of all workloads in a table, and of each how it went. Whatever is drawn stands in a table, too.
use super::figures::{Figures, millis};
use super::plot::{Axis, Chart, Line};
use super::samples::Sample;
use super::{Beside, GatewayArgs, Workload};
use crate::cli::html::{begin, escaped};
use std::fmt::Write as _;
use std::time::Duration;

/// What one workload gave.
pub(super) struct Run {
    pub workload: Workload,
    pub beside: Option<Beside>,
    pub figures: Figures,
}

/// What is known of the machine, before it is under load.
pub(super) struct Machine {
    facts: Vec<(&'static str, String)>,
}

const STYLE: &str = ":root{--ink:#1b1b1b;--dim:#595959;--back:#fff;--rule:#ddd;--band:#eef3f8;--a:#0b5cad;--b:#b3470b}\
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--dim:#a8a8a8;--back:#161616;--rule:#383838;--band:#1e2833;--a:#6cb2ff;--b:#ffa45c}}\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:var(--ink);background:var(--back)}\
h1{font-size:1.4rem}h2{font-size:1.15rem;margin:2.5rem 0 .2rem}h3{font-size:1rem;margin:0 0 .3rem}p{margin:.3rem 0 1rem}\
.wide{overflow-x:auto}table{border-collapse:collapse}caption{text-align:left;color:var(--dim);padding-bottom:.3rem}\
th,td{text-align:right;padding:.25rem .7rem;border-bottom:1px solid var(--rule);font-variant-numeric:tabular-nums;white-space:nowrap}\
th:first-child,td:first-child{text-align:left;padding-left:0}thead th{vertical-align:bottom;white-space:normal}tbody th{font-weight:normal}\
.facts th,.facts td{text-align:left;white-space:normal;vertical-align:top}.facts td{overflow-wrap:anywhere}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1.5rem;margin:1rem 0;max-width:60rem}\
figure{margin:0}svg{display:block;width:100%;height:auto}svg text{font-size:11px;fill:var(--dim)}\
.grid{stroke:var(--rule);stroke-width:.5}.axis{stroke:var(--dim);fill:none}.band{fill:var(--band)}\
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.l0{stroke:var(--a)}.l1{stroke:var(--b);stroke-dasharray:6 3}\
summary{cursor:pointer}small,.dim{color:var(--dim)}";

/// Rows of a table of moments.
const ROWS: usize = 60;
/// Shares of the messages, for the table.
const SHARES: [(f64, &str); 10] = [
    (0.0, "fastest"),
    (0.5, "50 %"),
    (0.75, "75 %"),
    (0.9, "90 %"),
    (0.95, "95 %"),
    (0.99, "99 %"),
    (0.995, "99.5 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (1.0, "all"),
];

impl Machine {
    /// As it is now; what the system does not tell is left out.
    pub fn look() -> Machine {
        let line = |path: &str, key: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let found = text.lines().find_map(|line| line.strip_prefix(key).map(str::trim).map(str::to_owned));
            found.filter(|found| !found.is_empty())
        };
        let cores = std::thread::available_parallelism().ok().map(|cores| cores.to_string());
        let model = line("/proc/cpuinfo", "model name").map(|text| text.trim_start_matches([':', ' ']).to_owned());
        let memory = line("/proc/meminfo", "MemTotal:")
            .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
            .map(|kilobytes| format!("{:.1} GB", kilobytes as f64 / 1048576.0));
        let (kind, release) = (line("/proc/sys/kernel/ostype", ""), line("/proc/sys/kernel/osrelease", ""));
        let kernel = kind.zip(release).map(|(kind, release)| format!("{kind} {release}"));
        let load = line("/proc/loadavg", "").map(|text| text.split(' ').take(3).collect::<Vec<_>>().join(", "));
        let build = if cfg!(debug_assertions) { ", a debug build: slower than it will be" } else { "" };
        let facts = [
            ("Version", Some(format!("handoff {}{build}", env!("CARGO_PKG_VERSION")))),
            ("Begun", Some(format!("{:.0}", jiff::Timestamp::now()))),
            ("Cores", cores),
            ("Processor", Some(model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()))),
            ("Memory", memory),
            ("Kernel", kernel),
            ("Load of the machine before", load.map(|load| format!("{load} (1, 5, 15 minutes)"))),
        ];
        Machine { facts: facts.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect() }
    }
}

/// The whole page.
pub(super) fn page(machine: &Machine, args: &GatewayArgs, fsync: Duration, runs: &[Run]) -> String {
    let sure = format!(
        "durability = \u{201c}{}\u{201d}, one fsync of 4 KB takes {:.2} ms on this disk",
        args.durability.name(),
        millis(fsync)
    );
    let mut out = begin("handoff bench gateway", STYLE);
    let _ = writeln!(
        out,
        "<h1>handoff bench gateway</h1>\n<p>Gateway, senders and receivers on one machine, each figure with {}.</p>",
        escaped(&sure)
    );
    facts(&mut out, machine, args, fsync);
    overview(&mut out, runs, &sure);
    for (number, run) in runs.iter().enumerate() {
        section(&mut out, number, run, args, &sure);
    }
    out.push_str("</body></html>\n");
    out
}

fn facts(out: &mut String, machine: &Machine, args: &GatewayArgs, fsync: Duration) {
    let rate = args.rate.map_or_else(
        || "each as soon as its last message was acknowledged".to_owned(),
        |rate| format!("{rate} messages a second over all, at fixed times"),
    );
    let care = match args.coordination {
        true => format!("{} members, {} subscriptions", args.care.members, args.care.subscriptions),
        false => "off".to_owned(),
    };
    let run = [
        ("Durability", args.durability.name().to_owned()),
        ("One fsync", format!("{:.2} ms (4 KB appended, median of fifty, before the load)", millis(fsync))),
        ("Senders", format!("{} connections, {rate}", args.connections)),
        ("Measured", format!("{} s, after {} s of warm-up", args.seconds, args.warm_up)),
        ("Search index", if args.index { "on" } else { "off" }.to_owned()),
        ("Coordinated care", care),
    ];
    out.push_str("<h2>What was run</h2>\n<table class=\"facts\"><tbody>\n");
    for (name, fact) in machine.facts.iter().chain(&run) {
        let _ = writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escaped(fact));
    }
    out.push_str("</tbody></table>\n");
}

fn overview(out: &mut String, runs: &[Run], sure: &str) {
    let _ = writeln!(out, "<h2>Figures</h2>\n<div class=\"wide\"><table><caption>{}</caption>", escaped(sure));
    head(
        out,
        &[
            "Workload",
            "Acknowledged/s",
            "for each second of processor",
            "ACK p50 ms",
            "p99 ms",
            "p99.9 ms",
            "Delivered/s until all had arrived",
            "Missing",
            "Memory MB",
        ],
    );
    for run in runs {
        let figures = &run.figures;
        let [median, high, highest] = figures.tally.quantiles();
        let has_routes = run.workload.routes() > 0;
        row(
            out,
            &name(run),
            [
                whole(figures.rate()),
                whole(figures.cpu_rate()),
                time(median),
                time(high),
                time(highest),
                if has_routes { whole(figures.delivered_rate()) } else { "–".into() },
                if has_routes { figures.missing.to_string() } else { "–".into() },
                megabytes(figures.memory_bytes),
            ],
        );
    }
    out.push_str("</tbody></table></div>\n");
}

fn section(out: &mut String, number: usize, run: &Run, args: &GatewayArgs, sure: &str) {
    let figures = &run.figures;
    let _ = writeln!(
        out,
        "<h2>{}</h2>\n<p>{:.0} messages a second acknowledged; {}. <span class=\"dim\">What was measured is set off: before it is the warm-up, after it what was still to be delivered.</span></p>\n<div class=\"charts\">",
        escaped(&name(run)),
        figures.rate(),
        escaped(sure)
    );
    for chart in [throughput(run, args), latency(run), totals(run, args), memory(run, args)] {
        let id = format!("r{number}{}", chart.id);
        let _ = writeln!(out, "<figure><h3>{}</h3>", escaped(chart.title));
        Chart { id, ..chart }.draw(out);
        out.push_str("</figure>\n");
    }
    out.push_str("</div>\n<details><summary>The same in figures</summary>\n");
    latencies(out, figures);
    moments(out, run);
    out.push_str("</details>\n");
}

fn throughput(run: &Run, args: &GatewayArgs) -> Chart<'static> {
    let samples = &run.figures.samples;
    let mut lines = vec![Line { name: "acknowledged", points: rates(samples, |sample| sample.acknowledged) }];
    if run.workload.routes() > 0 {
        lines.push(Line { name: "delivered", points: rates(samples, |sample| sample.delivered) });
    }
    let description = format!(
        "{:.0} messages a second were acknowledged and {:.0} deliveries a second arrived on the average.",
        run.figures.rate(),
        run.figures.delivered_rate()
    );
    over_time(run, args, "t", "Throughput", "per second", description, lines)
}

fn totals(run: &Run, args: &GatewayArgs) -> Chart<'static> {
    let samples = &run.figures.samples;
    let all = |of: fn(&Sample) -> u64| samples.iter().map(|sample| (sample.seconds, of(sample) as f64)).collect();
    let mut lines = vec![Line { name: "acknowledged", points: all(|sample| sample.acknowledged) }];
    if run.workload.routes() > 0 {
        lines.push(Line { name: "delivered", points: all(|sample| sample.delivered) });
    }
    let last = samples.last();
    let description = format!(
        "{} messages were acknowledged and {} deliveries arrived, {} of these for each message.",
        last.map_or(0, |sample| sample.acknowledged),
        last.map_or(0, |sample| sample.delivered),
        run.workload.routes()
    );
    let title =
        if run.workload.routes() > 0 { "Acknowledged and delivered until then" } else { "Acknowledged until then" };
    over_time(run, args, "d", title, "in all", description, lines)
}

fn memory(run: &Run, args: &GatewayArgs) -> Chart<'static> {
    let points = run.figures.samples.iter().map(|sample| (sample.seconds, sample.memory_bytes as f64 / 1048576.0));
    let lines = vec![Line { name: "memory", points: points.collect() }];
    let description = format!("At most {} MB.", megabytes(run.figures.memory_bytes));
    over_time(run, args, "m", "Memory of the gateway", "MB", description, lines)
}

fn over_time(
    run: &Run,
    args: &GatewayArgs,
    id: &str,
    title: &'static str,
    unit: &'static str,
    description: String,
    lines: Vec<Line>,
) -> Chart<'static> {
    let (first, last) = (run.figures.samples.first(), run.figures.samples.last());
    let ends = (first.map_or(0.0, |sample| sample.seconds.min(0.0)), last.map_or(1.0, |sample| sample.seconds));
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    Chart {
        id: id.to_owned(),
        title,
        description,
        x: Axis::until("seconds", ends.0, ends.1),
        y: Axis::linear(unit, 0.0, highest),
        lines,
        band: Some(0.0..args.seconds as f64),
    }
}

/// From the fastest to the slowest, each ninth of what is left as wide as the one before.
fn latency(run: &Run) -> Chart<'static> {
    let tally = &run.figures.tally;
    let nines = (tally.timed().max(10) as f64).log10();
    let points: Vec<(f64, f64)> = (0..=120)
        .map(|step| nines * f64::from(step) / 120.0)
        .map(|x| (x, millis(tally.at(1.0 - 10_f64.powf(-x)))))
        .collect();
    let [median, high, highest] = tally.quantiles().map(time);
    let ticks = [
        (0.0, "0 %"),
        (0.301, "50"),
        (1.0, "90"),
        (2.0, "99"),
        (3.0, "99.9"),
        (4.0, "99.99"),
        (5.0, "99.999"),
        (6.0, "99.9999"),
    ];
    let ticks = ticks.into_iter().filter(|(x, _)| *x <= nines).map(|(x, text)| (x, text.to_owned())).collect();
    let ends = (points.first().map_or(0.1, |point| point.1), points.last().map_or(1.0, |point| point.1));
    Chart {
        id: "l".to_owned(),
        title: "Until acknowledged",
        description: format!(
            "Half of the messages within {median} ms, 99 of 100 within {high} ms, 999 of 1000 within {highest} ms."
        ),
        x: Axis::marked("of the messages", 0.0, nines, ticks),
        y: Axis::log("ms", ends.0, ends.1),
        lines: vec![Line { name: "latency", points }],
        band: None,
    }
}

fn latencies(out: &mut String, figures: &Figures) {
    out.push_str("<div class=\"wide\"><table><caption>Until acknowledged</caption>\n");
    head(out, &["Of the messages", "within ms"]);
    for (share, text) in SHARES {
        row(out, text, [time(figures.tally.at(share))]);
    }
    out.push_str("</tbody></table></div>\n");
}

fn moments(out: &mut String, run: &Run) {
    let samples = &run.figures.samples;
    let each = samples.len().div_ceil(ROWS).max(1);
    let kept: Vec<Sample> = samples.iter().step_by(each).chain(samples.last()).copied().collect();
    let (acknowledged, delivered) =
        (rates(&kept, |sample| sample.acknowledged), rates(&kept, |sample| sample.delivered));
    out.push_str("<div class=\"wide\"><table><caption>Over time; rates since the row before</caption>\n");
    head(out, &["Second", "Acknowledged/s", "Delivered/s", "Acknowledged", "Delivered", "Memory MB"]);
    for (sample, ((_, acknowledged), (_, delivered))) in
        kept.iter().skip(1).zip(acknowledged.into_iter().zip(delivered))
    {
        row(
            out,
            &format!("{:.1}", sample.seconds),
            [
                whole(acknowledged),
                whole(delivered),
                sample.acknowledged.to_string(),
                sample.delivered.to_string(),
                megabytes(sample.memory_bytes),
            ],
        );
    }
    out.push_str("</tbody></table></div>\n");
}

/// How fast something grew from each sample to the next.
fn rates(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let pairs = samples.iter().zip(samples.iter().skip(1));
    pairs
        .map(|(before, after)| {
            let grown = of(after).saturating_sub(of(before)) as f64;
            (after.seconds, grown / (after.seconds - before.seconds).max(0.001))
        })
        .collect()
}

fn name(run: &Run) -> String {
    let what = match run.workload {
        Workload::Acknowledge => "durable acknowledgement only",
        Workload::Raw => "raw message to one MLLP receiver",
        Workload::Fhir => "Bundle to one FHIR endpoint",
        Workload::FourRoutes => "Bundle to four FHIR endpoints",
    };
    format!("{} {what}{}", run.workload.name(), run.beside.map_or("", Beside::words))
}

fn head(out: &mut String, names: &[&str]) {
    let cells: String = names.iter().map(|name| format!("<th scope=\"col\">{}</th>", escaped(name))).collect();
    let _ = writeln!(out, "<thead><tr>{cells}</tr></thead><tbody>");
}

fn row<const N: usize>(out: &mut String, name: &str, cells: [String; N]) {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
    let _ = writeln!(out, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escaped(name));
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn time(value: Duration) -> String {
    format!("{:.2}", millis(value))
}

fn megabytes(bytes: u64) -> String {
    (bytes >> 20).to_string()
}
