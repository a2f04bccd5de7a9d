"""Fine-tuning a compressed Keras network, optionally with the uncompressed one as its teacher.

What is kept is the best state on the validation split, which may be the one before any training: so
fine-tuning never ends below where it began.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.judging import Judge, Score
from edgepress.compress.tuning.objectives import objective
from edgepress.compress.tuning.recalibrating import recalibrate
from edgepress.compress.tuning.steps import Batch, State, Training, suitable_rate
from edgepress.config.fine_tune import FineTune
from edgepress.errors import TrainingError
from edgepress.translate.tensorflow_setup import keras

_NO_DIFFERENCE = 0.05
"""Of two losses, relative; less than that is chance."""
_FEW_STEPS = 100
_LARGEST_RISE = 8.0
_FAR_BELOW = 0.02
"""Of accuracy: an epoch that ends so far below the best may have moving averages that are far behind."""


@dataclass(frozen=True)
class Ramp:
    """A compression that grows in the course of training.

    `callback` is the one of Keras that drives it, `at_once()` does all of it in one step, and `complete()`
    says whether all of it is done by now: before that no state may be kept.
    """

    callback: Any
    at_once: Callable[[], None]
    complete: Callable[[], bool]


def fine_tune(
    model: Any,
    data: TuningData,
    config: FineTune,
    stage: str,
    teacher: Any | None = None,
    ramp: Ramp | None = None,
) -> None:
    """Train `model`, of a plan, in place: Adam, cosine schedule to zero, progress on stderr.

    Without classes, or where the network gives none, `teacher` says what is right.

    The rate is `config.learning_rate`, or less or more where that suits (see `suitable_rate`). After each
    epoch the network is scored on the validation split; the best state is kept, and `data.course` says which.
    The first candidate is the network as it is, or with `ramp` compressed at once.

    Raises:
        TrainingError: the loss is NaN or infinite at every rate that was tried.
        DataError: there are no samples to train on.
    """
    if not config.epochs:
        return
    wanted = objective(model, teacher, config)
    judge, training = Judge(data, wanted), Training(model, wanted)
    first = State(model)
    if ramp:
        ramp.at_once()
    best = _Best(model, judge)
    if recalibrate(model, data.batches(config.batch_size, 0)):
        best.offer(0)
    best.state.restore()
    rate = suitable_rate(training, _all_batches(data, config), _first_rate(config, data))
    if math.isnan(rate.value):
        raise TrainingError(
            f"the loss became nan in epoch 1 with {stage}.fine_tune.learning_rate {config.learning_rate:g}; "
            f"lower it in conf/{stage}/ or with -S"
        )
    data.course.begin(rate.value, data.augments)
    data.course.note(rate.loss_before, best.score)
    if ramp:
        first.restore()
    _train(training, data, config, stage, rate.value, ramp, best)
    best.state.restore()
    data.course.kept = best.epoch


def _train(
    training: Training,
    data: TuningData,
    config: FineTune,
    stage: str,
    rate: float,
    ramp: Ramp | None,
    best: "_Best",
) -> None:
    """All epochs, or as long as the loss is a number; the state after each is offered to `best`."""
    schedule = _schedule(rate, config.epochs * data.steps_per_epoch(config.batch_size))
    watchers = keras.callbacks.CallbackList([ramp.callback] if ramp else [], model=training.model)
    watchers.on_train_begin()
    for epoch in tqdm(range(1, config.epochs + 1), desc=f"{stage}: fine-tuning", unit="epoch", disable=None):
        losses = _run_epoch(training, data.batches(config.batch_size, epoch - 1), schedule, watchers)
        if not np.isfinite(losses).all():
            print(f"{stage}: the loss became {losses[-1]} in epoch {epoch}; keeps what came before")
            return
        watchers.on_epoch_end(epoch - 1)
        complete = ramp is None or ramp.complete()
        score = best.offer(epoch, complete)
        if score.accuracy < best.score.accuracy - _FAR_BELOW and recalibrate(
            training.model, data.batches(config.batch_size, 0)
        ):
            score = best.offer(epoch, complete)
        data.course.note(float(np.mean(losses)), score)
    watchers.on_train_end()


class _Best:
    """The best state that a network was in so far."""

    def __init__(self, model: Any, judge: Judge) -> None:
        self._model, self._judge = model, judge
        self.state, self.score, self.epoch = State(model), judge.score(model), 0

    def offer(self, epoch: int, complete: bool = True) -> Score:
        """Keep the present state if it is better, and complete; the result is its score.

        Of two epochs as good as equal, the later is kept: the learning rate has fallen further there.
        """
        score = self._judge.score(self._model)
        if complete and score.beats(self.score, _NO_DIFFERENCE if self.epoch else 0.0):
            self.state, self.score, self.epoch = State(self._model), score, epoch
        return score


def _first_rate(config: FineTune, data: TuningData) -> float:
    """The configured rate, or more where there are so few steps that each has to go further."""
    steps = config.epochs * data.steps_per_epoch(config.batch_size)
    return config.learning_rate * min(max(1.0, _FEW_STEPS / steps), _LARGEST_RISE)


def _all_batches(data: TuningData, config: FineTune) -> Iterator[Batch]:
    """Those of all epochs, one after the other."""
    return (batch for epoch in range(config.epochs) for batch in data.batches(config.batch_size, epoch))


def _run_epoch(
    training: Training, batches: Iterable[Batch], schedule: Iterator[float], watchers: Any
) -> list[float]:
    """The loss of each step, up to the first that is no number."""
    losses = list[float]()
    for number, batch in enumerate(batches):
        watchers.on_train_batch_begin(number)
        losses.append(training.step(batch, next(schedule)))
        watchers.on_train_batch_end(number)
        if not math.isfinite(losses[-1]):
            break
    return losses


def _schedule(peak: float, steps: int) -> Iterator[float]:
    """The rate of each step, falling to zero along a cosine."""
    falling = keras.optimizers.schedules.CosineDecay(peak, steps)
    return (float(falling(step)) for step in range(steps))
