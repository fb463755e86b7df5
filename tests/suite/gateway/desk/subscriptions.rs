//! Subscriptions as whoever runs the gateway sees them: how they stand, what was sent, a test.
use super::Desk;
use crate::gateway::care::{self, M2};
use crate::gateway::http::ask_with;
use crate::gateway::process::{Peer, wait_for};
use crate::gateway::web::Web;
use serde_json::Value;

/// Coordinated care with a desk, and the address of its FHIR interface.
fn with_care() -> (Desk, String, tempfile::TempDir) {
    let rosters = tempfile::tempdir().unwrap();
    std::fs::write(rosters.path().join("lakeshore.csv"), care::ROSTER).unwrap();
    let all = care::configuration(rosters.path(), "", &care::recipient("aco-cm", "id-only", ""));
    // The desk writes the section of its own.
    let rest = &all[all.find("[coordination]").unwrap()..];
    let desk = Desk::start("", rest);
    let fhir = care::address(&desk.gateway, "fhir");
    (desk, fhir, rosters)
}

fn put(fhir: &str, id: &str, subscription: &Value) {
    let mut subscription = subscription.clone();
    subscription["id"] = id.into();
    let bearer = format!("Authorization: Bearer {}", care::token("aco-cm"));
    let headers = [bearer.as_str(), "Content-Type: application/fhir+json"];
    let answer = ask_with(fhir, "PUT", &format!("/fhir/Subscription/{id}"), &headers, &subscription.to_string());
    assert_eq!(answer.status, 201, "{}", answer.body);
}

#[test]
fn who_is_told_of_what_and_whether_it_arrives() {
    let web = care::receiver();
    let deaf = Web::start(|_| care::says("500 Internal Server Error"));
    let (desk, fhir, _rosters) = with_care();
    put(&fhir, "discharges", &care::subscription("discharge", &format!("{}/secret-path", web.address), "id-only"));
    put(&fhir, "lost", &care::subscription("admission", &deaf.address, "id-only"));
    let operator = desk.sign_in("operator");
    let page = wait_for("both", || {
        let page = operator.get("/subscriptions").body;
        (page.contains("state good\">active") && page.contains("state bad\">error")).then_some(page)
    });
    assert!(page.contains("aco-cm") && page.contains("discharge") && page.contains("Group/aco-lakeshore"), "{page}");
    assert!(page.contains(&web.address) && !page.contains("secret-path"), "{page}");
    assert!(page.contains("does not take notifications") || page.contains("does not answer"), "{page}");
    let failing = operator.get("/subscriptions?status=error&who=aco-cm").body;
    assert!(failing.contains("/subscriptions/lost") && !failing.contains("/subscriptions/discharges"), "{failing}");

    let mut peer = Peer::connect(&desk.gateway);
    peer.exchange(M2);
    let one = wait_for("the event", || {
        let page = operator.get("/subscriptions/discharges").body;
        page.contains("state good\">settled").then_some(page)
    });
    assert!(one.contains("Events since it began") && one.contains("href=\"/messages/1\""), "{one}");
    for hidden in ["OKAFOR", "1EG4TE5MK73", "secret-path"] {
        assert!(!one.contains(hidden) && !page.contains(hidden), "{hidden}");
    }

    let tested = operator.act("/subscriptions/discharges/self-test", "").body;
    assert!(tested.contains("The test arrived.") && tested.contains("the endpoint answered 200"), "{tested}");
    let not = operator.act("/subscriptions/lost/self-test", "").body;
    assert!(not.contains("The test did not arrive.") && not.contains("the endpoint answered 500"), "{not}");
    assert_eq!(desk.sign_in("viewer").act("/subscriptions/lost/self-test", "").status, 403);
    assert_eq!(operator.get("/subscriptions/none").status, 404);
    assert!(desk.gateway.stop().contains("subscription tested"));
}

/// As every other deed: what cannot be noted is not done.
#[test]
fn a_test_that_cannot_be_noted_is_not_sent() {
    let web = care::receiver();
    let (desk, fhir, _rosters) = with_care();
    // Before anybody has done anything the folder is not there yet.
    let access = desk.gateway.data().join("access");
    std::fs::write(&access, "no folder").unwrap();
    put(&fhir, "discharges", &care::subscription("discharge", &web.address, "id-only"));
    let operator = desk.sign_in("operator");
    wait_for("the handshake", || operator.get("/subscriptions").body.contains("state good\">active").then_some(()));
    let received = || web.requests().len();
    let before = received();
    let tested = operator.act("/subscriptions/discharges/self-test", "");
    assert_eq!((tested.status, received()), (503, before), "{}", tested.body);
    std::fs::remove_file(&access).unwrap();
    assert!(operator.act("/subscriptions/discharges/self-test", "").body.contains("The test arrived."));
    assert!(desk.gateway.stop().contains("subscription to be tested"));
}

#[test]
fn without_coordinated_care_the_page_says_how_to_have_it() {
    let desk = Desk::start("", "");
    let viewer = desk.sign_in("viewer");
    let page = viewer.get("/subscriptions");
    assert!(page.status == 200 && page.body.contains("[coordination]"), "{}", page.body);
    let guide = page.body.split("href=\"/assets/").find(|rest| rest.contains("coordinated-care.md\"")).unwrap();
    let guide = desk.get(&format!("/assets/{}", guide.split('"').next().unwrap()));
    assert!(guide.status == 200 && guide.body.contains("## 5. Subscriptions"), "{}", guide.head);
    assert_eq!(viewer.get("/subscriptions/x").status, 404);
    desk.gateway.stop();
}
