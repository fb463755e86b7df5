"""Peers: each check is a function; it passes when it returns and fails when it raises. Run by run.sh, which prepares the peers."""

import argparse
import contextlib
import functools
import http.server
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request

import clients
import desk
import operators
import senders
import shapes
from story import free_port

PATIENCE = 60


def wait_for(what, found):
    """What `found` gives, once it gives something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"waited too long for {what}")


def fields(message):
    """The segments of an HL7 v2 message: name → fields, counted as in the standard for all but MSH."""
    return {line[:3]: line.split("|") for line in re.split("[\r\n]+", message) if line}


class Peers:
    wait_for = staticmethod(wait_for)

    def __init__(self, options):
        self.options = options
        self.count = 0

    @contextlib.contextmanager
    def gateway(self, routes, listener="", before=""):
        """`handoff serve` in a folder of its own, with further keys of its listener and of the file; gives its port and folder, and stops it."""
        self.count += 1
        folder = pathlib.Path(self.options.work, f"gateway{self.count}")
        folder.mkdir()
        # The same message again is delivered again: what becomes of it at the other end is what these checks are about.
        (folder / "handoff.toml").write_text(f'{before}[[listener]]\nname = "adt"\nmllp = "127.0.0.1:0"\nduplicates = "off"\n{listener}{routes}')
        with self.serving(folder, r"listening mllp 127\.0\.0\.1:(\d+)") as port:
            yield port.group(1), folder

    @contextlib.contextmanager
    def serving(self, folder, ready):
        """`handoff serve` with the configuration of a folder; gives what its log says once it is ready, and stops it."""
        with open(folder / "log", "w") as log:
            process = subprocess.Popen([self.options.handoff, "serve", "--config", folder / "handoff.toml"], stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield wait_for("the gateway", lambda: re.search(ready, (folder / "log").read_text()))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0, "the gateway does not end with 0"
        except BaseException:
            print((folder / "log").read_text(), file=sys.stderr)
            raise
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def fhir_server(self):
        """The FHIR server; gives its base URL."""
        port = free_port()
        base = f"http://127.0.0.1:{port}/fhir/R4"
        process = subprocess.Popen(["node", "server.mjs", str(port)], cwd=self.options.fhir_server, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            wait_for("the FHIR server", lambda: get(base + "/Patient?_summary=count"))
            yield base
        finally:
            process.kill()
            process.wait()

    def fixture(self, name):
        return pathlib.Path(self.options.fixtures, name, "message.hl7")

    def mllp_send(self, port, path):
        """Sends a file with python-hl7 and gives what it printed: the acknowledgements."""
        command = [f"{self.options.venv}/bin/mllp_send", "--port", port, "--file", path, "--loose", "127.0.0.1"]
        return subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.PIPE, text=True).stdout

    def python_hl7_sends_and_gets_its_acknowledgement(self):
        with self.gateway("") as (port, folder):
            # MSH-15 asks the first for a commit acknowledgement, the second is in original mode.
            for count, (name, code) in enumerate([("ADT_A01/a01-admission", "CA"), ("ADT_A01/a08-update", "AA")], 1):
                path = self.fixture(name)
                sent = fields(path.read_text())["MSH"]
                ack = fields(self.mllp_send(port, path).replace("\x0b", "").replace("\x1c", ""))
                assert ack["MSA"][1:3] == [code, sent[9]], ack
                assert ack["MSH"][2:6] == sent[4:6] + sent[2:4], "the sides are swapped"
                assert ack["MSH"][8].split("^") == ["ACK", sent[8].split("^")[1], "ACK"] and ack["MSH"][11] == sent[11], ack
                wait_for("the Bundle", lambda: len(bundles(folder)) == count)

    def a_fhir_server_stores_the_patient_once(self):
        path = self.fixture("ADT_A01/a01-admission")
        with self.fhir_server() as base:
            routes = f'[[route]]\nname = "ehr"\nto = {{ fhir = "{base}", bundle = "transaction" }}\n[[route]]\nname = "file"\nto = {{ file = "handoff-data/bundles.ndjson" }}\n'
            with self.gateway(routes) as (port, folder):
                self.mllp_send(port, path)
                wait_for("the patient", lambda: resources(base, "Patient"))
                self.mllp_send(port, path)
                wait_for("the second Bundle", lambda: len(bundles(folder)) == 2)
            # The gateway has stopped: all is delivered, or the log says why not.
            log = (folder / "log").read_text()
            assert "dead letter" not in log and "not delivered" not in log, log
            entries = bundles(folder)[0]["entry"]
            # The server replaces urn:uuid references by its own addresses, which are the ids that we put.
            text = json.dumps([entry["resource"] for entry in entries])
            for entry in entries:
                text = text.replace(entry["fullUrl"], f"{entry['resource']['resourceType']}/{entry['fullUrl'][9:]}")
            sent = json.loads(text)
            for kind in ("Patient", "Encounter"):
                expected = [resource for resource in sent if resource["resourceType"] == kind]
                found = resources(base, kind)
                assert len(found) == len(expected) == 1, f"{len(found)} of {kind} after sending twice"
                assert plain(found[0]) == plain(expected[0]), f"{kind} is not what was sent"

    def conditional_and_split_requests_are_stored_once(self):
        """The same message twice, and its patient known to the server before: counted once, under the server's own id."""
        path = self.fixture("ADT_A01/a01-admission")
        for to in (
            'bundle = "transaction", conditional = "update"',
            'bundle = "transaction", conditional = "create"',
            'bundle = "transaction", entries_max = 5',
            'bundle = "transaction", entries_max = 5, conditional = "update"',
            'bundle = "put"',
            'bundle = "put", conditional = "update"',
            'bundle = "put", conditional = "create"',
            'bundle = "batch"',
            'bundle = "batch", entries_max = 4',
        ):
            with self.fhir_server() as base:
                conditional = "conditional" in to
                if conditional:
                    known = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:2.999.10.2", "value": "70011834"}], "name": [{"family": "Known"}]}
                    known = post(f"{base}/Patient", known)["id"]
                routes = f'[[route]]\nname = "ehr"\nto = {{ fhir = "{base}", {to} }}\n'
                with self.gateway(routes) as (port, folder):
                    self.mllp_send(port, path)
                    wait_for("the encounter", lambda: resources(base, "Encounter"))
                    first = wait_for("all of it", lambda: settled(base))
                    self.mllp_send(port, path)
                    other = folder / "other.hl7"
                    other.write_text(path.read_text().replace("HP20240312-0001", "HP20240312-0002"))
                    self.mllp_send(port, other)
                    wait_for("three messages", lambda: len(re.findall("outcome=", (folder / "log").read_text())) == 3)
                log = (folder / "log").read_text()
                assert "dead letter" not in log and "not delivered" not in log, f"{to}\n{log}"
                # A message has a header and provenances of its own; what it speaks of is there once.
                second = settled(base)
                for kind in ("Patient", "Encounter", "Organization", "Practitioner", "Location", "Coverage", "AllergyIntolerance", "Account"):
                    assert second[kind] == first[kind], f"{to}: {second[kind]} of {kind}, {first[kind]} after the first"
                patients = resources(base, "Patient")
                assert len(patients) == 1, f"{to}: {len(patients)} patients"
                if conditional:
                    family = patients[0]["name"][0]["family"]
                    assert patients[0]["id"] == known, to
                    assert family == ("Known" if "create" in to else "Castellane"), f"{to}: {family}"
                subject = resources(base, "Encounter")[0]["subject"]["reference"]
                assert subject == f"Patient/{patients[0]['id']}", f"{to}: {subject}"
                text = json.dumps([resources(base, kind) for kind in second])
                assert "urn:uuid:" not in text, f"{to}: a reference that nobody resolved"

    def a_web_hook_is_checked_as_the_documentation_says(self):
        """The receiver runs the very code that docs/targets.md gives."""
        code = (pathlib.Path(__file__).parents[2] / "docs" / "targets.md").read_text().split("```python\n")[1].split("```")[0]
        documented = {}
        exec(code, documented)
        judged, secret, following = [], "first-key-0123456789abcdef", "second-key-0123456789abcdef"

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                header = self.headers["X-Handoff-Signature"]
                keys = (secret.encode(), following.encode(), b"another key")
                checks = [documented["is_from_handoff"](header, body, key) for key in keys]
                judged.append(checks + [documented["is_from_handoff"](header, body + b" ", keys[0])])
                self.send_response(204)
                self.end_headers()

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        to = f'rest_hook = "http://127.0.0.1:{server.server_port}/", secret = "{secret}", secret_next = "{following}"'
        for more in ("", ", raw = true"):
            with self.gateway(f'[[route]]\nname = "hook"\nto = {{ {to}{more} }}\n') as (port, _):
                self.mllp_send(port, self.fixture("ADT_A01/a01-admission"))
                wait_for("the web hook", lambda: judged)
            assert judged == [[True, True, False, False]], judged
            judged.clear()
        server.shutdown()

    @contextlib.contextmanager
    def token_server(self, key, life):
        """The token server for the public half of a key; gives its base."""
        port = free_port()
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", f"{key}.pub"], check=True)
        process = subprocess.Popen([f"{self.options.venv}/bin/python", pathlib.Path(__file__).parent / "tokens.py", str(port), f"{key}.pub", str(life)], stdin=subprocess.DEVNULL)
        try:
            wait_for("the token server", lambda: get(f"http://127.0.0.1:{port}/seen"))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()

    def key(self, name, *options):
        path = pathlib.Path(self.options.work, f"{name}.pem")
        subprocess.run(["openssl", "genpkey", *options, "-out", path], check=True, stderr=subprocess.DEVNULL)
        return path

    def smart_tokens_by_an_assertion_that_others_verify(self):
        path = self.fixture("ADT_A01/a01-admission")
        rsa = self.key("rsa", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        curve = self.key("curve", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")

        def route(base, key, more=""):
            smart = f'smart = {{ client_id = "harbor", key = "file:{key}", key_id = "key-1", scope = "system/*.cud"{more} }}'
            return f'[[route]]\nname = "ehr"\nto = {{ fhir = "{base}/fhir", {smart} }}\nretry = {{ first = "50ms", max = "200ms" }}\n'

        for key, algorithm in ((rsa, "RS384"), (curve, "ES384")):
            with self.token_server(key, 2) as base, self.gateway(route(base, key)) as (port, folder):
                seen = lambda: get(f"{base}/seen")
                self.mllp_send(port, path)
                wait_for("the first Bundle", lambda: seen()["bundles"] == 1)
                # Tokens hold for two seconds: this one is fetched anew before it is used.
                time.sleep(2.5)
                self.mllp_send(port, path)
                wait_for("the second Bundle", lambda: seen()["bundles"] == 2)
                post(f"{base}/revoke", {})
                self.mllp_send(port, path)
                wait_for("the third Bundle", lambda: seen()["bundles"] == 3)
                end = seen()
                assert end["refused"] == [] and end["expired"] == 0 and end["unknown"] <= 1, end
                assert set(end["algorithms"]) == {algorithm} and 2 <= end["given"] <= 3, end
        # The wrong key: no token, no dead letter, and the backlog goes out once the key is right.
        with self.token_server(rsa, 60) as base:
            other = self.key("other", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
            with self.gateway(route(base, other)) as (port, folder):
                self.mllp_send(port, path)
                wait_for("refusals", lambda: len(get(f"{base}/seen")["refused"]) > 2)
            log = (folder / "log").read_text()
            assert "dead letter" not in log and "(invalid_client)" in log and 'waits="route"' in log, log
            assert get(f"{base}/seen")["given"] == 0


    def token(self, role):
        """A new token and its table for the configuration."""
        command = [self.options.handoff, "token", "create", "--name", role, "--role", role]
        made = subprocess.run(command, check=True, capture_output=True, text=True)
        return made.stdout.strip(), re.search(r"tokens = \[(.*)\]", made.stderr).group(1)

    def schemathesis_finds_the_api_as_it_is_described(self):
        roles = {role: self.token(role) for role in ("admin", "phi-reader")}
        admin = f'[admin]\nlisten = "127.0.0.1:0"\nfailures_max = 100000\ntokens = [{", ".join(table for _, table in roles.values())}]\n'
        with self.gateway("", before=admin) as (port, folder):
            # Something to be found: a message that was delivered, and a dead letter.
            self.mllp_send(port, self.fixture("ADT_A01/a01-admission"))
            bad = folder / "bad.hl7"
            bad.write_text(self.fixture("ADT_A01/a01-admission").read_text().replace("ADT^A01^ADT_A01", "ZZZ^Z99", 1))
            self.mllp_send(port, bad)
            base = re.search(r"admin (http://\S+)", (folder / "log").read_text()).group(1)
            for role, (token, _) in roles.items():
                command = [f"{self.options.venv}/bin/schemathesis", "run", f"{base}/api/v1/openapi.json", "--header", f"Authorization: Bearer {token}"]
                command += ["--checks", "all", "--seed", "7", "--generation-deterministic", "--max-examples", "10", "--no-color"]
                # One worker: hypothesis parses Python, which 3.11 does not do in two threads at once ("AST constructor recursion depth mismatch").
                if role == "phi-reader":
                    command += ["--include-path-regex", r"/raw$|/dead-letters/\{route\}/\{seq\}$"]
                done = subprocess.run(command, timeout=PATIENCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
                assert done.returncode == 0, f"{role}:\n{done.stdout}"


def plain(resource):
    """A resource without what servers add."""
    return {key: value for key, value in resource.items() if key not in ("meta", "text")}


def get(url):
    """The JSON at a URL; None when there is none."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError):
        return None


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/fhir+json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return json.load(answer)


def resources(base, kind):
    return [entry["resource"] for entry in (get(f"{base}/{kind}?_count=1000") or {}).get("entry", [])]


KINDS = ("Patient", "Encounter", "Organization", "Practitioner", "Location", "Coverage", "AllergyIntolerance", "Account", "Condition", "MessageHeader", "Provenance")


def settled(base):
    """How many there are of each kind, once that has stopped to grow."""
    count = lambda: {kind: len(resources(base, kind)) for kind in KINDS}
    before = None
    while before != (before := count()):
        time.sleep(0.5)
    return before


def bundles(folder):
    path = folder / "handoff-data" / "bundles.ndjson"
    # What stands behind the last line break is still being written.
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def main():
    parser = argparse.ArgumentParser()
    for name in ("handoff", "fixtures", "venv", "fhir-server", "senders", "browser", "prometheus", "validator", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("checks", nargs="*", help="only those whose names begin so")
    peers = Peers(parser.parse_args())
    passed = failed = 0
    checks = (
        peers.python_hl7_sends_and_gets_its_acknowledgement,
        peers.a_fhir_server_stores_the_patient_once,
        peers.schemathesis_finds_the_api_as_it_is_described,
        peers.conditional_and_split_requests_are_stored_once,
        peers.a_web_hook_is_checked_as_the_documentation_says,
        peers.smart_tokens_by_an_assertion_that_others_verify,
    ) + tuple(functools.update_wrapper(functools.partial(check, peers), check) for check in senders.CHECKS + operators.CHECKS + clients.CHECKS + shapes.CHECKS + desk.CHECKS)
    for check in checks:
        if not check.__name__.startswith(tuple(peers.options.checks) or ""):
            continue
        try:
            check()
            passed += 1
            print(f"ok   {check.__name__}")
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"FAIL {check.__name__}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
