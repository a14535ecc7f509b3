from tests.faults.conftest import forker, landed  # noqa: F401
