//! What is kept of an event for the measures: about fifty bytes, in which nothing of the patient stands. Visits, referrals and documents are hashes.
//!
//! ```text
//! blob: version 1, then facts
//! fact: seq v · kind u8 · flags u8 · present u16 · at z (ms since 2020) · received − at z · days u8 (of the two dates, against UTC, + 4 each) · facility v
//!       then what is present, in the order of its bits:
//!       class v · disposition v · trigger v · completion v · panels v · whole v, all v (labels) · visit u64 · four numbers, each u64 u32 ·
//!       start − at z, its day u8 · count u8 of codes (word × 4 + principal × 2 + has value v, labels v, value z) · count u8 of NPIs (v) · told as u32
//! v: LEB128, z: the same of a zigzag; others little-endian
//! ```
use super::super::event::Number;

/// Facts of one key that are kept, the newest: a patient on dialysis has 150 a year.
pub const FACTS_MAX: usize = 1_024;
/// Codes of one event that are kept, those that a measure asks for first.
pub const CODES_MAX: usize = 12;
/// Of those who took part.
pub const ACTING_MAX: usize = 8;

const VERSION: u8 = 1;
/// 2020-01-01.
const BASE_MS: i64 = 1_577_836_800_000;
const DAY_MS: i64 = 86_400_000;

/// With somebody of the care team.
pub const TEAM: u8 = 1;
/// The key of the visit was made up.
pub const WEAK: u8 = 2;
/// The time that was told cannot be.
pub const SUSPECT: u8 = 4;
/// What should have come before it has not been seen.
pub const PARTIAL: u8 = 8;
/// Old when it came.
pub const STALE: u8 = 16;
/// It had codes, whether they are kept or not.
pub const CODED: u8 = 32;

/// The kind of what no message told: they are in no roster from there on, and nobody hears of what happens to them until they are in one again, which is its `start`.
pub const LEFT: u8 = 31;

/// A number and who assigned it, hashed; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbered {
    value: u64,
    authority: u32,
}

impl Numbered {
    /// Of a number as it was sent.
    pub fn of(number: &Number) -> Numbered {
        if number.value.is_empty() {
            return Numbered::default();
        }
        let authority = if number.authority.is_empty() { 0 } else { hash(&[&number.authority]).max(1) };
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is one")]
        let authority = (authority as u32).max(u32::from(authority != 0));
        Numbered { value: hash(&[&number.value]), authority }
    }

    /// Whether there is one.
    pub fn is_some(self) -> bool {
        self.value != 0
    }

    /// Whether both are one: some senders leave out who assigned it.
    pub fn same(self, other: Numbered) -> bool {
        self.is_some()
            && self.value == other.value
            && (self.authority == other.authority || self.authority == 0 || other.authority == 0)
    }
}

/// FNV-1a, never 0. Two numbers of one person that fall together are as good as one; of others it makes no difference.
pub fn hash(parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.max(1)
}

/// Of [`crate::coordination::event::Patient::told_as`] what a fact keeps.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "half of a hash is one")]
pub fn told_as(told_as: i64) -> u32 {
    (told_as as u32).max(u32::from(told_as != 0))
}

/// A code of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coded {
    /// Its word.
    pub word: u32,
    /// The labels that it carries.
    pub labels: u64,
    /// In thousandths.
    pub value: Option<i64>,
    /// Of the principal diagnosis.
    pub principal: bool,
}

/// An event as measures see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fact {
    /// The number of its message.
    pub seq: u64,
    /// Its place in `Kind::ALL`.
    pub kind: u8,
    /// `TEAM` and the like.
    pub flags: u8,
    /// When it happened, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// When it was received.
    pub received_ms: i64,
    /// The date of the place when it happened, in days since 1970.
    pub day: i32,
    /// When it was received.
    pub received_day: i32,
    /// Words.
    pub facility: u32,
    /// Class of the visit.
    pub class: u32,
    /// Class at the end of a stay that began as something else; not kept, as it follows from other facts.
    pub ended_as: u32,
    /// Discharge disposition.
    pub disposition: u32,
    /// MSH-9.2.
    pub trigger: u32,
    /// TXA-17.
    pub completion: u32,
    /// The panels the person was in.
    pub panels: u32,
    /// Labels of the event as a whole.
    pub whole: u64,
    /// All of its labels.
    pub all: u64,
    /// The visit, hashed; 0 is none.
    pub visit: u64,
    /// The referral or order.
    pub referral: Numbered,
    /// The document.
    pub document: Numbered,
    /// What it is an addendum to.
    pub parent: Numbered,
    /// The appointment.
    pub appointment: Numbered,
    /// When the appointment starts, in milliseconds since 1970, and the date of the place; 0 and 0 where nobody says. Of who left, when they were back.
    pub start: (i64, i32),
    /// Under which number of which feed it was told, the lower half of the hash ([`crate::coordination::event::Patient::told_as`]): of one person they are few. 0 is none.
    pub told_as: u32,
    /// Where its codes stand in [`Facts`].
    pub codes: (u32, u32),
    /// Where the NPIs stand of those who did something.
    pub acting: (u32, u32),
}

impl Fact {
    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Facts of somebody.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// In the order in which they were kept.
    pub list: Vec<Fact>,
    codes: Vec<Coded>,
    acting: Vec<u64>,
}

/// What was written is not what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

impl Facts {
    /// Forgets all, and keeps the room.
    pub fn clear(&mut self) {
        self.list.clear();
        self.codes.clear();
        self.acting.clear();
    }

    /// The codes of a fact.
    pub fn codes(&self, fact: &Fact) -> &[Coded] {
        self.codes.get(fact.codes.0 as usize..fact.codes.1 as usize).unwrap_or_default()
    }

    /// The NPIs of those who did something in it.
    pub fn acting(&self, fact: &Fact) -> &[u64] {
        self.acting.get(fact.acting.0 as usize..fact.acting.1 as usize).unwrap_or_default()
    }

    /// Gives all the labels that their words carry, by word: a facility as a whole, codes what they are of.
    pub(super) fn mark(&mut self, bits: &[u64]) {
        let of = |word: u32| bits.get(word as usize).copied().unwrap_or(0);
        for code in &mut self.codes {
            code.labels |= of(code.word);
        }
        for fact in &mut self.list {
            let codes = self.codes.get(fact.codes.0 as usize..fact.codes.1 as usize).unwrap_or_default();
            fact.whole |= of(fact.facility);
            fact.all |= codes.iter().fold(fact.whole, |all, code| all | code.labels);
        }
    }

    /// Adds one.
    pub fn push(&mut self, mut fact: Fact, codes: &[Coded], acting: &[u64]) {
        fact.codes = place(&mut self.codes, codes.get(..CODES_MAX).unwrap_or(codes));
        fact.acting = place(&mut self.acting, acting.get(..ACTING_MAX).unwrap_or(acting));
        self.list.push(fact);
    }

    /// All of it, as it is kept.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(VERSION);
        self.list.iter().for_each(|fact| self.write(fact, out));
    }

    /// Adds what is kept.
    ///
    /// # Errors
    /// What is not of this form.
    pub fn decode(&mut self, blob: &[u8]) -> Result<(), Damaged> {
        let Some((&VERSION, mut rest)) = blob.split_first() else { return Err(Damaged) };
        while !rest.is_empty() {
            self.read(&mut rest).ok_or(Damaged)?;
        }
        Ok(())
    }

    fn write(&self, fact: &Fact, out: &mut Vec<u8>) {
        let (codes, acting) = (self.codes(fact), self.acting(fact));
        let words = [fact.class, fact.disposition, fact.trigger, fact.completion, fact.panels];
        let numbers = [fact.referral, fact.document, fact.parent, fact.appointment];
        let present = words.iter().map(|word| *word != 0).chain([fact.all != 0, fact.visit != 0]);
        let present = present.chain(numbers.iter().map(|number| number.is_some()));
        let present = present.chain([fact.start != (0, 0), !codes.is_empty(), !acting.is_empty(), fact.told_as != 0]);
        let present = present.enumerate().fold(0_u16, |all, (bit, is)| all | u16::from(is) << bit);
        varint(out, fact.seq);
        out.extend([fact.kind, fact.flags]);
        out.extend(present.to_le_bytes());
        varint(out, zigzag(fact.at_ms - BASE_MS));
        varint(out, zigzag(fact.received_ms - fact.at_ms));
        out.push(apart(fact.day, fact.at_ms) << 4 | apart(fact.received_day, fact.received_ms));
        varint(out, u64::from(fact.facility));
        words.into_iter().filter(|word| *word != 0).for_each(|word| varint(out, u64::from(word)));
        if fact.all != 0 {
            varint(out, fact.whole);
            varint(out, fact.all);
        }
        if fact.visit != 0 {
            out.extend(fact.visit.to_le_bytes());
        }
        for number in numbers.iter().filter(|number| number.is_some()) {
            out.extend(number.value.to_le_bytes());
            out.extend(number.authority.to_le_bytes());
        }
        if fact.start != (0, 0) {
            varint(out, zigzag(fact.start.0 - fact.at_ms));
            out.push(apart(fact.start.1, fact.start.0));
        }
        if !codes.is_empty() {
            out.push(u8::try_from(codes.len()).unwrap_or(u8::MAX));
            for code in codes {
                let flags = u64::from(code.principal) << 1 | u64::from(code.value.is_some());
                varint(out, u64::from(code.word) << 2 | flags);
                varint(out, code.labels);
                code.value.into_iter().for_each(|value| varint(out, zigzag(value)));
            }
        }
        if !acting.is_empty() {
            out.push(u8::try_from(acting.len()).unwrap_or(u8::MAX));
            acting.iter().for_each(|npi| varint(out, *npi));
        }
        if fact.told_as != 0 {
            out.extend(fact.told_as.to_le_bytes());
        }
    }

    fn read(&mut self, rest: &mut &[u8]) -> Option<()> {
        let seq = take_varint(rest)?;
        let [kind, flags, low, high] = take(rest)?;
        if kind > LEFT {
            return None;
        }
        let present = u16::from_le_bytes([low, high]);
        let is = |bit: u16| present >> bit & 1 == 1;
        let at_ms = BASE_MS.checked_add(unzigzag(take_varint(rest)?))?;
        let received_ms = at_ms.checked_add(unzigzag(take_varint(rest)?))?;
        let [days] = take(rest)?;
        let mut fact = Fact { seq, kind, flags, at_ms, received_ms, facility: take_word(rest)?, ..Fact::default() };
        fact.day = date(days >> 4, at_ms);
        fact.received_day = date(days & 15, received_ms);
        let words = [&mut fact.class, &mut fact.disposition, &mut fact.trigger, &mut fact.completion, &mut fact.panels];
        for (bit, word) in (0..).zip(words) {
            if is(bit) {
                *word = take_word(rest)?;
            }
        }
        if is(5) {
            (fact.whole, fact.all) = (take_varint(rest)?, take_varint(rest)?);
        }
        if is(6) {
            fact.visit = u64::from_le_bytes(take(rest)?);
        }
        let numbers = [&mut fact.referral, &mut fact.document, &mut fact.parent, &mut fact.appointment];
        for (bit, number) in (7..).zip(numbers) {
            if is(bit) {
                let (value, authority) = (u64::from_le_bytes(take(rest)?), u32::from_le_bytes(take(rest)?));
                *number = Numbered { value, authority };
            }
        }
        if is(11) {
            let start_ms = at_ms.checked_add(unzigzag(take_varint(rest)?))?;
            let [days] = take(rest)?;
            fact.start = (start_ms, date(days, start_ms));
        }
        let (codes, acting) = (self.codes.len(), self.acting.len());
        if is(12) {
            let [count] = take(rest)?;
            for _ in 0..count {
                let word = take_varint(rest)?;
                let labels = take_varint(rest)?;
                let value = if word & 1 == 1 { Some(unzigzag(take_varint(rest)?)) } else { None };
                let principal = word & 2 != 0;
                self.codes.push(Coded { word: u32::try_from(word >> 2).ok()?, labels, value, principal });
            }
        }
        if is(13) {
            let [count] = take(rest)?;
            for _ in 0..count {
                self.acting.push(take_varint(rest)?);
            }
        }
        if is(14) {
            fact.told_as = u32::from_le_bytes(take(rest)?);
        }
        fact.codes = (u32::try_from(codes).ok()?, u32::try_from(self.codes.len()).ok()?);
        fact.acting = (u32::try_from(acting).ok()?, u32::try_from(self.acting.len()).ok()?);
        self.list.push(fact);
        Some(())
    }
}

fn place<T: Copy>(all: &mut Vec<T>, more: &[T]) -> (u32, u32) {
    let from = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.extend_from_slice(more);
    (from, u32::try_from(all.len()).unwrap_or(u32::MAX))
}

/// How far a date is from that of UTC, plus 4: no zone is more than a day off.
fn apart(day: i32, at_ms: i64) -> u8 {
    let apart = i64::from(day) - at_ms.div_euclid(DAY_MS) + 4;
    u8::try_from(apart.clamp(0, 15)).unwrap_or(4)
}

fn date(apart: u8, at_ms: i64) -> i32 {
    i32::try_from(at_ms.div_euclid(DAY_MS) + i64::from(apart) - 4).unwrap_or(0)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        out.push(u8::try_from(value & 127).unwrap_or(0) | 128);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first()?;
        *rest = more;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_word(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(take_varint(rest)?).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, more) = rest.split_first_chunk::<N>()?;
    *rest = more;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = Numbered> {
        prop_oneof![
            Just(Numbered::default()),
            (1_u64.., any::<u32>()).prop_map(|(value, authority)| Numbered { value, authority })
        ]
    }

    prop_compose! {
        fn fact()(
            (seq, kind, flags) in (any::<u64>(), 0..=LEFT, any::<u8>()),
            at_ms in 0..4_000_000_000_000_i64,
            late_ms in -90_000_000..9_000_000_000_i64,
            (apart, apart_received) in (-1..=1, -1..=1),
            (facility, class, disposition, trigger, completion, panels) in any::<(u32, u32, u32, u32, u32, u32)>(),
            (whole, all, visit) in (any::<u64>(), 1_u64.., any::<u64>()),
            (referral, document, parent, appointment) in (number(), number(), number(), number()),
            start in prop_oneof![Just(None), (0..4_000_000_000_000_i64).prop_map(Some)],
            told_as in any::<u32>(),
        ) -> Fact {
            let day = |ms: i64, apart: i32| i32::try_from(ms.div_euclid(DAY_MS)).unwrap() + apart;
            let received_ms = at_ms + late_ms;
            Fact {
                seq, kind, flags, at_ms, received_ms, day: day(at_ms, apart), received_day: day(received_ms, apart_received),
                facility, class, disposition, trigger, completion, panels, whole, all, visit, referral, document, parent, appointment,
                start: start.map_or((0, 0), |ms| (ms, day(ms, apart))),
                told_as,
                ..Fact::default()
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            all in proptest::collection::vec((
                fact(),
                proptest::collection::vec((any::<u32>(), any::<u64>(), any::<Option<i64>>(), any::<bool>()), 0..CODES_MAX),
                proptest::collection::vec(any::<u64>(), 0..ACTING_MAX),
            ), 0..5)
        ) {
            let mut facts = Facts::default();
            for (fact, codes, acting) in &all {
                let codes: Vec<_> = codes.iter().map(|(word, labels, value, principal)| Coded { word: *word, labels: *labels, value: *value, principal: *principal }).collect();
                facts.push(*fact, &codes, acting);
            }
            let (mut blob, mut read) = (Vec::new(), Facts::default());
            facts.encode(&mut blob);
            read.decode(&blob).unwrap();
            prop_assert_eq!(&read, &facts);
            // Cut anywhere but between facts it is damaged, and never panics.
            for end in 0..blob.len() {
                let _ = Facts::default().decode(&blob[..end]);
            }
        }
    }

    #[test]
    fn numbers_are_one_where_somebody_leaves_out_who_assigned_them() {
        let of =
            |value: &str, authority: &str| Numbered::of(&Number { value: value.into(), authority: authority.into() });
        assert!(of("R1", "CHFM").same(of("R1", "")) && of("R1", "CHFM").same(of("R1", "CHFM")));
        assert!(!of("R1", "CHFM").same(of("R1", "LCARD")) && !of("R1", "").same(of("R2", "")));
        assert!(!of("", "").same(of("", "")) && !of("", "CHFM").is_some());
    }
}
