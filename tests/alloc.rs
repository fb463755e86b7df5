//! Nothing is allocated per message once the buffers have grown: every fixture is translated twice to warm up, then counted.
//!
//! Exempt are the messages whose character set can hide delimiters: they are turned into UTF-8 first, into a new buffer.
use handoff::hl7::split;
use handoff::mapping::{Context, Plan, Scratch};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

/// Fixtures that may allocate, with the reason.
const EXEMPT: &[(&str, &str)] = &[("ADT_A01/charset-gb18030", "transcoded to UTF-8 before it is indexed")];

struct Counting;

thread_local! {
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
}

#[expect(unsafe_code, reason = "counting allocations needs an allocator of our own, which only passes on")]
mod allocator {
    use super::{COUNT, Counting, GlobalAlloc, Layout, System};

    fn count() {
        // While a thread ends there is no counter any more, and nothing to count.
        let _ = COUNT.try_with(|count| {
            if let Some(number) = count.get() {
                count.set(Some(number + 1));
            }
        });
    }

    // SAFETY: every call goes to the system allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: the caller keeps the contract of `alloc`.
            unsafe { System.alloc(layout) }
        }
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: the caller keeps the contract of `alloc_zeroed`.
            unsafe { System.alloc_zeroed(layout) }
        }
        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count();
            // SAFETY: the caller keeps the contract of `realloc`.
            unsafe { System.realloc(pointer, layout, size) }
        }
        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // SAFETY: the caller keeps the contract of `dealloc`.
            unsafe { System.dealloc(pointer, layout) }
        }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations this thread makes while `work` runs.
fn allocations(work: impl FnOnce()) -> usize {
    COUNT.set(Some(0));
    work();
    COUNT.take().unwrap_or(0)
}

/// (name, message) of every message of every fixture that can be translated.
fn messages() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut found = Vec::new();
    for structure in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for case in std::fs::read_dir(&structure).unwrap().map(|entry| entry.unwrap().path()) {
            let name = case.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            let Ok(raw) = std::fs::read(case.join("message.hl7")) else { continue };
            if !name.starts_with("refused/") {
                found.extend(split(&raw).map(|span| (name.clone(), raw[span].to_vec())));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50);
    found
}

#[test]
fn translating_allocates_nothing_after_warming_up() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1, "the counter counts");
    let plan = Plan::embedded();
    let context = Context::default();
    let messages = messages();
    let mut scratch = Scratch::new();
    for (name, raw) in messages.iter().chain(&messages) {
        plan.translate(raw, &context, &mut scratch).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
    let mut wrong = Vec::new();
    for (name, raw) in &messages {
        let count = allocations(|| plan.translate(raw, &context, &mut scratch).unwrap());
        let exempt = EXEMPT.iter().any(|(exempt, _)| exempt == name);
        if (count > 0) != exempt {
            wrong.push(format!("{name}: {count} allocations"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
