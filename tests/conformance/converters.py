"""A case through a converter into a `.tflite`, run in LiteRT."""

import tempfile
from collections.abc import Callable

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgepress.convert.tflite import run
from edgepress.convert.writer.table import write
from edgepress.translate.absorbing import absorbed
from edgepress.translate.planning import plan_graph
from edgepress.translate.tensorflow_setup import tf
from tests.conformance.cases import Case


def by_nhwc(case: Case) -> list[np.ndarray]:
    """This project's translator; images go in as it stores them."""
    plan = plan_graph(case.model)
    interpreter = Interpreter(model_content=bytes(write(absorbed(plan))), num_threads=1)
    interpreter.allocate_tensors()
    for entry, detail in zip(plan.entries, interpreter.get_input_details(), strict=True):
        stored = np.array(np.transpose(case.inputs[entry.name], entry.order), order="C")
        interpreter.set_tensor(detail["index"], stored)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    return [
        np.transpose(output, np.argsort(order))
        for output, order in zip(outputs, plan.output_orders, strict=True)
    ]


def by_onnx_tf(case: Case) -> list[np.ndarray]:
    """onnx-tf, as `convert=onnx_tf` uses it."""
    from edgepress.convert.onnx_tf import export

    with tempfile.TemporaryDirectory() as folder:
        export(case.model, folder)
        content = run(tf.lite.TFLiteConverter.from_saved_model(folder), "onnx_tf")
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    results = runner(**case.inputs)
    return [results[output.name] for output in case.model.graph.output]


CONVERTERS: dict[str, Callable[[Case], list[np.ndarray]]] = {"nhwc": by_nhwc, "onnx_tf": by_onnx_tf}


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
