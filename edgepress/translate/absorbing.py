"""Factors and summands behind a layer, put into its kernel and bias.

Of a kernel in codes the scales take the factors, so that the codes stay as they are.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from edgepress.translate.plan import Array, Plan, Step, Weight

_CHANNELS = {"conv": 3, "depthwise_conv": 2, "conv_transpose": 2, "dense": 1}
"""The axis of a layer's stored kernel along which its outputs lie; a depthwise one's: this and the next."""


def absorbed(plan: Plan) -> Plan:
    """The plan without products and sums by constants that alone read what a layer makes."""
    return replace(plan, steps=tuple(_absorbed(plan.steps, plan.outputs)))


def _absorbed(steps: Sequence[Step], outputs: Collection[str]) -> list[Step]:
    counts = Counter(name for step in steps for name in step.inputs) + Counter(outputs)
    layers, last, done = dict[str, int](), dict[str, int](), list[Step]()
    for step in steps:
        source = step.inputs[0] if len(step.inputs) == 1 and counts[step.inputs[0]] == 1 else ""
        layer = done[layers[source]] if source in layers else None
        taken = None if layer is None else _taken(layer, step)
        if taken is not None:
            done[layers[source]] = replace(taken, node=f"{taken.node};{step.node}")
            done[last[source]] = replace(done[last[source]], output=step.output)
            layers[step.output], last[step.output] = layers[source], last[source]
            continue
        if step.op in _CHANNELS:
            layers[step.output] = last[step.output] = len(done)
        elif layer is not None and step.op == "reshape" and step.attributes["shape"][-1] == _outputs(layer):
            layers[step.output], last[step.output] = layers[source], len(done)
        done.append(step)
    return done


def _outputs(layer: Step) -> int:
    """How many outputs a layer has."""
    shape, axis = layer.weights["kernel"].values.shape, _CHANNELS[layer.op]
    return int(shape[axis] * shape[axis + 1] if layer.op == "depthwise_conv" else shape[axis])


def _taken(layer: Step, step: Step) -> Step | None:
    """The layer that does what the step does to its result, too; None if it cannot."""
    line = _line(step, _outputs(layer))
    if line is None or (layer.attributes.get("groups", 1) > 1 and layer.op == "conv_transpose"):
        return None
    factor, summand = line
    kernel, count = layer.weights["kernel"], len(factor)
    codes, values = kernel.quantisation, kernel.values
    shape = [1] * values.ndim
    axis = _CHANNELS[layer.op]
    shape[axis : axis + 1 + (layer.op == "depthwise_conv")] = (
        values.shape[axis : axis + 2] if layer.op == "depthwise_conv" else [count]
    )
    if (factor != 1).any():
        codes = None if codes is None else replace(codes, scale=codes.scale * np.abs(factor))
        kernel = replace(kernel, values=values * factor.reshape(shape), quantisation=codes)
    weights = {**layer.weights, "kernel": kernel}
    bias = layer.weights["bias"].values if "bias" in layer.weights else np.zeros(count, np.float32)
    if "bias" in layer.weights or summand.any():
        weights["bias"] = Weight(np.asarray(bias * factor + summand, np.float32))
    return replace(layer, weights=weights)


def _line(step: Step, count: int) -> tuple[Array, Array] | None:
    """Factor and summand (count,) of a step that multiplies with constants, or adds some; else None."""
    weight = step.weights.get("operand")
    if step.op not in ("mul", "div", "add", "sub") or weight is None or weight.values.dtype != np.float32:
        return None
    values, first = weight.values, step.attributes["constant_first"]
    if values.size != 1 and (values.size != count or values.shape[-1] != count):
        return None
    each = np.broadcast_to(values.reshape(-1), (count,))
    if (step.op in ("mul", "div") and not each.all()) or (step.op == "div" and first):
        return None
    ones, none = np.ones(count, np.float32), np.zeros(count, np.float32)
    lines = {
        "mul": (each, none),
        "div": (1 / np.where(each == 0, 1, each), none),
        "add": (ones, each),
        "sub": (-ones, each) if first else (ones, -each),
    }
    factor, summand = lines[step.op]
    return np.asarray(factor, np.float32), np.asarray(summand, np.float32)
