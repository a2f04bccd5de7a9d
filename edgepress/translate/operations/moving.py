"""Operations that move elements, change their type or resample them."""

from typing import Any

from edgepress.translate.operations.base import Table, Tensor, in_words, operand, unary
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf


def _pad(value: Tensor, pads: Any, fill: float) -> Tensor:
    return tf.pad(value, pads, constant_values=fill if value.dtype.is_floating else int(fill))


def _mirrored(value: Tensor, pads: Any, mode: str) -> Tensor:
    return tf.pad(value, pads, mode)


def _cut(value: Tensor, begin: Any, end: Any, strides: Any) -> Tensor:
    """For each axis the span [begin, end) in steps of its stride; None means the whole axis."""
    spans = zip(begin, end, strides, strict=True)
    return value[tuple(slice(*span) for span in spans)]


def _gather(step: Step, inputs: list[Tensor]) -> Tensor:
    a = step.attributes
    indices = inputs[1] if len(inputs) > 1 else tf.constant(step.weights["indices"].values)
    return tf.gather(inputs[0], indices, axis=a["axis"])


def _resized(value: Tensor, size: Any, linear: bool, align: bool, half: bool) -> Tensor:
    """By TFLite's own kernels."""
    raw = tf.raw_ops
    resize = raw.ResizeBilinear if linear else raw.ResizeNearestNeighbor
    return resize(images=value, size=size, align_corners=align, half_pixel_centers=half)


def _weighted(step: Step, inputs: list[Tensor]) -> Tensor:
    """The sum of elements at indices[k] of one axis times weights[k]: interpolation along it."""
    axis, indices, weights = (
        step.attributes["axis"],
        step.weights["indices"].values,
        step.weights["weights"].values,
    )
    shape = [1] * len(inputs[0].shape)
    shape[axis] = -1
    terms = [
        tf.gather(inputs[0], tf.constant(indices[k]), axis=axis) * weights[k].reshape(shape)
        for k in range(len(indices))
    ]
    return tf.add_n(terms)


def _quantised(step: Step, inputs: list[Tensor]) -> Tensor:
    """Codes of a tensor: round half to even, shift by the zero point, saturate."""
    a = step.attributes
    codes = tf.round(inputs[0] / operand(step.weights["scale"])) + operand(step.weights["zero"])
    return tf.cast(tf.clip_by_value(codes, a["low"], a["high"]), a["dtype"])


def _dequantised(step: Step, inputs: list[Tensor]) -> Tensor:
    codes = tf.cast(inputs[0], tf.float32) - operand(step.weights["zero"])
    return codes * operand(step.weights["scale"])


def _cast(value: Tensor, dtype: str) -> Tensor:
    """Any number but 0 is true."""
    if dtype == "bool":
        return tf.not_equal(value, tf.constant(0, value.dtype))
    return tf.cast(value, dtype)


def _fake_quant(value: Tensor, low: float, high: float, dtype: str, **codes: Any) -> Tensor:
    bits = 16 if dtype == "int16" else 8
    return tf.quantization.fake_quant_with_min_max_vars(value, low, high, num_bits=bits)


def _sizes(value: Tensor, places: Any) -> Tensor:
    return tf.gather(tf.shape(value, out_type=tf.int64), list(places))


def _update(step: Step, inputs: list[Tensor]) -> Tensor:
    """The first tensor with one of its rows, by its number, replaced."""
    whole, row, place = inputs
    return tf.tensor_scatter_nd_update(whole, tf.reshape(place, (1, 1)), row)


OPERATIONS: Table = {
    "sizes": unary(_sizes),
    "constant": lambda step, inputs: tf.constant(step.weights["value"].values),
    "pad": in_words(unary(_pad)),
    "mirrored": unary(_mirrored),
    "cut": unary(_cut),
    "gather": _gather,
    "reshape": lambda step, inputs: tf.reshape(inputs[0], step.attributes["shape"]),
    "transpose": lambda step, inputs: tf.transpose(inputs[0], step.attributes["order"]),
    "filled": lambda step, inputs: tf.zeros(step.attributes["shape"], step.attributes["dtype"]),
    "update": _update,
    "tail": lambda step, inputs: inputs[0][1:],
    "concat": lambda step, inputs: tf.concat(inputs, step.attributes["axis"]),
    "tile": unary(lambda value, multiples: tf.tile(value, multiples)),
    "depth_to_space": unary(lambda value, block: tf.nn.depth_to_space(value, block)),
    "space_to_depth": unary(lambda value, block: tf.nn.space_to_depth(value, block)),
    "resized": unary(_resized),
    "weighted": _weighted,
    "cast": unary(_cast),
    "fake_quant": unary(_fake_quant),
    "quantised": _quantised,
    "dequantised": _dequantised,
}
