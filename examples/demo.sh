#!/usr/bin/env bash
# Shows the whole way: HL7 v2 messages over MLLP into handoff, FHIR Bundles out of it to an endpoint and to a file.
# Needs Rust, a C compiler and bash; writes to a temporary folder only. HANDOFF and ENDPOINT name ready-built programs.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${MLLP_PORT:-2575}
if [ -z "${HANDOFF:-}" ] || [ -z "${ENDPOINT:-}" ]; then
    cargo build --release --quiet --bin handoff --example endpoint
fi
handoff=${HANDOFF:-target/release/handoff}
endpoint=${ENDPOINT:-target/release/examples/endpoint}
messages=(
    fixtures/ADT_A01/a01-admission/message.hl7
    fixtures/ADT_A02/a02-transfer/message.hl7
    fixtures/ADT_A01/a08-update/message.hl7
    fixtures/ORU_R01/chemistry/message.hl7
    fixtures/ORU_R01/microbiology/message.hl7
    fixtures/ADT_A39/a40-merge-patient/message.hl7
    fixtures/ADT_A03/a03-discharge/message.hl7
)

work=$(mktemp -d)
started=()
finish() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT

wait_for() { # wait_for WHAT COMMAND…: until the command holds, 30 s at most
    local what=$1 tries=0
    shift
    until "$@" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then
            echo "demo: gave up waiting for $what" >&2
            cat "$work/handoff.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$port"); }
lines_are() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }

if port_open 2>/dev/null; then
    echo "demo: something listens on port $port already; choose another with MLLP_PORT=…" >&2
    exit 1
fi

"$endpoint" >"$work/endpoint.log" &
started+=($!)
wait_for "the endpoint" lines_are "$work/endpoint.log" 1
url=$(sed -n '1s/listening on //p' "$work/endpoint.log")

cat >"$work/handoff.toml" <<CONFIG
data = "data"

[[listener]]
name = "demo"
mllp = "127.0.0.1:$port"

[[route]]
name = "endpoint"
to = { fhir = "$url", bundle = "transaction" }

[[route]]
name = "archive"
to = { file = "bundles.ndjson" }
CONFIG
"$handoff" serve --config "$work/handoff.toml" 2>"$work/handoff.log" &
started+=($!)
wait_for "handoff to listen" port_open

echo "== ${#messages[@]} messages over MLLP to 127.0.0.1:$port"
"$handoff" send --to "127.0.0.1:$port" "${messages[@]}"

wait_for "the Bundles at the endpoint" lines_are "$work/endpoint.log" $((${#messages[@]} + 1))
wait_for "the Bundles in the file" lines_are "$work/bundles.ndjson" "${#messages[@]}"
echo
echo "== what the FHIR endpoint $url got"
sed 1d "$work/endpoint.log"
echo
echo "== the first Bundle, as the archive file holds it"
head -n 1 "$work/bundles.ndjson" | cut -c 1-1200
