"""A SMART Backend Services token server and a FHIR endpoint that wants its tokens, on PyJWT and cryptography: it shares no code with the gateway.

python3 tokens.py PORT PUBLIC_KEY SECONDS
POST /token           verifies the assertion (signature, aud, exp, iss, sub, jti not seen before) and gives a token for SECONDS
POST /fhir            wants a token that holds; answers a transaction
POST /revoke          all tokens so far hold no longer
GET /seen             what happened: tokens given, assertions refused and why, Bundles taken, tokens refused and why
"""

import http.server
import json
import secrets
import sys
import time
import urllib.parse

import jwt

port, public_key, life = int(sys.argv[1]), open(sys.argv[2]).read(), float(sys.argv[3])
token_url = f"http://127.0.0.1:{port}/token"
tokens, assertions = {}, set()
seen = {"given": 0, "refused": [], "bundles": 0, "expired": 0, "unknown": 0, "algorithms": []}


def grant(body):
    """The answer to a request for a token: status, JSON."""
    form = {key: values[0] for key, values in urllib.parse.parse_qs(body.decode(), strict_parsing=True).items()}
    try:
        assert form["grant_type"] == "client_credentials", "grant_type"
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion_type"
        assert form["scope"] == "system/*.cud", "scope"
        header = jwt.get_unverified_header(form["client_assertion"])
        assert header["typ"] == "JWT" and header["kid"] == "key-1", "header"
        required = {"require": ["iss", "sub", "aud", "exp", "jti"]}
        claims = jwt.decode(form["client_assertion"], public_key, algorithms=["RS384", "ES384"], audience=token_url, issuer="harbor", options=required)
        assert claims["sub"] == "harbor" and claims["jti"] not in assertions, "sub or jti"
        assert claims["exp"] <= time.time() + 300, "exp is more than five minutes away"
        assertions.add(claims["jti"])
    except (jwt.PyJWTError, AssertionError, KeyError, ValueError) as error:
        seen["refused"].append(f"{type(error).__name__}: {error}")
        return 401, {"error": "invalid_client"}
    seen["algorithms"].append(header["alg"])
    token = secrets.token_urlsafe(32)
    tokens[token] = time.time() + life
    seen["given"] += 1
    return 200, {"access_token": token, "token_type": "bearer", "expires_in": life, "scope": form["scope"]}


def take(header, body):
    """The answer to a Bundle."""
    token = (header or "").removeprefix("Bearer ")
    if token not in tokens or tokens[token] < time.time():
        seen["expired" if token in tokens else "unknown"] += 1
        return 401, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "login"}]}
    seen["bundles"] += 1
    entries = [{"response": {"status": "201 Created"}} for _ in json.loads(body)["entry"]]
    return 200, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        found = {"/seen": seen, "/fhir/.well-known/smart-configuration": {"token_endpoint": token_url}}.get(self.path)
        self.reply(200 if found else 404, found or {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/token":
            self.reply(*grant(body))
        elif self.path == "/revoke":
            tokens.clear()
            self.reply(200, {})
        else:
            self.reply(*take(self.headers.get("Authorization"), body))


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
