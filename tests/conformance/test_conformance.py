"""A cross-section of `make conformance`: one of the standard's cases for each operator, and its body."""

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepress.translate.ops.table import PLANNERS
from edgepress.translate.written.table import BODIES
from tests.conformance import reasons
from tests.conformance.cases import Case, cases
from tests.conformance.conformance import FINE, LEAST, NOT_AS_THE_STANDARD
from tests.networks import tensorflow

MORE = (
    "test_affine_grid_3d_align_corners_expanded",
    "test_ai_onnx_ml_tree_ensemble_set_membership",
    "test_bitcast_float64_to_int64",
    "test_bitcast_int64_to_float64",
    "test_constantofshape_int_shape_zero",
)
"""Cases that were refused, or failed, where the first of their operators did not."""
FIRST = {
    f"{case.op} written out" if case.body else case.op: case
    for case in reversed(cases()[0])
    if case.op in {*PLANNERS, *BODIES}
}
BESIDE = [case for case in FIRST.values() if not case.body]


def test_all_of_the_standards_cases_are_counted() -> None:
    found, skipped = cases()
    assert len(found) >= LEAST and len(found) + len(skipped) > 1800
    assert not skipped.keys() & {case.name for case in found}
    known = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert set(skipped.values()) <= known


@pytest.mark.parametrize(
    ("kind", "operands", "made"),
    [
        *((kind, ("UINT64", "UINT64"), "UINT64") for kind in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM")),
        *((kind, ("UINT64", "UINT64"), "BOOL") for kind in ("EQUAL", "LESS")),
        ("CAST", ("UINT64",), "INT64"),
        ("CAST", ("INT64",), "UINT64"),
        ("GATHER", ("UINT64", "INT32"), "UINT64"),
    ],
)
def test_litert_computes_nothing_with_uint64(kind: str, operands: tuple[str, ...], made: str) -> None:
    interpreter = Interpreter(model_content=_of_one_operator(kind, operands, made))
    with pytest.raises(RuntimeError, match=r"UINT64|[Tt]ype 13|got 13|does not support|requires"):
        interpreter.allocate_tensors()
        interpreter.invoke()


def _of_one_operator(kind: str, operands: tuple[str, ...], made: str) -> bytes:
    """A `.tflite` of one operator whose operands and result are vectors of 3."""
    options = {name: name.capitalize() for name in ("ADD", "SUB", "MUL", "DIV", "CAST", "GATHER")}
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    operator, graph, model = schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    operator.inputs, operator.outputs = list(range(len(operands))), [len(operands)]
    name = f"{options.get(kind, 'MaximumMinimum' if kind == 'MAXIMUM' else kind.capitalize())}Options"
    operator.builtinOptions = getattr(schema, f"{name}T")()
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    graph.tensors = []
    for number, each in enumerate((*operands, made)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = f"t{number}", [3], getattr(schema.TensorType, each)
        graph.tensors.append(tensor)
    graph.operators, graph.inputs, graph.outputs = [operator], operator.inputs, operator.outputs
    model.version, model.operatorCodes, model.subgraphs, model.buffers = (
        3,
        [code],
        [graph],
        [schema.BufferT()],
    )
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_first_case_of_each_operator(case: Case) -> None:
    tensorflow()
    from tests.conformance.converters import result

    assert result(case, "nhwc")[1] is None


@pytest.mark.parametrize("name", MORE)
def test_a_further_case(name: str) -> None:
    tensorflow()
    from tests.conformance.converters import failure

    (case,) = [case for case in cases()[0] if case.name == name]
    assert failure(list(case.ways())[-1][1], "nhwc") is None


@pytest.mark.parametrize("case", BESIDE, ids=lambda case: case.op)
def test_the_file_computes_as_that_of_tensorflows_converter(case: Case) -> None:
    tensorflow()
    from tests.conformance.converters import EQUAL, beside_oracle

    beside = {beside_oracle(each) for _, each in case.ways()}
    assert beside <= set(FINE) and beside & {EQUAL, NOT_AS_THE_STANDARD}
