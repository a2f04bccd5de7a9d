"""Lets onnx-tf 1.10.0, archived, run on today's TensorFlow and onnx.

It imports three modules that are gone or have no build for this TensorFlow, of which it uses little:
`onnx.mapping` (rebuilt from `onnx.helper`), `tensorflow_addons` (one function) and
`tensorflow_probability` (one distribution). They are given to it before it is imported.
"""

import sys
import types
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgepress.translate.tensorflow_setup import quiet, tf


def _mapping() -> Any:
    module: Any = types.ModuleType("onnx.mapping")
    kinds = [kind for kind in TensorProto.DataType.values() if kind != TensorProto.UNDEFINED]
    numpy_types = {kind: np.dtype(helper.tensor_dtype_to_np_dtype(kind)) for kind in kinds}
    module.TENSOR_TYPE_TO_NP_TYPE = numpy_types
    module.NP_TYPE_TO_TENSOR_TYPE = {dtype: kind for kind, dtype in reversed(numpy_types.items())}
    module.TENSOR_TYPE_TO_STORAGE_TENSOR_TYPE = {
        k: helper.tensor_dtype_to_storage_tensor_dtype(k) for k in kinds
    }
    return module


def _addons() -> Any:
    module: Any = types.ModuleType("tensorflow_addons")

    def hardmax(logits: Any) -> Any:
        return tf.one_hot(tf.argmax(logits, -1), tf.shape(logits)[-1], dtype=logits.dtype)

    module.seq2seq = types.SimpleNamespace(hardmax=hardmax)
    return module


class _Bernoulli:
    """Samples 0 or 1 with the given probabilities, as the operator Bernoulli wants them."""

    def __init__(self, probs: Any, dtype: Any) -> None:
        self._probabilities, self._dtype = probs, dtype

    def sample(self, seed: int | None = None) -> Any:
        drawn = tf.random.uniform(tf.shape(self._probabilities), seed=seed)
        return tf.cast(drawn < tf.cast(self._probabilities, tf.float32), self._dtype)


def _probability() -> Any:
    module: Any = types.ModuleType("tensorflow_probability")
    module.distributions = types.SimpleNamespace(Bernoulli=_Bernoulli)
    return module


with quiet():
    _mapping_module = _mapping()
    sys.modules["onnx.mapping"] = onnx.mapping = helper.mapping = _mapping_module
    sys.modules.setdefault("tensorflow_addons", _addons())
    sys.modules.setdefault("tensorflow_probability", _probability())
    from onnx_tf.backend import prepare

__all__ = ["prepare"]
