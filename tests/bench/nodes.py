"""How the time to convert grows with the number of nodes."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.convert.nhwc import convert
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.view import copy
from tests.bench.figures import in_turns, ratio, table
from tests.bench.workspace import Bench

_SIZES, _QUICK_SIZES = (2_500, 20_000), (250, 2_000)

Nodes = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def number_of_nodes(bench: Bench) -> str:
    """A table: for each kind of chain what a node takes in a short one and a long one, and the ratio."""
    sizes, rows = _QUICK_SIZES if bench.quick else _SIZES, []
    for name, chain in _CHAINS.items():
        models = {str(size): _model(*chain(size)) for size in sizes}
        actions = {size: _conversion(model) for size, model in models.items()}
        times = in_turns(actions, 1 if bench.quick else 3, name)
        each = {size: [seconds / int(size) for seconds in found] for size, found in times.items()}
        short, long = (each[str(size)] for size in sizes)
        shown = (f"{1e6 * float(np.median(values)):.0f}" for values in (short, long))
        rows.append((name, *shown, f"{ratio(long, short):.2f}"))
    heads = ("chain of", *(f"{size:,} nodes, µs each" for size in sizes), "ratio")
    return f"{table(heads, rows)}\n\n1.00 is time that grows as the number of nodes does."


def _conversion(model: onnx.ModelProto) -> Callable[[], object]:
    return lambda: bytes(convert(normalise(copy(model)), False, np.zeros(0)))


def _model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    end = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "chain", [entry], [end], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def _tensor(name: str, values: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def _adds(count: int) -> Nodes:
    names = ["x", *(f"t{i}" for i in range(count))]
    return [helper.make_node("Add", [one, "c"], [two]) for one, two in pairwise(names)], [_tensor("c", 1e-3)]


def _constants(count: int) -> Nodes:
    """Each sum has a Constant node of its own."""
    nodes, last = list[onnx.NodeProto](), "x"
    for i in range(count // 2):
        nodes.append(helper.make_node("Constant", [], [f"c{i}"], value=_tensor("", i)))
        nodes.append(helper.make_node("Add", [last, f"c{i}"], [f"t{i}"]))
        last = f"t{i}"
    return nodes, []


def _layers(count: int) -> Nodes:
    """Convolution, BatchNormalization, rectifier, and the sum with what came in."""
    random, nodes, constants, last = np.random.default_rng(0), list[onnx.NodeProto](), [], "x"
    for i in range(count // 4):
        parts = {f"g{i}": np.ones(3), f"b{i}": np.zeros(3), f"m{i}": np.zeros(3), f"v{i}": np.ones(3)}
        kernel = _tensor(f"w{i}", random.normal(size=(3, 3, 1, 1)))
        constants += [kernel, *(_tensor(name, values) for name, values in parts.items())]
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"a{i}"]))
        nodes.append(helper.make_node("BatchNormalization", [f"a{i}", *parts], [f"n{i}"]))
        nodes.append(helper.make_node("Relu", [f"n{i}"], [f"r{i}"]))
        nodes.append(helper.make_node("Add", [f"r{i}", last], [f"t{i}"]))
        last = f"t{i}"
    return nodes, constants


_CHAINS: dict[str, Callable[[int], Nodes]] = {"sums": _adds, "constants": _constants, "layers": _layers}
