"""The whole model that an adapter makes of its base, made once on this machine and kept beside the models."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from serving.errors import ClearwayError
from serving.llm import paths
from serving.llm.fits import ADAPTER_WEIGHTS, base_digest
from serving.llm.spec import LLMSpec, base_of
from serving.settings import Settings

SCRIPT = Path(__file__).with_name("merge.py")
KEPT = 4


def merged(spec: LLMSpec, artifact: Path, settings: Settings) -> LLMSpec:
    """The spec of the whole model instead of base and adapter. A base that is no folder stays as it is.

    Raises:
        ClearwayError: the weights could not be added.
    """
    base = Path(base_of(spec, settings))
    if not base.is_dir() or spec.adapter is None:
        return spec
    adapter = artifact / spec.adapter
    with (adapter / ADAPTER_WEIGHTS).open("rb") as content:
        key = hashlib.file_digest(content, "sha256").hexdigest()[:16] + base_digest(base)[:16]
    out = settings.home / "llm" / "merged" / key
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        given = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONPATH": ""}
        command = [str(paths.interpreter()), str(SCRIPT), str(base), str(adapter), str(out)]
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
        if not out.exists():
            raise ClearwayError(
                f"{adapter}: its weights could not be added to those of {base}: {done.stderr[-1500:]}",
                untouched="every running version.",
                todo="see that the disk has room; or register the version with merge_on_cpu: false.",
            )
    os.utime(out)
    for old in sorted(out.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)  # made again when it is asked for
    return spec.model_copy(update={"adapter": None, "weights": str(out)})
