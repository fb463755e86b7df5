//! All messages of a search sent again from the desk: exactly what was searched for, and an end that tells what was not sent.
use super::{Desk, form_of};
use crate::gateway::process::{Peer, wait_for};
use crate::gateway::server::{Server, update};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A desk whose route has delivered one message of each of these names, each of another patient, and what has its server refuse those that are named `BAD`.
fn with_sent(names: &[&str]) -> (Desk, Server, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let server = Server::start(move |request| match request.name.as_str() {
        "BAD" if is_down.load(Ordering::SeqCst) => "422 Unprocessable Entity",
        _ => "200 OK",
    });
    let desk = Desk::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&desk.gateway);
    for (number, name) in names.iter().enumerate() {
        assert!(peer.exchange(&update(&format!("p-{number}"), name)).contains("MSA|AA|"));
    }
    let viewer = desk.sign_in("viewer");
    wait_for("deliveries", || {
        let page = viewer.part("/messages").body;
        (page.contains(&format!("href=\"/messages/{}\"", names.len())) && !page.contains("queued")).then_some(())
    });
    (desk, server, down)
}

#[test]
fn what_was_left_behind_is_told_at_the_end() {
    let (desk, server, down) = with_sent(&["ONE", "BAD", "THREE"]);
    let operator = desk.sign_in("operator");
    let asked = operator.act("/messages/many", "type=ADT").body;
    let form = format!("{}&to=ehr&mappings=original", form_of(&asked, "Send 3 again"));
    down.store(true, Ordering::SeqCst);
    let stopped = operator.act("/messages/many/send", &form).body;
    assert!(
        stopped.contains("class=\"fault\"") && stopped.contains("</a> has not arrived: ehr: HTTP 422"),
        "{stopped}"
    );
    let again = operator.act("/messages/many/send", &form_of(&stopped, "Try again from there")).body;
    assert!(again.contains("<strong>1 sent</strong> of 3") && again.contains("has not arrived"), "{again}");
    let end = operator.act("/messages/many/send", &form_of(&again, "Leave it behind and go on")).body;
    assert!(end.contains("<strong>2 sent</strong>, <strong>1 left behind, not arrived</strong> of 3"), "{end}");
    assert!(end.contains("Not all of them have arrived") && !end.contains("class=\"done\""), "{end}");
    assert!(end.contains("it was tried, has not arrived, and was left behind: <a href=\"/messages/2\">2</a>"), "{end}");
    let names: Vec<String> = server.requests().into_iter().map(|request| request.name).skip(3).collect();
    assert_eq!(names, ["ONE", "BAD", "BAD", "THREE"]);
    desk.gateway.stop();
}

/// What is left has changed between two turns: what was sent is told, and is not sent again by going on.
#[test]
fn what_changes_on_the_way_is_told_with_what_was_done() {
    let (desk, server, down) = with_sent(&["ONE", "BAD", "THREE"]);
    let operator = desk.sign_in("operator");
    let asked = operator.act("/messages/many", "type=ADT").body;
    let form = format!("{}&to=ehr&mappings=original", form_of(&asked, "Send 3 again"));
    down.store(true, Ordering::SeqCst);
    let stopped = operator.act("/messages/many/send", &form).body;
    down.store(false, Ordering::SeqCst);
    let rest = form_of(&stopped, "Try again from there");
    let (before, after) = rest.split_once("pin=").unwrap();
    let others = format!("{before}pin=0{}", after.split_at(1).1);
    let others = if others == rest { format!("{before}pin=1{}", after.split_at(1).1) } else { others };
    let changed = operator.act("/messages/many/send", &others);
    assert!(changed.status == 409 && changed.body.contains("id=\"progress\""), "{}", changed.body);
    assert!(
        changed.body.contains("<strong>1 sent</strong> of 3") && changed.body.contains("No more was sent"),
        "{}",
        changed.body
    );
    let end = operator.act("/messages/many/send", &form_of(&changed.body, "Go on with these 2")).body;
    assert!(end.contains("<strong>3 sent</strong> of 3") && end.contains("class=\"done\""), "{end}");
    let names: Vec<String> = server.requests().into_iter().map(|request| request.name).skip(3).collect();
    assert_eq!(names, ["ONE", "BAD", "BAD", "THREE"], "none twice");
    desk.gateway.stop();
}

/// Two blanks between quotes are two blanks, also where a time that moves stands beside them.
#[test]
fn exactly_what_was_searched_for_is_sent() {
    let (desk, server, _) = with_sent(&["ANNA  MARIA", "ANNA MARIA"]);
    let all = desk.sign_in("all");
    let asked = all.act("/messages/many", "q=text:%22anna++maria%22+since:2h").body;
    assert!(asked.contains("Send 1 message again?"), "{asked}");
    assert!(asked.contains("name=\"q\" value=\"text:&quot;anna  maria&quot; since:2h\""), "{asked}");
    assert!(
        asked.contains("<code>text:&quot;anna  maria&quot; since:2h</code>")
            || asked.contains("<code>text:\"anna  maria\" since:2h</code>"),
        "{asked}"
    );
    let form = format!("{}&to=ehr&mappings=original", form_of(&asked, "Send 1 again"));
    let sent = all.act("/messages/many/send", &form).body;
    assert!(sent.contains("<strong>1 sent</strong> of 1"), "{sent}");
    let names: Vec<String> = server.requests().into_iter().map(|request| request.name).skip(2).collect();
    assert_eq!(names.len(), 1);
    desk.gateway.stop();
}
