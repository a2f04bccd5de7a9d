"""Single steps of training, the state that they change, and a learning rate that the network stands."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.tuning.data import Given
from edgepress.compress.tuning.objectives import Objective
from edgepress.datasets.prepared import Array
from edgepress.translate.tensorflow_setup import keras

_TEST_STEPS = 12
_FACTOR = 4.0
_MOST_LOWERED = 5
_MOST_RAISED = 2
_LITTLE_LOSS = 0.1
"""Of cross-entropy: what is right gets 0.9 of the probability, and there is nothing to hurry for."""
_CLEARLY = 0.01
"""Of two losses on the same batches, relative."""

Batch = tuple[Given, Array]


class State:
    """All that training changes in a Keras network: weights, masks, clusters, ranges, statistics."""

    def __init__(self, model: Any) -> None:
        self._values = [(variable, variable.numpy()) for variable in model.variables]

    def restore(self, but: Iterable[Any] = ()) -> None:
        """Put it back, except for some variables."""
        kept = {variable.ref() for variable in but}
        for variable, value in self._values:
            if variable.ref() not in kept:
                variable.assign(value)


class Training:
    """A network under Adam, whose rate is said at each step."""

    def __init__(self, model: Any, objective: Objective) -> None:
        self.model, self._objective = model, objective
        self._optimiser = keras.optimizers.Adam(1.0)
        model.compile(self._optimiser, objective.loss)
        self._optimiser.build(model.trainable_variables)
        self._fresh = [(variable, variable.numpy()) for variable in self._optimiser.variables]

    def step(self, batch: Batch, rate: float) -> float:
        """Train on a batch, inputs and classes (n,); the result is the loss before the step."""
        self._optimiser.learning_rate = rate
        losses = self.model.train_on_batch(batch[0], self._objective.targets(*batch))
        return float(np.ravel(losses)[0])  # the first is that of all outputs

    def loss(self, batch: Batch) -> float:
        """The loss of a batch in training mode; statistics and ranges move, weights do not."""
        outputs = self.model(batch[0], training=True)
        return float(np.mean(self._objective.losses(self._objective.targets(*batch), outputs)))

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


def suitable_rate(training: Training, batches: Iterable[Batch], first: float) -> Rate:
    """The learning rate to begin with: `first`, or as many times four less or more as suits.

    Each is tried for a few steps on the same batches from the network's present state, which is restored;
    what counts is the loss of the last third of them. The rate is lowered while they raise it (where all do,
    the lowest is taken), or raised while that leaves clearly less of a loss that is large (after Smith,
    "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, section 3.3).
    """
    few = [batch for batch, _ in zip(batches, range(_TEST_STEPS), strict=False)]
    told = few[-max(1, len(few) // 3) :]
    state = State(training.model)

    def end(rate: float) -> float:
        losses = [training.step(batch, rate) for batch in few]
        state.restore()
        training.forget()
        return float(np.mean(losses[-len(told) :]))

    before = float(np.mean([training.loss(batch) for batch in told]))
    state.restore()
    rate, reached = first, end(first)
    lowered = 0
    while not reached <= before and lowered < _MOST_LOWERED:
        rate, lowered = rate / _FACTOR, lowered + 1
        reached = end(rate)
    raised = 0
    while not lowered and reached > _LITTLE_LOSS and raised < _MOST_RAISED:
        further = end(rate * _FACTOR)
        if not further < reached * (1 - _CLEARLY):
            break
        rate, reached, raised = rate * _FACTOR, further, raised + 1
    return Rate(rate if math.isfinite(reached) and math.isfinite(before) else math.nan, before)
