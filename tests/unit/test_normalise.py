"""Models of any producer become what the passes expect and compute the same; broken ones are refused."""

import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgepress.errors import ArtifactError, ConfigError, EdgepressError, UnsupportedModelError
from edgepress.graph.normalise.batch import name_open_sizes
from edgepress.graph.normalise.fixing import Fixing
from edgepress.graph.normalise.names import make_names_valid
from edgepress.graph.normalise.normalise import load_normalised, normalise
from edgepress.graph.view import copy
from edgepress.translate.planning import make_plan
from tests.networks import Graph, assert_close, inputs_for, run_onnx, run_written

LOWERED = 18
"""From here on Pad, Split and Resize cannot be lowered by onnx, so these models go without."""

RANDOM = np.random.default_rng(0)
node = helper.make_node


def build(nodes, constants=None, shape=("n", 3, 8, 8), opset=15, output=None, inputs=()) -> onnx.ModelProto:
    """A model that nobody checked."""
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))
    end = helper.make_tensor_value_info(output or nodes[-1].output[0], TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", [entry, *inputs], [end], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def versioned(opset: int) -> onnx.ModelProto:
    """A network of operators whose attributes became inputs, or whose name changed, over the opsets."""
    constants = {
        "w": RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "low": np.float32(0),
        "high": np.float32(2),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "axes23": np.array([2, 3]),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "roi": np.zeros(0, np.float32),
    }
    clip = (
        node("Clip", ["a", "low", "high"], ["b"])
        if opset >= 11
        else node("Clip", ["a"], ["b"], min=0.0, max=2.0)
    )
    pads = {"pads": [0, 0, 1, 1, 0, 0, 1, 1]}
    pad = node("Pad", ["b", "pads"], ["c"]) if opset >= 11 else node("Pad", ["b"], ["c"], **pads)
    if opset >= LOWERED:
        pad = node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2])
    if opset >= LOWERED:
        grown = node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2])
    elif opset >= 11:
        grown = node(
            "Resize",
            ["c", "roi", "scales"],
            ["d"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    elif opset == 10:
        grown = node("Resize", ["c", "scales"], ["d"], mode="nearest")
    elif opset == 9:
        grown = node("Upsample", ["c", "scales"], ["d"], mode="nearest")
    else:
        grown = node("Upsample", ["c"], ["d"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])
    mean = (
        node("ReduceMean", ["d", "axes23"], ["e"], keepdims=1)
        if opset >= 18
        else node("ReduceMean", ["d"], ["e"], axes=[2, 3], keepdims=1)
    )
    squeeze = (
        node("Squeeze", ["e", "axes23"], ["f"]) if opset >= 13 else node("Squeeze", ["e"], ["f"], axes=[2, 3])
    )
    nodes = [
        node("Conv", ["input", "w"], ["a"]),
        clip,
        pad,
        grown,
        mean,
        squeeze,
        node("Softmax", ["f"], ["g"], axis=1),
    ]
    return build(nodes, constants, opset=opset)


@pytest.mark.parametrize("opset", range(7, 22))
def test_any_opset_becomes_one_that_the_passes_take_and_computes_the_same(opset):
    model = versioned(opset)
    inputs = RANDOM.normal(size=(3, 3, 8, 8)).astype(np.float32)
    expected = run_onnx(model, inputs)
    result = normalise(model)
    assert result.opset_import[0].version == 15
    np.testing.assert_allclose(run_onnx(result, inputs), expected, atol=1e-6)
    onnx.checker.check_model(result, full_check=True)


PADS = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}


@pytest.mark.parametrize(
    "newer",
    [build([node("Gelu", ["input"], ["y"])], opset=20),
     build([node("Pad", ["input", "pads"], ["y"], mode="wrap")], PADS, opset=19)],
    ids=["operator", "attribute's value"],
)  # fmt: skip
def test_an_opset_that_cannot_be_lowered_is_kept(newer):
    version = newer.opset_import[0].version
    assert normalise(newer).opset_import[0].version == version


def test_what_is_new_in_name_only_is_lowered():
    constants = {**PADS, "axes": np.array([2, 3]), "scales": np.array([1, 1, 2, 2], np.float32)}
    nodes = [
        node("Pad", ["input", "pads"], ["a"]),
        node("Resize", ["a", "", "scales"], ["b"], antialias=0, keep_aspect_ratio_policy="stretch"),
        node("Relu", ["b"], ["y"]),
    ]
    reduced = build(
        [node("ReduceMean", ["input", "axes"], ["y"], noop_with_empty_axes=0)], constants, opset=18
    )
    for newer in (build(nodes, constants, opset=19), reduced):
        inputs = RANDOM.normal(size=(2, 3, 8, 8)).astype(np.float32)
        expected = run_onnx(newer, inputs)
        result = normalise(newer)
        assert result.opset_import[0].version == 15
        onnx.checker.check_model(result, full_check=True)
        np.testing.assert_allclose(run_onnx(result, inputs), expected, atol=1e-6)


def test_constants_and_shape_arithmetic_are_folded_and_the_batch_stays_free():
    two = numpy_helper.from_array(np.array([2.0], np.float32))
    nodes = [
        node("Constant", [], ["two"], value=two),
        node("Add", ["two", "one"], ["three"]),
        node("Mul", ["input", "three"], ["scaled"]),
        node("Shape", ["scaled"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"], axis=0),
        node("Unsqueeze", ["batch", "axes"], ["batch1"]),
        node("Concat", ["batch1", "rest"], ["target"], axis=0),
        node("Reshape", ["scaled", "target"], ["y"]),
    ]
    constants = {
        "one": np.ones(1, np.float32), "zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1]),
        "unused": np.ones(5, np.float32),
    }  # fmt: skip
    result = normalise(build(nodes, constants))
    assert [n.op_type for n in result.graph.node] == ["Mul", "Reshape"]
    values = {t.name: numpy_helper.to_array(t).tolist() for t in result.graph.initializer}
    assert values == {"three": [3.0], "y.shape": [-1, 192]}
    assert run_onnx(result, RANDOM.normal(size=(5, 3, 8, 8)).astype(np.float32)).shape == (
        5,
        192,
    )
    make_plan(result)


def test_an_exported_batch_is_freed_also_in_reshapes():
    nodes = [node("Reshape", ["input", "target"], ["flat"]), node("MatMul", ["flat", "w"], ["y"])]
    constants = {"target": np.array([1, -1]), "w": RANDOM.normal(size=(192, 4)).astype(np.float32)}
    result = normalise(build(nodes, constants, shape=(1, 3, 8, 8)))
    assert result.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    inputs = RANDOM.normal(size=(4, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run_onnx(result, inputs), inputs.reshape(4, -1) @ constants["w"], rtol=1e-4)


def test_a_fixed_batch_of_several_whose_samples_meet_stays_if_that_is_wanted():
    nodes = [node("Slice", ["input", "zero", "one"], ["first"]), node("Sub", ["input", "first"], ["y"])]
    constants = {"zero": np.array([0]), "one": np.array([1])}
    for keep, size in ((True, 3), (False, 0)):
        model = build(nodes, constants, shape=(3, 3, 8, 8))
        result = normalise(model, Fixing(keep_several=keep))
        assert result.graph.input[0].type.tensor_type.shape.dim[0].dim_value == size


def test_group_normalization_is_written_in_older_operators():
    nodes = [
        node("Conv", ["input", "w"], ["a"]),
        node("GroupNormalization", ["a", "scale", "bias"], ["b"], num_groups=2, epsilon=1e-3),
        node("Relu", ["b"], ["c"]),
        node("GroupNormalization", ["c", "scale", "bias"], ["d"], "again", num_groups=2),
        node("GlobalAveragePool", ["d"], ["y"]),
    ]
    constants = {
        "w": RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "scale": RANDOM.normal(size=4).astype(np.float32),
        "bias": RANDOM.normal(size=4).astype(np.float32),
    }
    model = build(nodes, constants, opset=21)
    inputs = RANDOM.normal(size=(2, 3, 8, 8)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"input": inputs})
    result = normalise(model)
    assert result.opset_import[0].version == 15
    np.testing.assert_allclose(run_onnx(result, inputs), expected, atol=1e-5)
    assert not any(step.op == "transpose" for step in make_plan(result).steps)


def test_kernels_that_are_standardised_in_the_graph_are_computed_once():
    nodes = [
        node("ReduceMean", ["rows"], ["mean"], axes=[0, 2]),
        node("Squeeze", ["mean"], ["means"]),
        node("BatchNormalization", ["rows", "ones", "zeros", "means", "ones"], ["even"]),
        node("Reshape", ["even", "target"], ["w"]),
        node("Conv", ["input", "w"], ["y"]),
    ]
    constants = {
        "rows": RANDOM.normal(size=(1, 4, 27)).astype(np.float32),
        "ones": np.ones(4, np.float32),
        "zeros": np.zeros(4, np.float32),
        "target": np.array([4, 3, 3, 3]),
    }
    model = build(nodes, constants)
    inputs = RANDOM.normal(size=(2, 3, 8, 8)).astype(np.float32)
    expected = run_onnx(model, inputs)
    result = normalise(model)
    assert [each.op_type for each in result.graph.node] == ["Conv"]
    np.testing.assert_allclose(run_onnx(result, inputs), expected, atol=1e-5)


def _with_class_token(batch: int) -> onnx.ModelProto:
    """A token put before those of the image, as many as the exported batch; then all in one row."""
    nodes = [
        node("Reshape", ["input", "tokens"], ["image"]),
        node("Concat", ["token", "image"], ["all"], axis=1),
        node("Reshape", ["all", "row"], ["y"]),
    ]
    constants = {
        "tokens": np.array([batch, 3, 64]),
        "token": np.ones((batch, 1, 64), np.float32),
        "row": np.array([batch, -1]),
    }
    return build(nodes, constants, shape=(batch, 3, 8, 8))


def test_a_batch_of_one_that_is_built_in_for_good_stays_one():
    model = _with_class_token(1)
    inputs = RANDOM.normal(size=(1, 3, 8, 8)).astype(np.float32)
    expected = run_onnx(model, inputs)
    result = normalise(model)
    ends = (*result.graph.input, *result.graph.output)
    assert [end.type.tensor_type.shape.dim[0].dim_value for end in ends] == [1, 1]
    assert {tensor.name for tensor in result.graph.initializer} == {"tokens", "token", "row"}
    np.testing.assert_array_equal(run_onnx(result, inputs), expected)


def test_a_batch_of_several_that_is_built_in_stays():
    model = _with_class_token(4)
    inputs = RANDOM.normal(size=(4, 3, 8, 8)).astype(np.float32)
    expected = run_onnx(model, inputs)
    result = normalise(model)
    ends = (*result.graph.input, *result.graph.output)
    assert [end.type.tensor_type.shape.dim[0].dim_value for end in ends] == [4, 4]
    np.testing.assert_array_equal(run_onnx(result, inputs), expected)


def test_inputs_of_any_number_and_type_are_kept_if_they_are_read():
    others = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "length"]),
        helper.make_tensor_value_info("unread", TensorProto.FLOAT, ["n"]),
        helper.make_tensor_value_info("mask", TensorProto.BOOL, [None, "length"]),
    ]
    nodes = [
        node("Gather", ["table", "tokens"], ["rows"]),
        node("Where", ["mask", "tokens", "zero"], ["kept"]),
        node("Cast", ["kept"], ["numbers"], to=TensorProto.FLOAT),
        node("ReduceSum", ["rows"], ["sums"], axes=[-1], keepdims=0),
        node("Add", ["sums", "numbers"], ["added"]),
        node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        node("Unsqueeze", ["mean"], ["column"], axes=[1]),
        node("Mul", ["added", "column"], ["y"]),
    ]
    constants = {"table": RANDOM.normal(size=(9, 4)).astype(np.float32), "zero": np.array(0)}
    model = build(nodes, constants, opset=11, inputs=others)
    result = normalise(model)
    assert [entry.name for entry in result.graph.input] == ["input", "tokens", "mask"]
    assert [entry.type.tensor_type.elem_type for entry in result.graph.input] == [1, 7, 9]
    sizes = [[d.dim_param or d.dim_value for d in e.type.tensor_type.shape.dim] for e in result.graph.input]
    assert sizes == [["batch", 3, 8, 8], ["batch", "length"], ["batch", "length"]]
    (output,) = result.graph.output
    assert [dim.dim_param for dim in output.type.tensor_type.shape.dim] == ["batch", "length"]


@pytest.mark.parametrize(
    ("names", "batch"),
    [
        ({"x": ["n", 4, 8]}, ["n"]),
        ({"x": ["sequence", "samples", 8]}, []),
        ({"x": [None, 4, 8], "state": [2, None, 8]}, ["x.size0"]),
        ({"x": ["frames", "batch_size", 8], "state": [2, "batch_size", 8]}, ["batch_size"]),
        ({"wave": ["samples"]}, []),
        ({"x": [1, 8], "y": ["rows", 8]}, ["rows"]),
        ({"x": ["unk__7", 4], "y": ["unk__9", 4]}, ["unk__7", "unk__9"]),
        ({"x": ["x_dynamic_axes_1", 4, "x_dynamic_axes_2"], "y": ["n", 4]}, ["n", "x_dynamic_axes_1"]),
    ],
)
def test_which_of_the_open_sizes_is_the_batch(names, batch):
    inputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, sizes) for k, sizes in names.items()]
    given = {f"{e.name}.size{i}" for e in inputs for i, d in enumerate(e.type.tensor_type.shape.dim)
             if not d.HasField("dim_value") and not d.dim_param}  # fmt: skip
    given |= {size for sizes in names.values() for size in sizes if isinstance(size, str)}
    model = helper.make_model(helper.make_graph([], "g", inputs, []))
    name_open_sizes(model)
    dims = [d for e in model.graph.input for d in e.type.tensor_type.shape.dim]
    assert given - {d.dim_param for d in dims} == set(batch)
    assert ("batch" in {d.dim_param for d in dims}) == bool(batch)


def test_what_exporters_leave_around_constants_is_folded():
    nodes = [
        node("CastLike", ["two", "input"], ["number"]),
        node("Shape", ["input"], ["sizes"]),
        node("Gather", ["sizes", "one"], ["channels"]),
        node("CastLike", ["channels", "input"], ["count"]),
        node("Mul", ["number", "count"], ["factor"]),
        node("Mul", ["input", "factor"], ["y"]),
    ]
    model = build(nodes, {"two": np.array(2), "one": np.array(1)}, shape=("n", 3, "h", "w"))
    model.opset_import.append(helper.make_opsetid("", 15))
    inputs = RANDOM.normal(size=(2, 3, 4, 5)).astype(np.float32)
    result = normalise(model)
    assert [n.op_type for n in result.graph.node] == ["Mul"]
    assert len(result.opset_import) == 1
    np.testing.assert_array_equal(run_onnx(result, inputs), inputs * 6)


def test_a_function_of_the_model_is_written_out():
    model = build([node("Double", ["input"], ["a"], domain="own"), node("Relu", ["a"], ["y"])])
    opsets = [helper.make_opsetid("", 15)]
    body = [node("Add", ["x", "x"], ["twice"])]
    model.functions.append(helper.make_function("own", "Double", ["x"], ["twice"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    result = normalise(model)
    assert [n.op_type for n in result.graph.node] == ["Add", "Relu"]
    assert not result.functions


def _calling(function_opset, body, opset):
    """A network in one opset that calls a function in another."""
    model = build(
        [
            node("Exp", ["input"], ["e"]),
            node("Own", ["e"], ["o"], domain="own", axes=[3]),
            node("Relu", ["o"], ["y"]),
        ],
        opset=opset,
    )
    opsets = [helper.make_opsetid("", function_opset)]
    model.functions.append(helper.make_function("own", "Own", ["x"], ["z"], body, opsets, ["axes"]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def _mean_of_given_axes():
    mean = node("ReduceMean", ["x"], ["z"], keepdims=0)
    mean.attribute.append(
        onnx.AttributeProto(name="axes", type=onnx.AttributeProto.INTS, ref_attr_name="axes")
    )
    return [mean]


OTHER_OPSETS = {
    "the same operators": (21, [node("Sqrt", ["x"], ["z"])], 18, np.sqrt),
    "axes become an input": (13, _mean_of_given_axes(), 18, lambda x: x.mean(axis=3)),
    "newer than the model": (
        20,
        [
            node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
            node("Sub", ["a", "b"], ["c"]),
            node("Gelu", ["c"], ["z"], approximate="tanh"),
        ],
        17,
        lambda x: (d := x[:, :2] - x[:, 2:]) / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (d + 0.044715 * d**3))),
    ),
    "all axes behind one": (
        11,
        [node("Log", ["x"], ["l"]), node("Softmax", ["l"], ["z"], axis=1)],
        17,
        lambda x: x / x.sum(axis=(1, 2, 3), keepdims=True),
    ),
}


@pytest.mark.parametrize("name", OTHER_OPSETS)
def test_a_function_in_another_opset_than_the_model_means_the_same(name):
    function_opset, body, opset, expected = OTHER_OPSETS[name]
    model = _calling(function_opset, body, opset)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    inputs = RANDOM.normal(size=(1, 4, 8, 8)).astype(np.float32)
    wanted = np.maximum(expected(np.exp(inputs)), 0)
    assert wanted.std() > 1e-4
    result = normalise(model)
    assert not result.functions and {n.domain for n in result.graph.node} == {""}
    np.testing.assert_allclose(run_onnx(result, inputs), wanted, rtol=1e-5, atol=1e-6)


def test_a_function_that_would_mean_something_else_in_the_models_opset_is_refused_with_the_remedy():
    model = _calling(11, [node("Hardmax", ["x"], ["z"])], 18)
    with pytest.raises(
        UnsupportedModelError, match="Hardmax means something else; export the model with one"
    ):
        normalise(model)


def test_many_calls_of_a_function_in_another_opset_take_seconds():
    body = [node("ReduceMean", ["x"], ["m"], axes=[2]), node("Add", ["m", "x"], ["z"])]
    model = _calling(13, body, 18)
    names = ["input", *(f"t{i}" for i in range(1500)), "y"]
    calls = [node("Own", [before], [after], domain="own") for before, after in pairwise(names)]
    del model.graph.node[:]
    model.graph.node.extend(calls)
    began = time.monotonic()
    assert len(normalise(model).graph.node) == 2 * len(calls)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "value",
    [
        np.ones((2, 3, 4, 5), np.float32),
        np.float64([1, 2]),
        np.float16(3),
        np.array([True]),
        np.int8([[1]]),
        np.zeros((0, 3), np.int64),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}",
)
@pytest.mark.parametrize("opset", [9, 15, 21])
def test_an_output_that_is_a_constant_keeps_type_shape_and_value(value, opset):
    model = build([node("Add", ["input", "one"], ["y"])], {"k": value, "one": np.ones(8, np.float32)})
    model.opset_import[0].version = opset
    for name in ("k", "one"):
        kind = value.dtype if name == "k" else np.dtype(np.float32)
        model.graph.output.add(name=name).type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(kind)
    result = normalise(model)
    run = ReferenceEvaluator(result).run(None, {"input": np.zeros((1, 3, 8, 8), np.float32)})
    assert [output.name for output in result.graph.output] == ["y", "k", "one"]
    assert (
        run[1].shape == value.shape and np.array_equal(run[1], value) and np.array_equal(run[2], np.ones(8))
    )


def _sparse(name, elements, indices, shape):
    values = numpy_helper.from_array(np.asarray(elements, np.float32), name)
    places = numpy_helper.from_array(np.asarray(indices, np.int64), f"{name}.places")
    return helper.make_sparse_tensor(values, places, shape)


def test_sparse_constants_are_made_dense_wherever_they_are():
    constant = node("Constant", [], ["c"], sparse_value=_sparse("c", [5], [1], [3, 1, 1]))
    branches = [
        helper.make_graph([node("Mul", ["a", "s"], [name])], name, [], [onnx.ValueInfoProto(name=name)])
        for name in ("then", "else")
    ]
    for branch, factor in zip(branches, (2, 3), strict=True):
        branch.sparse_initializer.append(_sparse("s", [factor], [[0, 7]], [8, 8]))
    nodes = [
        constant,
        node("Add", ["input", "c"], ["b"]),
        node("Add", ["b", "k"], ["a"]),
        node("ReduceSum", ["a"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["positive"]),
        node("If", ["positive"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    model = build(nodes, {"zero": np.float32(0)}, shape=(1, 3, 8, 8))
    model.graph.sparse_initializer.append(_sparse("k", [-1, 4], [[0, 0], [7, 1]], [8, 8]))
    inputs = np.ones((1, 3, 8, 8), np.float32)
    (result,) = ReferenceEvaluator(normalise(model)).run(None, {"input": inputs})
    assert np.unique(result).tolist() == [0, 2, 12] and result[0, :, 0, 7].tolist() == [2, 12, 2]


@pytest.mark.parametrize(
    ("elements", "indices", "shape", "message"),
    [
        ([1], [9], [8], "do not lie in its shape"),
        ([1], [-1], [8], "do not lie in its shape"),
        ([1], [[0, 8]], [8, 8], "do not lie in its shape"),
        ([1, 2], [1], [8], "do not lie in its shape"),
        ([1], [1], [2**40], "elements are made dense"),
        ([1], [1], [-8], "elements are made dense"),
    ],
)
def test_sparse_constants_that_are_none_or_too_large_are_refused(elements, indices, shape, message):
    model = build([node("Add", ["input", "k"], ["y"])])
    model.graph.sparse_initializer.append(_sparse("k", elements, indices, shape))
    with pytest.raises(UnsupportedModelError, match=message):
        normalise(model)


def test_float16_ends_stay_if_that_is_wanted():
    def half():
        model = build([node("Mul", ["input", "w"], ["y"])], {"w": np.ones(8, np.float16)})
        for end in (model.graph.input[0], model.graph.output[0]):
            end.type.tensor_type.elem_type = TensorProto.FLOAT16
        return model

    for keep, kind, operators in ((False, 1, ["Mul"]), (True, 10, ["Cast", "Mul", "Cast"])):
        result = normalise(half(), keep_types=keep)
        ends = (*result.graph.input, *result.graph.output)
        assert [end.type.tensor_type.elem_type for end in ends] == [kind, kind]
        assert [n.op_type for n in result.graph.node] == operators
        onnx.checker.check_model(result, full_check=True)


def test_open_sizes_and_outputs_can_be_settled():
    nodes = [node("Relu", ["input"], ["a"]), node("Flatten", ["a"], ["b"]), node("Neg", ["b"], ["y"])]
    shapes = {"input": (None, None, 16, 12)}
    result = normalise(build(nodes, shape=("n", 3, "h", "w")), Fixing(shapes, batch=2, outputs=("b",)))
    assert [n.op_type for n in result.graph.node] == ["Relu", "Flatten"]
    (entry,), (output,) = result.graph.input, result.graph.output
    assert [dim.dim_value for dim in entry.type.tensor_type.shape.dim] == [2, 3, 16, 12]
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [2, 576]


@pytest.mark.parametrize(
    ("fixing", "message"),
    [
        (Fixing({"other": (1,)}), "names 'other', which is no input that .*; expected one of: 'input'"),
        (
            Fixing({"input": (1, 3)}),
            r"has 2 sizes for 'input'; expected as many as in \['batch', 3, 'h', 'w'\]",
        ),
        (Fixing({"input": (None, 4, 8, 8)}), "'input' is to have the size 4 where it has 3"),
        (
            Fixing({"input": (2, 3, 8, 8)}, batch=3),
            "--batch is to have the size 3, but 2 is chosen already for 'batch', which is the same size",
        ),
        (
            Fixing(batch=2**31 - 1),
            r"give 'input' the sizes \[2147483647, 3\]; expected up to .* smaller ones$",
        ),
        (Fixing(outputs=("a", "nothing")), "has 'nothing', which no node .* expected names of tensors, such"),
    ],
)
def test_what_cannot_be_settled_is_refused(fixing, message):
    model = build([node("Relu", ["input"], ["a"]), node("Neg", ["a"], ["y"])], shape=("n", 3, "h", "w"))
    with pytest.raises(ConfigError, match=message):
        normalise(model, fixing)


def test_names_become_valid_and_stay_unique():
    nodes = [
        node("Relu", ["input"], ["a:0"], "n"),
        node("Neg", ["a:0"], ["a_0"], "n"),
        node("Abs", ["a_0"], ["out 1"]),
    ]
    model = build(nodes)
    model.graph.input[0].name = model.graph.node[0].input[0] = "input.1"
    result = normalise(model)
    assert [n.name for n in result.graph.node] == ["n", "a_0", "out 1"]
    assert [list(n.output) for n in result.graph.node] == [["a:0"], ["a_0"], ["out 1"]]
    make_names_valid(result)
    assert (result.graph.input[0].name, result.graph.output[0].name) == ("input_1", "out_1")
    assert [list(n.output) for n in result.graph.node] == [["a_0_1"], ["a_0"], ["out_1"]]
    assert [n.name for n in result.graph.node] == ["n", "a_0", "out_1"]
    assert {info.name for info in result.graph.value_info} == {"a_0_1", "a_0"}


def test_initializers_listed_as_inputs_and_unsorted_nodes_are_put_right():
    nodes = [node("Relu", ["a"], ["y"]), node("Mul", ["input", "w"], ["a"]), node("Neg", ["a"], ["dead"])]
    listed = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    result = normalise(build(nodes, {"w": np.ones(1, np.float32)}, output="y", inputs=[listed]))
    assert [n.op_type for n in result.graph.node] == ["Mul", "Relu"]
    assert [entry.name for entry in result.graph.input] == ["input"]
    assert {info.name for info in result.graph.value_info} == {"a"}


def _with_dims(**dims):
    model = build([node("Mul", ["input", "w"], ["y"])], {"w": np.ones(4, np.float32)}, shape=("n", 4))
    model.graph.initializer[0].dims[:] = dims["dims"]
    return model


def _loop():
    body = build([node("Relu", ["input"], ["z"])]).graph
    return build([node("Loop", ["input"], ["y"], body=body)])


def _functions(*called):
    """Functions `F0`, `F1` … of two nodes, each of which calls another by its number."""
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("own", 1)]
    model = build([node("F0", ["input"], ["y"], domain="own")])
    model.opset_import.append(opsets[1])
    for number, other in enumerate(called):
        name, domain = ("Relu", "") if other is None else (f"F{other}", "own")
        body = [node(name, ["x"], ["a"], domain=domain), node(name, ["a"], ["z"], domain=domain)]
        model.functions.append(helper.make_function("own", f"F{number}", ["x"], ["z"], body, opsets))
    return model


def _texts():
    model = build([node("Relu", ["input"], ["y"])])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    return model


def build_with(model, change):
    change(model)
    return model


relu = node("Relu", ["input"], ["y"])
CYCLE = build([node("Add", ["input", "b"], ["a"]), node("Relu", ["a"], ["b"])])
MISFIT = build([node("MatMul", ["input", "w"], ["y"])], {"w": np.ones((5, 2), np.float32)})
BOMB = build([node("Expand", ["input", "s"], ["y"])], {"s": np.array([2**31, 2**31, 1, 1, 1, 1])})
STRANGE = build(
    [
        node("Nonsense", ["input"], ["a"], "first"),
        node("Relu", ["a"], ["b"], domain="own"),
        node("Gelu", ["b"], ["y"]),
    ]
)
STRANGE.opset_import.append(helper.make_opsetid("own", 1))
REFUSED = {
    "cycle": (lambda: CYCLE, "cycle through node 'a', 'b'"),
    "missing": (lambda: build([node("Conv", ["input", "w"], ["y"])]), "no initializer, .* gives: 'w'"),
    "no maker": (lambda: build([relu], output="z"), "nothing makes the output 'z'"),
    "twice": (lambda: build([relu, relu]), "more than one origin: 'y'"),
    "no input": (lambda: build([node("Relu", ["w"], ["y"])], {"w": np.ones(2)}), "nothing is computed of"),
    "negative input": (lambda: build([relu], shape=("n", 3, -8, 8)), "declares the shape"),
    "huge input": (lambda: build([relu], shape=(1, 2**40, 2**40, 8)), "declares the shape"),
    "negative": (lambda: _with_dims(dims=[-4]), r"'w' declares the shape \[-4\]"),
    "huge": (lambda: _with_dims(dims=[2**60]), "'w' declares the shape"),
    "overflow": (lambda: _with_dims(dims=[2**32, 2**32]), "'w' declares the shape"),
    "short data": (lambda: _with_dims(dims=[5]), "has 16 bytes, not 20"),
    "loop": (_loop, "not a valid model"),
    "function calls itself": (lambda: _functions(0), "its function 'F0' calls itself"),
    "functions call each other": (lambda: _functions(1, 2, 0), "its function 'F.' calls itself"),
    "functions doubled": (lambda: _functions(*range(1, 60), None), "come to more than 100000 nodes"),
    "function's operands": (
        lambda: build_with(_functions(None), lambda m: m.graph.node[0].input.append("input")),
        "does not fit the function 'F0'",
    ),
    "type": (_texts, "input 'input' is STRING; expected numbers"),
    "old": (lambda: build([relu], opset=6), r"opset is \[6\]; expected one from 7"),
    "future": (lambda: build([relu], opset=999), r"opset is \[999\]"),
    "unknown op": (
        lambda: build([node("Nonsense", ["input"], ["y"])]),
        r"opset 15 has no .* 'y' \(Nonsense\);",
    ),
    "unknown ops": (lambda: STRANGE, r"node 'first' \(Nonsense\), 'b' \(own.Relu\), 'y' \(Gelu\); export"),
    "bad shapes": (lambda: MISFIT, "shapes do not fit"),
    "bomb": (lambda: BOMB, "'y' would have the shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_line(case):
    make, message = REFUSED[case]
    started = time.perf_counter()
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        normalise(make())
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    assert time.perf_counter() - started < 1


def test_a_constant_that_would_grow_out_of_bounds_is_not_computed():
    nodes = [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["input", "c"], ["y"])]
    result = normalise(build(nodes, {"s": np.array([1, 3, 2048, 2048])}, shape=("n", 3, 1, 1)))
    assert [n.op_type for n in result.graph.node] == ["ConstantOfShape", "Add"]


def external(folder: Path, location: str, **entries) -> Path:
    """A model in `folder` that names 16 bytes at `location`."""
    model = build([node("Mul", ["input", "w"], ["y"])], {"w": np.arange(4, dtype=np.float32)}, shape=("n", 4))
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location, **entries)
    tensor.ClearField("raw_data")
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_beside_the_model_is_loaded(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(bytes(8) + np.arange(4, dtype=np.float32).tobytes())
    result = load_normalised(external(tmp_path, "sub/w.bin", offset=8, length=16))
    assert numpy_helper.to_array(result.graph.initializer[0]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("../outside.bin", {}, "inside the model's own folder"),
        ("sub/../../outside.bin", {}, "inside the model's own folder"),
        ("{folder}/outside.bin", {}, "inside the model's own folder"),
        ("link.bin", {}, r"reached through the link 'link\.bin'; expected no link"),
        ("hard.bin", {}, r"has a second name \(a hard link\)"),
        ("pipe", {}, "is a pipe; expected a regular file"),
        ("linked/outside.bin", {}, "reached through the link 'linked'; expected"),
        ("absent.bin", {}, "is not there"),
        ("", {}, "inside the model's own folder"),
        ("short.bin", {}, "needs 16 bytes but names 16 at 0"),
        ("short.bin", {"offset": 2**40}, "needs 16 bytes"),
        ("short.bin", {"length": 3}, "needs 16 bytes but names 3"),
        ("short.bin", {"offset": -1}, "external offset '-1'"),
    ],
)
def test_external_data_elsewhere_is_refused(tmp_path, location, entries, message):
    (tmp_path / "outside.bin").write_bytes(bytes(16))
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "link.bin").symlink_to(tmp_path / "outside.bin")
    (home / "linked").symlink_to(tmp_path)
    (home / "hard.bin").hardlink_to(tmp_path / "outside.bin")
    os.mkfifo(home / "pipe")
    (home / "short.bin").write_bytes(bytes(12))
    with pytest.raises(UnsupportedModelError, match=message):
        load_normalised(external(home, location.format(folder=tmp_path), **entries))


def test_tensors_cannot_read_the_same_bytes_over_and_over(tmp_path):
    constants = {f"w{i}": np.zeros(1 << 18, np.float32) for i in range(40)}
    model = build([node("Sum", ["input", *constants], ["y"])], constants, shape=("n", 1 << 18))
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "w.bin")
        tensor.ClearField("raw_data")
    (tmp_path / "w.bin").write_bytes(bytes(1 << 20))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        UnsupportedModelError, match=r"take 3145728 bytes of external data, of which .* 1048576"
    ):
        load_normalised(tmp_path / "model.onnx")


@pytest.mark.parametrize("fields", [(7, 1), (7, 5), (7, 1, 5), (14,)])
def test_a_model_of_millions_of_empty_parts_is_refused_before_it_is_parsed(fields, tmp_path):
    """Nodes, initializers, attributes of a node, metadata: two bytes each in the file."""
    *outer, part = fields
    content = bytes([part << 3 | 2, 0]) * 2_000_000
    for field in reversed(outer):
        length = len(content)
        size = bytes([*(length >> 7 * i & 127 | 128 for i in range(3)), length >> 21])
        content = bytes([field << 3 | 2]) + size + content
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"far too many small parts for a file of 4,000,0\d\d bytes"):
        load_normalised(path)


def test_files_that_are_no_models_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    content = versioned(15).SerializeToString()
    for broken in (b"", b"no model", content[: len(content) // 2], bytes(1000)):
        path.write_bytes(broken)
        with pytest.raises(EdgepressError, match="model"):
            load_normalised(path)
    with pytest.raises(ArtifactError, match="No such file"):
        load_normalised(tmp_path / "absent.onnx")
    with pytest.raises(ArtifactError, match="is a folder; expected a regular file"):
        load_normalised(tmp_path)


def test_sizes_of_minus_one_are_open():
    """Paddle2ONNX wrote them so; ONNX Runtime takes them."""
    graph = Graph(3, 8, 6, batch=-1)
    graph.add(
        "Flatten", graph.add("GlobalAveragePool", graph.add("Conv", "input", graph.weights(4, 3, 3, 3)))
    )
    model = graph.model()
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = -1
    expected = run_onnx(copy(model), inputs := inputs_for(model))
    normal = normalise(model)
    assert normal.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert_close(run_written(make_plan(normal), inputs), expected)


def test_sizes_of_minus_two_are_none():
    graph = Graph(3, 8, 6, batch=-2)
    graph.add("Relu")
    with pytest.raises(UnsupportedModelError, match=r"declares the shape \[-2, 3, 8, 6\]"):
        normalise(graph.model())


@pytest.mark.parametrize(("low", "high"), [("computed", ""), ("", "computed"), ("computed", "constant")])
def test_clip_between_computed_bounds(low, high):
    """The end of log-mel front-ends: the larger of x and its maximum less a constant."""
    graph = Graph(4, 6)
    computed = graph.add("Sub", graph.add("ReduceMax", keepdims=0), np.float32(1.5 if low else 3))
    bounds = {"computed": computed, "constant": graph.constant(np.float32(3)), "": None}
    graph.add("Clip", "input", bounds[low], bounds[high])
    model = graph.model()
    inputs = inputs_for(model, count=1)
    expected = run_onnx(copy(model), inputs)
    assert (expected != inputs).any() and np.ptp(expected) > 0
    assert_close(run_written(make_plan(normalise(model)), inputs), expected)


def test_batch_normalization_of_computed_statistics():
    """tf2onnx writes LayerNormalization as one whose scale, mean and variance are computed."""
    nodes = [
        node("ReduceMean", ["input"], ["mean"], axes=[0, 2, 3], keepdims=0),
        node("Exp", ["mean"], ["variance"]),
        node("BatchNormalization", ["input", "variance", "shift", "mean", "variance"], ["y"]),
    ]
    model = build(nodes, {"shift": RANDOM.normal(size=3).astype(np.float32)}, shape=(1, 3, 8, 8))
    inputs = RANDOM.normal(size=(1, 3, 8, 8)).astype(np.float32)
    expected = run_onnx(model, inputs)
    result = normalise(model)
    assert "BatchNormalization" not in {n.op_type for n in result.graph.node}
    np.testing.assert_allclose(run_onnx(result, inputs), expected, atol=1e-5)
