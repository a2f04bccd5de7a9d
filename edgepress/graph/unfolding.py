"""BatchNormalization put back behind layers that it was folded into, or never stood behind.

Networks with it take fine-tuning far better: the size of their inputs and weights no longer matters, and what
a compression does to the mean and variance of a channel is undone by taking these anew.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgepress.graph.batchnorm import fold_batchnorm, rescale_kernels
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    copy,
    initializers,
    producers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)
from edgepress.graph.weights import channel_axis

_EPSILON = 1e-3
_SMALLEST = 1e-12
_LEAST_VARIANCE = 0.01
_FAR_OFF = 16.0


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


@dataclass(frozen=True)
class _Layer:
    """A layer with a BatchNormalization of its own for the time being, and what it was like before.

    `output` is the layer's and then the BatchNormalization's, `bias` the initializer of the layer's bias,
    `source` its input, and `gain` what that is multiplied by, a power of two.
    """

    output: str
    bias: str
    source: str
    gain: float


@dataclass(frozen=True)
class Unfolded:
    """A network to be trained, with BatchNormalization behind `layers`."""

    model: onnx.ModelProto
    layers: tuple[_Layer, ...] = ()

    def folded(self, trained: onnx.ModelProto) -> onnx.ModelProto:
        """The trained network in the form that it had before."""
        if not self.layers:
            return trained
        folded = fold_batchnorm(trained, only={layer.output for layer in self.layers})
        nodes, constants = producers(folded), initializers(folded)
        for layer in self.layers:
            node = nodes[layer.output]
            set_initializer(folded, layer.bias, constants[node.input[2]])
            set_initializer(folded, node.input[1], constants[node.input[1]] * np.float32(layer.gain))
            node.input[0], node.input[2] = layer.source, layer.bias
        gains = {f"{layer.output}.gained" for layer in self.layers}
        replace_nodes(folded, [node for node in folded.graph.node if node.output[0] not in gains])
        remove_unused_initializers(folded)
        return folded


def unfold_batchnorm(model: onnx.ModelProto, moments: Mapping[str, Moments]) -> Unfolded:
    """Put a BatchNormalization behind the layers with these outputs; the network computes the same.

    Its statistics are the given ones, so it begins as the identity. It takes the place of the layer's bias,
    which would wander about in training, since what it adds is taken off again. The kernel, whose size no
    longer matters, gets the size that it would be drawn with (He et al., arXiv:1502.01852). Where the
    variance behind it is then far from 1, the layer's input is multiplied: epsilon is to be small beside it.
    """
    changed = copy(model)
    nodes: list[onnx.NodeProto] = []
    layers = []
    for node in changed.graph.node:
        if node.output[0] in moments:
            layer, unfolded = _unfold(changed, node, moments[node.output[0]])
            layers.append(layer)
            nodes.extend(unfolded)
        else:
            nodes.append(node)
    replace_nodes(changed, nodes)
    remove_unused_initializers(changed)
    return Unfolded(changed, tuple(layers))


def _unfold(
    model: onnx.ModelProto, node: onnx.NodeProto, moments: Moments
) -> tuple[_Layer, list[onnx.NodeProto]]:
    """What the layer was like, and the nodes that take its place."""
    constants, output, source = initializers(model), node.output[0], node.input[0]
    kernel, bias = constants[node.input[1]], constants[node.input[2]]
    factor = _factor(kernel, channel_axis(node, kernel.ndim))
    gain = _gain(float(np.mean(moments.variance)) * factor**2)
    layer = _Layer(output, node.input[2], source, gain)
    set_initializer(model, node.input[1], kernel * np.float32(factor))
    del node.input[2:]
    node.output[0] = f"{output}.unfolded"
    nodes = [node, _batchnorm(model, node, output, bias, moments, factor * gain)]
    if gain == 1:
        return layer, nodes
    node.input[0] = f"{output}.gained"
    set_initializer(model, f"{output}.gain", np.array(gain, np.float32))
    return layer, [onnx.helper.make_node("Mul", [source, f"{output}.gain"], [node.input[0]]), *nodes]


def _batchnorm(
    model: onnx.ModelProto, layer: onnx.NodeProto, output: str, bias: Array, moments: Moments, factor: float
) -> onnx.NodeProto:
    """The identity behind a layer that gives `factor` times what it did, less its bias."""
    variance = moments.variance * factor**2
    parts = {
        "gamma": np.sqrt(variance + _EPSILON) / factor,
        "beta": moments.mean,
        "mean": (moments.mean - bias) * factor,
        "variance": variance,
    }
    names = {part: f"{output}.unfolded_{part}" for part in parts}
    for part, values in parts.items():
        set_initializer(model, names[part], values.astype(np.float32))
    inputs, name = [layer.output[0], *names.values()], f"{layer.name or output}_unfolded"
    return onnx.helper.make_node("BatchNormalization", inputs, [output], name, epsilon=_EPSILON)


def _gain(variance: float) -> float:
    """The power of two that makes a variance about 1, or 1 where it is near that."""
    if _LEAST_VARIANCE <= variance <= 1 / _LEAST_VARIANCE or variance < _SMALLEST**2:
        return 1.0
    return float(2 ** np.round(-np.log2(variance) / 2))


def with_usual_kernels(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with kernels before its own BatchNormalization of about the size that they are drawn with.

    Those of a network that takes its inputs unscaled may be so small that each step of training is a leap, or
    so large that none counts. Others stay as they are; what the network computes does not change.
    """

    def far_off(kernel: Array, axis: int) -> float:
        factor = _factor(kernel, axis)
        return 1.0 if 1 / _FAR_OFF <= factor <= _FAR_OFF else float(2 ** np.round(np.log2(factor)))

    return rescale_kernels(model, far_off)


def _factor(kernel: Array, axis: int) -> float:
    inputs = kernel.size / kernel.shape[axis]
    present = np.sqrt(np.mean(kernel.astype(np.float64) ** 2))
    return float(np.float32(np.sqrt(2 / inputs) / present)) if present > _SMALLEST else 1.0


def _has_plain_bias(layer: onnx.NodeProto, constants: Mapping[str, Array]) -> bool:
    given = attributes(layer)
    if given.get("beta", 1.0) != 1.0 or (layer.op_type == "ConvTranspose" and given.get("group", 1) > 1):
        return False
    kernel, bias = constants.get(layer.input[1]), constants.get(layer.input[2])
    if kernel is None or bias is None or bias.ndim != 1:
        return False
    return bool(kernel.dtype == np.float32 and np.isfinite(kernel).all())
