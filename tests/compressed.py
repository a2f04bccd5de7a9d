"""The small network in every compressed form, each made once in a process."""

from functools import lru_cache
from typing import Any

import onnx

from edgepress.config.cluster import ChannelNormalised, PerTensor
from edgepress.config.prune import Magnitude
from edgepress.config.quant import Int8Qat
from tests.networks import FORMATS, fine_tuning, network, quantise, tensorflow, tuning

CLUSTERS = 16
CLUSTERINGS: dict[str, Any] = {
    "channel_normalised": ChannelNormalised(CLUSTERS, 0.01, fine_tuning()),
    "per_tensor": PerTensor(CLUSTERS, "kmeans_plus_plus", fine_tuning()),
}
ALL_FORMATS = {
    **FORMATS,
    "int8_qat": Int8Qat(True, 0.99, FORMATS["int8"].calibration, fine_tuning(learning_rate=0.001)),
}


@lru_cache
def pruned() -> onnx.ModelProto:
    """Half of the weights are zero."""
    tensorflow()
    from edgepress.compress.prune import prune

    return prune(network(), Magnitude(0.5, 0.6, fine_tuning()), tuning())


@lru_cache
def clustered(kind: str) -> onnx.ModelProto:
    """Pruned, then at most `CLUSTERS` distinct weights."""
    from edgepress.compress.clustering.registry import clustering

    config = CLUSTERINGS[kind]
    return clustering(config)(pruned(), config, tuning())


@lru_cache
def quantised(form: str, clustering: str = "") -> onnx.ModelProto:
    """In a number format; with `clustering`, pruned and clustered before."""
    tensorflow()
    source, clusters = (clustered(clustering), CLUSTERS) if clustering else (network(), 0)
    return source if form == "float32" else quantise(source, ALL_FORMATS[form], clusters, tuning)
