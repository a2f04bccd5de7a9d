"""Recurrent layers: what ONNX Runtime makes of them LiteRT makes of the file, inference by inference."""

import io
import time

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgepress.convert.nhwc import convert
from edgepress.graph.normalise.normalise import normalise
from edgepress.translate.ends import end_orders, network_channels

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
SIZE, FEATURES = 4, 3
GENERATOR = np.random.default_rng(0)


def random(*shape):
    return GENERATOR.standard_normal(shape).astype(np.float32)


def network(op, shape, states="none", lengths=None, peepholes=False, read=(1, 1, 1), batch=2, **attributes):
    """One layer over an input of this shape, whose open sizes have names."""
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    gates, first = GATES[op], attributes.get("layout", 0)
    held = {"W": 0.4 * random(ways, gates * SIZE, FEATURES), "R": 0.4 * random(ways, gates * SIZE, SIZE)}
    held["B"] = 0.3 * random(ways, 2 * gates * SIZE)
    operands = ["x", "W", "R", "B", "", "", "", ""]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*shape, FEATURES])]
    if lengths == "given":
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [batch]))
        operands[4] = "lengths"
    elif lengths is not None:
        held["lengths"], operands[4] = np.array(lengths, np.int32), "lengths"
    for place, name in ((5, "h"), (6, "c"))[: 2 if op == "LSTM" else 1]:
        sizes = (batch, ways, SIZE) if first else (ways, batch, SIZE)
        if states == "given":
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        elif states == "constant":
            held[name] = random(*sizes)
        operands[place] = "" if states == "none" else name
    if peepholes:
        held["P"], operands[7] = 0.5 * random(ways, 3 * SIZE), "P"
    names = [name if wanted else "" for name, wanted in zip(("Y", "Y_h", "Y_c"), read, strict=True)]
    names = names if op == "LSTM" else names[:2]
    while not operands[-1]:
        operands.pop()
    node = helper.make_node(op, operands, names, hidden_size=SIZE, **attributes)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name]
    constants = [numpy_helper.from_array(values, name) for name, values in held.items()]
    graph = helper.make_graph([node], "network", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def written(model):
    normal = normalise(onnx.ModelProto.FromString(model.SerializeToString()))
    orders = end_orders(normal, network_channels(normal), keep=True)
    file = io.BytesIO()
    convert(normal, False, np.zeros(0), orders).write(file)
    return file.getvalue()


def drawn(model, **sizes):
    """Inputs of the model; lengths of sequences differ."""
    feed = {}
    for entry in model.graph.input:
        dims = entry.type.tensor_type.shape.dim
        shape = [dim.dim_value if dim.HasField("dim_value") else sizes[dim.dim_param] for dim in dims]
        whole = entry.type.tensor_type.elem_type == TensorProto.INT32
        feed[entry.name] = np.arange(2, 2 + shape[0], dtype=np.int32) if whole else 2 * random(*shape)
    return feed


def assert_runs_alike(model, *feeds):
    """In one interpreter: a state that an inference left behind would spoil the next."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    content = written(model)
    runner, seen = Interpreter(model_content=content).get_signature_runner(), set()
    for feed in feeds:
        found = runner(**feed)
        for output, wanted in zip(session.get_outputs(), session.run(None, feed), strict=True):
            assert found[output.name].shape == wanted.shape
            np.testing.assert_allclose(found[output.name], wanted, atol=2e-6, err_msg=output.name)
            seen.add(wanted.tobytes())
    assert len(seen) >= len(feeds)
    return content


@pytest.mark.parametrize("length", [5, 23], ids=["written_out", "looped"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"states": "given", "lengths": "given"},
        {"states": "constant", "lengths": [2, 4], "clip": 0.7},
    ],
    ids=["plain", "given", "constant"],
)
def test_directions_states_and_lengths(op, direction, length, options):
    model = network(op, (length, 2), direction=direction, **options)
    assert_runs_alike(model, drawn(model), drawn(model))


@pytest.mark.parametrize("length", [5, 23], ids=["written_out", "looped"])
@pytest.mark.parametrize(
    ("op", "options"),
    [
        ("LSTM", {"peepholes": True, "direction": "bidirectional"}),
        ("LSTM", {"peepholes": True, "states": "given", "clip": 0.4}),
        ("LSTM", {"input_forget": 1, "states": "constant"}),
        ("LSTM", {"read": (0, 1, 0)}),
        ("LSTM", {"read": (0, 0, 1)}),
        ("GRU", {"read": (1, 0, 0)}),
        ("GRU", {"linear_before_reset": 1, "states": "given", "direction": "bidirectional"}),
        ("GRU", {"activations": ["HardSigmoid", "Relu"]}),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
        ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.3]}),
        ("RNN", {"activations": ["Elu"], "activation_alpha": [0.7]}),
        ("RNN", {"activations": ["Softplus"]}),
        (
            "LSTM",
            {
                "activations": ["HardSigmoid", "ScaledTanh", "Softsign"],
                "activation_alpha": [0.3, 1.7],
                "activation_beta": [0.4, 0.6],
            },
        ),
    ],
)
def test_attributes(op, length, options):
    model = network(op, (length, 2), **options)
    assert_runs_alike(model, drawn(model), drawn(model))


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_any_length_and_batch(op, direction):
    model = network(op, ("time", "batch"), direction=direction)
    assert_runs_alike(model, *(drawn(model, time=t, batch=n) for t, n in ((7, 2), (1, 1), (30, 5))))


def test_a_state_comes_in_and_goes_out():
    """A stream cut into pieces gives what the whole gives."""
    model = network("LSTM", ("time", 1), states="given", batch=1)
    runner = Interpreter(model_content=written(model)).get_signature_runner()
    feed = drawn(model, time=12)
    whole = runner(**feed)
    state, rows = {name: feed[name] for name in "hc"}, []
    for piece in np.split(feed["x"], 4):
        made = runner(x=piece, **state)
        rows.append(made["Y"])
        state = {"h": made["Y_h"], "c": made["Y_c"]}
    np.testing.assert_allclose(np.concatenate(rows), whole["Y"], atol=1e-6)
    np.testing.assert_allclose(state["c"], whole["Y_c"], atol=1e-6)


def test_a_long_sequence_takes_few_operators_and_its_time_axis_is_no_batch():
    model = network("LSTM", (200, 1), batch=1, read=(1, 0, 0))
    begin = time.process_time()
    content = written(model)
    assert time.process_time() - begin < 2
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_input_details()[0]["shape"].tolist() == [200, 1, FEATURES]
    assert [each["op_name"] for each in interpreter._get_ops_details()].count("WHILE") == 1
    assert len(interpreter._get_ops_details()) < 10
    assert len(content) < 20_000
    assert_runs_alike(model, drawn(model), drawn(model))


def test_a_file_that_onnx_runtime_quantised_has_the_numbers_of_its_codes(tmp_path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = network("LSTM", (20, 2), direction="bidirectional")
    onnx.save(plain, tmp_path / "plain.onnx")
    quantize_dynamic(tmp_path / "plain.onnx", tmp_path / "coded.onnx", weight_type=QuantType.QInt8)
    coded = onnx.load(tmp_path / "coded.onnx")
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in coded.graph.initializer}
    (node,) = coded.graph.node
    assert node.op_type == "DynamicQuantizeLSTM"
    for place, scale in ((1, 8), (2, 10)):
        codes, factor, zero = (held[node.input[i]].astype(np.float32) for i in (place, scale, scale + 1))
        numbers = ((codes - zero.reshape(2, 1, -1)) * factor.reshape(2, 1, -1)).transpose(0, 2, 1)
        weights = next(t for t in plain.graph.initializer if t.name == "WR"[place - 1])
        weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numbers), weights.name))
    feed = drawn(plain)
    (session,) = [onnxruntime.InferenceSession(plain.SerializeToString())]
    found = Interpreter(model_content=written(coded)).get_signature_runner()(**feed)
    for output, wanted in zip(session.get_outputs(), session.run(None, feed), strict=True):
        np.testing.assert_allclose(found[output.name], wanted, atol=2e-6)
