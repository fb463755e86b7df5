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
    let sql = "SELECT person, shown_ms FROM card_shown WHERE recipient = ?1 AND type = ?2 AND id = ?3";
    let mut select = connection.prepare_cached(sql)?;
    let mut news = Vec::new();
    for (kind, id) in resources {
        let known = select.query_row(params![recipient, kind, id], |row| Ok((row.get(0)?, row.get(1)?)));
        let known: Option<([u8; 16], i64)> = known.optional()?;
        if known.is_none_or(|(whose, shown_ms)| whose != person.0 || shown_ms + FRESH_MS <= now_ms) {
            news.push((kind, id));
        }
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use super::super::{TABLES, shown};
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
}
