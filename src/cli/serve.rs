//! `handoff serve`: the gateway, with a configuration that is read anew when somebody asks for it (SIGHUP).
use super::configuration::Configuration;
use super::files::{Layers, load};
use super::notify::Notify;
use crate::admin::users::{self, Roles};
use crate::admin::{self, Admin, Role, User};
use crate::alerts;
use crate::config::{Config, Log, LogFormat};
use crate::delivery::Plans;
use crate::delivery::channel::egress::Egress;
use crate::desk;
use crate::facade::Facade;
use crate::mapping::Plan;
use crate::privacy::audit::Looks;
use crate::server::care::Endpoints;
use crate::server::{Control, Gateway, Listener, Setup, by_name};
use crate::telemetry;
use crate::traces;
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Receive HL7 v2 over MLLP, keep it, acknowledge it and deliver it as FHIR
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: Configuration,
}

/// Where the desk is without a configuration.
const DESK: &str = "127.0.0.1:8080";
/// Time for what runs beside the gateway, once that has stopped: requests are answered, a failure is told.
const BESIDE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT: exit 0. A failed journal ends it with exit 1, a wrong configuration with exit 2.
///
/// # Errors
/// When it cannot start.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    // Once: a file that somebody puts there later is not what this gateway was started with.
    let file = args.config.file_if_any().map(Path::to_owned);
    if file.is_none() {
        eprintln!(
            "configuration: built in, as there is no handoff.toml here: Bundles go to handoff-data/bundles.ndjson"
        );
    }
    let config = match args.config.read() {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    log_to_stderr(config.log, &config.data);
    let egress = Egress { public_only: false, allowed: config.egress.clone() };
    let watched = Watched {
        admin: config.admin.clone(),
        alerts: config.alerts.clone(),
        traces: config.traces.clone(),
        fhir: config.fhir.clone(),
        log: config.log,
        egress,
    };
    let setup = setup(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    match runtime.block_on(serve(setup, file, watched)) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(1))
        }
    }
}

/// `HANDOFF_LOG` chooses what is told, as in `HANDOFF_LOG=warn`, before the configuration does.
///
/// Who looked at what is written down beside it, whatever of the log is kept.
fn log_to_stderr(log: Log, data: &Path) {
    let filter = EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| EnvFilter::new(log.level.to_string()));
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
    let looks = Looks::new(data.join("access")).with_filter(Looks::filter());
    let layers = tracing_subscriber::registry().with(looks);
    let _ = match log.format {
        LogFormat::Text => layers.with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => layers.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
}

/// By what the gateway is watched and operated.
struct Watched {
    admin: Option<crate::admin::Options>,
    alerts: Option<alerts::Options>,
    traces: Option<traces::Options>,
    /// The FHIR interface of coordinated care.
    fhir: Option<crate::facade::Options>,
    log: Log,
    /// Where what is told may lead.
    egress: Egress,
}

async fn serve(setup: Setup, path: Option<PathBuf>, watched: Watched) -> anyhow::Result<ExitCode> {
    // Asked for first: a signal that comes while starting is not missed.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let built_in = path.is_none();
    let (admin, alerts, fhir, log) = (watched.admin.clone(), watched.alerts.clone(), watched.fhir.clone(), watched.log);
    let traces = watched.traces.clone();
    let read = move || {
        let config = path.as_deref().map_or_else(|| Ok(Config::default()), Config::load);
        let config = config.map_err(|problems| problems.to_string())?;
        // Not passed over in silence: somebody who takes a token away must know that it still opens.
        let is_same = config.admin == admin && config.alerts == alerts && config.traces == traces;
        if !is_same || config.fhir != fhir || config.log != log {
            return Err("[admin], [alerts], [traces], [coordination.fhir] and [log] need a restart".to_owned());
        }
        self::setup(config).map_err(|error| format!("{error:#}"))
    };
    let data = setup.data.clone();
    let spans = watched.traces.and_then(|options| Some((telemetry::traces::begin(options.share)?, options)));
    let open = alerts::Open::default();
    let looked_at = watched.alerts.or_else(|| built_in.then(alerts::Options::default));
    let told = looked_at.map(|options| alerts::Alerts::new(options, &watched.egress, open.clone())).transpose()?;
    let gateway = Gateway::start(setup, Box::new(read)).await?;
    let (done, is_done) = watch::channel(false);
    let mut beside = JoinSet::new();
    if let Some(admin) = admin_server(watched.admin, built_in, &gateway, (open, &data)).await? {
        let mut is_done = is_done.clone();
        beside.spawn(admin.run(async move { _ = is_done.wait_for(|done| *done).await }));
    }
    if let (Some(options), Some(care)) = (watched.fhir, gateway.care()) {
        let facade = Facade::bind(options, care).await?;
        eprintln!("{}", facade.line());
        let mut is_done = is_done.clone();
        beside.spawn(facade.run(async move { _ = is_done.wait_for(|done| *done).await }));
    }
    if let Some((spans, options)) = spans {
        beside.spawn(traces::run(options, watched.egress.clone(), spans, is_done.clone()));
    }
    if let Some(alerts) = told {
        beside.spawn(alerts.run(gateway.control(), gateway.health(), data, is_done.clone()));
    }
    for line in gateway.lines() {
        eprintln!("{line}");
    }
    let notify = Notify::from_environment().map(Arc::new);
    if let Some(notify) = notify.clone() {
        notify.tell("READY=1");
        let (control, mut is_done) = (gateway.control(), is_done.clone());
        beside.spawn(async move {
            tokio::select! {
                () = notify.keep_telling(control) => {}
                _ = is_done.wait_for(|done| *done) => {}
            }
        });
    }
    let reloads = tokio::spawn(reload_at(hangup, gateway.control()));
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if let Some(notify) = &notify {
            notify.tell("STOPPING=1");
        }
    };
    let failed = gateway.run(stop).await;
    reloads.abort();
    done.send_replace(true);
    // Requests that are being answered; none of them holds anything that would be lost.
    let _ = timeout(BESIDE_TIMEOUT, async { while beside.join_next().await.is_some() {} }).await;
    Ok(ExitCode::from(u8::from(failed)))
}

/// The admin server of the configuration. Where there is none at all, one on loopback with a user for as long as this process runs: a newcomer sees the desk.
async fn admin_server(
    options: Option<admin::Options>,
    built_in: bool,
    gateway: &Gateway,
    (open, data): (alerts::Open, &Path),
) -> anyhow::Result<Option<Admin>> {
    let bind = |options| Admin::bind(options, gateway.control(), open, data.to_owned());
    if let Some(options) = options {
        let admin = bind(options).await?.with_pages(desk::router);
        eprintln!("{}", admin.line());
        return Ok(Some(admin));
    }
    if !built_in {
        return Ok(None);
    }
    let (name, password) = ("handoff", users::new_password()?);
    let roles = Roles(vec![Role::Admin, Role::PhiReader]);
    let user = User { name: name.into(), roles, password: users::hash(&password)? };
    let options = admin::Options { listen: DESK.into(), users: vec![user], ..admin::Options::default() };
    match bind(options).await {
        Ok(admin) => {
            eprintln!(
                "desk http://{DESK}: sign in as {name} with the password {password}, which holds until this process ends"
            );
            Ok(Some(admin.with_pages(desk::router)))
        }
        // Not asked for, so no reason not to start: somebody else serves there.
        Err(error) => {
            eprintln!("no desk: {error}");
            Ok(None)
        }
    }
}

/// The gateway says in its log what came of it.
async fn reload_at(mut hangup: Signal, control: Control) {
    while hangup.recv().await.is_some() {
        let _ = control.reload().await;
    }
}

/// A configuration with its mappings compiled.
fn setup(mut config: Config) -> anyhow::Result<Setup> {
    let listeners = with_plans(config.mappings.take(), config.listeners)?;
    let is_here = config.fhir.as_ref().is_some_and(crate::facade::Options::is_loopback);
    Ok(Setup {
        data: config.data,
        journal: config.journal,
        retention: config.retention,
        index: config.index,
        listeners,
        routes: config.routes,
        coordination: config.coordination.map(|options| (options, Endpoints::new(config.egress, is_here))),
    })
}

/// Plans for what lies in the journal of these listeners.
pub(super) fn plans(listeners: &[(Listener, Arc<Plan>)]) -> anyhow::Result<Plans> {
    let plans = Plans::default();
    plans.replace(&by_name(listeners))?;
    Ok(plans)
}

/// Compiles the mappings of each listener, and once only those that several share.
pub(super) fn with_plans(
    mappings: Option<PathBuf>,
    listeners: Vec<Listener>,
) -> anyhow::Result<Vec<(Listener, Arc<Plan>)>> {
    let mut compiled: Vec<(Option<PathBuf>, Arc<Plan>)> = Vec::new();
    let mut found = Vec::new();
    for listener in listeners {
        let known = compiled.iter().find(|(site, _)| *site == listener.site).map(|(_, plan)| Arc::clone(plan));
        let plan = match known {
            Some(plan) => plan,
            None => {
                let plan = Arc::new(load(&Layers {
                    mappings: mappings.clone(),
                    site: listener.site.clone(),
                    ..Layers::default()
                })?);
                compiled.push((listener.site.clone(), Arc::clone(&plan)));
                plan
            }
        };
        found.push((listener, plan));
    }
    Ok(found)
}
