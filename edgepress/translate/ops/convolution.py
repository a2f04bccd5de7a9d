"""Conv, 2-D: grouped, dilated and depthwise."""

import numpy as np

from edgepress.translate.layout import channels_last
from edgepress.translate.ops.padding import Window, padded, window
from edgepress.translate.plan import Quantisation, Weight
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, unsupported


def plan_conv(node: Node, planner: Planner) -> None:
    """Kernel (O, I/g, kH, kW) → HWIO, or (kH, kW, C, multiplier) for a depthwise convolution."""
    kernel = planner.constant(node, 1)
    value = planner.value(node.inputs[0])
    if kernel.values.ndim != 4:
        raise unsupported(
            node, f"its kernel has rank {kernel.values.ndim}; only 2-D convolutions are translated"
        )
    value = planner.stored_as(node, value, channels_last(4))
    w = window(node, value, kernel.values.shape[2:])
    groups, channels = node.attributes.get("group", 1), value.shape[1]
    depthwise = groups > 1 and groups == channels
    _refuse_windows(node, w, depthwise)
    value, mode = padded(node, planner, value, w)
    kernels = {"kernel": _depthwise_kernel(kernel, groups) if depthwise else _kernel(kernel)}
    planner.emit(
        node,
        "depthwise_conv" if depthwise else "conv",
        (value,),
        channels_last(4),
        {**kernels, **bias(node, planner)},
        strides=w.strides,
        dilations=w.dilations,
        padding=mode,
        groups=groups,
    )


def _refuse_windows(node: Node, w: Window, depthwise: bool) -> None:
    """Neither TensorFlow nor Keras has kernels for these."""
    if max(w.strides) > 1 and max(w.dilations) > 1:
        raise unsupported(node, f"it has both strides {w.strides} and dilations {w.dilations}")
    if depthwise and len(set(w.strides)) > 1:
        raise unsupported(node, f"it is depthwise with unequal strides {w.strides}")


def bias(node: Node, planner: Planner) -> dict[str, Weight]:
    """The optional third operand, as the weight `bias`."""
    if not node.has_input(2):
        return {}
    constant = planner.constant(node, 2)
    values = constant.values.reshape(-1)
    return {"bias": Weight(values, constant.initializer, (0,), onnx_shape=constant.values.shape)}


def quantisation(constant: Constant, channels: int) -> Quantisation | None:
    """The scales of a quantised kernel, one for each of its `channels` output channels."""
    if constant.scale is None:
        return None
    return Quantisation(np.broadcast_to(constant.scale.reshape(-1), (channels,)))


def _kernel(constant: Constant) -> Weight:
    order, shape = (2, 3, 1, 0), constant.values.shape
    scales = quantisation(constant, shape[0])
    return Weight(np.transpose(constant.values, order), constant.initializer, order, None, shape, scales)


def _depthwise_kernel(constant: Constant, channels: int) -> Weight:
    """(C·m, 1, kH, kW) → (kH, kW, C, m).

    TensorFlow orders outputs by channel, then multiplier, as ONNX does.
    """
    order, shape = (2, 3, 0, 1), constant.values.shape
    values = np.transpose(constant.values, order).reshape(*shape[2:], channels, -1)
    return Weight(values, constant.initializer, order, None, shape, quantisation(constant, shape[0]))


PLANNERS: dict[str, OpPlanner] = {"Conv": plan_conv}
