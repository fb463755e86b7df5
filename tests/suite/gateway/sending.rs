//! `handoff send` over TLS: who it trusts, what it shows, and what it says when it is not let in.
use super::process::{Gateway, handoff, journal, message};
use super::tls::{authority, client, identity, install};
use std::path::Path;
use std::process::Stdio;

fn send(gateway: &Gateway, file: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = handoff();
    command.arg("send").args(["--to", &gateway.address()]).args(arguments).arg(file).stdout(Stdio::piped());
    let done = command.output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn send_speaks_tls_and_says_why_it_is_not_let_in() {
    let (ours, other) = (authority("ours"), authority("other"));
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), &identity(&ours, 2100));
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, text) in [("ours.pem", ours.pem()), ("other.pem", other.pem()), ("one.hl7", message("one", "A01"))] {
        std::fs::write(path(name), text).unwrap();
    }
    for (name, by) in [("client", &ours), ("stranger", &other)] {
        let (certificate, key) = client(by, Some("lab.example"), "x", 1);
        std::fs::write(path(&format!("{name}.pem")), certificate).unwrap();
        std::fs::write(path(&format!("{name}.key")), key).unwrap();
    }
    let gateway = Gateway::start(&format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\" }}\n",
        path("server.pem"),
        path("server.key"),
        path("ours.pem")
    ));
    let (ca, file) = (path("ours.pem"), folder.path().join("one.hl7"));
    let (cert, key) = (path("client.pem"), path("client.key"));
    let good = ["--tls", "--ca", &ca, "--server-name", "localhost", "--cert", &cert, "--key", &key];
    let (code, said) = send(&gateway, &file, &good);
    assert!(code == Some(0) && said.contains("1 accepted, 0 failed"), "{said}");
    let (wrong_cert, wrong_key, wrong_ca) = (path("stranger.pem"), path("stranger.key"), path("other.pem"));
    for (arguments, expected) in [
        (&good[..5], "received fatal alert: CertificateRequired"),
        (&[&good[..6], &[&wrong_cert, "--key", &wrong_key]].concat(), "received fatal alert: UnknownCA"),
        (&[&["--tls", "--ca", &wrong_ca], &good[3..]].concat(), "invalid peer certificate: UnknownIssuer"),
        (&[&good[..3], &good[5..]].concat(), "not valid for name \"127.0.0.1\""),
        (&[], "the peer closed the connection without an acknowledgement"),
    ] {
        let (code, said) = send(&gateway, &file, arguments);
        assert!(code == Some(1) && said.contains(expected), "{expected}: {said}");
    }
    for (arguments, expected) in [
        (&["--tls"][..], "--ca"),
        (&["--ca", &ca], "--tls"),
        (&["--tls", "--ca", &ca, "--cert", &cert], "--key"),
        (&["--tls", "--ca", &key], "holds no certificate in PEM"),
        (&["--tls", "--ca", &ca, "--server-name", "a b"], "neither a host name nor an address"),
    ] {
        let (code, said) = send(&gateway, &file, arguments);
        assert!(code == Some(2) && said.contains(expected), "{expected}: {said}");
    }
    let data = gateway.data();
    gateway.stop();
    assert_eq!(journal(&data), [message("one", "A01")]);
}
