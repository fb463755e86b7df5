//! Who is to be told of an event: all active subscriptions at once.
//!
//! For each trigger a subscription stands in a list for what narrows it most: its persons, else its panels, else its facilities, else in the list of those that
//! must be looked at each time. An event asks for the lists of its own person, panels and facility, and judges what it finds there; the work is that of the
//! subscriptions which might match, not of all. The answer is in the order of ids.
use super::filter::{Branch, Candidate, branches};
use super::resource::{Subscription, Wanted};
use super::topic::{Focus, Parameter, Topic, Trigger, focus};
use std::collections::HashMap;

/// Subscriptions that are matched.
pub const SUBSCRIPTIONS_MAX: usize = 100_000;

/// A subscription that an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'m> {
    /// Its id.
    pub id: &'m str,
    /// Its topic.
    pub topic: &'static str,
    /// The types that its topic knows for this trigger, with a bit for each that the subscription wants.
    types: &'static [&'static str],
    wanted: u8,
}

impl Match<'_> {
    /// The types of which the focus may be, the likeliest first.
    pub fn focus(&self) -> impl Iterator<Item = &'static str> {
        let (types, wanted) = (self.types, self.wanted);
        types.iter().enumerate().filter(move |(at, _)| wanted >> at & 1 == 1).map(|(_, name)| *name)
    }
}

/// All subscriptions that are matched.
#[derive(Default)]
pub struct Matcher {
    events_system: String,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_id: HashMap<Box<str>, u32>,
    /// By [`Trigger::index`].
    lists: Vec<Lists>,
}

struct Slot {
    id: Box<str>,
    topic: &'static Topic,
    end_ms: Option<i64>,
    branches: Vec<Branch>,
}

/// Of one trigger, where its subscriptions stand.
#[derive(Default, Clone)]
struct Lists {
    person: HashMap<Box<str>, Vec<u32>>,
    panel: HashMap<Box<str>, Vec<u32>>,
    facility: HashMap<Box<str>, Vec<u32>>,
    rest: Vec<u32>,
}

/// By what a branch is found.
enum Key<'b> {
    Person(&'b str),
    Panel(&'b str),
    Facility(&'b str),
    Rest,
}

impl Matcher {
    /// Matches nothing yet. `events_system`: the code system of our own events ([`super::topic::Topics::events_system`]).
    pub fn new(events_system: String) -> Matcher {
        Matcher { events_system, lists: vec![Lists::default(); Trigger::COUNT], ..Matcher::default() }
    }

    /// How many subscriptions are matched.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Matches a subscription from now on, in place of one of the same id; one that is off, or to whose filters the client has yet to agree, is only taken out.
    /// Whether there was room.
    pub fn put(&mut self, subscription: &Subscription) -> bool {
        self.remove(&subscription.id);
        if subscription.wanted != Wanted::Requested {
            return true;
        }
        if self.by_id.len() >= SUBSCRIPTIONS_MAX {
            return false;
        }
        let slot = Slot {
            id: subscription.id.as_str().into(),
            topic: subscription.topic,
            end_ms: subscription.end_ms,
            branches: branches(&subscription.criteria),
        };
        let Some(at) = self.free.pop().or_else(|| u32::try_from(self.slots.len()).ok()) else { return false };
        for (list, key) in slot.keys() {
            if let Some(lists) = self.lists.get_mut(list) {
                lists.list(&key).push(at);
            }
        }
        self.by_id.insert(slot.id.clone(), at);
        match self.slots.get_mut(at as usize) {
            Some(place) => *place = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        true
    }

    /// Matches a subscription no more. Whether it was.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(at) = self.by_id.remove(id) else { return false };
        let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::take) else { return false };
        for (list, key) in slot.keys() {
            if let Some(lists) = self.lists.get_mut(list) {
                lists.forget(&key, at);
            }
        }
        self.free.push(at);
        true
    }

    /// Whether an event is for one subscription.
    pub fn judge(&self, id: &str, candidate: &Candidate<'_>) -> Option<Match<'_>> {
        let slot = self.slots.get(*self.by_id.get(id)? as usize)?.as_ref()?;
        slot.judge(candidate, &self.events_system)
    }

    /// The subscriptions that an event is for, by id.
    pub fn matches(&self, candidate: &Candidate<'_>) -> Vec<Match<'_>> {
        let Some(lists) = self.lists.get(candidate.trigger.index()) else { return Vec::new() };
        let mut found: Vec<u32> = lists.rest.clone();
        let mut more = |list: Option<&Vec<u32>>| found.extend(list.into_iter().flatten());
        for person in candidate.people {
            more(lists.person.get(*person));
        }
        for panel in candidate.panels {
            more(lists.panel.get(*panel));
        }
        more(lists.facility.get(candidate.facility));
        // One that stands in several of them is judged once.
        found.sort_unstable();
        found.dedup();
        let slots = found.iter().filter_map(|at| self.slots.get(*at as usize)?.as_ref());
        let mut matches: Vec<Match<'_>> = slots.filter_map(|slot| slot.judge(candidate, &self.events_system)).collect();
        matches.sort_unstable_by(|one, other| one.id.cmp(other.id));
        matches
    }
}

impl Slot {
    /// Where it stands: lists and keys, each once.
    fn keys(&self) -> Vec<(usize, Key<'_>)> {
        let mut keys = Vec::new();
        for (trigger, types) in self.topic.triggers {
            for branch in &self.branches {
                if branch.focus.is_some_and(|focus| !types.contains(&focus.name)) {
                    continue;
                }
                keys.extend(branch_keys(branch).into_iter().map(|key| (trigger.index(), key)));
            }
        }
        keys
    }

    fn judge(&self, candidate: &Candidate<'_>, events_system: &str) -> Option<Match<'_>> {
        if self.end_ms.is_some_and(|end| end <= candidate.received_ms) {
            return None;
        }
        let types = self.topic.types(candidate.trigger);
        let holds = |focus: &Focus| {
            let fits = |branch: &&Branch| branch.focus.is_none_or(|own| own.name == focus.name);
            let branch = |branch: &Branch| branch.tests.iter().all(|test| test.holds(focus, candidate, events_system));
            self.branches.iter().filter(fits).any(branch)
        };
        let wanted = types
            .iter()
            .enumerate()
            .fold(0, |wanted, (at, name)| wanted | u8::from(focus(name).is_some_and(holds)) << at);
        (wanted != 0).then_some(Match { id: &self.id, topic: self.topic.id, types, wanted })
    }
}

/// By what a branch is found: the values of the parameter that narrows it most.
fn branch_keys(branch: &Branch) -> Vec<Key<'_>> {
    let of = |parameter: Parameter| branch.tests.iter().find(|test| test.parameter == parameter);
    if let Some(test) = of(Parameter::Patient) {
        return test.values.iter().map(|token| Key::Person(&token.code)).collect();
    }
    if let Some(test) = of(Parameter::In) {
        return test.values.iter().map(|token| Key::Panel(&token.code)).collect();
    }
    match of(Parameter::Facility) {
        Some(test) => test.values.iter().map(|token| Key::Facility(&token.code)).collect(),
        None => vec![Key::Rest],
    }
}

impl Lists {
    fn list(&mut self, key: &Key<'_>) -> &mut Vec<u32> {
        match key {
            Key::Person(person) => self.person.entry((*person).into()).or_default(),
            Key::Panel(panel) => self.panel.entry((*panel).into()).or_default(),
            Key::Facility(facility) => self.facility.entry((*facility).into()).or_default(),
            Key::Rest => &mut self.rest,
        }
    }

    /// Takes one out, and a list that is empty then.
    fn forget(&mut self, key: &Key<'_>, at: u32) {
        let (map, name) = match key {
            Key::Person(person) => (&mut self.person, *person),
            Key::Panel(panel) => (&mut self.panel, *panel),
            Key::Facility(facility) => (&mut self.facility, *facility),
            Key::Rest => return self.rest.retain(|own| *own != at),
        };
        if let Some(list) = map.get_mut(name) {
            list.retain(|own| *own != at);
            if list.is_empty() {
                map.remove(name);
            }
        }
    }
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
