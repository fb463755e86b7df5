//! `handoff status`, `handoff routes` and `handoff reload`: a running gateway, asked by its admin API.
use super::configuration::Configuration;
use super::files::Format;
use crate::config::Config;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use reqwest::{Certificate, Client, Method, StatusCode, Url, redirect};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Show how a running gateway is
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    gateway: Remote,
}

/// List, start, pause and stop the routes of a running gateway
#[derive(Debug, Args)]
pub struct RoutesArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    gateway: Remote,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One line each: status, name, received, filtered, queued, sent and errored since it was started, dead letters there are now, last message
    List,
    /// Let a route deliver
    Start(Named),
    /// Let a route begin no delivery; messages wait in the journal
    Pause(Named),
    /// Take a route down; messages wait in the journal
    Stop(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The route
    #[arg(value_name = "NAME")]
    name: String,
}

/// Have a running gateway read its configuration anew
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    gateway: Remote,
}

/// Which gateway, and how the answer is printed.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// Where its admin server is; without it, as the configuration says
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<Url>,
    /// A token of the gateway; better in the environment than here, where all users of the machine see it
    #[arg(long, env = "HANDOFF_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    #[command(flatten)]
    pub(super) config: Configuration,
    /// The authority of its certificate (PEM), where the system does not know it
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub(super) format: Format,
}

/// Longer than the gateway may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the command: exit 0, 1 when the gateway refuses or is not ready, 2 when it cannot be asked.
///
/// # Errors
/// When it cannot be asked.
pub fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let gateway = &args.gateway;
    let Some(status) = gateway.ask(Method::GET, &["status"])? else { return Ok(ExitCode::from(1)) };
    let (Some(listeners), Some(routes)) =
        (gateway.ask(Method::GET, &["listeners"])?, gateway.ask(Method::GET, &["routes"])?)
    else {
        return Ok(ExitCode::from(1));
    };
    if gateway.format == Format::Json {
        let all =
            serde_json::json!({"status": status, "listeners": listeners["listeners"], "routes": routes["routes"]});
        println!("{all}");
    } else {
        println!("{}", headline(&status));
        for reason in status["reasons"].as_array().into_iter().flatten() {
            println!("not ready: {}", text(reason));
        }
        println!();
        print!("{}", listener_table(&listeners));
        println!();
        print!("{}", route_table(&routes));
        print!("{}", letters_beside(&status, &routes));
    }
    Ok(ExitCode::from(u8::from(status["ready"] != Value::Bool(true))))
}

/// Runs the command: exit 0, 1 when the gateway refuses, 2 when it cannot be asked.
///
/// # Errors
/// When it cannot be asked.
pub fn routes(args: &RoutesArgs) -> anyhow::Result<ExitCode> {
    let gateway = &args.gateway;
    let answer = match &args.what {
        What::List => gateway.ask(Method::GET, &["routes"])?,
        What::Start(route) => gateway.ask(Method::POST, &["routes", &route.name, "start"])?,
        What::Pause(route) => gateway.ask(Method::POST, &["routes", &route.name, "pause"])?,
        What::Stop(route) => gateway.ask(Method::POST, &["routes", &route.name, "stop"])?,
    };
    let Some(answer) = answer else { return Ok(ExitCode::from(1)) };
    match (gateway.format, answer["routes"].is_array()) {
        (Format::Json, _) => println!("{answer}"),
        (Format::Text, true) => print!("{}", route_table(&answer)),
        (Format::Text, false) => println!("{} {}", text(&answer["name"]), text(&answer["state"])),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the command: exit 0, 1 when the gateway does not take the configuration on, 2 when it cannot be asked.
///
/// # Errors
/// When it cannot be asked.
pub fn reload(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let Some(answer) = args.gateway.ask(Method::POST, &["reload"])? else { return Ok(ExitCode::from(1)) };
    if args.gateway.format == Format::Json {
        println!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    for (what, names) in answer.as_object().into_iter().flatten() {
        let names: Vec<_> = names.as_array().into_iter().flatten().map(text).collect();
        if !names.is_empty() {
            println!("{}: {}", what.replace('_', " "), names.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Remote {
    /// The answer; none when the gateway refused, which has been said on standard error.
    pub(super) fn ask(&self, method: Method, path: &[&str]) -> anyhow::Result<Option<Value>> {
        self.ask_with(method, path, &[], None)
    }

    /// The same with a query and a body.
    pub(super) fn ask_with(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> anyhow::Result<Option<Value>> {
        let mut url = self.base()?;
        match url.path_segments_mut() {
            Ok(mut segments) => _ = segments.pop_if_empty().extend(["api", "v1"]).extend(path),
            Err(()) => bail!("--admin must be a URL such as http://127.0.0.1:8080"),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let Some(token) = &self.token else {
            bail!("a token is needed: give it as HANDOFF_TOKEN; `handoff token create` makes one");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (status, body) = runtime.block_on(async {
            let mut request = self.client()?.request(method, url.clone()).bearer_auth(token);
            if let Some(body) = body {
                request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_string());
            }
            let answer = request.send().await;
            let answer = answer.with_context(|| format!("cannot ask the gateway at {url}"))?;
            let status = answer.status();
            anyhow::Ok((status, answer.bytes().await.context("the answer broke off")?))
        })?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(Some(body));
        }
        eprintln!("error: {}", refusal(status, &body));
        Ok(None)
    }

    fn client(&self) -> anyhow::Result<Client> {
        // Tokens go where they are sent and nowhere else: no proxy, no redirect.
        let mut builder = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(TIMEOUT);
        if let Some(file) = &self.ca {
            let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            for certificate in Certificate::from_pem_bundle(&pem).with_context(|| format!("{}", file.display()))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(builder.build()?)
    }

    fn base(&self) -> anyhow::Result<Url> {
        if let Some(url) = &self.admin {
            return Ok(url.clone());
        }
        let config = Config::load(self.config.file()).map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let Some(admin) = config.admin else {
            bail!(
                "{} has no [admin]: give listen = \"127.0.0.1:8080\" there, or --admin URL here",
                self.config.file().display()
            );
        };
        let scheme = if admin.tls.is_some() { "https" } else { "http" };
        // What listens everywhere is asked here.
        let address = admin.listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        Ok(Url::parse(&format!("{scheme}://{address}"))?)
    }
}

/// What a problem says, in one line.
fn refusal(status: StatusCode, problem: &Value) -> String {
    match (problem["detail"].as_str(), problem["remedy"].as_str()) {
        (Some(detail), Some(remedy)) => format!("{detail}: {remedy} ({status})"),
        _ => format!("the gateway answers {status}; is it an admin server of handoff?"),
    }
}

fn headline(status: &Value) -> String {
    let journal = &status["journal"];
    let ready = if status["ready"] == Value::Bool(true) { "ready" } else { "not ready" };
    format!(
        "handoff {} {ready}, started {}, journal {} at {}, durability {}, disk free {}",
        text(&status["version"]),
        text(&status["started_at"]),
        text(&journal["health"]),
        journal["head"],
        text(&journal["durability"]),
        status["disk_free_bytes"].as_u64().map_or("?".into(), |bytes| format!("{} MB", bytes >> 20)),
    )
}

fn listener_table(answer: &Value) -> String {
    let columns = ["LISTENER", "ADDRESS", "CONNECTIONS", "RECEIVED", "LAST MESSAGE"];
    let keys = ["name", "address", "connections", "received", "last_received_at"];
    table(&columns, answer["listeners"].as_array().into_iter().flatten(), |listener| {
        keys.map(|key| text(&listener[key]))
    })
}

fn route_table(answer: &Value) -> String {
    let columns =
        ["STATUS", "NAME", "RECEIVED", "FILTERED", "QUEUED", "SENT", "ERRORED", "DEAD LETTERS", "LAST MESSAGE"];
    let keys = ["state", "name", "received", "filtered", "queued", "sent", "errored", "dead_letters", "last_sent_at"];
    let mut shown = table(&columns, answer["routes"].as_array().into_iter().flatten(), |route| {
        keys.map(|key| if key == "state" { text(&route[key]).to_uppercase() } else { text(&route[key]) })
    });
    for route in answer["routes"].as_array().into_iter().flatten().filter(|route| route["resting"].is_string()) {
        shown += &format!("{} rests: {}\n", text(&route["name"]), text(&route["resting"]));
    }
    shown
}

/// Dead letters that are of none of the routes: of messages that could not be translated, and of routes that are gone.
fn letters_beside(status: &Value, routes: &Value) -> String {
    let is_route = |name: &str| routes["routes"].as_array().into_iter().flatten().any(|route| route["name"] == *name);
    let letters = status["dead_letters"].as_object().into_iter().flatten();
    letters
        .filter(|(name, _)| !is_route(name))
        .map(|(name, count)| format!("dead letters of {name}: {count}\n"))
        .collect()
}

/// Columns as wide as what stands in them.
pub(super) fn table<'a, const N: usize>(
    columns: &[&str; N],
    rows: impl Iterator<Item = &'a Value>,
    cells: impl Fn(&Value) -> [String; N],
) -> String {
    let mut lines = vec![columns.map(str::to_owned)];
    lines.extend(rows.map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut shown = String::new();
    for line in &lines {
        let padded: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        shown += padded.join("  ").trim_end();
        shown.push('\n');
    }
    shown
}

/// A value as it stands in a cell.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let route = |name: &str, resting: Value| {
            json!({"state": "started", "name": name, "received": 12, "filtered": 0, "queued": 1, "sent": 11, "errored": 0, "dead_letters": 2,
                   "last_sent_at": null, "resting": resting})
        };
        let shown =
            route_table(&json!({"routes": [route("ehr", Value::Null), route("a-long-name", json!("cannot connect"))]}));
        assert_eq!(
            shown,
            "STATUS   NAME         RECEIVED  FILTERED  QUEUED  SENT  ERRORED  DEAD LETTERS  LAST MESSAGE\n\
             STARTED  ehr          12        0         1       11    0        2             -\n\
             STARTED  a-long-name  12        0         1       11    0        2             -\n\
             a-long-name rests: cannot connect\n"
        );
    }
}
