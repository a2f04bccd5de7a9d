"""What every converter must do: ConverterContract, run for each converter of the registry."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.config.convert import CHOICES, Nhwc, OnnxTf
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.registry import convert_pair, convert_single
from edgepress.convert.tflite_model import TfliteModel
from edgepress.errors import ConfigError, ConversionError, DataError, EdgepressError, UnsupportedModelError
from edgepress.graph.weights import kernels, weight_statistics
from tests.compressed import ALL_FORMATS, CLUSTERS, clustered, quantised
from tests.networks import FORMATS, Graph, fitted, network, quantise, run_onnx, run_tflite, task, tensorflow

FORMS = ["float32", *ALL_FORMATS]
TEST = task(300, seed=3).inputs()
CALIBRATION = task(64, seed=5).inputs()


def tiny() -> onnx.ModelProto:
    """A baseline where none is looked at."""
    graph = Graph(2, 8, 8)
    graph.add("Relu", graph.add("Flatten"))
    return graph.model()


def source(form: str) -> onnx.ModelProto:
    return network() if form == "float32" else quantised(form)


@lru_cache
def converted(converter: str, form: str, io_dtype: str = "auto", clustering: str = "") -> bytes:
    tensorflow()
    model = quantised(form, clustering) if clustering else source(form)
    result = convert_pair(model, tiny(), CHOICES[converter](io_dtype), CALIBRATION)
    assert result.converter == converter
    return bytes(result.candidate)


@pytest.fixture
def read(tmp_path: Path):
    def read(content: bytes) -> TfliteModel:
        (tmp_path / "model.tflite").write_bytes(content)
        return read_tflite(tmp_path / "model.tflite")

    return read


def ends(content: bytes) -> list[type]:
    interpreter = Interpreter(model_content=content)
    return [
        details[0]["dtype"] for details in (interpreter.get_input_details(), interpreter.get_output_details())
    ]


def pytest_generate_tests(metafunc):
    """Every number format that a converter takes."""
    if "form" in metafunc.fixturenames and metafunc.cls is not None and not _is_given(metafunc):
        metafunc.parametrize("form", metafunc.cls.forms)


def _is_given(metafunc) -> bool:
    marks = metafunc.definition.iter_markers("parametrize")
    return any("form" in mark.args[0] for mark in marks)


class ConverterContract:
    converter: str
    forms: tuple[str, ...]
    input_shape: tuple[int, ...]

    def test_the_model_has_one_input_and_one_output_of_the_converters_layout(self, form):
        interpreter = Interpreter(model_content=converted(self.converter, form))
        (entry,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
        assert tuple(entry["shape"]) == (1, *self.input_shape)
        assert tuple(output["shape"]) == (1, 5)

    def test_it_classifies_as_the_onnx_model_does(self, form):
        expected = run_onnx(source(form), TEST)
        outputs, _ = run_tflite(converted(self.converter, form), TEST)
        assert len(set(expected.argmax(axis=1))) == 5
        assert np.ptp(outputs, axis=0).min() > 1
        agreement = (outputs.argmax(axis=1) == expected.argmax(axis=1)).mean()
        assert agreement >= (1.0 if form in ("float32", "int16x8", "int8_weights") else 0.98)
        tolerance = {"float32": 1e-5, "fp16": 1e-3, "int16x8": 1e-3, "int8_weights": 1e-5}.get(form, 0.15)
        # onnx-tf finds ranges anew, so logits at which the model saturates may go further
        within = np.clip(outputs, expected.min(), expected.max())
        assert np.abs(within - expected).max() <= tolerance * np.abs(expected).max()

    def test_ends_are_int8_where_the_network_is(self, form):
        whole = dict.fromkeys(("int8", "int8_qat", "int4_weights"), np.int8)
        wanted = {**whole, "int16x8": np.int16}.get(form, np.float32)
        assert ends(converted(self.converter, form)) == [wanted, wanted]

    @pytest.mark.parametrize("form", ["float32", "int8"])
    def test_ends_may_always_be_float(self, form):
        assert ends(converted(self.converter, form, "float32")) == [np.float32, np.float32]

    def test_ends_of_an_int8_network_may_be_asked_to_be_int8(self):
        assert converted(self.converter, "int8", "int8") == converted(self.converter, "int8")

    @pytest.mark.parametrize("form", ["float32", "fp16", "dynamic"])
    def test_ends_of_other_networks_cannot_be_int8(self, form):
        with pytest.raises(ConfigError, match=rf"convert\.io_dtype is 'int8' but the network is {form}"):
            converted(self.converter, form, "int8")

    @pytest.mark.parametrize("form", ["int8", "int8_qat"])
    def test_int8_models_are_int8_throughout(self, form, read):
        model = read(converted(self.converter, form))
        assert model.float_tensors == ()
        assert {kernel.values.dtype for kernel in model.kernels} == {np.dtype(np.int8)}
        assert all(len(k.scales) == k.values.shape[k.channel_axis] for k in model.kernels)

    def test_float_ends_add_nothing_but_two_tensors(self, read):
        model = read(converted(self.converter, "int8", "float32"))
        assert len(model.float_tensors) == 2
        outputs, codes = run_tflite(converted(self.converter, "int8", "float32"), TEST)
        inner, _ = run_tflite(converted(self.converter, "int8"), TEST)
        assert codes is None
        np.testing.assert_allclose(outputs, inner, rtol=1e-6)

    @pytest.mark.parametrize(("form", "dtype"), [("fp16", np.float16), ("dynamic", np.int8)])
    def test_weights_are_stored_in_the_format(self, form, dtype, read):
        """TFLite leaves kernels of fewer than 1024 elements float in its dynamic format."""
        kernels = read(converted(self.converter, form)).kernels
        assert {k.values.dtype for k in kernels if form == "fp16"} <= {np.dtype(dtype)}
        assert len(kernels) == 4

    @pytest.mark.parametrize("form", ["float32", "int8"])
    def test_the_same_model_gives_the_same_bytes(self, form):
        model = source(form)
        again = bytes(convert_pair(model, tiny(), CHOICES[self.converter]("auto"), CALIBRATION).candidate)
        assert again == converted(self.converter, form)

    def test_the_model_is_not_touched(self):
        model = source("int8")
        before = model.SerializeToString()
        converted(self.converter, "int8")
        assert model.SerializeToString() == before

    def test_the_baseline_is_converted_beside_the_candidate(self):
        tensorflow()
        pair = convert_pair(source("int8"), network(), CHOICES[self.converter]("auto"), CALIBRATION)
        assert bytes(pair.candidate) == converted(self.converter, "int8")
        assert bytes(pair.baseline) == converted(self.converter, "float32")
        assert ends(bytes(pair.baseline)) == [np.float32, np.float32]

    def unknown(self, graph: Graph) -> str:
        """A node that the converter does not know."""
        return graph.add("RandomUniformLike")

    def test_unknown_operators_end_in_an_error_for_users(self):
        tensorflow()
        graph = Graph(2, 8, 8, opset=18)
        graph.add("Flatten", self.unknown(graph))
        with pytest.raises(EdgepressError, match="convert=") as refused:
            convert_pair(graph.model(), tiny(), CHOICES[self.converter]("auto"), CALIBRATION)
        assert isinstance(refused.value, UnsupportedModelError | ConversionError)
        assert "\n" not in str(refused.value)

    def test_zeros_and_codebooks_arrive(self, read):
        model = read(converted(self.converter, "int8", "auto", "channel_normalised"))
        statistics = weight_statistics(quantised("int8", "channel_normalised"))
        zeros = sum(kernel.zeros for kernel in model.kernels if kernel.prunable)
        total = sum(kernel.values.size for kernel in model.kernels if kernel.prunable)
        assert zeros / total == pytest.approx(statistics.sparsity)
        assert zeros / total >= 0.49
        assert max(kernel.unique_weights for kernel in model.kernels) <= CLUSTERS
        assert statistics.max_unique_weights <= CLUSTERS


class TestNhwc(ConverterContract):
    converter = "nhwc"
    input_shape = (8, 8, 2)
    forms = tuple(FORMS)

    def test_no_transpose_is_left(self, form, read):
        assert read(converted("nhwc", form)).transpose_ops == 0

    @pytest.mark.parametrize("clustering", ["", "channel_normalised", "per_tensor"])
    @pytest.mark.parametrize("form", ["int8", "int8_qat"])
    def test_int8_logits_are_those_of_onnxruntime(self, form, clustering):
        model, content = quantised(form, clustering), converted("nhwc", form, "auto", clustering)
        outputs, codes = run_tflite(content, TEST)
        scale = Interpreter(model_content=content).get_output_details()[0]["quantization"][0]
        steps = np.abs(np.round(run_onnx(model, TEST) / scale) - np.round(outputs / scale))
        assert codes is not None
        assert np.ptp(codes.astype(int), axis=0).min() > 20
        assert (steps == 0).mean() >= 0.95
        assert steps.max() <= 2

    @pytest.mark.parametrize("form", ["int8", "int8_qat"])
    def test_codes_of_kernels_are_those_of_the_onnx_model(self, form, read):
        """Quantised once: the same integers in both files, laid out anew."""
        stored = {
            kernel.node.name: np.sort(kernel.values.ravel())
            for kernel in kernels(quantised(form, "per_tensor"))
        }
        found = read(converted("nhwc", form, "auto", "per_tensor")).kernels
        assert [kernel.values.size for kernel in found] == [codes.size for codes in stored.values()]
        for kernel, codes in zip(found, stored.values(), strict=True):
            np.testing.assert_array_equal(np.sort(kernel.values.ravel()), codes)

    def test_float_models_need_no_more_operators_than_the_network_has(self, read):
        operators = read(converted("nhwc", "float32")).operators
        expected = "ADD ADD CONV_2D CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MAX_POOL_2D PAD"
        assert sorted(operators) == expected.split()

    def test_a_hard_sigmoid_is_fused_into_its_layer_but_for_one_product(self, read):
        tensorflow()
        graph = Graph(4, 6, 6)
        graph.add("Conv", "input", graph.weights(8, 4, 3, 3))
        graph.add("HardSigmoid", graph.last, alpha=1 / 6, beta=0.5)
        content = bytes(convert_pair(graph.model(), tiny(), Nhwc("auto"), CALIBRATION).candidate)
        assert read(content).operators == ("CONV_2D", "MUL")

    def test_unknown_operators_are_named_with_what_goes_without(self):
        graph = Graph(2, 8, 8)
        graph.add("Flatten", graph.add("RandomUniformLike", name="odd_pool"))
        with pytest.raises(UnsupportedModelError, match=r"'odd_pool' \(RandomUniformLike\).*convert=none"):
            convert_pair(graph.model(), tiny(), Nhwc("auto"), CALIBRATION)


class TestOnnxTf(ConverterContract):
    converter = "onnx_tf"
    input_shape = (2, 8, 8)
    forms = ("float32", "fp16", "dynamic", "int8", "int8_qat")

    def unknown(self, graph: Graph) -> str:
        return graph.add("CenterCropPad", "input", np.array([4, 4]), axes=[2, 3])

    @pytest.mark.parametrize("form", sorted({*FORMS} - {*forms}))
    def test_other_number_formats_are_refused_by_name(self, form):
        with pytest.raises(
            UnsupportedModelError,
            match=rf"onnx_tf cannot write {form}; expected one of: float32, .*convert=nhwc",
        ):
            converted("onnx_tf", form)

    @pytest.mark.parametrize("form", ["int8", "int8_qat"])
    def test_int8_without_calibration_inputs(self, form):
        tensorflow()
        with pytest.raises(DataError, match=r"calibration split is empty; raise data\.splits\.calibration"):
            convert_pair(source(form), tiny(), OnnxTf("auto"), CALIBRATION[:0])

    def test_operators_that_onnx_tf_does_not_know(self):
        tensorflow()
        graph = Graph(2, 8, 8)
        graph.add("Flatten", graph.add("Relu"))
        model = graph.model()
        model.opset_import.append(onnx.helper.make_opsetid("mine", 1))
        model.graph.node[0].domain = "mine"
        model.graph.node[0].op_type = "Odd"
        with pytest.raises(
            ConversionError, match=r"onnx-tf cannot translate this network: .*Odd.*convert=nhwc"
        ):
            convert_pair(model, tiny(), OnnxTf("auto"), CALIBRATION)

    def test_several_outputs_keep_their_order_and_names(self):
        tensorflow()
        graph = Graph(2, 8, 8)
        ends = [graph.add(op, "input", name=op) for op in ("Sigmoid", "Relu", "Abs", "Neg")]
        model = graph.model(ends[0])
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 2, 8, 8])
            for name in ends[1:]
        )
        content = bytes(convert_single(model, OnnxTf("auto"), CALIBRATION))
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], TEST[:1].astype(np.float32) - 99)
        interpreter.invoke()
        details = interpreter.get_output_details()
        assert [detail["name"] for detail in details] == ends
        shifted = TEST[:1].astype(np.float32) - 99
        expected = [1 / (1 + np.exp(-shifted)), np.maximum(shifted, 0), np.abs(shifted), -shifted]
        for detail, right in zip(details, expected, strict=True):
            np.testing.assert_allclose(interpreter.get_tensor(detail["index"]), right, rtol=1e-5, atol=1e-6)

    def test_newer_opsets_are_written_in_one_that_onnx_tf_knows(self):
        tensorflow()
        graph = Graph(2, 8, 8, opset=18)
        graph.add("Relu", graph.add("Conv", "input", graph.weights(4, 2, 3, 3)))
        graph.add("ReduceMean", graph.last, np.array([2, 3]), keepdims=0)
        pair = convert_pair(graph.model(), tiny(), OnnxTf("auto"), CALIBRATION)
        outputs, _ = run_tflite(bytes(pair.candidate), TEST[:20])
        np.testing.assert_allclose(outputs, run_onnx(graph.model(), TEST[:20]), rtol=1e-4)


def test_what_tensorflow_says_names_no_file_of_this_machine():
    tensorflow()
    from edgepress.convert.tflite import run

    class Refusing:
        def convert(self) -> bytes:
            raise RuntimeError(
                "Could not translate.<unknown>:0: error: /usr/lib/python3/tensorflow/trace.py:178:1: "
                "error: 'tf.Erfc' op is neither a custom op nor a flex op\nsecond line"
            )

    with pytest.raises(ConversionError) as refused:
        run(Refusing(), "nhwc")
    assert "'tf.Erfc' op is neither" in str(refused.value)
    assert "/usr" not in str(refused.value) and "\n" not in str(refused.value)


def test_every_converter_has_its_contract():
    assert {contract.converter for contract in ConverterContract.__subclasses__()} == set(CHOICES) - {"none"}


KINDS = [
    "plain",
    "max pool",
    "two dense",
    "groups",
    "add constant",
    "gate",
    "no depthwise",
    "relu6",
    "batch norm first",
]


def variant(kind: str) -> onnx.ModelProto:
    """Other small networks for the same task."""
    if kind in ("no depthwise", "relu6"):
        return network(depthwise=kind == "relu6", activation="Clip" if kind == "relu6" else "Relu")
    graph = Graph(2, 8, 8)
    w = graph.weights
    x = graph.add("Mul", graph.add("Sub", "input", np.full((1, 2, 1, 1), 128, np.float32)), np.float32(0.02))
    x = graph.batchnorm(x, 2) if kind == "batch norm first" else x
    if kind == "groups":
        x = graph.add("Relu", graph.add("Conv", x, w(8, 1, 3, 3), w(8), group=2, pads=[1, 1, 1, 1]))
        x = graph.add("Relu", graph.add("Conv", x, w(8, 4, 3, 3), w(8), group=2, strides=[2, 2]))
    else:
        x = graph.add("Relu", graph.add("Conv", x, w(8, 2, 2, 2), w(8), strides=[2, 2]))
    if kind == "max pool":  # an even size, so TensorFlow's SAME is another padding
        x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    if kind == "add constant":
        x = graph.add("Add", graph.add("Mul", x, w(8, 1, 1)), w(8, 1, 1))
    if kind == "gate":
        gate = graph.add("Conv", graph.add("GlobalAveragePool", x), w(8, 8, 1, 1), w(8))
        x = graph.add("Mul", x, graph.add("Sigmoid", gate))
    x = graph.add("Flatten", x)
    if kind == "two dense":
        x = graph.add("Relu", graph.batchnorm(graph.add("Gemm", x, 0.1 * w(128, 16), w(16)), 16))
    return fitted(graph, x)


@pytest.mark.parametrize("kind", KINDS)
def test_other_networks_are_exact_in_int8_too(kind, read):
    tensorflow()
    model = quantise(variant(kind), FORMATS["int8"])
    content = bytes(convert_pair(model, tiny(), Nhwc("auto"), CALIBRATION).candidate)
    expected, (outputs, _) = run_onnx(model, TEST), run_tflite(content, TEST)
    scale = Interpreter(model_content=content).get_output_details()[0]["quantization"][0]
    steps = np.abs(np.round(expected / scale) - np.round(outputs / scale))
    assert (read(content).float_tensors, read(content).transpose_ops) == ((), 0)
    assert len(set(expected.argmax(axis=1))) == 5
    assert (expected.argmax(axis=1) == outputs.argmax(axis=1)).mean() >= 0.995
    assert (steps == 0).mean() >= 0.95
    assert steps.max() <= 2


def test_clustered_float_models_keep_their_codebook(read):
    tensorflow()
    model = clustered("channel_normalised")
    content = bytes(convert_pair(model, tiny(), Nhwc("auto"), CALIBRATION).candidate)
    assert max(kernel.unique_weights for kernel in read(content).kernels) <= CLUSTERS
