"""Small ONNX networks, and ways to run them.

Whoever runs one through TensorFlow gets one thread and determinism, as in a stage.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from onnx import helper, numpy_helper

from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.compress.tuning.data import TuningData
from edgepress.config.fine_tune import FineTune
from edgepress.config.quant import Calibration, Dynamic, Fp16, Int4Weights, Int8, Int8Weights, Int16x8
from edgepress.config.train import Augment
from edgepress.convert.writer.table import write
from edgepress.datasets.prepared import Split
from edgepress.translate.absorbing import absorbed
from edgepress.translate.plan import Plan
from edgepress.translate.planning import make_plan

Operand = str | np.ndarray | None


class Graph:
    """An ONNX graph under construction, from one float32 input (batch, *shape) called `input`."""

    def __init__(self, *shape: int, seed: int = 0, opset: int = 15, batch: str | int = "batch") -> None:
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.entry = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [batch, *shape])
        self.last = "input"

    def weights(self, *shape: int, low: float | None = None) -> np.ndarray:
        """Normal random numbers; with `low`, uniform ones in [low, low + 1)."""
        drawn = self.random.normal(size=shape) if low is None else self.random.uniform(low, low + 1, shape)
        return drawn.astype(np.float32)

    def constant(self, values: Any, name: str = "") -> str:
        """Add an initializer."""
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op: str, *operands: Operand, name: str = "", **attributes: Any) -> str:
        """Add a node, on the last node's output unless operands are given; arrays become initializers."""
        inputs = [
            "" if operand is None else operand if isinstance(operand, str) else self.constant(operand)
            for operand in operands or (self.last,)
        ]
        name = name or f"{op.lower()}_{len(self.nodes)}"
        self.last = f"{name}_out"
        self.nodes.append(helper.make_node(op, inputs, [self.last], name, **attributes))
        return self.last

    def batchnorm(self, source: str, channels: int, *, negative: bool = True, **attributes: Any) -> str:
        """BatchNormalization with random statistics; some gammas are negative."""
        gamma = self.weights(channels, low=0.5) * (np.resize([1, -1], channels) if negative else 1)
        values = [gamma.astype(np.float32), self.weights(channels), self.weights(channels)]
        return self.add("BatchNormalization", source, *values, self.weights(channels, low=0.2), **attributes)

    def model(self, output: str = "") -> onnx.ModelProto:
        """The checked model, whose one output is the last node's unless another is named."""
        info = helper.make_tensor_value_info(output or self.last, onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "graph", [self.entry], [info], self.constants)
        imports = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        model.graph.output[0].CopyFrom(inferred.graph.output[0])
        onnx.checker.check_model(model, full_check=True)
        return model


def single(
    op: str, *constants: Operand, shape: tuple[int, ...] = (4, 5, 6), opset: int = 15, **attributes: Any
) -> onnx.ModelProto:
    """A model of one node on the input, followed by the other operands."""
    graph = Graph(*shape, opset=opset)
    graph.add(op, "input", *constants, **attributes)
    return graph.model()


def inputs_for(model: onnx.ModelProto, count: int = 3, scale: float = 2.0, seed: int = 1) -> np.ndarray:
    """Random inputs (count, C, H, W) of both signs."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    shape = (count, *(dim.dim_value for dim in dims[1:]))
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def run_onnx(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """What ONNX Runtime computes; the outputs are made sure to differ between samples."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    outputs = np.asarray(session.run(None, {model.graph.input[0].name: inputs})[0])
    assert np.isfinite(outputs).all() and np.ptp(outputs, axis=0 if len(inputs) > 1 else None).max() > 0
    return outputs


def run_unoptimised(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """The first output as ONNX Runtime computes it node by node."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    outputs: np.ndarray = session.run(None, {session.get_inputs()[0].name: inputs})[0]
    return outputs


def stored(inputs: np.ndarray) -> np.ndarray:
    """(N, C, H, W) → (N, H, W, C), as every translated network takes its inputs; vectors stay."""
    return np.ascontiguousarray(np.moveaxis(inputs, 1, -1)) if inputs.ndim > 2 else inputs


@lru_cache
def tensorflow() -> Any:
    """TensorFlow, set up once."""
    from edgepress.translate.tensorflow_setup import configure, tf

    configure(seed=0, threads=1)
    return tf


def run_written(plan: Plan, inputs: np.ndarray) -> np.ndarray:
    """What LiteRT computes of the file that is written of a plan, of the whole batch at once."""
    interpreter = Interpreter(model_content=bytes(write(absorbed(plan), batch=len(inputs))), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored(inputs))
    interpreter.invoke()
    return as_onnx(plan, interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def run_keras(plan: Plan, inputs: np.ndarray) -> np.ndarray:
    """What the Keras face of the translator computes."""
    tensorflow()
    from edgepress.translate.keras_face import build_keras

    return as_onnx(plan, build_keras(plan).model(stored(inputs), training=False).numpy())


def as_onnx(plan: Plan, output: np.ndarray) -> np.ndarray:
    """A plan's one output in the order of ONNX's axes."""
    (order,) = plan.output_orders
    return np.transpose(output, np.argsort(order))


FACES: dict[str, Callable[[Plan, np.ndarray], np.ndarray]] = {"written": run_written, "keras": run_keras}


def signal_to_noise(expected: np.ndarray, actual: np.ndarray) -> float:
    """The variance of what is expected over the mean square of the error, in dB."""
    assert actual.shape == expected.shape
    noise = np.square(expected.astype(np.float64) - actual).mean()
    return float("inf") if noise == 0 else 10 * float(np.log10(expected.astype(np.float64).var() / noise))


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal shapes, and equal values up to `tolerance` times the largest of them."""
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def assert_faces_agree(
    model: onnx.ModelProto, inputs: np.ndarray | None = None, tolerance: float = 1e-5
) -> Plan:
    """Both faces of the translator compute what ONNX Runtime does."""
    inputs = inputs_for(model) if inputs is None else inputs
    expected, plan = run_onnx(model, inputs), make_plan(model)
    for face in FACES.values():
        assert_close(face(plan, inputs), expected, tolerance)
    return plan


def run_tflite(content: bytes, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits (N, classes) of a `.tflite` for raw inputs (N, C, H, W), and their codes if it gives such."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    nchw = tuple(source["shape"][1:]) == inputs.shape[1:]
    results = []
    for sample in inputs if nchw else stored(inputs):
        if source["dtype"] is not np.float32:
            (scale, zero), limits = source["quantization"], np.iinfo(source["dtype"])
            codes = np.clip(np.round(sample / np.float32(scale)) + zero, limits.min, limits.max)
            sample = codes.astype(source["dtype"])
        interpreter.set_tensor(source["index"], sample[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(target["index"]).copy())
    outputs = np.concatenate(results)
    if target["dtype"] is np.float32:
        return outputs, None
    scale, zero = target["quantization"]
    return (outputs.astype(np.float32) - zero) * np.float32(scale), outputs


CLASSES = 5


def task(count: int, seed: int = 0, shape: tuple[int, ...] = (2, 8, 8)) -> Split:
    """Raw uint8 images (count, *shape) of five classes: a pattern for each, and noise."""
    patterns = np.random.default_rng(0).uniform(0, 255, (CLASSES, *shape))
    random = np.random.default_rng((seed, 1))
    y = random.integers(0, CLASSES, count)
    noisy = 0.5 * patterns[y] + 0.5 * random.uniform(0, 255, (count, *shape))
    return Split(noisy.astype(np.uint8), y.astype(np.int64))


def network(
    *, activation: str = "Relu", depthwise: bool = True, width: int = 8, seed: int = 0
) -> onnx.ModelProto:
    """A residual network for `task`: BatchNormalization has true statistics, the last layer is fitted."""
    graph = Graph(2, 8, 8, seed=seed)
    w = graph.weights
    bounds = [np.array(b, np.float32) for b in (0, 6)] if activation == "Clip" else []

    def normed(source: str) -> str:
        features = _features(graph, source)
        mean, variance = features.mean((0, 2, 3)), features.var((0, 2, 3))
        gamma = graph.weights(width, low=0.5) * np.resize([1, -1], width).astype(np.float32)
        return graph.add("BatchNormalization", source, gamma, 0.3 * graph.weights(width), mean, variance)

    scaled = graph.add(
        "Div", graph.add("Sub", "input", np.array(128, np.float32)), np.full((1, 2, 1, 1), 50, np.float32)
    )
    stem = graph.add("Conv", scaled, 0.3 * w(width, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], name="stem")
    stem = body = graph.add(activation, normed(stem), *bounds)
    if depthwise:
        body = graph.add(
            "Conv", body, 0.3 * w(width, 1, 3, 3), pads=[1, 1, 1, 1], group=width, name="depthwise"
        )
        body = graph.add(activation, normed(body), *bounds)
    body = normed(graph.add("Conv", body, 0.5 * w(width, width, 1, 1), name="pointwise"))
    graph.add(activation, graph.add("Add", body, stem, name="join"), *bounds)
    flat = graph.add("Flatten", graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]))
    return fitted(graph, flat)


def _features(graph: Graph, tensor: str) -> np.ndarray:
    return run_onnx(graph.model(tensor), task(500, seed=9).inputs())


def fitted(graph: Graph, features: str) -> onnx.ModelProto:
    """The graph with a Gemm on its features that tells the classes apart as well as least squares can."""
    x = _features(graph, features)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    wanted = 8 * np.eye(CLASSES)[task(500, seed=9).y]
    solution = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ wanted).astype(np.float32)
    graph.add("Gemm", features, np.ascontiguousarray(solution[:-1].T), solution[-1], transB=1, name="dense")
    return graph.model()


def no_tuning() -> Any:
    raise AssertionError("this quantiser has no business with training data")


FORMATS: dict[str, Any] = {
    "fp16": Fp16(),
    "dynamic": Dynamic(),
    "int8": Int8(per_channel=True, calibration=Calibration("minmax", 64, 2048, 99.99)),
    "int16x8": Int16x8(Calibration("minmax", 64, 2048, 99.99)),
    "int8_weights": Int8Weights(),
    "int4_weights": Int4Weights(True, 100, Calibration("minmax", 64, 2048, 99.99)),
}


def quantise(
    model: onnx.ModelProto, config: Any, clusters: int = 0, tuning: Any = no_tuning
) -> onnx.ModelProto:
    """A model in another number format, calibrated on `task`."""
    sources = Sources(lambda samples: task(samples, seed=5).inputs(), tuning, clusters)
    return quantiser(config)(model, config, sources)


def accuracy(outputs: np.ndarray, split: Split) -> float:
    return float((outputs.argmax(axis=1) == split.y).mean())


TEST = task(300, seed=3)
"""Samples that nothing is trained or calibrated on."""


def score(model: onnx.ModelProto) -> float:
    """A network's accuracy on `TEST`."""
    return accuracy(run_onnx(model, TEST.inputs()), TEST)


def tuning(count: int = 256, shape: tuple[int, ...] = (2, 8, 8)) -> TuningData:
    """Training data for fine-tuning, without augmentation."""
    train, validation = task(count, seed=1, shape=shape), task(128, seed=7, shape=shape)
    return TuningData(train, validation, Augment(shift=0, flip=False), seed=0)


def diverging() -> TuningData:
    """Training data from which no loss is a number."""
    data = tuning()
    return replace(data, train=Split(np.full(data.train.x.shape, np.nan, np.float32), data.train.y))


def fine_tuning(**changes: Any) -> FineTune:
    """Two short epochs unless changed."""
    values = {"epochs": 2, "batch_size": 64, "learning_rate": 0.003, "distillation": 0.0, "temperature": 4.0}
    return FineTune(**(values | changes))
