"""A network from a file computes in the pipeline what it computed elsewhere, or is refused in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgepress.config.model import Onnx
from edgepress.datasets.samples import Samples
from edgepress.errors import ConfigError, EdgepressError, UnsupportedModelError
from edgepress.graph.imported.network import ImportedNetwork, imported, read_source
from edgepress.graph.view import consumers, initializers
from edgepress.graph.weights import kernels, weight_statistics
from edgepress.measure.inference import outputs
from tests import foreign
from tests.networks import CLASSES, FORMATS, Graph, assert_close, network, quantise, run_onnx, task

SHAPE = (2, 8, 8)
RAW = Onnx("net.onnx", "net.onnx")
VARIANTS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "as it is": lambda model: model,
    "softmax": foreign.with_softmax,
    "channels last": foreign.with_channels_last,
    "vectors": foreign.with_vectors,
    "batch of 1": lambda model: foreign.with_batch_of(model, 1),
    "batch of 7": lambda model: foreign.with_batch_of(model, 7),
    "open image": foreign.with_open_image,
    "constant nodes": foreign.with_constant_nodes,
    "factors": foreign.with_factors,
    "opset 7": lambda model: foreign.with_opset(model, 7),
    "opset 21": lambda model: foreign.with_opset(model, 21),
    "channels last, softmax, batch of 1": lambda model: foreign.with_batch_of(
        foreign.with_channels_last(foreign.with_softmax(model)), 1
    ),
}


def with_sizes(model: onnx.ModelProto, sizes) -> onnx.ModelProto:
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[1:], sizes, strict=True):
        if isinstance(size, int):
            dim.dim_value = size
        else:
            dim.dim_param = size
    del model.graph.value_info[:]
    return model


def take(model: onnx.ModelProto, config: Onnx = RAW, shape=SHAPE, classes: int = CLASSES) -> ImportedNetwork:
    return imported(model, config, shape, classes)


class TestForms:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_computes_what_the_file_does(self, variant: str, tmp_path: Path) -> None:
        original = VARIANTS[variant](network())
        before = original.SerializeToString(deterministic=True)
        taken = take(original)
        assert original.SerializeToString(deterministic=True) == before
        onnx.save(original, tmp_path / "net.onnx")
        split = task(50)
        fed = outputs(tmp_path / "net.onnx", split, 1, lambda samples: Samples(taken.feed(samples.arrays)))
        (expected,) = fed.outputs.values()
        logits = run_onnx(taken.model, split.inputs())
        assert_close(*taken.as_in_the_file({"logits": logits}), expected)
        assert_close(logits, run_onnx(network(), split.inputs()))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_has_the_form_of_the_pipeline(self, variant: str) -> None:
        model = take(VARIANTS[variant](network())).model
        sizes = [
            [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim]
            for end in (*model.graph.input, *model.graph.output)
        ]
        assert [end.name for end in (*model.graph.input, *model.graph.output)] == ["input", "logits"]
        assert sizes == [["batch", *SHAPE], ["batch", CLASSES]]
        ops = {node.op_type for node in model.graph.node}
        assert not ops & {"Constant", "Transpose", "Reshape", "Softmax"}
        assert weight_statistics(model).parameters >= weight_statistics(network()).parameters
        assert len(kernels(model)) == 4
        assert all(node.op_type != "Gemm" or not _factors(node) for node in model.graph.node)

    def test_scaling_goes_before_the_network(self) -> None:
        scaled = Onnx("net.onnx", "net.onnx", (foreign.MEAN,), (foreign.STD, foreign.STD))
        split = task(20)
        for form in (lambda model: model, foreign.with_channels_last, foreign.with_vectors):
            taken = take(form(foreign.unscaled()), scaled)
            assert_close(run_onnx(taken.model, split.inputs()), run_onnx(network(), split.inputs()))

    @pytest.mark.parametrize("sizes", [[2, 2, 2], ["a", "b", "c"]])
    def test_channels_are_where_the_operators_have_them_if_sizes_do_not_tell(self, sizes) -> None:
        graph = Graph(2, 2, 2)
        channels_first = graph.add("Transpose", graph.add("Mul", "input", np.float32(2)), perm=[0, 3, 1, 2])
        graph.add("Conv", channels_first, graph.weights(CLASSES, 2, 2, 2))
        model = with_sizes(graph.model(graph.add("Flatten", graph.last)), sizes)
        inputs = np.random.default_rng(0).normal(size=(5, 2, 2, 2)).astype(np.float32)
        taken = take(model, shape=(2, 2, 2))
        expected = run_onnx(model, inputs.transpose(0, 2, 3, 1))
        assert_close(run_onnx(taken.model, inputs), expected)
        assert np.abs(expected - run_onnx(model, inputs)).max() > 0.1

    def test_weights_that_layers_share_become_their_own(self) -> None:
        graph = Graph(2, 8, 8)
        kernel, bias = graph.constant(graph.weights(2, 2, 3, 3)), graph.constant(graph.weights(2))
        for _ in range(2):
            graph.add("Conv", graph.last, kernel, bias, pads=[1, 1, 1, 1])
        flat = graph.add("Flatten", graph.add("GlobalAveragePool"))
        graph.add("Add", flat, bias)
        original = graph.model()
        model = take(original, classes=2).model
        assert len({kernel.initializer for kernel in kernels(model)}) == 2
        readers = consumers(model)
        assert all(len(readers[name]) == 1 for name in initializers(model))
        inputs = task(9).inputs()
        assert_close(run_onnx(model, inputs), run_onnx(original, inputs))

    @pytest.mark.parametrize("first", [True, False])
    def test_a_token_for_each_sample_needs_no_size_of_the_batch(self, first: bool) -> None:
        graph = Graph(2, 8, 8)
        batch = graph.add("Slice", graph.add("Shape", "input"), np.array([0]), np.array([1]))
        sizes = graph.add("Concat", batch, np.array([1, 64]), axis=0)
        token = graph.add("Expand", graph.weights(1, 1, 64), sizes)
        rows = graph.add("Reshape", "input", np.array([0, 2, 64]))
        joined = graph.add("Concat", *((token, rows) if first else (rows, token)), axis=1)
        graph.add("ReduceMax", graph.add("Mul", joined, graph.weights(3, 1)), axes=[1], keepdims=0)
        graph.add("MatMul", graph.last, graph.weights(64, CLASSES))
        original = graph.model()
        model = take(original).model
        assert not {node.op_type for node in model.graph.node} & {"Shape", "Expand", "Concat"}
        inputs = task(7).inputs() / 100
        assert_close(run_onnx(model, inputs), run_onnx(original, inputs))

    def test_ends_may_have_the_names_of_inner_tensors(self) -> None:
        graph = Graph(2, 8, 8)
        graph.add("Relu", "input", name="x")
        flat = graph.add("Flatten", graph.add("GlobalAveragePool"))
        model = graph.model()
        for node in model.graph.node:
            for field in (node.input, node.output):
                field[:] = [{"input": "data", "x_out": "logits", flat: "input"}.get(n, n) for n in field]
        model.graph.input[0].name, model.graph.output[0].name = "data", "input"
        taken = take(model, classes=2).model
        assert_close(run_onnx(taken, task(5).inputs()), run_onnx(model, task(5).inputs()))


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, object], str]] = {
    "size": (
        network,
        {"shape": (1, 32, 32)},
        "takes inputs (2, 8, 8), but the data is (1, 32, 32), channels first; prepare it in that shape",
    ),
    "image size": (
        lambda: _pooled(3, 24, 24),
        {"shape": (1, 32, 32), "classes": 3},
        "takes inputs (3, 24, 24), but the data is (1, 32, 32), channels first; prepare it in that size: "
        "-S data.size=24 -S data.channels=3",
    ),
    "classes": (network, {"classes": 10}, "tells 5 classes apart, but the data has 10; expected the same"),
    "quantised": (
        lambda: quantise(network(), FORMATS["int8"]),
        {},
        "is quantised already; expected float32, .*: edgepress convert net.onnx -o model.tflite",
    ),
    "an input of no type": (
        lambda: _of_type(onnx.TensorProto.UNDEFINED),
        {},
        "input 'input' is UNDEFINED; expected numbers or truth values",
    ),
    "an input of text": (
        lambda: _of_type(onnx.TensorProto.STRING),
        {},
        "input 'input' is STRING; expected numbers or truth values",
    ),
    "an input of tokens": (
        lambda: _of_type(onnx.TensorProto.INT64),
        {},
        "input 'input' is int64, but images and vectors are floats or bytes; give it as it is, by its name",
    ),
    "two inputs": (
        lambda: _two_inputs(),
        {},
        "has the inputs input, other, but the data is one image or vector for each .*layout=named",
    ),
}


class TestMistakes:
    @pytest.mark.parametrize("case", REFUSED)
    def test_is_refused_in_one_line(self, case: str) -> None:
        make, arguments, expected = REFUSED[case]
        with pytest.raises(UnsupportedModelError) as error:
            take(make(), **arguments)
        assert str(error.value).startswith("model.path is 'net.onnx': ")
        assert "\n" not in str(error.value)
        rest = str(error.value)
        for part in expected.split(".*"):
            assert part in rest
            rest = rest.split(part, 1)[1]

    def test_a_mean_for_another_number_of_channels(self) -> None:
        config = Onnx("net.onnx", "net.onnx", (1.0, 2.0, 3.0))
        with pytest.raises(
            ConfigError, match=r"model\.mean is \[1\.0, 2\.0, 3\.0\], 3 numbers; .* data's 2 ch"
        ):
            take(network(), config)


def test_a_graph_without_a_name_gets_one() -> None:
    model = network()
    model.graph.ClearField("name")
    onnx.checker.check_model(take(model).model)


class TestSource:
    def test_weights_beside_the_file_are_taken_in(self, tmp_path: Path) -> None:
        path = _with_external_weights(tmp_path)
        read = read_source(Onnx(str(path), str(tmp_path)))
        inputs = task(5).inputs()
        assert_close(run_onnx(read, inputs), run_onnx(network(), inputs))

    def test_weights_where_nothing_watches_are_refused(self, tmp_path: Path) -> None:
        path = _with_external_weights(tmp_path)
        with pytest.raises(
            ConfigError, match=r"lie in .*weights\.bin, where an edit would go unnoticed; .*SOURCE|-S"
        ):
            read_source(Onnx(str(path), str(path)))

    def test_no_file(self) -> None:
        with pytest.raises(EdgepressError, match=r"cannot read net\.onnx: No such file"):
            read_source(RAW)


def _factors(node: onnx.NodeProto) -> bool:
    return any(attribute.name in ("alpha", "beta") for attribute in node.attribute)


def _graph(*ops: str, shape: tuple[int, ...] = SHAPE) -> onnx.ModelProto:
    graph = Graph(*shape)
    for op in ops:
        graph.add(op)
    return graph.model()


def _pooled(*shape: int) -> onnx.ModelProto:
    return _graph("GlobalAveragePool", "Flatten", shape=shape)


def _of_type(kind: int) -> onnx.ModelProto:
    model = network()
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


def _two_inputs() -> onnx.ModelProto:
    model = network()
    other = helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, ["n", *SHAPE])
    model.graph.input.append(other)
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node("Add", ["input", "other"], ["both"]))
    model.graph.node[1].input[0] = "both"
    assert first.op_type == "Sub"
    return model


def _with_external_weights(folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (folder / "weights.bin").stat().st_size > 0
    return path
