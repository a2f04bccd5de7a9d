"""Scan of opset 8, which has a batch: a Loop for each sample."""

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from edgepress.graph.normalise.inlining import rename
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.native import inferred
from edgepress.graph.view import attributes, replace_nodes

FIRST_SCAN_OPSET = 9
"""Before, Scan had a batch."""
_MOST = 64
"""Samples that are written out."""


def write_out_scans(model: onnx.ModelProto) -> None:
    """Write each as Loops, in place.

    Raises:
        UnsupportedModelError: a Scan's sequences have lengths of their own, or its batch is open or large.
    """
    if not any(node.op_type == "Scan" for node in model.graph.node):
        return
    infos, nodes = inferred(model), list[onnx.NodeProto]()
    for node in model.graph.node:
        nodes.extend(_loops(node, infos[node.input[1]]) if node.op_type == "Scan" else [node])
    replace_nodes(model, nodes)


def _loops(node: onnx.NodeProto, first: onnx.ValueInfoProto) -> list[onnx.NodeProto]:
    """For each sample, and what they give joined."""
    if node.input[0]:
        refuse(f"node {_name(node)!r} (Scan) has sequences of different lengths", "give them one length")
    dims = first.type.tensor_type.shape.dim
    samples = dims[0].dim_value if dims else 0
    if not 0 < samples <= _MOST:
        refuse(
            f"node {_name(node)!r} (Scan of opset 8) has a batch that is open or above {_MOST}",
            "export the model in opset 9 or newer",
        )
    made, parts = list[onnx.NodeProto](), list[list[str]]()
    for sample in range(samples):
        nodes, results = _loop(node, sample)
        made += nodes
        parts.append(results)
    for name, *each in zip(node.output, *parts, strict=True):
        if name:
            made.append(helper.make_node("Concat", each, [name], _name(node), axis=0))
    return made


def _loop(node: onnx.NodeProto, sample: int) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes for one sample, and the names of what they give, with a batch of 1."""
    stem, given = f"{_name(node)}.sample{sample}", attributes(node)
    scanned = given["num_scan_inputs"]
    own = [f"{stem}.input{number}" for number in range(len(node.input) - 1)]
    nodes = [_number(f"{stem}.number", sample)]
    nodes += [
        helper.make_node("Gather", [name, f"{stem}.number"], [part], part, axis=0)
        for name, part in zip(node.input[1:], own, strict=True)
    ]
    states, sequences = own[:-scanned], own[-scanned:]
    nodes += [
        helper.make_node("Shape", sequences[:1], [f"{stem}.sizes"], f"{stem}.sizes"),
        _number(f"{stem}.zero", 0),
        helper.make_node(
            "Gather", [f"{stem}.sizes", f"{stem}.zero"], [f"{stem}.count"], f"{stem}.count", axis=0
        ),
    ]
    body = _body(given["body"], stem, states, sequences, given.get("directions", [0] * scanned))
    results = [f"{stem}.output{number}" for number in range(len(node.output))]
    nodes.append(helper.make_node("Loop", [f"{stem}.count", "", *states], results, stem, body=body))
    wide = [f"{result}.wide" for result in results]
    nodes += [
        helper.make_node("Unsqueeze", [result], [name], name, axes=[0])
        for result, name in zip(results, wide, strict=True)
    ]
    return nodes, wide


def _body(
    graph: onnx.GraphProto,
    stem: str,
    states: Sequence[str],
    sequences: Sequence[str],
    directions: Sequence[int],
) -> onnx.GraphProto:
    """The Scan's body, which picks the rows of its sequences itself, with names of its own."""
    body = onnx.GraphProto()
    body.CopyFrom(graph)
    named = [*body.input, *body.initializer]
    names = {each.name: f"{stem}.{each.name}" for each in named}
    names |= {name: f"{stem}.{name}" for node in body.node for name in node.output if name}
    for each in (*named, *body.output):
        each.name = names.get(each.name, each.name)
    for node in body.node:
        rename(node, names)
    count, go = (f"{stem}.round", TensorProto.INT64), (f"{stem}.go", TensorProto.BOOL)
    entries = [helper.make_tensor_value_info(name, kind, []) for name, kind in (count, go)]
    picked = list[onnx.NodeProto]()
    for entry, name, backwards in zip(body.input[len(states) :], sequences, directions, strict=True):
        place = count[0]
        if backwards:
            place = f"{entry.name}.place"
            one, left = f"{entry.name}.one", f"{entry.name}.left"
            picked += [
                _number(one, 1),
                helper.make_node("Sub", [f"{stem}.count", count[0]], [left], left),
                helper.make_node("Sub", [left, one], [place], place),
            ]
        picked.append(helper.make_node("Gather", [name, place], [entry.name], entry.name, axis=0))
    nodes = [*picked, *body.node, helper.make_node("Identity", [go[0]], [f"{go[0]}.on"], f"{go[0]}.on")]
    kept = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    inputs = [*entries, *body.input[: len(states)]]
    outputs = [helper.make_tensor_value_info(f"{go[0]}.on", TensorProto.BOOL, []), *body.output]
    return helper.make_graph(kept, f"{stem}.body", inputs, outputs, list(body.initializer))


def _number(name: str, value: int) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, TensorProto.INT64, [], [value])
    return helper.make_node("Constant", [], [name], name, value=tensor)


def _name(node: onnx.NodeProto) -> str:
    return str(node.name or node.output[0])
