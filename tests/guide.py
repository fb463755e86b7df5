#!/usr/bin/env python3
"""Compares the mappings with every row of HL7's v2-to-FHIR guide that has a core FHIR target.

  tests/guide.py [--rows FILE] [--mappings DIR] [--map 'PID[Patient]'] [--found]

A row is found when a map from the same segment (or datatype) to the same FHIR type has a rule that reads the row's field and writes the row's
element, a part of it or the whole of which it is a part. A row that is not found must stand in a file of `tests/guide/left-out/`, with the reason:
`map,csv_row,v2,target,reason`, where `csv_row` may be a range (`12-15`) or `*` (the whole map). A line that names no row of the guide, or only rows
that are found, is an error too, so that the lists stay true.
"""
import argparse
import collections
import csv
import json
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEFT_OUT = ROOT / "tests" / "guide" / "left-out"
CHOICES = ("value", "effective", "occurrence", "performed", "onset", "deceased", "multipleBirth", "medication", "asNeeded", "additive", "collected",
           "occurred", "abatement", "allowed", "dose", "rate", "product", "serviced", "location", "content", "quantity", "timing", "statusReason",
           "reported", "item", "entity", "subject", "defaultValue", "fastingStatus", "time", "age", "born", "start", "due", "source", "minimumVolume")


# Datatypes that the guide maps row by row and we read with the map of another: the components are the same.
ALIASES = {"CE": "CWE", "CF": "CWE", "CNE": "CWE", "TS": "DTM"}


def flat_rules(value, path):
    """(path, text) of every rule below one row: inline tables and arrays are opened."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for part in value:
            yield from flat_rules(part, path)
    elif isinstance(value, dict):
        guard = value.get("if", "")
        for key, part in value.items():
            if key != "if":
                below = path if key == "*" else f"{path}.{key}" if path else key
                for inner, text in flat_rules(part, below):
                    yield inner, f"{text} if {guard}" if guard else text


def fields_read(text, own):
    """`PID-5` (or `XPN.5`) of everything that an expression reads, literals left out."""
    text = re.sub(r"'[^']*'", "''", text)
    text = re.sub(r"\s[!]?=\s*[\w-]+|\bin\s*\([^)]*\)", " ", text)
    found = {f"{segment}-{field}" for segment, field in re.findall(r"\b([A-Z][A-Z0-9]{2})-(\d+)", text)}
    bare = re.sub(r"\b[A-Z][A-Z0-9]{2}-\d+(?:\[[^\]]*\])?(?:\.\d+)*", " ", text)
    bare = re.sub(r"[@:]\s*[\w.\-\[\]]+", " ", bare)
    for number in re.findall(r"(?<![\w.\-\[])(\d+)(?:\[[^\]]*\])?(?:\.\d+)*", bare):
        found.add(f"{own}-{number}")
    for number in re.findall(r"(?:unit|end|type|system)=(\d+)", text):
        found.add(f"{own}-{number}")
    return found


def plain(path):
    """A path without slots and indices: `name[legal].given` → (name, given); extensions keep the last word of their URL."""
    path = re.sub(r"extension\(([^)]*)\)", lambda found: "extension:" + found[1].rstrip("/").rsplit("/", 1)[-1].replace(".", "_"), path)
    path = path.replace("->", ".").replace("[x]", "")
    path = re.sub(r"\[[^\]]*\]", "", path)
    return tuple(part for part in path.split(".") if part and part != "*")


def our_rules(folder):
    """FHIR type → [(source names, path, text, name of the map)]."""
    rules = collections.defaultdict(list)
    for file in sorted([*folder.glob("segments/*.toml"), *folder.glob("datatypes/*.toml"), *folder.glob("realms/**/*.toml")]):
        for own, maps in tomllib.loads(file.read_text()).items():
            if not isinstance(maps, dict):
                continue
            for name, body in maps.items():
                if not isinstance(body, dict):
                    continue
                kind = name.split("-")[0]
                for path, value in body.get("set", {}).items():
                    for inner, text in flat_rules(value, "" if path == "*" else path):
                        rules[kind].append((fields_read(text, own), plain(inner), text, f"{own}.{name}"))
                for path, table in body.get("switch", {}).items():
                    for key, value in table.items():
                        for inner, text in flat_rules(value if key != "on" else "", path):
                            rules[kind].append((fields_read(text, own) | fields_read(str(table.get("on", "")), own), plain(inner), text, f"{own}.{name}"))
                for key in ("value", "chain"):
                    if key in body:
                        for inner, text in flat_rules(body[key], ""):
                            rules[kind].append((fields_read(text, own), plain(inner) if key == "chain" else (), text, f"{own}.{name}"))
    # `name = "0 : XCN.HumanName"` hands the whole value on: what that map reads is read here.
    for kind, of_kind in list(rules.items()):
        for reads, path, text, where in list(of_kind):
            own = where.split(".")[0]
            for other in re.findall(r"(?<![\w.])0 : (\w+\.[\w-]+)", text):
                for reads2, path2, text2, where2 in rules.get(other.split(".")[1].split("-")[0], ()):
                    if where2 == other:
                        of_kind.append(({own + name[name.index("-"):] for name in reads2}, path + path2, text2, where))
    return rules


def extension_names(rows):
    """(map, field, extension path) → name, from the guide's own `….extension[2].url` rows. The guide uses some indices twice, so the field counts."""
    names = {}
    for row in rows:
        target = row.get("target", "")
        url = row.get("assign") or row.get("comment") or ""
        if re.search(r"\.ur[li]$", target) and "extension" in target and url.strip('" '):
            name = url.strip('" .').rstrip("/").rsplit("/", 1)[-1].replace(".html", "").replace("StructureDefinition-", "").replace(".", "_")
            names[(row["map"], row.get("v2"), target[:-4])] = name
            names.setdefault((row["map"], None, target[:-4]), name)
    return names


def guide_path(row, extensions):
    """The row's target as `plain` has ours; what stands in brackets (`a(Type.b)`) is behind a reference."""
    target = row["target"]
    target = re.sub(r'=.*$', "", target)
    kept, done = "", ""
    for part in re.split(r"(?<=\])\.|\.(?![^(]*\))", target):
        done = f"{done}.{part}" if done else part
        name = extensions.get((row["map"], row.get("v2"), done)) or extensions.get((row["map"], None, done))
        kept += ("." if kept else "") + (f"extension({name})" if name else part)
    kept = re.sub(r"\((?:[A-Z]\w*\.)?([^()]*)\)?", lambda found: "" if found[1][:1].isupper() or not found[1] else "." + found[1], kept) if "extension(" not in kept else kept
    kept = kept if "extension(" in kept else kept.replace("(", ".").replace(")", "")
    return tuple(part for part in plain(kept) if part not in ("$this", "$value", row["map"].partition("[")[2].rstrip("]").split("-")[0]))


def same(one, other):
    """Whether two elements are one, or one a part of the other."""
    for left, right in zip(one, other):
        left, right = left.lower(), right.lower()
        if left.startswith("extension") and right.startswith("extension"):  # an extension is found by its name, whatever it holds
            return "extension" in (left, right) or left.startswith(right) or right.startswith(left)
        if left == right:
            continue
        if not any(a.startswith(choice.lower()) and b == choice.lower() for choice in CHOICES for a, b in ((left, right), (right, left))):
            return False
    return True


def is_found(row, rules, extensions):
    source, _, kind = row["map"].partition("[")
    source = ALIASES.get(source, source)
    kind = kind.rstrip("]").split("-")[0].split("/")[0]
    found = re.match(r"[A-Za-z0-9]+[-.](\d+)", row.get("v2") or "")
    wanted = f"{source}-{found[1]}" if found else None
    path = guide_path(row, extensions)
    literal = (row.get("assign") or "").strip('" ')
    for reads, ours, text, where in rules.get(kind, ()):
        if not same(path, ours):
            continue
        if wanted and wanted in reads or wanted is None and where.startswith(source + "."):
            return True
        if literal and len(literal) > 1 and literal.rsplit("/", 1)[-1] in text:
            return True
    return False


def row_numbers(text):
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=pathlib.Path, default=ROOT.parent / "shared" / "ig" / "rows.jsonl")
    parser.add_argument("--mappings", type=pathlib.Path, default=ROOT / "mappings")
    parser.add_argument("--map", dest="only", help="only rows of maps that begin with this")
    parser.add_argument("--found", action="store_true", help="list what was found, too")
    arguments = parser.parse_args()

    rows = [json.loads(line) for line in arguments.rows.read_text().splitlines()]
    rows = [row for row in rows if row["kind"] in ("segments", "datatypes")]
    extensions = extension_names(rows)
    rows = [row for row in rows if row.get("target")]
    rules = our_rules(arguments.mappings)
    by_place = collections.defaultdict(list)
    for row in rows:
        by_place[(row["map"], row["csv_row"])].append(row)
    found = {id(row): is_found(row, rules, extensions) for row in rows}

    listed, stale = set(), []
    for file in sorted(LEFT_OUT.glob("*.csv")):
        for number, line in enumerate(csv.DictReader(file.open()), 2):
            where = f"{file.name}:{number}"
            if not (line.get("reason") or "").strip():
                stale.append(f"{where}: no reason")
                continue
            try:
                named = [row for row in rows if row["map"] == line["map"] and (line["csv_row"] == "*" or row["csv_row"] in row_numbers(line["csv_row"]))]
            except ValueError:
                stale.append(f"{where}: csv_row {line['csv_row']!r} is neither a number, a range nor *")
                continue
            listed.update(id(row) for row in named)
            if not named:
                stale.append(f"{where}: {line['map']} row {line['csv_row']} is no row of the guide with a core target")
            elif all(found[id(row)] for row in named):
                stale.append(f"{where}: {line['map']} row {line['csv_row']} {line['target']} is listed, yet the mappings have it")

    missing = [row for row in rows if not found[id(row)] and id(row) not in listed]
    for row in rows:
        if arguments.only and not row["map"].startswith(arguments.only):
            continue
        state = "found" if found[id(row)] else "MISSING" if id(row) not in listed else None
        if state == "MISSING" or state and arguments.found:
            extra = " ".join(str(row[key]) for key in ("assign", "cond") if row.get(key))
            print(f"{state:8} {row['map']} row {row['csv_row']}: {row.get('v2', '')} → {row['target']} {extra}".rstrip())
    for what in stale:
        print(what)
    for kind in ("segments", "datatypes"):
        of_kind = [row for row in rows if row["kind"] == kind]
        there = sum(found[id(row)] for row in of_kind)
        out = sum(not found[id(row)] and id(row) in listed for row in of_kind)
        print(f"{kind}: {len(of_kind)} rows, {there} in the mappings, {out} left out with a reason, {len(of_kind) - there - out} missing")
    print(f"guide: {len(rows) - len(missing)} passed, {len(missing) + len(stale)} failed")
    return 1 if missing or stale else 0


if __name__ == "__main__":
    sys.exit(main())
