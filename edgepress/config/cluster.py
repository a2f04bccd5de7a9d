"""Section `cluster`: how many distinct weights, and shared by what."""

from dataclasses import dataclass
from typing import Literal

from edgepress.config.fine_tune import FineTune
from edgepress.config.load import Off
from edgepress.config.schema import require, require_integer


@dataclass(frozen=True)
class ChannelNormalised:
    """One codebook for weights divided by their channel's scale; survives per-channel int8.

    `entropy_weight` trades error for codes that compress better; 0 is plain k-means.
    """

    number_of_clusters: int
    entropy_weight: float
    fine_tune: FineTune

    def __post_init__(self) -> None:
        require_integer("number_of_clusters", self.number_of_clusters, 4, 128)
        require(0 <= self.entropy_weight <= 1, "entropy_weight", self.entropy_weight, "a number in [0, 1]")


@dataclass(frozen=True)
class PerTensor:
    """TFMOT's weight clustering: one codebook for each kernel.

    With zeros to keep, TFMOT wants more than two clusters.
    """

    number_of_clusters: int
    initialisation: Literal["kmeans_plus_plus", "linear", "density_based", "random"]
    fine_tune: FineTune

    def __post_init__(self) -> None:
        require_integer("number_of_clusters", self.number_of_clusters, 3, 128)


ClusterConfig = Off | ChannelNormalised | PerTensor
CHOICES: dict[str, type[ClusterConfig]] = {
    "none": Off,
    "channel_normalised": ChannelNormalised,
    "per_tensor": PerTensor,
}
