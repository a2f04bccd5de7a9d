"""Pools and means over the image."""

from edgepress.translate.layout import channels_last, plain
from edgepress.translate.ops.padding import pad_mode, padded, window
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, unsupported

_LOWEST = -3.4028234663852886e38


def plan_max_pool(node: Node, planner: Planner) -> None:
    """Explicit padding takes the operand's proven minimum, which then never wins wrongly."""
    value = _image(node, planner)
    _refuse_options(node)
    w = window(node, value, tuple(node.attributes["kernel_shape"]))
    minimum = value.minimum
    value, mode = padded(node, planner, value, w, fill=_LOWEST if minimum is None else minimum)
    planner.emit(
        node,
        "max_pool",
        (value,),
        channels_last(4),
        minimum=minimum,
        size=w.kernel,
        strides=w.strides,
        padding=mode,
    )


def plan_average_pool(node: Node, planner: Planner) -> None:
    """TensorFlow's SAME averages over the image alone; padding that counts is written as a step."""
    value = _image(node, planner)
    _refuse_options(node)
    w = window(node, value, tuple(node.attributes["kernel_shape"]))
    counted = node.attributes.get("count_include_pad", 0)
    mode = pad_mode(value, w)
    if mode == "SAME" and counted:
        pads = ((0, 0), *w.pads, (0, 0))
        value, mode = planner.emit_between(node, "pad", value, "padded", pads=pads, fill=0.0), "VALID"
    elif mode is None:
        if not counted:
            raise unsupported(node, f"pads {w.pads} that do not count have no translation")
        value, mode = padded(node, planner, value, w)
    planner.emit(
        node,
        "average_pool",
        (value,),
        channels_last(4),
        minimum=value.minimum,
        size=w.kernel,
        strides=w.strides,
        padding=mode,
    )


def plan_global_average_pool(node: Node, planner: Planner) -> None:
    """The mean over H and W, both kept with size 1."""
    value = _image(node, planner)
    planner.emit(node, "mean", (value,), channels_last(4), minimum=value.minimum, axes=(1, 2), keepdims=True)


def plan_reduce_mean(node: Node, planner: Planner) -> None:
    """Axes are an attribute up to opset 17 and an input from 18; without `keepdims`, ranks shrink."""
    value = planner.value(node.inputs[0])
    if value.layout.flattened:
        value = planner.stored_as(node, value, plain(2))
    axes = planner.integers(node, 1) if node.has_input(1) else node.attributes.get("axes", [])
    if not axes and not node.attributes.get("noop_with_empty_axes", 0):
        axes = list(range(len(value.shape)))
    keep = bool(node.attributes.get("keepdims", 1))
    stored = tuple(sorted(value.layout.position(axis) for axis in axes))
    layout = value.layout
    if not keep:
        left = [axis for axis in layout.order if layout.position(axis) not in stored]
        layout = type(layout)(tuple(sorted(left).index(axis) for axis in left))
    planner.emit(node, "mean", (value,), layout, minimum=value.minimum, axes=stored, keepdims=keep)


def _image(node: Node, planner: Planner) -> Value:
    """The operand, stored NHWC."""
    value = planner.value(node.inputs[0])
    if len(value.shape) != 4:
        raise unsupported(node, f"its operand has rank {len(value.shape)}; only images, rank 4, are pooled")
    return planner.stored_as(node, value, channels_last(4))


def _refuse_options(node: Node) -> None:
    if node.attributes.get("ceil_mode", 0):
        raise unsupported(node, "ceil_mode has no translation")
    if any(d != 1 for d in node.attributes.get("dilations", [])) or len(node.outputs) > 1:
        raise unsupported(node, "dilations and the output of indices have no translation")


PLANNERS: dict[str, OpPlanner] = {
    "MaxPool": plan_max_pool,
    "AveragePool": plan_average_pool,
    "GlobalAveragePool": plan_global_average_pool,
    "ReduceMean": plan_reduce_mean,
}
