"""One architecture through the translator, float32 and int8, each compared with ONNX Runtime."""

import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter

from edgepress.compress.quantisation.floats import FLOAT_OPERATORS, float_nodes
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.convert import Nhwc
from edgepress.config.quant import Calibration, Int8
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.nhwc import planned
from edgepress.convert.registry import convert_single
from edgepress.convert.tflite_model import TfliteModel
from edgepress.graph.formats import number_format
from edgepress.graph.io import save_model
from edgepress.graph.normalise.normalise import load_normalised
from edgepress.measure.inference import session
from edgepress.translate.absorbing import absorbed
from tests.oracle import converted_by_tensorflow
from tests.zoo.architectures import Architecture
from tests.zoo.photos import crops

CALIBRATION, TEST, FLOAT_TEST, ORACLE_TEST = 64, 100, 4, 20

Outputs = list[np.ndarray]
"""Each output of a model for all inputs, (n, ...)."""


@dataclass(frozen=True)
class FloatRow:
    """`max_abs_diff` is relative to the range of the output; `asked` counts the network's own transposes.

    `oracle_diff` is the same from the `.tflite` that TensorFlow's converter makes of the same plan, None
    where it makes none.
    """

    ops: int
    transposes: int
    asked: int
    max_abs_diff: float
    oracle_diff: float | None


@dataclass(frozen=True)
class Int8Row:
    """Agreement of the two runtimes on the same integers; `steps` are of the output's scale.

    `kept` is the share of samples on which int8 says the same as float32, `float_ops` are the operators that
    stayed float, and how many; `why` says it of the ONNX operators that they stem from. `oracle_codes` is the
    share of outputs that are not those of the `.tflite` that TensorFlow's converter makes of the same plan,
    None where it makes none.
    """

    top1: float
    mean_steps: float
    max_steps: float
    kept: float
    float_ops: dict[str, int]
    why: dict[str, str]
    oracle_codes: float | None


def measure_float(architecture: Architecture, source: Path) -> FloatRow:
    """Convert as float32, and compare on a few inputs.

    Raises:
        AssertionError: the outputs do not vary, so that comparing them says nothing.
    """
    model = load_normalised(source)
    inputs, _ = crops(FLOAT_TEST, architecture.size, seed=2)
    expected = run_onnx(model, inputs)
    content, tflite = _converted(model)
    actual = run_tflite(content, inputs, [array.shape for array in expected])
    assert all(np.ptp(array, axis=0).any() for array in expected), "the outputs do not vary"
    by_oracle = _by_oracle(model, inputs, expected)
    return FloatRow(
        len(tflite.operators),
        tflite.transpose_ops,
        sum(node.op_type == "Transpose" for node in model.graph.node),
        _largest_difference(actual, expected),
        None if by_oracle is None else _largest_difference(actual, by_oracle),
    )


def _largest_difference(actual: Outputs, expected: Outputs) -> float:
    """Relative to the range of the output."""
    return max(float(np.abs(a - e).max() / np.ptp(e)) for a, e in zip(actual, expected, strict=True))


def _by_oracle(model: onnx.ModelProto, inputs: np.ndarray, like: Outputs) -> Outputs | None:
    """The outputs of the `.tflite` of TensorFlow's converter, None where that refuses the network."""
    form = number_format(model)
    try:
        content = converted_by_tensorflow(absorbed(planned(model)), form == "int8")
    except Exception as error:  # it raises whatever its native parts do
        print(f"TensorFlow's converter: {str(error).strip().splitlines()[0][:200]}", file=sys.stderr)
        return None
    return run_tflite(content, inputs, [(len(inputs), *array.shape[1:]) for array in like])


def measure_int8(architecture: Architecture, source: Path) -> Int8Row:
    """Quantise after training, convert, and compare the two runtimes on other inputs than those."""
    model = load_normalised(source)
    calibration, _ = crops(CALIBRATION, architecture.size, seed=3)
    config = Int8(per_channel=True, calibration=Calibration("minmax", CALIBRATION, 2048, 99.99))
    quantised = quantiser(config)(model, config, Sources(lambda n: calibration[:n], _no_training, clusters=0))
    inputs, _ = crops(TEST, architecture.size, seed=2)
    expected = run_onnx(quantised, inputs)
    floats = run_onnx(model, inputs)
    content, tflite = _converted(quantised)
    actual = run_tflite(content, inputs, [array.shape for array in expected])
    assert len(set(_classes(expected).ravel())) > 1, "every sample is of one class"
    steps = [
        np.abs(a - e) / scale
        for a, e, scale in zip(actual, expected, _scales(content, expected), strict=True)
    ]
    by_oracle = _by_oracle(quantised, inputs[:ORACLE_TEST], expected)
    return Int8Row(
        float((_classes(actual) == _classes(expected)).mean()),
        float(max(s.mean() for s in steps)),
        float(max(s.max() for s in steps)),
        float((_classes(actual) == _classes(floats)).mean()),
        float_operators(tflite),
        {node.op_type: FLOAT_OPERATORS[node.op_type] for node in float_nodes(quantised)},
        None if by_oracle is None else _share_of_others(actual, by_oracle),
    )


def _share_of_others(actual: Outputs, expected: Outputs) -> float:
    pairs = [(a[: len(e)], e) for a, e in zip(actual, expected, strict=True)]
    return sum(int((a != e).sum()) for a, e in pairs) / sum(e.size for _, e in pairs)


def run_onnx(model: onnx.ModelProto, inputs: np.ndarray) -> Outputs:
    """ONNX Runtime's outputs, one input at a time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        save_model(path, model)
        running = session(path, 1)
        name = running.get_inputs()[0].name
        rows = [running.run(None, {name: sample[None]}) for sample in inputs]
    return [np.concatenate(each) for each in zip(*rows, strict=True)]


def run_tflite(content: bytes, inputs: np.ndarray, shapes: list[tuple[int, ...]]) -> Outputs:
    """LiteRT's outputs as real numbers, one input at a time, in the order and layout of ONNX's `shapes`."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    rows = []
    for sample in inputs:
        interpreter.set_tensor(entry["index"], _quantised(sample.transpose(1, 2, 0)[None], entry))
        interpreter.invoke()
        rows.append([_real(interpreter, detail) for detail in interpreter.get_output_details()])
    outputs = [np.concatenate(each) for each in zip(*rows, strict=True)]
    return [_as_shape(array, shape) for array, shape in zip(outputs, shapes, strict=True)]


def float_operators(tflite: TfliteModel) -> dict[str, int]:
    """The operators that compute floats, but not the conversions between numbers, and how often."""
    (graph,) = tflite.graphs
    names = (
        operator.name
        for operator in graph.operators
        if operator.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(graph.tensors[i].dtype == "FLOAT32" for i in operator.outputs)
    )
    return dict(sorted(Counter(names).items()))


def _converted(model: onnx.ModelProto) -> tuple[bytes, TfliteModel]:
    content = bytes(convert_single(model, Nhwc("auto"), np.zeros((0,), np.float32)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return content, read_tflite(path)


def _quantised(sample: np.ndarray, detail: Any) -> np.ndarray:
    scale, zero_point = detail["quantization"]
    if detail["dtype"] != np.int8:
        return np.ascontiguousarray(sample)
    return np.asarray(np.clip(np.round(sample / scale) + zero_point, -128, 127), np.int8)


def _real(interpreter: Any, detail: Any) -> np.ndarray:
    values, (scale, zero_point) = interpreter.get_tensor(detail["index"]), detail["quantization"]
    real = (values.astype(np.float32) - zero_point) * scale if values.dtype == np.int8 else values
    return np.asarray(real)


def _scales(content: bytes, expected: Outputs) -> list[float]:
    """The step of each output; of one that stayed float, a 255th of its range."""
    details = Interpreter(model_content=content).get_output_details()
    return [
        detail["quantization"][0] or float(np.ptp(array)) / 255
        for detail, array in zip(details, expected, strict=True)
    ]


def _as_shape(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Channels first again, where an output is an image stored with its channels last."""
    return array if array.shape == shape else np.asarray(np.moveaxis(array, -1, 1).reshape(shape))


def _classes(outputs: Outputs) -> np.ndarray:
    """The class of each sample, pixel or anchor, by the first output."""
    logits = outputs[0]
    return np.asarray(logits.argmax(-1 if logits.ndim == 3 else 1))


def _no_training() -> Any:
    raise AssertionError("quantising after training does not train")
