"""How arrays that have the names of a network's inputs fit these."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.shapes import BATCH
from edgepress.text import listed, shown


class Described(Protocol):
    """Of an array (samples, ...): the shape of a sample, numpy's name of its type, and its values' range."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...

    @property
    def limits(self) -> tuple[float, float]: ...


def sizes_of_data(model: onnx.ModelProto, inputs: Mapping[str, Described]) -> dict[str, int]:
    """The sizes, by name, that the data gives to what a normalised model leaves open.

    The batch stays open where each sample has all of an input's axes but the first.

    Raises:
        UnsupportedModelError: an input has no array, or one of another type or shape; in one line.
    """
    found: dict[str, int] = {}
    entries, matched = {entry.name: entry for entry in model.graph.input}, _matched(model, inputs)
    for name, given in matched.items():
        kind = entries[name].type.tensor_type
        _check_type(name, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), given)
        sizes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
        for size, own in _pairs(name, sizes, given):
            known = found.setdefault(size, own) if isinstance(size, str) else size
            if known != own:
                raise _misfit(name, sizes, given, f"where {shown(str(size))} is {known}")
    return found


def have_the_batch(model: onnx.ModelProto, inputs: Mapping[str, Described]) -> bool:
    """Whether a sample has all axes of some input, the batch's among them, so that it is several at once."""
    ranks = {entry.name: len(entry.type.tensor_type.shape.dim) for entry in model.graph.input}
    return any(len(given.shape) == ranks[name] > 0 for name, given in _matched(model, inputs).items())


def _matched(model: onnx.ModelProto, inputs: Mapping[str, Described]) -> dict[str, Described]:
    names = [entry.name for entry in model.graph.input]
    if len(names) == len(inputs) == 1:
        return {names[0]: next(iter(inputs.values()))}
    if absent := [name for name in names if name not in inputs]:
        raise UnsupportedModelError(
            f"the network has the inputs {listed(names)}, but the data has no array named "
            f"{shown(absent[0])}; it has: {listed(list(inputs))}. Give each by its name"
        )
    return {name: inputs[name] for name in names}


def _pairs(name: str, sizes: list[int | str], given: Described) -> list[tuple[int | str, int]]:
    """The network's sizes and the data's, the batch left out where the samples are that."""
    if len(given.shape) == len(sizes):
        return list(zip(sizes, given.shape, strict=True))
    if len(given.shape) != len(sizes) - 1:
        raise _misfit(name, sizes, given, "with or without its first axis")
    batch = sizes[0]
    if isinstance(batch, str) and batch != BATCH:  # an axis that other inputs have elsewhere
        return list(zip(sizes, (1, *given.shape), strict=True))
    return list(zip(sizes[1:], given.shape, strict=True))


def _misfit(name: str, sizes: list[int | str], given: Described, why: str) -> UnsupportedModelError:
    told = ", ".join(map(str, sizes))
    return UnsupportedModelError(
        f"the network's input {shown(name)!r} is ({told}), but a sample of the data is {given.shape}; "
        f"expected the same, {why}. Prepare it in that shape, or export the network for the data's"
    )


def _check_type(name: str, wanted: "np.dtype[Any]", given: Described) -> None:
    """Integers and truth values must reach the network unchanged; a float takes whatever number there is."""
    kind = np.dtype(given.dtype).kind
    low, high = given.limits
    if wanted.kind == "f":
        return
    least, most = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    if kind == "f" or not least <= low <= high <= most:
        holds = f"{given.dtype} from {low:g} to {high:g}"
        expected = "truth values" if wanted.kind == "b" else f"whole numbers from {least} to {most}"
        stored = f" that are stored as such: save the array as {wanted.name}" if kind == "f" else ""
        raise UnsupportedModelError(
            f"the network's input {shown(name)!r} is {wanted.name}, but the data holds {holds}; expected "
            f"{expected}{stored}"
        )
