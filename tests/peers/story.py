"""The gateway of examples/care for the checks of coordinated care: its recipients, its messages, an endpoint that records, and clients made of other people's libraries."""

import contextlib
import http.server
import importlib
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading

from fhir.resources.R4B import get_fhir_model_class
from fhirclient.auth import FHIRAuth
from fhirclient.server import FHIRServer

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "care"
TOPICS = "https://handoff.example/fhir/SubscriptionTopic/"
EXTENSIONS = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def parsed(resource):
    """The resource as fhir.resources reads it, which refuses names that FHIR does not have and values that are not of their type; None has no model there."""
    return get_fhir_model_class(resource["resourceType"]).model_validate(resource)


class Token(FHIRAuth):
    """A bearer token that was given out of band, as fhirclient's servers take their authorization."""

    auth_type = "token"

    def __init__(self, token):
        super().__init__()
        self.token = token

    @property
    def ready(self):
        return True

    def can_sign_headers(self):
        return True

    def signed_headers(self, headers):
        return {**headers, "Authorization": f"Bearer {self.token}"}


class Client:
    """A recipient: writes and reads with fhir.resources, asks with fhirclient, which parses what it gets a second time. fhirclient alone cannot: it drops the extensions of
    primitives, and what is subscribed to stands there."""

    def __init__(self, base, token):
        self.server = FHIRServer(None, base)
        self.server.session.trust_env = False
        self.server.auth = Token(token)

    def subscribe(self, topic, filters, content, channel="rest-hook", endpoint=None, custom=None, **more):
        """Makes a Subscription; gives its id."""
        extension = lambda name, kind, value: {"url": EXTENSIONS + name, f"value{kind}": value}
        told = {"type": channel, "payload": "application/fhir+json", **more}
        told["_payload"] = {"extension": [extension("backport-payload-content", "Code", content)]}
        if endpoint:
            told |= {"endpoint": endpoint, "header": ["Authorization: Bearer what-the-endpoint-wants"]}
        if custom:
            told["_type"] = {"extension": [extension("backport-channel-type", "Coding", {"code": custom})]}
        wanted = {"resourceType": "Subscription", "status": "requested", "reason": "to be told", "criteria": TOPICS + topic, "channel": told}
        if "/" in topic:
            wanted["criteria"] = topic
        if filters:
            wanted["_criteria"] = {"extension": [extension("backport-filter-criteria", "String", filters)]}
        sent = json.loads(parsed(wanted).model_dump_json())
        answer = self.server.post_json("Subscription", sent)
        made = parsed(answer.json())
        assert answer.status_code == 201, answer.text
        assert answer.headers["Location"] == f"{self.server.base_uri}Subscription/{made.id}", answer.headers
        return made.id

    def get(self, path):
        """What stands there, read by both libraries."""
        resource = self.server.request_json(path)
        parsed(resource)
        kind = resource["resourceType"]
        # fhirclient is of R4 alone, which has no SubscriptionTopic.
        if kind != "SubscriptionTopic":
            getattr(importlib.import_module(f"fhirclient.models.{kind.lower()}"), kind)(resource)
        return resource

    def put(self, resource):
        answer = self.server.put_json(f"{resource['resourceType']}/{resource['id']}", json.loads(parsed(resource).model_dump_json()))
        return answer.json()

    def status(self, subscription):
        """How it stands, and how many events there were."""
        status = parameters(self.get(f"Subscription/{subscription}/$status")["entry"][0]["resource"])
        return status["status"], int(status["events-since-subscription-start"])

    def events(self, subscription, query=""):
        return self.get(f"Subscription/{subscription}/$events{query}")


def value(parameter):
    return next((parameter[key] for key in parameter if key.startswith("value")), None)


def parameters(resource):
    """The parameters of a status by name, those that occur once."""
    return {parameter["name"]: value(parameter) for parameter in resource["parameter"]}


def events_of(bundle):
    """Of a notification: number → its focus, or None, and the codes of its triggers."""
    found = {}
    for parameter in bundle["entry"][0]["resource"]["parameter"]:
        if parameter["name"] == "notification-event":
            parts = parameter["part"]
            focus = [value(part)["reference"] for part in parts if part["name"] == "focus"]
            triggers = [value(part)["code"] for part in parts if part["name"] == "trigger"]
            number = [int(value(part)) for part in parts if part["name"] == "event-number"]
            found[number[0]] = (focus[0] if focus else None, triggers)
    return found


class Endpoint:
    """Takes what is pushed to `url(NAME)`. `refuses[NAME]` is how many of the next ones it answers with 500; of those nothing is kept but in `refused`."""

    def __init__(self):
        self.got, self.refused, self.refuses = {}, {}, {}
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                name = self.path.split("/")[2]
                refuses = endpoint.refuses.get(name, 0)
                endpoint.refuses[name] = max(0, refuses - 1)
                (endpoint.refused if refuses else endpoint.got).setdefault(name, []).append((self.path, self.headers, body))
                self.send_response(500 if refuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.server.server_port}/to/{name}"

    def bundles(self, name):
        """What came, each parsed anew, and with what it has to come."""
        found = []
        for path, headers, body in self.got.get(name, []):
            assert headers["Content-Type"].split(";")[0] == "application/fhir+json", headers
            assert headers["Authorization"] == "Bearer what-the-endpoint-wants", "the header of the subscription"
            bundle = json.loads(body)
            parsed(bundle)
            found.append(bundle)
        return found

    def told(self, name):
        """The events that came, by number, each as it came last."""
        return {number: event for bundle in self.bundles(name) for number, event in events_of(bundle).items()}


class Story:
    """The gateway of examples/care, running, and its messages."""

    def __init__(self, peers, folder, ports, tokens):
        self.peers, self.folder, self.ports, self.tokens = peers, folder, ports, tokens
        self.base = f"http://127.0.0.1:{ports['8090']}/fhir"

    def client(self, who):
        return Client(self.base, self.tokens[who])

    def send(self, *names):
        """Messages by what their file names begin with; each is acknowledged."""
        for name in names:
            path = next((self.folder / "messages").glob(f"{name}*.hl7"))
            assert re.search(r"MSA\|[AC]A\|", self.peers.mllp_send(str(self.ports["2575"]), path)), name

    def vary(self, name, new, *changes):
        """A message like another, but for some texts."""
        text = next((self.folder / "messages").glob(f"{name}*.hl7")).read_bytes().decode()
        for before, after in changes:
            assert before in text, before
            text = text.replace(before, after)
        (self.folder / "messages" / f"{new}.hl7").write_bytes(text.encode())


@contextlib.contextmanager
def story(peers, name, admin="", more="", prepare=None):
    """A copy of the example on free ports, with tokens for its recipients and a steward, further keys of [admin] and further tables; its messages lead up to now. `prepare` changes
    the copy before the gateway starts."""
    folder = pathlib.Path(peers.options.work, f"story-{name}")
    shutil.copytree(EXAMPLE, folder)
    ports = {port: free_port() for port in ("2575", "8080", "8090")}
    text = (folder / "handoff.toml").read_text()
    for port, free in ports.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
    tokens = {}
    for who, role, place in (("aco-cm", "recipient", 'id = "aco-cm"\n'), ("chfm", "recipient", 'id = "chfm"\n'), ("office", "steward", "[coordination.fhir]\n")):
        made = subprocess.run([peers.options.handoff, "token", "create", f"--{role}", who], check=True, capture_output=True, text=True)
        tokens[who] = made.stdout.strip()
        assert place in text, place
        text = text.replace(place, place + made.stderr.strip().splitlines()[-1] + "\n")
    # Its last section is [coordination.subscriptions]; no check waits for the second that is usual.
    text = text.replace("[admin]\n", f"[admin]\n{admin}")
    (folder / "handoff.toml").write_text(f'{text.rstrip()}\nretry_min = "100ms"\nretry_max = "200ms"\n{more}')
    subprocess.run([folder / "messages.sh", folder / "messages"], check=True)
    if prepare:
        prepare(folder)
    with peers.serving(folder, "listening mllp"):
        yield Story(peers, folder, ports, tokens)
