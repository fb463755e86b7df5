//! Under a service manager: it is told when the gateway is ready, that it lives, and that it stops; the unit that comes with it is one that systemd reads.
use super::process::{Gateway, Peer, handoff, message};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("a datagram in time");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn it_is_told_how_the_gateway_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let name = format!("handoff-test-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    for (socket, address) in [
        (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
        (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}")),
    ] {
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut command = handoff();
        command.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "200000");
        let gateway = Gateway::start_with("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n", command);
        assert_eq!(next(&socket), "READY=1");
        assert!(Peer::connect(&gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"), "it was ready");
        assert_eq!([next(&socket), next(&socket)], ["WATCHDOG=1", "WATCHDOG=1"]);
        gateway.terminate();
        let mut told = next(&socket);
        while told == "WATCHDOG=1" {
            told = next(&socket);
        }
        assert_eq!(told, "STOPPING=1");
        gateway.stop();
    }
}

#[test]
fn the_unit_is_one_that_systemd_reads() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd/handoff.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The program where it is now, so that nothing else is missing.
    let here = text.replace("/usr/bin/handoff", env!("CARGO_BIN_EXE_handoff"));
    let path = folder.path().join("handoff.service");
    std::fs::write(&path, here).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("handoff.service:"), "{said}");
        }
        // Without systemd at least what matters most stands in it.
        Err(_) => assert!(text.contains("Type=notify") && text.contains("DynamicUser=yes")),
    }
}
