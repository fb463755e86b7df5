"""The desk in a browser: the gateway of examples/care with a route whose endpoint refuses, more people on its roster and half a year of their stays, and desk.mjs, which looks and clicks."""

import datetime
import json
import os
import pathlib
import subprocess

from story import Endpoint, free_port, story

USERS = {"all": ["admin", "phi-reader"], "viewer": ["viewer"], "operator": ["operator"], "reader": ["phi-reader"]}
# Kept in docs/images/desk when HANDOFF_PICTURES names that folder.
PICTURES = os.environ.get("HANDOFF_PICTURES")

FAMILIES = ("AALTONEN", "BERGSTROM", "CARDOSO", "DELACROIX", "EKWUEME", "FERREIRA", "GALLAGHER", "HOLMQVIST", "IBARRA", "JANKOWSKI", "KOWALCZYK", "LUNDGREN")
GIVEN = (("ALMA", "F"), ("BRUNO", "M"), ("CLARA", "F"))
MEMBERS = [(f"7AC1DE2FG{number:02}", family, *GIVEN[number % 3], 1931 + number % 24) for number, family in enumerate(FAMILIES * 3)]
# A figure of up to ten is hidden, and so is what is left of one; so there are many, and of each more. How many were seen in time, from the last month back.
STAYS = 30
IN_TIME = (18, 15, 16, 13, 12)


def more_members(folder):
    """Three dozen more on the roster of the ACO."""
    with open(folder / "rosters" / "lakeshore.csv", "a") as roster:
        for number, (mbi, family, given, sex, year) in enumerate(MEMBERS):
            roster.write(f"{mbi},{family.title()},{given.title()},04/17/{year},{sex},{number + 1} Orchard Street,Lakeshore,14150,,2026-01-01,,9990003037,9990006063\n")


def history():
    """Stays of the months before this one, and the visits after some of them."""
    first = datetime.datetime.now(datetime.timezone.utc).replace(day=1, hour=14, minute=0, second=0)
    messages = []

    def message(kind, event, facility, number, member, at, visit):
        mbi, family, given, sex, year = MEMBERS[member]
        stamp = at.strftime("%Y%m%d%H%M%S+0000")
        messages.append("\r".join((
            f"MSH|^~\\&|{facility}|{facility}|HANDOFF|EXCHANGE|{stamp}||{kind}|H{number}{event}|P|2.5.1",
            f"EVN|{event}|{stamp}||||{stamp}",
            f"PID|1||H{member:05}^^^{facility}^MR~{mbi}^^^CMS&2.16.840.1.113883.4.927&ISO^MC||{family}^{given}^^^^^L||{year}0417|{sex}",
            visit(stamp),
        )) + "\r")

    for month in range(len(IN_TIME), 0, -1):
        begins = first
        for _ in range(month):
            begins = (begins - datetime.timedelta(days=1)).replace(day=1)
        for stay in range(STAYS):
            number, admitted = month * 100 + stay, begins + datetime.timedelta(days=1 + stay % 20)
            discharged, member = admitted + datetime.timedelta(days=2), (stay * 5 + month * 7) % len(MEMBERS)
            stamp = admitted.strftime("%Y%m%d%H%M%S+0000")
            inpatient = lambda left: f"PV1|1|I|4W^412^B^SBMC|E|||9990002021^HALVERSEN^INGRID|||CAR|||||||||V{number}^^^SBMC|||||||||||||||||{'01' if left else ''}||||||||{stamp}|{left}"
            message("ADT^A01^ADT_A01", "A01", "SBMC", number, member, admitted, lambda _: inpatient(""))
            message("ADT^A03^ADT_A03", "A03", "SBMC", number, member, discharged, inpatient)
            # The last one late.
            if stay < IN_TIME[month - 1] or stay == STAYS - 1:
                seen = discharged + datetime.timedelta(days=11 if stay == STAYS - 1 else 2 + stay % 5)
                message("ADT^A04^ADT_A01", "A04", "CHFM", number, member, seen, lambda at: f"PV1|1|O|CLINIC^2^^CHFM||||9990003037^BAPTISTE^RENEE|||||||||||||||||||||||||||||||||||||{at}")
    return messages


def more_of_the_patient(folder):
    """What else is said of the patient of the story: an allergy, a medicine, a result."""
    admission = next((folder / "messages").glob("1*.hl7")).read_bytes().decode().split("\r")
    now, pid = admission[0].split("|")[6], next(line for line in admission if line.startswith("PID"))
    visit = "PV1|1|I|4W^412^B^SBMC||||||||||||||||V20260302001^^^SBMC"
    said = (
        ("ADT^A08^ADT_A01", f"EVN|A08|{now}", pid, visit, "AL1|1|DA|7980^Penicillin^RXNORM|SV|Hives"),
        ("RDE^O11^RDE_O11", pid, visit, "ORC|NW|RX7001^SBMC||||||||||9990002021^HALVERSEN^INGRID", f"RXE|^^^{now[:8]}^^R|4603^Furosemide 40 mg^RXNORM|40||mg^mg^UCUM", "RXR|PO^Oral^HL70162"),
        ("ORU^R01^ORU_R01", pid, visit, f"ORC|RE|L1^SBMC|F1^LAB\rOBR|1|L1^SBMC|F1^LAB|2160-0^Creatinine^LN|||{now}|||||||||||||||{now}|||F", f"OBX|1|NM|2160-0^Creatinine^LN||1.4|mg/dL^mg/dL^UCUM|0.6-1.1|H|||F|||{now}"),
    )
    return ["\r".join((f"MSH|^~\\&|SBADT|SBMC|HANDOFF|EXCHANGE|{now}||{kind}|T{number}|P|2.5.1", *segments)) + "\r" for number, (kind, *segments) in enumerate(said)]


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
    with story(peers, "desk", admin=line, more=route, prepare=more_members) as care:
        told = Endpoint()
        care.client("aco-cm").subscribe("discharge", "_in=Group/aco-lakeshore", "id-only", endpoint=told.url("desk"))
        settings = {
            "base": f"http://127.0.0.1:{care.ports['8080']}",
            "endpoint": endpoint,
            "mllp": care.ports["2575"],
            "messages": str(care.folder / "messages"),
            "passwords": passwords,
            "pictures": PICTURES or str(pathlib.Path(peers.options.work, "pictures")),
            "history": history() + more_of_the_patient(care.folder),
            "pages": ["/messages/1#content", "/messages/1/preview", "/routes/ehr", "/listeners/hospitals", "/no-such-page"],
        }
        done = subprocess.run(["node", "desk.mjs"], cwd=peers.options.browser, input=json.dumps(settings), capture_output=True, text=True, timeout=900)
        print(done.stdout, end="")
        told.server.shutdown()
        assert done.returncode == 0, done.stderr


CHECKS = (the_desk_in_a_browser,)
