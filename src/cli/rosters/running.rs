//! The rosters of a running gateway, by its admin API: how they stand, held ones approved of, read anew; and matches that somebody has to look at.
use super::super::files::Format;
use super::super::remote::{Remote, table, text};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// How the roster of each panel of a running gateway stands: in force, held or refused, and why
    Status,
    /// Have a running gateway take on a roster that is held, after it was looked at
    Approve {
        /// The panel
        #[arg(value_name = "PANEL")]
        panel: String,
        /// The hash of the roster that was looked at, as `status` shows it: no other one is taken on
        #[arg(value_name = "SHA256")]
        sha256: String,
    },
    /// Have a running gateway read its rosters anew
    Reload,
    /// Matches that somebody has to look at, and what is decided of them
    Reviews(ReviewsArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReviewsArgs {
    #[command(subcommand)]
    what: Reviews,
}

#[derive(Debug, Subcommand)]
enum Reviews {
    /// One line each: number, why, messages, the last of them, candidates; with a token of role phi-reader and `--format json` whom it is about
    List {
        /// Those with a candidate in this panel
        #[arg(long, value_name = "PANEL")]
        panel: Option<String>,
        /// Those in which state
        #[arg(long, value_enum, default_value_t = State::Open)]
        state: State,
    },
    /// Say who it is: later messages with these numbers are matched so
    Decide {
        /// The number of the review
        #[arg(value_name = "NUMBER")]
        id: u64,
        /// The key of the person, one of the candidates
        #[arg(value_name = "PERSON", required_unless_present = "nobody", conflicts_with = "nobody")]
        person: Option<String>,
        /// It is nobody of the rosters
        #[arg(long)]
        nobody: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// Nobody has decided
    Open,
    /// Somebody has
    Decided,
}

/// Runs the command; whether all is well: false where the gateway refuses, or a roster is not in force.
pub(super) fn run(what: &What, gateway: &Remote) -> anyhow::Result<bool> {
    match what {
        What::Status => listed(gateway, Method::GET, &["rosters"]),
        What::Reload => listed(gateway, Method::POST, &["rosters", "reload"]),
        What::Approve { panel, sha256 } => {
            let body = json!({ "sha256": sha256 });
            let path = ["rosters", panel.as_str(), "approve"];
            let Some(roster) = gateway.ask_with(Method::POST, &path, &[], Some(&body))? else { return Ok(false) };
            print(gateway, &json!({ "rosters": [roster] }));
            Ok(true)
        }
        What::Reviews(ReviewsArgs { what: Reviews::List { panel, state } }) => reviews(gateway, panel.as_ref(), *state),
        What::Reviews(ReviewsArgs { what: Reviews::Decide { id, person, .. } }) => {
            let (id, body) = (id.to_string(), json!({ "person": person }));
            let path = ["rosters", "reviews", id.as_str()];
            let Some(answer) = gateway.ask_with(Method::POST, &path, &[], Some(&body))? else { return Ok(false) };
            match gateway.format {
                Format::Json => println!("{answer}"),
                Format::Text => println!(
                    "review {id}: {}, by {} numbers, from now on",
                    person.as_deref().unwrap_or("nobody"),
                    text(&answer["numbers"])
                ),
            }
            Ok(true)
        }
    }
}

fn listed(gateway: &Remote, method: Method, path: &[&str]) -> anyhow::Result<bool> {
    let Some(answer) = gateway.ask(method, path)? else { return Ok(false) };
    print(gateway, &answer);
    Ok(answer["rosters"].as_array().into_iter().flatten().all(|roster| roster["state"] == "accepted"))
}

fn print(gateway: &Remote, answer: &Value) {
    if gateway.format == Format::Json {
        println!("{answer}");
        return;
    }
    let rosters = || answer["rosters"].as_array().into_iter().flatten();
    let columns = ["PANEL", "KIND", "STATE", "MEMBERS", "TODAY", "ADDED", "DROPPED", "CHANGED", "ACCEPTED"];
    let keys = ["panel", "kind", "state", "members", "members_today", "added", "dropped", "changed"];
    let row = |roster: &Value| {
        let mut cells = columns.map(|_| String::new());
        for (cell, key) in cells.iter_mut().zip(keys) {
            *cell = text(&roster[key]);
        }
        cells[keys.len()] = text(&roster["in_force"]["accepted_at"]);
        cells
    };
    print!("{}", table(&columns, rosters(), row));
    for roster in rosters() {
        let panel = text(&roster["panel"]);
        if roster["why"].is_string() {
            println!("{panel}: {}", text(&roster["why"]));
        }
        if roster["state"] == "held" {
            println!("{panel}: handoff rosters approve {panel} {}", text(&roster["sha256"]));
        }
        for warning in roster["warnings"].as_array().into_iter().flatten() {
            println!("{panel}: warning: {}", text(warning));
        }
    }
}

fn reviews(gateway: &Remote, panel: Option<&String>, state: State) -> anyhow::Result<bool> {
    let state = state.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let mut query = vec![("state", state.clone()), ("after", after.to_string())];
        query.extend(panel.map(|panel| ("panel", panel.clone())));
        let Some(mut answer) = gateway.ask_with(Method::GET, &["rosters", "reviews"], &query, None)? else {
            return Ok(false);
        };
        if let Value::Array(page) = answer["reviews"].take() {
            all.extend(page);
        }
        match answer["next"].as_u64() {
            Some(next) if next > after => after = next,
            _ => break,
        }
    }
    if gateway.format == Format::Json {
        println!("{}", json!({ "reviews": all }));
        return Ok(true);
    }
    let columns = ["NUMBER", "REASON", "MESSAGES", "LAST", "RECEIVED", "DECIDED", "CANDIDATES"];
    let candidates = |review: &Value| {
        let keys = review["candidates"].as_array().into_iter().flatten().map(|one| text(&one["key"]));
        keys.collect::<Vec<_>>().join(" ")
    };
    let decided = |review: &Value| match &review["decision"] {
        Value::Null => text(&Value::Null),
        decision if decision["person"].is_null() => "nobody".to_owned(),
        decision => text(&decision["person"]),
    };
    let row = |review: &Value| {
        let [id, reason, messages, last, at] =
            ["id", "reason", "messages", "last_seq", "last_received_at"].map(|key| text(&review[key]));
        [id, reason, messages, last, at, decided(review), candidates(review)]
    };
    print!("{}", table(&columns, all.iter(), row));
    Ok(true)
}
