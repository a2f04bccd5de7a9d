"""int8 and what a node carries: each attribute of each operator, against float ONNX Runtime and in LiteRT."""

from itertools import groupby

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.graph.normalise.normalise import normalise
from edgepress.translate.ops import quantisation
from edgepress.translate.ops.table import PLANNERS
from tests.int8_cases import CASES, WITHOUT_CODES, WITHOUT_EFFECT, Case
from tests.networks import FORMATS, Graph, signal_to_noise, tensorflow

_TOGETHER = 16
_OPSETS = (15, 21)

INPUTS = np.random.default_rng(5).normal(size=(12, 4, 6, 8)).astype(np.float32)


def groups() -> list[list[Case]]:
    """Cases of one opset, some in each network."""
    ordered = sorted(CASES, key=lambda case: case.opset)
    found = []
    for _, alike in groupby(ordered, key=lambda case: case.opset):
        cases = list(alike)
        found += [cases[start : start + _TOGETHER] for start in range(0, len(cases), _TOGETHER)]
    return found


def test_every_attribute_of_every_operator_has_a_case():
    covered = {(case.op, name) for case in CASES for name in case.attributes}
    others = {op for op in PLANNERS if op in quantisation.PLANNERS or op in WITHOUT_CODES or "." in op}
    taken = PLANNERS.keys() - others
    assert {case.op for case in CASES} == taken
    missing = {
        (op, name)
        for op in taken
        for opset in _OPSETS
        if onnx.defs.has(op, opset)
        for name in onnx.defs.get_schema(op, opset).attributes
    }
    assert missing - covered - WITHOUT_EFFECT.keys() == set()
    assert not covered & WITHOUT_EFFECT.keys()


def network(cases: list[Case]) -> onnx.ModelProto:
    """Each case behind a layer of its own, and its result an output."""
    graph, ends = Graph(4, 6, 8, opset=cases[0].opset), []
    for case in cases:
        image = graph.add("Conv", "input", 0.6 * graph.weights(8, 4, 1, 1), 0.1 * graph.weights(8))
        ends.append(case.build(graph, image))
    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ends]
    made = onnx.helper.make_graph(graph.nodes, "graph", [graph.entry], outputs, graph.constants)
    opset = onnx.helper.make_opsetid("", graph.opset)
    return onnx.helper.make_model(made, opset_imports=[opset], ir_version=10)


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [session.run(None, {"input": sample[None]}) for sample in INPUTS]
    return [np.concatenate(each) for each in zip(*rows, strict=True)]


def run_litert(content: bytes, orders: list[tuple[int, ...]]) -> list[tuple[np.ndarray, float]]:
    """Each output in the order of ONNX's axes, and its step, 0 in floats."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source, rows = interpreter.get_input_details()[0], []
    ends = interpreter.get_output_details()
    for sample in INPUTS:
        scale, zero = source["quantization"]
        codes = np.clip(np.round(np.moveaxis(sample, 0, -1) / np.float32(scale)) + zero, -128, 127)
        interpreter.set_tensor(source["index"], codes[None].astype(np.int8))
        interpreter.invoke()
        rows.append([interpreter.get_tensor(end["index"]).copy() for end in ends])
    found = []
    for end, order, parts in zip(ends, orders, zip(*rows, strict=True), strict=True):
        values, (step, zero) = np.concatenate(parts), end["quantization"]
        if end["dtype"] is np.int8:
            values = (values.astype(np.float32) - zero) * np.float32(step)
        found.append((np.transpose(values, np.argsort(order)), float(step)))
    return found


@pytest.mark.parametrize("cases", groups(), ids=lambda cases: f"{cases[0].op}-{cases[-1].op}")
def test_int8_honours_what_nodes_carry(cases):
    tensorflow()
    from edgepress.convert.nhwc import convert, planned

    model = network(cases)
    expected = run(model)
    sources = Sources(lambda samples: INPUTS, lambda: None, 0, [].append)
    integers = quantiser(FORMATS["int8"])(normalise(model), FORMATS["int8"], sources)
    actual = run(integers)
    lite = run_litert(bytes(convert(integers, True, np.zeros(0))), list(planned(integers).output_orders))
    wrong = []
    for case, exact, ours, (theirs, step) in zip(cases, expected, actual, lite, strict=True):
        assert np.ptp(exact, axis=0).max() > 0, case
        quality = signal_to_noise(exact, ours)
        # In floats, a step of what goes in may show.
        apart = np.abs(theirs - ours).max() / (step or 0.01 * np.ptp(exact))
        if quality < case.least_db or apart > 1.02:
            wrong.append((case.op, case.attributes, round(quality, 1), round(float(apart), 2)))
    assert wrong == []
