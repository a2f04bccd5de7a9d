"""Where the pipeline's artifacts lie, and how they are read and written.

Standard library only, so that a switched-off stage starts fast.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from edgepress import files
from edgepress.errors import ArtifactError, made_anew
from edgepress.system import cause, told
from edgepress.text import one_line, shown
from edgepress.writing import atomic

PREPARED = Path("data/prepared")
CHECKED = Path("data/checked")
MODELS = Path("models")
METRICS = Path("metrics")

MODEL_METRICS = ("accuracy", "size_bytes", "size_gzip_bytes", "parameters", "sparsity", "max_unique_weights")
"""The metrics that every stage with an ONNX model reports."""


def model_path(stage: str, name: str = "model.onnx") -> Path:
    """The model that a stage writes, e.g. `models/prune/model.onnx`."""
    return MODELS / stage / name


def metrics_path(stage: str) -> Path:
    """The metrics that a stage writes, e.g. `metrics/prune.json`."""
    return METRICS / f"{stage}.json"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        ArtifactError: the file is absent, unreadable, no regular file or larger than any model.
    """
    with _reported(path):
        return files.read(path)


def open_file(path: Path, most: int) -> BufferedReader:
    """A file of at most `most` bytes, open for reading.

    Raises:
        ArtifactError: the file is absent, unreadable, no regular file or larger.
    """
    with _reported(path):
        return files.opened(path, most)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactError(f"cannot read {shown(path)}: {told(error)}; make it with: dvc repro") from error
    except OSError as error:
        raise ArtifactError(f"cannot read {shown(path)}: {cause(error) or told(error)}") from error


def broken(path: Path, form: str, reason: object) -> ArtifactError:
    """The error for a file that is not what it should be; or that could not be read, if `reason` says so."""
    refused = cause(reason) if isinstance(reason, BaseException) else None
    if refused is not None:
        return ArtifactError(f"cannot read {shown(path)}: {refused}")
    detail = one_line(reason, 200)
    return ArtifactError(f"{shown(path)} is corrupt or not {form} ({detail}); {made_anew()}")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON, keys in the order given."""
    write_bytes(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ArtifactError: the file is absent or not a JSON object.
    """
    try:
        values = files.parse_json(read_bytes(path))
    except ValueError as error:
        raise broken(path, "a JSON file", error) from error
    if not isinstance(values, dict):
        raise broken(path, "a JSON object", type(values).__name__)
    return values


def pass_through(source: str, stage: str) -> None:
    """What a switched-off stage does: its model and metrics are those of the stage `source`."""
    metrics = read_json(metrics_path(source))
    write_bytes(model_path(stage), read_bytes(model_path(source)))
    write_json(metrics_path(stage), {key: metrics[key] for key in MODEL_METRICS})
    print(f"{stage}: off, passes {model_path(source)} through")
