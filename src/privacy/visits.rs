//! Labels that a visit carries from its earlier messages: a summary in plain text after a coded diagnosis is as sensitive as the diagnosis.
//!
//! Written in the transaction of the reader of the journal, so what is known of a visit is a fold over the messages up to it. Kept by the codes of labels: their numbers change with
//! the configuration.
use super::label::{Labels, Set};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

/// Tables in `DATA/coordination.sqlite`. `visit` is the key of the visit as text, `labels` codes of labels parted by blanks, sorted.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS visit_labels (
    visit TEXT PRIMARY KEY,
    labels TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The labels of a visit, by their codes.
///
/// # Errors
/// A database that cannot be read.
pub fn labels_of(connection: &Connection, visit: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT labels FROM visit_labels WHERE visit = ?1")?;
    let text: Option<String> = statement.query_row([visit], |row| row.get(0)).optional()?;
    Ok(text.unwrap_or_default().split_whitespace().map(str::to_owned).collect())
}

/// Adds labels to a visit.
///
/// # Errors
/// A database that cannot be written.
pub fn add(transaction: &Transaction<'_>, visit: &str, labels: &Labels, found: Set) -> rusqlite::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let mut codes = labels_of(transaction, visit)?;
    let before = codes.len();
    codes.extend(labels.names(found).into_iter().map(str::to_owned));
    codes.sort_unstable();
    codes.dedup();
    if codes.len() > before {
        let mut statement =
            transaction.prepare_cached("INSERT OR REPLACE INTO visit_labels (visit, labels) VALUES (?1, ?2)")?;
        statement.execute(params![visit, codes.join(" ")])?;
    }
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
            add(&transaction, visit, &labels, labels.of_all(codes.iter().copied())).unwrap();
        }
        transaction.commit().unwrap();
        assert_eq!(labels_of(&connection, "SBMC|V1").unwrap(), ["PSY", "SUD"]);
        assert_eq!(labels_of(&connection, "SBMC|V2").unwrap(), ["HIV"]);
        assert!(labels_of(&connection, "SBMC|V3").unwrap().is_empty());
        let count: i64 = connection.query_row("SELECT count(*) FROM visit_labels", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 2);
    }
}
