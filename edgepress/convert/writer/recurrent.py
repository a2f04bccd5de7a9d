"""Recurrent layers: short ones step by step, long ones as a WHILE.

Of what LiteRT 2.3 offers this is the fastest: `UNIDIRECTIONAL_SEQUENCE_LSTM` takes twice as long on 200 steps
of 256 states, has no other activations, and starts each inference with the states in which the one before
ended.
"""

from dataclasses import replace

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Graph, Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.cells import States
from edgepress.translate.courses import Course, chunk, recurrent, unrolled
from edgepress.translate.plan import Step


def _recurrent(low: Lowering, step: Step) -> list[Tensor]:
    def looped(course: Course, fed: Tensor, states: States, rows: bool) -> tuple[Tensor | None, States]:
        size = 1 if step.attributes["open_length"] else chunk(fed.shape[0])
        return _looped(low.build, course, fed, states, rows, size)

    return recurrent(low.build, step, low.numbers(step), looped)


def _looped(
    build: Builder, course: Course, fed: Tensor, states: States, wants_rows: bool, size: int
) -> tuple[Tensor | None, States]:
    """A loop of so many steps a round; the steps before it that make no whole round are written out."""
    length, batch, gates = fed.shape
    head = length % size if size > 1 else 0
    first, rest = (length - head, 0) if course.backwards else (0, head)
    rows = list[Tensor]()
    if head:
        begun = build.unpack(build.slice(fed, (first, 0, 0), (head, batch, gates)), 0)
        rows, states = unrolled(build, course, begun, states, first)
        fed = build.slice(fed, (rest, 0, 0), (length - head, batch, gates))
    made, ends = _Loop(build, course, fed, states, wants_rows, size, rest).run()
    if made is None or not rows:
        return made, ends
    parts = [made, build.pack(rows, 0)]
    return build.concat(parts if course.backwards else parts[::-1], 0), ends


class _Loop:
    """A WHILE over the rounds of a sequence, of `size` steps each; the first is the step number `start`."""

    def __init__(
        self,
        build: Builder,
        course: Course,
        fed: Tensor,
        states: States,
        wants_rows: bool,
        size: int,
        start: int,
    ) -> None:
        self._build, self._course, self._size, self._start = build, course, size, start
        self._rounds, (self._batch, gates) = fed.shape[0] // size, fed.shape[1:]
        self._chunk = () if size == 1 else (size,)
        self._fed = fed if size == 1 else build.reshape(fed, (self._rounds, size, self._batch, gates))
        self._states = [build.constant(each) for each in states] or self._zeros()
        self._wants_rows = wants_rows
        self._hidden = course.cell.size

    def _zeros(self) -> list[Tensor]:
        """States of 0 before the first step: a tensor that is made as the network runs, for any batch."""
        count, size = (2 if self._course.cell.kind == "LSTM" else 1), self._course.cell.size
        return [_zeros(self._build, (self._batch, size))] * count

    def run(self) -> tuple[Tensor | None, States]:
        """What the layer gives in all steps, if wanted, and the last states."""
        build, lengths = self._build, self._course.lengths
        before = [build.constant(0, "int32"), self._limit(), self._fed, *self._states]
        before += [] if lengths is None else [lengths]
        if self._wants_rows:
            before.append(_zeros(build, (self._rounds, *self._chunk, self._batch, self._hidden)))
        entries = [Tensor(f"{build.node}.{place}", x.shape, x.dtype) for place, x in enumerate(before)]
        graphs = {"condSubgraphIndex": self._condition(entries), "bodySubgraphIndex": self._body(entries)}
        made = build.add_nested("WHILE", before, [(x.shape, x.dtype) for x in before], graphs)
        ends = tuple(made[3 : 3 + len(self._states)])
        if not self._wants_rows:
            return None, ends
        return build.reshape(made[-1], (-1, self._batch, self._hidden)), ends

    def _limit(self) -> Tensor:
        """The number of rounds."""
        if not self._build.any_size:
            return self._build.constant(self._rounds, "int32")
        sizes = self._build.sizes(self._fed, range(len(self._fed.shape)))
        return self._build.gather(sizes, np.array(0, np.int32), 0)

    def _condition(self, entries: list[Tensor]) -> Graph:
        """Whether there is another round."""
        inner = self._within()
        entries = [replace(entry) for entry in entries]
        going = inner.binary("LESS", entries[0], entries[1], dtype="bool")
        return Graph(entries, [going], inner.operators, [each.name for each in entries], [])

    def _body(self, entries: list[Tensor]) -> Graph:
        """One round."""
        inner, course = self._within(), self._course
        count, limit, fed, *others = entries
        states, others = tuple(others[: len(self._states)]), others[len(self._states) :]
        place = inner.minus(inner.minus(limit, 1), count) if course.backwards else count
        start: Tensor | int = 0
        if course.lengths is not None:
            course, others = replace(course, lengths=others[0]), others[1:]
            start = inner.plus(
                inner.times(inner.cast(place, "float32"), float(self._size)), float(self._start)
            )
        row = inner.gather(fed, place, 0)
        rows = [row] if self._size == 1 else inner.unpack(row, 0)
        made, ends = unrolled(inner, course, rows, states, start)
        outputs = [
            inner.plus(count, 1),
            limit,
            fed,
            *ends,
            *entries[3 + len(ends) : len(entries) - len(others)],
        ]
        if others:
            outputs.append(self._with_rows(inner, others[0], made, place))
        names = [entry.name for entry in entries]
        return Graph(entries, outputs, inner.operators, names, [])

    def _with_rows(self, inner: Builder, whole: Tensor, rows: list[Tensor], place: Tensor) -> Tensor:
        """The tensor of all that the layer gives, with that of a round in its place."""
        row = rows[0] if self._size == 1 else inner.pack(rows, 0)
        behind = inner.integers([0] * (len(whole.shape) - 1))
        begin = inner.concat([inner.reshape(place, (1,)), behind], 0)
        row = inner.copied(row, (1, *row.shape))
        return inner.add("DYNAMIC_UPDATE_SLICE", [whole, row, begin], whole.shape)

    def _within(self) -> Builder:
        inner = Builder()
        inner.any_size = self._build.any_size
        inner.begin(self._build.node)
        return inner


def _zeros(build: Builder, shape: tuple[int, ...]) -> Tensor:
    return build.add("FILL", [build.integers(shape), build.constant(0.0)], shape)


RULES = {"recurrent": Rule(_recurrent)}
