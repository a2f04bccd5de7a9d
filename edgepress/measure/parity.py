"""How far the exported model is from the network that it was made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgepress.datasets.prepared import Array
from edgepress.errors import UnsupportedModelError
from edgepress.measure.agreement import Outputs, is_classifier
from edgepress.measure.inference import same_class

TOLERANCE = 1e-3
"""How far outputs may lie apart, relative to the largest one."""

_INTEGERS = 0.01
"""The share of integers that may differ: of classes that are close, rounding decides."""


@dataclass(frozen=True)
class Origin:
    """Whose outputs the exported model's are compared with, and what to look at where something is wrong."""

    name: str
    if_constant: str
    if_apart: str


PYTORCH = Origin(
    "PyTorch's",
    "Check the architecture, or lower train.learning_rate",
    "Look for Python control flow or values computed outside torch in the network",
)
FILE = Origin(
    "those of the file's network",
    "Check the network, and whether it wants other values than the data has: model.mean and model.std",
    "Export the network again, at opset 15 if you can",
)


@dataclass(frozen=True)
class Reference:
    """What the network itself gives, each output of some samples joined on the first axis, in its order.

    `of_outputs` says what it would give where the exported model gives these outputs by name.
    """

    outputs: Sequence[Array]
    origin: Origin
    of_outputs: Callable[[Outputs], list[Array]] = lambda outputs: list(outputs.values())


def parity(reference: Reference, outputs: Outputs, samples: int) -> dict[str, float | None]:
    """How far the exported model's outputs are from the network's; `top1_agreement` is of classes.

    Raises:
        UnsupportedModelError: the outputs do not vary over the samples, or the two disagree.
    """
    origin, expected, exported = reference.origin, reference.outputs, reference.of_outputs(outputs)
    what = "logits" if is_classifier(outputs, samples) else "outputs"
    if samples > 1 and not any(_varies(each, samples) for each in expected):
        raise UnsupportedModelError(
            f"the network gives the same {what} for every sample; expected them to vary. {origin.if_constant}"
        )
    pairs = zip(outputs, expected, exported, strict=True)
    difference = max(require_alike(origin, *pair) for pair in pairs)
    top1 = same_class(expected[0], exported[0]) if is_classifier(outputs, samples) else None
    return {"max_abs_diff": difference, "top1_agreement": top1}


def _varies(values: Array, samples: int) -> bool:
    """Whether an output differs from sample to sample; also where its size does."""
    if not values.size or values.size % samples:
        return bool(values.size)
    rows = values.reshape(samples, -1)
    return bool((rows != rows[:1]).any())


def require_alike(origin: Origin, name: str, expected: Array, exported: Array) -> float:
    """The largest difference of an exported model's output from the one that it should have.

    Raises:
        UnsupportedModelError: it is too large, or of integers more than 1% differ.
    """
    if expected.shape != exported.shape:
        raise UnsupportedModelError(
            f"the exported model's {name} are {exported.shape} where {origin.name} are {expected.shape}; "
            f"expected the same. {origin.if_apart}"
        )
    apart = np.abs(np.subtract(expected, exported, dtype=np.float64))
    difference = float(apart.max(initial=0.0))
    limit = TOLERANCE * float(np.abs(expected.astype(np.float64)).max(initial=0.0))
    if expected.dtype.kind != "f" and float((apart > 0).mean() if apart.size else 0) <= _INTEGERS:
        return difference
    if not difference <= limit:
        raise UnsupportedModelError(
            f"the exported model's {name} are {difference:g} from {origin.name}; expected at most {limit:g}. "
            f"{origin.if_apart}"
        )
    return difference
