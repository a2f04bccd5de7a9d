"""Loops put together, of a condition and a body that are plans.

TFLite has a WHILE, whose condition and body take all tensors that the body changes or reads. So a loop here
has a counter of its own; what it reads from around it goes through it unchanged; and what it collects is
written, row by row, into a tensor that is made before it, or is appended to one that grows, where nothing
tells the number of rounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgepress.translate.layout import Layout, Order, plain
from edgepress.translate.nested import Inner, whole
from edgepress.translate.plan import Array, Entry, Plan, Step, Weight
from edgepress.translate.planner import Node, Planner, Value, unsupported
from edgepress.translate.reading import Shape
from edgepress.translate.wishes import nearest


@dataclass(frozen=True)
class _Variable:
    """A tensor that goes from round to round: before the loop, in the body, and what the body makes of it.

    `result` is how it is known behind the loop, None if it is not.
    """

    before: str
    entry: Entry
    made: str
    result: Value | None = None
    carried: bool = False
    grows: bool = False


class Loop:
    """A loop as it is put together."""

    def __init__(self, node: Node, planner: Planner, inner: Inner, limit: int | None = None) -> None:
        self._node, self._planner, self._inner = node, planner, inner
        self.limit: int | Value | None = limit
        self.condition = ""
        first = next(filter(None, node.outputs))
        self._stem = first
        self._count = f"{first}.count"
        self._variables: list[_Variable] = []
        start = stated(planner, node, "start", np.array(0, np.int32))
        self._with(_Variable(start.name, Entry(self._count, (), (), "int32"), f"{self._count}.next"))
        one = {"operand": Weight(np.array(1, np.int32))}
        inner.add(
            Step("add", (self._count,), f"{self._count}.next", node.name, {"constant_first": False}, one)
        )

    def _with(self, variable: _Variable) -> None:
        self._inner.entries.append(variable.entry)
        self._variables.append(variable)

    def order_of(self, name: str, value: Value) -> Order:
        """How a tensor is best stored that the body takes: as its readers wish, once, before the loop."""
        wish = self._inner.planner.wishes.of(name)
        return nearest(value.layout.order, wish) if wish else value.layout.order

    def count_as(self, name: str, shape: Shape) -> None:
        """The number of the round, from 0 on, under the body's own name."""
        inner, wide = self._inner, f"{name}.wide" if shape else name
        inner.add(Step("cast", (self._count,), wide, self._node.name, {"dtype": "int64"}))
        if shape:
            inner.add(Step("reshape", (wide,), name, self._node.name, {"shape": [1] * len(shape)}))
        inner.planner.values[name] = Value(name, shape, plain(len(shape)))

    def carry(self, name: str, value: Value, shape: Shape, made: str, dtype: str, order: Order) -> None:
        """What a round gives to the next; `made` is the body's output of it."""
        stored = self._planner.stored_as(self._node, value, Layout(order)) if order else value
        entry = self._inner.enter(name, order, shape, dtype)
        result = Value("", shape, Layout(order))
        self._with(_Variable(stored.name, entry, made, result, carried=True, grows=None in shape))

    def capture(self) -> None:
        """What the body reads from around the loop."""
        for name in self._inner.captured:
            value = whole(self._node, self._planner, self._planner.values[name])
            self._pass_through(name, value, self.order_of(name, value), self._planner.dtype_name(name))
        if isinstance(self.limit, Value):
            self._pass_through(f"{self._stem}.limit", self.limit, (), "int32")

    def _pass_through(self, name: str, value: Value, order: Order, dtype: str) -> None:
        stored = self._planner.stored_as(self._node, value, Layout(order)) if order else value
        self._with(_Variable(stored.name, self._inner.enter(name, order, value.shape, dtype), name))

    def scan(self, name: str, value: Value, axis: int, backwards: bool, dtype: str) -> None:
        """The element of an axis that belongs to the round, under the body's own name."""
        source, inner = f"{name}.whole", self._inner
        self._pass_through(source, value, value.layout.order, dtype)
        options = {"axis": value.layout.position(axis)}
        inner.add(Step("gather", (source, self._row(backwards)), name, self._node.name, options))
        order = tuple(one - (one > axis) for one in value.layout.order if one != axis)
        inner.planner.values[name] = Value(name, without(value.shape, axis), Layout(order))

    def _row(self, backwards: bool) -> str:
        """The number of the round, or of the one as far from the end."""
        if not backwards:
            return self._count
        assert isinstance(self.limit, int)
        name = f"{self._count}.back"
        last = {"operand": Weight(np.array(self.limit - 1, np.int32))}
        step = Step("sub", (self._count,), name, self._node.name, {"constant_first": True}, last)
        if all(each.output != name for each in self._inner.planner.steps):
            self._inner.add(step)
        return name

    def collect(self, made: str, output: str, trips: int | None, axis: int, backwards: bool = False) -> None:
        """What the rounds make, joined along a new axis: written into place, or appended.

        Sizes of a row that its body leaves open are those that the model declares of `output`, all rows.
        What is appended to has a first row that is cut off behind the loop: LiteRT 2.3 has no WHILE over
        tensors without elements.
        """
        inner, planner, node = self._inner, self._planner, self._node
        value = self._row_value(inner.value(made), planner.declared(output), axis)
        stored = [value.shape[one] for one in value.layout.order]
        if None in stored and not planner.any_size:
            raise unsupported(node, f"{made!r} in its body, whose rows it collects, has a size that is open")
        name, dtype = f"{made}.all", inner.planner.dtype_name(made)
        zeros = f"{self._stem}.{name}"
        shape = (1 if trips is None else trips, *(int(size or 1) for size in stored))
        planner.steps.append(Step("filled", (), zeros, node.name, {"shape": shape, "dtype": dtype}))
        row = f"{name}.row"
        inner.add(Step("reshape", (value.name,), row, node.name, {"shape": [1, *shape[1:]]}))
        if trips is None:
            inner.add(Step("concat", (name, row), f"{name}.next", node.name, {"axis": 0}))
        else:
            operands = (name, row, self._row(backwards))
            inner.add(Step("update", operands, f"{name}.next", node.name))
        axis %= len(shape)
        order = (axis, *(one + (one >= axis) for one in value.layout.order))
        sizes = list(value.shape)
        sizes.insert(axis, trips)
        entry = Entry(name, (trips, *shape[1:]), tuple(range(len(shape))), dtype)
        result = Value("", tuple(sizes), Layout(order))
        self._with(_Variable(zeros, entry, f"{name}.next", result, grows=trips is None))

    def _row_value(self, row: Value, rows: Shape | None, axis: int) -> Value:
        """A row with the sizes that are known of all rows together where its own are not."""
        if rows is None or len(rows) != len(row.shape) + 1:
            return row
        known = without(rows, axis % len(rows))
        sizes = (own if own is not None else each for own, each in zip(row.shape, known, strict=True))
        return replace(row, shape=tuple(sizes))

    def emit(self, outputs: Sequence[str]) -> None:
        """Write the step; `outputs` are the node's, in the order in which they were carried and collected."""
        body = self._body()
        condition = self._condition()
        names, left = list[str](), list(outputs)
        results, behind = list[Value](), list[Step]()
        for number, variable in enumerate(self._variables):
            known = variable.result is not None and variable.entry.name != self.condition
            name = (left.pop(0) if left else "") if known else ""
            appended = name and variable.grows and not variable.carried
            names.append(f"{self._stem}.end{number}" if appended or not name else name)
            if appended:
                behind.append(Step("tail", (names[-1],), name, self._node.name))
            if name and variable.result is not None:
                results.append(replace(variable.result, name=name))
        grows = tuple(number for number, variable in enumerate(self._variables) if variable.grows)
        attributes: dict[str, Any] = {"condition": condition, "body": body, "grows": grows}
        before = tuple(variable.before for variable in self._variables)
        step = Step("while", before, names[0], self._node.name, attributes, others=tuple(names[1:]))
        self._planner.steps += [step, *behind]
        self._planner.values.update({value.name: value for value in results})

    def _body(self) -> Plan:
        inner = self._inner
        outputs = list[str]()
        for variable in self._variables:
            made = inner.value(variable.made) if variable.carried else None
            if made is not None and variable.entry.order:
                made = inner.stored_as(made, variable.entry.order)
            outputs.append(variable.made if made is None else made.name)
        return inner.finished(outputs, [variable.entry.order for variable in self._variables])

    def _condition(self) -> Plan:
        node, steps, going = self._node, list[Step](), ""
        if isinstance(self.limit, int):
            limit = {"operand": Weight(np.array(self.limit, np.int32))}
            going = "below"
            steps.append(Step("less", (self._count,), going, node.name, {"constant_first": False}, limit))
        elif self.limit is not None:
            going = "below"
            steps.append(Step("less", (self._count, f"{self._stem}.limit"), going, node.name))
        if self.condition:
            steps.append(Step("reshape", (self.condition,), "condition", node.name, {"shape": []}))
            if going:
                steps.append(Step("and", (going, "condition"), "going", node.name))
            going = "going" if going else "condition"
        if not going:
            raise unsupported(node, "nothing ends it")
        return Plan(tuple(self._inner.entries), (going,), ((),), tuple(steps), ("going",))


def _constant(name: str, values: Array) -> Step:
    return Step("constant", (), name, name, weights={"value": Weight(values)})


def stated(planner: Planner, node: Node, suffix: str, values: Array) -> Value:
    """A constant tensor beside the loop."""
    name = f"{next(filter(None, node.outputs))}.{suffix}"
    planner.steps.append(replace(_constant(name, values), node=node.name))
    return Value(name, values.shape, plain(values.ndim))


def without(shape: Shape, axis: int) -> Shape:
    """A shape less one of its axes."""
    return (*shape[:axis], *shape[axis + 1 :])
