"""The Keras face: a float plan as a functional `tf_keras` model, for fine-tuning with TFMOT.

Every trainable weight, and BatchNormalization's statistics, keep the way back to the ONNX initializer
they came from, so that what was trained can be written into the ONNX model again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from edgepress.graph.view import copy, set_initializer
from edgepress.translate.functions import apply_step
from edgepress.translate.plan import Array, Entry, Plan, Step, Weight
from edgepress.translate.tensorflow_setup import keras, tf
from edgepress.translate.trainable import WEIGHTS, weights_are_own

BATCHNORM_MOMENTUM = 0.9
"""Keras' default, 0.99, hardly moves the statistics within a short fine-tuning and ruins it."""

Wrap = Callable[[Any, Step], Any]


@dataclass(frozen=True)
class KerasNetwork:
    """`model` takes what the plan's entries say, in their order, and gives its outputs.

    `variables` are the trainable weights and BatchNormalization's statistics by (step output, part);
    `weights` say for the same keys which initializer each came from.
    """

    model: Any
    variables: Mapping[tuple[str, str], Any]
    weights: Mapping[tuple[str, str], Weight]

    def values(self) -> dict[tuple[str, str], Array]:
        """What the variables hold now, in TensorFlow's layout."""
        return {key: variable.numpy() for key, variable in self.variables.items()}


class StepLayer(keras.layers.Layer):
    """A step without trainable weights of its own, run as the function face runs it."""

    def __init__(self, step: Step, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.step = step

    def call(self, inputs: Any) -> Any:
        return apply_step(self.step, list(inputs) if isinstance(inputs, list | tuple) else [inputs])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Unknown: to find it, Keras would take integers for floats; TFMOT asks, but does not use it."""
        return tf.TensorShape(None)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "step": self.step}


def build_keras(
    plan: Plan, wrap: Wrap = lambda layer, step: layer, never_negative: Collection[str] = ()
) -> KerasNetwork:
    """Build the model; `wrap` may put a wrapper around each layer, which by then holds its weights.

    `never_negative` are initializers of BatchNormalization's gammas: each step of training sets what would be
    negative in them to 0.
    """
    entries = [
        _input(entry, "input" if not number else f"input_{number}")
        for number, entry in enumerate(plan.entries)
    ]
    tensors: dict[str, Any] = {}
    for entry, each in zip(plan.entries, entries, strict=True):
        tensors[entry.name] = _passing(Step("input", (), entry.name, "input"), wrap)(each)
    variables: dict[tuple[str, str], Any] = {}
    weights: dict[tuple[str, str], Weight] = {}
    for step in plan.steps:
        inputs = [tensors[name] for name in step.inputs]
        layer = _layer(step, inputs) if weights_are_own(step) else StepLayer(step, name=layer_name(step))
        if step.op == "batch_norm" and step.weights["gamma"].initializer in never_negative:
            layer.gamma_constraint = keras.constraints.NonNeg()
        for part, variable in _loaded(layer, step, inputs):
            variables[step.output, part] = variable
            weights[step.output, part] = step.weights[part]
        # Keras calls a layer on something, so a constant is called on the entry, which it does not read.
        given = inputs if len(inputs) > 1 else (inputs or entries)[0]
        if step.others:
            parts = zip(step.outputs, layer(given), strict=True)
            tensors |= {
                name: _passing(Step("output", (), name, step.node), wrap)(made) for name, made in parts
            }
        else:
            tensors[step.output] = wrap(layer, step)(given)
    outputs = [tensors[name] for name in plan.outputs]
    model = keras.Model(*(each if len(each) > 1 else each[0] for each in (entries, outputs)))
    return KerasNetwork(model, variables, weights)


def _input(entry: Entry, name: str) -> Any:
    return keras.Input(type_spec=tf.TensorSpec(entry.shape, entry.dtype), name=name)


def _passing(source: Step, wrap: Wrap) -> Any:
    """A layer that passes a tensor on, so that it can be wrapped where no layer makes that one alone."""
    return wrap(keras.layers.Activation("linear", name=f"{layer_name(source)}_{source.op}"), source)


def _loaded(layer: Any, step: Step, inputs: list[Any]) -> list[tuple[str, Any]]:
    """Build the layer, give it the step's weights, and return its variables by part."""
    parts = [part for part in WEIGHTS.get(step.op, ()) if part in step.weights]
    if not parts or isinstance(layer, StepLayer):
        return []
    layer.build(inputs[0].shape)
    layer.set_weights([step.weights[part].values for part in parts])
    return list(zip(parts, layer.weights, strict=True))


def layer_name(step: Step) -> str:
    """A name that TensorFlow accepts, unique because tensor names are."""
    return "s_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in step.output)


def write_back(
    model: onnx.ModelProto, network: KerasNetwork, values: Mapping[tuple[str, str], Array]
) -> onnx.ModelProto:
    """A copy of the ONNX model with new weights, keyed as `network.weights` is."""
    updated = copy(model)
    for key, array in values.items():
        weight = network.weights[key]
        assert weight.initializer is not None
        set_initializer(updated, weight.initializer, weight.to_onnx(array))
    return updated


def _layer(step: Step, inputs: list[Any]) -> Any:
    a, name = step.attributes, layer_name(step)
    layers = keras.layers
    ranks = {len(tensor.shape) for tensor in inputs}
    if step.op in ("conv", "depthwise_conv", "conv_transpose"):
        return _convolution(step, name)
    if step.op == "dense":
        return layers.Dense(
            step.weights["kernel"].values.shape[1], use_bias="bias" in step.weights, name=name
        )
    if step.op == "batch_norm":
        return layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM, epsilon=a["epsilon"], name=name)
    if step.op == "relu" or (step.op == "clip" and a["low"] == 0.0):
        return layers.ReLU(a.get("high"), name=name)
    if step.op == "add" and "operand" not in step.weights and len(ranks) == 1:
        return layers.Add(name=name)
    if step.op == "mean" and a["axes"] == (1, 2) and a["keepdims"] and ranks == {4}:
        return layers.GlobalAveragePooling2D(keepdims=True, name=name)
    if step.op == "pad" and a["fill"] == 0.0 and len(a["pads"]) == 4 and not any(a["pads"][0] + a["pads"][3]):
        return layers.ZeroPadding2D(a["pads"][1:3], name=name)
    return StepLayer(step, name=name)


def _convolution(step: Step, name: str) -> Any:
    a, shape = step.attributes, step.weights["kernel"].values.shape
    shared = {
        "kernel_size": shape[:2],
        "strides": a["strides"],
        "dilation_rate": a.get("dilations", (1, 1)),
        "padding": a["padding"].lower(),
        "use_bias": "bias" in step.weights,
        "name": name,
    }
    if step.op == "depthwise_conv":
        return keras.layers.DepthwiseConv2D(depth_multiplier=shape[3], **shared)
    if step.op == "conv_transpose":
        extra = None if a["padding"] == "SAME" else a["extra"]
        return keras.layers.Conv2DTranspose(shape[2], output_padding=extra, **shared)
    return keras.layers.Conv2D(shape[3], groups=a["groups"], **shared)
