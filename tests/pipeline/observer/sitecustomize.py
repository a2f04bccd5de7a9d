"""Loaded by every Python process of an observed run; notes what a stage opens of its project, and imports."""

import atexit
import json
import os
import sys
import time
from pathlib import Path

STAGE, LOGS = os.environ.get("DVC_STAGE"), os.environ.get("OBSERVER_LOGS")


def _observe(stage: str, logs: Path, project: str) -> None:
    opened: set[str] = set()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100
            if path.startswith(project):
                opened.add(path.removeprefix(project))

    def write() -> None:
        seen = {"cpu_s": time.process_time(), "opened": sorted(opened), "imported": sorted(sys.modules)}
        (logs / f"{stage}.json").write_text(json.dumps(seen))

    sys.addaudithook(hook)
    atexit.register(write)


if STAGE and LOGS and str(Path.cwd()) == os.environ.get("DVC_ROOT"):
    _observe(STAGE, Path(LOGS), f"{Path.cwd()}{os.sep}")
