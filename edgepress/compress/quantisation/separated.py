"""Tensors whose elements lie in two places so far apart that no codes hold what both of them tell.

Masks make such: −10⁹ here, scores there. What cannot saturate, since more than a Softmax reads it, stays in
floats together with the nodes around it.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx

from edgepress.compress.quantisation.activations import Activations, Range, constant_ranges
from edgepress.compress.quantisation.sharing import moves
from edgepress.datasets.prepared import Array
from edgepress.graph.view import consumers

BYTE, WORD = 255, 65535
"""How many steps codes of 8 and of 16 bits have."""

_LEAST_CODES = {BYTE: 32, WORD: 1024}
"""So many have to be left for the wider one of the two places: of 16 bits more than 8 would give."""

_MIXING = ("Add", "Sub", "Mul", "Where", "Max", "Min", "Pad", "Clip")


def separated(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    activations: Activations,
    floats: Collection[str],
    steps: int = BYTE,
) -> list[str]:
    """The tensors of that kind, and those that lie in one such place far from 0.

    Args:
        model: float32.
        ranges: of its tensors, by name, those that saturate already cut.
        activations: of the same model.
        floats: the names of nodes that get no quantisation.
        steps: BYTE or WORD.
    """
    entries = [entry.name for entry in model.graph.input if entry.name in ranges]
    suspects = dict.fromkeys(_suspects(model, ranges, floats, steps))
    places = {name: _Places(ranges[name], steps) for name in (*entries, *suspects)}
    for tensors in activations.entries():
        for name in entries:
            places[name].add(tensors[name])
    for tensors in activations if suspects else ():
        for name in suspects:
            places[name].add(tensors[name])
    found = {name for name, each in places.items() if each.are_apart}
    return [name for name, bounds in ranges.items() if name in found or _is_far(bounds, steps)]


def _is_far(bounds: Range, steps: int) -> bool:
    """Whether 0, which each range holds, is so far from all elements that few codes are left for these."""
    low, high = bounds
    return bool((low > 0 or high < 0) and 0 < (high - low) * steps < _LEAST_CODES[steps] * max(high, -low))


def faint(model: onnx.ModelProto, ranges: Mapping[str, Range], fixed: Mapping[str, Range]) -> list[str]:
    """The outputs that take few of the codes of a prescribed range, and what they are moved from.

    LiteRT's int8 Softmax gives shares in steps of 1/256: of those of hundreds of classes all may be 0.
    """
    shown, found = {output.name for output in model.graph.output}, set[str]()
    for node in reversed(model.graph.node):
        if moves(model, node) and not shown.isdisjoint(node.output):
            shown.add(node.input[0])
    for name in shown.intersection(fixed):
        (low, high), (least, most) = ranges[name], fixed[name]
        if 0 < (max(high, 0.0) - min(low, 0.0)) * BYTE < _LEAST_CODES[BYTE] * (most - least):
            found.add(name)
    for node in model.graph.node:
        if moves(model, node) and node.input[0] in found:
            found.update(shown.intersection(node.output))
    return [name for name in ranges if name in found]


def nodes_around(model: onnx.ModelProto, tensors: Collection[str]) -> list[str]:
    """The names of the nodes that make or read one of the tensors."""
    return [
        node.name for node in model.graph.node if not set(tensors).isdisjoint((*node.input, *node.output))
    ]


def tensors_of(model: onnx.ModelProto, nodes: Collection[str]) -> set[str]:
    """What the nodes of these names read or make."""
    chosen = (node for node in model.graph.node if node.name in nodes)
    return {name for node in chosen for name in (*node.input, *node.output)}


class _Places:
    """Whether all elements of a tensor lie near one of the ends of its range."""

    def __init__(self, bounds: Range, steps: int) -> None:
        self._low, self._high = bounds
        self._endless = not np.isfinite(bounds).all()
        self._near = _LEAST_CODES[steps] * (max(self._high, 0.0) - min(self._low, 0.0)) / steps
        self._inner, self._outer, self._between = self._low, self._high, False

    def add(self, values: Array) -> None:
        """Look at elements, which count as cut to the range."""
        if self._endless or self._between or not values.size:
            return
        cut = np.clip(values, self._low, self._high)
        low, high = cut <= self._low + self._near, cut >= self._high - self._near
        self._between = not (low | high).all()
        self._inner = max(self._inner, float(cut.max(where=low, initial=self._low)))
        self._outer = min(self._outer, float(cut.min(where=high, initial=self._high)))

    @property
    def are_apart(self) -> bool:
        """Whether the elements at one end differ, and get few codes."""
        return self._endless or (
            not self._between and max(self._inner - self._low, self._high - self._outer) > 0
        )


def _suspects(
    model: onnx.ModelProto, ranges: Mapping[str, Range], floats: Collection[str], steps: int
) -> Iterator[str]:
    """Where an operand nearly vanishes in what is made of it, and all that is computed from there."""
    known = {**constant_ranges(model), **ranges}
    readers, reached = consumers(model), set[str]()
    for node in model.graph.node:
        lost = node.op_type in _MIXING and any(
            _vanishes(known[name], known.get(node.output[0], (0.0, 0.0)), steps)
            for name in node.input
            if name in known
        )
        if lost or not reached.isdisjoint(node.input):
            reached.update(node.output)
            around = (node, *(reader for name in node.output for reader in readers[name]))
            if any(each.name not in floats for each in around):
                yield from (name for name in node.output if name in ranges)


def _vanishes(operand: Range, result: Range, steps: int) -> bool:
    own, whole = operand[1] - operand[0], max(result[1], 0.0) - min(result[0], 0.0)
    return bool(own > 0 and (not np.isfinite(whole) or own * steps < _LEAST_CODES[steps] * whole))
