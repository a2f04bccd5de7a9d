"""How far the exported model is from the network that it was made of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgepress.datasets.prepared import Array
from edgepress.errors import UnsupportedModelError
from edgepress.measure.inference import same_class

TOLERANCE = 1e-3
"""How far outputs may lie apart, relative to the largest one."""


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
    """What the network itself gives (N, classes), and what it would give where the logits are given ones."""

    outputs: Array
    origin: Origin
    of_logits: Callable[[Array], Array] = lambda logits: logits


def parity(reference: Reference, logits: Array) -> dict[str, float]:
    """How far the exported model's logits (N, classes) are from the network's.

    Raises:
        UnsupportedModelError: the outputs do not vary over the samples, or the two disagree.
    """
    origin, expected, exported = reference.origin, reference.outputs, reference.of_logits(logits)
    if not np.ptp(expected, axis=0).any():
        raise UnsupportedModelError(
            f"the network gives the same logits for every sample; expected them to vary. {origin.if_constant}"
        )
    difference = require_alike(origin, expected, exported)
    return {"max_abs_diff": difference, "top1_agreement": same_class(expected, exported)}


def require_alike(origin: Origin, expected: Array, exported: Array) -> float:
    """The largest difference of an exported model's outputs from those that it should have.

    Raises:
        UnsupportedModelError: it is too large.
    """
    difference = float(np.abs(expected - exported).max())
    limit = TOLERANCE * float(np.abs(expected).max())
    if not difference <= limit:
        raise UnsupportedModelError(
            f"the exported model's logits are {difference:g} from {origin.name}; expected at most {limit:g}. "
            f"{origin.if_apart}"
        )
    return difference
