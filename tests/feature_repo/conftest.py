from tests.dbt_project.fixtures import warehouse  # noqa: F401
