//! `handoff codes`: codes of messages that no code table has, asked of a running gateway by its admin API: which, in which messages, what they are to become, and
//! their messages once more.
use super::files::Format;
use super::remote::{Remote, table, text};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// List, resolve and dismiss the codes that no code table has, and send their messages again
#[derive(Debug, Args)]
pub struct CodesArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    gateway: Remote,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One line each: number, listener, sender, table, code, messages, first and last seen
    List {
        /// Those in which state
        #[arg(long, value_enum, default_value_t = Standing::Open)]
        standing: Standing,
        /// As a CSV file to fill in, for `resolve --csv`
        #[arg(long)]
        csv: bool,
    },
    /// Everything that is known of one
    Show(One),
    /// The messages that had it: number, received, type
    Messages(One),
    /// Write rows into the code tables of the site, and take them on; nothing changes unless the mappings compile with them
    Resolve(ResolveArgs),
    /// Translate its messages with the mappings of now and deliver them once more
    Resend {
        #[command(flatten)]
        one: One,
        /// Also those of patients of whom newer messages have gone out, whose state they would replace
        #[arg(long)]
        anyway: bool,
    },
    /// Let it stay as it is: it is counted on, and no longer listed
    Dismiss(One),
}

#[derive(Debug, Args)]
struct One {
    /// Its number
    #[arg(value_name = "NUMBER")]
    id: u64,
}

#[derive(Debug, Args)]
struct ResolveArgs {
    /// The number of one code
    #[arg(value_name = "NUMBER", required_unless_present = "csv", requires = "code")]
    id: Option<u64>,
    /// The FHIR code that it becomes
    #[arg(value_name = "CODE", conflicts_with = "csv")]
    code: Option<String>,
    /// Its display
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "csv")]
    display: String,
    /// Its system; default: that of the table's rows with the same FHIR code
    #[arg(long, value_name = "URI", default_value = "", conflicts_with = "csv")]
    system: String,
    /// Many at once: columns `id`, or `table` and `v2_code`, then `fhir_code`, `display`, `system`; rows without fhir_code are passed over, a hundred are taken on at a time; `-` is standard input
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Standing {
    Open,
    Resolved,
    Dismissed,
    All,
}

/// Items that one answer holds.
const PAGE: usize = 500;
/// Rows that are resolved in one request, and the bytes of them: the gateway takes no body above 64 KiB.
const ROWS_MAX: usize = 100;
const BODY_BYTES_MAX: usize = 60 << 10;

/// Runs the command: exit 0, 1 when the gateway refuses or a message did not arrive, 2 when it cannot be asked.
///
/// # Errors
/// When it cannot be asked, or a file cannot be read.
pub fn run(args: &CodesArgs) -> anyhow::Result<ExitCode> {
    let gateway = &args.gateway;
    let done = match &args.what {
        What::List { standing, csv } => list(gateway, *standing, *csv)?,
        What::Show(One { id }) => told(gateway, gateway.ask(Method::GET, &["codes", &id.to_string()])?),
        What::Messages(One { id }) => messages(gateway, *id)?,
        What::Resolve(args) => resolve(gateway, args)?,
        What::Resend { one, anyway } => resend(gateway, one.id, *anyway)?,
        What::Dismiss(One { id }) => told(gateway, gateway.ask(Method::POST, &["codes", &id.to_string(), "dismiss"])?),
    };
    Ok(ExitCode::from(u8::from(!done)))
}

/// Prints one item; whether there was an answer.
fn told(gateway: &Remote, answer: Option<Value>) -> bool {
    let Some(answer) = answer else { return false };
    match gateway.format {
        Format::Json => println!("{answer}"),
        Format::Text => {
            for (key, value) in answer.as_object().into_iter().flatten() {
                println!("{key}: {}", text(value));
            }
        }
    }
    true
}

/// All items of a standing; none when the gateway refused.
fn items(gateway: &Remote, standing: Standing) -> anyhow::Result<Option<(Vec<Value>, bool)>> {
    let standing = standing.to_possible_value().map(|value| value.get_name().to_owned()).filter(|name| name != "all");
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let mut query = vec![("limit", PAGE.to_string()), ("after", after.to_string())];
        query.extend(standing.clone().map(|name| ("standing", name)));
        let Some(mut page) = gateway.ask_with(Method::GET, &["codes"], &query, None)? else { return Ok(None) };
        if let Value::Array(codes) = page["codes"].take() {
            found.extend(codes);
        }
        match page["next"].as_u64() {
            Some(next) if next > after => after = next,
            _ => return Ok(Some((found, page["full"] == Value::Bool(true)))),
        }
    }
}

fn list(gateway: &Remote, standing: Standing, csv: bool) -> anyhow::Result<bool> {
    let Some((codes, full)) = items(gateway, standing)? else { return Ok(false) };
    if csv {
        let mut out = csv::Writer::from_writer(std::io::stdout().lock());
        out.write_record(["id", "listener", "feed", "table", "v2_code", "count", "fhir_code", "display", "system"])?;
        for code in &codes {
            let cells = ["id", "listener", "feed", "table", "code", "count"].map(|key| text(&code[key]));
            out.write_record(cells.iter().map(String::as_str).chain(["", "", ""]))?;
        }
        out.flush()?;
    } else if gateway.format == Format::Json {
        println!("{}", json!({ "codes": codes, "full": full }));
    } else {
        let columns = ["NUMBER", "STATE", "LISTENER", "SENDER", "TABLE", "CODE", "MESSAGES", "FIRST SEEN", "LAST SEEN"];
        let keys = ["id", "standing", "listener", "feed", "table", "code", "count", "first_seen", "last_seen"];
        print!("{}", table(&columns, codes.iter(), |code| keys.map(|key| text(&code[key]))));
    }
    if full {
        eprintln!("there are as many codes as are kept: new ones are not, until some are resolved or dismissed");
    }
    Ok(true)
}

fn messages(gateway: &Remote, id: u64) -> anyhow::Result<bool> {
    let (mut after, mut all, number) = (0, Vec::new(), id.to_string());
    let not_listed = loop {
        let query = [("limit", PAGE.to_string()), ("after", after.to_string())];
        let Some(mut page) = gateway.ask_with(Method::GET, &["codes", &number, "messages"], &query, None)? else {
            return Ok(false);
        };
        if let Value::Array(messages) = page["messages"].take() {
            all.extend(messages);
        }
        match page["next"].as_u64() {
            Some(next) if next > after => after = next,
            _ => break page["not_listed"].as_u64().unwrap_or(0),
        }
    };
    if gateway.format == Format::Json {
        println!("{}", json!({ "messages": all, "not_listed": not_listed }));
        return Ok(true);
    }
    let columns = ["NUMBER", "RECEIVED", "TYPE"];
    print!("{}", table(&columns, all.iter(), |message| ["seq", "received_at", "type"].map(|key| text(&message[key]))));
    if not_listed > 0 {
        println!("and {not_listed} more, which are only counted");
    }
    Ok(true)
}

fn resolve(gateway: &Remote, args: &ResolveArgs) -> anyhow::Result<bool> {
    let rows = match (&args.csv, args.id, &args.code) {
        (Some(path), ..) => match rows_of(gateway, path)? {
            Some(rows) => rows,
            None => return Ok(false),
        },
        (None, Some(id), Some(code)) => {
            vec![json!({ "id": id, "fhir_code": code, "display": args.display, "system": args.system })]
        }
        _ => bail!("name a code and what it becomes, or a file with --csv"),
    };
    if rows.is_empty() {
        bail!("the file has no row with a fhir_code");
    }
    let mut all = json!({ "resolved": [], "files": [], "mappings_changed": [] });
    let mut done = true;
    for rows in chunks(rows) {
        let body = json!({ "rows": rows });
        let Some(mut answer) = gateway.ask_with(Method::POST, &["codes", "resolve"], &[], Some(&body))? else {
            done = false;
            break;
        };
        for key in ["resolved", "files", "mappings_changed"] {
            let (Value::Array(more), Value::Array(known)) = (answer[key].take(), &mut all[key]) else { continue };
            for value in more {
                if !known.contains(&value) {
                    known.push(value);
                }
            }
        }
    }
    let resolved: Vec<_> = all["resolved"].as_array().into_iter().flatten().map(text).collect();
    if resolved.is_empty() && !done {
        return Ok(false);
    }
    if gateway.format == Format::Json {
        println!("{all}");
        return Ok(done);
    }
    for file in all["files"].as_array().into_iter().flatten() {
        println!("written: {}", text(file));
    }
    println!("in use; `handoff codes resend NUMBER` sends the messages again: {}", resolved.join(", "));
    Ok(done)
}

/// As many rows at a time as the gateway takes in one request, by their number and their length.
fn chunks(rows: Vec<Value>) -> Vec<Vec<Value>> {
    let (mut chunks, mut bytes): (Vec<Vec<Value>>, usize) = (Vec::new(), 0);
    for row in rows {
        let length = row.to_string().len() + 1;
        match chunks.last_mut().filter(|chunk| chunk.len() < ROWS_MAX && bytes + length <= BODY_BYTES_MAX) {
            Some(chunk) => {
                chunk.push(row);
                bytes += length;
            }
            None => {
                chunks.push(vec![row]);
                bytes = length;
            }
        }
    }
    chunks
}

/// The rows of a CSV file as the API wants them. Rows that name table and code are for every open item of these.
fn rows_of(gateway: &Remote, path: &Path) -> anyhow::Result<Option<Vec<Value>>> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    // What a spreadsheet puts before UTF-8.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let headers = reader.headers()?.clone();
    if !headers.iter().any(|name| name == "fhir_code") {
        bail!("{}: the first line must name the columns, fhir_code among them", path.display());
    }
    let (mut rows, mut open) = (Vec::new(), None);
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |name: &str| headers.iter().position(|h| h == name).and_then(|at| record.get(at)).unwrap_or("");
        if cell("fhir_code").is_empty() {
            continue;
        }
        let ids: Vec<u64> = if cell("id").is_empty() {
            if open.is_none() {
                let Some((codes, _)) = items(gateway, Standing::Open)? else { return Ok(None) };
                open = Some(codes);
            }
            // `<16 bytes>` stands for codes that are not shown, and may be that of several.
            let is_shown = !cell("v2_code").starts_with('<');
            let is = |code: &&Value| is_shown && code["table"] == cell("table") && code["code"] == cell("v2_code");
            open.iter().flatten().filter(is).filter_map(|code| code["id"].as_u64()).collect()
        } else {
            vec![cell("id").parse().with_context(|| format!("{}:{line}: id is no number", path.display()))?]
        };
        if ids.is_empty() {
            bail!(
                "{}:{line}: there is no open code `{}` of table {} (name one that is not shown by its id)",
                path.display(),
                cell("v2_code"),
                cell("table")
            );
        }
        let row = |id| json!({ "id": id, "fhir_code": cell("fhir_code"), "display": cell("display"), "system": cell("system") });
        rows.extend(ids.into_iter().map(row));
    }
    Ok(Some(rows))
}

fn resend(gateway: &Remote, id: u64, anyway: bool) -> anyhow::Result<bool> {
    let (mut after, mut all_arrived, mut sent, mut list, number) = (0, true, 0, Vec::new(), id.to_string());
    loop {
        let query = [("after", after.to_string()), ("anyway", anyway.to_string())];
        let Some(mut answer) = gateway.ask_with(Method::POST, &["codes", &number, "resend"], &query, None)? else {
            return Ok(false);
        };
        sent += answer["sent"].as_u64().unwrap_or(0);
        for message in answer["messages"].as_array().into_iter().flatten().filter(|m| m["result"] != "sent") {
            all_arrived &= message["result"] == "unwanted";
            if gateway.format == Format::Text {
                eprintln!("{} {}: {}", text(&message["seq"]), text(&message["result"]), text(&message["reason"]));
            }
        }
        if let Value::Array(messages) = answer["messages"].take() {
            list.extend(messages);
        }
        match answer["next"].as_u64() {
            Some(next) if next > after => after = next,
            _ => break,
        }
    }
    match gateway.format {
        Format::Json => println!("{}", json!({ "sent": sent, "messages": list })),
        Format::Text => println!("{sent} of {} messages sent again", list.len()),
    }
    Ok(all_arrived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_in_bodies_that_the_gateway_takes() {
        let row = |id: usize, length: usize| json!({ "id": id, "fhir_code": "x".repeat(length) });
        let lengths = |rows: Vec<Value>| chunks(rows).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths((0..250).map(|id| row(id, 5)).collect()), [100, 100, 50]);
        let long: Vec<_> = (0..90).map(|id| row(id, 1000)).collect();
        let bodies: Vec<_> = chunks(long.clone()).into_iter().map(|rows| json!({ "rows": rows })).collect();
        assert!(bodies.len() == 2 && bodies.iter().all(|body| body.to_string().len() <= 64 << 10));
        assert_eq!(chunks(long.clone()).concat(), long);
        assert!(chunks(Vec::new()).is_empty());
    }
}
