//! What a new roster of a panel changes: who comes, who goes, whose data are others. By line, without values.
use super::key::PersonKey;
use super::rows::{LISTED_MAX, Place, Row, Rows};
use super::snapshot::Snapshot;
use jiff::civil::Date;

/// From one roster of a panel to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Members before.
    pub before: usize,
    /// Members after.
    pub after: usize,
    /// How many are new.
    pub added: usize,
    /// How many are gone.
    pub dropped: usize,
    /// Of how many something is different.
    pub changed: usize,
    /// The first of the new ones, by where they stand in the new files.
    pub added_lines: Vec<Place>,
    /// The first of those that are gone, by where they stood in the old files.
    pub dropped_lines: Vec<Place>,
    /// The first of those that are different.
    pub changed_lines: Vec<Changed>,
}

/// A member whose data are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Where they stood.
    pub before: Place,
    /// Where they stand.
    pub after: Place,
    /// What is different: `family`, `start`, `pcp`, …
    pub what: Vec<&'static str>,
}

impl Difference {
    /// From `before` to `after`; of the first roster of a panel everybody is new.
    pub fn between(before: &Rows, after: &Rows) -> Difference {
        let (old, new) = (sorted(before), sorted(after));
        let (mut old, mut new) = (grouped(&old).peekable(), grouped(&new).peekable());
        let mut found = Difference::default();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(left), Some(right)) => left[0].key.cmp(&right[0].key),
            };
            let left = if order.is_le() { old.next() } else { None };
            let right = if order.is_ge() { new.next() } else { None };
            found.add(left.map(|rows| (before, rows)), right.map(|rows| (after, rows)));
        }
        found.added_lines.sort_unstable();
        found.added_lines.truncate(LISTED_MAX);
        found.dropped_lines.sort_unstable();
        found.dropped_lines.truncate(LISTED_MAX);
        found.changed_lines.sort_unstable_by_key(|changed| changed.after);
        found.changed_lines.truncate(LISTED_MAX);
        found
    }

    fn add(&mut self, old: Option<(&Rows, &[&Row])>, new: Option<(&Rows, &[&Row])>) {
        match (old, new) {
            (Some((before, old)), Some((after, new))) => {
                self.before += 1;
                self.after += 1;
                let what = what_changed(before, old, after, new);
                if !what.is_empty() {
                    self.changed += 1;
                    self.changed_lines.push(Changed { before: old[0].place, after: new[0].place, what });
                }
            }
            (Some((_, old)), None) => {
                self.before += 1;
                self.dropped += 1;
                self.dropped_lines.push(old[0].place);
            }
            (None, Some((_, new))) => {
                self.after += 1;
                self.added += 1;
                self.added_lines.push(new[0].place);
            }
            (None, None) => {}
        }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.added + self.dropped + self.changed == 0
    }

    /// Whether more are gone than `max_drop_pct` lets pass without somebody's approval.
    pub fn drops_more_than(&self, max_drop_pct: u8) -> bool {
        self.dropped * 100 > self.before * usize::from(max_drop_pct)
    }
}

fn sorted(rows: &Rows) -> Vec<&Row> {
    let mut sorted: Vec<&Row> = rows.rows.iter().collect();
    sorted.sort_unstable_by_key(|row| (row.key, row.start, row.end, row.place));
    sorted
}

fn grouped<'r>(rows: &'r [&'r Row]) -> impl Iterator<Item = &'r [&'r Row]> {
    rows.chunk_by(|left, right| left.key == right.key)
}

/// A row without its place, as it is compared.
type Told<'r> = (&'r str, u32, u8, Vec<(&'r str, &'r str)>, (Date, Date), [&'r str; 3]);

fn told<'r>(rows: &'r Rows, row: &'r Row) -> Told<'r> {
    let (text, birth, sex) = row.demographics_text();
    let identifiers = row.identifiers().map(|(system, value)| (rows.systems.text(system), value)).collect();
    let words = [row.pcp, row.care_manager, row.consent].map(|word| rows.words.text(word));
    (text, birth, sex, identifiers, (row.start, row.end), words)
}

fn what_changed(before: &Rows, old: &[&Row], after: &Rows, new: &[&Row]) -> Vec<&'static str> {
    if old.len() != new.len() {
        return vec!["periods"];
    }
    let mut what = Vec::new();
    for (old, new) in old.iter().zip(new) {
        let (left, right) = (told(before, old), told(after, new));
        if left == right {
            continue;
        }
        let (person, other) = (old.demographics(), new.demographics());
        let changes = [
            ("family", person.family != other.family),
            ("given", person.given != other.given),
            ("address", person.street != other.street),
            ("city", person.city != other.city),
            ("zip", person.zip != other.zip),
            ("phone", person.phone != other.phone),
            ("dob", left.1 != right.1),
            ("sex", left.2 != right.2),
            ("identifiers", left.3 != right.3),
            ("start", left.4.0 != right.4.0),
            ("end", left.4.1 != right.4.1),
            ("pcp", left.5[0] != right.5[0]),
            ("care_manager", left.5[1] != right.5[1]),
            ("consent", left.5[2] != right.5[2]),
        ];
        what.extend(changes.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name));
    }
    what.sort_unstable();
    what.dedup();
    what
}

/// People who are known by another key than before, as who has a new MBI: the old and the new one of each, sorted by the old. Who is not there any more is who would have been one
/// person with them in one roster; where that could be several, they are nobody.
pub fn rekeyed(before: &Snapshot, after: &Snapshot) -> Vec<(PersonKey, PersonKey)> {
    let gone = before.keys().filter(|old| !after.has(old));
    gone.filter_map(|old| Some((old, after.same(before, &old)?))).collect()
}
