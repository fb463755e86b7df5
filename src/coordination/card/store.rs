//! The rows of cards.
use super::outline::{Known, Outlines};
use super::told::{Piece, Told};
use super::{CARD_BYTES_MAX, Section, leave, panel};
use crate::coordination::{PersonKey, lineage};
use crate::privacy::{Labels, Set};
use rusqlite::{Connection, Transaction, params};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// To be made when the database is opened. `labels`: codes of labels parted by blanks, then `/`, then those of the event as a whole. `plain`: the key that it has where it is told
/// openly, empty where that is `key`. `stay`: its visit, as labels of visits are kept. `card_shown`: what recipients have seen of cards, so that they can read it by id.
/// `card_end`: when lists of allergies were sent, and that visits are over, see the module about what leaves.
/// `series` is looked up of heads and allergies: results, whose tests are known from the outline, come and go without an index.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS card (
    person BLOB NOT NULL, origin BLOB NOT NULL, section INTEGER NOT NULL, key BLOB NOT NULL, at_ms INTEGER NOT NULL, seq INTEGER NOT NULL, head BLOB NOT NULL,
    visit BLOB NOT NULL, labels TEXT NOT NULL, body BLOB NOT NULL, sent_ms INTEGER NOT NULL, rank INTEGER NOT NULL, series BLOB NOT NULL,
    plain BLOB NOT NULL, stay TEXT NOT NULL,
    PRIMARY KEY (person, origin, section, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS card_series ON card (series, section) WHERE section < 4 AND series <> x'00000000000000000000000000000000';
CREATE INDEX IF NOT EXISTS card_secret ON card (person, stay) WHERE labels <> '';
CREATE TABLE IF NOT EXISTS card_end (
    person BLOB NOT NULL, what BLOB NOT NULL, kind INTEGER NOT NULL, origin BLOB NOT NULL, head BLOB NOT NULL, sent_ms INTEGER NOT NULL,
    PRIMARY KEY (person, what, kind, origin, head)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS card_shown (
    recipient TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, person BLOB NOT NULL, shown_ms INTEGER NOT NULL,
    PRIMARY KEY (recipient, type, id, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS card_shown_age ON card_shown (shown_ms);";

/// The key of a row that says that open entries of a section were let go of.
pub(super) const MORE: [u8; 16] = [0xff; 16];
const NONE: [u8; 16] = [0; 16];
/// Rows that are forgotten at once.
const FORGOTTEN_MAX: i64 = 10_000;
/// Cards on which a recipient was shown the same thing that are remembered: those of the latest.
const SHOWN_MAX: i64 = 64;
/// Rows of one person that are looked at: those of as many keys of one and the same patient.
const ROWS_MAX: i64 = 4_096;

/// An entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub section: Section,
    /// By what its sender knows it, hashed.
    pub key: [u8; 16],
    /// When it happened, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// The message.
    pub seq: u64,
    /// What it is read with.
    pub head: [u8; 16],
    /// Its visit; zeros where there is none.
    pub visit: [u8; 16],
    /// The codes of its labels: all, and those of the event as a whole.
    pub labels: String,
    /// The segments.
    pub body: Vec<u8>,
    /// When its sender sent it (MSH-7), in milliseconds since 1970 (UTC).
    pub sent_ms: i64,
    /// What it is one of, hashed: the test of a result.
    pub series: [u8; 16],
}

impl std::fmt::Debug for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Row({:?} of message {}, {} bytes)", self.section, self.seq, self.body.len())
    }
}

/// The card of a person: the newest of each section, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// Entries.
    pub rows: Vec<Row>,
    /// Sections of which older entries without labels were told that are not among them.
    pub more: BTreeSet<Section>,
}

impl Card {
    /// The card of whoever a key leads to, of all keys that lead there.
    ///
    /// # Errors
    /// A database that cannot be read, or that somebody else wrote.
    pub fn read(connection: &Connection, person: PersonKey) -> rusqlite::Result<Card> {
        let person = lineage::root(connection, person)?;
        let sql =
            "SELECT section, key, at_ms, seq, head, visit, labels, body, sent_ms, series FROM card WHERE person = ?1
                   ORDER BY seq DESC, section, key LIMIT ?2";
        let mut select = connection.prepare_cached(sql)?;
        let row = |row: &rusqlite::Row<'_>| {
            let number: u8 = row.get(0)?;
            let section = Section::parse(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, number.into()))?;
            Ok(Row {
                section,
                key: row.get(1)?,
                at_ms: row.get(2)?,
                seq: row.get::<_, i64>(3)?.unsigned_abs(),
                head: row.get(4)?,
                visit: row.get(5)?,
                labels: row.get(6)?,
                body: row.get(7)?,
                sent_ms: row.get(8)?,
                series: row.get(9)?,
            })
        };
        let rows = select.query_map(params![person.0, ROWS_MAX], row)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(bounded(rows))
    }

    /// Bytes of its bodies.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.body.len()).sum()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Of all origins: the newest of each key, and of each section the newest.
fn bounded(mut rows: Vec<Row>) -> Card {
    let mut more: BTreeSet<Section> = rows.iter().filter(|row| row.key == MORE).map(|row| row.section).collect();
    rows.sort_by_key(|row| (Reverse((row.sent_ms, row.seq)), row.key));
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert((row.section, row.key)) && !row.body.is_empty());
    rows.sort_by_key(|row| (row.section, Reverse((row.at_ms, row.seq)), row.key));
    // Of each test the newest; as many as there are of that time.
    let mut newest: HashMap<[u8; 16], i64> = HashMap::new();
    rows.retain(|row| row.section != Section::Result || *newest.entry(row.series).or_insert(row.at_ms) == row.at_ms);
    let mut taken: BTreeMap<Section, (usize, usize)> = BTreeMap::new();
    // What entries are read with comes first in the order, and is judged by them.
    let (heads, mut rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.section == Section::Head);
    rows.retain(|row| {
        let fits = fits(&mut taken, row);
        if !fits && row.labels.is_empty() {
            more.insert(row.section);
        }
        fits
    });
    let read_with: HashSet<[u8; 16]> = rows.iter().map(|row| row.head).collect();
    debug_assert!(rows.iter().map(|row| row.body.len()).sum::<usize>() <= CARD_BYTES_MAX);
    let heads = heads.into_iter().filter(|row| fits(&mut taken, row) || read_with.contains(&row.key));
    Card { rows: heads.collect::<Vec<_>>().into_iter().chain(rows).collect(), more }
}

/// Whether an entry has room in its section, which it takes then.
fn fits(taken: &mut BTreeMap<Section, (usize, usize)>, row: &Row) -> bool {
    {
        let (count, bytes) = taken.entry(row.section).or_default();
        let (count_max, bytes_max) = row.section.limits();
        let fits = *count < count_max && *bytes + row.body.len() <= bytes_max;
        // A gap would show an older one for a newer: what does not fit closes the section.
        (*count, *bytes) = if fits { (*count + 1, *bytes + row.body.len()) } else { (count_max, bytes_max) };
        fits
    }
}

/// Whose something is, where it comes from and in which message, its labels and its stay.
#[derive(Clone, Copy)]
pub(in crate::coordination) struct Of<'o> {
    /// Whose it is by now.
    pub person: PersonKey,
    /// For whom it is written.
    pub origin: PersonKey,
    pub seq: u64,
    pub labels: &'o str,
    /// The visit, as its labels are kept; empty where there is none.
    pub stay: &'o str,
}

/// Writes what a message told of a person, with the labels that it carries.
///
/// # Errors
/// A database that cannot be read or written.
pub(in crate::coordination) fn take(
    transaction: &Transaction<'_>,
    outlines: &mut Outlines,
    of: Of<'_>,
    told: &Told,
) -> rusqlite::Result<()> {
    debug_assert!(outlines.are_right(transaction, of.person)?, "somebody else has changed a card");
    let mut grown = 0_u32;
    for piece in &told.pieces {
        if write(transaction, outlines, of, told, piece)? {
            grown |= 1 << piece.section.number();
        }
        if piece.body.is_empty() {
            let plain = (piece.section, &piece.plain);
            leaves(outlines, of, || leave::variants(transaction, of, plain, told.sent_ms.1))?;
        }
    }
    if let Some(list) = &told.list {
        leaves(outlines, of, || leave::unlisted(transaction, of, told, list))?;
    }
    if let Some(over) = told.over {
        leaves(outlines, of, || leave::over(transaction, of, told, over))?;
    }
    for section in Section::ALL {
        if grown & (1 << section.number()) != 0 {
            bound(transaction, outlines, (of.person, of.origin), section)?;
        }
        if told.cut & (1 << section.number()) != 0 {
            say_more(transaction, (of.person, of.origin), section)?;
        }
    }
    debug_assert!(outlines.are_right(transaction, of.person)?, "an outline is not what is written");
    Ok(())
}

/// What takes away from a card that it finds itself.
fn leaves(
    outlines: &mut Outlines,
    of: Of<'_>,
    take_away: impl FnOnce() -> rusqlite::Result<usize>,
) -> rusqlite::Result<()> {
    // Most lists of allergies take nothing away.
    if take_away()? > 0 {
        outlines.forget(of.person);
    }
    Ok(())
}

/// The body of an entry that is there.
fn body_of(transaction: &Transaction<'_>, of: Of<'_>, section: Section, key: &[u8; 16]) -> rusqlite::Result<Vec<u8>> {
    let sql = "SELECT body FROM card WHERE person = ?1 AND origin = ?2 AND section = ?3 AND key = ?4";
    let whose = params![of.person.0, of.origin.0, section.number(), key];
    transaction.prepare_cached(sql)?.query_row(whose, |row| row.get(0))
}

/// Writes an entry, unless what is there was sent later. Whether more room is taken than before.
fn write(
    transaction: &Transaction<'_>,
    outlines: &mut Outlines,
    of: Of<'_>,
    told: &Told,
    piece: &Piece,
) -> rusqlite::Result<bool> {
    let Piece { section, key, at_ms, body, rank, series, replaces, .. } = piece;
    let (section, seq) = (*section, of.seq.cast_signed());
    let (sent_ms, last_ms) = told.sent_ms;
    let is_head = section == Section::Head;
    // Entries of a section other than the head are read with one.
    let (head, stay) = if is_head { (&NONE, "") } else { (&told.head, of.stay) };
    let rows = outlines.rows(transaction, (of.person, of.origin), section)?;
    let before = rows.iter_mut().find(|row| row.key == *key);
    let is_new = before.as_ref().is_none_or(|before| before.length == 0);
    if is_new && !body.is_empty() && leave::is_over(transaction, of, told, piece)? {
        return Ok(false);
    }
    let Some(before) = before else {
        insert(transaction, outlines, of, told, piece)?;
        return Ok(true);
    };
    if *rank <= before.rank && (last_ms < before.sent_ms || (*rank == 0 && before.rank > 0)) {
        return Ok(false);
    }
    let (mut body, mut labels) = (Cow::Borrowed(body.as_slice()), of.labels);
    // Of a stay that is secret by now it stays, where the message does not say of which it is.
    if stay.is_empty() && labels.is_empty() && !matches!(section, Section::Head | Section::Allergy) {
        labels = &before.labels;
    }
    if section == Section::Result && !replaces && before.head == *head && before.labels == labels {
        let earlier = body_of(transaction, of, section, key)?;
        let (merged, is_whole) = panel::merged((&earlier, before.rank), (&body, *rank), told.between);
        body = Cow::Owned(merged);
        // That there is more in secret is not told.
        if !is_whole && labels.is_empty() {
            say_more(transaction, (of.person, of.origin), section)?;
        }
    }
    // Allergies are told again in each visit: what one visit told first does not go when another turns out to be somebody else's, and is not secret for it.
    let is_told_before = section == Section::Allergy && before.length > 0 && !before.stay.is_empty();
    let stay = if stay.is_empty() || is_told_before { before.stay.as_str() } else { stay };
    // What IAM says of an allergy that AL1 told is said of that one: it stays in the list.
    let series = if *series == NONE { before.series } else { *series };
    let now = Known {
        key: *key,
        at_ms: *at_ms,
        seq,
        head: *head,
        labels: labels.to_owned(),
        length: body.len(),
        sent_ms,
        rank: *rank,
        stay: stay.to_owned(),
        series,
    };
    let visit = if is_head { &NONE } else { &told.visit };
    rewrite(transaction, of, section, (before, &now), (&body, visit, is_told_before))?;
    let before = std::mem::replace(before, now);
    if section == Section::Result && before.at_ms != *at_ms {
        newest(transaction, outlines, of, &series)?;
    }
    Ok(body.len() > before.length)
}

/// Writes an entry of which there is none.
fn insert(
    transaction: &Transaction<'_>,
    outlines: &mut Outlines,
    of: Of<'_>,
    told: &Told,
    piece: &Piece,
) -> rusqlite::Result<()> {
    let Piece { section, key, plain, at_ms, body, rank, series, .. } = piece;
    let (seq, sent_ms, is_head) = (of.seq.cast_signed(), told.sent_ms.0, *section == Section::Head);
    let (head, visit, stay) = if is_head { (&NONE, &NONE, "") } else { (&told.head, &told.visit, of.stay) };
    let plain: &[u8] = if is_head || plain == key { &[] } else { plain };
    let sql = "INSERT INTO card VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let values = params![
        of.person.0,
        of.origin.0,
        section.number(),
        key,
        at_ms,
        seq,
        head,
        visit,
        of.labels,
        body,
        sent_ms,
        rank,
        series,
        plain,
        stay
    ];
    transaction.prepare_cached(sql)?.execute(values)?;
    let (labels, stay, length) = (of.labels.to_owned(), stay.to_owned(), body.len());
    let (key, at_ms, head, rank, series) = (*key, *at_ms, *head, *rank, *series);
    let now = Known { key, at_ms, seq, head, labels, length, sent_ms, rank, stay, series };
    outlines.add(transaction, (of.person, of.origin), *section, now)?;
    if *section == Section::Result { newest(transaction, outlines, of, &series) } else { Ok(()) }
}

/// Writes an entry in the place of what is there. What an index is made of is left alone where it stays as it is: SQLite would take it out of the index and put it back.
fn rewrite(
    transaction: &Transaction<'_>,
    of: Of<'_>,
    section: Section,
    (before, now): (&Known, &Known),
    (body, visit, keeps_visit): (&[u8], &[u8; 16], bool),
) -> rusqlite::Result<()> {
    let Known { key, at_ms, seq, head, labels, sent_ms, rank, stay, series, .. } = now;
    let (number, is_indexed_so) =
        (section.number(), before.labels == *labels && before.stay == *stay && before.series == *series);
    let changed = if is_indexed_so {
        let sql = "UPDATE card SET at_ms = ?5, seq = ?6, head = ?7, visit = CASE WHEN ?11 THEN visit ELSE ?8 END, sent_ms = ?9, rank = ?10, body = ?12
                   WHERE person = ?1 AND origin = ?2 AND section = ?3 AND key = ?4";
        let values =
            params![of.person.0, of.origin.0, number, key, at_ms, seq, head, visit, sent_ms, rank, keeps_visit, body];
        transaction.prepare_cached(sql)?.execute(values)?
    } else {
        let sql = "UPDATE card SET at_ms = ?5, seq = ?6, head = ?7, visit = CASE WHEN ?11 THEN visit ELSE ?8 END, sent_ms = ?9, rank = ?10, body = ?12, labels = ?13, series = ?14, stay = ?15
                   WHERE person = ?1 AND origin = ?2 AND section = ?3 AND key = ?4";
        let values = params![
            of.person.0,
            of.origin.0,
            number,
            key,
            at_ms,
            seq,
            head,
            visit,
            sent_ms,
            rank,
            keeps_visit,
            body,
            labels,
            series,
            stay
        ];
        transaction.prepare_cached(sql)?.execute(values)?
    };
    // The outline was wrong: all is read again.
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

/// Of a test the newest stay.
fn newest(
    transaction: &Transaction<'_>,
    outlines: &mut Outlines,
    of: Of<'_>,
    series: &[u8; 16],
) -> rusqlite::Result<()> {
    if *series == NONE {
        return Ok(());
    }
    let rows = outlines.rows(transaction, (of.person, of.origin), Section::Result)?;
    let newest = rows.iter().filter(|row| row.series == *series).map(|row| row.at_ms).max();
    let is_older = |row: &Known| row.series == *series && Some(row.at_ms) < newest;
    for row in rows.iter().filter(|row| is_older(row)) {
        delete(transaction, (of.person, of.origin), Section::Result, &row.key)?;
    }
    rows.retain(|row| !is_older(row));
    Ok(())
}

fn delete(
    transaction: &Transaction<'_>,
    (person, origin): (PersonKey, PersonKey),
    section: Section,
    key: &[u8; 16],
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM card WHERE person = ?1 AND origin = ?2 AND section = ?3 AND key = ?4";
    transaction.prepare_cached(sql)?.execute(params![person.0, origin.0, section.number(), key])?;
    Ok(())
}

/// Says that a section is not all.
fn say_more(
    transaction: &Transaction<'_>,
    (person, origin): (PersonKey, PersonKey),
    section: Section,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO card VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?5, '', x'', 0, 1, ?5, x'', '')";
    transaction.prepare_cached(sql)?.execute(params![person.0, origin.0, section.number(), MORE, NONE])?;
    Ok(())
}

/// Lets go of the oldest of a section of one origin.
fn bound(
    transaction: &Transaction<'_>,
    outlines: &mut Outlines,
    (person, origin): (PersonKey, PersonKey),
    section: Section,
) -> rusqlite::Result<()> {
    let (count_max, bytes_max) = section.limits();
    let rows = outlines.rows(transaction, (person, origin), section)?;
    if rows.len() <= count_max && rows.iter().map(|row| row.length).sum::<usize>() <= bytes_max {
        return Ok(());
    }
    rows.sort_unstable_by_key(|row| (row.length == 0, Reverse((row.at_ms, row.seq)), row.key));
    let (mut count, mut bytes, mut is_cut, mut gone) = (0, 0, false, HashSet::new());
    for row in rows.iter() {
        (count, bytes) = (count + 1, bytes + row.length);
        if count > count_max || bytes > bytes_max {
            (count, bytes) = (count_max, bytes_max);
            if section == Section::Head {
                // An entry is never lost for want of room for what it is read with.
                let sql = "SELECT EXISTS (SELECT 1 FROM card WHERE person = ?1 AND origin = ?2 AND head = ?3)";
                let mut select = transaction.prepare_cached(sql)?;
                if select.query_row(params![person.0, origin.0, row.key], |row| row.get(0))? {
                    continue;
                }
            }
            delete(transaction, (person, origin), section, &row.key)?;
            gone.insert(row.key);
            // That there was something in secret is not told either.
            is_cut |= row.labels.is_empty() && row.length > 0 && section != Section::Head;
        }
    }
    rows.retain(|row| !gone.contains(&row.key));
    if is_cut {
        say_more(transaction, (person, origin), section)?;
    }
    Ok(())
}

/// What is said later of a visit holds for all that was told of it, by whichever feed. `visit`: zeros where it is not told by its feed.
///
/// # Errors
/// A database that cannot be read or written.
pub(in crate::coordination) fn mark(
    transaction: &Transaction<'_>,
    outlines: &mut Outlines,
    person: PersonKey,
    (visit, stay): (&[u8; 16], &str),
    labels: (&Labels, Set, Set),
) -> rusqlite::Result<()> {
    let (names, all, whole) = labels;
    if all.is_empty() || (*visit == NONE && stay.is_empty()) {
        return Ok(());
    }
    // Whoever it was told of first.
    let sql = "SELECT origin, section, key, labels FROM card WHERE person = ?1 AND section <> 0
               AND ((visit = ?2 AND ?2 <> ?4) OR (stay = ?3 AND ?3 <> ''))";
    let mut select = transaction.prepare_cached(sql)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let rows = select.query_map(params![person.0, visit, stay, NONE], row)?;
    let rows: Vec<([u8; 16], u8, [u8; 16], String)> = rows.collect::<rusqlite::Result<_>>()?;
    let sql = "UPDATE card SET labels = ?5 WHERE person = ?1 AND origin = ?2 AND section = ?3 AND key = ?4";
    let mut update = transaction.prepare_cached(sql)?;
    for (origin, section, key, before) in rows {
        let (of_all, of_whole) = before.split_once('/').unwrap_or_default();
        let text = text(names, (all, of_all), (whole, of_whole));
        if text != before {
            update.execute(params![person.0, origin, section, key, text])?;
            outlines.forget(person);
        }
    }
    Ok(())
}

/// The labels that entries of a stay carry, all and those of events as a whole: they outlast what is kept of the stay elsewhere.
///
/// # Errors
/// A database that cannot be read.
pub(in crate::coordination) fn labels_of(
    transaction: &Transaction<'_>,
    person: PersonKey,
    stay: &str,
) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let (mut all, mut whole) = (Vec::new(), Vec::new());
    if stay.is_empty() {
        return Ok((all, whole));
    }
    // By itself SQLite looks through all of the card. What is there twice is left out here: for DISTINCT it makes a table each time.
    let sql = "SELECT labels FROM card INDEXED BY card_secret WHERE person = ?1 AND stay = ?2 AND labels <> ''";
    let mut select = transaction.prepare_cached(sql)?;
    let mut rows = select.query(params![person.0, stay])?;
    let mut known: Vec<String> = Vec::new();
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str()?;
        if known.iter().any(|known| known == text) {
            continue;
        }
        known.push(text.to_owned());
        let (of_all, of_whole) = text.split_once('/').unwrap_or((text, text));
        all.extend(of_all.split_whitespace().map(str::to_owned));
        whole.extend(of_whole.split_whitespace().map(str::to_owned));
    }
    Ok((all, whole))
}

/// Labels as they are written: those found, and codes that are there.
fn text(names: &Labels, (all, of_all): (Set, &str), (whole, of_whole): (Set, &str)) -> String {
    let merged = |set: Set, codes: &str| {
        let mut codes: Vec<&str> = codes.split_whitespace().chain(names.names(set)).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.join(" ")
    };
    let (all, whole) = (merged(all, of_all), merged(whole, of_whole));
    if all.is_empty() && whole.is_empty() { String::new() } else { format!("{all}/{whole}") }
}

/// Labels as they are written.
pub(in crate::coordination) fn settle(names: &Labels, all: Set, whole: Set) -> String {
    if all.is_empty() && whole.is_empty() { String::new() } else { text(names, (all, ""), (whole, "")) }
}

/// Remembers what a recipient has been shown of a card.
///
/// # Errors
/// A database that cannot be written.
pub fn shown<'s>(
    transaction: &Transaction<'_>,
    recipient: &str,
    person: PersonKey,
    resources: impl Iterator<Item = (&'s str, &'s str)>,
    now_ms: i64,
) -> rusqlite::Result<()> {
    // Written again a day later at the earliest: most of a card is what it was.
    let sql = "INSERT INTO card_shown VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE
               SET shown_ms = excluded.shown_ms WHERE shown_ms + 86400000 <= excluded.shown_ms";
    let mut insert = transaction.prepare_cached(sql)?;
    let sql = "SELECT count(*) FROM card_shown WHERE recipient = ?1 AND type = ?2 AND id = ?3";
    let mut count = transaction.prepare_cached(sql)?;
    let sql = "DELETE FROM card_shown WHERE recipient = ?1 AND type = ?2 AND id = ?3 AND person IN
                 (SELECT person FROM card_shown WHERE recipient = ?1 AND type = ?2 AND id = ?3 ORDER BY shown_ms, person LIMIT ?4)";
    for (kind, id) in resources {
        insert.execute(params![recipient, kind, id, person.0, now_ms])?;
        let cards: i64 = count.query_row([recipient, kind, id], |row| row.get(0))?;
        if cards > SHOWN_MAX {
            transaction.prepare_cached(sql)?.execute(params![recipient, kind, id, cards - SHOWN_MAX])?;
        }
    }
    Ok(())
}

/// On whose cards a recipient has been shown a resource, the latest first.
///
/// # Errors
/// A database that cannot be read.
pub fn was_shown(connection: &Connection, recipient: &str, kind: &str, id: &str) -> rusqlite::Result<Vec<PersonKey>> {
    let sql = "SELECT person FROM card_shown WHERE recipient = ?1 AND type = ?2 AND id = ?3 ORDER BY shown_ms DESC, person LIMIT ?4";
    let mut select = connection.prepare_cached(sql)?;
    select.query_map(params![recipient, kind, id, SHOWN_MAX], |row| row.get(0).map(PersonKey))?.collect()
}

/// Forgets what was shown before a time, some of it at once; how much.
///
/// # Errors
/// A database that cannot be written.
pub(in crate::coordination) fn forget(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM card_shown WHERE (recipient, type, id, person) IN
                 (SELECT recipient, type, id, person FROM card_shown WHERE shown_ms < ?1 ORDER BY shown_ms LIMIT ?2)";
    transaction.prepare_cached(sql)?.execute(params![before_ms, FORGOTTEN_MAX])
}
