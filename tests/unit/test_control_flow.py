"""Branches and loops: what ONNX Runtime makes of them LiteRT makes of the converted file."""

import io

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgepress.convert.cutting import read_cuts
from edgepress.convert.nhwc import convert, planned
from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.rounds import rounds_of
from edgepress.inspection.inspect import inspect
from edgepress.translate.ends import end_orders, network_channels

NODE = helper.make_node
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
GENERATOR = np.random.default_rng(0)


def random(*shape):
    return GENERATOR.standard_normal(shape).astype(np.float32)


def info(name, shape=None, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def held(values):
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in (values or {}).items()]


def within(nodes, inputs, outputs, values=None):
    return helper.make_graph(nodes, "within", inputs, outputs, held(values))


def model(nodes, inputs, outputs, values=None, opset=15):
    graph = helper.make_graph(nodes, "network", inputs, outputs, held(values))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def body(nodes, carried, collected=(), values=None, going="keep", kind=FLOAT):
    """The body of a Loop; what it carries is called `s` and becomes `s2`, and so on."""
    ends = [info(f"{name}2", None, kind) for name in carried]
    if going == "keep":
        nodes = [NODE("Identity", ["go"], ["going"]), *nodes]
    inputs = [info("i", [], INT64), info("go", [], BOOL), *(info(name, None, kind) for name in carried)]
    outputs = [info("going", None, BOOL), *ends, *(info(name, None, kind) for name in collected)]
    return within(nodes, inputs, outputs, values)


def written(network):
    normal = normalise(onnx.ModelProto.FromString(network.SerializeToString()))
    orders = end_orders(normal, network_channels(normal), keep=True)
    file = io.BytesIO()
    convert(normal, False, np.zeros(0), orders).write(file)
    return file.getvalue()


def operators(content):
    return [each["op_name"] for each in Interpreter(model_content=content)._get_ops_details()]


def assert_runs_alike(network, *feeds, tolerance=1e-5):
    """The same outputs for each of the inputs, in one interpreter, which are not all alike."""
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    content = written(network)
    runner, seen = Interpreter(model_content=content).get_signature_runner(), set()
    for feed in feeds:
        feed = {name: np.asarray(value) for name, value in feed.items()}
        expected = session.run(None, feed)
        found = runner(**{name: feed[name] for name in runner.get_input_details()})
        for output, wanted in zip(session.get_outputs(), expected, strict=True):
            given = found[output.name]
            assert (given.shape, given.dtype) == (wanted.shape, wanted.dtype), output.name
            np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance, err_msg=output.name)
            seen.add(wanted.tobytes())
    assert len(seen) > 1
    return content


# If


def test_a_branch_of_convolutions_needs_no_transpose():
    then = within(
        [NODE("Conv", ["x0", "w2"], ["t"], pads=[1] * 4)], [], [info("t")], {"w2": random(5, 4, 3, 3)}
    )
    scaled = [NODE("Mul", ["x0", "two"], ["m"]), NODE("Conv", ["m", "w3"], ["e"])]
    other = within(scaled, [], [info("e")], {"w3": random(5, 4, 1, 1)})
    nodes = [
        NODE("Conv", ["x", "w0"], ["x0"]),
        NODE("If", ["c"], ["y"], then_branch=then, else_branch=other),
        NODE("Conv", ["y", "w"], ["z"], pads=[1] * 4),
        NODE("GlobalAveragePool", ["z"], ["p"]),
        NODE("Flatten", ["p"], ["out"]),
    ]
    values = {"w0": random(4, 3, 1, 1), "w": random(2, 5, 3, 3), "two": np.float32(2)}
    network = model(nodes, [info("x", [1, 3, 6, 6]), info("c", [], BOOL)], [info("out", None)], values)
    image = random(1, 3, 6, 6)
    content = assert_runs_alike(network, {"x": image, "c": True}, {"x": image, "c": False})
    assert operators(content).count("TRANSPOSE") == 1  # of the input, which `keep` leaves as it is


def test_branches_give_inputs_constants_and_several_results():
    then = within(
        [NODE("Identity", ["x"], ["same"])], [], [info("same"), info("k")], {"k": random(1, 3, 4, 4)}
    )
    nodes = [NODE("Conv", ["x", "w"], ["a"], pads=[1] * 4), NODE("Add", ["x", "a"], ["b"])]
    other = within(nodes, [], [info("a"), info("b")])
    choice = NODE("If", ["c"], ["y", "z"], then_branch=then, else_branch=other)
    ends = [info("x", [1, 3, 4, 4]), info("c", [1], BOOL)], [info("y"), info("z")]
    network = model([choice], *ends, {"w": random(3, 3, 3, 3)})
    image = random(1, 3, 4, 4)
    assert_runs_alike(network, {"x": image, "c": [True]}, {"x": image, "c": [False]})


def test_branches_of_different_sizes():
    spans = {"a": np.array([1]), "b": np.array([3]), "axes": np.array([1])}
    then = within([NODE("Slice", ["x", "a", "b", "axes"], ["t"])], [], [info("t")], spans)
    other = within([NODE("Relu", ["x"], ["r"])], [], [info("r")])
    choice = NODE("If", ["c"], ["y"], then_branch=then, else_branch=other)
    network = model([choice], [info("x", [1, 6]), info("c", [], BOOL)], [info("y")])
    assert_runs_alike(network, {"x": random(1, 6), "c": True}, {"x": random(1, 6), "c": False})


def test_branches_for_any_batch():
    then = within([NODE("Relu", ["x"], ["t"])], [], [info("t")])
    other = within([NODE("Neg", ["x"], ["e"])], [], [info("e")])
    choice = NODE("If", ["c"], ["y"], then_branch=then, else_branch=other)
    network = model([choice], [info("x", ["batch", 6]), info("c", [], BOOL)], [info("y")])
    assert_runs_alike(network, *({"x": random(n, 6), "c": n > 2} for n in (1, 3, 2)))


def test_branches_of_different_ranks_are_refused():
    then = within([NODE("Squeeze", ["x", "axes"], ["t"])], [], [info("t")], {"axes": np.array([0])})
    other = within([NODE("Relu", ["x"], ["e"])], [], [info("e")])
    choice = NODE("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other)
    network = model([choice], [info("x", [1, 6]), info("c", [], BOOL)], [info("y")])
    with pytest.raises(UnsupportedModelError, match=r"'choice' .If.*of 1 and of 2 axes"):
        planned(normalise(network))


# Loop


def sums(**options):
    """Sums of x, collected times their number; they end at 40 where asked to."""
    nodes = [
        NODE("Add", ["s", "x"], ["s2"]),
        NODE("Cast", ["i"], ["f"], to=FLOAT),
        NODE("Mul", ["s2", "f"], ["o"]),
    ]
    if options.get("early"):
        nodes += [NODE("ReduceSum", ["s2"], ["r"], keepdims=0), NODE("Less", ["r", "most"], ["going"])]
    going = "computed" if options.get("early") else "keep"
    inputs, values = [info("x", [2, 3])], {"s0": np.zeros((2, 3), np.float32), "most": np.float32(40)}
    rounds = options.get("rounds", "")
    if rounds == "rounds":
        inputs.append(info("rounds", [], INT64))
    elif rounds:
        rounds, values["number"] = "number", np.int64(rounds)
    if options.get("condition"):
        inputs.append(info("condition", [], BOOL))
    operands = [rounds, "condition" if options.get("condition") else "", "s0"]
    loop = NODE("Loop", operands, ["y", "z"], body=body(nodes, "s", "o", going=going))
    return model([loop], inputs, [info("y"), info("z")], values)


X = np.abs(random(2, 3))


@pytest.mark.parametrize(
    ("network", "feeds"),
    [
        (sums(rounds=20), [{"x": X}]),
        (sums(rounds=5, early=True), [{"x": X}, {"x": 4 * X}]),
        (sums(early=True), [{"x": X}, {"x": 4 * X}]),
        (sums(rounds=2**63 - 1, early=True), [{"x": X}, {"x": 4 * X}]),
        (sums(rounds="rounds"), [{"x": X, "rounds": n} for n in (4, 9, 1)]),
        (
            sums(rounds="rounds", condition=True, early=True),
            [{"x": X, "rounds": n, "condition": True} for n in (4, 20)],
        ),
    ],
    ids=["known", "known_early", "condition", "endless", "computed", "both"],
)
def test_loops(network, feeds):
    assert_runs_alike(network, *feeds)


def test_a_loop_of_no_rounds_gives_what_it_started_with():
    content = written(sums(rounds="rounds"))
    found = Interpreter(model_content=content).get_signature_runner()(x=X, rounds=np.array(0))
    assert found["z"].shape == (0, 2, 3)
    assert not found["y"].any()


@pytest.mark.parametrize("kind", ["float32", "int64", "int32", "int16", "uint8", "int8", "bool"])
def test_loops_carry_and_collect_any_type(kind):
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [
        NODE("Cast", ["s"], ["f"], to=FLOAT),
        NODE("Add", ["f", "one"], ["f2"]),
        NODE("Cast", ["f2"], ["s2"], to=number),
        NODE("Identity", ["s"], ["o"]),
    ]
    rounds = body(nodes, "s", "o", {"one": np.float32(1)}, kind=number)
    loop = NODE("Loop", ["number", "", "x"], ["y", "z"], body=rounds)
    ends = [info("x", [2, 3], number)], [info("y", None, number), info("z", None, number)]
    network = model([loop], *ends, {"number": np.int64(20)})
    assert_runs_alike(network, {"x": np.array([[0, 1, 0], [1, 0, 1]], kind)})


def test_a_loop_carries_a_number_without_axes():
    nodes = [NODE("Add", ["s", "one"], ["s2"]), NODE("ReduceMax", ["x"], ["most"], keepdims=0)]
    nodes.append(NODE("Less", ["s2", "most"], ["going"]))
    rounds = body(nodes, "s", values={"one": np.float32(1)}, going="")
    outer = [NODE("Loop", ["", "yes", "nought"], ["s9"], body=rounds), NODE("Cast", ["s9"], ["y"], to=INT64)]
    values = {"yes": np.array(True), "nought": np.float32(0)}
    network = model(outer, [info("x", [1, 4])], [info("y", [], INT64)], values)
    assert_runs_alike(network, *({"x": most * np.eye(4, dtype=np.float32)[:1]} for most in (1, 3, 8)))


def test_a_loop_over_images_needs_no_transpose_within():
    nodes = [
        NODE("Conv", ["s", "w"], ["k"], pads=[1] * 4),
        NODE("Add", ["k", "x0"], ["a"]),
        NODE("Relu", ["a"], ["s2"]),
        NODE("GlobalAveragePool", ["s2"], ["p"]),
        NODE("Flatten", ["p"], ["o"]),
    ]
    outer = [
        NODE("Conv", ["x", "w"], ["x0"], pads=[1] * 4),
        NODE("Loop", ["number", "", "x0"], ["y", "z"], body=body(nodes, "s", "o")),
        NODE("Conv", ["y", "w"], ["out"], pads=[1] * 4),
        NODE("Squeeze", ["z", "axes"], ["rows"]),
        NODE("MatMul", ["rows", "q"], ["product"]),
    ]
    values = {"w": 0.2 * random(3, 3, 3, 3), "number": np.int64(20), "axes": np.array([1]), "q": random(3, 2)}
    network = model(outer, [info("x", [1, 3, 8, 8])], [info("out"), info("product")], values)
    content = assert_runs_alike(network, {"x": random(1, 3, 8, 8)})
    plan = planned(normalise(network))
    assert "transpose" not in [step.op for step in plan.steps[-1:]]
    (loop,) = [step for step in plan.steps if step.op == "while"]
    assert "transpose" not in [step.op for step in loop.attributes["body"].steps]
    assert operators(content).count("TRANSPOSE") == 2  # of input and output, which `keep` leaves as they are


def test_loops_within_loops_and_branches():
    inner = within(
        [NODE("Identity", ["go2"], ["going2"]), NODE("Add", ["t", "s"], ["t2"])],
        [info("j", [], INT64), info("go2", [], BOOL), info("t")],
        [info("going2", None, BOOL), info("t2")],
    )
    nodes = [
        NODE("Add", ["i", "one"], ["k"]),
        NODE("Loop", ["k", "", "s"], ["s2"], body=inner),
        NODE("Identity", ["s2"], ["o"]),
    ]
    loop = NODE("Loop", ["n", "", "x"], ["l", "all"], body=body(nodes, "s", "o", {"one": np.int64(1)}))
    then = within([loop, NODE("ReduceMax", ["all"], ["t"], axes=[0], keepdims=0)], [], [info("t")])
    other = within([NODE("Neg", ["x"], ["e"])], [], [info("e")])
    outer = [
        NODE("ReduceSum", ["x"], ["r"], keepdims=0),
        NODE("Greater", ["r", "zero"], ["c"]),
        NODE("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    ends = [info("x", [2, 3]), info("n", [], INT64)], [info("y")]
    network = model(outer, *ends, {"zero": np.float32(0)})
    assert_runs_alike(network, {"x": X, "n": 3}, {"x": -X, "n": 3}, {"x": X, "n": 2})


def test_what_is_carried_may_grow():
    loop = NODE("Loop", ["n", "", "x"], ["y"], body=body([NODE("Concat", ["s", "x"], ["s2"], axis=0)], "s"))
    network = model([loop], [info("x", [1, 3]), info("n", [], INT64)], [info("y")])
    assert_runs_alike(network, {"x": random(1, 3), "n": 3}, {"x": random(1, 3), "n": 1})


def test_what_is_collected_or_carried_may_have_any_length_behind_the_loop_and_within():
    """TFLite's tensors show the length of the first round: no move may be left out for it."""
    collecting = body([NODE("Add", ["s", "x"], ["s2"]), NODE("Mul", ["s2", "s2"], ["o"])], "s", "o")
    outer = [
        NODE("Loop", ["n", "", "s0"], ["e", "c"], body=collecting),
        NODE("Transpose", ["c"], ["y"], perm=[1, 0, 2]),
        NODE("Flatten", ["y"], ["z"]),
    ]
    ends = [info("x", [2, 3]), info("n", [], INT64)], [info("y"), info("z")]
    network = model(outer, *ends, {"s0": np.zeros((2, 3), np.float32)})
    assert_runs_alike(network, *({"x": X, "n": rounds} for rounds in (5, 1, 9)))

    rows = [
        NODE("Transpose", ["s"], ["t"], perm=[1, 0, 2]),
        NODE("Reshape", ["t", "rows"], ["r"]),
        NODE("ReduceMean", ["r"], ["o"], axes=[0]),
        NODE("Unsqueeze", ["o", "first"], ["u"]),
        NODE("Concat", ["s", "u"], ["s2"], axis=1),
    ]
    growing = body(rows, "s", "o", {"rows": np.array([-1, 3]), "first": np.array([0])})
    outer = [
        NODE("Loop", ["n", "", "x"], ["e", "c"], body=growing),
        NODE("Transpose", ["e"], ["y"], perm=[1, 0, 2]),
    ]
    network = model(outer, [info("x", [1, 1, 3]), info("n", [], INT64)], [info("y"), info("c")])
    assert_runs_alike(network, *({"x": random(1, 1, 3), "n": rounds} for rounds in (5, 1, 9)))


def test_branches_of_different_lengths_are_moved_by_what_stands_behind_them():
    some = within(
        [NODE("Slice", ["x", "from", "to", "axis"], ["a"])],
        [],
        [info("a")],
        {"from": np.array([0]), "to": np.array([1]), "axis": np.array([1])},
    )
    every = within([NODE("Identity", ["x"], ["b"])], [], [info("b")])
    outer = [
        NODE("ReduceSum", ["x"], ["sum"], keepdims=0),
        NODE("Greater", ["sum", "nought"], ["c"]),
        NODE("If", ["c"], ["m"], then_branch=some, else_branch=every),
        NODE("Transpose", ["m"], ["y"], perm=[1, 0, 2]),
    ]
    network = model(outer, [info("x", [1, 4, 3])], [info("y")], {"nought": np.float32(0)})
    x = np.abs(random(1, 4, 3))
    assert_runs_alike(network, {"x": x}, {"x": -x})


@pytest.mark.parametrize("sizes", [("n", "t", 3), ("n", 40, 3)], ids=["batch_and_length", "batch"])
def test_rounds_over_samples_of_an_open_number(sizes):
    """As tf2onnx writes what Keras loops over: each round picks its own part, and collects."""
    nodes = [
        NODE("Gather", ["turned", "i"], ["e"]),
        NODE("ReduceSum", ["e", "last"], ["r"], keepdims=0),
        NODE("Unsqueeze", ["r", "last"], ["u"]),
        NODE("Add", ["s", "u"], ["s2"]),
        NODE("Mul", ["s2", "e"], ["o"]),
    ]
    outer = [
        NODE("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        NODE("Shape", ["turned"], ["shape"]),
        NODE("Gather", ["shape", "first"], ["rounds"]),
        NODE("ReduceSum", ["x", "both"], ["s0"], keepdims=0),
        NODE("Unsqueeze", ["s0", "last"], ["s1"]),
        NODE("Loop", ["rounds", "", "s1"], ["z", "c"], body=body(nodes, "s", "o")),
        NODE("Transpose", ["c"], ["y"], perm=[1, 0, 2]),
    ]
    values = {"last": np.array([1]), "both": np.array([1, 2]), "first": np.array(0)}
    network = model(outer, [info("x", list(sizes))], [info("y"), info("z")], values)
    open_axes = Interpreter(model_content=written(network)).get_input_details()[0]["shape_signature"] == -1
    shapes = [np.where(open_axes, chosen, [1, 40, 3]) for chosen in ([1, 40, 3], [2, 7, 3], [3, 2, 3])]
    assert_runs_alike(network, *({"x": random(*shape)} for shape in shapes))


def test_a_loop_that_nothing_ends_is_refused():
    loop = NODE("Loop", ["", "", "x"], ["y"], "forever", body=body([NODE("Relu", ["s"], ["s2"])], "s"))
    with pytest.raises(UnsupportedModelError, match=r"'forever' .Loop.: nothing ends it"):
        planned(normalise(model([loop], [info("x", [1, 3])], [info("y")])))


# Scan


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (7, 3)),
        ({"scan_input_directions": [1]}, (7, 3)),
        ({"scan_output_directions": [1]}, (7, 3)),
        ({"scan_input_axes": [1], "scan_output_axes": [1]}, (3, 7)),
        ({"scan_input_axes": [-1], "scan_input_directions": [1]}, (3, 20)),
    ],
)
def test_scan(options, shape):
    nodes = [NODE("Add", ["s", "e"], ["s2"]), NODE("Mul", ["s2", "e"], ["o"])]
    rounds = within(nodes, [info("s", [3]), info("e", [3])], [info("s2", [3]), info("o", [3])])
    scan = NODE("Scan", ["s0", "x"], ["y", "z"], body=rounds, num_scan_inputs=1, **options)
    network = model([scan], [info("s0", [3]), info("x", shape)], [info("y"), info("z")])
    assert_runs_alike(network, {"s0": random(3), "x": random(*shape)})


def test_scan_of_any_length():
    nodes = [NODE("Add", ["s", "e"], ["s2"]), NODE("Mul", ["s2", "e"], ["o"])]
    rounds = within(nodes, [info("s"), info("e")], [info("s2"), info("o")])
    options = {"num_scan_inputs": 1, "scan_input_directions": [1]}
    scan = NODE("Scan", ["s0", "x"], ["y", "z"], body=rounds, **options)
    ends = [info("x", ["time", 3])], [info("y"), info("z")]
    network = model([scan], *ends, {"s0": np.zeros(3, np.float32)})
    assert_runs_alike(network, *({"x": random(length, 3)} for length in (5, 9, 1)))


# What is known beforehand


def test_a_branch_that_is_always_taken_stands_for_the_if():
    """As TorchScript writes `squeeze` of an axis that has one element: the branches differ in rank."""
    then = within([NODE("Squeeze", ["x", "axes"], ["t"])], [], [info("t")], {"axes": np.array([1])})
    other = within([NODE("Relu", ["x"], ["t"])], [], [info("t")])
    nodes = [
        NODE("Shape", ["x"], ["sizes"]),
        NODE("Gather", ["sizes", "one"], ["size"]),
        NODE("Equal", ["size", "one"], ["single"]),
        NODE("If", ["single"], ["y"], then_branch=then, else_branch=other),
        NODE("Relu", ["y"], ["t"]),
    ]
    network = model(nodes, [info("x", ["batch", 1, 5])], [info("t")], {"one": np.int64(1)})
    content = assert_runs_alike(network, *({"x": random(n, 1, 5)} for n in (1, 3)))
    assert "IF" not in operators(content)


def test_a_short_loop_is_written_out():
    """Names within it are those of other tensors; each round has its own."""
    nodes = [
        NODE("MatMul", ["s", "w"], ["k"]),
        NODE("Cast", ["i"], ["f"], to=FLOAT),
        NODE("Add", ["k", "f"], ["s2"]),
        NODE("Relu", ["s2"], ["o"]),
    ]
    loop = NODE("Loop", ["n", "", "x"], ["y", "z"], body=body(nodes, "s", "o", {"w": random(3, 3)}))
    outer = [loop, NODE("Neg", ["y"], ["k"]), NODE("Concat", ["k", "w"], ["out"], axis=0)]
    values = {"n": np.int64(5), "w": random(1, 3)}
    network = model(outer, [info("x", [2, 3])], [info("out"), info("z")], values)
    content = assert_runs_alike(network, {"x": random(2, 3)}, {"x": random(2, 3)})
    assert "WHILE" not in operators(content)


def counting(limit, first=True, most=""):
    """A Loop without a number of rounds, as `while` becomes one: its own counter ends it."""
    nodes = [
        NODE("Tanh", ["s"], ["s2"]),
        NODE("Identity", ["s2"], ["o"]),
        NODE("Add", ["c", "step"], ["c2"]),
        NODE("Less", ["c2", "limit"], ["going"]),
    ]
    inputs = [info("i", [], INT64), info("go", [], BOOL), info("s", [2, 3]), info("c", [], INT64)]
    outputs = [info("going", [], BOOL), info("s2", [2, 3]), info("c2", [], INT64), info("o", [2, 3])]
    loop = NODE("Loop", [most, "first", "x", "zero"], ["y", "n", "z"], body=within(nodes, inputs, outputs))
    values = {"first": np.array(first), "zero": np.int64(0), "step": np.int64(2), "limit": np.int64(limit)}
    values |= {"most": np.int64(4)} if most else {}
    return model([loop], [info("x", [2, 3])], [info("y"), info("n", [], INT64), info("z")], values)


@pytest.mark.parametrize(("limit", "most", "rounds"), [(1, "", 1), (7, "", 4), (99, "most", 4)])
def test_a_short_loop_that_its_own_counter_ends_is_written_out(limit, most, rounds):
    network = counting(limit, most=most)
    content = assert_runs_alike(network, {"x": random(2, 3)}, {"x": random(2, 3)})
    assert operators(content).count("TANH") == rounds
    assert "WHILE" not in operators(content)


def test_what_a_long_loop_collects_has_the_size_that_its_counter_tells():
    content = assert_runs_alike(counting(400), {"x": random(2, 3)}, {"x": random(2, 3)})
    assert "WHILE" in operators(content)
    ends = Interpreter(model_content=content).get_signature_runner().get_output_details()
    assert ends["z"]["shape_signature"].tolist() == [200, 2, 3]


def test_a_loop_whose_condition_never_holds_gives_what_it_started_with():
    assert_runs_alike(counting(7, first=False), {"x": random(2, 3)}, {"x": random(2, 3)})


def test_a_condition_of_many_numbers_is_not_computed_ahead():
    """A small file could ask for any amount of memory, round by round."""
    network = counting(7)
    (loop,) = network.graph.node
    for count in (7, 2**40):
        *nodes, last = loop.attribute[0].g.node
        wide = NODE("Expand", ["c2", "width"], ["wide"])
        most = NODE("ReduceMax", ["wide"], ["most"], keepdims=0)
        held = numpy_helper.from_array(np.array([count]), "width")
        changed = helper.make_node("Loop", loop.input, loop.output, body=loop.attribute[0].g)
        graph = changed.attribute[0].g
        graph.initializer.append(held)
        del graph.node[:]
        graph.node.extend([*nodes, wide, most, NODE("Less", ["most", "limit"], last.output)])
        constants = {tensor.name: tensor for tensor in network.graph.initializer}
        assert rounds_of(changed, constants, network.opset_import) is None
    assert rounds_of(loop, constants, network.opset_import) == 4


def test_a_branch_within_a_loop_that_is_always_taken():
    choice = {
        "then_branch": within([NODE("Add", ["s", "x"], ["t"])], [], [info("t")]),
        "else_branch": within([NODE("Neg", ["s"], ["e"])], [], [info("e")]),
    }
    nodes = [NODE("If", ["yes"], ["s2"], **choice), NODE("Identity", ["s2"], ["o"])]
    loop = NODE("Loop", ["n", "", "x"], ["y", "z"], body=body(nodes, "s", "o", {"yes": np.array(True)}))
    network = model([loop], [info("x", [2, 3]), info("n", [], INT64)], [info("y"), info("z")])
    (step,) = [step for step in planned(normalise(network)).steps if step.op == "while"]
    assert "if" not in [each.op for each in step.attributes["body"].steps]
    assert_runs_alike(network, {"x": random(2, 3), "n": 2}, {"x": random(2, 3), "n": 4})


# Reports


def test_reports_tell_of_all_sub_graphs(tmp_path):
    (tmp_path / "model.tflite").write_bytes(written(sums(rounds=20)))
    report = inspect(tmp_path / "model.tflite")
    assert report.op_counts["WHILE"] == report.op_counts["DYNAMIC_UPDATE_SLICE"] == 1
    assert len(report.operators) == sum(report.op_counts.values())
    assert len({each.nodes for each in report.operators if each.operator == "MUL"} & {"o"}) == 1
    cuts = read_cuts(tmp_path / "model.tflite")
    assert [each.operator for each in cuts.steps][-1] == "(FILL) + WHILE"


def test_weights_within_branches_are_shared(tmp_path):
    nodes = [NODE("Conv", ["x", "w"], ["a"], pads=[1] * 4), NODE("Relu", ["a"], ["t"])]
    then, other = within(nodes, [], [info("t")]), within(nodes[:1], [], [info("a")])
    choice = NODE("If", ["c"], ["y"], then_branch=then, else_branch=other)
    ends = [info("x", [1, 8, 6, 6]), info("c", [], BOOL)], [info("y")]
    network = model([choice], *ends, {"w": random(8, 8, 3, 3)})
    content = assert_runs_alike(
        network, {"x": random(1, 8, 6, 6), "c": True}, {"x": random(1, 8, 6, 6), "c": False}
    )
    assert len(content) < 1.5 * 8 * 8 * 9 * 4 + 4000
    (tmp_path / "model.tflite").write_bytes(content)
    assert inspect(tmp_path / "model.tflite").parameters == 8 * 8 * 9 + 8


# Files that lie


def test_graphs_that_are_nested_deeply_are_refused():
    graph = within([NODE("Relu", ["x"], ["t0"])], [], [info("t0")])
    for depth in range(1, 8):
        other = within([NODE("Neg", ["x"], [f"e{depth}"])], [], [info(f"e{depth}")])
        node = NODE("If", ["c"], [f"t{depth}"], then_branch=graph, else_branch=other)
        graph = within([node], [], [info(f"t{depth}")])
    ends = [info("x", [1, 3]), info("c", [], BOOL)], [info("t7")]
    with pytest.raises(UnsupportedModelError, match="nested 7 deep; expected at most 6"):
        normalise(model([node], *ends))


def test_what_a_loop_collects_may_not_be_endless():
    network = sums(rounds=2**31 - 2)
    with pytest.raises(UnsupportedModelError, match=r"'z' would have the shape .2147483646, 2, 3."):
        planned(normalise(network))


def test_operators_within_branches_mean_what_their_opset_meant():
    """Softmax over all axes from the second on, and an Upsample, which opset 10 took away."""
    nodes = [
        NODE("Upsample", ["x", "scales"], ["u"], mode="linear"),
        NODE("MaxPool", ["u"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        NODE("Softmax", ["p"], ["t"], axis=1),
    ]
    then = within(nodes, [], [info("t")], {"scales": np.array([1, 1, 2, 2], np.float32)})
    other = within([NODE("Relu", ["x"], ["e"])], [], [info("e")])
    choice = NODE("If", ["c"], ["y"], then_branch=then, else_branch=other)
    network = model([choice], [info("x", [1, 2, 5, 5]), info("c", [], BOOL)], [info("y")], opset=9)
    image = random(1, 2, 5, 5)
    assert_runs_alike(network, {"x": image, "c": True}, {"x": image, "c": False})


def test_scan_within_which_nothing_is_declared():
    """As functions of the standard have it: types and shapes follow, also from constants around it."""
    nodes = [
        NODE("Unsqueeze", ["e", "last"], ["column"]),
        NODE("Mul", ["column", "s"], ["outer"]),
        NODE("Add", ["s", "outer"], ["s2"]),
        NODE("CastLike", ["half", "s2"], ["factor"]),
        NODE("Mul", ["s2", "factor"], ["product"]),
        NODE("Squeeze", ["product", "last"], ["o"]),
    ]
    bare = [onnx.ValueInfoProto(name=name) for name in ("s", "e", "s2", "o")]
    rounds = within(nodes, bare[:2], bare[2:])
    scan = NODE("Scan", ["s0", "x"], ["y", "z"], body=rounds, num_scan_inputs=1)
    outer = [
        scan,
        NODE("Transpose", ["z"], ["turned"], perm=[1, 0]),
        NODE("MatMul", ["turned", "w"], ["out"]),
    ]
    values = {
        "s0": np.ones((3, 1), np.float32),
        "last": np.array([1]),
        "half": np.float64(0.5),
        "w": random(20, 2),
    }
    network = model(outer, [info("x", [20, 3])], [info("y"), info("out")], values, opset=17)
    assert_runs_alike(network, {"x": 0.1 * random(20, 3)})


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize(("samples", "length"), [(1, 5), (3, 4), (2, 60)])
def test_scan_of_opset_8_has_a_batch(samples, length, direction):
    nodes = [NODE("Tanh", ["s"], ["t"]), NODE("Add", ["t", "e"], ["s2"]), NODE("Neg", ["s2"], ["o"])]
    rounds = within(nodes, [info("s", [3]), info("e", [3])], [info("s2", [3]), info("o", [3])])
    options = {"num_scan_inputs": 1, "directions": [direction], "body": rounds}
    scan = NODE("Scan", ["", "s0", "x"], ["y", "z"], **options)
    ends = [info("s0", [samples, 3]), info("x", [samples, length, 3])]
    network = model([scan], ends, [info("y"), info("z")], opset=8)
    assert_runs_alike(network, *({"s0": random(samples, 3), "x": random(samples, length, 3)} for _ in "12"))


def test_scan_of_opset_8_with_lengths_is_refused():
    rounds = within([NODE("Add", ["s", "e"], ["s2"])], [info("s", [3]), info("e", [3])], [info("s2", [3])])
    scan = NODE("Scan", ["lengths", "s0", "x"], ["y"], body=rounds, num_scan_inputs=1)
    ends = [info("s0", [1, 3]), info("x", [1, 7, 3]), info("lengths", [1], TensorProto.INT64)]
    with pytest.raises(UnsupportedModelError, match=r"'y' \(Scan\) has sequences of different lengths; give"):
        normalise(model([scan], ends, [info("y")], opset=8))
