"""The kernels of a network as matrices, and the codebooks they share."""

from dataclasses import dataclass, replace

import numpy as np
import onnx

from edgepress.compress.codebooks.codebook import Codebook, Coded, find_codebook
from edgepress.datasets.prepared import Array
from edgepress.graph.batchnorm import folding_factors
from edgepress.translate.plan import Plan
from edgepress.translate.planning import make_plan
from edgepress.translate.trainable import has_own_kernel

KERNEL_NAMES = {
    "conv": "kernel",
    "conv_transpose": "kernel",
    "dense": "kernel",
    "depthwise_conv": "depthwise_kernel",
}
"""The steps with a kernel, and what Keras calls it."""


@dataclass(frozen=True)
class CodedKernel:
    """A kernel that a codebook describes; kernels that share one hold the same `codebook` object."""

    codebook: Codebook
    coded: Coded


def as_matrix(step_op: str, kernel: Array) -> Array:
    """A kernel in TensorFlow's layout as (rows, output channels)."""
    if step_op == "depthwise_conv":
        return kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
    if step_op == "conv_transpose":  # (kH, kW, outputs, inputs)
        return np.swapaxes(kernel, 2, 3).reshape(-1, kernel.shape[2])
    return kernel.reshape(-1, kernel.shape[-1])


def kernel_matrices(plan: Plan) -> dict[str, Array]:
    """All kernels of a plan that can be trained, as matrices (rows, output channels), by initializer."""
    return {
        str(step.weights["kernel"].initializer): as_matrix(step.op, step.weights["kernel"].values)
        for step in plan.steps
        if has_own_kernel(step)
    }


def coded_kernels(model: onnx.ModelProto, clusters: int) -> dict[str, CodedKernel]:
    """The kernels with codebooks of at most `clusters` values, by initializer, as they are after folding.

    They are looked for before BatchNormalization is folded: folding multiplies each channel by a factor
    of its own, after which a codebook that was shared by a whole tensor could not be seen any more. One
    codebook for all kernels is tried first, then one for each.
    """
    if not clusters:
        return {}
    matrices = kernel_matrices(make_plan(model))
    together = find_codebook(list(matrices.values()), clusters)
    if together is not None:
        found = {name: CodedKernel(together, c) for name, c in zip(matrices, together.kernels, strict=True)}
    else:
        books = {name: find_codebook([matrix], clusters) for name, matrix in matrices.items()}
        found = {name: CodedKernel(book, book.kernels[0]) for name, book in books.items() if book is not None}
    factors = folding_factors(model)
    return {name: _folded(kernel, factors.get(name)) for name, kernel in found.items()}


def _folded(kernel: CodedKernel, factor: Array | None) -> CodedKernel:
    if factor is None:
        return kernel
    assert (factor >= 0).all(), "a codebook stays shared only under positive factors"
    scale = (kernel.coded.scale * factor).astype(np.float32)
    return replace(kernel, coded=replace(kernel.coded, scale=scale))
