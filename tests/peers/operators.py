"""What operators look with: promtool and Prometheus over docs/observability, aiosmtpd for mails."""

import email
import email.policy
import json
import pathlib
import re
import ssl
import subprocess
import urllib.parse
import urllib.request

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from story import free_port

OBSERVABILITY = pathlib.Path(__file__).parent.parent.parent / "docs" / "observability"


def asked(base, path, token=None, **query):
    """The body of an answer."""
    request = urllib.request.Request(f"{base}{path}?{urllib.parse.urlencode(query)}", headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.read()


def prometheus_takes_rules_dashboard_and_metrics(peers):
    """promtool passes the rules, their tests and the configuration; Prometheus with these files asks a gateway, whose rules and panels then all give something or nothing, never an error."""
    token, table = peers.token("viewer")
    folder = pathlib.Path(peers.options.work, "prometheus")
    folder.mkdir()
    for name in ("alerts.rules.yml", "alerts.test.yml"):
        (folder / name).write_text((OBSERVABILITY / name).read_text())
    (folder / "handoff.token").write_text(token)
    before = f'[admin]\nlisten = "127.0.0.1:0"\ntokens = [{table}]\n[alerts]\ndisk_free = "9999999TB"\nevery = "200ms"\n'
    with peers.gateway("", before=before) as (port, gateway):
        base = re.search(r"admin (http://\S+)", (gateway / "log").read_text()).group(1)
        configuration = (OBSERVABILITY / "prometheus.yml").read_text()
        assert "127.0.0.1:8080" in configuration and ": 15s" in configuration, configuration
        configuration = configuration.replace("127.0.0.1:8080", base.removeprefix("http://")).replace(": 15s", ": 1s")
        (folder / "prometheus.yml").write_text(configuration)
        promtool = pathlib.Path(peers.options.prometheus, "promtool")
        for arguments in (["check", "rules", "alerts.rules.yml"], ["test", "rules", "alerts.test.yml"], ["check", "config", "prometheus.yml"]):
            done = subprocess.run([promtool, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            assert done.returncode == 0, f"{arguments}:\n{done.stdout}"
        peers.mllp_send(port, peers.fixture("ADT_A01/a01-admission"))
        linted(promtool, asked(base, "/metrics", token).decode())
        here = f"http://127.0.0.1:{free_port()}"
        command = [pathlib.Path(peers.options.prometheus, "prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={here.removeprefix('http://')}"]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            query(peers, here)
        finally:
            process.kill()
            process.wait()


def linted(promtool, text):
    """`promtool check metrics` reads the older format, which has neither `_total` behind the name of a counter's family nor infos; what differs is written as there."""
    kinds = dict(re.findall(r"# TYPE (\S+) (\S+)", text))
    lines = []
    for line in text.splitlines():
        comment = re.match(r"# (HELP|TYPE) (\S+) (.*)", line)
        if comment:
            word, name, rest = comment.groups()
            suffix = {"counter": "_total", "info": "_info"}.get(kinds[name], "")
            line = f"# {word} {name}{suffix} {'gauge' if rest == 'info' else rest}"
        if not line.startswith(("# UNIT", "# EOF")):
            lines.append(line)
    done = subprocess.run([promtool, "check", "metrics"], input="\n".join(lines) + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def query(peers, here):
    def found(expression):
        try:
            answer = json.loads(asked(here, "/api/v1/query", query=expression))
        except OSError:
            return None
        return answer["data"]["result"]

    peers.wait_for("a message in Prometheus", lambda: found('handoff_messages_total{listener="adt", outcome="translated"} == 1'))
    peers.wait_for("an alert of the gateway in Prometheus", lambda: found('handoff_alert_open{rule="disk_free", subject="data"} == 1'))
    (target,) = json.loads(asked(here, "/api/v1/targets"))["data"]["activeTargets"]
    assert target["health"] == "up" and not target["lastError"], target
    (group,) = json.loads(asked(here, "/api/v1/rules"))["data"]["groups"]
    peers.wait_for("the rules", lambda: all(rule["health"] == "ok" for rule in json.loads(asked(here, "/api/v1/rules"))["data"]["groups"][0]["rules"]))
    assert len(group["rules"]) >= 14, group
    dashboard = json.loads((OBSERVABILITY / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 30, expressions
    texts = [re.sub(r"\$(job|instance|listener|route)\b", ".*", expression).replace("$__rate_interval", "1m") for expression in expressions]
    assert not any("$" in text for text in texts), texts
    # A wrong one is an answer of 400, which asked() raises. Rates show nothing before the second time that the gateway was asked.
    given = lambda: sum(bool(json.loads(asked(here, "/api/v1/query", query=text))["data"]["result"]) for text in texts)
    peers.wait_for(f"panels that show something, of {len(texts)}", lambda: given() > 20)
    for variable in dashboard["templating"]["list"][1:]:
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        series = re.sub(r"\$(job|instance)\b", ".*", series)
        assert any(label in result["metric"] for result in found(series)) or variable["name"] == "route", variable


class Mailbox:
    """A server of SMTP with these options; gives its port, and keeps what it is given."""

    def __init__(self, **options):
        self.mails = []
        self.logins = []
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port(), authenticator=self.login, auth_required=True, **options)

    def login(self, server, session, envelope, mechanism, data):
        self.logins.append((mechanism, data.login, data.password))
        return AuthResult(success=data.password == b"p\xc3\xa4ss")

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 OK"

    def __enter__(self):
        self.controller.start()
        return self

    def __exit__(self, *_):
        self.controller.stop()


def aiosmtpd_gets_mails_over_tls(peers):
    """With STARTTLS and from the first byte; a server of another authority gets nothing."""
    folder = pathlib.Path(peers.options.work, "mail-certificates")
    folder.mkdir()
    subprocess.run([f"{peers.options.venv}/bin/python", pathlib.Path(__file__).parent / "certificates.py", folder], check=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")

    def alerts(mailbox, scheme, authority="ca"):
        server = f'smtp = "{scheme}://localhost:{mailbox.controller.port}", ca = "{folder}/{authority}.pem", user = "gateway", password = "päss"'
        starttls = ", starttls = true" if scheme == "smtp" else ""
        to = 'to = ["Desk <desk@harbor.example>", "night@harbor.example"], from = "Gateway <handoff@harbor.example>", pause = "1ms"'
        return f'[alerts]\nevery = "200ms"\ndisk_free = "1KB"\nsilence = "2s"\nemail = {{ {to}, {server}{starttls} }}\n'

    ways = (("smtp", {"tls_context": context, "require_starttls": True}), ("smtps", {"ssl_context": context, "auth_require_tls": False}))
    for scheme, options in ways:
        with Mailbox(**options) as mailbox:
            with peers.gateway("", before=alerts(mailbox, scheme)) as (port, _):
                peers.wait_for("a mail", lambda: mailbox.mails)
                peers.mllp_send(port, peers.fixture("ADT_A01/a01-admission"))
                peers.wait_for("another", lambda: len(mailbox.mails) > 1)
            (sender, to, opened), (_, _, resolved) = mailbox.mails[:2]
            assert (sender, to) == ("handoff@harbor.example", ["desk@harbor.example", "night@harbor.example"]), (sender, to)
            assert opened["Subject"].endswith("] open: silence adt"), opened["Subject"]
            assert resolved["Subject"].endswith("] resolved: silence adt"), resolved["Subject"]
            assert opened["From"].addresses[0].display_name == "Gateway" and opened["Auto-Submitted"] == "auto-generated", opened
            assert opened["Message-ID"] != resolved["Message-ID"] and opened["Date"].datetime.tzinfo, opened
            text = opened.get_content().replace("\r\n", "\n")
            assert re.match(r"OPEN      silence adt, since \S+Z\n          no message has come to listener adt for \d+ s\n", text), text
            assert resolved.get_content().startswith("RESOLVED  silence adt, "), resolved
            assert set(mailbox.logins) == {("PLAIN", b"gateway", "päss".encode())}, mailbox.logins
        with Mailbox(**options) as mailbox:
            with peers.gateway("", before=alerts(mailbox, scheme, authority="stranger")) as (_, gateway):
                peers.wait_for("a failure", lambda: "alerts cannot be mailed" in (gateway / "log").read_text())
            assert not mailbox.mails and not mailbox.logins, mailbox.mails


CHECKS = (prometheus_takes_rules_dashboard_and_metrics, aiosmtpd_gets_mails_over_tls)
