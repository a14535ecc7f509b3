"""The bench of monitoring: its rows hold what its children measured, and its clock tells parts from the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import monitoring
from benchmarks.harness import Child

SIDES: dict[str, dict[int, dict[str, float]]] = {
    "predict": {1: {"all": 0.2, "wall": 0.2}, 11: {"all": 2.0, "wall": 2.0}},
    "monitor": {
        1: {**dict.fromkeys(monitoring.PARTS, 1.0), "all": 5.0, "wall": 6.0},
        11: {**dict.fromkeys(monitoring.PARTS, 4.0), "all": 20.0, "wall": 21.0},
    },
}


class Calls:
    """A world whose children return what is given."""

    root = Path("nowhere")

    def home(self) -> None: ...
    def released(self) -> None: ...
    def quiet(self, home: None) -> None: ...
    def say(self, text: str) -> None: ...

    quick = True

    def repeats(self, full: int, quick: int = 1) -> int:
        return quick

    def call(self, home: None, function: str, **arguments: Any) -> Child:
        name = function.removeprefix("benchmarks.monitoring:")
        factor = arguments.get("factor") or (11 if str(arguments.get("folder", "")).endswith("11") else 1)
        if name in SIDES:
            return Child(1.0, 10.0, SIDES[name][factor], 100.0 * factor)
        found = {"gate": [["worse", 0.06, 0.05], ["better", 0.9, None]], "served": 500.0, "publish": 28_000 * factor}
        return Child(1.0, 1.0, found[name])


def test_rows_hold_what_was_measured() -> None:
    rows = {row.name: row for row in monitoring.measure(Calls())}  # type: ignore[arg-type]
    assert rows["promoted, worse"].holds is False
    assert rows["promoted, better"].holds is None
    assert rows["monitoring 28,000 predictions, CPU"].ratio == 25
    assert rows["monitoring 28,000 predictions"].rival_value == 56, "seconds through the gateway"
    assert rows["of it report, 308,000 predictions, CPU"].value == 4
    growth = [row for name, row in rows.items() if name.startswith("monitoring 11 times")]
    assert [(row.ratio, row.holds) for row in growth] == [(4.0, False), (11.0, False)]


def test_the_clock_tells_parts_from_the_whole() -> None:
    clock = monitoring.Clock()
    with clock.part("one"):
        sum(range(100_000))
    sum(range(100_000))
    found = clock.stop()
    assert set(found) == {"one", "all", "wall"}
    assert 0 < found["one"] < found["all"]
