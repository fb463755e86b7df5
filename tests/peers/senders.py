"""Senders of others: node-hl7-client, and openssl s_client with good and bad certificates; and the schema that editors read."""

import pathlib
import subprocess

FRAME = b"\x0b%s\x1c\r"


def node_hl7_client_sends_and_reads_its_acknowledgements(peers):
    files = [peers.fixture("ADT_A01/a01-admission"), peers.fixture("ORU_R01/chemistry"), peers.fixture("ADT_A01/a08-update")]
    with peers.gateway("") as (port, _):
        script = pathlib.Path(peers.options.senders, "sender.mjs")
        sent = subprocess.run(["node", script, port, *files], check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout
    control_ids = [path.read_text().split("|")[9] for path in files]
    assert sent.split("\n")[:3] == [f"{code} {control_id}" for code, control_id in zip(("CA", "AA", "AA"), control_ids)], sent


def only_certificates_that_hold_get_in(peers):
    """Of our authority, in time, not revoked: that one sends. All others do not even get to say something."""
    folder = pathlib.Path(peers.options.work, "certificates")
    folder.mkdir()
    make = pathlib.Path(__file__).parent / "certificates.py"
    subprocess.run([f"{peers.options.venv}/bin/python", make, folder], check=True)
    message = FRAME % peers.fixture("ADT_A01/a08-update").read_bytes()
    tls = f'tls = {{ certificate = "{folder}/server.pem", key = "{folder}/server.key", client_ca = "{folder}/ca.pem", revoked = "{folder}/revoked.crl" }}\n'

    def talk(port, *options, authority="ca"):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", folder / f"{authority}.pem", "-verify_return_error", "-quiet", *options]
        # -quiet keeps the connection open after the end of the input; half a second is long for a message on loopback.
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                return process.communicate(message, timeout=3)[0]
            except subprocess.TimeoutExpired as still:
                process.kill()
                return still.stdout or process.communicate()[0]

    def shown(name):
        return "-cert", folder / f"{name}.pem", "-key", folder / f"{name}.key"

    with peers.gateway("", listener=tls) as (port, directory):
        for version in ("-tls1_3", "-tls1_2"):
            assert b"MSA|AA|" in talk(port, version, *shown("client")), version
        for name in ("wrong", "expired", "revoked"):
            for version in ("-tls1_3", "-tls1_2"):
                assert b"MSA" not in talk(port, version, *shown(name)), f"{name} {version}"
        assert b"MSA" not in talk(port), "no certificate at all"
        assert b"MSA" not in talk(port, "-tls1_1", *shown("client")), "TLS 1.1"
        assert b"MSA" not in talk(port, *shown("client"), authority="stranger"), "a client that does not know our authority stays away"
        assert b"MSA|AA|" in talk(port, *shown("client")), "and the others do not keep it from those that may"
    log = (directory / "log").read_text()
    assert log.count("no TLS connection") >= 8, log


def an_editor_passes_our_mappings_and_underlines_mistakes(peers):
    here = pathlib.Path(__file__).parent
    subprocess.run([f"{peers.options.venv}/bin/python", here / "editor.py", here.parent.parent], check=True)


CHECKS = (an_editor_passes_our_mappings_and_underlines_mistakes, node_hl7_client_sends_and_reads_its_acknowledgements, only_certificates_that_hold_get_in)
