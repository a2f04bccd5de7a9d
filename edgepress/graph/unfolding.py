"""BatchNormalization put back behind layers that it was folded into, or never stood behind.

Networks with it take fine-tuning far better: the size of their inputs and weights no longer matters, and what
a compression does to the mean and variance of a channel is undone by taking these anew.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    copy,
    initializers,
    replace_nodes,
    set_initializer,
)
from edgepress.graph.weights import channel_axis

_EPSILON = 1e-3
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a layer's output per channel (C,), over samples and positions."""

    mean: Array
    variance: Array


def layers_without_batchnorm(model: onnx.ModelProto, kernels: Collection[str]) -> list[str]:
    """The outputs of the layers that `unfold_batchnorm` can put one behind.

    They have a kernel of `kernels` and a bias of one value for each channel, both constant and read by nobody
    else, and their output is neither normalised already nor the network's.
    """
    read_by, constants = consumers(model), initializers(model)
    ends = {output.name for output in model.graph.output}
    found = []
    for node in model.graph.node:
        output = node.output[0]
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.input[1] not in kernels:
            continue
        own = len(node.input) > 2 and all(len(read_by[name]) == 1 for name in node.input[1:3])
        normalised = any(reader.op_type == "BatchNormalization" for reader in read_by[output])
        if own and not normalised and output not in ends and _has_plain_bias(node, constants):
            found.append(output)
    return found


def unfold_batchnorm(model: onnx.ModelProto, moments: Mapping[str, Moments]) -> onnx.ModelProto:
    """Put a BatchNormalization behind the layers with these outputs; the network computes the same.

    Its statistics are the given ones, so it begins as the identity. The kernel before it, whose size no
    longer matters, gets the size that it would be drawn with (He et al., arXiv:1502.01852).
    `fold_batchnorm(..., only=moments)` takes it away again.
    """
    changed = copy(model)
    nodes: list[onnx.NodeProto] = []
    for node in changed.graph.node:
        nodes.append(node)
        if node.output[0] in moments:
            nodes.append(_unfold(changed, node, moments[node.output[0]]))
    replace_nodes(changed, nodes)
    return changed


def _unfold(model: onnx.ModelProto, layer: onnx.NodeProto, moments: Moments) -> onnx.NodeProto:
    constants, output = initializers(model), layer.output[0]
    kernel, bias = constants[layer.input[1]], constants[layer.input[2]]
    factor = _factor(kernel, channel_axis(layer, kernel.ndim))
    set_initializer(model, layer.input[1], kernel * factor)
    set_initializer(model, layer.input[2], bias * factor)
    mean, variance = moments.mean * factor, moments.variance * factor**2
    parts = {
        "gamma": np.sqrt(variance + _EPSILON) / factor,
        "beta": moments.mean,
        "mean": mean,
        "variance": variance,
    }
    names = {part: f"{output}.unfolded_{part}" for part in parts}
    for part, values in parts.items():
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), names[part]))
    layer.output[0] = f"{output}.unfolded"
    return onnx.helper.make_node(
        "BatchNormalization",
        [layer.output[0], *names.values()],
        [output],
        f"{layer.name or output}_unfolded",
        epsilon=_EPSILON,
    )


def _factor(kernel: Array, axis: int) -> np.float32:
    inputs = kernel.size / kernel.shape[axis]
    present = np.sqrt(np.mean(kernel.astype(np.float64) ** 2))
    return np.float32(np.sqrt(2 / inputs) / present if present > _SMALLEST else 1.0)


def _has_plain_bias(layer: onnx.NodeProto, constants: Mapping[str, Array]) -> bool:
    given = attributes(layer)
    if given.get("beta", 1.0) != 1.0 or (layer.op_type == "ConvTranspose" and given.get("group", 1) > 1):
        return False
    kernel, bias = constants.get(layer.input[1]), constants.get(layer.input[2])
    if kernel is None or bias is None or bias.ndim != 1:
        return False
    return bool(kernel.dtype == np.float32 and np.isfinite(kernel).all())
