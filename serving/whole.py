"""Writes a file so that a reader finds the old content or the new one, whatever is killed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from serving.errors import ClearwayError


def replace(file: Path, content: Iterable[bytes]) -> None:
    """Write aside, to the disk, then rename.

    Raises:
        ClearwayError: the disk refuses it; the file is as it was.
    """
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as handle:
            handle.writelines(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(aside, file)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise ClearwayError(
            f"{file} cannot be written: {error}",
            untouched="what is published, and the file as it was.",
            todo="free the disk and run again.",
        ) from error
