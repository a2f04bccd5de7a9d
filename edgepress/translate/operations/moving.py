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


def _sizes(value: Tensor, places: Any, dtype: Any = "int64") -> Tensor:
    return tf.cast(tf.gather(tf.shape(value, out_type=tf.int64), list(places)), dtype)


def _vector(step: Step, inputs: list[Tensor]) -> Tensor:
    """Numbers, and elements of the operands, as int32."""
    flat = [tf.cast(tf.reshape(value, (-1,)), tf.int32) for value in inputs]
    parts = step.attributes["parts"]
    return tf.stack([part if isinstance(part, int) else flat[part[0]][part[1]] for part in parts])


def _cut_anywhere(step: Step, inputs: list[Tensor]) -> Tensor:
    a, (value, begin, end) = step.attributes, inputs
    whole = sum(1 << axis for axis, each in enumerate(a["whole"]) if each)
    return tf.strided_slice(value, begin, end, a["strides"], begin_mask=whole, end_mask=whole)


def _expanded(step: Step, inputs: list[Tensor]) -> Tensor:
    return tf.broadcast_to(inputs[0], tf.maximum(inputs[1], tf.shape(inputs[0])))


def _padded(step: Step, inputs: list[Tensor]) -> Tensor:
    pads = tf.reshape(inputs[1], (-1, 2))
    fill = tf.reshape(inputs[2], ()) if len(inputs) > 2 else tf.zeros((), inputs[0].dtype)
    return tf.pad(inputs[0], pads, constant_values=fill)


def _full(step: Step, inputs: list[Tensor]) -> Tensor:
    return tf.fill(tf.cast(inputs[0], tf.int32), tf.constant(step.weights["value"].values))


def _update(step: Step, inputs: list[Tensor]) -> Tensor:
    """The first tensor with one of its rows, by its number, replaced."""
    whole, row, place = inputs
    return tf.tensor_scatter_nd_update(whole, tf.reshape(place, (1, 1)), row)


OPERATIONS: Table = {
    "sizes": unary(_sizes),
    "elements": unary(lambda value: tf.size(value, out_type=tf.int64)),
    "vector": _vector,
    "cut_anywhere": _cut_anywhere,
    "expanded": _expanded,
    "tiled": lambda step, inputs: tf.tile(*inputs),
    "reshaped": lambda step, inputs: tf.reshape(*inputs),
    "padded": _padded,
    "range": lambda step, inputs: tf.range(*[tf.reshape(value, ()) for value in inputs]),
    "full": _full,
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
