//! `[coordination.care_team]`: whose word counts for who looks after a person, and where what is for a role goes.
//!
//! ```toml
//! [coordination.care_team]
//! precedence = ["api", "roster", "rol", "pd1"]
//! [coordination.care_team.route]
//! "role:care-manager" = { endpoint = "aco-cm", fallback = "role:pcp", then = "panel-owner" }   # then: panel-owner | unroutable
//! ```
//!
//! `fallback` is asked where nobody has the role, `then` where nobody has that either. `endpoint` is the recipient that takes what is for the role: once it is told of
//! something, recipients that take what is for other roles are not. Those that are no endpoint of any role hear of everything, and where the endpoint has no subscription that
//! is told of it, all do.
use super::super::section::Section;
use super::privacy::check_known;
use crate::coordination::care_team::{Options, Routing, Source};
use std::collections::BTreeMap;

/// All of it; `recipients` are the ids of those there are.
pub(super) fn care_team(coordination: &Section<'_>, recipients: &[&str]) -> Options {
    let mut options = Options::default();
    let Some(section) = coordination.table("care_team") else { return options };
    if let Some(names) = section.texts("precedence") {
        options.precedence.clear();
        for name in names {
            let source = Source::parse(&name.value).filter(|source| *source != Source::Visit);
            match source {
                Some(source) if options.precedence.contains(&source) => {
                    section.document.wrong(Some(name.at), format!("precedence names {} twice", name.value));
                }
                Some(source) => options.precedence.push(source),
                None => section.document.wrong(
                    Some(name.at),
                    "precedence lists sources: \"api\", \"roster\", \"rol\", \"pd1\"; those of a visit always come last",
                ),
            }
        }
    }
    if let Some(routes) = section.table("route") {
        let keys = routes.keys();
        for (role, table) in routes.all_tables() {
            let at = keys.iter().find(|key| key.value == role).map(|key| key.at.clone());
            if role.strip_prefix("role:").is_none_or(str::is_empty) {
                section.document.wrong(at, "what is routed is a role, such as \"role:care-manager\"");
            }
            options.routes.insert(role, routing(table, recipients));
        }
    }
    for role in circles(&options.routes) {
        section.wrong(format!("the fallbacks of \"{role}\" lead back to it; let one of them have none"));
    }
    section.finish();
    options
}

fn routing(section: Section<'_>, recipients: &[&str]) -> Routing {
    let endpoint = section.text("endpoint");
    check_known(&section, "endpoint", "recipient", endpoint.as_slice(), recipients);
    let endpoint = endpoint.map(|endpoint| endpoint.value);
    let fallback = section.text("fallback").and_then(|text| {
        let role = text.value.strip_prefix("role:").is_some_and(|role| !role.is_empty());
        if !role {
            section.document.wrong(Some(text.at), "fallback must be a role, such as \"role:pcp\"");
        }
        role.then_some(text.value)
    });
    let panel_owner = section.choice("then", &[("panel-owner", true), ("unroutable", false)]).unwrap_or(true);
    section.finish();
    Routing { endpoint, fallback, panel_owner }
}

/// Roles whose fallbacks lead back to them.
fn circles(routes: &BTreeMap<String, Routing>) -> Vec<&String> {
    let leads_back = |role: &&String| {
        let mut next = *role;
        // As many steps as there are roles: a longer way would be a circle anyway.
        for _ in 0..routes.len() {
            match routes.get(next).and_then(|routing| routing.fallback.as_ref()) {
                Some(fallback) if fallback == *role => return true,
                Some(fallback) => next = fallback,
                None => return false,
            }
        }
        false
    };
    routes.keys().filter(leads_back).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Problems};
    use crate::coordination::care_team::{Routing, Source};
    use std::path::Path;

    /// A panel and who receives of it.
    const RECIPIENT: &str = r#"
        [[coordination.panel]]
        id = "aco-lakeshore"
        kind = "aco"
        owner_npi = "9990004043"
        tz = "America/New_York"
        source = { type = "csv", path = "lakeshore.csv", mode = "supersede" }
        columns = { id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", family = "LAST", given = "FIRST", dob = "DOB", sex = "SEX" }
        [[coordination.recipient]]
        id = "aco-cm"
        panels = ["aco-lakeshore"]
        purpose = "HOPERAT"
        topics = ["open-loop"]
        max_content = "id-only"
        clear = []
    "#;

    fn parse(text: &str) -> Result<Config, Problems> {
        Config::parse(text, Path::new("handoff.toml"), &|_| None)
    }

    #[test]
    fn roles_and_sources() {
        let text = r#"
            [coordination.care_team]
            precedence = ["pd1", "api"]
            [coordination.care_team.route]
            "role:care-manager" = { endpoint = "aco-cm", fallback = "role:pcp", then = "panel-owner" }
            "role:pcp" = { then = "unroutable" }
        "#;
        let options = parse(&format!("{RECIPIENT}{text}")).unwrap().coordination.unwrap().care_team;
        assert_eq!(options.precedence, [Source::Pd1, Source::Api]);
        let (endpoint, fallback) = (Some("aco-cm".to_owned()), Some("role:pcp".to_owned()));
        assert_eq!(options.routes["role:care-manager"], Routing { endpoint, fallback, panel_owner: true });
        assert_eq!(options.routes["role:pcp"], Routing::default());
        let default = parse("[coordination]").unwrap().coordination.unwrap().care_team;
        assert_eq!(default.precedence, [Source::Api, Source::Roster, Source::Rol, Source::Pd1]);
    }

    #[test]
    fn what_is_for_a_role_goes_to_a_recipient_that_there_is() {
        let route = |endpoint: &str| {
            let text = format!("[coordination.care_team.route]\n\"role:pcp\" = {{ endpoint = \"{endpoint}\" }}\n");
            parse(&format!("{RECIPIENT}\n{text}")).map(drop).map_err(|wrong| wrong.to_string())
        };
        assert_eq!(route("aco-cm"), Ok(()));
        let wrong = route("aco-cn").unwrap_err();
        assert!(wrong.contains("endpoint: \"aco-cn\" is no recipient; did you mean \"aco-cm\"?"), "{wrong}");
        let alone = parse("[coordination.care_team.route]\n\"role:pcp\" = { endpoint = \"aco-cm\" }").unwrap_err();
        assert!(alone.to_string().contains("there is none: add [[coordination.recipient]]"), "{alone}");
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            ("precedence = [\"visit\"]", ":2:15: precedence lists sources"),
            ("precedence = [\"api\", \"api\"]", ":2:22: precedence names api twice"),
            ("route = { pcp = {} }", ":2:11: what is routed is a role"),
            ("route = { \"role:pcp\" = { fallback = \"pcp\" } }", ": fallback must be a role"),
            ("route = { \"role:pcp\" = { fallback = \"role:pcp\" } }", "lead back to it"),
            ("route = { \"role:pcp\" = { than = \"x\" } }", "unknown key \"than\"; did you mean \"then\"?"),
            ("roles = 1", ":2:1: unknown key \"roles\""),
        ] {
            let wrong = parse(&format!("[coordination.care_team]\n{text}")).unwrap_err().to_string();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }
}
