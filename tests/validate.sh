#!/usr/bin/env bash
# Translates our fixtures and all messages of ../shared/cases, and has every Bundle judged by the strict validator of ../shared/tools.
#   tests/validate.sh [BINARY [--mappings DIR] [--realm us] [--types VXU,RDE] [--documents DIR]]        default: target/release/handoff. Needs node, npm and python3.
set -euo pipefail
cd "$(dirname "$0")/.."

shared=${SHARED:-../shared}
binary=${1:-target/release/handoff}
work=target/validate
[ -x "$binary" ] || { echo "validate: $binary is not there; cargo build --release makes it" >&2; exit 2; }
validator=$(tests/validator.sh)

exec python3 tests/validate.py --binary "$binary" --cases "$shared/cases" --validator "$validator" --work "$work" "${@:2}" </dev/null
