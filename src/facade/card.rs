//! The card of a person: all of it (`$everything`), and by the ids that it has.
use super::Shared;
use super::access::Who;
use super::answer::{self, Problem, Resource, Text, blocking};
use super::subscriptions::{now_ms, recipient};
use crate::coordination::card::{Section, news, shown, was_shown};
use crate::coordination::subscription::cache;
use crate::coordination::work::telling;
use crate::coordination::{PersonKey, lineage};
use crate::privacy::audit::{self, Entry, Outcome};
use crate::privacy::{Reason, Recipient};
use crate::server::care::{CardResource, Picture, Seen, Shared as Care, picture};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde_json::Value;
use std::sync::Arc;

/// `GET Patient/[id]/$everything`
pub(super) async fn everything(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Text, Problem> {
    unlimited(query.as_deref(), &body)?;
    blocking(move || {
        let care = &shared.care;
        let recipient = recipient(care, &who)?;
        let asked = Asked { what: "everything", now_ms: now_ms() };
        let person = person(care, recipient, &id)?.ok_or_else(|| asked.unknown(care, recipient))?;
        let base = care.options.subscriptions.base();
        let (picture, text) = asked.look(care, recipient, person, |picture| bundle(base, picture))?;
        asked.remember(care, recipient, picture.person, picture.resources.iter());
        Ok(Text(text))
    })
    .await
}

/// Refuses what would be a part, and what is not served: whoever asks for a year must not take all for it.
pub(super) fn unlimited(query: Option<&str>, body: &[u8]) -> Result<(), Problem> {
    let refused = |text: String| Err(Problem::new(StatusCode::BAD_REQUEST, "not-supported", text));
    let body: Value = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(_) if body.is_empty() => Value::Null,
        Err(_) => return refused("the body is no JSON".into()),
    };
    let of_body =
        body["parameter"].as_array().into_iter().flatten().map(|one| (one["name"].as_str().unwrap_or("?"), ""));
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let of_query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let is_served = |(name, value): &(&str, &str)| match *name {
        "_format" => value.contains("json"),
        "_pretty" => true,
        _ => false,
    };
    match of_query.chain(of_body).find(|one| !is_served(one)) {
        Some((name, _)) => {
            let name: String = name.chars().filter(|one| one.is_ascii_alphanumeric() || "_-?".contains(*one)).collect();
            refused(format!("`{name}` is not served here as it is asked: all of the card is given as JSON, or nothing"))
        }
        None => Ok(()),
    }
}

fn bundle(base: &str, picture: &Picture) -> String {
    let base = base.trim_end_matches('/');
    let mut is_match = vec![false; picture.resources.len()];
    for place in picture.entries.iter().map(|entry| entry.at).chain([0]) {
        if let Some(is_match) = is_match.get_mut(place) {
            *is_match = true;
        }
    }
    let own = |one: &CardResource| matches!(one.kind.as_str(), "Task" | "CareTeam" | "Provenance");
    let (mut entries, mut matches) = (String::with_capacity(512 << 10), 0);
    for (one, is_match) in picture.resources.iter().zip(is_match) {
        let is_match = is_match || own(one);
        matches += usize::from(is_match);
        let mode = if is_match { ",\"search\":{\"mode\":\"match\"}" } else { ",\"search\":{\"mode\":\"include\"}" };
        answer::entry(&mut entries, base, (&one.kind, &one.id, &one.json), mode);
    }
    format!("{{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"total\":{matches},\"entry\":[{entries}]}}")
}

/// A resource of a card: of the person by their id, else one that the recipient has been shown on it. None where it has not.
pub(super) fn read(care: &Care, who: &Recipient, kind: &str, id: &str) -> Result<Option<Resource>, Problem> {
    let internal = |error: rusqlite::Error| Problem::internal(&error);
    let asked = Asked { what: id, now_ms: now_ms() };
    let people = match PersonKey::parse(id).filter(|_| kind == "Patient") {
        Some(key) if is_known(care, key)? => vec![key],
        _ => was_shown(&care.database(), &who.id, kind, id).map_err(internal)?,
    };
    if people.is_empty() {
        if kind == "Patient" {
            asked.refuse(care, who)?;
        }
        return Ok(None);
    }
    let picture = asked.search(care, who, &people, |picture| picture.resource(kind, id).is_some())?;
    let found = picture.resource(kind, id).ok_or_else(Problem::not_found)?;
    asked.remember(care, who, picture.person, std::iter::once(found));
    Ok(Some(Resource::found(found.value())))
}

/// Whom an id means: a person, or a Patient that the recipient has been told of or shown.
pub(super) fn person(care: &Care, who: &Recipient, id: &str) -> Result<Option<PersonKey>, Problem> {
    let internal = |error: rusqlite::Error| Problem::internal(&error);
    if let Some(key) = PersonKey::parse(id)
        && is_known(care, key)?
    {
        return Ok(Some(key));
    }
    let database = care.database();
    if let Some(person) = was_shown(&database, &who.id, "Patient", id).map_err(internal)?.first() {
        return Ok(Some(*person));
    }
    let Some(notified) = cache::find(&database, &who.id, "Patient", id).map_err(internal)? else { return Ok(None) };
    let telling = telling::find(&database, &notified.event).map_err(internal)?;
    Ok(telling.map(|telling| telling.person))
}

/// Whether a key is, or was, that of somebody of the rosters.
fn is_known(care: &Care, key: PersonKey) -> Result<bool, Problem> {
    let now = lineage::known_as(&care.database(), key).map_err(|error| Problem::internal(&error))?;
    Ok(care.rosters.current().has(&now))
}

/// What is asked of a card, and when.
pub(super) struct Asked<'a> {
    pub what: &'a str,
    pub now_ms: i64,
}

impl Asked<'_> {
    /// What the recipient may see, and what is made of it while that is written into the audit; neither where it could not be, or where they may see nothing. Blocks.
    pub fn look<T>(
        &self,
        care: &Care,
        recipient: &Recipient,
        person: PersonKey,
        make: impl FnOnce(&Picture) -> T,
    ) -> Result<(Picture, T), Problem> {
        let seen = picture(care, recipient, person, self.now_ms).map_err(|error| Problem::internal(&error))?;
        let (outcome, whose) = match &seen {
            Seen::Picture(picture) => (Outcome::Disclosed, picture.person),
            Seen::Withheld(reason) => (Outcome::Suppressed(*reason), person),
            Seen::Nobody => (Outcome::Suppressed(Reason::Policy), person),
        };
        let whose_text = whose.to_string();
        let audit =
            || self.audit(care, recipient, (outcome, &whose.0, &whose_text)).map_err(|error| Problem::internal(&error));
        let Seen::Picture(picture) = seen else {
            audit()?;
            return Err(Problem::not_found());
        };
        let (audited, made) = std::thread::scope(|scope| {
            // It waits for the disk.
            let audited = std::thread::Builder::new().name("audit".into()).spawn_scoped(scope, audit);
            let made = make(&picture);
            (audited.map(|thread| thread.join()), made)
        });
        match audited {
            Ok(Ok(audited)) => audited?,
            Ok(Err(_)) => return Err(Problem::internal(&"the audit panicked")),
            Err(error) => return Err(Problem::internal(&error)),
        }
        Ok((*picture, made))
    }

    /// The first of the cards of some that may be seen now and has what is looked for; that it was shown, or why it is on none, is in the audit before. Blocks.
    fn search(
        &self,
        care: &Care,
        recipient: &Recipient,
        people: &[PersonKey],
        has: impl Fn(&Picture) -> bool,
    ) -> Result<Picture, Problem> {
        let mut withheld = None;
        for person in people {
            let reason =
                match picture(care, recipient, *person, self.now_ms).map_err(|error| Problem::internal(&error))? {
                    Seen::Picture(picture) if has(&picture) => {
                        let whose = (Outcome::Disclosed, &picture.person.0, picture.id.as_str());
                        self.audit(care, recipient, whose).map_err(|error| Problem::internal(&error))?;
                        return Ok(*picture);
                    }
                    Seen::Withheld(reason) => reason,
                    Seen::Picture(_) | Seen::Nobody => Reason::Policy,
                };
            withheld = withheld.or(Some((reason, person)));
        }
        if let Some((reason, person)) = withheld {
            let whose = (Outcome::Suppressed(reason), &person.0, &*person.to_string());
            self.audit(care, recipient, whose).map_err(|error| Problem::internal(&error))?;
        }
        Err(Problem::not_found())
    }

    /// Nobody has that id. It takes as long as with the id of somebody whom the recipient does not look after, and is noted as that is: who has a number cannot try whether it is known.
    pub fn refuse(&self, care: &Care, recipient: &Recipient) -> Result<(), Problem> {
        let nobody = (Outcome::Suppressed(Reason::Policy), &[0; 16], "");
        self.audit(care, recipient, nobody).map_err(|error| Problem::internal(&error))
    }

    /// The same, as an answer.
    pub fn unknown(&self, care: &Care, recipient: &Recipient) -> Problem {
        self.refuse(care, recipient).err().unwrap_or_else(Problem::not_found)
    }

    fn audit(
        &self,
        care: &Care,
        recipient: &Recipient,
        (outcome, whose, person): (Outcome, &[u8; 16], &str),
    ) -> Result<(), audit::Error> {
        let event = telling::audit_id(whose, &recipient.id, "card");
        let entry = Entry {
            id: telling::audit_id(&event, self.what, &format!("card|{}", self.now_ms)),
            at_ms: self.now_ms,
            outcome,
            recipient: &recipient.id,
            purpose: &recipient.purpose,
            person,
            event,
            subscription: None,
            number: None,
        };
        care.audit(&[entry])
    }

    /// What is shown can be read by whoever sees it. It is shown all the same where that fails: what cannot be remembered can be asked for again.
    pub fn remember<'r>(
        &self,
        care: &Care,
        recipient: &Recipient,
        person: PersonKey,
        resources: impl Iterator<Item = &'r CardResource>,
    ) {
        let write = || {
            let connection = care.database();
            let named = resources.map(|one| (one.kind.as_str(), one.id.as_str()));
            let news = news(&connection, &recipient.id, person, named, self.now_ms)?;
            // Whoever follows the journal is not waited for without need.
            if news.is_empty() {
                return Ok(());
            }
            let transaction = connection.unchecked_transaction()?;
            shown(&transaction, &recipient.id, person, news.into_iter(), self.now_ms)?;
            transaction.commit()
        };
        let written: rusqlite::Result<()> = write();
        if let Err(error) = written {
            tracing::warn!(%error, "what was shown of a card could not be remembered");
        }
    }
}

/// Entries of sections.
pub(super) fn of<'p>(
    picture: &'p Picture,
    sections: &[Section],
) -> impl Iterator<Item = &'p crate::server::care::CardEntry> {
    picture.entries.iter().filter(|entry| sections.contains(&entry.section))
}
