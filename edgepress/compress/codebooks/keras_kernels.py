"""Keras layers whose kernel is computed from something else, through TFMOT's quantize wrapper.

The wrapper calls a `Quantizer` for the kernel and runs the layer with what it returns. Clustering and
quantisation-aware training both use it, with quantizers of their own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.compress.codebooks.codebook import LEVELS, PINNED, Codebook
from edgepress.compress.tuning.tfmot_setup import tfmot
from edgepress.datasets.prepared import Array
from edgepress.translate.keras_face import KerasNetwork
from edgepress.translate.tensorflow_setup import tf


class SharedCodebook:
    """The trainable part of a codebook: its free values, shared by all kernels."""

    def __init__(self, codebook: Codebook) -> None:
        self.free = tf.Variable(codebook.values[len(PINNED) :], name="codebook", trainable=True)

    def values(self) -> Any:
        """The whole codebook: `PINNED`, then the free values, straight-through on multiples of 1/127."""
        free = tf.clip_by_value(self.free, -1.0, 1.0)
        snapped = free + tf.stop_gradient(tf.round(free * LEVELS) / LEVELS - free)
        return tf.concat([tf.constant(PINNED, tf.float32), snapped], 0)


def from_matrix(matrix: Any, kernel: Any, transposed: bool) -> Any:
    """Of `as_matrix` (rows, output channels), the way back to a tensor of the shape of `kernel`.

    `transposed` are the kernels of transposed convolutions, (kH, kW, outputs, inputs).
    """
    if not transposed:
        return tf.reshape(matrix, kernel.shape)
    height, width, outputs, inputs = kernel.shape
    return tf.transpose(tf.reshape(matrix, (height, width, inputs, outputs)), (0, 1, 3, 2))


class CodebookQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """kernel = codebook[index]·scale; trains the shared codebook and this kernel's channel scales."""

    def __init__(self, codebook: SharedCodebook, index: Array, scale: Array, transposed: bool) -> None:
        self.codebook, self.index, self.scale, self.transposed = codebook, index, scale, transposed

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        layer.shared_codebook = self.codebook.free  # Keras trains what is an attribute of a layer
        initial = tf.constant_initializer(self.scale)
        return {"scale": layer.add_weight(f"{name}_scale", self.scale.shape, initializer=initial)}

    def __call__(self, inputs: Any, training: bool, weights: Mapping[str, Any], **_: Any) -> Any:
        kernel = tf.gather(self.codebook.values(), tf.constant(self.index)) * tf.abs(weights["scale"])
        return from_matrix(kernel, inputs, self.transposed)

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))


class LayerConfig(tfmot.quantization.keras.QuantizeConfig):
    """Which of a layer's tensors go through which quantizer."""

    def __init__(self, kernel: str | None, kernel_quantizer: Any, output_quantizer: Any = None) -> None:
        self.kernel, self.kernel_quantizer, self.output_quantizer = kernel, kernel_quantizer, output_quantizer

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        return [(getattr(layer, self.kernel), self.kernel_quantizer)] if self.kernel else []

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        if self.kernel:
            setattr(layer, self.kernel, quantize_weights[0])

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        return [self.output_quantizer] if self.output_quantizer else []

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))


def wrapped(layer: Any, config: LayerConfig) -> Any:
    """The layer under TFMOT's quantize wrapper."""
    return tfmot.quantization.keras.QuantizeWrapperV2(layer, config)


def computed_values(network: KerasNetwork) -> dict[tuple[str, str], Array]:
    """All values of the network, kernels as their quantizers compute them at inference."""
    values = network.values()
    computed = {}
    for layer in network.model.layers:
        for variable, quantizer, parts in getattr(layer, "_weight_vars", []):
            kernel = quantizer(tf.convert_to_tensor(variable), training=False, weights=parts)
            computed[variable.ref()] = np.asarray(kernel)
    for key, variable in network.variables.items():
        values[key] = computed.get(variable.ref(), values[key])
    return values


def trained_scales(network: KerasNetwork) -> dict[str, Array]:
    """The channel scales (channels,) of the kernels that share a codebook, by initializer."""
    scales = {}
    for layer in network.model.layers:
        for variable, quantizer, parts in getattr(layer, "_weight_vars", []):
            if isinstance(quantizer, CodebookQuantizer):
                scales[variable.ref()] = np.abs(parts["scale"].numpy())
    return {
        str(network.weights[key].initializer): scales[variable.ref()]
        for key, variable in network.variables.items()
        if variable.ref() in scales
    }
