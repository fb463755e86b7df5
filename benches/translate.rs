//! Translating: ours, and the least that the way of a Rust user without us costs.
//!
//! `translate/handoff/CASE` makes the complete Bundle, as a worker does that has seen the codes, practitioners and places of its feed before;
//! `translate/handoff-cold/CASE` does so with an empty memory, as for the first message of a feed. `translate/dom/CASE` parses with hl7-parser, clones a ready-made `serde_json::Value` of the same Bundle
//! in place of building it, and serialises it: a real DOM converter can only be slower. `translate/floor/CASE` copies the bytes of the Bundle while looking
//! at each for JSON escapes: no translator can be faster than its own output.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use handoff::mapping::{Context, Plan, Scratch};
use std::hint::black_box;

mod cases;

/// Copies JSON strings' worth of bytes, escaping as it goes: the output floor.
fn copy_and_escape(bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    for byte in bytes {
        match byte {
            0..=0x1f | b'\\' => out.extend_from_slice(b"\\u00"),
            _ => out.push(*byte),
        }
    }
}

fn translate(criterion: &mut Criterion) {
    let plan = Plan::embedded();
    let mut scratch = Scratch::new();
    for (name, message) in cases::all() {
        let mut group = criterion.benchmark_group("translate");
        group.throughput(Throughput::Bytes(message.len() as u64));
        if message.len() > 100_000 {
            group.sample_size(10);
        }
        let context = Context::default();
        plan.translate(&message, &context, &mut scratch).expect("the case translates");
        let bundle = scratch.bundle().to_vec();
        let ready: serde_json::Value = serde_json::from_slice(&bundle).expect("the Bundle is JSON");
        let text = String::from_utf8(message.clone()).expect("the case is UTF-8");
        group.bench_function(format!("handoff/{name}"), |bencher| {
            bencher.iter(|| {
                plan.translate(black_box(&message), &context, &mut scratch).expect("the case translates");
                scratch.bundle().len()
            });
        });
        group.bench_function(format!("handoff-cold/{name}"), |bencher| {
            bencher.iter(|| {
                scratch.forget();
                plan.translate(black_box(&message), &context, &mut scratch).expect("the case translates");
                scratch.bundle().len()
            });
        });
        group.bench_function(format!("dom/{name}"), |bencher| {
            bencher.iter(|| {
                let parsed = hl7_parser::Message::parse(black_box(&text)).expect("the case parses");
                black_box(&parsed);
                let built = ready.clone();
                serde_json::to_vec(&built).expect("a Value serialises").len()
            });
        });
        let mut out = Vec::with_capacity(bundle.len());
        group.bench_function(format!("floor/{name}"), |bencher| {
            bencher.iter(|| {
                copy_and_escape(black_box(&bundle), &mut out);
                out.len()
            });
        });
        group.finish();
        println!(
            "{name}: {} bytes in, {} bytes out, {} resources",
            message.len(),
            bundle.len(),
            scratch.entries().len()
        );
    }
}

criterion_group!(benches, translate);
criterion_main!(benches);
