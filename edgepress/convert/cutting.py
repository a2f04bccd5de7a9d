"""Where a `.tflite` can be cut, so that its beginnings can be run as models of their own.

`beginning` in `edgepress/devices/program/tflite.py` makes such a beginning of the file, on the device; here
is said at which places of the file it has to write what.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from edgepress.artifacts import broken
from edgepress.convert.flatbuffer import read_content, read_tflite
from edgepress.convert.tflite_model import MAKER, Graph, Operator
from edgepress.errors import ArtifactError

_OUTPUTS, _OPERATORS, _SIGNATURES = 8, 10, 18
"""Slots in the tables of schema.SubGraph, the first two, and of schema.Model."""

_MAX_OPERATORS = 5_000
"""Far more than any model for an edge device has; the cuts' outputs are as many again for each of them."""

_MOST_BYTES = 2**31 - 2**20
"""As far as offsets in a FlatBuffer go, less what a cut appends."""

_PADDED = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True)
class Step:
    """What a cut adds to the one before: operators that no cut can tell apart.

    The cut has the first `end` operators of the file, and `outputs`, the tensors that are needed behind it.
    `name` tells what the last operator does the work of, and `shape` is of the tensor that it makes.
    """

    operator: str
    name: str
    shape: tuple[int, ...]
    end: int
    outputs: list[int]


@dataclass(frozen=True)
class Cuts:
    """Places of the file to write at, the model's inputs, and a step for each cut but that at the start.

    With `onnx_names` the steps have those of ONNX nodes, joined by `;`.
    """

    places: dict[str, int]
    inputs: list[int]
    steps: list[Step]
    onnx_names: bool


def read_cuts(path: Path) -> Cuts:
    """Where a `.tflite` can be cut: behind each operator, but for two sorts.

    What is made of constants alone is computed once, not in each inference, and the padding for a convolution
    is a part of it in XNNPACK; each of them makes one step with the operator behind it.

    Raises:
        ArtifactError: the file is absent or damaged, or has no operator that depends on the inputs.
    """
    content = read_content(path)
    if len(content) > _MOST_BYTES:
        raise ArtifactError(
            f"{path} has {len(content):,} bytes; its operators cannot be timed one by one, since what is "
            f"appended to a FlatBuffer has to begin below {_MOST_BYTES:,}. Profile a smaller network"
        )
    model = read_tflite(path)
    graph = model.graphs[0]
    try:
        cuts = Cuts(_places(content), graph.inputs, list(_steps(graph)), model.maker == MAKER)
    except (IndexError, ValueError, struct.error) as error:
        raise broken(path, "a TFLite model", error) from error
    if not cuts.steps:
        raise ArtifactError(f"{path} computes nothing, so there is nothing to cut; convert a network")
    return cuts


def _steps(graph: Graph) -> Iterator[Step]:
    if len(graph.operators) > _MAX_OPERATORS:
        raise ValueError(f"{len(graph.operators):,} operators; at most {_MAX_OPERATORS:,} can be told apart")
    begin, constant = 0, {index for index, tensor in enumerate(graph.tensors) if tensor.constant}
    last_use = {index: number for number, operator in enumerate(graph.operators) for index in operator.inputs}
    last_use |= dict.fromkeys(graph.outputs, len(graph.operators))
    made = dict[int, None]()
    for number, operator in enumerate(graph.operators):
        made |= dict.fromkeys(operator.outputs)
        if all(index in constant for index in _given(operator.inputs)):
            constant.update(operator.outputs)
        elif not _pads_the_next(graph, number):
            made = {index: None for index in made if last_use.get(index, -1) > number}
            yield _step(
                graph, begin, number + 1, constant, [index for index in made if index not in constant]
            )
            begin = number + 1


def _step(graph: Graph, begin: int, end: int, constant: set[int], outputs: list[int]) -> Step:
    last = graph.operators[end - 1]
    made = graph.tensors[last.outputs[0]]
    return Step(
        operator=" + ".join(_told(graph.operators[begin:end], constant)),
        name=last.nodes,
        shape=tuple(made.shape),
        end=end,
        outputs=outputs or [last.outputs[0]],
    )


def _told(operators: list[Operator], constant: set[int]) -> Iterator[str]:
    """Their names; those that are computed once, in parentheses, are counted."""
    once = Counter(each.name for each in operators if each.outputs[0] in constant)
    for name, count in once.items():
        yield f"({count} {name})" if count > 1 else f"({name})"
    yield from (each.name for each in operators if each.outputs[0] not in constant)


def _pads_the_next(graph: Graph, number: int) -> bool:
    """Whether an operator pads the input of the convolution right behind it, and nothing else."""
    operator, readers = graph.operators[number], [*graph.operators[number + 1 :]]
    reading = [reader for reader in readers if set(operator.outputs) & set(reader.inputs)]
    if operator.name != "PAD" or len(reading) != 1 or set(operator.outputs) & set(graph.outputs):
        return False
    return reading[0] is readers[0] and reading[0].name in _PADDED


def _given(inputs: list[int]) -> list[int]:
    return [index for index in inputs if index >= 0]


def _places(content: bytes | memoryview) -> dict[str, int]:
    root = schema.Model.GetRootAs(content)
    graph = root.Subgraphs(0)
    places = {"operators": _vector(content, graph, _OPERATORS), "outputs": _field(graph, _OUTPUTS)}
    if root.SignatureDefsLength():
        places["signatures"] = _vector(content, root, _SIGNATURES)
    return places


def _field(table: object, slot: int) -> int:
    """Where in the file a table has its field of that slot."""
    inner = table._tab  # type: ignore[attr-defined]  # the accessors tell values, not places
    return int(inner.Pos + inner.Offset(slot))


def _vector(content: bytes | memoryview, table: object, slot: int) -> int:
    """Where in the file the length of a table's vector is."""
    place = _field(table, slot)
    distance: int = struct.unpack_from("<I", content, place)[0]
    return place + distance
