"""Outputs that are inputs or constants, which no number format has anything to say of."""

import onnx

from edgepress.graph.view import copy, initializers, operands, producers, replace_nodes, set_initializer

_AS_IT_IS = ("Constant", "Identity")


def without_given(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without such outputs; itself if there are none, or no others."""
    given = _given(model)
    if not given or len(given) == len(model.graph.output):
        return model
    changed = copy(model)
    kept = [output for output in model.graph.output if output.name not in given]
    del changed.graph.output[:]
    changed.graph.output.extend(kept)
    read = {name for node in changed.graph.node for name in operands(node)}
    nodes = [n for n in changed.graph.node if n.output[0] not in given or n.output[0] in read]
    replace_nodes(changed, nodes)
    return changed


def with_given(quantised: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """What was made of the model `without_given`, with these outputs in their places, in place."""
    given, held = _given(model), initializers(model)
    present = {output.name for output in quantised.graph.output}
    made = producers(quantised)
    for name, node in given.items():
        if node is None or name in present or name in made:
            continue
        added = quantised.graph.node.add()
        added.CopyFrom(node)
        if node.op_type == "Identity" and node.input[0] in held:
            added.input[0] = f"{name}.given"
            set_initializer(quantised, f"{name}.given", held[node.input[0]])
    outputs = {output.name: output for output in (*model.graph.output, *quantised.graph.output)}
    ordered = [onnx.ValueInfoProto.FromString(each.SerializeToString()) for each in outputs.values()]
    del quantised.graph.output[:]
    quantised.graph.output.extend(ordered)
    return quantised


def _given(model: onnx.ModelProto) -> dict[str, onnx.NodeProto | None]:
    """Such outputs, and the node that gives each one, if any."""
    made, held = producers(model), {entry.name for entry in (*model.graph.input, *model.graph.initializer)}
    found = dict[str, onnx.NodeProto | None]()
    for output in model.graph.output:
        node = made.get(output.name)
        if node is None or (node.op_type in _AS_IT_IS and all(name in held for name in node.input)):
            found[output.name] = node
    return found
