//! Which figures are others than before, for each who is told of it: before and after are reduced to what they see, and only differences are news.
//!
//! Recipients who may know of the same are one audience. What is made different by something of which they may know nothing is no news for them, whatever they see of it: when it is told
//! would say that it came.
use super::cell::{Cell, Outcome};
use super::counting::{Cleared, Viewer};
use super::period::month_of;
use super::words::Words;
use crate::coordination::subscription::topic::Trigger;
use crate::privacy::{DenyAction, Labels, Options, Recipient};
use std::collections::BTreeSet;

/// A panel whose figures are others, and which months of which measures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Its id.
    pub panel: String,
    /// For whom.
    pub audience: String,
    /// Place of the measure, and its month.
    pub what: BTreeSet<(u32, i32)>,
}

/// Recipients who may know of the same, and are told when it changes.
#[derive(Debug)]
pub(super) struct Audience {
    name: String,
    cleared: Cleared,
    /// Of these panels.
    panels: BTreeSet<String>,
}

/// What recipients who may know of the same have in common, by name: what happens to what they may not know of, and what they are cleared for without asking each patient.
pub fn audience(recipient: &Recipient, labels: &Labels) -> String {
    let action = match recipient.deny_action {
        DenyAction::DropElement => "element",
        DenyAction::DropEvent => "event",
    };
    let mut clear = labels.names(recipient.clear.without(recipient.consent_required));
    clear.sort_unstable();
    [action].into_iter().chain(clear).collect::<Vec<_>>().join(" ")
}

/// All of those who are told; `names` are the labels that facts tell apart.
pub(super) fn audiences(privacy: &Options, names: &[String]) -> Vec<Audience> {
    let labels = &privacy.labels;
    let is_told = |one: &&Recipient| one.topics.iter().any(|topic| topic == Trigger::MeasureUpdated.name());
    let mut all: Vec<Audience> = Vec::new();
    for recipient in privacy.recipients.iter().filter(is_told) {
        let name = audience(recipient, labels);
        let panels = recipient.panels.iter().cloned();
        match all.iter_mut().find(|known| known.name == name) {
            Some(known) => known.panels.extend(panels),
            None => {
                let cleared = Cleared::of(Viewer::Recipient(recipient, labels), names);
                all.push(Audience { name, cleared, panels: panels.collect() });
            }
        }
    }
    all
}

/// What is news of these cells, in order, for each; `labels` are those of what made the difference.
pub(super) fn news(
    audiences: &[Audience],
    (before, after): (&[Cell], &[Cell]),
    labels: (u64, u64),
    words: &Words,
) -> Vec<Changed> {
    let mut changed: Vec<Changed> = Vec::new();
    if before == after {
        return changed;
    }
    for one in audiences.iter().filter(|one| one.cleared.covers(labels)) {
        let (was, is) = (known(before, one.cleared), known(after, one.cleared));
        differ(&was, &is, |(panel, measure, day, ..), _| {
            let panel = words.text(*panel);
            if !one.panels.contains(panel) {
                return;
            }
            let what = (*measure, month_of(*day));
            match changed.iter_mut().find(|known| known.panel == panel && known.audience == one.name) {
                Some(known) => _ = known.what.insert(what),
                None => {
                    changed.push(Changed { panel: panel.to_owned(), audience: one.name.clone(), what: [what].into() })
                }
            }
        });
    }
    changed
}

/// Adds what has changed to what had.
pub(super) fn together(all: &mut Vec<Changed>, more: Vec<Changed>) {
    for one in more {
        match all.iter_mut().find(|known| known.panel == one.panel && known.audience == one.audience) {
            Some(known) => known.what.extend(one.what),
            None => all.push(one),
        }
    }
}

/// Panel, measure, day, facility and what became of it.
type Known = (u32, u32, i32, u32, Outcome);

/// What somebody sees of cells, in order.
fn known(cells: &[Cell], cleared: Cleared) -> Vec<Known> {
    let all = cells.iter().filter(|cell| cleared.covers(cell.labels));
    let seen = |cell: &Cell| (cell.panel, cell.measure, cell.day, cell.facility, cell.ways.seen(cleared));
    let mut known: Vec<_> = all.map(seen).filter(|one| one.4 != Outcome::Void).collect();
    known.sort_unstable();
    known
}

/// What is only in one of two sorted lists: -1 in the first, 1 in the second.
pub(super) fn differ<T: Ord>(before: &[T], after: &[T], mut note: impl FnMut(&T, i64)) {
    let (mut was, mut is) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (was.peek(), is.peek()) {
            (None, None) => break,
            (Some(one), Some(other)) if one == other => {
                was.next();
                is.next();
            }
            (Some(one), other) if other.is_none_or(|other| one < other) => {
                note(one, -1);
                was.next();
            }
            (_, Some(other)) => {
                note(other, 1);
                is.next();
            }
            (Some(_), None) => break,
        }
    }
}
