"""Single steps of training, the state that they change, and a learning rate that the network stands."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.tuning.judging import Targets
from edgepress.datasets.prepared import Array
from edgepress.translate.tensorflow_setup import keras

_TEST_STEPS = 12
_LOWER = 4.0
_RATES = 6

Batch = tuple[Array, Array]


class State:
    """All that training changes in a Keras network: weights, masks, clusters, ranges, statistics."""

    def __init__(self, model: Any) -> None:
        self._values = [(variable, variable.numpy()) for variable in model.variables]

    def restore(self) -> None:
        """Put it back."""
        for variable, value in self._values:
            variable.assign(value)


class Training:
    """A network under Adam, whose rate is said at each step."""

    def __init__(self, model: Any, targets: Targets, loss: Any) -> None:
        self.model, self._targets = model, targets
        self._optimiser = keras.optimizers.Adam(1.0)
        model.compile(self._optimiser, loss)
        self._optimiser.build(model.trainable_variables)
        self._fresh = [(variable, variable.numpy()) for variable in self._optimiser.variables]

    def step(self, batch: Batch, rate: float) -> float:
        """Train on a batch, inputs (n, H, W, C) and classes (n,); the result is the loss before the step."""
        self._optimiser.learning_rate = rate
        return float(self.model.train_on_batch(batch[0], self._targets(*batch)))

    def forget(self) -> None:
        """Forget the moments of earlier steps."""
        for variable, value in self._fresh:
            variable.assign(value)


@dataclass(frozen=True)
class Rate:
    """A learning rate, and the loss of the last batches that it was tried on, had nothing been learnt.

    `value` is NaN where there is none at which the loss is a number.
    """

    value: float
    loss_before: float


def suitable_rate(training: Training, batches: Iterable[Batch], highest: float) -> Rate:
    """The highest rate, of `highest` and fourths of it, at which a few steps do not raise the loss.

    Each is tried on the same batches from the network's present state, which is restored; so is the rate 0,
    to compare with. Where all of them raise it, the lowest is taken.
    """
    state, few = State(training.model), [batch for batch, _ in zip(batches, range(_TEST_STEPS), strict=False)]

    def end(rate: float) -> float:
        """The mean loss of the last third of the steps."""
        losses = [training.step(batch, rate) for batch in few]
        state.restore()
        training.forget()
        return float(np.mean(losses[-max(1, len(few) // 3) :]))

    before, reached, rate = end(0.0), math.inf, highest
    for exponent in range(_RATES):
        rate = highest / _LOWER**exponent
        reached = end(rate)
        if reached <= before:
            break
    return Rate(rate if math.isfinite(reached) and math.isfinite(before) else math.nan, before)
