"""LSTM, GRU and RNN over a sequence (ONNX's operators of these names).

Written once for any arithmetic, as the formulas. What a cell computes of the input alone is computed for all
of the sequence at once. Short sequences are written out step by step; how long ones are looped over is the
arithmetic's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgepress.translate.cells import Cell, CellArithmetic, Matrix, States
from edgepress.translate.formulas import Tensor
from edgepress.translate.plan import Step

UNROLLED = 16
"""Sequences of so many steps are written out: LiteRT is faster so, and the file hardly larger."""


class SequenceArithmetic(CellArithmetic, Protocol):
    """What is needed besides."""

    def constant(self, values: Any) -> Tensor:
        """A tensor as it is; of an array one that is constant."""

    def unpack(self, x: Tensor, axis: int) -> list[Tensor]:
        """The parts of an axis, without it."""

    def pack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Joined along a new axis."""

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor: ...


Looped = Callable[["Course", Tensor, States, bool], tuple[Tensor, States]]
"""What a layer gives in all steps, if asked for, and the last states: by a loop over a sequence."""


@dataclass(frozen=True)
class Course:
    """One direction of a layer: its cell, from the last step to the first if `backwards`.

    `lengths` (N, 1), where there are some, tell after how many steps each sequence ends; its state then
    stays, and what the layer gives is 0.
    """

    cell: Cell
    backwards: bool
    lengths: Tensor | None

    def step(
        self, a: CellArithmetic, fed: Tensor, states: States, place: Tensor | float
    ) -> tuple[Tensor, States]:
        """What the layer gives in the step with this number, and the states after it."""
        made = self.cell.next(a, fed, states)
        if self.lengths is None:
            return made[0], made
        left = a.minus(self.lengths, place)
        before = states or (0.0,) * len(made)
        kept = tuple(a.where_positive(left, new, old) for new, old in zip(made, before, strict=True))
        return a.where_positive(left, made[0], 0.0), kept


def recurrent(a: SequenceArithmetic, step: Step, inputs: Sequence[Tensor], looped: Looped) -> list[Tensor]:
    """The step's `parts`: `all` states (T, D, N, H), the `last` (D, N, H), the last `memory`.

    The batch is first if so asked.
    """
    options, x = step.attributes, inputs[0]
    given = dict(zip(options["given"], inputs[1:], strict=True))
    first = options["batch_first"]
    x = a.transpose(x, (1, 0, 2)) if first else x
    runs = []
    for number in range(step.weights["input"].values.shape[0]):
        course = Course(
            _cell(step, number),
            number == 1 or options["direction"] == "reverse",
            given.get("lengths"),
        )
        states = _initial(a, step, given, number)
        fed = course.cell.fed(a, x)
        if options["open_length"] or fed.shape[0] is None or fed.shape[0] > UNROLLED:
            runs.append(looped(course, fed, states, "all" in options["parts"]))
        else:
            rows, ends = unrolled(a, course, a.unpack(fed, 0), states)
            runs.append((a.pack(rows, 0) if "all" in options["parts"] else None, ends))
    made = {
        "all": lambda: a.pack([rows for rows, _ in runs], 1),
        "last": lambda: a.pack([ends[0] for _, ends in runs], 0),
        "memory": lambda: a.pack([ends[1] for _, ends in runs], 0),
    }
    turned = {"all": (2, 0, 1, 3), "last": (1, 0, 2), "memory": (1, 0, 2)}
    return [a.transpose(made[p](), turned[p]) if first else made[p]() for p in options["parts"]]


def unrolled(
    a: SequenceArithmetic, course: Course, fed: Sequence[Tensor], states: States, start: Tensor | int = 0
) -> tuple[list[Tensor], States]:
    """What the layer gives in each step, in the order of the sequence, and the last states.

    `fed` are steps that follow each other, the first with the number `start`.
    """
    places = list(range(len(fed)))
    rows: dict[int, Tensor] = {}
    for place in reversed(places) if course.backwards else places:
        at = start + float(place) if isinstance(start, int) else a.plus(start, float(place))
        rows[place], states = course.step(a, fed[place], states, at)
    return [rows[place] for place in places], states


def _cell(step: Step, number: int) -> Cell:
    w = {part: weight.values[number] for part, weight in step.weights.items() if part in _OF_CELL}
    known = {part: weight.quantisation for part, weight in step.weights.items()}
    scales = {part: None if codes is None else codes.scale for part, codes in known.items()}
    o = step.attributes
    return Cell(
        o["cell"],
        Matrix(w["input"], scales["input"]),
        Matrix(w["state"], scales["state"]),
        w.get("bias"),
        w.get("peepholes"),
        o["activations"][number],
        o["clip"],
        o["linear_before_reset"],
        o["input_forget"],
    )


_OF_CELL = ("input", "state", "bias", "peepholes")


def _initial(a: SequenceArithmetic, step: Step, given: Mapping[str, Tensor], number: int) -> States:
    """The states before the first step; none where all of them are 0."""
    parts = ("first", "first_memory") if step.attributes["cell"] == "LSTM" else ("first",)
    batch = 1 if step.attributes["batch_first"] else 0
    constant = {
        part: step.weights[part].values.take(number, axis=batch) for part in parts if part in step.weights
    }
    if not any(part in given for part in parts) and not any(values.any() for values in constant.values()):
        return ()
    found: list[Any] = []
    for part in parts:
        found.append(a.unpack(given[part], batch)[number] if part in given else constant.get(part))
    known = next(one for one in found if one is not None)
    none = np.zeros_like(known) if isinstance(known, np.ndarray) else a.times(known, 0.0)
    return tuple(a.constant(none if one is None else one) for one in found)


def chunk(length: int) -> int:
    """How many steps a round of a loop has, of a sequence that is long and fixed.

    LiteRT copies all that goes through a loop in each round, so the longer the sequence the fewer rounds.
    """
    size = 1
    while size * size * 4 < length and size < _LARGEST_CHUNK:
        size *= 2
    return size


_LARGEST_CHUNK = 32
