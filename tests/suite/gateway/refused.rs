//! Who is not let in by a listener: who that was and why stands in the log, how often in the metrics.
use super::admin::Administered;
use super::process::{Peer, handoff, message, wait_for};
use super::tls::{authority, client, identity, install};

#[test]
fn a_refused_sender_is_named_with_the_reason_and_counted() {
    let (ours, other) = (authority("ours"), authority("other"));
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), &identity(&ours, 2100));
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("ca.pem"), ours.pem()).unwrap();
    std::fs::write(path("one.hl7"), message("one", "A01")).unwrap();
    let shown = [
        ("stranger", client(&other, Some("his.example"), "x", 1)),
        ("expired", identity(&ours, 2001)),
        ("lab", client(&ours, Some("lab.example"), "x", 2)),
    ];
    for (name, (certificate, key)) in &shown {
        std::fs::write(path(&format!("{name}.pem")), certificate).unwrap();
        std::fs::write(path(&format!("{name}.key")), key).unwrap();
    }
    let admin = Administered::start(
        "",
        &format!(
            "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\", names = {{ \"his.example\" = [\"HIS\"] }} }}\n",
            path("server.pem"),
            path("server.key"),
            path("ca.pem")
        ),
    );
    let gateway = &admin.gateway;
    let send = |ca: &str, who: Option<&str>| {
        let mut command = handoff();
        command.args(["send", "--to", &gateway.address(), "--tls", "--ca", ca, "--server-name", "localhost"]);
        if let Some(who) = who {
            command.args(["--cert", &path(&format!("{who}.pem")), "--key", &path(&format!("{who}.key"))]);
        }
        assert_eq!(command.arg(path("one.hl7")).output().unwrap().status.code(), Some(1), "{who:?}");
    };
    std::fs::write(path("other.pem"), other.pem()).unwrap();
    send(&path("ca.pem"), None);
    send(&path("ca.pem"), Some("stranger"));
    send(&path("ca.pem"), Some("expired"));
    send(&path("ca.pem"), Some("lab"));
    send(&path("other.pem"), Some("lab"));
    let mut plain = Peer::connect(gateway);
    plain.send(&message("one", "A01"));
    assert_eq!(plain.receive(), None);
    for reason in ["no_certificate", "unknown_authority", "expired", "name", "mistrust", "no_tls"] {
        let series = format!("handoff_senders_refused_total{{listener=\"adt\",reason=\"{reason}\"}} ");
        wait_for(&series, || {
            let metrics = admin.ask("viewer", "GET", "/metrics").body;
            let count = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok());
            count.filter(|count| *count > 0)
        });
    }
    let log = admin.gateway.stop();
    let told = |text: &str| log.lines().any(|line| line.contains(text) && line.contains("peer=127.0.0.1"));
    for expected in [
        "it shows no certificate, and client_ca asks for one",
        "its certificate is of no authority in client_ca",
        "its certificate is not valid at this time",
        "it does not accept the certificate of this listener",
        "it speaks no TLS that is spoken here",
        "the certificate of a sender does not go with its MSH-3 and MSH-4",
    ] {
        assert!(told(expected), "{expected}: {log}");
    }
}
