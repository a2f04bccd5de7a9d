"""Steps as TensorFlow operations. Weights are fake-quantised where the plan holds their scales."""

from collections.abc import Mapping

import numpy as np

from edgepress.translate.operations import activations, arithmetic, moving, recurrent, reductions, windows
from edgepress.translate.operations.base import Operation, Tensor, constant
from edgepress.translate.plan import Array, Step, Weight, matrix_parts
from edgepress.translate.tensorflow_setup import tf


def apply_step(step: Step, inputs: list[Tensor]) -> Tensor:
    """The step's output for the given inputs, all in stored layout."""
    return OPERATIONS[step.op](step, inputs)


def fake_quantised_kernel(weight: Weight, channels_last: tuple[int, ...]) -> Tensor:
    """The kernel as a constant under per-channel, symmetric, narrow-range fake quantisation.

    `channels_last` is the shape in which its output channels are the last axis (a depthwise kernel's
    (kH, kW, C, m) as (kH, kW, C·m)): TensorFlow quantises per channel only there.
    """
    kernel = constant(weight.values)
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


def _conv_transpose(step: Step, inputs: list[Tensor]) -> Tensor:
    """Kernel (kH, kW, O/g, I); grouped ones part by part, since TensorFlow has no grouped kernel."""
    a, value, groups = step.attributes, inputs[0], step.attributes["groups"]
    if a["spread"]:
        return _biased(step, _spread_conv(step, value))
    kernels = np.split(step.weights["kernel"].values, groups, axis=3)
    parts = tf.split(value, groups, axis=3) if groups > 1 else [value]
    batch = value.shape[0] if value.shape[0] is not None else tf.shape(value)[0]
    outputs = [
        tf.nn.conv2d_transpose(
            part, constant(kernel), (batch, *a["size"], kernel.shape[2]), a["strides"], a["padding"]
        )
        for part, kernel in zip(parts, kernels, strict=True)
    ]
    return _biased(step, outputs[0] if groups == 1 else tf.concat(outputs, 3))


def _spread_conv(step: Step, value: Tensor) -> Tensor:
    """A transposed convolution of a quantised network as a convolution of the image spread out by zeros.

    The TFLite converter cannot turn a transposed kernel with one scale per output channel (`mismatched
    quantized axes`), and gives one in floats scales of its own; here scales and floats stay, at the price of
    the products with zeros.
    """
    a, weight = step.attributes, step.weights["kernel"]
    parts = np.split(weight.values[::-1, ::-1].swapaxes(2, 3), a["groups"], axis=2)
    turned = np.ascontiguousarray(np.concatenate(parts, axis=3))
    kernel = fake_quantised_kernel(Weight(turned, quantisation=weight.quantisation), turned.shape)
    pads = [(0, 0)]
    for axis, (k, s, size) in enumerate(zip(turned.shape[:2], a["strides"], a["size"], strict=True), 1):
        length = (value.shape[axis] - 1) * s + 1
        before = k - 1 - ((k - s) // 2 if a["padding"] == "SAME" else 0)
        pads.append((before, size + k - 1 - length - before))
    spread = _spread(value, a["strides"])
    return tf.nn.conv2d(tf.pad(spread, [*pads, (0, 0)]), kernel, 1, "VALID")


def _spread(value: Tensor, strides: tuple[int, int]) -> Tensor:
    """(N, H, W, C) → (N, (H−1)·s + 1, (W−1)·t + 1, C), zeros between the elements."""
    (s, t), (_, height, width, channels) = strides, value.shape
    if s > 1:
        rows = tf.pad(
            tf.reshape(value, (-1, height, 1, width * channels)), [(0, 0), (0, 0), (0, s - 1), (0, 0)]
        )
        value = tf.reshape(rows, (-1, height * s, width, channels))[:, : (height - 1) * s + 1]
        height = (height - 1) * s + 1
    if t > 1:
        columns = tf.pad(tf.reshape(value, (-1, width, 1, channels)), [(0, 0), (0, 0), (0, t - 1), (0, 0)])
        value = tf.reshape(columns, (-1, height, width * t, channels))[:, :, : (width - 1) * t + 1]
    return value


def _dense(step: Step, inputs: list[Tensor]) -> Tensor:
    """A quantised product is written as a 1×1 convolution: the TFLite converter refuses a matrix with
    one scale per channel (`mismatched quantized axes`). Each part of a large one gets its part of the bias,
    since what follows a concatenation at once is taken for the parts' own range, and they stay integers.
    """
    weight = step.weights["kernel"]
    if weight.quantisation is None:
        return _biased(step, tf.matmul(inputs[0], constant(weight.values)))
    features, outputs = weight.values.shape
    image = tf.reshape(inputs[0], (-1, 1, 1, features))
    parts, bias = matrix_parts(weight), step.weights.get("bias")
    products = [
        tf.nn.conv2d(image, fake_quantised_kernel(part, part.values.shape), 1, "VALID") for part in parts
    ]
    if bias is not None:
        biases = map(_of_several, np.array_split(bias.values, len(parts)))
        products = [tf.nn.bias_add(*pair) for pair in zip(products, map(tf.constant, biases), strict=True)]
    product = products[0] if len(products) == 1 else tf.concat(products, 3)
    return tf.reshape(product, (-1, *inputs[0].shape[1:-1], outputs))


def _biased(step: Step, output: Tensor) -> Tensor:
    bias = step.weights.get("bias")
    if bias is None:
        return output
    codes = step.weights["kernel"].quantisation is not None
    return tf.nn.bias_add(output, tf.constant(_of_several(bias.values) if codes else bias.values))


def _of_several(values: Array) -> Array:
    """The values, one of them moved by its last bit if all are equal.

    TFLite's converter gives equal ones the first channel's code in all channels, whatever their scales.
    """
    return (
        values if np.ptp(values) else np.where(np.arange(values.size) == 0, np.nextafter(values, 0), values)
    )


def _batch_norm(step: Step, inputs: list[Tensor]) -> Tensor:
    w = {part: weight.values.astype(np.float64) for part, weight in step.weights.items()}
    scale = w["gamma"] / np.sqrt(w["variance"] + step.attributes["epsilon"])
    shift = w["beta"] - w["mean"] * scale
    return inputs[0] * scale.astype(np.float32) + shift.astype(np.float32)


OPERATIONS: Mapping[str, Operation] = {
    "conv": _conv,
    "depthwise_conv": _depthwise_conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "batch_norm": _batch_norm,
    **activations.OPERATIONS,
    **arithmetic.OPERATIONS,
    **reductions.OPERATIONS,
    **windows.OPERATIONS,
    **moving.OPERATIONS,
    **recurrent.OPERATIONS,
}
