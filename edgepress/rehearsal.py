"""The way through all stages with the initial weights and a few samples, before the first epoch of training.

What a network's code, the exporter, the translator or the quantiser cannot take is refused here, with their
own words, rather than after hours. Nothing of it is kept, and TensorFlow is not needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import onnx

from edgepress.artifacts import model_path
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.compress.tuning.trainability import refuse_untrainable
from edgepress.config.fine_tune import FineTune
from edgepress.config.load import Off, Runtime
from edgepress.config.model import ModelConfig, Onnx
from edgepress.config.quant import Int8, Int8Qat, QuantConfig
from edgepress.convert.nhwc import planned
from edgepress.datasets.prepared import Array, Description, Split
from edgepress.datasets.samples import Inputs
from edgepress.errors import UnsupportedModelError
from edgepress.graph.imported.ending import SHARES, TAKE_OFF, shares_in
from edgepress.graph.imported.network import imported, read_source
from edgepress.graph.view import last_operator, producers
from edgepress.measure.inference import logits_of, outputs_in_memory
from edgepress.measure.parity import PYTORCH, require_alike
from edgepress.translate.planning import make_plan
from edgepress.translate.trainable import steps_with_kernels

SAMPLES = 4
"""So few calibration inputs: their ranges are of no use, but the places where ranges go are seen."""


@dataclass(frozen=True)
class Choices:
    """What the parameters choose on the way: the network, the compressions, and the converter by its name.

    `trained` are the stages among `prune` and `cluster` that are not switched off, and how they fine-tune.
    """

    model: ModelConfig
    trained: Mapping[str, FineTune]
    quant: QuantConfig
    convert: str


def rehearse(
    choices: Choices, data: Description, training: Split, calibration: Inputs, runtime: Runtime
) -> str:
    """Go the whole way with a few calibration inputs; the result tells of it in a few words.

    Raises:
        EdgepressError: a step cannot take the network; the message names what, and the remedy.
    """
    if isinstance(choices.model, Onnx):
        source = read_source(choices.model)
        taken = imported(source, choices.model, data.input_shape, data.classes, data.inputs)
        network, found = taken.model, outputs_in_memory(taken.model, calibration[:SAMPLES], runtime.threads)
        if taken.classifier:
            _refuse_shares(network, *found.outputs.values())
        went = ["read"]
    else:
        network = _trained_and_exported(choices.model, data, training, runtime)
        went = ["one step of training", "exported"]
    if choices.trained or isinstance(choices.quant, Int8Qat):
        _refuse_to_train(network, choices)
        went.append("planned for training")
    quantised = network if isinstance(choices.quant, Off) else _quantised(network, choices.quant, calibration)
    went += [] if quantised is network else ["quantised"]
    if choices.convert == "nhwc":
        planned(quantised)
        went.append("planned for conversion")
    return ", ".join(went)


def _refuse_to_train(network: onnx.ModelProto, choices: Choices) -> None:
    """What `prune`, `cluster` and training in int8 would refuse of a network and its plan."""
    plan = make_plan(network)
    for stage, tuning in choices.trained.items():
        steps_with_kernels(plan, stage)
        refuse_untrainable(network, plan, tuning, stage)
    if isinstance(choices.quant, Int8Qat):
        refuse_untrainable(network, plan, choices.quant.fine_tune, "quant")


def _trained_and_exported(
    config: ModelConfig, data: Description, training: Split, runtime: Runtime
) -> onnx.ModelProto:
    """The network as `export-onnx` would make it, after one step of training instead of all."""
    from edgepress.architectures.registry import build, input_scaling
    from edgepress.training.checkpoint import restore, saved
    from edgepress.training.export import export
    from edgepress.training.loop import prepare_torch
    from edgepress.training.normalised import Normalised
    from edgepress.training.rehearsal import outputs_of, refuse_bounded, rehearse_training

    def fresh() -> Normalised:
        net = build(config, data.input_shape, data.classes)
        return Normalised(net, *input_scaling(config, data.mean, data.std, data.value_range))

    prepare_torch(runtime)
    trained, again = fresh(), fresh()
    rehearse_training(trained, training)
    restore(again, saved(trained), model_path("train", "model.pt"))
    model, inputs = export(again, data.input_shape), training.inputs(slice(SAMPLES))
    outputs = outputs_of(again, inputs)
    _refuse_shares(model, outputs)
    refuse_bounded(trained, inputs)
    require_alike(PYTORCH, "logits", outputs, logits_of(model, inputs, runtime.threads))
    return model


def _refuse_shares(model: onnx.ModelProto, outputs: Array) -> None:
    """Refuse what ends in a Softmax or the like, by its operators or by what it gives (n, classes)."""
    last = last_operator(model)
    if last is not None and last.op_type == "Log":  # of a Sigmoid
        last = producers(model).get(last.input[0])
    if last is not None and last.op_type in SHARES:
        raise UnsupportedModelError(f"the network ends in {last.op_type} (node {last.name!r}). {TAKE_OFF}")
    if what := shares_in(outputs):
        raise UnsupportedModelError(f"the network ends in a {what}: its outputs add up to 1. {TAKE_OFF}")


def _quantised(network: onnx.ModelProto, config: QuantConfig, calibration: Inputs) -> onnx.ModelProto:
    """The network in the wanted format; training for it starts from that after training."""
    if isinstance(config, Int8Qat):
        config = Int8(config.per_channel, config.calibration)
    sources = Sources(lambda _: calibration[:SAMPLES], _no_tuning, clusters=0, tell=lambda _: None)
    return quantiser(config)(network, config, sources)


def _no_tuning() -> NoReturn:
    raise AssertionError("what is rehearsed does not train")
