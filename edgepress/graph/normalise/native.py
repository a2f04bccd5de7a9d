"""onnx's native passes (checker, shape inference, version converter), on a model without its large weights.

The weights are set aside as inputs of the same type and shape, so that the passes copy kilobytes instead of
the whole network, and a file cannot make them allocate what it only declares.
"""

import math

import onnx
from onnx import TensorProto, helper, shape_inference, version_converter

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.limits import MAX_ELEMENTS, one_line, refuse
from edgepress.graph.normalise.structure import keep_initializers, opset

TARGET_OPSET = 15
"""What the passes and both converters here understand."""

_LARGE = 1024


def check(model: onnx.ModelProto) -> None:
    """Every node must fit its operator's definition.

    Raises:
        UnsupportedModelError: onnx's checker or shape inference finds otherwise.
    """
    light, _ = _split(model)
    for output in light.graph.output:
        output.type.tensor_type.shape.SetInParent()  # demanded, though it says nothing new
    try:
        onnx.checker.check_model(light)
    except (onnx.checker.ValidationError, ValueError, RuntimeError, TypeError) as error:
        refuse(f"not a valid model: {_first(error)}")


def inferred(
    model: onnx.ModelProto, strict: bool = False, batch: int | None = None
) -> dict[str, onnx.ValueInfoProto]:
    """Type and shape of each tensor, as far as onnx can tell; constants are left out.

    With `batch` they are those for a batch of that size, whatever the outputs declare.

    Raises:
        UnsupportedModelError: the shapes contradict each other (if `strict`) or are too large.
    """
    light, heavy = _split(model)
    if batch is not None:
        light.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
        for output in light.graph.output:
            output.type.tensor_type.ClearField("shape")
    try:
        graph = shape_inference.infer_shapes(
            light, check_type=strict, strict_mode=strict, data_prop=True
        ).graph
    except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        refuse(f"its shapes do not fit: {_first(error)}")
    aside = {tensor.name for tensor in heavy}
    infos = {i.name: i for i in (*graph.input, *graph.value_info, *graph.output) if i.name not in aside}
    for info in infos.values():
        sizes = [dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if min(sizes, default=0) < 0 or math.prod(max(size, 1) for size in sizes) > MAX_ELEMENTS:
            refuse(f"tensor {info.name!r} would have the shape {sizes}", "use smaller images")
        if info.type.tensor_type.elem_type not in TensorProto.DataType.values():
            refuse(f"tensor {info.name!r} has the unknown type {info.type.tensor_type.elem_type}")
    return infos


def to_target_opset(model: onnx.ModelProto) -> None:
    """Raise older models to opset 15; lower newer ones where onnx can, else they keep theirs.

    Raises:
        UnsupportedModelError: an older model cannot be raised.
    """
    version = opset(model)
    if version != TARGET_OPSET:
        try:
            _convert(model)
        except UnsupportedModelError:
            if version < TARGET_OPSET:
                raise
    model.ir_version = max(8, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True))


def _convert(model: onnx.ModelProto) -> None:
    light, heavy = _split(model)
    try:
        converted = version_converter.convert_version(light, TARGET_OPSET)
    except (version_converter.ConvertError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        refuse(f"opset {opset(model)} cannot be written as {TARGET_OPSET}: {_first(error)}")
    aside = {tensor.name for tensor in heavy}
    keep_initializers(model, aside)
    for field in ("node", "input", "output"):
        kept = [
            entry for entry in getattr(converted.graph, field) if entry.name not in aside or field == "node"
        ]
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(kept)
    model.graph.initializer.extend(converted.graph.initializer)
    del model.opset_import[:]
    model.opset_import.extend(converted.opset_import)
    check(model)


def _split(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[TensorProto]]:
    """A copy in which large initializers are inputs, and these initializers."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name or "graph"
    for field in ("node", "input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    heavy = []
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _LARGE:
            light.graph.initializer.append(tensor)
            continue
        heavy.append(tensor)
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        light.graph.input.append(info)
    return light, heavy


def _first(error: Exception) -> str:
    """The line of a native message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(lines[0] if lines else type(error).__name__, 250)
