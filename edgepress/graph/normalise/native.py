"""onnx's native passes (checker, shape inference, version converter), on a model without its large weights.

The weights are set aside as inputs of the same type and shape, so that the passes copy kilobytes instead of
the whole network, and a file cannot make them allocate what it only declares.
"""

import math
from collections.abc import Collection, Mapping

import onnx
from onnx import TensorProto, helper, shape_inference, version_converter

from edgepress.errors import UnsupportedModelError
from edgepress.graph.lowering import drop_new_defaults, restamped
from edgepress.graph.nested import tell_loop_shapes
from edgepress.graph.normalise.limits import MAX_ELEMENTS, refuse
from edgepress.graph.normalise.structure import opset
from edgepress.graph.shapes import set_sizes, without_weights
from edgepress.graph.strangers import (
    are_strangers_allowed,
    keep_declared,
    or_allow_custom,
    set_strangers_apart,
)
from edgepress.graph.view import copy, keep_initializers
from edgepress.text import one_line

TARGET_OPSET = 15
"""What the passes and both converters here understand."""

FIRST_OF_CHANNELS = 21
"""From this opset on GroupNormalization has a scale for each channel; before, for each group."""

_LISTED = 50
_NATIVE_ERRORS = (
    onnx.checker.ValidationError,
    shape_inference.InferenceError,
    version_converter.ConvertError,
    RuntimeError,
    ValueError,
    TypeError,
)


def check(model: onnx.ModelProto, strangers: bool = False) -> None:
    """Every node must fit its operator's definition.

    With `strangers` operators of domains that onnx does not know may be among them.

    Raises:
        UnsupportedModelError: onnx's checker or shape inference finds otherwise; operators that it does not
            know are named at once.
    """
    if are_strangers_allowed():
        set_strangers_apart(model)
    else:
        _refuse_unknown(model, _KNOWN_DOMAINS if strangers else None)
    for output in model.graph.output:
        if not strangers and (kind := output.type.WhichOneof("value")) not in (None, "tensor_type"):
            named = one_line(output.name, 80)
            refuse(
                f"the output {named!r} is no tensor but a {kind.removesuffix('_type')}",
                "end the network before it: --outputs NAME …",
            )
    light, _ = without_weights(model)
    _stand_in_for_deprecated(light)
    _declare_shapes(light)
    try:
        onnx.checker.check_model(light)
    except _NATIVE_ERRORS as error:
        refuse(f"not a valid model: {_first(error)}")


def _stand_in_for_deprecated(light: onnx.ModelProto) -> None:
    """GroupNormalization of opset 18, which files have and ONNX Runtime runs, though it was withdrawn."""
    for node in light.graph.node:
        if node.op_type == "GroupNormalization" and opset(light) < FIRST_OF_CHANNELS:
            groups = [a.i for a in node.attribute if a.name == "num_groups"]
            if len(node.input) != 3 or len(node.output) != 1 or groups[:1] < [1]:
                refuse(
                    f"node {node.name or node.output[0]!r} (GroupNormalization) lacks operands or num_groups"
                )
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))


_KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")


def _refuse_unknown(model: onnx.ModelProto, domains: Collection[str] | None) -> None:
    """Of these domains, or of all."""
    versions = {_domain(entry.domain): entry.version for entry in model.opset_import}
    strangers = [
        f"{(node.name or node.output[0])[:80]!r} ({_operator(node)[:80]})"
        for node in model.graph.node
        if (domains is None or node.domain in domains)
        and not _is_known(node, versions.get(_domain(node.domain), 0))
    ]
    if strangers:
        more = f" and {len(strangers) - _LISTED} more" if len(strangers) > _LISTED else ""
        named = one_line(", ".join(strangers[:_LISTED]), _LISTED * 200)
        fused = all("(com.microsoft." in each for each in strangers)
        remedy = _UNFUSED if fused else "export the model without them"
        raise UnsupportedModelError(
            f"opset {opset(model)} has no operator for node {named}{more}; {remedy}{or_allow_custom()}"
        )


_UNFUSED = (
    "ONNX Runtime has them alone: take the file that it was made of, or optimise that at ORT_ENABLE_BASIC"
)


def _operator(node: onnx.NodeProto) -> str:
    return ".".join(str(part) for part in (node.domain, node.op_type) if part)  # bytes, if not UTF-8


def _is_known(node: onnx.NodeProto, version: int) -> bool:
    try:
        onnx.defs.get_schema(node.op_type, max_inclusive_version=version, domain=_domain(node.domain))
    except (onnx.defs.SchemaError, TypeError):  # of no such operator, or a number beyond 32 bits
        return False
    return True


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def inferred(
    model: onnx.ModelProto, strict: bool = False, sizes: Mapping[str, int] | None = None
) -> dict[str, onnx.ValueInfoProto]:
    """Type and shape of each tensor, as far as onnx can tell; constants are left out.

    With `sizes` they are those for these open sizes of the inputs, whatever the outputs declare.

    Raises:
        UnsupportedModelError: the shapes contradict each other (if `strict`) or are too large.
    """
    light, heavy = without_weights(model)
    if sizes is not None:
        keep_declared(light)
        set_sizes(light, sizes)
    try:
        tell_loop_shapes(light)
        graph = shape_inference.infer_shapes(
            light, check_type=strict, strict_mode=strict, data_prop=True
        ).graph
    except _NATIVE_ERRORS as error:
        refuse(f"its shapes do not fit: {_first(error)}")
    aside = {tensor.name for tensor in heavy}
    told = (*graph.value_info, *graph.output, *graph.input)
    infos = {info.name: info for info in told if info.name not in aside}
    types = set(TensorProto.DataType.values())
    for info in infos.values():
        known = [dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if min(known, default=0) < 0 or math.prod(max(size, 1) for size in known) > MAX_ELEMENTS:
            refuse(f"tensor {info.name!r} would have the shape {known}", "use smaller images")
        if info.type.tensor_type.elem_type not in types:
            refuse(f"tensor {info.name!r} has the unknown type {info.type.tensor_type.elem_type}")
    return infos


def to_target_opset(model: onnx.ModelProto) -> None:
    """Raise older models to opset 15; lower newer ones where their operators allow, else they keep theirs.

    Raises:
        UnsupportedModelError: an older model cannot be raised.
    """
    version = opset(model)
    if version != TARGET_OPSET:
        light, heavy = without_weights(model)
        drop_new_defaults(light)
        _forget(light)  # what files declare is not always so
        _declare_inferred(light)
        changed, why = _written_as_target(light)
        if changed is not None:
            _adopt(model, changed, {tensor.name for tensor in heavy})
        elif version < TARGET_OPSET:
            refuse(f"opset {version} cannot be written as {TARGET_OPSET}: {_culprit(light)}{why}")
    model.ir_version = max(8, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True))


def raise_opset(model: onnx.ModelProto, version: int) -> None:
    """Write a valid model in a newer opset, in place.

    Raises:
        UnsupportedModelError: onnx cannot.
    """
    if opset(model) >= version:
        return
    light, heavy = without_weights(model)
    _forget(light)
    _declare_inferred(light)
    try:
        changed = version_converter.convert_version(light, version)
    except _NATIVE_ERRORS as error:
        refuse(
            f"opset {opset(model)} cannot be written as {version}: {_first(error)}", "choose another quant"
        )
    _adopt(model, changed, {tensor.name for tensor in heavy})
    model.ir_version = max(model.ir_version, helper.find_min_ir_version_for(model.opset_import, True))


def _written_as_target(light: onnx.ModelProto) -> tuple[onnx.ModelProto | None, str]:
    """The model in the target opset, or None and why not."""
    ways = [version_converter.convert_version, restamped][: 2 if opset(light) > TARGET_OPSET else 1]
    why = ""
    if opset(light) > TARGET_OPSET and any(node.op_type in _OTHERWISE_BEFORE for node in light.graph.node):
        return None, "it holds an operator that means something else there"
    for way in ways:
        try:
            changed: onnx.ModelProto = way(light, TARGET_OPSET)
            _declare_shapes(changed)
            onnx.checker.check_model(changed)
            if opset(light) > TARGET_OPSET:
                _refuse_new_types(light, changed)
        except _NATIVE_ERRORS as error:
            why = why or _first(error)
        else:
            return changed, ""
    return None, why


_OTHERWISE_BEFORE = ("RoiAlign",)
"""What computes something else in older opsets, which onnx's version converter overlooks."""


def _forget(model: onnx.ModelProto) -> None:
    """Drop what is declared of the shapes of outputs, in place, but for those that are inputs."""
    entries = {entry.name for entry in model.graph.input}
    for output in model.graph.output:
        if output.name not in entries:
            output.type.tensor_type.ClearField("shape")


def _refuse_new_types(light: onnx.ModelProto, changed: onnx.ModelProto) -> None:
    """Fail if only the newer opset has the types of numbers that the model's operators are given."""
    for model in (light, changed):
        open_ended = copy(model)
        _forget(open_ended)
        shape_inference.infer_shapes(open_ended, check_type=True, strict_mode=True)


def _culprit(light: onnx.ModelProto) -> str:
    """The first node that cannot be converted by itself, as the beginning of a sentence."""
    infos = {info.name: info for info in inferred(light).values()}
    constants = {tensor.name: tensor for tensor in light.graph.initializer}
    for node in light.graph.node:
        names = [name for name in dict.fromkeys(node.input) if name and name not in constants]
        if any(name not in infos for name in names):
            continue
        ends = [helper.make_value_info(name, infos[name].type) for name in node.output if name in infos]
        held = [constants[name] for name in dict.fromkeys(node.input) if name in constants]
        graph = helper.make_graph([node], "node", [infos[name] for name in names], ends, held)
        one = helper.make_model(graph, opset_imports=light.opset_import, ir_version=light.ir_version)
        if _written_as_target(one)[0] is None:
            return f"node {node.name or node.output[0]!r} ({node.op_type}): "
    return ""


def _adopt(model: onnx.ModelProto, changed: onnx.ModelProto, aside: set[str]) -> None:
    """Take over in place what the converter made of the light model; `aside` are its large weights."""
    keep_initializers(model, aside)
    for field in ("node", "input"):
        kept = [
            entry for entry in getattr(changed.graph, field) if entry.name not in aside or field == "node"
        ]
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(kept)
    model.graph.initializer.extend(changed.graph.initializer)
    del model.opset_import[:]
    model.opset_import.extend(changed.opset_import)


def _declare_inferred(model: onnx.ModelProto) -> None:
    """Declare the outputs' shapes, in place: the version converter demands one, and compares a constant's."""
    try:
        graph = shape_inference.infer_shapes(model).graph
    except _NATIVE_ERRORS:
        graph = model.graph  # for the converter to say
    for output, known in zip(model.graph.output, graph.output, strict=True):
        if known.type.tensor_type.HasField("shape"):
            output.type.tensor_type.shape.CopyFrom(known.type.tensor_type.shape)
    _declare_shapes(model)


def _declare_shapes(model: onnx.ModelProto) -> None:
    for output in model.graph.output:
        if output.type.WhichOneof("value") in (None, "tensor_type"):
            output.type.tensor_type.shape.SetInParent()  # demanded, though it says nothing new


def _first(error: Exception) -> str:
    """The line of a native message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return one_line(said.rpartition("` failed: ")[2], 250)  # without the place in onnx's source
