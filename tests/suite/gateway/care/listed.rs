//! Rosters of a running gateway: held until somebody approves of the very file, told of to subscribers, and the same ones when the journal is read again.
use super::super::alerts::Receiver;
use super::*;

/// About the other member: an admission, by number.
fn zephyrine(number: usize) -> String {
    M1.replace("SB000101", &format!("ZZ{number:06}"))
        .replace("V20260302001", &format!("W{number:06}"))
        .replace("00718243", "00555001")
        .replace("1EG4TE5MK73", "1EG4TE5MK74")
        .replace("OKAFOR^MARISOL", "ZEPHYRINE^CASIMIR")
        .replace("19510314|F", "19600701|M")
}

/// A recipient that may hear of lists.
pub(super) fn listener(id: &str) -> String {
    recipient(id, "full-resource", "").replace("\"open-loop\"", "\"open-loop\", \"atr-list-change\"")
}

pub(super) fn list_change(address: &str) -> Value {
    let mut resource = subscription("atr-list-change", address, "full-resource");
    resource["criteria"] = "http://hl7.org/fhir/us/davinci-atr/SubscriptionTopic/atr-list-change".into();
    resource
}

pub(super) fn put(care: &Care, id: &str, mut resource: Value) {
    resource["id"] = id.into();
    let put = care.ask("aco-cm", "PUT", &format!("/fhir/Subscription/{id}"), Some(&resource));
    assert_eq!(put.status, 201, "{}", put.body);
    care.wait_for_state("aco-cm", id, "active");
}

fn roster(care: &Care) -> Value {
    let answer = care.operate("viewer", "GET", "rosters", None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["rosters"][0].clone()
}

fn reload(care: &Care) -> Value {
    let answer = care.operate("operator", "POST", "rosters/reload", None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["rosters"][0].clone()
}

fn approve(care: &Care, panel: &str, sha256: &Value) -> u16 {
    care.operate("operator", "POST", &format!("rosters/{panel}/approve"), Some(&json!({ "sha256": sha256 }))).status
}

/// Without the last member.
fn shorter() -> String {
    ROSTER.lines().take(2).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_held_roster_is_approved_of_by_its_hash_and_told_of() {
    let web = receiver();
    let care = Care::start_with("", &listener("aco-cm"), "");
    put(&care, "admissions", subscription("admission", &web.address, "full-resource"));
    put(&care, "lists", list_change(&web.address));
    let first = roster(&care);
    assert_eq!((&first["state"], &first["members"], &first["added"]), (&"accepted".into(), &2.into(), &2.into()));
    assert_eq!((&first["in_force"]["sha256"], &first["stale"]), (&first["sha256"], &false.into()));
    care.send(&[&zephyrine(1)]);
    care.wait_for_events("aco-cm", "admissions", 1);

    care.write_roster(&shorter());
    let held = reload(&care);
    assert_eq!((&held["state"], &held["dropped"], &held["members"]), (&"held".into(), &1.into(), &2.into()));
    assert!(held["why"].as_str().unwrap().contains("1 of 2 members are gone"), "{held}");
    assert_eq!((&roster(&care), &held["in_force"]), (&held, &first["in_force"]));
    let (code, said) = care.operate_by_command("viewer", &["rosters", "status"]);
    let advice = format!("handoff rosters approve aco-lakeshore {}", held["sha256"].as_str().unwrap());
    assert_eq!((code, said.contains(&advice)), (Some(1), true), "{said}");
    care.send(&[&zephyrine(2)]);
    care.wait_for_events("aco-cm", "admissions", 2);

    // Only what was looked at, only where it is held, and only what is there.
    assert_eq!(approve(&care, "aco-lakeshore", &first["sha256"]), 409);
    assert_eq!(approve(&care, "aco-lakeshore", &json!("x")), 400);
    assert_eq!(approve(&care, "another", &held["sha256"]), 404);
    care.write_roster(&shorter().replace("cm-ortega", "cm-weiss"));
    assert_eq!(approve(&care, "aco-lakeshore", &held["sha256"]), 409, "another file lies there by now");
    assert_eq!(roster(&care)["in_force"], first["in_force"]);
    care.wait_for_events("aco-cm", "lists", 0);
    care.write_roster(&shorter());
    let sha256 = held["sha256"].as_str().unwrap();
    let (code, said) = care.operate_by_command("operator", &["rosters", "approve", "aco-lakeshore", sha256]);
    assert_eq!((code, said.contains("accepted")), (Some(0), true), "{said}");
    let now = roster(&care);
    assert_eq!(
        (&now["state"], &now["members"], &now["in_force"]["sha256"]),
        (&"accepted".into(), &1.into(), &held["sha256"])
    );
    assert_eq!(approve(&care, "aco-lakeshore", &held["sha256"]), 409, "it is in force");
    care.send(&[&zephyrine(3), M1]);
    care.wait_for_events("aco-cm", "admissions", 3);

    // Who subscribed is told, once, of the panel and how many; of nobody in it.
    care.wait_for_events("aco-cm", "lists", 1);
    let told = wait_for("the notification", || {
        let all = notifications(&web.requests(), "event-notification");
        all.into_iter().find(|one| text_of(&one["entry"][0]["resource"], "subscription").ends_with("/lists"))
    });
    let event = &events_in(&told)[0].1;
    assert!(text_of(event, "focus").ends_with("/Group/aco-lakeshore"), "{told}");
    let group = &told["entry"][1]["resource"];
    let counts: Vec<_> = group["extension"][0]["extension"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["valueUnsignedInt"].as_u64())
        .collect();
    assert_eq!((&group["quantity"], counts), (&1.into(), vec![Some(0), Some(1), Some(0)]));
    assert!(!told.to_string().contains("ZEPHYRINE") && !told.to_string().contains("1EG4"), "{told}");
    let read = care.get("aco-cm", "/fhir/Group/aco-lakeshore");
    assert_eq!((&read["quantity"], &read["extension"]), (&group["quantity"], &group["extension"]));

    // The journal is read again, with the rosters of then: the second admission is still told, the third is not.
    let before = [care.events("aco-cm", "admissions", 1), care.events("aco-cm", "lists", 1)].map(|all| told_of(&all));
    let log = care.gateway.log();
    assert!(log.contains("roster approved of") && !log.contains("ZEPHYRINE"), "{log}");
    let care = care.kill_and_make_anew();
    care.wait_until_read(4);
    care.wait_for_events("aco-cm", "admissions", 3);
    care.wait_for_events("aco-cm", "lists", 1);
    let after = [care.events("aco-cm", "admissions", 1), care.events("aco-cm", "lists", 1)].map(|all| told_of(&all));
    assert_eq!(before, after);
    assert_eq!(roster(&care)["in_force"], now["in_force"]);
    let (code, said) = command(care.gateway.folder(), &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    care.gateway.stop();
}

/// Number, time and focus of each event.
fn told_of(bundle: &Value) -> Vec<(u64, String, String)> {
    let events = events_in(bundle);
    events.iter().map(|(number, event)| (*number, text_of(event, "timestamp"), text_of(event, "focus"))).collect()
}

#[test]
fn a_change_is_told_to_those_of_the_panel_alone_and_the_same_file_is_none() {
    let web = receiver();
    // Somebody with a panel of their own, and somebody with this panel and not the topic.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("practice.csv");
    std::fs::write(&file, ROSTER).unwrap();
    let practice = format!(
        "[[coordination.panel]]\nid = \"practice\"\nkind = \"pcmh\"\nsource = {{ type = \"csv\", path = \"{}\" }}\ncolumns = {{ id = \"MBI\", id_system = \"http://hl7.org/fhir/sid/us-mbi\", family = \"LAST\", dob = \"DOB\" }}\n",
        file.display()
    );
    let other = listener("other").replace("\"aco-lakeshore\"", "\"practice\"");
    let recipients = listener("aco-cm") + &other + &recipient("third", "full-resource", "") + &practice;
    let care = Care::start_with("", &recipients, "");
    put(&care, "lists", list_change(&web.address));
    let refused = care.ask("third", "POST", "/fhir/Subscription", Some(&list_change(&web.address)));
    assert_eq!(refused.status, 422, "{}", refused.body);
    let mut all = list_change(&web.address);
    all.as_object_mut().unwrap().remove("_criteria");
    let all = care.subscribe("other", &all);
    care.wait_for_state("other", &all, "active");
    assert_eq!(reload(&care)["state"], "accepted");
    // Other bytes, the same members.
    care.write_roster(&ROSTER.replace('\n', "\r\n"));
    assert_eq!(reload(&care)["changed"], 0);
    care.write_roster(&ROSTER.replace("cm-ortega", "cm-weiss"));
    let changed = reload(&care);
    assert_eq!((&changed["state"], &changed["changed"], &changed["added"]), (&"accepted".into(), &2.into(), &0.into()));
    care.wait_for_events("aco-cm", "lists", 1);
    // A restart reads them again, and nothing has changed.
    let care = care.kill_and_restart(None);
    assert_eq!(roster(&care)["in_force"], changed["in_force"]);
    care.write_roster(
        &(ROSTER.to_owned()
            + "1EG4TE5MK75,QUILLFEATHER,ANSELM,1949-05-06,M,14150,7165550144,2026-01-01,,9990003037,cm-weiss\n"),
    );
    assert_eq!(reload(&care)["added"], 1);
    care.wait_for_events("aco-cm", "lists", 2);
    care.wait_for_events("other", &all, 0);
    assert_eq!(care.ask("other", "GET", "/fhir/Group/aco-lakeshore", None).status, 404);
    std::fs::write(&file, ROSTER.replace("CASIMIR", "CASIMIR J").replace("1960-07-01", "1960-07-02")).unwrap();
    reload(&care);
    care.wait_for_events("other", &all, 1);
    care.wait_for_events("aco-cm", "lists", 2);
    care.gateway.stop();
}

#[test]
fn rosters_that_are_held_refused_or_old_open_an_alert_and_resolve_it() {
    let alerts = Receiver::start();
    let care = Care::start_with("", &recipient("aco-cm", "id-only", ""), &alerts.configuration(""));
    let states =
        |rule: &str, count| alerts.wait_for(rule, count).into_iter().map(|(state, _)| state).collect::<Vec<_>>();
    care.write_roster(&shorter());
    assert_eq!(reload(&care)["state"], "held");
    assert_eq!(states("roster_held", 1), ["open"]);
    care.write_roster(&ROSTER.replace("MBI,", "NUMBER,"));
    let refused = reload(&care);
    assert_eq!(
        (&refused["state"], &refused["members"], &refused["sha256"]),
        (&"refused".into(), &2.into(), &Value::Null)
    );
    assert!(refused["why"].as_str().unwrap().contains("no column \"MBI\""), "{refused}");
    assert_eq!(states("roster_refused", 1), ["open"]);
    assert_eq!(states("roster_held", 2), ["open", "resolved"]);
    assert_eq!(approve(&care, "aco-lakeshore", &json!("0".repeat(64))), 409, "there is nothing to approve of");
    // Long ago: 90 days are the default.
    care.write_roster(ROSTER);
    let file = std::fs::File::options().write(true).open(care.rosters.path().join("lakeshore.csv")).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(91 * 86_400)).unwrap();
    let old = reload(&care);
    assert_eq!((&old["state"], &old["stale"]), (&"accepted".into(), &true.into()), "{old}");
    assert_eq!(
        (states("roster_stale", 1), states("roster_refused", 2)),
        (vec!["open".into()], vec!["open".into(), "resolved".into()])
    );
    care.write_roster(ROSTER);
    assert_eq!(reload(&care)["stale"], false);
    assert_eq!(states("roster_stale", 2), ["open", "resolved"]);
    care.gateway.stop();
}
