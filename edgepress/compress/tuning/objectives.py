"""What a network is fine-tuned towards: right classes, or the outputs of the network as it was.

Distillation: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from edgepress.compress.tuning.data import Given
from edgepress.config.fine_tune import FineTune
from edgepress.datasets.prepared import Array
from edgepress.translate.tensorflow_setup import tf


class Objective(Protocol):
    """What outputs are compared with, and how.

    `loss` is what Keras trains with; for several outputs a loss for each.
    """

    loss: Any

    def targets(self, inputs: Given, classes: Array) -> Given:
        """What the outputs for a batch are compared with."""

    def losses(self, targets: Given, outputs: Given) -> Array:
        """The loss of each sample (n,)."""

    def right(self, targets: Given, outputs: Given, classes: Array | None) -> float:
        """How many samples are right; `classes` are None where they are not known."""


def objective(model: Any, teacher: Any | None, config: FineTune) -> Objective:
    """The one that suits a network: of classes where it gives such, else of its outputs."""
    several = isinstance(model.output_shape, list)
    if not several and len(model.output_shape) == 2:
        return OfClasses(model, teacher, config)
    assert teacher is not None, "refused before"
    return OfOutputs(teacher)


class OfClasses:
    """Cross-entropy with classes and, with a teacher, the divergence from its softened probabilities."""

    def __init__(self, model: Any, teacher: Any | None, config: FineTune) -> None:
        classes = model.output_shape[-1]
        self._one_hot = np.concatenate([np.eye(classes), np.zeros((1, classes))]).astype(np.float32)
        self._teacher, self.loss = teacher, _loss(config)

    def targets(self, inputs: Given, classes: Array) -> Array:
        """One-hot classes (n, K) and, with a teacher, its logits beside them (n, 2K); of no class, zeros."""
        one_hot = self._one_hot[classes]
        if self._teacher is None:
            return one_hot
        return np.concatenate([one_hot, self._teacher(inputs, training=False).numpy()], axis=1)

    def losses(self, targets: Given, outputs: Given) -> Array:
        """See `Objective`."""
        return np.asarray(self.loss(targets, outputs))

    def right(self, targets: Given, outputs: Given, classes: Array | None) -> float:
        """The samples of the right class; where that is not known, it is the teacher's."""
        logits, wanted = np.asarray(outputs), np.asarray(targets)
        right = wanted[:, logits.shape[1] :].argmax(axis=1) if classes is None else classes
        return int((logits.argmax(axis=1) == right).sum())


class OfOutputs:
    """The squared distance of each output from the teacher's, as a share of what varies in that one.

    Outputs that are no floats cannot be trained, and do not count. A sample is right by the share of the
    teacher's outputs that its own explain (R²).
    """

    def __init__(self, teacher: Any) -> None:
        self._teacher = teacher
        self._counted = [output.dtype.is_floating for output in teacher.outputs]
        losses = [_distance if counted else _nothing for counted in self._counted]
        self.loss: Any = losses if len(losses) > 1 else losses[0]

    def targets(self, inputs: Given, classes: Array) -> Given:
        """The teacher's outputs, each with the scale of its variation as a last column (n, size + 1)."""
        outputs = [np.asarray(each) for each in _listed(self._teacher(inputs, training=False))]
        made = [self._target(each, counts) for each, counts in zip(outputs, self._counted, strict=True)]
        return made if len(made) > 1 else made[0]

    def losses(self, targets: Given, outputs: Given) -> Array:
        """See `Objective`."""
        pairs = zip(_listed(targets), _listed(outputs), self._counted, strict=True)
        found = [_distance(target, tf.constant(output)) for target, output, counts in pairs if counts]
        return np.asarray(sum(np.asarray(each) for each in found))

    def right(self, targets: Given, outputs: Given, classes: Array | None) -> float:
        """The share that is explained of each sample, all added up."""
        explained = 1 - self.losses(targets, outputs) / max(sum(self._counted), 1)
        return float(np.clip(explained, 0, 1).sum())

    def _target(self, output: Array, counts: bool) -> Array:
        rows = output.reshape(len(output), -1)
        scale = float(rows.astype(np.float64).var()) if counts else 1.0
        return np.concatenate([rows, np.full((len(rows), 1), scale or 1.0)], axis=1).astype(np.float32)


def _listed(values: Any) -> Sequence[Any]:
    return values if isinstance(values, list | tuple) else [values]


def _distance(target: Any, output: Any) -> Any:
    """The mean square of the difference of each sample over the scale in the target's last column (n,)."""
    target = tf.convert_to_tensor(target)
    rows = tf.reshape(tf.cast(output, tf.float32), (tf.shape(target)[0], -1))
    return tf.reduce_mean(tf.square(rows - target[:, :-1]), axis=1) / target[:, -1]


def _nothing(target: Any, output: Any) -> Any:
    return tf.zeros((tf.shape(target)[0],), tf.float32)


def _loss(config: FineTune) -> Any:
    """(1 − a)·cross-entropy + a·T²·KL(teacher ‖ student), both softened by the temperature T."""
    share, temperature = config.distillation, config.temperature

    def loss(targets: Any, logits: Any) -> Any:
        classes = logits.shape[-1]
        hard = tf.nn.softmax_cross_entropy_with_logits(targets[:, :classes], logits)
        if share == 0:
            return hard
        softened = tf.nn.softmax(targets[:, classes:] / temperature)
        soft = tf.nn.softmax_cross_entropy_with_logits(softened, logits / temperature)
        entropy = tf.nn.softmax_cross_entropy_with_logits(softened, targets[:, classes:] / temperature)
        return (1 - share) * hard + share * temperature**2 * (soft - entropy)

    return loss
