//! Whom something for a role goes to. It always goes somewhere, or is said to go nowhere.
use super::{Options, Team, TeamMember};
use crate::coordination::options::{Facilities, is_npi};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where what is for a role goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routing {
    /// The recipient (`[[coordination.recipient]]`) that takes what is for the role.
    pub endpoint: Option<String>,
    /// The role that is asked instead where nobody has this one.
    pub fallback: Option<String>,
    /// Whether the owner of the panel is told where nobody can be.
    pub panel_owner: bool,
}

/// Whom something goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Somebody.
    Recipient {
        /// The role that they were found by.
        role: String,
        /// Who.
        member: TeamMember,
        /// The endpoint of the role, where it has one.
        endpoint: Option<String>,
    },
    /// A facility.
    Organization {
        /// Its key.
        facility: String,
        /// Its NPI.
        npi: String,
    },
    /// The owner of a panel, as nobody else was found.
    PanelOwner {
        /// The panel.
        panel: String,
        /// The NPI of its owner.
        npi: String,
    },
    /// Nobody: a dead letter.
    Unroutable {
        /// Whom it was for.
        to: String,
    },
}

impl Route {
    /// The NPI of whom it leads to.
    pub fn npi(&self) -> Option<&str> {
        match self {
            Route::Recipient { member, .. } => Some(&member.number),
            Route::Organization { npi, .. } | Route::PanelOwner { npi, .. } => Some(npi),
            Route::Unroutable { .. } => None,
        }
    }
}

/// Roles asked one after the other.
const FALLBACKS_MAX: usize = 8;

/// Whom `to` (`role:care-manager`, `org:SBMC`) leads to for a person of these panels; `owners` are the NPIs of those whose panels they are. It stands in what others read: never
/// somebody whose part in it is a secret.
pub fn route(
    to: &str,
    team: &Team,
    panels: &[String],
    owners: &BTreeMap<String, String>,
    facilities: &Facilities,
    options: &Options,
) -> Route {
    if let Some(key) = to.strip_prefix("org:") {
        let npi = facilities.by_key.get(key).and_then(|facility| facility.npi.clone());
        return match npi {
            Some(npi) => Route::Organization { facility: key.to_owned(), npi },
            None => owner(to, panels, owners),
        };
    }
    let mut role = to;
    // What the last role asked says, or those without an entry: the owner of the panel.
    let mut panel_owner = true;
    for _ in 0..FALLBACKS_MAX {
        let routing = options.routes.get(role);
        let name = role.strip_prefix("role:").unwrap_or(role);
        let found = team.members.iter().find(|member| member.role == name && member.is_routable() && !member.secret);
        if let Some(member) = found {
            let endpoint = routing.and_then(|routing| routing.endpoint.clone());
            return Route::Recipient { role: name.to_owned(), member: member.clone(), endpoint };
        }
        let Some(routing) = routing else { break };
        panel_owner = routing.panel_owner;
        match &routing.fallback {
            Some(next) => role = next,
            None => break,
        }
    }
    if panel_owner { owner(to, panels, owners) } else { Route::Unroutable { to: to.to_owned() } }
}

/// The recipients that take what is for `to` and led to `routes`: those of the roles that were asked for and of those by which somebody was found, each once.
pub fn addressed<'o>(to: &[String], routes: &'o [Route], options: &'o Options) -> Vec<&'o str> {
    let asked = to.iter().filter_map(|to| options.routes.get(to)?.endpoint.as_deref());
    let found = routes.iter().filter_map(|route| match route {
        Route::Recipient { endpoint, .. } => endpoint.as_deref(),
        _ => None,
    });
    let mut all: Vec<_> = asked.chain(found).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn owner(to: &str, panels: &[String], owners: &BTreeMap<String, String>) -> Route {
    let found = panels.iter().find_map(|panel| Some((panel, owners.get(panel).filter(|npi| is_npi(npi))?)));
    match found {
        Some((panel, npi)) => Route::PanelOwner { panel: panel.clone(), npi: npi.clone() },
        None => Route::Unroutable { to: to.to_owned() },
    }
}
