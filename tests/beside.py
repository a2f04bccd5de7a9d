"""Small networks beside ONNX Runtime: in files, and as TensorFlow operations."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

from edgepress.graph.normalise.normalise import normalise, with_sizes
from edgepress.graph.shapes import BATCH, open_sizes
from edgepress.graph.view import copy
from edgepress.translate.ends import end_orders, network_channels
from edgepress.translate.planning import plan_graph
from tests.networks import tensorflow

Arrays = dict[str, np.ndarray]


def model_of(nodes: str, feeds: Arrays, results: str, opset: int, constants: Arrays) -> onnx.ModelProto:
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(each.dtype) for name, each in feeds.items()}
    entries = [onnx.helper.make_tensor_value_info(name, kinds[name], feeds[name].shape) for name in feeds]
    graph = onnx.parser.parse_graph(f"it () => ({results}) {{ {nodes} }}")
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    graph.input.extend(entries)
    graph.initializer.extend(onnx.numpy_helper.from_array(v, name) for name, v in constants.items())
    domains = {"": opset, "ai.onnx.ml": 3, "com.microsoft": 1}
    imports = [onnx.helper.make_opsetid(*each) for each in domains.items()]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def wanted(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [output.name for output in model.graph.output]
    return dict(zip(names, session.run(names, feeds), strict=True))


def in_file(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    from edgepress.convert.nhwc import convert

    orders = end_orders(model, network_channels(model))
    interpreter = Interpreter(model_content=bytes(convert(model, False, np.zeros(0), orders)), num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    given = {e.name: feeds[e.name].transpose(orders[e.name]) for e in model.graph.input}
    made = run(**{name: np.array(values, order="C") for name, values in given.items()})
    return {o.name: made[o.name].transpose(np.argsort(orders[o.name])) for o in model.graph.output}


def in_steps(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    tf = tensorflow()
    from edgepress.translate.functions import apply_step

    plan = plan_graph(model)
    tensors = {e.name: tf.constant(feeds[e.name].transpose(e.order)) for e in plan.entries}
    for step in plan.steps:
        made = apply_step(step, [tensors[name] for name in step.inputs])
        tensors.update(zip(step.outputs, made if isinstance(made, list) else [made], strict=True))
    ends = zip(model.graph.output, plan.outputs, plan.output_orders, strict=True)
    return {end.name: tensors[name].numpy().transpose(np.argsort(order)) for end, name, order in ends}


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(actual, expected, 1e-5, 1e-5)
    else:
        np.testing.assert_array_equal(actual, expected)


def check(
    nodes: str, feeds: Arrays, results: str, opset: int = 17, varies: bool = True, **constants: Any
) -> None:
    model = model_of(nodes, feeds, results, opset, constants)
    expected = wanted(model, feeds)
    normal = normalise(copy(model))
    if BATCH in open_sizes(normal):
        normal = with_sizes(normal, {BATCH: next(iter(feeds.values())).shape[0]})
    for made in (in_file(normal, feeds), in_steps(normal, feeds)):
        for name, right in expected.items():
            assert not varies or np.unique(right).size > 1, name
            same(made[name], right)
