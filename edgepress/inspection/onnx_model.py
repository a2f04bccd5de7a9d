"""A report on an ONNX model, as it lies in its file."""

import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from edgepress.graph.about import said
from edgepress.graph.channels import channels_of
from edgepress.graph.formats import number_format
from edgepress.graph.kept_floats import blurred_outputs, float_joins
from edgepress.graph.normalise.batch import names_of_batch
from edgepress.graph.normalise.files import read_onnx
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.microsoft_operators import set_fused_apart
from edgepress.graph.normalise.native import check, inferred
from edgepress.graph.normalise.structure import tidy_structure
from edgepress.graph.stored_codes import with_dequantize
from edgepress.graph.view import all_nodes, attributes
from edgepress.graph.weights import Kernel, kernels, weight_statistics
from edgepress.inspection.arena import arena_bytes, lifetimes
from edgepress.inspection.report import End, KernelReport, OperatorReport, Report, TransposeReport
from edgepress.measure.sizes import size_metrics
from edgepress.text import one_line

Shapes = dict[str, tuple[int, ...]]

_CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv")
_PRODUCTS = ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul")


def inspect_onnx(path: Path) -> Report:
    """Report on a file; what is computed is counted for a batch of one.

    Raises:
        ArtifactError: the file is absent, truncated or not ONNX.
        UnsupportedModelError: it is broken, or holds what this project does not take.
    """
    model = read_onnx(path)
    sizes = _file_sizes(path, model)
    tidy_structure(model)
    model.ir_version = max(model.ir_version, 8)
    set_fused_apart(model)
    check(model, strangers=True)
    _mark_strangers(model)
    found = kernels(model)
    _refuse_infinite(found)
    nodes = list(all_nodes(model.graph))
    statistics, shapes, known = weight_statistics(model, found), _shapes(model), inferred(model)
    channels = channels_of(model, known)
    reports = (_kernel(model, kernel) for kernel in found)
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return Report(
        path=str(path),
        form=f"ONNX opset {version}",
        number_format=number_format(model),
        inputs=tuple(_end(info, channels.layout(info.name)) for info in model.graph.input),
        outputs=tuple(_end(info, channels.layout(info.name)) for info in _outputs(model, known)),
        op_counts=dict(sorted(Counter(node.op_type for node in nodes).items())),
        parameters=statistics.parameters,
        macs=_macs(model, shapes),
        sparsity=statistics.sparsity,
        size_bytes=sizes["size_bytes"],
        size_gzip_bytes=sizes["size_gzip_bytes"],
        peak_activation_bytes=_peak(model, shapes),
        kernels=tuple(sorted(reports, key=lambda each: -each.unique_weights)),
        transposes=tuple(_transpose(node) for node in model.graph.node if node.op_type == "Transpose"),
        operators=tuple(_operator(node, known) for node in nodes),
        about=said(model),
        notes=tuple(
            one_line(note, 1000) for note in (*map(str, float_joins(model)), *blurred_outputs(model))
        ),
    )


def _file_sizes(path: Path, model: onnx.ModelProto) -> dict[str, int]:
    """Sizes of the file or, where its weights lie beside it, of a file that held them all."""
    if model.ByteSize() <= path.stat().st_size:
        return size_metrics(path)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "model.onnx")
        whole.write_bytes(model.SerializeToString())
        return size_metrics(whole)


def _refuse_infinite(found: Sequence[Kernel]) -> None:
    for kernel in found:
        if not kernel.values.size or not np.isfinite(kernel.values.astype(np.float32)).all():
            refuse(
                f"kernel {kernel.initializer!r} holds NaN, infinite or no weights", "train the network again"
            )


def _outputs(model: onnx.ModelProto, known: Mapping[str, onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    return [known.get(output.name, output) for output in model.graph.output]


def _end(info: onnx.ValueInfoProto, layout: str = "") -> End:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return End(info.name, None, _type_name(info.type), "")
    sizes = tuple(
        dim.dim_value if dim.HasField("dim_value") else _size_name(dim.dim_param) for dim in tensor.shape.dim
    )
    return End(info.name, sizes, _type_name(info.type), layout)


def _size_name(name: str) -> str:
    """As the file calls a size; ? for one that only onnx's inference has named."""
    return "?" if not name or name.startswith("unk__") else name


def _operator(node: onnx.NodeProto, known: Mapping[str, onnx.ValueInfoProto]) -> OperatorReport:
    made = _end(known.get(node.output[0], onnx.ValueInfoProto(name=node.output[0])))
    return OperatorReport(node.op_type, node.name or made.name, made.shape, made.dtype)


def _mark_strangers(model: onnx.ModelProto) -> None:
    """Call operators of other domains, in place, so that none is taken for ONNX's of the same name."""
    for node in all_nodes(model.graph):
        if node.domain not in ("", "ai.onnx"):
            node.op_type = f"{node.domain}.{node.op_type}"


def _kernel(model: onnx.ModelProto, kernel: Kernel) -> KernelReport:
    scales = _scales(model, kernel)
    return KernelReport(
        name=kernel.initializer,
        operator=kernel.node.op_type,
        shape=kernel.values.shape,
        dtype=_dtype_name(next(t.data_type for t in model.graph.initializer if t.name == kernel.initializer)),
        sparsity=kernel.sparsity if kernel.values.size else 0.0,
        unique_weights=kernel.unique_weights,
        scales=scales,
        channel_axis=kernel.channel_axis if scales > 1 else None,
    )


def _scales(model: onnx.ModelProto, kernel: Kernel) -> int:
    """How many scales dequantise a kernel: found in DequantizeLinear, or what stands for it; else 0."""
    if kernel.values.dtype.kind not in "iu":
        return 0
    plain = with_dequantize(model)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in plain.graph.initializer}
    for node in plain.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == kernel.initializer:
            return int(sizes.get(node.input[1], 0))
    return 0


def _transpose(node: onnx.NodeProto) -> TransposeReport:
    order = attributes(node).get("perm")
    return TransposeReport(
        node.name or node.output[0], node.input[0], None if order is None else tuple(int(a) for a in order)
    )


def _shapes(model: onnx.ModelProto) -> Shapes:
    """The shape of each tensor, for a batch of one, as far as it can be inferred."""
    found = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for name, info in inferred(model, sizes=dict.fromkeys(names_of_batch(model), 1)).items():
        tensor = info.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            found[name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return found


def _macs(model: onnx.ModelProto, shapes: Shapes) -> int | None:
    total = 0
    for node in model.graph.node:
        if node.op_type not in (*_CONVOLUTIONS, *_PRODUCTS, "ConvTranspose"):
            continue
        second = 3 if node.op_type.startswith("QLinear") else 1
        ends = [shapes.get(name) for name in (node.input[0], node.input[second], node.output[0])]
        if None in ends:
            return None
        image, kernel, result = (end or () for end in ends)
        if node.op_type in _CONVOLUTIONS:
            total += math.prod(result) * math.prod(kernel[1:])
        elif node.op_type == "ConvTranspose":
            total += math.prod(image) * math.prod(kernel[1:])
        else:
            total += math.prod(result) * image[0 if attributes(node).get("transA", 0) else -1]
    return total


def _peak(model: onnx.ModelProto, shapes: Shapes) -> int | None:
    """The arena that the activations would need, planned like TFLite Micro's."""
    infos, constants = inferred(model), {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if constants.issuperset(name for name in node.input if name):
            constants.update(node.output)  # e.g. dequantised weights, which a runtime folds
    computed = [entry.name for entry in model.graph.input]
    read = {name for node in model.graph.node for name in node.input}
    read |= {output.name for output in model.graph.output}
    computed += [name for node in model.graph.node for name in node.output if name in read]
    index = {name: i for i, name in enumerate(computed)}
    sizes = [
        0 if n in constants else _bytes(infos[n], shapes.get(n)) if n in infos else None for n in computed
    ]
    steps = [
        ([index[n] for n in node.input if n in index], [index[n] for n in node.output if n in index])
        for node in model.graph.node
    ]
    ends = (
        [index[entry.name] for entry in part if entry.name in index]
        for part in (model.graph.input, model.graph.output)
    )
    return arena_bytes(lifetimes(sizes, steps, *ends))


def _bytes(info: onnx.ValueInfoProto, shape: tuple[int, ...] | None) -> int | None:
    if shape is None or info.type.tensor_type.elem_type == onnx.TensorProto.UNDEFINED:
        return None
    dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    return math.prod(shape) * int(dtype.itemsize)


def _type_name(kind: onnx.TypeProto) -> str:
    """What a tensor holds; what else a value is, as `sequence of float32`."""
    what = kind.WhichOneof("value")
    if what in ("sequence_type", "optional_type"):
        return f"{what.removesuffix('_type')} of {_type_name(getattr(kind, what).elem_type)}"
    if what == "map_type":
        return f"map of {_type_name(kind.map_type.value_type)}"
    return _dtype_name(kind.tensor_type.elem_type)


def _dtype_name(number: int) -> str:
    if number == onnx.TensorProto.UNDEFINED:
        return "unknown"
    if number == onnx.TensorProto.STRING:
        return "text"
    return str(onnx.helper.tensor_dtype_to_np_dtype(number).name)
