"""Both faces of the translator against ONNX Runtime, operator by operator."""

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgepress.errors import UnsupportedModelError
from edgepress.measure.entries import declared_entries
from edgepress.measure.inference import outputs_in_memory
from edgepress.translate.planning import make_plan
from tests.any_networks import taken
from tests.networks import (
    Graph,
    as_onnx,
    assert_close,
    assert_faces_agree,
    inputs_for,
    run_onnx,
    run_tflite,
    run_written,
    single,
    stored,
    tensorflow,
)

INT = np.int64
RANDOM = np.random.default_rng(7)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def steps(model: onnx.ModelProto) -> list[str]:
    return [step.op for step in make_plan(model).steps]


CONVOLUTIONS = {
    "1x1": ((5, 4, 1, 1), {}),
    "3x3 valid": ((5, 4, 3, 3), {}),
    "no bias": ((5, 4, 3, 3), {"bias": False}),
    "same": ((5, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    "unequal kernel": ((5, 4, 1, 3), {"pads": [0, 1, 0, 1]}),
    "strided, as torch pads": ((5, 4, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "unequal strides": ((5, 4, 3, 3), {"strides": [1, 2]}),
    "asymmetric pads": ((5, 4, 3, 3), {"pads": [0, 2, 1, 0]}),
    "wide pads": ((5, 4, 3, 3), {"pads": [3, 3, 3, 3]}),
    "SAME_UPPER": ((5, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "SAME_LOWER": ((5, 4, 2, 2), {"auto_pad": "SAME_LOWER"}),
    "auto_pad VALID": ((5, 4, 3, 3), {"auto_pad": "VALID", "strides": [2, 1]}),
    "dilated": ((5, 4, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "dilated unequally": ((5, 4, 3, 3), {"dilations": [1, 2]}),
    "depthwise multiplier strided": ((8, 1, 2, 3), {"group": 4, "strides": [2, 2]}),
    "groups": ((6, 2, 3, 3), {"group": 2}),
    "groups strided": ((6, 2, 3, 3), {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "depthwise": ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "depthwise strided": ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "depthwise dilated": ((4, 1, 3, 3), {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "depthwise multiplier": ((12, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
}


@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name, size):
    shape, attributes = CONVOLUTIONS[name]
    attributes = dict(attributes)
    bias = random(shape[0]) if attributes.pop("bias", True) else None
    constants = [random(*shape)] + ([] if bias is None else [bias])
    assert_faces_agree(single("Conv", *constants, shape=(4, *size), **attributes))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 2]])
@pytest.mark.parametrize(
    ("group", "attributes"), [(4, {"strides": [1, 2]}), (1, {"strides": [2, 2], "dilations": [2, 1]})]
)
def test_convolutions_that_tensorflow_cannot_run_are_strided_afterwards(group, attributes, pads):
    model = single("Conv", random(4, 4 // group, 2, 2), random(4), group=group, pads=pads, **attributes)
    assert "cut" in [step.op for step in assert_faces_agree(model).steps]


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize(
    "attributes", [{}, {"strides": [2], "pads": [1, 1]}, {"dilations": [2], "strides": [2]}]
)
def test_convolution_of_sequences(attributes, group):
    model = single("Conv", random(8, 4 // group, 3), random(8), shape=(4, 9), group=group, **attributes)
    assert_faces_agree(model)


def test_convolutions_of_volumes_are_taken_and_those_of_four_axes_refused():
    assert_faces_agree(single("Conv", random(5, 4, 3, 3, 3), shape=(4, 8, 8, 8)))
    with pytest.raises(UnsupportedModelError, match=r"\(Conv\): its kernel has rank 6; only 1-D to 3-D"):
        make_plan(single("Conv", random(5, 4, 3, 3, 3, 3), shape=(4, 8, 8, 8, 8)))


def test_convolutions_of_images_without_a_fixed_size_are_refused():
    model = single("Conv", random(5, 4, 3, 3), name="stem")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(
        UnsupportedModelError, match=r"'stem' \(Conv\): the image size \(None, 6\) is not fixed"
    ):
        make_plan(model)


@pytest.mark.parametrize("opset", [12, 15])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Relu", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("LeakyRelu", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {}),
        ("Elu", {"alpha": 0.5}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 0.1, "beta": 0.4}),
        ("HardSwish", {}),
        ("Softplus", {}),
        ("Exp", {}),
        ("Neg", {}),
        ("Abs", {}),
        ("Identity", {}),
        ("Dropout", {}),
        ("Cast", {"to": 1}),
    ],
)
def test_unary(op, attributes, opset):
    if op != "HardSwish" or opset >= 14:
        assert_faces_agree(single(op, opset=opset, **attributes))


def test_square_root():
    graph = Graph(4, 5, 6)
    graph.add("Sqrt", graph.add("Abs"))
    assert_faces_agree(graph.model())


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@pytest.mark.parametrize(
    ("bounds", "attributes", "opset"),
    [
        ((scalar(0), scalar(6)), {}, 15),
        ((scalar(0),), {}, 15),
        ((None, scalar(1)), {}, 15),
        ((scalar(-1), scalar(1.5)), {}, 15),
        ((scalar(0), scalar(1)), {}, 15),
        ((scalar(0.5), scalar(6)), {}, 15),
        ((), {}, 15),
        ((), {"min": 0.0, "max": 6.0}, 6),
        ((), {"max": 2.0}, 6),
    ],
)
def test_clip(bounds, attributes, opset):
    model = single("Clip", *bounds, opset=opset, **attributes)
    assert_faces_agree(model, inputs_for(model, scale=5))


@pytest.mark.parametrize("attributes", [{}, {"axis": -1}, {"axis": 1}, {"axis": 2}])
def test_softmax(attributes):
    assert_faces_agree(single("Softmax", **attributes))


@pytest.mark.parametrize(("shape", "attributes"), [((7,), {}), ((4, 5, 6), {"axis": 3}), ((7, 1, 1), {})])
def test_softmax_of_older_opsets(shape, attributes):
    assert_faces_agree(single("Softmax", shape=shape, opset=11, **attributes))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("attributes", [{}, {"axis": 2}])
def test_softmax_of_older_opsets_over_several_axes(op, attributes):
    assert_faces_agree(single(op, opset=11, **attributes))


def test_softmax_of_a_flattened_image():
    graph = Graph(4, 2, 3)
    graph.add("Softmax", graph.add("Flatten"))
    assert_faces_agree(graph.model())


SHAPES = [(), (1,), (6,), (1, 6), (5, 1), (4, 1, 1), (4, 5, 6), (1, 4, 1, 1), (1, 1, 5, 6), (1, 4, 5, 6)]


@pytest.mark.parametrize("constant_first", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_with_a_constant(op, shape, constant_first):
    constant = random(*shape)
    graph = Graph(4, 5, 6)
    source = graph.add("Exp") if op == "Div" else "input"
    graph.add(op, *((constant, source) if constant_first else (source, constant)))
    assert_faces_agree(graph.model(), tolerance=1e-5)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("shape", [(), (7,), (1, 7)])
def test_arithmetic_of_vectors_with_a_constant(op, shape):
    assert_faces_agree(single(op, random(*shape), shape=(7,)))


def test_arithmetic_with_a_constant_that_is_larger():
    graph = Graph(4, 5, 6)
    graph.add("Mul", graph.add("GlobalAveragePool"), random(1, 4, 5, 6))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_of_two_images(op):
    graph = Graph(4, 5, 6)
    graph.add(op, graph.add("Tanh", "input"), graph.add("Exp", "input"))
    assert_faces_agree(graph.model())


def test_arithmetic_with_a_vector_of_its_channels():
    """Squeeze and excitation: (N, C, H, W) × (N, C, 1, 1)."""
    graph = Graph(4, 5, 6)
    graph.add("Mul", graph.add("Sigmoid", graph.add("GlobalAveragePool")), "input")
    graph.add("Flatten", graph.add("MaxPool", kernel_shape=[5, 6]))
    assert "transpose" not in [step.op for step in assert_faces_agree(graph.model()).steps]


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 2, 1), (0, 1, 3, 2)])
def test_arithmetic_of_operands_in_different_layouts(perm):
    graph = Graph(4, 4, 4)
    turned = graph.add("Transpose", "input", perm=list(perm))
    graph.add("Sub", "input", graph.add("Relu", turned))
    assert_faces_agree(graph.model())


def test_arithmetic_of_operands_of_unlike_rank():
    graph = Graph(4, 5, 6)
    rows = graph.add("ReduceMean", "input", axes=[0, 1], keepdims=0)
    graph.add("Sub", "input", rows)
    assert_faces_agree(graph.model())


def test_arithmetic_of_a_value_with_itself():
    graph = Graph(4, 5, 6)
    flat = graph.add("Flatten")
    graph.add("Mul", flat, flat)
    assert_faces_agree(graph.model())


POOLS = {
    "valid": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "overlapping": {"kernel_shape": [3, 2], "strides": [1, 2]},
    "auto_pad SAME_UPPER": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "padded as SAME": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "VALID": {"kernel_shape": [3, 3], "auto_pad": "VALID"},
}
OWN_PADS = {
    "torch": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "asymmetric": {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]},
    "SAME_LOWER": {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
}


@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
@pytest.mark.parametrize("name", [*POOLS, *OWN_PADS])
def test_max_pool(name, size):
    assert_faces_agree(single("MaxPool", shape=(4, *size), **(POOLS | OWN_PADS)[name]))


@pytest.mark.parametrize("low", [0.0, 0.5, -0.5, None])
def test_max_pool_pads_with_what_never_wins(low):
    graph = Graph(4, 8, 8)
    source = "input" if low is None else graph.add("Clip", "input", scalar(low), scalar(3))
    graph.add("MaxPool", source, **OWN_PADS["torch"])
    inputs = inputs_for(graph.model()) - 3
    assert_faces_agree(graph.model(), inputs)


@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("name", POOLS)
def test_average_pool(name, size, counted):
    model = single("AveragePool", shape=(4, *size), count_include_pad=counted, **POOLS[name])
    assert_faces_agree(model)


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("name", ["torch", "asymmetric"])
def test_average_pool_with_pads_of_its_own(name, counted):
    assert_faces_agree(single("AveragePool", shape=(4, 8, 8), count_include_pad=counted, **OWN_PADS[name]))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [("MaxPool", {}), ("AveragePool", {"count_include_pad": 1}), ("AveragePool", {})],
)
def test_pools_with_ceil_mode(op, attributes, size, pads):
    options = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": pads, **attributes}
    assert_faces_agree(single(op, shape=(4, *size), **options))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 2, 0]])
def test_max_pool_with_dilations(pads):
    options = {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2], "pads": pads}
    assert_faces_agree(single("MaxPool", shape=(4, 9, 9), **options))


@pytest.mark.parametrize("shape", [(4, 9), (4, 5, 6, 7)])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools_of_sequences_and_volumes(op, shape):
    spatial = len(shape) - 1
    options = {"kernel_shape": [3] * spatial, "strides": [2] * spatial, "pads": [1] * 2 * spatial}
    assert_faces_agree(single(op, shape=shape, **options))


def test_large_windows_without_a_kernel_of_their_own_are_refused():
    with pytest.raises(UnsupportedModelError, match=r"a window of \(12, 12\) with dilations .* too large"):
        make_plan(single("MaxPool", shape=(1, 32, 32), kernel_shape=[12, 12], dilations=[2, 2]))


def test_the_indices_of_a_max_pool_are_refused():
    graph = Graph(1, 4, 4)
    graph.add("MaxPool", kernel_shape=[2, 2])
    graph.nodes[0].output.append("indices")
    with pytest.raises(UnsupportedModelError, match="output of indices"):
        make_plan(graph.model())


@pytest.mark.parametrize("shape", [(4, 7), (4, 5, 6)])
@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(op, shape):
    assert_faces_agree(single(op, shape=shape))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [1], [2], [3], [1, 3], [1, 2, 3]])
def test_reduce_mean(axes, keepdims):
    assert_faces_agree(single("ReduceMean", axes=axes, keepdims=keepdims))


@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce_mean_with_axes_as_an_input(keepdims):
    assert_faces_agree(single("ReduceMean", np.array([2, 3], INT), keepdims=keepdims, opset=18))


@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce_mean_of_a_flattened_image(keepdims):
    graph = Graph(4, 2, 3)
    graph.add("ReduceMean", graph.add("Flatten"), axes=[1], keepdims=keepdims)
    if keepdims:
        graph.add("Gemm", graph.last, random(1, 3))
    assert_faces_agree(graph.model())


def test_reduce_mean_without_axes_may_do_nothing():
    empty = np.array([], INT)
    assert_faces_agree(single("ReduceMean", empty, noop_with_empty_axes=1, opset=18))


@pytest.mark.parametrize("bias", [None, (5,), (1, 5)])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed, bias):
    matrix = random(5, 7) if transposed else random(7, 5)
    constants = [matrix] if bias is None else [matrix, random(*bias)]
    assert_faces_agree(single("Gemm", *constants, shape=(7,), transB=transposed))


@pytest.mark.parametrize("bias", [(1,), ()])
def test_gemm_with_one_value_for_all_outputs(bias):
    assert_faces_agree(single("Gemm", random(7, 5), random(*bias), shape=(7,)))


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transB": 1, "alpha": 2.0}])
def test_gemm_with_factors(attributes):
    matrix = random(5, 7) if "transB" in attributes else random(7, 5)
    assert_faces_agree(single("Gemm", matrix, random(5), shape=(7,), **attributes))


def test_gemm_with_a_computed_operand():
    graph = Graph(7, batch=3)
    graph.add("Gemm", "input", graph.add("Relu", "input"), random(7), transA=1)
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 7)])
def test_matmul_of_two_computed_operands(shape):
    graph = Graph(*shape)
    turned = [*range(len(shape) - 1), len(shape), len(shape) - 1]
    graph.add("MatMul", "input", graph.add("Transpose", graph.add("Tanh", "input"), perm=turned))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize(("equation", "shape"), [("bij,bkj->bik", (3, 7)), ("bhij,bhkj->bihk", (2, 3, 7))])
def test_einsum(equation, shape):
    graph = Graph(*shape)
    graph.add("Einsum", "input", graph.add("Tanh", "input"), equation=equation)
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_matmul(shape):
    graph = Graph(*shape)
    graph.add("Add", graph.add("MatMul", "input", random(7, 5)), random(5))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("transposed", [0, 1])
def test_flattened_image_into_gemm_permutes_weights_instead_of_data(transposed):
    graph = Graph(3, 4, 5)
    graph.add("Relu", graph.add("Flatten"))
    graph.add(
        "Gemm", graph.last, random(7, 60) if transposed else random(60, 7), random(7), transB=transposed
    )
    plan = assert_faces_agree(graph.model())
    assert [step.op for step in plan.steps] == ["reshape", "relu", "dense"]


@pytest.mark.parametrize("shape", [(60,), (1, 60), (1,)])
def test_constant_after_flatten_is_permuted_too(shape):
    graph = Graph(3, 4, 5)
    graph.add("Mul", graph.add("Flatten"), random(*shape))
    graph.add("MatMul", graph.last, random(60, 7))
    plan = assert_faces_agree(graph.model())
    assert [step.op for step in plan.steps] == ["reshape", "mul", "dense"]


def test_batchnorm_after_flatten_is_permuted_too():
    graph = Graph(3, 4, 5)
    graph.batchnorm(graph.add("Flatten"), 60)
    graph.add("Gemm", graph.last, random(60, 7))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("shape", [(4, 5, 6), (7,)])
def test_batchnorm(shape):
    graph = Graph(*shape)
    graph.batchnorm("input", shape[0], epsilon=0.01)
    assert_faces_agree(graph.model())


def test_batchnorm_in_training_mode_is_refused():
    graph = Graph(4, 5, 6)
    graph.batchnorm("input", 4)
    model = graph.model()
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("training_mode", 1))
    with pytest.raises(UnsupportedModelError, match="training mode; export the network in evaluation mode"):
        make_plan(model)


def test_casts():
    graph = Graph(4)
    graph.add("Cast", graph.add("Cast", to=onnx.TensorProto.INT32), to=onnx.TensorProto.FLOAT)
    assert_faces_agree(graph.model())


def test_a_cast_to_what_litert_casts_to_nothing_is_refused():
    graph = Graph(4)
    graph.add("Cast", graph.add("Cast", to=onnx.TensorProto.UINT64, name="wide"), to=1)
    with pytest.raises(UnsupportedModelError, match=r"'wide' \(Cast\): it casts float32 to uint64"):
        make_plan(graph.model())


def test_constant_operands_are_folded():
    graph = Graph(4)
    graph.add("Add", "input", graph.add("Sin", random(4)))
    assert steps(graph.model()) == ["add"]
    assert_faces_agree(graph.model())


def test_a_constant_of_higher_rank():
    graph = Graph(4, batch=1)
    graph.add("Add", "input", random(2, 1, 4))
    assert_faces_agree(graph.model(), inputs_for(graph.model(), 1))


@pytest.mark.parametrize(
    ("op", "operands", "attributes"),
    [
        ("Flatten", [], {}),
        ("Flatten", [], {"axis": 2}),
        ("Flatten", [], {"axis": -1}),
        ("Reshape", [np.array([0, -1], INT)], {}),
        ("Reshape", [np.array([-1, 120], INT)], {}),
        ("Reshape", [np.array([0, 6, 20], INT)], {}),
        ("Reshape", [np.array([-1, 6, 5, 4], INT)], {}),
        ("Reshape", [np.array([0, 0, -1], INT)], {}),
        ("Unsqueeze", [np.array([1], INT)], {}),
        ("Unsqueeze", [np.array([-1], INT)], {}),
    ],
)
def test_reshapes(op, operands, attributes):
    assert_faces_agree(single(op, *operands, **attributes))


@pytest.mark.parametrize("axes", [[2, 3], [-1]])
def test_squeeze(axes):
    graph = Graph(4, 5, 6)
    graph.add("Squeeze", graph.add("GlobalAveragePool"), np.array(axes, INT))
    assert_faces_agree(graph.model())


def test_squeeze_with_axes_as_an_attribute():
    graph = Graph(4, 5, 6, opset=11)
    graph.add("Squeeze", graph.add("GlobalAveragePool"), axes=[2, 3])
    graph.add("Gemm", graph.last, random(4, 3))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("middle", ["Relu", "Flatten", "Conv"])
@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 1, 2), (0, 3, 2, 1)])
def test_transpose(perm, middle):
    graph = Graph(4, 4, 4)
    graph.add("Transpose", perm=list(perm))
    graph.add(middle, graph.last, *([random(5, 4, 2, 2)] if middle == "Conv" else []))
    assert_faces_agree(graph.model())


def test_transposes_that_cancel_leave_nothing():
    graph = Graph(4, 5, 6)
    graph.add("Relu", graph.add("Transpose", perm=[0, 2, 3, 1]))
    graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.add("GlobalAveragePool")
    plan = assert_faces_agree(graph.model())
    assert "transpose" not in [step.op for step in plan.steps]


def test_transpose_of_a_flattened_image():
    graph = Graph(2, 3, 2)
    graph.add("Transpose", graph.add("Reshape", "input", np.array([0, 3, 4], INT)))
    graph.add("Transpose", graph.last, perm=[2, 1, 0])
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat(axis):
    graph = Graph(4, 5, 6)
    graph.add("Concat", graph.add("Relu", "input"), graph.add("Tanh", "input"), "input", axis=axis)
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("axis", [1, 2])
def test_concat_of_operands_in_different_layouts(axis):
    graph = Graph(4, 4, 4)
    turned = graph.add("Transpose", "input", perm=[0, 2, 3, 1])
    graph.add("Concat", turned, "input", turned, axis=axis)
    assert_faces_agree(graph.model())


def test_concat_of_flattened_images():
    graph = Graph(2, 3, 4)
    graph.add(
        "Concat", graph.add("Flatten", "input"), graph.add("Flatten", graph.add("Relu", "input")), axis=1
    )
    graph.add("Gemm", graph.last, random(48, 3))
    assert_faces_agree(graph.model())


@pytest.mark.parametrize("fill", [None, scalar(0), scalar(1.5)])
def test_pad(fill):
    constants = [np.array([0, 1, 2, 0, 0, 0, 1, 3], INT)] + ([] if fill is None else [fill])
    assert_faces_agree(single("Pad", *constants))


def test_pad_of_the_image_alone_becomes_zero_padding():
    graph = Graph(4, 5, 6)
    graph.add("Pad", "input", np.array([0, 0, 1, 2, 0, 0, 3, 0], INT))
    graph.add("Conv", graph.last, random(5, 4, 3, 3))
    assert_faces_agree(graph.model())


def test_pad_with_attributes():
    assert_faces_agree(single("Pad", opset=10, pads=[0, 0, 1, 1, 0, 0, 1, 1], value=2.0))


def test_pad_with_axes():
    assert_faces_agree(single("Pad", np.array([1, 2, 3, 0], INT), scalar(0), np.array([2, 3], INT), opset=18))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [[0, 0, 1, 2, 0, 0, 3, 0], [0, 1, -1, 2, 0, 0, 2, -2]])
def test_borders(pads, mode):
    if mode == "constant" or min(pads) >= 0:
        assert_faces_agree(single("Pad", np.array(pads, INT), mode=mode))


def test_pads_of_an_unknown_mode_are_refused():
    model = single("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1], INT), mode="edge")
    model.graph.node[0].attribute[0].s = b"twist"
    with pytest.raises(UnsupportedModelError, match=r"mode 'twist'; expected constant, reflect, edge, wrap"):
        make_plan(model)


def test_constant_nodes_serve_as_operands():
    graph = Graph(4, 5, 6)
    value = onnx.numpy_helper.from_array(random(5, 4, 3, 3))
    kernel = graph.add("Identity", graph.add("Constant", None, value=value))
    graph.nodes[0].ClearField("input")
    graph.add("Conv", "input", kernel)
    assert_faces_agree(graph.model())


def test_constant_as_an_operand_of_concat():
    graph = Graph(4, 5, 6, batch=1)
    graph.add("Concat", "input", random(1, 2, 5, 6), axis=1)
    graph.add("Conv", graph.last, random(3, 6, 1, 1))
    model = graph.model()
    inputs = inputs_for(model, count=1)
    assert_faces_agree(model, inputs)


def test_reshaped_constant():
    graph = Graph(4, 5, 6)
    shift = graph.add("Reshape", random(4), np.array([1, 4, 1, 1], INT))
    graph.add("Conv", graph.add("Add", "input", shift), random(3, 4, 1, 1))
    assert_faces_agree(graph.model())


def residual_network(seed: int = 0) -> onnx.ModelProto:
    """Everything at once: padding, BatchNormalization, depthwise, a shortcut, flattening, dense layers."""
    graph = Graph(2, 9, 8, seed=seed)
    w = graph.weights
    stem = graph.batchnorm(graph.add("Conv", "input", w(4, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]), 4)
    stem = graph.add("Relu", stem)
    body = graph.add("Conv", stem, w(4, 1, 3, 3), w(4), pads=[1, 1, 1, 1], group=4)
    body = graph.batchnorm(graph.add("Conv", graph.add("Relu", body), w(4, 4, 1, 1)), 4)
    graph.add("MaxPool", graph.add("Relu", graph.add("Add", body, stem)), kernel_shape=[2, 2], strides=[2, 2])
    hidden = graph.add("Gemm", graph.add("Flatten"), w(6, 16), w(6), transB=1)
    graph.add("Gemm", graph.add("Relu", hidden), w(6, 3))
    return graph.model()


def test_network():
    plan = assert_faces_agree(residual_network(), tolerance=1e-5)
    assert "transpose" not in [step.op for step in plan.steps]


sizes, kernels, strides = st.integers(3, 9), st.integers(1, 3), st.integers(1, 3)
pads = st.lists(st.integers(0, 2), min_size=4, max_size=4)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    size=st.tuples(sizes, sizes), kernel=st.tuples(kernels, kernels), stride=st.tuples(strides, strides),
    pad=pads, dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)), groups=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_convolution_of_any_geometry(size, kernel, stride, pad, dilation, groups):
    assume(max(stride) == 1 or max(dilation) == 1)
    assume(groups < 4 or stride[0] == stride[1])
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    assume(all(e <= s + pad[i] + pad[i + 2] for i, (e, s) in enumerate(zip(extent, size, strict=True))))
    attributes = {"strides": stride, "pads": pad, "dilations": dilation, "group": groups}
    model = single("Conv", random(8, 4 // groups, *kernel), random(8), shape=(4, *size), **attributes)
    inputs = inputs_for(model)
    assert_close(run_written(make_plan(model), inputs), run_onnx(model, inputs))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    size=st.tuples(sizes, sizes),
    kernel=st.tuples(kernels, kernels),
    stride=st.tuples(strides, strides),
    pad=pads,
)
def test_pools_of_any_geometry(size, kernel, stride, pad):
    pad = [min(p, k - 1) for p, k in zip(pad, [*kernel, *kernel], strict=True)]
    assume(all(k <= s + pad[i] + pad[i + 2] for i, (k, s) in enumerate(zip(kernel, size, strict=True))))
    attributes = {"kernel_shape": kernel, "strides": stride, "pads": pad}
    for op, more in (("MaxPool", {}), ("AveragePool", {"count_include_pad": 1})):
        model = single(op, shape=(3, *size), **attributes, **more)
        inputs = inputs_for(model)
        assert_close(run_written(make_plan(model), inputs), run_onnx(model, inputs))


def test_each_activation_behind_a_negation():
    """TensorFlow made erfc of an exact Gelu's, for which TFLite has no kernel."""
    tensorflow()
    from edgepress.convert.nhwc import convert

    graph = Graph(4, 5, 6, opset=20)
    negative = graph.add("Neg", graph.add("Conv", "input", graph.weights(4, 4, 1, 1)))
    forms = [
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
        ("Erf", {}),
        ("Mish", {}),
        ("Softplus", {}),
        ("Elu", {}),
    ]
    ends = [graph.add(op, negative, **attributes) for op, attributes in forms]
    moved = graph.add("Gelu", graph.add("Transpose", negative, perm=[0, 2, 3, 1]))
    graph.add("Concat", *ends, graph.add("Transpose", moved, perm=[0, 3, 1, 2]), axis=1)
    model = graph.model()
    inputs = inputs_for(model)
    expected = run_onnx(model, inputs)
    actual, _ = run_tflite(bytes(convert(model, False, np.zeros(0))), inputs)
    assert_close(np.moveaxis(actual, -1, 1), expected)


def test_unknown_operators_are_all_named_at_once():
    graph = Graph(4, 5, 6)
    wave = graph.add("RandomNormalLike", "input", name="wave")
    graph.add("Add", wave, graph.add("Bernoulli", name="bell"))
    words = r"'wave' \(RandomNormalLike\).*'bell' \(Bernoulli\).*convert=none"
    with pytest.raises(UnsupportedModelError, match=words):
        make_plan(graph.model())


def test_nodes_without_a_name_are_called_by_what_they_make():
    graph = Graph(4, 5, 6)
    graph.add("Relu")
    made = graph.add("Bernoulli", "input")
    graph.nodes[1].name = ""
    with pytest.raises(UnsupportedModelError, match=rf"'{made}' \(Bernoulli\)"):
        make_plan(graph.model())


@pytest.mark.parametrize("name", ["two inputs", "detection heads", "a state"])
def test_keras_takes_and_gives_whatever_the_network_does(name: str):
    tensorflow()
    from edgepress.translate.keras_face import build_keras

    network, samples = taken(name)
    plan = make_plan(network.model)
    model = build_keras(plan).model
    expected = outputs_in_memory(network.model, samples[:1], 1).outputs
    (fed,) = samples[:1].feeds(declared_entries(network.model))
    inputs = [np.transpose(fed[entry.name], entry.order) for entry in plan.entries]
    found = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    outputs = found if isinstance(found, list) else [found]
    for ours, order, theirs in zip(outputs, plan.output_orders, expected.values(), strict=True):
        assert theirs.std() > 0.01
        np.testing.assert_allclose(np.transpose(ours, np.argsort(order)), theirs, atol=1e-4)


def network_of(model: onnx.ModelProto):
    tensorflow()
    from edgepress.translate.keras_face import build_keras

    return build_keras(make_plan(model))


def test_weights_written_back_unchanged_give_the_same_model():
    from edgepress.translate.keras_face import write_back

    model = residual_network()
    network = network_of(model)
    assert len(network.values()) == len(model.graph.initializer)
    assert write_back(model, network, network.values()).SerializeToString() == model.SerializeToString()


def test_the_model_written_back_computes_what_keras_does():
    from edgepress.translate.keras_face import write_back

    model, random = residual_network(), np.random.default_rng(5)
    network = network_of(model)
    for variable in network.variables.values():
        variable.assign(random.uniform(0.1, 1, variable.shape))
    inputs = inputs_for(model)
    written = write_back(model, network, network.values())
    assert_close(run_onnx(written, inputs), network.model(stored(inputs), training=False).numpy())
    assert np.abs(run_onnx(written, inputs) - run_onnx(model, inputs)).max() > 1


@pytest.mark.parametrize("group", [1, 2, 4])
def test_every_kind_of_convolution_is_written_back(group):
    from edgepress.translate.keras_face import write_back

    model = single("Conv", random(8, 4 // group, 2, 3), random(8), group=group)
    network = network_of(model)
    assert write_back(model, network, network.values()).SerializeToString() == model.SerializeToString()
    values = {key: np.random.default_rng(3).normal(size=v.shape) for key, v in network.values().items()}
    for key, variable in network.variables.items():
        variable.assign(values[key])
    inputs = inputs_for(model)
    written = write_back(model, network, network.values())
    actual = network.model(stored(inputs), training=False).numpy()
    assert_close(run_onnx(written, inputs), as_onnx(make_plan(model), actual))


def test_batch_normalisation_is_trainable_as_such():
    network = network_of(residual_network())
    trainable = {variable.ref() for variable in network.model.trainable_variables}
    parts = {part for (_, part), variable in network.variables.items() if variable.ref() in trainable}
    assert parts == {"kernel", "bias", "gamma", "beta"}
    assert {variable.ref() for variable in network.variables.values()} == {
        variable.ref() for variable in network.model.variables
    }


def test_names_that_keras_refuses_are_encoded():
    graph = Graph(4, 5, 6)
    graph.add("Relu", "input", name="läyer/1:0 α")
    graph.add("Relu", graph.last, name="l\u00e4yer/1.0 ß")
    assert_faces_agree(graph.model())
