#!/usr/bin/env python3
"""The second half of tests/validate.sh: translates, validates, tells which message failed.

A message of a mapped type that gives no Bundle is a failure unless `tests/refused.txt` says why (and one listed there that does translate is
a failure too, so that the list stays true). The hostile ones of `torture` may be refused, with exit status 1; a crash or a hang never passes.
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
TYPES = ("ADT", "ORU")
CHUNK = 150  # Bundles a node process
TIMEOUT_S = 60


def is_mapped(path):
    """Whether some MSH of this file, whatever its field separator, has a message type that we map."""
    data = path.read_bytes().replace(b"\n", b"\r").lstrip(b"\xef\xbb\xbf")
    for header in re.findall(rb"(?:^|\r)[Mm][Ss][Hh]([^\r]*)", data):
        fields = header.split(header[:1])
        if len(fields) > 8 and fields[8][:3].decode("latin-1").upper() in TYPES:
            return True
    return False


def wanted(cases):
    """(name, file, whether it must translate) of everything that is judged."""
    found = []
    for path in sorted((ROOT / "fixtures").glob("*/*/message.hl7")):
        found.append((str(path.relative_to(ROOT)), path, path.parent.parent.name != "refused"))
    for line in (cases / "messages.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["type"][:3] in TYPES:
            found.append((record["file"], cases / record["file"], True))
    for path in sorted((cases / "torture").iterdir()):
        if is_mapped(path):
            found.append((f"torture/{path.name}", path, False))
    return found


def translate(binary, path):
    """(Bundle lines, why it failed or None)."""
    try:
        done = subprocess.run([binary, "translate", str(path)], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)
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
    arguments = parser.parse_args()
    refused_file = ROOT / "tests" / "refused.txt"
    refused = {line.split()[0] for line in refused_file.read_text().splitlines() if line.strip() and not line.startswith("#")}

    failures, bundles = {}, []
    everything = wanted(arguments.cases)
    binary = str(arguments.binary.resolve())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, _, must), (lines, why) in zip(everything, pool.map(lambda item: translate(binary, item[1]), everything)):
            bundles += [(name, line) for line in lines]
            if why:
                failures[name] = why
            elif must and not lines and name not in refused:
                failures[name] = "gives no Bundle"
            elif lines and name in refused:
                failures[name] = "translates, but tests/refused.txt says that it does not"
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
