"""How the data's raw inputs become what a network from elsewhere takes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.graph.axes import Place
from edgepress.graph.view import Array, attributes, initializers, replace_nodes, set_initializer

Sizes = Sequence[int | str]

_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = [0, 3, 1, 2]


@dataclass(frozen=True)
class Entry:
    """Raw inputs (N, C, H, W) → (x − mean)·scale per channel → the axes and `shape` that the network takes.

    `mean` and `scale` (1, C, 1, 1) are None where the network takes raw values.
    """

    mean: Array | None
    scale: Array | None
    channels_last: bool
    shape: tuple[int, ...]

    def feed(self, inputs: Array) -> Array:
        """What to feed the network as it came, (N, *shape) float32, for raw inputs (N, C, H, W)."""
        values = inputs if self.mean is None or self.scale is None else (inputs - self.mean) * self.scale
        moved = values.transpose(_TO_LAST) if self.channels_last else values
        return np.ascontiguousarray(moved.reshape(len(inputs), *self.shape), np.float32)

    def put_before(self, model: onnx.ModelProto, input_shape: tuple[int, ...]) -> None:
        """Let the model take raw inputs (batch, *input_shape) itself, in place.

        A transpose or reshape that begins the network and the one that would go before it cancel out.
        """
        entry = model.graph.input[0]
        name, nodes = entry.name, []
        if self.mean is not None and self.scale is not None:
            nodes += self._scaling(model, name)
        kind = entry.type.tensor_type.elem_type
        taken = kind == onnx.TensorProto.FLOAT  # else a Cast comes between
        moved = self.channels_last or self.shape != input_shape
        if moved and not (taken and self._undone(model, name, input_shape)):
            nodes.append(self._arrangement(model, _last(nodes, name), name))
        if not taken:
            source = _last(nodes, name)
            nodes.append(onnx.helper.make_node("Cast", [source], [f"{name}.bytes"], to=kind))
        for reader in model.graph.node if nodes else ():
            reader.input[:] = [_last(nodes, name) if one == name else one for one in reader.input]
        for node in nodes:
            node.name = node.output[0]
        replace_nodes(model, [*nodes, *model.graph.node])
        batch = entry.type.tensor_type.shape.dim[0]
        sizes = [batch.dim_value if batch.HasField("dim_value") else batch.dim_param, *input_shape]
        entry.CopyFrom(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes))

    def _undone(self, model: onnx.ModelProto, name: str, input_shape: tuple[int, ...]) -> bool:
        """Whether all that read the input made (batch, *input_shape) of it; these nodes are gone then."""
        readers = [node for node in model.graph.node if name in node.input]
        outputs, known = {output.name for output in model.graph.output}, initializers(model)
        if not all(self._undoes(node, input_shape, known) for node in readers):
            return False
        made = {node.output[0] for node in readers}
        if made & outputs:
            return False
        replace_nodes(model, [node for node in model.graph.node if not made & set(node.output)])
        for node in model.graph.node:
            node.input[:] = [name if one in made else one for one in node.input]
        return True

    def _undoes(self, node: onnx.NodeProto, input_shape: tuple[int, ...], known: Mapping[str, Array]) -> bool:
        if self.channels_last:
            return node.op_type == "Transpose" and list(attributes(node)["perm"]) == _TO_FIRST
        sizes = known.get(node.input[1]) if node.op_type == "Reshape" else None
        return sizes is not None and sizes[0] in (-1, 0) and tuple(sizes[1:].tolist()) == input_shape

    def _arrangement(self, model: onnx.ModelProto, source: str, name: str) -> onnx.NodeProto:
        if self.channels_last:
            return onnx.helper.make_node("Transpose", [source], [f"{name}.nhwc"], perm=_TO_LAST)
        set_initializer(model, f"{name}.sizes", np.array([-1, *self.shape], np.int64))
        return onnx.helper.make_node("Reshape", [source, f"{name}.sizes"], [f"{name}.reshaped"])

    def _scaling(self, model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
        assert self.mean is not None and self.scale is not None
        set_initializer(model, f"{name}.mean", self.mean)
        set_initializer(model, f"{name}.scale", self.scale)
        return [
            onnx.helper.make_node("Sub", [name, f"{name}.mean"], [f"{name}.centred"]),
            onnx.helper.make_node("Mul", [f"{name}.centred", f"{name}.scale"], [f"{name}.scaled"]),
        ]


def find_entry(
    sizes: Sizes,
    input_shape: tuple[int, ...],
    mean: Sequence[float],
    std: Sequence[float],
    channels: Place = "",
) -> Entry:
    """The way from data of one shape (C, H, W) to a network that takes `sizes`, the batch left out.

    Sizes that are not numbers fit any. Taken are channels first, channels last, the values in a row, and
    images of one channel or one row without that axis. Where sizes fit more than one, `channels`, where the
    network's operators show them to be, decides.

    Raises:
        ConfigError: `mean` or `std` is of another length than one or the channels.
        UnsupportedModelError: the data does not fit.
    """
    depth, height, width = input_shape
    scaling = _scaling_arrays(mean, std, depth)
    if _fits(sizes, (height, width, depth)) and (not _fits(sizes, input_shape) or channels == "last"):
        return Entry(*scaling, True, (height, width, depth))
    narrower = [input_shape[:axis] + input_shape[axis + 1 :] for axis in (0, 1) if input_shape[axis] == 1]
    for shape in (input_shape, *narrower, (math.prod(input_shape),)):
        if _fits(sizes, shape):
            return Entry(*scaling, False, shape)
    raise UnsupportedModelError(
        f"the network takes inputs {_tuple(sizes)}, but the data is {input_shape}, channels first; "
        f"{_remedy(sizes)}"
    )


def fits_both(sizes: Sizes, input_shape: tuple[int, ...]) -> bool:
    """Whether a network's sizes leave open if it takes data (C, H, W) with its channels first or last."""
    channels, height, width = input_shape
    return _fits(sizes, input_shape) and _fits(sizes, (height, width, channels))


def _fits(sizes: Sizes, shape: tuple[int, ...]) -> bool:
    if len(sizes) != len(shape):
        return False
    return all(not isinstance(size, int) or size in (0, own) for size, own in zip(sizes, shape, strict=True))


def _remedy(sizes: Sizes) -> str:
    """How to prepare the data in the network's size, where it is an image."""
    for channels, image in ((sizes[:1], sizes[1:]), (sizes[-1:], sizes[:-1])):
        if (
            list(channels) in ([1], [3])
            and len(image) == 2
            and image[0] == image[1]
            and isinstance(image[0], int)
        ):
            return f"prepare it in that size: -S data.size={image[0]} -S data.channels={channels[0]}"
    return "prepare it in that shape, or export the network for the data's"


def _tuple(sizes: Sizes) -> str:
    return f"({', '.join(str(size or '?') for size in sizes)})"


def _scaling_arrays(
    mean: Sequence[float], std: Sequence[float], channels: int
) -> tuple[Array | None, Array | None]:
    if not mean and not std:
        return None, None
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (0, 1, channels):
            raise ConfigError(
                f"model.{name} is {list(values)}, {len(values)} numbers; expected one, or one for each of "
                f"the data's {channels} channels. Set it in conf/model/ or with -S."
            )
    means = np.broadcast_to(np.array(mean or [0], np.float32), channels)
    factors = np.broadcast_to(1 / np.array(std or [1], np.float32), channels)
    return means.reshape(1, -1, 1, 1).copy(), factors.astype(np.float32).reshape(1, -1, 1, 1)


def _last(nodes: list[onnx.NodeProto], name: str) -> str:
    return str(nodes[-1].output[0]) if nodes else name
