"""Sizes to try a network with whose inputs leave some open."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, product

import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.aside import values_of
from edgepress.graph.normalise.folding import known_values
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.normalise import with_sizes
from edgepress.graph.shapes import BATCH, open_sizes, set_sizes
from edgepress.graph.view import Array

_STEPS = (32, 16, 8, 64, 4, 128, 2, 256, 1, 512)
"""Networks that halve an image again and again, and join what they made of it, want multiples."""

_MULTIPLES = ((1, 0), (2, 1), (5, 2))
"""The multiple for the first open size, and how much larger those of the others are, in each trial."""

_FURTHER = (4, 1)
"""The same for the last trial where the network takes any number."""

_ODD = ((1, 3, 2), (2, 1, 3), (11, 6, 5))
"""Added to the multiples of a trial, for one size after the other, where the network takes any number.

So they leave every rest when divided by 2, 3 or 4, and what is rounded down differs from what is rounded up.
"""


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

    In the first the batch is 1 and all others are equal; in the others they differ, as far as they may. A
    network that has its sizes built in, though it declares them open, has one choice.

    Raises:
        UnsupportedModelError: none of the numbers tried will do.
    """
    if found := _found(model, {}):
        return found
    names = [name for name in open_sizes(model) if name != BATCH]
    for sizes in _built_in(model, names):
        if trial := _tried(model, {**_batch_of_one(model), **sizes}):
            return _with_some_open(model, sizes) or [trial]
    refuse(
        f"no numbers were found for the sizes that its inputs leave open ({', '.join(names)[:200]})",
        "choose them: --input-shape NAME=SIZE,SIZE,…",
    )


def _found(model: onnx.ModelProto, fixed: Mapping[str, int]) -> list[Trial]:
    """Trials in which some sizes are fixed; none if the network cannot run with any of those tried."""
    ways = ((step, alike) for alike in (False, True) for step in _STEPS)
    return next(filter(None, (_of_multiples(model, step, alike, fixed) for step, alike in ways)), [])


def _with_some_open(model: onnx.ModelProto, built_in: Mapping[str, int]) -> list[Trial]:
    """Trials in which all sizes are fixed but those that the network takes any numbers for."""
    fixed, found = dict(built_in), list[Trial]()
    for name in built_in:
        others = {key: size for key, size in fixed.items() if key != name}
        if others and (trials := _found(model, others)):
            fixed, found = others, trials
    return found


def _of_multiples(model: onnx.ModelProto, step: int, alike: bool, fixed: Mapping[str, int]) -> list[Trial]:
    """Trials with multiples of `step`, and one with others if the network can; none if it cannot run so.

    With `alike` all sizes but the fixed ones are the same in each.
    """
    names = [name for name in open_sizes(model) if name != BATCH and name not in fixed]
    batch = _batch_of_one(model)

    def sizes(number: int, multiple: tuple[int, int], added: tuple[int, ...] = (0,)) -> dict[str, int]:
        chosen = {**dict.fromkeys(batch, 1 + number), **fixed}
        for place, name in enumerate(names):
            own = 0 if alike else place
            chosen[name] = step * (multiple[0] + multiple[1] * own) + added[own % len(added)]
        return chosen

    found, others = list[Trial](), list[Trial]()
    for number, multiple in enumerate(_MULTIPLES):
        if (trial := _tried(model, sizes(number, multiple))) is None:
            return []
        found.append(trial)
    for number, (multiple, added) in enumerate(zip((*_MULTIPLES[1:], _FURTHER), _ODD, strict=True), 1):
        if (trial := _tried(model, sizes(number, multiple, added))) is None:
            return [*found, *others]
        others.append(trial)
    return [found[0], *others]


def _batch_of_one(model: onnx.ModelProto) -> dict[str, int]:
    return {BATCH: 1} if BATCH in open_sizes(model) else {}


def _built_in(model: onnx.ModelProto, names: list[str]) -> Iterator[dict[str, int]]:
    """Sizes that constants tell which go with computed tensors: all the same, or each another."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    found = dict[int, None]()
    for node in model.graph.node:
        for name in node.input:
            if name in held:
                tensor = held[name]
                found.update(dict.fromkeys(_told(node.op_type, tensor)))
    told = [size for size in found if size > 1]
    sizes = list(dict.fromkeys(size * stride for stride in _STRIDES for size in told))[:_MOST_BUILT_IN]
    together = ((size,) * len(names) for size in sizes)
    for each in islice(chain(together, product(sizes, repeat=len(names))), _MOST_TRIED):
        yield dict(zip(names, each, strict=True))


def _told(kind: str, tensor: onnx.TensorProto) -> list[int]:
    if tensor.data_type == onnx.TensorProto.INT64 and kind in _TO_SHAPES:
        values = [int(each) for each in values_of(tensor).reshape(-1)]
        return [sum(values)] if kind == "Split" else values
    return list(tensor.dims)


_TO_SHAPES = ("Reshape", "Expand", "Split")
_STRIDES = (1, 2, 4, 8, 16)
"""What is told of may be a map that is as much smaller than the input."""

_MOST_BUILT_IN = 60
_MOST_TRIED = 200


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
    return None if empty or _reshapes_wrongly(fixed) else Trial(sizes, shapes)


def _reshapes_wrongly(model: onnx.ModelProto) -> bool:
    """Whether a Reshape makes more or fewer elements than it takes, which onnx's inference lets pass."""
    counts = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    for info in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = info.type.tensor_type.shape.dim
        if info.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            counts[info.name] = math.prod(dim.dim_value for dim in dims)
    return any(
        node.op_type == "Reshape"
        and len({counts.get(name, -1) for name in (node.input[0], *node.output)} - {-1}) > 1
        for node in model.graph.node
    )


def _info(name: str, values: Array) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, values.shape)
