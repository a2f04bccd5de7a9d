"""`inspect` counts what can be counted by hand, and reads real files of every format."""

import json
import os
import random
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.errors import ArtifactError, EdgepressError
from edgepress.inspection.arena import Buffer, arena_bytes, lifetimes
from edgepress.inspection.inspect import describe, inspect
from edgepress.inspection.report import render
from edgepress.standalone.convert import convert
from edgepress.standalone.request import Request
from tests.networks import Graph, tensorflow

# The network of small_models.py: padded 3×3 convolution of (3, 8, 6) into 8 channels; one depthwise; 8 → 5.
SMALL_MACS = 8 * 8 * 6 * 27 + 8 * 8 * 6 * 9 + 8 * 5


def saved(tmp_path, model):
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("buffers", "size"),
    [
        ([], 0),
        ([Buffer(10, 0, 0)], 16),
        ([Buffer(16, 0, 1), Buffer(32, 1, 2), Buffer(16, 2, 3)], 48),
        ([Buffer(16, 0, 0), Buffer(32, 1, 2), Buffer(16, 3, 3)], 32),
        # 64 lies at 0; 48, alive with it, above; 32, alive with 48 alone, goes into the gap below it.
        ([Buffer(64, 0, 1), Buffer(48, 1, 2), Buffer(32, 2, 2)], 112),
        # The largest first: 64 at 0, then 32 and 16 above it, though 16 is there before.
        ([Buffer(16, 0, 2), Buffer(32, 1, 2), Buffer(64, 2, 2)], 112),
        # The gap between 0 and 32 is too small for 48, which lives with both.
        ([Buffer(100, 0, 0), Buffer(64, 0, 1), Buffer(48, 1, 1)], 176),
    ],
)
def test_the_arena_is_planned_greedily_by_size(buffers, size):
    assert arena_bytes(buffers) == size


def test_tensors_live_from_their_maker_to_their_last_reader():
    # 0 → [A] → 1 → [B] → 2; [C] reads 0 and 2, makes 3. Tensor 4 is constant.
    steps = [([0, 4], [1]), ([1], [2]), ([0, 2], [3])]
    sizes = [10, 20, 30, 40, 0]
    found = lifetimes(sizes, steps, inputs=[0], outputs=[3])
    assert found == [Buffer(10, 0, 2), Buffer(20, 0, 1), Buffer(30, 1, 2), Buffer(40, 2, 2)]
    # 40 at 0; 30 lives with it: 48–80; 20 lives with 30: into 0–32, as 40 comes later; 10 with all: 80–96.
    assert arena_bytes(found) == 96
    assert lifetimes([None, *sizes[1:]], steps, [0], [3]) is None


def test_macs_of_each_kind_of_layer(tmp_path):
    graph = Graph(4, 10, 10)
    graph.add("Conv", "input", graph.weights(8, 4, 3, 3), strides=[2, 2], name="conv")  # → 8, 4, 4
    graph.add("Conv", "conv_out", graph.weights(8, 2, 3, 3), group=4, pads=[1, 1, 1, 1], name="grouped")
    graph.add(
        "ConvTranspose", "grouped_out", graph.weights(8, 6, 2, 2), strides=[2, 2], name="up"
    )  # → 6, 8, 8
    graph.add("Flatten")
    graph.add("MatMul", graph.last, graph.weights(384, 7))
    graph.add("Gemm", graph.last, graph.weights(3, 7), transB=1)
    report = inspect(saved(tmp_path, graph.model()))
    convolutions = 8 * 16 * 36 + 8 * 16 * 18 + 8 * 16 * 24
    assert report.macs == convolutions + 384 * 7 + 7 * 3
    assert report.parameters == 8 * 36 + 8 * 18 + 8 * 24 + 384 * 7 + 21
    # 8·4·4 and 6·8·8 floats, the largest neighbours, and the latter's flattened copy.
    assert report.peak_activation_bytes == 4 * 384 * 2


def test_unknown_shapes_make_unknown_figures(tmp_path):
    graph = Graph("height", 4)
    graph.add("MatMul", "input", graph.weights(4, 2))
    entry = graph.entry.type.tensor_type.shape.dim
    entry[1].dim_param = "height"
    report = inspect(saved(tmp_path, graph.model()))
    assert (report.macs, report.peak_activation_bytes) == (None, None)
    assert "MACs            unknown" in render(report)


@pytest.mark.parametrize(
    ("name", "number_format", "layout", "dtype"),
    [
        ("float.tflite", "float32", "NHWC", "float32"),
        ("nchw.tflite", "float32", "NCHW", "float32"),
        ("float16.tflite", "fp16", "NHWC", "float32"),
        ("int8.tflite", "int8", "NHWC", "int8"),
        ("int8_float_io.tflite", "int8", "NHWC", "float32"),
        ("float.onnx", "float32", "NCHW", "float32"),
        ("int8.onnx", "int8", "NCHW", "float32"),
    ],
)
def test_every_format_is_told_with_the_same_work(small_models, name, number_format, layout, dtype):
    report = inspect(small_models / name)
    (end,) = report.inputs
    assert (report.number_format, end.layout, end.dtype) == (number_format, layout, dtype)
    assert report.macs == SMALL_MACS
    assert report.size_bytes == (small_models / name).stat().st_size
    assert report.outputs[0].shape[-1] == 5
    scales = sorted(kernel.scales for kernel in report.kernels)
    # TensorFlow's own quantiser gives a dense layer one scale or five, by its version.
    assert scales in ([[1, 8, 8], [5, 8, 8]] if number_format == "int8" else [[0, 0, 0]])
    distinct = [kernel.unique_weights for kernel in report.kernels]
    assert distinct == sorted(distinct, reverse=True)


def test_a_transposes_origin_and_order_are_named(small_models, tmp_path):
    (transpose,) = inspect(small_models / "nchw.tflite").transposes
    assert transpose.order == (0, 2, 3, 1)
    assert transpose.name and transpose.source
    graph = Graph(3, 4, 5)
    graph.add("Transpose", "input", perm=[0, 2, 3, 1], name="turn")
    (transpose,) = inspect(saved(tmp_path, graph.model())).transposes
    assert (transpose.name, transpose.source, transpose.order) == ("turn", "input", (0, 2, 3, 1))


def test_a_transpose_names_the_nodes_that_it_stems_from(tmp_path):
    tensorflow()
    graph = Graph(8, 6, 6)
    graph.add("Conv", "input", graph.weights(8, 8, 1, 1))
    graph.add("Reshape", graph.last, np.array([-1, 2, 4, 6, 6]))
    graph.add("Transpose", graph.last, name="/shuffle/turn", perm=[0, 2, 1, 3, 4])
    graph.add("Reshape", graph.last, np.array([-1, 8, 6, 6]), name="/shuffle/join")
    graph.add("Conv", graph.last, graph.weights(4, 8, 1, 1))
    graph.add("Relu")
    graph.add("Reshape", graph.last, np.array([-1, 12, 12]), name="rows")
    outcome = convert(Request(saved(tmp_path, graph.model()), tmp_path / "model.tflite"), print)
    reports = inspect(tmp_path / "model.tflite").transposes
    assert [each.origin for each in reports] == [
        "Transpose /shuffle/turn, before Reshape /shuffle/join",
        "Reshape rows, which splits or joins axes in ONNX's order",
    ]
    assert outcome.moved == ("  input input has its channels last: the file's axes 0, 2, 3, 1",)
    shown = outcome.text().splitlines()[2:]
    assert shown == [f"  {each.origin} {each.order}" for each in reports]


def test_a_transposed_convolution_counts_by_its_input(small_models):
    report = inspect(small_models / "transpose_conv.tflite")
    assert report.macs == 8 * 6 * 3 * 8 * 9


def test_the_arena_of_a_small_network(small_models):
    # (1, 8, 6, 8) float32 in and out of the depthwise convolution: 2 · 1536 bytes; nothing is larger.
    assert inspect(small_models / "float.tflite").peak_activation_bytes == 2 * 1536
    # int8: a quarter of it.
    assert inspect(small_models / "int8.tflite").peak_activation_bytes == 2 * 384


def test_json_says_the_same(small_models):
    path = small_models / "int8.tflite"
    told, report = json.loads(describe(path, as_json=True)), inspect(path)
    assert told["op_counts"] == report.op_counts
    assert told["kernels"][0]["unique_weights"] == report.kernels[0].unique_weights
    text = describe(path, as_json=False)
    assert f"{report.macs:,}" in text and "CONV_2D" in text and "8 on axis 0" in text


def test_weights_beside_the_file_count_as_its_size(tmp_path):
    graph = Graph(64)
    graph.add("MatMul", "input", graph.weights(64, 64))
    whole, parted = saved(tmp_path, graph.model()), tmp_path / "parted.onnx"
    onnx.save(graph.model(), parted, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert parted.stat().st_size < 1000
    assert inspect(parted).size_bytes == pytest.approx(inspect(whole).size_bytes, abs=50)


def test_infinite_weights_are_refused(tmp_path):
    graph = Graph(4)
    graph.add("MatMul", "input", np.full((4, 2), np.inf, np.float32))
    with pytest.raises(EdgepressError, match="holds NaN, infinite or no weights"):
        inspect(saved(tmp_path, graph.model()))


@pytest.mark.parametrize("name", ["float.onnx", "int8.tflite"])
def test_truncated_and_foreign_files_give_one_line(small_models, tmp_path, name):
    content = (small_models / name).read_bytes()
    path = tmp_path / name
    for broken in (content[: len(content) // 2], b"", b"GIF89a", bytes(64)):
        path.write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"truncated or not|holds no graph") as caught:
            inspect(path)
        assert "\n" not in str(caught.value)


def test_other_names_and_absent_files_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"expected a name ending in \.onnx or \.tflite"):
        inspect(tmp_path / "model.pt")
    for name in ("absent.onnx", "absent.tflite"):
        with pytest.raises(ArtifactError, match=r"[Nn]o such file"):
            inspect(tmp_path / name)


def test_a_network_too_large_to_plan_is_not_planned():
    buffers = [Buffer(16, i, i) for i in range(5_001)]
    assert arena_bytes(buffers) is None
    assert arena_bytes([replace(each) for each in buffers[:-1]]) == 16


def test_a_foreign_operator_set_does_not_hide_onnxs_own(tmp_path):
    graph = Graph(4)
    graph.add("Relu", "input")
    model = graph.model()
    model.opset_import.insert(0, helper.make_opsetid("com.example", 3))
    assert inspect(saved(tmp_path, model)).form == "ONNX opset 15"


def test_damaged_files_are_told_or_refused(small_models, tmp_path):
    chance, path = random.Random(0), tmp_path / "model.tflite"
    whole = [(small_models / name).read_bytes() for name in ("float.tflite", "int8.tflite")]
    refused = []
    for _ in range(200):
        content = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            start = 4 * chance.randrange(len(content) // 4)
            content[start : start + 4] = chance.choice(
                [bytes(4), b"\xff" * 4, b"\1\0\0\0", b"\xff\xff\xff\x7f"]
            )
        path.write_bytes(content)
        try:
            assert describe(path, as_json=False)
        except EdgepressError as error:
            refused.append(str(error))
    assert 0 < len(refused) < 200
    assert not [message for message in refused if "\n" in message]


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize(("make", "kind"), [(os.mkfifo, "a pipe"), (os.mkdir, "a folder")])
def test_what_is_no_regular_file_is_told_as_what_it_is(tmp_path, suffix, make, kind):
    path = tmp_path / f"model{suffix}"
    make(path)
    with pytest.raises(ArtifactError, match=f"is {kind}; expected a regular file"):
        inspect(path)


def test_names_in_a_file_cannot_break_the_report(tmp_path):
    odd = "w\x1b[2J\n\u202e" + "é" * 900
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", odd], ["out\x07"])],
        "graph",
        [helper.make_tensor_value_info("input", 1, ["n\x1b[31m", 1, 4, 4])],
        [helper.make_tensor_value_info("out\x07", 1, None)],
        [onnx.numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), odd)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    path = saved(tmp_path, model)
    text = describe(path, as_json=False)
    assert r"w\x1b[2J\n\u202eéé" in text
    assert r"out\x07: float32" in text
    assert all(line.isprintable() and len(line) < 300 for line in text.split("\n"))
    assert json.loads(describe(path, as_json=True))["kernels"][0]["name"] == odd


def _ended(nodes, inputs, outputs, constants=None, domains=()):
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _several():
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["samples", 3]) for n in ("a", "b")]
    return _ended(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )


def _branches():
    ends = [helper.make_tensor_value_info("end", TensorProto.FLOAT, None)]
    chosen = {
        f"{name}_branch": helper.make_graph([helper.make_node(op, ["x"], ["end"])], name, [], ends)
        for name, op in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["some"], to=TensorProto.BOOL),
        helper.make_node("If", ["some"], ["y"], **chosen),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])]
    return _ended(nodes, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])


def _of_a_stranger():
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Fancy", ["x"], ["y"], domain="my.ops")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 3])]
    return _ended(nodes, inputs, [end], domains=["my.ops"])


def _text():
    ends = [helper.make_tensor_value_info(n, TensorProto.STRING, ["n"]) for n in ("x", "y")]
    return _ended([helper.make_node("Identity", ["x"], ["y"])], ends[:1], ends[1:])


def _sequence():
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    nodes = [helper.make_node("SequenceAt", ["x", "place"], ["y"])]
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return _ended(nodes, [helper.make_value_info("x", kind)], [end], {"place": np.array(0)})


@pytest.mark.parametrize(
    ("make", "ends", "operators"),
    [
        (_several, ["float32 (samples, 3)", "float32 (samples, 3)", "float32 (samples, 3)"], {"Add": 1}),
        (_branches, ["float32 (?, 3)", "float32 (?, 3)"], {"If": 1, "Neg": 1, "Abs": 1}),
        (_of_a_stranger, ["int64 (n, 3)", "float32 of unknown shape"], {"my.ops.Fancy": 1}),
        (_text, ["text (n)", "text (n)"], {"Identity": 1}),
        (_sequence, ["sequence of float32 of unknown shape", "float32 of unknown shape"], {"SequenceAt": 1}),
    ],
)
def test_any_valid_file_is_described(tmp_path, make, ends, operators):
    report = inspect(saved(tmp_path, make()))
    told = [
        line.split(": ", 1)[1] for line in render(report).splitlines() if line.startswith(("input", "output"))
    ]
    assert told == ends
    assert operators.items() <= report.op_counts.items()
