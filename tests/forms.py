"""Operators in the forms that each opset gives them, with attributes at other than their default values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RANDOM = np.random.default_rng(0)
IMAGE = ("n", 4, 6, 6)


@dataclass(frozen=True)
class Form:
    """A node on an input of `shape`: operands behind it (arrays or None), attributes, and `outputs`, of which
    one is read. `refusal` is a part of the message where the form is not taken.
    """

    operands: list[Any] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    shape: tuple[Any, ...] = IMAGE
    outputs: int = 1
    read: int = 0
    refusal: str = ""


Maker = Callable[[int], Form | None]
"""From an opset to the form, or None if that opset has it not."""


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)


def on(shape: tuple[Any, ...], *operands: Any, since: int = 7, until: int = 99, **attributes: Any) -> Maker:
    """A form on an input of another shape, in the opsets from `since` to `until`."""
    form = Form(list(operands), attributes, shape)
    return lambda opset: form if since <= opset <= until else None


def plain(*operands: Any, since: int = 7, until: int = 99, **attributes: Any) -> Maker:
    return on(IMAGE, *operands, since=since, until=until, **attributes)


def moved(
    change: int, name: str, value: list[int], since: int = 7, shape: Any = IMAGE, **attributes: Any
) -> Maker:
    """A form whose `name` is an attribute before opset `change` and an operand from then on."""

    def form(opset: int) -> Form | None:
        if opset < since:
            return None
        if opset >= change:
            return Form([np.array(value, np.int64)], attributes, shape)
        return Form([], {name: value, **attributes}, shape)

    return form


def refused(maker: Maker, refusal: str) -> Maker:
    """The same forms, which are not taken."""

    def form(opset: int) -> Form | None:
        made = maker(opset)
        return None if made is None else replace(made, refusal=refusal)

    return form


def clip(low: float | None, high: float | None) -> Maker:
    def form(opset: int) -> Form:
        bounds = {"min": low, "max": high}
        if opset >= 11:
            return Form([None if bound is None else np.float32(bound) for bound in bounds.values()])
        return Form([], {name: bound for name, bound in bounds.items() if bound is not None})

    return form


def pad(
    pads: list[int], value: float = 0.0, axes: list[int] | None = None, since: int = 7, **rest: Any
) -> Maker:
    def form(opset: int) -> Form | None:
        if opset < since:
            return None
        if opset < 11:
            return Form([], {"pads": pads, "value": value, **rest})
        more = [] if axes is None else [np.array(axes)]
        return Form([np.array(pads), np.float32(value), *more], rest)

    return form


def cut(since: int = 7, **spans: list[int]) -> Maker:
    """`starts`, `ends`, `axes` and `steps`, in this order."""

    def form(opset: int) -> Form | None:
        if opset < since:
            return None
        if opset < 10:
            return Form([], spans)
        known = [spans.get(name) for name in ("starts", "ends", "axes", "steps")]
        while known[-1] is None:
            known.pop()
        return Form([None if span is None else np.array(span) for span in known])

    return form


def resize(scales: list[float], since: int = 10, shape: Any = IMAGE, **attributes: Any) -> Maker:
    def form(opset: int) -> Form | None:
        if opset < since or (opset < 11 and attributes.keys() - {"mode"}):
            return None
        given = np.array(scales, np.float32)
        if opset < 11:
            return Form([given], attributes, shape)
        return Form([None if opset >= 13 else np.zeros(0, np.float32), given], attributes, shape)

    return form


def resize_to(sizes: list[int], since: int = 11, **attributes: Any) -> Maker:
    def form(opset: int) -> Form | None:
        nothing = None if opset >= 13 else np.zeros(0, np.float32)
        return Form([nothing, nothing, np.array(sizes)], attributes, (1, 4, 6, 6)) if opset >= since else None

    return form


def crop_and_resize(opset: int) -> Form | None:
    roi = np.array([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.4], np.float32)
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.0}
    return Form([roi, np.array([1, 1, 1.5, 1.5], np.float32)], options) if opset >= 11 else None


def upsample(*scales: float, shape: Any = IMAGE, mode: str = "nearest") -> Maker:
    def form(opset: int) -> Form:
        if opset >= 9:
            return Form([np.array(scales, np.float32)], {"mode": mode}, shape)
        return Form([], {"scales": [float(scale) for scale in scales], "mode": mode}, shape)

    return form


def dropout(opset: int) -> Form:
    return Form([np.float32(0.3)]) if opset >= 12 else Form([], {"ratio": 0.3})


def split(
    sizes: list[int] | None, count: int, axis: int, since: int = 7, read: int = 0, shape: Any = IMAGE
) -> Maker:
    def form(opset: int) -> Form | None:
        if opset < since:
            return None
        if sizes is None:
            more = {"num_outputs": count} if opset >= 18 else {}
            return Form([], {"axis": axis, **more}, shape, outputs=count, read=read)
        if opset >= 13:
            return Form([np.array(sizes)], {"axis": axis}, shape, outputs=count, read=read)
        return Form([], {"axis": axis, "split": sizes}, shape, outputs=count, read=read)

    return form


def norm(spatial: int | None = None, since: int = 7, **attributes: Any) -> Maker:
    """BatchNormalization's statistics are of each channel, or of each element where it is not spatial."""

    def form(opset: int) -> Form | None:
        if opset < since or (spatial is not None and opset >= 9):
            return None
        shape = (4, 6, 6) if spatial == 0 else (4,)
        given = attributes if spatial is None else {**attributes, "spatial": spatial}
        return Form([positive(*shape), floats(*shape), floats(*shape), positive(*shape)], given)

    return form


def in_training(opset: int) -> Form:
    """The outputs that BatchNormalization has only in training mode."""
    made = norm()(opset)
    assert made is not None
    return replace(made, outputs=3 if opset >= 14 else 5, refusal="training mode")


def groups(count: int, **attributes: Any) -> Maker:
    """GroupNormalization: scale and shift of each group in opset 18, of each channel from 21 on."""

    def form(opset: int) -> Form:
        size = 4 if opset >= 21 else count
        return Form([positive(size), floats(size)], {"num_groups": count, **attributes})

    return form


def recurrent(
    gates: int,
    ways: int = 1,
    state: int = 0,
    peepholes: bool = False,
    since: int = 7,
    read: int = 0,
    **rest: Any,
) -> Maker:
    """`state` is the number of first states that are given."""
    width = gates * 5
    operands: list[Any] = [floats(ways, width, 4), floats(ways, width, 5), floats(ways, 2 * width), None]
    size = (1, ways, 5) if rest.get("layout") else (ways, 1, 5)
    operands += [floats(*size) for _ in range(state)]
    if peepholes:
        operands += [None] * (2 - state) + [floats(ways, 3 * 5)]
    shape = (1, 3, 4)
    return (
        on(shape, *operands, since=since, hidden_size=5, **rest)
        if not read
        else _read(Form(operands, {"hidden_size": 5, **rest}, shape, outputs=read + 1, read=read), since)
    )


def _read(form: Form, since: int) -> Maker:
    return lambda opset: form if opset >= since else None


SEQUENCE, VOLUME, FLAT = ("n", 4, 9), ("n", 2, 5, 6, 5), ("n", 4)
WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
ODD = {"kernel_shape": [2, 3], "strides": [3, 2], "pads": [0, 1, 1, 2]}
POOLS: list[Maker] = [
    plain(**WINDOW),
    plain(**ODD),
    *(
        plain(kernel_shape=[3, 2], strides=[2, 2], auto_pad=auto)
        for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    on(SEQUENCE, kernel_shape=[3], strides=[2], pads=[1, 0]),
    on(VOLUME, kernel_shape=[2, 3, 2], strides=[2, 1, 2]),
    plain(**WINDOW, ceil_mode=1, since=10),
    plain(**ODD, ceil_mode=1, since=10),
    plain(kernel_shape=[1, 2], strides=[4, 4], ceil_mode=1, since=10),
    plain(kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1, since=10),
    plain(kernel_shape=[2, 2], strides=[5, 4], pads=[0, 0, 1, 1], ceil_mode=1, since=10),
]
AXES = {"keepdims": 0}
LINEAR = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDING = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def reduction(change: int, idle: str = "") -> list[Maker]:
    """`idle` is why the reduction of no axes is refused, if so."""
    nothing = [
        moved(change, "axes", [], since=change, noop_with_empty_axes=1),
        plain(since=change, noop_with_empty_axes=1),
    ]
    return [
        moved(change, "axes", [2, 3]),
        moved(change, "axes", [1, 3], keepdims=0),
        moved(change, "axes", [-1, -3], since=11),
        on((1, 4, 6)),
        *(refused(maker, idle) if idle else maker for maker in nothing),
    ]


def several(*shapes: tuple[int, ...]) -> list[Maker]:
    """No, one and two more operands; they are broadcast from opset 8 on."""
    same = (1, 4, 6, 6)
    return [
        on(same),
        on(same, floats(*same)),
        on(same, floats(*same), floats(*same)),
        plain(floats(4, 1, 1), since=8),
        on(("n", 4, 1, 6), floats(6, 1), floats(4, 1, 1), since=8),
    ]


BROADCAST = [
    plain(positive(1, 4, 6, 6)),
    plain(positive(4, 1, 1)),
    plain(positive(6)),
    on(("n", 1, 6), positive(4, 1)),
]
COMPARED = [plain(floats(4, 6, 6)), plain(floats(4, 1, 1))]
SOFTMAX = [
    plain(),
    *(plain(axis=axis) for axis in (1, 2, 3)),
    on((1, 4, 6), axis=0, until=12),
    plain(axis=-1, since=11),
    plain(axis=-2, since=11),
    on(FLAT, axis=1),
    on(SEQUENCE, axis=1),
    on(("n", 4, 1, 1), axis=1),
]
FORMS: dict[str, list[Maker]] = {
    **dict.fromkeys(("Max", "Min", "Sum", "Mean"), several()),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), BROADCAST),
    **dict.fromkeys(("Greater", "Less", "GreaterOrEqual", "LessOrEqual"), COMPARED),
    **{f"Reduce{name}": reduction(18) for name in ("Mean", "Max", "Min", "Prod")},
    **{
        f"Reduce{name}": reduction(18, "no axes to reduce")
        for name in ("L1", "L2", "SumSquare", "LogSumExp", "LogSum")
    },
    "ReduceSum": reduction(13),
    "AveragePool": [
        *POOLS,
        plain(**WINDOW, count_include_pad=1),
        plain(**ODD, count_include_pad=1),
        plain(kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER", count_include_pad=1),
        plain(**WINDOW, count_include_pad=1, ceil_mode=1, since=10),
        plain(**ODD, count_include_pad=1, ceil_mode=1, since=10),
        plain(
            kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1, since=10
        ),
        plain(kernel_shape=[2, 3], dilations=[2, 1], pads=[1, 0, 1, 2], since=19),
        plain(
            kernel_shape=[2, 3],
            dilations=[2, 2],
            pads=[1, 0, 1, 2],
            count_include_pad=1,
            ceil_mode=1,
            strides=[2, 1],
            since=19,
        ),
    ],
    "BatchNormalization": [
        norm(),
        norm(epsilon=0.1, momentum=0.5),
        norm(spatial=1),
        norm(spatial=0, epsilon=0.01),
        refused(norm(training_mode=1, since=14), "training mode"),
        in_training,
    ],
    "Cast": [
        plain(to=TensorProto.INT32),
        plain(to=TensorProto.INT64),
        plain(to=TensorProto.FLOAT16),
        plain(to=TensorProto.DOUBLE),
        plain(to=TensorProto.INT64, saturate=1, since=19),
    ],
    "ArgMax": [
        on((3, 5)),
        plain(axis=1, keepdims=0),
        plain(axis=-1, select_last_index=1, since=12),
        on((3, 5), axis=1),
    ],
    "ArgMin": [on((3, 5)), plain(axis=2, keepdims=0), plain(axis=1, select_last_index=1, since=12)],
    "BitCast": [plain(to=TensorProto.INT32)],
    "BitShift": [plain(np.uint8(2), direction="LEFT"), plain(np.uint8(1), direction="RIGHT")],
    "BitwiseAnd": [plain(np.int32(5)), plain(np.arange(6, dtype=np.int32))],
    "BitwiseOr": [plain(np.int32(5)), plain(np.arange(6, dtype=np.int32))],
    "BitwiseXor": [plain(np.int32(5)), plain(np.arange(6, dtype=np.int32))],
    "CumProd": [plain(np.int64(1)), plain(np.int64(-1), exclusive=1), plain(np.int64(2), reverse=1)],
    "CumSum": [plain(np.int64(1)), plain(np.int64(-1), exclusive=1), plain(np.int64(2), reverse=1)],
    "Det": [on((2, 3, 3)), on((4, 4, 2, 2))],
    "Hardmax": [plain(), plain(axis=1), plain(axis=2)],
    "IsInf": [plain(detect_negative=0), plain(detect_positive=0)],
    "LRN": [plain(size=3), plain(size=5, alpha=0.1, beta=0.5, bias=2.0)],
    "LpPool": [
        plain(kernel_shape=[2, 2]),
        plain(kernel_shape=[3, 3], p=1, strides=[2, 2], pads=[1, 1, 1, 1]),
        plain(kernel_shape=[3, 2], p=3, auto_pad="SAME_UPPER"),
        plain(kernel_shape=[2, 2], dilations=[2, 2], since=19),
        refused(plain(kernel_shape=[2, 2], dilations=[2, 2], since=18, until=18), "from opset 19 on"),
        plain(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, since=18),
    ],
    "Mod": [
        plain(np.float32(0.3), fmod=1, since=10),
        plain(floats(4, 1, 1), fmod=1, since=10),
    ],
    "CastLike": [plain(), plain(saturate=1, since=19)],
    "Celu": [plain(alpha=2.0)],
    "Clip": [clip(-1.0, 0.5), clip(-0.2, None), clip(None, 0.3), clip(None, None)],
    "Concat": [plain(axis=1), plain(axis=3), plain(axis=-1, since=11), plain(axis=-3, since=11)],
    "ConvInteger": [
        plain((9 * floats(5, 4, 3, 3)).astype(np.int8), np.uint8(3), kernel_shape=[3, 3], pads=[1, 0, 1, 0]),
        plain((9 * floats(4, 2, 2, 2)).astype(np.int8), np.uint8(3), np.int8(1), group=2, strides=[2, 2]),
        plain((9 * floats(5, 4, 2, 2)).astype(np.int8), dilations=[2, 2], auto_pad="VALID"),
    ],
    "MatMulInteger": [
        plain((9 * floats(6, 5)).astype(np.int8), np.uint8(3), np.int8(1)),
        plain((9 * floats(6, 5)).astype(np.int8), np.uint8(3), np.arange(5, dtype=np.int8)),
    ],
    "DFT": [
        on((2, 6, 1), axis=1, until=19),
        on((2, 6, 2), axis=1, inverse=1, until=19),
        on((2, 5, 4, 1), np.int64(6), axis=1, onesided=1, until=19),
        on((2, 5, 4, 1), None, np.int64(1), since=20),
        on((2, 5, 4, 2), None, np.int64(2), since=20, inverse=1),
        on((2, 5, 4, 1), np.int64(8), np.int64(1), since=20, onesided=1),
    ],
    "STFT": [
        on((1, 32), np.int64(8), floats(16), np.int64(16)),
        on((1, 30, 1), np.int64(6), None, np.int64(12), onesided=0),
    ],
    "Conv": [
        on((1, 4, 3, 5, 6), floats(6, 4, 2, 3, 2), floats(6), pads=[0, 1, 1, 1, 1, 0]),
        on((1, 4, 3, 5, 6), floats(6, 2, 2, 3, 2), floats(6), group=2, strides=[1, 2, 2]),
        on((1, 4, 3, 6, 6), floats(6, 4, 2, 2, 3), dilations=[1, 2, 2]),
        plain(floats(8, 4, 3, 3), floats(8), kernel_shape=[3, 3]),
        plain(floats(8, 2, 2, 3), floats(8), group=2, strides=[2, 1], pads=[0, 1, 1, 2]),
        plain(floats(8, 1, 2, 2), group=4, dilations=[2, 3]),
        *(
            plain(floats(3, 4, 2, 3), strides=[2, 2], auto_pad=auto)
            for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")
        ),
        on(SEQUENCE, floats(3, 4, 3), floats(3), strides=[2], pads=[2, 1]),
    ],
    "ConvTranspose": [
        on((1, 3, 2, 3, 4), floats(3, 2, 2, 2, 3), floats(2), strides=[2, 2, 1], pads=[0, 1, 0, 1, 0, 0]),
        on((1, 4, 3, 3, 2), floats(4, 2, 3, 2, 2), group=2, strides=[3, 1, 2], output_padding=[1, 0, 1]),
        on((1, 2, 3, 3, 2), floats(2, 2, 2, 2, 2), dilations=[1, 2, 1], output_shape=[4, 5, 2]),
        plain(floats(4, 3, 2, 2), floats(3), strides=[2, 2], kernel_shape=[2, 2]),
        plain(
            floats(4, 3, 3, 3), floats(6), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1], group=2
        ),
        plain(floats(4, 3, 3, 2), strides=[2, 3], dilations=[2, 1], pads=[0, 1, 1, 0]),
        *(
            plain(floats(4, 3, 3, 4), strides=[2, 2], auto_pad=auto)
            for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")
        ),
        *(
            plain(floats(4, 3, 3, 4), strides=[2, 2], auto_pad=auto, output_shape=[12, 13])
            for auto in ("SAME_UPPER", "SAME_LOWER")
        ),
        plain(floats(4, 3, 4, 4), strides=[2, 2], output_shape=[13, 11]),
        on(SEQUENCE, floats(4, 2, 3), floats(2), strides=[2], pads=[1, 0]),
    ],
    "DepthToSpace": [plain(blocksize=2), *(plain(blocksize=2, mode=m, since=11) for m in ("DCR", "CRD"))],
    "Dropout": [
        dropout,
        plain(),
        plain(np.float32(0.3), np.bool_(False), since=12, seed=3),
        refused(plain(np.float32(0.3), np.bool_(True), since=12), "training mode"),
    ],
    "Einsum": [
        plain(floats(6, 5), equation="nchw,wk->nchk"),
        on((1, 4, 6, 6), floats(6, 5), equation="nchw, wk"),
        plain(floats(6, 5), equation="...w,wk->...k"),
        plain(equation="nchw->nwc"),
        plain(equation="nchh->nch"),
        plain(equation="...hh"),
        on((3, 4, 4), floats(4, 5), equation="ahh,hk->ak"),
    ],
    "Elu": [plain(alpha=0.3)],
    "Equal": [],
    "Expand": [
        on(("n", 1, 6, 6), np.array([1, 4, 6, 6])),
        on(("n", 4, 6, 1), np.array([4, 1, 6])),
        on((1, 4, 6), np.array([1, 2, 4, 1])),
    ],
    "Flatten": [
        plain(),
        plain(axis=1),
        on((1, 4, 6, 6), axis=2),
        on((1, 4, 6), axis=0),
        on((1, 4, 6, 6), axis=3),
        on((1, 4, 6, 6), axis=-2, since=11),
    ],
    "GRU": [
        recurrent(3),
        recurrent(3, linear_before_reset=1),
        recurrent(3, direction="reverse", state=1),
        recurrent(3, ways=2, direction="bidirectional", linear_before_reset=1),
        recurrent(3, read=1),
    ],
    "RNN": [
        recurrent(1),
        recurrent(1, direction="reverse", state=1),
        recurrent(1, ways=2, direction="bidirectional"),
        recurrent(1, read=1),
    ],
    "Gather": [
        plain(np.array([2, 0]), axis=1),
        plain(np.array([[0, 2], [1, 1]]), axis=2),
        plain(np.array(1), axis=3),
        plain(np.array([-1, 0]), axis=-2, since=11),
    ],
    "Gelu": [plain(), plain(approximate="tanh")],
    "Gemm": [
        on(FLAT, floats(4, 3), floats(3)),
        on(FLAT, floats(3, 4), floats(1, 3), transB=1, alpha=0.5, beta=2.0),
        on((2, 4), floats(4, 3), floats(2, 1)),
        on(FLAT, floats(4, 3), np.float32(0.7)),
        on(FLAT, floats(4, 3), since=11, alpha=1.5),
        on(FLAT, floats(4, 3), floats(1)),
    ],
    "GroupNormalization": [groups(2), groups(4), groups(1, epsilon=0.1), groups(2, epsilon=0.3)],
    "HardSigmoid": [plain(alpha=0.3, beta=0.4)],
    "InstanceNormalization": [
        plain(positive(4), floats(4)),
        plain(positive(4), floats(4), epsilon=0.2),
        on(SEQUENCE, positive(4), floats(4)),
        on(VOLUME, positive(2), floats(2)),
    ],
    "LSTM": [
        recurrent(4),
        recurrent(4, state=2),
        recurrent(4, peepholes=True),
        recurrent(4, direction="reverse", state=2, peepholes=True),
        recurrent(4, ways=2, direction="bidirectional"),
        recurrent(4, read=1),
        recurrent(4, read=2),
    ],
    "LayerNormalization": [
        plain(positive(6), floats(6)),
        plain(positive(4, 6, 6), axis=1, epsilon=0.2),
        plain(positive(6, 6), floats(6, 6), axis=-2, stash_type=1),
    ],
    "LeakyRelu": [plain(), plain(alpha=0.3)],
    **dict.fromkeys(("Softmax", "LogSoftmax"), SOFTMAX),
    "LpNormalization": [plain(axis=1), plain(axis=-1, p=1), plain()],
    "MatMul": [plain(floats(6, 5)), plain(floats(6)), plain(floats(4, 6, 2)), on(FLAT, floats(4, 3))],
    "MaxPool": [
        *POOLS,
        plain(**WINDOW, storage_order=1, since=8),
        plain(kernel_shape=[2, 3], dilations=[2, 1], since=10),
        plain(
            kernel_shape=[2, 2], dilations=[2, 3], pads=[1, 1, 0, 1], strides=[2, 2], ceil_mode=1, since=10
        ),
    ],
    "PRelu": [
        plain(positive(4, 1, 1)),
        plain(positive(1)),
        plain(positive(6)),
        plain(positive(1, 4, 1, 1)),
        on(SEQUENCE, positive(4, 1)),
        on(FLAT, positive(4)),
    ],
    "Pad": [
        pad([0, 0, 1, 2, 0, 0, 2, 1]),
        pad([0, 1, 1, 2, 0, 0, 2, 1], value=0.5),
        pad([0, 0, -1, 2, 0, 0, 2, -2], value=1.5),
        *(pad([0, 0, 1, 2, 0, 0, 2, 1], mode=mode) for mode in ("reflect", "edge")),
        pad([1, 2, 2, 0], value=2.0, axes=[3, -2], since=18),
        pad([0, 0, 1, 2, 0, 0, 2, 1], mode="wrap", since=19),
        pad([1, 2, 2, 0], axes=[-1, 2], mode="reflect", since=18),
    ],
    "Pow": [
        plain(np.float32(2)),
        plain(positive(4, 1, 1)),
        plain(np.int64(3), since=12),
        plain(np.int32(2), since=12),
    ],
    "Reshape": [
        plain(np.array([-1, 2, 2, 36])),
        plain(np.array([0, -1, 6])),
        plain(np.array([0, 0, 36])),
        plain(np.array([-1, 4, 36]), allowzero=1, since=14),
    ],
    "Resize": [
        resize([1, 1, 2, 2]),
        resize([1, 1, 2, 2], mode="linear"),
        resize([1, 1, 1.5, 1.75]),
        resize([1, 1, 1.5, 1.75], mode="linear"),
        resize([1, 1, 0.5, 0.6], mode="linear"),
        resize([1, 1, 0.6, 0.4]),
        resize([1, 1, 1.7, 0.5]),
        resize([1, 1, 0.5, 1.7], mode="linear"),
        resize([1, 1, 3, 1]),
        resize([1, 1.5, 2], shape=("n", 4, 6)),
        resize([1, 1, 2.5], shape=("n", 4, 6), mode="nearest"),
        resize([1, 2], shape=FLAT),
        resize([1, 2], shape=FLAT, mode="linear"),
        *(
            resize([1, 1, 1.5, 0.5], since=11, coordinate_transformation_mode=c, nearest_mode=n)
            for c in LINEAR
            for n in ROUNDING
        ),
        *(
            resize([1, 1, 1.5, 0.5], since=11, mode=mode, coordinate_transformation_mode=c)
            for c in LINEAR
            for mode in ("linear", "cubic")
        ),
        *(
            resize_to([1, 4, 9, 4], mode=mode, coordinate_transformation_mode=c)
            for c in LINEAR
            for mode in ("nearest", "linear", "cubic")
        ),
        resize([1, 1, 1.5, 2], since=11, mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
        resize(
            [1, 1, 2.5, 2], since=19, mode="linear", coordinate_transformation_mode="half_pixel_symmetric"
        ),
        resize(
            [1, 1, 2.3, 0.7], since=19, mode="linear", coordinate_transformation_mode="half_pixel_symmetric"
        ),
        resize([1.5, 2], since=18, axes=[2, 3], mode="linear"),
        resize([2, 1.5], since=18, axes=[3, 2]),
        resize_to([9, 4], since=18, axes=[2, 3]),
        resize_to([9, 4], since=18, axes=[-2, -1], mode="linear"),
        *(
            resize_to([9, 15], since=18, axes=[2, 3], keep_aspect_ratio_policy=policy, mode=mode)
            for policy in ("not_larger", "not_smaller")
            for mode in ("nearest", "linear")
        ),
        *(resize([1, 1, 0.5, 0.6], since=18, mode=mode, antialias=1) for mode in ("linear", "cubic")),
        crop_and_resize,
    ],
    "Selu": [plain(), plain(alpha=1.2, gamma=0.8)],
    "Shape": [plain(), plain(since=15, start=-3, end=3)],
    "Size": [plain()],
    "Slice": [
        cut(starts=[1, 0], ends=[5, 3], axes=[2, 3]),
        cut(starts=[1, 2, -4], ends=[9, 3, -1], axes=[1, 2, 3]),
        cut(starts=[-3], ends=[2**31 - 1], axes=[1]),
        cut(starts=[0, 5], ends=[6, 1], axes=[3, 2], steps=[2, -2], since=10),
        cut(starts=[-1], ends=[-(2**31)], axes=[-2], steps=[-1], since=10),
    ],
    "SpaceToDepth": [plain(blocksize=2)],
    "Split": [
        split(None, 2, 1, read=1),
        split([1, 3], 2, 1, read=1),
        split([4, 2], 2, -1, since=11),
        split(None, 2, 1, read=1, since=18, shape=("n", 5, 6)),
        split(None, 3, 2, read=2),
    ],
    "Squeeze": [
        moved(13, "axes", [1], shape=("n", 1, 6, 6)),
        moved(13, "axes", [2, 1], shape=("n", 1, 1, 6)),
        moved(13, "axes", [-2], shape=("n", 3, 1, 6), since=11),
        on((1, 4, 1, 3)),
    ],
    "Tile": [plain(np.array([1, 2, 1, 1])), plain(np.array([1, 2, 1, 3]))],
    "Transpose": [plain(perm=[0, 2, 3, 1]), on((1, 4, 6, 1))],
    "Unsqueeze": [
        moved(13, "axes", [2]),
        moved(13, "axes", [3, 1], shape=SEQUENCE),
        moved(13, "axes", [-1], since=11),
        moved(13, "axes", [-2, 1], since=11, shape=SEQUENCE),
    ],
    "Upsample": [
        upsample(1, 1, 2, 2),
        upsample(1, 1, 1.5, 1.75),
        upsample(1, 1, 2, 2, mode="linear"),
        upsample(1, 1, 1.5, 2.75, mode="linear"),
        upsample(1, 1, 3, 1, mode="linear"),
        upsample(1, 1, 2, shape=SEQUENCE),
        upsample(1, 2, shape=FLAT),
        upsample(1, 2.5, shape=FLAT, mode="linear"),
    ],
}
"""Of an operator that is not here, the form has the input alone and no attributes."""
FORMS = {op: makers or [plain()] for op, makers in FORMS.items()}

UNARY = {
    **dict.fromkeys(("Log", "Sqrt", "ReduceLogSum", "Reciprocal", "Pow", "Acosh"), "Abs"),
    **dict.fromkeys(("Asin", "Acos", "Atanh"), "Tanh"),
    "IsNaN": "Log",
}
"""What gives an operator the numbers that it is defined for."""
SHORT = ("BitShift", "ConvInteger", "MatMulInteger")
COUNTED = ("ConvInteger", "MatMulInteger", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
LOGICAL = ("And", "Or", "Xor", "Not", "Equal", "Where")
RECURRENT = ("GRU", "LSTM", "RNN")
WHOLE = ("QuantizeLinear", "DequantizeLinear")


def forms(op: str, opset: int) -> Iterator[Form]:
    """The operator's forms in that opset."""
    for maker in FORMS.get(op, [plain()]):
        if (form := maker(opset)) is not None:
            yield form


def network(op: str, opset: int, form: Form) -> onnx.ModelProto:
    """The operator behind nodes that give it what it takes, and before a cast to floats."""
    names = [f"operand_{i}" if value is not None else "" for i, value in enumerate(form.operands)]
    constants = {name: value for name, value in zip(names, form.operands, strict=True) if name}
    nodes, inputs = _before(op, constants)
    made = [f"made_{i}" for i in range(form.outputs)]
    kind = "DequantizeLinear" if op in WHOLE else op
    nodes.append(helper.make_node(kind, [*inputs, *names], made, "it", **form.attributes))
    nodes.append(helper.make_node("Cast", [made[form.read]], ["y"], to=TensorProto.FLOAT))
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, form.shape)
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [entry], [end], tensors)
    imports = [helper.make_opsetid("", opset)]
    version = max(8, helper.find_min_ir_version_for(imports))
    return helper.make_model(graph, opset_imports=imports, ir_version=version)


def _before(op: str, constants: dict[str, np.ndarray]) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes before the operator, and the tensors that they give it; constants of theirs are added."""
    make = helper.make_node
    first = make(UNARY.get(op, "Neg"), ["input"], ["x"])
    if op == "Acosh":
        return [first, make("Exp", ["x"], ["power"])], ["power"]
    if op == "IsInf":
        nodes = [make("Abs", ["x"], ["size"]), make("Floor", ["size"], ["whole"])]
        return [first, *nodes, make("Div", ["x", "whole"], ["quotient"])], ["quotient"]
    if op == "CastLike":
        return [first, make("Cast", ["x"], ["like"], to=TensorProto.INT32)], ["x", "like"]
    if op in LOGICAL:
        constants |= {"low": np.float32(0), "high": floats(6, 6)}
        nodes = [first, make("Greater", ["x", "low"], ["p"]), make("Less", ["x", "high"], ["q"])]
        return nodes, {"Not": ["p"], "Where": ["p", "x", "high"]}.get(op, ["p", "q"])
    if op in COUNTED:
        constants |= {"ten": np.float32(10)}
        kind = TensorProto.UINT8 if op in SHORT else TensorProto.INT32
        return [
            first,
            make("Abs", ["x"], ["size"]),
            make("Mul", ["size", "ten"], ["more"]),
            make("Cast", ["more"], ["whole"], to=kind),
        ], ["whole"]
    if op in WHOLE:
        constants |= {"scale": np.float32(0.05), "zero": np.int8(3)}
        quantised = make("QuantizeLinear", ["x", "scale", "zero"], ["codes"])
        return [first, quantised], ["codes", "scale", "zero"]
    if op in RECURRENT:
        return [first, make("Transpose", ["x"], ["sequence"], perm=[1, 0, 2])], ["sequence"]
    return [first], ["x", "x"] if op == "Concat" else ["x"]
