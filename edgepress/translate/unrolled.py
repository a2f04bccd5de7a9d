"""LSTM and GRU, unrolled (ONNX, operators LSTM and GRU, with their default activations).

Written once for any arithmetic, as the formulas. What a cell computes of the input alone is computed for all
of the sequence at once, and nothing is computed of an initial state of zeros.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edgepress.translate.formulas import Arithmetic, Tensor
from edgepress.translate.plan import Array, Step

Way = dict[str, Array]
"""The weights of one direction; kernels are (gates·H, in)."""


class SequenceArithmetic(Arithmetic, Protocol):
    """What is needed besides."""

    def split(self, x: Tensor, count: int, axis: int) -> list[Tensor]:
        """Into equal parts."""

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor: ...

    def unpack(self, x: Tensor, axis: int) -> list[Tensor]:
        """The parts of an axis, without it."""

    def pack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Joined along a new axis."""

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor: ...

    def connected(self, x: Tensor, kernel: Array, bias: Array) -> Tensor:
        """x·kernelᵀ + bias."""


def recurrent(a: SequenceArithmetic, step: Step, x: Tensor) -> Tensor:
    """`all` states (T, D, N, H), the `last` (D, N, H) or the last `cell`; batch first if so asked."""
    options = step.attributes
    x = a.transpose(x, (1, 0, 2)) if options["batch_first"] else x
    runs = []
    for number in range(step.weights["input"].values.shape[0]):
        backwards = number == 1 or options["direction"] == "reverse"
        runs.append(_run(a, options, _way(step, number), x, backwards))
    if options["part"] == "all":
        states = a.pack([a.pack(states, 0) for states, _ in runs], 1)
        return a.transpose(states, (2, 0, 1, 3)) if options["batch_first"] else states
    last = a.pack([ends[options["part"] == "cell"] for _, ends in runs], 0)
    return a.transpose(last, (1, 0, 2)) if options["batch_first"] else last


def _way(step: Step, number: int) -> Way:
    """The biases of input and state apart; initial states only where they are not 0."""
    w = {part: weight.values for part, weight in step.weights.items()}
    batch = 1 if step.attributes["batch_first"] else 0
    initial = {part: w[part].take(number, axis=batch) for part in ("first", "first_cell") if part in w}
    way = {part: w[part][number] for part in ("input", "state", "bias", "peepholes") if part in w}
    return way | {part: values for part, values in initial.items() if values.any()}


def _run(
    a: SequenceArithmetic, options: Mapping[str, Any], way: Way, x: Tensor, backwards: bool
) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """All states in the order of the sequence, and the last state and cell."""
    lstm = options["cell"] == "LSTM"
    sequence = a.unpack(a.connected(x, way["input"], _input_bias(way, lstm)), 0)
    state, cell = way.get("first"), way.get("first_cell")
    states = []
    for fed in reversed(sequence) if backwards else sequence:
        if lstm:
            state, cell = _lstm(a, way, fed, state, cell)
        else:
            state = _gru(a, way, fed, state, options["linear_before_reset"])
        states.append(state)
    return states[::-1] if backwards else states, (state, cell)


def _input_bias(way: Way, lstm: bool) -> Array:
    """What is added for all steps alike: an LSTM's whole bias; a GRU's but for the state's hidden part."""
    gates, size = way["state"].shape
    if "bias" not in way:
        return way["state"][:, 0] * 0
    of_state = way["bias"][gates:].copy()
    if not lstm:
        of_state[gates - size :] = 0
    total: Array = way["bias"][:gates] + of_state
    return total


def _lstm(
    a: SequenceArithmetic, way: Way, fed: Tensor, state: Tensor | None, cell: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gates in ONNX's order: input, output, forget, cell; peepholes input, output, forget."""
    size = way["state"].shape[1]
    total = fed if state is None else a.plus(a.connected(state, way["state"], way["state"][:, 0] * 0), fed)
    i, o, f, c = a.split(total, 4, 1)
    peep = way.get("peepholes")
    if peep is not None and cell is not None:
        i = a.plus(i, a.times(cell, peep[:size]))
        f = a.plus(f, a.times(cell, peep[2 * size :]))
    new = a.times(a.unary("LOGISTIC", i), a.unary("TANH", c))
    cell = new if cell is None else a.plus(a.times(a.unary("LOGISTIC", f), cell), new)
    o = o if peep is None else a.plus(o, a.times(cell, peep[size : 2 * size]))
    return a.times(a.unary("LOGISTIC", o), a.unary("TANH", cell)), cell


def _gru(a: SequenceArithmetic, way: Way, fed: Tensor, state: Tensor | None, linear: bool) -> Tensor:
    """Gates in ONNX's order: update, reset, hidden."""
    size = way["state"].shape[1]
    rows = fed.shape[0]
    of_gates = a.slice(fed, (0, 0), (rows, 2 * size))
    of_hidden = a.slice(fed, (0, 2 * size), (rows, size))
    kernel = way["state"][2 * size :]
    bias = way["bias"][5 * size :] if "bias" in way else kernel[:, 0] * 0
    if state is None:
        update, reset = a.split(a.unary("LOGISTIC", of_gates), 2, 1)
        hidden = a.times(reset, bias) if linear else bias
        return a.times(a.minus(1.0, update), a.unary("TANH", a.plus(of_hidden, hidden)))
    own = a.connected(state, way["state"][: 2 * size], way["state"][: 2 * size, 0] * 0)
    update, reset = a.split(a.unary("LOGISTIC", a.plus(of_gates, own)), 2, 1)
    if linear:
        hidden = a.times(reset, a.connected(state, kernel, bias))
    else:
        hidden = a.connected(a.times(reset, state), kernel, bias)
    new = a.unary("TANH", a.plus(of_hidden, hidden))
    return a.plus(a.times(a.minus(1.0, update), new), a.times(update, state))
