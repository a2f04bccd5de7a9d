"""How far an exported model is from its network."""

import numpy as np
import pytest

from edgepress.errors import UnsupportedModelError
from edgepress.measure.parity import PYTORCH, Reference, parity


class TestParity:
    LOGITS = np.array([[0.0, 2.0, 1.0], [3.0, 1.0, 0.0], [0.0, 1.0, 1.001]], np.float32)

    def test_measures_difference_and_agreement(self) -> None:
        other = self.LOGITS + np.array([[0, 0, 0], [0, 0.0005, 0], [0, 0.002, 0]], np.float32)
        metrics = parity(Reference([self.LOGITS], PYTORCH), {"logits": other}, 3)
        assert metrics["max_abs_diff"] == pytest.approx(0.002, rel=1e-3)
        assert metrics["top1_agreement"] == pytest.approx(2 / 3)

    def test_constant_logits_prove_nothing(self) -> None:
        constant = np.repeat(self.LOGITS[:1], 3, axis=0)
        with pytest.raises(
            UnsupportedModelError, match="same logits for every sample; expected them to vary"
        ):
            parity(Reference([constant], PYTORCH), {"logits": constant}, 3)

    @pytest.mark.parametrize("wrong", [0.1, np.nan])
    def test_disagreement_is_refused(self, wrong: float) -> None:
        other = self.LOGITS.copy()
        other[1, 1] += wrong
        with pytest.raises(UnsupportedModelError, match=r"from PyTorch's; expected at most 0\.003"):
            parity(Reference([self.LOGITS], PYTORCH), {"logits": other}, 3)
