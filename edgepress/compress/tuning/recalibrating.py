"""The statistics of BatchNormalization, taken anew after the weights before it have changed."""

from collections.abc import Iterable
from typing import Any

from edgepress.compress.tuning.steps import Batch, State
from edgepress.translate.tensorflow_setup import keras

_MOST_BATCHES = 16


def recalibrate(model: Any, batches: Iterable[Batch]) -> bool:
    """Give each BatchNormalization of a Keras network the mean statistics of some batches, in place.

    A compressed layer gives other values than the statistics were taken of; what that alone costs is won back
    without training (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    arXiv:1906.04721, correct means alone). Nothing else changes, neither ranges nor how far pruning has come.

    Returns:
        Whether there is any.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return False
    before, momenta = State(model), [layer.momentum for layer in layers]
    for number, ((inputs, _), _) in enumerate(zip(batches, range(_MOST_BATCHES), strict=False)):
        for layer in layers:
            layer.momentum = number / (number + 1)  # the mean of all batches so far
        model(inputs, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    before.restore(but=[part for layer in layers for part in (layer.moving_mean, layer.moving_variance)])
    return True
