"""A model's inputs and outputs, and how samples become them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgepress.devices.program.answers import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Dims = list[int | None]


class Tensor(NamedTuple):
    """A model's input or output: shape (None: any length) and, where it holds codes, their meaning.

    `scale` and `zero_point` are also given for a float output that the model makes of integer codes.
    """

    dims: Dims
    dtype: str
    scale: float | None
    zero_point: int | None


def axes(layout: str, sample: tuple[int, ...], dims: Dims) -> tuple[int, ...]:
    """The permutation that takes a sample, stored as (C, H, W) or (F,), to a model's input without batch.

    Raises:
        RequestError: the shapes do not fit, or both layouts would fit and `layout` does not choose.
    """
    keep = tuple(range(len(sample)))
    choices = {"NCHW": keep, "NHWC": (1, 2, 0)} if len(sample) == 3 else {"NCHW": keep}
    wanted = {name: order for name, order in choices.items() if layout in (name, "auto")}
    fits = [order for order in wanted.values() if _fits([sample[axis] for axis in order], dims)]
    shapes = f"the model takes {show(dims)} and the samples are {show([None, *sample])}, layout {layout}"
    if not fits:
        raise RequestError("model", f"{shapes}: these do not fit")
    if len(fits) > 1 and max(sample) > 1:
        raise RequestError("request", f"{shapes}: both layouts fit, so the layout must be given")
    return fits[0]


def to_model_type(values: Array, tensor: Tensor) -> Array:
    """Values as the model takes them; codes are round(value / scale) + zero point, half to even, clipped."""
    if tensor.dtype not in ("int8", "uint8", "int16"):
        return np.ascontiguousarray(values, tensor.dtype)
    if tensor.scale is None or tensor.zero_point is None:
        raise RequestError("model", f"its {tensor.dtype} input has no scale")
    codes = np.rint(np.asarray(values, np.float32) / np.float32(tensor.scale)) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    return np.ascontiguousarray(np.clip(codes, limits.min, limits.max), tensor.dtype)


def _fits(shape: list[int], dims: Dims) -> bool:
    pairs = zip([1, *shape], dims, strict=False)
    return len(dims) == len(shape) + 1 and all(want in (None, have) for have, want in pairs)


def show(dims: Dims) -> str:
    """A shape as a reader knows it."""
    return "(" + ", ".join("N" if length is None else str(length) for length in dims) + ")"


def choose(outputs: Any, index: int | None) -> Any:
    """The output of that number, or the only one."""
    return single(outputs, "outputs") if index is None else outputs[index]


def single(values: Any, what: str) -> Any:
    """The only one.

    Raises:
        RequestError: there are more, or none.
    """
    if len(values) != 1:
        raise RequestError("model", f"it has {len(values)} {what}; expected 1")
    return values[0]


@contextmanager
def blame_model() -> Iterator[None]:
    """Report what a runtime raises, whose exceptions share no base, as a fault of the model."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        raise RequestError("model", f"{type(error).__name__}: {error}") from error
