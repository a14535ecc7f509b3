"""Alerts reach each sink once, in order, also when a sink was down or the process died; against real local servers."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assets.monitoring.alerts import DELIVERED, FILE, SINKS, Alert, Alerts, LogSink, MailSink, WebhookSink
from serving.runtime.program import free_port

FIRST = Alert("arrival/2013-06", "2013-07-01T00:00:00+00:00", "Retraining would not help", "Look.", {"gain": 0.01})
SECOND = Alert("arrival/2013-07", "2013-08-01T00:00:00+00:00", "No labels", "Where are they?")
HOOK = WebhookSink(kind="webhook", url_variable="TEST_ALERT_HOOK")


class Hook(ThreadingHTTPServer):
    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.status = 204
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if hook.status < 300:
                    hook.got.append((self.headers["idempotency-key"], body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


class Mail(socketserver.ThreadingTCPServer):
    """As much of SMTP as takes a mail."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.got: list[str] = []
        mail = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 here")
                while line := self.rfile.readline().decode().strip():
                    verb = line.split()[0].upper()
                    if verb == "DATA":
                        self.say("354 go on")
                        lines = []
                        while (part := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                            lines.append(part)
                        mail.got.append("\n".join(lines))
                    self.say("221 bye" if verb == "QUIT" else "250 ok")
                    if verb == "QUIT":
                        return

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        super().__init__(("127.0.0.1", 0), Handler)


def running(server: Any) -> Iterator[Any]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    found = Hook()
    monkeypatch.setenv("TEST_ALERT_HOOK", f"http://127.0.0.1:{found.server_port}/alerts?token=secret")
    yield from running(found)


@pytest.fixture
def mail() -> Iterator[Mail]:
    yield from running(Mail())


def test_each_sink_gets_each_alert_once(tmp_path: Path, hook: Hook, mail: Mail) -> None:
    told: list[str] = []
    post = MailSink(kind="smtp", host="127.0.0.1", port=mail.server_address[1], sender="a@x", recipients=("b@x", "c@x"))
    alerts = Alerts(tmp_path, (LogSink(), HOOK, post), told.append)
    assert alerts.deliver() == []
    assert [alerts.keep(alert) for alert in (FIRST, SECOND, FIRST)] == [True, True, False]
    assert {delivery.problem for delivery in alerts.deliver()} == {None}
    assert alerts.deliver() == []
    assert [ident for ident, _ in hook.got] == [FIRST.id, SECOND.id]
    assert hook.got[0][1] == {**vars(FIRST)}
    assert told == ["ALERT Retraining would not help: Look.", "ALERT No labels: Where are they?"]
    one, two = map(message_from_string, mail.got)
    assert (one["Subject"], one["To"], one["X-Clearway-Alert"]) == (FIRST.subject, "b@x, c@x", FIRST.id)
    assert "gain: 0.01" in str(one.get_payload())
    assert two["Subject"] == "No labels"
    assert "secret" not in (tmp_path / DELIVERED).read_text()


def test_a_sink_that_is_down_gets_them_later_in_order_and_no_other_waits(tmp_path: Path, hook: Hook) -> None:
    told: list[str] = []
    dead = MailSink(kind="smtp", host="127.0.0.1", port=free_port(), sender="a@x", recipients=("b@x",))
    alerts = Alerts(tmp_path, (HOOK, dead, LogSink()), told.append)
    hook.status = 500
    for alert in (FIRST, SECOND):
        alerts.keep(alert)
    problems = {delivery.sink.split()[0]: delivery.problem for delivery in alerts.deliver()}
    assert "HTTP 500" in str(problems["webhook"])
    assert "refused" in str(problems["smtp"])
    assert len(told) == 2
    hook.status = 200
    alerts.deliver()
    assert [ident for ident, _ in hook.got] == [FIRST.id, SECOND.id]
    assert len(told) == 2


def test_a_torn_line_is_no_alert_and_costs_none(tmp_path: Path) -> None:
    alerts = Alerts(tmp_path, (), print)
    alerts.keep(FIRST)
    with open(tmp_path / FILE, "a") as file:
        file.write('{"id": "torn", "at"')
    assert [alert.id for alert in alerts.kept()] == [FIRST.id]
    assert alerts.keep(SECOND)
    assert [alert.id for alert in alerts.kept()] == [FIRST.id, SECOND.id]


def test_a_missing_address_is_said_by_its_variable(tmp_path: Path) -> None:
    alerts = Alerts(tmp_path, (HOOK,), print)
    alerts.keep(FIRST)
    (delivery,) = alerts.deliver()
    assert "TEST_ALERT_HOOK is not set" in str(delivery.problem)


def test_slack_s_shape_and_what_is_declared_wrongly(tmp_path: Path, hook: Hook) -> None:
    (sink,) = SINKS.validate_python([{"kind": "webhook", "url_variable": "TEST_ALERT_HOOK", "shape": "slack"}])
    alerts = Alerts(tmp_path, (sink,), print)
    alerts.keep(FIRST)
    alerts.deliver()
    assert hook.got[0][1] == {"text": "*Retraining would not help*\nLook."}
    with pytest.raises(ValidationError, match="recipients"):
        SINKS.validate_python([{"kind": "smtp", "host": "x", "sender": "a@x", "recipients": []}])
    with pytest.raises(ValidationError, match="carrier_pigeon"):
        SINKS.validate_python([{"kind": "carrier_pigeon"}])


def test_an_alert_that_a_sink_refuses_and_a_sink_that_breaks_keep_no_other_alert(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_BROKEN_HOOK", "http://[no address")
    said: list[str] = []
    broken = WebhookSink(kind="webhook", url_variable="TEST_BROKEN_HOOK")
    alerts = Alerts(tmp_path, (broken, HOOK, LogSink()), said.append)
    for alert in (FIRST, SECOND):
        alerts.keep(alert)
    hook.status = 413
    problems = [(d.alert, d.sink.split()[-1], d.problem) for d in alerts.deliver() if d.problem]
    assert [p[:2] for p in problems] == [
        (FIRST.id, "TEST_BROKEN_HOOK"), (FIRST.id, "TEST_ALERT_HOOK"), (SECOND.id, "TEST_ALERT_HOOK")
    ]  # fmt: skip
    assert len(said) == 2
    hook.status = 204
    alerts.deliver()
    assert [ident for ident, _ in hook.got] == [FIRST.id, SECOND.id]
