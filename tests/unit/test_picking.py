"""Operators that move or pick elements, in files and as TensorFlow operations, beside ONNX Runtime."""

from typing import Any

import numpy as np
import pytest

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.normalise import normalise
from edgepress.translate.planning import plan_graph
from tests.beside import check, model_of

RANDOM = np.random.default_rng(3)
HEAD = '<ir_version: 8, opset_import: ["" : {opset}, "ai.onnx.ml": 3]> '


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def whole(low: int, high: int, *shape: int, dtype: Any = np.int64) -> np.ndarray:
    return RANDOM.integers(low, high, shape).astype(dtype)


def places(size: int, *shape: int, axis: int = 0) -> np.ndarray:
    """Places along an axis, none twice, some counted from the end."""
    one = np.argsort(RANDOM.random(shape), axis=axis)
    return np.where(one % 2, one, one - size).astype(np.int64)


ELEMENTS = [np.float32, np.int32, np.int64, np.int8, np.uint8]


@pytest.mark.parametrize("dtype", ELEMENTS)
@pytest.mark.parametrize(
    ("shape", "axis"), [((7,), 0), ((3, 7), -1), ((5, 2, 3), 0), ((1, 5, 3, 4), 1), ((2, 2, 4, 2, 3), 2)]
)
@pytest.mark.parametrize("largest", [0, 1])
def test_the_most_extreme_elements_of_any_axis(shape, axis, largest, dtype):
    x = RANDOM.permutation(np.arange(np.prod(shape))).reshape(shape).astype(dtype)
    nodes = f"v, i = TopK <axis = {axis}, largest = {largest}> (x, k)"
    kind = {"f": "float", "u": "uint8"}.get(np.dtype(dtype).kind, np.dtype(dtype).name)
    if dtype in (np.int8, np.uint8):  # which ONNX Runtime has not
        nodes = nodes.replace("(x,", "(f,").replace("v,", "w,")
        nodes = f"f = Cast <to = 1> (x) {nodes} v = Cast <to = {2 if dtype == np.uint8 else 3}> (w)"
    check(nodes, {"x": x}, f"{kind} v, int64 i", k=np.array([3 if shape[axis] > 3 else 2]))


def test_the_number_of_the_most_extreme_elements_is_an_input():
    feeds = {"x": floats(2, 6), "k": np.array([4])}
    check("v, i = TopK (x, k)", feeds, "float v, int64 i")


def test_the_first_of_equal_elements_comes_first():
    feeds = {"x": np.array([[2, 1, 2, 1, 3, 1]], np.float32)}
    check("v, i = TopK <largest = 0> (x, k)", feeds, "float v, int64 i", k=np.array([5]))


DATA = [((6,), 0), ((4, 5), 1), ((3, 4, 2), -2), ((1, 3, 4, 5), 1), ((2, 1, 3, 2, 2), 2)]


@pytest.mark.parametrize(("shape", "axis"), DATA)
@pytest.mark.parametrize("fixed", [False, True])
def test_elements_at_places_along_an_axis(shape, axis, fixed):
    at, x = places(shape[axis], *shape, axis=axis), floats(*shape)
    feeds, constants = ({"x": x}, {"at": at}) if fixed else ({"x": x, "at": at}, {})
    check(f"y = GatherElements <axis = {axis}> (x, at)", feeds, "float y", **constants)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.uint8, np.int32])
@pytest.mark.parametrize(("shape", "axis"), DATA)
def test_elements_written_along_an_axis(shape, axis, dtype):
    x, new = (whole(0, 2 if dtype == np.bool_ else 100, *shape, dtype=dtype) for _ in range(2))
    at = places(shape[axis], *shape, axis=axis)
    cut = tuple(slice(0, max(1, size - 1)) for size in shape)
    kind = {"float32": "float"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    feeds = {"x": x, "at": at[cut], "new": new[cut]}
    check(f"y = ScatterElements <axis = {axis}> (x, at, new)", feeds, f"{kind} y", varies=False)


@pytest.mark.parametrize("kind", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_elements_written_to_one_place_are_reduced(kind, dtype):
    feeds = {
        "x": whole(-9, 9, 3, 4, dtype=dtype),
        "at": whole(-3, 3, 5, 4),
        "new": whole(-9, 9, 5, 4, dtype=dtype),
    }
    name = {"float32": "float"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    check(f'y = ScatterElements <reduction = "{kind}"> (x, at, new)', feeds, f"{name} y", 18)
    feeds["at"] = whole(-3, 3, 5, 1)
    check(f'y = ScatterND <reduction = "{kind}"> (x, at, new)', feeds, f"{name} y", 18)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_of_elements_written_to_one_place_the_last_one_stays(dtype):
    """PyTorch's `index_add` in opset 17 writes several to one, which the standard leaves open."""
    feeds = {"x": whole(-9, 9, 3, 4, dtype=dtype), "at": np.array([[0] * 4, [2] * 4, [-1] * 4])}
    feeds["new"] = whole(10, 99, 3, 4, dtype=dtype)
    name = {"float32": "float"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    check("y = ScatterElements (x, at, new)", feeds, f"{name} y")
    feeds["at"] = np.array([[0], [2], [-1]])
    check("y = ScatterND (x, at, new)", feeds, f"{name} y")


def test_products_of_matrices_of_whole_numbers():
    feeds = {"x": whole(-99, 99, 2, 3, 4), "w": whole(-99, 99, 4, 5), "v": whole(-9, 9, 4) + 2**40}
    nodes = "a = MatMul (x, w)\n b = MatMul (x, v)\n c = MatMul (v, w)\n d = MatMul (v, v)"
    check(nodes, feeds, "int64 a, int64 b, int64 c, int64 d", varies=False)


@pytest.mark.parametrize("opset", [10, 13])
def test_sizes_that_scales_make_are_rounded_as_in_onnx_runtime(opset):
    """9/14 in float32 is a little less, and so is its product with 14 in float64, of which onnx says 8."""
    scales = np.array([1, 1, 9 / 14, 0.6], np.float32)
    given = "x, scales" if opset == 10 else "x, , scales"
    check(
        f'y = Resize <mode = "linear"> ({given})',
        {"x": floats(1, 2, 14, 15)},
        "float y",
        opset,
        scales=scales,
    )


@pytest.mark.parametrize("scales", [(2, 3), (0.6, 1.5)])
def test_the_nearest_sample_as_tensorflow_takes_it(scales):
    """As tf2onnx writes UpSampling2D and `tf.image.resize(…, "nearest")`."""
    options = 'coordinate_transformation_mode = "tf_half_pixel_for_nn", nearest_mode = "floor"'
    factors = np.array([1, 1, *scales], np.float32)
    check(f"y = Resize <{options}> (x, , scales)", {"x": floats(1, 2, 9, 10)}, "float y", 13, scales=factors)


def test_constants_of_an_operator_some_of_whose_results_nobody_reads():
    nodes = "u, , back, many = Unique <sorted = 1> (known)\n a = Gather (many, back)\n y = Mul (a, x)"
    check(nodes, {"x": whole(1, 9, 4)}, "int64 y", known=np.array([3, 1, 3, 2]))


@pytest.mark.parametrize("opset", [15, 18, 20])
def test_an_output_that_is_an_input(opset):
    """PyTorch's exporter returns an input under its own name if it does not optimise."""
    check("y = Add (x, x)", {"x": floats(2, 3)}, "float x, float y", opset)


def test_an_output_that_is_there_twice_is_one():
    model = model_of("y = Relu (x) z = Neg (y)", {"x": floats(2, 3)}, "float y, float z, float y", 17, {})
    assert [output.name for output in normalise(model).graph.output] == ["y", "z"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_small_whole_numbers_as_truth_values(dtype):
    """LiteRT aborts where codes without a scale are compared."""
    check("y = Cast <to = 9> (x)", {"x": whole(0, 3, 4, 5, dtype=dtype)}, "bool y")


@pytest.mark.parametrize(
    ("shape", "at", "batch"),
    [
        ((5,), (3, 1), 0),
        ((4, 5), (2, 3, 1), 0),
        ((4, 3, 5), (6, 2), 0),
        ((2, 4, 3), (2, 5, 1), 1),
        ((2, 3, 4, 5), (2, 3, 2), 2),
        ((1, 3, 4, 5), (7, 4), 0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_parts_by_the_coordinates_of_their_first_axes(shape, at, batch, dtype):
    sizes = np.array(shape[batch : batch + at[-1]])
    indices = (RANDOM.random(at) * 2 * sizes - sizes).astype(np.int64)
    feeds = {"x": whole(0, 2, *shape, dtype=dtype), "at": indices}
    kind = {"float32": "float"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    check(f"y = GatherND <batch_dims = {batch}> (x, at)", feeds, f"{kind} y", varies=False)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_in_a_row_of_others(axis):
    feeds = {"at": np.array([[0, -1, 2], [5, -6, 1]])}
    nodes = f"y = OneHot <axis = {axis}> (at, depth, values)"
    check(nodes, feeds, "float y", depth=np.array(5), values=np.array([0.5, 2], np.float32))
    check(nodes, feeds, "int64 y", depth=np.array([5]), values=np.array([1, 7]))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.int8])
@pytest.mark.parametrize("shape", [(9,), (3, 4), (1, 3, 4, 2)])
def test_the_places_of_what_is_not_zero(shape, dtype):
    x = (RANDOM.random(shape) < 0.6).astype(dtype)
    if dtype == np.int8:
        check("f = Cast <to = 1> (x) y = NonZero (f)", {"x": x}, "int64 y")
    else:
        check("y = NonZero (x)", {"x": x}, "int64 y")


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_what_a_mask_leaves(axis):
    feeds = {"x": floats(3, 4, 5), "mask": np.array([True, False, True])}
    given = "" if axis is None else f"<axis = {axis}>"
    check(f"c = Compress {given} (x, mask) y = Neg (c)", feeds, "float y")


@pytest.mark.parametrize(
    ("axis", "dtype"), [(None, np.float32), (0, np.float32), (1, np.int64), (None, np.int64)]
)
@pytest.mark.parametrize("ordered", [0, 1])
def test_each_part_once(axis, dtype, ordered):
    x = whole(0, 3, 6, 2, dtype=dtype)
    kind = "float" if dtype == np.float32 else "int64"
    given = f"sorted = {ordered}" + ("" if axis is None else f", axis = {axis}")
    results = f"{kind} y, int64 first, int64 own, int64 many"
    check(f"y, first, own, many = Unique <{given}> (x)", {"x": x}, results, varies=False)


@pytest.mark.parametrize("diagonal", [None, -1, 2])
@pytest.mark.parametrize("upper", [0, 1])
def test_triangles(diagonal, upper):
    x = floats(2, 4, 5)
    x[0, 0, 0] = np.inf  # which 0 times it is not
    operands = "(x)" if diagonal is None else "(x, k)"
    constants = {} if diagonal is None else {"k": np.array(diagonal)}
    nodes = f"t = Trilu <upper = {upper}> {operands} y = Clip (t, low, high)"
    bounds = {"low": np.float32(-9), "high": np.float32(9)}
    check(nodes, {"x": x}, "float y", **constants, **bounds)
    if diagonal is not None:
        check(f"y = Trilu <upper = {upper}> (x, k)", {"x": floats(3, 3), "k": np.array(diagonal)}, "float y")


def test_sequences_backwards():
    feeds = {"x": floats(5, 3, 2), "lengths": np.array([5, 2, 1])}
    check("y = ReverseSequence (x, lengths)", feeds, "float y")
    feeds = {"x": floats(3, 5, 2, 2), "lengths": np.array([5, 2, 1])}
    check("y = ReverseSequence <batch_axis = 0, time_axis = 1> (x, lengths)", feeds, "float y")


@pytest.mark.parametrize("centre", [0, 1])
def test_boxes_that_overlap_no_better_one(centre):
    corner, size = RANDOM.random((2, 12, 2)) * 5, RANDOM.random((2, 12, 2)) * 4 + 1
    other = corner + size if not centre else size
    feeds = {"boxes": np.concatenate([corner, other], 2).astype(np.float32)}
    feeds["scores"] = RANDOM.random((2, 3, 12)).astype(np.float32)
    nodes = f"y = NonMaxSuppression <center_point_box = {centre}> (boxes, scores, most, overlap, least)"
    limits = {"most": np.array([4]), "overlap": np.array([0.3], np.float32)}
    check(nodes, feeds, "int64 y", **limits, least=np.array([0.2], np.float32))
    check(nodes, {**feeds, "least": np.array([0.7], np.float32)}, "int64 y", **limits)
    detections = (
        "rows = Slice (y, one, end, ax) at = Reshape (rows, all) b = Squeeze (boxes, zero) z = Gather (b, at)"
    )
    feeds = {name: values[:1] for name, values in feeds.items()}
    reading = {
        "one": np.array([2]),
        "end": np.array([3]),
        "ax": np.array([1]),
        "all": np.array([-1]),
        "zero": np.array([0]),
    }
    check(f"{nodes} {detections}", feeds, "float z", **limits, least=np.array([0.1], np.float32), **reading)


@pytest.mark.parametrize("overlap", [None, 0.0, 0.5])
def test_boxes_that_overlap_by_just_the_threshold_are_kept(overlap):
    boxes = np.array([[[0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6], [0, 2, 2, 3]]], np.float32)
    feeds = {"boxes": boxes, "scores": np.array([[[0.9, -0.2, 0.5, -0.7]]], np.float32)}
    constants = {"most": np.array([4])} | ({} if overlap is None else {"overlap": np.float32(overlap)})
    operands = ", ".join(["boxes", "scores", *constants])
    check(f"y = NonMaxSuppression ({operands})", feeds, "int64 y", varies=False, **constants)


def test_parts_that_a_mask_picks_are_read_and_written():
    nodes = "m = Greater (x, zero) n = NonZero (m) at = Transpose (n) y = GatherND (x, at)"
    feeds = {"x": floats(3, 4, 2)}
    check(nodes, feeds, "float y", zero=np.float32(0))
    check(
        f"{nodes} h = Mul (y, half) z = ScatterND (x, at, h)",
        feeds,
        "float z",
        zero=np.float32(0),
        half=np.float32(0.5),
    )


def test_too_much_to_compare_is_refused():
    with pytest.raises(UnsupportedModelError, match="4000 parts of 1 elements"):
        check("y = Unique (x)", {"x": floats(4000)}, "float y")


# Samples of images


def sample_points(*shape: int) -> np.ndarray:
    """From beyond one end to beyond the other; some where two elements are as near."""
    points = RANDOM.uniform(-1.6, 1.6, shape).astype(np.float32)
    points.flat[:3] = (0, -1, 1)
    return points


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("corners", [0, 1])
def test_an_image_at_the_places_of_a_grid(mode, padding, corners):
    feeds = {"x": floats(2, 3, 4, 5), "grid": sample_points(2, 3, 6, 2)}
    options = f'mode = "{mode}", padding_mode = "{padding}", align_corners = {corners}'
    check(f"y = GridSample <{options}> (x, grid)", feeds, "float y", 16)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_a_volume_at_the_places_of_a_grid(mode):
    feeds = {"x": floats(1, 2, 3, 4, 5), "grid": sample_points(1, 2, 3, 4, 3)}
    check(f'y = GridSample <mode = "{mode}"> (x, grid)', feeds, "float y", 20)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("size", [[2, 3, 4, 5], [1, 2, 3, 4, 2]])
def test_a_grid_of_a_turned_image(size, corners):
    feeds = {"theta": floats(size[0], len(size) - 2, len(size) - 1)}
    nodes = f"y = AffineGrid <align_corners = {corners}> (theta, size)"
    check(nodes, feeds, "float y", 20, size=np.array(size))


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("opset", [11, 16])
def test_samples_of_regions(mode, opset):
    regions = np.array([[0, 0, 7, 5], [2, 1, 9, 8], [-3, 2, 4, 3.5], [1, 1, 1.2, 1.1]], np.float32)
    feeds = {"x": floats(2, 3, 6, 8), "regions": regions, "of": np.array([0, 1, 1, 0])}
    options = f'mode = "{mode}", output_height = 3, output_width = 2, sampling_ratio = 2, spatial_scale = 0.8'
    check(f"y = RoiAlign <{options}> (x, regions, of)", feeds, "float y", opset)


@pytest.mark.parametrize("samples", [1, 2])
def test_the_largest_of_regions(samples):
    regions = np.array([[0, 0, 0, 7, 5], [samples - 1, 2, 1, 6, 4], [0, 3, 3, 9, 9]], np.float32)
    feeds = {"x": floats(samples, 3, 6, 8), "regions": regions}
    check("y = MaxRoiPool <pooled_shape = [2, 3], spatial_scale = 0.9> (x, regions)", feeds, "float y")


@pytest.mark.parametrize(
    "options",
    [
        "",
        "pads = [1, 0, 1, 0], strides = [2, 1], dilations = [1, 2]",
        "group = 2, offset_group = 2",
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_kernels_that_read_anywhere(options, whole):
    groups, parts = (2 if "group = 2" in options else 1,) * 2
    height, width = (3, 4) if "pads" in options else (4, 5)
    feeds = {"x": floats(2, 4, 5, 6), "w": floats(6, 4 // groups, 2, 2)}
    feeds["offset"] = floats(2, parts * 8, height, width)
    if whole:
        feeds["b"], feeds["mask"] = floats(6), floats(2, parts * 4, height, width)
    check(f"y = DeformConv {options and f'<{options}>'} ({', '.join(feeds)})", feeds, "float y", 19)


# Windows


@pytest.mark.parametrize("options", ["", "strides = [2, 1], pads = [1, 0, 1, 2], dilations = [1, 2]"])
def test_windows_put_back(options):
    windows = 12 if not options else 3 * 4
    feeds = {"x": floats(2, 3 * 4, windows)}
    constants = {"image": np.array([4, 5] if not options else [5, 4]), "block": np.array([2, 2])}
    check(f"y = Col2Im {options and f'<{options}>'} (x, image, block)", feeds, "float y", 18, **constants)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 3, 6, 6), "kernel_shape = [2, 2], strides = [2, 2]"),
        ((1, 2, 5, 7), "kernel_shape = [3, 2], pads = [1, 0, 1, 1], strides = [2, 1]"),
        ((1, 2, 5, 7), "kernel_shape = [3, 2], storage_order = 1"),
        ((1, 2, 9), "kernel_shape = [3], dilations = [2]"),
        ((1, 2, 5, 6), 'kernel_shape = [2, 2], auto_pad = "SAME_LOWER", strides = [2, 2]'),
    ],
)
def test_maxima_and_their_places(shape, options):
    check(f"y, at = MaxPool <{options}> (x)", {"x": floats(*shape)}, "float y, int64 at")


def test_maxima_put_back():
    shape = "kernel_shape = [2, 2], strides = [2, 2]"
    nodes = f"p, at = MaxPool <{shape}> (x) y = MaxUnpool <{shape}> (p, at)"
    check(nodes, {"x": floats(1, 3, 6, 8)}, "float y")


@pytest.mark.parametrize("axes", [None, [1, -1]])
def test_the_middle_of_each_axis(axes):
    options = "" if axes is None else f"<axes = {axes}>"
    size = np.array([3, 6, 2, 9] if axes is None else [7, 3])
    model = {"x": floats(2, 4, 5, 6)}
    check(f"y = CenterCropPad {options} (x, size)", model, "float y", 18, size=size)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside", [0, 1])
def test_an_image_made_smaller_smoothly(mode, outside):
    options = f'mode = "{mode}", antialias = 1, exclude_outside = {outside if mode == "cubic" else 0}'
    nodes = f"y = Resize <{options}> (x, , , size)"
    check(nodes, {"x": floats(1, 3, 9, 11)}, "float y", 18, size=np.array([1, 3, 4, 5]))
    check(nodes, {"x": floats(1, 3, 9, 11)}, "float y", 18, size=np.array([1, 3, 5, 14]))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_a_part_of_an_image_resized(mode):
    options = (
        f'mode = "{mode}", coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 7.0'
    )
    constants = {
        "roi": np.array([0, 0, 0.3, -0.2, 1, 1, 1.2, 0.7], np.float32),
        "size": np.array([1, 3, 5, 4]),
    }
    check(f"y = Resize <{options}> (x, roi, , size)", {"x": floats(1, 3, 6, 8)}, "float y", 17, **constants)


TEXT = RANDOM.integers(1, 9, (3, 30))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("shortest", "skips"), [(1, 0), (1, 3), (2, 2)])
def test_n_grams_are_counted_whatever_their_order(shortest, skips, mode, dtype):
    options = f'mode = "{mode}", min_gram_length = {shortest}, max_gram_length = 3, max_skip_count = {skips}'
    pool = "ngram_counts = [0, 4, 10], pool_int64s = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 1, 2, 3]"
    weights = "weights = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]"
    nodes = (
        f"y = TfIdfVectorizer <{options}, {pool}, {weights}, ngram_indexes = [9, 5, 3, 1, 0, 2, 4, 6]> (x)"
    )
    check(nodes, {"x": TEXT.astype(dtype)}, "float y")
    check(nodes, {"x": TEXT[0].astype(dtype)}, "float y")
    check(nodes, {"x": TEXT[:, :2].astype(dtype)}, "float y", varies=False)


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 6, 4), -2), ((3, 6, 4), 1), ((1, 2, 6, 4), -2)])
def test_new_keys_go_into_a_cache_from_places_of_their_own(shape, axis, mode):
    new, last = list(shape), 6 if mode == "circular" else 5
    new[axis] = 2
    feeds = {"c": floats(*shape), "u": floats(*new), "w": whole(0, last, shape[0])}
    check(f'y = TensorScatter <axis = {axis}, mode = "{mode}"> (c, u, w)', feeds, "float y", 24)
    del feeds["w"]
    check(f'y = TensorScatter <axis = {axis}, mode = "{mode}"> (c, u)', feeds, "float y", 24)


@pytest.mark.parametrize("size", ["s = Constant <value_ints = [1, 3, 5, 7]> ()", "s = Shape (x)"])
def test_maxima_go_back_into_an_image_that_windows_do_not_fill(size):
    pooled = "m, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) r = Relu (m)"
    nodes = f"{pooled} {size} y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (r, i, s)"
    check(nodes, {"x": floats(1, 3, 5, 7)}, "float y")


def test_triangles_over_a_spectrum():
    nodes = "y = MelWeightMatrix (n, length, rate, low, high)"
    constants = {"length": np.int64(64), "rate": np.int64(8000), "low": np.float32(100)}
    feeds = {"high": np.array(3500, np.float32)}
    check(nodes, feeds, "float y", n=np.int64(10), **constants)
    check(nodes, feeds, "float y", n=np.int64(60), **constants)


@pytest.mark.parametrize("wanted_sizes", [[10, 7, 3], [20, 4, 6], [3, 12, 2]])
def test_the_middle_to_sizes_that_are_computed(wanted_sizes):
    """What has such sizes is turned like any other, though nothing tells them before it runs."""
    nodes = """s = Shape (x) two = Constant <value_ints = [2]> () larger = Max (s, size)
        more = Sub (larger, s) left = Div (more, two) right = Sub (more, left)
        pads = Concat <axis = 0> (left, right) p = Pad (x, pads) own = Shape (p)
        less = Sub (own, size) start = Div (less, two) end = Add (start, size)
        y = Slice (p, start, end)"""
    check(nodes, {"x": floats(12, 10, 5), "size": np.array(wanted_sizes)}, "float y")


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("size", [[2, 3, 5, 4], [2, 3, 1, 4], [2, 3, 5, 4, 3]])
def test_a_grid_of_a_computed_size(size, corners):
    count = len(size) - 2
    size = [max(each, 1 + corners) for each in size]
    feeds = {"theta": floats(2, count, count + 1), "size": np.array(size)}
    check(f"y = AffineGrid <align_corners = {corners}> (theta, size)", feeds, "float y", 20)


REGIONS = np.array(
    [
        *([0, 0, 9, 8], [1.3, 2.2, 7.7, 6.1], [-3, -2, 14, 13], [2, 2, 2.5, 2.2], [-8, -8, -3, -2]),
        *([3, 3, 3, 3], [5, 5, 2, 2], [-1.5, -1.2, 0.5, 0.4], [9.5, 7.5, 12, 10], [0, 0, 60, 50]),
    ],
    np.float32,
)


@pytest.mark.parametrize("image", [(2, 3, 9, 11), (1, 3, 9, 11), (1, 3, 1, 2)])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 5)])
@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
def test_regions_of_as_many_samples_as_they_have_elements(mode, size, image):
    """Within an image, across its borders, far from it, without a size, and turned around."""
    options = f"output_height = {size[0]}, output_width = {size[1]}, spatial_scale = 0.8"
    nodes = f'y = RoiAlign <{options}, coordinate_transformation_mode = "{mode}"> (x, r, i)'
    check(nodes, {"x": floats(*image), "r": REGIONS, "i": np.arange(10) % image[0]}, "float y", 16)


class TestComputedKernels:
    """Of sequences, images and volumes, in groups, with strides and holes."""

    IMAGES = ((2, 4, 9), (1, 4, 9, 8), (1, 4, 5, 6, 7))
    OPTIONS = (
        "strides = {two}, dilations = {two}, pads = [{pads}]",
        'strides = {two}, auto_pad = "SAME_LOWER"',
    )

    @pytest.mark.parametrize("options", OPTIONS)
    @pytest.mark.parametrize("groups", [1, 2, 4])
    @pytest.mark.parametrize("image", IMAGES, ids=len)
    @pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
    def test_convolutions(self, op, image, groups, options):
        count = len(image) - 2
        taps = [3, 2, 2][:count]
        made = 8 if groups == 4 else 6
        shape = (made, 4 // groups, *taps) if op == "Conv" else (4, made // groups, *taps)
        pads = ", ".join(map(str, [1] * count + [2] * count))
        more = options.format(two=[2] * count, pads=pads)
        nodes = f"y = {op} <group = {groups}, kernel_shape = {taps}, {more}> (x, kernel, bias)"
        check(nodes, {"x": floats(*image), "kernel": floats(*shape), "bias": floats(made)}, "float y")


class TestPlacesThatAreThereTwice:
    """The standard leaves them open; in ONNX Runtime the last one stands, where LiteRT adds up."""

    @pytest.mark.parametrize("dtype", [*ELEMENTS[:3], np.uint8, bool])
    @pytest.mark.parametrize("computed", [False, True])
    def test_elements(self, computed, dtype):
        at, kind = whole(-5, 5, 4, 5), np.dtype(dtype).name.replace("float32", "float")
        feeds = {name: whole(0, 2 if dtype is bool else 99, 4, 5).astype(dtype) for name in ("x", "new")}
        given = {"at": at}
        nodes = "y = ScatterElements <axis = 1> (x, at, new)"
        check(nodes, {**feeds, **(given if computed else {})}, f"{kind} y", **({} if computed else given))

    @pytest.mark.parametrize("computed", [False, True])
    @pytest.mark.parametrize("shape", [(9,), (3, 3)])
    def test_parts(self, shape, computed):
        at = np.stack([whole(0, 2, *shape), whole(-2, 2, *shape)], -1)
        feeds, given = {"x": floats(2, 2, 3), "new": floats(*shape, 3)}, {"at": at}
        nodes = "y = ScatterND (x, at, new)"
        check(nodes, {**feeds, **(given if computed else {})}, "float y", **({} if computed else given))

    def test_so_many_as_a_mask_picks(self):
        nodes = """zero = Constant <value_floats = [0.0]> () above = Greater (x, zero) n = NonZero (above)
            two = Constant <value_ints = [2]> () half = Div (n, two) to = Transpose (half)
            from = Transpose (n) picked = GatherND (x, from) w = Neg (picked) y = ScatterND (x, to, w)"""
        check(nodes, {"x": floats(4, 6)}, "float y")

    def test_maxima_of_windows_that_overlap(self):
        options = "<kernel_shape = [3, 3], strides = [1, 1]>"
        check(
            f"m, i = MaxPool {options} (x) y = MaxUnpool {options} (m, i)",
            {"x": floats(1, 2, 5, 6)},
            "float y",
        )

    def test_which_are_none_cost_nothing(self):
        for nodes in ("y = ScatterElements (x, at, new)", "y = ScatterND (x, at, new)"):
            constants = {"at": np.array([[2], [0], [-3]])}
            feeds = {"x": floats(4, 1), "new": floats(3, 1)}
            plan = plan_graph(normalise(model_of(nodes, feeds, "float y", 17, constants)))
            assert not {step.op for step in plan.steps} & {"top_k", "gather"}
