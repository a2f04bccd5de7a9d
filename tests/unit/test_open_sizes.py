"""Networks whose inputs leave sizes open give, resized, what ONNX Runtime gives for each of a few sizes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgepress.convert.nhwc import convert
from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.shapes import open_sizes
from edgepress.graph.view import copy
from edgepress.translate.ends import end_orders, network_channels
from tests.networks import run_unoptimised

RANDOM = np.random.default_rng(0)
node = helper.make_node
IMAGE = ("n", 3, "h", "w")
IMAGES = [(1, 3, 32, 32), (2, 3, 64, 48), (1, 3, 44, 52)]
ANY_IMAGES = [*IMAGES[:2], (1, 3, 37, 51)]


def weights(*shape: int) -> np.ndarray:
    return (RANDOM.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def build(nodes: list, constants: dict, shape=IMAGE, outputs=("y",), kind=TensorProto.FLOAT, opset=17):
    entry = helper.make_tensor_value_info("x", kind, list(shape))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "graph", [entry], ends, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def padded_strides() -> onnx.ModelProto:
    """Padding of (1, 1) is TensorFlow's of odd sizes alone."""
    nodes = [
        node("Conv", ["x", "a"], ["b"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["c", "d"], ["e"], auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Mul", ["e", "few"], ["y"]),
    ]
    few = RANDOM.normal(size=(4, 1, 1)).astype(np.float32)
    return build(nodes, {"a": weights(4, 3, 3, 3), "d": weights(4, 4, 3, 3), "few": few})


def pooled() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "a"], ["b"], strides=[2, 2]),
        node("GlobalAveragePool", ["b"], ["c"]),
        node("Flatten", ["c"], ["d"]),
        node("Gemm", ["d", "w"], ["y"]),
    ]
    return build(nodes, {"a": weights(4, 3, 3, 3), "w": weights(4, 5)})


def upsampled(by: str) -> onnx.ModelProto:
    """A U-Net's way up: to the size of what is joined, computed as PyTorch does, or by a factor."""
    sizes = {
        "sizes": [
            node("Shape", ["a"], ["wanted"], start=2),
            node("Concat", ["head", "wanted"], ["sizes"], axis=0),
            node("Resize", ["b", "", "", "sizes"], ["u"], mode="linear"),
        ],
        "nearest": [
            node("Shape", ["a"], ["wanted"], start=2),
            node("Concat", ["head", "wanted"], ["sizes"], axis=0),
            node("Resize", ["b", "", "", "sizes"], ["u"], mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        ],
        "scales": [node("Resize", ["b", "", "twice"], ["u"], mode="nearest",
                        coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        "transposed": [node("ConvTranspose", ["b", "t"], ["u"], strides=[2, 2])],
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "k"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["a", "l"], ["b"], strides=[2, 2], pads=[1, 1, 1, 1]),
        *sizes[by],
        node("Concat", ["u", "a"], ["y"], axis=1),
    ]
    constants = {
        "k": weights(4, 3, 3, 3), "l": weights(4, 4, 3, 3), "t": weights(4, 4, 2, 2),
        "head": np.array([1, 4]), "twice": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    used = {name for each in nodes for name in each.input}
    return build(nodes, {name: value for name, value in constants.items() if name in used})


def resized(by: str, **options: Any) -> onnx.ModelProto:
    """To half, one and a half or a fixed size, where a size of the image is not a whole number of samples."""
    scales, sizes = np.array([1, 1, 0.5, 1.5], np.float32), np.array([1, 3, 20, 17])
    operands = ["x", "", "by"] if by == "scales" else ["x", "", "", "by"]
    constants = {"by": scales if by == "scales" else sizes}
    shape = IMAGE if by == "scales" else (1, *IMAGE[1:])
    return build([node("Resize", operands, ["y"], **options)], constants, shape=shape)


def widened() -> onnx.ModelProto:
    """A deconvolution of which a border is cut off, as it is written where TFLite has no such padding."""
    nodes = [
        node("Conv", ["x", "k"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("ConvTranspose", ["a", "t"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    ]
    return build(nodes, {"k": weights(4, 3, 3, 3), "t": weights(4, 4, 3, 3)})


def pooled_sequence() -> onnx.ModelProto:
    """Of sequences TFLite has no pools: the places of all windows are taken and compared."""
    pool = node("MaxPool", ["x"], ["y"], kernel_shape=[3], strides=[2], pads=[1, 1])
    return build([pool], {}, shape=("n", 4, "length"))


def pooled_at_borders(kind: str, **options: Any) -> onnx.ModelProto:
    return build([node(kind, ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], **options)], {})


def patches() -> onnx.ModelProto:
    """An image as a sequence of patches, and back, as transformers do."""
    nodes = [
        node("Conv", ["x", "k"], ["a"], strides=[4, 4]),
        node("Shape", ["a"], ["sizes"]),
        node("Slice", ["sizes", "two", "four"], ["image"]),
        node("Reshape", ["a", "flat"], ["b"]),
        node("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
        node("Transpose", ["c"], ["d"], perm=[0, 2, 1]),
        node("MatMul", ["c", "d"], ["e"]),
        node("Softmax", ["e"], ["f"]),
        node("MatMul", ["f", "c"], ["g"]),
        node("Transpose", ["g"], ["h"], perm=[0, 2, 1]),
        node("Concat", ["head", "image"], ["back"], axis=0),
        node("Reshape", ["h", "back"], ["i"]),
        node("Conv", ["i", "l"], ["y"], pads=[1, 1, 1, 1]),
    ]
    constants = {
        "k": weights(8, 3, 4, 4), "l": weights(2, 8, 3, 3), "flat": np.array([0, 8, -1]),
        "head": np.array([-1, 8]), "two": np.array([2]), "four": np.array([4]),
    }  # fmt: skip
    return build(nodes, constants)


def cut_at_both_ends() -> onnx.ModelProto:
    nodes = [
        node("Slice", ["x", "starts", "ends", "axes"], ["a"]),
        node("Relu", ["a"], ["y"]),
    ]
    spans = {"starts": np.array([1, -9]), "ends": np.array([-2, 2**31 - 1]), "axes": np.array([2, 3])}
    return build(nodes, spans)


def sampled(mode: str, padding: str, corners: int) -> onnx.ModelProto:
    """A grid as large as the image, which AffineGrid makes."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("AffineGrid", ["theta", "s"], ["g"], align_corners=corners),
        node("GridSample", ["x", "g"], ["y"], mode=mode, padding_mode=padding, align_corners=corners),
    ]
    theta = np.array([[[1.23, 0.1, -0.21], [0.3, 0.8, 0.4]]], np.float32)
    return build(nodes, {"theta": theta}, (1, 3, "h", "w"), opset=20)


def cut_alone() -> onnx.ModelProto:
    """Nothing but the number of samples is open."""
    nodes = [
        node("Split", ["x"], ["a", "b"], axis=2),
        node("Slice", ["b", "one", "two", "axis"], ["c"]),
        node("MatMul", ["a", "w"], ["d"]),
        node("Concat", ["d", "c"], ["y"], axis=2),
    ]
    numbers = {"one": np.array([1]), "two": np.array([2]), "axis": np.array([2])}
    return build(nodes, {"w": weights(5, 5), **numbers}, ("n", 3, 4, 5))


def sequence() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "k"], ["a"], pads=[2, 2]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        node("MatMul", ["b", "w"], ["c"]),
        node("ReduceMean", ["c"], ["y"], axes=[1], keepdims=0),
    ]
    return build(nodes, {"k": weights(8, 4, 5), "w": weights(8, 3)}, shape=("n", 4, "length"))


def _length() -> list:
    """The length of a sequence (n, length, 8) as `length` (1,) and `scalar`."""
    return [
        node("Shape", ["x"], ["length"], start=1, end=2),
        node("Squeeze", ["length"], ["scalar"]),
    ]


SEQUENCE = ("n", "length", 8)
SEQUENCES = [(1, 32, 8), (1, 20, 8), (1, 51, 8)]


def positions(by: str) -> onnx.ModelProto:
    """A sequence with what is added at each place: rows of a table, cut off, looked up, or from its end."""
    one = numpy_helper.from_array(np.ones(1, np.float32))
    ways = {
        "slice": [node("Slice", ["table", "zero", "length", "zero"], ["rows"])],
        "range": [
            node("Range", ["none", "scalar", "each"], ["places"]),
            node("Gather", ["table", "places"], ["rows"]),
        ],
        "from the end": [
            node("Range", ["none", "scalar", "each"], ["places"]),
            node("Sub", ["places", "scalar"], ["below"]),
            node("Gather", ["table", "below"], ["rows"]),
        ],
        "count": [
            node("ConstantOfShape", ["length"], ["ones"], value=one),
            node("Size", ["ones"], ["size"]),
            node("Cast", ["size"], ["number"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["ones", "one"], ["column"]),
            node("Mul", ["column", "number"], ["rows"]),
        ],
    }  # fmt: skip
    constants = {
        "table": RANDOM.normal(size=(64, 8)).astype(np.float32), "zero": np.array([0]), "none": np.array(0),
        "each": np.array(1), "one": np.array([1]),
    }  # fmt: skip
    nodes = [*_length(), *ways[by], node("Add", ["x", "rows"], ["y"])]
    used = {name for each in nodes for name in each.input}
    return build(nodes, {k: v for k, v in constants.items() if k in used}, shape=SEQUENCE)


def laid_out(by: str) -> onnx.ModelProto:
    """A row repeated as often as the sequence is long, or as much more padding as it has places."""
    ways = {
        "expand": [
            node("Concat", ["length", "eight"], ["sizes"], axis=0),
            node("Expand", ["row", "sizes"], ["rows"]),
            node("Add", ["x", "rows"], ["y"]),
        ],
        "tile": [
            node("Concat", ["length", "one"], ["counts"], axis=0),
            node("Tile", ["row", "counts"], ["rows"]),
            node("Add", ["x", "rows"], ["y"]),
        ],
        "pad": [
            node("Concat", ["none", "length", "none", "none", "one", "none"], ["pads"], axis=0),
            node("Pad", ["x", "pads", "border"], ["y"]),
        ],
        "halves": [
            node("Div", ["length", "two"], ["half"]),
            node("Slice", ["x", "half", "far", "one"], ["y"]),
        ],
    }
    constants = {
        "row": RANDOM.normal(size=(1, 8)).astype(np.float32), "eight": np.array([8]), "one": np.array([1]),
        "two": np.array([2]), "none": np.array([0]), "far": np.array([2**63 - 1]), "border": np.float32(0.5),
    }  # fmt: skip
    nodes = [*_length(), *ways[by]]
    used = {name for each in nodes for name in each.input}
    return build(nodes, {k: v for k, v in constants.items() if k in used}, shape=SEQUENCE)


def counted(by: str) -> onnx.ModelProto:
    """What follows from the places of elements: triangles, diagonals, the order backwards, borders."""
    square = [
        node("Concat", ["length", "length"], ["sides"], axis=0),
        node("ConstantOfShape", ["sides"], ["ones"], value=numpy_helper.from_array(np.ones(1, np.float32))),
    ]
    ways = {
        "triangle": [
            *square,
            node("Trilu", ["ones", "shift"], ["mask"]),
            node("MatMul", ["mask", "x"], ["y"]),
        ],
        "computed triangle": [
            *square,
            node("Div", ["scalar", "three"], ["part"]),
            node("Trilu", ["ones", "part"], ["mask"], upper=0),
            node("MatMul", ["mask", "x"], ["y"]),
        ],
        "triangle of data": [node("Trilu", ["x", "shift"], ["y"], upper=0)],
        "diagonal": [*square, node("EyeLike", ["ones"], ["mask"], k=2), node("MatMul", ["mask", "x"], ["y"])],
        "backwards": [node("Slice", ["x", "last", "first", "one", "back"], ["y"])],
        "border": [node("Pad", ["x", "pads"], ["y"], mode="edge")],
        "elements": [
            node("ArgMax", ["x"], ["best"], axis=1),
            node("GatherElements", ["x", "best"], ["y"], axis=1),
        ],
        "added elements": [
            node("ArgMax", ["x"], ["best"], axis=2),
            node("Slice", ["x", "none", "one", "two"], ["column"]),
            node("ScatterElements", ["zeros", "best", "column"], ["y"], axis=1, reduction="add"),
        ],
    }  # fmt: skip
    constants = {
        "shift": np.array(-1), "three": np.array(3), "last": np.array([-1]), "first": np.array([-(2**62)]),
        "one": np.array([1]), "none": np.array([0]), "two": np.array([2]), "back": np.array([-1]),
        "pads": np.array([0, 2, 0, 0, 3, 0]), "zeros": np.zeros((1, 8, 1), np.float32),
    }  # fmt: skip
    nodes = [*_length(), *ways[by]]
    used = {name for each in nodes for name in each.input}
    return build(nodes, {k: v for k, v in constants.items() if k in used}, shape=SEQUENCE, opset=18)


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], list[tuple[int, ...]]]] = {
    "padded strides": (padded_strides, ANY_IMAGES),
    "pooled": (pooled, ANY_IMAGES),
    "upsampled to sizes": (lambda: upsampled("sizes"), [(1, *s[1:]) for s in IMAGES]),
    "upsampled to odd sizes": (lambda: upsampled("nearest"), [(1, *s[1:]) for s in ANY_IMAGES]),
    "upsampled by scales": (lambda: upsampled("scales"), IMAGES),
    "upsampled by a layer": (lambda: upsampled("transposed"), IMAGES),
    **{
        f"resized {by} {options}": (
            partial(resized, by, **options),
            ANY_IMAGES if by == "scales" else [(1, *each[1:]) for each in ANY_IMAGES],
        )
        for by, options in (
            ("scales", {"mode": "nearest"}),
            ("scales", {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
            ("scales", {"mode": "cubic", "exclude_outside": 1}),
            ("sizes", {"mode": "nearest", "nearest_mode": "ceil"}),
            ("sizes", {"mode": "cubic", "coordinate_transformation_mode": "align_corners"}),
            ("sizes", {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}),
        )
    },
    "widened": (widened, ANY_IMAGES),
    "pooled sequences": (pooled_sequence, [(1, 4, 32), (1, 4, 21), (1, 4, 51)]),
    "means of what is in windows": (partial(pooled_at_borders, "AveragePool", pads=[1, 1, 1, 1]), ANY_IMAGES),
    "means of half windows": (partial(pooled_at_borders, "AveragePool", ceil_mode=1), ANY_IMAGES),
    "largest of half windows": (partial(pooled_at_borders, "MaxPool", ceil_mode=1), ANY_IMAGES),
    "patches": (patches, IMAGES),
    "cut": (cut_at_both_ends, ANY_IMAGES),
    **{
        f"sampled, {mode}, {padding}, {corners}": (
            partial(sampled, mode, padding, corners),
            [(1, 3, 8, 11), (1, 3, 5, 4), (1, 3, 9, 16)],
        )
        for mode, padding, corners in (
            ("linear", "zeros", 0),
            ("linear", "reflection", 1),
            ("cubic", "border", 1),
            ("nearest", "reflection", 0),
        )
    },
    "samples alone": (cut_alone, [(1, 3, 4, 5), (2, 3, 4, 5), (5, 3, 4, 5)]),
    "sequence": (sequence, [(1, 4, 32), (3, 4, 20), (1, 4, 51)]),
    **{
        f"positions by {by}": (partial(positions, by), SEQUENCES)
        for by in ("slice", "range", "from the end", "count")
    },
    **{by: (partial(laid_out, by), SEQUENCES) for by in ("expand", "tile", "pad", "halves")},
    **{
        by: (partial(counted, by), SEQUENCES)
        for by in (
            "triangle",
            "computed triangle",
            "triangle of data",
            "diagonal",
            "backwards",
            "border",
            "elements",
            "added elements",
        )
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_resized_network_computes_what_onnx_runtime_does(name: str) -> None:
    make, shapes = NETWORKS[name]
    model = make()
    normal = normalise(copy(model))
    assert len(open_sizes(normal)) > (name != "samples alone")
    orders = end_orders(normal, network_channels(normal))
    interpreter = Interpreter(model_content=bytes(convert(normal, False, np.zeros(0), orders)), num_threads=1)
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert -1 in entry["shape_signature"]
    for shape in shapes:
        values = RANDOM.normal(size=shape).astype(np.float32)
        stored = np.ascontiguousarray(values.transpose(orders["x"]))
        interpreter.resize_tensor_input(entry["index"], stored.shape, strict=True)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], stored)
        interpreter.invoke()
        expected = run_unoptimised(copy(model), values)
        actual = interpreter.get_tensor(end["index"]).transpose(np.argsort(orders["y"]))
        assert actual.shape == expected.shape and np.ptp(expected) > 0.01
        np.testing.assert_allclose(actual, expected, atol=1e-5 * np.ptp(expected))


def test_what_depends_on_open_sizes_and_cannot_be_computed_is_refused() -> None:
    """A filter that is as wide as the sizes differ, of which no operator tells how wide that is."""
    resize = node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", antialias=1)
    model = build([resize], {"sizes": np.array([1, 3, 8, 8])}, shape=(1, 3, "h", "w"), opset=18)
    with pytest.raises(UnsupportedModelError, match=r"'y'.*antialias.*whose size is open"):
        convert(normalise(model), False, np.zeros(0))


def test_sizes_that_the_network_has_built_in_are_fixed() -> None:
    """PyTorch's MultiheadAttention in TorchScript reshapes to the length that it was traced with."""
    add = node("Add", ["x", "row"], ["y"])
    model = build([add], {"row": np.ones(77, np.float32)}, shape=("n", 3, "h", "w"))
    file = bytes(convert(normalise(model), False, np.zeros(0)))
    (entry,) = Interpreter(model_content=file).get_input_details()
    assert entry["shape_signature"].tolist() == [-1, -1, 77, 3]


def test_sizes_of_which_none_fit_are_refused() -> None:
    reshape = node("Reshape", ["x", "shape"], ["y"])
    model = build([reshape], {"shape": np.array([2, 7])}, shape=(1, 3, "h", "w"))
    with pytest.raises(UnsupportedModelError, match=r"no numbers were found .* \(h, w\); choose them"):
        convert(normalise(model), False, np.zeros(0))
