"""A few architectures of torchvision and timm, small, from PyTorch's exporter to a `.tflite` in float32."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.networks import tensorflow
from tests.zoo.architectures import ARCHITECTURES, FLOAT_LIMITS
from tests.zoo.measure import measure_float
from tests.zoo.networks import export
from tests.zoo.table import Row, misses, rendered, surprises

SMALL = (
    "shufflenet_v2_x0_5",
    "mobilenetv3_small_050",
    "ghostnet_050",
    "convnextv2_atto",
    "edgenext_xx_small",
)
"""Channel shuffle; squeeze and excitation; joined branches; LayerNorm between permutations; attention."""


@pytest.mark.parametrize("name", SMALL)
def test_an_architecture_keeps_its_bounds(name: str, tmp_path: Path) -> None:
    architecture = replace(next(each for each in ARCHITECTURES if each.name == name), size=64)
    tensorflow()
    export(architecture, tmp_path / "model.onnx")
    row = measure_float(architecture, tmp_path / "model.onnx")
    assert misses(Row(architecture, vars(row), None)) == []


def test_a_row_that_misses_a_bound_or_failed_is_marked() -> None:
    found = {"ops": 9, "transposes": 3, "asked": 2, "max_abs_diff": 2e-5}
    row = Row(ARCHITECTURES[0], found, {"error": "int8: no | way"})
    assert misses(row) == ["max diff", "transposes", "int8: no | way"]
    assert rendered(row).endswith("| 9 | **3 of 2** | **2.0e-05** | **int8: no / way** |  |  |")
    assert not misses(Row(ARCHITECTURES[0], {**found, "asked": 3, "max_abs_diff": 1e-5}, None))


def test_a_reason_excuses_what_the_delegate_alone_does() -> None:
    limited = next(each for each in ARCHITECTURES if each.name in FLOAT_LIMITS)
    found = {"ops": 9, "transposes": 0, "asked": 0, "max_abs_diff": 2e-5, "undelegated_diff": 1e-7}
    assert not surprises(Row(limited, found, None)) and misses(Row(limited, found, None))
    assert surprises(Row(limited, {**found, "undelegated_diff": 2e-5}, None)) == ["max diff"]
    assert surprises(Row(limited, {**found, "max_abs_diff": 1e-7}, None)) == ["its FLOAT_LIMITS"]
    assert surprises(Row(ARCHITECTURES[0], found, None)) == ["max diff"]
