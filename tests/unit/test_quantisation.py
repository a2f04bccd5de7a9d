"""Number formats: what each promises of weights, ranges, zeros and codebooks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepress.compress.quantisation.calibration import calibrate
from edgepress.compress.quantisation.preparing import prepared, rewritten
from edgepress.compress.quantisation.qdq import activation_parameters, int8_scales, write_qdq
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.compress.quantisation.scales import scale_and_zero_point
from edgepress.config.quant import Calibration, Dynamic, Fp16, Int8, Int8Qat
from edgepress.datasets.prepared import Split, load_calibration, save_split
from edgepress.datasets.samples import as_samples
from edgepress.errors import DataError, TrainingError, UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import to_float
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.view import copy, initializers, set_initializer
from edgepress.graph.weights import kernels
from tests.compressed import CLUSTERS, clustered, quantised
from tests.networks import (
    FORMATS,
    TEST,
    Graph,
    assert_close,
    diverging,
    fine_tuning,
    fitted,
    inputs_for,
    network,
    quantise,
    run_onnx,
    score,
    task,
    tensorflow,
    tuning,
)

tf = tensorflow()

MINMAX = FORMATS["int8"].calibration


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def qat(**changes) -> Int8Qat:
    values = {
        "per_channel": True,
        "range_momentum": 0.99,
        "calibration": MINMAX,
        "fine_tune": fine_tuning(epochs=1),
    }
    return Int8Qat(**(values | changes))


def test_fp16_rounds_weights_and_nothing_else():
    folded, halved = fold_batchnorm(network()), quantised("fp16")
    restored = initializers(to_float(halved))
    for name, values in initializers(folded).items():
        np.testing.assert_array_equal(restored[name], values.astype(np.float16).astype(np.float32))
    assert all(tensor.data_type != onnx.TensorProto.FLOAT for tensor in halved.graph.initializer)


@pytest.mark.parametrize(("weight", "fits"), [(65504.0, True), (70000.0, False), (-1e6, False)])
def test_fp16_refuses_weights_that_overflow(weight, fits):
    model = copy(network())
    kernel = kernels(model)[-1]
    values = kernel.values.copy()
    values[0, 0] = weight
    set_initializer(model, kernel.initializer, values)
    if fits:
        assert np.isfinite(run_onnx(quantise(model, Fp16()), TEST.inputs())).all()
        return
    with pytest.raises(
        UnsupportedModelError, match=r"quant=fp16: .* holds .*, but float16 ends at 65504; choose"
    ):
        quantise(model, Fp16())


def test_dynamic_quantises_every_product_and_keeps_float_ends():
    model = quantise(network(), Dynamic())
    assert ops(model).count("ConvInteger") + ops(model).count("MatMulInteger") == len(kernels(network()))
    assert {kernel.values.dtype for kernel in kernels(model)} == {np.dtype(np.int8)}


@pytest.mark.parametrize("form", ["int8", "int8_qat"])
def test_int8_weights_are_symmetric_with_a_scale_for_each_channel(form):
    model = quantised(form)
    constants = initializers(model)
    dequantised = {n.input[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    for kernel in kernels(model):
        scale, zero = (constants[name] for name in dequantised[kernel.initializer].input[1:3])
        assert kernel.values.dtype == np.int8
        assert kernel.values.min() >= -127
        assert scale.shape == (kernel.values.shape[kernel.channel_axis],)
        assert not zero.any()
        others = tuple(axis for axis in range(kernel.values.ndim) if axis != kernel.channel_axis)
        assert (np.abs(kernel.values.astype(int)).max(axis=others) == 127).all()


@pytest.mark.parametrize("make", [Int8, qat])
def test_int8_with_one_scale_for_each_kernel(make):
    config = make(per_channel=False, calibration=MINMAX)
    model = quantise(network(), config, 0, tuning)
    constants = initializers(model)
    dequantised = {n.input[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    assert all(constants[dequantised[kernel.initializer].input[1]].size == 1 for kernel in kernels(model))
    assert score(model) > score(network()) - 0.05


@pytest.mark.parametrize("form", ["int8", "int8_qat"])
def test_int8_leaves_no_activation_float(form):
    model = quantised(form)
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            assert all(made_by[name].op_type == "DequantizeLinear" for name in node.input if name in made_by)
    assert made_by[model.graph.output[0].name].op_type == "DequantizeLinear"


@pytest.mark.parametrize("form", ["int8", "int8_qat"])
def test_activations_that_cannot_be_negative_use_all_codes(form):
    """onnxruntime leaves the Relu out, so the lowest code has to be zero."""
    model = quantised(form)
    assert "Relu" not in ops(model)
    points = {name: p.zero_point for name, p in activation_parameters(model).items()}
    assert sum(zero == -128 for name, zero in points.items() if name.startswith("relu")) == 3
    assert run_onnx(model, TEST.inputs()).min() < 0


def test_no_calibration_data(tmp_path):
    save_split(tmp_path, Split(np.zeros((0, 2, 8, 8), np.uint8), np.zeros(0, np.int64)))
    for config in (Int8(True, MINMAX), qat()):
        sources = Sources(lambda samples: load_calibration(tmp_path, samples), tuning, 0)
        with pytest.raises(
            DataError, match=r"calibration\.samples is 64 but the calibration split has 0; raise"
        ):
            quantiser(config)(network(), config, sources)


def range_of(method: str, percentile: float = 99.0, bins: int = 512) -> dict[str, tuple[float, float]]:
    config = Calibration(method, 64, bins, percentile)
    return calibrate(prepared(fold_batchnorm(network())), config, task(64, seed=5).inputs()).ranges


def test_calibration_methods_give_different_ranges():
    ranges = {method: range_of(method) for method in ("minmax", "entropy", "percentile")}
    assert len({tuple(sorted(r.items())) for r in ranges.values()}) == 3
    for name, (low, high) in ranges["minmax"].items():
        for method in ("entropy", "percentile"):
            inner_low, inner_high = ranges[method][name]
            assert low - 1e-2 * (high - low) <= inner_low <= inner_high <= high + 1e-2 * (high - low)


def test_calibration_options_matter():
    assert range_of("percentile", percentile=90) != range_of("percentile", percentile=99.9)
    assert range_of("entropy", bins=256) != range_of("entropy", bins=512)
    assert range_of("minmax", percentile=90) == range_of("minmax")


def test_minmax_ranges_are_those_of_the_tensors():
    model, inputs = prepared(fold_batchnorm(network())), task(64, seed=5).inputs()
    ranges = range_of("minmax")
    assert ranges["input"] == (inputs.min(), inputs.max())
    logits = run_onnx(model, inputs)
    assert ranges[model.graph.output[0].name] == pytest.approx((logits.min(), logits.max()))


def test_scales_and_zero_points_are_nudged_as_tensorflow_does():
    """TensorFlow's fake quantisation of ±1e30 gives the ends of the range that its codes cover."""
    random = np.random.default_rng(0)
    size = 10 ** random.uniform(-4, 4, 20_000)
    low, high = -size * random.uniform(-0.3, 1, size.size), size * random.uniform(-0.3, 1, size.size)
    low[:200], high[200:400] = 0, 0
    low[400:656], high[400:656] = -(np.arange(256) + 0.5), 254.5 - np.arange(256)  # zero points on the edge
    low, high = np.minimum(low, 0).astype(np.float32), np.maximum(high, 0).astype(np.float32)
    keep = high > low
    low, high = low[keep], high[keep]
    ends = [
        tf.quantization.fake_quant_with_min_max_vars_per_channel(
            np.full(low.shape, v, np.float32), low, high
        ).numpy()
        for v in (-1e30, 1e30)
    ]
    pairs = [scale_and_zero_point(*bounds) for bounds in zip(low, high, strict=True)]
    scale = np.array([pair[0] for pair in pairs])
    zero = np.array([pair[1] for pair in pairs], np.float32)
    assert {type(part) for pair in pairs for part in pair} == {np.float32, np.int8}
    np.testing.assert_allclose((-128 - zero) * scale, ends[0], rtol=1e-6, atol=0)
    np.testing.assert_allclose((127 - zero) * scale, ends[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((0.0, 255.0), (1, -128)),
        ((-255.0, 0.0), (1, 127)),
        ((-128.0, 127.0), (1, 0)),
        ((10.0, 510.0), (2, -128)),  # widened to hold 0
        ((-510.0, -10.0), (2, 127)),
        ((0.0, 0.0), (1, -128)),  # as after a Relu
    ],
)
def test_scale_and_zero_point(bounds, expected):
    assert scale_and_zero_point(*bounds) == expected


def test_scales_of_coded_channels():
    assert int8_scales(np.array([127, 0, 12.7], np.float32)).tolist() == [1, 1, np.float32(0.1)]


def test_preparation_changes_no_result():
    graph = Graph(4, 5, 6)
    clashing = graph.constant(graph.weights(4, 4, 1, 1), "kernel_scale")
    graph.add("Conv", graph.add("Sub", "input", graph.weights(4, 1, 1)), clashing)
    graph.add("Sub", np.float32(1), graph.last)
    model = graph.model()
    changed = prepared(model)
    assert ops(changed) == ["Add", "Conv", "Sub"]
    assert not any(name.endswith("_scale") for name in initializers(changed))
    assert_close(run_onnx(changed, inputs_for(model)), run_onnx(model, inputs_for(model)))


def test_functions_are_rewritten_for_integer_kernels():
    graph = Graph(4, 5, 6)
    kernel = graph.weights(4, 4, 1, 1)
    swish = graph.add("HardSwish", graph.add("Conv", "input", kernel))
    gate = graph.add("HardSigmoid", graph.add("Conv", swish, kernel), alpha=0.3)
    scaled = graph.add("Mul", graph.add("Relu", gate), graph.weights(4, 1, 1))
    shifted = graph.add("Add", scaled, graph.weights(4, 1, 1))
    graph.add("Pow", graph.add("Sum", shifted, gate, "input"), np.float32(2))
    model = graph.model()
    changed = prepared(fold_batchnorm(rewritten(model)))
    expected = "Conv Add Clip Mul Conv Clip Relu Conv Add Add Mul"
    assert ops(changed) == expected.split()
    assert_close(run_onnx(changed, inputs_for(model)), run_onnx(model, inputs_for(model)))


@pytest.mark.parametrize("clustering", ["channel_normalised", "per_tensor"])
@pytest.mark.parametrize("form", ["int8", "int8_qat"])
def test_zeros_and_codebooks_survive(form, clustering):
    before, after = kernels(clustered(clustering)), kernels(quantised(form, clustering))
    for one, other in zip(before, after, strict=True):
        assert (other.values[one.values == 0] == 0).all()
        if clustering == "channel_normalised" or other.prunable:
            assert other.unique_weights <= CLUSTERS
    assert sum(k.sparsity * k.values.size for k in after if k.prunable) >= 0.49 * sum(
        k.values.size for k in after if k.prunable
    )


def test_qat_trains_the_codebook():
    assert (
        score(quantised("int8_qat", "channel_normalised"))
        >= score(quantised("int8", "channel_normalised")) - 0.01
    )
    one, other = (kernels(quantised(form, "channel_normalised")) for form in ("int8", "int8_qat"))
    assert any(not np.array_equal(a.values, b.values) for a, b in zip(one, other, strict=True))


def test_qat_without_training_is_ptq():
    untrained = quantise(network(), qat(fine_tune=fine_tuning(epochs=0)), 0, tuning)
    assert_close(run_onnx(untrained, TEST.inputs()), run_onnx(quantised("int8"), TEST.inputs()), 0.02)
    for one, other in zip(kernels(quantised("int8")), kernels(untrained), strict=True):
        assert np.abs(one.values.astype(int) - other.values).max() <= 1


def test_qat_moves_weights_and_ranges():
    slow = quantised("int8_qat")
    still = quantise(network(), qat(range_momentum=1.0, fine_tune=fine_tuning(epochs=2)), 0, tuning)
    first = activation_parameters(quantised("int8"))
    assert activation_parameters(still).keys() == first.keys()
    moved = [abs(p.scale / first[name].scale - 1) for name, p in activation_parameters(slow).items()]
    frozen = [abs(p.scale / first[name].scale - 1) for name, p in activation_parameters(still).items()]
    assert max(moved) > 1e-3
    assert max(frozen) < 1e-6
    assert any(
        not np.array_equal(a.values, b.values)
        for a, b in zip(kernels(quantised("int8")), kernels(still), strict=True)
    )


def gated() -> onnx.ModelProto:
    """Sigmoid and Tanh, whose int8 kernels in TFLite want fixed scales, also through Concat and Flatten."""
    graph = Graph(2, 8, 8)
    w = graph.weights
    scaled = graph.add("Mul", graph.add("Sub", "input", np.float32(128)), np.float32(0.02))
    gate = graph.add("Sigmoid", graph.add("Conv", scaled, w(4, 2, 3, 3), w(4), strides=[2, 2]))
    signal = graph.add(
        "Tanh", graph.add("Relu", graph.add("Conv", scaled, w(4, 2, 3, 3), w(4), strides=[2, 2]))
    )
    return fitted(graph, graph.add("Flatten", graph.add("Concat", gate, signal, axis=1)))


@pytest.mark.parametrize("config", [FORMATS["int8"], qat(range_momentum=0.5)], ids=["int8", "int8_qat"])
def test_outputs_of_sigmoid_and_tanh_keep_the_scales_that_tflite_wants(config):
    parameters = activation_parameters(quantise(gated(), config, 0, tuning))
    for name, scale, zero in (("sigmoid", 1 / 256, -128), ("tanh", 1 / 128, 0)):
        (found,) = [p for tensor, p in parameters.items() if tensor.startswith(name)]
        assert (found.scale, found.zero_point) == (scale, zero)


@pytest.mark.parametrize("config", [FORMATS["int8"], qat(range_momentum=0.5)], ids=["int8", "int8_qat"])
def test_what_passes_on_shares_keeps_their_scale(config):
    graph = Graph(2, 8, 8)
    scaled = graph.add("Mul", graph.add("Sub", "input", np.float32(128)), np.float32(0.02))
    gate = graph.add("Sigmoid", graph.add("Conv", scaled, graph.weights(4, 2, 3, 3), strides=[2, 2]))
    cut = graph.add("Relu", graph.add("Identity", graph.add("Clip", gate, np.float32(0), np.float32(0.5))))
    parameters = activation_parameters(quantise(fitted(graph, graph.add("Flatten", cut)), config, 0, tuning))
    passed = [p for name, p in parameters.items() if name.startswith(("sigmoid", "clip", "identity", "relu"))]
    assert len(passed) >= 2
    assert {(found.scale, found.zero_point) for found in passed} == {(1 / 256, -128)}


@pytest.mark.parametrize("form", ["int8", "dynamic"])
def test_a_loop_may_read_what_a_layer_outside_makes(form):
    info, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = Graph(2, 8, 8)
    made = graph.add("Gemm", graph.add("Flatten", "input"), graph.weights(128, 6) / 1000)
    bound = graph.constant(np.float32(3))
    steps = [
        node("Add", ["s", made], ["a"]),
        node("Tanh", ["a"], ["s2"]),
        node("ReduceSum", ["s2"], ["sum"], keepdims=0),
        node("Less", ["sum", bound], ["going"]),
    ]
    carried = [info("i", 7, []), info("go", 9, []), info("s", 1, ["m", 6])]
    body = onnx.helper.make_graph(steps, "body", carried, [info("going", 9, []), info("s2", 1, ["n", 6])])
    looped = graph.add("Loop", np.array(30), np.array(True), graph.weights(1, 6), body=body)
    graph.add("Gemm", looped, graph.weights(6, 5))
    model = graph.model()
    coded = quantise(normalise(copy(model)), FORMATS[form])
    onnx.checker.check_model(coded)
    inputs = TEST.inputs()[:4]
    assert_close(run_onnx(coded, inputs), run_onnx(model, inputs), 0.05)


def test_tanh_after_relu_before_flatten():
    """A tensor whose smallest value is 0 may share the parameters of one that has another zero point."""
    graph = Graph(2, 8, 8)
    conv = graph.add("Conv", "input", 0.01 * graph.weights(4, 2, 3, 3), strides=[2, 2])
    model = fitted(graph, graph.add("Flatten", graph.add("Tanh", graph.add("Relu", conv))))
    assert score(quantise(model, FORMATS["int8"])) > score(model) - 0.05


def test_qat_distillation_gives_another_network():
    one, other = (
        quantise(network(), qat(fine_tune=fine_tuning(epochs=1, distillation=d)), 0, tuning) for d in (0, 0.9)
    )
    assert np.abs(run_onnx(one, TEST.inputs()) - run_onnx(other, TEST.inputs())).max() > 0.01


def test_qat_divergence_is_reported_with_its_remedy():
    config = qat(fine_tune=fine_tuning())
    with pytest.raises(
        TrainingError, match=r"the loss became .* quant\.fine_tune.*0\.003; lower it in conf/quant/"
    ):
        quantise(network(), config, 0, diverging)


PROGRAM = """
import hashlib, sys
from tests.compressed import clustered, pruned, quantised
for model in (pruned(), clustered("per_tensor"), quantised("int8_qat", "channel_normalised")):
    print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_compression_repeats_exactly_in_fresh_processes():
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM]
    started = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    hashes = [process.communicate(timeout=300)[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert len(set(hashes[0])) == 3
    assert hashes[0] == hashes[1]


def test_what_is_quantised_has_a_known_range():
    """A range that calibration left out is a fault of ours, and no model is written with one made up."""
    inputs = as_samples(task(32).inputs())
    model = prepared(fold_batchnorm(network()))
    ranges = calibrate(model, MINMAX, inputs).ranges
    relu = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    left = {name: bounds for name, bounds in ranges.items() if name != relu}
    with pytest.raises(AssertionError, match=f"no range is known.*{relu}"):
        write_qdq(model, left, True, {}, inputs[:1])
