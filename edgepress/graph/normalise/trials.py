"""Sizes to try a network with whose inputs leave some open."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.normalise import with_sizes
from edgepress.graph.shapes import BATCH, open_sizes

_STEPS = (32, 16, 8, 64, 4, 128, 2, 256, 1, 512)
"""Networks that halve an image again and again, and join what they made of it, want multiples."""

_MULTIPLES = ((1, 0), (2, 1), (5, 2))
"""The multiple for the first open size, and how much larger those of the others are, in each trial."""

_ODD = 7
"""Added to a multiple where the network takes any number."""


@dataclass(frozen=True)
class Trial:
    """Numbers for open sizes, by name, and the shapes of the network's tensors that follow from them."""

    sizes: Mapping[str, int]
    shapes: tuple[onnx.ValueInfoProto, ...]


def trials(model: onnx.ModelProto) -> list[Trial]:
    """A few choices of numbers for the open sizes of a normalised model, all of which it can run with.

    In the first the batch is 1 and all others are equal; in the others they differ.

    Raises:
        UnsupportedModelError: none of the numbers tried will do.
    """
    names = [name for name in open_sizes(model) if name != BATCH]
    batches = [BATCH] if BATCH in open_sizes(model) else []
    for step in _STEPS:
        found = []
        for number, (first, more) in enumerate(_MULTIPLES):
            sizes = {name: step * (first + more * place) for place, name in enumerate(names)}
            if (trial := _tried(model, {**dict.fromkeys(batches, 1 + number), **sizes})) is None:
                break
            found.append(trial)
        else:
            last = found[-1].sizes
            odd = {**last, **{name: last[name] + _ODD + 2 * place for place, name in enumerate(names)}}
            further = _tried(model, odd)
            return found if further is None else [*found, further]
    refuse(
        f"no numbers were found for the sizes that its inputs leave open ({', '.join(names)[:200]})",
        "choose them: --input-shape NAME=SIZE,SIZE,…",
    )


def _tried(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Trial | None:
    """None where the shapes that follow do not fit together, or one holds nothing."""
    try:
        fixed = with_sizes(model, sizes)
    except UnsupportedModelError:
        return None
    shapes = tuple(onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in fixed.graph.value_info)
    dims = (dim for info in shapes for dim in info.type.tensor_type.shape.dim)
    empty = any(dim.HasField("dim_value") and not dim.dim_value for dim in dims)
    return None if empty else Trial(sizes, shapes)
