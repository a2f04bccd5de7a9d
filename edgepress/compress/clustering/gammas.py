"""What keeps a codebook shared when BatchNormalization is folded."""

from collections.abc import Mapping

import numpy as np

from edgepress.datasets.prepared import Array


def without_negative_gammas(values: Mapping[tuple[str, str], Array]) -> dict[tuple[str, str], Array]:
    """A network's values (see `KerasNetwork`), gammas that training pushed below zero at zero.

    Those are small, of channels that hardly matter. At zero they stay foldable: a negative factor would
    add the negatives of a codebook's values to it.
    """
    return {key: np.maximum(array, 0) if key[1] == "gamma" else array for key, array in values.items()}
