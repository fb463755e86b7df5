//! One message once more, to one target, at once and outside its lane: for dead letters, which their lane has passed.
use super::channel::replies::Replies;
use super::channel::{Channel, Target};
use super::supply::{Plans, again};
use crate::facets::{Facets, Outcome};
use crate::journal::{Error, Item, Record, View};
use crate::mapping::Scratch;
use crate::routing::{Live, Route};
use std::sync::Arc;

/// A message as it is delivered today: translated by the present mappings if it could not be translated when it came, else as it was then.
///
/// # Errors
/// Why there is still nothing to deliver.
pub fn prepare(seq: u64, mut record: Record, plans: &Plans) -> Result<Live, String> {
    let Some(facets) = Facets::decode(&record.facets) else {
        return Err("its facets were written by another version".into());
    };
    if matches!(facets.outcome, Outcome::Untranslated | Outcome::Rejected) {
        let mut encoded = Vec::new();
        Facets { outcome: Outcome::Received, ..facets }.encode(&mut encoded);
        record.facets = encoded;
    }
    let live = again(seq, record, plans, &mut Scratch::default());
    match live.failure {
        Some(why) => Err(why),
        None if live.bundle.is_empty() => Err("there is nothing in it to deliver".into()),
        None => Ok(live),
    }
}

/// The number of a newer message of the same patient that has gone out on a route: to send this one again would put an older state over a newer one, where the target keeps
/// states and no history. Looks through the journal from there on.
///
/// # Errors
/// A journal or state database that cannot be read.
pub fn overtaken(view: &mut View, live: &Live, route: &Route, target: &Target) -> Result<Option<u64>, Error> {
    let patient = Facets::decode(&live.facets).and_then(|facets| facets.patient);
    let (Target::Fhir(_), Some(patient)) = (target, patient) else { return Ok(None) };
    let Some(position) = view.state().position(&route.name)? else { return Ok(None) };
    let letters = view.state().dead_letters(&route.name)?;
    let gone_out = |seq: u64| {
        let given_up = letters.iter().any(|letter| (letter.seq..=letter.last).contains(&seq));
        seq < position.ahead && position.waiting.binary_search(&seq).is_err() && !given_up
    };
    let mut next = live.seq + 1;
    while next < position.ahead {
        let items = view.records(next)?;
        let Some(last) = items.last() else { break };
        next = last.next();
        for item in items {
            if let Item::Record(seq, record) = item
                && let Some(facets) = Facets::decode(&record.facets)
                && facets.patient == Some(patient)
                && route.wants(&facets, &record.raw)
                && gone_out(seq)
            {
                return Ok(Some(seq));
            }
        }
    }
    Ok(None)
}

/// Delivers it; once.
///
/// # Errors
/// What the target says.
pub async fn deliver(live: Live, target: Target) -> Result<(), String> {
    // Nothing is passed over here: whoever sends a message again wants to know whether it has arrived.
    let mut channels = Channel::several(target, &Replies::default(), 1).map_err(|error| error.to_string())?;
    let Some(channel) = channels.first_mut() else { return Err("the target has no channel".into()) };
    match channel.deliver(&[Arc::new(live)]).await.failure {
        None => Ok(()),
        Some(failure) => Err(failure.reason().to_owned()),
    }
}
