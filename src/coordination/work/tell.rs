//! To whom something is told: every subscription that wants it and whose owner may hear of it.
use super::super::event::Code;
use super::super::subscription::filter::Candidate;
use super::super::subscription::matcher::{Match as Matched, Matcher};
use super::super::subscription::store::{Told, number, pass};
use super::registered::roster_consent;
use super::telling::{self, Subject, Telling, Withheld};
use super::{Batch, Error, Person};
use crate::privacy::{Decision, Facts, Found, Labels, Reason, Recipient, Set};
use rusqlite::Transaction;

/// What is to be done for a subscription that wants something.
struct Judged<'a> {
    subscription: &'a str,
    recipient: &'a Recipient,
    /// As what it may be told, or why not.
    verdict: Result<Matched<'a>, Reason>,
}

impl Batch<'_> {
    /// To every subscription that wants it, its owner that may hear of it. `addressed`: the recipients that it is for, where it is for some more than for others.
    pub(super) fn tell(
        &mut self,
        transaction: &Transaction<'_>,
        candidate: &Candidate<'_>,
        told: Told,
        subject: impl FnOnce() -> Subject,
        (person, found): (&Person, Found),
        addressed: &[&str],
    ) -> Result<(), Error> {
        let judged = self.addressed(self.judged(candidate, &told, (person, found)), addressed);
        let mut kept = false;
        for one in &judged {
            match &one.verdict {
                Ok(matched) => {
                    let told = Told { focus: matched.focus().map(str::to_owned).collect(), ..told.clone() };
                    number(transaction, one.subscription, &told).map_err(Error::database)?;
                    if self.is_past(told.received_ms) {
                        pass(transaction, one.subscription).map_err(Error::database)?;
                    }
                    kept = true;
                }
                Err(reason) => {
                    let withheld = Withheld {
                        id: telling::audit_id(&told.event, one.subscription, "suppress"),
                        at_ms: told.received_ms,
                        reason: *reason,
                        recipient: one.recipient.id.clone(),
                        purpose: one.recipient.purpose.clone(),
                        person: person.id.clone(),
                        event: told.event,
                        subscription: one.subscription.to_owned(),
                    };
                    telling::withhold(transaction, &withheld).map_err(Error::database)?;
                }
            }
        }
        let count = judged.len();
        self.told += count;
        if kept {
            let labels = self.gate.labels();
            let labels = (telling::codes(labels, found.all), telling::codes(labels, found.whole));
            let (id, panels) = (told.event, person.panels.clone());
            let telling =
                Telling { id, person: person.key, received_ms: told.received_ms, subject: subject(), labels, panels };
            telling::keep(transaction, &telling).map_err(Error::database)?;
        }
        Ok(())
    }

    /// The subscriptions that want it, of recipients that look after the person, each judged by the gate.
    fn judged(&self, candidate: &Candidate<'_>, told: &Told, (person, found): (&Person, Found)) -> Vec<Judged<'_>> {
        let registered = &self.parts.registered;
        let wanted = registered.matcher.matches(candidate);
        if wanted.is_empty() {
            return Vec::new();
        }
        let consents = person.same.as_ref().and_then(|same| registered.consents(same, &person.id));
        let judge = |one: Matched<'_>| {
            let (subscription, (owner, _)) = registered.subscriptions.get_key_value(one.id)?;
            let recipient = self.options.privacy.recipient(owner)?;
            if !recipient.topics.iter().any(|topic| topic == one.topic) {
                return None;
            }
            // Somebody else's patient: not withheld, none of theirs.
            let roster = roster_consent(recipient, &person.panels)?;
            let facts = Facts {
                found,
                person: &person.id,
                consents: consents.as_deref().unwrap_or_default(),
                roster: &roster,
                at_ms: told.at_ms,
                now_ms: told.received_ms,
            };
            let decision = match &consents {
                Some(_) => self.gate.decide(recipient, &facts),
                None => Decision::Withhold(Reason::Failed),
            };
            let verdict = match decision {
                // What it must not see it cannot ask for either: that the answer comes would tell.
                Decision::Share { cleared } => {
                    Ok(visible(self.gate.labels(), &registered.matcher, subscription, candidate, (found, cleared))?)
                }
                Decision::Withhold(reason) => Err(reason),
            };
            Some(Judged { subscription, recipient, verdict })
        };
        wanted.into_iter().filter_map(judge).collect()
    }

    /// Leaves out recipients that take what is for other roles, once one that it is for is told of it. Who takes for no role in particular hears of everything; and where
    /// nobody hears of it whom it is for, all do.
    fn addressed<'j>(&self, mut judged: Vec<Judged<'j>>, addressed: &[&str]) -> Vec<Judged<'j>> {
        let is_for = |one: &Judged<'_>| addressed.contains(&one.recipient.id.as_str());
        if judged.iter().any(|one| is_for(one) && one.verdict.is_ok()) {
            let routes = &self.options.care_team.routes;
            let takes =
                |one: &Judged<'_>| routes.values().any(|routing| routing.endpoint.as_ref() == Some(&one.recipient.id));
            judged.retain(|one| is_for(one) || !takes(one));
        }
        judged
    }
}

/// Whether a subscription still wants something when only what its owner may see is looked at.
pub(super) fn visible<'m>(
    labels: &Labels,
    matcher: &'m Matcher,
    id: &str,
    candidate: &Candidate<'_>,
    (found, cleared): (Found, Set),
) -> Option<Matched<'m>> {
    if found.all.is_within(cleared) {
        return matcher.judge(id, candidate);
    }
    let names = telling::codes(labels, found.all.without(found.all.without(cleared)));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let seen = |code: &&Code| {
        let carried = labels.of_code(&code.system, &code.code).with(labels.of_code("", &code.value));
        carried.is_within(cleared)
    };
    let codes: Vec<_> = candidate.codes.iter().filter(seen).cloned().collect();
    matcher.judge(id, &Candidate { codes: &codes, labels: &names, ..*candidate })
}
