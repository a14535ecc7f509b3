"""The endpoints and secrets of a profile, read from the environment and validated.

Every process of Clearway, in every stage, gets its addresses from here. On the laptop profile all of them have
defaults under ``CLEARWAY_HOME``; the production profile has no defaults, and names each setting that is missing.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.errors import SettingsError

PROJECT = Path(__file__).resolve().parent.parent

# What the production profile must be told, because a default would silently be a laptop's.
REQUIRED_IN_PRODUCTION = (
    "catalog_uri",
    "lakehouse_uri",
    "mlflow_tracking_uri",
    "feature_registry_uri",
    "online_store_uri",
    "dagster_postgres_url",
    "api_keys_file",
)


class Settings(BaseSettings):
    """Settings of one process, each overridable by ``CLEARWAY_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="CLEARWAY_", extra="ignore", frozen=True)

    profile: Literal["laptop", "production"] = "laptop"
    home: Path = PROJECT / ".clearway"
    domain: Path = PROJECT / "assets" / "domain"

    catalog_uri: str | None = None
    lakehouse_uri: str | None = None
    mlflow_tracking_uri: str | None = None
    mlflow_artifact_uri: str | None = None
    feature_registry_uri: str | None = None
    online_store_uri: str | None = None
    dagster_postgres_url: SecretStr | None = None
    # Two copies of the graph: one is read, the other is written. Each is bolt://host:port/database.
    graph_url_a: str | None = None
    graph_url_b: str | None = None
    graph_user: str = "root"
    graph_password: SecretStr | None = None
    vectors_url: str | None = None
    vectors_token: SecretStr | None = None
    embeddings: Literal["english", "multilingual"] = "english"
    # A key of the gateway for the model that reads documents, where one is declared.
    extract_key: SecretStr | None = None
    api_keys_file: Path | None = None

    # Sensors look as often as they declare, times this; the replay's look more often.
    pace: float = 1.0
    # Whether a run of the feed pushes features online; the replay does it itself, hour by hour.
    push_told: bool = True

    host: str = "127.0.0.1"
    gateway_port: int = 8480
    envoy_port: int = 8481
    envoy_admin_port: int = 8482
    mlflow_port: int = 8483
    webserver_port: int = 3000
    code_server_port: int = 8484
    graph_port: int = 8485
    graph_http_port: int = 8486
    vectors_port: int = 8487

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if self.profile == "production":
            missing = [f"CLEARWAY_{name.upper()}" for name in REQUIRED_IN_PRODUCTION if getattr(self, name) is None]
            if missing:
                raise ValueError(f"profile 'production' needs {', '.join(missing)}")
        return self

    # Where things lie below home. One place, so that no two writers disagree.
    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def lakehouse(self) -> str:
        return self.lakehouse_uri or f"file://{self.home / 'lakehouse' / 'tables'}"

    @property
    def catalog(self) -> str:
        return self.catalog_uri or f"sqlite:///{self.home / 'lakehouse' / 'catalog.db'}"

    @property
    def warehouse(self) -> Path:
        """Folder of the DuckDB file that readers open and of the copies being built."""
        return self.home / "warehouse"

    @property
    def warehouse_file(self) -> Path:
        return self.warehouse / "warehouse.duckdb"

    @property
    def dbt_target(self) -> Path:
        return self.home / "dbt"

    @property
    def features(self) -> Path:
        return self.home / "features"

    @property
    def online_pointer(self) -> Path:
        """JSON that names the online window being served; replaced atomically to switch it."""
        return self.features / "online" / "current.json"

    @property
    def mlflow(self) -> str:
        return self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> str:
        return self.mlflow_artifact_uri or f"file://{self.home / 'mlflow' / 'artifacts'}"

    @property
    def segment_seconds(self) -> float:
        """Age at which a segment of events is closed and can be published."""
        return max(2.0, 30.0 * self.pace)

    @property
    def events(self) -> Path:
        return self.home / "events"

    @property
    def feeds(self) -> Path:
        """What operations told, ``<source>/<process>/<segment>``."""
        return self.home / "feeds"

    @property
    def reports(self) -> Path:
        """Pages of what was served, ``<model>/<version>/<month>.html``."""
        return self.home / "reports"

    @property
    def reviews(self) -> Path:
        """Records of what was decided about retraining, ``<model>/<period>-<revision>.json``."""
        return self.home / "reviews"

    @property
    def alerts(self) -> Path:
        """What people were told, and which sink has got it."""
        return self.home / "alerts"

    @property
    def rollouts(self) -> Path:
        return self.home / "rollouts"

    @property
    def routing(self) -> Path:
        return self.home / "routing"

    @property
    def runtime(self) -> Path:
        """Supervisor's configuration, socket and logs."""
        return self.home / "runtime"

    @property
    def knowledge(self) -> Path:
        """Files of graph and vectors, the indexes of retrieval, and ``current.json``, which names what is read."""
        return self.home / "knowledge"

    @property
    def vectors(self) -> str:
        return self.vectors_url or f"http://{self.host}:{self.vectors_port}"

    def graph(self, slot: str) -> str:
        """Where one of the two copies of the graph (``a``, ``b``) is reached."""
        declared = {"a": self.graph_url_a, "b": self.graph_url_b}[slot]
        return declared or f"bolt://{self.host}:{self.graph_port}/knowledge_{slot}"

    @property
    def keys_file(self) -> Path:
        return self.api_keys_file or self.home / "keys.json"

    @property
    def gateway_url(self) -> str:
        return f"http://{self.host}:{self.gateway_port}"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsError: a setting is missing or malformed; the message names its environment variable.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [
            f"{'CLEARWAY_' + '.'.join(map(str, e['loc'])).upper() + ': ' if e['loc'] else ''}{e['msg']}"
            for e in error.errors()
        ]
        raise SettingsError(
            "Clearway's settings are not usable: " + "; ".join(lines),
            untouched="everything; nothing was started.",
            todo="set the named environment variables, or unset CLEARWAY_PROFILE to use the laptop profile.",
        ) from error
    return settings.model_copy(
        update={"home": settings.home.expanduser().resolve(), "domain": settings.domain.expanduser().resolve()}
    )
