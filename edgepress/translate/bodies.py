"""Operators without a planner of their own, written out in others: by the standard's bodies, or by ours.

The standard gives many operators as functions of others (`onnx.defs`, `has_function`). Ours, in
`translate/written`, are for those that it defines by words alone.
"""

from collections.abc import Collection, Mapping

import onnx
from onnx import defs, inliner

from edgepress.graph.constants import fold_constants
from edgepress.graph.shapes import inferred_infos, without_weights
from edgepress.graph.view import replace_nodes
from edgepress.translate.written.body import Body
from edgepress.translate.written.table import BODIES, SPECIAL

_ROUNDS = 6
"""Bodies may hold operators that have bodies themselves."""
_RANDOM = ("Bernoulli",)
"""Whose body has random numbers, of which TFLite has other ones."""
_FORMS = ("DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_DOMAINS = ("", "ai.onnx", "ai.onnx.preview")


def write_out(model: onnx.ModelProto, planned: Collection[str], stay: Collection[str] = ()) -> None:
    """Write out, in place, each operator that is not among `planned` and has a body.

    Its sizes have to be fixed, but for the batch; `stay` is as `fold_constants` has it.
    """
    for _ in range(_ROUNDS):
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:  # of kernels in codes, also where they are put into another form
            if node.op_type in _FORMS and node.input[0] in constants:
                constants[node.output[0]] = constants[node.input[0]]
        strange = [n for n in model.graph.node if _name(n) not in planned or _is_special(n, constants)]
        if own := [node for node in strange if _name(node) in BODIES]:
            _by_own(model, {node.output[0] for node in own})
        elif found := {node.output[0] for node in strange if _schema(model, node)[0] is not None}:
            _by_standard(model, found)
        else:
            return
        fold_constants(model, stay)


def _name(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _is_special(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    special = SPECIAL.get(_name(node))
    return special is not None and special(node, constants)


def _by_own(model: onnx.ModelProto, made: Collection[str]) -> None:
    infos, nodes = inferred_infos(model), list[onnx.NodeProto]()
    for node in model.graph.node:
        if node.output[0] in made and _name(node) in BODIES:
            body = Body(node, model, infos)
            BODIES[_name(node)](body)
            nodes.extend(body.nodes)
        else:
            nodes.append(node)
    replace_nodes(model, nodes)


def _schema(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[defs.OpSchema | None, int]:
    """The node's definition if the standard gives a body for it, and the model's opset."""
    version = next((e.version for e in model.opset_import if e.domain == node.domain), 1)
    if node.domain not in _DOMAINS or node.op_type in _RANDOM:
        return None, version
    try:
        schema = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return None, version
    return (schema if schema.has_function or schema.has_context_dependent_function else None), version


def _by_standard(model: onnx.ModelProto, made: Collection[str]) -> None:
    """Each body becomes a function of the model's own, and these are written out.

    onnx's own way, `inline_schema_functions`, stops at bodies that hold others: it knows no types there.
    """
    light, _ = without_weights(model)
    infos = inferred_infos(model)
    del light.functions[:]
    for number, node in enumerate(node for node in light.graph.node if node.output[0] in made):
        schema, version = _schema(light, node)
        assert schema is not None
        body = _body(schema, version, node, infos, light)
        body.domain, body.name = _CALLED, f"{node.op_type}.{number}"
        del body.opset_import[:]
        body.opset_import.extend(light.opset_import)
        given = {attribute.name for attribute in node.attribute}
        defaults = [a.default_value for name, a in schema.attributes.items() if name not in given]
        node.attribute.extend(each for each in defaults if each.name)
        del body.attribute_proto[:]
        body.attribute[:] = list(schema.attributes)
        node.domain, node.op_type = body.domain, body.name
        light.functions.append(body)
    light.opset_import.append(onnx.helper.make_opsetid(_CALLED, 1))
    inlined = inliner.inline_local_functions(light)
    nodes = list(inlined.graph.node)
    kept = {name for node in model.graph.node if node.output[0] not in made for name in node.output}
    for node in nodes:
        if not kept.intersection(node.output):
            _compute_in_single(node)
    _name_after(nodes, {name: node.name for node in model.graph.node for name in node.output})
    replace_nodes(model, nodes)


def _compute_in_single(node: onnx.NodeProto) -> None:
    """A body that asks for more or fewer digits computes in float32, as all of the network does."""
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i in _OTHER_FLOATS:
            attribute.i = onnx.TensorProto.FLOAT
        if attribute.HasField("t") and attribute.t.data_type in _OTHER_FLOATS:
            values = onnx.numpy_helper.to_array(attribute.t).astype("float32")
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(values))


_OTHER_FLOATS = (onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_CALLED = "edgepress.body"


def _body(
    schema: defs.OpSchema,
    version: int,
    node: onnx.NodeProto,
    infos: Mapping[str, onnx.ValueInfoProto],
    model: onnx.ModelProto,
) -> onnx.FunctionProto:
    """The standard's body, of the latest opset up to the model's."""
    plain = schema.has_function
    known = schema.function_opset_versions if plain else schema.context_dependent_function_opset_versions
    chosen = max([each for each in known if each <= version], default=min(known))
    if plain:
        return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(chosen))
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    types = [_type(name, infos, held).SerializeToString() for name in node.input]
    content = schema.get_context_dependent_function_with_opset_version(
        chosen, node.SerializeToString(), types
    )
    return onnx.FunctionProto.FromString(content)


def _type(
    name: str, infos: Mapping[str, onnx.ValueInfoProto], held: Mapping[str, onnx.TensorProto]
) -> onnx.TypeProto:
    if name in infos:
        return infos[name].type
    if name in held:
        return onnx.helper.make_tensor_type_proto(held[name].data_type, held[name].dims)
    return onnx.TypeProto()


def _name_after(nodes: list[onnx.NodeProto], origins: dict[str, str]) -> None:
    """Call each node of a body as the node whose work it does: the next one behind it that is not new."""
    readers: dict[str, str] = {}
    for node in reversed(nodes):
        known = next((origins[name] for name in node.output if name in origins), None)
        owner = known or next((readers[name] for name in node.output if name in readers), node.name)
        node.name = owner
        if known is None or node.op_type:
            readers.update({name: owner for name in node.input if name and name not in origins})
