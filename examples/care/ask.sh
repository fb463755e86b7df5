#!/usr/bin/env bash
# Asks the FHIR interface as somebody whose token stands in WHO.token beside this file; a BODY of - is standard input.
#   care/ask.sh WHO METHOD PATH [BODY]
set -euo pipefail

token="$(cat "$(dirname "$0")/$1.token")"
body=()
if [ $# -gt 3 ]; then body=(--header 'Content-Type: application/fhir+json' --data-binary "@$4"); fi
curl --silent --show-error --request "$2" --header "Authorization: Bearer $token" "${body[@]}" "http://127.0.0.1:8090/fhir/$3"
echo
