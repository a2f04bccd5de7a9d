"""A network converted without its large kernels is the file that it is with them."""

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgepress.compress.quantisation.fp16 import quantise as fp16
from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Calibration, Dynamic, Fp16, Int8
from edgepress.convert import nhwc
from edgepress.convert.filling import filled
from edgepress.convert.hollow import LARGE, hollow
from edgepress.graph.formats import number_format
from edgepress.translate import plan
from edgepress.translate.function_face import concrete_function
from tests.networks import Graph, assert_close, inputs_for, quantise, run_onnx, run_tflite, stored, tensorflow


def layers(*, groups: bool = True) -> Graph:
    """A convolution of each kind and a dense layer behind a flattened image."""
    graph = Graph(2, 8, 8)
    w = graph.weights
    graph.add("Conv", "input", w(8, 2, 3, 3), w(8), pads=[1, 1, 1, 1])
    graph.batchnorm(graph.add("Relu"), 8)
    graph.add("Conv", graph.last, w(8, 2, 3, 3), group=4)
    graph.add("Conv", graph.last, w(16, 1, 3, 3), group=8, pads=[1, 1, 1, 1], strides=[2, 2])
    graph.add("Relu")
    graph.add("ConvTranspose", graph.last, w(16, 6, 2, 2), strides=[2, 2])
    if groups:
        graph.add("ConvTranspose", graph.last, w(6, 2, 2, 2), strides=[2, 2], group=2)
    graph.add("Flatten")
    graph.add("Gemm", graph.last, w(12, 576 if groups else 216), w(12), transB=1)
    graph.add("MatMul", graph.last, w(12, 5))
    return graph


def shared() -> Graph:
    """A kernel that two layers read, and an equal one under another name."""
    graph = Graph(4, 6, 6)
    kernel = graph.weights(4, 4, 3, 3)
    name = graph.constant(kernel)
    for operand in (name, name, kernel):
        graph.add("Relu", graph.add("Conv", graph.last, operand, pads=[1, 1, 1, 1]))
    return graph


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    return fp16(model, Fp16(), Sources(lambda n: np.zeros(0), lambda: None, 0))


def both_ways(model: onnx.ModelProto, int8_io: bool = False) -> tuple[bytes, bytes | None, int]:
    """The file converted whole and the one filled afterwards, without metadata, and the kernels filled in."""
    tensorflow()
    form, whole, names = number_format(model), nhwc.planned(model), [o.name for o in model.graph.output]
    marked, kernels = hollow(whole, least=8)
    content = filled(nhwc.written(marked, form, int8_io, names, kernels), kernels)
    plain = without_metadata(nhwc.written(whole, form, int8_io, names))
    return plain, None if content is None else without_metadata(content), len(kernels)


def without_metadata(content: bytes) -> bytes:
    """The file without what TensorFlow notes of the conversion."""
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(content)
    for entry in [entry for entry in model.metadata if entry.name == b"CONVERSION_METADATA"]:
        model.metadata.remove(entry)
        assert entry.buffer == len(model.buffers) - 1
        model.buffers.pop()
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("model", "kernels"),
    [(layers().model(), 6), (shared().model(), 1), (halved(layers().model()), 6)],
    ids=["kinds", "shared", "fp16"],
)
def test_the_file_is_the_same_byte_for_byte(model, kernels):
    whole, content, count = both_ways(model)
    assert count == kernels
    assert content == whole


def told(content: bytes) -> list[object]:
    """Operators and tensors with what they hold, wherever in the file that lies."""
    model = schema.ModelT.InitFromPackedBuf(content)
    (graph,) = model.subgraphs
    tensors = [(t.name, t.type, [*t.shape], told_scales(t), held(model, t)) for t in graph.tensors]
    return [*tensors, *((o.opcodeIndex, [*o.inputs], [*o.outputs]) for o in graph.operators)]


def told_scales(tensor: schema.TensorT) -> list[float]:
    return (
        []
        if tensor.quantization is None or tensor.quantization.scale is None
        else [*tensor.quantization.scale]
    )


def held(model: schema.ModelT, tensor: schema.TensorT) -> bytes:
    data = model.buffers[tensor.buffer].data
    return data.tobytes() if isinstance(data, np.ndarray) else b""


def int8(per_channel: bool) -> onnx.ModelProto:
    config = Int8(per_channel, Calibration("minmax", 16, 2048, 99.99))
    return quantise(layers(groups=False).model(), config)


@pytest.mark.parametrize("per_channel", [True, False])
def test_codes_are_the_same(per_channel):
    whole, content, count = both_ways(int8(per_channel), int8_io=True)
    assert content is not None
    assert (count, told(content)) == (6, told(whole))


def test_a_code_that_tflite_does_not_have_becomes_the_nearest():
    model = int8(per_channel=True)
    kernel = next(
        t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    )
    codes = onnx.numpy_helper.to_array(kernel).copy()
    codes[0, 0, 0, 0] = -128
    kernel.CopyFrom(onnx.numpy_helper.from_array(codes, kernel.name))
    whole, content, _ = both_ways(model, int8_io=True)
    assert content is not None
    assert told(content) == told(whole)


def test_codes_that_the_converter_makes_are_the_same():
    graph = Graph(2, 8, 8)
    w = graph.weights
    zero = w(32, 2, 7, 7)
    zero[3] = 0
    graph.add("Relu", graph.add("Conv", "input", zero, w(32), pads=[3] * 4))
    graph.add("Relu", graph.add("Conv", graph.last, w(32, 1, 7, 7), group=32, pads=[3] * 4))
    graph.add("Conv", graph.last, w(64, 32, 3, 3))
    graph.add("Gemm", graph.add("Flatten"), w(12, 64 * 36), w(12), transB=1)
    graph.add("Gemm", graph.last, w(5, 12), transB=1)
    whole, content, count = both_ways(quantise(graph.model(), Dynamic()))
    assert content is not None
    assert (count, told(content)) == (5, told(whole))


def test_codes_of_a_matrix_in_parts_are_the_same(monkeypatch):
    monkeypatch.setattr(plan, "LARGEST_MATRIX", 1000)
    whole, content, count = both_ways(int8(per_channel=True), int8_io=True)
    assert content is not None
    assert (count, told(content)) == (8, told(whole))


def test_kernels_that_nothing_tells_apart_cannot_wait(monkeypatch):
    monkeypatch.setattr(plan, "LARGEST_MATRIX", 1000)
    _, content, count = both_ways(int8(per_channel=False), int8_io=True)
    assert (count, content) == (8, None)


def test_a_kernel_that_the_converter_multiplies_cannot_wait():
    graph = Graph(4, 6, 6)
    kernel, factor = graph.weights(8, 4, 3, 3), graph.weights(1, 8, 1, 1)
    graph.add("Mul", graph.add("Conv", "input", kernel), factor)
    model = graph.model()
    whole, content, count = both_ways(model)
    assert (content, count) == (None, 1)
    inputs = inputs_for(model)
    assert_close(run_tflite(whole, inputs)[0], stored(run_onnx(model, inputs)))


def test_a_large_network_computes_the_same():
    graph = Graph(3, 6, 6)
    graph.add("Relu", graph.add("Conv", "input", graph.weights(256, 3, 1, 1)))
    graph.add("Relu", graph.add("Conv", graph.last, graph.weights(256, 256, 1, 1)))
    graph.add("Gemm", graph.add("Flatten"), graph.weights(256 * 36, 10))
    model = graph.model()
    tensorflow()
    _, kernels = hollow(nhwc.planned(model))
    assert [kernel.values.size >= LARGE for kernel in kernels] == [True, True]
    inputs = inputs_for(model)
    actual, _ = run_tflite(nhwc.convert(model, False, np.zeros(0)), inputs)
    assert_close(actual, run_onnx(model, inputs))


def test_a_mark_is_one_number_in_the_graph():
    graph = Graph(3, 6, 6)
    graph.add("Conv", "input", graph.weights(256, 3, 9, 9), pads=[4, 4, 4, 4])
    tensorflow()
    marked, _ = hollow(nhwc.planned(graph.model()), least=8)
    assert concrete_function(marked).graph.as_graph_def().ByteSize() < 10_000
