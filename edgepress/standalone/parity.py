"""How far a `.tflite` is from an ONNX model: each output by itself."""

import tempfile
from pathlib import Path

import numpy as np

from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Samples
from edgepress.devices.base import Orders
from edgepress.devices.prediction import predict
from edgepress.errors import ConversionError
from edgepress.measure.reference import Reference
from edgepress.measure.signal import Signal, compare, compare_rows


def signals(
    reference: Reference, tflite: Path, inputs: Samples, orders: Orders, threads: int
) -> dict[str, Signal]:
    """Run a `.tflite` on the inputs of a reference, and compare each output.

    Integer codes of outputs are compared as the numbers that they stand for.

    Args:
        reference: what the ONNX model gives for the first of the inputs.
        tflite: the file.
        inputs: as the ONNX model takes them.
        orders: of the axes of all inputs, then all outputs: the `.tflite`'s axis i is ONNX's `order[i]`.
        threads: how many compute.

    Raises:
        ConversionError: the outputs cannot be compared.
        DeviceError: the `.tflite` does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, (name, array) in enumerate(inputs[: reference.samples].arrays.items()):
            files[name] = Path(folder, f"{number}.npy")
            np.save(files[name], array)
        outputs = list(predict(tflite, files, threads, orders).values.values())
    if len(outputs) != len(reference.outputs):
        raise ConversionError(
            f"the .tflite has {len(outputs)} outputs where the ONNX model has {len(reference.outputs)}"
        )
    found = {}
    for actual, (name, expected) in zip(outputs, reference.outputs.items(), strict=True):
        if (
            actual.shape[1:] == expected.shape[1:]
            and actual.shape != expected.shape
            and _are_integers(expected)
        ):
            found[name] = compare_rows(actual, expected)
            continue
        if actual.shape != expected.shape:
            raise ConversionError(
                f"the .tflite's output {name!r} is {actual.shape} for {reference.samples} inputs where ONNX "
                f"Runtime gives {expected.shape}"
            )
        found[name] = compare(actual, expected, reference.samples)
    return found


def _are_integers(values: Array) -> bool:
    return values.dtype.kind in "iu"
