//! `[coordination.sink]`: what happens to people of the rosters goes to a FHIR server as transactions, and nothing of it is lost while that is down.
use super::*;
use crate::gateway::web::taken;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn configured(address: &str) -> String {
    format!("[coordination.sink]\nfhir = \"http://{address}/fhir\"\nrecipient = \"repository\"\nbearer = \"sesame\"\n")
}

fn start(address: &str, keys: &str) -> Care {
    Care::start_with("attempts_max = 3", &recipient("repository", "full-resource", keys), &configured(address))
}

fn entries(transaction: &Value) -> Vec<(String, Value)> {
    let entry = |one: &Value| (one["request"]["url"].as_str().unwrap().to_owned(), one["resource"].clone());
    transaction["entry"].as_array().unwrap().iter().map(entry).collect()
}

/// The transactions that a server has been sent.
fn sent(web: &Web) -> Vec<Value> {
    web.requests().iter().map(Request::json).collect()
}

#[test]
fn what_happens_is_written_to_a_server_also_after_it_was_down() {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    // Down for longer than any client is waited for.
    let web = Web::start(move |request| {
        if count.fetch_add(1, Ordering::SeqCst) < 6 { says("503 Service Unavailable") } else { taken(request) }
    });
    let care = start(&web.address, "clear = [\"PSY\"]\nconsent_required = [\"SUD\"]");
    let secret = M2.to_owned() + "DG1|3||F10.20^Alcohol dependence^I10C|||F\r";
    care.send(&[M1, &secret]);
    let all = wait_for("both events", || {
        let all = sent(&web);
        (all.last().is_some_and(|last| last.to_string().contains("finished"))).then_some(all)
    });
    assert!(all.len() >= 8, "{} attempts", all.len());
    let (first, last) = (&all[0], all.last().unwrap());
    assert!(all[..7].iter().all(|one| one == first), "in its order: the first until it is taken");
    assert_eq!((first["type"].as_str(), first["resourceType"].as_str()), (Some("transaction"), Some("Bundle")));
    let request = &web.requests()[0];
    assert!(request.head.to_ascii_lowercase().contains("authorization: bearer sesame"), "{}", request.head);
    let patient = entries(first).into_iter().find(|(_, resource)| resource["resourceType"] == "Patient").unwrap();
    assert_eq!(patient.0, format!("Patient/{}", patient.1["id"].as_str().unwrap()));
    let visit = |of: &Value| entries(of).into_iter().find(|(_, one)| one["resourceType"] == "Encounter").unwrap();
    assert_eq!(visit(first).0, visit(last).0, "the same resource is written again");
    assert!(visit(first).0.starts_with("Encounter/"));
    for one in &all {
        assert!(!one.to_string().contains("F10.20") && !one.to_string().contains("Alcohol"));
    }
    let disclosed = audit(&care).iter().filter(|one| one.to_string().contains("repository")).count();
    assert!(disclosed >= 8, "each attempt is audited: {disclosed}");
    // Clients leave it alone, and make none like it.
    let gone = care.ask("repository", "DELETE", "/fhir/Subscription/coordination-sink", None);
    assert_eq!(gone.status, 409, "{}", gone.body);
    let mut like = subscription("admission", &web.address, "full-resource");
    like["channel"]["_type"] = json!({ "extension": [{ "url": format!("{EXTENSIONS}backport-channel-type"), "valueCoding": { "code": "fhir-transaction" } }] });
    assert_eq!(care.ask("repository", "POST", "/fhir/Subscription", Some(&like)).status, 422);
    // It goes on where it was.
    let before = sent(&web).len();
    let care = care.kill_and_restart(None);
    care.send(&[M5]);
    wait_for("the next", || sent(&web).iter().skip(before).any(|one| one.to_string().contains("CLINIC")).then_some(()));
    assert!(!care.gateway.log().contains("sesame"));
    care.gateway.stop();
}

/// What of a transaction the tests look at: the message that it comes of.
fn is_of(transaction: &Value, name: &str, is_over: bool) -> bool {
    let text = transaction.to_string();
    text.contains(name) && text.contains("\"finished\"") == is_over
}

/// Somebody else's.
fn other(message: &str) -> String {
    let changes = [
        ("00718243^^^SBMC", "00718244^^^SBMC"),
        ("1EG4TE5MK73", "1EG4TE5MK74"),
        ("OKAFOR^MARISOL", "ZEPHYRINE^CASIMIR"),
        ("|19510314|F|", "|19600701|M|"),
        ("V20260302001", "V20260302002"),
        ("SB000101", "SB000102"),
    ];
    changes.iter().fold(message.to_owned(), |message, (from, to)| message.replace(from, to))
}

#[test]
fn outages_and_pages_that_prove_nothing_count_against_no_event() {
    let web = Web::start(|request| match request.earlier {
        0..=3 => says("503 Service Unavailable"),
        4 => says("429 Too Many Requests"),
        5 => ("200 OK", String::new(), "<html>sign in</html>".into()),
        6 => says("409 Conflict"),
        7 => says("412 Precondition Failed"),
        8 => says("423 Locked"),
        _ => taken(request),
    });
    let care = start(&web.address, "");
    care.send(&[M1, M2]);
    let all = wait_for("the discharge", || {
        let all = sent(&web);
        all.last().is_some_and(|last| is_of(last, "OKAFOR", true)).then_some(all)
    });
    let admissions = all.iter().filter(|one| is_of(one, "OKAFOR", false)).count();
    assert_eq!((admissions, all.len()), (10, 11), "the admission until it is taken, and then what comes behind it");
    assert!(!care.gateway.log().contains("given up"), "{}", care.gateway.log());
    care.gateway.stop();
}

#[test]
fn what_a_server_refuses_holds_up_that_patient_alone_and_is_found() {
    let web = Web::start(|request| {
        if is_of(&request.json(), "OKAFOR", false) { says("422 Unprocessable Entity") } else { taken(request) }
    });
    let care = start(&web.address, "");
    care.send(&[M1, &other(M1), M2]);
    let all = wait_for("the discharge", || {
        let all = sent(&web);
        all.iter().any(|one| is_of(one, "OKAFOR", true)).then_some(all)
    });
    let places = |name: &str, is_over: bool| -> Vec<usize> {
        all.iter().enumerate().filter(|(_, one)| is_of(one, name, is_over)).map(|(at, _)| at).collect()
    };
    let (refused, others, after) = (places("OKAFOR", false), places("ZEPHYRINE", false), places("OKAFOR", true));
    assert_eq!((refused.len(), others.len(), after.len()), (3, 1, 1));
    assert!(others[0] < refused[2], "nobody else waits: {refused:?}, {others:?}");
    assert!(after[0] > refused[2], "what comes later of that patient waits: {refused:?}, {after:?}");
    let log = care.gateway.log();
    assert!(log.contains("it is given up") && log.contains("status=422") && log.contains("event=1"), "{log}");
    assert!(!log.contains("OKAFOR"));
    let page = care.visit("viewer").get("/subscriptions/coordination-sink").body;
    assert!(page.contains("given up") && page.contains("422"), "{page}");
    // It stays found.
    let care = care.kill_and_restart(None);
    assert!(care.visit("viewer").get("/subscriptions/coordination-sink").body.contains("given up"));
    assert_eq!(sent(&web).len(), all.len(), "and is not sent again, over what is newer");
    care.gateway.stop();
}

#[test]
fn no_record_is_found_by_a_number_that_others_share_and_less_is_never_put_over_more() {
    let web = Web::start(taken);
    let care = start(&web.address, "");
    let shared = M1.replace("00718243^^^SBMC", "FAM778^^^MEDICAID&2.16.1&ISO^MA~123456789^^^SSA^SS~00718243^^^SBMC");
    let merge = "MSH|^~\\&|SBADT|SBMC|HANDOFF|EXCHANGE|20260307100000-0500||ADT^A40^ADT_A39|SB000300|P|2.5.1\rEVN|A40|20260307100000-0500\r\
        PID|1||FAM778^^^MEDICAID&2.16.1&ISO^MA~00718243^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR~1EG4TE5MK73^^^CMS&2.16.840.1.113883.4.927&ISO^MC||OKAFOR^MARISOL||19510314|F\r\
        MRG|FAM778^^^MEDICAID&2.16.1&ISO^MA~00718299^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR\r";
    care.send(&[&shared, M2, M3, merge]);
    let all = wait_for("all four", || Some(sent(&web)).filter(|all| all.len() >= 4));
    assert_eq!(all.len(), 4);
    let urls = |at: usize, kind: &str| -> Vec<String> {
        let of_kind = entries(&all[at]).into_iter().filter(|(_, one)| one["resourceType"] == kind);
        of_kind.map(|(url, _)| url).collect()
    };
    let patient = urls(0, "Patient");
    assert!(patient.len() == 1 && patient[0].starts_with("Patient/"), "{patient:?}");
    assert_eq!(urls(1, "Patient"), patient, "the same of all messages of a feed");
    let merged = urls(3, "Patient");
    assert!(merged.len() == 2 && merged.contains(&patient[0]), "{merged:?}");
    for entry in all.iter().flat_map(|one| one["entry"].as_array().unwrap()) {
        let request = entry["request"].to_string();
        assert!(!["FAM778", "123456789", "00718243"].iter().any(|number| request.contains(number)), "{request}");
        let is_known = entry["resource"]["resourceType"] == "Practitioner"
            && entry["resource"]["identifier"][0]["system"].is_string();
        assert!(!is_known || request.contains("ifNoneExist"), "{request}");
    }
    assert!(urls(0, "Practitioner").contains(&"Practitioner".to_owned()), "made where it is not known: {}", all[0]);
    assert_eq!((urls(0, "Encounter").len(), urls(1, "Encounter").len()), (1, 1));
    assert!(urls(2, "Encounter").is_empty(), "a document does not say how the visit stands: {}", all[2]);
    let document = entries(&all[2]).into_iter().find(|(_, one)| one["resourceType"] == "DocumentReference").unwrap();
    assert_eq!(document.1["context"]["encounter"][0]["identifier"]["value"], "V20260302001", "{}", document.1);
    care.gateway.stop();
}

/// A server that asks to be left alone is; what waited meanwhile goes there with the token of now, and says no more of the stay than it knows.
#[test]
fn a_server_rests_as_long_as_it_asks_and_gets_what_waited_with_the_token_of_now() {
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (noted, open) = (Arc::clone(&times), Arc::new(AtomicUsize::new(0)));
    let is_open = Arc::clone(&open);
    let web = Web::start(move |request| {
        noted.lock().unwrap().push(std::time::Instant::now());
        match (request.earlier, is_open.load(Ordering::SeqCst)) {
            (0, _) => ("429 Too Many Requests", "Retry-After: 2\r\n".into(), String::new()),
            (_, 0) => says("401 Unauthorized"),
            _ => taken(request),
        }
    });
    let care = start(&web.address, "");
    care.send(&[M1, M2, &super::pictured::others()[2]]);
    let times = wait_for("a second attempt", || {
        let times = times.lock().unwrap();
        (times.len() >= 2).then(|| times.clone())
    });
    let rested = times[1] - times[0];
    assert!(rested >= std::time::Duration::from_millis(1_900), "{rested:?}");
    let file = care.gateway.folder().join("handoff.toml");
    let care = care.kill_and_restart_after(|| {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("bearer = \"sesame\"", "bearer = \"open-sesame\"")).unwrap();
        open.store(web.requests().len(), Ordering::SeqCst);
    });
    let all = wait_for("all three", || {
        let all = web.requests();
        let from = open.load(Ordering::SeqCst).min(all.len());
        let after: Vec<Request> = all.into_iter().skip(from).collect();
        (after.len() >= 3).then_some(after)
    });
    for request in &all {
        assert!(request.head.to_ascii_lowercase().contains("authorization: bearer open-sesame"), "{}", request.head);
    }
    let kinds = |at: usize| -> Vec<String> {
        let all = entries(&all[at].json());
        all.into_iter().map(|(_, one)| one["resourceType"].as_str().unwrap().to_owned()).collect()
    };
    let has = |at: usize, kind: &str| kinds(at).iter().any(|one| one == kind);
    assert!(has(0, "Encounter") && has(1, "Encounter"), "{:?}", kinds(0));
    assert!(has(2, "Observation") && !has(2, "Encounter"), "{:?}", kinds(2));
    care.gateway.stop();
}

#[test]
fn it_does_not_start_without_a_policy() {
    let refused = |sink: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lakeshore.csv"), ROSTER).unwrap();
        let text = configuration(
            folder.path(),
            "",
            &(recipient("ids", "id-only", "")
                + &recipient("all", "full-resource", "")
                + &recipient("nobodys", "full-resource", "").replace("[\"aco-lakeshore\"]", "[]")),
        );
        std::fs::write(folder.path().join("handoff.toml"), text + sink).unwrap();
        let (code, said) = command(folder.path(), &["check"]);
        assert!(code != Some(0) && said.contains(expected), "{said}");
    };
    refused("[coordination.sink]\nfhir = \"https://a.example/fhir\"\n", "needs recipient");
    refused(
        "[coordination.sink]\nfhir = \"https://a.example/fhir\"\nrecipient = \"who\"\n",
        "there is no [[coordination.recipient]]",
    );
    refused("[coordination.sink]\nfhir = \"https://a.example/fhir\"\nrecipient = \"ids\"\n", "full-resource");
    refused("[coordination.sink]\nfhir = \"http://a.example/fhir\"\nrecipient = \"all\"\n", "not encrypted");
    refused("[coordination.sink]\nrecipient = \"all\"\n", "needs fhir");
    let to = |rest: &str| format!("[coordination.sink]\nfhir = \"https://a.example/fhir\"\n{rest}\n");
    refused(&to("recipient = \"nobodys\""), "needs panels");
    for bearer in ["two words", "naïve", &"x".repeat(5000)] {
        refused(&to(&format!("recipient = \"all\"\nbearer = \"{bearer}\"")), "bearer must be a token");
    }
    refused(&to("recipient = \"all\"\nbearer = \"\""), "bearer is empty");
}
