"""Where the pipeline's artifacts lie, and how they are written: whole or not at all.

Standard library only, so that a switched-off stage starts fast.
"""

import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgepress import files
from edgepress.errors import ArtifactError, EdgepressError

PREPARED = Path("data/prepared")
CHECKED = Path("data/checked")
MODELS = Path("models")
METRICS = Path("metrics")

MODEL_METRICS = ("accuracy", "size_bytes", "size_gzip_bytes", "parameters", "sparsity", "max_unique_weights")
"""The metrics that every stage with an ONNX model reports."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def model_path(stage: str, name: str = "model.onnx") -> Path:
    """The model that a stage writes, e.g. `models/prune/model.onnx`."""
    return MODELS / stage / name


def metrics_path(stage: str) -> Path:
    """The metrics that a stage writes, e.g. `metrics/prune.json`."""
    return METRICS / f"{stage}.json"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends, or is removed if it fails.

    Its name is always the same, so that what a killed process left is overwritten by the next.

    Raises:
        ArtifactError: the file cannot be written, e.g. for lack of space.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        remedy = "free some space" if error.errno in _NO_ROOM else "check the folder and its permissions"
        reason = error.strerror or error
        raise ArtifactError(f"cannot write {path}: {reason}; {remedy} and run again") from error
    finally:
        _discard(temporary)


def _discard(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        ArtifactError: the file is absent, unreadable, no regular file or larger than any model.
    """
    try:
        return files.read(path)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; make it with: dvc repro") from error


def broken(path: Path, form: str, reason: object) -> ArtifactError:
    """The error for a file that is not what it should be."""
    detail = " ".join(str(reason).split())[:200]
    return ArtifactError(f"{path} is corrupt or not {form} ({detail}); delete it and run: dvc repro")


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


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's main function; a user's mistake or a full disk ends it with one line and status 1."""
    try:
        main()
    except EdgepressError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        place = error.filename or f"temporary files in {tempfile.gettempdir()}"
        sys.exit(f"error: cannot write {place}: {error.strerror}; free some space and run again")
