"""Sizes to try a network with whose inputs leave some open."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.folding import known_values
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.normalise import with_sizes
from edgepress.graph.shapes import BATCH, open_sizes, set_sizes
from edgepress.graph.view import Array

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

    def set(self, model: onnx.ModelProto) -> None:
        """Let the model have these sizes, and know these shapes, in place."""
        set_sizes(model, self.sizes)
        outputs = {output.name: output for output in model.graph.output}
        del model.graph.value_info[:]
        for info in self.shapes:
            if info.name in outputs:
                outputs[info.name].CopyFrom(info)
            else:
                model.graph.value_info.append(info)


def trials(model: onnx.ModelProto) -> list[Trial]:  # noqa: RET503 (`refuse` does not return)
    """A few choices of numbers for the open sizes of a normalised model, all of which it can run with.

    In the first the batch is 1 and all others are equal; in the others they differ, as far as they may.

    Raises:
        UnsupportedModelError: none of the numbers tried will do.
    """
    for alike in (False, True):
        for step in _STEPS:
            if found := _of_multiples(model, step, alike):
                return found
    names = [name for name in open_sizes(model) if name != BATCH]
    refuse(
        f"no numbers were found for the sizes that its inputs leave open ({', '.join(names)[:200]})",
        "choose them: --input-shape NAME=SIZE,SIZE,…",
    )


def _of_multiples(model: onnx.ModelProto, step: int, alike: bool) -> list[Trial]:
    """Trials with multiples of `step`, and one with others if the network can; none if it cannot run so.

    With `alike` all sizes are the same in each.
    """
    names = [name for name in open_sizes(model) if name != BATCH]
    batches = [BATCH] if BATCH in open_sizes(model) else []
    found = []
    for number, (first, more) in enumerate(_MULTIPLES):
        sizes = {name: step * (first + more * place * (not alike)) for place, name in enumerate(names)}
        if (trial := _tried(model, {**dict.fromkeys(batches, 1 + number), **sizes})) is None:
            return []
        found.append(trial)
    last = found[-1].sizes
    odd = {**last, **{name: last[name] + _ODD + 2 * place * (not alike) for place, name in enumerate(names)}}
    further = _tried(model, odd)
    return found if further is None else [*found, further]


def _tried(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Trial | None:
    """None where the shapes that follow do not fit together, or one holds nothing."""
    try:
        fixed = with_sizes(model, sizes)
    except UnsupportedModelError:
        return None
    known = (*fixed.graph.value_info, *fixed.graph.output)
    shapes = tuple(onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in known)
    told = {info.name for info in shapes}
    folded = known_values(model, dict(sizes)).items()
    shapes += tuple(_info(name, values) for name, values in folded if name not in told)
    dims = (dim for info in shapes for dim in info.type.tensor_type.shape.dim)
    empty = any(dim.HasField("dim_value") and not dim.dim_value for dim in dims)
    return None if empty else Trial(sizes, shapes)


def _info(name: str, values: Array) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, values.shape)
