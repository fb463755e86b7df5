//! `handoff serve`: the gateway, with a configuration that is read anew when somebody asks for it (SIGHUP).
use super::files::{Layers, load};
use crate::config::{Config, Problems};
use crate::delivery::Plans;
use crate::mapping::Plan;
use crate::server::{Control, Gateway, Listener, Setup};
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receive HL7 v2 over MLLP, keep it, acknowledge it and deliver it as FHIR
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration; without one: MLLP on 127.0.0.1:2575, Bundles to handoff-data/bundles.ndjson
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT: exit 0. A failed journal ends it with exit 1, a wrong configuration with exit 2.
///
/// # Errors
/// When it cannot start.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = match configured(args.config.as_deref()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    log_to_stderr();
    let setup = setup(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    match runtime.block_on(serve(setup, args.config)) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(1))
        }
    }
}

/// The configuration in a file, or the default one.
pub(super) fn configured(path: Option<&Path>) -> Result<Config, Problems> {
    path.map_or_else(|| Ok(Config::default()), Config::load)
}

/// `HANDOFF_LOG` chooses what is told, as in `HANDOFF_LOG=warn`.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| "info".into());
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).try_init();
}

async fn serve(setup: Setup, path: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    // Asked for first: a signal that comes while starting is not missed.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let read = move || {
        let config = configured(path.as_deref()).map_err(|problems| problems.to_string())?;
        self::setup(config).map_err(|error| format!("{error:#}"))
    };
    let gateway = Gateway::start(setup, Box::new(read)).await?;
    for line in gateway.lines() {
        eprintln!("{line}");
    }
    let reloads = tokio::spawn(reload_at(hangup, gateway.control()));
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let failed = gateway.run(stop).await;
    reloads.abort();
    Ok(ExitCode::from(u8::from(failed)))
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
    Ok(Setup {
        data: config.data,
        journal: config.journal,
        retention: config.retention,
        listeners,
        routes: config.routes,
    })
}

/// Plans for what lies in the journal of these listeners.
pub(super) fn plans(listeners: &[(Listener, Arc<Plan>)]) -> anyhow::Result<Plans> {
    let plans = Plans::default();
    let named: Vec<_> = listeners.iter().map(|(listener, plan)| (listener.name.clone(), Arc::clone(plan))).collect();
    plans.replace(&named)?;
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
                let plan = Arc::new(load(&Layers { mappings: mappings.clone(), site: listener.site.clone() })?);
                compiled.push((listener.site.clone(), Arc::clone(&plan)));
                plan
            }
        };
        found.push((listener, plan));
    }
    Ok(found)
}
