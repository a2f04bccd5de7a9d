"""Sizes that a Resize makes of scales, as ONNX Runtime rounds them."""

import math

import numpy as np
import onnx

from edgepress.graph.normalise.native import inferred
from edgepress.graph.normalise.structure import opset
from edgepress.graph.strangers import forget_outputs
from edgepress.graph.view import Array, attributes, initializers, set_initializer

_FIRST_WITH_ROI = 11


def round_as_runtimes(model: onnx.ModelProto) -> None:
    """Raise scales by a unit in the last place, in place, where onnx infers a size too small by one.

    A scale of 9/14 in float32 is a little less, and its product with 14, which ONNX Runtime computes in
    float32, is 9; onnx's inference computes it in float64, and rounds it down to 8.
    """
    nodes = [node for node in model.graph.node if node.op_type in ("Resize", "Upsample")]
    held = initializers(model)
    scaled = [
        node for node in nodes if (place := _place(model, node)) is not None and node.input[place] in held
    ]
    infos = inferred(model) if scaled else {}
    for node in scaled:
        place = _place(model, node)
        assert place is not None
        scales, sizes = held[node.input[place]], _sizes(infos, node)
        if (raised := _raised(scales, sizes)) is not None:
            node.input[place] = f"{node.output[0]}.scales"
            set_initializer(model, node.input[place], raised)
            forget_outputs(model)
            del model.graph.value_info[:]
            infos = inferred(model)


def _place(model: onnx.ModelProto, node: onnx.NodeProto) -> int | None:
    """Which operand holds the scales; None where there is none."""
    place = 1 if node.op_type == "Upsample" or opset(model) < _FIRST_WITH_ROI else 2
    return place if len(node.input) > place and node.input[place] else None


def _sizes(infos: dict[str, onnx.ValueInfoProto], node: onnx.NodeProto) -> list[int | None]:
    """Those of the axes that are scaled."""
    dims = infos[node.input[0]].type.tensor_type.shape.dim if node.input[0] in infos else []
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    return [sizes[axis] for axis in attributes(node).get("axes", range(len(sizes)))]


def _raised(scales: Array, sizes: list[int | None]) -> Array | None:
    if scales.size != len(sizes):
        return None
    changed = scales.astype(np.float32)
    for place, (scale, size) in enumerate(zip(changed.tolist(), sizes, strict=True)):
        if size is not None and int(np.float32(scale) * np.float32(size)) > math.floor(scale * size):
            changed[place] = np.nextafter(np.float32(scale), np.float32(np.inf))
    return None if np.array_equal(changed, scales) else changed
