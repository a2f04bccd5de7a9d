"""`edgepress convert --check` fails where the `.tflite` is not what the file computes, and says where."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.errors import ConfigError, ConversionError
from edgepress.graph.normalise.normalise import normalise
from edgepress.measure.reference import keep_inputs, reference, serialised
from edgepress.measure.signal import compare
from edgepress.standalone.check import Check
from edgepress.standalone.convert import Outcome, convert
from edgepress.standalone.request import MIN_SNR_DB, Request
from tests.networks import Graph, tensorflow


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    tensorflow()


def saved(folder: Path, graph: Graph, *outputs: str) -> Path:
    """The graph as a file, with these outputs or its last tensor."""
    model = graph.model()
    if outputs:
        infos = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
        infos |= {info.name: info for info in model.graph.output}
        del model.graph.output[:]
        model.graph.output.extend(infos[name] for name in outputs)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def done(path: Path, **options) -> Outcome:
    return convert(Request(path, path.with_name("model.tflite"), check=True, **options), lambda _: None)


def boxes_and_scores(folder: Path) -> Path:
    """Four boxes in pixels and a score in [0, 1), multiplied by constants, in one output (N, 5, 16)."""
    graph = Graph(3, 4, 4)
    graph.add("Sigmoid", graph.add("Conv", "input", graph.weights(5, 3, 1, 1), graph.weights(5)))
    graph.add("Mul", graph.last, np.array([300, 300, 300, 300, 1], np.float32).reshape(5, 1, 1))
    return saved(folder, graph)


@pytest.fixture
def inputs(tmp_path):
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).normal(size=(20, 3, 4, 4)).astype(np.float32))
    return tmp_path / "inputs.npy"


def test_scores_beside_boxes_are_not_lost_unnoticed(tmp_path, inputs):
    path = boxes_and_scores(tmp_path)
    outcome = done(path, quant="int8", calibration=inputs)
    with pytest.raises(ConversionError, match=r"not written: its output 'mul_2_out' .*mul_2_out\[:, 4\]: "):
        outcome.refuse()
    assert not path.with_name("model.tflite").exists()
    assert "model.tflite (not written): nhwc, int8" in outcome.text()
    assert "20 inputs of " in outcome.text() and "; below 10 dB" in outcome.text()


def test_the_bound_is_the_users(tmp_path, inputs):
    path = boxes_and_scores(tmp_path)
    outcome = done(path, quant="int8", calibration=inputs, min_snr_db=-3.0)
    outcome.refuse()
    assert path.with_name("model.tflite").exists()
    with pytest.raises(ConversionError, match="expected at least 400 dB"):
        done(path, min_snr_db=400.0).refuse()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_snr_db": math.nan, "check": True}, "--min-snr is nan"),
        ({"min_snr_db": 20.0}, "add --check"),
        ({"per_tensor": True, "quant": "fp16"}, "--per-tensor is for"),
        ({"batch": 2**31}, r"--batch is 2147483648; expected 1 to 2147483647$"),
        ({"input_shapes": ("x=1,99999999999",)}, r"a size of 1 to 2147483647 for each"),
        ({"input_shapes": ("x=1,2", "x=1,3")}, r"--input-shape names 'x' twice; expected one shape of each$"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Request(Path("model.onnx"), Path("model.tflite"), **options)


def test_the_comparison_is_with_the_file_and_not_with_what_was_made_of_it(tmp_path, monkeypatch):
    def wrong(model: onnx.ModelProto, *_: object, **__: object) -> onnx.ModelProto:
        normal = normalise(model)
        (bias,) = (tensor for tensor in normal.graph.initializer if list(tensor.dims) == [5])
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
        return normal

    monkeypatch.setattr("edgepress.standalone.convert.normalise", wrong)
    path = boxes_and_scores(tmp_path)
    old = path.with_name("model.tflite")
    old.write_bytes(b"the last one")
    with pytest.raises(ConversionError, match="expected at least 60 dB"):
        done(path).refuse()
    assert old.read_bytes() == b"the last one"


def test_each_output_is_told_and_the_worst_counts(tmp_path, inputs):
    graph = Graph(3, 4, 4)
    fine = graph.add("Conv", "input", graph.weights(4, 3, 1, 1), name="fine")
    lost = graph.add("Mul", graph.add("Sub", fine, np.float32(10000)), np.float32(1), name="lost")
    path = saved(tmp_path, graph, fine, lost)
    outcome = done(path, quant="int8", calibration=inputs, min_snr_db=25.0)
    outcome.refuse()
    assert outcome.check is not None and list(outcome.check.outputs) == ["fine_out", "lost_out"]
    assert "fine_out: " in outcome.text() and "lost_out: " in outcome.text()


def test_noise_that_drowns_what_differs_between_inputs_is_told():
    values = 300 + 0.1 * np.random.default_rng(0).normal(size=(8, 4))
    found = {"y": compare(np.round(values / 2) * 2, values, 8)}
    check = Check("model.onnx", "8 inputs", False, "int8", None, found, found)
    assert check.passed
    assert "    what differs in y from input to input is less than the noise" in list(check.lines())


def test_a_network_that_gives_always_the_same_is_not_checked(tmp_path, inputs):
    graph = Graph(3, 4, 4)
    graph.add("Relu", graph.add("Conv", "input", -np.abs(graph.weights(4, 3, 1, 1))))
    path = saved(tmp_path, graph)
    outcome = done(path)  # drawn inputs are never negative
    with pytest.raises(
        ConversionError, match=r"it is not checked.*drawn uniformly.*real ones with --calibration"
    ):
        outcome.refuse()
    assert not path.with_name("model.tflite").exists()
    done(path, calibration=inputs).refuse()
    assert path.with_name("model.tflite").exists()


def test_integer_outputs_and_constant_ones_beside_others(tmp_path):
    graph = Graph(6)
    scores = graph.add("MatMul", "input", graph.weights(6, 4), name="scores")
    flags = graph.add("Cast", graph.add("Relu", scores), to=TensorProto.INT32, name="flags")
    same = graph.add("Mul", scores, np.zeros(4, np.float32), name="same")
    outcome = done(saved(tmp_path, graph, scores, flags, same))
    outcome.refuse()
    assert outcome.check is not None
    found = outcome.check.outputs
    assert [found[name].integer for name in (scores, flags, same)] == [False, True, False]
    assert [found[name].varies for name in (scores, flags, same)] == [True, True, False]
    assert "same_out is the same for all" in outcome.text()
    assert f"  {scores}: " in outcome.text() and "same class for 100.0%" in outcome.text()


def test_the_bound_is_that_of_the_format():
    expected = np.random.default_rng(0).normal(size=(8, 4))

    def passed(form, noise_db, *, quantised=False, integer=False) -> bool:
        values = np.arange(800).reshape(8, 100) if integer else expected
        other = (
            values + np.where(np.arange(100) < 2, 1, 0) if integer else values * (1 + 10 ** (-noise_db / 20))
        )
        found = {"y": compare(other, values, 8)}
        return Check("model.onnx", "8 inputs", False, form, None, found, found if quantised else {}).passed

    for form, bound in MIN_SNR_DB.items():
        assert passed(form, bound + 1, quantised=True) and not passed(form, bound - 1, quantised=True)
    assert passed("int8", 21) and not passed("int8", 19)  # the file's own integers
    assert not passed("float32", 0, integer=True)  # 2% of them differ
    assert passed("int8", 0, integer=True, quantised=True)


def test_names_from_the_file_are_printed_escaped():
    values = np.random.default_rng(0).normal(size=(8, 4))
    found = {"a\x1b[31m\nb": compare(values * 2, values, 8)}
    check = Check("model.onnx", "8 inputs", False, "float32", None, found, {})
    with pytest.raises(ConversionError) as refused:
        check.refuse("model.tflite")
    assert all(line.isprintable() for line in (*check.lines(), str(refused.value)))
    assert "try another --converter" in str(refused.value)


def model_of(nodes, outputs, shape, opset=15, constants=()):
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "graph", [entry], ends, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


class TestReference:
    X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)

    def test_a_fixed_batch_is_filled_up(self):
        model = model_of([helper.make_node("Softmax", ["x"], ["y"], axis=0)], ["y"], [2, 3])
        found = reference(serialised(model), self.X, 1)
        together = np.exp(self.X[:2]) / np.exp(self.X[:2]).sum(axis=0)
        assert found.outputs["y"].shape == (5, 3)
        np.testing.assert_allclose(found.outputs["y"][:2], together, rtol=1e-5)

    def test_outputs_without_a_batch_are_refused_or_joined(self):
        node = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)
        assert reference(serialised(model_of([node], ["y"], [1, 3])), self.X, 1).outputs["y"].shape == (5,)
        with pytest.raises(
            ConversionError, match="a batch of 2 built in, which its output 'y' does not have"
        ):
            reference(serialised(model_of([node], ["y"], [2, 3])), self.X, 1)

    def test_memory_is_bounded(self, monkeypatch):
        monkeypatch.setattr("edgepress.measure.reference.MOST_ELEMENTS", 6)
        model = model_of([helper.make_node("Relu", ["x"], ["y"])], ["y"], [1, 3])
        found = reference(serialised(model), self.X, 1)
        assert (found.samples, found.outputs["y"].shape) == (2, (2, 3))

    def test_what_onnxruntime_cannot_run_is_told_in_one_line(self):
        model = model_of([helper.make_node("Relu", ["x"], ["y"], domain="nowhere")], ["y"], [1, 3])
        with pytest.raises(
            ConversionError, match="ONNX Runtime, with which --check compares, cannot run"
        ) as one:
            reference(serialised(model), self.X, 1)
        assert "\n" not in str(one.value)

    def test_inputs_that_nothing_reads_are_not_asked_for(self):
        model = model_of([helper.make_node("Relu", ["x"], ["y"])], ["y"], [1, 3])
        model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [10**9, 10**9]))
        keep_inputs(model, ["x"])
        assert reference(serialised(model), self.X, 1).samples == 5
