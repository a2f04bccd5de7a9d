"""One network through the translator, float32 and int8, each compared with ONNX Runtime."""

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgepress.compress.quantisation.floats import float_nodes, reason
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.convert import Nhwc
from edgepress.config.quant import Calibration, Int8
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.nhwc import planned
from edgepress.convert.registry import convert_single
from edgepress.convert.tflite_model import TfliteModel
from edgepress.datasets.samples import Samples
from edgepress.graph.formats import number_format
from edgepress.graph.normalise.normalise import load_normalised
from edgepress.graph.shapes import BATCH, open_sizes
from edgepress.translate.absorbing import absorbed
from edgepress.translate.ends import end_orders, network_channels
from tests.oracle import converted_by_tensorflow
from tests.zoo.architectures import FLOAT_LIMITS, Architecture
from tests.zoo.own.network import Network
from tests.zoo.photos import crops
from tests.zoo.running import Orders, Outputs, Sample, run_onnx, run_tflite, scales, spread

CALIBRATION, TEST, FLOAT_TEST, ORACLE_TEST = 64, 100, 4, 20
OWN_FLOAT_TEST = 6
"""Of a network of our own, whose sizes come in turns: two of each where it has three."""

Subject = Architecture | Network


@dataclass(frozen=True)
class FloatRow:
    """`max_abs_diff` is relative to the range of the output; `asked` counts the network's own transposes.

    `oracle_diff` is the same from the `.tflite` that TensorFlow's converter makes of the same plan, None
    where it makes none. `undelegated_diff` is `max_abs_diff` of LiteRT's own kernels, without XNNPACK's; None
    where that is not asked.
    """

    ops: int
    transposes: int
    asked: int
    max_abs_diff: float
    oracle_diff: float | None
    undelegated_diff: float | None = None


@dataclass(frozen=True)
class Int8Row:
    """Agreement of the two runtimes on the same integers; `steps` are of the output's scale.

    `kept` is the share of samples on which int8 says the same as float32, `float_ops` are the operators that
    stayed float, and how many; `why` says it of the ONNX operators that they stem from. `top1` and `kept` are
    None where no output has classes. `oracle_codes` is the
    share of outputs that are not those of the `.tflite` that TensorFlow's converter makes of the same plan,
    None where it makes none.
    """

    top1: float | None
    mean_steps: float
    max_steps: float
    kept: float | None
    float_ops: dict[str, int]
    why: dict[str, str]
    oracle_codes: float | None


def measure_float(subject: Subject, source: Path) -> FloatRow:
    """Convert as float32, and compare on a few inputs with the file as it came.

    Raises:
        AssertionError: the outputs do not vary, so that comparing them says nothing.
    """
    model = load_normalised(source)
    orders = end_orders(model, network_channels(model))
    samples = _samples(subject, model, FLOAT_TEST if isinstance(subject, Architecture) else OWN_FLOAT_TEST, 2)
    expected = run_onnx(source, samples)
    assert all(map(_varies, expected)), "the outputs do not vary"
    content, tflite = _converted(model, orders)
    actual = run_tflite(content, model, orders, samples)
    by_oracle = _by_oracle(model, orders, samples)
    ask = isinstance(subject, Architecture) and subject.name in FLOAT_LIMITS
    undelegated = run_tflite(content, model, orders, samples, delegated=False) if ask else None
    return FloatRow(
        len(tflite.operators),
        tflite.transpose_ops,
        sum(node.op_type == "Transpose" for node in model.graph.node),
        _largest_difference(actual, expected),
        None if by_oracle is None else _largest_difference(actual, by_oracle),
        None if undelegated is None else _largest_difference(undelegated, expected),
    )


def _samples(subject: Subject, model: onnx.ModelProto, count: int, seed: int) -> Sequence[Sample]:
    if isinstance(subject, Network):
        return subject.samples(count, seed)
    images, _ = crops(count, subject.size, seed)
    return [{model.graph.input[0].name: image[None]} for image in images]


def _varies(arrays: Sequence[np.ndarray]) -> bool:
    """Whether an output is another for another input of the same size."""
    return any(a.shape == b.shape and (a != b).any() for a, b in combinations(arrays, 2))


def _largest_difference(actual: Outputs, expected: Outputs) -> float:
    """Relative to the range of the output; of whole numbers and truth values, the share of others."""
    return max(_difference(a, e) for a, e in zip(actual, expected, strict=True))


def _difference(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    for a, e in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype), f"{a.dtype}{a.shape} instead of {e.dtype}{e.shape}"
    pairs = [(a, e) for a, e in zip(actual, expected, strict=True) if e.size]
    if expected[0].dtype.kind != "f":
        return sum(int((a != e).sum()) for a, e in pairs) / sum(e.size for _, e in pairs)
    return max(float(np.abs(a - e).max()) for a, e in pairs) / spread([e for _, e in pairs])


def _by_oracle(model: onnx.ModelProto, orders: Orders, samples: Sequence[Sample]) -> Outputs | None:
    """The outputs of the `.tflite` of TensorFlow's converter, None where that refuses the network."""
    form = number_format(model)
    try:
        if set(open_sizes(model)) - {BATCH}:
            raise ValueError("it is not given sizes that stay open")
        plan = absorbed(planned(model, orders))
        if any(step.op == "recurrent" for step in plan.steps):
            raise ValueError("LiteRT crashes in some of the loops that it makes")
        content = converted_by_tensorflow(plan, form == "int8")
    except Exception as error:  # it raises whatever its native parts do
        print(f"TensorFlow's converter: {str(error).strip().splitlines()[0][:200]}", file=sys.stderr)
        return None
    return run_tflite(content, model, orders, samples)


def measure_int8(subject: Subject, source: Path) -> Int8Row:
    """Quantise after training, convert, and compare the two runtimes on other inputs than those.

    Where sizes stay open all of that is done with one.
    """
    if isinstance(subject, Network):
        subject = replace(subject, sizes=subject.sizes[:1])
    model = load_normalised(source)
    orders = end_orders(model, network_channels(model))
    calibration = _joined(_samples(subject, model, CALIBRATION, 3))
    config = Int8(per_channel=True, calibration=Calibration("minmax", CALIBRATION, 2048, 99.99))
    quantised = quantiser(config)(model, config, Sources(lambda n: calibration[:n], _no_training, clusters=0))
    samples = _samples(subject, model, TEST, 2)
    expected, floats = run_onnx(quantised, samples), run_onnx(model, samples)
    content, tflite = _converted(quantised, orders)
    actual = run_tflite(content, model, orders, samples)
    steps = [
        np.abs(np.subtract(a, e, dtype=np.float64)) / scale
        for a, e, scale in zip(actual, expected, scales(content, expected), strict=True)
    ]
    asked = isinstance(subject, Architecture) or not subject.no_oracle
    by_oracle = _by_oracle(quantised, orders, samples[:ORACLE_TEST]) if asked else None
    found = [_classes(subject, outputs) for outputs in (actual, expected, floats)]
    assert found[1] is None or len(np.unique(found[1])) > 1, "every sample is of one class"
    return Int8Row(
        _share_alike(found[0], found[1]),
        float(max(s.mean() for s in steps)),
        float(max(s.max() for s in steps)),
        _share_alike(found[0], found[2]),
        float_operators(tflite),
        {node.op_type: reason(node.op_type) for node in float_nodes(quantised)},
        None if by_oracle is None else _share_of_others(actual, by_oracle),
    )


def _joined(samples: Sequence[Sample]) -> Samples:
    return Samples({name: np.stack([sample[name] for sample in samples]) for name in samples[0]})


def _share_alike(one: np.ndarray | None, other: np.ndarray | None) -> float | None:
    return None if one is None or other is None else float((one == other).mean())


def _share_of_others(actual: Outputs, expected: Outputs) -> float:
    pairs = [(a[: len(e)], e) for a, e in zip(actual, expected, strict=True)]
    return sum(int((np.array(a) != np.array(e)).sum()) for a, e in pairs) / sum(np.size(e) for _, e in pairs)


def float_operators(tflite: TfliteModel) -> dict[str, int]:
    """The operators that compute floats, but not the conversions between numbers, and how often."""
    names = (
        operator.name
        for graph in tflite.graphs
        for operator in graph.operators
        if operator.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(graph.tensors[i].dtype == "FLOAT32" for i in operator.outputs)
    )
    return dict(sorted(Counter(names).items()))


def _converted(model: onnx.ModelProto, orders: Orders) -> tuple[bytes, TfliteModel]:
    content = bytes(convert_single(model, Nhwc("auto"), np.zeros((0,), np.float32), orders))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return content, read_tflite(path)


def _classes(subject: Subject, outputs: Outputs) -> np.ndarray | None:
    """The class of each sample, pixel or anchor by the first output; None where that has no classes."""
    logits = np.stack(outputs[0])
    if isinstance(subject, Network):
        return None if subject.classes is None else np.asarray(logits.argmax(subject.classes + 1))
    return np.asarray(logits.argmax(-1 if logits.ndim == 4 else 2))


def _no_training() -> Any:
    raise AssertionError("quantising after training does not train")
