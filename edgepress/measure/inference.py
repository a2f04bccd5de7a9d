"""Running an ONNX model on the host, for accuracies and parities."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from edgepress.artifacts import broken, read_bytes
from edgepress.datasets.prepared import UNKNOWN, Array, Split
from edgepress.errors import UnsupportedModelError
from edgepress.text import one_line

if TYPE_CHECKING:
    import onnxruntime as ort


def session(path: Path, threads: int) -> "ort.InferenceSession":
    """An ONNX Runtime session on the CPU.

    Raises:
        ArtifactError: the file is absent or ONNX Runtime refuses it.
    """
    content = read_bytes(path)
    try:
        return _session(content, threads)
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise broken(path, "a model that ONNX Runtime can run", error) from error


def _session(content: bytes, threads: int) -> "ort.InferenceSession":
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def logits(path: Path, split: Split, threads: int) -> Array:
    """The model's outputs (N, classes), float32, for a whole split.

    Samples run through it one by one, as on a device: there are networks in which those of a batch mix.
    """
    return _one_by_one(session(path, threads), (split.inputs(slice(i, i + 1)) for i in range(len(split))))


def logits_of(model: onnx.ModelProto, inputs: Array, threads: int) -> Array:
    """As `logits`, of a model in memory for raw inputs (n, C, H, W).

    Raises:
        UnsupportedModelError: ONNX Runtime cannot run it.
    """
    try:
        running = _session(model.SerializeToString(), threads)
        return _one_by_one(running, (inputs[i : i + 1] for i in range(len(inputs))))
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise UnsupportedModelError(f"ONNX Runtime cannot run the network: {one_line(error, 300)}") from error


def _one_by_one(running: "ort.InferenceSession", samples: Iterable[Array]) -> Array:
    name = running.get_inputs()[0].name
    return np.concatenate([running.run(None, {name: sample})[0] for sample in samples])


def fed_logits(path: Path, feed: Callable[[Array], Array], split: Split, threads: int) -> Array:
    """The outputs (N, classes) of a model from anywhere for a whole split, float32.

    `feed` makes of raw inputs (n, C, H, W) what the model takes: one sample at a time, but where a batch is
    fixed, which is filled up at the end.
    """
    running = session(path, threads)
    entry = running.get_inputs()[0]
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else 1
    outputs = []
    for start in range(0, len(split), batch):
        indices = np.arange(start, start + batch) % len(split)
        outputs.append(running.run(None, {entry.name: feed(split.inputs(indices))})[0])
    return np.concatenate(outputs)[: len(split)]


def accuracy(outputs: Array, classes: Array) -> float | None:
    """The share of samples whose largest output is at their class; None where classes are not known."""
    return None if UNKNOWN in classes else float((outputs.argmax(axis=1) == classes).mean())


def same_class(ours: Array, theirs: Array) -> float:
    """The share of samples of which two outputs (N, classes) are largest at the same class."""
    return float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())


def told(accuracy: float | None) -> str:
    """An accuracy in a stage's last line."""
    return "accuracy not known, without classes" if accuracy is None else f"accuracy {accuracy:.4f}"
