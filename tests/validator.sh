#!/usr/bin/env bash
# Prepares the strict validator of ../shared/tools in target/validate, once, and prints where its program is. Needs node and npm.
set -euo pipefail
cd "$(dirname "$0")/.."

shared=${SHARED:-../shared}
work=target/validate
[ -f "$shared/tools/validate/validate.mjs" ] || { echo "validator: $shared/tools/validate is not there" >&2; exit 2; }

# The validator looks for ../../fhir-r4 from where it lies, so the copy keeps that shape.
mkdir -p "$work/tools/validate" "$work/fhir-r4"
install -m 644 "$shared/fhir-r4/elements.jsonl" "$shared/fhir-r4/required-codes.json" "$work/fhir-r4/"
install -m 644 "$shared/tools/validate/package.json" "$work/tools/validate/"
# It prints three issues of a kind; we want every one, to tell which Bundle failed.
sed 's/if (counts.get(key) <= 3) console/console/' "$shared/tools/validate/validate.mjs" >"$work/tools/validate/validate.mjs"
if grep -q '<= 3) console' "$work/tools/validate/validate.mjs"; then echo "validator: it prints in another way now; mend the sed above" >&2; exit 2; fi
[ -d "$work/tools/validate/node_modules/@medplum/core" ] || npm install --silent --no-audit --no-fund --prefix "$work/tools/validate" </dev/null >&2
echo "$PWD/$work/tools/validate/validate.mjs"
