"""The default converter: the project's own translator, NHWC throughout, with the ONNX model's ranges."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from edgepress.convert.filling import filled
from edgepress.convert.hollow import LARGE, Kernel, hollow
from edgepress.datasets.prepared import Array
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import NumberFormat, number_format, to_float
from edgepress.translate.layout import Order
from edgepress.translate.plan import Plan, Step
from edgepress.translate.planning import plan_graph

Orders = Mapping[str, Order]


def convert(model: onnx.ModelProto, int8_io: bool, calibration: Array, orders: Orders | None = None) -> bytes:
    """ONNX → TFLite with images in NHWC; quantised exactly as the ONNX model is: `calibration` is not read.

    `orders` says how the axes of inputs and outputs are stored, as in `plan_graph`. Several outputs keep
    their names and order. TensorFlow is loaded when the plan stands: what the planner refuses is refused at
    once, and the planning's memory is free again.
    """
    form = number_format(model)
    plan, names = planned(model, orders), [output.name for output in model.graph.output]
    if form == "int8" and not any(step.op == "fake_quant" for step in plan.steps):
        form, int8_io = "float32", False  # else TensorFlow would make codes of the kernels as it likes
    plan = _with_kernels_apart(plan)
    marked, kernels = hollow(plan)
    if kernels and (content := filled(written(marked, form, int8_io, names, kernels), kernels)):
        return content
    return written(plan, form, int8_io, names)


_APART = 2.0**-20
"""Of a kernel: far less than half a step of its codes."""


def _with_kernels_apart(plan: Plan) -> Plan:
    """No two layers with equal kernels: TensorFlow's converter gives codes that two share other scales."""
    seen, steps = Counter[bytes](), list[Step]()
    for step in plan.steps:
        kernel = step.weights.get("kernel")
        if kernel is not None and kernel.quantisation is not None and kernel.values.size < LARGE:
            content = kernel.values.tobytes()
            values = kernel.values * np.float32(1 + seen[content] * _APART)
            seen[content] += 1
            step = replace(step, weights={**step.weights, "kernel": replace(kernel, values=values)})
        steps.append(step)
    return replace(plan, steps=tuple(steps))


def planned(model: onnx.ModelProto, orders: Orders | None = None) -> Plan:
    """The plan of a model in any number format."""
    if number_format(model) in ("dynamic", "fp16"):
        return plan_graph(fold_batchnorm(to_float(model)), orders)
    return plan_graph(fold_batchnorm(model), orders)


def written(
    plan: Plan, form: NumberFormat, int8_io: bool, names: Sequence[str], kernels: Sequence[Kernel] = ()
) -> bytes:
    """The plan as a `.tflite` with these names of outputs; where it holds marks of kernels, with labels."""
    from edgepress.convert.tflite import converter_of, run, set_format, with_output_names
    from edgepress.translate.function_face import concrete_function
    from edgepress.translate.tensorflow_setup import quiet

    with quiet():
        converter = converter_of(concrete_function(plan), kernels)
    set_format(converter, form, int8_io)
    content = run(converter, "nhwc")
    return content if len(names) == 1 else with_output_names(content, names)
