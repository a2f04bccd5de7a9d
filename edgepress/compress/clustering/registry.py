"""The ways of clustering one can choose."""

from importlib import import_module
from typing import Protocol

import onnx

from edgepress.compress.tuning.data import TuningData
from edgepress.config.cluster import ChannelNormalised, ClusterConfig, PerTensor


class Clustering(Protocol):
    """Reduces the distinct weights of every kernel, keeps exact zeros, and fine-tunes."""

    def __call__(self, model: onnx.ModelProto, config: ClusterConfig, data: TuningData) -> onnx.ModelProto:
        """Requires: BatchNormalization not folded. Ensures: no gamma of a BatchNormalization is negative."""


_CLUSTERINGS = {
    ChannelNormalised: "edgepress.compress.clustering.channel_normalised:cluster",
    PerTensor: "edgepress.compress.clustering.per_tensor:cluster",
}


def clustering(config: ClusterConfig) -> Clustering:
    """The way of clustering that the configuration selects."""
    module, name = _CLUSTERINGS[type(config)].split(":")
    chosen: Clustering = getattr(import_module(module), name)
    return chosen
