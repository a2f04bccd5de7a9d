"""CenterCropPad as Slice and Pad, which have integer kernels: ONNX Runtime writes it out wrongly."""

from collections.abc import Sequence

import numpy as np
import onnx

from edgepress.graph.view import Array, attributes, set_initializer


def crop_and_pad(
    model: onnx.ModelProto, node: onnx.NodeProto, sizes: Sequence[int], target: Array
) -> list[onnx.NodeProto]:
    """The nodes that cut out the middle of some axes and put zeros around others; constants go to the model.

    Args:
        model: the network.
        node: a CenterCropPad.
        sizes: of its operand, all fixed.
        target: the sizes that its axes are to have.
    """
    axes = [axis % len(sizes) for axis in attributes(node).get("axes", range(len(sizes)))]
    pads, spans = np.zeros((2, len(sizes)), np.int64), dict[int, tuple[int, int]]()
    for axis, wanted in zip(axes, map(int, target), strict=True):
        over = sizes[axis] - wanted
        if over > 0:
            spans[axis] = over // 2, over // 2 + wanted
        pads[:, axis] = max(-over, 0) // 2, max(-over, 0) - max(-over, 0) // 2
    source, result, nodes = node.input[0], node.output[0], list[onnx.NodeProto]()
    if spans:
        bounds = np.array(list(spans.values()), np.int64)
        parts = {"starts": bounds[:, 0], "ends": bounds[:, 1], "axes": np.array(list(spans), np.int64)}
        names = _held(model, result, parts)
        cut = f"{result}.cut" if pads.any() else result
        nodes.append(onnx.helper.make_node("Slice", [source, *names], [cut], f"{node.name}.cut"))
        source = cut
    if pads.any() or not spans:
        names = _held(model, result, {"pads": pads.reshape(-1)})
        nodes.append(onnx.helper.make_node("Pad", [source, *names], [result], node.name))
    return nodes


def _held(model: onnx.ModelProto, stem: str, parts: dict[str, Array]) -> list[str]:
    for part, values in parts.items():
        set_initializer(model, f"{stem}.{part}", values)
    return [f"{stem}.{part}" for part in parts]
