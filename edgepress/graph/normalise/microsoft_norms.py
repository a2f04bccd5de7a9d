"""Normalisations of ONNX Runtime's own domain, and those that it adds up, or looks up, numbers before."""

from collections.abc import Callable

import numpy as np

from edgepress.graph.normalise.microsoft_body import MicrosoftBody

_FIRST_OF_LAYERS = 17
"""From this opset on ONNX has LayerNormalization."""


def _even(
    b: MicrosoftBody,
    x: str,
    axes: list[int],
    epsilon: float,
    scale: str,
    shift: list[str],
    results: list[int],
) -> None:
    """Output 0 is (x − mean)/√(variance + epsilon)·scale + shift; `results` those for mean and 1/√…."""
    if b.opset >= _FIRST_OF_LAYERS and not any(map(b.asked, results)):
        b.gives("LayerNormalization", x, scale, *shift, axis=axes[0], epsilon=epsilon)
        return
    mean = b.mean(x, axes)
    centred = b("Sub", x, mean)
    spread = b("Sqrt", b("Add", b.mean(b("Mul", centred, centred), axes), np.float32(epsilon)))
    if b.asked(results[0]):
        b.gives("Identity", mean, index=results[0])
    if b.asked(results[1]):
        b.gives("Reciprocal", spread, index=results[1])
    _scaled(b, b("Div", centred, spread), scale, shift)


def _even_squares(b: MicrosoftBody, x: str, axes: list[int], epsilon: float, scale: str, result: int) -> None:
    """Output 0 is x/√(mean of squares + epsilon)·scale."""
    spread = b("Sqrt", b("Add", b.mean(b("Mul", x, x), axes), np.float32(epsilon)))
    if b.asked(result):
        b.gives("Reciprocal", spread, index=result)
    _scaled(b, b("Div", x, spread), scale, [])


def _scaled(b: MicrosoftBody, x: str, scale: str, shift: list[str]) -> None:
    if shift:
        b.gives("Add", b("Mul", x, scale), shift[0])
    else:
        b.gives("Mul", x, scale)


def _axes(b: MicrosoftBody) -> list[int]:
    """From the node's axis to the last; one that counts from the first has as many behind it as the scale."""
    axis = b.attributes.get("axis", -1)
    return list(range(axis, 0)) if axis < 0 else list(range(-b.rank(1), 0))


def _layer_norm(b: MicrosoftBody) -> None:
    epsilon = b.attributes.get("epsilon", 1e-5)
    _even(b, b.input(0), _axes(b), epsilon, b.input(1), b.optional(2), [1, 2])


def _simplified_layer_norm(b: MicrosoftBody) -> None:
    _even_squares(b, b.input(0), _axes(b), b.attributes.get("epsilon", 1e-5), b.input(1), 1)


def _skip_layer_norm(b: MicrosoftBody) -> None:
    """Of a sum, which is an output, too."""
    total = _sum(b, b.optional(4))
    _even(b, total, [-1], b.attributes.get("epsilon", 1e-12), b.input(2), b.optional(3), [1, 2])


def _skip_simplified_layer_norm(b: MicrosoftBody) -> None:
    total = _sum(b, b.optional(3))
    _even_squares(b, total, [-1], b.attributes.get("epsilon", 1e-12), b.input(2), 2)


def _sum(b: MicrosoftBody, bias: list[str]) -> str:
    """The first two operands, and what may be added to them; it is output 3."""
    total = b("Add", b.input(0), b.input(1))
    total = b("Add", total, bias[0]) if bias else total
    return b.gives("Identity", total, index=3) if b.asked(3) else total


def _embed_layer_norm(b: MicrosoftBody) -> None:
    """Of the sum of what stands in tables for words, places and segments."""
    words = b("Gather", b.input(2), b.input(0), axis=0)
    if b.has(8):
        places = b("Gather", b.input(3), b.input(8), axis=0)
    else:
        count = b("Gather", b("Shape", b.input(0)), np.array([1]), axis=0)
        places = b("Slice", b.input(3), np.array([0]), count, np.array([0]))
    total = b("Add", words, places)
    if b.has(4) and b.has(1):
        total = b("Add", total, b("Gather", b.input(4), b.input(1), axis=0))
    if b.asked(2):
        total = b.gives("Identity", total, index=2)
    if b.asked(1):
        _mask_lengths(b)
    epsilon = b.attributes.get("epsilon", 1e-12)
    _even(b, total, [-1], epsilon, b.input(5), b.optional(6), [99, 99])


def _mask_lengths(b: MicrosoftBody) -> None:
    """How many elements of each row of the mask are not 0; 0 without one."""
    b.note(1, 1)
    mask = b.input(7) if b.has(7) else b("Mul", b.input(0), np.int32(0))
    if b.opset >= 13:
        b.gives("ReduceSum", mask, np.array([1]), keepdims=0, index=1)
    else:
        b.gives("ReduceSum", mask, axes=[1], keepdims=0, index=1)


def _group_norm(b: MicrosoftBody) -> None:
    """Of images whose channels are last, unless it says otherwise; then SiLU, if that is asked for."""
    scale, shift = (1, 2)
    x = b.input(0)
    if b.node.op_type == "SkipGroupNorm":
        x = b("Add", x, b.input(3))
        x = b("Add", x, b.input(4)) if b.has(4) else x
        x = b.gives("Identity", x, index=1) if b.asked(1) else x
    last, groups = b.attributes.get("channels_last", 1), b.attributes["groups"]
    image = b("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    grouped = b("Reshape", image, np.array([0, groups, -1]))
    ones = np.ones(groups, np.float32)
    even = b("InstanceNormalization", grouped, ones, ones * 0, epsilon=b.attributes.get("epsilon", 1e-5))
    back = b("Reshape", even, b("Shape", image))
    column = np.array([-1, 1, 1])
    by, more = (b("Reshape", b.input(index), column) for index in (scale, shift))
    made = b("Add", b("Mul", back, by), more)
    made = b("Mul", made, b("Sigmoid", made)) if b.attributes.get("activation", 0) else made
    b.gives("Transpose", made, perm=[0, 2, 3, 1]) if last else b.gives("Identity", made)


NORMS: dict[str, Callable[[MicrosoftBody], None]] = {
    "LayerNormalization": _layer_norm,
    "SimplifiedLayerNormalization": _simplified_layer_norm,
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_simplified_layer_norm,
    "EmbedLayerNormalization": _embed_layer_norm,
    "GroupNorm": _group_norm,
    "SkipGroupNorm": _group_norm,
}
