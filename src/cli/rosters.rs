//! `handoff rosters`: what the roster files of a configuration would give, what one changes against another, and whom of them a message is about; and the rosters of a
//! running gateway (`running`).
//!
//! `load`, `diff` and `explain` read files alone: a running gateway is not asked, and nothing of it changes. Names and numbers of patients are only shown with `--phi`.
mod explain;
mod running;

use super::files::Format;
use super::remote::Remote;
use crate::config::Config;
use crate::coordination::roster::holder::{Warning, changed_ms, warnings};
use crate::coordination::roster::options::Source;
use crate::coordination::roster::rows::Rejected;
use crate::coordination::roster::{Difference, Options, Panel, RosterError, Rows, Snapshot, files};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Check roster files, compare them, explain whom of their members a message is about; and look at, approve and reload the rosters of a running gateway
#[derive(Debug, Args)]
pub struct RostersArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    gateway: Remote,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read the roster of each panel and tell what it gives; nothing is taken on
    Load {
        /// Only these panels
        #[arg(value_name = "PANEL")]
        panels: Vec<String>,
    },
    /// What a roster file changes against another one: who comes, who goes, whose data are others, by line
    Diff {
        /// The panel whose columns they have; not needed where there is one panel
        #[arg(long, value_name = "PANEL")]
        panel: Option<String>,
        /// The file of before, or a folder
        #[arg(value_name = "BEFORE")]
        before: PathBuf,
        /// The file of after, or a folder
        #[arg(value_name = "AFTER")]
        after: PathBuf,
    },
    /// Whom of the members the patient of each message is, and how that is found
    Explain(explain::ExplainArgs),
    #[command(flatten)]
    Running(running::What),
}

/// Lines of a list that the text form shows; JSON has more.
const SHOWN: usize = 10;

/// Runs the command: exit 0; 1 when a roster is, or would be, refused or held, a message cannot be read, or the gateway refuses; 2 when the configuration is wrong, or the gateway
/// cannot be asked.
///
/// # Errors
/// A configuration without panels, an unknown panel, roster files of `diff` and `explain` that cannot be read, or a gateway that cannot be asked.
pub fn run(args: &RostersArgs) -> anyhow::Result<ExitCode> {
    let (path, format) = (args.gateway.config.file(), args.gateway.format);
    if let What::Running(what) = &args.what {
        return Ok(ExitCode::from(u8::from(!running::run(what, &args.gateway)?)));
    }
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    let options = config.coordination.map(|coordination| coordination.rosters).unwrap_or_default();
    if options.panels.is_empty() {
        bail!("{}: no [[coordination.panel]] in it", path.display());
    }
    let good = match &args.what {
        What::Load { panels } => load(&options, panels, format)?,
        What::Diff { panel, before, after } => diff(&options, panel.as_deref(), (before, after), format)?,
        What::Explain(explain) => explain::run(explain, &options, format)?,
        What::Running(_) => true,
    };
    Ok(ExitCode::from(u8::from(!good)))
}

fn panel<'o>(options: &'o Options, id: &str) -> anyhow::Result<&'o Panel> {
    options.panels.iter().find(|panel| panel.id == id).with_context(|| {
        let known: Vec<_> = options.panels.iter().map(|panel| panel.id.as_str()).collect();
        format!("there is no panel \"{id}\"; known: {}", known.join(", "))
    })
}

/// The members of every panel; of one whose files cannot be read there are none, which is told.
fn members(options: &Options) -> anyhow::Result<Snapshot> {
    let read =
        |panel: &Panel| files::read(&panel.source, &options.matching).with_context(|| format!("panel {}", panel.id));
    let rows: Vec<Rows> = options.panels.iter().map(read).collect::<Result<_, _>>()?;
    let panels: Vec<_> = options.panels.iter().zip(&rows).collect();
    Ok(Snapshot::new(&panels, &options.matching))
}

/// What one panel's files give.
struct Read<'o> {
    panel: &'o Panel,
    rows: Result<Rows, RosterError>,
    attributed: usize,
    warnings: Vec<Warning>,
}

fn load(options: &Options, only: &[String], format: Format) -> anyhow::Result<bool> {
    for id in only {
        panel(options, id)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let wanted = |panel: &&Panel| only.is_empty() || only.contains(&panel.id);
    let read: Vec<_> = options.panels.iter().filter(wanted).map(|panel| read(panel, options, now_ms)).collect();
    let good: Vec<_> = read.iter().filter_map(|one| Some((one.panel, one.rows.as_ref().ok()?))).collect();
    let all_good = good.len() == read.len();
    let snapshot = Snapshot::new(&good, &options.matching);
    if format == Format::Json {
        let panels: Vec<Value> = read.iter().map(Read::json).collect();
        println!(
            "{}",
            json!({ "panels": panels, "people": snapshot.people(), "contested_identifiers": snapshot.contested() })
        );
        return Ok(all_good);
    }
    read.iter().for_each(Read::print);
    println!("{} people in {} panels", snapshot.people(), good.len());
    if snapshot.contested() > 0 {
        println!(
            "warning: {} identifiers stand for several people, who are told apart by strong_guard",
            snapshot.contested()
        );
    }
    Ok(all_good)
}

fn read<'o>(panel: &'o Panel, options: &Options, now_ms: i64) -> Read<'o> {
    let found = files::files(&panel.source);
    let rows = found.and_then(|paths| Ok((files::read_from(&panel.source, &paths, &options.matching)?, paths)));
    let (mut attributed, mut warned) = (0, Vec::new());
    let rows = rows.map(|(rows, paths)| {
        let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        attributed = rows.members_on(panel.zone.to_datetime(time).date());
        warned = warnings(panel, &rows, attributed, paths.last().and_then(|path| changed_ms(path)), now_ms);
        rows
    });
    Read { panel, rows, attributed, warnings: warned }
}

impl Read<'_> {
    fn print(&self) {
        let Panel { id, kind, .. } = self.panel;
        match &self.rows {
            Err(error) => println!("{id} ({}): refused: {error}", kind.name()),
            Ok(rows) => {
                let (members, attributed) = (rows.members(), self.attributed);
                println!(
                    "{id} ({}): {members} members, {attributed} of them today, in {} rows",
                    kind.name(),
                    rows.read
                );
                self.warnings.iter().for_each(|warning| println!("  warning: {warning}"));
                print_rejected(rows);
            }
        }
    }

    fn json(&self) -> Value {
        let mut object = json!({ "panel": self.panel.id, "kind": self.panel.kind.name() });
        match &self.rows {
            Err(error) => object["refused"] = error.to_string().into(),
            Ok(rows) => {
                object["members"] = rows.members().into();
                object["attributed"] = self.attributed.into();
                object["rows"] = rows.read.into();
                object["bad"] = rows.bad.into();
                object["rejected"] = rejected_json(rows);
                let warnings: Vec<_> = self.warnings.iter().map(ToString::to_string).collect();
                object["warnings"] = warnings.into();
            }
        }
        object
    }
}

fn print_rejected(rows: &Rows) {
    for Rejected { place, reason } in rows.rejected.iter().take(SHOWN) {
        println!("  {}:{}: {reason}", file_name(rows, place.file), place.line);
    }
    if rows.bad > SHOWN {
        println!("  and {} more", rows.bad - SHOWN);
    }
}

fn rejected_json(rows: &Rows) -> Value {
    let one = |Rejected { place, reason }: &Rejected| json!({ "file": file_name(rows, place.file), "line": place.line, "reason": reason.to_string() });
    rows.rejected.iter().map(one).collect()
}

fn file_name(rows: &Rows, file: u16) -> &str {
    rows.files.get(usize::from(file)).map_or("", String::as_str)
}

fn diff(options: &Options, id: Option<&str>, files: (&Path, &Path), format: Format) -> anyhow::Result<bool> {
    let panel = match (id, options.panels.as_slice()) {
        (Some(id), _) => panel(options, id)?,
        (None, [only]) => only,
        (None, _) => bail!("there are several panels: say with --panel whose columns the files have"),
    };
    let read = |path: &Path| {
        let source = Source { path: path.to_owned(), ..panel.source.clone() };
        files::read(&source, &options.matching)
    };
    let (before, after) = (read(files.0)?, read(files.1)?);
    let found = Difference::between(&before, &after);
    let held = found.drops_more_than(panel.max_drop_pct);
    if format == Format::Json {
        println!("{}", diff_json(&found, (&before, &after), held));
        return Ok(!held);
    }
    let Difference { before: old, after: new, added, dropped, changed, .. } = &found;
    println!(
        "{old} members before, {new} after: {added} added, {dropped} dropped, {changed} changed, {} rows rejected",
        after.bad
    );
    if held {
        println!("it would be held: more than {} % are gone (max_drop_pct)", panel.max_drop_pct);
    }
    for (what, places, rows) in [("added", &found.added_lines, &after), ("dropped", &found.dropped_lines, &before)] {
        for place in places.iter().take(SHOWN) {
            println!("{what:<8} {}:{}", file_name(rows, place.file), place.line);
        }
    }
    for one in found.changed_lines.iter().take(SHOWN) {
        let (old, new) = (file_name(&before, one.before.file), file_name(&after, one.after.file));
        println!("changed  {old}:{} {new}:{}: {}", one.before.line, one.after.line, one.what.join(", "));
    }
    let shown = [added, dropped, changed].into_iter().any(|count| *count > SHOWN);
    if shown {
        println!("the first {SHOWN} of each; --format json has more");
    }
    print_rejected(&after);
    Ok(!held)
}

fn diff_json(found: &Difference, (before, after): (&Rows, &Rows), held: bool) -> Value {
    let place = |rows: &Rows, place: &crate::coordination::roster::rows::Place| json!({ "file": file_name(rows, place.file), "line": place.line });
    let changed = found.changed_lines.iter().map(
        |one| json!({ "before": place(before, &one.before), "after": place(after, &one.after), "what": one.what }),
    );
    json!({
        "before": found.before, "after": found.after, "held": held,
        "added": found.added, "dropped": found.dropped, "changed": found.changed, "rejected": after.bad,
        "added_lines": found.added_lines.iter().map(|one| place(after, one)).collect::<Vec<_>>(),
        "dropped_lines": found.dropped_lines.iter().map(|one| place(before, one)).collect::<Vec<_>>(),
        "changed_lines": changed.collect::<Vec<_>>(),
        "rejected_lines": rejected_json(after),
    })
}
