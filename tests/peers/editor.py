#!/usr/bin/env python3
"""The schema for editors, judged by the jsonschema library: all our mapping files pass, and each typical mistake is underlined where it stands.

  editor.py ROOT
"""
import json
import pathlib
import sys
import tomllib

import jsonschema

WRONG = {
    'a misspelt element': '[PID.Patient.set]\ngendre = "8"',
    'a misspelt key of a map': '[PID.Patient]\nidentiti = ["3"]',
    'a misspelt section': '[profil]\ntimezone = "UTC"',
    'a misspelt key of a profile': '[profile]\ntimezon = "UTC"',
    'no FHIR type': '[PID.Patiant.set]\ngender = "8"',
    'a number for an expression': '[PID.Patient.set]\ngender = 8',
    'a statement without a map': '[ADT_A01]\nZPD = "patient += "',
    'a feed by a field that is not of MSH': '[profile]\nwhen = { PID-3 = "X" }',
}


def main():
    root = pathlib.Path(sys.argv[1])
    schema = json.loads((root / "docs" / "editor" / "mappings.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    files = [*(root / "mappings").rglob("*.toml"), *(root / "examples" / "site").glob("*.toml"), *(root / "examples" / "site" / "feeds").rglob("*.toml")]
    assert len(files) > 50, files
    for file in files:
        for error in validator.iter_errors(tomllib.loads(file.read_text())):
            sys.exit(f"{file}: {list(error.absolute_path)}: {error.message[:200]}")
    for what, text in WRONG.items():
        if not list(validator.iter_errors(tomllib.loads(text))):
            sys.exit(f"{what} passes: {text}")


if __name__ == "__main__":
    main()
