"""The graph's server on a laptop: ArcadeDB from PyPI, spoken to by the neo4j driver over Bolt."""

from __future__ import annotations

import importlib.util
import os
import secrets
from contextlib import suppress
from pathlib import Path

from serving.errors import ClearwayError
from serving.settings import Settings

HEAP = "900m"
DATABASES = ("knowledge_a", "knowledge_b")


def folder(settings: Settings) -> Path:
    return settings.knowledge / "graph"


def password(settings: Settings) -> str:
    """The password of the embedded server's root, made once, readable to its owner only."""
    if settings.graph_password is not None:
        return settings.graph_password.get_secret_value()
    file = settings.knowledge / "graph.key"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_urlsafe(24)
    aside = file.with_name(f".graph.key.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(made)
    with suppress(FileExistsError):  # whoever made it first is right
        os.link(aside, file)
    aside.unlink()
    return file.read_text().strip()


def _package() -> Path:
    spec = importlib.util.find_spec("arcadedb_embedded")
    if spec is None or spec.origin is None:
        raise ClearwayError("arcadedb-embedded is not installed", untouched="everything.", todo="make install")
    return Path(spec.origin).parent


def command(settings: Settings) -> tuple[str, ...]:
    """The server's command line; it listens on loopback alone.

    It has no command timeout, which would end writes too and leave indexes that lack rows: see :func:`bound`.
    """
    package = _package()
    home = folder(settings)
    server = {
        "rootPath": home,
        "databaseDirectory": home / "databases",
        "backupDirectory": home / "backups",
        "defaultDatabases": ";".join(f"{name}[root]" for name in DATABASES),
        "httpIncomingHost": settings.host,
        "httpIncomingPort": settings.graph_http_port,
        "plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
        "mode": "production",
    }
    options = {
        **{f"server.{name}": value for name, value in server.items()},
        "bolt.host": settings.host,
        "bolt.port": settings.graph_port,
    }
    return (
        str(package / "jre" / "bin" / "java"), f"-Xmx{HEAP}", "-Djava.awt.headless=true", "-XX:+UseSerialGC",
        *(f"-Darcadedb.{name}={value}" for name, value in options.items()),
        "-cp", str(package / "jars" / "*"), "com.arcadedb.server.ArcadeDBServer",
    )  # fmt: skip


def environment(settings: Settings) -> dict[str, str]:
    """What the server reads from its environment: the password, which a command line would show to everybody."""
    return {"JDK_JAVA_OPTIONS": f"-Darcadedb.server.rootPassword={password(settings)}"}


def bound(settings: Settings, database: str, seconds: float) -> None:
    """End queries of one database after ``seconds``; 0 for never, which a database that is written needs.

    The driver's own timeout does not reach a query that has no row to give yet.

    Raises:
        ClearwayError: the server does not answer.
    """
    import httpx

    url = f"http://{settings.host}:{settings.graph_http_port}/api/v1/command/{database}"
    command = f"ALTER DATABASE `arcadedb.command.timeout` {round(1000 * seconds)}"
    try:
        body = {"language": "sql", "command": command}
        httpx.post(url, json=body, auth=("root", password(settings)), timeout=20).raise_for_status()
    except httpx.HTTPError as error:
        raise ClearwayError(f"the graph's server does not answer on {url}: {error}", untouched="the graph.") from error
