"""Cases for the attributes of all operators that int8 quantisation takes, with other values than defaults."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.networks import Graph

INT = np.int64
PADS = [1, 2, 0, 1]

Body = Callable[[Graph, str], str]


@dataclass(frozen=True)
class Case:
    """One operator behind an image (n, 8, 6, 8) of both signs; `build` adds what it needs around it.

    int8 keeps at least `least_db` of signal over noise: less where steps, or a long tail, cost by themselves.
    """

    op: str
    build: Body
    opset: int = 15
    least_db: float = 28.0
    attributes: dict[str, Any] = field(default_factory=dict)


def plain(op: str, *operands: Any, opset: int = 15, least_db: float = 28.0, **attributes: Any) -> Case:
    """The operator on the image, with these other operands."""

    def build(graph: Graph, image: str) -> str:
        return graph.add(op, image, *operands, **attributes)

    return Case(op, build, opset, least_db, attributes)


def on(
    prepare: Body, op: str, *operands: Any, opset: int = 15, least_db: float = 28.0, **attributes: Any
) -> Case:
    """The operator on what is made of the image."""

    def build(graph: Graph, image: str) -> str:
        return graph.add(op, prepare(graph, image), *operands, **attributes)

    return Case(op, build, opset, least_db, attributes)


def positive(graph: Graph, image: str) -> str:
    return graph.add("Add", graph.add("Sigmoid", image), np.float32(0.2))


def flat(graph: Graph, image: str) -> str:
    return graph.add("Flatten", image)


def matrix(graph: Graph, image: str) -> str:
    """(n, 384) → (384, n)."""
    return graph.add("Transpose", flat(graph, image), perm=[1, 0])


def sequence(graph: Graph, image: str) -> str:
    """(n, 8, 5) → (5, n, 8), as LSTM and GRU want it."""
    rows = graph.add("Reshape", image, np.array([0, 8, 48], INT))
    short = graph.add("Slice", rows, np.array([0], INT), np.array([5], INT), np.array([2], INT))
    return graph.add("Transpose", short, perm=[2, 0, 1])


def layer(graph: Graph, image: str) -> str:
    return graph.add("Conv", image, 0.4 * graph.weights(8, 8, 1, 1))


_DRAWN = np.random.default_rng(7).normal(size=400 * 5).astype(np.float32)


def weights(*shape: int, scale: float = 1.0) -> np.ndarray:
    return np.asarray(scale * np.resize(_DRAWN, shape), np.float32)


def both(op: str, make: Body = layer, opset: int = 15, least_db: float = 28.0, **attributes: Any) -> Case:
    """The operator on the image and another one."""
    return Case(op, lambda g, x: g.add(op, x, make(g, x), **attributes), opset, least_db, attributes)


def gemm(**attributes: Any) -> Callable[..., Case]:
    def case(*operands: np.ndarray, prepare: Body = flat) -> Case:
        return on(prepare, "Gemm", *operands, **attributes)

    return case


def both_parts(op: str, **attributes: Any) -> Case:
    def build(graph: Graph, image: str) -> str:
        first = graph.add(op, image, **attributes)
        graph.nodes[-1].output.append(f"{first}.second")
        return graph.add("Mul", first, f"{first}.second")

    return Case(op, build, 15, 28.0, attributes)


def first_of(op: str, *operands: np.ndarray, **attributes: Any) -> Case:
    """The first of two results of an operator."""

    def build(graph: Graph, image: str) -> str:
        first = graph.add(op, image, *operands, **attributes)
        graph.nodes[-1].output.append(f"{first}.second")
        return first

    return Case(op, build, 15, 28.0, attributes)


def crelu(graph: Graph, image: str) -> str:
    return graph.add("Concat", graph.add("Relu", image), graph.add("Relu", graph.add("Neg", image)), axis=1)


def split_unequal(graph: Graph, image: str) -> str:
    first = graph.add("Split", image, np.array([3, 5], INT), axis=1)
    graph.nodes[-1].output.append(f"{first}.second")
    return graph.add("Concat", f"{first}.second", first, axis=1)


def compared(op: str) -> Case:
    """One of two images at each place, by a comparison of constants: that of codes may fall either way."""

    def build(graph: Graph, image: str) -> str:
        known = np.indices((8, 6, 8)).sum(0).astype(np.float32) % 3
        logical = op in ("And", "Or", "Xor")
        operands = (known > 0, known < 2) if logical else (known, np.float32(1))
        condition = graph.add(op, *operands)
        return graph.add("Where", condition, image, layer(graph, image))

    return Case(op, build)


def negated(graph: Graph, image: str) -> str:
    known = np.indices((8, 6, 8)).sum(0) % 2 == 0
    return graph.add("Where", graph.add("Not", known), image, np.float32(0))


def reduce(op: str, axes: list[int], keepdims: int, prepare: Body | None = None, **options: Any) -> Case:
    attributes = {"axes": axes, "keepdims": keepdims}
    return on(prepare, op, **attributes, **options) if prepare else plain(op, **attributes, **options)


def recurrent(op: str, gates: int, **attributes: Any) -> Case:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1

    def build(graph: Graph, image: str) -> str:
        w, r = (weights(directions, gates * 6, n, scale=0.4) for n in (8, 6))
        source = sequence(graph, image)
        bias = weights(directions, 2 * gates * 6)
        found = graph.add(op, source, w, r, bias, hidden_size=6, **attributes)
        return graph.add("Transpose", found, perm=[2, 0, 1, 3])

    return Case(op, build, 15, 25.0, {"hidden_size": 6, **attributes})


REDUCTIONS = (
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
)
CURVES = (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Softplus",
    "Softsign",
    "Erf",
    "Exp",
    "Neg",
    "Abs",
    "HardSwish",
    "Identity",
    "Floor",
    "Ceil",
)

CASES: list[Case] = [
    *(plain(op, least_db={"Floor": 14.0, "Ceil": 14.0, "Exp": 22.0}.get(op, 28.0)) for op in CURVES),
    *(plain(op, opset=22) for op in ("Mish",)),
    *(on(positive, op) for op in ("Log", "Sqrt", "Reciprocal")),
    plain("Gelu", opset=20),
    plain("Gelu", opset=20, approximate="tanh"),
    plain("LeakyRelu", alpha=0.3),
    plain("LeakyRelu", alpha=1.7),
    plain("LeakyRelu", alpha=-0.4),
    plain("Elu", alpha=2.5),
    plain("Selu", alpha=0.7, gamma=1.6),
    plain("Celu", alpha=2.5),
    plain("HardSigmoid", alpha=0.37, beta=0.2),
    plain("HardSigmoid", alpha=-0.3, beta=0.6),
    plain("PRelu", weights(8, 1, 1)),
    plain("PRelu", np.float32(0.2)),
    both("PRelu"),
    plain("Clip", np.float32(-0.7), np.float32(1.1)),
    plain("Clip", None, np.float32(0.5)),
    plain("Clip", None, np.float32(-0.4)),
    plain("Clip", np.float32(0.2)),
    plain("Softmax", axis=1),
    plain("Softmax", axis=-2),
    plain("LogSoftmax", axis=1),
    plain("LpNormalization", axis=1, p=1),
    plain("LpNormalization", axis=2, p=2),
    plain("InstanceNormalization", weights(8), weights(8), epsilon=0.5),
    plain("LayerNormalization", weights(6, 8), weights(6, 8), opset=17, axis=2, epsilon=0.3),
    plain("LayerNormalization", weights(8), opset=17),
    plain("GroupNormalization", weights(8), weights(8), opset=21, num_groups=2, epsilon=0.4),
    plain("BatchNormalization", weights(8), weights(8), weights(8), np.abs(weights(8)), epsilon=0.6),
    Case(
        "BatchNormalization",
        lambda g, x: g.batchnorm(g.add("Relu", x), 8, epsilon=0.2),
        attributes={"epsilon": 0.2},
    ),
    plain(
        "Conv",
        weights(8, 4, 3, 3, scale=0.3),
        weights(8),
        group=2,
        pads=PADS,
        strides=[2, 1],
        dilations=[1, 2],
        kernel_shape=[3, 3],
    ),
    plain("Conv", weights(4, 8, 3, 2, scale=0.3), auto_pad="SAME_UPPER", strides=[2, 2]),
    plain("Conv", weights(4, 8, 3, 2, scale=0.3), auto_pad="SAME_LOWER"),
    plain("Conv", weights(4, 8, 3, 2, scale=0.3), auto_pad="VALID"),
    plain("Conv", weights(16, 1, 3, 3, scale=0.3), group=8, pads=[1] * 4),
    plain(
        "ConvTranspose",
        weights(8, 4, 3, 3, scale=0.3),
        weights(4),
        strides=[2, 2],
        pads=[1, 0, 1, 2],
        output_padding=[1, 1],
        kernel_shape=[3, 3],
    ),
    plain("ConvTranspose", weights(8, 4, 3, 3, scale=0.3), strides=[2, 2], output_shape=[13, 16]),
    plain("ConvTranspose", weights(8, 4, 3, 3, scale=0.3), strides=[2, 2], auto_pad="SAME_UPPER"),
    plain("ConvTranspose", weights(8, 4, 3, 3, scale=0.3), dilations=[2, 1]),
    plain("ConvTranspose", weights(8, 2, 3, 3, scale=0.3), group=4),
    gemm(alpha=0.4)(weights(384, 5, scale=0.1)),
    gemm(alpha=-2.5, beta=0.3)(weights(384, 5, scale=0.1), weights(5)),
    gemm(transB=1, alpha=3.0)(weights(5, 384, scale=0.1), weights(5)),
    gemm(beta=4.0)(weights(384, 5, scale=0.1), np.float32(0.8)),
    gemm(beta=0.0)(weights(384, 5, scale=0.1), weights(1, 5)),
    gemm(beta=2.0)(weights(384, 5, scale=0.1), weights(1, 1)),
    gemm(transA=1)(weights(384, 5, scale=0.1), weights(5), prepare=matrix),
    gemm(transA=1, transB=1, alpha=0.3, beta=2.0)(weights(5, 384, scale=0.1), weights(1, 5), prepare=matrix),
    Case(
        "Gemm",
        lambda g, x: g.add(
            "Gemm",
            flat(g, x),
            weights(384, 5, scale=0.1),
            g.add("Flatten", g.add("ReduceMean", x, axes=[1, 2, 3])),
            alpha=0.5,
            beta=3.0,
        ),
        attributes={"alpha": 0.5, "beta": 3.0},
    ),
    Case("MatMul", lambda g, x: g.add("MatMul", x, weights(8, 5, scale=0.4))),
    Case("MatMul", lambda g, x: g.add("MatMul", weights(5, 6, scale=0.4), x)),
    Case("MatMul", lambda g, x: g.add("MatMul", x, g.add("Transpose", x, perm=[0, 1, 3, 2]))),
    Case(
        "Einsum",
        lambda g, x: g.add("Einsum", x, weights(8, 5, scale=0.4), equation="nchw,wk->nchk"),
        attributes={"equation": "nchw,wk->nchk"},
    ),
    Case(
        "Einsum",
        lambda g, x: g.add("Einsum", x, x, equation="nchw,nchk->ncwk"),
        attributes={"equation": "nchw,nchk->ncwk"},
    ),
    *(both(op) for op in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean")),
    both("Div", lambda g, x: positive(g, layer(g, x))),
    plain("Sub", np.float32(0.7)),
    Case("Sub", lambda g, x: g.add("Sub", np.float32(0.7), x)),
    plain("Mul", np.float32(-3)),
    plain("Mul", weights(6, 1)),
    plain("Div", np.float32(-0.3)),
    plain("Div", 0.5 + np.abs(weights(8, 6, 8))),
    plain("Div", 0.5 + np.abs(weights(8))),
    plain("Div", np.where(weights(6, 1) > 0, 1.0, -0.4).astype(np.float32)),
    Case("Div", lambda g, x: g.add("Div", np.float32(0.5), positive(g, x))),
    plain("Add", weights(8)),
    plain("Max", np.float32(0.1)),
    plain("Min", weights(8, 1, 1)),
    Case(
        "Sum", lambda g, x: g.add("Sum", *(g.add("Mul", x, np.float32(k)) for k in (1, -2, 0.3, 4, 0.7, -1)))
    ),
    Case("Mean", lambda g, x: g.add("Mean", x, layer(g, x), np.float32(1))),
    plain("Pow", np.float32(2)),
    plain("Pow", np.float32(3)),
    on(positive, "Pow", np.float32(0.5)),
    plain("Pow", np.float32(1)),
    on(positive, "Pow", np.float32(-1.5)),
    Case("Concat", crelu, attributes={"axis": 1}),
    Case("Concat", lambda g, x: g.add("Concat", x, layer(g, x), axis=-1), attributes={"axis": -1}),
    *(
        compared(op)
        for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")
    ),
    Case("Not", negated),
    Case("Where", lambda g, x: g.add("Where", np.indices((6, 8)).sum(0) % 2 == 0, x, layer(g, x))),
    Case(
        "Cast",
        lambda g, x: g.add("Cast", g.add("Cast", g.add("Mul", x, np.float32(20)), to=6), to=1),
        least_db=20.0,
        attributes={"to": 6},
    ),
    plain("Dropout"),
    plain("Flatten", axis=2),
    plain("Reshape", np.array([0, 2, 4, -1], INT)),
    on(flat, "Unsqueeze", np.array([1], INT)),
    Case("Squeeze", lambda g, x: g.add("Squeeze", g.add("ReduceMean", x, axes=[2]), np.array([2], INT))),
    plain("Transpose", perm=[0, 2, 3, 1]),
    plain("Transpose", perm=[0, 3, 1, 2]),
    plain("Expand", np.array([1, 1, 1, 1], INT)),
    Case(
        "Expand", lambda g, x: g.add("Expand", g.add("ReduceMax", x, axes=[3]), np.array([1, 1, 1, 5], INT))
    ),
    plain("Tile", np.array([1, 2, 1, 3], INT)),
    plain("Gather", np.array([2, 0, -1], INT), axis=1),
    plain("Gather", np.array(3, INT), axis=2),
    plain("GatherND", np.array([[[2, 1], [0, -1]]], INT), batch_dims=1),
    plain("GatherElements", np.arange(96, dtype=INT).reshape(1, 4, 3, 8) % 8 - 2, axis=1),
    plain("Compress", np.array([1, 0, 1, 1, 0, 1], bool), axis=2),
    first_of("TopK", np.array([3], INT), axis=1),
    first_of("TopK", np.array([3], INT), axis=3, largest=0),
    plain("Trilu", upper=0),
    plain("Trilu", np.array(2, INT), upper=1),
    plain("CenterCropPad", np.array([4, 11], INT), opset=18, axes=[2, 3]),
    plain("CenterCropPad", np.array([1, 8, 3, 8], INT), opset=18),
    both_parts("Split", axis=1),
    both_parts("Split", axis=-1),
    Case("Split", lambda g, x: split_unequal(g, x), attributes={"axis": 1}),
    plain(
        "Slice", np.array([1, -1], INT), np.array([5, -9], INT), np.array([2, 3], INT), np.array([2, -2], INT)
    ),
    plain("Pad", np.array([0, 0, 1, 2, 0, 1, 0, 1], INT)),
    plain("Pad", np.array([0, 0, 1, 2, 0, 1, 0, 1], INT), np.float32(1.5)),
    plain("Pad", np.array([0, 0, 1, 2, 0, 0, 0, 1], INT), mode="reflect"),
    plain("Pad", np.array([0, 1, 1, 2, 0, 0, 0, 1], INT), mode="edge"),
    plain("Pad", np.array([0, 0, -1, 2, 0, 0, 0, 1], INT), np.float32(-9)),
    plain("DepthToSpace", blocksize=2),
    plain("DepthToSpace", blocksize=2, mode="CRD"),
    plain("SpaceToDepth", blocksize=2),
    plain("SpaceToDepth", blocksize=2),
    plain("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    plain("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    plain("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]),
    plain("MaxPool", kernel_shape=[3, 3], auto_pad="SAME_LOWER"),
    plain("MaxPool", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    plain("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    plain("AveragePool", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
    plain("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    plain("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
    plain("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_LOWER", strides=[2, 2]),
    plain("AveragePool", kernel_shape=[2, 2], dilations=[2, 2], opset=19),
    plain("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1),
    plain("GlobalAveragePool"),
    plain("GlobalMaxPool"),
    *(
        reduce(op, axes, keep, positive if op == "ReduceLogSum" else None)
        for op in REDUCTIONS
        for axes, keep in (([1], 0), ([2, 3], 1), ([1, 2, 3], 0), ([-1], 0))
    ),
    *(reduce("ReduceProd", axes, keep, positive) for axes, keep in (([1], 0), ([-1], 0))),
    *(
        plain("ReduceSum", np.array(axes, INT), keepdims=keep)
        for axes, keep in (([1], 0), ([2, 3], 1), ([1, 2, 3], 0), ([2], 1), ([-1], 0))
    ),
    *(plain("ReduceMean", axes=[axis], keepdims=keep) for axis in (2, 3) for keep in (0, 1)),
    plain("ReduceSum", np.array([], INT), noop_with_empty_axes=1),
    plain("ReduceMean", np.array([], INT), opset=18, noop_with_empty_axes=1),
    plain("ReduceMean", np.array([3, 1], INT), opset=18, keepdims=0),
    plain("Resize", None, np.array([1, 1, 2, 2], np.float32)),
    plain(
        "Resize",
        None,
        np.array([1, 1, 2, 2], np.float32),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    ),
    *(
        plain("Resize", None, np.array([1, 1, 2, 1.5], np.float32), mode=m, coordinate_transformation_mode=c)
        for m in ("linear", "nearest")
        for c in ("half_pixel", "asymmetric", "pytorch_half_pixel")
    ),
    plain(
        "Resize",
        None,
        np.array([1, 1, 1.5, 1.5], np.float32),
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    ),
    plain("Resize", None, np.array([1, 1, 0.5, 0.5], np.float32), nearest_mode="ceil"),
    plain("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="cubic", cubic_coeff_a=-0.5),
    plain("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="cubic", exclude_outside=1),
    plain("ReduceMax", opset=18, noop_with_empty_axes=1),
    plain("ReduceMin", opset=18, noop_with_empty_axes=1),
    plain("Upsample", np.array([1, 1, 2, 2], np.float32), opset=9, mode="linear"),
    plain("Upsample", np.array([1, 1, 2, 2], np.float32), opset=9),
    recurrent("LSTM", 4),
    recurrent("LSTM", 4, direction="bidirectional"),
    recurrent("LSTM", 4, direction="reverse"),
    recurrent("GRU", 3, linear_before_reset=1),
    recurrent("GRU", 3, direction="reverse"),
]


WITHOUT_CODES = {
    "AffineGrid", "ArgMax", "ArgMin", "Atan", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot",
    "BitwiseOr", "BitwiseXor", "Col2Im", "ConstantOfShape", "Cos", "CumSum", "DeformConv", "EyeLike",
    "GridSample", "HotPlaces", "If", "KeptBoxes", "Loop", "MaxRoiPool", "MaxUnpool", "Mod",
    "NonMaxSuppression", "NonZero", "OneHot", "PartsAt", "RNN", "Range", "ReverseSequence", "RoiAlign",
    "Round", "Scan", "Scatter", "ScatterElements", "ScatterND", "Shape", "Sign", "Sin", "Size", "SumAt",
    "TensorScatter", "TfIdfVectorizer", "Unique",
}  # fmt: skip
"""Operators that stay in floats in a quantised network, or have none; tested as these."""

WITHOUT_EFFECT = {
    ("BatchNormalization", "momentum"): "moves the statistics in training",
    ("BatchNormalization", "training_mode"): "refused: export in evaluation mode",
    ("Dropout", "seed"): "training",
    ("MaxPool", "storage_order"): "of the indices, which are refused",
    ("TopK", "sorted"): "unsorted ones may come in any order",
    ("Reshape", "allowzero"): "no tensor here is empty",
    ("LayerNormalization", "stash_type"): "the precision of the statistics",
    ("GroupNormalization", "stash_type"): "the precision of the statistics",
    ("Cast", "saturate"): "of 8-bit floats, which are refused",
    ("Split", "num_outputs"): "a count, told by the outputs",
    ("Resize", "extrapolation_value"): "of tf_crop_and_resize, which is refused",
    ("Resize", "axes"): "written out when the opset is lowered",
    ("Resize", "antialias"): "refused",
    ("Resize", "keep_aspect_ratio_policy"): "refused",
    **{
        (f"Reduce{kind}", "noop_with_empty_axes"): "refused"
        for kind in ("L1", "L2", "Prod", "LogSum", "LogSumExp", "SumSquare")
    },
    **{
        (op, name): "refused where it is not the default"
        for op in ("LSTM", "GRU")
        for name in ("clip", "activation_alpha", "activation_beta", "activations", "layout", "input_forget")
    },
}
"""What no case has, and why: an attribute that inference does not see, or that the translator refuses."""
