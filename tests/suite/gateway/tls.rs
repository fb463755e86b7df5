//! TLS in front of MLLP: who gets in, who does not, and a certificate that is renewed.
use super::process::{Gateway, Peer, journal, message, wait_for};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for localhost and its key, PEM; `until` is its last year.
pub fn identity(authority: &Authority, until: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A certificate of a client that is called so, or only by its common name.
pub fn client(authority: &Authority, dns: Option<&str>, common: &str, serial: u64) -> (String, String) {
    let mut params = CertificateParams::new(dns.map(str::to_owned).into_iter().collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    params.serial_number = Some(SerialNumber::from(serial));
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A list of the authority that revokes these.
fn revocation_list(authority: &Authority, serials: &[u64]) -> String {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(authority).unwrap().pem().unwrap()
}

pub fn install(folder: &Path, (certificate, key): &(String, String)) {
    std::fs::write(folder.join("server.key"), key).unwrap();
    std::fs::write(folder.join("server.pem"), certificate).unwrap();
}

/// Sends one message over TLS and gives what comes back; `None` when the gateway does not let us in or says nothing.
fn exchange(address: &str, trusted: &Authority, shown: Option<&(String, String)>, text: &str) -> Option<String> {
    talk(address, trusted, shown, &[b"\x0b", text.as_bytes(), b"\x1c\r"].concat(), b"\x1c\r")
}

/// Sends bytes over TLS and gives what comes back, up to its `end`.
fn talk(
    address: &str,
    trusted: &Authority,
    shown: Option<&(String, String)>,
    bytes: &[u8],
    end: &[u8],
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    stream.write_all(bytes).ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(end) {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(answer).ok()
}

#[test]
fn only_clients_of_the_authority_get_in() {
    let (ours, other) = (authority("ours"), authority("other"));
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), &identity(&ours, 2100));
    std::fs::write(folder.path().join("ca.pem"), ours.pem()).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let gateway = Gateway::start(&format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\" }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    ));
    let address = gateway.address();
    let good = identity(&ours, 2100);
    let answer = exchange(&address, &ours, Some(&good), &message("good", "A01")).expect("an acknowledgement");
    assert!(answer.contains("MSA|AA|good"), "{answer}");
    for (who, shown) in [
        ("no certificate", None),
        ("another authority", Some(identity(&other, 2100))),
        ("expired", Some(identity(&ours, 2001))),
    ] {
        assert_eq!(exchange(&address, &ours, shown.as_ref(), &message("bad", "A01")), None, "{who}");
    }
    assert_eq!(exchange(&address, &other, Some(&good), &message("bad", "A01")), None, "we do not trust the gateway");
    let mut plain = Peer::connect(&gateway);
    plain.send(&message("bad", "A01"));
    assert_eq!(plain.receive(), None, "MLLP without TLS");
    let data = gateway.data();
    let log = gateway.stop();
    assert!(log.contains("no TLS connection"), "{log}");
    assert_eq!(journal(&data), [message("good", "A01")], "nothing of those who did not get in");
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let (old, new) = (authority("old"), authority("new"));
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), &identity(&old, 2100));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let gateway = Gateway::start(&format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\" }}\n",
        file("server.pem"),
        file("server.key")
    ));
    let address = gateway.address();
    let accepted = |trusted: &Authority| exchange(&address, trusted, None, &message("one", "A01")).is_some();
    assert!(accepted(&old) && !accepted(&new));
    std::fs::write(folder.path().join("server.pem"), "no certificate").unwrap();
    wait_for("the complaint", || {
        assert!(accepted(&old), "the certificate of before stays in use");
        Some(()).filter(|()| gateway.log().contains("the certificate of before stays in use"))
    });
    install(folder.path(), &identity(&new, 2100));
    wait_for("the new certificate", || Some(()).filter(|()| accepted(&new)));
    gateway.stop();
}

#[test]
fn a_certificate_speaks_for_its_own_senders_and_not_once_it_is_revoked() {
    let ours = authority("ours");
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), &identity(&ours, 2100));
    std::fs::write(folder.path().join("ca.pem"), ours.pem()).unwrap();
    std::fs::write(folder.path().join("revoked.pem"), revocation_list(&ours, &[13])).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let gateway = Gateway::start(&format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\nrevoked = \"{}\"\n\
         names = {{ \"his.example\" = [\"HIS|HARBOR\"], \"Laboratory\" = [\"LAB\"] }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
        file("revoked.pem")
    ));
    let address = gateway.address();
    let his = client(&ours, Some("his.example"), "Laboratory", 11);
    let lab = client(&ours, None, "Laboratory", 12);
    let revoked = client(&ours, Some("his.example"), "x", 13);
    let one = message("one", "A01");
    let send = |shown: &(String, String), text: &str| exchange(&address, &ours, Some(shown), text);
    let refused = send(&lab, &one).unwrap();
    assert!(refused.contains("MSA|AR|one\rERR||MSH^1^3|207^"), "another's message: {refused}");
    assert!(send(&his, &one).unwrap().contains("MSA|AA|one"), "what was refused does not stand in its way");
    assert!(send(&his, &message("two", "A01").replace("|HIS|HARBOR|", "|LAB|HARBOR|")).unwrap().contains("MSA|AR|two"));
    assert!(
        send(&lab, &message("three", "A01").replace("|HIS|HARBOR|", "|LAB|ANY|")).unwrap().contains("MSA|AA|three")
    );
    assert_eq!(send(&revoked, &one), None);
    std::fs::write(folder.path().join("revoked.pem"), revocation_list(&ours, &[11, 13])).unwrap();
    wait_for("the new list", || send(&his, &one).is_none().then_some(()));
    assert!(send(&lab, &message("four", "A01").replace("|HIS|HARBOR|", "|LAB|ANY|")).unwrap().contains("MSA|AA|four"));
    let log = gateway.stop();
    assert!(log.contains("does not go with its MSH-3 and MSH-4") && log.contains("Laboratory"), "{log}");
}

#[test]
fn http_has_the_same_tls() {
    let (ours, other) = (authority("ours"), authority("other"));
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), &identity(&ours, 2100));
    std::fs::write(folder.path().join("ca.pem"), ours.pem()).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let gateway = Gateway::start(&format!(
        "[[listener]]\nname = \"web\"\nhttp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\", names = {{ \"his.example\" = [\"HIS\"] }} }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    ));
    let post = |shown: &(String, String), id: &str, end: &str| {
        let body = message(id, "A01");
        let request = format!(
            "POST /hl7 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/hl7-v2\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        talk(&gateway.address(), &ours, Some(shown), request.as_bytes(), end.as_bytes())
    };
    let his = client(&ours, Some("his.example"), "x", 1);
    assert!(post(&his, "one", "\rMSA|AA|one\r").unwrap().starts_with("HTTP/1.1 200 "));
    let lab = client(&ours, Some("lab.example"), "x", 2);
    assert!(post(&lab, "two", "this MSH-3 and MSH-4\r").unwrap().contains("\rMSA|AR|two\r"));
    assert_eq!(post(&client(&other, Some("his.example"), "x", 3), "three", "\r"), None, "another authority");
    let data = gateway.data();
    gateway.stop();
    assert_eq!(journal(&data).len(), 2);
}

#[test]
fn networks_that_are_not_allowed_are_turned_away() {
    let listener = |allow: &str| format!("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nallow = [{allow}]\n");
    let gateway = Gateway::start(&listener("\"10.0.0.0/8\", \"::1\""));
    assert_eq!(Peer::connect(&gateway).receive(), None);
    assert!(gateway.stop().contains("in no network of allow"));
    let gateway = Gateway::start(&listener("\"10.0.0.0/8\", \"127.0.0.1\""));
    assert!(Peer::connect(&gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"));
    gateway.stop();
}
