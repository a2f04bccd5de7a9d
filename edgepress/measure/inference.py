"""Running an ONNX model on the host, for accuracies and parities."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edgepress.artifacts import broken, read_bytes
from edgepress.datasets.prepared import UNKNOWN, Array, Split
from edgepress.datasets.samples import Inputs, Samples
from edgepress.errors import EdgepressError, UnsupportedModelError
from edgepress.measure.agreement import Outputs, is_classifier
from edgepress.measure.reference import Reference, outputs_of
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
    options.log_severity_level = 4  # what fails is told once, as an error of ours
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


Feed = Callable[[Samples], Samples]


def outputs(path: Path, split: Split, threads: int, feed: Feed = lambda samples: samples) -> Reference:
    """All outputs of a model for a split; of one that is no classifier for a part, if they are large.

    Samples run through it one by one, as on a device: there are networks in which those of a batch mix.
    `feed` makes of the split's samples what the model takes.

    Raises:
        UnsupportedModelError: ONNX Runtime cannot run it on them.
    """
    running = session(path, threads)
    return _outputs_of(running, split.samples(), feed)


def logits(path: Path, split: Split, threads: int) -> Array:
    """The outputs (N, classes), float32, of a classifier for a whole split; see `outputs`."""
    (found,) = outputs(path, split, threads).outputs.values()
    return found


def outputs_in_memory(model: onnx.ModelProto, samples: Inputs, threads: int) -> Reference:
    """As `outputs`, of a model in memory.

    Raises:
        UnsupportedModelError: ONNX Runtime cannot run it.
    """
    try:
        running = _session(model.SerializeToString(), threads)
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise _not_run(error) from error
    return _outputs_of(running, samples, lambda samples: samples)


def _outputs_of(running: "ort.InferenceSession", samples: Inputs, feed: Feed) -> Reference:
    ranks = [len(end.shape) for end in running.get_outputs()]
    most = math.inf if ranks == [2] else None  # an accuracy is of all samples
    try:
        return outputs_of(running, samples, most, feed)
    except EdgepressError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise _not_run(error) from error


def _not_run(error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"ONNX Runtime cannot run the network on the data: {one_line(error, 300)}. Look whether the data's "
        "shapes and values, such as token ids, are what the network takes, or export it again"
    )


def logits_of(model: onnx.ModelProto, inputs: Inputs, threads: int) -> Array:
    """As `logits`, of a classifier in memory.

    Raises:
        UnsupportedModelError: ONNX Runtime cannot run it.
    """
    (found,) = outputs_in_memory(model, inputs, threads).outputs.values()
    return found


def accuracy(outputs: Array, classes: Array) -> float | None:
    """The share of samples whose largest output is at their class; None where classes are not known."""
    return None if UNKNOWN in classes else float((outputs.argmax(axis=1) == classes).mean())


def accuracy_of(outputs: Outputs, classes: Array) -> float | None:
    """As `accuracy`, of all outputs of a network; None for one that is no classifier."""
    if not is_classifier(outputs, len(classes)):
        return None
    return accuracy(next(iter(outputs.values())), classes)


def same_class(ours: Array, theirs: Array) -> float:
    """The share of samples of which two outputs (N, classes) are largest at the same class."""
    return float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())


def told(accuracy: float | None) -> str:
    """An accuracy in a stage's last line."""
    return "accuracy not known, without classes" if accuracy is None else f"accuracy {accuracy:.4f}"
