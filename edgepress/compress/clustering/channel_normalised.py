"""One codebook for the whole network, over weights divided by their channel's scale."""

from typing import Any

import onnx

from edgepress.compress.codebooks.codebook import fit_codebook
from edgepress.compress.codebooks.coded_kernels import KERNEL_NAMES, kernel_matrices
from edgepress.compress.codebooks.keras_kernels import (
    CodebookQuantizer,
    LayerConfig,
    SharedCodebook,
    computed_values,
    wrapped,
)
from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.fine_tune import fine_tune
from edgepress.compress.tuning.suiting import suited_data, suited_network
from edgepress.compress.tuning.trainability import refuse_untrainable
from edgepress.config.cluster import ChannelNormalised
from edgepress.graph.batchnorm import folded_gammas, make_gammas_positive
from edgepress.graph.weights import kernels
from edgepress.translate.keras_face import build_keras, write_back
from edgepress.translate.plan import Step
from edgepress.translate.planning import make_plan
from edgepress.translate.trainable import has_own_kernel, steps_with_kernels


def cluster(model: onnx.ModelProto, config: ChannelNormalised, data: TuningData) -> onnx.ModelProto:
    """Fit the codebook, then train it and the channel scales while the assignment of weights stays.

    Kernels that cannot be trained (see `has_own_kernel`) are left as they are. BatchNormalization that is
    folded is put back for the training (see `suited_network`), and folded again. Gammas that will be folded
    stay at 0 or above: a negative factor would add the negatives of the codebook's values to it.
    """
    positive = make_gammas_positive(model)
    plan = make_plan(positive)
    steps_with_kernels(plan, "cluster")
    refuse_untrainable(positive, plan, config.fine_tune, "cluster")
    suited = suited_network(positive, plan, data, config.fine_tune)
    plan = make_plan(suited.model)
    matrices = kernel_matrices(plan)
    fitted = fit_codebook(list(matrices.values()), config.number_of_clusters, config.entropy_weight)
    coded = dict(zip(matrices, fitted.kernels, strict=True))
    shared = SharedCodebook(fitted)

    def wrap(layer: Any, step: Step) -> Any:
        if not has_own_kernel(step):
            return layer
        kernel = coded[str(step.weights["kernel"].initializer)]
        quantizer = CodebookQuantizer(shared, kernel.index, kernel.scale, step.op == "conv_transpose")
        return wrapped(layer, LayerConfig(KERNEL_NAMES[step.op], quantizer))

    network = build_keras(plan, wrap, never_negative=folded_gammas(suited.model))
    teacher = build_keras(plan).model if config.fine_tune.distillation else None
    fitting = suited_data(model, plan, data, config.fine_tune, "cluster")
    fine_tune(network.model, fitting, config.fine_tune, "cluster", teacher)
    clustered = suited.folded(write_back(suited.model, network, computed_values(network)))
    found = [kernel for kernel in kernels(clustered) if kernel.initializer in matrices]
    assert all(kernel.unique_weights <= config.number_of_clusters for kernel in found)
    return clustered
