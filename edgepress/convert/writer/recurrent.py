"""LSTM and GRU, unrolled (ONNX, operators LSTM and GRU, with their default activations).

What a cell computes of the input alone is computed for all of the sequence at once.
"""

from dataclasses import dataclass

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Array, Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.plan import Step

Way = dict[str, Array]
"""The weights of one direction."""


@dataclass(frozen=True)
class _Run:
    """All states in the order of the sequence, and the last state and cell."""

    states: list[Tensor]
    state: Tensor
    cell: Tensor | None


def _recurrent(low: Lowering, step: Step) -> Tensor:
    """`all` states (T, D, N, H), the `last` (D, N, H) or the last `cell`; batch first if so asked."""
    a, build = step.attributes, low.build
    x = low.number(step.inputs[0])
    x = build.transpose(x, (1, 0, 2)) if a["batch_first"] else x
    runs = []
    for number in range(step.weights["input"].values.shape[0]):
        backwards = number == 1 or a["direction"] == "reverse"
        runs.append(_run(build, step, _way(step, number), x, backwards))
    if a["part"] == "all":
        states = build.pack([build.pack(run.states, 0) for run in runs], 1)
        return build.transpose(states, (2, 0, 1, 3)) if a["batch_first"] else states
    ends = [run.cell if a["part"] == "cell" else run.state for run in runs]
    last = build.pack([end for end in ends if end is not None], 0)
    return build.transpose(last, (1, 0, 2)) if a["batch_first"] else last


def _way(step: Step, number: int) -> Way:
    """Kernels as TFLite stores them, (gates·H, in); the biases of input and state apart."""
    w = {part: weight.values for part, weight in step.weights.items()}
    first = 1 if step.attributes["batch_first"] else 0
    way = {"input": w["input"][number], "state": w["state"][number]}
    way |= {part: w[part].take(number, axis=first) for part in ("first", "first_cell") if part in w}
    way |= {part: w[part][number] for part in ("bias", "peepholes") if part in w}
    return way


def _run(build: Builder, step: Step, way: Way, x: Tensor, backwards: bool) -> _Run:
    lstm = step.attributes["cell"] == "LSTM"
    size = way["state"].shape[1]
    gates = way["state"].shape[0]
    fed = _connected(build, x, way["input"], _input_bias(way, lstm, gates))
    sequence = build.unpack(fed, 0)
    zeros = np.zeros((x.shape[1], size), np.float32)
    state, cell = (build.constant(way.get(part, zeros)) for part in ("first", "first_cell"))
    states = []
    for own in reversed(sequence) if backwards else sequence:
        if lstm:
            state, cell = _lstm(build, way, own, state, cell)
        else:
            state = _gru(build, way, own, state, step.attributes["linear_before_reset"])
        states.append(state)
    return _Run(states[::-1] if backwards else states, state, cell)


def _connected(build: Builder, x: Tensor, kernel: Array, bias: Array | None = None) -> Tensor:
    values = np.zeros(len(kernel), np.float32) if bias is None else bias
    operands = [x, build.constant(kernel), build.constant(values)]
    shape = (*x.shape[:-1], len(kernel))
    return build.add("FULLY_CONNECTED", operands, shape, keep_num_dims=len(shape) > 2)


def _input_bias(way: Way, lstm: bool, gates: int) -> Array | None:
    """What is added for all steps alike: an LSTM's whole bias; a GRU's but for the state's hidden part."""
    if "bias" not in way:
        return None
    own, of_state = way["bias"][:gates], way["bias"][gates:].copy()
    if not lstm:
        of_state[gates - gates // 3 :] = 0
    total: Array = own + of_state
    return total


def _lstm(build: Builder, way: Way, fed: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates in ONNX's order: input, output, forget, cell; peepholes input, output, forget."""
    size = way["state"].shape[1]
    total = build.plus(fed, _connected(build, state, way["state"]))
    i, o, f, c = build.split(total, 4, 1)
    peep = way.get("peepholes")
    if peep is not None:
        i = build.plus(i, build.times(cell, peep[:size]))
        f = build.plus(f, build.times(cell, peep[2 * size :]))
    i, f = build.unary("LOGISTIC", i), build.unary("LOGISTIC", f)
    cell = build.plus(build.times(f, cell), build.times(i, build.unary("TANH", c)))
    if peep is not None:
        o = build.plus(o, build.times(cell, peep[size : 2 * size]))
    return build.times(build.unary("LOGISTIC", o), build.unary("TANH", cell)), cell


def _gru(build: Builder, way: Way, fed: Tensor, state: Tensor, linear: bool) -> Tensor:
    """Gates in ONNX's order: update, reset, hidden."""
    size = way["state"].shape[1]
    own = _connected(build, state, way["state"][: 2 * size])
    of_gates = build.slice(fed, (0, 0), (fed.shape[0], 2 * size))
    of_hidden = build.slice(fed, (0, 2 * size), (fed.shape[0], size))
    update, reset = build.split(build.unary("LOGISTIC", build.plus(of_gates, own)), 2, 1)
    kernel, bias = way["state"][2 * size :], way["bias"][5 * size :] if "bias" in way else None
    if linear:
        hidden = build.times(reset, _connected(build, state, kernel, bias))
    else:
        hidden = _connected(build, build.times(reset, state), kernel, bias)
    new = build.unary("TANH", build.plus(of_hidden, hidden))
    return build.plus(build.times(build.minus(1.0, update), new), build.times(update, state))


RULES = {"recurrent": Rule(_recurrent)}
