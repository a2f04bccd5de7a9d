"""Models of any inputs and outputs in both runtimes, one sample at a time, in the axes and types of ONNX."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgepress.graph.io import save_model
from edgepress.measure.inference import session

Sample = Mapping[str, np.ndarray]
Orders = Mapping[str, tuple[int, ...]]
Outputs = list[list[np.ndarray]]
"""For each output of a model what it gives for each sample."""


def run_onnx(model: onnx.ModelProto | Path, samples: Sequence[Sample]) -> Outputs:
    """ONNX Runtime's outputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = model if isinstance(model, Path) else Path(folder, "model.onnx")
        if not isinstance(model, Path):
            save_model(path, model)
        running = session(path, 1)
    rows = [running.run(None, dict(sample)) for sample in samples]
    return [list(each) for each in zip(*rows, strict=True)]


def run_tflite(
    content: bytes,
    model: onnx.ModelProto,
    orders: Orders,
    samples: Sequence[Sample],
    delegated: bool = True,
) -> Outputs:
    """LiteRT's outputs, codes as the real numbers that they stand for.

    Args:
        content: the `.tflite`, whose inputs and outputs are in the order of the model's.
        model: what it was made of.
        orders: how its axes are stored: stored axis i holds ONNX axis `order[i]`.
        samples: by the names of the model's inputs.
        delegated: whether XNNPACK computes what it can, as by default; else LiteRT's own kernels do.
    """
    resolver = OpResolverType.AUTO if delegated else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
    names = [entry.name for entry in model.graph.input]
    rows = []
    for sample in samples:
        stored = [np.transpose(sample[name], orders[name]) for name in names]
        _resize(interpreter, stored)
        for detail, values in zip(_entries(interpreter), stored, strict=True):
            interpreter.set_tensor(detail["index"], _quantised(values, detail))
        interpreter.invoke()
        rows.append(
            [
                np.transpose(_real(interpreter, detail), np.argsort(orders[output.name]))
                for detail, output in zip(interpreter.get_output_details(), model.graph.output, strict=True)
            ]
        )
    return [list(each) for each in zip(*rows, strict=True)]


def scales(content: bytes, expected: Outputs) -> list[float]:
    """The step of each output; of one that stayed float, a 255th of its range."""
    details = Interpreter(model_content=content).get_output_details()
    return [
        detail["quantization"][0] or spread(arrays) / 255
        for detail, arrays in zip(details, expected, strict=True)
    ]


def spread(arrays: Sequence[np.ndarray]) -> float:
    """The largest element of all less the smallest."""
    return float(max(array.max() for array in arrays) - min(array.min() for array in arrays))


def _entries(interpreter: Any) -> list[Any]:
    """The inputs in the model's order, which TensorFlow's converter notes in their names."""
    found = [
        (re.search(r"oracle_input_(\d+)", detail["name"]), detail)
        for detail in interpreter.get_input_details()
    ]
    return [detail for _, detail in sorted(found, key=lambda each: int(each[0][1]) if each[0] else 0)]


def _resize(interpreter: Any, stored: Sequence[np.ndarray]) -> None:
    for detail, values in zip(_entries(interpreter), stored, strict=True):
        if tuple(detail["shape"]) != values.shape:
            interpreter.resize_tensor_input(detail["index"], values.shape)
    interpreter.allocate_tensors()


def _quantised(values: np.ndarray, detail: Any) -> np.ndarray:
    scale, zero_point = detail["quantization"]
    if detail["dtype"] == np.int8 and scale:
        values = np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8)
    assert detail["dtype"] == values.dtype, f"{detail['name']} takes {detail['dtype']}, not {values.dtype}"
    return np.asarray(values, order="C")


def _real(interpreter: Any, detail: Any) -> np.ndarray:
    values, (scale, zero_point) = interpreter.get_tensor(detail["index"]), detail["quantization"]
    real = (values.astype(np.float32) - zero_point) * scale if scale and values.dtype == np.int8 else values
    return np.asarray(real)
