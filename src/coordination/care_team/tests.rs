//! Who looks after a person, from everything that says so.
use super::*;
use crate::coordination::event::{Confidentiality, Participant, Patient, VisitKey};
use crate::coordination::options::{Facilities, Facility};
use crate::coordination::{Event, Kind, loops};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

const WHO: PersonKey = PersonKey([1; 16]);
const BAPTISTE: &str = "9990003037";
const HALVERSEN: &str = "9990002021";
const LINDQVIST: &str = "9990005057";
const MANAGER: &str = "9990006063";
/// A sender of whom few may hear.
const SECRET: &str = "REHAB|LAKERECOV";
const OWNER: &str = "9990004043";

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn event(kind: Kind, feed: &str, at: &str, participants: &[(&str, &str)]) -> Event {
    let one = |(role, number): &(&str, &str)| Participant {
        role: (*role).into(),
        number: (*number).into(),
        family: format!("NAME{number}"),
        given: "A".into(),
    };
    Event {
        id: [0; 16],
        seq: 0,
        kind,
        detail: String::new(),
        at_ms: ms(at),
        received_ms: ms(at),
        time_suspect: false,
        partial: false,
        stale: false,
        facility: "SBMC".into(),
        feed: feed.into(),
        trigger: String::new(),
        patient: Patient::default(),
        others: Vec::new(),
        visit: Some(VisitKey { authority: "SBMC".into(), number: "V1".into(), weak: false }),
        class: "IMP".into(),
        disposition: String::new(),
        participants: participants.iter().map(one).collect(),
        codes: Vec::new(),
        document: None,
        appointment: None,
        referral: None,
        confidentiality: Confidentiality::default(),
    }
}

fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(&format!("{}{TABLES}", loops::TABLES.concat())).unwrap();
    connection
}

fn told(connection: &mut Connection, events: &[Event]) {
    let transaction = connection.transaction().unwrap();
    for event in events {
        take(&transaction, event, WHO, event.feed == SECRET, &TimeZone::UTC).unwrap();
    }
    transaction.commit().unwrap();
}

fn names(team: &Team) -> Vec<String> {
    team.members.iter().map(|one| format!("{} {} {}", one.role, one.source.name(), one.number)).collect()
}

fn at(connection: &Connection, memberships: &[Member<'_>], text: &str) -> Team {
    team(connection, WHO, memberships, ms(text), &Options::default()).unwrap()
}

fn owners() -> BTreeMap<String, String> {
    [("aco".to_owned(), OWNER.to_owned())].into_iter().collect()
}

#[test]
fn every_source_is_kept_and_the_first_has_its_way() {
    let mut connection = database();
    let admitted = [("attending", HALVERSEN), ("primary-care", LINDQVIST), ("author", "9990007079")];
    told(&mut connection, &[event(Kind::Admission, "A|SBMC", "2026-03-02T10:00:00Z", &admitted)]);
    let roster = [Member { panel: "aco", pcp_npi: BAPTISTE, care_manager: MANAGER }];
    let found = at(&connection, &roster, "2026-03-03T00:00:00Z");
    let expected =
        ["attending visit 9990002021", "care-manager roster 9990006063", "pcp roster 9990003037", "pcp pd1 9990005057"];
    assert_eq!(names(&found), expected);
    let sources = vec![Source::Roster, Source::Pd1];
    assert_eq!(found.conflicts, [Conflict { role: "pcp".into(), sources }]);
    assert_eq!(found.numbers(), [BAPTISTE, LINDQVIST, MANAGER], "not who only took part in the visit");
    let other = Options { precedence: vec![Source::Pd1, Source::Roster], ..Options::default() };
    let found = team(&connection, WHO, &roster, ms("2026-03-03T00:00:00Z"), &other).unwrap();
    assert_eq!(names(&found)[2], "pcp pd1 9990005057");
    assert!(at(&connection, &[], "2026-03-03T00:00:00Z").conflicts.is_empty());
}

#[test]
fn a_sender_replaces_what_it_said_and_old_news_replaces_nothing() {
    let mut connection = database();
    let says = |feed: &str, at: &str, number: &str| event(Kind::OutpatientVisit, feed, at, &[("primary-care", number)]);
    told(
        &mut connection,
        &[says("A|X", "2026-03-02T10:00:00Z", LINDQVIST), says("A|X", "2026-03-04T10:00:00Z", BAPTISTE)],
    );
    told(&mut connection, &[says("A|X", "2026-03-03T10:00:00Z", HALVERSEN)]);
    assert_eq!(names(&at(&connection, &[], "2026-03-05T00:00:00Z")), ["pcp pd1 9990003037"]);
    told(&mut connection, &[says("B|Y", "2026-03-01T10:00:00Z", LINDQVIST)]);
    let found = at(&connection, &[], "2026-03-05T00:00:00Z");
    assert_eq!(names(&found), ["pcp pd1 9990003037", "pcp pd1 9990005057"], "the newest first");
    assert_eq!(found.conflicts.len(), 1);
    told(&mut connection, &[event(Kind::OutpatientVisit, "C|Z", "2026-03-01T10:00:00Z", &[("PP", MANAGER)])]);
    assert_eq!(names(&at(&connection, &[], "2026-03-05T00:00:00Z"))[0], "pcp rol 9990006063");
}

#[test]
fn nothing_leads_to_whoever_would_tell_a_secret() {
    let mut connection = database();
    let says = |feed: &str, at: &str, role: &str, number: &str| event(Kind::Admission, feed, at, &[(role, number)]);
    let other = Event {
        visit: Some(VisitKey { authority: "SBMC".into(), number: "V2".into(), weak: false }),
        ..says("A|X", "2026-03-02T10:00:00Z", "attending", LINDQVIST)
    };
    told(
        &mut connection,
        &[
            other,
            says("A|X", "2026-03-02T10:00:00Z", "primary-care", BAPTISTE),
            says("A|X", "2026-03-02T10:00:00Z", "attending", MANAGER),
            says(SECRET, "2026-03-03T10:00:00Z", "primary-care", HALVERSEN),
        ],
    );
    let team = at(&connection, &[], "2026-03-04T00:00:00Z");
    let lead = |to: &str| route(to, &team, &[], &owners(), &Facilities::default(), &Options::default());
    assert_eq!(team.members.iter().find(|one| one.role == "pcp").unwrap().number, HALVERSEN, "the newest goes first");
    assert_eq!(lead("role:pcp").npi(), Some(BAPTISTE));
    assert_eq!(lead("role:attending").npi(), Some(LINDQVIST), "the other visit turned out to be a secret");
}

/// Who is known openly stays so when a message that is to be told to few names them as well, of another sender or of the same.
#[test]
fn a_secret_hides_nobody_who_is_known_openly() {
    let says = |feed: &str, at: &str| event(Kind::Admission, feed, at, &[("primary-care", BAPTISTE)]);
    let pcp = |connection: &Connection| {
        let team = at(connection, &[], "2026-03-09T00:00:00Z");
        let lead = route("role:pcp", &team, &[], &owners(), &Facilities::default(), &Options::default());
        lead.npi().map(str::to_owned)
    };
    let mut connection = database();
    told(&mut connection, &[says("A|X", "2026-03-02T10:00:00Z"), says(SECRET, "2026-03-03T10:00:00Z")]);
    assert_eq!(pcp(&connection).as_deref(), Some(BAPTISTE));

    let mut connection = database();
    told(&mut connection, &[says("A|X", "2026-03-02T10:00:00Z")]);
    let transaction = connection.transaction().unwrap();
    let again = says("A|X", "2026-03-03T10:00:00Z");
    take(&transaction, &again, WHO, true, &TimeZone::UTC).unwrap();
    transaction.commit().unwrap();
    assert_eq!(pcp(&connection).as_deref(), Some(BAPTISTE));
}

#[test]
fn those_of_a_visit_leave_thirty_days_after_it() {
    let mut connection = database();
    let in_it = [("attending", HALVERSEN)];
    told(&mut connection, &[event(Kind::Admission, "A|X", "2026-03-02T10:00:00Z", &in_it)]);
    assert_eq!(at(&connection, &[], "2026-09-01T00:00:00Z").members.len(), 1, "nobody told of its end");
    told(&mut connection, &[event(Kind::Discharge, "A|X", "2026-03-05T10:00:00Z", &in_it)]);
    assert_eq!(at(&connection, &[], "2026-04-04T23:59:00Z").members.len(), 1);
    assert_eq!(at(&connection, &[], "2026-04-05T00:00:00Z").members.len(), 0);
    told(&mut connection, &[event(Kind::DischargeCancelled, "A|X", "2026-03-05T12:00:00Z", &[])]);
    assert_eq!(at(&connection, &[], "2026-09-01T00:00:00Z").members.len(), 1);
    // However many take part, so many are kept.
    let many: Vec<_> = (0..200).map(|number| format!("CHSTAFF{number}")).collect();
    let many: Vec<_> = many.iter().map(|number| ("consulting", number.as_str())).collect();
    told(&mut connection, &[event(Kind::Admission, "A|X", "2026-03-06T10:00:00Z", &many)]);
    assert_eq!(at(&connection, &[], "2026-03-07T00:00:00Z").members.len(), 64);
}

#[test]
fn a_care_team_that_is_put_goes_first() {
    let mut connection = database();
    told(&mut connection, &[event(Kind::Admission, "A|X", "2026-03-02T10:00:00Z", &[("primary-care", LINDQVIST)])]);
    let npi = "http://hl7.org/fhir/sid/us-npi";
    let resource = json!({ "resourceType": "CareTeam", "participant": [
        { "role": [{ "coding": [{ "system": "http://snomed.info/sct", "code": "768820003" }] }],
          "member": { "identifier": { "system": npi, "value": MANAGER }, "display": "Quinn Abara" } },
        { "role": [{ "text": "Peer Counsellor" }], "member": { "display": "Rory Vale" }, "period": { "end": "2026-03-31" } },
        { "role": [{ "coding": [{ "code": "pcp" }] }], "member": { "identifier": { "system": npi, "value": BAPTISTE } } },
    ]});
    let transaction = connection.transaction().unwrap();
    put(&transaction, WHO, &resource, ms("2026-03-03T00:00:00Z")).unwrap();
    transaction.commit().unwrap();
    let found = at(&connection, &[], "2026-03-31T12:00:00Z");
    let expected = ["care-manager api 9990006063", "pcp api 9990003037", "pcp pd1 9990005057", "peer-counsellor api "];
    assert_eq!(names(&found), expected);
    assert_eq!(at(&connection, &[], "2026-04-01T00:00:00Z").members.len(), 3);
    let rendered = care_team(&found, "t", "Patient/p", &TimeZone::UTC);
    assert_eq!(rendered["participant"][0]["member"]["identifier"]["value"], MANAGER);
    assert_eq!(rendered["participant"][3]["member"]["display"], "Rory Vale");
    assert_eq!(rendered["participant"][3]["period"]["end"], "2026-03-31T23:59:59.999+00:00");
    assert_eq!(rendered["note"][0]["text"], "pcp: sources differ; in order of precedence: api, pd1");
    assert_eq!(care_team(&Team::default(), "t", "Patient/p", &TimeZone::UTC).get("participant"), None);
    // What is wrong is said, and nothing of it kept.
    let transaction = connection.transaction().unwrap();
    for (wrong, expected) in [
        (json!({ "resourceType": "Patient" }), "resourceType must be CareTeam"),
        (
            json!({ "resourceType": "CareTeam", "participant": [{ "member": { "display": "A" } }] }),
            "CareTeam.participant[0].role: give",
        ),
        (
            json!({ "resourceType": "CareTeam", "participant": [{ "role": [{ "text": "a" }] }] }),
            "CareTeam.participant[0].member: give",
        ),
        (
            json!({ "resourceType": "CareTeam", "participant": [{ "role": [{ "text": "a" }], "member": { "display": "A" }, "period": { "end": "soon" } }] }),
            "period.end: give a date",
        ),
        (json!({ "resourceType": "CareTeam", "participant": vec![json!({}); 33] }), "33 are too many"),
    ] {
        let told = put(&transaction, WHO, &wrong, 0).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
    transaction.commit().unwrap();
    assert_eq!(names(&at(&connection, &[], "2026-03-31T12:00:00Z")), expected);
}

#[test]
fn a_role_leads_to_somebody_or_is_said_to_lead_nowhere() {
    let connection = database();
    let routing = |endpoint: Option<&str>, fallback: Option<&str>, panel_owner| Routing {
        endpoint: endpoint.map(str::to_owned),
        fallback: fallback.map(str::to_owned),
        panel_owner,
    };
    let routes = |panel_owner| {
        let manager = routing(Some("aco-cm"), Some("role:pcp"), true);
        [("role:care-manager".to_owned(), manager), ("role:pcp".to_owned(), routing(None, None, panel_owner))]
    };
    let options = |panel_owner| Options { routes: routes(panel_owner).into_iter().collect(), ..Options::default() };
    let facility = Facility { npi: Some("9990001015".into()), ..Facility::default() };
    let facilities = Facilities { by_key: [("SBMC".to_owned(), facility)].into_iter().collect(), zone: None };
    let lead = |to: &str, pcp: &str, manager: &str, options: &Options| {
        let roster = [Member { panel: "aco", pcp_npi: pcp, care_manager: manager }];
        let team = at(&connection, &roster, "2026-03-03T00:00:00Z");
        match route(to, &team, &["aco".to_owned()], &owners(), &facilities, options) {
            Route::Recipient { role, member, endpoint } => {
                format!("{role} {} {}", member.number, endpoint.unwrap_or_default())
            }
            Route::Organization { facility, npi } => format!("{facility} {npi}"),
            Route::PanelOwner { panel, npi } => format!("{panel} {npi}"),
            Route::Unroutable { to } => format!("unroutable {to}"),
        }
    };
    let usual = options(true);
    assert_eq!(lead("role:care-manager", BAPTISTE, MANAGER, &usual), format!("care-manager {MANAGER} aco-cm"));
    assert_eq!(
        lead("role:care-manager", BAPTISTE, "Quinn Abara", &usual),
        format!("pcp {BAPTISTE} "),
        "a name is no number"
    );
    assert_eq!(
        lead("role:care-manager", BAPTISTE, "9990006064", &usual),
        format!("pcp {BAPTISTE} "),
        "its check digit is wrong"
    );
    assert_eq!(lead("role:care-manager", "", "", &usual), format!("aco {OWNER}"));
    assert_eq!(lead("role:care-manager", "", "", &options(false)), "unroutable role:care-manager");
    assert_eq!(lead("role:nobody", BAPTISTE, "", &usual), format!("aco {OWNER}"));
    assert_eq!(lead("org:SBMC", "", "", &usual), "SBMC 9990001015");
    assert_eq!(lead("org:ELSEWHERE", "", "", &usual), format!("aco {OWNER}"));
    let to = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let found = |role: &str, endpoint: Option<&str>| Route::Recipient {
        role: role.into(),
        member: of_roster(role, MANAGER, 0),
        endpoint: endpoint.map(str::to_owned),
    };
    let (manager, pcp) = (found("care-manager", Some("aco-cm")), found("pcp", None));
    for (names, routes, expected) in [
        (&["role:care-manager"][..], &[manager.clone()][..], &["aco-cm"][..]),
        (&["role:care-manager"], &[found("pcp", Some("practice"))], &["aco-cm", "practice"]),
        (&["role:care-manager", "role:pcp"], &[manager, pcp.clone()], &["aco-cm"]),
        (&["role:pcp"], &[pcp], &[]),
        (&["org:SBMC"], &[Route::Unroutable { to: "org:SBMC".into() }], &[]),
    ] {
        assert_eq!(addressed(&to(names), routes, &usual), expected, "{names:?}");
    }
    let nobody = route("role:pcp", &Team::default(), &[], &owners(), &facilities, &usual);
    assert_eq!(nobody, Route::Unroutable { to: "role:pcp".into() });
}
