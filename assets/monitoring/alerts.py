"""Alerts to people: kept in a file first, then delivered to each declared sink, at least once.

An alert has an id of its own making, such as the review that raised it: raised again, it is kept and delivered once. A
sink that is down gets it later, when :func:`deliver` is called again; nothing is lost and no other sink waits.
"""

from __future__ import annotations

import fcntl
import json
import os
import smtplib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from assets.declared import Declared
from serving.errors import ClearwayError, SettingsError

TIMEOUT_S = 10.0
FILE, DELIVERED = "alerts.jsonl", "delivered.jsonl"


@dataclass(frozen=True)
class Alert:
    """Something that a person should look at.

    Attributes:
        id: names the occasion; the same occasion always has the same id.
        at: data time, ISO 8601.
        subject: one line.
        text: why, and what to do.
        numbers: behind it.
    """

    id: str
    at: str
    subject: str
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


class LogSink(Declared):
    """The log of the process that delivers; what is kept in the file is there anyway."""

    kind: Literal["log"] = "log"


class WebhookSink(Declared):
    """A POST of the alert as JSON; any status below 300 is a delivery."""

    kind: Literal["webhook"]
    url_variable: str = Field(description="environment variable that holds the address; it may hold a secret")
    shape: Literal["plain", "slack"] = Field(default="plain", description="slack: {text}, which many chats take")


class MailSink(Declared):
    """A mail by SMTP."""

    kind: Literal["smtp"]
    host: str
    port: int = 25
    sender: str
    recipients: tuple[str, ...] = Field(min_length=1)
    starttls: bool = False
    user: str | None = None
    password_variable: str | None = Field(default=None, description="environment variable that holds the password")


Sink = Annotated[LogSink | WebhookSink | MailSink, Field(discriminator="kind")]
SINKS: TypeAdapter[tuple[Sink, ...]] = TypeAdapter(tuple[Sink, ...])


@dataclass(frozen=True)
class Delivery:
    """What became of one alert at one sink; ``problem`` is None when it was delivered."""

    alert: str
    sink: str
    problem: str | None


class Refused(OSError):
    """A sink that is up does not take this alert; others it may."""


class Alerts:
    """The alerts of one home, and where they go.

    Args:
        folder: holds the file of alerts and that of deliveries.
        log: is given one line an alert by a ``log`` sink.
    """

    def __init__(self, folder: Path, sinks: Sequence[Sink], log: Any) -> None:
        self._folder, self._sinks, self._log = folder, sinks, log

    def keep(self, alert: Alert) -> bool:
        """Keep an alert, fsynced; False when one of that id is kept already.

        Raises:
            ClearwayError: it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                if alert.id in {known.id for known in self.kept()}:
                    return False
                _append(self._folder / FILE, asdict(alert))
                return True
        except OSError as error:
            raise ClearwayError(
                f"alert {alert.id} cannot be kept in {self._folder}: {error}",
                untouched="earlier alerts.",
                todo="free disk space; the sensor alerts keeps it then.",
            ) from error

    def kept(self) -> list[Alert]:
        """All alerts, in the order in which they came. A torn last line, of a process that was killed, is none."""
        return [Alert(**line) for line in _lines(self._folder / FILE)]

    def deliver(self) -> list[Delivery]:
        """Deliver what a sink has not got yet, each alert in turn; says what became of each attempt.

        Killed between a sink's answer and our note of it, that sink gets the alert twice: its id tells.
        """
        if not (self._folder / FILE).exists():
            return []
        found = []
        with self._locked():
            done = {(line["alert"], line["sink"]) for line in _lines(self._folder / DELIVERED)}
            for sink in self._sinks:
                name = name_of(sink)
                for alert in self.kept():
                    if (alert.id, name) in done:
                        continue
                    problem = self._send(sink, alert)
                    found.append(Delivery(alert.id, name, problem))
                    if problem is not None and not problem.startswith(Refused.__name__):
                        break  # in their order, and a sink that is down is not asked again for each
                    if problem is None:
                        _append(self._folder / DELIVERED, {"alert": alert.id, "sink": name})
        return found

    def _send(self, sink: Sink, alert: Alert) -> str | None:
        try:
            if isinstance(sink, WebhookSink):
                _post(sink, alert)
            elif isinstance(sink, MailSink):
                _mail(sink, alert)
            else:
                self._log(f"ALERT {alert.subject}: {alert.text}")
        except Exception as error:  # a sink's fault, whatever it is, keeps no alert from another sink
            return f"{type(error).__name__}: {error}"
        return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def name_of(sink: Sink) -> str:
    """A sink's name in the notes of deliveries; without secrets."""
    if isinstance(sink, WebhookSink):
        return f"webhook {sink.url_variable}"
    return f"smtp {sink.host}:{sink.port} {','.join(sink.recipients)}" if isinstance(sink, MailSink) else "log"


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set", untouched="the alert, which is kept.", todo=f"set {name}.")
    return value


def _post(sink: WebhookSink, alert: Alert) -> None:
    import httpx

    plain = sink.shape == "plain"
    content = asdict(alert) if plain else {"text": f"*{alert.subject}*\n{alert.text}"}
    try:
        response = httpx.post(
            _variable(sink.url_variable), json=content, headers={"idempotency-key": alert.id}, timeout=TIMEOUT_S
        )
    except httpx.HTTPError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
        raise Refused(f"HTTP {response.status_code}: {response.text[:200]}")
    if response.status_code >= 300:
        raise OSError(f"HTTP {response.status_code}: {response.text[:200]}")


def _mail(sink: MailSink, alert: Alert) -> None:
    message = EmailMessage()
    message["From"], message["To"] = sink.sender, ", ".join(sink.recipients)
    message["Subject"], message["X-Clearway-Alert"] = " ".join(alert.subject.split()), alert.id
    numbers = "\n".join(f"{name}: {value}" for name, value in alert.numbers.items())
    message.set_content(f"{alert.text}\n\n{numbers}\n")
    with smtplib.SMTP(sink.host, sink.port, timeout=TIMEOUT_S) as server:
        if sink.starttls:
            server.starttls()
        if sink.user and sink.password_variable:
            server.login(sink.user, _variable(sink.password_variable))
        server.send_message(message)


def _append(file: Path, content: dict[str, Any]) -> None:
    with open(file, "ab") as lines:
        if lines.tell() and not file.read_bytes().endswith(b"\n"):
            lines.write(b"\n")  # after a torn line
        lines.write(json.dumps(content, default=str).encode() + b"\n")
        lines.flush()
        os.fsync(lines.fileno())


def _lines(file: Path) -> list[dict[str, Any]]:
    found = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
