//! TLS towards others: their certificates, and ours.
use super::process::{Gateway, Peer, dead_letters, journal, message, wait_for};
use super::tls::{Authority, authority, identity};
use super::web::{Web, taken};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// `ours.pem` and `other.pem` are authorities; `server`, `client` and `stranger` have certificates, the last of the other authority.
fn files(folder: &Path) -> (Authority, Authority) {
    let (ours, other) = (authority("ours"), authority("other"));
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("ours.pem", &ours.pem());
    write("other.pem", &other.pem());
    for (name, by) in [("server", &ours), ("client", &ours), ("stranger", &other)] {
        let (certificate, key) = identity(by, 2100);
        write(&format!("{name}.pem"), &certificate);
        write(&format!("{name}.key"), &key);
    }
    (ours, other)
}

/// `tls = { ca = …, certificate = …, key = … }`.
fn tls(folder: &Path, ca: &str, who: Option<&str>) -> String {
    let file = |name: String| folder.join(name).display().to_string();
    let ours = who.map(|who| {
        format!(", certificate = \"{}\", key = \"{}\"", file(format!("{who}.pem")), file(format!("{who}.key")))
    });
    format!("tls = {{ ca = \"{}\"{} }}", file(format!("{ca}.pem")), ours.unwrap_or_default())
}

fn retry() -> &'static str {
    "retry = { first = \"10ms\", max = \"50ms\" }"
}

#[test]
fn an_https_server_of_a_private_authority_that_wants_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, _) = files(folder.path());
    let mut roots = RootCertStore::empty();
    roots.add(ours.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(folder.path().join("server.pem")).unwrap()];
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap())
        .unwrap();
    let web = Web::start_with(Some(config), taken);
    let route = |name: &str, host: &str, tls: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nto = {{ fhir = \"https://{host}:{}/{name}\", {tls} }}\n{}\n",
            web.port(),
            retry()
        )
    };
    let good = tls(folder.path(), "ours", Some("client"));
    let gateway = Gateway::start(
        &[
            route("good", "localhost", &good),
            route("nobody", "localhost", &tls(folder.path(), "ours", None)),
            route("stranger", "localhost", &tls(folder.path(), "ours", Some("stranger"))),
            route("mistrust", "localhost", &tls(folder.path(), "other", Some("client"))),
            route("misnamed", "127.0.0.1", &good),
        ]
        .concat(),
    );
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    web.wait_for(1);
    for name in ["nobody", "stranger", "mistrust", "misnamed"] {
        wait_for("the refusal", || Some(()).filter(|()| gateway.log().contains(&format!("route=\"{name}\" seq=1"))));
    }
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(web.requests().iter().map(|request| request.line.as_str()).collect::<Vec<_>>(), ["POST /good"], "{log}");
    assert!(dead_letters(&data, "nobody").is_empty() && dead_letters(&data, "mistrust").is_empty(), "they wait");
}

#[test]
fn mllp_to_others_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let receiver = Gateway::start(&format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\" }}\n",
        file("server.pem"),
        file("server.key"),
        file("ours.pem")
    ));
    let port = receiver.address().rsplit_once(':').unwrap().1.to_owned();
    let route = |name: &str, host: &str, more: &str| {
        format!("[[route]]\nname = \"{name}\"\nto = {{ mllp = \"{host}:{port}\"{more} }}\n{}\n", retry())
    };
    let with = |ca: &str, who: Option<&str>| format!(", timeout = \"1s\", {}", tls(folder.path(), ca, who));
    let gateway = Gateway::start(
        &[
            route("good", "localhost", &with("ours", Some("client"))),
            route("plain", "localhost", ", timeout = \"1s\""),
            route("nobody", "localhost", &with("ours", None)),
            route("stranger", "localhost", &with("ours", Some("stranger"))),
            route("mistrust", "localhost", &with("other", Some("client"))),
            route("misnamed", "127.0.0.1", &with("ours", Some("client"))),
        ]
        .concat(),
    );
    let sent: Vec<String> = (0..20).map(|number| message(&format!("m{number}"), "A08")).collect();
    let mut peer = Peer::connect(&gateway);
    for message in &sent {
        peer.exchange(message);
    }
    receiver.wait_for_bundles(sent.len());
    for name in ["plain", "nobody", "stranger", "mistrust", "misnamed"] {
        wait_for("the refusal", || Some(()).filter(|()| gateway.log().contains(&format!("route=\"{name}\" seq=1"))));
    }
    let data = receiver.data();
    gateway.stop();
    let log = receiver.stop();
    let peers: std::collections::BTreeSet<_> = log
        .lines()
        .filter(|line| line.contains(": message seq="))
        .filter_map(|line| line.split("peer=").nth(1)?.split('}').next())
        .collect();
    assert_eq!(peers.len(), 1, "one connection, kept open");
    assert_eq!(journal(&data), sent, "in order, and from nobody else");
}

#[test]
fn renewed_certificates_are_taken_up_when_the_configuration_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let file = |name: &str| folder.path().join(name);
    let receiver = Gateway::start(&format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\" }}\n",
        file("server.pem").display(),
        file("server.key").display(),
        file("ours.pem").display()
    ));
    let port = receiver.address().rsplit_once(':').unwrap().1.to_owned();
    let gateway = Gateway::start(&format!(
        "[[route]]\nname = \"lab\"\nto = {{ mllp = \"localhost:{port}\", timeout = \"1s\", {} }}\n{}\n",
        tls(folder.path(), "ours", Some("stranger")),
        retry()
    ));
    let sent = message("a", "A01");
    Peer::connect(&gateway).exchange(&sent);
    gateway.wait_for_log("route=\"lab\" seq=1");
    gateway.hang_up();
    gateway.wait_for_log("configuration read anew");
    assert!(!gateway.log().contains("routes changed"), "nothing has");
    std::fs::copy(file("client.pem"), file("stranger.pem")).unwrap();
    std::fs::copy(file("client.key"), file("stranger.key")).unwrap();
    gateway.hang_up();
    gateway.wait_for_log("routes changed: lab");
    receiver.wait_for_bundles(1);
    let data = receiver.data();
    gateway.stop();
    receiver.stop();
    assert_eq!(journal(&data), [sent]);
}

#[test]
fn files_that_cannot_be_used_are_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handoff.toml");
    std::fs::write(
        &path,
        "[[route]]\nname = \"ehr\"\nto = { fhir = \"https://ehr.example\", tls = { ca = \"no.pem\" } }\n[[route]]\nname = \"lab\"\nto = { mllp = \"lab.example:1\", tls = { ca = \"handoff.toml\" } }\n",
    )
    .unwrap();
    let output = super::process::handoff().args(["check", "--config"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("route ehr: tls: ") && text.contains("no.pem: cannot be read"), "{text}");
    assert!(text.contains("route lab: tls: ") && text.contains("holds no certificate in PEM"), "{text}");
}
