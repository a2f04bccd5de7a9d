"""The cells of recurrent layers (ONNX, operators LSTM, GRU and RNN): from one state to the next.

Written once for any arithmetic, as the formulas. Nothing is computed of a state of zeros, which is no tensor
here. Where LSTM clips, and where it does not, is as in ONNX Runtime
(onnxruntime/core/providers/cpu/rnn/uni_directional_lstm.cc).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgepress.translate import formulas
from edgepress.translate.formulas import Arithmetic, Tensor
from edgepress.translate.plan import Array

States = tuple[Tensor, ...]
"""An LSTM's state and memory, the state of others; empty where all are 0."""

GATES: Mapping[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}


class CellArithmetic(Arithmetic, Protocol):
    """What is needed besides."""

    def split(self, x: Tensor, count: int, axis: int) -> list[Tensor]:
        """Into equal parts."""

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor: ...

    def connected(self, x: Tensor, kernel: "Matrix", bias: Array) -> Tensor:
        """x·kernelᵀ + bias."""


@dataclass(frozen=True)
class Matrix:
    """A kernel (outputs, inputs), and the scale of each output's codes where it is made of such."""

    values: Array
    scale: Array | None = None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, end: int) -> "Matrix":
        """Some of the outputs."""
        return Matrix(self.values[first:end], None if self.scale is None else self.scale[first:end])

    @property
    def nothing(self) -> Array:
        """A bias of 0 for each output."""
        return np.zeros(len(self.values), np.float32)


@dataclass(frozen=True)
class Activation:
    """One of ONNX's by name, with the numbers that it takes."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One direction of a layer: kernels are (gates·H, in), the bias is that of the input and of the state.

    `activations` are f, g and h of the definition, as far as there are such.
    """

    kind: str
    input: Matrix
    state: Matrix
    bias: Array | None
    peepholes: Array | None
    activations: tuple[Activation, ...]
    clip: float = 0.0
    linear: bool = False
    coupled: bool = False

    @property
    def size(self) -> int:
        """How many numbers a state has."""
        return int(self.state.values.shape[1])

    def fed(self, a: CellArithmetic, x: Tensor) -> Tensor:
        """What the input adds to all gates, for one step or all of them."""
        return a.connected(x, self.input, self._bias_of_input())

    def next(self, a: CellArithmetic, fed: Tensor, states: States) -> States:
        """The states after a step; the first is what the layer gives."""
        if self.kind == "LSTM":
            return self._lstm(a, fed, states)
        return ((self._gru if self.kind == "GRU" else self._rnn)(a, fed, states),)

    def _bias_of_input(self) -> Array:
        """What is added in all steps alike: the whole bias; a GRU's but for the state's hidden part."""
        gates = len(self.state)
        if self.bias is None:
            return self.state.nothing
        of_state = self.bias[gates:].copy()
        if self.kind == "GRU":
            of_state[gates - self.size :] = 0
        total: Array = self.bias[:gates] + of_state
        return total

    def _act(self, a: CellArithmetic, place: int, x: Tensor) -> Tensor:
        """An activation of what is clipped."""
        if self.clip:
            x = a.larger(a.lesser(x, self.clip), -self.clip)
        return activated(a, self.activations[place], x)

    def _rnn(self, a: CellArithmetic, fed: Tensor, states: States) -> Tensor:
        if states:
            fed = a.plus(a.connected(states[0], self.state, self.state.nothing), fed)
        return self._act(a, 0, fed)

    def _lstm(self, a: CellArithmetic, fed: Tensor, states: States) -> States:
        """Gates in ONNX's order: input, output, forget, memory; peepholes input, output, forget."""
        size, peep = self.size, self.peepholes
        memory = states[1] if states else None
        if states:
            fed = a.plus(a.connected(states[0], self.state, self.state.nothing), fed)
        i, o, f, c = a.split(fed, 4, 1)
        if peep is not None and memory is not None:
            i = a.plus(i, a.times(memory, peep[:size]))
            f = a.plus(f, a.times(memory, peep[2 * size :]))
        taken = self._act(a, 0, i)
        new = a.times(taken, self._act(a, 1, c))
        if memory is not None:
            kept = a.minus(1.0, taken) if self.coupled else self._act(a, 0, f)
            new = a.plus(a.times(kept, memory), new)
        o = o if peep is None else a.plus(o, a.times(new, peep[size : 2 * size]))
        return a.times(self._act(a, 0, o), activated(a, self.activations[2], new)), new

    def _gru(self, a: CellArithmetic, fed: Tensor, states: States) -> Tensor:
        """Gates in ONNX's order: update, reset, hidden."""
        size, rows = self.size, fed.shape[0]
        kernel, of_own = self.state.part(2 * size, 3 * size), self.state.part(0, 2 * size)
        bias = kernel.nothing if self.bias is None else self.bias[5 * size :]
        of_gates = a.slice(fed, (0, 0), (rows, 2 * size))
        of_hidden = a.slice(fed, (0, 2 * size), (rows, size))
        if not states:
            update, reset = a.split(self._act(a, 0, of_gates), 2, 1)
            hidden = a.times(reset, bias) if self.linear else bias
            return a.times(a.minus(1.0, update), self._act(a, 1, a.plus(of_hidden, hidden)))
        (state,) = states
        own = a.connected(state, of_own, of_own.nothing)
        update, reset = a.split(self._act(a, 0, a.plus(of_gates, own)), 2, 1)
        if self.linear:
            hidden = a.times(reset, a.connected(state, kernel, bias))
        else:
            hidden = a.connected(a.times(reset, state), kernel, bias)
        new = self._act(a, 1, a.plus(of_hidden, hidden))
        return a.plus(a.times(a.minus(1.0, update), new), a.times(update, state))


_FORMULAS: Mapping[str, Callable[[Any, Tensor, float, float], Tensor]] = {
    "Sigmoid": lambda a, x, alpha, beta: a.unary("LOGISTIC", x),
    "Tanh": lambda a, x, alpha, beta: a.unary("TANH", x),
    "Relu": lambda a, x, alpha, beta: a.unary("RELU", x),
    "Affine": lambda a, x, alpha, beta: a.plus(a.times(x, alpha), beta),
    "LeakyRelu": lambda a, x, alpha, beta: a.where_positive(x, x, a.times(x, alpha)),
    "ThresholdedRelu": lambda a, x, alpha, beta: a.where_positive(a.minus(x, alpha), x, a.times(x, 0.0)),
    "ScaledTanh": lambda a, x, alpha, beta: a.times(a.unary("TANH", a.times(x, beta)), alpha),
    "HardSigmoid": lambda a, x, alpha, beta: a.larger(a.lesser(a.plus(a.times(x, alpha), beta), 1.0), 0.0),
    "Elu": lambda a, x, alpha, beta: formulas.elu(a, x, alpha),
    "Softsign": lambda a, x, alpha, beta: formulas.softsign(a, x),
    "Softplus": lambda a, x, alpha, beta: formulas.softplus(a, x),
}

DEFAULTS: Mapping[str, tuple[float, float]] = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01, 0.0),
    "thresholdedrelu": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, 0.0),
}
"""alpha and beta of the activations that take some, by their names in small letters (ONNX Runtime's)."""

TAKE_BETA = ("affine", "scaledtanh", "hardsigmoid")

_NAMES = {name.lower(): name for name in _FORMULAS}


def activation_name(name: str) -> str:
    """ONNX's spelling of an activation's name, '' for one that it has not; capitals do not count."""
    return _NAMES.get(name.lower(), "")


def activated(a: Arithmetic, activation: Activation, x: Tensor) -> Tensor:
    """An activation of each element."""
    return _FORMULAS[activation.name](a, x, activation.alpha, activation.beta)
