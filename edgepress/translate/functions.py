"""Steps as TensorFlow operations, in float32."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepress.translate.courses import Course, recurrent
from edgepress.translate.operations import activations, arithmetic, moving, picking, reductions, windows
from edgepress.translate.operations.base import Operation, Tensor, constant
from edgepress.translate.operations.tensors import TensorArithmetic
from edgepress.translate.plan import Plan, Step
from edgepress.translate.tensorflow_setup import tf


def apply_step(step: Step, inputs: list[Tensor]) -> Tensor:
    """The step's result for the given inputs, all in stored layout; a list of them if it has several."""
    return OPERATIONS[step.op](step, inputs)


def _conv(step: Step, inputs: list[Tensor]) -> Tensor:
    a, kernel = step.attributes, constant(step.weights["kernel"].values)
    return _biased(
        step, tf.nn.conv2d(inputs[0], kernel, a["strides"], a["padding"], dilations=a["dilations"])
    )


def _depthwise_conv(step: Step, inputs: list[Tensor]) -> Tensor:
    a, kernel = step.attributes, constant(step.weights["kernel"].values)
    strides = (1, *a["strides"], 1)
    return _biased(
        step, tf.nn.depthwise_conv2d(inputs[0], kernel, strides, a["padding"], dilations=a["dilations"])
    )


def _conv_transpose(step: Step, inputs: list[Tensor]) -> Tensor:
    """Kernel (kH, kW, O/g, I); grouped ones part by part, since TensorFlow has no grouped kernel."""
    a, value, groups = step.attributes, inputs[0], step.attributes["groups"]
    kernels = np.split(step.weights["kernel"].values, groups, axis=3)
    parts = tf.split(value, groups, axis=3) if groups > 1 else [value]
    batch = value.shape[0] if value.shape[0] is not None else tf.shape(value)[0]
    outputs = [
        tf.nn.conv2d_transpose(
            part, constant(kernel), (batch, *a["size"], kernel.shape[2]), a["strides"], a["padding"]
        )
        for part, kernel in zip(parts, kernels, strict=True)
    ]
    return _biased(step, outputs[0] if groups == 1 else tf.concat(outputs, 3))


def _dense(step: Step, inputs: list[Tensor]) -> Tensor:
    return _biased(step, tf.matmul(inputs[0], constant(step.weights["kernel"].values)))


def _biased(step: Step, output: Tensor) -> Tensor:
    bias = step.weights.get("bias")
    return output if bias is None else tf.nn.bias_add(output, tf.constant(bias.values))


def _batch_norm(step: Step, inputs: list[Tensor]) -> Tensor:
    w = {part: weight.values.astype(np.float64) for part, weight in step.weights.items()}
    scale = w["gamma"] / np.sqrt(w["variance"] + step.attributes["epsilon"])
    shift = w["beta"] - w["mean"] * scale
    return inputs[0] * scale.astype(np.float32) + shift.astype(np.float32)


def run(plan: Plan, values: Sequence[Tensor]) -> list[Tensor]:
    """A plan's outputs for its inputs, all stored as it says."""
    tensors = {entry.name: value for entry, value in zip(plan.entries, values, strict=True)}
    for step in plan.steps:
        made = apply_step(step, [tensors[name] for name in step.inputs])
        tensors.update(zip(step.outputs, made if step.others else [made], strict=True))
    return [tensors[name] for name in plan.outputs]


def _if(step: Step, inputs: list[Tensor]) -> Any:
    then, otherwise = step.attributes["then"], step.attributes["otherwise"]
    condition, *values = inputs
    made = tf.cond(tf.reshape(condition, ()), lambda: run(then, values), lambda: run(otherwise, values))
    return made if step.others else tf.nest.flatten(made)[0]


def _while(step: Step, inputs: list[Tensor]) -> Any:
    condition, body, grows = (step.attributes[key] for key in ("condition", "body", "grows"))
    kept = [
        tf.TensorShape([None] * len(value.shape)) if number in grows else value.shape
        for number, value in enumerate(inputs)
    ]
    return tf.while_loop(
        lambda *values: tf.reshape(run(condition, values)[0], ()),
        lambda *values: run(body, values),
        inputs,
        shape_invariants=kept,
    )


def _recurrent(step: Step, inputs: list[Tensor]) -> Any:
    made = recurrent(TensorArithmetic(), step, inputs, _looped)
    return made if step.others else made[0]


def _looped(course: Course, fed: Tensor, states: Any, rows: bool) -> tuple[Tensor, Any]:
    """Of all steps, in TensorFlow's own loop, which has a gradient."""
    arithmetic, turn = TensorArithmetic(), [0] if course.backwards else []
    nothing = tf.zeros((tf.shape(fed)[1], course.cell.size))
    count = 2 if course.cell.kind == "LSTM" else 1
    places = tf.range(tf.shape(fed)[0])

    def advance(before: Any, each: Any) -> Any:
        row, place = each
        made, after = course.step(arithmetic, row, before[1:], tf.cast(place, tf.float32))
        return (made, *after)

    turned = (tf.reverse(fed, turn), tf.reverse(places, turn))
    known = tuple(tf.convert_to_tensor(each, tf.float32) for each in states) or (nothing,) * count
    made, *ends = tf.scan(advance, turned, (nothing, *known))
    return tf.reverse(made, turn), tuple(each[-1] for each in ends)


def _conv_3d(step: Step, inputs: list[Tensor]) -> Tensor:
    """TensorFlow has no dilations of volumes on a CPU: the holes are zeros."""
    a, kernel = step.attributes, step.weights["kernel"].values
    spans = [(k - 1) * d + 1 for k, d in zip(kernel.shape, a["dilations"], strict=False)]
    wide = np.zeros((*spans, *kernel.shape[3:]), kernel.dtype)
    wide[tuple(slice(None, None, d) for d in a["dilations"])] = kernel
    return _biased(step, tf.nn.conv3d(inputs[0], constant(wide), (1, *a["strides"], 1), a["padding"]))


def _conv_by(step: Step, inputs: list[Tensor]) -> Tensor:
    """The kernel is an operand, (O, kH, kW, I)."""
    a, kernel = step.attributes, tf.transpose(inputs[1], (1, 2, 3, 0))
    return tf.nn.conv2d(inputs[0], kernel, a["strides"], a["padding"], dilations=a["dilations"])


OPERATIONS: Mapping[str, Operation] = {
    "conv": _conv,
    "depthwise_conv": _depthwise_conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "conv_3d": _conv_3d,
    "conv_by": _conv_by,
    "batch_norm": _batch_norm,
    "if": _if,
    "while": _while,
    **activations.OPERATIONS,
    **arithmetic.OPERATIONS,
    **reductions.OPERATIONS,
    **windows.OPERATIONS,
    **moving.OPERATIONS,
    **picking.OPERATIONS,
    "recurrent": _recurrent,
}
