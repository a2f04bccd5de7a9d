"""A case through a converter into a `.tflite`, run in LiteRT."""

import re
import tempfile
from collections.abc import Callable

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter

from edgepress.convert.nhwc import convert, planned
from edgepress.convert.tflite import run
from edgepress.devices.program.tflite import given_by
from edgepress.graph.normalise.normalise import normalise, with_sizes
from edgepress.graph.shapes import BATCH
from edgepress.graph.view import copy
from edgepress.translate.absorbing import absorbed
from edgepress.translate.functions import run as run_plan
from edgepress.translate.plan import Plan
from edgepress.translate.tensorflow_setup import tf
from tests.conformance.cases import Case
from tests.conformance.conformance import NOT_AS_THE_STANDARD
from tests.oracle import converted_by_tensorflow


def by_nhwc(case: Case) -> list[np.ndarray]:
    """This project's translator, all the way from the file; images go in as it stores them."""
    model = _normalised(case)
    content = bytes(convert(model, False, np.zeros(0, np.float32)))
    return _outputs(planned(model), content, case)


def by_oracle(case: Case) -> list[np.ndarray]:
    """TensorFlow's converter, with the same plan."""
    plan = absorbed(planned(_normalised(case)))
    return _outputs(plan, converted_by_tensorflow(plan), case)


def by_steps(case: Case) -> list[np.ndarray]:
    """The steps of the plan, as operations of TensorFlow."""
    plan = absorbed(planned(_normalised(case)))
    given = [tf.constant(np.transpose(case.inputs[entry.name], entry.order)) for entry in plan.entries]
    made = [each.numpy() for each in run_plan(plan, given)]
    return [
        np.transpose(each, np.argsort(order)) for each, order in zip(made, plan.output_orders, strict=True)
    ]


def _normalised(case: Case) -> onnx.ModelProto:
    """The way in of the project; a batch that it finds to be free is again that of the case."""
    model = normalise(copy(case.model), keep_types=True)
    for entry in model.graph.input:
        if entry.type.tensor_type.shape.dim and entry.type.tensor_type.shape.dim[0].dim_param == BATCH:
            return with_sizes(model, {BATCH: len(case.inputs[entry.name])})
    return model


def _outputs(plan: Plan, content: bytes, case: Case) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    details = {_index(detail["name"]): detail["index"] for detail in interpreter.get_input_details()}
    names = [entry.name for entry in plan.entries]
    places = {names.index(key) if key in names else int(key): index for key, index in details.items()}
    for number, entry in enumerate(plan.entries):
        if number in places:  # TensorFlow's converter leaves out what is not read
            stored = np.array(np.transpose(case.inputs[entry.name], entry.order), order="C")
            interpreter.set_tensor(places[number], stored)
    interpreter.invoke()
    outputs = [given_by(interpreter, detail["index"]) for detail in interpreter.get_output_details()]
    return [
        np.transpose(output, np.argsort(order))
        for output, order in zip(outputs, plan.output_orders, strict=True)
    ]


def _index(name: str) -> str:
    """The name of an input, or its number where TensorFlow named it."""
    found = re.search(r"oracle_input_(\d+)", name)
    return name if found is None else found[1]


def by_onnx_tf(case: Case) -> list[np.ndarray]:
    """onnx-tf, as `convert=onnx_tf` uses it."""
    from edgepress.convert.onnx_tf import export

    with tempfile.TemporaryDirectory() as folder:
        export(case.model, folder)
        content = run(tf.lite.TFLiteConverter.from_saved_model(folder), "onnx_tf")
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    results = runner(**case.inputs)
    return [results[output.name] for output in case.model.graph.output]


CONVERTERS: dict[str, Callable[[Case], list[np.ndarray]]] = {
    "nhwc": by_nhwc,
    "onnx_tf": by_onnx_tf,
}

EQUAL, NOT_TAKEN = "equal", "not taken"
_NEAR = 1e-6
"""Of an output's largest number: what the order of a sum may change."""


def beside_oracle(case: Case) -> str:
    """EQUAL if what TensorFlow makes of the same plan computes the same, else what differs.

    NOT_TAKEN where it, or this project's translator, refuses the case; NOT_AS_THE_STANDARD where the two
    differ and the standard's own numbers are those of this project's file alone.
    """
    try:
        actual, expected = by_nhwc(case), _of_oracle(case)
    except Exception:  # what either raises is told by `failure`, and of no interest here
        return NOT_TAKEN
    found = [_beside(own, other) for own, other in zip(actual, expected, strict=True)]
    apart = next((each for each in found if each != EQUAL), EQUAL)
    if apart != EQUAL and _as_standard(actual, case) and not _as_standard(expected, case):
        return NOT_AS_THE_STANDARD
    return apart


def _of_oracle(case: Case) -> list[np.ndarray]:
    """What TensorFlow's file computes, or, where its converter cannot write one, its operations do."""
    try:
        return by_oracle(case)
    except Exception:  # "neither a custom op nor a flex op": BitwiseAnd, Invert, Einsum over several axes
        return by_steps(case)


def _as_standard(outputs: list[np.ndarray], case: Case) -> bool:
    pairs = zip(outputs, case.outputs, strict=True)
    return all(difference(actual, expected, case) is None for actual, expected in pairs)


def _beside(own: np.ndarray, other: np.ndarray) -> str:
    if own.shape != other.shape or own.dtype != other.dtype:
        return f"{own.dtype}{own.shape} beside {other.dtype}{other.shape}"
    if not _is_float(own.dtype):
        return EQUAL if np.array_equal(own, other) else "other integers"
    one, two = own.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(one) & np.isfinite(two)
    if not np.array_equal(one[~finite], two[~finite], equal_nan=True):
        return "other numbers are infinite or none"
    apart = np.abs(one[finite] - two[finite]).max(initial=0)
    return EQUAL if apart <= _NEAR * np.abs(two[finite]).max(initial=0) else f"{apart:.3g} apart"


def result(case: Case, converter: str) -> tuple[str, str | None]:
    """The way in which a case is right, and None; else the last way, and what went wrong.

    An operand that a converter cannot take computed may be a constant, as `Case.ways` has them.
    """
    told: list[tuple[str, str | None]] = []
    for way, each in case.ways():
        why = failure(each, converter)
        if why is None:
            return way, None
        told.append((way, why))
    return told[-1]


def failure(case: Case, converter: str) -> str | None:
    """What went wrong, in one line, or None if all outputs are as the standard says."""
    try:
        outputs = CONVERTERS[converter](case)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    if len(outputs) != len(case.outputs):
        return f"{len(outputs)} outputs instead of {len(case.outputs)}"
    for actual, expected in zip(outputs, case.outputs, strict=True):
        if (why := difference(actual, expected, case)) is not None:
            return why
    return None


def difference(actual: np.ndarray, expected: np.ndarray, case: Case) -> str | None:
    """How an output differs from the expected one by more than the case, and its type of number, allow.

    float16, bfloat16 and float64 are computed in float32 and cast at the ends. Relative to itself a number
    may be off by the standard's 1e-3. Its absolute tolerance is 1e-7 whatever the numbers are, though a
    float32 near 1 is right to 6e-8 alone, and what is left of large terms, such as a mean of 0, has their
    errors: here it is at least 2 units in the last place of the largest number of the output.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return f"{actual.dtype}{actual.shape} instead of {expected.dtype}{expected.shape}"
    if not _is_float(actual.dtype):
        return None if np.array_equal(actual, expected) else _apart(actual, expected)
    digits = max(_epsilon(expected.dtype), _epsilon(np.dtype(np.float32)))
    one, other = actual.astype(np.float64), expected.astype(np.float64)
    largest = np.abs(other[np.isfinite(other)]).max(initial=0)
    rtol, atol = max(case.rtol, digits), max(case.atol, 2 * digits * largest)
    return None if np.allclose(one, other, rtol, atol, equal_nan=True) else _apart(one, other)


_DIGITS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _epsilon(dtype: np.dtype) -> float:
    return _DIGITS.get(dtype.name, 2.0**-23)


def _apart(actual: np.ndarray, expected: np.ndarray) -> str:
    with np.errstate(invalid="ignore"):
        apart = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    finite = apart[np.isfinite(apart)]
    return f"values differ by up to {finite.max():.3g}" if finite.size else "values differ"
