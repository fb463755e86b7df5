//! What of cards recipients have been shown already, so that little has to be written of it.
use crate::coordination::PersonKey;
use rusqlite::{Connection, OptionalExtension, params};

/// So long what was noted is fresh.
const FRESH_MS: i64 = 86_400_000;

/// Which of the resources of a person a recipient has not been shown lately: what [`super::shown()`] would write.
///
/// # Errors
/// A database that cannot be read.
pub fn news<'s>(
    connection: &Connection,
    recipient: &str,
    person: PersonKey,
    resources: impl Iterator<Item = (&'s str, &'s str)>,
    now_ms: i64,
) -> rusqlite::Result<Vec<(&'s str, &'s str)>> {
    let sql = "SELECT shown_ms FROM card_shown WHERE recipient = ?1 AND type = ?2 AND id = ?3 AND person = ?4";
    let mut select = connection.prepare_cached(sql)?;
    let mut news = Vec::new();
    for (kind, id) in resources {
        let known: Option<i64> =
            select.query_row(params![recipient, kind, id, person.0], |row| row.get(0)).optional()?;
        if known.is_none_or(|shown_ms| shown_ms + FRESH_MS <= now_ms) {
            news.push((kind, id));
        }
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use super::super::{TABLES, shown, was_shown};
    use super::*;

    #[test]
    fn what_was_shown_today_of_somebody_is_no_news() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let (one, other) = (PersonKey([1; 16]), PersonKey([2; 16]));
        let all = [("Condition", "a"), ("Practitioner", "b")];
        let news = |person, now_ms| news(&connection, "aco", person, all.into_iter(), now_ms).unwrap();
        assert_eq!(news(one, 5), all);
        let transaction = connection.unchecked_transaction().unwrap();
        shown(&transaction, "aco", one, all.into_iter().take(1), 5).unwrap();
        transaction.commit().unwrap();
        assert_eq!(news(one, 5 + FRESH_MS - 1), [all[1]]);
        assert_eq!(news(one, 5 + FRESH_MS), all);
        assert_eq!(news(other, 6), all);
    }

    /// What stands on the cards of many is remembered of the latest of them.
    #[test]
    fn of_cards_that_show_the_same_the_latest_are_remembered() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let transaction = connection.unchecked_transaction().unwrap();
        let show = |number: u8, now_ms| {
            let doctor = [("Practitioner", "b")].into_iter();
            shown(&transaction, "aco", PersonKey([number; 16]), doctor, now_ms).unwrap();
        };
        (0..70).for_each(|number| show(number, i64::from(number)));
        show(40, 100 + FRESH_MS);
        let people = was_shown(&transaction, "aco", "Practitioner", "b").unwrap();
        assert_eq!(people.len(), 64);
        assert_eq!([people[0], people[1], people[63]].map(|one| one.0[0]), [40, 69, 6]);
        assert!(was_shown(&transaction, "other", "Practitioner", "b").unwrap().is_empty());
    }
}
