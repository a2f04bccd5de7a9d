"""The inputs: which of their open sizes is the batch, and whether it can stay open."""

import re

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.limits import listed, refuse
from edgepress.graph.normalise.native import inferred
from edgepress.graph.normalise.structure import check_shape
from edgepress.graph.shapes import BATCH, open_sizes, set_sizes
from edgepress.graph.strangers import are_strangers_allowed, forget_outputs
from edgepress.graph.view import attributes, remove_unused_initializers, set_initializer

_TAKEN = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.BOOL,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
)  # fmt: skip
_UNNAMED = re.compile(r"^unk__\d+$|\.size0$|_dynamic_axes_\d+$")
"""What tf2onnx, this project and PyTorch call sizes that nobody named."""
_OF_BATCH = re.compile(r"batch|^(n|b|bs)$", re.IGNORECASE)
_OF_OTHERS = re.compile(
    r"seq|time|len|frame|token|step|height|width|channel|feature|^[thwlc]$", re.IGNORECASE
)


def check_inputs(model: onnx.ModelProto) -> None:
    """Refuse what is no tensor of numbers or of truth values.

    Raises:
        UnsupportedModelError: an input is, in one line.
    """
    for entry in model.graph.input:
        check_shape(entry)
        kind = entry.type.tensor_type.elem_type
        if kind not in _TAKEN:
            names = {number: name for name, number in TensorProto.DataType.items()}
            refuse(
                f"input {entry.name!r} is {names.get(kind, kind)}; expected numbers or truth values",
                "export it with tensors of float32 or integers",
            )


def check_maps(model: onnx.ModelProto) -> None:
    """Refuse scikit-learn's maps from labels to probabilities.

    Raises:
        UnsupportedModelError: a node gives some, in one line.
    """
    for node in model.graph.node:
        if node.op_type == "ZipMap":
            refuse(
                f"node {node.name or node.output[0]!r} (ZipMap) gives maps, and no file here has such",
                "convert with skl2onnx's options={'zipmap': False}",
            )


def name_open_sizes(model: onnx.ModelProto) -> None:
    """Give each open size of the inputs a name, in place; that of the batch is `BATCH`."""
    for entry in model.graph.input:
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and not dim.dim_param:
                dim.dim_param = f"{entry.name}.size{axis}"
    batch = names_of_batch(model)
    for entry in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") and dim.dim_param in batch:
                dim.dim_param = BATCH


def names_of_batch(model: onnx.ModelProto) -> set[str]:
    """Which of the names of the inputs' open sizes are the batch's.

    It is what is named so, or else the first axis of an input of several, if its name is no other's.
    """
    entries = model.graph.input
    dims = [
        (axis, entry, dim.dim_param)
        for entry in entries
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim)
        if not dim.HasField("dim_value")
    ]
    named = [name for _, _, name in dims if _OF_BATCH.search(name)]
    first = [
        name
        for axis, entry, name in dims
        if axis == 0 and len(entry.type.tensor_type.shape.dim) > 1 and not _OF_OTHERS.search(name)
    ]
    return {*(named or first)[:1], *filter(_UNNAMED.search, first)}


def free_batch(model: onnx.ModelProto, keep_several: bool = False) -> bool:
    """Let the batch stay open, in place, or open that of a single input, also where a Reshape has it.

    Where more than that holds a batch of one, e.g. the windows of an attention, it is one. With
    `keep_several` a fixed batch of more than one stays, whose samples the network may compute with together.

    Returns:
        Whether it is open now.
    """
    _name_steps(model)
    entries = model.graph.input
    first = entries[0].type.tensor_type.shape.dim[:1]
    given = first[0].dim_value if first and first[0].HasField("dim_value") else None
    if given is None:
        return _stays_open(model)
    alone = len(entries) == 1 and len(entries[0].type.tensor_type.shape.dim) > 1
    return alone and not (keep_several and given > 1) and _opened(model, given)


def _name_steps(model: onnx.ModelProto) -> None:
    """Call an open size by another name than the batch's, in place, that is the length of a sequence."""
    if BATCH in open_sizes(model) and BATCH in _lengths(model, inferred(model)):
        for entry in model.graph.input:
            for dim in entry.type.tensor_type.shape.dim:
                if dim.dim_param == BATCH:
                    dim.dim_param = _STEPS


_STEPS = "steps"
_RECURRENT = ("LSTM", "GRU", "RNN")


def _lengths(model: onnx.ModelProto, infos: dict[str, onnx.ValueInfoProto]) -> set[str]:
    """The names of open sizes that are lengths of sequences, which a recurrent layer or a Scan goes along."""
    found = set[str]()
    for node in model.graph.node:
        given = attributes(node)
        if node.op_type in _RECURRENT:
            axes = {node.input[0]: 1 if given.get("layout", 0) else 0}
        elif node.op_type == "Scan" and "num_scan_inputs" in given:
            count = given["num_scan_inputs"]
            axes = dict(zip(node.input[-count:], given.get("scan_input_axes", [0] * count), strict=False))
        else:
            continue
        for name, axis in axes.items():
            dims = infos[name].type.tensor_type.shape.dim if name in infos else []
            if -len(dims) <= axis < len(dims):
                found.add(dims[axis].dim_param)
    return found


def _stays_open(model: onnx.ModelProto) -> bool:
    """Settle the outputs' shapes with the batch as it is, or else as one."""
    forget_outputs(model)
    try:
        settle_outputs(model, inferred(model, strict=True))
    except UnsupportedModelError:
        set_sizes(model, {BATCH: 1})
        settle_outputs(model, inferred(model, strict=True))
        return False
    return True


def _opened(model: onnx.ModelProto, given: int) -> bool:
    """Open a fixed batch if the network can do with any, and each output has it first."""
    dim = model.graph.input[0].type.tensor_type.shape.dim[0]
    changed = _free_reshapes(model, given)
    forget_outputs(model)
    dim.dim_param = BATCH
    try:
        infos = inferred(model, strict=True)
        _require_batch_first(model, infos)
        if any(_joins_samples(node, infos) for node in model.graph.node):
            refuse("it computes with several samples at once")
        if BATCH in _lengths(model, infos):
            refuse("its first axis is the length of sequences")
        if model.graph.value_info and are_strangers_allowed():
            refuse("it has operators whose shapes the file declares")
    except UnsupportedModelError:
        dim.dim_value = given
        for node, shape in changed:
            node.input[1] = shape
        remove_unused_initializers(model)
        settle_outputs(model, inferred(model, strict=True))
        return False
    settle_outputs(model, infos)
    return True


_PICKING = (
    "CenterCropPad", "Col2Im", "Compress", "DeformConv", "EyeLike", "GatherElements", "GatherND",
    "GridSample", "MaxUnpool", "NonMaxSuppression", "NonZero", "RoiAlign", "ScatterElements", "ScatterND",
    "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "Unique",
)  # fmt: skip
"""What makes more or fewer elements than there are samples, or has a place for each of them."""


def _joins_samples(node: onnx.NodeProto, infos: dict[str, onnx.ValueInfoProto]) -> bool:
    """Whether what a node makes of one sample depends on others, or of what it finds there."""
    rank = len(_sizes(infos, node.input[0])) if node.input else 0
    if node.op_type == "Trilu" and rank == 2:
        return True
    along = node.op_type == "TopK" and rank > 0 and attributes(node).get("axis", -1) % rank == 0
    return along or node.op_type in _PICKING


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


def settle_outputs(model: onnx.ModelProto, infos: dict[str, onnx.ValueInfoProto]) -> None:
    """The outputs with the types and shapes that follow from the inputs', where these can be inferred."""
    for output in model.graph.output:
        if output.name in infos:
            output.CopyFrom(infos[output.name])


def _require_batch_first(model: onnx.ModelProto, infos: dict[str, onnx.ValueInfoProto]) -> None:
    fixed = [
        output.name
        for output in model.graph.output
        if output.name not in infos or _sizes(infos, output.name)[:1] != [None]
    ]
    if fixed:
        refuse(f"the outputs {listed(fixed)} do not keep the batch first")
