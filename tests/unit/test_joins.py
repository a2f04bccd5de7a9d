"""int8 joins: what has ranges far apart is joined in floats, and other readers keep their own range."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.compress.quantisation.joining import with_joins
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.convert import Nhwc, OnnxTf
from edgepress.convert.registry import convert_single
from edgepress.datasets.samples import Samples
from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.graph.kept_floats import float_joins
from edgepress.measure.signal import snr_db
from tests.networks import FORMATS, Graph, fine_tuning, no_tuning, quantise, task, tensorflow, tuning
from tests.unit.test_quantisation import qat

tensorflow()

INT = np.int64
NONE = np.zeros(0)
Network = tuple[Graph, list[str]]


def conv(graph: Graph, source: str, given: int, made: int, size: int = 1, **options) -> str:
    kernel = 0.3 * graph.weights(made, given, size, size)
    return graph.add("Conv", source, kernel, 0.1 * graph.weights(made), pads=[size // 2] * 4, **options)


def stem(batch: str | int = "batch") -> tuple[Graph, str]:
    graph = Graph(3, 8, 8, batch=batch)
    return graph, graph.add("Relu", conv(graph, "input", 3, 8, 3))


def times(graph: Graph, source: str, factor: float) -> str:
    return graph.add("Mul", source, np.float32(factor))


def split(graph: Graph, source: str, names: str, sizes: list[int], axis: int) -> list[str]:
    graph.add("Split", source, np.array(sizes, INT), axis=axis)
    graph.nodes[-1].output[:] = names.split()
    return names.split()


def model_of(graph: Graph, outputs: list[str]) -> onnx.ModelProto:
    model = graph.model(outputs[0])
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(infos)
    return onnx.shape_inference.infer_shapes(model)


def drawn(count: int = 48) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, 3, 8, 8)).astype(np.float32)


def in_int8(model: onnx.ModelProto, lines: list[str] | None = None) -> onnx.ModelProto:
    tell = (lambda line: None) if lines is None else lines.append
    sources = Sources(lambda count: drawn(count), no_tuning, 0, tell=tell)
    return quantiser(FORMATS["int8"])(model, FORMATS["int8"], sources)


def in_onnx(model: onnx.ModelProto, inputs: np.ndarray) -> list[np.ndarray]:
    import onnxruntime as ort

    running = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [running.run(None, {"input": each[None]}) for each in inputs]
    return [np.concatenate(each) for each in zip(*rows, strict=True)]


def in_litert(content: bytes, inputs: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Outputs as numbers, channels first, and their steps, 0 of floats."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), ends = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = entry["quantization"]
    rows = []
    for each in inputs:
        codes = np.clip(np.round(np.moveaxis(each, 0, -1)[None] / scale) + zero, -128, 127)
        interpreter.set_tensor(entry["index"], codes.astype(np.int8))
        interpreter.invoke()
        rows.append([number(interpreter.get_tensor(end["index"]), *end["quantization"]) for end in ends])
    return [np.concatenate(each) for each in zip(*rows, strict=True)], [
        end["quantization"][0] for end in ends
    ]


def number(values: np.ndarray, scale: float, zero: int) -> np.ndarray:
    values = (values.astype(np.float32) - zero) * scale if values.dtype == np.int8 else values
    return np.moveaxis(values, -1, 1) if values.ndim == 4 else values


def operators(content: bytes) -> list[str]:
    return [each["op_name"] for each in Interpreter(model_content=content)._get_ops_details()]


def yolo() -> Network:
    """Parts decoded by themselves and joined again: centres, sizes, scores."""
    graph, image = stem()
    cells = graph.add("Reshape", conv(graph, image, 8, 6), np.array([0, 6, 64], INT))
    parts = split(graph, graph.add("Transpose", cells, perm=[0, 2, 1]), "xy wh conf", [2, 2, 2], 2)
    cells = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(1, 64, 2).astype(np.float32)
    centres = times(graph, graph.add("Add", graph.add("Sigmoid", parts[0]), cells), 32)
    sizes = times(graph, graph.add("Exp", parts[1]), 20)
    return graph, [graph.add("Concat", centres, sizes, graph.add("Sigmoid", parts[2]), axis=2)]


def ssd() -> Network:
    """Heads of feature maps of several sizes, permuted, reshaped and joined: boxes grow with the cells."""
    graph, image = stem()
    boxes = []
    for factor in (1, 12, 150):
        head = times(graph, conv(graph, image, 8, 8, 3), factor)
        moved = graph.add("Transpose", head, perm=[0, 2, 3, 1])
        boxes.append(graph.add("Reshape", moved, np.array([0, -1, 4], INT)))
        image = graph.add("Relu", conv(graph, image, 8, 8, 3, strides=[2, 2]))
    return graph, [graph.add("Concat", *boxes, axis=1)]


def stack() -> Network:
    """Vectors stacked along a new axis, more than two of them."""
    graph, image = stem()
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", image))
    rows = [graph.add("Gemm", pooled, s * graph.weights(8, 5)) for s in (1, 30, 1000, 0.1)]
    return graph, [
        graph.add("Concat", *(graph.add("Unsqueeze", r, np.array([1], INT)) for r in rows), axis=1)
    ]


def chain() -> Network:
    """A join of a join, the first of whose operands is read elsewhere."""
    graph, image = stem()
    one, two, three = (conv(graph, image, 8, 4) for _ in range(3))
    inner = graph.add("Concat", one, times(graph, two, 50), axis=1)
    outer = graph.add("Concat", inner, times(graph, three, 0.02), axis=1)
    return graph, [outer, conv(graph, one, 4, 4, 3)]


def apart_again() -> Network:
    """Joined, and the parts in integers again."""
    graph, image = stem()
    joined = graph.add(
        "Concat", times(graph, conv(graph, image, 8, 4), 100), conv(graph, image, 8, 4), axis=1
    )
    parts = split(graph, joined, "large small", [4, 4], 1)
    return graph, [joined, conv(graph, graph.add("Relu", parts[1]), 4, 4, 3)]


def read_twice() -> Network:
    """Outputs in codes that a join in floats reads, too."""
    graph, image = stem()
    large, small = times(graph, conv(graph, image, 8, 4), 100), conv(graph, image, 8, 4)
    return graph, [graph.add("Concat", large, small, axis=1), large, small]


def chosen() -> Network:
    graph, image = stem()
    small, large = conv(graph, image, 8, 8), times(graph, conv(graph, image, 8, 8), 100)
    where = graph.add("Where", graph.add("Greater", image, np.float32(0.5)), small, large)
    return graph, [where, graph.add("Max", small, large), graph.add("Min", small, large)]


def padded() -> Network:
    graph, image = stem()
    small = conv(graph, image, 8, 8)
    border = graph.add("Pad", small, np.array([0, 0, 1, 1, 0, 0, 1, 1], INT), np.float32(-100))
    return graph, [border, conv(graph, small, 8, 4, 3)]


def coordinates() -> Network:
    """A grid joined with features for a layer that weighs it as much as these."""
    graph, image = stem(batch=1)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8)))[None].astype(np.float32)
    joined = graph.add("Concat", times(graph, conv(graph, image, 8, 2, 3), 50), grid, axis=1)
    kernel = graph.weights(8, 4, 3, 3)
    kernel[:, :2] /= 100
    return graph, [graph.add("Conv", joined, kernel, pads=[1] * 4)]


def input_joined() -> Network:
    graph = Graph(3, 8, 8)
    return graph, [graph.add("Concat", "input", times(graph, conv(graph, "input", 3, 8, 3), 100), axis=1)]


@pytest.mark.parametrize(
    ("network", "operators"),
    [
        (yolo, ["Concat"]),
        (ssd, ["Concat"]),
        (stack, ["Concat"]),
        (chain, ["Concat"]),
        (apart_again, ["Concat"]),
        (read_twice, ["Concat"]),
        (chosen, ["Where", "Max", "Min"]),
        (padded, []),  # told with the masks
        (coordinates, ["Concat"]),
        (input_joined, ["Concat"]),
    ],
)
def test_ranges_that_lie_apart_are_joined_in_floats_by_both_runtimes(network, operators):
    graph, outputs = network()
    model, inputs = model_of(graph, outputs), drawn(24)
    quantised = in_int8(model)
    content = bytes(convert_single(quantised, Nhwc("auto"), NONE))
    expected, ours = in_onnx(model, inputs), in_onnx(quantised, inputs)
    theirs, steps = in_litert(content, inputs)
    assert [join.operator for join in float_joins(quantised)] == operators
    for right, one, other, step in zip(expected, ours, theirs, steps, strict=True):
        assert np.ptp(right, axis=0).any()
        assert min(snr_db(one, right), snr_db(other, right)) > (20 if network is chosen else 28)
        assert np.abs(one - other).max() <= (1.01 * step or 1e-5 * np.abs(right).max())
    assert steps[0] == 0


def shared(factor: float) -> Network:
    """A feature map that a join and a layer read."""
    graph, image = stem()
    features = graph.add("Relu", conv(graph, image, 8, 8))
    joined = graph.add("Concat", features, times(graph, conv(graph, image, 8, 8), factor), axis=1)
    return graph, [conv(graph, joined, 16, 8), conv(graph, conv(graph, features, 8, 8, 3), 8, 4, 3)]


def input_shared() -> Network:
    graph = Graph(3, 8, 8)
    joined = graph.add("Concat", "input", times(graph, conv(graph, "input", 3, 8, 3), 3), axis=1)
    return graph, [conv(graph, joined, 11, 8, 3), conv(graph, "input", 3, 4)]


def shuffled() -> Network:
    """Halves that pass by, joined and shuffled, thrice: ShuffleNet."""
    graph, image = stem()
    for i in range(3):
        left, right = split(graph, image, f"l{i} r{i}", [4, 4], 1)
        made = graph.add("Relu", conv(graph, graph.add("Relu", conv(graph, right, 4, 4)), 4, 4, 3))
        pairs = graph.add("Reshape", graph.add("Concat", left, times(graph, made, 5), axis=1),
                          np.array([0, 2, 4, 8, 8], INT))  # fmt: skip
        mixed = graph.add("Transpose", pairs, perm=[0, 2, 1, 3, 4])
        image = graph.add("Reshape", mixed, np.array([0, 8, 8, 8], INT))
    return graph, [conv(graph, image, 8, 5)]


@pytest.mark.parametrize(
    "network", [lambda: shared(4), input_shared, shuffled], ids=["shared", "input", "shuffle"]
)
def test_other_readers_keep_their_range_in_integers_and_runtimes_agree(network):
    graph, outputs = network()
    model, inputs = model_of(graph, outputs), drawn(24)
    quantised = in_int8(model)
    content = bytes(convert_single(quantised, Nhwc("auto"), NONE))
    expected, (theirs, steps) = in_onnx(model, inputs), in_litert(content, inputs)
    assert not float_joins(quantised)
    assert not {"DEQUANTIZE", "NEG"}.intersection(operators(content))
    assert any(name.startswith("joined") for node in quantised.graph.node for name in node.output)
    for right, one, other, step in zip(expected, in_onnx(quantised, inputs), theirs, steps, strict=True):
        assert np.abs(one - other).max() <= 1.01 * step
        assert np.abs(one - other).mean() <= 0.01 * step
        assert snr_db(other, right) > 30


def alike() -> Network:
    graph, image = stem()
    joined = graph.add("Concat", *(conv(graph, image, 8, 8) for _ in range(3)), axis=1)
    return graph, [conv(graph, joined, 24, 4), conv(graph, image, 8, 4)]


def pyramid() -> Network:
    graph, image = stem()
    small = graph.add("Relu", conv(graph, image, 8, 8, 3, strides=[2, 2]))
    scales = np.array([1, 1, 2, 2], np.float32)
    large = graph.add("Resize", graph.add("Relu", conv(graph, small, 8, 8)), None, scales, mode="nearest")
    return graph, [conv(graph, graph.add("Concat", large, image, axis=1), 16, 4)]


@pytest.mark.parametrize("network", [alike, pyramid])
def test_joins_that_cost_little_stay_as_they_are(network):
    graph, outputs = network()
    quantised = in_int8(model_of(graph, outputs))
    names = {name for node in quantised.graph.node for name in node.output}
    assert not float_joins(quantised)
    assert not any(name.startswith("joined") for name in names)
    assert not {"DEQUANTIZE", "QUANTIZE"}.intersection(
        operators(bytes(convert_single(quantised, Nhwc("auto"), NONE)))
    )


def test_what_stays_in_floats_is_told_with_operands_ranges_and_why():
    graph, outputs = yolo()
    lines: list[str] = []
    quantised = in_int8(model_of(graph, outputs), lines)
    (line,) = lines
    (join,) = float_joins(quantised)
    assert line == str(join) and "\n" not in line
    name = graph.nodes[-1].name
    assert line.startswith(f"node {name!r} (Concat) stays in float32: it joins ")
    for operand in graph.nodes[-1].input:
        assert f"{operand!r} (" in line
    assert "(0…0.9961)" in line and "would keep 1 of 256 codes" in line and "dB noisier" in line


def test_int8_outputs_are_refused_where_they_are_floats():
    graph, outputs = chain()
    quantised = in_int8(model_of(graph, outputs))
    with pytest.raises(
        ConfigError, match=rf"io_dtype is 'int8' but .* output '{outputs[0]}' in float32.* auto or"
    ):
        bytes(convert_single(quantised, Nhwc("int8"), NONE))
    _, steps = in_litert(bytes(convert_single(quantised, Nhwc("auto"), NONE)), drawn(1))
    assert steps[0] == 0 < steps[1]


def test_the_other_converter_refuses_joins_in_floats():
    graph, outputs = chain()
    with pytest.raises(UnsupportedModelError, match=r"onnx_tf joins in int8 .* use convert=nhwc"):
        bytes(convert_single(in_int8(model_of(graph, outputs)), OnnxTf("auto"), drawn(4)))


def head(factor: float) -> Network:
    """Boxes and scores of one layer, so that nothing is joined."""
    graph, image = stem()
    kernel = graph.weights(6, 8, 1, 1)
    kernel[:4] *= factor
    return graph, [graph.add("Conv", image, kernel)]


@pytest.mark.parametrize(("factor", "told"), [(300, True), (2, False)])
def test_an_output_whose_parts_have_one_code_is_told(factor, told):
    graph, outputs = head(factor)
    lines: list[str] = []
    in_int8(model_of(graph, outputs), lines)
    expected = f"output {outputs[0]!r}: {outputs[0]}[:, [4, 5]] is one int8 code for all inputs"
    assert [line.startswith(expected) for line in lines] == [True] * told


def trained(network: Callable[[Graph, str], str]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network on `task`, and its form after quantisation-aware training."""
    graph = Graph(2, 8, 8)
    scaled = times(graph, graph.add("Sub", "input", np.float32(128)), 0.02)
    model = graph.model(network(graph, graph.add("Relu", conv(graph, scaled, 2, 8, 3))))
    return model, quantise(model, qat(fine_tune=fine_tuning(epochs=1, learning_rate=1e-5)), 0, tuning)


def heads(graph: Graph, image: str) -> str:
    large, small = (
        graph.add("Flatten", graph.add("GlobalAveragePool", conv(graph, image, 8, n))) for n in (3, 2)
    )
    return graph.add("Concat", times(graph, large, 100), graph.add("Sigmoid", small), axis=1)


def beside(graph: Graph, image: str) -> str:
    joined = graph.add("Concat", image, times(graph, conv(graph, image, 8, 8), 4), axis=1)
    both = graph.add("Add", conv(graph, joined, 16, 5), conv(graph, image, 8, 5, 3))
    return graph.add("Flatten", graph.add("GlobalAveragePool", both))


@pytest.mark.parametrize(("network", "floats"), [(heads, 1), (beside, 0)])
def test_training_keeps_what_was_decided(network, floats):
    model, quantised = trained(network)
    inputs = task(32, seed=3).inputs()
    ours, right = in_onnx(quantised, inputs)[0], in_onnx(model, inputs)[0]
    (theirs,), (step,) = in_litert(bytes(convert_single(quantised, Nhwc("auto"), NONE)), inputs)
    assert len(float_joins(quantised)) == floats
    assert any(node.op_type == "Identity" for node in quantised.graph.node) != bool(floats)
    assert np.abs(ours - theirs).max() <= (1.01 * step or 1e-5 * np.abs(ours).max())
    assert snr_db(ours, right) > 20


def test_a_state_that_a_join_in_floats_alone_reads_keeps_its_range() -> None:
    """As a decoder's cache of keys, which what is new is appended to."""
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Mul", ["x", "few"], ["new"], name="new"),
        node("Concat", ["state", "new"], ["next"], name="next", axis=1),
        node("MatMul", ["next", "kernel"], ["y"], name="y"),
    ]
    random = np.random.default_rng(0)
    state, x = (random.uniform(-3, 3, (8, *shape)).astype(np.float32) for shape in ((1, 4, 5), (1, 1, 5)))
    held = {"few": np.float32(0.01), "kernel": random.normal(size=(5, 3)).astype(np.float32)}
    ends = [info("state", 1, [1, 4, 5]), info("x", 1, [1, 1, 5])], [info("next", 1, None), info("y", 1, None)]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    opsets = [onnx.helper.make_opsetid("", 17)]
    graph = onnx.helper.make_graph(nodes, "graph", *ends, tensors)
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    ranges = {
        "state": (-3.0, 3.0),
        "x": (-3.0, 3.0),
        "new": (-0.03, 0.03),
        "next": (-3.0, 3.0),
        "y": (-9.0, 9.0),
    }
    decided, known = with_joins(model, ranges, Samples({"state": state, "x": x}))
    assert [join.node for join in float_joins(decided)]
    assert known["joined.state"] == ranges["state"]
