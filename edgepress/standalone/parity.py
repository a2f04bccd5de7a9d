"""How far a `.tflite` is from an ONNX model: each output by itself."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.tflite_model import Graph
from edgepress.datasets.prepared import Array
from edgepress.devices.prediction import predict_any
from edgepress.errors import ConversionError
from edgepress.measure.reference import Reference
from edgepress.measure.signal import Signal, compare
from edgepress.translate.layout import Order


def signals(
    reference: Reference, tflite: Path, inputs: Array, orders: Sequence[Order], threads: int
) -> dict[str, Signal]:
    """Run a `.tflite` on the inputs (n, ...) of a reference, and compare each output.

    Integer codes of outputs are compared as the numbers that they stand for.

    Args:
        reference: what the ONNX model gives for the first of the inputs.
        tflite: the file.
        inputs: as the ONNX model takes them.
        orders: of the axes of the input and of each output: the `.tflite`'s axis i is ONNX's `order[i]`.
        threads: how many compute.

    Raises:
        ConversionError: the outputs cannot be compared.
        DeviceError: the `.tflite` does not run.
    """
    graph = read_tflite(tflite).graphs[0]
    if len(graph.outputs) != len(reference.outputs):
        raise ConversionError(
            f"the .tflite has {len(graph.outputs)} outputs where the ONNX model has {len(reference.outputs)}"
        )
    inputs = inputs[: reference.samples]
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder, "inputs.npy")
        np.save(stored, np.ascontiguousarray(np.transpose(inputs, orders[0])))
        found = {}
        for number, (name, expected) in enumerate(reference.outputs.items()):
            actual = _values(graph, predict_any(tflite, stored, threads, "NCHW", number), number)
            back = np.argsort(orders[1 + number]) if actual.ndim == len(orders[1 + number]) else None
            found[name] = _compared(name, np.transpose(actual, back), expected, reference.samples)
    return found


def _compared(name: str, actual: Array, expected: Array, samples: int) -> Signal:
    if actual.shape != expected.shape:
        raise ConversionError(
            f"the .tflite's output {name!r} is {actual.shape} for {samples} inputs where ONNX Runtime gives "
            f"{expected.shape}"
        )
    return compare(actual, expected, samples)


def _values(graph: Graph, outputs: Array, number: int) -> Array:
    """Integer codes of an output as the numbers that they stand for."""
    output = graph.tensors[graph.outputs[number]]
    if outputs.dtype.kind not in "iu" or not len(output.scales):
        return outputs
    centred = outputs.astype(np.float32) - np.float32(output.zero_points[0])
    return np.asarray(centred * output.scales[0], np.float32)
