//! What can be said of loops, and what is wrong with them.
use super::*;
use crate::config::{Config, Problems};

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, Path::new("handoff.toml"), &|_| None)
}

fn definitions(text: &str) -> Vec<Definition> {
    parse(text).unwrap_or_else(|wrong| panic!("{wrong}")).coordination.unwrap().loops.definitions
}

/// As the specification writes it.
pub(super) const POST_DISCHARGE: &str = r#"
[[coordination.loop]]
id = "post-discharge"
panels = ["aco-lakeshore", "pcmh-chfm"]
open = { event = "discharge", class = ["IMP", "OBSENC"], disposition_not = ["02", "05", "07", "20", "50", "51", "65"] }
void = ["discharge-cancelled", "death"]
on_readmit = "suspend"
 [[coordination.loop.step]]
 id = "summary"
 due = "2d"
 calendar = "local-date"
 clock = "received"
 close = { event = "document", loinc = ["18842-5"], completion = ["AU", "LA", "DO"], same_visit = true }
 escalate = [{ at = "24h", to = "role:care-manager" }, { at = "due", to = "org:SBMC" }]
 [[coordination.loop.step]]
 id = "hha-soc"
 when = { disposition = ["06"] }
 due = "48h"
 close = { event = "outpatient-visit|admission", facility_type = "HHA" }
 [[coordination.loop.step]]
 id = "appointment"
 due = "5d"
 close = { event = "appointment-booked", starts_within = "14d", provider = "careteam|panel-org" }
 [[coordination.loop.step]]
 id = "visit"
 window = ["1d", "7d"]
 late_until = "30d"
 close = { event = "outpatient-visit", provider = "careteam|panel-org" }
 [[coordination.loop.step]]
 id = "medrec"
 window = ["0d", "30d"]
 close = { event = "service-coded", codes = ["CPT|1111F", "CPT|99495", "CPT|99496"] }
"#;

#[test]
fn nothing_is_wrong_with_those_that_are_shipped() {
    let document = Document::new(SHIPPED, Path::new("shipped.toml"), &|_| None);
    let table = DeTable::parse(SHIPPED).unwrap();
    let root = Section::new(&document, table.span(), table.get_ref());
    let ids: Vec<_> = root.tables("loop").unwrap().into_iter().map(|one| definition(one, &[]).id).collect();
    root.finish();
    assert_eq!(ids, ["post-discharge", "ed-follow-up", "bh-discharge", "order-result", "phq-9", "referral"]);
    document.finish(()).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn what_the_specification_writes() {
    let found = definitions(POST_DISCHARGE).remove(0);
    assert_eq!((found.panels.len(), found.steps.len(), found.on_readmit), (2, 5, OnReadmit::Suspend));
    assert_eq!(found.void, [Kind::DischargeCancelled, Kind::Death]);
    let [summary, hha, appointment, visit, medrec] = &found.steps[..] else { panic!("five steps") };
    assert_eq!((summary.due, summary.clock, summary.from), (Span::Days(2), Clock::Received, None));
    assert_eq!(summary.escalate[1], Escalation { at: At::Due, to: "org:SBMC".into() });
    assert!(summary.close[0].same_visit);
    assert_eq!((hha.due, hha.close[0].kinds.len()), (Span::Ms(172_800_000), 2));
    assert_eq!(hha.when.as_ref().unwrap().disposition, ["06"]);
    assert_eq!(appointment.close[0].starts_within, Some(Span::Days(14)));
    assert_eq!(appointment.close[0].provider, Provider { care_team: true, panel_org: true });
    assert_eq!((visit.from, visit.due, visit.late_until), (Some(Span::Days(1)), Span::Days(7), Some(Span::Days(30))));
    assert_eq!(medrec.close[0].codes[0], ("CPT".into(), "1111F".into()));
}

#[test]
fn a_shipped_loop_can_be_changed() {
    let text = r#"
        [[coordination.loop]]
        use = "post-discharge"
        id = "discharge-home"
        panels = ["pcmh-chfm"]
        [[coordination.loop.step]]
        id = "visit"
        window = ["1d", "14d"]
        close = { event = "outpatient-visit" }
        [[coordination.loop.step]]
        id = "call"
        due = "2d"
        after = "visit"
        close = [{ event = "service-coded", codes = ["CPT|98966"] }, { event = "outpatient-visit" }]
        [[coordination.loop]]
        use = "phq-9"
    "#;
    let found = definitions(text);
    let ids: Vec<_> = found[0].steps.iter().map(|step| (step.id.as_str(), step.due)).collect();
    let days = Span::Days;
    let hours = Span::Ms(172_800_000);
    let expected = [
        ("summary", days(2)),
        ("hha-soc", hours),
        ("appointment", days(5)),
        ("visit", days(14)),
        ("medrec", days(30)),
        ("call", days(2)),
    ];
    assert_eq!(ids, expected);
    assert_eq!((found[0].id.as_str(), found[0].on_readmit), ("discharge-home", OnReadmit::Suspend));
    assert_eq!(found[0].steps[3].late_until, None, "a step is replaced whole");
    assert_eq!(found[0].steps[5].close.len(), 2);
    assert_eq!((found[1].id.as_str(), found[1].score.as_ref().unwrap().remission_below), ("phq-9", 5.0));
}

#[test]
fn mistakes_have_their_place_and_a_remedy() {
    let step = |rest: &str| {
        format!(
            "[[coordination.loop]]\nid = \"a\"\nopen = {{ event = \"discharge\" }}\n[[coordination.loop.step]]\nid = \"s\"\n{rest}"
        )
    };
    let close = "close = { event = \"outpatient-visit\" }";
    let with = |rest: &str| step(&format!("{rest}\n{close}"));
    let top = |rest: &str| format!("[[coordination.loop]]\n{rest}");
    for (text, expected) in [
        (with("due = \"2d\"\nwindow = [\"1d\", \"7d\"]"), ":6:7: due and window are two ways to say one thing"),
        (with(""), ":4:1: due is missing: say until when"),
        (with("due = \"2 days\""), ":6:7: due must be a time such as \"2d\""),
        (with("window = [\"7d\", \"1d\"]"), ":6:11: window ends before it begins"),
        (with("window = [\"7d\"]"), ":4:1: window has two parts"),
        (with("window = [\"1d\", \"week\"]"), ":6:17: window must be a time"),
        (with("due = \"2d\"\nlate_until = \"1d\""), ":7:14: late_until must not be before"),
        (with("due = \"48h\"\ncalendar = \"local-date\""), ":4:1: calendar is about days"),
        (with("due = \"2d\"\ncalendar = \"business\""), ":7:12: calendar must be one of \"local-date\""),
        (with("due = \"2d\"\nclock = \"sent\""), ":7:9: clock must be one of \"event\", \"received\""),
        (with("due = \"2d\"\nafter = \"t\""), ":7:9: after: no step \"t\" stands before this one"),
        (with("due = \"2d\"\nafter = \"s\""), ":7:9: after: no step \"s\" stands before this one"),
        (with("due = \"2d\"\nrepeat = true"), ":1:1: repeat goes on until a score"),
        (with("due = \"2d\"\nesclate = []"), ":7:1: unknown key \"esclate\"; did you mean \"escalate\"?"),
        (with("due = \"2d\"\nescalate = [{ at = \"24h\" }]"), ":7:13: an escalation says when and whom"),
        (with("due = \"2d\"\nescalate = [{ at = \"3d\", to = \"role:pcp\" }]"), ":7:20: at lies behind"),
        (
            with("due = \"2d\"\nescalate = [{ at = \"soon\", to = \"role:pcp\" }]"),
            ":7:20: at must be \"due\" or a time",
        ),
        (
            with("due = \"2d\"\nescalate = [{ at = \"due\", to = \"pcp\" }]"),
            ":7:32: to must be a role or an organisation",
        ),
        (
            with("due = \"2d\"\nescalate = [{ at = \"due\", to = \"role:a\" }, { at = \"1h\", to = \"role:b\" }]"),
            ":7:51: escalations stand in the order of their times",
        ),
        (with("due = \"2d\"\nwhen = { event = \"discharge\" }"), ":7:10: unknown key \"event\""),
        (step("due = \"2d\""), ":4:1: close is missing"),
        (step("due = \"2d\"\nclose = []"), ":4:1: close is empty"),
        (step("due = \"2d\"\nclose = { loinc = [\"1\"] }"), ":7:9: event is missing"),
        (step("due = \"2d\"\nclose = 3"), ":7:9: close must be a table"),
        (
            step("due = \"2d\"\nclose = { event = \"outpatient-visits\" }"),
            ":7:19: there is no event \"outpatient-visits\"; did you mean \"outpatient-visit\"?",
        ),
        (
            step("due = \"2d\"\nclose = { event = \"result\", completion = [\"AU\"] }"),
            ":7:9: completion is about documents",
        ),
        (
            step("due = \"2d\"\nclose = { event = \"result\", starts_within = \"2d\" }"),
            ":7:9: starts_within is about appointments",
        ),
        (
            step("due = \"2d\"\nclose = { event = \"result\", value_min = 3 }"),
            ":7:9: value_min is about an observation",
        ),
        (
            step("due = \"2d\"\nclose = { event = \"result\", codes = [\"1111F\"] }"),
            ":7:38: codes are written with their system",
        ),
        (step("due = \"2d\"\nclose = { event = \"result\", provider = \"team\" }"), ":7:40: provider must be"),
        (
            with("due = \"2d\"") + "\n[[coordination.loop.step]]\nid = \"s\"\ndue = \"3d\"\n" + close,
            ":8:1: two steps have the id \"s\"",
        ),
        (with("due = \"2d\"") + "\n" + &with("due = \"2d\""), ":8:1: two loops have the id \"a\""),
        (top("open = { event = \"discharge\" }"), ":1:1: id is missing"),
        (top("id = \"a\""), ":1:1: open is missing"),
        (top("id = \"a b\""), ":2:6: id must be 1 to 64"),
        (
            top("id = \"a\"\nopen = { event = \"discharge\", provider = \"careteam\" }"),
            ":3:31: unknown key \"provider\"",
        ),
        (
            top("use = \"discharge\""),
            ":2:7: use: there is no loop \"discharge\" to take; there are post-discharge, ed-follow-up",
        ),
        (top("use = \"referral\"\nvoid = [\"deaths\"]"), ":3:9: there is no event \"deaths\"; did you mean \"death\"?"),
        (top("use = \"referral\"\non_readmit = \"end\""), ":3:14: on_readmit must be one of"),
        (top("use = \"phq-9\"\nscore = { loinc = \"1\" }"), ":3:9: score needs loinc, its code, and remission_below"),
        (
            top("use = \"phq-9\"\nscore = { loinc = \"1\", remission_below = 5, response = 2 }"),
            ":3:9: response is a share",
        ),
        (top("use = \"phq-9\"\nalert = { loinc = \"1\" }"), ":3:9: alert needs loinc"),
        (
            top("use = \"phq-9\"\nalert = { loinc = \"1\", value_min = \"high\" }"),
            ":3:36: value_min must be a number from -1000000 to 1000000",
        ),
    ] {
        let wrong = parse(&text).unwrap_err().to_string();
        assert!(wrong.contains(expected), "{text}\n{wrong}");
    }
}
