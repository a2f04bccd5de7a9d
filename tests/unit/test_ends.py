"""In which order a `.tflite` has the axes of its ends: images with their channels last, all else kept."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.errors import ConfigError
from edgepress.inspection.inspect import inspect
from edgepress.standalone.convert import Outcome, convert
from edgepress.standalone.request import Request
from edgepress.translate.ends import end_orders, network_channels
from edgepress.translate.planning import plan_graph
from tests.networks import Graph, tensorflow
from tests.quantised_files import GRAPHS

KEPT, LAST = "kept", "last"


def with_outputs(graph: Graph, *names: str) -> onnx.ModelProto:
    """The graph's model with these outputs."""
    model = graph.model()
    infos = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    infos |= {info.name: info for info in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(infos[name] for name in names)
    return model


def image_behind_scaling() -> onnx.ModelProto:
    graph = Graph(3, 6, 5)
    graph.add("Div", graph.add("Sub", "input", graph.weights(3, 1, 1)), graph.weights(3, 1, 1, low=1))
    graph.add("Pad", graph.last, np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    graph.add("Sigmoid", graph.add("Conv", graph.last, graph.weights(4, 3, 3, 3)))
    return graph.model()


def channels_last_throughout() -> onnx.ModelProto:
    """As tf2onnx leaves an image network."""
    graph = Graph(6, 5, 3)
    graph.add("Transpose", graph.add("Sub", "input", graph.weights(3)), perm=[0, 3, 1, 2])
    graph.add("Transpose", graph.add("Conv", graph.last, graph.weights(4, 3, 3, 3)), perm=[0, 2, 3, 1])
    return graph.model()


def sequence() -> onnx.ModelProto:
    graph = Graph(10, 6)
    graph.add("MatMul", "input", graph.weights(6, 4))
    return graph.model()


def sequence_in_windows() -> onnx.ModelProto:
    """A sequence through a 1-D convolution, as Keras has it."""
    graph = Graph(10, 6)
    graph.add("Conv", graph.add("Transpose", "input", perm=[0, 2, 1]), graph.weights(8, 6, 3))
    graph.add("Transpose", graph.last, perm=[0, 2, 1])
    return graph.model()


def signal() -> onnx.ModelProto:
    """A 1-D convolution, as PyTorch has it: no image, so kept."""
    graph = Graph(6, 10)
    graph.add("Relu", graph.add("Conv", "input", graph.weights(8, 6, 3)))
    return graph.model()


def attention() -> onnx.ModelProto:
    """Its weights (N, heads, T, T) and its result (N, T, F)."""
    graph = Graph(10, 8)
    first, second = (graph.add("MatMul", "input", graph.weights(8, 8)) for _ in range(2))
    first = graph.add("Transpose", graph.add("Reshape", first, np.array([-1, 10, 2, 4])), perm=[0, 2, 1, 3])
    second = graph.add("Transpose", graph.add("Reshape", second, np.array([-1, 10, 2, 4])), perm=[0, 2, 3, 1])
    shares = graph.add("Softmax", graph.add("MatMul", first, second), axis=-1)
    graph.add("Transpose", graph.add("MatMul", shares, first), perm=[0, 2, 1, 3])
    return with_outputs(graph, shares, graph.add("Reshape", graph.last, np.array([-1, 10, 8])))


def outputs_of_many_kinds() -> onnx.ModelProto:
    graph = Graph(3, 6, 5)
    image = graph.add("Conv", "input", graph.weights(4, 3, 3, 3))
    last = graph.add("Transpose", image, perm=[0, 2, 3, 1])
    mean = graph.add("GlobalAveragePool", image)
    flat = graph.add("Flatten", mean)
    rows = graph.add("Reshape", image, np.array([-1, 4, 12]))
    most = graph.add("ReduceMax", image, axes=[1], keepdims=1)
    return with_outputs(graph, image, last, mean, flat, rows, most)


def elementwise(*shape: int) -> onnx.ModelProto:
    graph = Graph(*shape)
    graph.add("Relu", graph.add("Mul", "input", np.float32(2)))
    return graph.model()


def image_beside() -> onnx.ModelProto:
    """An elementwise output of an image that another reader shows to be one."""
    graph = Graph(3, 6, 5)
    image = graph.add("Conv", "input", graph.weights(4, 3, 3, 3))
    return with_outputs(graph, graph.add("Abs", "input"), image)


def image_without_an_axis() -> onnx.ModelProto:
    graph = Graph(6, 5)
    graph.add("Conv", graph.add("Unsqueeze", "input", np.array([1])), graph.weights(4, 1, 3, 3))
    return graph.model()


def of_one_channel(op: str) -> onnx.ModelProto:
    graph = Graph(1, 6, 6)
    graph.add(op, "input", graph.weights(2, 1, 3, 3) if op == "Conv" else graph.weights(6, 4))
    return graph.model()


def resized(*scales: float) -> onnx.ModelProto:
    graph = Graph(3, 4, 5)
    options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    graph.add("Resize", "input", "", np.array([1, *scales], np.float32), **options)
    return graph.model()


def normalised_in_groups() -> onnx.ModelProto:
    """As PyTorch writes it, with reshapes between the image and the output."""
    graph = Graph(3, 4, 5)
    graph.add("Reshape", graph.add("Conv", "input", graph.weights(8, 3, 1, 1)), np.array([0, 2, -1]))
    graph.add("InstanceNormalization", graph.last, np.ones(2, np.float32), np.zeros(2, np.float32))
    graph.add("Reshape", graph.last, np.array([-1, 8, 4, 5]))
    return graph.model()


def flattened() -> onnx.ModelProto:
    graph = Graph(3, 4, 5)
    graph.add("MatMul", graph.add("Flatten"), graph.weights(60, 4))
    return graph.model()


def channels_swapped() -> onnx.ModelProto:
    graph = Graph(3, 4, 5)
    graph.add("Conv", graph.add("Gather", "input", np.array([2, 1, 0]), axis=1), graph.weights(4, 3, 1, 1))
    return graph.model()


NETWORKS = {
    "an image behind its scaling": (image_behind_scaling, [LAST, LAST], 0),
    "channels last throughout": (channels_last_throughout, [KEPT, KEPT], 0),
    "a sequence": (sequence, [KEPT, KEPT], 0),
    "a sequence in windows": (sequence_in_windows, [KEPT, KEPT], 0),
    "a signal": (signal, [KEPT, KEPT], 2),
    "attention": (attention, [KEPT, KEPT, KEPT], None),
    "outputs of many kinds": (outputs_of_many_kinds, [LAST, LAST, KEPT, LAST, KEPT, KEPT, LAST], 1),
    "elementwise, four axes": (lambda: elementwise(3, 6, 5), [KEPT, KEPT], 0),
    "elementwise, five axes": (lambda: elementwise(3, 6, 5, 4), [KEPT, KEPT], 0),
    "elementwise, two axes": (lambda: elementwise(3), [KEPT, KEPT], 0),
    "elementwise beside an image": (image_beside, [LAST, LAST, LAST], 0),
    "an image without an axis": (image_without_an_axis, [KEPT, LAST], 0),
    "one channel": (lambda: of_one_channel("Conv"), [LAST, LAST], 0),
    "one channel, a matrix product": (lambda: of_one_channel("MatMul"), [KEPT, KEPT], 0),
    "resized": (lambda: resized(1, 2, 2), [LAST, LAST], 0),
    "resized, channels last": (lambda: resized(2, 2, 1), [KEPT, KEPT], 0),
    "normalised in groups": (normalised_in_groups, [LAST, LAST], 0),
    "flattened": (flattened, [KEPT, KEPT], 0),
    "channels swapped": (channels_swapped, [LAST, LAST], 0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_images_get_their_channels_last_and_all_else_is_kept(name):
    build, expected, transposes = NETWORKS[name]
    model = build()
    orders = end_orders(model, network_channels(model))
    found = [KEPT if list(order) == sorted(order) else LAST for order in orders.values()]
    assert found == expected
    assert all(order in (tuple(range(len(order))), (0, 2, 3, 1)) for order in orders.values())
    steps = [step.op for step in plan_graph(model, orders).steps]
    assert transposes is None or steps.count("transpose") == transposes
    kept = end_orders(model, network_channels(model), keep=True)
    assert all(list(order) == sorted(order) for order in kept.values())


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def converted(path: Path, **options) -> tuple[Outcome, list[tuple[int, ...]]]:
    """The outcome, which passes the comparison, and the shapes of the file's inputs and outputs."""
    tensorflow()
    target = path.with_name("model.tflite")
    outcome = convert(Request(path, target, check=True, **options), lambda _: None)
    outcome.refuse()
    read = Interpreter(str(target))
    ends = [*read.get_input_details(), *read.get_output_details()]
    return outcome, [tuple(end["shape"].tolist()) for end in ends]


@pytest.mark.parametrize(
    ("options", "shapes", "moved"),
    [
        ({}, [(1, 6, 5, 3), (1, 6, 5, 4)], 2),
        ({"keep_shape": True}, [(1, 3, 6, 5), (1, 4, 6, 5)], 0),
        ({"layouts": ("input=as-is",)}, [(1, 3, 6, 5), (1, 6, 5, 4)], 1),
        ({"layouts": ("input=nchw", "input=nchw")}, [(1, 3, 6, 5), (1, 6, 5, 4)], 1),
        ({"keep_shape": True, "layouts": ("sigmoid_4_out=nhwc",)}, [(1, 3, 6, 5), (1, 6, 5, 4)], 1),
        ({"converter": "onnx_tf"}, [(1, 3, 6, 5), (1, 4, 6, 5)], 0),
    ],
)  # fmt: skip
def test_the_user_decides_about_an_image(options, shapes, moved, tmp_path):
    outcome, found = converted(saved(tmp_path, image_behind_scaling()), **options)
    assert found == shapes
    assert len(outcome.moved) == moved
    if outcome.converter == "nhwc":
        assert outcome.model.transpose_ops == 2 - moved


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ((), [(1, 6, 5, 3), (1, 4, 3, 4)]),
        (("input=nhwc", "transpose_3_out=nhwc"), [(1, 6, 5, 3), (1, 4, 3, 4)]),
        (("input=nchw", "transpose_3_out=nchw"), [(1, 3, 6, 5), (1, 4, 4, 3)]),
    ],
)
def test_a_layout_is_that_of_the_result_whatever_the_file_has(options, shapes, tmp_path):
    _, found = converted(saved(tmp_path, channels_last_throughout()), layouts=options)
    assert found == shapes


def test_a_sequence_may_be_wanted_otherwise(tmp_path):
    _, found = converted(saved(tmp_path, signal()), layouts=("input=nhwc",))
    assert found == [(1, 10, 6), (1, 8, 8)]


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        (("inptu=nhwc",), "'inptu' is unknown; expected one of: input, relu_1_out. Did you mean 'input'?"),
        (("input=nwhc",), "--layout is 'input=nwhc'; expected NAME=LAYOUT"),
        (("nhwc",), "--layout is 'nhwc'; expected NAME=LAYOUT"),
        (("input=nhwc", "input=as-is"), "--layout names 'input' twice, nhwc and as-is; expected one"),
        (("input=nchw",), "but 'input' has 2 axes"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(layouts, message, tmp_path):
    path = saved(tmp_path, elementwise(3))
    with pytest.raises(ConfigError) as refused:
        convert(Request(path, tmp_path / "model.tflite", layouts=layouts), lambda _: None)
    assert message in str(refused.value)


def test_onnx_tf_keeps_all_axes(tmp_path):
    path = saved(tmp_path, image_behind_scaling())
    request = Request(path, tmp_path / "model.tflite", converter="onnx_tf", layouts=("input=nhwc",))
    with pytest.raises(ConfigError, match="--converter onnx_tf keeps the axes of 'input' as they are"):
        convert(request, lambda _: None)


def test_onnx_tf_takes_no_file_that_is_int8_already(tmp_path):
    """It knows no ranges but those that it finds itself, and clips none of what the file does."""
    path = saved(tmp_path, GRAPHS["a pool"]())
    request = Request(path, tmp_path / "model.tflite", converter="onnx_tf")
    with pytest.raises(ConfigError, match="which is int8 already, anew; use --converter nhwc"):
        convert(request, lambda _: None)


def test_int8_of_a_channels_last_network_has_its_axes_and_no_transpose(tmp_path):
    path = saved(tmp_path, channels_last_throughout())
    inputs = np.random.default_rng(0).normal(size=(20, 6, 5, 3)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    outcome, found = converted(path, quant="int8", calibration=tmp_path / "inputs.npy")
    assert (found, outcome.model.transpose_ops) == ([(1, 6, 5, 3), (1, 4, 3, 4)], 0)


def test_inspect_labels_what_the_operators_show(tmp_path):
    labels = {
        image_behind_scaling: ["NCHW", "NCHW"],
        channels_last_throughout: ["NHWC", "NHWC"],
        sequence: ["", ""],
        sequence_in_windows: ["NWC", "NWC"],
        signal: ["NCW", "NCW"],
        attention: ["", "", ""],
        flattened: ["", ""],
    }
    for build, expected in labels.items():
        report = inspect(saved(tmp_path, build()))
        assert [end.layout for end in (*report.inputs, *report.outputs)] == expected


@pytest.mark.parametrize(("keep", "labels"), [(False, ["NHWC", "NHWC"]), (True, ["NCHW", "NCHW"])])
def test_inspect_labels_a_tflite_alike(keep, labels, tmp_path):
    converted(saved(tmp_path, image_behind_scaling()), keep_shape=keep)
    report = inspect(tmp_path / "model.tflite")
    assert [end.layout for end in (*report.inputs, *report.outputs)] == labels
