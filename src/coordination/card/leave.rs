//! What leaves cards: what is not so any more stays as an empty row, so that an earlier message that comes later does not bring it back; what was another patient's goes altogether.
//!
//! What had not been told when its list or its visit ended has no such row. So it is kept when each list and each end was sent (`card_end`): what was sent before is not taken any more,
//! in whichever order they come.
use super::Section;
use super::body::{ACCOUNT, parts};
use super::store::Of;
use super::told::{List, Over, Piece, Told, stay_key};
use crate::coordination::read::Reading;
use crate::coordination::{PersonKey, lineage};
use crate::hl7::Index;
use rusqlite::{Connection, Transaction, params};
use std::collections::BTreeSet;

/// Heads that are looked at: of one person there are fewer, of one number a few.
const HEADS_MAX: i64 = 256;
const NONE: [u8; 16] = [0; 16];
/// Ends that are kept of one origin: those that were sent last.
const ENDS_MAX: i64 = 256;

/// What ended, as it is stored.
#[derive(Clone, Copy)]
enum End {
    /// What a feed told by AL1 before.
    List,
    /// Of that, what it told in secret.
    SecretList,
    /// The diagnoses of a visit.
    Cancelled,
    /// A visit with all that its feed told of it.
    Deleted,
}

/// What a feed says of a patient, on some card.
pub(in crate::coordination) struct Head {
    /// Whose card.
    pub person: PersonKey,
    /// For whom it was written.
    pub origin: PersonKey,
    key: [u8; 16],
    /// MSH and PID.
    raw: Vec<u8>,
}

impl Head {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
        let body = row.get_ref(3)?.as_blob()?;
        let mut raw = Vec::with_capacity(body.len());
        for segment in parts(body).take(2) {
            raw.extend_from_slice(segment);
            raw.push(b'\r');
        }
        Ok(Head { person: PersonKey(row.get(0)?), origin: PersonKey(row.get(1)?), key: row.get(2)?, raw })
    }

    /// What it says; none where it cannot be read. The second is where PID stands.
    pub fn read<T>(&self, read: impl FnOnce(Reading<'_>, usize) -> T) -> Option<T> {
        let mut index = Index::new();
        index.parse(&self.raw).ok()?;
        let reading = Reading::new(index.message(&self.raw))?;
        let pid = reading.find(reading.all(), b"PID")?;
        Some(read(reading, pid))
    }
}

/// The heads of a card.
pub(in crate::coordination) fn heads_of(connection: &Connection, person: PersonKey) -> rusqlite::Result<Vec<Head>> {
    let person = lineage::root(connection, person)?;
    let sql =
        "SELECT person, origin, key, body FROM card WHERE person = ?1 AND section = 0 ORDER BY origin, key LIMIT ?2";
    connection.prepare_cached(sql)?.query_map(params![person.0, HEADS_MAX], Head::of)?.collect()
}

/// The heads of a number of a patient ([`super::number_key`]), on whichever card.
pub(in crate::coordination) fn heads_of_number(
    connection: &Connection,
    number: &[u8; 16],
) -> rusqlite::Result<Vec<Head>> {
    let sql = "SELECT person, origin, key, body FROM card INDEXED BY card_series WHERE section < 4 AND series <> x'00000000000000000000000000000000' AND series = ?1 AND section = 0
               ORDER BY person, origin, key LIMIT ?2";
    connection.prepare_cached(sql)?.query_map(params![number, HEADS_MAX], Head::of)?.collect()
}

/// Takes away what was told with a head, and the head; the stays of which nothing is left on that card.
pub(in crate::coordination) fn drop_head(transaction: &Transaction<'_>, head: &Head) -> rusqlite::Result<Vec<String>> {
    let Head { person, origin, key, .. } = head;
    let sql =
        "SELECT DISTINCT stay FROM card WHERE person = ?1 AND origin = ?2 AND head = ?3 AND stay <> '' ORDER BY stay";
    let mut select = transaction.prepare_cached(sql)?;
    let stays = select.query_map(params![person.0, origin.0, key], |row| row.get(0))?;
    let mut stays: Vec<String> = stays.collect::<rusqlite::Result<_>>()?;
    let sql = "DELETE FROM card WHERE person = ?1 AND origin = ?2 AND ((section <> 0 AND head = ?3) OR (section = 0 AND key = ?3))";
    transaction.prepare_cached(sql)?.execute(params![person.0, origin.0, key])?;
    let sql = "DELETE FROM card_end WHERE person = ?1 AND origin = ?2 AND head = ?3";
    transaction.prepare_cached(sql)?.execute(params![person.0, origin.0, key])?;
    let sql = "SELECT EXISTS (SELECT 1 FROM card WHERE person = ?1 AND stay = ?2)";
    let mut select = transaction.prepare_cached(sql)?;
    let mut left = Vec::new();
    for stay in stays.drain(..) {
        if !select.query_row(params![person.0, stay], |row| row.get(0))? {
            left.push(stay);
        }
    }
    Ok(left)
}

/// The stays of which a card tells.
pub(in crate::coordination) fn stays_of(
    connection: &Connection,
    person: PersonKey,
) -> rusqlite::Result<BTreeSet<String>> {
    let sql = "SELECT DISTINCT stay FROM card WHERE person = ?1 AND stay <> '' AND length(body) > 0";
    connection.prepare_cached(sql)?.query_map([person.0], |row| row.get(0))?.collect()
}

/// Takes away all that was told of a stay.
pub(in crate::coordination) fn drop_of_stay(
    transaction: &Transaction<'_>,
    person: PersonKey,
    stay: &str,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM card WHERE person = ?1 AND section <> 0 AND stay = ?2 AND ?2 <> ''";
    transaction.prepare_cached(sql)?.execute(params![person.0, stay])?;
    Ok(())
}

/// An account as a message names it.
pub(in crate::coordination) struct Account<'m> {
    number: &'m [u8],
    /// CX-4.1; empty where nobody is said to have assigned it.
    authority: &'m [u8],
    /// MSH-4.1 of who says so.
    facility: &'m [u8],
}

impl<'m> Account<'m> {
    /// Of a field (CX) of a message with a header; none without a number.
    pub fn of(field: &'m [u8], msh: &'m [u8]) -> Option<Account<'m>> {
        let at = |place: usize| msh.get(place).copied();
        let first = |bytes: &'m [u8], by: Option<u8>| {
            bytes.split(|byte| Some(*byte) == by).next().unwrap_or_default().trim_ascii()
        };
        let (separator, between, repetition, within) = (at(3)?, at(4), at(5), at(7));
        let mut parts = first(field, repetition).split(|byte| Some(*byte) == between);
        let number = first(parts.next()?, within);
        let authority = first(parts.nth(2).unwrap_or_default(), within);
        let facility = first(msh.split(|byte| *byte == separator).nth(3).unwrap_or_default(), between);
        (!number.is_empty() && number != b"\"\"").then_some(Account { number, authority, facility })
    }

    /// Where somebody is not said to have assigned the number, it is of the facility that sends it.
    fn is(&self, other: &Account<'_>) -> bool {
        let is_told = !self.authority.is_empty() && !other.authority.is_empty();
        let is_by_same = if is_told { self.authority == other.authority } else { self.facility == other.facility };
        self.number == other.number && is_by_same
    }
}

/// Takes away all that was told of an account (PID-18), and of the stays that were told with it; which they are. An allergy of a stay goes with the stay that told it first.
pub(in crate::coordination) fn drop_of_account(
    transaction: &Transaction<'_>,
    person: PersonKey,
    account: &Account<'_>,
) -> rusqlite::Result<BTreeSet<String>> {
    let person = lineage::root(transaction, person)?;
    let sql = "SELECT origin, section, key, stay, body FROM card WHERE person = ?1 AND section <> 0 AND head = ?2 AND length(body) > 0
               AND (section <> ?3 OR stay = '')";
    let (mut stays, mut gone) = (BTreeSet::new(), Vec::new());
    for head in heads_of(transaction, person)? {
        let msh = head.raw.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let mut select = transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![person.0, head.key, super::Section::Allergy.number()])?;
        while let Some(row) = rows.next()? {
            let told = parts(row.get_ref(4)?.as_blob()?).nth(ACCOUNT).unwrap_or_default();
            if Account::of(told, msh).is_some_and(|told| told.is(account)) {
                gone.push((row.get::<_, [u8; 16]>(0)?, row.get::<_, u8>(1)?, row.get::<_, [u8; 16]>(2)?));
                stays.insert(row.get::<_, String>(3)?);
            }
        }
    }
    let sql = "DELETE FROM card WHERE person = ?1 AND origin = ?2 AND section = ?3 AND key = ?4";
    for (origin, section, key) in gone {
        transaction.prepare_cached(sql)?.execute(params![person.0, origin, section, key])?;
    }
    stays.remove("");
    stays.iter().try_for_each(|stay| drop_of_stay(transaction, person, stay))?;
    Ok(stays)
}

/// What is deleted goes however secretly it was told: it would stand there as if it were so. How many entries that are.
pub(super) fn variants(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    (section, plain): (super::Section, &[u8; 16]),
    last_ms: i64,
) -> rusqlite::Result<usize> {
    let sql = "UPDATE card SET body = x'', seq = ?4, sent_ms = ?5 WHERE person = ?1 AND section = ?2 AND plain = ?3
               AND length(body) > 0 AND sent_ms <= ?5";
    let values = params![of.person.0, section.number(), plain, of.seq.cast_signed(), last_ms];
    transaction.prepare_cached(sql)?.execute(values)
}

/// What a list of allergies leaves out is no more. A list that is told in secret takes away nothing that was told openly, unless it says that there are none.
/// How many entries leave.
pub(super) fn unlisted(transaction: &Transaction<'_>, of: Of<'_>, told: &Told, list: &List) -> rusqlite::Result<usize> {
    let last_ms = told.sent_ms.1;
    let sql = "SELECT origin, key, CASE WHEN plain = x'' THEN key ELSE plain END FROM card INDEXED BY card_series
               WHERE section < 4 AND series <> x'00000000000000000000000000000000' AND series = ?2 AND section = 3 AND person = ?1 AND length(body) > 0 AND sent_ms <= ?3 AND seq <> ?4
                 AND (?5 OR labels <> '')";
    let is_open = of.labels.is_empty() || list.keys.is_empty();
    ended(transaction, of, told, (&list.series, if is_open { End::List } else { End::SecretList }))?;
    let mut select = transaction.prepare_cached(sql)?;
    let values = params![of.person.0, list.series, last_ms, of.seq.cast_signed(), is_open];
    let rows = select.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<([u8; 16], [u8; 16], [u8; 16])> = rows.collect::<rusqlite::Result<_>>()?;
    let sql = "UPDATE card SET body = x'', seq = ?4, sent_ms = ?5 WHERE person = ?1 AND origin = ?2 AND section = 3 AND key = ?3";
    let mut update = transaction.prepare_cached(sql)?;
    let mut count = 0;
    for (origin, key, _) in rows.iter().filter(|(_, _, plain)| !list.keys.contains(plain)) {
        count += update.execute(params![of.person.0, origin, key, of.seq.cast_signed(), last_ms])?;
    }
    Ok(count)
}

/// What was told of a visit that did not happen, or is deleted. Allergies are the patient's, whenever they were told. How many entries leave.
pub(super) fn over(transaction: &Transaction<'_>, of: Of<'_>, told: &Told, over: Over) -> rusqlite::Result<usize> {
    let (visit, last_ms) = (&told.visit, told.sent_ms.1);
    // 1 visits, 2 diagnoses, 3 allergies. Orders and results of other feeds are theirs to take back.
    let which = match over {
        Over::Cancelled => "section = 2 AND (visit = ?2 OR stay = ?3)",
        Over::Deleted => "((section NOT IN (0, 3) AND visit = ?2) OR (section IN (1, 2) AND stay = ?3))",
    };
    // Nothing is of no visit.
    let visit: &[u8] = if *visit == NONE { &[] } else { visit };
    let stay = Some(of.stay).filter(|stay| !stay.is_empty());
    let end = if over == Over::Cancelled { End::Cancelled } else { End::Deleted };
    for what in of_visit(of, told).into_iter().flatten() {
        ended(transaction, of, told, (&what, end))?;
    }
    let sql = format!(
        "UPDATE card SET body = x'', seq = ?4, sent_ms = ?5 WHERE person = ?1 AND length(body) > 0 AND sent_ms <= ?5 AND {which}"
    );
    let values = params![of.person.0, visit, stay, of.seq.cast_signed(), last_ms];
    transaction.prepare_cached(&sql)?.execute(values)
}

/// By what ends of the visit of a message are known: as its feed has it, and by the stay.
fn of_visit(of: Of<'_>, told: &Told) -> [Option<[u8; 16]>; 2] {
    [Some(told.visit).filter(|visit| *visit != NONE), (!of.stay.is_empty()).then(|| stay_key(of.stay))]
}

/// Keeps when something ended, as of the message that says so last.
fn ended(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    told: &Told,
    (what, end): (&[u8; 16], End),
) -> rusqlite::Result<()> {
    let sql = "UPDATE card_end SET sent_ms = max(sent_ms, ?6) WHERE person = ?1 AND what = ?2 AND kind = ?3 AND origin = ?4 AND head = ?5";
    let values = params![of.person.0, what, end as u8, of.origin.0, told.head, told.sent_ms.1];
    if transaction.prepare_cached(sql)?.execute(values)? > 0 {
        return Ok(());
    }
    let sql = "INSERT INTO card_end (person, what, kind, origin, head, sent_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    transaction.prepare_cached(sql)?.execute(values)?;
    let whose = params![of.person.0, of.origin.0];
    let sql = "SELECT count(*) FROM card_end WHERE person = ?1 AND origin = ?2";
    let count: i64 = transaction.prepare_cached(sql)?.query_row(whose, |row| row.get(0))?;
    if count > ENDS_MAX {
        let sql = "DELETE FROM card_end WHERE person = ?1 AND origin = ?2 AND (what, kind, head) IN
                     (SELECT what, kind, head FROM card_end WHERE person = ?1 AND origin = ?2 ORDER BY sent_ms, what, kind, head LIMIT ?3)";
        transaction.prepare_cached(sql)?.execute(params![of.person.0, of.origin.0, count - ENDS_MAX])?;
    }
    Ok(())
}

/// Whether an entry that is not there was sent before its list, or before its visit turned out not to have happened.
pub(super) fn is_over(transaction: &Transaction<'_>, of: Of<'_>, told: &Told, piece: &Piece) -> rusqlite::Result<bool> {
    let [visit, stay] = of_visit(of, told);
    let list = Some(piece.series).filter(|series| *series != NONE);
    // A list in secret says nothing of what was told openly.
    let of_list = if of.labels.is_empty() { End::List } else { End::SecretList };
    let (by, from, to) = match piece.section {
        Section::Head => return Ok(false),
        Section::Allergy => ([list, None], End::List, of_list),
        Section::Condition => ([visit, stay], End::Cancelled, End::Deleted),
        Section::Encounter => ([visit, stay], End::Deleted, End::Deleted),
        _ => ([visit, None], End::Deleted, End::Deleted),
    };
    let sql = "SELECT EXISTS (SELECT 1 FROM card_end WHERE person = ?1 AND what = ?2 AND kind BETWEEN ?3 AND ?4 AND sent_ms > ?5)";
    for what in by.into_iter().flatten() {
        let values = params![of.person.0, what, from as u8, to as u8, told.sent_ms.1];
        if transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}
