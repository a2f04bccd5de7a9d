"""One codebook for the whole network, over weights divided by their channel's scale."""

from typing import Any

import onnx

from edgepress.compress.clustering.gammas import without_negative_gammas
from edgepress.compress.codebooks.codebook import fit_codebook
from edgepress.compress.codebooks.coded_kernels import KERNEL_STEPS, kernel_matrices
from edgepress.compress.codebooks.keras_kernels import (
    CodebookQuantizer,
    LayerConfig,
    SharedCodebook,
    computed_values,
    wrapped,
)
from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.fine_tune import fine_tune
from edgepress.config.cluster import ChannelNormalised
from edgepress.graph.batchnorm import make_gammas_positive
from edgepress.graph.weights import kernels
from edgepress.translate.keras_face import build_keras, write_back
from edgepress.translate.plan import Step
from edgepress.translate.planner import make_plan


def cluster(model: onnx.ModelProto, config: ChannelNormalised, data: TuningData) -> onnx.ModelProto:
    """Fit the codebook, then train it and the channel scales while the assignment of weights stays."""
    positive = make_gammas_positive(model)
    plan = make_plan(positive)
    matrices = kernel_matrices(plan)
    fitted = fit_codebook(list(matrices.values()), config.number_of_clusters, config.entropy_weight)
    coded = dict(zip(matrices, fitted.kernels, strict=True))
    shared = SharedCodebook(fitted)

    def wrap(layer: Any, step: Step) -> Any:
        if step.op not in KERNEL_STEPS:
            return layer
        kernel = coded[str(step.weights["kernel"].initializer)]
        quantizer = CodebookQuantizer(shared, kernel.index, kernel.scale)
        return wrapped(layer, LayerConfig(KERNEL_STEPS[step.op], quantizer))

    network = build_keras(plan, wrap)
    teacher = build_keras(plan).model if config.fine_tune.distillation else None
    fine_tune(network.model, data, config.fine_tune, "cluster", teacher)
    clustered = write_back(positive, network, without_negative_gammas(computed_values(network)))
    assert all(k.unique_weights <= config.number_of_clusters for k in kernels(clustered))
    return clustered
