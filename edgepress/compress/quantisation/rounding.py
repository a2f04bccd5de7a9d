"""What the ranges of joined tensors cost, measured on inputs.

A network is run as it is and with everything rounded that int8 rounds, but for its joins: so each tensor
carries the noise that its own producers give it. What a join's range adds is compared with what was there.
"""

import numpy as np
import onnx

from edgepress.compress.quantisation.floats import unquantised_nodes
from edgepress.compress.quantisation.scales import scale_and_zero_point
from edgepress.compress.quantisation.sharing import Ranges, joins, moves
from edgepress.datasets.prepared import Array
from edgepress.graph.view import consumers, copy, replace_nodes, set_initializer
from edgepress.graph.weights import channel_magnitudes, kernels

ROUNDED = ".rounded"
_LEVELS = 255


def rounded(values: Array, bounds: tuple[float, float]) -> Array:
    """What int8 codes of a range make of the values."""
    scale, zero = scale_and_zero_point(*bounds)
    codes = np.clip(np.round(values / scale) + float(zero), -128, 127)
    return np.asarray((codes - float(zero)) * scale, np.float32)


def step_noise(bounds: tuple[float, float]) -> float:
    """The power of the noise of rounding to the codes of a range."""
    step = (max(bounds[1], 0.0) - min(bounds[0], 0.0)) / _LEVELS
    return step * step / 12


def decibels(noise: float, before: float) -> float:
    """By how much noise has grown."""
    return float(10 * np.log10(noise / before)) if noise > before > 0 else 0.0


def rounding_network(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """The float network with its kernels and the tensors of these ranges rounded as int8 would, but no joins.

    A tensor that is moved from another has that one's codes. What is rounded ends in `ROUNDED`.
    """
    network = copy(model)
    for kernel in kernels(network):
        scale = channel_magnitudes(kernel.values, kernel.channel_axis) / 127
        codes = np.round(kernel.values / np.where(scale > 0, scale, 1))
        set_initializer(network, kernel.initializer, (codes * scale).astype(np.float32))
    chosen = _rounded_tensors(network, ranges)
    nodes = list[onnx.NodeProto]()
    for entry in network.graph.input:
        nodes += _pair(network, entry.name, ranges) if entry.name in chosen else []
    for node in network.graph.node:
        node.input[:] = [f"{name}{ROUNDED}" if name in chosen else name for name in node.input]
        nodes.append(node)
        for name in node.output:
            nodes += _pair(network, name, ranges) if name in chosen else []
    replace_nodes(network, nodes)
    return network


def _rounded_tensors(model: onnx.ModelProto, ranges: Ranges) -> set[str]:
    floats, readers = set(unquantised_nodes(model)), consumers(model)
    chosen = {entry.name for entry in model.graph.input if entry.name in ranges}
    for node in model.graph.node:
        if moves(model, node) or joins(model, node):
            continue
        for name in node.output:
            following = readers[name]
            clipped = len(following) == 1 and following[0].op_type in ("Relu", "Clip")
            alone = node.name in floats and all(reader.name in floats for reader in following)
            if name in ranges and not clipped and not alone:
                chosen.add(name)
    return chosen


def _pair(model: onnx.ModelProto, name: str, ranges: Ranges) -> list[onnx.NodeProto]:
    scale, zero = scale_and_zero_point(*ranges[name])
    parameters = [f"{name}.step", f"{name}.zero"]
    set_initializer(model, parameters[0], np.array(scale))
    set_initializer(model, parameters[1], np.array(zero))
    codes, values = f"{name}.codes", f"{name}{ROUNDED}"
    return [
        onnx.helper.make_node("QuantizeLinear", [name, *parameters], [codes], codes),
        onnx.helper.make_node("DequantizeLinear", [codes, *parameters], [values], values),
    ]
