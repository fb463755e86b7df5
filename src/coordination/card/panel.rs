//! Results of one order that come in several messages: an observation is replaced by one of its code (OBX-3 by code and system, whatever it is called there; OBX-4), deleted by OBX-11 `D`, and else stays (v2.5.1 chapter 7: OBX has a
//! state of its own). So a correction of one value of a panel leaves the others, and parts of a panel may come one after the other.
use super::body::{BEFORE_SEGMENTS, part, parts};
use super::{ENTRY_BYTES_MAX, Section};

/// An order as a later message tells it, with what an earlier one told of it and that does not take back; whether all of that has room. Ranks are those of [`super::told::Piece`].
/// `between` parts components.
pub(super) fn merged((before, before_rank): (&[u8], u8), (now, rank): (&[u8], u8), between: u8) -> (Vec<u8>, bool) {
    let kept = |segment: &&[u8]| field(segment, 11) != b"D" || !segment.starts_with(b"OBX");
    let told: Vec<&[u8]> = segments(now).collect();
    // There are no results (table 0123): what came before them are none either.
    let obr = told.iter().find(|segment| segment.starts_with(b"OBR"));
    let is_none = obr.is_some_and(|obr| field(obr, 25) == b"X");
    let separator = obr.and_then(|obr| obr.get(3));
    let observed = told.iter().filter(|one| one.starts_with(b"OBX"));
    let observed: Vec<[&[u8]; 3]> = observed.map(|one| code(one, between)).collect();
    let stays = |segment: &&[u8]| {
        let state = field(segment, 11);
        let is_preliminary =
            matches!(state, b"P" | b"I" | b"R" | b"S" | b"O" | b"N") || (state.is_empty() && before_rank == 0);
        segment.starts_with(b"OBX")
            && segment.get(3) == separator
            && !is_none
            && !(is_preliminary && rank > 0)
            && !observed.contains(&code(segment, between))
    };
    let mut out = Vec::with_capacity(now.len() + before.len());
    let all = parts(now).take(BEFORE_SEGMENTS).chain(told.iter().filter(|one| kept(one)).copied());
    all.for_each(|bytes| part(&mut out, bytes));
    let room = ENTRY_BYTES_MAX.min(Section::Result.limits().1);
    let mut is_whole = true;
    for segment in segments(before).filter(stays) {
        if out.len() + 2 + segment.len() > room {
            is_whole = false;
            break;
        }
        part(&mut out, segment);
    }
    (out, is_whole)
}

/// By what an observation is known within its order: its code, else its name, and of which system; all of OBX-3 where it has neither.
fn code(segment: &[u8], between: u8) -> [&[u8]; 3] {
    let (observed, part) = (field(segment, 3), field(segment, 4));
    let component =
        |number: usize| observed.split(|byte| *byte == between).nth(number - 1).unwrap_or_default().trim_ascii();
    match [1, 2].map(component).into_iter().find(|one| !one.is_empty()) {
        Some(code) => [code, component(3), part],
        None => [observed, b"", part],
    }
}

/// A field of a segment other than MSH.
fn field(segment: &[u8], number: usize) -> &[u8] {
    let separator = segment.get(3).copied().unwrap_or(b'|');
    segment.split(|byte| *byte == separator).nth(number).unwrap_or_default().trim_ascii()
}

fn segments(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(body).skip(BEFORE_SEGMENTS)
}
