from tests.end_to_end.ran import library, reference  # noqa: F401
