use super::*;

/// The messages, each line end as `/`, and the notes.
fn run(raw: &str) -> (Vec<String>, Vec<String>) {
    let mut split = split(raw.as_bytes());
    let messages = split.by_ref().map(|span| raw[span].replace(['\r', '\n'], "/")).collect();
    assert_eq!(split.next(), None);
    (messages, split.notes().iter().map(ToString::to_string).collect())
}

const M: &str = "MSH|^~\\&|A\rPID|1\r";

#[test]
fn one_message_or_several() {
    let (one, none): (_, Vec<String>) = ("MSH|^~\\&|A/PID|1", vec![]);
    assert_eq!(run(M), (vec![one.into()], none.clone()));
    assert_eq!(run(&format!("{M}\r\n{M}msh|^~\\&")), (vec![one.into(), one.into(), "msh|^~\\&".into()], none.clone()));
    assert_eq!(run(&format!("\u{feff}\u{b}{M}\u{1c}\r\u{b}{M}\u{1c}\r")), (vec![one.into(), one.into()], none.clone()));
    assert_eq!(
        run("MSH|^~\\&|A\rNTE|\u{1c}x|\rPID|1\u{1c}"),
        (vec!["MSH|^~\\&|A/NTE|\u{1c}x|/PID|1".into()], none.clone())
    );
    assert_eq!((run(""), run("\r\n \t")), ((vec![], none.clone()), (vec![], none)));
}

#[test]
fn nothing_is_lost() {
    assert_eq!(run(&format!("hello\rworld\r{M}")).1, ["bytes 0 to 11: belong to no message"]);
    assert_eq!(run("PID|1\rPV1|2\r"), (vec!["PID|1/PV1|2".into()], vec![]));
    assert_eq!(run(&format!("BHS|^~\\&\r{M}BTS|1\rZZZ|1\rZZZ|2")).1, ["bytes 32 to 43: belong to no message"]);
    assert_eq!(run(&format!("{M}\u{1c}\rjunk")).1, ["bytes 19 to 23: belong to no message"]);
    assert_eq!(
        run("BHS|^~\\&\rPID|1"),
        (
            vec![],
            vec!["bytes 9 to 14: belong to no message".into(), "byte 0: BHS is never closed: was the file cut?".into()]
        )
    );
}

#[test]
fn counts() {
    let good = format!("FHS|^~\\&\rBHS|^~\\&\r{M}{M}BTS|2\rBHS|^~\\&\r{M}BTS| 1 |x\rFTS|2\r");
    assert_eq!((run(&good).0.len(), run(&good).1), (3, vec![]));
    let wrong = format!("FHS#^~\\&\rBHS#^~\\&\r{M}BTS#7\rFTS#3#\r");
    assert_eq!(
        run(&wrong).1,
        ["byte 35: BTS-1 says 7 messages, the batch holds 1", "byte 41: FTS-1 says 3 batches, the file holds 1"]
    );
    assert_eq!(run(&format!("BHS|^~\\&\r{M}BTS|x")).1, ["byte 26: the count in BTS-1 is no number"]);
    assert_eq!(run(&format!("BHS|^~\\&\r{M}BTS")).1, Vec::<String>::new());
}

#[test]
fn envelopes_that_do_not_match() {
    let unclosed = |at: usize, segment: &str| format!("byte {at}: {segment} is never closed: was the file cut?");
    assert_eq!(run(&format!("FHS|^~\\&\rBHS|^~\\&\r{M}")).1, [unclosed(9, "BHS"), unclosed(0, "FHS")]);
    assert_eq!(run(&format!("BHS|^~\\&\r{M}BHS|^~\\&\r{M}BTS|1")).1, [unclosed(0, "BHS")]);
    assert_eq!(run(&format!("FHS|^~\\&\rBHS|^~\\&\r{M}FTS|1")).1, [unclosed(9, "BHS")]);
    assert_eq!(run(&format!("{M}BTS|1")).1, ["byte 17: BTS closes nothing"]);
}
