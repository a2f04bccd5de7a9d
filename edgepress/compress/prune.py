"""Magnitude pruning with TFMOT, in the network as it was trained: BatchNormalization stays and adapts.

Zhu, Gupta, "To prune, or not to prune", arXiv:1710.01878 (the polynomial schedule).
"""

from typing import Any

import onnx

from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.fine_tune import Ramp, fine_tune
from edgepress.compress.tuning.steps import State
from edgepress.compress.tuning.suiting import suited_data, suited_network
from edgepress.compress.tuning.tfmot_setup import tfmot
from edgepress.compress.tuning.trainability import refuse_untrainable
from edgepress.config.prune import Latency, Magnitude, MByN
from edgepress.errors import UnsupportedModelError
from edgepress.graph.view import copy
from edgepress.translate.keras_face import KerasNetwork, build_keras, write_back
from edgepress.translate.plan import Plan, Step
from edgepress.translate.planning import make_plan
from edgepress.translate.trainable import has_own_kernel, steps_with_kernels

_UPDATES = 20
"""How often sparsity is raised on its way to the target."""
_ONLY_STEP = 1
"""The only step at which TFMOT makes m-by-n masks, and one at which a constant schedule prunes."""


def prune(model: onnx.ModelProto, config: Magnitude | MByN, data: TuningData) -> onnx.ModelProto:
    """Prune every convolution and dense kernel (not depthwise ones) and fine-tune.

    With `epochs=0` all is pruned at once, as it is where that removes nothing. BatchNormalization that is
    folded is put back for the training (see `suited_network`), and folded again.

    Requires: BatchNormalization not folded, where the network has some. Ensures: each pruned kernel has its
    share of zeros.

    Raises:
        UnsupportedModelError: there is nothing to prune, or `latency` is asked of a network that XNNPACK's
            sparse inference cannot run.
    """
    plan = make_plan(model)
    steps_with_kernels(plan, "prune")
    refuse_untrainable(model, plan, config.fine_tune, "prune")
    suited = suited_network(model, plan, data, config.fine_tune)
    plan = make_plan(suited.model)
    network, tuned, last = _network(plan, config, data)
    start = State(tuned)
    _prune_at_once(tuned, last)
    if not _pruned_weights(tuned):
        return copy(model)
    if config.fine_tune.epochs:
        start.restore()
        teacher = build_keras(plan).model if config.fine_tune.distillation else None
        ramp = Ramp(
            tfmot.sparsity.keras.UpdatePruningStep(),
            at_once=lambda: _prune_at_once(tuned, last),
            complete=lambda: all(int(layer.pruning_step) >= last for layer in _pruned_layers(tuned)),
        )
        fitting = suited_data(model, plan, data, config.fine_tune, "prune")
        fine_tune(tuned, fitting, config.fine_tune, "prune", teacher, ramp)
    return suited.folded(write_back(suited.model, network, network.values()))


def _network(plan: Plan, config: Magnitude | MByN, data: TuningData) -> tuple[KerasNetwork, Any, int]:
    """The network, the model of it that TFMOT prunes, and the step of training at which that is done."""
    options = _options(config, data)
    last = getattr(options["pruning_schedule"], "end_step", -1)
    if isinstance(config, Latency):
        return *_for_latency(plan, options), max(last, _ONLY_STEP)
    network = build_keras(plan, lambda layer, step: _wrapped(layer, step, options))
    return network, network.model, max(last, _ONLY_STEP)


def _prune_at_once(model: Any, step: int) -> None:
    """What TFMOT's wrappers do in a training step, without the step."""
    for layer in _pruned_layers(model):
        layer.pruning_step.assign(step)
        layer.pruning_obj.conditional_mask_update()
        layer.pruning_obj.weight_mask_op()


def _pruned_weights(model: Any) -> int:
    """How many weights the masks hold at zero."""
    masks = [mask for layer in _pruned_layers(model) for _, mask, _ in layer.pruning_vars]
    return sum(int((mask.numpy() == 0).sum()) for mask in masks)


def _pruned_layers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if hasattr(layer, "pruning_obj")]


def _schedule(config: Magnitude, data: TuningData) -> dict[str, Any]:
    if not config.fine_tune.epochs:
        return {"pruning_schedule": tfmot.sparsity.keras.ConstantSparsity(config.sparsity, 0, frequency=1)}
    steps = config.fine_tune.epochs * data.steps_per_epoch(config.fine_tune.batch_size)
    last = min(int(config.ramp * steps), steps - 1)
    frequency = max(1, last // _UPDATES)
    end = max(1, last // frequency * frequency)
    decay = tfmot.sparsity.keras.PolynomialDecay(0.0, config.sparsity, 0, end, frequency=frequency)
    return {"pruning_schedule": decay}


def _options(config: Magnitude | MByN, data: TuningData) -> dict[str, Any]:
    if isinstance(config, Magnitude):
        return _schedule(config, data)
    once = tfmot.sparsity.keras.ConstantSparsity(config.m / config.n, 0, frequency=1)
    return {"pruning_schedule": once, "sparsity_m_by_n": (config.m, config.n)}


def _prunable(options: dict[str, Any]) -> tuple[str, ...]:
    """Groups of m by n run along the inputs, which a transposed convolution's kernel has elsewhere."""
    return ("conv", "dense") if "sparsity_m_by_n" in options else ("conv", "dense", "conv_transpose")


def _wrapped(layer: Any, step: Step, options: dict[str, Any]) -> Any:
    if not has_own_kernel(step) or step.op not in _prunable(options):
        return layer
    return tfmot.sparsity.keras.prune_low_magnitude(layer, **options)


def _for_latency(plan: Plan, options: dict[str, Any]) -> tuple[KerasNetwork, Any]:
    """TFMOT's policy wraps the network's own layers, so `network` holds the pruned variables too."""
    network = build_keras(plan)
    policy = tfmot.sparsity.keras.PruneForLatencyOnXNNPack()
    try:
        wrapped = tfmot.sparsity.keras.prune_low_magnitude(network.model, pruning_policy=policy, **options)
    except ValueError as error:
        raise UnsupportedModelError(
            f"prune=latency: XNNPACK's sparse inference cannot run this network ({error}); it wants "
            "3 input channels, a first 3x3 convolution with stride 2, then 1x1 and depthwise convolutions "
            "and a global average pool (e.g. model=mobilenet_v1 data.channels=3 data.size=64). "
            "Choose prune=magnitude instead"
        ) from error
    return network, wrapped
