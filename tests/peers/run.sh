#!/usr/bin/env bash
# Other people's software against ours, on loopback: python-hl7, node-hl7-client and openssl send to `handoff serve`, a FHIR server stores what it delivers, PyJWT verifies its
# assertions, schemathesis asks the admin API whatever its description allows, FHIR libraries and a browser subscribe and are told, Prometheus
# looks with our rules and dashboard, aiosmtpd gets our mails, and more.
# Needs python3 (with venv), node, npm and openssl, and Chromium, which it installs from Debian's packages where it is missing (as root), as it unpacks Prometheus. The FHIR server and the validator are those
# of ../shared/tools. HANDOFF names the binary; default: the release build, made where it is missing. With arguments: only the checks whose names begin so.
# Ends with "N passed, N failed".
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
shared=${SHARED:-$root/../shared}

fail() {
    echo "FAIL $1"
    echo "0 passed, 1 failed"
    exit 1
}
for tool in python3 node npm openssl; do
    command -v "$tool" >/dev/null || fail "peers: $tool is not installed"
done
[ -f "$shared/tools/fhir-server/server.mjs" ] || fail "peers: $shared/tools/fhir-server/server.mjs is not there"

if [ -z "${HANDOFF:-}" ]; then
    HANDOFF=$root/target/release/handoff
    [ -x "$HANDOFF" ] || (cd "$root" && cargo build --locked --release) || fail "peers: handoff does not build"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v chromium >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core; } >"$work/apt.log" 2>&1 || { tail -5 "$work/apt.log"; fail "peers: Chromium is not there and cannot be installed"; }
fi
prometheus=$(dirname "$(command -v promtool || echo "$work/usr/bin/promtool")")
if [ ! -x "$prometheus/promtool" ]; then
    # Unpacked, not installed: nothing is started as a service, and no root is needed.
    { (apt-get update -qq || true) && cd "$work" && apt-get download prometheus && dpkg -x prometheus_*.deb .; } >"$work/apt.log" 2>&1 || { tail -5 "$work/apt.log"; fail "peers: Prometheus is not there and cannot be unpacked"; }
    cd "$root"
fi
python3 -m venv "$work/venv" || fail "peers: no virtual environment of Python can be made"
packages="hl7==0.4.5 PyJWT==2.10.1 cryptography==45.0.7 schemathesis==4.32.5 jsonschema fhir.resources==8.3.0 fhirclient==4.4.0 websockets==17.4 aiosmtpd==1.4.6"
# shellcheck disable=SC2086
"$work/venv/bin/pip" install --quiet --disable-pip-version-check $packages || fail "peers: one of $packages cannot be installed"
mkdir "$work/fhir-server"
cp "$shared/tools/fhir-server/package.json" "$shared/tools/fhir-server/server.mjs" "$work/fhir-server/"
npm install --silent --no-audit --no-fund --prefix "$work/fhir-server" >"$work/npm.log" 2>&1 || { cat "$work/npm.log"; fail "peers: the FHIR server cannot be installed"; }
mkdir "$work/senders"
cp "$here/sender.mjs" "$work/senders/"
npm install --silent --no-audit --no-fund --prefix "$work/senders" node-hl7-client@3.2.0 >"$work/npm.log" 2>&1 || { cat "$work/npm.log"; fail "peers: node-hl7-client cannot be installed"; }
mkdir "$work/browser"
cp "$here/browser.mjs" "$here/desk.mjs" "$work/browser/"
npm install --silent --no-audit --no-fund --prefix "$work/browser" playwright-core@1.65.1 axe-core@4 >"$work/npm.log" 2>&1 || { cat "$work/npm.log"; fail "peers: playwright-core and axe-core cannot be installed"; }
validator=$("$root/tests/validator.sh") || fail "peers: the validator cannot be installed"

CHROMIUM=$(command -v chromium) "$work/venv/bin/python" "$here/peers.py" --handoff "$HANDOFF" --fixtures "$root/fixtures" --venv "$work/venv" --fhir-server "$work/fhir-server" --senders "$work/senders" --browser "$work/browser" --prometheus "$prometheus" --validator "$validator" --work "$work" "$@"
