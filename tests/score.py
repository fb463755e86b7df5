#!/usr/bin/env python3
"""Scores our translations against the facts of independent engines and fails when a figure has fallen.

  tests/score.py [--cases DIR] [--tools DIR] [--binary FILE | --command 'PROGRAM {}'] [--types ADT,VXU] [--raise] [--differences]

Three groups: `consensus` (what two or more engines agree on), `linuxforhealth` (hand-written assertions) and `pairs` (whole Bundles of other
engines), each for every message type there is, and `ALL` of them together. A figure is the mean weighted recall over the messages of the type; a
message that failed counts as 0. `undeclined` leaves out the missing facts about elements that
`docs/declined.md` declines with a reason; it is printed, not judged. The floors stand in `tests/thresholds.json`; `--raise` lifts them to what was measured, and never lowers one.
`--differences` lists the facts of `pairs` where our value contradicts theirs, and which of them `docs/declined.md` explains.
"""
import argparse
import collections
import json
import math
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
THRESHOLDS = ROOT / "tests" / "thresholds.json"
MANIFESTS = ("consensus.jsonl", "pairs.jsonl")


def group_of(record):
    if record["group"].startswith("consensus"):
        return "consensus"
    return "linuxforhealth" if record["group"] == "linuxforhealth" else "pairs"


def run_manifest(arguments, manifest):
    """Runs the comparator over one manifest and gives its report, one record a message."""
    report = ROOT / "target" / "score" / manifest.replace(".jsonl", ".report.jsonl")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [sys.executable, str(arguments.tools / "compare_fhir.py"), "--batch", str(arguments.cases / manifest)]
    command += ["--root", str(arguments.cases), "--cmd", arguments.command]
    if arguments.types:
        command += ["--only", '"type": "(' + arguments.types.replace(",", "|") + r")\b"]
    command += ["--max", "1000", "--out", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not report.exists():
        sys.exit(f"{manifest}: the comparator failed: {done.stderr[-500:]}")
    return [json.loads(line) for line in report.read_text().splitlines()]


def key_of(fact):
    return fact["res"] + "." + re.sub(r"\[-?\d+\]", "", fact["path"])


def declined():
    """The elements that `docs/declined.md` names, as `Resource.path`."""
    page = ROOT / "docs" / "declined.md"
    # A row names its elements in the first column; `Organization.` with nothing behind it is a count of the resource.
    rows = [line.split(" | ")[0] for line in page.read_text().splitlines() if line.startswith("| `")] if page.exists() else []
    return {element.rstrip(".") for row in rows for element in re.findall(r"`([A-Z][A-Za-z]+\.[^`]*)`", row)}


BY_OPERATOR = {"reftype": 0.5, "exists": 0.5, "count": 0.25, "rescount": 0.25, "resmin": 0.5, "absent": 0.1, "ne": 0.25}


def weight_of(fact):
    """As the comparator weighs it; a fact of a whole Bundle, which names no operator, about evenly."""
    return float(fact.get("weight") or BY_OPERATOR.get(fact.get("op"), 1.0))


def without_declined(record, explained):
    """The weighted recall over the facts that we have not declined with a reason."""
    missing = [(key_of(fact).rstrip("."), weight_of(fact)) for fact in record.get("missing", ())]
    lost = sum(weight for _, weight in missing)
    if not lost or record["wrecall"] >= 1:
        return record["wrecall"]
    everything = lost / (1 - record["wrecall"])
    counted = everything - sum(weight for key, weight in missing if key in explained)
    return (everything - lost) / counted if counted > 0 else 1.0


def print_differences(records):
    explained = declined()
    count, example = collections.Counter(), {}
    for record in records:
        for fact in record.get("different", ()):
            count[key_of(fact)] += 1
            example.setdefault(key_of(fact), (record["id"], fact.get("value"), fact.get("actual")))
    for key, number in count.most_common():
        where, theirs, ours = example[key]
        print(f"{number:5} {'explained' if key.rstrip('.') in explained else 'OPEN':9} {key}  theirs {theirs!r} ours {ours!r}  ({where})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=pathlib.Path, default=ROOT.parent / "shared" / "cases")
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT.parent / "shared" / "tools")
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "handoff"))
    parser.add_argument("--command", help="instead of `BINARY translate {}`")
    parser.add_argument("--types", help="only these message types, such as ADT,VXU; floors of others are not looked at")
    parser.add_argument("--raise", dest="lift", action="store_true", help="lift the floors to what was measured")
    parser.add_argument("--differences", action="store_true")
    arguments = parser.parse_args()
    arguments.command = arguments.command or f"{shlex.quote(arguments.binary)} translate {{}}"

    scores, errors, pairs = collections.defaultdict(list), collections.Counter(), []
    for manifest in MANIFESTS:
        for record in run_manifest(arguments, manifest):
            group = group_of(record)
            for key in ((group, record["type"][:3]), (group, "ALL")):
                scores[key].append(record)
                errors[key] += "error" in record
            if "error" in record:
                print(f"error {record['id']}: {record['error'][:160]}")
            if group == "pairs":
                pairs.append(record)
    if arguments.differences:
        print_differences(pairs)

    floors = json.loads(THRESHOLDS.read_text())
    if arguments.types:
        floors = {group: {kind: floor for kind, floor in of_type.items() if kind in arguments.types.split(",")} for group, of_type in floors.items()}
    for group, message_type in sorted(scores):
        if not (arguments.types and message_type == "ALL"):
            floors.setdefault(group, {}).setdefault(message_type, 0.0)
    passed = failed = 0
    explained = declined()
    print(f"{'group':16} {'type':5} {'messages':>8} {'failed':>6} {'recall':>7} {'weighted':>8} {'undeclined':>10} {'contradicted':>12} {'floor':>6}")
    for group, of_type in floors.items():
        for message_type, floor in of_type.items():
            records = scores.get((group, message_type), [])
            if not records:
                print(f"{group:16} {message_type:5} no messages: nothing was measured")
                failed += 1
                continue
            figure = sum(r["wrecall"] for r in records) / len(records)
            recall = sum(r["recall"] for r in records) / len(records)
            undeclined = sum(without_declined(r, explained) for r in records) / len(records)
            contradicted = sum(r.get("n_different", 0) for r in records)
            good = figure >= floor
            passed, failed = passed + good, failed + (not good)
            print(f"{group:16} {message_type:5} {len(records):8} {errors[(group, message_type)]:6} {recall:7.3f} {figure:8.3f} {undeclined:10.3f} {contradicted:12} {floor:6.3f}"
                  + ("" if good else "  FELL BELOW ITS FLOOR"))
            if arguments.lift:
                of_type[message_type] = max(floor, math.floor(figure * 1000) / 1000)
    if arguments.lift and not arguments.types:
        THRESHOLDS.write_text(json.dumps(floors, indent=2) + "\n")
    print(f"score: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
