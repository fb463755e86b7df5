"""Clients of others for coordinated care: FHIR libraries of Python, and a browser."""

import http.server
import json
import pathlib
import subprocess
import threading

from fhirclient.server import FHIRNotFoundException

from story import Endpoint, events_of, parameters, story


def fhir_libraries_subscribe_are_told_and_read_it_again(peers):
    """fhir.resources and fhirclient, through the story, an endpoint that fails, and the way back: no event is lost, and each can be read."""
    endpoint = Endpoint()
    with story(peers, "libraries") as care:
        practice, managers = care.client("chfm"), care.client("aco-cm")
        capability = practice.get("metadata")
        assert capability["fhirVersion"] == "4.0.1" and capability["rest"][0]["resource"][0]["type"] == "Subscription", capability
        wanted = {
            "admissions": (practice, "admission", "_in=Group/pcmh-chfm", "full-resource"),
            "discharges": (practice, "discharge", "_in=Group/pcmh-chfm", "full-resource"),
            "stays": (managers, "discharge", "Encounter?_in=Group/aco-lakeshore&class=IMP,OBSENC", "id-only"),
            "loops": (managers, "open-loop", "_in=Group/aco-lakeshore", "id-only"),
        }
        ids = {name: client.subscribe(*rest, endpoint=endpoint.url(name)) for name, (client, *rest) in wanted.items()}
        stands = lambda name: wanted[name][0].status(ids[name])
        for name in ids:
            peers.wait_for(f"{name} to be active", lambda: stands(name) == ("active", 0))
            handshake = parameters(endpoint.bundles(name)[0]["entry"][0]["resource"])
            assert (handshake["type"], handshake["status"]) == ("handshake", "requested"), handshake
            assert handshake["subscription"]["reference"] == f"{care.base}/Subscription/{ids[name]}", handshake

        def all_is_told(name, least):
            """Whether every event that was counted has come."""
            state, count = stands(name)
            return state == "active" and count >= least and sorted(endpoint.told(name)) == list(range(1, count + 1))

        # One failure in between: it comes again.
        endpoint.refuses["loops"] = 1
        care.send(*"123456")
        for name, least in (("admissions", 1), ("discharges", 1), ("stays", 1), ("loops", 2)):
            peers.wait_for(f"all of {name}", lambda: all_is_told(name, least))
        # What was refused came once more, with what had happened meanwhile or as the same Bundle; nothing came twice.
        [(_, _, body)] = endpoint.refused["loops"]
        refused, came = json.loads(body), endpoint.bundles("loops")[1:]
        again = [bundle for bundle in came if min(events_of(bundle)) == min(events_of(refused))]
        assert len(again) == 1 and set(events_of(refused)) <= set(events_of(again[0])), "what was refused came again, once"
        assert (again[0]["id"] == refused["id"]) == (set(events_of(refused)) == set(events_of(again[0]))), "the same Bundle has the same id"
        numbers = [number for bundle in came for number in events_of(bundle)]
        assert numbers == sorted(set(numbers)), numbers

        # The practice's endpoint is down for one discharge, the managers' is not.
        endpoint.refuses["discharges"] = 1000
        care.send("7", "8")
        peers.wait_for("the error", lambda: stands("discharges") == ("error", 2))
        peers.wait_for("the other endpoint", lambda: all_is_told("stays", 2))
        missed = practice.events(ids["discharges"], "?eventsSinceNumber=2")
        assert list(events_of(missed)) == [2] and "BRANDVOLD" in str(missed), "what could not be delivered is read"
        endpoint.refuses["discharges"] = 0
        subscription = practice.get(f"Subscription/{ids['discharges']}")
        assert subscription["status"] == "error" and subscription["channel"]["header"] == ["Authorization: ***"], subscription
        practice.put({**subscription, "status": "requested"})
        peers.wait_for("the handshake", lambda: stands("discharges")[0] == "active")
        # It goes on with the next one: a discharge that is taken back.
        care.vary("2", "9-taken-back", ("ADT^A03^ADT_A03", "ADT^A13^ADT_A01"), ("EVN|A03", "EVN|A13"), ("SB000188", "SB000240"))
        care.send("9")
        peers.wait_for("the cancellation", lambda: 3 in endpoint.told("discharges"))
        told = endpoint.told("discharges")
        assert sorted(told) == [1, 3] and sorted(told | events_of(missed)) == list(range(1, stands("discharges")[1] + 1)), "nothing is lost"
        assert "discharge-cancelled" in told[3][1], told
        # The stay at the recovery centre was told to nobody.
        assert stands("admissions") == ("active", 1) and list(endpoint.told("admissions")) == [1]

        for name, (client, _, _, content) in wanted.items():
            seen = lambda: {**endpoint.told(name), **(events_of(missed) if name == "discharges" else {})}
            peers.wait_for(f"{name} to be told as $events tells it", lambda: events_of(client.events(ids[name])) == seen())
            bundles, events = endpoint.bundles(name), client.events(ids[name])
            whole = [one for bundle in bundles for one in bundle["entry"][1:] if "resource" in one]
            assert bool(whole) == (content == "full-resource"), name
            for focus, _ in seen().values():
                kind = focus.removeprefix(f"{care.base}/").split("/")[0]
                assert kind == ("Task" if name == "loops" else "Encounter"), f"{name}: {kind}"
            # Focus and context, each under the id that it was told of by.
            for path in {one["fullUrl"].removeprefix(f"{care.base}/") for one in events["entry"][1:]}:
                read = client.get(path)
                assert f"{read['resourceType']}/{read['id']}" == path, f"{name}: {path}"
        raw = b"".join(body for all_of in endpoint.got.values() for _, _, body in all_of)
        assert b"F10.20" not in raw and b"I50.23" in raw, "what the patient did not permit is told to nobody, the rest is"
        ids_only = b"".join(body for name in ("stays", "loops") for _, _, body in endpoint.got[name])
        assert not any(text in ids_only.upper() for text in (b"OKAFOR", b"BRANDVOLD", b"I50.23")), "ids only"
        # It reads as it is by now: the discharge was taken back. Nobody reads what they were not told of, or what others made.
        encounter = endpoint.told("admissions")[1][0].removeprefix(f"{care.base}/")
        assert practice.get(encounter)["status"] == "in-progress"
        for path in (f"{encounter}0", f"Subscription/{ids['admissions']}", f"Subscription/{ids['admissions']}/$events"):
            try:
                managers.get(path)
                raise AssertionError(f"{path} is there for others")
            except FHIRNotFoundException:
                pass
    endpoint.server.shutdown()


class Page:
    """Serves page.html, and what a practice's own server does for it: it has the token of the recipient, and gives the browser one for a websocket."""

    def __init__(self, client, subscriptions):
        html = (pathlib.Path(__file__).parent / "page.html").read_bytes()

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/":
                    kind, body = "text/html; charset=utf-8", html
                elif self.path in (f"/binding/{at}" for at in range(len(subscriptions))):
                    subscription = subscriptions[int(self.path.rsplit("/", 1)[1])]
                    kind, body = "application/fhir+json", client.server.request_data(f"Subscription/{subscription}/$get-ws-binding-token")
                else:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


class Browser:
    """Chromium, driven by playwright-core in browser.mjs: a command a line, an answer a line."""

    def __init__(self, peers, url):
        command = ["node", "browser.mjs", url]
        self.process = subprocess.Popen(command, cwd=peers.options.browser, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *command):
        print(*command, sep="\t", file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer.startswith("ok"), f"the browser at {command}: {answer or 'it ended'}"
        return answer[3:].strip()

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def a_browser_shows_what_a_websocket_tells(peers):
    """Chromium binds to two subscriptions, shows what comes as it comes, and after a reload what came meanwhile."""
    with story(peers, "browser") as care:
        practice = care.client("chfm")
        of = lambda topic: practice.subscribe(topic, "_in=Group/pcmh-chfm", "full-resource", channel="websocket")
        subscriptions = [of("admission"), of("discharge")]
        page = Page(practice, subscriptions)
        browser = Browser(peers, page.url)
        try:
            # Who binds is told with handshakes how both stand.
            browser("wait", "tr.handshake", "2")
            assert "OKAFOR" not in browser("text")
            care.send("1")
            browser("wait", "tr.event-notification", "1")
            row = browser("row", "1")
            assert all(text in row for text in ("admission", "OKAFOR, MARISOL", "SBMC 4W 412 B")), row
            # The same once more, and one that nobody may be told of: nothing is shown. The discharge that follows is.
            care.vary("1", "1b", ("SB000101", "SB000102"))
            care.send("1b", "8", "2")
            browser("wait", "tr.event-notification", "2")
            row = browser("row", "2")
            assert "discharge" in row and "OKAFOR, MARISOL" in row, row
            assert "F10.20" not in browser("text")
            browser("picture", str(pathlib.Path(peers.options.work, "browser.png")))
            # While nobody looks, somebody is discharged: it waits for who binds next.
            browser("leave")
            care.send("7")
            peers.wait_for("the event", lambda: practice.status(subscriptions[1])[1] == 2)
            browser("enter")
            browser("wait", "tr.handshake", "2")
            browser("wait", "tr.event-notification", "1")
            row = browser("row", "1")
            assert "discharge" in row and "BRANDVOLD, ARNE" in row, row
        finally:
            browser.end()
            page.server.shutdown()


CHECKS = (fhir_libraries_subscribe_are_told_and_read_it_again, a_browser_shows_what_a_websocket_tells)
