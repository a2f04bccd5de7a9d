"""Section `prune`: which weights become zero, and how fast."""

from dataclasses import dataclass

from edgepress.config.fine_tune import FineTune
from edgepress.config.load import Off
from edgepress.config.schema import require, require_integer


@dataclass(frozen=True)
class Magnitude:
    """The smallest weights of each kernel, on TFMOT's polynomial schedule.

    `ramp` is the share of the fine-tuning steps in which sparsity rises to its target.
    """

    sparsity: float
    ramp: float
    fine_tune: FineTune

    def __post_init__(self) -> None:
        require(0 <= self.sparsity < 1, "sparsity", self.sparsity, "a number in [0, 1)")
        require(0 < self.ramp <= 1, "ramp", self.ramp, "a number in (0, 1]")


@dataclass(frozen=True)
class Latency(Magnitude):
    """Magnitude pruning of only those kernels that XNNPACK's sparse inference can speed up."""


@dataclass(frozen=True)
class MByN:
    """`m` zeros in each group of `n` consecutive weights along the input channels."""

    m: int
    n: int
    fine_tune: FineTune

    def __post_init__(self) -> None:
        require_integer("n", self.n, 2, 256)
        require(0 < self.m < self.n, "m", self.m, f"an integer in (0, {self.n})")


PruneConfig = Off | Magnitude | Latency | MByN
CHOICES: dict[str, type[PruneConfig]] = {
    "none": Off,
    "magnitude": Magnitude,
    "m_by_n": MByN,
    "latency": Latency,
}
