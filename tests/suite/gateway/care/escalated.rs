//! What loops ask of somebody: who a Task leads to, who is told again, what cannot wait, what somebody should know, and what leads to nobody.
use super::*;
use crate::validity::shaped;

const PCP: &str = "9990003037";
const PANEL_OWNER: &str = "9990004043";

/// A call within two hours of a discharge, of somebody whom nobody knows.
const CALL: &str = r#"
[[coordination.loop]]
id = "call"
open = { event = "discharge" }
[[coordination.loop.step]]
id = "ring"
due = "2h"
close = { event = "service-coded", codes = ["CPT|98966"] }
escalate = [{ at = "due", to = "role:health-coach" }]
[coordination.care_team.route]
"role:health-coach" = { then = "unroutable" }
"#;

/// An admission to another hospital, days after the discharge.
pub fn elsewhere() -> String {
    M1.replace("SBADT|SBMC", "MYADT|MERCY")
        .replace("^B^SBMC", "^B^MERCY")
        .replace("V20260302001^^^SBMC", "E99^^^MERCY")
        .replace("20260302091502", "20260318073000")
        .replace("20260302091500", "20260318073000")
        .replace("20260302090800", "20260318073000")
        .replace("SB000101", "MY000001")
}

/// Of another member of the panel.
fn of_another(message: &str, control_id: &str) -> String {
    let mut fields: Vec<_> = message.splitn(11, '|').collect();
    fields[9] = control_id;
    fields
        .join("|")
        .replace("V20260302001", "V20260302777")
        .replace("00718243", "99999999")
        .replace("1EG4TE5MK73", "1EG4TE5MK74")
        .replace("OKAFOR^MARISOL", "ZEPHYRINE^CASIMIR")
        .replace("19510314|F", "19600701|M")
}

/// Item 9 of a PHQ-9, answered with "several days".
fn thoughts() -> String {
    let pid = M5.split('\r').find(|line| line.starts_with("PID|")).unwrap();
    [
        "MSH|^~\\&|CHLAB|CHFM|HANDOFF|GW|20260312093000-0400||ORU^R01^ORU_R01|CH000900|P|2.5.1",
        pid,
        "OBR|1||L900^CHLAB|44249-1^PHQ-9^LN|||20260312092000-0400|||||||||||||||20260312093000-0400|||F",
        "OBX|1|CE|44260-8^Thoughts of self-harm^LN||LA6569-3^Several days^LN||||||F",
        "",
    ]
    .join("\r")
}

/// A subscription with a filter of its own.
fn filtered(topic: &str, web: &Web, filter: &str) -> Value {
    let mut resource = subscription(topic, &web.address, "full-resource");
    resource["_criteria"]["extension"][0]["valueString"] = filter.into();
    resource
}

/// The resources of a type in a notification.
fn of_type<'b>(bundle: &'b Value, kind: &str) -> Vec<&'b Value> {
    let resources = bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]);
    resources.filter(|resource| resource["resourceType"] == kind).collect()
}

/// What every Task of a Bundle is about: its step, and the NPI of whom it leads to.
fn owners(bundle: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |task: &Value| (text(&task["code"]["text"]), text(&task["owner"]["identifier"]["value"]));
    of_type(bundle, "Task").into_iter().map(of).collect()
}

fn are_valid(bundle: &Value) {
    for resource in bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]) {
        assert_eq!(shaped(resource), Vec::<String>::new(), "{resource}");
    }
}

#[test]
fn a_task_leads_to_somebody_and_the_second_level_asks_again() {
    let web = receiver();
    let care = Care::start("", &(recipient("aco-cm", "full-resource", "") + CALL));
    let all = care.subscribe("aco-cm", &subscription("open-loop", &web.address, "full-resource"));
    let of_panel = "Task?_in=Group/aco-lakeshore";
    let owned = format!("{of_panel}&owner=http://hl7.org/fhir/sid/us-npi|{PCP}");
    let owned = care.subscribe("aco-cm", &filtered("open-loop", &web, &owned));
    let role = format!("{of_panel}&performer=care-manager&code=hha-soc");
    let role = care.subscribe("aco-cm", &filtered("open-loop", &web, &role));
    for id in [&all, &owned, &role] {
        care.wait_for_state("aco-cm", id, "active");
    }
    care.send(&[M1, M2]);
    // The summary twice, home health, appointment, visit, medication, and the call.
    care.wait_for_events("aco-cm", &all, 7);
    care.wait_for_events("aco-cm", &owned, 1);
    care.wait_for_events("aco-cm", &role, 1);
    let told = care.events("aco-cm", &all, 1);
    are_valid(&told);
    let (manager, pcp) = (PANEL_OWNER.to_owned(), PCP.to_owned());
    let of = |step: &str| -> Vec<String> {
        owners(&told).into_iter().filter(|(own, _)| own == step).map(|(_, npi)| npi).collect()
    };
    assert_eq!(
        of("summary"),
        [manager.clone(), pcp.clone()],
        "first the care manager, whom the owner of the panel stands for"
    );
    assert_eq!((of("hha-soc"), of("ring")), (vec![manager], vec![String::new()]));
    assert_eq!(owners(&care.events("aco-cm", &owned, 1)), [("summary".to_owned(), pcp)]);
    assert_eq!(owners(&care.events("aco-cm", &role, 1)), [("hha-soc".to_owned(), PANEL_OWNER.to_owned())]);

    let again = of_type(&told, "CommunicationRequest");
    assert_eq!(again.len(), 1, "{told}");
    let summary = of_type(&told, "Task").into_iter().rfind(|task| task["code"]["text"] == "summary").unwrap();
    assert_eq!(again[0]["recipient"][0]["identifier"]["value"], PCP);
    assert_eq!(again[0]["about"][0]["reference"], format!("Task/{}", summary["id"].as_str().unwrap()));
    assert_eq!(again[0]["subject"], summary["for"]);
    assert_eq!(summary["owner"]["type"], "Practitioner");
    assert_eq!(summary["performerType"][0]["coding"][0]["code"], "pcp");
    // That somebody asks for an older one does not change who has to do it now.
    care.get("aco-cm", &format!("/fhir/Subscription/{all}/$events?eventsSinceNumber=1&eventsUntilNumber=2"));
    for resource in [summary, again[0]] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        assert_eq!(care.get("aco-cm", &path), *resource);
    }

    is_said_to_lead_nowhere(&care);
    let care = care.kill_and_make_anew();
    care.wait_until_read(2);
    care.wait_for_events("aco-cm", &all, 7);
    let entries = |bundle: &Value| bundle["entry"].as_array().unwrap()[1..].to_vec();
    assert_eq!(entries(&care.events("aco-cm", &all, 1)), entries(&told), "the same once more");
    care.gateway.stop();
}

/// What leads to nobody is counted, shown and logged, and nothing of the patient with it.
fn is_said_to_lead_nowhere(care: &Care) {
    let metrics = care.metrics();
    assert!(metrics.contains("handoff_unroutable_total{to=\"role:health-coach\"} 1\n"), "{metrics}");
    let log = care.gateway.log();
    let line = log.lines().find(|line| line.contains("unroutable")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("role:health-coach") && line.contains("ring"), "{line}");
    assert!(!log.contains("OKAFOR") && !log.contains("1EG4TE5MK73"), "{log}");
    // Years after the story nothing of it helps any more.
    let worklists = ["overdue", "expired"]
        .map(|state| care.administer(&format!("/api/v1/loops?panel=aco-lakeshore&state={state}")));
    let asked = |step: &str| -> Value {
        let loops = worklists.iter().flat_map(|list| list["loops"].as_array().unwrap());
        let mut steps = loops.flat_map(|one| one["steps"].as_array().unwrap());
        steps.find(|one| one["id"] == step).unwrap()["asked"].clone()
    };
    let nobody = json!([{ "npi": null, "role": null, "organization": null, "unroutable": "role:health-coach" }]);
    assert_eq!(asked("ring"), nobody);
    let pcp = json!([{ "npi": PCP, "role": "pcp", "organization": null, "unroutable": null }]);
    assert_eq!(asked("summary"), pcp);
    assert_eq!(asked("hha-soc")[0]["organization"], "aco-lakeshore");
}

#[test]
fn what_somebody_should_know_and_what_cannot_wait() {
    let (web, of_other) = (receiver(), receiver());
    let phq = "[[coordination.loop]]\nuse = \"phq-9\"\n";
    let care = Care::start(
        "",
        &(recipient("aco-cm", "full-resource", "clear = [\"PSY\"]") + &recipient("other", "full-resource", "") + phq),
    );
    let flags = care.subscribe("aco-cm", &filtered("care-flag", &web, "Flag?_in=Group/aco-lakeshore&code=readmission"));
    let none =
        care.subscribe("aco-cm", &filtered("care-flag", &web, "Flag?_in=Group/aco-lakeshore&code=ed-after-stay"));
    let at_once = "Task?_in=Group/aco-lakeshore&code=alert";
    let alerts = care.subscribe("aco-cm", &filtered("open-loop", &web, at_once));
    let withheld = care.subscribe("other", &filtered("open-loop", &of_other, at_once));
    for (who, id) in [("aco-cm", &flags), ("aco-cm", &none), ("aco-cm", &alerts), ("other", &withheld)] {
        care.wait_for_state(who, id, "active");
    }
    care.send(&[M1, M2, &elsewhere(), &thoughts()]);
    care.wait_until_read(4);
    care.wait_for_events("aco-cm", &flags, 1);
    care.wait_for_events("aco-cm", &alerts, 1);
    let pushed =
        wait_for("both", || Some(notifications(&web.requests(), "event-notification")).filter(|all| all.len() == 2));
    pushed.iter().for_each(are_valid);
    let flag = pushed.iter().flat_map(|bundle| of_type(bundle, "Flag")).next().unwrap();
    assert_eq!((&flag["status"], &flag["code"]["coding"][0]["code"]), (&"active".into(), &"readmission".into()));
    assert_eq!(flag["period"]["start"], "2026-03-18T08:30:00-04:00", "when they were admitted");
    assert!(flag["category"][0]["coding"][0]["code"] == "clinical", "{flag}");
    let alert = pushed.iter().flat_map(|bundle| of_type(bundle, "Task")).next().unwrap();
    assert_eq!((&alert["priority"], &alert["reasonCode"]["text"]), (&"stat".into(), &"phq-9".into()));
    assert_eq!(alert["owner"]["identifier"]["value"], PANEL_OWNER);
    for resource in [flag, alert] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        assert_eq!(care.get("aco-cm", &path), *resource);
        assert_eq!(care.ask("other", "GET", &path, None).status, 404, "who was not told does not find it");
    }
    assert_eq!(flag["subject"], alert["for"]);
    // One that may not know of mental illness is told of nothing, and that is on record.
    care.wait_for_events("other", &withheld, 0);
    care.wait_for_events("aco-cm", &none, 0);
    assert!(wait_for("the audit", || Some(suppressions(&care, "other")).filter(|count| *count > 0)) > 0);
    assert!(notifications(&of_other.requests(), "event-notification").is_empty());
    care.gateway.stop();
}

/// Lines of the audit that say that something was withheld from somebody.
fn suppressions(care: &Care, who: &str) -> usize {
    let files = std::fs::read_dir(care.gateway.data().join("audit")).unwrap();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
    texts.map(|text| text.lines().filter(|line| line.contains("suppress") && line.contains(who)).count()).sum()
}

#[test]
fn a_flag_tells_of_no_stay_that_is_a_secret() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "full-resource", ""));
    let flags = care.subscribe("aco-cm", &subscription("care-flag", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &flags, "active");
    let there = |message: &str| message.replace("SBMC", "LAKERECOV");
    care.send(&[&there(M1), &there(M2), &elsewhere()]);
    care.wait_until_read(3);
    wait_for("the audit", || (suppressions(&care, "aco-cm") > 0).then_some(()));
    // That of somebody else, whose stay was no secret, comes behind.
    let (admitted, left) = (of_another(M1, "SB000601"), of_another(M2, "SB000602"));
    care.send(&[&admitted, &left, &of_another(&elsewhere(), "MY000602").replace("E99^", "E98^")]);
    care.wait_for_events("aco-cm", &flags, 1);
    let told = wait_for("the flag", || notifications(&web.requests(), "event-notification").pop());
    assert_eq!(of_type(&told, "Flag").len(), 1, "{told}");
    assert_eq!(suppressions(&care, "aco-cm"), 1);
    care.gateway.stop();
}

#[test]
fn a_task_leads_to_nobody_who_is_known_from_a_secret_stay() {
    let web = receiver();
    let precedence = "[coordination.care_team]\nprecedence = [\"pd1\", \"roster\"]\n";
    let care = Care::start("", &(recipient("aco-cm", "full-resource", "") + precedence));
    let filter = "Task?_in=Group/aco-lakeshore&performer=pcp";
    let told = care.subscribe("aco-cm", &filtered("open-loop", &web, filter));
    care.wait_for_state("aco-cm", &told, "active");
    // Their doctor, by what is sent last.
    let there = M1
        .replace("SBMC", "LAKERECOV")
        .replace("SB000101", "LR000001")
        .replace("V20260302001", "VLR001")
        .replace("9990003037^BAPTISTE^RENEE", "9990005057^LINDQVIST^SOREN")
        .replace("20260302", "20260306");
    // What one of the diagnoses is may not be told either: of words that people wrote nothing is left, and all of it is valid.
    let left = M2.to_owned() + "DG1|2||F10.20^Alcohol dependence, uncomplicated^I10C|||F\r";
    care.send(&[M1, &there, &left]);
    care.wait_for_events("aco-cm", &told, 1);
    let told = care.events("aco-cm", &told, 1);
    are_valid(&told);
    assert_eq!(of_type(&told, "CommunicationRequest")[0].get("payload"), None, "{told}");
    assert_eq!(owners(&told), [("summary".to_owned(), PCP.to_owned())]);
    assert!(told.to_string().contains("RENEE BAPTISTE (pcp)") && !told.to_string().contains("LINDQVIST"), "{told}");
    care.gateway.stop();
}

#[test]
fn an_endpoint_takes_what_is_for_its_role_and_nobody_is_left_untold() {
    let web = receiver();
    let routes = "[coordination.care_team.route]\n\"role:care-manager\" = { endpoint = \"aco-cm\" }\n\"role:pcp\" = { endpoint = \"practice\" }\n";
    let recipients = ["aco-cm", "practice", "observer"].map(|id| recipient(id, "full-resource", ""));
    let care = Care::start("", &(recipients.concat() + routes));
    let subscribe = |who: &str| {
        let id = care.subscribe(who, &subscription("open-loop", &web.address, "full-resource"));
        care.wait_for_state(who, &id, "active");
        id
    };
    let (manager, observer) = (subscribe("aco-cm"), subscribe("observer"));
    care.send(&[M1, M2]);
    care.wait_for_events("observer", &observer, 6);
    care.wait_for_events("aco-cm", &manager, 6);
    let practice = subscribe("practice");
    care.send(&[&of_another(M1, "SB000601"), &of_another(M2, "SB000602")]);
    care.wait_for_events("observer", &observer, 12);
    care.wait_for_events("practice", &practice, 1);
    care.wait_for_events("aco-cm", &manager, 11);
    assert_eq!(owners(&care.events("practice", &practice, 1)), [("summary".to_owned(), PCP.to_owned())]);
    care.gateway.stop();
}
