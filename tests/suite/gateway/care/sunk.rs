//! `[coordination.sink]`: what happens to people of the rosters goes to a FHIR server as transactions, and nothing of it is lost while that is down.
use super::*;
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
    let web = Web::start(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < 6 { says("503 Service Unavailable") } else { says("200 OK") }
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
    assert!(patient.0.starts_with("Patient?identifier=") && patient.1.get("id").is_none(), "{}", patient.0);
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

#[test]
fn what_a_server_refuses_is_told_and_holds_nothing_up() {
    let web = Web::start(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("finished") { says("200 OK") } else { says("422 Unprocessable Entity") }
    });
    let care = start(&web.address, "");
    care.send(&[M1, M2]);
    wait_for("the second", || sent(&web).iter().any(|one| one.to_string().contains("finished")).then_some(()));
    assert_eq!(sent(&web).iter().filter(|one| !one.to_string().contains("finished")).count(), 3);
    let log = care.gateway.log();
    assert!(log.contains("refuses an event") && log.contains("status=422") && log.contains("event=1"), "{log}");
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
            &(recipient("ids", "id-only", "") + &recipient("all", "full-resource", "")),
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
}
