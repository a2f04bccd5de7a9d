"""Graphs within nodes as models of their own, and the shapes of what loops make.

onnx infers the shapes within a branch or a body, but not of what a Loop makes: a body may change sizes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.rounds import rounds_of
from edgepress.graph.view import all_nodes, attributes, nested_graphs, outer_names
from edgepress.text import one_line

Shape = tuple[int | None, ...]

_PASSES = 8
"""So many loops one behind the other, or what they make through others, are looked at."""

_ATTEMPTS = 3


@dataclass(frozen=True)
class Given:
    """The ONNX type and the shape of an input of a graph within a node."""

    elem_type: int
    shape: Shape

    def info(self, name: str) -> onnx.ValueInfoProto:
        """The same as onnx has it."""
        sizes = ["batch" if size is None else size for size in self.shape]
        return onnx.helper.make_tensor_value_info(name, self.elem_type, sizes)


def as_model(
    graph: onnx.GraphProto,
    opsets: Sequence[onnx.OperatorSetIdProto],
    given: Mapping[str, Given],
    held: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A graph within a node as a model of its own, with these inputs, and constants from around it.

    Each output is made by a node: one that is an input, a constant or another output by an Identity.
    """
    model = onnx.ModelProto(ir_version=8, opset_import=opsets)
    model.graph.name = "inner"
    model.graph.node.extend(graph.node)
    model.graph.initializer.extend(graph.initializer)
    model.graph.initializer.extend(held)
    constant = {tensor.name for tensor in held}
    model.graph.input.extend(each.info(name) for name, each in given.items() if name not in constant)
    made, taken = {name for node in graph.node for name in node.output}, set[str]()
    for place, output in enumerate(graph.output):
        name = output.name
        if name not in made or name in taken:
            name = f"{output.name}.given{place}"
            model.graph.node.append(onnx.helper.make_node("Identity", [output.name], [name]))
        taken.add(name)
        end = model.graph.output.add(name=name)
        end.type.tensor_type.elem_type = output.type.tensor_type.elem_type
    return model


def tell_loop_shapes(model: onnx.ModelProto) -> None:
    """Declare the shapes of what Loops make, in place, as far as they can be found out.

    Likewise of what branches make that have loops in them, or give constants as they are.
    """
    waiting = [n for n in model.graph.node if _is_loop(n) or _is_hard_to_infer(n)]
    for _ in range(_PASSES if waiting else 0):
        infos = known_shapes(model)
        found = {name: info for node in waiting for name, info in _made_by(model, node, infos).items()}
        for output in model.graph.output:
            if output.name in found:
                output.CopyFrom(found[output.name])
        outputs = {output.name for output in model.graph.output}
        model.graph.value_info.extend(info for name, info in found.items() if name not in outputs)
        left = [node for node in waiting if not set(node.output) & set(found)]
        if len(left) == len(waiting):
            return
        waiting = left


def _is_loop(node: onnx.NodeProto) -> bool:
    """A Loop, or a Scan as of opset 9."""
    own = node.domain in ("", "ai.onnx")
    held = {attribute.name for attribute in node.attribute}
    return own and (node.op_type == "Loop" or (node.op_type == "Scan" and "directions" not in held))


def _is_hard_to_infer(node: onnx.NodeProto) -> bool:
    if node.op_type != "If" or node.domain not in ("", "ai.onnx"):
        return False
    for graph in nested_graphs(node):
        made = {name for each in graph.node for name in each.output}
        if any(map(_is_loop, all_nodes(graph))) or not made.issuperset(end.name for end in graph.output):
            return True
    return False


def known_shapes(model: onnx.ModelProto) -> dict[str, Given]:
    """The types and shapes of all tensors that are known, constants too.

    Raises:
        UnsupportedModelError: onnx cannot infer them, since they contradict each other.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError) as error:
        raise UnsupportedModelError(f"its shapes do not fit: {one_line(error, 250)}") from error
    found = {tensor.name: Given(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        tensor = info.type.tensor_type
        if tensor.elem_type and tensor.HasField("shape"):
            sizes = (dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
            found.setdefault(info.name, Given(tensor.elem_type, tuple(sizes)))
    return found


def _made_by(
    model: onnx.ModelProto, node: onnx.NodeProto, infos: Mapping[str, Given]
) -> dict[str, onnx.ValueInfoProto]:
    if node.op_type == "If":
        return _made_by_branches(model, node, infos)
    if node.op_type == "Scan":
        return _made_by_scan(model, node, infos)
    body = attributes(node)["body"]
    constant = {tensor.name: tensor for tensor in model.graph.initializer}
    carried = [entry.name for entry in body.input][2:]
    if len(node.input) != 2 + len(carried) or len(body.output) <= len(carried):
        return {}  # for onnx's checker to refuse
    if any(name not in infos for name in (*node.input[2:], *outer_names(body))):
        return {}
    shapes = {name: infos[source] for name, source in zip(carried, node.input[2:], strict=False)}
    for _ in range(_ATTEMPTS):
        own = {
            entry.name: Given(kind, tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim))
            for entry, kind in zip(
                body.input[:2], (onnx.TensorProto.INT64, onnx.TensorProto.BOOL), strict=False
            )
        }
        inner = _within(model, body, infos, {**own, **shapes})
        made = known_shapes(inner)
        ends = [made.get(output.name) for output in inner.graph.output]
        if None in ends[: len(carried) + 1]:
            return {}
        kept = zip(carried, ends[1:], strict=False)
        steady = {name: _kept(shapes[name], end) for name, end in kept if end is not None}
        if steady == shapes:
            break
        shapes = steady
    rounds = rounds_of(node, constant, model.opset_import)
    results: list[Given | None] = [shapes[name] for name in carried]
    results += [end and Given(end.elem_type, (rounds, *end.shape)) for end in ends[1 + len(carried) :]]
    return {
        name: _open_info(name, result)
        for name, result in zip(node.output, results, strict=False)
        if name and result is not None
    }


def _made_by_branches(
    model: onnx.ModelProto, node: onnx.NodeProto, infos: Mapping[str, Given]
) -> dict[str, onnx.ValueInfoProto]:
    """The sizes in which both branches agree; others are open."""
    ends = []
    for graph in nested_graphs(node):
        made = known_shapes(branch := _within(model, graph, infos, {}))
        ends.append([made.get(output.name) for output in branch.graph.output])
    found = {}
    for name, *each in zip(node.output, *ends, strict=False):
        known = [one for one in each if one is not None]
        if name and len(known) == 2 and len(known[0].shape) == len(known[1].shape):
            found[name] = _open_info(name, _kept(*known))
    return found


def _made_by_scan(
    model: onnx.ModelProto, node: onnx.NodeProto, infos: Mapping[str, Given]
) -> dict[str, onnx.ValueInfoProto]:
    """States keep their shapes; what is collected has an axis more, of the length of what is scanned."""
    options, body = attributes(node), attributes(node)["body"]
    states = len(node.input) - options.get("num_scan_inputs", 0)
    if states >= len(node.input) or any(name not in infos for name in (*node.input, *outer_names(body))):
        return {}
    operands = [scanned(node, place, infos[name]) for place, name in enumerate(node.input)]
    own = dict(zip((entry.name for entry in body.input), operands, strict=False))
    made = known_shapes(inner := _within(model, body, infos, own))
    whole, axis = infos[node.input[states]].shape, (options.get("scan_input_axes") or [0])[0]
    length = whole[axis] if -len(whole) <= axis < len(whole) else None
    behind, found = options.get("scan_output_axes", []), dict[str, onnx.ValueInfoProto]()
    for place, (name, end) in enumerate(zip(node.output, inner.graph.output, strict=False)):
        shape = list(made[end.name].shape) if end.name in made else None
        if shape is None or not name:
            continue
        if place >= states:
            axis = behind[place - states] if place - states < len(behind) else 0
            shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, length)
        found[name] = _open_info(name, Given(made[end.name].elem_type, tuple(shape)))
    return found


def scanned(node: onnx.NodeProto, place: int, whole: Given) -> Given:
    """What the body of a Scan takes of this operand: a state, or an element of an axis."""
    options = attributes(node)
    first = len(node.input) - options.get("num_scan_inputs", 0)
    if place < first:
        return whole
    axes, kept = options.get("scan_input_axes", []), list(whole.shape)
    axis = axes[place - first] if place - first < len(axes) else 0
    if -len(kept) <= axis < len(kept):
        del kept[axis]
    return Given(whole.elem_type, tuple(kept))


def _within(
    model: onnx.ModelProto, graph: onnx.GraphProto, infos: Mapping[str, Given], own: Mapping[str, Given]
) -> onnx.ModelProto:
    """A graph within a node as a model, for these inputs of its own; shapes within it are told."""
    names = outer_names(graph)
    read = {name: infos[name] for name in names if name in infos}
    inner = as_model(graph, model.opset_import, {**own, **read}, constants_of(model, names))
    tell_loop_shapes(inner)
    return inner


def constants_of(model: onnx.ModelProto, names: Collection[str]) -> list[onnx.TensorProto]:
    """The model's constants of these names."""
    return [tensor for tensor in model.graph.initializer if tensor.name in names]


def _kept(one: Given, other: Given) -> Given:
    """The sizes that a round keeps; others are open."""
    if len(one.shape) != len(other.shape):
        return one
    same = zip(one.shape, other.shape, strict=True)
    return Given(one.elem_type, tuple(size if size == made else None for size, made in same))


def _open_info(name: str, given: Given) -> onnx.ValueInfoProto:
    """With sizes that are not known, since each may be another."""
    return onnx.helper.make_tensor_value_info(name, given.elem_type, list(given.shape))
