"""The shapes of what a subscriber gets in the story of examples/care: judged by the validator of tests/validate.sh, read by fhir.resources and fhirclient, and compared with the
guides, rule by rule.

The rules are those of Subscriptions R5 Backport 1.1.0 (profiles backport-subscription, -notification-r4 and -status-r4; pages "Notifications" and "Payload Types") and of Da Vinci
Unsolicited Notifications 1.0.0 (profiles notifications-bundle, notifications-messageheader, adt-notification-encounter and -condition), and what both guides' examples have beyond
them. No registry that tests reach has the packages of the guides, so the rules stand here. A difference is a text; `KNOWN` says which there are, and why.
"""

import copy
import json
import pathlib
import re
import subprocess

import websockets.sync.client

from story import EXTENSIONS, TOPICS, Endpoint, parsed, story, value

STATUS_PROFILE = EXTENSIONS + "backport-subscription-status-r4"
ALERTS = "http://hl7.org/fhir/us/davinci-alerts/"
EMPTY, ID_ONLY, FULL = "empty", "id-only", "full-resource"

GOLDEN = pathlib.Path(__file__).parents[1] / "suite" / "coordination" / "golden"

# Differences that stay. One that is not found any more is a failure as well: then its line goes.
KNOWN = {
    "status: a part trigger, of which the guide knows nothing": "US Core's patient-data-feed asks for it; the guide's slices are open",
    "status: no topic with the payload empty, where the examples have one": "the profile says that it should not be there",
    "entry: the focus is a PUT answered with 200, in the examples a POST with 201": "the guide leaves it open; what was there before is not known to a gateway of messages",
    "entry: id-only entries for focus and context, where the examples have none": "the guide allows them, each with the URL in fullUrl and request",
    "alert: Organization without active, which US Core has": "no message says that an organisation is in business",
    "alert: Organization without name, which US Core has": "the message gives a code alone",
    "alert: Practitioner with an identifier without system, which US Core has": "PD1-4 and others give a number without its authority",
    "alert: Encounter without type, which US Core has": "PV1-4 is empty: of an outpatient visit nobody says how it was admitted",
    "alert: resources of which the guide's examples have none": "what else the message says: an order, a document, its provenance",
}

# Parameters of a status, and parts of an event: the type of the value, least and most.
STATUS = {
    "subscription": ("Reference", 1, 1), "topic": ("Canonical", 0, 1), "status": ("Code", 1, 1), "type": ("Code", 1, 1),
    "events-since-subscription-start": ("String", 0, 1), "notification-event": (None, 0, None), "error": ("CodeableConcept", 0, None),
}
EVENT = {
    "event-number": ("String", 1, 1), "timestamp": ("Instant", 0, 1), "focus": ("Reference", 0, 1), "additional-context": ("Reference", 0, None),
    "related-query": (None, 0, None), "authorization-type": ("Coding", 0, 1), "authorization-value": ("String", 0, 1),
}


def sliced(what, found, slices):
    """Differences of parameters or parts from their slices."""
    for name, (kind, least, most) in slices.items():
        of = [one for one in found if one["name"] == name]
        if len(of) < least or (most is not None and len(of) > most):
            yield f"{what}: {len(of)} of {name}"
        for one in of:
            wanted = {"name", "part" if kind is None else f"value{kind}"}
            if set(one) != wanted:
                yield f"{what}: {name} has {sorted(set(one) - wanted)}, not {sorted(wanted - set(one))}"
    for name in sorted({one["name"] for one in found} - set(slices)):
        yield f"{what}: a part {name}, of which the guide knows nothing"


def status(resource, content, kind):
    """Differences of a status: `kind` is its type, `content` the payload of the subscription."""
    if resource["resourceType"] != "Parameters" or resource.get("meta", {}).get("profile") != [STATUS_PROFILE]:
        yield "status: not the first entry, or without its profile"
    found = resource["parameter"]
    yield from sliced("status", found, STATUS)
    names = [one["name"] for one in found]
    ranks = [list(STATUS).index(name) for name in names]
    if ranks != sorted(ranks):
        yield "status: in another order than in the examples"
    said = {one["name"]: value(one) for one in found}
    if said["type"] != kind:
        yield f"status: the type {said['type']}, not {kind}"
    if "events-since-subscription-start" not in names:
        yield "status: no count of events"
    if "topic" not in names:
        yield "status: no topic with the payload empty, where the examples have one" if content == EMPTY else "status: no topic"
    events = [one["part"] for one in found if one["name"] == "notification-event"]
    if bool(events) != (kind in ("event-notification", "query-event")):
        yield f"status: {len(events)} events with the type {kind}"
    for parts in events:
        yield from sliced("status", parts, EVENT)
        refers = [one["name"] for one in parts if one["name"] in ("focus", "additional-context")]
        if not any(one["name"] == "timestamp" for one in parts):
            yield "status: an event without its time"
        if any(set(value(one)) != {"system", "code"} for one in parts if one["name"] == "trigger"):
            yield "status: a trigger without its code"
        if content == EMPTY and refers:
            yield "status: a reference with the payload empty"
        if content != EMPTY and refers[:1] != ["focus"]:
            yield "status: an event without its focus"


def notification(bundle, content, kind):
    """Differences of a notification Bundle, pushed or of `$events`."""
    if bundle["type"] != "history" or "timestamp" not in bundle or set(bundle) != {"resourceType", "id", "type", "timestamp", "entry"}:
        yield f"bundle: {bundle['type']} with {sorted(bundle)}"
    first, *others = bundle["entry"]
    yield from status(first["resource"], content, kind)
    if first["fullUrl"] != f"urn:uuid:{first['resource']['id']}":
        yield "entry: the fullUrl of the status is not its id"
    subscription = value(first["resource"]["parameter"][0])["reference"]
    if first["request"] != {"method": "GET", "url": f"{subscription}/$status"} or first["response"] != {"status": "200"}:
        yield "entry: the request of the status is not $status"
    wanted = {EMPTY: None, ID_ONLY: {"fullUrl", "request", "response"}, FULL: {"fullUrl", "resource", "request", "response"}}[content]
    parts = [part for one in first["resource"]["parameter"] for part in one.get("part", [])]
    named = [value(part)["reference"] for part in parts if part["name"] in ("focus", "additional-context")]
    focus = {value(part)["reference"] for part in parts if part["name"] == "focus"}
    if {entry["fullUrl"] for entry in others} != set(named):
        yield "entry: others than those that the status refers to"
    for entry in others:
        if content == EMPTY:
            yield "entry: one beside the status with the payload empty"
            continue
        if set(entry) != wanted:
            yield f"entry: {sorted(entry)} with {content}"
        if content == ID_ONLY:
            yield "entry: id-only entries for focus and context, where the examples have none"
        path = "/".join(entry["fullUrl"].rsplit("/", 2)[1:])
        if entry["request"]["url"] != path or ("resource" in entry and f"{entry['resource']['resourceType']}/{entry['resource']['id']}" != path):
            yield "entry: fullUrl, request and resource differ"
        if not all("reference" in target for target in entry.get("resource", {}).get("target", [])):
            yield "entry: a Provenance of nothing"
        if entry["fullUrl"] in focus:
            same = (entry["request"]["method"], entry["response"]["status"]) == ("PUT", "200")
            yield "entry: the focus is a PUT answered with 200, in the examples a POST with 201" if same else "entry: the focus is something else"
        elif (entry["request"]["method"], entry["response"]["status"]) != ("GET", "200"):
            yield "entry: context is not a GET answered with 200"


# What the guide and its examples know. By type: elements that US Core has at least once.
US_CORE = {
    "Patient": ("identifier", "name", "gender"), "Encounter": ("status", "class", "type", "subject"), "Practitioner": ("identifier", "name"), "Organization": ("active", "name"),
    "Location": ("name",), "Condition": ("category", "code", "subject"), "Coverage": ("status", "beneficiary", "payor", "relationship"),
}


def alert(bundle, code, display, focus):
    """Differences of a notification of Da Vinci from its profiles and from the examples of its guide."""
    if set(bundle) != {"resourceType", "id", "meta", "type", "timestamp", "entry"} or bundle["type"] != "message":
        yield f"alert: {bundle['type']} with {sorted(bundle)}"
    if bundle["meta"]["profile"] != [ALERTS + "StructureDefinition/notifications-bundle"]:
        yield "alert: the Bundle without its profile"
    entries = bundle["entry"]
    if any(set(entry) != {"fullUrl", "resource"} or entry["fullUrl"] != f"urn:uuid:{entry['resource']['id']}" for entry in entries):
        yield "alert: an entry with more than fullUrl and resource, or under another id"
    all_of = {entry["fullUrl"]: entry["resource"] for entry in entries}
    header, *others = (entry["resource"] for entry in entries)
    wanted = {"resourceType", "id", "meta", "eventCoding", "destination", "sender", "author", "responsible", "source", "focus"}
    if header["resourceType"] != "MessageHeader" or sum(one["resourceType"] == "MessageHeader" for one in others):
        yield "alert: not one MessageHeader, at the head"
    if not set(header) <= wanted or not {"eventCoding", "destination", "source", "focus"} <= set(header):
        yield f"alert: the MessageHeader with {sorted(header)}"
    if code in ("notification-admit", "notification-discharge") and not set(header) == wanted:
        yield f"alert: the MessageHeader without {sorted(wanted - set(header))}, which the examples have"
    if header["eventCoding"] != {"system": ALERTS + "CodeSystem/notification-event", "code": code, "display": display}:
        yield f"alert: {header['eventCoding']}, not {code}"
    own = {"notification-admit": "admit", "notification-discharge": "discharge"}.get(code)
    profiles = ["notifications-messageheader"] + ([f"{own}-notification-messageheader"] if own else [])
    if header["meta"]["profile"] != [f"{ALERTS}StructureDefinition/{name}" for name in profiles]:
        yield f"alert: the MessageHeader with the profiles {header['meta']['profile']}"
    targets = {"sender": ("Organization", "Practitioner", "PractitionerRole"), "responsible": ("Organization", "Practitioner", "PractitionerRole"), "author": ("Practitioner", "PractitionerRole")}
    for name, types in targets.items():
        if name in header and all_of.get(header[name]["reference"], {}).get("resourceType") not in types:
            yield f"alert: the {name} is not in the Bundle"
    if [all_of.get(one["reference"], {}).get("resourceType") for one in header["focus"]] != [focus]:
        yield f"alert: the focus is not one {focus} of the Bundle"
    if set(header["source"]) != {"name", "software", "version", "endpoint"}:
        yield f"alert: the source with {sorted(header['source'])}"
    if len(header["destination"]) != 1 or not header["destination"][0]["endpoint"]:
        yield "alert: not one destination"
    for one in others:
        kind = one["resourceType"]
        if kind not in US_CORE:
            yield "alert: resources of which the guide's examples have none"
        for name in US_CORE.get(kind, ()):
            if name not in one:
                yield f"alert: {kind} without {name}, which US Core has"
        if kind in ("Patient", "Practitioner") and not all("system" in each and "value" in each for each in one.get("identifier", [])):
            yield f"alert: {kind} with an identifier without system, which US Core has"
        if kind == "Encounter":
            inner = [one["subject"], *(each["individual"] for each in one.get("participant", []) if "individual" in each), *(each["location"] for each in one.get("location", []))]
            if any(each.get("reference") not in all_of for each in inner):
                yield "alert: the Encounter refers to somebody who is not in the Bundle"
        if kind == "Condition" and all_of.get(one.get("encounter", {}).get("reference"), {}).get("resourceType") != "Encounter":
            yield "alert: a Condition without its Encounter"


def subscription(resource):
    """Differences of a Subscription from its profile."""
    channel = resource["channel"]
    content = [one["valueCode"] for one in channel["_payload"]["extension"] if one["url"] == EXTENSIONS + "backport-payload-content"]
    if len(content) != 1 or channel["payload"] != "application/fhir+json" or not resource["criteria"].startswith("http"):
        yield "subscription: without topic, payload or content"
    if any(set(one) != {"url", "valueString"} for one in resource.get("_criteria", {}).get("extension", [])):
        yield "subscription: a filter that is no text"


def token(resource):
    """Differences of what `$get-ws-binding-token` answers from its definition."""
    slices = {"token": ("String", 1, 1), "expiration": ("DateTime", 1, 1), "subscription": ("String", 0, None), "websocket-url": ("Url", 1, 1)}
    yield from sliced("binding", resource["parameter"], slices)


def capability(resource, read):
    """Differences of the CapabilityStatement from the guide's for R4 servers, and from what it did: `read` are the types that were read."""
    if f"{EXTENSIONS.replace('StructureDefinition', 'CapabilityStatement')}backport-subscription-server-r4" not in resource["instantiates"]:
        yield "capability: does not say what it instantiates"
    types = {one["type"]: one for one in resource["rest"][0]["resource"]}
    own = types["Subscription"]
    can = {one["code"] for one in own["interaction"]}
    if not {"read", "create", "update", "delete"} <= can or not {"url", "status"} <= {one["name"] for one in own["searchParam"]}:
        yield "capability: Subscription without an interaction or a search"
    operations = {one["name"]: one["definition"] for one in own["operation"]}
    definition = EXTENSIONS.replace("StructureDefinition", "OperationDefinition") + "backport-subscription-"
    # Beside those of the guide we have one of our own.
    own_operations = {"self-test"}
    if {name: url for name, url in operations.items() if name not in own_operations} != {name: definition + name for name in ("status", "events", "get-ws-binding-token")}:
        yield f"capability: the operations {operations}"
    topics = [one["valueCanonical"] for one in own["extension"] if one["url"] == EXTENSIONS + "capabilitystatement-subscriptiontopic-canonical"]
    if f"{TOPICS}admission" not in topics:
        yield "capability: without topics"
    for name in sorted(read - set(types)):
        yield f"capability: without {name}, which was read"


def places(value, path=()):
    """The path of everything in a value, but for what resources say beside status and header."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        inner = value[key]
        if key != "resource" or inner["resourceType"] in ("Parameters", "MessageHeader"):
            yield from places(inner, (*path, key))


def unseen(rules, bundle):
    """What can be taken out of a Bundle without a difference, or a failure, by its rules: names without their places."""
    before, found = set(rules(bundle)), set()
    for path in places(bundle):
        changed = copy.deepcopy(bundle)
        at = changed
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]
        try:
            if set(rules(changed)) <= before:
                found.add(next(key for key in reversed(path) if isinstance(key, str)))
        except (KeyError, IndexError, TypeError, ValueError):
            pass  # seen
    return found


class Judged:
    """What came, under labels, and how it differs."""

    def __init__(self):
        self.lines, self.differences = [], {}

    def __call__(self, label, resource, differences=()):
        self.lines.append((label, resource))
        parsed(resource)
        for text in differences:
            self.differences.setdefault(text, set()).add(label)

    def end(self, peers, folder):
        """Lets the validator look at all of it, and fails on any difference that is not known."""
        lines = [(label, resource) for label, resource in self.lines if resource["resourceType"] != "SubscriptionTopic"]  # of R4B, which it does not know
        path = folder / "judged.ndjson"
        path.write_text("".join(json.dumps(resource) + "\n" for _, resource in lines))
        done = subprocess.run(["node", peers.options.validator, path], stdout=subprocess.PIPE, text=True, timeout=120)
        issues = []
        for line in done.stdout.splitlines():
            found = re.match(r".*?:(\d+): error: (.*)", line)
            # Two versions of a resource may stand in a history (bdl-7 of R4 says so); the validator knows no such exception.
            if found and not ("(bdl-7)" in found[2] and lines[int(found[1]) - 1][1]["type"] == "history"):
                issues.append(f"{lines[int(found[1]) - 1][0]}: {found[2]}")
        summary = re.search(r"^(\d+) resources, (\d+) errors", done.stdout, re.MULTILINE)
        assert summary and int(summary[1]) == len(lines), done.stdout[-500:]
        shown = sum(": error: " in line for line in done.stdout.splitlines())
        assert shown == int(summary[2]), f"{shown} of {summary[2]} errors are shown"
        unknown = {text: sorted(labels) for text, labels in self.differences.items() if text not in KNOWN}
        gone = sorted(set(KNOWN) - set(self.differences))
        report = "\n".join([*issues, *(f"{text} ({', '.join(labels)})" for text, labels in unknown.items()), *(f"is known and not there: {text}" for text in gone)])
        assert not report, f"\n{report}"


def leading_nowhere(bundle):
    """References of a Bundle that lead to no entry of it, by the address of who refers."""
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    for entry in bundle["entry"]:
        base = entry["fullUrl"].rsplit("/", 2)[0]
        for reference in re.findall(r'"reference": "([^"]*)"', json.dumps(entry["resource"])):
            if f"{base}/{reference}" not in urls:
                yield f"{entry['resource']['resourceType']}: {reference} leads nowhere"


def summarised(bundle):
    """Differences of a document from IPS 1.1.0 (profiles Bundle-uv-ips and Composition-uv-ips)."""
    yield from leading_nowhere(bundle)
    first = bundle["entry"][0]["resource"]
    if bundle["type"] != "document" or first["resourceType"] != "Composition" or not {"identifier", "timestamp"} <= set(bundle):
        yield "summary: not a document with an identifier and a time, its Composition first"
        return
    for name in ("status", "type", "subject", "date", "author", "title", "section"):
        if name not in first:
            yield f"summary: no {name}"
    if first["type"]["coding"][0]["code"] != "60591-5":
        yield "summary: another type than 60591-5"
    codes = [section["code"]["coding"][0]["code"] for section in first["section"]]
    if codes[:3] != ["10160-0", "48765-2", "11450-4"] or len(set(codes)) != len(codes):
        yield f"summary: sections {codes}, medication, allergies and problems are not the first three"
    for section in first["section"]:
        if not {"title", "text"} <= set(section) or ("entry" in section) == ("emptyReason" in section):
            yield f"summary: section {section['code']['coding'][0]['code']} without title, text, or either entries or a reason for none"


def what_subscribers_get_has_the_shapes_of_the_guides(peers):
    """Each kind of notification and resource of the story, from all channels."""
    endpoint, judge = Endpoint(), Judged()
    with story(peers, "shapes") as care:
        practice, managers, office = care.client("chfm"), care.client("aco-cm"), care.client("office")
        feed, panel = "http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed", "_in=Group/pcmh-chfm"
        heartbeat = {"extension": [{"url": EXTENSIONS + "backport-heartbeat-period", "valueUnsignedInt": 10}]}
        hooks = {
            "empty": (practice, "admission", panel, EMPTY, "rest-hook", None), "ids": (practice, "discharge", panel, ID_ONLY, "rest-hook", None),
            "whole": (practice, "discharge", panel, FULL, "rest-hook", None), "feed": (practice, feed, panel, FULL, "rest-hook", None),
            "loops": (practice, "open-loop", panel, FULL, "rest-hook", None), "managers": (managers, "open-loop", "_in=Group/aco-lakeshore", ID_ONLY, "rest-hook", None),
            "message": (practice, "discharge", panel, FULL, "message", None), "message-empty": (practice, "discharge", panel, EMPTY, "message", None),
            "admit": (practice, "admission", panel, FULL, "message", "davinci-alert"), "discharge": (practice, "discharge", panel, FULL, "message", "davinci-alert"),
            "document": (practice, "document-available", panel, FULL, "message", "davinci-alert"), "referral": (practice, "referral", panel, FULL, "message", "davinci-alert"),
        }
        endpoint.refuses["down"] = 1000

        def make(client, topic, filters, content, channel, custom, name, **more):
            url = endpoint.url(name) + ("/$process-message" if custom else "")
            return client.subscribe(topic, filters, content, channel, url, custom, **more)

        ids = {name: make(*hook, name) for name, hook in hooks.items()}
        beating = make(practice, "admission", panel, ID_ONLY, "rest-hook", None, "heartbeat", **heartbeat)
        down = make(practice, "admission", panel, ID_ONLY, "rest-hook", None, "down")
        socket_of = practice.subscribe("discharge", panel, ID_ONLY, channel="websocket")
        for name, (client, *_) in hooks.items():
            peers.wait_for(f"{name} to be active", lambda: client.status(ids[name])[0] == "active")
        peers.wait_for("the heartbeat to be agreed on", lambda: practice.status(beating)[0] == "active")
        binding = practice.get(f"Subscription/{socket_of}/$get-ws-binding-token")
        judge("binding", binding, token(binding))
        said = {one["name"]: value(one) for one in binding["parameter"]}
        with websockets.sync.client.connect(said["websocket-url"], proxy=None) as socket:
            socket.send(f"bind-with-token {said['token']}")
            shaken = json.loads(socket.recv(timeout=60))
            judge("websocket handshake", shaken, notification(shaken, ID_ONLY, "handshake"))
            care.send(*"123456")
            told = json.loads(socket.recv(timeout=60))
            judge("websocket event", told, notification(told, ID_ONLY, "event-notification"))
        peers.wait_for("all messages", lambda: all(endpoint.told(name) for name in ("empty", "ids", "whole", "loops", "managers")) and len(endpoint.told("feed")) >= 6)
        peers.wait_for("all messages", lambda: all(len(endpoint.got.get(name, [])) >= 2 for name in ("message", "message-empty")))
        # Da Vinci has no handshake.
        peers.wait_for("all alerts", lambda: all(endpoint.got.get(name) for name in ("admit", "discharge", "document", "referral")))
        peers.wait_for("the error", lambda: practice.status(down)[0] == "error")

        for name, (client, topic, _, content, channel, custom) in hooks.items():
            for at, bundle in enumerate([] if custom else endpoint.bundles(name)):
                kind = "event-notification" if at else "handshake"
                label = f"{name} {kind}"
                if channel == "message":
                    header, inner = (entry["resource"] for entry in bundle["entry"])
                    good = header["resourceType"] == "MessageHeader" and header["focus"] == [{"reference": f"urn:uuid:{inner['id']}"}] and bundle["type"] == "message"
                    judge(label, bundle, [] if good else ["message: not a header and the notification that it points at"])
                    bundle = inner
                judge(label, bundle, notification(bundle, content, kind))
            for content in (EMPTY, ID_ONLY, FULL)[: (EMPTY, ID_ONLY, FULL).index(hooks[name][3]) + 1]:
                answer = client.events(ids[name], f"?content={content}")
                judge(f"{name} $events {content}", answer, notification(answer, content, "query-event"))
        for name, (code, display, focus) in {
            "admit": ("notification-admit", "Admit Notification", "Encounter"), "discharge": ("notification-discharge", "Discharge Notification", "Encounter"),
            "document": ("notification-summary-report", "Summary Report Notification", "DocumentReference"), "referral": ("notification-referral", "Referral Notification", "ServiceRequest"),
        }.items():
            for bundle in endpoint.bundles(name):
                judge(f"{name} alert", bundle, alert(bundle, code, display, focus))
        # The rules see what is not there.
        pushed = unseen(lambda bundle: notification(bundle, FULL, "event-notification"), endpoint.bundles("whole")[-1])
        alerted = unseen(lambda bundle: alert(bundle, "notification-admit", "Admit Notification", "Encounter"), endpoint.bundles("admit")[-1])
        assert (pushed, alerted) == ({"part"}, {"entry"}), f"one trigger of two, and a resource that nothing needs, may go: {pushed}, {alerted}"
        peers.wait_for("a heartbeat", lambda: len(endpoint.got.get("heartbeat", [])) >= 3)
        beat = endpoint.bundles("heartbeat")[-1]
        judge("heartbeat", beat, notification(beat, ID_ONLY, "heartbeat"))

        # What is read: all that was told of, and what there is beside it.
        read = set()
        for name in ("feed", "loops"):
            for bundle in endpoint.bundles(name)[1:]:
                for path in ("/".join(entry["fullUrl"].rsplit("/", 2)[1:]) for entry in bundle["entry"][1:]):
                    resource = practice.get(path)
                    assert f"{resource['resourceType']}/{resource['id']}" == path
                    read.add(resource["resourceType"])
                    judge(f"read {path}", resource)
        assert {"Patient", "Encounter", "Condition", "ServiceRequest", "DocumentReference", "Appointment", "Task"} <= read, read
        for path in ("Subscription", "Subscription?status=active", "Basic?code=SubscriptionTopic", "SubscriptionTopic/discharge", "Basic/discharge", "Group/pcmh-chfm"):
            judge(path, practice.get(path))
        statuses = practice.get(f"Subscription/$status?id={ids['empty']}&id={down}")
        assert statuses["type"] == "searchset" and len(statuses["entry"]) == 2, statuses
        for entry in statuses["entry"]:
            judge("$status", entry["resource"], status(entry["resource"], ID_ONLY, "query-status"))
        judge("$status of two", statuses)
        for made in [*ids.values(), beating, down, socket_of]:
            shown = (managers if made == ids["managers"] else practice).get(f"Subscription/{made}")
            judge("a subscription", shown, subscription(shown))
        statement = practice.get("metadata")
        judge("metadata", statement, capability(statement, read | {"Group", "Basic"}))

        # What is refused.
        session, outcomes = practice.server.session, {}
        headers = {**practice.server.auth.signed_headers({}), "Content-Type": "application/fhir+json"}
        outcomes[404] = session.get(f"{care.base}/Encounter/nobody", headers=headers)
        outcomes[401] = session.get(f"{care.base}/Encounter/nobody")
        outcomes[400] = session.get(f"{care.base}/Subscription/{down}/$events?eventsSinceNumber=x", headers=headers)
        outcomes[405] = session.patch(f"{care.base}/Subscription/{down}", headers=headers)
        outcomes[422] = session.post(f"{care.base}/Subscription", headers=headers, data=json.dumps({"resourceType": "Subscription", "status": "requested", "criteria": "x"}))
        for code, answer in outcomes.items():
            assert answer.status_code == code and answer.json()["resourceType"] == "OperationOutcome", f"{code}: {answer.status_code} {answer.text}"
            judge(f"refused with {code}", answer.json())

        # What stewards write.
        person = endpoint.bundles("loops")[-1]["entry"][1]["resource"]["for"]["reference"].removeprefix("Patient/")
        consent = json.loads((care.folder / "fhir" / "consent.json").read_text().replace("PERSON", person))
        judge("Consent", office.put(consent))
        team = {"resourceType": "CareTeam", "id": person, "status": "active", "subject": {"reference": f"Patient/{person}"}}
        # The picture of the patient.
        summary = practice.get(f"Patient/{person}/$summary")
        judge("$summary", summary, summarised(summary))
        everything = practice.get(f"Patient/{person}/$everything")
        judge("$everything", everything, leading_nowhere(everything))
        member = {"type": "Practitioner", "identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": "9990003037"}, "display": "Renee Baptiste"}
        judge("CareTeam", office.put({**team, "participant": [{"role": [{"text": "pcp"}], "member": member}]}))
        care.send("7", "8")
        peers.wait_for("the suppression", lambda: '"code":"suppress"' in audited(care))
    # What the golden tests hold to is of the same shapes.
    contents = {"empty": EMPTY, "id-only": ID_ONLY, "full-resource": FULL}
    for path in sorted(GOLDEN.glob("*.json")):
        golden = json.loads(path.read_text())
        judge(f"golden {path.stem}", golden, notification(golden, contents[path.stem], "event-notification") if path.stem in contents else ())
    lines = [json.loads(line)["event"] for line in audited(care).splitlines()]
    for line in lines:
        judge("AuditEvent", line)
    assert len(lines) > 20 and all(line["resourceType"] == "AuditEvent" for line in lines), lines[:1]
    judge.end(peers, care.folder)
    endpoint.server.shutdown()


def audited(care):
    return "".join(path.read_text() for path in sorted((care.folder / "data" / "audit").glob("*.ndjson")))


CHECKS = (what_subscribers_get_has_the_shapes_of_the_guides,)
