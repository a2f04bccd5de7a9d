"""Steps as TensorFlow operations, in float32."""

from collections.abc import Mapping

import numpy as np

from edgepress.translate.operations import activations, arithmetic, moving, reductions, windows
from edgepress.translate.operations.base import Operation, Tensor, constant
from edgepress.translate.operations.tensors import TensorArithmetic
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf
from edgepress.translate.unrolled import recurrent


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


OPERATIONS: Mapping[str, Operation] = {
    "conv": _conv,
    "depthwise_conv": _depthwise_conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "batch_norm": _batch_norm,
    **activations.OPERATIONS,
    **arithmetic.OPERATIONS,
    **reductions.OPERATIONS,
    **windows.OPERATIONS,
    **moving.OPERATIONS,
    "recurrent": lambda step, inputs: recurrent(TensorArithmetic(), step, inputs[0]),
}
