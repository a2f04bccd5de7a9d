"""The kernels of a network: the constant operands that compression works on, in any number format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx

from edgepress.graph.stored_codes import stored_codes
from edgepress.graph.view import Array, attributes, initializers, producers

_GRID = 127 * 800

KERNEL_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True)
class Kernel:
    """A constant second operand of a convolution or matrix product.

    `values` are as stored (float32, float16, or int8/uint8 codes) with `zero_point` the code of 0.
    `channel_axis` is the axis of the output channels.
    """

    initializer: str
    node: onnx.NodeProto
    channel_axis: int
    values: Array
    zero_point: int = 0

    @property
    def prunable(self) -> bool:
        """Depthwise kernels are not, here as in TFMOT: they are few and each weight matters."""
        depthwise = self.node.op_type.startswith("Conv") and attributes(self.node).get("group", 1) > 1
        return not (depthwise and self.values.shape[1] == 1)

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return float((self.values == self.zero_point).mean())

    @cached_property
    def unique_weights(self) -> int:
        """The distinct values that a codebook of this kernel needs.

        For float values it is the fewer of two counts: over the tensor as it is, and over the tensor with
        each output channel divided by its largest magnitude, since a per-channel scale is stored anyway.
        """
        if self.values.dtype.kind in "iu":
            return len(np.unique(self.values))
        values = self.values.astype(np.float32)
        return min(len(np.unique(values)), len(np.unique(normalised(values, self.channel_axis))))


def normalised(values: Array, channel_axis: int) -> Array:
    """`values` with each channel divided by its largest magnitude, to about 1e-5; zero channels stay.

    The grid holds all multiples of 1/127, which codebooks consist of, so that none is halfway between two.
    """
    largest = channel_magnitudes(values, channel_axis)
    quotient: Array = np.round(values / np.where(largest > 0, largest, 1) * _GRID) / _GRID + 0.0
    return quotient


def channel_magnitudes(values: Array, channel_axis: int) -> Array:
    """The largest magnitude in each channel, shaped to broadcast against `values`."""
    others = tuple(axis for axis in range(values.ndim) if axis != channel_axis)
    magnitudes: Array = np.abs(values).max(axis=others, keepdims=True)
    return magnitudes


def kernels(model: onnx.ModelProto) -> list[Kernel]:
    """All kernels in graph order, each initializer once; found through DequantizeLinear, Cast and Mul."""
    constants, made_by = initializers(model), producers(model)
    found: dict[str, Kernel] = {}
    for node in model.graph.node:
        if node.op_type not in KERNEL_OPS:
            continue
        name, zero_point = _stored_as(node.input[1], made_by), 0
        if name == node.input[1] and node.op_type.endswith("Integer") and len(node.input) > 3:
            zero_point = int(constants[node.input[3]].reshape(-1)[0])
        if name in constants and name not in found:
            values = constants[name]
            values = values.astype(np.int8) if values.dtype.name == "int4" else values
            found[name] = Kernel(name, node, channel_axis(node, values.ndim), values, zero_point)
    return list(found.values())


def _stored_as(name: str, made_by: Mapping[str, onnx.NodeProto]) -> str:
    """The tensor that one is made of by DequantizeLinear, Cast, or Cast and Mul."""
    source = made_by.get(name)
    if source is not None and source.op_type == "Mul":
        cast = made_by.get(source.input[0])
        return cast.input[0] if cast is not None and cast.op_type == "Cast" else name
    while source is not None and source.op_type in ("DequantizeLinear", "Cast"):
        name = source.input[0]
        source = made_by.get(name)
    return name


def channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """The axis of output channels in a node's kernel of the given rank."""
    if node.op_type == "Gemm":
        return 0 if attributes(node).get("transB", 0) else 1
    if node.op_type.startswith("MatMul"):
        return rank - 1
    return 1 if node.op_type == "ConvTranspose" else 0


@dataclass(frozen=True)
class WeightStatistics:
    """`sparsity` is over all prunable weights; `max_unique_weights` is that of the worst kernel."""

    parameters: int
    sparsity: float
    max_unique_weights: int


def weight_statistics(model: onnx.ModelProto, found: Sequence[Kernel] | None = None) -> WeightStatistics:
    """Count a model's weights, in whatever number format it holds them; `found` are its kernels."""
    present = kernels(model) if found is None else found
    total = sum(kernel.values.size for kernel in present if kernel.prunable)
    zeros = sum(kernel.sparsity * kernel.values.size for kernel in present if kernel.prunable)
    return WeightStatistics(
        parameters=_parameters(model),
        sparsity=zeros / total if total else 0.0,
        max_unique_weights=max((kernel.unique_weights for kernel in present), default=0),
    )


def _parameters(model: onnx.ModelProto) -> int:
    """Elements of all constants but scalars, shapes, and the scales and zero points of quantisation."""
    helpers = _scales_and_zero_points(model)
    return sum(
        values.size
        for name, values in initializers(model).items()
        if name not in helpers and values.ndim > 0 and values.dtype != np.int64
    )


def _scales_and_zero_points(model: onnx.ModelProto) -> set[str]:
    nodes, found = model.graph.node, set[str]()
    stored = stored_codes(model)
    casts = {node.output[0] for node in nodes if node.op_type == "Cast" and node.input[0] in stored}
    dynamic_scales = {node.output[1] for node in nodes if node.op_type == "DynamicQuantizeLinear"}
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            found.update(node.input[1:])
        elif node.op_type in ("ConvInteger", "MatMulInteger"):
            found.update(node.input[2:])
        elif node.op_type == "Mul" and node.input[0] in casts:
            found.add(node.input[1])
        elif node.op_type == "Mul" and dynamic_scales & set(node.input):
            found.update(node.input)
    return found
