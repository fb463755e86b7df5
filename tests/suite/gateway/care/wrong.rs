//! What is wrong with a configuration is told before anything starts: where, and what to do.
use super::*;

fn check(change: impl Fn(&str) -> String) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lakeshore.csv"), ROSTER).unwrap();
    let listener = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n";
    let right = configuration(folder.path(), "", &recipient("aco-cm", "id-only", "")) + listener;
    let changed = change(&right);
    std::fs::write(folder.path().join("handoff.toml"), changed).unwrap();
    command(folder.path(), &["check"])
}

#[test]
fn a_configuration_without_mistakes_is_taken() {
    let (code, said) = check(str::to_owned);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn each_mistake_is_told_with_its_place() {
    for (from, to, expected) in [
        ("purpose = \"HOPERAT\"", "purpos = \"HOPERAT\"", "unknown key \"purpos\""),
        ("lakeshore.csv", "nowhere.csv", "nowhere.csv: cannot be read"),
        (
            "\"admission\", \"discharge\"",
            "\"admision\"",
            "topics: \"admision\" is no topic; did you mean \"admission\"?",
        ),
        (
            "panels = [\"aco-lakeshore\"]",
            "panels = [\"aco-elsewhere\"]",
            "\"aco-elsewhere\" is no panel; there are aco-lakeshore",
        ),
        ("clear = []", "clear = [\"PSYCH\"]", "\"PSYCH\" is no label"),
        ("clear = []", "clear = []\nsecret = \"short\"", "a secret that signs has at least"),
        ("npi = \"9990001015\"", "npi = \"9990001016\"", "npi must be an NPI"),
        ("tz = \"America/New_York\"", "tz = \"New York\"", "tz must be a time zone"),
        (
            "listen = \"127.0.0.1:0\"\nstewards",
            "listen = \"0.0.0.0:8090\"\nstewards",
            "can be reached from other machines",
        ),
        ("retry_max = \"50ms\"", "retry_max = \"1ms\"", "retry_min must be more than nothing"),
        ("max_content = \"id-only\"", "max_content = \"all\"", "max_content must be one of"),
    ] {
        let (code, said) = check(|right| {
            assert!(right.contains(from), "{from}");
            right.replace(from, to)
        });
        assert_eq!(code, Some(2), "{to}: {said}");
        assert!(said.contains(expected) && said.contains("handoff.toml:"), "{to}: {expected}: {said}");
    }
}
