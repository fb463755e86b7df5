//! Who looks after a person, as rosters, messages and people say, and whom that leads to.
//!
//! What each source says is kept beside what the others do. Of a role the source that goes first has its way; where sources differ that is shown, never settled in
//! silence. Rosters are not kept here: what they say holds at the time of an event, and comes with it.
mod put;
mod render;
mod route;
mod store;

pub use put::{PutError, check, put};
pub use render::{NPI, care_team, reference};
pub use route::{Route, Routing, addressed, route};
pub use store::{Lasting, MEMBERS_MAX, TABLES, prune, take, take_lasting, visits_of};
pub(super) use store::{disown, forget_visit};

use crate::coordination::PersonKey;
use crate::coordination::options::is_npi;
use crate::coordination::roster::Membership;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The primary care provider.
pub const PCP: &str = "pcp";
/// The care manager.
pub const CARE_MANAGER: &str = "care-manager";

/// A membership of a person at the time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The panel.
    pub panel: &'a str,
    /// The NPI of the primary care provider; empty where the roster names none.
    pub pcp_npi: &'a str,
    /// The care manager, as the roster has it; empty where it names none.
    pub care_manager: &'a str,
}

impl<'a> Member<'a> {
    /// A membership of the rosters.
    pub fn of(one: &Membership<'a>) -> Member<'a> {
        Member { panel: &one.panel.id, pcp_npi: one.pcp, care_manager: one.care_manager }
    }
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Somebody, through the API.
    Api,
    /// A roster.
    Roster,
    /// ROL, PRT.
    Rol,
    /// PD1-4.
    Pd1,
    /// PV1-7, 8, 9 and 17: of a visit only.
    Visit,
}

impl Source {
    /// Every one with its name.
    pub const ALL: [(&'static str, Source); 5] = [
        ("api", Source::Api),
        ("roster", Source::Roster),
        ("rol", Source::Rol),
        ("pd1", Source::Pd1),
        ("visit", Source::Visit),
    ];

    /// As configuration and answers write it.
    pub fn name(self) -> &'static str {
        Source::ALL.into_iter().find(|(_, source)| *source == self).map_or("", |(name, _)| name)
    }

    /// The source of that name.
    pub fn parse(name: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|(one, _)| *one == name).map(|(_, source)| source)
    }
}

/// What this part runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Who goes first; those of a visit come last.
    pub precedence: Vec<Source>,
    /// By role (`role:care-manager`), where what is for it goes.
    pub routes: BTreeMap<String, Routing>,
}

impl Default for Options {
    fn default() -> Options {
        Options { precedence: vec![Source::Api, Source::Roster, Source::Rol, Source::Pd1], routes: BTreeMap::new() }
    }
}

/// Somebody who looks after a person. They are no patients: `Debug` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamMember {
    /// As what: `pcp`, `care-manager`, `attending`.
    pub role: String,
    /// Who says so.
    pub source: Source,
    /// Their number as told: an NPI where it passes its check, else a text.
    pub number: String,
    /// Family name.
    pub family: String,
    /// Given name.
    pub given: String,
    /// Since when it is known, in milliseconds since 1970 (UTC).
    pub since_ms: i64,
    /// Until when, for one of a visit.
    pub until_ms: Option<i64>,
    /// Known by something that is to be told to few: that they look after the person would tell of it.
    pub secret: bool,
}

impl TeamMember {
    /// Whether anything can be sent to them.
    pub fn is_routable(&self) -> bool {
        is_npi(&self.number)
    }

    /// What tells them from others.
    fn identity(&self) -> (&str, &str, &str) {
        if self.number.is_empty() { ("", &self.family, &self.given) } else { (&self.number, "", "") }
    }
}

/// A role that sources give to different people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The role.
    pub role: String,
    /// The sources, who goes first at the front.
    pub sources: Vec<Source>,
}

/// All who look after a person at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Team {
    /// By role, who goes first at the front of each.
    pub members: Vec<TeamMember>,
    /// Where sources differ.
    pub conflicts: Vec<Conflict>,
}

impl Team {
    /// NPIs of those who look after the person beyond a visit.
    pub fn numbers(&self) -> Vec<String> {
        let lasting = |member: &&TeamMember| member.source != Source::Visit && member.is_routable();
        let mut numbers: Vec<_> = self.members.iter().filter(lasting).map(|member| member.number.clone()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// The team of a person at a moment, with what rosters say then.
///
/// # Errors
/// A database that cannot be read, or that another version wrote.
pub fn team(
    connection: &Connection,
    person: PersonKey,
    memberships: &[Member<'_>],
    at_ms: i64,
    options: &Options,
) -> rusqlite::Result<Team> {
    let mut members = store::of_person(connection, person, at_ms)?;
    members.extend(memberships.iter().flat_map(|membership| {
        [(PCP, membership.pcp_npi), (CARE_MANAGER, membership.care_manager)]
            .into_iter()
            .filter(|(_, number)| !number.is_empty())
            .map(|(role, number)| of_roster(role, number, at_ms))
    }));
    let place = |source: Source| options.precedence.iter().position(|one| *one == source).unwrap_or(usize::MAX);
    // By role, then who goes first, then what is newest; equal ones in an order that does not depend on who came first.
    let key = |member: &TeamMember| {
        let last = member.source == Source::Visit;
        (
            member.role.clone(),
            last,
            place(member.source),
            -member.since_ms,
            member.number.clone(),
            member.family.clone(),
        )
    };
    members.sort_by_cached_key(key);
    members.dedup_by(|next, member| {
        let same = next.role == member.role && next.source == member.source && next.identity() == member.identity();
        // Of whom is known openly as well a secret message tells nothing.
        member.secret &= !same || next.secret;
        same
    });
    let conflicts = conflicts(&members);
    Ok(Team { members, conflicts })
}

fn of_roster(role: &str, number: &str, since_ms: i64) -> TeamMember {
    TeamMember {
        role: role.to_owned(),
        source: Source::Roster,
        number: number.to_owned(),
        family: String::new(),
        given: String::new(),
        since_ms,
        until_ms: None,
        secret: false,
    }
}

fn conflicts(members: &[TeamMember]) -> Vec<Conflict> {
    let lasting: Vec<_> = members.iter().filter(|member| member.source != Source::Visit).collect();
    let differ = |of_role: &&[&TeamMember]| of_role.windows(2).any(|pair| pair[0].identity() != pair[1].identity());
    let by_role = lasting.chunk_by(|left, right| left.role == right.role);
    by_role
        .filter(differ)
        .map(|of_role| Conflict {
            role: of_role[0].role.clone(),
            sources: of_role.iter().map(|member| member.source).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
