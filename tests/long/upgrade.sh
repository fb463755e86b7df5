#!/usr/bin/env bash
# A data directory of the version before, taken over by this one: OLD=path/to/old/handoff tests/long/upgrade.sh
# What the old one took and could not deliver is delivered, nothing is delivered twice to a file, and everything is found. HANDOFF names this version; default: the
# release build.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
old=${OLD:?the program of the version before}
new=${HANDOFF:-$root/target/release/handoff}
work=$(mktemp -d)
server='' receiver=''
trap 'kill $server $receiver 2>/dev/null; rm -rf "$work"' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port) later=$(free_port)
cat >"$work/handoff.toml" <<END
[[listener]]
name = "adt"
mllp = "127.0.0.1:$port"
[[route]]
name = "file"
to = { file = "out.ndjson" }
[[route]]
name = "later"
to = { mllp = "127.0.0.1:$later" }
retry = { first = "100ms", max = "1s" }
END
mkdir "$work/receiver"
printf '[[listener]]\nname = "in"\nmllp = "127.0.0.1:%s"\n' "$later" >"$work/receiver/handoff.toml"

serve() { # serve PROGRAM FOLDER: starts it and waits until it listens
    "$1" serve --config "$2/handoff.toml" 2>>"$2/log" &
    started=$!
    for _ in $(seq 200); do
        [ "$(grep -c '^listening' "$2/log")" -ge "$3" ] && return
        sleep 0.1
    done
    cat "$2/log"
    exit 1
}
wait_for() { # wait_for NUMBER COMMAND…: until it prints that number
    for _ in $(seq 200); do
        [ "$("${@:2}")" = "$1" ] && return
        sleep 0.1
    done
    echo "FAIL: ${*:2} does not print $1 but $("${@:2}")"
    exit 1
}
lines() { wc -l <"$work/out.ndjson"; }
taken() { grep -c ' message seq=' "$work/receiver/log" || true; }

fixtures=$root/fixtures
serve "$old" "$work" 1
server=$started
"$old" send --to "127.0.0.1:$port" "$fixtures"/ADT_A01/a01-admission/message.hl7 "$fixtures"/ADT_A01/a08-update/message.hl7 "$fixtures"/ORU_R01/chemistry/message.hl7
wait_for 3 lines
kill "$server" && wait "$server"

serve "$new" "$work" 2
server=$started
serve "$new" "$work/receiver" 1
receiver=$started
wait_for 3 taken
"$new" send --to "127.0.0.1:$port" "$fixtures"/ADT_A01/z-segment/message.hl7
"$new" send --to "127.0.0.1:$port" "$fixtures"/ADT_A01/a01-admission/message.hl7 # known from the old one: not taken again
wait_for 4 lines
wait_for 4 taken
wait_for 4 sh -c "'$new' messages search --config '$work/handoff.toml' | wc -l"
wait_for 0 sh -c "'$new' dead-letters list --config '$work/handoff.toml' | wc -l"
kill "$server" "$receiver" && wait "$server" "$receiver"
"$new" journal verify --config "$work/handoff.toml"
echo "1 passed, 0 failed"
