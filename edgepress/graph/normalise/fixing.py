"""What a user settles of a file: the sizes that it leaves open, and the outputs that are wanted of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from edgepress.errors import ConfigError
from edgepress.graph.normalise.limits import MAX_ELEMENTS, listed
from edgepress.graph.normalise.native import inferred
from edgepress.graph.normalise.structure import tidy_structure
from edgepress.graph.shapes import BATCH, open_sizes, set_sizes
from edgepress.text import one_line

Wanted = tuple[int | None, ...]


@dataclass(frozen=True)
class Fixing:
    """Sizes of inputs by name, None where one stays as it is; the number of samples; outputs, none for all.

    Outputs may be any tensors that nodes make: the network then ends there. With `keep_several` a fixed batch
    of more than one stays as it is.
    """

    shapes: Mapping[str, Wanted] = field(default_factory=dict)
    batch: int | None = None
    outputs: tuple[str, ...] = ()
    keep_several: bool = False


def cut_outputs(model: onnx.ModelProto, outputs: tuple[str, ...]) -> None:
    """Let a tidy model end at these tensors, in place; what only others needed is dropped.

    Raises:
        ConfigError: nothing makes one of them, or nothing tells its type.
    """
    if not outputs:
        return
    made = [name for node in model.graph.node for name in node.output if name]
    if unknown := [name for name in outputs if name not in set(made)]:
        raise ConfigError(
            f"--outputs has {one_line(unknown[0], 80)!r}, which no node of the model makes; expected names "
            f"of tensors, such as {listed(made[::-1])}"
        )
    infos = {info.name: info for info in (*model.graph.value_info, *model.graph.output)}
    infos |= inferred(model)
    ends = []
    for name in dict.fromkeys(outputs):
        if name not in infos or not infos[name].type.tensor_type.elem_type:
            raise ConfigError(
                f"--outputs has {one_line(name, 80)!r}, whose type is not known; choose a tensor before it"
            )
        ends.append(onnx.ValueInfoProto.FromString(infos[name].SerializeToString()))
    del model.graph.output[:]
    model.graph.output.extend(ends)
    tidy_structure(model)


def fix_sizes(model: onnx.ModelProto, fixing: Fixing) -> None:
    """Give open sizes of the inputs, which have names, the wanted numbers, in place; all of an unknown shape.

    Raises:
        ConfigError: there is no such input, or it has another number of axes, or other sizes already.
    """
    entries, chosen = {entry.name: entry for entry in model.graph.input}, dict[str, int]()
    for name, wanted in fixing.shapes.items():
        if name not in entries:
            raise ConfigError(
                f"--input-shape names {one_line(name, 80)!r}, which is no input that the model reads; "
                f"expected one of: {listed(entries)}"
            )
        shape = entries[name].type.tensor_type.shape
        if not entries[name].type.tensor_type.HasField("shape"):
            shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size or 1) for size in wanted)
        dims = shape.dim
        sizes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims]
        if len(wanted) != len(dims):
            raise ConfigError(
                f"--input-shape has {len(wanted)} sizes for {one_line(name, 80)!r}; expected as many as in "
                f"{sizes}"
            )
        for given, size in zip(sizes, wanted, strict=True):
            if size is not None:
                _choose(chosen, repr(one_line(name, 80)), given, size)
    if fixing.batch is not None and BATCH in open_sizes(model):
        _choose(chosen, "--batch", BATCH, fixing.batch)
    if chosen:
        set_sizes(model, chosen)
    for entry in model.graph.input if chosen else ():
        sizes = [dim.dim_value for dim in entry.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if math.prod(sizes) > MAX_ELEMENTS:
            raise ConfigError(
                f"--batch and --input-shape give {one_line(entry.name, 80)!r} the sizes {sizes}; expected up "
                f"to {MAX_ELEMENTS} elements. Choose smaller ones"
            )


def _choose(chosen: dict[str, int], name: str, given: int | str, size: int) -> None:
    known = chosen.setdefault(given, size) if isinstance(given, str) else given
    if known != size and isinstance(given, str):
        raise ConfigError(
            f"{name} is to have the size {size}, but {known} is chosen already for {one_line(given, 80)!r}, "
            "which is the same size in the file; expected one of both in --input-shape and --batch"
        )
    if known != size:
        raise ConfigError(
            f"{name} is to have the size {size} where it has {known}; expected that. Only "
            "sizes that the file leaves open can be chosen"
        )


def require_batch(model: onnx.ModelProto, batch: int | None) -> None:
    """Fix the batch of a model whose exported batch has been opened, in place.

    Raises:
        ConfigError: the network has another batch built in.
    """
    if batch is None:
        return
    if BATCH in open_sizes(model):
        set_sizes(model, {BATCH: batch})
        return
    firsts = [entry.type.tensor_type.shape.dim[:1] for entry in model.graph.input]
    sizes = {dims[0].dim_value for dims in firsts if dims}
    if batch not in sizes:
        raise ConfigError(
            f"--batch is {batch}, but the network has a batch of {min(sizes, default=1)} built in; expected "
            "that, or a model that is exported with an open batch"
        )
