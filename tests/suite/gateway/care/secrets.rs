//! What is sensitive does not leave for those who may not see it, by any way: notifications, `$events`, reads, errors, the log, metrics and the index.
use super::*;

/// A discharge with a depression and an addiction, of somebody with a name that is found nowhere else.
fn discharge(control_id: &str, visit: &str) -> String {
    M2.replace("SB000188", control_id).replace("V20260302001", visit).replace("LAKESHORE^NY", "KANARIENDORF^NY")
        + "DG1|2||F33.2^Major depressive disorder, recurrent severe^I10C|||F\rDG1|3||F10.20^Alcohol dependence, uncomplicated^I10C|||F\r"
}

/// Text in which nothing of an addiction may stand.
fn is_clean(what: &str, text: &str) {
    let lower = text.to_ascii_lowercase();
    for secret in ["f10.20", "f1020", "alcohol"] {
        assert!(!lower.contains(secret), "{secret} in {what}: {text}");
    }
}

/// Nothing of a patient at all.
fn is_of_nobody(what: &str, text: &str) {
    is_clean(what, text);
    for secret in ["OKAFOR", "MARISOL", "1EG4TE5MK73", "00718243", "KANARIENDORF", "19510314", "1951-03-14"] {
        assert!(!text.contains(secret), "{secret} in {what}");
    }
}

fn bodies(web: &Web) -> String {
    web.requests()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Entries that say that something was withheld from somebody.
fn suppressions(care: &Care, who: &str) -> usize {
    let all = audit(care);
    all.iter().filter(|entry| entry.to_string().contains("suppress") && entry.to_string().contains(who)).count()
}

/// The log, metrics and index of a gateway, which is stopped.
fn nothing_leaked(care: Care) {
    is_of_nobody("metrics", &care.metrics());
    let folder = care.gateway.folder().to_owned();
    let (code, said) = command(&folder, &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    is_of_nobody("what audit verify says", &said);
    let all = audit(&care).iter().map(Value::to_string).collect::<String>();
    is_of_nobody("the audit", &all);
    let data = care.gateway.data();
    is_of_nobody("the log", &care.gateway.stop());
    // Names are found by search; what somebody suffers from is not.
    for file in ["index.sqlite", "index.sqlite-wal"] {
        let bytes = std::fs::read(data.join(file)).unwrap_or_default();
        is_clean(file, &String::from_utf8_lossy(&bytes));
    }
}

const PSYCHIATRY: &str = "clear = [\"PSY\"]\nconsent_required = [\"SUD\"]";

#[test]
fn an_addiction_is_taken_out_and_a_depression_is_told() {
    let (web, of_other) = (receiver(), receiver());
    let recipients = recipient("aco-cm", "full-resource", PSYCHIATRY) + &recipient("other", "full-resource", "");
    let care = Care::start("", &recipients);
    let id = care.subscribe("aco-cm", &subscription("discharge", &web.address, "full-resource"));
    let other = care.subscribe("other", &subscription("discharge", &of_other.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    care.wait_for_state("other", &other, "active");
    care.send(&[&discharge("SB000188", "V20260302001")]);
    let told = wait_for("the notification", || notifications(&web.requests(), "event-notification").pop());
    let to_other = wait_for("the other", || notifications(&of_other.requests(), "event-notification").pop());
    assert!(told.to_string().contains("F33.2") && told.to_string().contains("OKAFOR"), "{told}");
    assert!(to_other.to_string().contains("I50.23") && !to_other.to_string().contains("F33.2"), "{to_other}");
    let encounter = told["entry"].as_array().unwrap().iter().find(|one| one["resource"]["resourceType"] == "Encounter");
    let encounter = encounter.unwrap()["resource"].clone();
    for text in [bodies(&web), bodies(&of_other)] {
        is_clean("notifications", &text);
    }
    is_clean("$events", &care.events("aco-cm", &id, 1).to_string());
    is_clean("$events", &care.events("other", &other, 1).to_string());
    // All that it was told of is read without it too, and there is no more to be read.
    for entry in told["entry"].as_array().unwrap().iter().skip(1) {
        let read = care.get("aco-cm", &format!("/fhir/{}", entry["request"]["url"].as_str().unwrap()));
        is_clean("a read", &read.to_string());
    }
    assert!(encounter["diagnosis"].as_array().is_none_or(|all| all.len() <= 2), "{encounter}");
    nothing_leaked(care);
}

#[test]
fn a_stay_where_addictions_are_treated_is_a_secret_itself() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "full-resource", PSYCHIATRY));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    let there = M1.replace("SBMC", "LAKERECOV").replace("SB000101", "LR000001").replace("V20260302001", "VLR001")
        + "DG1|3||F10.20^Alcohol dependence, uncomplicated^I10C|||F\r";
    care.send(&[&there]);
    care.wait_until_read(1);
    wait_for("the audit", || (suppressions(&care, "aco-cm") > 0).then_some(()));
    // A stay elsewhere that comes behind is told: nothing is on its way any more.
    care.send(&[M1]);
    let told = wait_for("the other stay", || notifications(&web.requests(), "event-notification").pop());
    assert_eq!(events_in(&told)[0].0, 1, "the number of the one that was withheld is nobody's");
    assert_eq!((notifications(&web.requests(), "event-notification").len(), suppressions(&care, "aco-cm")), (1, 1));
    assert!(!bodies(&web).contains("LAKERECOV") && !bodies(&web).contains("VLR001"));
    assert!(!care.events("aco-cm", &id, 1).to_string().contains("LAKERECOV"));
    is_clean("notifications", &bodies(&web));
    nothing_leaked(care);
}

fn consent(person: &str, status: &str) -> Value {
    json!({
        "resourceType": "Consent", "id": "sud-1", "status": status,
        "scope": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": format!("Patient/{person}") },
        "provision": {
            "type": "permit",
            "actor": [{
                "role": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP" }] },
                "reference": { "reference": "Organization/aco-cm" },
            }],
            "securityLabel": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "SUD" }],
        },
    })
}

#[test]
fn a_consent_lets_it_through_and_its_end_withholds_what_was_told() {
    let web = receiver();
    let keys = "clear = [\"PSY\"]\nconsent_required = [\"SUD\"]\ndeny_action = \"drop-event\"";
    let recipients = recipient("aco-cm", "full-resource", PSYCHIATRY) + &recipient("strict", "full-resource", keys);
    let care = Care::start("", &recipients);
    let id = care.subscribe("aco-cm", &subscription("discharge", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[&discharge("SB000188", "V20260302001")]);
    let told = wait_for("the first", || notifications(&web.requests(), "event-notification").pop());
    is_clean("the first", &told.to_string());
    let person = person(&care);

    for (who, status) in [("aco-cm", 401), ("nobody", 401), ("privacy-office", 200)] {
        let answer = care.ask(who, "PUT", "/fhir/Consent/sud-1", Some(&consent(&person, "active")));
        assert_eq!(answer.status, status, "{who}: {}", answer.body);
    }
    assert_eq!(care.get("privacy-office", "/fhir/Consent/sud-1")["status"], "active");
    care.send(&[&discharge("SB000189", "V20260310001")]);
    let told = wait_for("the second", || notifications(&web.requests(), "event-notification").into_iter().nth(1));
    assert!(told.to_string().contains("F10.20") && told.to_string().contains("F33.2"), "{told}");
    assert_eq!(events_in(&told)[0].0, 2);
    assert!(care.events("aco-cm", &id, 2).to_string().contains("F10.20"));

    // Nothing is to go to this recipient any more: numbers are left.
    let mut forbidden = consent(&person, "active");
    forbidden["provision"]["type"] = "deny".into();
    forbidden["provision"].as_object_mut().unwrap().remove("securityLabel");
    assert_eq!(care.ask("privacy-office", "PUT", "/fhir/Consent/sud-1", Some(&forbidden)).status, 200);
    let events = care.events("aco-cm", &id, 1);
    let numbers: Vec<_> = events_in(&events).iter().map(|(number, _)| *number).collect();
    assert_eq!((numbers, events["entry"].as_array().unwrap().len()), (vec![1, 2], 1), "{events}");
    is_of_nobody("$events", &events.to_string());
    for entry in told["entry"].as_array().unwrap().iter().skip(1) {
        let path = format!("/fhir/{}", entry["request"]["url"].as_str().unwrap());
        let answer = care.ask("aco-cm", "GET", &path, None);
        assert_eq!(answer.status, 404, "{path}");
        is_of_nobody("the error", &answer.body);
    }
    // A permit that was revoked: what carries a label is withheld, the rest is not.
    assert_eq!(
        care.ask("privacy-office", "PUT", "/fhir/Consent/sud-1", Some(&consent(&person, "inactive"))).status,
        200
    );
    let events = care.events("aco-cm", &id, 1);
    is_clean("$events", &events.to_string());
    assert!(events.to_string().contains("F33.2"), "{events}");
    let log = care.gateway.log();
    is_of_nobody("the log", &log);
    nothing_leaked(care);
}

/// The id of the only person that anything was audited of.
fn person(care: &Care) -> String {
    let folder = care.gateway.data();
    let all: Vec<String> = database(&folder)
        .prepare("SELECT DISTINCT lower(hex(person)) FROM telling")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let [one] = all.as_slice() else { panic!("{all:?}") };
    format!("{}-{}-{}-{}-{}", &one[..8], &one[8..12], &one[12..16], &one[16..20], &one[20..])
}
