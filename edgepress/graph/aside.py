"""Large weights beside a model, in memory, where no copy of the model copies them.

A protobuf message holds its bytes itself: a copy of a model copies its weights, and each look at a weight
copies that. So within `weights_aside`, the large float32 weights of a file that is read stay where they were
read to. In its place in the model, a weight is a tensor of external data that names it; `values_of` gives the
array. Such a model is for the passes here alone: outside of them, nothing knows the name.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import StringStringEntryProto, TensorProto, numpy_helper

Array = npt.NDArray[Any]

LARGE = 1024
"""Constants of more elements say nothing about shapes; axes, sizes and scales have fewer."""


@dataclass(frozen=True)
class _Shelf:
    """What lies aside, and the files that are mapped for it."""

    arrays: list[Array] = field(default_factory=list)
    files: list[mmap.mmap] = field(default_factory=list)


_SHELF: ContextVar[_Shelf | None] = ContextVar("weights", default=None)
_LOCATION = "edgepress-memory:"


@contextmanager
def weights_aside() -> Iterator[None]:
    """Until this context ends, large weights of models that are read or changed in it lie beside them."""
    token = _SHELF.set(_Shelf())
    try:
        yield
    finally:
        _SHELF.reset(token)


def put_aside(tensor: TensorProto, values: Array) -> bool:
    """Let a tensor name these values instead of holding them.

    Args:
        tensor: without data; its type and shape become those of the values.
        values: read only from now on.

    Returns:
        Whether that was done; it is not for small values, of other types, and outside of `weights_aside`.
    """
    shelf = _SHELF.get()
    if shelf is None or values.dtype != np.float32 or values.size <= LARGE:
        return False
    shelf.arrays.append(values)
    tensor.data_type = TensorProto.FLOAT
    tensor.dims[:] = values.shape
    tensor.data_location = TensorProto.EXTERNAL
    entry = StringStringEntryProto(key="location", value=f"{_LOCATION}{len(shelf.arrays) - 1}")
    tensor.external_data.append(entry)
    return True


def are_put_aside() -> bool:
    """Whether this context holds large weights beside their models."""
    return _SHELF.get() is not None


def note_file(memory: mmap.mmap) -> None:
    """Tell of a mapped file that weights are read from."""
    shelf = _SHELF.get()
    assert shelf is not None
    shelf.files.append(memory)


def release_files() -> None:
    """Let go of the memory that mapped files take up, as after what was made of their weights.

    Weights can still be read: the system fetches again what is asked for.
    """
    shelf = _SHELF.get()
    for memory in shelf.files if shelf is not None else []:
        memory.madvise(mmap.MADV_DONTNEED)


def is_aside(tensor: TensorProto) -> bool:
    """Whether the tensor names its values instead of holding them."""
    return tensor.data_location == TensorProto.EXTERNAL and any(
        entry.value.startswith(_LOCATION) for entry in tensor.external_data
    )


def values_of(tensor: TensorProto) -> Array:
    """The values of a constant tensor; those that lie beside it are not copied."""
    shelf = _SHELF.get()
    if shelf is not None and is_aside(tensor):
        return shelf.arrays[int(tensor.external_data[0].value.removeprefix(_LOCATION))]
    values: Array = numpy_helper.to_array(tensor)
    return values
