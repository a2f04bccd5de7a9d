"""Each operator that the translator takes, in each form that it had from opset 7 on."""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.view import copy
from edgepress.translate.ops import (
    caching,
    classical,
    counting,
    picking,
    regions,
    sampling,
    scattering,
    unpooling,
)
from edgepress.translate.ops.table import PLANNERS
from edgepress.translate.plan import Plan
from edgepress.translate.planning import plan_graph
from edgepress.translate.written.table import BODIES
from tests.forms import Form, forms, network
from tests.networks import as_onnx, run_unoptimised, stored, tensorflow

NEWEST = 27
"""The newest opset that ONNX Runtime takes."""

UNSAID = {
    "BatchNormalization": {"momentum", "spatial"},
    "Cast": {"saturate", "round_mode"},
    "CastLike": {"round_mode"},
    "Gemm": {"transA"},
    "GRU": {"activation_alpha", "activation_beta", "activations", "clip", "layout"},
    "GroupNormalization": {"stash_type"},
    "LSTM": {"activation_alpha", "activation_beta", "activations", "clip", "input_forget", "layout"},
    "LayerNormalization": {"stash_type"},
    "RNN": {"activation_alpha", "activation_beta", "activations", "clip", "layout"},
    "QuantizeLinear": {"axis", "block_size", "output_dtype", "precision", "saturate"},
    "DequantizeLinear": {"axis", "block_size", "output_dtype"},
}
"""Attributes that change nothing in inference, that ONNX Runtime has not, or that are tested elsewhere."""


def schemas(op: str) -> Iterator[onnx.defs.OpSchema]:
    """The operator's definitions that files of opset 7 and newer may mean, oldest first."""
    known = [s for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == ("", op)]
    known.sort(key=lambda schema: schema.since_version)
    for schema, after in zip(known, [*known[1:], None], strict=True):
        withdrawn = op == "Upsample" and schema.deprecated
        if (after is None or after.since_version > 7) and schema.since_version <= NEWEST and not withdrawn:
            yield schema


_PICKING = (caching, classical, counting, picking, regions, sampling, scattering)
ELSEWHERE = {"If", "Loop", "Scan", "Range", "ConstantOfShape", *unpooling.PLANNERS} - {"MaxPool"}
ELSEWHERE |= {op for family in _PICKING for op in family.PLANNERS} | {"GlobalLpPool", "MelWeightMatrix"}
"""Tested in `test_control_flow.py`, `test_open_sizes.py` and `test_picking.py`, or below."""

TAKEN = sorted({*PLANNERS, *BODIES} - ELSEWHERE)
CASES = [(op, max(7, schema.since_version)) for op in TAKEN for schema in schemas(op)]


def inputs(form: Form) -> np.ndarray:
    shape = [1 if isinstance(size, str) else size for size in form.shape]
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def run_plan(plan: Plan, values: np.ndarray) -> np.ndarray:
    """What the plan's steps compute, one by one, without a graph around them."""
    tf = tensorflow()
    from edgepress.translate.functions import apply_step

    (entry,) = plan.entries
    tensors = {entry.name: tf.constant(np.ascontiguousarray(np.transpose(values, entry.order)))}
    for step in plan.steps:
        tensors[step.output] = apply_step(step, [tensors[name] for name in step.inputs])
    return as_onnx(plan, tensors[plan.output].numpy())


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as a share of the expected range, or of the one number that is expected."""
    width = np.ptp(expected) if expected.size > 1 else np.abs(expected).max()
    assert actual.shape == expected.shape and np.isfinite(expected).all() and width > 0
    return float(np.abs(actual.astype(np.float64) - expected).max() / width)


def test_each_operator_has_its_opsets():
    assert len(CASES) > 300 and {op for op, _ in CASES} == set(TAKEN)
    assert all(any(forms(op, opset)) for op, opset in CASES)


@pytest.mark.parametrize("op", TAKEN)
def test_each_attribute_is_given_in_each_opset_that_has_it(op):
    for schema in schemas(op):
        given = {name for form in forms(op, max(7, schema.since_version)) for name in form.attributes}
        assert set(schema.attributes) - given <= UNSAID.get(op, set()), schema.since_version


@pytest.mark.parametrize(("op", "opset"), CASES)
def test_an_operator_computes_in_each_form_what_onnx_runtime_does(op, opset):
    for form in forms(op, opset):
        model, values = network(op, opset, form), inputs(form)
        if form.refusal:
            with pytest.raises(UnsupportedModelError, match=form.refusal):
                plan_graph(normalise(model))
            continue
        expected = run_unoptimised(copy(model), values)
        normal = normalise(model)
        limit = 1e-3 if form.attributes.get("to") == onnx.TensorProto.FLOAT16 else 1e-5
        assert difference(run_unoptimised(normal, values), expected) < limit, form
        assert difference(run_plan(plan_graph(normal), values), expected) < limit, form


@pytest.mark.parametrize(
    ("op", "opset", "least"),
    [("Upsample", 7, 5), ("Upsample", 9, 5), ("Resize", 10, 9), ("AveragePool", 11, 15)],
)
def test_what_changed_its_meaning_is_the_same_in_the_finished_file(op, opset, least):
    """Upsampling by onnx's version converter was off by up to 0.44 of the range (scale 2) or 0.86."""
    tensorflow()
    from edgepress.convert.nhwc import convert

    known = [form for form in forms(op, opset) if len(form.shape) == 4]
    assert len(known) >= least
    merged, expected = merge([network(op, opset, form) for form in known]), []
    values = inputs(known[0])
    for form in known:
        expected.append(run_unoptimised(network(op, opset, form), values))
    runner = Interpreter(model_content=bytes(convert(normalise(merged), False, values)), num_threads=1)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], stored(values))
    runner.invoke()
    for detail, right in zip(runner.get_output_details(), expected, strict=True):
        actual = runner.get_tensor(detail["index"])
        assert difference(np.moveaxis(actual, -1, 1) if actual.ndim == 4 else actual, right) < 1e-5


def merge(models: list[onnx.ModelProto]) -> onnx.ModelProto:
    """One model with the outputs of all, which have their input in common."""
    merged = copy(models[0])
    for field in ("node", "initializer", "output"):
        del getattr(merged.graph, field)[:]
    for number, model in enumerate(models):
        named = onnx.compose.add_prefix(model, f"m{number}_", rename_inputs=False)
        for field in ("node", "initializer", "output"):
            getattr(merged.graph, field).extend(getattr(named.graph, field))
    return merged


def test_a_node_that_cannot_be_raised_is_named(monkeypatch):
    model = network("Upsample", 7, next(forms("Upsample", 7)))

    def refuse(light: onnx.ModelProto, version: int) -> onnx.ModelProto:
        if any(node.op_type == "Upsample" for node in light.graph.node):
            raise RuntimeError("/a/b.h:35: operator(): Assertion `n` failed: It must not be.")
        return light

    monkeypatch.setattr(onnx.version_converter, "convert_version", refuse)
    words = (
        r"^opset 7 cannot be written as 15: node 'it' \(Upsample\): It must not be\.; export the model again$"
    )
    with pytest.raises(UnsupportedModelError, match=words):
        normalise(model)


def test_a_softmax_whose_output_declares_no_shape_is_taken():
    model = network("Softmax", 11, Form([], {"axis": 1}))
    values = inputs(Form())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert difference(run_unoptimised(normalise(copy(model)), values), run_unoptimised(model, values)) < 1e-5


def test_what_a_file_declares_of_the_size_of_a_pool_need_not_be_what_onnx_infers():
    """Opset 22 leaves out a last window in the padding, which older files that ONNX Runtime runs do, too."""
    form = Form([], {"kernel_shape": [1, 2], "strides": [4, 4], "ceil_mode": 1})
    model, values = network("MaxPool", 12, form), inputs(form)
    expected = run_unoptimised(model, values)
    for size in expected.shape:
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    assert expected.shape == (1, 4, 2, 2)
    assert difference(run_unoptimised(normalise(model), values), expected) < 1e-5


@pytest.mark.parametrize("p", [1, 2, 3])
def test_norms_of_whole_images(p):
    """ONNX Runtime has GlobalLpPool up to opset 21 alone, so none for its form of opset 22."""
    form = Form(attributes={"p": p})
    model, values = network("GlobalLpPool", 18, form), inputs(form)
    expected = run_unoptimised(copy(model), values)
    assert difference(run_plan(plan_graph(normalise(model)), values), expected) < 1e-5


NUMBERS = (
    "Abs", "Acos", "Acosh", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "BitCast", "BitShift",
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Conv", "ConvInteger", "ConvTranspose", "Cos",
    "Cosh", "CumProd", "CumSum", "DFT", "Det", "Einsum", "Hardmax", "IsInf", "IsNaN", "LRN", "LpPool",
    "MatMulInteger", "Mod", "Neg", "Round", "STFT", "Sign", "Sin", "Sinh", "Tan",
)  # fmt: skip


@pytest.mark.parametrize("op", NUMBERS)
def test_the_file_of_an_operator_computes_what_onnx_runtime_does(op):
    """Which kernels LiteRT has, of which types, only a run of them shows."""
    tensorflow()
    from edgepress.convert.nhwc import convert

    opset = max(opset for each, opset in CASES if each == op)
    for form in forms(op, opset):
        model, values = network(op, opset, form), inputs(form)
        expected = run_unoptimised(copy(model), values)
        content = bytes(convert(normalise(model), False, values, {"input": tuple(range(values.ndim))}))
        runner = Interpreter(model_content=content, num_threads=1)
        runner.resize_tensor_input(runner.get_input_details()[0]["index"], values.shape)
        runner.allocate_tensors()
        runner.set_tensor(runner.get_input_details()[0]["index"], values)
        runner.invoke()
        actual = runner.get_tensor(runner.get_output_details()[0]["index"])
        actual = np.moveaxis(actual, -1, 1) if actual.ndim == 4 else actual
        assert difference(actual, expected) < 1e-5, form
