#!/usr/bin/env python3
"""The second half of tests/validate.sh: translates, validates, tells which message failed.

A message that gives no Bundle is a failure unless `tests/refused.txt` says why (and one listed there that does translate is a failure too, so that
the list stays true). A line there names a file, or a message type (`PMU`) or event (`MFN^M13`) that nobody has mapped. The hostile ones of `torture`
may be refused, with exit status 1; a crash or a hang never passes.

With `--documents DIR` the pictures of patients are judged too ($summary, $everything) that the tests leave there: full ones, empty ones, redacted ones.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHUNK = 150  # Bundles a node process
TIMEOUT_S = 60
DOCUMENTS_MIN = 8  # that the tests leave; fewer, and some were not written


def type_of(path):
    """`ADT^A01` of the first MSH of a file, whatever its field separator; empty when there is none."""
    data = path.read_bytes().replace(b"\n", b"\r").lstrip(b"\xef\xbb\xbf")
    header = re.search(rb"(?:^|\r)[Mm][Ss][Hh]([^\r]*)", data)
    fields = header[1].split(header[1][:1]) if header else []
    return "^".join(fields[8].decode("latin-1").upper().split("^")[:2]) if len(fields) > 8 else ""


def wanted(cases, types):
    """(name, file, whether it must translate) of everything that is judged."""
    found = []
    for path in sorted((ROOT / "fixtures").glob("*/*/message.hl7")):
        found.append((str(path.relative_to(ROOT)), path, path.parent.parent.name != "refused"))
    for line in (cases / "messages.jsonl").read_text().splitlines():
        record = json.loads(line)
        found.append((record["file"], cases / record["file"], True))
    for path in sorted((cases / "torture").iterdir()):
        found.append((f"torture/{path.name}", path, False))
    return [item for item in found if not types or type_of(item[1])[:3] in types]


def translate(command, path):
    """(Bundle lines, why it failed or None)."""
    try:
        done = subprocess.run([*command, str(path)], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return [], f"hangs (over {TIMEOUT_S} s)"
    lines = [line for line in done.stdout.split(b"\n") if line.strip()]
    if done.returncode not in (0, 1):
        return lines, f"exit status {done.returncode}: {done.stderr.decode(errors='replace')[-200:].strip()}"
    if done.returncode == 0 and not lines:
        return lines, "exit status 0, yet no Bundle"
    return lines, None


def judge(validator, chunk_file, names):
    """(name, issue) of every error in one file of Bundles."""
    done = subprocess.run(["node", str(validator), str(chunk_file)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    issues = []
    for line in done.stdout.splitlines():
        found = re.match(re.escape(str(chunk_file)) + r"(?::(\d+))?: error: (.*)", line)
        if found:
            issues.append((names[int(found[1] or 1) - 1], found[2]))
    summary = re.search(r"^(\d+) resources, (\d+) errors", done.stdout, re.MULTILINE)
    if not summary or int(summary[1]) != len(names) or int(summary[2]) != len(issues):
        issues += [(name, f"the validator did not finish: {(done.stderr or done.stdout)[-200:].strip()}") for name in names]
    return issues


def main():
    parser = argparse.ArgumentParser()
    for name in ("binary", "cases", "validator", "work"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--mappings", help="a folder of mappings instead of those built in")
    parser.add_argument("--realm", help="with what a country adds, such as us")
    parser.add_argument("--types", default="", help="only these message types, such as VXU,RDE")
    parser.add_argument("--documents", type=pathlib.Path, help="a folder of documents that the tests wrote")
    arguments = parser.parse_args()
    refused_file = ROOT / "tests" / "refused.txt"
    refused = {line.split()[0] for line in refused_file.read_text().splitlines() if line.strip() and not line.startswith("#")}

    failures, bundles = {}, []
    everything = wanted(arguments.cases, [kind for kind in arguments.types.split(",") if kind])
    command = [str(arguments.binary.resolve()), "translate", *(["--mappings", arguments.mappings] if arguments.mappings else [])]
    command += ["--realm", arguments.realm] if arguments.realm else []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, path, must), (lines, why) in zip(everything, pool.map(lambda item: translate(command, item[1]), everything)):
            bundles += [(name, line) for line in lines]
            listed = refused & {name, type_of(path), type_of(path)[:3]}
            if why:
                failures[name] = why
            elif must and not lines and not listed:
                failures[name] = "gives no Bundle"
            elif lines and listed:
                failures[name] = "translates, but tests/refused.txt says that it does not"
        documents = sorted(arguments.documents.glob("*.json")) if arguments.documents else []
        if arguments.documents and len(documents) < DOCUMENTS_MIN:
            failures[str(arguments.documents)] = f"{len(documents)} documents, not {DOCUMENTS_MIN}: cargo test --test suite writes them"
        for path in documents:
            everything.append((f"document {path.name}", path, True))
            bundles.append((f"document {path.name}", json.dumps(json.loads(path.read_text())).encode()))
        chunks = []
        for start in range(0, len(bundles), CHUNK):
            part = bundles[start:start + CHUNK]
            file = arguments.work / f"bundles-{start // CHUNK}.ndjson"
            file.write_bytes(b"\n".join(line for _, line in part) + b"\n")
            chunks.append((file, [name for name, _ in part]))
        for issues in pool.map(lambda chunk: judge(arguments.validator, *chunk), chunks):
            for name, issue in issues:
                failures.setdefault(name, issue)

    for name, why in failures.items():
        print(f"{name}: {why}")
    if not bundles:
        failures["everything"] = "no Bundle at all"
    print(f"{len(everything)} files, {len(bundles)} Bundles")
    print(f"validate: {max(0, len(everything) - len(failures))} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
