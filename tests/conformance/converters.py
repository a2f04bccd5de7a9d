"""A case through a converter into a `.tflite`, run in LiteRT."""

import re
import tempfile
from collections.abc import Callable

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgepress.convert.tflite import run
from edgepress.convert.writer.table import write
from edgepress.translate.absorbing import absorbed
from edgepress.translate.plan import Plan
from edgepress.translate.planning import plan_graph
from edgepress.translate.tensorflow_setup import tf
from tests.conformance.cases import Case
from tests.oracle import converted_by_tensorflow


def by_nhwc(case: Case) -> list[np.ndarray]:
    """This project's translator; images go in as it stores them."""
    plan = absorbed(plan_graph(case.model))
    return _outputs(plan, bytes(write(plan)), case)


def by_oracle(case: Case) -> list[np.ndarray]:
    """TensorFlow's converter, with the same plan."""
    plan = absorbed(plan_graph(case.model))
    return _outputs(plan, converted_by_tensorflow(plan), case)


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
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
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
"""Of an output's range: what the order of a sum may change."""


def beside_oracle(case: Case) -> str:
    """EQUAL if what TensorFlow's converter makes of the same plan computes the same, else what differs.

    NOT_TAKEN where it, or this project's translator, refuses the case.
    """
    try:
        actual, expected = by_nhwc(case), by_oracle(case)
    except Exception:  # what either raises is told by `failure`, and of no interest here
        return NOT_TAKEN
    for own, other in zip(actual, expected, strict=True):
        if own.shape != other.shape or own.dtype != other.dtype:
            return f"{own.dtype}{own.shape} beside {other.dtype}{other.shape}"
        finite = np.isfinite(own) & np.isfinite(other)
        if not np.array_equal(own[~finite], other[~finite], equal_nan=True):
            return "other numbers are infinite or none"
        if own.dtype.kind != "f" and not np.array_equal(own, other):
            return "other integers"
        numbers = other[finite].astype(np.float64)
        apart = np.abs(own[finite] - numbers).max(initial=0)
        if apart > _NEAR * (np.ptp(numbers) if numbers.size > 1 else 1):
            return f"{apart:.3g} apart"
    return EQUAL


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
    """How an output differs from the expected one by more than the case allows."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return f"{actual.dtype}{actual.shape} instead of {expected.dtype}{expected.shape}"
    if actual.dtype.kind == "f":
        if np.allclose(actual, expected, case.rtol, case.atol, equal_nan=True):
            return None
    elif np.array_equal(actual, expected):
        return None
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    return f"values differ by up to {np.nanmax(difference):.3g}"
