"""What keeps a codebook shared when BatchNormalization is folded."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.datasets.prepared import Array
from edgepress.graph.batchnorm import folded_gammas
from edgepress.translate.keras_face import KerasNetwork


def without_negative_gammas(
    values: Mapping[tuple[str, str], Array], network: KerasNetwork, model: onnx.ModelProto
) -> dict[tuple[str, str], Array]:
    """A network's values (see `KerasNetwork`), gammas that training pushed below zero at zero.

    Those are small, of channels that hardly matter. At zero they stay foldable: a negative factor would
    add the negatives of a codebook's values to it. Gammas that no kernel of `model` takes are free.
    """
    folded = folded_gammas(model)
    return {
        key: np.maximum(array, 0) if network.weights[key].initializer in folded else array
        for key, array in values.items()
    }
