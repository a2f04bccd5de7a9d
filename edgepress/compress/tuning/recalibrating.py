"""The statistics of BatchNormalization, taken anew after the weights before it have changed."""

from collections.abc import Iterable
from typing import Any

from edgepress.compress.tuning.steps import Batch
from edgepress.translate.tensorflow_setup import keras

_MOST_BATCHES = 32


def recalibrate(model: Any, batches: Iterable[Batch]) -> bool:
    """Give each BatchNormalization of a Keras network the mean statistics of some batches, in place.

    A compressed layer gives other values than the statistics were taken of; what that alone costs is won back
    without training (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    arXiv:1906.04721, correct means alone).

    Returns:
        Whether there is any.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return False
    momenta = [layer.momentum for layer in layers]
    for number, ((inputs, _), _) in enumerate(zip(batches, range(_MOST_BATCHES), strict=False)):
        for layer in layers:
            layer.momentum = number / (number + 1)  # the mean of all batches so far
        model(inputs, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return True
