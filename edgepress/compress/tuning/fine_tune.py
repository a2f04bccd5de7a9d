"""Fine-tuning a compressed Keras network, optionally with the uncompressed one as its teacher.

Distillation: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from edgepress.compress.tuning.data import TuningData
from edgepress.config.fine_tune import FineTune
from edgepress.datasets.prepared import Array
from edgepress.errors import TrainingError
from edgepress.translate.tensorflow_setup import keras, tf


def fine_tune(
    model: Any,
    data: TuningData,
    config: FineTune,
    stage: str,
    teacher: Any | None = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train `model` (NHWC in, logits out) in place: Adam, cosine schedule to zero, progress on stderr.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    steps = max(1, config.epochs * data.steps_per_epoch(config.batch_size))
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(keras.optimizers.Adam(schedule), _loss(config))
    watchers = keras.callbacks.CallbackList(list(callbacks), model=model)
    watchers.on_train_begin()
    for epoch in tqdm(range(config.epochs), desc=f"{stage}: fine-tuning", unit="epoch"):
        for step, (inputs, classes) in enumerate(data.batches(config.batch_size, epoch)):
            watchers.on_train_batch_begin(step)
            loss = model.train_on_batch(inputs, _targets(model, teacher, inputs, classes))
            watchers.on_train_batch_end(step)
            if not math.isfinite(loss):
                raise _diverged(stage, f"the loss became {loss} in epoch {epoch + 1}", config)
        watchers.on_epoch_end(epoch)
    watchers.on_train_end()
    if not all(np.isfinite(values).all() for values in model.get_weights()):
        raise _diverged(stage, "weights became NaN or infinite in the last step", config)


def _diverged(stage: str, what: str, config: FineTune) -> TrainingError:
    rate = f"{stage}.fine_tune.learning_rate {config.learning_rate}"
    return TrainingError(f"{what} with {rate}; lower it in conf/{stage}/ or with -S")


def _targets(model: Any, teacher: Any | None, inputs: Array, classes: Array) -> Array:
    """One-hot classes (n, K) and, with a teacher, its logits beside them (n, 2K)."""
    one_hot = np.eye(model.output_shape[-1], dtype=np.float32)[classes]
    if teacher is None:
        return one_hot
    return np.concatenate([one_hot, teacher(inputs, training=False).numpy()], axis=1)


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
