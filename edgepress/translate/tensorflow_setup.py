"""The one place that imports TensorFlow: quiet, with Keras 2, repeatable.

TFMOT works on Keras 2 (`tf_keras`) alone. With op determinism and fixed thread counts the same seed
gives the same bits in every fresh process; another number of threads gives others.
"""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what native code writes to stderr; it is shown only if the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


with quiet():
    import tensorflow as tf
    import tf_keras as keras

tf.get_logger().setLevel("ERROR")

__all__ = ["configure", "keras", "quiet", "tf"]


def configure(seed: int, threads: int) -> None:
    """Fix all seeds, op determinism and thread counts; to be called before the first computation."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
