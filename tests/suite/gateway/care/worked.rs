//! The pages of the desk on which people of coordinated care work: rosters, match review, open loops, audit.
use super::reviewed::doubtful;
use super::*;

/// What must stand on no page of somebody who may not read messages.
const NAMES: [&str; 6] = ["OKAFOR", "MARISOL", "LINDQVIST", "1951", "1EG4TE5MK73", "00718243"];

#[test]
fn a_gateway_without_coordinated_care_says_so() {
    let desk = super::super::desk::Desk::start("", "");
    let visitor = desk.sign_in("all");
    for page in ["/rosters", "/reviews", "/loops"] {
        let answer = visitor.get(page);
        assert!(answer.status == 200 && answer.body.contains("[coordination]"), "{page}: {}", answer.body);
    }
    assert!(visitor.get("/audit").body.contains("There is nothing in this chain"));
    desk.gateway.stop();
}

#[test]
fn a_held_roster_is_approved_on_its_page() {
    let care = Care::start_with("", &recipient("aco-cm", "id-only", ""), "");
    let (viewer, operator) = (care.visit("viewer"), care.visit("operator"));
    let page = viewer.get("/rosters").body;
    assert!(
        page.contains("aco-lakeshore")
            && page.contains("in force")
            && !page.contains("<form method=\"post\" action=\"/rosters"),
        "{page}"
    );
    let shorter: String = ROSTER.lines().take(2).map(|line| format!("{line}\n")).collect();
    care.write_roster(&shorter);
    assert_eq!(operator.act("/rosters/reload", "").header("location"), Some("/rosters"));
    let page = operator.get("/rosters").body;
    assert!(page.contains("held") && page.contains("1 of 2 members are gone") && page.contains("1 dropped"), "{page}");
    let sha256 = page.split("name=\"sha256\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(viewer.act("/rosters/aco-lakeshore/approve", &format!("sha256={sha256}")).status, 403);
    assert_eq!(operator.act("/rosters/aco-lakeshore/approve", &format!("sha256={}", "0".repeat(64))).status, 409);
    let done = operator.act("/rosters/aco-lakeshore/approve", &format!("sha256={sha256}"));
    assert_eq!(done.status, 303, "{}", done.body);
    let page = viewer.get("/rosters").body;
    assert!(
        page.contains("in force") && !page.contains("held") && NAMES.iter().all(|name| !page.contains(name)),
        "{page}"
    );
    care.gateway.stop();
}

#[test]
fn a_held_roster_is_rejected_on_its_page_until_other_files_come() {
    let care = Care::start_with("", &recipient("aco-cm", "id-only", ""), "");
    let (viewer, operator) = (care.visit("viewer"), care.visit("operator"));
    let shorter: String = ROSTER.lines().take(2).map(|line| format!("{line}\n")).collect();
    care.write_roster(&shorter);
    operator.act("/rosters/reload", "");
    let page = operator.get("/rosters").body;
    let sha256 = page.split("name=\"sha256\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(page.contains("Reject this roster"), "{page}");
    let reject = |files: &str| operator.act("/rosters/aco-lakeshore/reject", &format!("sha256={files}")).status;
    assert_eq!(viewer.act("/rosters/aco-lakeshore/reject", &format!("sha256={sha256}")).status, 403);
    assert_eq!((reject(&"0".repeat(64)), reject("x")), (409, 400));
    assert_eq!(reject(&sha256), 303);
    let rejected = |page: &str| {
        page.contains("rejected by the-operator")
            && page.contains("Approve it after all")
            && !page.contains("Reject this roster")
    };
    assert!(rejected(&operator.get("/rosters").body), "{}", operator.get("/rosters").body);
    // Read anew, it is the same files: nobody is asked again.
    operator.act("/rosters/reload", "");
    assert!(rejected(&operator.get("/rosters").body));
    // Others are held anew, and the one before is in force all the time.
    care.write_roster(&format!("{shorter}\n"));
    operator.act("/rosters/reload", "");
    let page = operator.get("/rosters").body;
    assert!(page.contains("Reject this roster"), "{page}");
    care.write_roster(&shorter);
    operator.act("/rosters/reload", "");
    let page = operator.get("/rosters").body;
    assert!(rejected(&page), "{page}");
    let done = operator.act("/rosters/aco-lakeshore/approve", &format!("sha256={sha256}"));
    assert_eq!(done.status, 303, "{}", done.body);
    assert!(viewer.get("/rosters").body.contains("in force"));
    let log = care.gateway.stop();
    assert!(log.contains("roster to be rejected") && log.contains("roster rejected"), "{log}");
}

#[test]
fn a_doubtful_match_is_decided_side_by_side_and_who_looked_is_written_down() {
    let care = Care::start_with("", &recipient("aco-cm", "id-only", ""), "");
    let hostile = doubtful(M1).replace("LINDQVIST", "<script>alert(1)</script>");
    care.send(&[&hostile]);
    care.wait_until_read(1);
    let (operator, reader) = (care.visit("operator"), care.visit("phi-reader"));
    let seen = operator.get("/reviews").body;
    assert!(seen.contains("Review 1") && NAMES.iter().all(|name| !seen.contains(name)), "{seen}");
    let compared = reader.get("/reviews").body;
    for text in ["OKAFOR", "1951-03-14", "&lt;script&gt;alert(1)&lt;/script&gt;", "1EG4TE5MK73", "class=\"same\""] {
        assert!(compared.contains(text), "{text}: {compared}");
    }
    assert!(!compared.contains("<script>alert"), "{compared}");
    let person = seen.split("name=\"person\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(reader.act("/reviews/1", &format!("person={person}")).status, 403);
    assert_eq!(operator.act("/reviews/1", "person=somebody").status, 400);
    let done = operator.act("/reviews/1", &format!("person={person}"));
    assert_eq!(done.header("location"), Some("/reviews"), "{}", done.body);
    assert!(operator.get("/reviews").body.contains("Nobody waits"));
    assert!(operator.get("/reviews?decided=1").body.contains("says the-operator"));

    let looks = operator.get("/audit?chain=access").body;
    assert!(
        looks.contains("reviews read") && looks.contains("the-phi-reader") && looks.contains("review decided"),
        "{looks}"
    );
    let found = operator.get("/audit?chain=access&q=decided").body;
    assert!(found.contains("review decided") && !found.contains("reviews read"), "{found}");
    let verified = operator.act("/audit/verify", "chain=access").body;
    assert!(verified.contains("all sound"), "{verified}");
    let data = care.gateway.data();
    care.gateway.stop();
    // The chain lasts, and shows it when somebody changes what was done.
    let folder = data.join("access");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|name| name == "ndjson"))
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(handoff::privacy::audit::verify(&folder).unwrap().broken.is_none());
    std::fs::write(&file, text.replace("the-operator", "the-stranger")).unwrap();
    assert!(handoff::privacy::audit::verify(&folder).unwrap().broken.is_some());
}

#[test]
fn the_worklist_shows_what_is_open_and_the_audit_who_was_told() {
    let web = receiver();
    let care = Care::start_with("", &recipient("aco-cm", "id-only", ""), "");
    let id = care.subscribe("aco-cm", &subscription("discharge", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1, M2]);
    care.wait_for_events("aco-cm", &id, 1);
    let (operator, reader) = (care.visit("operator"), care.visit("phi-reader"));
    // Years after the story all of it is over.
    let pages =
        ["overdue", "expired"].map(|state| operator.get(&format!("/loops?panel=aco-lakeshore&state={state}")).body);
    let page = pages.iter().find(|page| page.contains("post-discharge")).unwrap_or_else(|| panic!("{pages:?}"));
    assert!(page.contains("SBMC") && NAMES.iter().all(|name| !page.contains(name)), "{page}");
    let named =
        ["overdue", "expired"].map(|state| reader.get(&format!("/loops?panel=aco-lakeshore&state={state}")).body);
    assert!(named.iter().any(|page| page.contains("OKAFOR, MARISOL")), "{named:?}");
    wait_for("the disclosure", || {
        let page = operator.get("/audit").body;
        (page.contains("disclosed") && page.contains("aco-cm") && page.contains("HOPERAT")).then_some(())
    });
    assert!(operator.get("/audit?q=nobody-of-that-name").body.contains("There is nothing that holds"));
    care.gateway.stop();
}
