"""Steps as TensorFlow operations. Weights are fake-quantised where the plan holds their scales."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgepress.translate.plan import Step, Weight
from edgepress.translate.tensorflow_setup import tf

Tensor = Any
Operation = Callable[[Step, list[Tensor]], Tensor]


def apply_step(step: Step, inputs: list[Tensor]) -> Tensor:
    """The step's output for the given inputs, all in stored layout."""
    return OPERATIONS[step.op](step, inputs)


def fake_quantised_kernel(weight: Weight, channels_last: tuple[int, ...]) -> Tensor:
    """The kernel as a constant under per-channel, symmetric, narrow-range fake quantisation.

    `channels_last` is the shape in which its output channels are the last axis (a depthwise kernel's
    (kH, kW, C, m) as (kH, kW, C·m)): TensorFlow quantises per channel only there.
    """
    kernel = tf.constant(weight.values)
    if weight.quantisation is None:
        return kernel
    limit = 127.0 * weight.quantisation.scale.astype(np.float32)
    flat = tf.reshape(kernel, channels_last)
    quantised = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        flat, -limit, limit, narrow_range=True
    )
    return tf.reshape(quantised, weight.values.shape)


def _conv(step: Step, inputs: list[Tensor]) -> Tensor:
    a, weight = step.attributes, step.weights["kernel"]
    kernel = fake_quantised_kernel(weight, weight.values.shape)
    return _biased(
        step, tf.nn.conv2d(inputs[0], kernel, a["strides"], a["padding"], dilations=a["dilations"])
    )


def _depthwise_conv(step: Step, inputs: list[Tensor]) -> Tensor:
    a, weight = step.attributes, step.weights["kernel"]
    kernel = fake_quantised_kernel(weight, (*weight.values.shape[:2], -1))
    strides = (1, *a["strides"], 1)
    return _biased(
        step, tf.nn.depthwise_conv2d(inputs[0], kernel, strides, a["padding"], dilations=a["dilations"])
    )


def _dense(step: Step, inputs: list[Tensor]) -> Tensor:
    """A quantised product is written as a 1×1 convolution: the TFLite converter refuses a matrix with
    one scale per channel (`mismatched quantized axes`).
    """
    weight = step.weights["kernel"]
    if weight.quantisation is None:
        return _biased(step, tf.matmul(inputs[0], tf.constant(weight.values)))
    features, outputs = weight.values.shape
    as_kernel = Weight(weight.values[None, None], quantisation=weight.quantisation)
    kernel = fake_quantised_kernel(as_kernel, as_kernel.values.shape)
    image = tf.reshape(inputs[0], (-1, 1, 1, features))
    return tf.reshape(_biased(step, tf.nn.conv2d(image, kernel, 1, "VALID")), (-1, outputs))


def _biased(step: Step, output: Tensor) -> Tensor:
    bias = step.weights.get("bias")
    return output if bias is None else tf.nn.bias_add(output, tf.constant(bias.values))


def _operand(weight: Weight) -> Tensor:
    constant, quantisation = tf.constant(weight.values), weight.quantisation
    if quantisation is None:
        return constant
    low, high = ((code - quantisation.zero_point) * float(quantisation.scale.item()) for code in (-128, 127))
    return tf.quantization.fake_quant_with_min_max_vars(constant, low, high, num_bits=8)


def _binary(operation: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    def apply(step: Step, inputs: list[Tensor]) -> Tensor:
        if "operand" not in step.weights:
            return operation(inputs[0], inputs[1])
        operand = _operand(step.weights["operand"])
        return (
            operation(operand, inputs[0])
            if step.attributes["constant_first"]
            else operation(inputs[0], operand)
        )

    return apply


def _unary(operation: Callable[..., Tensor]) -> Operation:
    return lambda step, inputs: operation(inputs[0], **step.attributes)


def _clip(value: Tensor, low: float | None, high: float | None) -> Tensor:
    """ReLU6 and the like by their own names, which TFLite fuses."""
    if low == 0.0 and high == 6.0:
        return tf.nn.relu6(value)
    value = value if low is None else tf.nn.relu(value) if low == 0.0 else tf.maximum(value, low)
    return value if high is None else tf.minimum(value, high)


def _hard_sigmoid(value: Tensor, alpha: float, beta: float) -> Tensor:
    return tf.clip_by_value(alpha * value + beta, 0.0, 1.0)


def _hard_swish(value: Tensor) -> Tensor:
    return value * tf.nn.relu6(value + 3.0) * (1.0 / 6.0)


def _elu(value: Tensor, alpha: float) -> Tensor:
    return tf.nn.elu(value) if alpha == 1.0 else tf.where(value > 0, value, alpha * (tf.exp(value) - 1.0))


def _batch_norm(step: Step, inputs: list[Tensor]) -> Tensor:
    w = {part: weight.values.astype(np.float64) for part, weight in step.weights.items()}
    scale = w["gamma"] / np.sqrt(w["variance"] + step.attributes["epsilon"])
    shift = w["beta"] - w["mean"] * scale
    return inputs[0] * scale.astype(np.float32) + shift.astype(np.float32)


def _fake_quant(value: Tensor, low: float, high: float) -> Tensor:
    return tf.quantization.fake_quant_with_min_max_vars(value, low, high, num_bits=8)


def _pad(value: Tensor, pads: Any, fill: float) -> Tensor:
    return tf.pad(value, pads, constant_values=fill)


def _max_pool(value: Tensor, size: Any, strides: Any, padding: str) -> Tensor:
    return tf.nn.max_pool2d(value, size, strides, padding)


def _average_pool(value: Tensor, size: Any, strides: Any, padding: str) -> Tensor:
    return tf.nn.avg_pool2d(value, size, strides, padding)


OPERATIONS: Mapping[str, Operation] = {
    "constant": lambda step, inputs: tf.constant(step.weights["value"].values),
    "conv": _conv,
    "depthwise_conv": _depthwise_conv,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "add": _binary(tf.add),
    "sub": _binary(tf.subtract),
    "mul": _binary(tf.multiply),
    "div": _binary(tf.divide),
    "relu": _unary(tf.nn.relu),
    "clip": _unary(_clip),
    "sigmoid": _unary(tf.sigmoid),
    "tanh": _unary(tf.tanh),
    "leaky_relu": _unary(tf.nn.leaky_relu),
    "elu": _unary(_elu),
    "hard_sigmoid": _unary(_hard_sigmoid),
    "hard_swish": _unary(_hard_swish),
    "softplus": _unary(tf.math.softplus),
    "exp": _unary(tf.exp),
    "sqrt": _unary(tf.sqrt),
    "neg": _unary(tf.negative),
    "abs": _unary(tf.abs),
    "softmax": _unary(tf.nn.softmax),
    "max_pool": _unary(_max_pool),
    "average_pool": _unary(_average_pool),
    "mean": lambda step, inputs: tf.reduce_mean(
        inputs[0], step.attributes["axes"], step.attributes["keepdims"]
    ),
    "pad": _unary(_pad),
    "reshape": lambda step, inputs: tf.reshape(inputs[0], step.attributes["shape"]),
    "transpose": lambda step, inputs: tf.transpose(inputs[0], step.attributes["order"]),
    "concat": lambda step, inputs: tf.concat(inputs, step.attributes["axis"]),
    "fake_quant": _unary(_fake_quant),
}
