//! Labels that a visit carries from its earlier messages: a summary in plain text after a coded diagnosis is as sensitive as the diagnosis.
//!
//! Written in the transaction of the reader of the journal, so what is known of a visit is a fold over the messages up to it. Kept by the codes of labels: their numbers change with
//! the configuration.
use super::label::{Labels, Set};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

/// Tables in `DATA/coordination.sqlite`. `visit` is the key of the visit as text, `labels` codes of labels parted by blanks, sorted; `day` that on which a message of it was received
/// last, in days since 1970, and nothing where somebody else says how long they are kept.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS visit_labels (
    visit TEXT PRIMARY KEY,
    labels TEXT NOT NULL,
    day INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS visit_labels_day ON visit_labels (day) WHERE day IS NOT NULL;
";

const DAY_MS: i64 = 86_400_000;

/// The labels of a visit, by their codes.
///
/// # Errors
/// A database that cannot be read.
pub fn labels_of(connection: &Connection, visit: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT labels FROM visit_labels WHERE visit = ?1")?;
    let text: Option<String> = statement.query_row([visit], |row| row.get(0)).optional()?;
    Ok(text.unwrap_or_default().split_whitespace().map(str::to_owned).collect())
}

/// Adds labels to a visit of which a message was received (in milliseconds since 1970), which keeps those that it has; `None`: they are kept until [`remove`].
///
/// # Errors
/// A database that cannot be written.
pub fn add(
    transaction: &Transaction<'_>,
    visit: &str,
    labels: &Labels,
    found: Set,
    received_ms: Option<i64>,
) -> rusqlite::Result<()> {
    let day = received_ms.map(|received_ms| received_ms.div_euclid(DAY_MS));
    let mut codes = labels_of(transaction, visit)?;
    let before = codes.len();
    codes.extend(labels.names(found).into_iter().map(str::to_owned));
    codes.sort_unstable();
    codes.dedup();
    if codes.len() > before {
        // A clock that was set back takes nothing away.
        transaction
            .prepare_cached(
                "INSERT INTO visit_labels VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET labels = excluded.labels, day = max(day, excluded.day)",
            )?
            .execute(params![visit, codes.join(" "), day])?;
    } else if before > 0 {
        touch(transaction, visit, received_ms)?;
    }
    Ok(())
}

/// Something was received of a visit, or became of it: its labels, if it has any, are kept from there on.
///
/// # Errors
/// A database that cannot be written.
pub fn touch(transaction: &Transaction<'_>, visit: &str, received_ms: Option<i64>) -> rusqlite::Result<()> {
    let Some(received_ms) = received_ms else { return Ok(()) };
    transaction
        .prepare_cached("UPDATE visit_labels SET day = ?2 WHERE visit = ?1 AND day < ?2")?
        .execute(params![visit, received_ms.div_euclid(DAY_MS)])?;
    Ok(())
}

/// Forgets the labels of something.
///
/// # Errors
/// A database that cannot be written.
pub fn remove(transaction: &Transaction<'_>, visit: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM visit_labels WHERE visit = ?1")?.execute([visit])?;
    Ok(())
}

/// Forgets the labels of visits of which nothing was received since a moment, at most so many, the oldest first.
///
/// # Errors
/// A database that cannot be written.
pub fn prune(transaction: &Transaction<'_>, before_ms: i64, most: usize) -> rusqlite::Result<()> {
    let sql = "DELETE FROM visit_labels WHERE visit IN
                 (SELECT visit FROM visit_labels WHERE day < ?1 ORDER BY day, visit LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    transaction.prepare_cached(sql)?.execute([before_ms.div_euclid(DAY_MS), most])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::starter;

    #[test]
    fn labels_add_up() {
        let labels = Labels::new(starter::labels());
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let transaction = connection.transaction().unwrap();
        for (visit, codes) in
            [("SBMC|V1", &["SUD"][..]), ("SBMC|V2", &["HIV"]), ("SBMC|V1", &["PSY", "SUD"]), ("SBMC|V3", &[])]
        {
            add(&transaction, visit, &labels, labels.of_all(codes.iter().copied()), Some(DAY_MS)).unwrap();
        }
        transaction.commit().unwrap();
        assert_eq!(labels_of(&connection, "SBMC|V1").unwrap(), ["PSY", "SUD"]);
        assert_eq!(labels_of(&connection, "SBMC|V2").unwrap(), ["HIV"]);
        assert!(labels_of(&connection, "SBMC|V3").unwrap().is_empty());
        let count: i64 = connection.query_row("SELECT count(*) FROM visit_labels", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 2);
    }
    #[test]
    fn labels_are_kept_while_anything_is_heard_of_a_visit() {
        let labels = Labels::new(starter::labels());
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let transaction = connection.transaction().unwrap();
        let sud = || labels.of_all(["SUD"]);
        for visit in ["SBMC|V1", "SBMC|V2", "SBMC|V3"] {
            add(&transaction, visit, &labels, sud(), Some(5 * DAY_MS)).unwrap();
        }
        add(&transaction, "loop|1", &labels, sud(), None).unwrap();
        // The same label, a message without any, and a clock that was set back.
        add(&transaction, "SBMC|V1", &labels, sud(), Some(7 * DAY_MS)).unwrap();
        add(&transaction, "SBMC|V2", &labels, Set::EMPTY, Some(6 * DAY_MS)).unwrap();
        add(&transaction, "SBMC|V2", &labels, labels.of_all(["PSY"]), Some(DAY_MS)).unwrap();
        let left = |before_ms: i64| {
            prune(&transaction, before_ms, 1).unwrap();
            let mut select = transaction.prepare("SELECT visit FROM visit_labels ORDER BY visit").unwrap();
            let left: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            left.join(" ")
        };
        assert_eq!(left(5 * DAY_MS), "SBMC|V1 SBMC|V2 SBMC|V3 loop|1", "that day is kept");
        assert_eq!(left(7 * DAY_MS), "SBMC|V1 SBMC|V2 loop|1", "one at a time");
        assert_eq!(left(7 * DAY_MS), "SBMC|V1 loop|1");
        assert_eq!(left(i64::MAX), "loop|1");
        remove(&transaction, "loop|1").unwrap();
        assert_eq!(left(i64::MAX), "");
    }
}
