#!/usr/bin/env bash
# Four times what a route can deliver, for a while: senders are held back, nothing is refused or dropped, memory stays below its cap, and all of it arrives.
#
#   SECONDS_LONG   how long (default 3600)
#   MEMORY_MAX     megabytes that the gateway may hold at its highest (default 250)
#   DATA           the folder whose disk is used (default: that of temporary files)
#   HANDOFF        the program (default: the release build)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
handoff=${HANDOFF:-$root/target/release/handoff}
seconds=${SECONDS_LONG:-3600} memory_max=${MEMORY_MAX:-250}
work=$(mktemp -d "${DATA:-${TMPDIR:-/tmp}}/handoff-overload-XXXXXX")
trap 'rm -rf "$work"' EXIT

figure() { python3 -c 'import json, sys; print(int(json.load(sys.stdin)[sys.argv[1]]))' "$1"; }
bench() { "$handoff" bench gateway --workloads T3 --json --data "$work" "$@"; }

capacity=$(bench --seconds 10 | figure deliveries_per_s)
offered=$((4 * capacity))
echo "one route delivers $capacity a second; $offered are offered for $seconds s"
# Exit 1 when anything that was acknowledged did not arrive.
told=$(bench --seconds "$seconds" --rate "$offered" --drain $((60 + 4 * seconds)))
echo "$told"
memory=$(($(figure memory_bytes <<<"$told") >> 20))
if [ "$memory" -gt "$memory_max" ]; then
    echo "FAILED: $memory MB of memory, $memory_max MB are allowed"
    exit 1
fi
echo "good: $(figure acknowledged_per_s <<<"$told") a second were taken, all of them arrived, $memory MB of memory at most"
