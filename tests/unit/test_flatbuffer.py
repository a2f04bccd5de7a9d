"""Reading a `.tflite` back: what it says of sound models, and that damaged ones are refused, quickly."""

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepress.convert.flatbuffer import read_tflite, tflite_metrics
from edgepress.convert.tflite_model import Kernel
from edgepress.errors import ArtifactError

MODELS = ["float", "float16", "int8", "int8_float_io", "nchw", "transpose_conv"]


@pytest.fixture(scope="module")
def weights(small_models) -> dict[str, np.ndarray]:
    """The network's weights as TFLite lays them out, by operator."""
    stored = np.load(small_models / "weights.npz")
    return {
        "CONV_2D": stored["conv"].transpose(0, 2, 3, 1),
        "DEPTHWISE_CONV_2D": stored["depthwise"].transpose(1, 2, 3, 0),
        "FULLY_CONNECTED": stored["dense"],
    }


def make_kernel(values, operator="CONV_2D", channel_axis=0, zero_points=()) -> Kernel:
    scales = np.ones(len(zero_points), np.float32)
    return Kernel("kernel", operator, np.asarray(values), channel_axis, scales, np.array(zero_points, int), 0)


@pytest.mark.parametrize("name", MODELS)
def test_operators_and_tensors_are_those_the_interpreter_sees(small_models, name):
    path = small_models / f"{name}.tflite"
    interpreter, model = Interpreter(str(path)), read_tflite(path)
    assert list(model.operators) == [node["op_name"] for node in interpreter._get_ops_details()]
    floats = [t["name"] for t in interpreter.get_tensor_details() if t["dtype"] in (np.float32, np.float16)]
    assert sorted(model.float_tensors) == sorted(floats)


def test_tensors_may_have_no_names(small_models, tmp_path):
    """The schema does not ask for them; some writers leave them out."""
    content = (small_models / "float.tflite").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "nameless.tflite").write_bytes(builder.Output())
    read = read_tflite(tmp_path / "nameless.tflite")
    assert {tensor.name for tensor in read.graphs[0].tensors} == {""}
    assert read.operators == read_tflite(small_models / "float.tflite").operators


def test_operators_are_counted(small_models):
    model = read_tflite(small_models / "nchw.tflite")
    assert model.op_counts == dict(Counter(model.operators))
    assert list(model.op_counts) == sorted(model.op_counts)
    assert model.transpose_ops == model.op_counts["TRANSPOSE"] == 1
    assert read_tflite(small_models / "float.tflite").transpose_ops == 0


@pytest.mark.parametrize(("name", "tolerance"), [("nchw", 0), ("float16", 1e-3)])
def test_float_kernels_are_read_as_stored(small_models, weights, name, tolerance):
    kernels = {kernel.operator: kernel for kernel in read_tflite(small_models / f"{name}.tflite").kernels}
    assert list(kernels) == list(weights)
    scaled = weights | {
        "CONV_2D": weights["CONV_2D"] / (1 if name == "nchw" else 255)
    }  # the input's, folded in
    for operator, kernel in kernels.items():
        assert kernel.values.dtype == (np.float16 if name == "float16" else np.float32)
        np.testing.assert_allclose(
            kernel.values, scaled[operator], rtol=tolerance, atol=1e-6 if tolerance else 0
        )
        assert kernel.scales.size == kernel.zero_points.size == 0


@pytest.mark.parametrize("name", ["int8", "int8_float_io"])
def test_int8_kernels_are_codes_with_a_scale_for_each_channel(small_models, weights, name):
    for kernel in read_tflite(small_models / f"{name}.tflite").kernels:
        channels = kernel.values.shape[kernel.channel_axis]
        assert kernel.values.dtype == np.int8
        assert kernel.scales.shape == kernel.zero_points.shape == (channels,)
        assert kernel.biases == channels
        shape = [1] * kernel.values.ndim
        shape[kernel.channel_axis] = channels
        step = kernel.scales.reshape(shape)
        expected = weights[kernel.operator] / (255 if kernel.operator == "CONV_2D" else 1)
        assert np.abs(kernel.values * step - expected).max() <= 0.51 * step.max()


def test_a_transposed_convolution_has_a_kernel(small_models):
    (kernel,) = read_tflite(small_models / "transpose_conv.tflite").kernels
    stored = np.load(small_models / "weights.npz")["conv"]
    np.testing.assert_array_equal(kernel.values, stored.transpose(0, 2, 3, 1))
    assert (kernel.operator, kernel.channel_axis) == ("TRANSPOSE_CONV", 0)


def test_metrics_of_an_int8_model(small_models, weights):
    metrics = tflite_metrics(small_models / "int8.tflite")
    prunable = [weights["CONV_2D"], weights["FULLY_CONNECTED"]]
    zeros, total = sum((w == 0).sum() for w in prunable), sum(w.size for w in prunable)
    assert metrics["sparsity"] == pytest.approx(zeros / total, abs=0.02)
    assert metrics["parameters"] == sum(w.size for w in weights.values()) + 8 + 8 + 5
    assert metrics["float_tensors"] == 0
    assert metrics["ops"] == 4
    assert metrics["transpose_ops"] == 0
    codes = [len(np.unique(kernel.values)) for kernel in read_tflite(small_models / "int8.tflite").kernels]
    assert metrics["max_unique_weights"] == max(codes) > 60


def test_metrics_of_formats_with_float_tensors(small_models):
    both_ends = tflite_metrics(small_models / "int8_float_io.tflite")
    assert both_ends["float_tensors"] == 2
    assert tflite_metrics(small_models / "float.tflite")["parameters"] == both_ends["parameters"]
    assert tflite_metrics(small_models / "float16.tflite")["sparsity"] == both_ends["sparsity"]


def test_zeros_are_codes_equal_to_their_channels_zero_point():
    codes = np.array([[3, 3, 0], [0, 5, 5]], np.uint8)
    assert make_kernel(codes, zero_points=[3, 5]).zeros == 4
    assert make_kernel(codes, zero_points=[0]).zeros == 2
    assert make_kernel(codes.astype(np.float32)).zeros == 2
    assert make_kernel(codes.T, channel_axis=1, zero_points=[3, 5]).zeros == 4


def test_depthwise_kernels_are_not_prunable():
    assert not make_kernel([[1.0]], operator="DEPTHWISE_CONV_2D").prunable
    assert make_kernel([[1.0]]).prunable


def test_a_codebook_scaled_by_channel_counts_once():
    random_state = np.random.default_rng(0)
    codebook = np.array([-1, -0.5, 0, 0.25, 0.75, 1], np.float32)
    values = codebook[random_state.integers(0, 6, (7, 3, 3, 50))] * random_state.uniform(0.1, 2, (7, 1, 1, 1))
    kernel = make_kernel(values.astype(np.float32))
    assert len(np.unique(kernel.values)) > 30
    assert kernel.unique_weights == 6
    few = np.array([[0.1, 0.2, 0.3], [0.1, 0.1, 0.2], [0.3, 0.2, 0.1]], np.float32)
    assert make_kernel(few).unique_weights == 3
    assert replace(kernel, values=np.arange(12, dtype=np.int8).reshape(3, 4)).unique_weights == 12


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.tflite"):
        read_tflite(tmp_path / "none.tflite")


@pytest.mark.parametrize("name", ["int8", "float16"])
def test_every_truncated_file_is_refused(small_models, tmp_path, name):
    content = (small_models / f"{name}.tflite").read_bytes()
    path = tmp_path / "cut.tflite"
    for length in [*range(0, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=r"cut\.tflite is corrupt .*; delete it and run: dvc repro"):
            tflite_metrics(path)


@pytest.mark.parametrize("name", ["int8", "float16", "nchw"])
def test_files_with_flipped_bytes_are_read_or_refused_quickly(small_models, tmp_path, name):
    content, chance = (small_models / f"{name}.tflite").read_bytes(), random.Random(name)
    path, refused, begin = tmp_path / "flipped.tflite", 0, time.perf_counter()
    for _ in range(500):
        flipped = bytearray(content)
        for _ in range(chance.choice([1, 2, 20])):
            flipped[chance.randrange(len(flipped))] = chance.choice([0, 127, 128, 255, chance.randrange(256)])
        path.write_bytes(flipped)
        try:
            tflite_metrics(path)
        except ArtifactError:
            refused += 1
    assert 50 < refused < 500
    assert time.perf_counter() - begin < 20


def test_tables_that_share_their_content_without_end_are_refused_quickly(tmp_path):
    """A small file in which 2,000 subgraphs are one, and its 2,000 tensors are one."""
    builder = flatbuffers.Builder()

    def repeat(start, table, times=2000):
        start(builder, times)
        for _ in range(times):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()

    name = builder.CreateString("t")
    schema.BufferStart(builder)
    buffers = repeat(schema.ModelStartBuffersVector, schema.BufferEnd(builder), 1)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensors = repeat(schema.SubGraphStartTensorsVector, schema.TensorEnd(builder))
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraphs = repeat(schema.ModelStartSubgraphsVector, schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddBuffers(builder, buffers)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "endless.tflite"
    path.write_bytes(bytes(builder.Output()))
    begin = time.perf_counter()
    with pytest.raises(ArtifactError, match="2000 Tensors are more than the file has room for"):
        read_tflite(path)
    assert time.perf_counter() - begin < 5


def test_weights_that_are_not_numbers_are_refused(small_models, weights, tmp_path):
    content = (small_models / "nchw.tflite").read_bytes()
    weight = weights["DEPTHWISE_CONV_2D"].reshape(-1)[:3].tobytes()
    assert content.count(weight) == 1
    path = tmp_path / "nan.tflite"
    path.write_bytes(content.replace(weight, np.full(3, np.nan, np.float32).tobytes()))
    with pytest.raises(ArtifactError, match="kernel depthwise holds NaN or infinite weights"):
        read_tflite(path)


def test_reading_imports_no_tensorflow(small_models):
    code = (
        "import sys; from pathlib import Path; from edgepress.convert.flatbuffer import tflite_metrics\n"
        "tflite_metrics(Path(sys.argv[1])); assert not {'tensorflow', 'tf_keras', 'torch'} & {*sys.modules}"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, str(small_models / "int8.tflite")], cwd=root, check=True)


def crowded(shared: str, tensors: int = 20_000) -> bytes:
    """A file of one real tensor, to which as many entries point; what is `shared` is half of the file."""
    builder = flatbuffers.Builder()
    name = builder.CreateString("n" * (100_000 if shared == "name" else 1))
    shape = builder.CreateNumpyVector(np.ones(50_000 if shared == "shape" else 4, np.int32))
    data = builder.CreateNumpyVector(np.ones(400_000 if shared == "data" else 16, np.uint8))
    schema.BufferStart(builder)
    schema.BufferAddData(builder, data)
    buffer = schema.BufferEnd(builder)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    schema.TensorAddShape(builder, shape)
    schema.TensorAddType(builder, schema.TensorType.STRING)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, tensors)
    for _ in range(tensors):
        builder.PrependUOffsetTRelative(tensor)
    vector = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, vector)
    graph = schema.SubGraphEnd(builder)
    vectors = []
    for start, each in ((schema.ModelStartSubgraphsVector, graph), (schema.ModelStartBuffersVector, buffer)):
        start(builder, 1)
        builder.PrependUOffsetTRelative(each)
        vectors.append(builder.EndVector())
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, vectors[0])
    schema.ModelAddBuffers(builder, vectors[1])
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        ("name", "a name has 100,000 bytes|vectors hold more than the file has room for"),
        ("shape", "a tensor has 50000 axes|vectors hold more than the file has room for"),
        ("data", "more constants than the file has room for"),
    ],
)
def test_tables_that_point_at_the_same_bytes_over_and_over_are_refused(
    tmp_path: Path, shared: str, message: str
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(crowded(shared))
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=message):
        read_tflite(path)
    assert time.monotonic() - started < 5
