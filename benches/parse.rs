//! What indexing a message costs, beside hl7-parser (a tree), the floor (a bare search for the two delimiters), and a visit to every subcomponent.
mod cases;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use handoff::hl7::{Index, Message};

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (case, raw) in cases::all() {
        let raw = raw.as_slice();
        let text = std::str::from_utf8(raw).expect("the cases are UTF-8");
        group.throughput(Throughput::Bytes(raw.len() as u64));
        let mut index = Index::new();
        group.bench_function(format!("handoff/{case}"), |bencher| {
            bencher.iter(|| index.parse(black_box(raw)).map(|()| index.message(raw).segment_count()));
        });
        group.bench_function(format!("hl7-parser/{case}"), |bencher| {
            bencher.iter(|| hl7_parser::Message::parse(black_box(text)).map(|message| message.segments.len()));
        });
        group.bench_function(format!("floor/{case}"), |bencher| {
            bencher.iter(|| memchr::memchr2_iter(b'\r', b'|', black_box(raw)).sum::<usize>());
        });
        group.bench_function(format!("touch-all/{case}"), |bencher| {
            bencher.iter(|| index.parse(black_box(raw)).map(|()| touch_all(index.message(raw))));
        });
    }
    group.finish();
}

/// Sums where every subcomponent begins and ends.
fn touch_all(message: Message<'_>) -> u64 {
    let delimiters = message.delimiters();
    let mut sum = 0;
    for segment in 0..message.segment_count() {
        let first = if message.segment_id(segment).is_header() { 3 } else { 1 };
        for number in first..=message.field_count(segment) {
            for repetition in message.parts(message.field(segment, number), delimiters.repetition) {
                for component in message.parts(repetition, delimiters.component) {
                    for part in message.parts(component, delimiters.subcomponent) {
                        sum += u64::from(part.start) + u64::from(part.end);
                    }
                }
            }
        }
    }
    sum
}

criterion_group!(benches, parse);
criterion_main!(benches);
