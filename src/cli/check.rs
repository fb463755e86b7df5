//! `handoff check`: everything that would keep a gateway from starting with a configuration, and rosters that it could not read, without starting it.
use super::files::{Layers, load};
use super::serve::configured;
use crate::coordination::roster;
use crate::delivery::channel::Channel;
use crate::mllp::tls::Acceptor;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check a configuration with its mappings, sites, certificates and rosters
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "handoff.toml")]
    config: PathBuf,
}

/// Runs the command: exit 0 when a gateway would start with it, 2 when not; nothing is opened but files to read.
///
/// # Errors
/// Mappings that do not compile.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut config = match configured(Some(&args.config)) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut good = true;
    for listener in &config.listeners {
        if let Some(Err(error)) = listener.tls.clone().map(Acceptor::new) {
            eprintln!("{}: listener {}: tls: {error}", args.config.display(), listener.name);
            good = false;
        }
    }
    if let Some(Err(error)) = config.admin.as_ref().and_then(|admin| admin.tls.clone()).map(Acceptor::new) {
        eprintln!("{}: admin: tls: {error}", args.config.display());
        good = false;
    }
    if let Some(Err(error)) = config.fhir.as_ref().and_then(|fhir| fhir.tls.clone()).map(Acceptor::new) {
        eprintln!("{}: coordination.fhir: tls: {error}", args.config.display());
        good = false;
    }
    let rosters = config.coordination.as_ref().map(|coordination| &coordination.rosters);
    for (panel, matching) in rosters.iter().flat_map(|all| all.panels.iter().map(|panel| (panel, &all.matching))) {
        if let Err(error) = roster::files::read(&panel.source, matching) {
            eprintln!("{}: panel {}: {error}", args.config.display(), panel.id);
            good = false;
        }
    }
    for route in &config.routes {
        if let Err(error) = Channel::several(route.target.clone(), &route.replies, 1) {
            eprintln!("{}: route {}: {error}", args.config.display(), route.route.name);
            good = false;
        }
    }
    let (listeners, routes) = (config.listeners.len(), config.routes.len());
    let mappings = config.mappings.take();
    let mut sites: Vec<_> = config.listeners.iter().map(|listener| listener.site.clone()).collect();
    sites.sort_unstable();
    sites.dedup();
    for site in sites {
        if let Err(error) = load(&Layers { mappings: mappings.clone(), site: site.clone(), ..Layers::default() }) {
            let site = site.map_or_else(String::new, |site| format!("site {}: ", site.display()));
            eprintln!("{}: {site}{error:#}", args.config.display());
            good = false;
        }
    }
    if good {
        println!("{}: good ({listeners} listeners, {routes} routes)", args.config.display());
    }
    Ok(ExitCode::from(if good { 0 } else { 2 }))
}
