//! Messages of others, where they lie beside the checkout: nothing panics, no segment is lost in silence, plan and twin agree, and every Bundle is valid.
use super::corpus::cases;
use super::fixtures::{messages, plan};
use super::twin;
use super::validity::mistakes;
use handoff::hl7::{Index, Span, transcode};
use handoff::mapping::{Context, FindingCode, Scratch};

#[test]
fn messages_of_others() {
    judge("messages");
}

#[test]
fn torture() {
    judge("torture");
}

fn judge(folder: &str) {
    let (mut wrong, mut translated, mut scratch) = (Vec::new(), 0, Scratch::new());
    for (name, file) in cases(folder) {
        for raw in messages(&file) {
            if plan().translate(&raw, &Context::default(), &mut scratch).is_err() {
                continue;
            }
            translated += 1;
            let Some(twin) = twin::translate(plan().sources(), &raw) else {
                wrong.push(format!("{name}: only the twin refuses"));
                continue;
            };
            wrong.extend(lost(&raw, &scratch, &twin.unmapped).map(|what| format!("{name}: {what}")));
            wrong.extend(
                twin::judge::differs(&twin.bundle, scratch.bundle()).map(|what| format!("{name}: twin: {what}")),
            );
            wrong.extend(mistakes(scratch.bundle()).into_iter().map(|mistake| format!("{name}: {mistake}")));
        }
    }
    println!("{folder}: {translated} translated");
    assert!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
}

/// A part of the message that is neither in a segment that a message map reads nor reported.
fn lost(raw: &[u8], scratch: &Scratch, expected: &[Span]) -> Option<String> {
    let (raw, mut index) = (&*transcode(raw), Index::new());
    index.parse(raw).ok()?;
    let message = index.message(raw);
    let mut at = message.notes().leading.end as usize;
    for segment in 0..message.segment_count() {
        let span = message.segment_span(segment);
        if raw[at..span.start as usize].iter().any(|byte| !byte.is_ascii_whitespace()) {
            return Some(format!("bytes {at} to {} are in no segment", span.start));
        }
        at = span.end as usize;
    }
    let found: Vec<Span> = scratch
        .findings()
        .iter()
        .filter(|finding| finding.code == FindingCode::SegmentNotMapped)
        .map(|finding| finding.span)
        .collect();
    (expected != found).then(|| format!("{} segments have no map, {} are reported", expected.len(), found.len()))
}
