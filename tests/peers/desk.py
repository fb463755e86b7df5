"""The desk in a browser: the gateway of examples/care with a route whose endpoint refuses, and desk.mjs, which looks and clicks."""

import json
import os
import pathlib
import subprocess

from story import Endpoint, free_port, story

USERS = {"all": ["admin", "phi-reader"], "viewer": ["viewer"], "operator": ["operator"], "reader": ["phi-reader"]}
# Kept in docs/images/desk when HANDOFF_PICTURES names that folder.
PICTURES = os.environ.get("HANDOFF_PICTURES")


def users(handoff):
    """Passwords by name, and the line for the configuration."""
    passwords, tables = {}, []
    for name, roles in USERS.items():
        made = subprocess.run([handoff, "user", "create", "--name", name, *(f"--role={role}" for role in roles)], check=True, capture_output=True, text=True)
        passwords[name] = made.stdout.strip()
        tables.append(made.stderr.strip().splitlines()[-1].removeprefix("users = [").removesuffix("]"))
    return passwords, f"users = [{', '.join(tables)}]\n"


def the_desk_in_a_browser(peers):
    """Every page and the stories of the desk, in Chromium."""
    passwords, line = users(peers.options.handoff)
    endpoint = free_port()
    route = f'[[route]]\nname = "ehr"\nto = {{ fhir = "http://127.0.0.1:{endpoint}/fhir", bundle = "transaction" }}\nreplies = {{ 422 = "dead" }}\n'
    with story(peers, "desk", admin=line, more=route) as care:
        told = Endpoint()
        care.client("aco-cm").subscribe("discharge", "_in=Group/aco-lakeshore", "id-only", endpoint=told.url("desk"))
        settings = {
            "base": f"http://127.0.0.1:{care.ports['8080']}",
            "endpoint": endpoint,
            "mllp": care.ports["2575"],
            "messages": str(care.folder / "messages"),
            "passwords": passwords,
            "pictures": PICTURES or str(pathlib.Path(peers.options.work, "pictures")),
            "pages": ["/messages/1", "/messages/1/preview", "/routes/ehr", "/listeners/hospitals", "/dead-letters/ehr/20"],
        }
        done = subprocess.run(["node", "desk.mjs"], cwd=peers.options.browser, input=json.dumps(settings), capture_output=True, text=True, timeout=900)
        print(done.stdout, end="")
        told.server.shutdown()
        assert done.returncode == 0, done.stderr


CHECKS = (the_desk_in_a_browser,)
