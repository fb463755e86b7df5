//! A roster that knows somebody by another key: what is open goes on, what was told can be read, and what they said of consent holds.
use super::*;
use jiff::{Timestamp, ToSpan};

const MBI: &str = "~1EG4TE5MK73^^^CMS&2.16.840.1.113883.4.927&ISO^MC";

/// The story, as if she had been discharged four days ago: the summary is overdue, and nothing else but home health.
fn of_these_days(message: &str) -> String {
    let day = |ago: i64| (Timestamp::now() - (ago * 24).hours()).strftime("%Y%m%d").to_string();
    [("20260302", 7), ("20260305", 4), ("20260306", 3)]
        .into_iter()
        .fold(message.to_owned(), |message, (written, ago)| message.replace(written, &day(ago)))
}

/// The roster before anybody knew her number.
fn without_number() -> String {
    ROSTER.replace("1EG4TE5MK73", "")
}

/// The Tasks of which a subscription tells, each as it stands now, by id.
fn tasks(care: &Care, id: &str) -> std::collections::BTreeMap<String, Value> {
    let events = care.get("aco-cm", &format!("/fhir/Subscription/{id}/$events?content=full-resource"));
    let resources = events["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone());
    let tasks = resources.filter(|resource| resource["resourceType"] == "Task");
    tasks.map(|task| (task["id"].as_str().unwrap().to_owned(), task)).collect()
}

/// For whom they are, all of them.
fn whose(tasks: &std::collections::BTreeMap<String, Value>) -> String {
    let all: std::collections::BTreeSet<_> = tasks.values().map(|task| task["for"]["reference"].to_string()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    let one = all.first().unwrap().trim_matches('"');
    one.rsplit('/').next().unwrap().to_owned()
}

/// The Task of a step.
fn step<'t>(tasks: &'t std::collections::BTreeMap<String, Value>, name: &str) -> &'t Value {
    let mut found = tasks.values().filter(|task| task["code"]["text"] == name);
    let one = found.next().unwrap_or_else(|| panic!("{name}"));
    assert!(found.next().is_none(), "one Task of {name}");
    one
}

fn take(care: &Care, roster: &str) {
    care.write_roster(roster);
    let read = care.operate("operator", "POST", "rosters/reload", None).json()["rosters"][0].clone();
    assert_eq!(read["state"], "held", "by the old key one of two is gone: {read}");
    let files = json!({ "sha256": read["sha256"] });
    let approved = care.operate("operator", "POST", "rosters/aco-lakeshore/approve", Some(&files));
    assert_eq!(approved.status, 200, "{}", approved.body);
}

#[test]
fn loops_go_on_under_another_key() {
    let web = receiver();
    let care = Care::start_of(&without_number(), "", &recipient("aco-cm", "full-resource", ""));
    let id = care.subscribe("aco-cm", &subscription("open-loop", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[&of_these_days(M1), &of_these_days(M2)]);
    // The summary twice, and home health.
    care.wait_for_events("aco-cm", &id, 3);
    let before = tasks(&care, &id);
    let old = whose(&before);
    let of_her = |topic: &str| {
        let mut resource = subscription(topic, &web.address, "full-resource");
        resource["_criteria"]["extension"][0]["valueString"] = format!("Task?patient=Patient/{old}").into();
        care.subscribe("aco-cm", &resource)
    };
    let hers = of_her("open-loop");
    care.wait_for_state("aco-cm", &hers, "active");

    take(&care, ROSTER);
    // Each Task is read as it stands at that moment: while the key changes some are read before it, some after.
    let is_of_old = |task: &Value| task["for"].to_string().contains(&old);
    let after = wait_for("another key", || Some(tasks(&care, &id)).filter(|tasks| !tasks.values().any(is_of_old)));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "the same Tasks");
    let new = whose(&after);
    for task in after.keys() {
        let read = care.get("aco-cm", &format!("/fhir/Task/{task}"));
        assert!(read["for"]["reference"].as_str().unwrap().ends_with(&new), "{read}");
    }
    // By a number alone that was learned under the old key, under another name.
    let summary =
        of_these_days(M3).replace(MBI, "").replace("OKAFOR", "BELL").replace("14150", "").replace("5550142", "");
    care.send(&[&summary]);
    care.wait_for_events("aco-cm", &id, 4);
    care.wait_for_events("aco-cm", &hers, 1);
    let done = tasks(&care, &id);
    assert_eq!((whose(&done), done.len()), (new.clone(), before.len()), "{done:?}");
    let closed = step(&done, "summary");
    assert_eq!((&closed["status"], &closed["owner"]), (&"completed".into(), &step(&before, "summary")["owner"]));
    assert_eq!(closed["owner"]["identifier"]["value"], "9990003037");
    assert_eq!(step(&done, "hha-soc")["status"], "requested");
    let people = |care: &Care| {
        let worklist = care.administer("/api/v1/loops?panel=aco-lakeshore&state=overdue");
        worklist["loops"].as_array().unwrap().iter().map(|one| one["person"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(people(&care), [Value::from(new.clone())]);

    let told = care.events("aco-cm", &id, 1);
    let care = care.kill_and_make_anew();
    care.wait_until_read(3);
    care.wait_for_events("aco-cm", &id, 4);
    care.wait_for_events("aco-cm", &hers, 1);
    assert_eq!(care.events("aco-cm", &id, 1)["entry"].as_array().unwrap()[1..], told["entry"].as_array().unwrap()[1..]);
    assert_eq!((people(&care), tasks(&care, &id)), (vec![Value::from(new)], done));
    care.gateway.stop();
}

#[test]
fn what_was_said_under_the_old_key_holds_and_what_was_told_can_be_read() {
    let web = receiver();
    let care = Care::start_of(&without_number(), "", &recipient("aco-cm", "full-resource", ""));
    let loops = care.subscribe("aco-cm", &subscription("open-loop", &web.address, "full-resource"));
    let stays = care.subscribe("aco-cm", &subscription("discharge", &web.address, "full-resource"));
    for id in [&loops, &stays] {
        care.wait_for_state("aco-cm", id, "active");
    }
    care.send(&[&of_these_days(M1), &of_these_days(M2)]);
    care.wait_for_events("aco-cm", &loops, 3);
    care.wait_for_events("aco-cm", &stays, 1);
    let old = whose(&tasks(&care, &loops));
    let encounters = |care: &Care| {
        let events = care.get("aco-cm", &format!("/fhir/Subscription/{stays}/$events?content=full-resource"));
        let entries = events["entry"].as_array().unwrap();
        entries.iter().filter(|entry| entry["resource"]["resourceType"] == "Encounter").count()
    };
    care.forbid("before", &old);
    take(&care, ROSTER);
    // The next stay is hers by the new key; what she said under the old one still forbids it.
    let again = |message: &str, id: &str| of_these_days(message).replace("V20260302001", "V2").replace("SB000", id);
    care.send(&[&again(M1, "SC000"), &again(M2, "SC000")]);
    care.wait_until_read(4);
    assert_eq!((tasks(&care, &loops).len(), encounters(&care)), (0, 0));
    care.forbid_no_more("before");
    assert_eq!(encounters(&care), 1, "the stay of before is told by whom it is known as now");
    assert_ne!(whose(&tasks(&care, &loops)), old);
    // The id that was told of her means her.
    care.forbid("after", &old);
    assert_eq!((tasks(&care, &loops).len(), encounters(&care)), (0, 0));
    let audit = command(care.gateway.folder(), &["audit", "verify"]);
    assert_eq!(audit.0, Some(0), "{}", audit.1);
    care.gateway.stop();
}
