//! One message once more: a dead letter at once and outside its lane, which has passed it; any other by its lane (`lane::errand`). What has come of it is kept
//! (`journal::SentAgain`): by whom, with which mappings, and a hash of what went out.
use super::acknowledgement;
use super::channel::replies::Replies;
use super::channel::{Channel, Target};
use super::lane::{Door, attempt};
use super::later::{self, Gone, Later};
use super::plans::Plans;
use super::supply::again;
use super::{Options, UNTRANSLATED};
use crate::facets::{Facets, Outcome, id_of_other};
use crate::hl7::Index;
use crate::journal::{DeadLetter, Error, Record, SentAgain, State, View};
use crate::mapping::Scratch;
use crate::routing::{Live, Route};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By what a message is translated and delivered again.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Mappings.
    pub plans: Arc<Plans>,
    /// Routes.
    pub routes: Vec<Options>,
    /// Those of them that run here, by name.
    pub doors: BTreeMap<String, Door>,
    /// By which mappings.
    pub by: Mappings,
    /// An edited copy goes out in place of the message.
    pub edited: bool,
    /// Who sends: a user or a token.
    pub who: Arc<str>,
}

/// By which mappings a message is translated again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mappings {
    /// Those that it was translated with when it came.
    Original,
    /// Those of its listener now.
    Current,
}

impl Mappings {
    /// As it is asked for and kept.
    pub fn name(self) -> &'static str {
        match self {
            Mappings::Original => "original",
            Mappings::Current => "current",
        }
    }

    /// That of the name.
    pub fn parse(name: &str) -> Option<Mappings> {
        [Mappings::Original, Mappings::Current].into_iter().find(|by| by.name() == name)
    }
}

/// A message as it goes out once more.
#[derive(Debug)]
pub struct Prepared {
    /// What goes out.
    pub live: Live,
    by: Mappings,
    /// The hash of the mappings that made the Bundle; zeros where the message goes out as it came.
    plan: [u8; 32],
}

impl Prepared {
    /// For a target that gets the message as it came: what it was translated to is asked only for whom it is about.
    pub fn as_it_came(mut self) -> Prepared {
        self.live.bundle.clear();
        (self.live.other_id, self.plan) = (None, [0; 32]);
        self
    }

    /// What is kept of its having been sent to a route.
    pub fn fact(&self, route: &str, who: &str, failure: Option<String>) -> SentAgain {
        let body: &[u8] = if self.live.bundle.is_empty() { &self.live.raw } else { &self.live.bundle };
        SentAgain {
            id: 0,
            reader: route.to_owned(),
            seq: self.live.seq,
            at_ms: jiff::Timestamp::now().as_millisecond(),
            who: who.to_owned(),
            mappings: self.by.name().to_owned(),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            plan: self.plan,
            body: Sha256::digest(body).into(),
            failure,
        }
    }
}

/// What has come of it at one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its name.
    pub route: String,
    /// Why it has not arrived; none when it has.
    pub failure: Option<String>,
}

/// Why a dead letter was not sent at all.
#[derive(Debug, thiserror::Error)]
pub enum ResendError {
    /// It stands for a stretch of the journal that cannot be read.
    #[error("records {0} to {1} were damaged; as one letter they cannot be sent")]
    Damaged(u64, u64),
    /// There is nothing to deliver.
    #[error("{0}")]
    Nothing(String),
    /// It would put an older state over a newer one.
    #[error(
        "message {newer} of the same patient has gone out on {route} since, and this one would put an older state over it; look at both, then `handoff dead-letters resend --anyway` sends it"
    )]
    Overtaken {
        /// The newer one.
        newer: u64,
        /// The route.
        route: String,
    },
    /// It is not known whether it would.
    #[error(
        "whether a message of the same patient has gone out on {route} since is not known, as too many came since; `handoff dead-letters resend --anyway` sends it"
    )]
    Unknown {
        /// The route.
        route: String,
    },
    /// Somebody holds the route back.
    #[error("{route} is {how}; start it, then send it again")]
    Held {
        /// The route.
        route: String,
        /// `paused` or `stopped`.
        how: String,
    },
    /// The filter of its route keeps it away now.
    #[error(
        "the filter of {route} keeps it away now, though it let it through when it came; its message's own page sends it all the same"
    )]
    Unwanted {
        /// The route.
        route: String,
    },
    /// No route would take it.
    #[error("no route of the configuration wants it that was there when it came")]
    NoRoute,
    /// The state database cannot be written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What a dead letter goes out in spite of, because somebody says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Despite {
    /// Newer messages of its patient, whose state it would replace.
    pub newer: bool,
    /// The filter of its route, which would keep it away today.
    pub filter: bool,
}

/// Sends a dead letter of a route once more: to that route, or, where it could not be translated before, to all that want it now. What has arrived is no dead letter any
/// more; where it has not arrived it is one.
///
/// # Errors
/// A [`ResendError`]; it is the dead letter that it was.
pub async fn letter(
    view: &mut View,
    route: &str,
    letter: &DeadLetter,
    record: Record,
    outlets: &Outlets,
    despite: Despite,
) -> Result<Vec<Sent>, ResendError> {
    if letter.last > letter.seq {
        return Err(ResendError::Damaged(letter.seq, letter.last));
    }
    let by = outlets.by;
    let live = prepare(letter.seq, record.clone(), &outlets.plans, false, by).map_err(ResendError::Nothing)?.live;
    let mut chosen = Vec::new();
    for options in &outlets.routes {
        if wants(view.state(), options, route, &live, despite)? {
            chosen.push(options);
        }
    }
    if chosen.is_empty() && outlets.routes.iter().any(|options| options.route.name == route) {
        return Err(ResendError::Unwanted { route: route.to_owned() });
    }
    if chosen.iter().any(|options| options.target.wants_bundle()) {
        prepare(letter.seq, record.clone(), &outlets.plans, true, by).map_err(ResendError::Nothing)?;
    }
    for Options { route, .. } in &chosen {
        if let Some(how) = view.state().hold(&route.name)? {
            return Err(ResendError::Held { route: route.name.clone(), how });
        }
    }
    if !despite.newer {
        for Options { route, target, .. } in &chosen {
            let (later, name) = (overtaken(view, letter.seq, &record, route, target)?, route.name.clone());
            match later.last {
                Some(newer) => return Err(ResendError::Overtaken { newer, route: name }),
                None if later.cut => return Err(ResendError::Unknown { route: name }),
                None => {}
            }
        }
    }
    let (state, mut sent) = (view.state(), Vec::new());
    for options in chosen {
        // Each route its own copy: a channel takes it whole.
        let record = record.clone();
        let prepared = match options.target.acknowledges() {
            true => acknowledge(letter.seq, record, &outlets.plans),
            false => prepare(letter.seq, record, &outlets.plans, options.target.wants_bundle(), by),
        };
        let name = &options.route.name;
        let failure = match prepared {
            Ok(prepared) => {
                let mut fact = prepared.fact(name, &outlets.who, None);
                if outlets.edited {
                    fact.mappings = format!("edited copy, {}", fact.mappings);
                }
                fact.failure = deliver(prepared.live, options.target.clone(), name).await.err();
                state.note_resend(&fact)?;
                fact.failure
            }
            Err(why) => Some(why),
        };
        sent.push(Sent { route: name.clone(), failure });
    }
    if sent.is_empty() {
        return Err(ResendError::NoRoute);
    }
    // Where it has not arrived it stays a dead letter; where it has, it must not be sent once more.
    for Sent { route: name, failure } in &sent {
        match failure.clone() {
            None => {}
            Some(_) if name == route => {}
            Some(reason) => {
                let attempts = letter.attempts.saturating_add(1);
                // Given up now: whoever sends all that had been given up by a time does not meet it again.
                let at_ms = jiff::Timestamp::now().as_millisecond();
                state.keep_dead_letter(name, &DeadLetter { attempts, reason, at_ms, ..letter.clone() })?;
            }
        }
    }
    if route == UNTRANSLATED || sent.iter().all(|sent| sent.failure.is_none()) {
        state.forget_dead_letter(route, letter.seq)?;
    }
    Ok(sent)
}

/// Whether a dead letter of `of` goes to a route: of its own, or, where it could not be translated, of any that wants it and was there when it came, and where nobody dropped it.
/// What came before a route is sent to it from the message's own page.
fn wants(state: &State, options: &Options, of: &str, live: &Live, despite: Despite) -> Result<bool, Error> {
    let name = &options.route.name;
    let wanted = || Facets::decode(&live.facets).is_some_and(|facets| options.route.wants(&facets, &live.raw));
    if of != UNTRANSLATED {
        return Ok(name == of && (despite.filter || wanted()));
    }
    if !wanted() {
        return Ok(false);
    }
    let before = state.begun(name)?.is_some_and(|begun| live.seq < begun);
    let dropped = || state.unsent_of(name, live.seq).map(|unsent| unsent.is_some_and(|unsent| unsent.dropped));
    Ok(!options.target.acknowledges() && !before && !dropped()?)
}

/// A message as it is delivered today: translated by the mappings of its listener now, which may have been mended for it, or by those of then; or only as it came, where no
/// `bundle` is asked for. What others than those of then have made bears an id of its own, as it may be something else.
///
/// # Errors
/// Why there is still nothing to deliver.
pub fn prepare(seq: u64, mut record: Record, plans: &Plans, bundle: bool, by: Mappings) -> Result<Prepared, String> {
    let Some(facets) = Facets::decode(&record.facets) else {
        return Err("its facets were written by another version".into());
    };
    let (then, message_id) = (facets.plan, facets.message_id);
    let original = by == Mappings::Original && bundle;
    if original && facets.outcome != Outcome::Translated {
        return Err(
            "what it was translated with when it came is not known, or it was not: send it by the mappings of now"
                .into(),
        );
    }
    if original && plans.find(&facets).is_none_or(|plan| plan.hash() != then) {
        return Err(
            "the mappings that it was translated with when it came are not kept: send it by those of now".into()
        );
    }
    let outcome = mended(facets.outcome);
    // No plan of its own: that of its listener today.
    let wanted = if original { then } else { [0; 32] };
    let mut encoded = Vec::new();
    Facets { outcome, plan: wanted, ..facets }.encode(&mut encoded);
    record.facets = encoded;
    let (mut live, plan) = again(seq, record, plans, bundle, &mut Scratch::default());
    let plan = plan.map_or([0; 32], |plan| plan.hash());
    match live.failure.take() {
        Some(why) => Err(why),
        None if bundle && live.bundle.is_empty() => Err("there is nothing in it to deliver".into()),
        None => {
            live.other_id = (bundle && plan != then).then(|| id_of_other(&message_id, &live.bundle));
            Ok(Prepared { live, by, plan })
        }
    }
}

/// What became of a message at intake counts no more once somebody sends it.
fn mended(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Untranslated | Outcome::Rejected | Outcome::Refused | Outcome::Foreign => Outcome::Received,
        other => other,
    }
}

/// Whether a route would take a dead letter of its own, by its filter of today.
pub fn takes(route: &Route, record: &Record) -> bool {
    let facets = Facets::decode(&record.facets);
    let facets = facets.map(|facets| Facets { outcome: mended(facets.outcome), ..facets });
    facets.is_some_and(|facets| route.wants(&facets, &record.raw))
}

/// A record with an edited copy in place of its message: where and when it came in stay as they were.
///
/// # Errors
/// Why the copy is no message.
pub fn edited(mut record: Record, raw: Vec<u8>) -> Result<Record, String> {
    let before = Facets::decode(&record.facets).ok_or("the facets of the message were written by another version")?;
    let mut index = Index::new();
    index.parse(&raw).map_err(|error| format!("the edited message: {error}"))?;
    let mut encoded = Vec::new();
    Facets::of(&raw, Some(index.message(&raw)), before.listener, before.received_ms).encode(&mut encoded);
    (record.raw, record.facets) = (raw, encoded);
    Ok(record)
}

/// The acknowledgement of a message, as its route would send it.
fn acknowledge(seq: u64, record: Record, plans: &Plans) -> Result<Prepared, String> {
    let (live, _) = again(seq, record, plans, true, &mut Scratch::default());
    let facets = Facets::decode(&live.facets).ok_or("its facets were written by another version")?;
    let raw = acknowledgement::of(&live, &facets).ok_or("no acknowledgement is due")?.into();
    let live = Live { seq, raw, facets: live.facets.clone(), ..Live::default() };
    Ok(Prepared { live, by: Mappings::Current, plan: [0; 32] })
}

/// What of the same patient has gone out on a route since: to send this one again would put an older state over a newer one, where the target keeps states and no history.
fn overtaken(view: &mut View, seq: u64, record: &Record, route: &Route, target: &Target) -> Result<Later, Error> {
    let patient = Facets::decode(&record.facets).and_then(|facets| facets.patient);
    let (Target::Fhir(_), Some(patient)) = (target, patient) else { return Ok(Later::default()) };
    let Some(position) = view.state().position(&route.name)? else { return Ok(Later::default()) };
    let gone = [Gone::read(view.state(), &route.name, patient, seq, position)?];
    Ok(later::look(view, &gone, seq, record)?.pop().unwrap_or_default())
}

/// Whether the lane of a route has a message still before it: not looked at, or looked at and not settled. To send it once more would overtake that.
///
/// # Errors
/// A state database that cannot be read.
pub fn is_due(state: &State, route: &Route, seq: u64, record: &Record) -> Result<bool, Error> {
    if Facets::decode(&record.facets).is_none_or(|facets| !route.wants(&facets, &record.raw)) {
        return Ok(false);
    }
    // A route that was never open begins behind all that is there now.
    let Some(position) = state.position(&route.name)? else { return Ok(false) };
    Ok(seq >= position.ahead || position.waiting.binary_search(&seq).is_ok())
}

/// Delivers it to the target of a route; once.
///
/// # Errors
/// What the target says.
async fn deliver(live: Live, target: Target, route: &str) -> Result<(), String> {
    // Nothing is passed over here: whoever sends a message again wants to know whether it has arrived.
    let mut channels = Channel::several(target, &Replies::default(), 1).map_err(|error| error.to_string())?;
    let Some(channel) = channels.first_mut() else { return Err("the target has no channel".into()) };
    let came = attempt(channel, &Arc::new(live), route).await;
    // A file that is published later would wait for a route that may not run.
    channel.end().await;
    came
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::channel::{Envelope, file};

    #[tokio::test]
    async fn what_is_sent_again_to_a_target_of_many_files_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let roll = Some(file::Roll { bytes_max: Some(1 << 20), age: None });
        let path = folder.path().join("out.ndjson");
        let target = Target::File(file::Options { path, envelope: Envelope::Message, roll });
        let bundle = br#"{"resourceType":"Bundle","type":"message"}"#.to_vec();
        deliver(Live { bundle, ..Live::default() }, target, "archive").await.unwrap();
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert!(names.len() == 2 && names[0].ends_with("Z.ndjson"), "{names:?}");
    }
}
