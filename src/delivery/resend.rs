//! One message once more, to one target, at once and outside its lane: for dead letters, which their lane has passed.
use super::channel::{Channel, Failure, Target};
use super::supply::{Plans, again};
use crate::facets::{Facets, Outcome};
use crate::journal::Record;
use crate::mapping::Scratch;
use crate::routing::Live;
use std::sync::Arc;

/// A message as it is delivered today: translated by the present mappings if it could not be translated when it came, else as it was then.
///
/// # Errors
/// Why there is still nothing to deliver.
pub fn prepare(seq: u64, mut record: Record, plans: &Plans) -> Result<Live, String> {
    let Some(facets) = Facets::decode(&record.facets) else {
        return Err("its facets were written by another version".into());
    };
    if matches!(facets.outcome, Outcome::Untranslated | Outcome::Rejected | Outcome::Refused) {
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

/// Delivers it; once.
///
/// # Errors
/// What the target says.
pub async fn deliver(live: Live, target: Target) -> Result<(), String> {
    let mut channel = Channel::new(target).map_err(|error| format!("no HTTP client: {error}"))?;
    match channel.deliver(&[Arc::new(live)]).await.failure {
        None => Ok(()),
        Some(Failure::Refused(reason) | Failure::Again { reason, .. } | Failure::Endpoint { reason, .. }) => {
            Err(reason)
        }
    }
}
