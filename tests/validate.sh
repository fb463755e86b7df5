#!/usr/bin/env bash
# Translates our fixtures and all messages of ../shared/cases, and has every Bundle judged by the strict validator of ../shared/tools.
#   tests/validate.sh [BINARY [--mappings DIR] [--realm us] [--types VXU,RDE]]        default: target/release/handoff. Needs node, npm and python3.
set -euo pipefail
cd "$(dirname "$0")/.."

shared=${SHARED:-../shared}
binary=${1:-target/release/handoff}
work=target/validate
[ -f "$shared/tools/validate/validate.mjs" ] || { echo "validate: $shared/tools/validate is not there" >&2; exit 2; }
[ -x "$binary" ] || { echo "validate: $binary is not there; cargo build --release makes it" >&2; exit 2; }

# The validator looks for ../../fhir-r4 from where it lies, so the copy keeps that shape.
mkdir -p "$work/tools/validate" "$work/fhir-r4"
cp "$shared/fhir-r4/elements.jsonl" "$shared/fhir-r4/required-codes.json" "$work/fhir-r4/"
cp "$shared/tools/validate/package.json" "$work/tools/validate/"
# It prints three issues of a kind; we want every one, to tell which Bundle failed.
sed 's/if (counts.get(key) <= 3) console/console/' "$shared/tools/validate/validate.mjs" >"$work/tools/validate/validate.mjs"
if grep -q '<= 3) console' "$work/tools/validate/validate.mjs"; then echo "validate: the validator prints in another way now; mend the sed above" >&2; exit 2; fi
[ -d "$work/tools/validate/node_modules/@medplum/core" ] || npm install --silent --no-audit --no-fund --prefix "$work/tools/validate" </dev/null

exec python3 tests/validate.py --binary "$binary" --cases "$shared/cases" --validator "$work/tools/validate/validate.mjs" --work "$work" "${@:2}" </dev/null
