//! What of a card somebody may see: groups of it, what should happen, who looks after the person.
use super::super::Shared;
use super::super::content::ContentError;
use super::set;
use super::sheet::{Drawn, Piece, Sheet};
use crate::coordination::PersonKey;
use crate::coordination::card::Group;
use crate::coordination::care_team::{self, Member, Source as Whence};
use crate::coordination::loops::{self, State};
use crate::coordination::work::{labels_of_loop, whole_of};
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Decision, Facts, Found, Passage, Places, Recipient, Release, visits};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Loops of a person that are shown.
const LOOPS_MAX: usize = 20;

/// Who looks, and at whom.
pub(super) struct View<'v> {
    pub shared: &'v Shared,
    pub recipient: &'v Recipient,
    pub facts: Facts<'v>,
    /// Names of places by which more would be told than may be.
    pub places: Places,
}

impl View<'_> {
    /// The resources of a group that may be seen, without the header of its message.
    pub fn shown(&self, sheet: &mut Sheet<'_>, (group, found): (&Group, Found), drawn: &Drawn) -> Vec<Arc<Piece>> {
        let mut times = vec![group.at_ms];
        // A consent may be about some days alone: what happened on several is seen by who may see all of them.
        if !self.facts.consents.is_empty() {
            times.extend(group.sources.iter().map(|source| source.at_ms));
            times.sort_unstable();
            times.dedup();
        }
        self.passed(sheet, (found, &times), drawn).unwrap_or_default()
    }

    /// None where nothing of it may be seen, or it cannot be judged.
    fn passed(&self, sheet: &mut Sheet<'_>, (found, times): (Found, &[i64]), drawn: &Drawn) -> Option<Vec<Arc<Piece>>> {
        let (gate, carried) = (&self.shared.gate, drawn.carried());
        let mut is_whole = true;
        for at_ms in times {
            match gate.passage(self.recipient, &Facts { found, at_ms: *at_ms, ..self.facts }, carried) {
                Passage::Withheld(_) => return None,
                Passage::Whole => {}
                Passage::Parts => is_whole = false,
            }
        }
        if is_whole {
            let all = drawn.pieces.iter().filter(|piece| !drawn.is_aside(piece));
            return all.map(|piece| self.marked(sheet, piece)).collect();
        }
        let mut bundle = sheet.bundle(drawn)?;
        for at_ms in times {
            let facts = Facts { found, at_ms: *at_ms, ..self.facts };
            match gate.release(self.recipient, &facts, MaxContent::FullResource, bundle) {
                Release::Withheld(_) => return None,
                Release::Shared(shared) => bundle = shared.bundle?,
            }
        }
        let entries = bundle["entry"].as_array().into_iter().flatten();
        let all = entries.map(|entry| sheet.piece(&entry["resource"].to_string())).collect::<Option<Vec<_>>>()?;
        Some(all.into_iter().filter(|piece| !drawn.is_aside(piece)).collect())
    }

    /// A resource that leaves as it is, marked with what it carries.
    fn marked(&self, sheet: &mut Sheet<'_>, piece: &Arc<Piece>) -> Option<Arc<Piece>> {
        if piece.carried.labels.is_empty() {
            return Some(Arc::clone(piece));
        }
        let mut resource = sheet.value(piece)?;
        self.shared.gate.mark(&mut resource, piece.carried.labels);
        sheet.piece(&resource.to_string())
    }

    /// A group as it may be told where it comes from: a feed may be named for what is secret.
    pub fn named<'g>(&self, group: &'g Group) -> Cow<'g, Group> {
        let tells = |text: &str| self.places.are_in(text);
        if !tells(&group.feed) && !tells(&group.facility) && !group.sources.iter().any(|one| tells(&one.control_id)) {
            return Cow::Borrowed(group);
        }
        let mut group = group.clone();
        let is_secret = tells(&group.feed);
        if tells(&group.facility) {
            group.facility.clear();
        }
        for source in &mut group.sources {
            if is_secret {
                source.feed = "not disclosed".into();
            }
            if is_secret || tells(&source.control_id) {
                source.control_id.clear();
            }
        }
        Cow::Owned(group)
    }

    /// A Task for each step of the loops that go on.
    pub fn tasks(
        &self,
        sheet: &mut Sheet<'_>,
        (person, id): (PersonKey, &str),
    ) -> Result<Vec<Arc<Piece>>, ContentError> {
        let shared = self.shared;
        let patient = format!("Patient/{id}");
        let going_on = {
            let database = shared.database();
            let going_on = loops::going_on(&database, person, LOOPS_MAX)?;
            let judged = going_on.into_iter().map(|one| {
                let found = labels_of_loop(&database, shared.gate.labels(), &shared.options.loops, &one)?;
                Ok((one, found))
            });
            judged.collect::<rusqlite::Result<Vec<_>>>()?
        };
        let mut all = Vec::new();
        for (one, found) in going_on {
            // That somebody is in a panel of others is theirs to know.
            let is_theirs = one.facts.panels.iter().any(|panel| self.recipient.panels.contains(panel));
            if !is_theirs || !matches!(one.state, State::Open | State::Overdue) {
                continue;
            }
            let zone = shared.options.facilities.zone(&one.facts.facility);
            let steps = one.steps.iter().map(|step| loops::task(&one, step, &patient, None, zone));
            all.extend(self.own(sheet, steps, (found, one.opened_ms)));
        }
        Ok(all)
    }

    /// Resources of ours that may be seen.
    fn own(
        &self,
        sheet: &mut Sheet<'_>,
        resources: impl Iterator<Item = Value>,
        (found, at_ms): (Found, i64),
    ) -> Vec<Arc<Piece>> {
        let pieces = resources.map(|one| sheet.piece(&one.to_string())).collect::<Option<Vec<_>>>();
        let drawn = pieces.map(Drawn::of);
        drawn.and_then(|drawn| self.passed(sheet, (found, &[at_ms]), &drawn)).unwrap_or_default()
    }

    /// Who looks after the person, as the panels of the recipient and messages say; nobody by whom more would be told than that.
    pub fn team(&self, sheet: &mut Sheet<'_>, person: PersonKey) -> Result<Vec<Arc<Piece>>, ContentError> {
        let Self { shared, recipient, facts, .. } = self;
        let snapshot = shared.rosters.current();
        let memberships = snapshot.memberships_at(&person, facts.now_ms);
        let memberships: Vec<_> = memberships.filter(|one| recipient.panels.contains(&one.panel.id)).collect();
        let members: Vec<_> = memberships.iter().map(Member::of).collect();
        let database = shared.database();
        let mut team = care_team::team(&database, person, &members, facts.now_ms, &shared.options.care_team)?;
        let (mut judged, labels) = (Vec::new(), shared.gate.labels());
        for member in team.members {
            // Who is known by a visit is shown to whom the visit is, and nobody by a visit of which that is not known.
            let mut is_shown = member.source != Whence::Visit && !member.secret;
            if member.source == Whence::Visit {
                for visit in care_team::visits_of(&database, person, &member)? {
                    let all = visits::labels_of(&database, &visit)?;
                    let whole = set(labels, &visits::labels_of(&database, &whole_of(&visit))?);
                    let found = Found { all: set(labels, &all).with(whole), whole };
                    let is_unknown = member.secret && found.whole.is_empty();
                    let facts = Facts { found, ..*facts };
                    is_shown |= !is_unknown && !matches!(shared.gate.decide(recipient, &facts), Decision::Withhold(_));
                }
            }
            if is_shown {
                judged.push(member);
            }
        }
        drop(database);
        team.members = judged;
        // Conflicts may be with somebody who is not shown.
        team.conflicts.clear();
        if team.members.is_empty() {
            return Ok(Vec::new());
        }
        let zone = shared.options.facilities.zone("");
        let team = care_team::care_team(&team, facts.person, &format!("Patient/{}", facts.person), zone);
        Ok(self.own(sheet, std::iter::once(team), (Found::default(), facts.now_ms)))
    }
}
