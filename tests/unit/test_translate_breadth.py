"""The operators beyond the first architectures' own: both faces against ONNX Runtime."""

import numpy as np
import onnx
import pytest

from edgepress.convert.writer.table import lowered, write
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.constants import fold_constants
from edgepress.translate.planning import make_plan
from tests.networks import (
    Graph,
    as_onnx,
    assert_close,
    assert_faces_agree,
    inputs_for,
    run_onnx,
    run_written,
    single,
    stored,
    tensorflow,
)

INT = np.int64
RANDOM = np.random.default_rng(11)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def transposes(plan) -> int:
    return sum(step.op == "transpose" for step in plan.steps)


DECONVOLUTIONS = {
    "plain": {},
    "strided": {"strides": [2, 2]},
    "as torch doubles": {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    "asymmetric": {"strides": [2, 3], "pads": [0, 1, 1, 0]},
    "SAME_UPPER": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "dilated": {"dilations": [2, 1]},
    "output_shape": {"strides": [2, 2], "output_shape": [10, 13]},
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("name", DECONVOLUTIONS)
def test_deconvolution(name, group, bias):
    constants = [random(4, 6 // group if group < 4 else 1, 3, 3)]
    constants += [random(constants[0].shape[1] * group)] if bias else []
    assert_faces_agree(single("ConvTranspose", *constants, group=group, **DECONVOLUTIONS[name]))


@pytest.mark.parametrize("attributes", [{}, {"strides": [2], "pads": [1, 1], "output_padding": [1]}])
def test_deconvolution_of_sequences(attributes):
    assert_faces_agree(single("ConvTranspose", random(4, 5, 3), random(5), shape=(4, 9), **attributes))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("rank", [1, 2])
def test_weights_of_sequences_and_deconvolutions_are_written_back(op, rank):
    tensorflow()
    from edgepress.translate.keras_face import build_keras, write_back

    shape, kernel = (4, *(9, 8)[:rank]), (4, 4, *(3, 2)[:rank])
    model = single(op, random(*kernel), random(4), shape=shape, strides=[2] * rank)
    plan = make_plan(model)
    network = build_keras(plan)
    assert len(network.variables) == 2
    for variable in network.variables.values():
        variable.assign(RANDOM.normal(size=variable.shape))
    written, inputs = write_back(model, network, network.values()), inputs_for(model)
    actual = network.model(stored(inputs), training=False).numpy()
    assert_close(run_onnx(written, inputs), as_onnx(plan, actual))


@pytest.mark.parametrize(
    ("op", "attributes", "opset"),
    [
        ("Selu", {}, 7),
        ("Selu", {"alpha": 1.2, "gamma": 0.9}, 15),
        ("Celu", {"alpha": 0.7}, 15),
        ("Mish", {}, 18),
        ("Softsign", {}, 15),
        ("Erf", {}, 15),
        ("Gelu", {}, 20),
        ("Gelu", {"approximate": "tanh"}, 20),
        ("LogSoftmax", {"axis": 1}, 15),
        ("LpNormalization", {"axis": 1}, 15),
        ("LpNormalization", {"axis": -1, "p": 1}, 15),
        ("Floor", {}, 15),
        ("Ceil", {}, 15),
    ],
)
def test_functions_of_one_tensor(op, attributes, opset):
    assert_faces_agree(single(op, opset=opset, **attributes))


@pytest.mark.parametrize("op", ["Log", "Reciprocal", "Sqrt"])
def test_functions_of_positive_numbers(op):
    graph = Graph(4, 5, 6)
    graph.add(op, graph.add("Exp"))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("shape", [(4, 1, 1), (1,), (4, 5, 6)])
def test_prelu(shape):
    assert_faces_agree(single("PRelu", random(*shape)))


def test_softplus_of_large_numbers():
    model = single("Softplus")
    assert_faces_agree(model, inputs_for(model, scale=200))


@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
def test_functions_of_several_tensors(op):
    graph = Graph(4, 5, 6)
    pooled = graph.add("GlobalAveragePool", "input")
    graph.add(op, "input", graph.add("Tanh", "input"), pooled, random(4, 1, 1))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("op", ["Greater", "Less", "LessOrEqual", "GreaterOrEqual"])
def test_comparison_and_choice(op):
    graph = Graph(4, 5, 6)
    graph.add("Where", graph.add(op, "input", random(4, 1, 1)), "input", graph.add("Tanh", "input"))
    assert_faces_agree(graph.model())


def test_powers():
    graph = Graph(4, 5, 6)
    squared = graph.add("Pow", "input", np.array(2, np.float32))
    graph.add("Pow", graph.add("Exp", squared), np.array(-0.5, np.float32))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_normalisation(axis):
    shape = (4, 5, 6) if axis == 1 else (6,)
    assert_faces_agree(single("LayerNormalization", random(*shape), random(*shape), axis=axis, opset=17))


def test_instance_normalisation():
    assert_faces_agree(single("InstanceNormalization", random(4), random(4)))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    "op", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp"]
)
def test_reductions(op, keepdims):
    axes = [np.array([2, 3], INT)] if op == "ReduceSum" else []
    attributes = {} if op == "ReduceSum" else {"axes": [2, 3]}
    assert_faces_agree(single(op, *axes, keepdims=keepdims, **attributes))


@pytest.mark.parametrize("group", [2, 4])
def test_channel_shuffle_takes_the_one_transpose_that_it_is(group):
    graph = Graph(8, 5, 6)
    split = graph.add("Reshape", "input", np.array([0, group, 8 // group, 5, 6], INT))
    mixed = graph.add("Transpose", split, perm=[0, 2, 1, 3, 4])
    graph.add("Conv", graph.add("Reshape", mixed, np.array([0, 8, 5, 6], INT)), random(3, 8, 1, 1))
    graph.add("Flatten", graph.add("GlobalAveragePool"))
    assert transposes(assert_faces_agree(graph.model())) == 1


def test_squeeze_and_excitation_with_dense_layers_has_no_transpose():
    graph = Graph(8, 5, 6)
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", "input"))
    hidden = graph.add("Relu", graph.add("Gemm", pooled, random(8, 3)))
    gate = graph.add("Sigmoid", graph.add("Gemm", hidden, random(3, 8)))
    graph.add("Mul", "input", graph.add("Reshape", gate, np.array([-1, 8, 1, 1], INT)))
    graph.add("Flatten", graph.add("GlobalMaxPool"))
    assert transposes(assert_faces_agree(graph.model())) == 0


def test_computed_shapes_are_folded():
    graph = Graph(8, 5, 6)
    batch = graph.add("Gather", graph.add("Shape", "input"), np.array([0], INT))
    target = graph.add("Concat", batch, np.array([4, 60], INT), axis=0)
    graph.add("Reshape", "input", target)
    model = graph.model()
    fold_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Reshape"]
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("axis", [1, -1])
def test_split(axis):
    graph = Graph(4, 5, 6)
    graph.add("Split", "input", axis=axis)
    graph.nodes[0].output.append("second")
    graph.add("Sub", "split_0_out", "second")
    assert_faces_agree(graph.model())


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [([1], [3], [1], [1]), ([0, -4], [9, -1], [2, 3], [2, 1]), ([-1], [-99], [2], [-2])],
)
def test_slice(starts, ends, axes, steps):
    assert_faces_agree(single("Slice", *(np.array(v, INT) for v in (starts, ends, axes, steps))))


@pytest.mark.parametrize(
    "indices", [np.array(-1, INT), np.array([2, 0], INT), np.array([[0, 1], [3, -1]], INT)]
)
@pytest.mark.parametrize("axis", [1, 2])
def test_gather(axis, indices):
    assert_faces_agree(single("Gather", indices, axis=axis))


@pytest.mark.parametrize(
    ("op", "constant"),
    [("Tile", [1, 2, 1, 3]), ("Expand", [1, 4, 5, 6])],
)
def test_repetition(op, constant):
    shape = (4, 5, 6) if op == "Tile" else (1, 5, 1)
    assert_faces_agree(single(op, np.array(constant, INT), shape=shape))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode):
    assert_faces_agree(single("DepthToSpace", shape=(8, 3, 2), blocksize=2, mode=mode))


def test_space_to_depth():
    assert_faces_agree(single("SpaceToDepth", shape=(3, 4, 6), blocksize=2))


COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("scales", [(2, 2), (1.5, 2.5), (0.5, 0.6)])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(mode, coordinates, scales):
    scales = (0.5, 0.75) if coordinates == "align_corners" and scales == (0.5, 0.6) else scales
    constant = np.array([1, 1, *scales], np.float32)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    attributes |= {"nearest_mode": "floor"} if coordinates == "asymmetric" else {}
    assert_faces_agree(single("Resize", None, constant, shape=(3, 6, 8), **attributes))


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_doubling_uses_the_kernel_of_tflite(coordinates):
    rounding = "floor" if coordinates == "asymmetric" else "round_prefer_ceil"
    options = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    model = single("Resize", None, np.array([1, 1, 2, 2], np.float32), **options)
    assert make_plan(model).steps[0].op == "resized"


def test_aligned_corners_of_a_size_that_is_not_whole_are_refused():
    options = {"coordinate_transformation_mode": "align_corners", "mode": "linear"}
    model = single("Resize", None, np.array([1, 1, 1, 0.7], np.float32), **options)
    with pytest.raises(UnsupportedModelError, match=r"not a whole number: .* give sizes instead of scales"):
        make_plan(model)


def test_upsample():
    assert_faces_agree(single("Upsample", np.array([1, 1, 2, 3], np.float32), opset=9))


def test_batch_normalisation_with_parameters_as_constant_nodes_is_folded():
    graph = Graph(4, 5, 6)
    convolved = graph.add("Conv", "input", random(5, 4, 1, 1))
    graph.batchnorm(convolved, 5)
    model = graph.model()
    for tensor in list(model.graph.initializer)[1:]:
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    folded, inputs = fold_batchnorm(model), inputs_for(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv"]
    assert_close(run_onnx(folded, inputs), run_onnx(model, inputs))


def test_a_max_pool_of_codes_is_padded_with_the_lowest_code():
    graph = Graph(2, 8, 8)
    code = [np.array(0.1, np.float32), np.array(3, np.int8)]
    quantised = graph.add("DequantizeLinear", graph.add("QuantizeLinear", "input", *code), *code)
    graph.add("MaxPool", graph.add("Neg", quantised), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    first = graph.add("MaxPool", quantised, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    graph.add("Concat", graph.last, first, axis=1)
    plan = assert_faces_agree(graph.model())
    lowest = [t.values for t in lowered(plan).tensors() if t.values is not None and t.values.shape == ()]
    assert [values.item() for values in lowest] == [-128]


@pytest.mark.parametrize("length", [3, 21], ids=["written_out", "looped"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "gates", "options"),
    [("RNN", 1, {}), ("LSTM", 4, {}), ("GRU", 3, {}), ("GRU", 3, {"linear_before_reset": 1})],
)
def test_recurrent_layers(op, gates, options, direction, length):
    ways = 2 if direction == "bidirectional" else 1
    graph = Graph(length, 4)
    sequence = graph.add("Transpose", "input", perm=[1, 0, 2])
    weights = [random(ways, gates * 5, size) for size in (4, 5)] + [random(ways, gates * 10)]
    graph.add(op, sequence, *weights, hidden_size=5, direction=direction, **options)
    graph.add("Transpose", perm=[2, 0, 1, 3])
    assert_faces_agree(graph.model())


def test_recurrent_layers_with_unknown_activations_are_refused():
    graph = Graph(3, 4)
    weights = [random(1, 15, size) for size in (4, 5)]
    sequence = graph.add("Transpose", "input", perm=[1, 0, 2])
    graph.add("GRU", sequence, *weights, hidden_size=5, activations=["Sigmoid", "Sine"])
    with pytest.raises(UnsupportedModelError, match="activation 'Sine'"):
        make_plan(graph.model())


MANY_AXES = {
    "mean of two groups": ("ReduceMean", (), {"axes": [2, 3], "keepdims": 0}),
    "sum of every second axis": ("ReduceSum", (np.array([1, 3, 5]),), {}),
    "largest of every second axis": ("ReduceMax", (), {"axes": [2, 4, -1], "keepdims": 0}),
    "smallest of a sample": ("ReduceMin", (), {"axes": [1, 2, 3, 4, 5]}),
    "softmax": ("Softmax", (), {"axis": -1}),
    "softmax in the middle": ("Softmax", (), {"axis": -3}),
    "dense": ("MatMul", (random(2, 4),), {}),
    "products of matrices of their own": ("MatMul", (random(3, 1, 2, 4),), {}),
    "normalised rows": ("LayerNormalization", (random(2, 2),), {"axis": -2}),
}


@pytest.mark.parametrize("rank", [6, 7, 8])
@pytest.mark.parametrize("name", MANY_AXES)
def test_what_has_more_axes_than_kernels_take_is_computed_in_fewer(name, rank):
    """XNNPACK takes six and fails at more, where LiteRT's own kernels would do."""
    op, operands, attributes = MANY_AXES[name]
    model = single(op, *operands, shape=(2, 3, 2, 1, 3, 2, 2)[8 - rank :], opset=17, **attributes)
    inputs = inputs_for(model)
    expected = run_onnx(model, inputs)
    assert expected.std() > 0.01
    assert_close(run_written(make_plan(model), inputs), expected)


@pytest.mark.parametrize("rank", [6, 7, 8])
@pytest.mark.parametrize("op", ["Concat", "Pad"])
def test_what_gets_longer_along_some_of_many_axes(op, rank):
    """LiteRT's own PAD takes five axes."""
    graph = Graph(*(2, 3, 2, 1, 3, 2, 2)[8 - rank :], opset=17)
    if op == "Concat":
        graph.add("Concat", "input", graph.add("Relu", "input"), axis=3)
    else:
        graph.add("Pad", "input", np.array([0, *[1] * (rank - 1)] * 2))
    model = graph.model()
    inputs = inputs_for(model)
    assert_close(run_written(make_plan(model), inputs), run_onnx(model, inputs))


def test_a_sum_over_nine_axes_is_refused_since_litert_would_end_the_program():
    model = single("Add", random(2, 1, 2, 1, 2, 1, 2, 1), shape=(2, 1, 2, 1, 2, 1, 2, 2), opset=17)
    with pytest.raises(UnsupportedModelError, match="over 9 axes, and LiteRT's takes 8"):
        write(make_plan(model))
