"""The input: float32, batch first and symbolic, everything else of fixed size."""

import numpy as np
import onnx
from onnx import numpy_helper

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.native import inferred
from edgepress.graph.normalise.structure import check_shape
from edgepress.graph.view import remove_unused_initializers, set_initializer

BATCH = "batch"


def free_batch(model: onnx.ModelProto) -> bool:
    """Make the batch symbolic, in place, also where a Reshape has the exported batch built in.

    Where more than that holds a batch of one, e.g. the windows of an attention, it stays one.

    Returns:
        Whether it is symbolic now.

    Raises:
        UnsupportedModelError: the input is not float32 or its size is not fixed, or nothing else but an
            exported batch of several can go through the network.
    """
    entry = model.graph.input[0]
    sizes = check_shape(entry)
    _check_input(entry, sizes)
    given = sizes[0] if isinstance(sizes[0], int) and sizes[0] > 0 else None
    changed = [] if given is None else _free_reshapes(model, given)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    entry.type.tensor_type.shape.dim[0].dim_param = BATCH
    try:
        outputs, free = _outputs(model, free=True), True
    except UnsupportedModelError:
        if given != 1:
            raise
        entry.type.tensor_type.shape.dim[0].dim_value = 1
        for node, shape in changed:
            node.input[1] = shape
        remove_unused_initializers(model)
        outputs, free = _outputs(model, free=False), False
    for output, found in zip(model.graph.output, outputs, strict=True):
        output.CopyFrom(found)
    return free


def _check_input(entry: onnx.ValueInfoProto, sizes: list[int | str]) -> None:
    kind = entry.type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        names = {number: name for name, number in onnx.TensorProto.DataType.items()}
        refuse(f"input {entry.name!r} is {names.get(kind, kind)}; expected FLOAT", "export it in float32")
    if len(sizes) < 2 or not all(isinstance(size, int) and size > 0 for size in sizes[1:]):
        refuse(
            f"input {entry.name!r} has the shape {sizes}; expected (batch, ...) with all but the batch fixed",
            "export it without dynamic axes but the batch, or fix them: "
            "python -m onnxruntime.tools.make_dynamic_shape_fixed",
        )


def _free_reshapes(model: onnx.ModelProto, batch: int) -> list[tuple[onnx.NodeProto, str]]:
    """Where a constant shape begins with the batch, as its operand does, let the batch be inferred.

    Returns the nodes, and the names of the shapes they had.
    """
    held, shapes = {tensor.name: tensor for tensor in model.graph.initializer}, inferred(model)
    changed = []
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in held:
            continue
        result = _sizes(shapes, node.output[0])
        target = numpy_helper.to_array(held[node.input[1]]).reshape(-1)
        if target[:1].tolist() != [batch] or None in result[1:]:
            continue
        if _sizes(shapes, node.input[0])[:1] == [batch] and result[:1] == [batch]:
            changed.append((node, node.input[1]))
            node.input[1] = f"{node.output[0]}.shape"
            set_initializer(model, node.input[1], np.array([-1, *result[1:]], np.int64))
    return changed


def _sizes(shapes: dict[str, onnx.ValueInfoProto], name: str) -> list[int | None]:
    if name not in shapes:
        return []
    dims = shapes[name].type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]


def _outputs(model: onnx.ModelProto, free: bool) -> list[onnx.ValueInfoProto]:
    """The outputs with the shapes that follow from the input's; a free batch must stay first in them."""
    infos = inferred(model, strict=True)
    outputs = []
    for output in model.graph.output:
        info = infos.get(output.name)
        if info is None or not info.type.tensor_type.HasField("shape"):
            refuse(
                f"the shape of the output {output.name!r} cannot be inferred", "export it with fixed shapes"
            )
        first = info.type.tensor_type.shape.dim[:1]
        if free and (not first or first[0].HasField("dim_value")):
            refuse(
                f"the output {output.name!r} does not keep the batch first, which is built into the network",
                "export it with a dynamic batch, or for a batch of 1",
            )
        outputs.append(info)
    return outputs
