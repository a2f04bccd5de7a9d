"""What ONNX Runtime computes of a model as its file has it, whoever made it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import EncodeError

from edgepress.datasets.prepared import Array
from edgepress.errors import ConversionError

if TYPE_CHECKING:
    import onnxruntime as ort

MOST_ELEMENTS = 1 << 25
"""Of all outputs together; from there on no further input is run, so that memory stays bounded."""

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int16)": np.int16,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True)
class Reference:
    """Each output by name, in the model's order and axes, of `samples` inputs joined on the first axis."""

    outputs: Mapping[str, Array]
    samples: int


def keep_inputs(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Let the model ask for no other inputs than those, in place; nothing may read the others."""
    constants = {tensor.name for tensor in model.graph.initializer}
    kept = [entry for entry in model.graph.input if entry.name in constants or entry.name in names]
    copies = [onnx.ValueInfoProto.FromString(entry.SerializeToString()) for entry in kept]
    del model.graph.input[:]
    model.graph.input.extend(copies)


def serialised(model: onnx.ModelProto) -> bytes:
    """The model as bytes, as `reference` takes it.

    Raises:
        ConversionError: it is larger than ONNX's format allows for one piece.
    """
    try:
        content: bytes = model.SerializeToString()
    except (ValueError, EncodeError) as error:  # protobuf's limit
        raise ConversionError(
            "the model is larger than 2 GiB with its weights, more than --check can compare; "
            "go without --check"
        ) from error
    return content


def reference(content: bytes, inputs: Array, threads: int, optimised: bool = False) -> Reference:
    """Run a model of one input on inputs (n, ...), each by itself, or in groups where it has a fixed batch.

    Args:
        content: the model, all of its weights within.
        inputs: as the model takes them; cast to the type that it declares.
        threads: how many compute.
        optimised: whether ONNX Runtime may rewrite the network first; else it computes what is written.

    Raises:
        ConversionError: ONNX Runtime cannot run it.
    """
    try:
        return _reference(_session(content, threads, optimised), inputs)
    except ConversionError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no public base
        reason = " ".join(str(error).split())[:200]
        raise ConversionError(
            f"ONNX Runtime, with which --check compares, cannot run the model ({reason}); "
            "export it again, or go without --check"
        ) from error


def _session(content: bytes, threads: int, optimised: bool) -> "ort.InferenceSession":
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _reference(session: "ort.InferenceSession", inputs: Array) -> Reference:
    (entry,) = session.get_inputs()
    batch = entry.shape[0] if entry.shape and isinstance(entry.shape[0], int) else 1
    names, rows, elements, samples = [one.name for one in session.get_outputs()], list[list[Array]](), 0, 0
    while samples < len(inputs) and elements < MOST_ELEMENTS:
        chosen = inputs[np.arange(samples, samples + batch) % len(inputs)]
        rows.append(session.run(names, {entry.name: chosen.astype(_TYPES[entry.type])}))
        elements += sum(output.size for output in rows[-1])
        samples = min(samples + batch, len(inputs))
    joined = (np.concatenate([np.atleast_1d(row) for row in each]) for each in zip(*rows, strict=True))
    outputs = dict(zip(names, joined, strict=True))
    return Reference({name: _cut(name, one, batch, samples) for name, one in outputs.items()}, samples)


def _cut(name: str, output: Array, batch: int, samples: int) -> Array:
    """The output without the samples that filled up the last batch."""
    if batch == 1:
        return output
    if len(output) != -(-samples // batch) * batch:
        raise ConversionError(
            f"the model has a batch of {batch} built in, which its output {name[:80]!r} does not have, so "
            "that --check cannot compare it one by one; export it for a batch of 1, or go without --check"
        )
    return output[:samples]
