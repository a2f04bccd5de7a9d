"""Our own networks exported and measured: `python -m tests.zoo.own.run FOLDER NAME ...`.

Many in one process, since each takes a second and what it needs several to load. A result is written to
FOLDER/NAME.own.json when its network is done, so that where the process ends early the first without one is
why, and `measured` goes on behind it in another.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.repo.closure import ROOT
from tests.zoo.own.network import Network
from tests.zoo.own.registry import NETWORKS
from tests.zoo.own.table import OwnRow

_TIMEOUT_S = 1800


def measured(names: Sequence[str], folder: Path, resume: bool) -> dict[str, OwnRow]:
    """A row for each network, in processes of their own; `resume` keeps what is in the folder."""
    left = [name for name in names if not (resume and _result(folder, name).is_file())]
    for name in left:
        _result(folder, name).unlink(missing_ok=True)
    while left:
        ended = _run(left, folder)
        left = [name for name in left if not _result(folder, name).is_file()]
        if left:
            failed = {"float32": {"error": ended}, "int8": None}
            _result(folder, left[0]).write_text(json.dumps(failed), encoding="utf-8")
            del left[0]
    return {name: _row(folder, name) for name in names}


def _run(names: Sequence[str], folder: Path) -> str:
    """How the process ended."""
    command = [sys.executable, "-m", "tests.zoo.own.run", str(folder), *names]
    try:
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it took more than {_TIMEOUT_S} s"
    return f"exit status {done.returncode}"


def _result(folder: Path, name: str) -> Path:
    return folder / f"{name}.own.json"


def _row(folder: Path, name: str) -> OwnRow:
    found = json.loads(_result(folder, name).read_text(encoding="utf-8"))
    return OwnRow(NETWORKS[name], found["float32"], found["int8"])


def main(folder: Path, names: Sequence[str]) -> None:
    """Measure these networks, one after the other."""
    from edgepress.translate.tensorflow_setup import configure

    configure(seed=0, threads=1)
    for number, name in enumerate(names, 1):
        with redirect_stdout(sys.stderr):
            found = _both(NETWORKS[name], folder / f"{name}.own.onnx")
        _result(folder, name).write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(f"{number}/{len(names)} {name}: {found['float32']} {found['int8']}", flush=True)


def _both(network: Network, source: Path) -> dict[str, Any]:
    from tests.zoo.measure import measure_float, measure_int8
    from tests.zoo.own.making import export

    try:
        export(network, source)
        float32 = asdict(measure_float(network, source))
    except Exception as error:  # of whatever the exporters, the translator or the runtimes raise
        return {"float32": _told(error), "int8": None}
    if network.no_int8:
        return {"float32": float32, "int8": None}
    try:
        return {"float32": float32, "int8": asdict(measure_int8(network, source))}
    except Exception as error:  # likewise
        return {"float32": float32, "int8": _told(error)}


def _told(error: Exception) -> dict[str, str]:
    return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
