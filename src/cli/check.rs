//! `handoff check`: everything that would keep a gateway from starting with a configuration, and rosters that it could not read, without starting it.
use super::configuration::Configuration;
use super::files::{Layers, load};
use crate::config::Config;
use crate::coordination::roster;
use crate::delivery::channel::Channel;
use crate::mllp::tls::Acceptor;
use clap::Args;
use std::process::ExitCode;

/// Check a configuration with its mappings, sites, certificates and rosters
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: Configuration,
}

/// Runs the command: exit 0 when a gateway would start with it, 2 when not; nothing is opened but files to read.
///
/// # Errors
/// Mappings that do not compile.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let file = args.config.file().display();
    let mut config = match Config::load(args.config.file()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut good = true;
    for listener in &config.listeners {
        if let Some(Err(error)) = listener.tls.clone().map(Acceptor::new) {
            eprintln!("{file}: listener {}: tls: {error}", listener.name);
            good = false;
        }
    }
    if let Some(Err(error)) = config.admin.as_ref().and_then(|admin| admin.tls.clone()).map(Acceptor::new) {
        eprintln!("{file}: admin: tls: {error}");
        good = false;
    }
    if let Some(Err(error)) = config.fhir.as_ref().and_then(|fhir| fhir.tls.clone()).map(Acceptor::new) {
        eprintln!("{file}: coordination.fhir: tls: {error}");
        good = false;
    }
    let rosters = config.coordination.as_ref().map(|coordination| &coordination.rosters);
    for (panel, matching) in rosters.iter().flat_map(|all| all.panels.iter().map(|panel| (panel, &all.matching))) {
        if let Err(error) = roster::files::read(&panel.source, matching) {
            eprintln!("{file}: panel {}: {error}", panel.id);
            good = false;
        }
    }
    for route in &config.routes {
        if let Err(error) = Channel::several(route.target.clone(), &route.replies, 1) {
            eprintln!("{file}: route {}: {error}", route.route.name);
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
            eprintln!("{file}: {site}{error:#}");
            good = false;
        }
    }
    if good {
        println!("{file}: good ({listeners} listeners, {routes} routes)");
    }
    Ok(ExitCode::from(if good { 0 } else { 2 }))
}
