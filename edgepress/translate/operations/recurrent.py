"""LSTM and GRU, unrolled (ONNX, operators LSTM and GRU, with their default activations)."""

from typing import Any

from edgepress.translate.operations.base import Table, Tensor
from edgepress.translate.plan import Array, Step
from edgepress.translate.tensorflow_setup import tf

Way = dict[str, Array]
"""The weights of one direction."""


def _recurrent(step: Step, inputs: list[Tensor]) -> Tensor:
    """`all` states (T, D, N, H), the `last` (D, N, H) or the last `cell`; batch first if so asked."""
    a = step.attributes
    x = tf.transpose(inputs[0], (1, 0, 2)) if a["batch_first"] else inputs[0]
    ways = [_way(step, number) for number in range(step.weights["input"].values.shape[0])]
    runs = [
        _run(step, way, tf.unstack(x), backwards=number == 1 or a["direction"] == "reverse")
        for number, way in enumerate(ways)
    ]
    if a["part"] == "all":
        states = tf.stack([tf.stack(states) for states, _ in runs], axis=1)
        return tf.transpose(states, (2, 0, 1, 3)) if a["batch_first"] else states
    last = tf.stack([pair[a["part"] == "cell"] for _, pair in runs])
    return tf.transpose(last, (1, 0, 2)) if a["batch_first"] else last


def _way(step: Step, number: int) -> Way:
    """Kernels as (in, gates·H); the biases of input and state apart."""
    w = {part: weight.values for part, weight in step.weights.items()}
    first = 1 if step.attributes["batch_first"] else 0
    way = {"input": w["input"][number].T, "state": w["state"][number].T}
    way |= {part: w[part].take(number, axis=first) for part in ("first", "first_cell") if part in w}
    way |= {part: w[part][number] for part in ("bias", "peepholes") if part in w}
    return way


def _run(
    step: Step, way: Way, sequence: list[Tensor], backwards: bool
) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """All states in the order of the sequence, and the last state and cell."""
    size = way["state"].shape[0]
    zeros = tf.zeros((tf.shape(sequence[0])[0], size))
    state, cell = (tf.constant(way[part]) if part in way else zeros for part in ("first", "first_cell"))
    states = []
    for x in reversed(sequence) if backwards else sequence:
        if step.attributes["cell"] == "LSTM":
            state, cell = _lstm(way, x, state, cell)
        else:
            state = _gru(way, x, state, step.attributes["linear_before_reset"])
        states.append(state)
    return states[::-1] if backwards else states, (state, cell)


def _lstm(way: Way, x: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates in ONNX's order: input, output, forget, cell; peepholes input, output, forget."""
    size = way["state"].shape[0]
    total = tf.matmul(x, way["input"]) + tf.matmul(state, way["state"])
    if "bias" in way:
        total += way["bias"][: 4 * size] + way["bias"][4 * size :]
    i, o, f, c = _gates(total, 4)
    peep: Any = [0.0, 0.0, 0.0]
    if "peepholes" in way:
        peep = [way["peepholes"][k * size : (k + 1) * size] for k in range(3)]
        i, f = i + peep[0] * cell, f + peep[2] * cell
    cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(c)
    o = o + peep[1] * cell if "peepholes" in way else o
    return tf.sigmoid(o) * tf.tanh(cell), cell


def _gru(way: Way, x: Tensor, state: Tensor, linear: bool) -> Tensor:
    """Gates in ONNX's order: update, reset, hidden."""
    size = way["state"].shape[0]
    fed = tf.matmul(x, way["input"])
    bias = way.get("bias", None)
    fed = fed if bias is None else fed + bias[: 3 * size]
    own = tf.matmul(state, way["state"][:, : 2 * size])
    own = own if bias is None else own + bias[3 * size : 5 * size]
    update, reset = _gates(tf.sigmoid(fed[:, : 2 * size] + own), 2)
    kernel, shift = way["state"][:, 2 * size :], 0.0 if bias is None else bias[5 * size :]
    if linear:
        hidden = reset * (tf.matmul(state, kernel) + shift)
    else:
        hidden = tf.matmul(reset * state, kernel) + shift
    return (1.0 - update) * tf.tanh(fed[:, 2 * size :] + hidden) + update * state


def _gates(total: Tensor, count: int) -> list[Tensor]:
    gates: list[Tensor] = tf.split(total, count, axis=1)
    return gates


OPERATIONS: Table = {"recurrent": _recurrent}
