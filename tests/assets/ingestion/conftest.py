from tests.assets.ingestion.world import world  # noqa: F401
