"""Passes that turn what torch's exporter writes into a graph one would draw by hand.

Each works in place on an onnx-ir model whose tensors have the shapes that torch.export recorded, and leaves
what it computes as it is. None fuses anything: BatchNormalization stays, because compression is fine-tuned
with it.
"""

import ast
from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants_ir

SCOPES = "pkg.torch.onnx.name_scopes"  # where the exporter notes the modules that a node came from


def tidy(model: ir.Model, parameters: Collection[str]) -> None:
    """Apply all passes; initializers named in `parameters` keep their names.

    Ensures that no Constant node, unused node, doc string or metadata is left, and that names are unique.
    """
    common.ShapeInferencePass()(model)
    fold_constants_ir(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    pool_globally(model)
    fix_reshapes(model)
    drop_added_biases(model, parameters)
    common.RemoveUnusedNodesPass()(model)
    name_by_module(model, parameters)
    forget_origin(model)
    common.NameFixPass()(model)


def pool_globally(model: ir.Model) -> None:
    """Replace each mean over H and W of an NCHW tensor by GlobalAveragePool, which runtimes know better."""
    for node in list(model.graph):
        if node.op_type != "ReduceMean" or not _reduces_image(node):
            continue
        new = [ir.node("GlobalAveragePool", [node.inputs[0]])]
        if not node.attributes.get_int("keepdims", 1):
            new.append(ir.node("Flatten", [new[0].outputs[0]], {"axis": 1}))
        _replace(node, new)


def fix_reshapes(model: ir.Model) -> None:
    """Give each Reshape whose only unknown size is the batch's a constant shape, or make it a Flatten.

    Torch computes such shapes at run time from the batch size, which takes four more nodes.
    """
    for node in list(model.graph):
        if node.op_type != "Reshape" or (sizes := _sizes_with_one_unknown(node.outputs[0])) is None:
            continue
        if _keeps_batch(node) and len(sizes) == 2:
            _replace(node, [ir.node("Flatten", [node.inputs[0]], {"axis": 1})])
        elif node.inputs[1] is not None and node.inputs[1].const_value is None:
            node.replace_input_with(1, _add_constant(model.graph, f"{node.name}_shape", sizes))


def drop_added_biases(model: ir.Model, parameters: Collection[str]) -> None:
    """Remove the zero biases that the exporter gives to convolutions that have none."""
    for node in model.graph:
        if node.op_type != "Conv" or len(node.inputs) < 3 or (bias := node.inputs[2]) is None:
            continue
        if (
            bias.name not in parameters
            and bias.const_value is not None
            and not bias.const_value.numpy().any()
        ):
            node.resize_inputs(2)


def name_by_module(model: ir.Model, parameters: Collection[str]) -> None:
    """Name nodes and tensors after the torch module that made them, e.g. `net.stem.conv.Conv`."""
    ends = {id(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    for node in model.graph:
        node.name = ".".join(filter(None, (_module(node), node.op_type)))
        for i, value in enumerate(node.outputs):
            if id(value) not in ends:
                value.name = f"{node.name}_{i}" if i else node.name
    for value in list(model.graph.initializers.values()):
        if value.name not in parameters and (users := value.consumers()):
            value.name = _free(model.graph, f"{users[0].name}.constant")


def forget_origin(model: ir.Model) -> None:
    """Remove notes and doc strings: the exporter writes its stack traces there."""
    common.ClearMetadataAndDocStringPass()(model)  # of nodes and graphs, not of tensors
    graph = model.graph
    made = (value for node in ir.traversal.RecursiveGraphIterator(graph) for value in node.outputs)
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values(), *made):
        value.metadata_props.clear()
        value.doc_string = None


def _reduces_image(node: ir.Node) -> bool:
    """Whether a ReduceMean of opset 18 runs over exactly the last two axes of four."""
    x, axes = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    if x is None or x.shape is None or x.shape.rank() != 4 or axes is None or axes.const_value is None:
        return False
    return sorted(int(axis) % 4 for axis in axes.const_value.numpy()) == [2, 3]


def _sizes_with_one_unknown(value: ir.Value) -> list[int] | None:
    """A tensor's sizes with its only unknown one as −1; None unless exactly one is unknown and none is 0."""
    if value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in value.shape]
    return sizes if sizes.count(-1) == 1 and 0 not in sizes else None


def _add_constant(graph: ir.Graph, name: str, integers: list[int]) -> ir.Value:
    tensor = ir.tensor(np.array(integers, np.int64))
    value = ir.Value(
        name=name, const_value=tensor, shape=ir.Shape([len(integers)]), type=ir.TensorType(ir.DataType.INT64)
    )
    graph.register_initializer(value)
    return value


def _keeps_batch(node: ir.Node) -> bool:
    x, output = node.inputs[0], node.outputs[0]
    if x is None or not x.shape or not output.shape or isinstance(output.shape[0], int):
        return False
    return x.shape[0] == output.shape[0]


def _replace(node: ir.Node, new: list[ir.Node]) -> None:
    """Put `new`, a chain with one output, in a node's place, with its tensor, name and origin."""
    for fresh in new:
        fresh.metadata_props.update(node.metadata_props)
    graph = node.graph
    assert graph is not None
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, node.outputs, new[-1].outputs)


def _module(node: ir.Node) -> str:
    """The dotted path of the innermost torch module that a node came from; empty where it is not known."""
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    path = scopes[-2] if len(scopes) > 1 else ""
    return "" if path.startswith("_empty_nn_module_stack") else path


def _free(graph: ir.Graph, name: str) -> str:
    taken, count, free = graph.initializers, 0, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
