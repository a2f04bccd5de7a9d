"""A network converted without its large kernels, which are put into the finished file.

TensorFlow's converter keeps a weight several times over, in its graph, its intermediate representation and
twice in the file it writes. A constant that is one number repeated it stores once. So each large kernel goes
through it as one number, its mark. What the converter makes of the mark shows that it did not touch the
kernel's values, and the operator that reads it says in which order of axes they are. `filling.py` checks all
of that. Where the converter did anything else, as multiply a kernel or leave it out, the network has to be
converted whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress.translate.plan import Array, Plan, Step, Weight, matrix_parts

LARGE = 1 << 16
"""Kernels of fewer elements go through the converter as they are."""

_MARKS = tuple(float(np.ldexp(1 + i / 1024, exponent)) for exponent in range(-13, -1) for i in range(1024))
"""float16 has them all, so that each of them is still itself where weights are stored so."""

_SMALLEST = 5e-7
"""The range that TensorFlow gives to weights that are all about 0."""

_ORDERS = {"conv": (3, 0, 1, 2), "conv_transpose": (2, 0, 1, 3), "dense": (1, 0)}
_OPERATORS = {
    "conv": schema.BuiltinOperator.CONV_2D,
    "depthwise_conv": schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    "conv_transpose": schema.BuiltinOperator.TRANSPOSE_CONV,
    "dense": schema.BuiltinOperator.FULLY_CONNECTED,
}


@dataclass(frozen=True)
class Kernel:
    """A kernel as TFLite's `operator` stores it, and the number that stands for each of its elements.

    Of floats each has a mark of its own. Of int8 codes the mark is beyond all of them, so that each code
    becomes 127, and what tells the kernel from others are its `scales`, shaped to broadcast against `values`.
    Where the converter itself makes codes of floats, it is the scale that it makes of the mark.
    """

    mark: float
    operator: int
    values: Array
    scales: Array | None = None

    def with_scales(self, axis: int | None) -> "Kernel":
        """With scales as TensorFlow chooses them for weights alone: the largest magnitude, of all or along an
        axis, becomes 127.
        """
        others = tuple(other for other in range(self.values.ndim) if other != axis)
        ends = [end(others, keepdims=True).astype(np.float64) for end in (self.values.max, self.values.min)]
        return replace(self, scales=np.maximum(np.maximum(ends[0], -ends[1]), _SMALLEST) / 127)

    def stored(self) -> Array:
        """The values, or the codes (int8, −127 to 127) that stand for them, rounded half away from zero."""
        if self.scales is None:
            return self.values
        codes = np.empty(self.values.shape, np.int8)
        scales = np.broadcast_to(self.scales, (len(codes), *self.scales.shape[1:]))
        for row, values, scale in zip(
            codes, self.values, scales, strict=True
        ):  # all at once, it would be eightfold
            quotients = values / scale
            row[...] = np.clip(np.trunc(quotients + np.copysign(0.5, quotients)), -127, 127)
        return codes


def hollow(plan: Plan, least: int = LARGE) -> tuple[Plan, list[Kernel]]:
    """The plan with marks in place of its kernels of at least so many elements, and these kernels.

    Equal ones share a mark, as TensorFlow stores equal constants once.
    """
    kernels: list[Kernel] = []
    steps = []
    for step in plan.steps:
        if not _can_wait(step, least) or len(kernels) == len(_MARKS):
            steps.append(step)
            continue
        weight, free = step.weights["kernel"], _MARKS[len(kernels)]
        own = _quantised(step, weight) if weight.quantisation else [_float(step, weight, free)]
        known = [_known(kernels, kernel) for kernel in own]
        kernels.extend(kernel for kernel, same in zip(own, known, strict=True) if same is None)
        mark = own[0].mark if weight.quantisation or known[0] is None else known[0].mark
        marks = np.broadcast_to(np.float32(mark), weight.values.shape)
        steps.append(replace(step, weights={**step.weights, "kernel": replace(weight, values=marks)}))
    return replace(plan, steps=tuple(steps)), kernels


def _can_wait(step: Step, least: int) -> bool:
    """Whether it has a large kernel whose place in the file is known."""
    if step.op not in _OPERATORS or "kernel" not in step.weights:
        return False
    weight = step.weights["kernel"]
    if step.op == "conv_transpose" and (step.attributes["groups"] > 1 or step.attributes["spread"]):
        return False
    return weight.values.size >= least and weight.values.dtype == np.float32


def _float(step: Step, weight: Weight, mark: float) -> Kernel:
    return Kernel(mark, _OPERATORS[step.op], _ordered(step.op, weight.values))


def _quantised(step: Step, weight: Weight) -> list[Kernel]:
    """A quantised matrix is written as one or more 1×1 convolutions."""
    assert weight.quantisation is not None
    mark = 128 * float(weight.quantisation.scale.max())
    if step.op == "dense":
        return [_codes("conv", part, mark) for part in matrix_parts(weight)]
    return [_codes(step.op, weight, mark)]


def _codes(op: str, weight: Weight, mark: float) -> Kernel:
    assert weight.quantisation is not None
    scales = weight.quantisation.scale.astype(np.float32)
    shape = (1, 1, 1, -1) if op == "depthwise_conv" else (-1, 1, 1, 1)
    return Kernel(mark, _OPERATORS[op], _ordered(op, weight.values), scales.reshape(shape))


def _ordered(op: str, values: Array) -> Array:
    """A view of a kernel as TFLite orders its axes."""
    if op == "depthwise_conv":
        return values.reshape(1, *values.shape[:2], -1)
    return values.transpose(_ORDERS[op])


def _known(kernels: Sequence[Kernel], new: Kernel) -> Kernel | None:
    """The kernel that is the same but for its mark."""
    for kernel in kernels:
        alike = kernel.operator == new.operator and kernel.values.shape == new.values.shape
        if alike and np.array_equal(kernel.values[0], new.values[0]) and _same(kernel, new):
            return kernel
    return None


def _same(kernel: Kernel, new: Kernel) -> bool:
    if kernel.scales is None or new.scales is None:
        return kernel.scales is new.scales and np.array_equal(kernel.values, new.values)
    return np.array_equal(kernel.scales, new.scales) and np.array_equal(kernel.values, new.values)
