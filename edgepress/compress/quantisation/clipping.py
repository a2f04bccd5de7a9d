"""Relu and Clip, which onnxruntime leaves out of a QDQ model, whether or not the codes clip alike."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.graph.formats import note_clip
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    copy,
    initializers,
    producers,
    replace_nodes,
    set_initializer,
)

_AT_AN_OUTPUT = "_QuantizeLinear_Input"
"""What onnxruntime appends to the name of an output, so that what is dequantised has it."""

_KNOWN = ((0.0, np.inf), (0.0, 6.0))
"""The bounds of Relu and Relu6, which the codes themselves show."""

UNCLIPPED = ".unclipped"
"""Ends the names of tensors that are quantised before and after clipping, under the same scale."""


def join_clips(model: onnx.ModelProto) -> None:
    """Make one Clip of a Relu or Clip and another one that alone reads it, in place."""
    constants, readers, makers = initializers(model), consumers(model), producers(model)
    outputs, nodes = {output.name for output in model.graph.output}, list(model.graph.node)
    for node in list(nodes):
        first = makers.get(node.input[0]) if _is_clip(node, constants) else None
        if first is None or not _is_clip(first, constants) or first.output[0] in outputs:
            continue
        if len(readers[first.output[0]]) == 1 and _bounds(first, constants) != _bounds(node, constants):
            ends = np.clip(_bounds(first, constants), *_bounds(node, constants)).astype(np.float32)
            names = [f"{node.output[0]}.{end}" for end in ("least", "most")]
            for name, end in zip(names, ends, strict=True):
                set_initializer(model, name, np.asarray(end))
            del node.attribute[:]
            node.op_type, node.input[:] = "Clip", [first.input[0], *names]
            nodes.remove(first)
            constants = initializers(model)
    replace_nodes(model, nodes)


def _is_clip(node: onnx.NodeProto, constants: Mapping[str, Array]) -> bool:
    """Whether it clips floats at known bounds."""
    if node.op_type not in ("Relu", "Clip"):
        return False
    return all(n in constants and constants[n].dtype == np.float32 for n in filter(None, node.input[1:]))


def restore_clipping(quantised: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Put back those that the codes do not stand in for, after codes of their own.

    `quantised` is the QDQ form of `model`. Where a tensor has the scale of one that it is joined with, or
    pooled from, its codes reach further than a Relu lets it.
    """
    clips = {name: node for name, node in producers(model).items() if node.op_type in ("Relu", "Clip")}
    restored, constants = copy(quantised), initializers(model)
    readers = consumers(restored)
    nodes = list[onnx.NodeProto]()
    for node in restored.graph.node:
        nodes.append(node)
        name = node.output[0].removesuffix(_AT_AN_OUTPUT)
        clip, quantise = clips.get(name), _quantiser(readers, node.output[0])
        if clip is None or quantise is None or node.op_type == clip.op_type:
            continue
        bounds = _bounds(clip, constants)
        if _clips(restored, quantise, bounds):
            if bounds not in _KNOWN:
                note_clip(quantise, *bounds)
        else:
            node.output[0] += UNCLIPPED
            nodes.extend(_clipped(clip, quantise, node.output[0]))
            for bound in filter(None, clip.input[1:]):
                set_initializer(restored, bound, constants[bound])
    replace_nodes(restored, nodes)
    return restored


def _quantiser(readers: dict[str, list[onnx.NodeProto]], name: str) -> onnx.NodeProto | None:
    return next((node for node in readers[name] if node.op_type == "QuantizeLinear"), None)


def _bounds(clip: onnx.NodeProto, constants: Mapping[str, Array]) -> tuple[float, float]:
    if clip.op_type == "Relu":
        return 0.0, np.inf
    given = attributes(clip)
    low, high = (constants[name].item() if name else None for name in (*clip.input[1:], "", "")[:2])
    return (
        given.get("min", -np.inf) if low is None else low,
        given.get("max", np.inf) if high is None else high,
    )


def _clips(model: onnx.ModelProto, quantise: onnx.NodeProto, bounds: tuple[float, float]) -> bool:
    """Whether no code stands for a value more than half a step outside the bounds."""
    constants = initializers(model)
    scale, zero = (constants[name] for name in quantise.input[1:3])
    codes, step = np.iinfo(zero.dtype), float(scale.item())
    low, high = ((code - int(zero.item())) * step for code in (codes.min, codes.max))
    return low >= bounds[0] - step / 2 and high <= bounds[1] + step / 2


def _clipped(clip: onnx.NodeProto, quantise: onnx.NodeProto, stem: str) -> list[onnx.NodeProto]:
    """Q and DQ of what the node before made, under the scale of the result, then the clipping."""
    make, parameters = onnx.helper.make_node, quantise.input[1:]
    codes, values = f"{stem}_QuantizeLinear_Output", f"{stem}_DequantizeLinear_Output"
    again = onnx.NodeProto()
    again.CopyFrom(clip)
    again.input[0], again.output[0] = values, quantise.input[0]
    return [
        make("QuantizeLinear", [stem, *parameters], [codes], f"{stem}_QuantizeLinear"),
        make("DequantizeLinear", [codes, *parameters], [values], f"{stem}_DequantizeLinear"),
        again,
    ]
