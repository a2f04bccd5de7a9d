"""Small ONNX networks, and ways to run them.

Whoever runs one through TensorFlow gets one thread and determinism, as in a stage.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from onnx import helper, numpy_helper

from edgepress.translate.plan import Plan
from edgepress.translate.planner import make_plan

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
):
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
    outputs = session.run(None, {model.graph.input[0].name: inputs})[0]
    assert np.isfinite(outputs).all() and np.ptp(outputs, axis=0).max() > 0
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


def run_function(plan: Plan, inputs: np.ndarray) -> np.ndarray:
    """What the function face of the translator computes."""
    tf = tensorflow()
    from edgepress.translate.function_face import concrete_function

    return concrete_function(plan, len(inputs))(tf.constant(stored(inputs))).numpy()


def run_keras(plan: Plan, inputs: np.ndarray) -> np.ndarray:
    """What the Keras face of the translator computes."""
    tensorflow()
    from edgepress.translate.keras_face import build_keras

    return build_keras(plan).model(stored(inputs), training=False).numpy()


FACES: dict[str, Callable[[Plan, np.ndarray], np.ndarray]] = {"function": run_function, "keras": run_keras}


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
    """Logits (N, classes) of a `.tflite` for raw inputs (N, C, H, W), and its int8 codes if it gives such."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    nchw = tuple(source["shape"][1:]) == inputs.shape[1:]
    results = []
    for sample in inputs if nchw else stored(inputs):
        if source["dtype"] is np.int8:
            scale, zero = source["quantization"]
            sample = np.clip(np.round(sample / np.float32(scale)) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], sample[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(target["index"]).copy())
    outputs = np.concatenate(results)
    if target["dtype"] is not np.int8:
        return outputs, None
    scale, zero = target["quantization"]
    return (outputs.astype(np.float32) - zero) * np.float32(scale), outputs
