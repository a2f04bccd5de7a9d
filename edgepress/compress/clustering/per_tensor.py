"""TFMOT's weight clustering: each kernel gets its own centroids; zeros that pruning made stay.

Depthwise kernels are left as they are: TFMOT does not cluster them. So are kernels that have as few distinct
weights as asked for: TFMOT fails on a kernel with fewer weights than clusters.
"""

from typing import Any

import numpy as np
import onnx

from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.fine_tune import fine_tune
from edgepress.compress.tuning.suiting import suited_data
from edgepress.compress.tuning.tfmot_setup import tfmot
from edgepress.compress.tuning.trainability import refuse_untrainable
from edgepress.config.cluster import PerTensor
from edgepress.graph.batchnorm import folded_gammas, make_gammas_positive
from edgepress.graph.weights import kernels
from edgepress.translate.keras_face import build_keras, layer_name, write_back
from edgepress.translate.plan import Step
from edgepress.translate.planning import make_plan
from edgepress.translate.trainable import steps_with_kernels


def cluster(model: onnx.ModelProto, config: PerTensor, data: TuningData) -> onnx.ModelProto:
    """Cluster every kernel that can be trained, but depthwise ones, and fine-tune the centroids.

    A kernel with no more distinct weights than clusters is done already; its layer is not trained. Gammas
    that will be folded stay at 0 or above, so that the codebook can still be seen behind their factors.
    """
    # The public cluster_weights has no preserve_sparsity; TFMOT keeps that one here.
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as preserving

    positive = make_gammas_positive(model)
    plan = make_plan(positive)
    found = [step for step in steps_with_kernels(plan, "cluster") if step.op != "depthwise_conv"]
    refuse_untrainable(positive, plan, config.fine_tune, "cluster")
    clustered = {step.output: step for step in found if _distinct(step) > config.number_of_clusters}
    done = {step.output for step in found} - set(clustered)
    start = tfmot.clustering.keras.CentroidInitialization[config.initialisation.upper()]

    def wrap(layer: Any, step: Step) -> Any:
        if step.output not in clustered:
            layer.trainable = layer.trainable and step.output not in done
            return layer
        return preserving.cluster_weights(layer, config.number_of_clusters, start, preserve_sparsity=True)

    network = build_keras(plan, wrap, never_negative=folded_gammas(positive))
    teacher = build_keras(plan).model if config.fine_tune.distillation else None
    fitting = suited_data(model, plan, data, config.fine_tune, "cluster")
    fine_tune(network.model, fitting, config.fine_tune, "cluster", teacher)
    stripped = tfmot.clustering.keras.strip_clustering(network.model)
    values = network.values()
    for output, step in clustered.items():
        values[output, "kernel"] = stripped.get_layer(layer_name(step)).kernel.numpy()
    names = {step.weights["kernel"].initializer for step in found}
    result = write_back(positive, network, values)
    checked = [kernel for kernel in kernels(result) if kernel.initializer in names]
    assert all(kernel.unique_weights <= config.number_of_clusters for kernel in checked)
    return result


def _distinct(step: Step) -> int:
    return len(np.unique(step.weights["kernel"].values))
