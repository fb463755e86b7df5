//! Codes that no table has: found, shown what would be written, written, and their messages sent again.
use super::Desk;
use crate::gateway::process::{Peer, message, wait_for};
use crate::gateway::server::Server;

fn with_sex(id: &str, sex: &str) -> String {
    message(id, "A01").replace("|19800101|F\r", &format!("|19800101|{sex}\r"))
}

#[test]
fn a_code_is_given_its_place_after_a_look_at_what_is_written() {
    let (site, server) = (tempfile::tempdir().unwrap(), Server::start(|_| "200 OK"));
    std::fs::write(site.path().join("site.toml"), "[profile]\ntimezone = \"America/New_York\"\n").unwrap();
    let listener =
        format!("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nsite = \"{}\"\n", site.path().display());
    let desk = Desk::start("", &format!("{listener}{}", server.configuration("", "")));
    let mut peer = Peer::connect(&desk.gateway);
    for (id, sex) in [("one", "X7"), ("two", "X7"), ("three", "CANARY <b>Theodora")] {
        assert!(peer.exchange(&with_sex(id, sex)).contains(&format!("MSA|AA|{id}")));
    }
    server.wait_for(3);
    let operator = desk.sign_in("operator");
    let page = wait_for("the codes", || {
        let page = operator.get("/codes").body;
        (page.contains("X7") && page.contains("bytes&gt;")).then_some(page)
    });
    assert!(page.contains("AdministrativeSex") && page.contains("HIS|HARBOR") && !page.contains("CANARY"), "{page}");
    assert!(operator.get("/codes?table=Race").body.contains("No such codes"));
    assert_eq!(operator.get("/codes?standing=lost").status, 400);
    assert_eq!(desk.sign_in("viewer").get("/codes").status, 403);
    let read = desk.sign_in("phi-reader").get("/codes").body;
    assert!(read.contains("CANARY &lt;b&gt;Theodora") && !read.contains("<b>"), "{read}");

    let path = page.split("href=\"/codes/").nth(1).unwrap().split('"').next().unwrap();
    let path = format!("/codes/{path}");
    let one = operator.get(&path).body;
    assert!(one.contains("X7") && one.contains("href=\"/messages/1\"") && !one.contains("/resolve"), "{one}");
    assert_eq!(operator.act(&format!("{path}/resolve"), "fhir=male").status, 403, "an operator may not");

    let admin = desk.sign_in("admin");
    let resolve = format!("{path}/resolve");
    let wrong = admin.act(&resolve, "fhir=no-gender").body;
    assert!(wrong.contains("Nothing was written") && wrong.contains("no-gender"), "{wrong}");
    let file = site.path().join("tables/AdministrativeSex.csv");
    let shown = admin.act(&resolve, "fhir=male").body;
    assert!(shown.contains("X7,male,,") && shown.contains(&file.display().to_string()), "{shown}");
    assert!(!file.exists(), "it was only shown");
    let done = admin.act(&resolve, "fhir=male&write=1").body;
    assert!(done.contains("Written to"), "{done}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "v2_code,fhir_code,display,system\nX7,male,,\n");
    assert!(operator.get("/codes?standing=resolved").body.contains("X7"));

    let sent = operator.act(&format!("{path}/resend"), "").body;
    assert!(sent.contains("2 sent again"), "{sent}");
    let genders =
        server.requests().iter().filter(|request| request.body.to_string().contains("\"gender\":\"male\"")).count();
    assert_eq!(genders, 2);

    let other = wait_for("the other", || {
        let page = operator.get("/codes").body;
        Some(page.split("href=\"/codes/").nth(1)?.split('"').next()?.to_owned())
    });
    let shown = admin.act(&format!("/codes/{other}/resolve"), "fhir=other").body;
    assert!(!shown.contains("CANARY") && shown.contains("bytes&gt;,other"), "{shown}");
    let dismissed = operator.act(&format!("/codes/{other}/dismiss"), "").body;
    assert!(dismissed.contains("Dismissed."), "{dismissed}");
    assert!(operator.get("/codes").body.contains("No such codes"));
    let log = desk.gateway.stop();
    assert!(log.contains("codes read") && log.contains("codes resolved") && !log.contains("CANARY"), "{log}");
}
