"""Number formats of networks with operators and inputs of all kinds, up to what LiteRT computes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.compress.quantisation.activations import Activations
from edgepress.compress.quantisation.floats import unquantised_nodes
from edgepress.measure.signal import compare_rows
from edgepress.standalone.convert import Outcome, convert
from edgepress.standalone.request import Request

SAMPLES = 12
Network = tuple[onnx.ModelProto, Mapping[str, np.ndarray]]
node, info = helper.make_node, helper.make_tensor_value_info


def weights(*shape: int, scale: float = 0.3) -> np.ndarray:
    values = np.random.default_rng(len(shape) + sum(shape)).normal(size=shape)
    return (scale * values).astype(np.float32)


def images(channels: int, size: int) -> np.ndarray:
    return weights(SAMPLES, channels, size, size, scale=1.0)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, int],
    constants: Mapping[str, np.ndarray],
    opset: int = 17,
    sizes: Mapping[str, Sequence[int | str]] | None = None,
) -> onnx.ModelProto:
    """A network of a batch of 1; the inputs are samples of them, `sizes` those that differ from theirs."""
    entries = []
    for name, values in inputs.items():
        shape = (sizes or {}).get(name, (1, *values.shape[1:]) if values.ndim > 1 else ())
        entries.append(info(name, helper.np_dtype_to_tensor_dtype(values.dtype), shape))
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    for end, kind in zip(ends, outputs.values(), strict=True):
        end.type.tensor_type.elem_type = kind
    held = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(list(nodes), "network", entries, ends, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made)


def converted(folder: Path, network: onnx.ModelProto, inputs: Mapping[str, np.ndarray], form: str) -> Outcome:
    """What `edgepress convert --quant FORM --check` makes of it."""
    onnx.save(network, folder / "network.onnx")
    np.savez(folder / "inputs.npz", **inputs)
    source, target = folder / "network.onnx", folder / f"{form}.tflite"
    request = Request(source, target, quant=form, calibration=folder / "inputs.npz", check=True)
    return convert(request, lambda line: None)


def quality(outcome: Outcome) -> float:
    """The signal over noise of the worst output, beside the float network's."""
    assert outcome.check is not None and any(each.varies for each in outcome.check.outputs.values())
    return min(each.snr_db for each in outcome.check.outputs.values())


def apart(outcome: Outcome) -> float:
    """The same beside ONNX Runtime's run of the quantised network."""
    assert outcome.check is not None
    return min(each.snr_db for each in outcome.check.in_form.values())


FRONT = {"kernel": weights(8, 3, 3, 3)}
LAYER = node("Conv", ["image", "kernel"], ["first"], "first", pads=[1] * 4, strides=[2, 2])


def branches(moved: Sequence[onnx.NodeProto], size: Sequence[int]) -> Network:
    """Both branches read what a Relu makes, moved."""

    def branch(name: str) -> onnx.GraphProto:
        nodes = [
            node("Mul", ["moved", f"{name}.factor"], [f"{name}.product"]),
            node("Tanh", [f"{name}.product"], [name]),
        ]
        return helper.make_graph(nodes, name, [], [info(name, TensorProto.FLOAT, size)])

    inputs = {"image": images(3, 16), "flag": np.arange(SAMPLES) % 2 == 0}
    chosen = node(
        "If", ["flag"], ["chosen"], "chosen", then_branch=branch("then"), else_branch=branch("else")
    )
    nodes = [
        LAYER,
        node("Relu", ["first"], ["clipped"], "clipped"),
        *moved,
        chosen,
        node("Flatten", ["chosen"], ["row"]),
        node("MatMul", ["row", "matrix"], ["result"]),
    ]
    constants = {**FRONT, "then.factor": np.float32(0.5), "else.factor": np.float32(-0.7)}
    constants |= {"matrix": weights(int(np.prod(size[1:])), 5, scale=0.1), "shape": np.array([1, 8, -1])}
    constants |= {"first axis": np.array([0]), "three": np.array([3])}
    return model(nodes, inputs, {"result": TensorProto.FLOAT}, constants), inputs


def moving(operator: str, *operands: str, **options: object) -> onnx.NodeProto:
    return node(operator, ["clipped", *operands], ["moved"], operator, **options)


TURNED = moving("Transpose", perm=[0, 2, 3, 1])
MOVES = {
    "as it is": ([moving("Identity")], (1, 8, 8, 8)),
    "reshaped": ([moving("Reshape", "shape")], (1, 8, 64)),
    "turned": ([TURNED], (1, 8, 8, 8)),
    "pooled": ([moving("MaxPool", kernel_shape=[2, 2], strides=[2, 2])], (1, 8, 4, 4)),
    "squeezed": ([moving("Squeeze", "first axis")], (8, 8, 8)),
    "unsqueezed": ([moving("Unsqueeze", "first axis")], (1, 1, 8, 8, 8)),
    "cut": ([moving("Slice", "first axis", "three", "three")], (1, 8, 8, 3)),
    "moved three times": (
        [
            node("Transpose", ["clipped"], ["turned"], "turned", perm=[0, 2, 3, 1]),
            node("Reshape", ["turned", "shape"], ["long"], "long"),
            node("Identity", ["long"], ["moved"], "same"),
        ],
        (1, 8, 64),
    ),
}


@pytest.mark.parametrize("form", ["int8", "int16x8"])
@pytest.mark.parametrize("moved", MOVES)
def test_branches_read_what_a_relu_clipped_that_the_codes_stand_for(tmp_path, moved, form):
    network, inputs = branches(*MOVES[moved])
    outcome = converted(tmp_path, network, inputs, form)
    assert quality(outcome) > 25 and apart(outcome) > 45
    assert outcome.model.op_counts["DEQUANTIZE"] == 1


def rounds(kind: str) -> Network:
    """A state that takes in one row of what is moved twice after the other: as many as there are rows."""
    inputs = {"rows": weights(SAMPLES, 6, 8, scale=1.0)}
    step = [
        node("Gather", ["moved", "i"], ["row"], axis=0),
        node("Add", ["row", "state"], ["sum"]),
        node("Tanh", ["sum"], ["next"]),
    ]
    state, after = info("state", 1, [1, 4]), info("next", 1, [1, 4])
    if kind == "Loop":
        given = [info("i", 7, []), info("go", 9, []), state]
        step.append(node("Identity", ["go"], ["going"]))
        body = helper.make_graph(step, "body", given, [info("going", 9, []), after])
        looped = node("Loop", ["number", "", "start"], ["last"], "loop", body=body)
    else:
        body = helper.make_graph(step, "body", [state, info("i", 7, [])], [after])
        looped = node("Scan", ["start", "places"], ["last"], "scan", body=body, num_scan_inputs=1)
    nodes = [
        node("MatMul", ["rows", "matrix"], ["made"], "made"),
        node("Transpose", ["made"], ["turned"], "turned", perm=[1, 2, 0]),
        node("Transpose", ["turned"], ["moved"], "moved", perm=[0, 2, 1]),
        node("Shape", ["moved"], ["sizes"], "sizes"),
        node("Gather", ["sizes", "zero"], ["number"], "number"),
        node("Range", ["zero", "number", "one"], ["places"], "places"),
        looped,
        node("MatMul", ["last", "to_result"], ["result"], "dense"),
    ]
    constants = {"matrix": weights(8, 4), "to_result": weights(4, 5), "start": np.zeros((1, 4), np.float32)}
    constants |= {"zero": np.int64(0), "one": np.int64(1)}
    ends, sizes = {"result": TensorProto.FLOAT}, {"rows": [1, "length", 8]}
    return model(nodes, inputs, ends, constants, sizes=sizes), inputs


@pytest.mark.parametrize(("form", "least"), [("int8", 25), ("int16x8", 35)])
@pytest.mark.parametrize("kind", ["Loop", "Scan"])
def test_loops_read_what_is_moved_twice_and_a_number_of_rounds_is_no_reason_for_floats(
    tmp_path, kind, form, least
):
    outcome = converted(tmp_path, *rounds(kind), form)
    assert quality(outcome) > least and apart(outcome) > 45
    assert outcome.model.op_counts["QUANTIZE"] == 1  # behind the loop; the input has codes


PASSING = {
    "Identity": [node("Identity", ["{0}"], ["{1}"])],
    "Dropout": [node("Dropout", ["{0}"], ["{1}"])],
    "Cast": [node("Cast", ["{0}"], ["{1}"], to=TensorProto.FLOAT)],
    "Relu": [node("Relu", ["{0}"], ["{1}"])],
    "Clip": [node("Clip", ["{0}", "least", "most"], ["{1}"])],
    "all": [
        node("Reshape", ["{0}", "shape"], ["{1}.long"]),
        node("Cast", ["{1}.long"], ["{1}.cast"], to=TensorProto.FLOAT),
        node("Clip", ["{1}.cast", "least", "most"], ["{1}.cut"]),
        node("Relu", ["{1}.cut"], ["{1}.bent"]),
        node("Identity", ["{1}.bent"], ["{1}"]),
    ],
}


def passed_on(passing: str) -> Network:
    """A Softmax and a Tanh, whose scales are fixed, passed on to an output and to a further layer."""

    def passed(source: str, result: str) -> list[onnx.NodeProto]:
        nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in PASSING[passing]]
        for each in nodes:
            each.input[:] = [name.format(source, result) for name in each.input]
            each.output[:] = [name.format(source, result) for name in each.output]
        return nodes

    inputs = {"rows": weights(SAMPLES, 32, scale=0.7)}
    nodes = [
        node("MatMul", ["rows", "matrix"], ["made"], "made"),
        node("Softmax", ["made"], ["shares"], "shares"),
        *passed("shares", "shown"),
        node("Tanh", ["made"], ["bent"], "bent"),
        *passed("bent", "gate"),
        node("Flatten", ["gate"], ["row"], "row"),
        node("MatMul", ["row", "to_result"], ["result"], "last"),
    ]
    constants = {"matrix": weights(32, 40), "to_result": weights(40, 30), "shape": np.array([1, 2, -1])}
    constants |= {"least": np.float32(0.001), "most": np.float32(0.4)}
    return model(nodes, inputs, {"shown": 1, "result": 1}, constants), inputs


@pytest.mark.parametrize(
    ("passing", "form"), [*((each, "int8") for each in PASSING), ("all", "int4_weights"), ("all", "int16x8")]
)
def test_what_passes_on_values_of_a_fixed_scale_keeps_it(tmp_path, passing, form):
    """ONNX Runtime leaves such a node out, and computes the Softmax in the scale behind it: 0 for 0.55."""
    outcome = converted(tmp_path, *passed_on(passing), form)
    assert quality(outcome) > (8 if form == "int4_weights" else 25)
    assert apart(outcome) > (60 if form == "int16x8" else 1000)


def attention(low: float) -> Network:
    """Attention over places that a mask leaves, whose others get `low`."""
    rows = weights(SAMPLES, 6, 8, scale=1.0)
    inputs = {"rows": rows, "mask": np.arange(6) < 2 + np.arange(SAMPLES)[:, None] % 4}
    nodes = [
        node("Where", ["mask", "none", "low"], ["shift"], "shift"),
        node("MatMul", ["rows", "to_keys"], ["keys"], "keys"),
        node("Transpose", ["keys"], ["turned"], "turned", perm=[0, 2, 1]),
        node("MatMul", ["keys", "turned"], ["scores"], "scores"),
        node("Add", ["scores", "shift"], ["masked"], "masked"),
        node("Softmax", ["masked"], ["shares"], "shares"),
        node("MatMul", ["shares", "keys"], ["mean"], "mean"),
        node("MatMul", ["mean", "to_result"], ["result"], "last"),
    ]
    constants = {"to_keys": weights(8, 8), "to_result": weights(8, 40), "none": np.float32(0)}
    return model(nodes, inputs, {"result": 1}, {**constants, "low": np.float32(low)}), inputs


@pytest.mark.parametrize("low", [-np.inf, -1e9, -3.4e38, -1e4])
@pytest.mark.parametrize(
    ("form", "least"), [("fp16", 55), ("int16x8", 38), ("int8", 25), ("int8_weights", 38)]
)
def test_masks_of_any_depth_cost_nothing_in_any_form(tmp_path, form, least, low):
    assert quality(converted(tmp_path, *attention(low), form)) > least


def test_float16_keeps_what_keeps_a_divisor_from_0(tmp_path):
    inputs = {"rows": weights(SAMPLES, 4, 64, scale=1e-4)}
    nodes = [
        node("MatMul", ["rows", "matrix"], ["made"], "made"),
        node("Mul", ["made", "made"], ["square"], "square"),
        node("ReduceMean", ["square"], ["mean"], "mean", axes=[-1]),
        node("Add", ["mean", "little"], ["guarded"], "guarded"),
        node("Div", ["made", "guarded"], ["result"], "last"),
    ]
    constants = {"matrix": weights(64, 64), "little": np.full(64, 1e-8, np.float32)}
    outcome = converted(tmp_path, model(nodes, inputs, {"result": 1}, constants), inputs, "fp16")
    assert quality(outcome) > 50


def test_dynamic_takes_a_kernel_that_two_layers_share(tmp_path):
    """onnxruntime turns it over for each, and so twice."""
    inputs = {"rows": weights(SAMPLES, 16, scale=1.0)}
    nodes = [
        node("Gemm", ["rows", "matrix", "bias"], ["first"], "one", transB=1),
        node("Tanh", ["first"], ["bent"], "bent"),
        node("Gemm", ["bent", "matrix", "bias"], ["result"], "two", transB=1),
    ]
    constants = {"matrix": weights(16, 16), "bias": weights(16)}
    outcome = converted(tmp_path, model(nodes, inputs, {"result": 1}, constants), inputs, "dynamic")
    assert quality(outcome) > 35


def test_dynamic_leaves_computed_kernels_and_the_standards_attention(tmp_path):
    inputs = {"image": images(3, 12), "other": weights(SAMPLES, 4, 3, 3, 3)}
    nodes = [
        node("Conv", ["image", "kernel"], ["first"], "first", pads=[1] * 4),
        node("Squeeze", ["other", "axis"], ["turned"], "turned"),
        node("Conv", ["image", "turned"], ["second"], "second"),
        node("GlobalAveragePool", ["first"], ["mean"], "mean"),
        node("GlobalMaxPool", ["second"], ["most"], "most"),
        node("Concat", ["mean", "most"], ["joined"], "joined", axis=1),
        node("Flatten", ["joined"], ["row"], "row"),
        node("MatMul", ["row", "matrix"], ["result"], "last"),
    ]
    constants = {**FRONT, "axis": np.array([0]), "matrix": weights(12, 5)}
    network = model(nodes, inputs, {"result": 1}, constants)
    assert quality(converted(tmp_path, network, inputs, "dynamic")) > 30
    rows = {"rows": weights(SAMPLES, 6, 8, scale=1.0)}
    nodes = [node("MatMul", ["rows", name], [name[0]], name) for name in ("queries", "keys", "values")]
    nodes += [
        node("Attention", ["q", "k", "v"], ["y"], "attend", q_num_heads=2, kv_num_heads=2),
        node("MatMul", ["y", "last"], ["result"], "last"),
    ]
    constants = {name: weights(8, 8) for name in ("queries", "keys", "values")} | {"last": weights(8, 5)}
    network = model(nodes, rows, {"result": 1}, constants, opset=23)
    assert quality(converted(tmp_path, network, rows, "dynamic")) > 25


@pytest.mark.parametrize("form", ["int8", "int16x8", "int8_weights", "dynamic"])
@pytest.mark.parametrize("group", [1, 2])
def test_volumes_have_their_kernels_in_codes(tmp_path, form, group):
    inputs = {"volume": weights(SAMPLES, 2, 4, 6, 6, scale=1.0)}
    nodes = [
        node("Conv", ["volume", "kernel"], ["first"], "first", pads=[1] * 6),
        node("Relu", ["first"], ["clipped"], "clipped"),
        node("ConvTranspose", ["clipped", "upward"], ["wide"], "wide", strides=[2, 2, 2], group=group),
        node("Conv", ["wide", "last"], ["result"], "last", group=group),
    ]
    constants = {"kernel": weights(16, 2, 3, 3, 3), "upward": weights(16, 16 // group, 2, 2, 2)}
    constants |= {"last": weights(4, 16 // group, 1, 1, 1)}
    network = model(nodes, inputs, {"result": 1}, constants)
    outcome = converted(tmp_path, network, inputs, form)
    assert quality(outcome) > 28 and apart(outcome) > (30 if form == "dynamic" else 80)
    kernels = sum(values.size for values in constants.values())
    assert outcome.size < kernels + 8000 and outcome.model.weights != "float32"


@pytest.mark.parametrize("form", ["fp16", "int8_weights", "dynamic", "int8", "int4_weights"])
def test_weights_stay_in_their_form_where_the_batch_is_made_1(tmp_path, form):
    """A recurrent network of open length and batch takes one sample at a time."""
    inputs = {"rows": weights(SAMPLES, 9, 32, scale=1.0)}
    nodes = [
        node("MatMul", ["rows", "wide"], ["made"], "made"),
        node("Transpose", ["made"], ["turned"], "turned", perm=[1, 0, 2]),
        node("LSTM", ["turned", "of_input", "of_state"], ["states"], "layer", hidden_size=8),
        node("Squeeze", ["states", "axis"], ["result"], "last"),
    ]
    constants = {"wide": weights(32, 256, scale=0.1), "axis": np.array([1])}
    constants |= {"of_input": weights(1, 32, 256, scale=0.05), "of_state": weights(1, 32, 8)}
    network = model(nodes, inputs, {"result": 1}, constants, sizes={"rows": ("batch", "length", 32)})
    outcome = converted(tmp_path, network, inputs, form)
    assert quality(outcome) > (12 if form == "int4_weights" else 30)
    assert outcome.size < 2 * 32 * 256 * (2 if form == "fp16" else 1) + 13_000


def layer(kind: str, gates: int, directions: int, length: int, size: int = 24) -> Network:
    """A recurrent layer with its states as inputs and outputs, and a layer behind it."""
    names = ["rows", "of_input", "of_state", "bias", "", "first"]
    ends = ["states", "last"]
    inputs = {"rows": weights(SAMPLES, length, 1, 16, scale=1.0)}
    inputs["first"] = weights(SAMPLES, directions, 1, size, scale=0.5)
    if kind == "LSTM":
        names, ends, inputs["memory"] = [*names, "memory"], [*ends, "kept"], 2 * inputs["first"]
    way = {1: "reverse", 2: "bidirectional"}[directions]
    nodes = [
        node(kind, names, ends, "layer", hidden_size=size, direction=way),
        node("MatMul", ["states", "matrix"], ["result"], "behind"),
    ]
    constants = {
        "of_input": weights(directions, gates * size, 16),
        "of_state": weights(directions, gates * size, size, scale=0.1),
    }
    constants |= {"bias": weights(directions, 2 * gates * size), "matrix": weights(size, 5)}
    sizes = {name: values.shape[1:] for name, values in inputs.items()}
    outputs = dict.fromkeys(("result", *ends[1:]), TensorProto.FLOAT)
    return model(nodes, inputs, outputs, constants, sizes=sizes), inputs


@pytest.mark.parametrize("form", ["int8", "int16x8", "int8_weights", "dynamic"])
@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_have_their_kernels_in_codes(tmp_path, kind, gates, form):
    for directions, length in ((2, 4), (1, 40)):
        size = 72 // gates
        network, inputs = layer(kind, gates, directions, length, size)
        outcome, plain = (converted(tmp_path, network, inputs, each) for each in (form, "none"))
        assert quality(outcome) > 28 and apart(outcome) > (38 if form == "dynamic" else 60)
        saved = 3 * directions * 72 * (16 + size)
        assert outcome.size < plain.size - saved + 4000
        assert outcome.model.weights != "float32"


def test_float16_holds_a_large_kernel_once_however_many_steps_read_it(tmp_path):
    network, inputs = layer("RNN", 1, 2, 6, size=640)
    outcome, plain = (converted(tmp_path, network, inputs, form) for form in ("fp16", "none"))
    assert outcome.size < 0.51 * plain.size and quality(outcome) > 40


@pytest.mark.parametrize("form", ["int8_weights", "dynamic"])
def test_a_network_of_a_recurrent_layer_alone_is_a_quarter_as_large(tmp_path, form):
    inputs = {"rows": weights(SAMPLES, 20, 1, 64, scale=1.0)}
    nodes = [node("GRU", ["rows", "of_input", "of_state"], ["states"], "layer", hidden_size=64)]
    constants = {"of_input": weights(1, 192, 64, scale=0.1), "of_state": weights(1, 192, 64, scale=0.1)}
    network = model(nodes, inputs, {"states": 1}, constants, sizes={"rows": (20, 1, 64)})
    outcome, plain = (converted(tmp_path, network, inputs, each) for each in (form, "none"))
    assert quality(outcome) > 40 and outcome.size < plain.size - 3 * 2 * 192 * 64 + 6000


def test_boxes_that_are_found_in_other_numbers_are_compared_in_their_order():
    expected = np.arange(30).reshape(10, 3)
    fewer = compare_rows(np.delete(expected, 4, axis=0), expected)
    assert fewer.snr_db == pytest.approx(10.0) and fewer.integer and fewer.varies
    assert compare_rows(expected[:0], expected).snr_db == 0.0


@pytest.mark.parametrize("form", ["none", "int8"])
def test_outputs_of_a_length_that_the_values_decide_are_compared(tmp_path, form):
    inputs = {"image": images(3, 12), "ids": np.random.default_rng(1).integers(0, 4, (SAMPLES, 6))}
    nodes = [
        LAYER,
        node("Relu", ["first"], ["clipped"], "clipped"),
        node("ReduceMax", ["clipped"], ["most"], "most"),
        node("Unique", ["ids"], ["kinds"], "kinds"),
        node("NonZero", ["ids"], ["places"], "places"),
    ]
    network = model(nodes, inputs, {"most": 1, "kinds": 7, "places": 7}, FRONT, sizes={"ids": (6,)})
    outcome = converted(tmp_path, network, inputs, form)
    assert outcome.check is not None and outcome.check.passed


PICKS = {
    "GatherND": [node("GatherND", ["codes", "places"], ["picked"], "picks", batch_dims=1)],
    "GatherElements": [node("GatherElements", ["codes", "elements"], ["picked"], "picks", axis=1)],
    "TopK": [node("TopK", ["codes", "three"], ["picked", "found"], "picks", axis=1)],
    "Compress": [node("Compress", ["codes", "mask"], ["picked"], "picks", axis=1)],
    "CenterCropPad": [node("CenterCropPad", ["codes", "size"], ["picked"], "picks", axes=[1])],
    "Trilu": [node("Trilu", ["codes"], ["picked"], "picks", upper=0)],
}


@pytest.mark.parametrize("kind", PICKS)
def test_what_picks_or_cuts_keeps_the_codes(tmp_path, kind):
    inputs = {"rows": weights(SAMPLES, 12, 8, scale=1.0)}
    nodes = [
        node("MatMul", ["rows", "matrix"], ["codes"], "first"),
        *PICKS[kind],
        node("MatMul", ["picked", "last"], ["result"], "last"),
    ]
    constants = {"matrix": weights(8, 16), "last": weights(16, 40), "three": np.array([3])}
    constants |= {"places": np.array([[[3], [0], [-1]]]), "elements": np.arange(48).reshape(1, 3, 16) % 12}
    constants |= {"mask": np.arange(12) % 3 > 0, "size": np.array([15])}
    network = model(nodes, inputs, {"result": TensorProto.FLOAT}, constants, opset=18)
    outcome = converted(tmp_path, network, inputs, "int8")
    assert quality(outcome) > 28 and apart(outcome) > 120
    between = [outcome.model.op_counts.get(each, 0) for each in ("QUANTIZE", "DEQUANTIZE")]
    assert between == [0, 0], "the input and the output have codes themselves"


FORMS_OF_RESIZE = [
    (2.0, "half_pixel", ()),
    (2.0, "asymmetric", ()),
    (4.0, "half_pixel", ()),
    (2.0, "half_pixel", ("height", "width")),
    (2.0, "align_corners", ("height", "width")),
]


@pytest.mark.parametrize("clipped", [True, False], ids=["of one sign", "of both signs"])
@pytest.mark.parametrize(("factor", "places", "open_axes"), FORMS_OF_RESIZE)
def test_enlarged_images_have_the_same_codes_in_both_runtimes(tmp_path, factor, places, open_axes, clipped):
    """Halves of a step are rounded up in both, also where LiteRT's own kernel goes, for open sizes."""
    inputs = {"image": images(3, 40)}
    options = {"mode": "linear", "coordinate_transformation_mode": places}
    nodes = [
        LAYER,
        node("Relu" if clipped else "Identity", ["first"], ["made"], "made"),
        node("Resize", ["made", "", "factors"], ["result"], "wide", **options),
    ]
    constants = {**FRONT, "factors": np.array([1, 1, factor, factor], np.float32)}
    sizes = {"image": (1, 3, *(open_axes or (40, 40)))}
    network = model(nodes, inputs, {"result": TensorProto.FLOAT}, constants, sizes=sizes)
    outcome = converted(tmp_path, network, inputs, "int8")
    assert quality(outcome) > 25 and apart(outcome) > (50 if places == "align_corners" else 120)
    added = outcome.model.op_counts.get("ADD", 0)
    assert added == bool(open_axes), "what raises halves in ONNX has no part in the network"


@pytest.mark.parametrize("form", ["int8", "int16x8"])
@pytest.mark.parametrize("curve", ["Tanh", "Sigmoid", "Softmax"])
def test_what_is_moved_from_a_curve_has_the_scale_that_its_kernel_demands(tmp_path, curve, form):
    """Though the largest of it is more than the codes of that reach."""
    inputs = {"rows": weights(SAMPLES, 12, 8, scale=9.0)}
    nodes = [
        node("MatMul", ["rows", "matrix"], ["made"], "made"),
        node(curve, ["made"], ["bent"], "bent"),
        node("Gather", ["bent", "order"], ["picked"], "picked", axis=1),
        node("Concat", ["picked", "bent"], ["joined"], "joined", axis=1),
        node("MatMul", ["joined", "last"], ["result"], "last"),
    ]
    constants = {"matrix": weights(8, 16), "order": np.array([3, 1, 7]), "last": weights(16, 5)}
    network = model(nodes, inputs, {"result": TensorProto.FLOAT}, constants)
    assert apart(converted(tmp_path, network, inputs, form)) > (120 if form == "int8" else 60)


@pytest.mark.parametrize("form", ["int8_weights", "dynamic"])
def test_tables_have_codes_of_which_the_rows_that_are_read_are_numbers(tmp_path, form):
    inputs = {"ids": np.random.default_rng(2).integers(0, 500, (SAMPLES, 7))}
    nodes = [
        node("Gather", ["words", "ids"], ["rows"], "words"),
        node("MatMul", ["rows", "matrix"], ["made"], "made"),
        node("ReduceMax", ["made"], ["most"], "most", axes=[1]),
        node("Gather", ["words", "ids"], ["again"], "again"),
        node("ReduceMean", ["again"], ["mean"], "mean", axes=[1]),
    ]
    constants = {"words": weights(500, 32), "matrix": weights(32, 16)}
    network = model(nodes, inputs, {"most": TensorProto.FLOAT, "mean": TensorProto.FLOAT}, constants)
    outcome, plain = (converted(tmp_path, network, inputs, each) for each in (form, "none"))
    assert quality(outcome) > 30 and apart(outcome) > 38
    assert outcome.size < plain.size - 3 * 500 * 32


def test_what_follows_from_sizes_gets_no_codes() -> None:
    """Codes for the sizes of calibration inputs have none for larger ones."""
    nodes = [
        node("Relu", ["x"], ["r"], name="relu"),
        node("Shape", ["r"], ["shape"], name="shape"),
        node("Gather", ["shape", "one"], ["size"], name="size"),
        node("Cast", ["size"], ["limit"], name="limit", to=TensorProto.FLOAT),
        node("Range", ["start", "limit", "step"], ["places"], name="places"),
        node("Mul", ["places", "share"], ["parts"], name="parts"),
        node("Mul", ["r", "parts"], ["m"], name="made"),
        node("Slice", ["table", "zeros", "size"], ["rows"], name="rows"),
        node("Mul", ["rows", "share"], ["embedded"], name="embedded"),
        node("Add", ["m", "embedded"], ["y"], name="sum"),
    ]
    numbers = {"one": [1], "start": np.float32(0), "step": np.float32(1), "share": np.float32(0.01)}
    numbers |= {"table": np.ones(9, np.float32), "zeros": [0]}
    held = [numpy_helper.from_array(np.asarray(number), name) for name, number in numbers.items()]
    ends = [info("x", TensorProto.FLOAT, [1, "length"])], [info("y", TensorProto.FLOAT, None)]
    network = helper.make_model(helper.make_graph(nodes, "graph", *ends, held))
    kept = set(unquantised_nodes(network))
    assert kept >= {"limit", "places", "parts"}
    assert not kept & {"relu", "made", "rows", "embedded", "sum"}


def test_outputs_that_are_integers_have_no_ranges() -> None:
    """ONNX Runtime, asked for no outputs, gives all."""
    nodes = [node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)]
    ends = [info("x", TensorProto.FLOAT, [1, 5])], [info("y", TensorProto.INT64, [1])]
    opsets = [helper.make_opsetid("", 17)]
    graph = helper.make_graph(nodes, "graph", *ends)
    network = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    rows = list(Activations(network, np.ones((2, 5), np.float32), ["y"]))
    assert [sorted(row) for row in rows] == [["x"], ["x"]]


@pytest.mark.parametrize("form", ["none", "int8", "int16x8", "dynamic", "int8_weights"])
def test_outputs_that_are_constants_or_inputs_are_given_in_any_form(tmp_path, form):
    """The kernel, a vector, a scalar, an integer and the image itself, one of them twice."""
    inputs = {"image": images(3, 8)}
    constants = {"kernel": weights(8, 3, 3, 3), "vector": weights(5), "scalar": np.float32(2)}
    constants |= {"whole": np.array([[1, 2]])}
    nodes = [LAYER, node("Identity", ["vector"], ["again"]), node("Identity", ["image"], ["same"])]
    nodes.append(node("Constant", [], ["made"], value=numpy_helper.from_array(weights(2, 3))))
    given = ("kernel", "vector", "scalar", "again", "image", "same", "made")
    outputs = {"vector": TensorProto.FLOAT, "first": TensorProto.FLOAT, "whole": TensorProto.INT64}
    network = model(nodes, inputs, {**outputs, **dict.fromkeys(given, TensorProto.FLOAT)}, constants)
    outcome = converted(tmp_path, network, inputs, form)
    assert outcome.check is not None
    found = outcome.check.outputs
    assert set(found) == {output.name for output in network.graph.output}
    assert found["first"].varies and found["first"].snr_db > 25
    assert all(each.max_abs_diff == 0 for name, each in found.items() if name != "first")
