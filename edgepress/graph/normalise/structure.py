"""What must hold of a graph before onnx's native code sees it, and its nodes in an order that can be run."""

from collections import Counter, defaultdict
from typing import Any

import onnx

from edgepress.graph.aside import is_aside
from edgepress.graph.normalise.dense import make_dense
from edgepress.graph.normalise.limits import (
    MAX_ELEMENTS,
    MAX_NAME,
    MAX_NESTING,
    MAX_NODES,
    MAX_RANK,
    listed,
    refuse,
)
from edgepress.graph.normalise.local_functions import inline_functions
from edgepress.graph.normalise.tensors import attribute_tensors, check_tensor
from edgepress.graph.renaming import names_of, rename
from edgepress.graph.strangers import keep_declared
from edgepress.graph.view import (
    all_nodes,
    needed_nodes,
    nested_graphs,
    operands,
    remove_unused_initializers,
    replace_nodes,
)
from edgepress.text import one_line

OLDEST_OPSET = 7


_WITHOUT_OPERATORS = 15
"""The opset of a file that uses none of ONNX's own operators."""


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators.

    Raises:
        UnsupportedModelError: none or several are given, or it is too old or unknown.
    """
    newest = onnx.defs.onnx_opset_version()
    versions = {entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")}
    if len(versions) != 1 or not OLDEST_OPSET <= min(versions) <= newest:
        refuse(f"the model's opset is {sorted(versions)}; expected one from {OLDEST_OPSET} to {newest}")
    return int(versions.pop())


def tidy_structure(model: onnx.ModelProto) -> None:
    """Sort the nodes and drop what no output needs; initializers are no longer listed as inputs.

    Ensures: at least one input, each of them read; every tensor has exactly one origin; all constants are as
    large as they say.

    Raises:
        UnsupportedModelError: the graph is cyclic, incomplete, ambiguous or has parts that are not taken.
    """
    _import_own_domain(model)
    opset(model)
    _import_each_domain_once(model)
    _refuse_large(model)
    make_dense(model)
    _refuse_exotic(model)
    inline_functions(model)
    _make_constant_outputs(model)
    _open_sizes_of_minus_one(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    held = [tensor for tensor in model.graph.initializer if not is_aside(tensor)]
    for tensor in [*held, *attribute_tensors(model)]:
        check_tensor(tensor)
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    _name_each_output_once(model, {entry.name: entry for entry in inputs})
    _refuse_ambiguous(model, [entry.name for entry in inputs])
    order = _sorted(model, constants | {entry.name for entry in inputs})
    replace_nodes(model, needed_nodes(model, order))
    remove_unused_initializers(model)
    _keep(model.graph.input, _read_inputs(model, inputs))
    keep_declared(model)


def _import_own_domain(model: onnx.ModelProto) -> None:
    """Say an opset of ONNX's own operators where a file has none of them, and so says none."""
    own = ("", "ai.onnx")
    if not any(entry.domain in own for entry in (*model.graph.node, *model.opset_import)):
        model.opset_import.add(domain="", version=_WITHOUT_OPERATORS)


def _import_each_domain_once(model: onnx.ModelProto) -> None:
    """Drop imports that skl2onnx repeats: onnx's version converter changes the first alone."""
    seen = set[str]()
    for entry in list(model.opset_import):
        name = "" if entry.domain == "ai.onnx" else entry.domain
        if name in seen:
            model.opset_import.remove(entry)
        seen.add(name)


def _make_constant_outputs(model: onnx.ModelProto) -> None:
    """Let a node give each output that is a constant, in place: what reads it reads the constant itself."""
    constants = {tensor.name for tensor in model.graph.initializer}
    ends = [output for output in model.graph.output if output.name in constants]
    taken = names_of(model.graph) if ends else set()
    names = dict[str, str]()
    for name in dict.fromkeys(end.name for end in ends):
        names[name] = f"{name}.constant"
        while names[name] in taken:
            names[name] += "_"
        taken.add(names[name])
    if names:
        rename(model.graph, names)
    back = {new: old for old, new in names.items()}
    for end in ends:
        end.name = back[end.name]
    nodes = (onnx.helper.make_node("Identity", [new], [old], old) for old, new in names.items())
    model.graph.node.extend(nodes)


def _open_sizes_of_minus_one(model: onnx.ModelProto) -> None:
    """Give sizes of −1, as Paddle2ONNX wrote those that are open, names."""
    for info in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.dim_value == -1:
                dim.dim_param = f"{info.name}.size{axis}"


def check_shape(info: onnx.ValueInfoProto) -> list[int | str]:
    """The declared sizes of a tensor: numbers, or the names of those that are not fixed.

    Raises:
        UnsupportedModelError: it is no tensor, or a size is negative or too large.
    """
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        refuse(f"{info.name!r} is declared as {kind or 'nothing'}; expected a tensor")
    if not info.type.tensor_type.HasField("shape"):
        refuse(
            f"{info.name!r} is declared without a shape, so that nothing is known of its axes",
            f"export it with one, or convert it with --input-shape {one_line(info.name, 80)}=SIZE,SIZE,…",
        )
    dims = info.type.tensor_type.shape.dim
    sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims]
    product = 1
    for size in sizes:
        product *= size if isinstance(size, int) and size > 0 else 1
        if len(sizes) > MAX_RANK or product > MAX_ELEMENTS or (isinstance(size, int) and size < 0):
            refuse(f"{info.name!r} declares the shape {sizes}; expected up to {MAX_ELEMENTS} elements")
    return sizes


def _refuse_large(model: onnx.ModelProto) -> None:
    nodes = list(all_nodes(model.graph))
    if len(nodes) > MAX_NODES or len(model.graph.initializer) > MAX_NODES:
        refuse(f"the model has {len(nodes)} nodes; expected at most {MAX_NODES}", "use a smaller model")
    if (depth := _depth(model.graph)) > MAX_NESTING:
        refuse(f"its branches and loops are nested {depth} deep; expected at most {MAX_NESTING}")


def _refuse_exotic(model: onnx.ModelProto) -> None:
    kinds = onnx.AttributeProto
    exotic = (kinds.SPARSE_TENSOR, kinds.SPARSE_TENSORS, kinds.TYPE_PROTO, kinds.TYPE_PROTOS)
    for node in all_nodes(model.graph):
        if any(attribute.type in exotic for attribute in node.attribute):
            refuse(f"node {node.name!r} ({node.op_type}) holds a sparse tensor or a type", "store it dense")
        if any(len(name) > MAX_NAME for name in (node.name, *node.input, *node.output)):
            refuse(f"a node of type {node.op_type} has a name of more than {MAX_NAME} characters")


def _depth(graph: onnx.GraphProto) -> int:
    """How many graphs lie within each other, this one not counted; protobuf itself reads few."""
    within = [inner for node in graph.node for inner in nested_graphs(node)]
    return max((1 + _depth(inner) for inner in within), default=0)


def _name_each_output_once(model: onnx.ModelProto, inputs: dict[str, onnx.ValueInfoProto]) -> None:
    """Drop outputs that are there already, in place: PyTorch writes a tensor that is returned twice so.

    One that is an input has its type and shape.
    """
    outputs = {output.name: inputs.get(output.name, output) for output in model.graph.output}
    kept = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in outputs.values()]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _refuse_ambiguous(model: onnx.ModelProto, inputs: list[str]) -> None:
    made = [name for node in model.graph.node for name in node.output if name]
    counts = Counter([*made, *inputs, *(tensor.name for tensor in model.graph.initializer)])
    if twice := [name for name, count in counts.items() if count > 1]:
        refuse(f"tensors with more than one origin: {listed(twice)}")
    outputs = [output.name for output in model.graph.output]
    if not outputs or not all(outputs):
        refuse(f"the model's outputs are {listed(outputs) or 'none'}; expected names")
    if missing := [name for name in outputs if name not in counts]:
        refuse(f"nothing makes the output {listed(missing)}")


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put each node behind those that it, or a graph within it, reads from, in place."""
    given = {tensor.name for tensor in model.graph.initializer} | {entry.name for entry in model.graph.input}
    replace_nodes(model, _sorted(model, given))


def _sorted(model: onnx.ModelProto, known: set[str]) -> list[onnx.NodeProto]:
    """The nodes, each after those that it reads from (Kahn's algorithm, stable)."""
    nodes = list(model.graph.node)
    made = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    read = [operands(node) for node in nodes]
    unknown = {name for reads in read for name in reads if name not in made and name not in known}
    if unknown:
        refuse(f"no initializer, input or node gives: {listed(sorted(unknown))}")
    sources = [{made[name] for name in reads if name in made} for reads in read]
    readers = defaultdict(list)
    for i, needed in enumerate(sources):
        for source in needed:
            readers[source].append(i)
    order = [i for i, needed in enumerate(sources) if not needed]
    waiting = [len(needed) for needed in sources]
    for source in order:
        for reader in readers[source]:
            waiting[reader] -= 1
            if not waiting[reader]:
                order.append(reader)
    if len(order) < len(nodes):
        stuck = sorted(set(range(len(nodes))) - set(order))
        refuse(f"the graph has a cycle through node {listed(_title(nodes[i]) for i in stuck)}")
    return [nodes[i] for i in order]


def _title(node: onnx.NodeProto) -> str:
    return str(node.name or (node.output[0] if node.output else node.op_type))


def _read_inputs(model: onnx.ModelProto, inputs: list[onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    """Those that a node reads, or that an output is."""
    read = {name for node in model.graph.node for name in operands(node)}
    read |= {output.name for output in model.graph.output}
    used = [entry for entry in inputs if entry.name in read]
    if not used:
        names = listed(entry.name for entry in inputs) or "none"
        refuse(f"nothing is computed of the model's inputs ({names}); expected one that is read")
    return used


def _keep(field: Any, entries: list[onnx.ValueInfoProto]) -> None:
    kept = [onnx.ValueInfoProto.FromString(entry.SerializeToString()) for entry in entries]
    del field[:]
    field.extend(kept)
