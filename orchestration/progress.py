"""What a run prints while it works: one line a step, with its time, and what the step itself has to say."""

import logging
import time

import dagster as dg
from rich.console import Console

console = Console(highlight=False, soft_wrap=True)


class ProgressHandler(logging.Handler):
    """Prints steps as they begin and end; of dbt's many lines only failures."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)  # Dagster logs its events at this level
        self.began: dict[str, float] = {}
        self.start = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {}) or {}
        step = meta.get("step_key")
        event = meta.get("dagster_event")
        kind = event.event_type_value if event is not None else None
        if kind == "STEP_START" and step:
            self.began[step] = time.monotonic()
            console.print(f"[dim]{self._clock()}[/]  [bold]{step.replace('__', '/')}[/]")
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE") and step:
            seconds = time.monotonic() - self.began.get(step, time.monotonic())
            mark = "[green]done[/]" if kind == "STEP_SUCCESS" else "[red]failed[/]"
            console.print(f"[dim]{self._clock()}[/]    {mark} in {seconds:.1f} s")
        elif kind == "STEP_SKIPPED" and step:
            console.print(f"[dim]{self._clock()}[/]  [yellow]skipped[/] {step.replace('__', '/')}")
        elif event is None and step and step != "warehouse" and record.levelno >= logging.INFO:
            text = meta.get("orig_message") or record.getMessage()
            console.print(f"[dim]{self._clock()}    {text.splitlines()[0][:150]}[/]", markup=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.start)
        return f"{seconds // 60:2d}:{seconds % 60:02d}"


@dg.logger
def progress_logger(init_context: dg.InitLoggerContext) -> logging.Logger:
    """One line a step, for `make run`."""
    logger = logging.Logger("clearway.progress", logging.DEBUG)
    logger.addHandler(ProgressHandler())
    return logger
