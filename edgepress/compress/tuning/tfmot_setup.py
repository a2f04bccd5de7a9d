"""The one place that imports TFMOT, after Keras 2 has been chosen."""

import absl.logging

from edgepress.translate.tensorflow_setup import quiet

with quiet():
    import tensorflow_model_optimization as tfmot

absl.logging.set_verbosity(absl.logging.ERROR)

__all__ = ["tfmot"]
