//! What people have said through the API, as far as messages are judged by it: subscriptions and consents. A fold over the registry, at the places of the journal where its entries hold.
use super::Error;
use crate::coordination::registry::{self, Entry, Registry, What};
use crate::coordination::roster::{Aliases, Snapshot, reviews};
use crate::coordination::subscription::matcher::Matcher;
use crate::coordination::subscription::resource::Subscription;
use crate::coordination::subscription::topic::Topics;
use crate::coordination::subscription::{self, store};
use crate::coordination::{PersonKey, care_team};
use crate::facets::uuid_text;
use crate::privacy::consent::CONSENTS_MAX;
use crate::privacy::{Consent, Recipient, RosterConsent};
use rusqlite::{Connection, OptionalExtension, Transaction};
use std::collections::{BTreeMap, HashMap};

/// To be made when the database is opened.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS registered (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS anew (id INTEGER PRIMARY KEY CHECK (id = 0), at_ms INTEGER) STRICT;";

/// Entries that are read at once.
pub(super) const ENTRIES_MAX: usize = 256;

/// Subscriptions and consents as they stand at a place of the journal.
pub(super) struct Registered {
    topics: Topics,
    /// The last entry that has been taken.
    pub number: u64,
    pub matcher: Matcher,
    /// By id: whose it is, and what it says.
    pub subscriptions: HashMap<String, (String, Subscription)>,
    /// By person, then by the id of the consent.
    /// One that cannot be read stands for whatever it says.
    consents: HashMap<String, BTreeMap<String, Option<Consent>>>,
    /// Whose a consent is.
    consent_of: HashMap<String, String>,
}

impl Registered {
    /// As it stood when the database was written last.
    pub fn open(
        connection: &Connection,
        registry: &Registry,
        options: &subscription::Options,
    ) -> Result<Registered, Error> {
        let sql = "SELECT number FROM registered";
        let number: Option<i64> =
            connection.query_row(sql, [], |row| row.get(0)).optional().map_err(Error::database)?;
        let number = number.unwrap_or(0).unsigned_abs();
        let topics = Topics::new(&options.canonical_base);
        let matcher = Matcher::new(topics.events_system());
        let mut registered = Registered {
            topics,
            number: 0,
            matcher,
            subscriptions: HashMap::new(),
            consents: HashMap::new(),
            consent_of: HashMap::new(),
        };
        while registered.number < number {
            let entries = registry.after(registered.number, ENTRIES_MAX)?;
            let Some(last) = entries.last().map(|entry| entry.number.min(number)) else { break };
            entries.iter().filter(|entry| entry.number <= number).for_each(|entry| registered.remember(entry));
            registered.number = last;
        }
        Ok(registered)
    }

    /// The consents of a patient whom all these keys stand for, as if of the one with this id; none where one of them cannot be read.
    pub fn consents(&self, same: &[PersonKey], id: &str) -> Option<Vec<Consent>> {
        let of = |key: &PersonKey| self.consents.get(&uuid_text(&key.0)).into_iter().flat_map(BTreeMap::values);
        let mut all: Vec<Consent> = same.iter().flat_map(of).cloned().collect::<Option<_>>()?;
        all.iter_mut().for_each(|consent| id.clone_into(&mut consent.patient));
        Some(all)
    }

    /// An entry takes effect.
    pub fn take(
        &mut self,
        transaction: &Transaction<'_>,
        entry: &Entry,
        options: &subscription::Options,
        (aliases, snapshot): (&mut Aliases, &Snapshot),
    ) -> Result<(), Error> {
        self.remember(entry);
        self.number = entry.number;
        match (entry.what.kind(), entry.what.body()) {
            (registry::Kind::Subscription, Some(_)) => {
                if let Some((_, subscription)) = self.subscriptions.get(entry.what.id()) {
                    let wanted = (subscription.wanted, subscription.channel.kind);
                    let at = (entry.number, entry.at_ms);
                    store::put(transaction, entry.what.id(), wanted, at, &options.policy).map_err(Error::database)?;
                }
            }
            (registry::Kind::Subscription, None) => {
                store::delete(transaction, entry.what.id()).map_err(Error::database)?;
            }
            (registry::Kind::CareTeam, body) => {
                let nobody = serde_json::json!({ "resourceType": "CareTeam" });
                if let Some(person) = person_of(entry.what.id()) {
                    let put = care_team::put(transaction, person, body.unwrap_or(&nobody), entry.at_ms);
                    // It was judged when it was said.
                    if let Err(care_team::PutError::Database(error)) = put {
                        return Err(Error::database(error));
                    }
                }
            }
            (registry::Kind::MatchDecision, Some(body)) => {
                if let Some(verdict) = reviews::Verdict::parse(entry.what.id(), body) {
                    reviews::decide(transaction, aliases, snapshot, &verdict, entry.after_seq)
                        .map_err(Error::database)?;
                }
            }
            _ => {}
        }
        let sql = "INSERT OR REPLACE INTO registered VALUES (0, ?1)";
        transaction
            .prepare_cached(sql)
            .and_then(|mut put| put.execute([self.number.cast_signed()]))
            .map_err(Error::database)?;
        Ok(())
    }

    /// What of it stands in memory.
    fn remember(&mut self, entry: &Entry) {
        let id = entry.what.id();
        match &entry.what {
            What::Put { kind: registry::Kind::Subscription, body, .. } => {
                match Subscription::stored(id, body, &self.topics) {
                    Ok(subscription) => {
                        self.matcher.put(&subscription);
                        self.subscriptions.insert(id.to_owned(), (entry.who.clone(), subscription));
                    }
                    // Written by a version that knew more: it cannot be matched, and is not in anybody's way.
                    Err(_) => {
                        tracing::error!(subscription = id, "a subscription of the registry cannot be read any more");
                        self.forget_subscription(id);
                    }
                }
            }
            What::Delete { kind: registry::Kind::Subscription, .. } => self.forget_subscription(id),
            What::Put { kind: registry::Kind::Consent, body, .. } => {
                self.forget_consent(id);
                // Beside it stands an entry that tells only whose it is.
                if let Some((person, _)) = id.split_once('/') {
                    let consent = Consent::parse(body).ok().filter(|consent| consent.patient == person);
                    self.consent_of.insert(id.to_owned(), person.to_owned());
                    self.consents.entry(person.to_owned()).or_default().insert(id.to_owned(), consent);
                }
            }
            What::Delete { kind: registry::Kind::Consent, .. } => self.forget_consent(id),
            _ => {}
        }
    }

    fn forget_subscription(&mut self, id: &str) {
        self.matcher.remove(id);
        self.subscriptions.remove(id);
    }

    fn forget_consent(&mut self, id: &str) {
        let Some(person) = self.consent_of.remove(id) else { return };
        if let Some(consents) = self.consents.get_mut(&person) {
            consents.remove(id);
        }
    }
}

/// The key that an id of a person in the API stands for.
pub fn person_of(id: &str) -> Option<PersonKey> {
    PersonKey::parse(id)
}

/// Under what a consent of a person stands in the registry: those of one person side by side.
pub fn consent_id(person: &str, id: &str) -> String {
    format!("{person}/{id}")
}

/// Consents of a person as they are now, whatever the place in the journal: what leaves is judged by these. None where one of them cannot be read: nothing may leave then.
///
/// # Errors
/// A registry that cannot be read.
pub fn consents_now(registry: &Registry, person: &str) -> Result<Option<Vec<Consent>>, registry::Error> {
    let prefix = consent_id(person, "");
    // One more than are looked at: too many are no reason to overlook one that forbids.
    let entries = registry.all(registry::Kind::Consent, Some(&prefix), CONSENTS_MAX + 1)?;
    let theirs = entries.iter().take_while(|entry| entry.what.id().starts_with(&prefix));
    Ok(theirs.filter_map(|entry| entry.what.body()).map(|body| Consent::parse(body).ok()).collect())
}

/// When the database was made beside a journal that was there before, in milliseconds since 1970; none where it was there from the beginning.
pub(super) fn anew(connection: &Connection, head: u64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT at_ms FROM anew";
    if let Some(known) = connection.query_row(sql, [], |row| row.get(0)).optional()? {
        return Ok(known);
    }
    // The only look at the clock here: it decides what is told once more, not what is numbered.
    let at_ms = (head > 0).then(|| jiff::Timestamp::now().as_millisecond());
    connection.execute("INSERT INTO anew VALUES (0, ?1)", [at_ms])?;
    Ok(at_ms)
}

/// What the rosters say of consent for a recipient: the strictest of the panels by which it looks after the person; none where it does not.
pub fn roster_consent(recipient: &Recipient, panels: &[(String, String)]) -> Option<RosterConsent> {
    let theirs = panels.iter().filter(|(panel, _)| recipient.panels.contains(panel));
    theirs.map(|(_, consent)| RosterConsent::parse(consent)).reduce(|one, other| match (one, other) {
        (RosterConsent::Deny, _) | (_, RosterConsent::Deny) => RosterConsent::Deny,
        (RosterConsent::Permit(one), RosterConsent::Permit(other)) => {
            RosterConsent::Permit(one.into_iter().filter(|label| other.contains(label)).collect())
        }
        _ => RosterConsent::Unknown,
    })
}
