"""ONNX models of which bytes are flipped, cut and repeated, and fields set to what no exporter writes."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.graph.about import say
from edgepress.graph.view import all_nodes, nested_graphs

IMAGE = (3, 8, 8)
"""What the convolutional seeds take."""

_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, -(2**63), 2**63 - 1)
_NAMES = (
    "",
    "input",
    "logits",
    "w",
    "absent",
    "é",
    "a" * 2000,
    "../../etc/passwd",
    "\n",
    "Conv",
    "Loop",
    "Constant",
)


def seeds() -> list[onnx.ModelProto]:
    """Small models: convolutional, with shape arithmetic, quantised, of an old opset, with external data.

    Some have branches and loops, recurrent layers, functions of their own, or several inputs of open sizes.
    """
    made = [
        _convolutional(15), _convolutional(7), _shape_arithmetic(), _quantised(), _external(), _nested(),
        _of_functions(), _sparse(), _tokens(), _control_flow(15), _control_flow(11),
    ]  # fmt: skip
    say(made[0], {"name": "net", "labels": '["a", "b"]', "made_by": '{"train": {"epochs": 1}}'})
    return made


def _control_flow(opset: int) -> onnx.ModelProto:
    """A loop that ends early and holds a branch, and a GRU."""
    info, node = helper.make_tensor_value_info, helper.make_node
    kind, whole, truth = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    then = helper.make_graph([node("Relu", ["s"], ["t"])], "then", [], [info("t", kind, None)])
    other = helper.make_graph([node("Add", ["s", "x"], ["e"])], "else", [], [info("e", kind, None)])
    nodes = [
        node("ReduceSum", ["s"], ["r"], keepdims=0),
        node("Less", ["r", "most"], ["going"]),
        node("If", ["going"], ["s2"], then_branch=then, else_branch=other),
        node("Identity", ["s2"], ["o"]),
    ]
    inputs = [info("i", whole, []), info("go", truth, []), info("s", kind, [1, 4])]
    body = helper.make_graph(
        nodes, "body", inputs, [info("going", truth, None), info("s2", kind, None), info("o", kind, None)]
    )
    outer = [
        node("Loop", ["n", "", "x"], ["y", "all"], body=body),
        node("GRU", ["v", "W", "R"], ["z"], hidden_size=2),
    ]
    held = {"n": np.int64(20), "most": np.float32(9), "W": np.ones((1, 6, 4), np.float32)}
    held["R"] = np.ones((1, 6, 2), np.float32)
    graph = helper.make_graph(
        outer,
        "network",
        [info("x", kind, [1, 4]), info("v", kind, [20, 1, 4])],
        [info("y", kind, None), info("all", kind, None), info("z", kind, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def mutate(model: onnx.ModelProto, chance: random.Random) -> bytes:
    """The bytes of a model after one to four changes to its fields, its bytes, or both."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    kind = chance.random()
    if kind < 0.8:
        for _ in range(chance.randint(1, 2)):
            inner = [graph for node in changed.graph.node for graph in nested_graphs(node)]
            parts = [changed, *changed.graph.node, *changed.metadata_props]
            parts += [*inner, *all_nodes(changed.graph)] if inner else []
            _change_field(chance.choice(parts), chance)
    content = bytearray(changed.SerializeToString())
    if kind > 0.75 and content:
        for _ in range(chance.randint(1, 4)):
            _change_bytes(content, chance)
    return bytes(content)


def _change_bytes(content: bytearray, chance: random.Random) -> None:
    position = chance.randrange(len(content)) if content else 0
    kind = chance.randrange(4)
    if kind == 0:
        del content[position:]
    elif kind == 1:
        content[position : position + chance.randint(1, 8)] = chance.randbytes(chance.randint(0, 8))
    elif kind == 2:
        content[position:position] = content[position : position + chance.randint(1, 64)]
    elif content:
        content[position] ^= 1 << chance.randrange(8)


def _change_field(model: Any, chance: random.Random) -> None:
    message, field = chance.choice([*_fields(model)] or [(None, None)])
    if field is None:
        return
    if field.is_repeated:
        _change_list(getattr(message, field.name), field, chance)
    elif field.type == field.TYPE_MESSAGE or chance.random() < 0.2:
        message.ClearField(field.name)
    else:
        value = _value(field, chance)
        if value is not None:
            setattr(message, field.name, value)


def _change_list(values: Any, field: Any, chance: random.Random) -> None:
    kind = chance.randrange(4)
    if len(values) and kind == 0:
        del values[chance.randrange(len(values))]
    elif len(values) and kind == 1:
        values.append(values[chance.randrange(len(values))])
    elif len(values) and kind == 2:
        values.reverse()
    elif field.type != field.TYPE_MESSAGE and (value := _value(field, chance)) is not None:
        if len(values):
            values[chance.randrange(len(values))] = value
        else:
            values.append(value)


def _fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """Every set field of a message and of those in it."""
    for field, value in message.ListFields():
        yield message, field
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                yield from _fields(inner)


def _value(field: Any, chance: random.Random) -> Any:
    if field.type == field.TYPE_ENUM:
        return chance.choice([value.number for value in field.enum_type.values])
    if field.type == field.TYPE_INT32:
        return chance.choice([n for n in _NUMBERS if -(2**31) <= n < 2**31])
    if field.type == field.TYPE_INT64:
        return chance.choice(_NUMBERS)
    if field.type == field.TYPE_UINT64:
        return chance.choice([n for n in _NUMBERS if n >= 0])
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return chance.choice([0.0, -1.0, 1e30, float("nan"), float("inf")])
    if field.type == field.TYPE_STRING:
        return chance.choice(_NAMES)
    return chance.randbytes(chance.randint(0, 16)) if field.type == field.TYPE_BYTES else None


def _model(nodes: list[Any], constants: dict[str, Any], shape: list[Any], opset: int) -> onnx.ModelProto:
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "graph", [entry], [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _convolutional(opset: int) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    node, ones = helper.make_node, np.ones(4, np.float32)
    constants = {
        "w": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        **dict.fromkeys(("gamma", "beta", "mean", "variance"), ones),
        "dense": random.normal(size=(64, 5)).astype(np.float32),
        "bias": np.ones(5, np.float32),
    }
    nodes = [
        node("Conv", ["input", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("MaxPool", ["c"], ["d"], kernel_shape=[1, 1]),
        node("Flatten", ["d"], ["e"]),
        node("Gemm", ["e", "dense", "bias"], ["logits"]),
    ]
    return _model(nodes, constants, ["n", 3, 8, 8], opset)


def _shape_arithmetic() -> onnx.ModelProto:
    node = helper.make_node
    one = numpy_helper.from_array(np.array([-1], np.int64))
    nodes = [
        node("Shape", ["input"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Constant", [], ["rest"], value=one),
        node("Concat", ["n1", "rest"], ["shape"], axis=0),
        node(
            "ConstantOfShape", ["four"], ["fill"], value=numpy_helper.from_array(np.array([2.0], np.float32))
        ),
        node("Expand", ["fill", "four"], ["grown"]),
        node("Reshape", ["input", "shape"], ["flat"]),
        node("Mul", ["flat", "grown"], ["logits"]),
    ]
    constants = {"zero": np.int64(0), "axes": np.array([0]), "four": np.array([1, 4])}
    return _model(nodes, constants, ["n", 1, 2, 2], 15)


def _quantised() -> onnx.ModelProto:
    node = helper.make_node
    constants = {
        "scale": np.float32(0.1), "zero": np.int8(0), "w": np.ones((4, 2), np.int8),
        "scales": np.ones(2, np.float32), "zeros": np.zeros(2, np.int8),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["input", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        node("DequantizeLinear", ["w", "scales", "zeros"], ["dw"], axis=1),
        node("MatMul", ["d", "dw"], ["logits"]),
    ]
    return _model(nodes, constants, ["n", 4], 17)


def _external() -> onnx.ModelProto:
    model = _model(
        [helper.make_node("MatMul", ["input", "w"], ["logits"])],
        {"w": np.zeros((4, 4), np.float32)},
        ["n", 4],
        21,
    )
    onnx.external_data_helper.set_external_data(
        model.graph.initializer[0], "weights.bin", offset=0, length=64
    )
    model.graph.initializer[0].ClearField("raw_data")
    return model


def _nested() -> onnx.ModelProto:
    """A loop of five steps with a branch in each."""
    node, end = helper.make_node, helper.make_tensor_value_info("end", TensorProto.FLOAT, None)
    branches = {
        f"{name}_branch": helper.make_graph([node(op, ["state"], ["end"])], name, [], [end])
        for name, op in (("then", "Neg"), ("else", "Relu"))
    }
    steps = [
        node("ReduceSum", ["state"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["above"]),
        node("If", ["above"], ["chosen"], **branches),
        node("Add", ["chosen", "input"], ["next"]),
        node("Identity", ["going"], ["goes"]),
    ]
    kinds = {
        "step": (TensorProto.INT64, []),
        "going": (TensorProto.BOOL, []),
        "state": (TensorProto.FLOAT, [2, 4]),
    }
    made = {"goes": (TensorProto.BOOL, []), "next": (TensorProto.FLOAT, [2, 4])}
    ends = [
        [helper.make_tensor_value_info(name, *kind) for name, kind in each.items()] for each in (kinds, made)
    ]
    body = helper.make_graph(steps, "body", *ends)
    nodes = [node("Loop", ["five", "true", "input"], ["logits"], body=body)]
    constants = {"five": np.array(5), "true": np.array(True), "zero": np.float32(0)}
    return _model(nodes, constants, [2, 4], 17)


def _of_functions() -> onnx.ModelProto:
    """Two functions of different opsets, of which one calls the other."""
    node, opsets = helper.make_node, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    of = {"Twice": opsets, "Once": [helper.make_opsetid("", 13)]}
    model = _model([node("Twice", ["input"], ["logits"], domain="own")], {}, ["n", 4], 17)
    model.opset_import.append(opsets[1])
    bodies = {"Twice": [("Once", "own"), ("Once", "own")], "Once": [("Relu", ""), ("Neg", "")]}
    for name, calls in bodies.items():
        inner = [
            node(op, [before], [after], domain=domain)
            for (op, domain), before, after in zip(calls, ("x", "y"), ("y", "z"), strict=True)
        ]
        model.functions.append(helper.make_function("own", name, ["x"], ["z"], inner, of[name]))
    return model


def _sparse() -> onnx.ModelProto:
    """Sparse constants of either form, one of them in a node."""
    node, make = helper.make_node, helper.make_sparse_tensor
    held = [numpy_helper.from_array(np.ones(2, np.float32), name) for name in ("k", "c")]
    flat, paired = (numpy_helper.from_array(np.array(places), "i") for places in ([1, 3], [[0, 1], [2, 3]]))
    constant = node("Constant", [], ["c"], sparse_value=make(held[1], flat, [4]))
    nodes = [constant, node("Add", ["input", "c"], ["a"]), node("Add", ["a", "k"], ["logits"])]
    model = _model(nodes, {}, [3, 4], 17)
    model.graph.sparse_initializer.append(make(held[0], paired, [3, 4]))
    return model


def _tokens() -> onnx.ModelProto:
    """Rows of a table at places that are an input, as far as another one says, in float16."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input"], ["rows"]),
        node("Shape", ["input"], ["length"], start=1),
        node("Slice", ["positions", "zero", "length"], ["own"]),
        node("Add", ["rows", "own"], ["placed"]),
        node("Mul", ["placed", "factor"], ["logits"]),
    ]
    constants = {
        "table": np.ones((8, 4), np.float16), "positions": np.ones((16, 4), np.float16),
        "zero": np.array([0]),
    }  # fmt: skip
    model = _model(nodes, constants, ["n", "length"], 17)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.input.append(helper.make_tensor_value_info("factor", TensorProto.FLOAT16, ["n", "length", 1]))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return model
