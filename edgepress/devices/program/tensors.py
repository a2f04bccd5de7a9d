"""A model's inputs and outputs, and how samples become them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgepress.devices.program.answers import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Dims = list[int | None]


_CUSTOM = re.compile(r"unresolved custom op: (\S+?)\.?(\s|$)")


class Tensor(NamedTuple):
    """A model's input or output: shape (None: any length) and, where it holds codes, their meaning.

    `scale` and `zero_point` are also given for a float output that the model makes of integer codes.
    """

    dims: Dims
    dtype: str
    scale: float | None
    zero_point: int | None
    name: str = ""


class Feed(NamedTuple):
    """The samples (N, ...) for an input, and the order in which it has their axes.

    Where samples are `whole`, each has all axes of the input; else the first axis counts them, as the input's
    first does.
    """

    tensor: Tensor
    samples: Array
    order: tuple[int, ...]
    whole: bool

    def take(self, indices: Array) -> Array:
        """Some samples as the model takes them."""
        chosen = self.samples[indices[0]] if self.whole else self.samples[indices]
        return to_model_type(np.transpose(chosen, self.order), self.tensor)


def feed(tensor: Tensor, samples: Array, order: list[int] | None) -> Feed:
    """How samples become an input; without an order, images (C, H, W) have the axes that fit the model.

    Raises:
        RequestError: their shape does not fit.
    """
    whole = samples.ndim == len(tensor.dims) + 1
    if order is None and not whole and samples.ndim > 1:
        moved = axes("auto", samples.shape[1:], tensor.dims)
        return Feed(tensor, samples, (0, *(1 + axis for axis in moved)), whole)
    chosen = tuple(range(len(tensor.dims))) if order is None else tuple(order)
    sample = [*samples.shape[1:]] if whole else [None, *samples.shape[1:]]
    fits = sorted(chosen) == [*range(len(tensor.dims))] and len(sample) == len(chosen)
    if not fits or any(
        want is not None and sample[axis] not in (None, want)
        for want, axis in zip(tensor.dims, chosen, strict=True)
    ):
        what = f"input {tensor.name!r} is {show(tensor.dims)} and the samples for it are {show(sample)}"
        raise RequestError("model", f"{what}, in the order {list(chosen)}: these do not fit")
    return Feed(tensor, samples, chosen, whole)


def matched(inputs: Sequence[Tensor], names: Sequence[str]) -> list[str]:
    """The name of the file for each input; an only one is for an only input, whatever that is called.

    Raises:
        RequestError: an input has none.
    """
    if len(inputs) == len(names) == 1:
        return list(names)
    absent = [each.name for each in inputs if each.name not in names]
    if absent:
        known = ", ".join(names)
        raise RequestError("model", f"its input {absent[0]!r} has no samples; there are those of: {known}")
    return [each.name for each in inputs]


def joined(rows: list[Array]) -> Array:
    """Outputs of several inferences on the first axis; where sizes differ, all elements in a row."""
    rows = [np.atleast_1d(row) for row in rows]
    if len({row.shape[1:] for row in rows}) > 1:
        rows = [row.reshape(-1) for row in rows]
    return np.concatenate(rows)


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
    """Values as the model takes them; where it takes codes, round(value / scale) + zero point.

    Rounded half to even, and clipped. Without a scale, integers and truth values are what they are.
    """
    integer = np.dtype(tensor.dtype).kind in "iub"
    if not integer or tensor.scale is None or tensor.zero_point is None:
        if integer and values.dtype.kind == "f":
            raise RequestError("model", f"its {tensor.dtype} input has no scale, but the samples are floats")
        return np.asarray(values, tensor.dtype, order="C")
    codes = np.rint(np.asarray(values, np.float32) / np.float32(tensor.scale)) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    return np.asarray(np.clip(codes, limits.min, limits.max), tensor.dtype, order="C")


def _fits(shape: list[int], dims: Dims) -> bool:
    pairs = zip([1, *shape], dims, strict=False)
    return len(dims) == len(shape) + 1 and all(want in (None, have) for have, want in pairs)


def show(dims: Dims) -> str:
    """A shape as a reader knows it."""
    return "(" + ", ".join("N" if length is None else str(length) for length in dims) + ")"


@contextmanager
def blame_model() -> Iterator[None]:
    """Report what a runtime raises, whose exceptions share no base, as a fault of the model."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        raise RequestError("model", _told(error)) from error


def _told(error: Exception) -> str:
    """What is wrong; in plain words where operators are missing that LiteRT does not have itself."""
    text = f"{type(error).__name__}: {error}"
    if "Select TensorFlow op" in text:
        return "it needs the Flex delegate, which this runtime does not have"
    if (custom := _CUSTOM.search(text)) is not None:
        return f"it needs the custom operator {custom[1]}, which this runtime does not have"
    return text
