"""How far a `.tflite` is from the ONNX model that it was made of."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgepress.convert.flatbuffer import read_tflite
from edgepress.datasets.prepared import Array
from edgepress.devices.prediction import predict_any
from edgepress.errors import ConversionError
from edgepress.graph.io import save_model
from edgepress.measure.inference import session


@dataclass(frozen=True)
class Parity:
    """Differences of all outputs, relative to the range of ONNX Runtime's.

    Of several outputs it is the worst figure of any. `top1` is the share of samples with the same largest
    output, None unless the only output is (n, classes).
    """

    max_abs_diff: float
    mean_abs_diff: float
    top1: float | None


def compare(model: onnx.ModelProto, tflite: Path, inputs: Array, channels_last: bool, threads: int) -> Parity:
    """Run both on inputs (n, C, H, W), one at a time; `channels_last` says how the `.tflite` has images.

    Raises:
        ConversionError: the outputs cannot be compared.
        DeviceError: the `.tflite` does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, stored = Path(folder, "model.onnx"), Path(folder, "inputs.npy")
        save_model(source, model)
        moved = np.moveaxis(inputs, 1, -1) if channels_last and inputs.ndim > 2 else inputs
        np.save(stored, np.ascontiguousarray(moved))
        parities = []
        for number, expected in enumerate(_reference(source, inputs, threads)):
            actual = _values(tflite, predict_any(tflite, stored, threads, "NCHW", number), number)
            actual = np.moveaxis(actual, -1, 1) if channels_last and actual.ndim == 4 else actual
            if actual.shape != expected.shape:
                raise ConversionError(
                    f"{tflite} gives {actual.shape} where ONNX Runtime gives {expected.shape}"
                )
            parities.append(parity(actual, expected))
    return _worst(parities)


def _worst(parities: list[Parity]) -> Parity:
    if len(parities) == 1:
        return parities[0]
    return Parity(
        max(each.max_abs_diff for each in parities), max(each.mean_abs_diff for each in parities), None
    )


def parity(actual: Array, expected: Array) -> Parity:
    """Compare outputs (n, ...)."""
    width = float(np.ptp(expected)) or 1.0
    differences = np.abs(actual.astype(np.float64) - expected)
    top1 = float((actual.argmax(1) == expected.argmax(1)).mean()) if expected.ndim == 2 else None
    return Parity(float(differences.max()) / width, float(differences.mean()) / width, top1)


def _reference(path: Path, inputs: Array, threads: int) -> list[Array]:
    """Each output for all inputs."""
    running = session(path, threads)
    name = running.get_inputs()[0].name
    try:
        rows = [running.run(None, {name: sample[None]}) for sample in inputs]
    except Exception as error:  # onnxruntime's exceptions share no public base
        reason = " ".join(str(error).split())[:200]
        raise ConversionError(f"ONNX Runtime cannot run the model ({reason}); export it again") from error
    return [np.concatenate(each) for each in zip(*rows, strict=True)]


def _values(tflite: Path, outputs: Array, number: int) -> Array:
    """Integer codes of an output as the numbers that they stand for."""
    graph = read_tflite(tflite).graphs[0]
    output = graph.tensors[graph.outputs[number]]
    if outputs.dtype.kind != "i" or not len(output.scales):
        return outputs
    centred = outputs.astype(np.float32) - np.float32(output.zero_points[0])
    return np.asarray(centred * output.scales[0], np.float32)
