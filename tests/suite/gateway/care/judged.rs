//! What a picture of a person says of where it comes from, and does not say, to those who may not see all of it; and documents of them for judges.
use super::pictured::*;
use super::*;
use std::collections::BTreeSet;

fn sections(summary: &Value) -> Vec<Value> {
    resources(summary)[0]["section"].as_array().unwrap().clone()
}

fn reasons(summary: &Value) -> Vec<String> {
    let code = |one: &Value| one["emptyReason"]["coding"][0]["code"].as_str().unwrap_or("-").to_owned();
    sections(summary).iter().map(code).collect()
}

/// Both operations, each closed and valid, and kept for judges.
fn judged(care: &Care, (case, who): (&str, &str), person: &str) -> [Value; 2] {
    ["summary", "everything"].map(|operation| {
        let bundle = care.get(who, &format!("/fhir/Patient/{person}/${operation}"));
        is_closed(&bundle);
        is_valid(&bundle);
        for_judges(&format!("{case}-{who}-{operation}"), &bundle);
        bundle
    })
}

/// The reference to the condition of a code.
fn condition(bundle: &Value, code: &str) -> String {
    let found = of_kind(bundle, "Condition").into_iter().find(|one| one["code"].to_string().contains(code));
    format!("Condition/{}", found.unwrap_or_else(|| panic!("{code} in {bundle}"))["id"].as_str().unwrap())
}

/// Of several messages each is named for what it told, and none for what stands beside something that was taken out.
#[test]
fn what_told_a_diagnosis_is_named_for_it_and_what_told_a_secret_for_nothing_that_is_shown() {
    let later = told(
        "ADT^A08^ADT_A01",
        "SB000120",
        "DG1|1||E11.9^Diabetes^I10C|||W\rDG1|2||I50.23^Acute on chronic systolic heart failure^I10C|||F\r",
    );
    let secret = told("ADT^A08^ADT_A01", "SB000150", "DG1|1||F10.20^Alcohol dependence^I10C|||W\r")
        .replace("|20260303101500-0500|", "|20260304101500-0500|");
    let recipients =
        recipient("aco-cm", "full-resource", "") + &recipient("cleared", "full-resource", "clear = [\"SUD\"]");
    let (care, person) = start(&recipients, &[M1.to_owned(), later, secret]);
    for bundle in judged(&care, ("sources", "aco-cm"), &person) {
        is_clean("what is shown", &bundle.to_string());
        let told = told_by(&bundle);
        let of = |code: &str| told.get(&condition(&bundle, code)).cloned().unwrap_or_default();
        assert_eq!(of("I10\""), ["SB000101"], "{told:?}");
        assert_eq!(of("E11.9"), ["SB000120"], "{told:?}");
        let heart: BTreeSet<_> = of("I50.23").into_iter().collect();
        assert!(!heart.is_empty() && heart.iter().all(|one| one == "SB000101" || one == "SB000120"), "{told:?}");
    }
    let path = format!("/fhir/Patient/{person}/$summary");
    let problems = sections(&care.get("aco-cm", &path))[2]["text"]["div"].as_str().unwrap().to_owned();
    assert!(problems.contains("2026-03-02") && problems.contains("2026-03-03"), "{problems}");
    assert!(!problems.contains("2026-03-04"), "the day of the secret: {problems}");
    let whole = care.get("cleared", &path);
    assert_eq!(told_by(&whole)[&condition(&whole, "F10.20")], ["SB000150"]);
    assert!(sections(&whole)[2]["text"]["div"].as_str().unwrap().contains("2026-03-04"));
    care.gateway.stop();
}

/// Of a type that a policy never shows it is not said that nobody knows of any; and no document claims to be what it cannot be.
#[test]
fn whoever_gets_the_least_is_told_that_the_rest_is_withheld() {
    let recipients = recipient("least", "full-resource", "fields_profile = \"cop-minimum\"")
        + &recipient("all", "full-resource", "")
        + &recipient("wordless", "full-resource", "unstructured = \"withhold\"")
        + &recipient("strict", "full-resource", "deny_action = \"drop-event\"");
    let later = M2.to_owned() + "DG1|3||F10.20^Alcohol dependence^I10C|||F\r";
    let mut messages = story();
    messages.push(later.replace("SB000188", "SB000189"));
    let (care, person) = start(&recipients, &messages);
    let [summary, everything] = judged(&care, ("policy", "least"), &person);
    assert_eq!(reasons(&summary), ["withheld", "withheld", "withheld", "withheld", "-", "unavailable", "withheld"]);
    assert!(!summary.to_string().contains("StructureDefinition/Bundle-uv-ips"), "nobody is born");
    assert!(!summary.to_string().contains("Composition-uv-ips"));
    for kind in ["AllergyIntolerance", "Condition", "MedicationRequest", "Observation", "CareTeam", "Appointment"] {
        assert!(of_kind(&everything, kind).is_empty() && of_kind(&summary, kind).is_empty(), "{kind}");
    }
    assert!(!everything.to_string().contains("19510314") && !everything.to_string().contains("1951-03-14"));
    for who in ["all", "wordless"] {
        let [summary, _] = judged(&care, ("policy", who), &person);
        assert_eq!(summary["meta"]["profile"].as_array().map(Vec::len), Some(1));
        assert_eq!(reasons(&summary)[..5], ["-"; 5], "{who}");
        is_clean(who, &summary.to_string());
    }
    let [summary, everything] = judged(&care, ("policy", "strict"), &person);
    is_clean("a dropped visit", &everything.to_string());
    assert_eq!(reasons(&summary)[2], "unavailable", "nothing says that there was something");
    assert!(!everything.to_string().contains("V20260302001"));
    care.gateway.stop();
}

/// A plan is of what is yet to come.
#[test]
fn an_appointment_of_the_past_is_no_plan() {
    let day = |days: i64| {
        let then = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).checked_add(jiff::Span::new().days(days));
        then.unwrap().strftime("%Y%m%d").to_string()
    };
    let booked = |id: &str, days: i64| {
        M4.replace("A77120", &format!("A{id}")).replace("CH000310", &format!("CH{id}")).replace("20260311", &day(days))
    };
    let messages = [M1.to_owned(), booked("1", -3), booked("2", 9)];
    let (care, person) = start(&recipient("aco-cm", "full-resource", ""), &messages);
    let [summary, everything] = judged(&care, ("plan", "aco-cm"), &person);
    assert_eq!(of_kind(&everything, "Appointment").len(), 2);
    let shown = of_kind(&summary, "Appointment");
    assert_eq!(shown.len(), 1, "{summary}");
    assert!(shown[0].to_string().contains("A2"), "{}", shown[0]);
    let page = care.visit("phi-reader").get(&format!("/people/{person}")).body;
    assert_eq!(page.matches("(past)").count(), 1, "{page}");
    care.gateway.stop();
}

#[test]
fn what_is_not_served_is_refused_and_who_is_nobody_is_answered_as_who_is_not_theirs() {
    let (care, person) = start(&recipient("aco-cm", "full-resource", ""), &[M1.to_owned()]);
    for operation in ["$summary", "$everything"] {
        let path = format!("/fhir/Patient/{person}/{operation}");
        for part in ["%5Fsince=2026-01-01", "profile=x", "_format=xml", "_count", "&identifier=7"] {
            let answer = care.ask("aco-cm", "GET", &format!("{path}?{part}"), None);
            assert_eq!(answer.status, 400, "{part}: {}", answer.body);
        }
        for part in ["", "_format=json", "_format=application/fhir%2Bjson&_pretty=true"] {
            care.get("aco-cm", &format!("{path}?{part}"));
        }
        let since = json!({ "resourceType": "Parameters", "parameter": [{ "name": "_since", "valueInstant": "2026-01-01T00:00:00Z" }] });
        assert_eq!(care.ask("aco-cm", "POST", &path, Some(&since)).status, 400);
    }
    let before = audit(&care).len();
    let nobody = "00000000-0000-5000-8000-000000000000";
    for path in ["/$summary", "/$everything", ""] {
        let answer = care.ask("aco-cm", "GET", &format!("/fhir/Patient/{nobody}{path}"), None);
        assert_eq!(answer.status, 404);
    }
    let all = audit(&care);
    assert_eq!(all.len(), before + 3, "each is noted, as it is of somebody else's patient");
    let (code, said) = command(care.gateway.folder(), &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    care.gateway.stop();
}

/// What is to be done for somebody in a panel of others is theirs to know.
#[test]
fn a_task_of_another_panel_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bh.csv");
    std::fs::write(&file, ROSTER).unwrap();
    let rest = format!(
        "[[coordination.loop]]\nuse = \"bh-discharge\"\npanels = [\"bh\"]\n[[coordination.panel]]\nid = \"bh\"\nkind = \"bh\"\nowner_npi = \"9990004043\"\ntz = \"America/New_York\"\nsource = {{ type = \"csv\", path = \"{}\", mode = \"supersede\" }}\ncolumns = {{ id = \"MBI\", id_system = \"http://hl7.org/fhir/sid/us-mbi\", family = \"LAST\", given = \"FIRST\", dob = \"DOB\", sex = \"SEX\", zip = \"ZIP\", phone = \"PHONE\", start = \"EFF\", end = \"TERM\", pcp_npi = \"PCP\", care_manager = \"CM\" }}\n",
        file.display()
    );
    let cleared = "clear = [\"PSY\"]";
    let both =
        recipient("both", "full-resource", cleared).replace("[\"aco-lakeshore\"]", "[\"aco-lakeshore\", \"bh\"]");
    let care = Care::start_with("", &(recipient("aco-cm", "full-resource", cleared) + &both), &rest);
    let now = jiff::Timestamp::now().strftime("%Y%m%d").to_string();
    let today = |message: &str| message.replace("20260302", &now).replace("20260305", &now);
    care.send(&[&today(M1), &(today(M2) + "DG1|3||F33.2^Major depressive disorder^I10C|||F\r")]);
    care.wait_until_read(2);
    let person = whose(&care);
    let tasks = |who: &str| -> Vec<String> {
        let [summary, everything] = judged(&care, ("tasks", who), &person);
        assert_eq!(of_kind(&summary, "Task").len(), of_kind(&everything, "Task").len());
        of_kind(&everything, "Task").into_iter().map(Value::to_string).collect()
    };
    let (theirs, all) = (tasks("aco-cm"), tasks("both"));
    assert!(!theirs.is_empty() && all.len() > theirs.len(), "{} and {}", theirs.len(), all.len());
    assert!(!theirs.iter().any(|one| one.contains("bh-discharge")), "{theirs:?}");
    assert!(all.iter().any(|one| one.contains("bh-discharge")), "{all:?}");
    care.gateway.stop();
}

/// Who forbids what happened on a day forbids what was told of it, whatever was told later of the same stay.
#[test]
fn a_day_that_is_forbidden_is_not_shown_with_the_days_around_it() {
    let on = |day: &str, id: &str, code: &str| {
        told("ADT^A08^ADT_A01", id, &format!("DG1|1||{code}^Something^I10C|||W\r"))
            .replace("|20260303101500-0500|", &format!("|{day}101500-0500|"))
    };
    let messages = [M1.to_owned(), on("20260303", "SB000120", "E11.9"), on("20260304", "SB000121", "E78.5")];
    let (care, person) = start(&recipient("aco-cm", "full-resource", ""), &messages);
    let path = format!("/fhir/Patient/{person}/$everything");
    let before = care.get("aco-cm", &path).to_string();
    assert!(before.contains("E11.9") && before.contains("E78.5"), "{before}");
    let deny = json!({
        "resourceType": "Consent", "id": "one-day", "status": "active",
        "scope": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": format!("Patient/{person}") },
        "provision": { "type": "deny", "dataPeriod": { "start": "2026-03-03T00:00:00-05:00", "end": "2026-03-03T23:59:59-05:00" } },
    });
    let said = care.ask("privacy-office", "PUT", "/fhir/Consent/one-day", Some(&deny));
    assert!(matches!(said.status, 200 | 201), "{}", said.body);
    let after = care.get("aco-cm", &path).to_string();
    assert!(!after.contains("E11.9"), "{after}");
    care.gateway.stop();
}

/// A feed that is named for a unit that is a secret is not named, whatever it tells.
#[test]
fn a_feed_whose_name_tells_a_secret_is_not_named() {
    let recipients = recipient("aco-cm", "full-resource", "")
        + &recipient("cleared", "full-resource", "clear = [\"SUD\", \"R\", \"V\"]");
    let rest = "[[coordination.label]]\ncode = \"DTX\"\nconf = \"R\"\nunits = [\"SBMC|DETOX\"]\n";
    let recipients = recipients.replace("\"V\"]", "\"V\", \"DTX\"]");
    let care = Care::start_with("", &recipients, rest);
    // With numbers of which only that feed, or the unit, says what they are.
    let numbers = "~77^^^LOCAL^PI~78^^^DETOX&2.999.7&ISO^PI~1EG4TE5MK73";
    let allergy = others()[0].replace("|SBADT|", "|DETOXADT|").replace("SB000111", "DETOX0111");
    let allergy = allergy.replace("~1EG4TE5MK73", numbers);
    care.send(&[M1, &allergy]);
    care.wait_until_read(2);
    let person = whose(&care);
    for (who, is_named) in [("aco-cm", false), ("cleared", true)] {
        for bundle in judged(&care, ("feeds", who), &person) {
            assert_eq!(of_kind(&bundle, "AllergyIntolerance").len(), 1, "{who}");
            let told = bundle.to_string();
            assert_eq!(told.contains("DETOX"), is_named, "{who}: {told}");
            assert_eq!(told.contains("urn:v2:DETOXADT.SBMC:LOCAL"), is_named, "{who}: {told}");
            assert!(told.contains("SBADT|SBMC"), "the other feed is");
        }
    }
    care.gateway.stop();
}
