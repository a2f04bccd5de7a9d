"""Which constants of a network are equal, and so are stored once; and how they are stored."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.convert.writer.graph import Array, Tensor


class Tensors:
    """`unique` tensors of the file, and the number there of each tensor of the network, by its id."""

    def __init__(self) -> None:
        self.unique: list[Tensor] = []
        self.index: dict[int, int] = {}


def distinct(tensors: Sequence[Tensor]) -> Tensors:
    """Constants that are equal, also in how they are read, are one tensor."""
    found, known = Tensors(), dict[Any, int]()
    for tensor in tensors:
        key = None if tensor.values is None else _tensor_key(tensor, tensor.values)
        if key is not None and key in known:
            found.index[id(tensor)] = known[key]
            continue
        found.unique.append(tensor)
        found.index[id(tensor)] = len(found.unique) - 1
        if key is not None:
            known[key] = len(found.unique) - 1
    return found


def _tensor_key(tensor: Tensor, values: Array) -> Any:
    return (
        content_key(values),
        tensor.shape,
        tensor.dtype,
        None if tensor.codes is None else tensor.codes.key(),
    )


_HASHED = 1 << 20
"""Constants of more bytes are the same only if they lie in the same place."""


def content_key(array: Array) -> Any:
    """What equal contents have in common."""
    if array.nbytes <= _HASHED:
        return (array.dtype.char, array.tobytes())
    return (array.dtype.char, array.__array_interface__["data"][0], array.shape, array.strides)


def stored(tensor: Tensor) -> Array:
    """The content as it lies in the file: two codes of 4 bits to a byte, the first in the lower half."""
    assert tensor.values is not None
    if tensor.dtype != "int4":
        return tensor.values
    halves = tensor.values.reshape(-1).view(np.uint8) & 0x0F
    halves = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    packed: Array = halves[0::2] | halves[1::2] << 4
    return packed
