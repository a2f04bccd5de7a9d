"""TensorFlow's own converter, fed with the same plan: what the writer of `.tflite` files is compared with.

The plan becomes a traced function of TensorFlow's operations, in which fake quantisation stands for codes,
and TFLiteConverter makes integer operators of it. Left to itself it would also do so with what the plan
computes in floats between two quantisations: −(−1·x), of which there is no int8 kernel, keeps that apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.convert.writer.forms import requantised_inexactly
from edgepress.convert.writer.graph import Codes
from edgepress.convert.writer.graph import Tensor as Coded
from edgepress.convert.writer.lowering import Lowering
from edgepress.convert.writer.products import counted
from edgepress.convert.writer.table import RULES
from edgepress.translate.functions import OPERATIONS
from edgepress.translate.operations.base import Operation, Tensor
from edgepress.translate.plan import Entry, Plan, Step, Weight
from edgepress.translate.tensorflow_setup import quiet, tf

_ONE = "oracle.one"
"""A tensor that is 1, which the converter cannot know: it leaves out products with constants that are."""

_SCALING = ("add", "sub", "mul", "div")
"""What the converter takes into the layer that follows, whose numbers are then rounded otherwise."""

_LEAST_RANGE = 1e-6
"""The converter widens smaller ranges of fake quantisation."""

_LARGEST_MATRIX = 1 << 24
"""TensorFlow's converter folds no constants of more than 2²⁵ elements."""


def converted_by_tensorflow(plan: Plan, int8_io: bool = False) -> bytes:
    """The plan as TensorFlow's converter writes it, int8 where it has fake quantisation."""
    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete_function(plan)])
        if any(step.op == "fake_quant" for step in plan.steps):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if int8_io:
            converter.inference_input_type = converter.inference_output_type = tf.int8
        content: bytes = converter.convert()
    return content


def concrete_function(plan: Plan, batch: int = 1) -> Any:
    """A concrete function of the plan's inputs, stored as the plan says, with open batches set to `batch`.

    Traced without autograph, which would rewrite the closures over the plan's constants.
    """
    steps = list(_operands_as_steps(_as_written(plan)))
    constants = {step.output for step in steps if step.op == "constant"}

    def network(*values: Any) -> Any:
        tensors = {entry.name: value for entry, value in zip(plan.entries, values, strict=True)}
        for step in steps:
            operation = (
                _QUANTISED.get(step.op, OPERATIONS[step.op]) if _has_codes(step) else OPERATIONS[step.op]
            )
            made = operation(step, [tensors[name] for name in step.inputs])
            tensors.update(zip(step.outputs, made if step.others else [made], strict=True))
            if step.op == "fake_quant" and _ONE not in tensors and step.inputs[0] not in constants:
                number = tf.negative(-1 * tf.reshape(tensors[step.output], (-1,))[:1])
                tensors[_ONE] = tf.cast(tf.exp(number) >= 0, tf.float32)
        outputs = [tensors[name] for name in plan.outputs]
        return outputs if len(outputs) > 1 else outputs[0]

    signature = [_specification(entry, index, batch) for index, entry in enumerate(plan.entries)]
    return tf.function(network, autograph=False, input_signature=signature).get_concrete_function()


def _specification(entry: Entry, index: int, batch: int) -> Any:
    shape = [batch if size is None else size for size in entry.shape]
    return tf.TensorSpec(shape, tf.as_dtype(entry.dtype), name=f"oracle_input_{index}")


def _as_written(plan: Plan) -> Iterator[Step]:
    """The steps with what the writer decides: where floats are, and how codes get another scale."""
    lowering = Lowering(plan, RULES)
    lowering.lower(int8_io=True)
    quantised = {step.output for step in plan.steps if step.op == "fake_quant"}
    coded = {step.output for step in plan.steps if lowering.code(step.output) is not None}
    integers, made = coded | quantised, {step.output for step in plan.steps}
    scaled = {step.output for step in plan.steps if step.op in _SCALING and "operand" in step.weights}
    for step in plan.steps:
        inputs = list(step.inputs)
        for place, name in enumerate(inputs):
            stem = f"{step.output}.{place}"
            other = integers and name in made and (name in integers) != (step.output in integers)
            if other or ("kernel" in step.weights and name in scaled and name not in integers):
                inputs[place] = f"{stem}.apart"
                yield from _apart(name, inputs[place])
            elif (codes := _codes_to_get(lowering, step, name)) is not None:
                inputs[place] = f"{stem}.rescaled"
                yield from _times_one(name, inputs[place], codes)
        taking = replace(step, inputs=tuple(inputs))
        counts = counted(lowering, step) if step.op == "matmul" else None
        yield from [taking] if counts is None else _of_counts(taking, counts)


def _of_counts(step: Step, coded: Sequence[Coded]) -> Iterator[Step]:
    """The product of operands in scales, which are whole numbers, and then times both scales."""
    names, scales = list[str](), [each.codes.scale.item() for each in coded if each.codes is not None]
    for name, scale in zip(step.inputs, scales, strict=True):
        stem = f"{step.output}.{len(names)}.count"
        yield _with_number("mul", name, f"{stem}.quotient", 1 / scale)
        yield _with_number("add", f"{stem}.quotient", f"{stem}.above", 0.5)
        yield Step("floor", (f"{stem}.above",), stem, "")
        names.append(stem)
    yield replace(step, inputs=tuple(names), output=f"{step.output}.counts")
    yield _with_number("mul", f"{step.output}.counts", step.output, float(np.prod(scales, dtype=np.float32)))


def _with_number(op: str, name: str, result: str, number: float) -> Step:
    operand = {"operand": Weight(np.array(number, np.float32))}
    return Step(op, (name,), result, "", {"constant_first": False}, operand)


def _apart(name: str, result: str) -> Iterator[Step]:
    yield _with_number("mul", name, f"{result}.sign", -1)
    yield Step("neg", (f"{result}.sign",), result, "")


def _codes_to_get(lowering: Lowering, step: Step, name: str) -> Codes | None:
    """The codes in which a step takes an operand, if the writer multiplies it by 1 to get them."""
    own, result = lowering.code(name), lowering.code(step.output)
    if own is None or own.codes is None or result is None or result.codes is None:
        return None
    commutes = step.op == "fake_quant" or RULES[step.op].commutes
    others = commutes and not own.codes.same(result.codes)
    return result.codes if others and requantised_inexactly(own.codes, result.codes) else None


def _times_one(name: str, result: str, codes: Codes) -> Iterator[Step]:
    one = {"scale": 1.0, "zero_point": 0, "dtype": codes.dtype, "low": -128.0, "high": 127.0}
    yield Step("fake_quant", (_ONE,), f"{result}.one", "", one)
    yield Step("mul", (name, f"{result}.one"), f"{result}.product", "")
    scale, zero = codes.scale.item(), codes.zero_point
    ends = {"low": (-128 - zero) * scale, "high": (127 - zero) * scale}
    attributes = {"scale": scale, "zero_point": zero, "dtype": codes.dtype, **ends}
    yield Step("fake_quant", (f"{result}.product",), result, "", attributes)


def _operands_as_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """Constant operands that have codes as steps of their own, under fake quantisation."""
    for step in steps:
        operand = step.weights.get("operand")
        if operand is None or operand.quantisation is None:
            yield step
            continue
        known, name = operand.quantisation, f"{step.output}.operand"
        codes = {"scale": known.scale.item(), "zero_point": known.zero_points.item(), "dtype": known.dtype}
        low, high = ((code - codes["zero_point"]) * codes["scale"] for code in (-128, 127))
        yield Step("constant", (), f"{name}.numbers", step.node, weights={"value": Weight(operand.values)})
        yield Step("fake_quant", (f"{name}.numbers",), name, step.node, {"low": low, "high": high, **codes})
        first = step.attributes["constant_first"]
        yield replace(step, inputs=(name, *step.inputs) if first else (*step.inputs, name), weights={})


def _has_codes(step: Step) -> bool:
    return "kernel" in step.weights and step.weights["kernel"].quantisation is not None


def _kernel(weight: Weight, channels_last: tuple[int, ...]) -> Tensor:
    """The kernel under per-channel, symmetric, narrow-range fake quantisation.

    `channels_last` is the shape in which its output channels are the last axis: TensorFlow quantises per
    channel only there.
    """
    assert weight.quantisation is not None
    limit = 127.0 * weight.quantisation.scale.astype(np.float32)
    if (2 * limit < _LEAST_RANGE).any():
        raise ValueError(f"it widens ranges below {_LEAST_RANGE:g}, which this kernel has")
    flat = tf.reshape(tf.constant(weight.values), channels_last)
    quantised = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        flat, -limit, limit, narrow_range=True
    )
    return tf.reshape(quantised, weight.values.shape)


def _conv(step: Step, inputs: list[Tensor]) -> Tensor:
    a, weight = step.attributes, step.weights["kernel"]
    kernel = _kernel(weight, weight.values.shape)
    return _biased(
        step, tf.nn.conv2d(inputs[0], kernel, a["strides"], a["padding"], dilations=a["dilations"])
    )


def _depthwise_conv(step: Step, inputs: list[Tensor]) -> Tensor:
    a, weight = step.attributes, step.weights["kernel"]
    kernel, strides = _kernel(weight, (*weight.values.shape[:2], -1)), (1, *a["strides"], 1)
    product = tf.nn.depthwise_conv2d(inputs[0], kernel, strides, a["padding"], dilations=a["dilations"])
    return _biased(step, product)


def _dense(step: Step, inputs: list[Tensor]) -> Tensor:
    """As a 1×1 convolution: TensorFlow's converter refuses a matrix with one scale per channel."""
    weight = step.weights["kernel"]
    features, outputs = weight.values.shape
    if weight.values.size >= _LARGEST_MATRIX:
        raise ValueError(f"it folds no constants as large as {step.output!r}")
    kernel = replace(weight, values=weight.values[None, None])
    image = tf.reshape(inputs[0], (-1, 1, 1, features))
    product = _biased(step, tf.nn.conv2d(image, _kernel(kernel, kernel.values.shape), 1, "VALID"))
    return tf.reshape(product, (-1, *inputs[0].shape[1:-1], outputs))


def _biased(step: Step, output: Tensor) -> Tensor:
    """Equal values are made to differ: the converter gives them the first channel's code in all channels."""
    if "bias" not in step.weights:
        return output
    values = step.weights["bias"].values
    first = np.arange(values.size) == 0
    apart = values if np.ptp(values) else np.where(first, np.nextafter(values, 0), values)
    return tf.nn.bias_add(output, tf.constant(apart))


_QUANTISED: Mapping[str, Operation] = {"conv": _conv, "depthwise_conv": _depthwise_conv, "dense": _dense}
