"""Writing a QDQ model whose activations have 16 bits: int16 with zero point 0, as TFLite's kernels want them.

Kernels are int8, with a scale for each output channel. Biases stay in float32: TFLite has 64 bits for them,
ONNX Runtime computes all of it in floats.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx

from edgepress.compress.quantisation.floats import unquantised_nodes
from edgepress.compress.quantisation.kernel_codes import codes, largest_scales
from edgepress.compress.quantisation.nested_reads import MOVES, read_codes_within
from edgepress.compress.quantisation.sharing import Ranges, shared_ranges
from edgepress.compress.quantisation.unscaling import unscaled
from edgepress.graph.codes import quantise
from edgepress.graph.normalise.native import raise_opset
from edgepress.graph.view import (
    Array,
    consumers,
    copy,
    initializers,
    producers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)
from edgepress.graph.weights import Kernel, kernels

_FIRST_OPSET = 21
"""From this opset on QuantizeLinear makes codes of 16 bits."""

_UNIT = (-1.0, 32767 / 32768)
_FIXED = ("Sigmoid", "Softmax", "Tanh")
"""TFLite's int16 kernels of these demand the scale 1/32768 of what they make."""

_NO_KERNEL = (
    "Gelu", "HardSwish", "PRelu", "DepthToSpace", "SpaceToDepth", "ReduceSum", "ReduceL1", "ReduceSumSquare",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "Exp", "Log", "Sqrt", "Abs", "Cast", "ArgMax", "ArgMin",
    "CumSum", "TopK",
)  # fmt: skip
"""What LiteRT has no kernels of int16 for, or none that is right to a few steps, besides what int8 lacks."""

_OPERANDS = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Max", "Min", "Concat"), slice(None)),
    "Where": slice(1, 3),
}
"""Which operands get codes where they are constant."""


def unquantised_words(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that are computed in floats, in both runtimes alike."""
    lacking = [node.name for node in model.graph.node if node.op_type in _NO_KERNEL]
    return [*dict.fromkeys((*unquantised_nodes(model), *lacking))]


def tensors_of_unit_range(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    """The tensors whose scale is prescribed, with the range that has it."""
    return {name: _UNIT for name, node in producers(model).items() if node.op_type in _FIXED}


def write_words(
    model: onnx.ModelProto, ranges: Ranges, floats: Collection[str], kernel_scales: Mapping[str, Array]
) -> onnx.ModelProto:
    """Quantise a float model to int16 activations and int8 kernels.

    Args:
        model: float32, BatchNormalization folded, from `prepared`.
        ranges: of activations by tensor name.
        floats: names of nodes that stay in floats.
        kernel_scales: scales (channels,) for kernels whose codes must come out as given; others get theirs
            from their largest magnitude.
    """
    entry = model.graph.input[0].name
    if entry in ranges:
        step = float(scale_of(ranges[entry]))
        model, ranges, kernel_scales = unscaled(model, ranges, kernel_scales, step, floats, "per channel")
    return _Words(model, shared_ranges(model, ranges, tensors_of_unit_range(model)), floats).written(
        kernel_scales
    )


def scale_of(bounds: tuple[float, float]) -> np.float32:
    """The scale under which codes of 16 bits hold a range; 1 for 0 alone."""
    scale = np.float32(max(-bounds[0] / 32768, bounds[1] / 32767))
    return scale if scale > 0 else np.float32(1)


def _has_codes(constant: Array) -> bool:
    """Whether there are numbers in it, and no mask's infinity, of which no code is a multiple."""
    return constant.dtype == np.float32 and constant.size > 0 and bool(np.isfinite(constant).all())


class _Words:
    """A model that is being quantised."""

    def __init__(self, model: onnx.ModelProto, ranges: Ranges, floats: Collection[str]) -> None:
        self._model = copy(model)
        self._ranges = {name: bounds for name, bounds in ranges.items() if np.isfinite(bounds).all()}
        raise_opset(self._model, _FIRST_OPSET)
        self._nodes = [node for node in self._model.graph.node if node.name not in floats]
        self._outputs = {output.name for output in model.graph.output}
        self._coded = self._activations()
        self._renamed: dict[tuple[int, str], str] = {}

    def written(self, kernel_scales: Mapping[str, Array]) -> onnx.ModelProto:
        model, quantised = self._model, {id(node) for node in self._nodes}
        front = [*self._kernels(kernel_scales), *self._constants()]
        nodes = [pair for entry in model.graph.input for pair in self._pair(entry.name, entry.name)]
        for node in model.graph.node:
            node.input[:] = [self._read(node, name, id(node) in quantised) for name in node.input]
            made = list(node.output)
            node.output[:] = [self._before(name) for name in made]
            nodes += [node, *(pair for name in made for pair in self._pair(name, self._before(name)))]
        replace_nodes(model, [*front, *nodes])
        del model.graph.value_info[:]
        remove_unused_initializers(model)
        read_codes_within(model)
        return model

    def _activations(self) -> set[str]:
        """The tensors that get codes: all that quantised nodes read and make, but for three sorts.

        What a Relu or Clip alone reads has the codes of what that makes; what is moved has those of what it
        is moved from; and what is not made of numbers has none.
        """
        readers, makers = consumers(self._model), producers(self._model)
        quantised = {node.name for node in self._nodes}
        constants, found = initializers(self._model), set[str]()
        for node in self._nodes:
            names = [*node.input, *(() if node.op_type in MOVES else node.output)]
            found.update(name for name in names if name in self._ranges and name not in constants)
        for name in list(found):
            following, maker = readers[name], makers.get(name)
            clipped = len(following) == 1 and following[0].op_type in ("Relu", "Clip")
            clipped = clipped and following[0].name in quantised and name not in self._outputs
            moved = maker is not None and maker.op_type in MOVES and maker.name in quantised
            if clipped or moved:
                found.discard(name)
        return found

    def _before(self, name: str) -> str:
        """The name of a tensor before it is rounded: an output keeps its own for what is dequantised."""
        return f"{name}_QuantizeLinear_Input" if name in self._outputs and name in self._coded else name

    def _after(self, name: str) -> str:
        return name if name in self._outputs else f"{name}_DequantizeLinear_Output"

    def _read(self, node: onnx.NodeProto, name: str, quantised: bool) -> str:
        if name in self._coded:
            return self._after(name)
        return self._renamed.get((id(node), name), name) if quantised else name

    def _pair(self, name: str, source: str) -> Iterator[onnx.NodeProto]:
        """QuantizeLinear and DequantizeLinear of an activation that has codes."""
        if name not in self._coded:
            return
        parameters = self._parameters(name, np.asarray(scale_of(self._ranges[name])), np.int16)
        codes_name, make = f"{name}_QuantizeLinear_Output", onnx.helper.make_node
        yield make("QuantizeLinear", [source, *parameters], [codes_name], f"{name}_QuantizeLinear")
        yield make(
            "DequantizeLinear", [codes_name, *parameters], [self._after(name)], f"{name}_DequantizeLinear"
        )

    def _parameters(self, name: str, scale: Array, dtype: type[np.int8] | type[np.int16]) -> list[str]:
        names = [f"{name}_scale", f"{name}_zero_point"]
        set_initializer(self._model, names[0], scale)
        set_initializer(self._model, names[1], np.zeros(scale.shape, dtype))
        return names

    def _kernels(self, scales: Mapping[str, Array]) -> Iterator[onnx.NodeProto]:
        quantised, readers = {id(node) for node in self._nodes}, consumers(self._model)
        for kernel in kernels(self._model):
            reading = [n for n in readers[kernel.initializer] if id(n) in quantised]
            if not reading or kernel.values.dtype != np.float32:
                continue
            yield self._coded_kernel(kernel, scales.get(kernel.initializer))
            for node in reading:
                self._renamed[id(node), kernel.initializer] = f"{kernel.initializer}_DequantizeLinear_Output"

    def _coded_kernel(self, kernel: Kernel, scale: Array | None) -> onnx.NodeProto:
        name, axis, values = kernel.initializer, kernel.channel_axis, kernel.values
        scale = largest_scales(values, axis) if scale is None else scale
        parameters = self._parameters(name, scale, np.int8)
        set_initializer(self._model, f"{name}_quantized", codes(values, scale, axis))
        return onnx.helper.make_node(
            "DequantizeLinear",
            [f"{name}_quantized", *parameters],
            [f"{name}_DequantizeLinear_Output"],
            f"{name}_DequantizeLinear",
            axis=axis,
        )

    def _constants(self) -> Iterator[onnx.NodeProto]:
        held, done = initializers(self._model), set[str]()
        for node in self._nodes:
            for name in node.input[_OPERANDS[node.op_type]] if node.op_type in _OPERANDS else ():
                if name not in held or not _has_codes(held[name]):
                    continue
                self._renamed[id(node), name] = f"{name}_DequantizeLinear_Output"
                if name not in done:
                    done.add(name)
                    yield self._coded_constant(name, held[name])

    def _coded_constant(self, name: str, values: Array) -> onnx.NodeProto:
        bounds = self._ranges.get(name, (float(values.min()), float(values.max())))
        scale = np.asarray(scale_of(bounds))
        parameters = self._parameters(name, scale, np.int16)
        stored = quantise(values, scale, np.zeros((), np.int16), 0)
        set_initializer(self._model, f"{name}_quantized", stored)
        return onnx.helper.make_node(
            "DequantizeLinear",
            [f"{name}_quantized", *parameters],
            [f"{name}_DequantizeLinear_Output"],
            f"{name}_DequantizeLinear",
        )
