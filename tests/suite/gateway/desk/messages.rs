//! The message browser: found by what messages are and what became of them; shown with where each value came from; sent again once somebody has seen what would be sent.
use super::{Desk, Visitor};
use crate::gateway::process::{Peer, message, wait_for};
use crate::gateway::server::{Server, update};

const ROUTES: &str = "[[route]]\nname = \"out\"\nto = { file = \"out.ndjson\" }\n[[route]]\nname = \"admissions\"\nfilter = \"MSH-9.2 = 'A01'\"\nto = { file = \"admissions.ndjson\" }\n";
const HOSTILE: &str = "<script>alert(1)</script>";

/// An admission, an update of another patient with a name that means ill, and a message that nothing maps.
fn with_messages() -> Desk {
    let desk = Desk::start("", ROUTES);
    let mut peer = Peer::connect(&desk.gateway);
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one"));
    assert!(peer.exchange(&message("two", "A08").replace("CANARY", HOSTILE)).contains("MSA|AA|two"));
    assert!(peer.exchange(&message("three", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99")).contains("MSA|AR|three"));
    drop(peer);
    let visitor = desk.sign_in("viewer");
    wait_for("deliveries", || {
        let page = visitor.part("/messages").body;
        (page.contains("href=\"/messages/3\"") && !page.contains("queued")).then_some(())
    });
    desk
}

/// The numbers that a search lists.
fn found(visitor: &Visitor, query: &str) -> Vec<u64> {
    let page = visitor.part(&format!("/messages?{query}"));
    assert_eq!(page.status, 200, "{query}: {}", page.body);
    assert!(!page.body.contains("<html"), "a part alone: {}", page.body);
    let links = page.body.split("<a href=\"/messages/").skip(1);
    links.filter_map(|link| link.split('"').next()?.parse().ok()).collect()
}

#[test]
fn messages_are_found_by_what_they_are_and_what_became_of_them() {
    let desk = with_messages();
    let reader = desk.sign_in("phi-reader");
    let of = |query: &str| found(&reader, query);
    assert_eq!(of(""), [3, 2, 1]);
    for (query, expected) in [
        ("q=two", &[2][..]),
        ("q=patient-one", &[1]),
        ("q=canary%5Ename", &[3, 1]),
        ("q=text:%22canary%5Ename%22+type:ADT", &[1]),
        ("q=ADT%5EA08", &[2]),
        ("q=2", &[2]),
        ("q=2-", &[3, 2]),
        ("q=seq:1-2+ADT", &[2, 1]),
        ("control=one", &[1]),
        ("patient=patient-two", &[2]),
        ("type=ADT", &[2, 1]),
        ("sender=HIS%7CHARBOR&listener=adt&since=1h", &[3, 2, 1]),
        ("sender=LAB", &[]),
        ("until=1h", &[]),
        ("outcome=rejected", &[3]),
        ("q=rejected", &[3]),
        ("first=2&last=2", &[2]),
        ("before=3", &[2, 1]),
        ("route=out", &[2, 1]),
        ("route=admissions&state=sent", &[1]),
        ("route=admissions&state=filtered", &[3, 2]),
        ("state=errored", &[3]),
        ("state=queued", &[]),
        ("route=untranslated", &[3]),
    ] {
        assert_eq!(of(query), expected, "{query}");
    }
    for wrong in ["since=soon", "outcome=good", "q=seq:x", "state=lost"] {
        let answer = reader.get(&format!("/messages?{wrong}"));
        assert!(answer.status == 400 && answer.body.contains("What to do"), "{wrong}: {}", answer.body);
    }
    let page = reader.get("/messages?q=two&route=out").body;
    assert!(
        page.contains("data-search")
            && page.contains("value=\"two\"")
            && page.contains("<option value=\"out\" selected>")
    );
    assert!(page.contains("patient-two") && page.contains("control id"), "what the word was taken for: {page}");
    let log = desk.gateway.stop();
    assert!(log.contains("messages listed") && log.contains("user=phi-reader"), "{log}");
    assert!(!log.contains("patient-"), "{log}");
}

#[test]
fn who_may_not_read_messages_sees_and_finds_nothing_of_a_patient() {
    let desk = with_messages();
    for user in ["viewer", "operator", "admin"] {
        let visitor = desk.sign_in(user);
        assert_eq!(found(&visitor, "type=ADT&outcome=translated&since=1h"), [2, 1]);
        for query in [
            "q=patient-one",
            "patient=patient-one",
            "control=one",
            "sender=HIS",
            "q=text:name",
            "q=one",
            "q=17+18",
            "q=1+1",
        ] {
            assert_eq!(visitor.get(&format!("/messages?{query}")).status, 403, "{user} {query}");
        }
        let mut pages = vec!["/messages", "/messages/1", "/messages/2", "/messages/3", "/messages/1?show=raw"];
        if user != "viewer" {
            pages.extend(["/messages/1/preview", "/messages/3/preview"]);
        }
        for path in pages {
            let page = visitor.get(path);
            assert_eq!(page.status, 200, "{user} {path}: {}", page.body);
            for secret in ["patient-", "CANARY", "alert(", "HARBOR", "19800101", "1980-01-01", ">one<", ">HIS"] {
                assert!(!page.body.contains(secret), "{user} sees {secret} of {path}: {}", page.body);
            }
        }
        let page = visitor.get("/messages/1").body;
        for plain in [">PID<", "A01", "resourceType", "Patient", "female", "birthDate", "•••", "PID.Patient"] {
            assert!(page.contains(plain), "{user} does not see {plain}: {page}");
        }
        assert_eq!(visitor.get("/messages/1/raw").status, 403);
        assert_eq!(visitor.get("/messages/99").status, 404);
    }
    desk.gateway.stop();
}

/// The attributes of the first element that has this one.
fn element<'p>(page: &'p str, attribute: &str) -> &'p str {
    let at = page.find(attribute).unwrap_or_else(|| panic!("no {attribute} in {page}"));
    let start = page[..at].rfind('<').unwrap();
    &page[start..start + page[start..].find("</").unwrap()]
}

fn attribute<'e>(element: &'e str, name: &str) -> &'e str {
    element
        .split(&format!("{name}=\""))
        .nth(1)
        .unwrap_or_else(|| panic!("no {name} in {element}"))
        .split('"')
        .next()
        .unwrap()
}

#[test]
fn a_message_and_its_bundle_are_linked_value_by_value() {
    let desk = with_messages();
    let reader = desk.sign_in("phi-reader");
    let page = reader.get("/messages/2").body;
    assert!(!page.contains(HOSTILE) && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(!page.contains(" style=\"") && !page.contains(" onclick"));
    // From the field to the element, and back.
    let leaf = element(&page, "data-path=\"PID-7\"");
    assert!(
        leaf.contains("leaf mapped") && leaf.ends_with(">19800101") && leaf.contains("data-name=\"Date time of birth"),
        "{leaf}"
    );
    let value = element(&page, &format!("id=\"{}\"", attribute(leaf, "data-to")));
    assert!(value.ends_with("&quot;1980-01-01&quot;") || value.ends_with("\"1980-01-01\""), "{value}");
    assert_eq!(attribute(value, "data-path"), "Patient.birthDate");
    assert!(attribute(value, "data-rule").contains("PID.Patient"), "{value}");
    assert_eq!(attribute(value, "data-from"), attribute(leaf, "id"));
    let sex = element(&page, "data-path=\"PID-8\"");
    let gender = element(&page, &format!("id=\"{}\"", attribute(sex, "data-to").split(' ').next().unwrap()));
    assert!(attribute(gender, "data-row").contains("`F`"), "the row of the table: {gender}");
    // What went nowhere says why, in the message and in the list.
    assert!(page.contains("leaf lost") && page.contains("data-why=") && page.contains("went nowhere"), "{page}");
    let raw = reader.get("/messages/2?show=raw").body;
    assert!(raw.contains("data-path=\"PID-7\"") && !raw.contains("class=\"json\""), "{raw}");
    let file = reader.get("/messages/2/raw");
    assert_eq!(file.body, message("two", "A08").replace("CANARY", HOSTILE));
    assert!(file.header("content-disposition").is_some_and(|value| value.contains("2.hl7")), "{}", file.head);
    let unmapped = reader.get("/messages/3").body;
    assert!(unmapped.contains("no message map covers ZZZ^Z99") && unmapped.contains("errored"), "{unmapped}");
    let log = desk.gateway.stop();
    assert!(log.contains("message read") && !log.contains("CANARY"), "{log}");
}

#[test]
fn a_long_message_is_cut_and_stays_usable() {
    let desk = Desk::start("", ROUTES);
    let mut peer = Peer::connect(&desk.gateway);
    let results: String = (1..=2500).map(|n| format!("OBX|{n}|NM|8867-4^Heart rate^LN||{n}|/min|||||F\r")).collect();
    let long = message("long", "A01") + &results;
    assert!(peer.exchange(&long).contains("MSA|AA|long"));
    let page = desk.sign_in("phi-reader").get("/messages/1");
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("too long to be explained") && page.body.contains("/messages/1/raw"),
        "{}",
        page.body.len()
    );
    assert!(page.body.len() < 1_500_000, "{} bytes", page.body.len());
    // A waveform: few bytes, and so many values in one field that to count out the place of each takes minutes.
    let wave = message("wave", "A01") + "OBX|1|NA|8867-4^Heart rate^LN||" + &"1~".repeat(60_000) + "|/min|||||F\r";
    assert!(peer.exchange(&wave).contains("MSA|AA|wave"));
    let page = desk.sign_in("viewer").get("/messages/2");
    assert!(page.status == 200 && page.body.contains("too long to be explained"), "{}", page.body.len());
    desk.gateway.stop();
}

#[test]
fn a_line_that_came_loose_is_no_name_of_a_segment() {
    let desk = Desk::start("", ROUTES);
    let mut peer = Peer::connect(&desk.gateway);
    assert!(peer.exchange(&(message("loose", "A01") + "LEE|Ada\r")).contains("MSA|AA|loose"));
    let seen = |user: &str| desk.sign_in(user).get("/messages/1").body;
    let (masked, whole) = (seen("viewer"), seen("phi-reader"));
    assert!(!masked.contains("LEE") && masked.contains("???-1") && masked.contains("???: no message map"), "{masked}");
    assert!(whole.contains("LEE-1") && whole.contains("LEE: no message map"), "{whole}");
    desk.gateway.stop();
}

#[test]
fn a_dead_letter_is_sent_again_once_somebody_has_seen_what_would_be_sent() {
    let server = Server::start(|request| match (request.name.as_str(), request.earlier) {
        ("OLD", 0) => "422 Unprocessable Entity",
        _ => "200 OK",
    });
    let desk = Desk::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&desk.gateway);
    peer.exchange(&update("ill", "OLD"));
    let operator = desk.sign_in("operator");
    wait_for("the dead letter", || (!found(&operator, "state=errored").is_empty()).then_some(()));
    let page = operator.get("/messages/1").body;
    assert!(page.contains("HTTP 422") && page.contains("What to do") && page.contains("/messages/1/preview"), "{page}");
    assert!(!desk.sign_in("viewer").get("/messages/1").body.contains("/messages/1/preview"), "nothing for who may not");
    let preview = operator.get("/messages/1/preview").body;
    assert!(preview.contains("The mappings have not changed") && preview.contains("Send message 1 again"), "{preview}");
    assert!(preview.contains("dead letter") && !preview.contains("name=\"overwrite\""), "{preview}");
    let route = attribute(element(&preview, "name=\"route\""), "value").to_owned();
    let form = format!("csrf={}&mappings=current&seen=0", operator.csrf());
    let post = |form: &str| operator.ask("POST", "/messages/1/resend", &[], form);
    for wrong in [form.clone(), format!("csrf={}&route={route}", operator.csrf())] {
        assert_eq!(post(&wrong).status, 400, "{wrong}");
    }
    let form = format!("{form}&route={route}");
    let sent = post(&form);
    assert!(sent.status == 200 && sent.body.contains("It has arrived at"), "{}", sent.body);
    assert!(found(&operator, "state=errored").is_empty());
    let twice = post(&form);
    assert!(twice.status == 409 && twice.body.contains("sent again since you looked"), "{}", twice.body);
    let page = operator.get("/messages/1").body;
    let told = page.split("id=\"again\"").nth(1).unwrap();
    assert!(
        told.contains("arrived") && told.contains(">operator<") && told.contains(env!("CARGO_PKG_VERSION")),
        "{told}"
    );

    // Older than another of the same patient that the route has delivered: that is told, and takes a tick.
    peer.exchange(&update("ill", "NEW"));
    let seen = |page: &str| page.split("name=\"seen\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let preview = wait_for("the later one", || {
        Some(operator.get("/messages/1/preview").body).filter(|page| page.contains("name=\"overwrite\""))
    });
    assert!(preview.contains("may bring an older state back") && preview.contains("href=\"/messages/2\""), "{preview}");
    let form = format!("csrf={}&mappings=current&route=ehr&seen={}", operator.csrf(), seen(&preview));
    let refused = post(&form);
    assert!(refused.status == 409 && refused.body.contains("1 later message of the same patient"), "{}", refused.body);
    assert_eq!(server.requests().len(), 3);
    let sent = post(&format!("{form}&overwrite=1"));
    assert!(sent.status == 200 && sent.body.contains("It has arrived at"), "{}", sent.body);
    let log = desk.gateway.stop();
    assert!(log.contains("message sent again") && log.contains("user=operator"), "{log}");
}

#[test]
fn the_preview_shows_what_the_mappings_of_today_change() {
    let desk = with_messages();
    let folder = desk.gateway.folder();
    std::fs::create_dir(folder.join("site")).unwrap();
    std::fs::write(folder.join("site/site.toml"), "[authorities]\nHARBOR = \"urn:example:today\"\n").unwrap();
    // The listener is what stands last.
    let configuration = std::fs::read_to_string(folder.join("handoff.toml")).unwrap();
    desk.gateway.reload(&format!("{configuration}\nsite = \"site\"\n"));
    let visitor = desk.sign_in("all");
    let preview = wait_for("the mappings of today", || {
        let page = visitor.get("/messages/1/preview").body;
        (!page.contains("have not changed")).then_some(page)
    });
    assert!(preview.contains("Patient.identifier") && preview.contains("urn:example:today"), "{preview}");
    assert!(preview.contains("those of then") && preview.contains("value=\"original\""), "{preview}");
    let masked = desk.sign_in("operator").get("/messages/1/preview").body;
    assert!(masked.contains("Patient.identifier") && !masked.contains("urn:example:today"), "{masked}");
    // The page shows what was sent, and on demand what would be.
    assert!(!visitor.get("/messages/1").body.contains("urn:example:today"));
    assert!(visitor.get("/messages/1?with=now").body.contains("urn:example:today"));
    desk.gateway.stop();
}

/// A message that was not taken when it came, mended and sent again: its page says that it has arrived.
#[test]
fn what_was_refused_at_intake_and_sent_again_is_told_as_sent() {
    let desk = with_messages();
    let all = desk.sign_in("all");
    let copy = message("three", "A01").replace('\r', "%0D").replace('&', "%26").replace('+', "%2B").replace(' ', "+");
    let sent = all.act("/dead-letters/untranslated/3/edit", &format!("text={copy}"));
    assert!(sent.body.contains("Sent to admissions, out"), "{}", sent.body);
    let page = all.get("/messages/3").body;
    let routes = page.split("id=\"routes\"").nth(1).unwrap().split("</table>").next().unwrap();
    assert_eq!(routes.matches(">sent<").count(), 2, "{routes}");
    assert!(!routes.contains("filtered"), "{routes}");
    assert!(page.contains("edited copy, current") && page.contains("It has been sent again"), "{page}");
    assert_eq!(found(&all, "route=out&state=sent"), [3, 2, 1]);
    desk.gateway.stop();
}

/// What a route is done with is told by the filter that judged it, whatever the one of today would say.
#[test]
fn what_was_settled_before_a_filter_changed_is_told_by_the_filter_of_then() {
    let desk = with_messages();
    let all = desk.sign_in("all");
    let configuration = std::fs::read_to_string(desk.gateway.folder().join("handoff.toml")).unwrap();
    let of = |query: &str| found(&all, query);
    let before = (of("route=admissions&state=sent"), of("route=admissions&state=filtered"));
    assert_eq!(before, (vec![1], vec![3, 2]));
    desk.gateway.reload(&configuration.replace("MSH-9.2 = 'A01'", "MSH-9.2 = 'A08'"));
    desk.gateway.wait_for_log("configuration read anew");
    assert_eq!((of("route=admissions&state=sent"), of("route=admissions&state=filtered")), before);
    let routes = |seq: u64| {
        let page = all.get(&format!("/messages/{seq}")).body;
        page.split("id=\"routes\"").nth(1).unwrap().split("</table>").next().unwrap().to_owned()
    };
    assert!(!routes(1).contains("filtered") && routes(2).contains("filtered"), "{}", routes(1));
    // What comes now is judged by the one of now.
    let mut peer = Peer::connect(&desk.gateway);
    for (id, event) in [("four", "A01"), ("five", "A08")] {
        assert!(peer.exchange(&message(id, event)).contains("MSA|AA|"));
    }
    wait_for("deliveries", || (of("route=admissions&state=sent") == [5, 1]).then_some(()));
    assert_eq!((of("route=admissions&state=filtered"), of("route=admissions&state=passed")), (vec![4, 3, 2], vec![]));
    // That one went there is no reason to send it there once more: that takes a word.
    let page = all.get("/messages/1/preview").body;
    assert!(page.contains("name=\"filtered\"") && page.matches(">delivered<").count() == 2, "{page}");
    // Once it is not known any more, that is what is said.
    let state = rusqlite::Connection::open(desk.gateway.data().join("state.sqlite")).unwrap();
    state.execute("DELETE FROM filtered_by WHERE since < 4", []).unwrap();
    assert_eq!((of("route=admissions&state=passed"), of("route=admissions&state=sent")), (vec![2, 1], vec![5]));
    assert!(routes(1).contains("whether it was sent or kept away is not known"), "{}", routes(1));
    desk.gateway.stop();
}

/// All that a search means: shown first, and sent only by who may look for it.
#[test]
fn all_that_a_search_finds_is_sent_again_by_who_may_look_for_it() {
    let desk = with_messages();
    let operator = desk.sign_in("operator");
    let list = operator.get("/messages?type=ADT").body;
    assert!(list.contains("Send all of these again"), "{list}");
    assert!(!operator.get("/messages").body.contains("Send all of these again"), "of all that there are");
    assert!(!desk.sign_in("viewer").get("/messages?type=ADT").body.contains("Send all of these again"));
    for personal in ["patient=patient-one", "q=one", "q=text:CANARY", "sender=HIS", "control=one", "q=5+7"] {
        for path in ["/messages/many", "/messages/many/send"] {
            let form = format!("{personal}&to=out&mappings=original&head=3&expected=1&all=1&at=0");
            let answer = operator.act(path, &form);
            assert_eq!(answer.status, 403, "{personal}: {}", answer.body);
        }
    }
    let moving = operator.act("/messages/many", "q=ADT+since:2h");
    assert!(
        moving.body.contains("name=\"q\" value=\"ADT since:2h\"") && moving.body.contains("name=\"at\" value=\""),
        "{}",
        moving.body
    );
    let asked = operator.act("/messages/many", "type=ADT");
    assert!(
        asked.body.contains("Send 2 messages again?") && asked.body.contains("1 filtered, 1 sent"),
        "{}",
        asked.body
    );
    let form = format!("{}&to=out&mappings=original", super::form_of(&asked.body, "Send 2 again"));
    let others = operator.act("/messages/many/send", &form.replace("expected=2", "expected=3"));
    assert!(others.status == 409 && others.body.contains("What you saw has changed"), "{}", others.body);
    let anew = format!("{}&to=out&mappings=original", super::form_of(&others.body, "Send 2 again"));
    let pin = |form: &str| form.split("pin=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!((pin(&anew).len(), pin(&anew)), (32, pin(&form)), "with another look at them");
    let sent = operator.act("/messages/many/send", &form);
    assert!(sent.body.contains("<strong>2 sent</strong> of 2"), "{}", sent.body);
    assert_eq!(crate::gateway::process::lines(&desk.gateway.folder().join("out.ndjson")).len(), 4);
    // Who may read messages finds them by what is a patient's, and the audit does not say by what.
    let all = desk.sign_in("all");
    let asked = all.act("/messages/many", "q=patient-one");
    assert!(asked.body.contains("Send 1 message again?"), "{}", asked.body);
    let sent = all.act(
        "/messages/many/send",
        &format!("{}&to=admissions&to=out&mappings=current", super::form_of(&asked.body, "Send 1 again")),
    );
    assert!(sent.body.contains("<strong>1 sent</strong> of 1"), "{}", sent.body);
    let page = all.get("/audit?chain=access").body;
    assert!(page.contains("messages of a search to be sent again") && !page.contains("patient-one"), "{page}");
    desk.gateway.stop();
}

/// A route that began later than a message gets nothing of it by the dead letter's way.
#[test]
fn what_was_refused_at_intake_is_not_sent_to_a_route_that_began_later() {
    let desk = with_messages();
    let all = desk.sign_in("all");
    let configuration = std::fs::read_to_string(desk.gateway.folder().join("handoff.toml")).unwrap();
    desk.gateway
        .reload(&format!("{configuration}\n[[route]]\nname = \"partner\"\nto = {{ file = \"partner.ndjson\" }}\n"));
    desk.gateway.wait_for_log("configuration read anew");
    let copy = message("three", "A01").replace('\r', "%0D").replace('&', "%26").replace('+', "%2B").replace(' ', "+");
    let sent = all.act("/dead-letters/untranslated/3/edit", &format!("text={copy}"));
    assert!(sent.body.contains("Sent to admissions, out"), "{}", sent.body);
    assert!(crate::gateway::process::lines(&desk.gateway.folder().join("partner.ndjson")).is_empty());
    desk.gateway.stop();
}

/// A line that is no segment may begin with a name.
#[test]
fn a_name_in_the_place_of_a_segment_is_masked() {
    let desk = Desk::start("", ROUTES);
    let mut peer = Peer::connect(&desk.gateway);
    assert!(peer.exchange(&(message("one", "A01") + "LEE|stray^text\r")).contains("MSA|AA|one"));
    let page = desk.sign_in("viewer").get("/messages/1").body;
    assert!(page.contains("???") && !page.contains("LEE"), "{page}");
    assert!(desk.sign_in("phi-reader").get("/messages/1").body.contains("LEE-1"));
    desk.gateway.stop();
}

/// Who cannot be written down must not see: a page, a list, a message of the API, a message sent again.
#[test]
fn nothing_of_a_patient_is_shown_that_cannot_be_noted() {
    let (token, hash) = handoff::admin::credentials::create().unwrap();
    let (operator, other) = handoff::admin::credentials::create().unwrap();
    let desk = Desk::start(
        &format!(
            "tokens = [{{ name = \"reads\", role = \"phi-reader\", sha256 = \"{hash}\" }}, {{ name = \"sends\", role = \"operator\", sha256 = \"{other}\" }}]"
        ),
        ROUTES,
    );
    // Before anybody has done anything the folder is not there yet.
    let access = desk.gateway.data().join("access");
    std::fs::write(&access, "no folder").unwrap();
    let mut peer = Peer::connect(&desk.gateway);
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one"));
    let (reader, viewer) = (desk.sign_in("phi-reader"), desk.sign_in("viewer"));
    wait_for("the delivery", || (found(&viewer, "route=out&state=sent") == [1]).then_some(()));
    let api = |method: &str, path: &str, token: &str| {
        crate::gateway::http::ask(&desk.address, method, path, &[&format!("Authorization: Bearer {token}")])
    };
    let again = "/api/v1/messages/1/resend?routes=out&mappings=original";
    for answer in [
        reader.get("/messages/1"),
        reader.get("/messages"),
        reader.get("/messages/1/raw"),
        reader.get("/codes"),
        api("GET", "/api/v1/messages/1/raw", &token),
        api("POST", again, &operator),
        api(
            "POST",
            "/api/v1/messages/resend?routes=out&mappings=original&last=1&seen=0&expected=1&pin=00000000000000000000000000000000",
            &operator,
        ),
        api("POST", "/api/v1/routes/out/pause", &operator),
    ] {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.body.contains("cannot be written down") && !answer.body.contains("CANARY"), "{}", answer.body);
    }
    assert_eq!(crate::gateway::process::lines(&desk.gateway.folder().join("out.ndjson")).len(), 1, "nothing was sent");
    assert_eq!(viewer.get("/messages/1").status, 200, "who sees nothing of a patient goes on");
    std::fs::remove_file(&access).unwrap();
    assert!(reader.get("/messages/1").body.contains("CANARY"), "once it can be, it is shown");
    assert_eq!(api("POST", again, &operator).status, 200);
    desk.gateway.stop();
}
