//! Two numbers of one patient: a merge takes what is open along, for those who look after both, and an unlink brings it back.
use super::*;

/// The same woman, registered twice; the second time by a number that the hospital mistyped.
pub const TWICE: &str = "1EG4TE5MK75,OKAFOR,MARISOL,1951-03-14,F,14150,7165550142,2026-01-01,,9990003037,cm-ortega\n";

/// `PID` names who she is, `MRG` who she was.
pub fn identity(trigger: &str, control_id: &str) -> String {
    let structure = if trigger == "A40" { "ADT_A39" } else { "ADT_A37" };
    let pid =
        |number: &str| format!("PID|1||{number}^^^CMS&2.16.840.1.113883.4.927&ISO^MC||OKAFOR^MARISOL^A||19510314|F\r");
    let (ours, theirs) = (pid("1EG4TE5MK73"), "1EG4TE5MK75^^^CMS&2.16.840.1.113883.4.927&ISO^MC");
    let other = if trigger == "A40" { format!("MRG|{theirs}\r") } else { pid("1EG4TE5MK75") };
    format!(
        "MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|20260312091500-0400||ADT^{trigger}^{structure}|{control_id}|P|2.5.1\rEVN|{trigger}|20260312091500-0400\r{ours}{other}"
    )
}

/// A message of the story about whom she is registered as twice.
pub fn of_the_other(message: &str) -> String {
    message.replace("1EG4TE5MK73", "1EG4TE5MK75").replace("00718243", "00918243")
}

/// The Tasks of which a subscription tells: id, and for whom.
fn tasks(care: &Care, who: &str, id: &str) -> Vec<(String, String)> {
    let events = care.get(who, &format!("/fhir/Subscription/{id}/$events?content=full-resource"));
    let resources = events["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]);
    let tasks = resources.filter(|resource| resource["resourceType"] == "Task");
    let mut tasks: Vec<_> = tasks
        .map(|task| (task["id"].as_str().unwrap().to_owned(), task["for"]["reference"].as_str().unwrap().to_owned()))
        .collect();
    tasks.sort();
    tasks.dedup();
    tasks
}

/// For whom a Task is, read by its id.
fn read(care: &Care, who: &str, task: &str) -> String {
    let task = care.get(who, &format!("/fhir/Task/{task}"));
    task["for"]["reference"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

/// Waits until all Tasks are for one person; who that is.
fn wait_for_one(care: &Care, id: &str, told: &[(String, String)], other: Option<&str>) -> String {
    let of = |reference: &str| reference.rsplit('/').next().unwrap().to_owned();
    wait_for("all of it to be somebody's", || {
        let now = tasks(care, "aco-cm", id);
        let people: std::collections::BTreeSet<_> = now.iter().map(|(_, whose)| of(whose)).collect();
        let person = people.first().filter(|person| people.len() == 1 && Some(person.as_str()) != other)?;
        (now.len() >= told.len()).then(|| person.clone())
    })
}

#[test]
fn a_merge_takes_what_was_told_along_and_an_unlink_brings_it_back() {
    let web = receiver();
    let care = Care::start_of(&format!("{ROSTER}{TWICE}"), "", &recipient("aco-cm", "full-resource", ""));
    let id = care.subscribe("aco-cm", &subscription("open-loop", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[&of_the_other(M1), &of_the_other(M2)]);
    care.wait_until_read(2);
    let told = wait_for("what is overdue", || Some(tasks(&care, "aco-cm", &id)).filter(|told| told.len() >= 3));
    let before = wait_for_one(&care, &id, &told, None);
    assert_eq!(read(&care, "aco-cm", &told[0].0), before);

    care.send(&[&identity("A40", "SB000900")]);
    let survivor = wait_for_one(&care, &id, &told, Some(&before));
    let ids = |tasks: &[(String, String)]| tasks.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&tasks(&care, "aco-cm", &id)), ids(&told), "the same Tasks, none twice");
    for (task, _) in &told {
        assert_eq!(read(&care, "aco-cm", task), survivor);
    }
    // What the patient said before is still hers.
    care.forbid("no", &before);
    assert!(tasks(&care, "aco-cm", &id).is_empty());
    care.forbid_no_more("no");
    assert_eq!(ids(&tasks(&care, "aco-cm", &id)), ids(&told));

    care.send(&[&identity("A37", "SB000901")]);
    assert_eq!(wait_for_one(&care, &id, &told, Some(&survivor)), before);
    let audit = command(care.gateway.folder(), &["audit", "verify"]);
    assert_eq!(audit.0, Some(0), "{}", audit.1);
    care.gateway.stop();
}

/// Whoever looks after only one of them is not told of what became the other's.
#[test]
fn who_does_not_look_after_both_sees_nothing_of_it_any_more() {
    let web = receiver();
    // Her other entry begins only after all of this.
    let later = ROSTER.replace(
        "1EG4TE5MK73,OKAFOR,MARISOL,1951-03-14,F,14150,7165550142,2026-01-01",
        "1EG4TE5MK73,OKAFOR,MARISOL,1951-03-14,F,14150,7165550142,2199-01-01",
    );
    let care = Care::start_of(&format!("{later}{TWICE}"), "", &recipient("aco-cm", "full-resource", ""));
    let id = care.subscribe("aco-cm", &subscription("open-loop", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[&of_the_other(M1), &of_the_other(M2)]);
    let told = wait_for("what is overdue", || Some(tasks(&care, "aco-cm", &id)).filter(|told| told.len() >= 3));
    care.send(&[&identity("A40", "SB000900")]);
    wait_for("nothing of it", || tasks(&care, "aco-cm", &id).is_empty().then_some(()));
    let answer = care.ask("aco-cm", "GET", &format!("/fhir/Task/{}", told[0].0), None);
    assert_eq!(answer.status, 404, "{}", answer.body);
    care.gateway.stop();
}

/// The stays of which a subscription tells, and the ids of the patients whose they are.
fn stays(care: &Care, id: &str, events: &str) -> (usize, Vec<String>) {
    let told = care.get("aco-cm", &format!("/fhir/Subscription/{id}/$events?content=full-resource{events}"));
    let of_type = |kind: &str| -> Vec<String> {
        let resources = told["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]);
        let found = resources.filter(|resource| resource["resourceType"] == kind);
        found.map(|resource| resource["id"].as_str().unwrap().to_owned()).collect()
    };
    (of_type("Encounter").len(), of_type("Patient"))
}

/// What a message says stays about whom it names; that person forbids it by whichever number.
#[test]
fn what_is_forbidden_of_one_number_is_of_the_other_until_they_are_two_again() {
    let web = receiver();
    let care = Care::start_of(&format!("{ROSTER}{TWICE}"), "", &recipient("aco-cm", "full-resource", ""));
    let id = care.subscribe("aco-cm", &subscription("discharge", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    let others = |message: &str| of_the_other(message).replace("V20260302001", "V2").replace("SB000", "SC000");
    care.send(&[&others(M1), &others(M2), M1, M2]);
    care.wait_for_events("aco-cm", &id, 2);
    let [other, survivor] = ["1", "2"].map(|number| {
        let (_, patients) = stays(&care, &id, &format!("&eventsSinceNumber={number}&eventsUntilNumber={number}"));
        patients.first().unwrap().clone()
    });
    assert_ne!(other, survivor);
    let told = |care: &Care| stays(care, &id, "").0;
    care.forbid("no", &survivor);
    assert_eq!(told(&care), 1, "they are two as yet");
    care.send(&[&identity("A40", "SB000900")]);
    wait_for("neither to be told", || (told(&care) == 0).then_some(()));
    care.forbid("no", &other);
    assert_eq!(told(&care), 0);
    // What comes then is withheld as well.
    let next = |message: &str| message.replace("V20260302001", "V3").replace("SB000", "SD000");
    care.send(&[&next(M1), &next(M2)]);
    care.wait_until_read(7);
    assert_eq!(told(&care), 0);
    care.wait_for_events("aco-cm", &id, 2);
    care.send(&[&identity("A37", "SB000901")]);
    wait_for("the one who forbids nothing to be told of", || (told(&care) == 1).then_some(()));
    care.forbid_no_more("no");
    assert_eq!(told(&care), 2);
    care.gateway.stop();
}
