#!/usr/bin/env bash
# The long forms of the proofs of the journal; `cargo test` runs the quick ones. Takes hours with everything; each can be set smaller.
#
#   HANDOFF_TORN     step in bytes over the last 64 KiB (default 1: every byte)
#   HANDOFF_FLIPS    random bits flipped (default 1000000)
#   PROPTEST_CASES   histories against the model (default 1000000)
#   HANDOFF_FAILS    every sync up to this one is made to fail (default 300)
#   HANDOFF_KILLS    kills under load (default 500)
#   POWER_CUTS       cuts of the power of a loop-mounted disk, needs root (default 300)
set -euo pipefail
cd "$(dirname "$0")/../.."
export HANDOFF_TORN=${HANDOFF_TORN:-1} HANDOFF_FLIPS=${HANDOFF_FLIPS:-1000000} PROPTEST_CASES=${PROPTEST_CASES:-1000000}
export HANDOFF_FAILS=${HANDOFF_FAILS:-300} HANDOFF_KILLS=${HANDOFF_KILLS:-500}
cargo test --release --lib journal::proofs
cargo test --release --test suite gateway::faults
cargo test --release --test suite gateway::crash
cargo build --release
if [ "$(id -u)" = 0 ]; then
    tests/long/power.py --cuts "${POWER_CUTS:-300}" target/release/handoff
else
    echo "power cuts: NOT RUN, mounting a disk needs root"
fi
