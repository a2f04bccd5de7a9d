"""BatchNormalization in inference form: y = gamma·(x − mean)/√(variance + epsilon) + beta, per channel.

It stays in the graph while weights are fine-tuned and is folded into the layer before it when the
network is quantised or converted.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx

from edgepress.graph.aside import release_files
from edgepress.graph.constants import constants_as_initializers
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    initializers,
    producers,
    remove_unused_initializers,
    replace_nodes,
)
from edgepress.graph.weights import channel_axis

_FOLDABLE = ("Conv", "ConvTranspose", "Gemm")


class _Weights:
    """The initializers of a model whose nodes' operands change, and how many nodes read each of them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = initializers(model)
        self._readers = {name: len(nodes) for name, nodes in consumers(model).items()}
        self.infos = cache(lambda: inferred_infos(model))

    def own(self, node: onnx.NodeProto, index: int) -> str:
        """The name of a constant operand, which becomes a copy where other nodes read it too."""
        name: str = node.input[index]
        if self._readers[name] == 1:
            return name
        own = f"{name}.{node.output[0]}"
        self.constants.set(own, self.constants[name])
        self._readers[name] -= 1
        self._readers[own] = 1
        node.input[index] = own
        return own


@dataclass(frozen=True)
class _Pair:
    """A layer and the BatchNormalization that alone reads its output."""

    layer: onnx.NodeProto
    batchnorm: onnx.NodeProto
    channel_axis: int


def fold_batchnorm(model: onnx.ModelProto, only: Collection[str] | None = None) -> onnx.ModelProto:
    """Remove every BatchNormalization, without changing what the network computes.

    Where it follows a Conv, ConvTranspose or Gemm with constant weights it goes into these; elsewhere it
    becomes a Mul and an Add. Ensures: no BatchNormalization of constants is left, or of `only` these outputs
    none.
    """
    folded = constants_as_initializers(model)
    pairs = {pair.batchnorm.output[0]: pair for pair in _pairs(folded)}
    nodes: list[onnx.NodeProto] = []
    weights = _Weights(folded)
    for node in folded.graph.node:
        if not _is_batchnorm(node, only) or not _is_constant(node, weights.constants):
            nodes.append(node)
        elif (pair := pairs.get(node.output[0])) is not None:
            _fold(weights, pair)
        else:
            nodes.extend(_as_multiply_add(weights, node))
    replace_nodes(folded, nodes)
    remove_unused_initializers(folded)
    release_files()
    return folded


def _is_batchnorm(node: onnx.NodeProto, only: Collection[str] | None) -> bool:
    return node.op_type == "BatchNormalization" and (only is None or node.output[0] in only)


def _is_constant(node: onnx.NodeProto, constants: Mapping[str, Array]) -> bool:
    return all(name in constants for name in node.input[1:5])


def make_gammas_positive(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move the sign of each negative gamma into the kernel before it; the function stays the same.

    With no gamma negative, folding multiplies each channel by a positive factor, so a codebook that the
    channels share stays shared.
    """
    changed = constants_as_initializers(model)
    weights = _Weights(changed)
    for pair in _pairs(changed):
        gamma, mean = (weights.own(pair.batchnorm, index) for index in (1, 3))
        constants = weights.constants
        sign = np.where(constants[gamma] < 0, -1, 1).astype(constants[gamma].dtype)
        _scale_layer(weights, pair, sign)
        constants.set(gamma, constants[gamma] * sign)
        constants.set(mean, constants[mean] * sign)
    return changed


def rescale_kernels(model: onnx.ModelProto, factor_of: Callable[[Array, int], float]) -> onnx.ModelProto:
    """Multiply kernels that a BatchNormalization comes behind; its statistics and gamma make up for it.

    `factor_of(kernel, channel_axis)` is above 0. What the network computes stays the same; where all factors
    are 1, so does the model.
    """
    changed = constants_as_initializers(model)
    constants = initializers(changed)
    factors = [(p, factor_of(constants[p.layer.input[1]], p.channel_axis)) for p in _pairs(changed)]
    if all(factor == 1 for _, factor in factors):
        return model
    weights = _Weights(changed)
    for pair, factor in factors:
        gamma, mean, variance = (weights.own(pair.batchnorm, index) for index in (1, 3, 4))
        constants = weights.constants
        epsilon = attributes(pair.batchnorm).get("epsilon", 1e-5)
        spread = constants[variance].astype(np.float64)
        kept = np.sqrt(spread * factor**2 + epsilon) / np.sqrt(spread + epsilon) / factor
        _scale_layer(weights, pair, np.full(spread.shape, factor, np.float32))
        constants.set(gamma, (constants[gamma] * kept).astype(np.float32))
        constants.set(mean, (constants[mean] * factor).astype(np.float32))
        constants.set(variance, (spread * factor**2).astype(np.float32))
    return changed


def folding_factors(model: onnx.ModelProto) -> dict[str, Array]:
    """For each kernel's initializer, the factor (channels,) by which folding multiplies its channels."""
    constants = initializers(model)
    return {p.layer.input[1]: _scale_and_shift(constants, p.batchnorm)[0] for p in _pairs(model)}


def folded_gammas(model: onnx.ModelProto) -> set[str]:
    """The initializers of the gammas that folding multiplies into kernels."""
    return {pair.batchnorm.input[1] for pair in _pairs(model)}


def _pairs(model: onnx.ModelProto) -> list[_Pair]:
    made_by, read_by, constants = producers(model), consumers(model), initializers(model)
    outputs = {output.name for output in model.graph.output}
    pairs = []
    for node in model.graph.node:
        layer = made_by.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if layer is None or layer.op_type not in _FOLDABLE or layer.output[0] in outputs:
            continue
        if not _is_constant(node, constants):
            continue
        private = len(read_by[layer.output[0]]) == 1 and len(read_by[layer.input[1]]) == 1
        if private and layer.input[1] in constants and _takes_factors(constants, layer):
            axis = channel_axis(layer, constants[layer.input[1]].ndim)
            pairs.append(_Pair(layer, node, axis))
    return pairs


def _takes_factors(constants: Mapping[str, Array], layer: onnx.NodeProto) -> bool:
    """Whether each output channel has weights and at most one constant bias of its own."""
    a = attributes(layer)
    if a.get("beta", 1.0) != 1.0 or (layer.op_type == "ConvTranspose" and a.get("group", 1) > 1):
        return False
    bias = constants.get(layer.input[2]) if _has_bias(layer) else np.zeros(1)
    return bias is not None and (bias.ndim < 2 or bias.shape[0] == 1)


def _has_bias(layer: onnx.NodeProto) -> bool:
    return len(layer.input) > 2 and layer.input[2] != ""


def _scale_and_shift(constants: Mapping[str, Array], batchnorm: onnx.NodeProto) -> tuple[Array, Array]:
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in batchnorm.input[1:5])
    scale = gamma / np.sqrt(variance + attributes(batchnorm).get("epsilon", 1e-5))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _scale_layer(weights: _Weights, pair: _Pair, factor: Array) -> None:
    constants, kernel = weights.constants, weights.constants[pair.layer.input[1]]
    shape = [1] * kernel.ndim
    shape[pair.channel_axis] = -1
    constants.set(pair.layer.input[1], kernel * factor.reshape(shape))
    if _has_bias(pair.layer):
        bias = weights.own(pair.layer, 2)
        constants.set(bias, constants[bias].reshape(-1) * factor)


def _fold(weights: _Weights, pair: _Pair) -> None:
    constants = weights.constants
    scale, shift = _scale_and_shift(constants, pair.batchnorm)
    _scale_layer(weights, pair, scale)
    if _has_bias(pair.layer):
        shift = constants[pair.layer.input[2]] + shift
    else:
        del pair.layer.input[2:]
        pair.layer.input.append(_bias_name(constants, pair.layer.input[1]))
    constants.set(pair.layer.input[2], shift)
    pair.layer.output[0] = pair.batchnorm.output[0]


def _bias_name(constants: Mapping[str, Array], kernel: str) -> str:
    """A free name for the bias of a kernel that had none."""
    name = f"{kernel.removesuffix('.weight')}.bias"
    return f"{kernel}.folded_bias" if name in constants else name


def _as_multiply_add(weights: _Weights, batchnorm: onnx.NodeProto) -> list[onnx.NodeProto]:
    scale, shift = _scale_and_shift(weights.constants, batchnorm)
    info = weights.infos().get(batchnorm.input[0])
    rank = 4 if info is None else len(info.type.tensor_type.shape.dim)
    shape, base = [-1] + [1] * (rank - 2), batchnorm.output[0]
    weights.constants.set(f"{base}.scale", scale.reshape(shape))
    weights.constants.set(f"{base}.shift", shift.reshape(shape))
    helper = onnx.helper.make_node
    return [
        helper("Mul", [batchnorm.input[0], f"{base}.scale"], [f"{base}.scaled"], f"{batchnorm.name}_mul"),
        helper("Add", [f"{base}.scaled", f"{base}.shift"], [base], f"{batchnorm.name}_add"),
    ]
