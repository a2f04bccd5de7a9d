"""One task for one architecture: `python -m tests.zoo.one export|float|int8 NAME ONNX [JSON]`."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from tests.zoo.architectures import ARCHITECTURES


def main(task: str, name: str, source: str, target: str = "") -> None:
    """Export, or measure and write the result; whole or not at all."""
    architecture = next(each for each in ARCHITECTURES if each.name == name)
    if task == "export":
        from tests.zoo.networks import export

        partial = Path(source).with_suffix(".part")
        export(architecture, partial)
        partial.replace(source)
        return
    from edgepress.translate.tensorflow_setup import configure
    from tests.zoo.measure import measure_float, measure_int8

    configure(seed=0, threads=1)
    row = (measure_float if task == "float" else measure_int8)(architecture, Path(source))
    Path(target).write_text(json.dumps(asdict(row), indent=1), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*sys.argv[1:])
