//! Where the gateway may connect to: judged with the configuration, and again when a name has been looked up.
use super::process::{Gateway, Peer, dead_letters, handoff, message, wait_for};
use super::web::Web;
use std::net::TcpListener;

const LISTENER: &str = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n";
const RETRY: &str = "retry = { first = \"10ms\", max = \"50ms\" }\n";

fn configuration(allow: &str, to: &str) -> String {
    format!("[egress]\nallow = [{allow}]\n[[route]]\nname = \"out\"\nto = {{ {to} }}\n{RETRY}{LISTENER}")
}

#[test]
fn a_host_that_is_not_in_the_list_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handoff.toml");
    let text = configuration("\"ehr.example\"", "mllp = \"127.0.0.1:2575\"");
    std::fs::write(&path, &text).unwrap();
    for verb in ["check", "serve"] {
        let output = handoff().args([verb, "--config"]).arg(&path).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{verb}: {told}");
        assert!(told.contains("handoff.toml:5:15: 127.0.0.1 is not in [egress] allow"), "{verb}: {told}");
    }
    let gateway = Gateway::start(LISTENER);
    gateway.reload(&text);
    gateway.wait_for_log("handoff.toml:5:15: 127.0.0.1 is not in [egress] allow");
    assert!(Peer::connect(&gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"), "all is as it was");
    gateway.stop();
}

/// `localhost` could be in the network that is allowed; where it leads shows only when it is looked up.
#[test]
fn a_name_that_leads_elsewhere_is_not_connected_to_and_nothing_is_lost_by_it() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let web = Web::start(|_| ("200 OK", String::new(), String::new()));
    let mllp = format!("mllp = \"localhost:{}\"", receiver.local_addr().unwrap().port());
    let hook = format!("rest_hook = \"http://localhost:{}/in\"", web.port());
    for to in [mllp, hook.clone()] {
        let gateway = Gateway::start(&configuration("\"10.0.0.0/8\", \"*.example\"", &to));
        assert!(Peer::connect(&gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"));
        gateway.wait_for_log("localhost leads to ");
        assert!(receiver.accept().is_err() && web.requests().is_empty(), "nobody came");
        // Once it is allowed, it arrives.
        if to == hook {
            gateway.reload(&configuration("\"localhost\"", &to));
            web.wait_for(1);
        }
        let data = gateway.data();
        gateway.stop();
        assert!(dead_letters(&data, "out").is_empty());
    }
}

#[test]
fn addresses_and_names_of_the_list_are_connected_to() {
    let web = Web::start(|_| ("200 OK", String::new(), String::new()));
    for (number, (allow, host)) in
        [("\"127.0.0.1\"", "127.0.0.1"), ("\"localhost\"", "localhost"), ("\"127.0.0.0/8\", \"::1\"", "localhost")]
            .into_iter()
            .enumerate()
    {
        let to = format!("rest_hook = \"http://{host}:{}/in\"", web.port());
        let gateway = Gateway::start(&configuration(allow, &to));
        assert!(Peer::connect(&gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"));
        wait_for("the message", || (web.requests().len() > number).then_some(()));
        gateway.stop();
    }
}
