//! What is remembered of earlier messages changes nothing but the time that later ones take.
use super::bench_cases;
use super::fixtures::plan;
use handoff::mapping::{Context, Failure, Scratch};

/// How a translation with a scratch that has seen other messages differs from one with a new scratch, if it does.
pub fn changes(raw: &[u8], warm: &Scratch, result: &Result<(), Failure>) -> Option<String> {
    let mut cold = Scratch::new();
    let fresh = plan().translate(raw, &Context::default(), &mut cold);
    if fresh != *result {
        return Some(format!("remembered: {result:?}, anew: {fresh:?}"));
    }
    let shown = |scratch: &Scratch| format!("{:?}", scratch.findings());
    if result.is_ok() && (warm.bundle() != cold.bundle() || shown(warm) != shown(&cold)) {
        return Some("what was remembered of earlier messages changes the Bundle or the findings".to_owned());
    }
    None
}

/// All that a closed map depends on beside its value: two messages that differ in it share nothing.
#[test]
fn feeds_do_not_share_what_they_remember() {
    let message = String::from_utf8(bench_cases::adt_a01()).expect("UTF-8");
    // A place, a practitioner and a code under names that hold within the feed only; a period that takes the offset of MSH-7; bytes beyond ASCII.
    let message = message
        .replace("W3^12^B^STELLA", "W3^12^B^WEST")
        .replace("2201^Yilmaz^Deniz^^^Dr.", "2201^Yılmaz^Deniz^^^Dr.^^^WARD^^^^^^^^^^20200101080000")
        .replace("PR^Private^L", "PR^Private^HOUSE");
    let others = [
        message.replace("|ADMIT|", "|OTHER|"),
        message.replace("|ADMIT|STELLA|", "|ADMIT|NOVA|"),
        message.replace("20240310221503+0100", "20240310221503-0500"),
        message.replace("UNICODE UTF-8", "8859/1"),
        // The same bytes of values, other delimiters.
        message.replacen("|^~", "|*~", 1).replace("ADT^A01^ADT_A01", "ADT*A01*ADT_A01"),
        message.replacen("~\\&|", "~\\@|", 1),
    ];
    let mut warm = Scratch::new();
    let mut bundles = Vec::new();
    for round in 0..3 {
        for (number, raw) in std::iter::once(&message).chain(&others).enumerate() {
            let result = plan().translate(raw.as_bytes(), &Context::default(), &mut warm);
            assert_eq!(result, Ok(()), "message {number}");
            assert_eq!(changes(raw.as_bytes(), &warm, &result), None, "message {number}, round {round}");
            bundles.push(warm.bundle().to_vec());
        }
    }
    // The header matters: without it the test would hold even if everything were shared.
    assert!(bundles[1..=others.len()].iter().all(|other| *other != bundles[0]));
    warm.forget();
    assert_eq!(plan().translate(message.as_bytes(), &Context::default(), &mut warm), Ok(()));
    assert_eq!(warm.bundle(), bundles[0]);
}

/// Where a resource has several parts, equal elements of its lists are written once; where it has one, they stand as they came.
#[test]
fn a_value_is_not_remembered_for_another_kind_of_resource() {
    let twice = "R07.4^Chest pain^I10^R07.4^Chest pain^I10";
    let message = String::from_utf8(bench_cases::adt_a01()).expect("UTF-8");
    let reason = message.replace("R07.4^Chest pain^I10|||||20240311", &format!("{twice}|||||20240311"));
    let allergy = message.replace("7980^Penicillin^RXNORM", twice);
    let mut warm = Scratch::new();
    for (number, raw) in [&reason, &allergy, &reason, &allergy].into_iter().enumerate() {
        assert_ne!(*raw, message, "the value is in the message");
        let result = plan().translate(raw.as_bytes(), &Context::default(), &mut warm);
        assert_eq!(changes(raw.as_bytes(), &warm, &result), None, "message {number}");
    }
}
