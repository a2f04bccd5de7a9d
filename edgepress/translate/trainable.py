"""Which steps of a plan have weights that can be trained and written back."""

import numpy as np

from edgepress.errors import UnsupportedModelError
from edgepress.translate.plan import Plan, Step

WEIGHTS = {
    "conv": ("kernel", "bias"),
    "depthwise_conv": ("kernel", "bias"),
    "conv_transpose": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_norm": ("gamma", "beta", "mean", "variance"),
}
"""The parts of each, in the order of a Keras layer's weights."""


def weights_are_own(step: Step) -> bool:
    """Whether the step's weights, if it has some, are initializers, and Keras has a layer that takes them.

    One that the graph computes from others has no initializer of its own, and there is no transposed
    convolution in groups: those stay as they are.
    """
    parts = WEIGHTS.get(step.op, ())
    traced = all(step.weights[part].initializer for part in parts if part in step.weights)
    return traced and not (step.op == "conv_transpose" and step.attributes["groups"] > 1)


def has_own_kernel(step: Step) -> bool:
    """Whether compression can work on the step's kernel."""
    return "kernel" in WEIGHTS.get(step.op, ()) and weights_are_own(step)


def steps_with_kernels(plan: Plan, stage: str) -> list[Step]:
    """The steps whose kernels a stage can work on.

    Raises:
        UnsupportedModelError: there is none, or one holds values that are no numbers.
    """
    found = [step for step in plan.steps if has_own_kernel(step)]
    for step in found:
        if not np.isfinite(step.weights["kernel"].values).all():
            raise UnsupportedModelError(
                f"{stage}: the weights of node {step.node!r} hold NaN or infinity; expected numbers. "
                "Train or export the network again"
            )
    if not found:
        raise UnsupportedModelError(
            f"{stage}: the network has no convolution or matrix product with constant weights; "
            f"expected at least one. Go without: -S {stage}=none"
        )
    return found
