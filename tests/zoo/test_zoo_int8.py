"""A few architectures of torchvision and timm, small, quantised after training, in both runtimes."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.networks import tensorflow
from tests.zoo.architectures import ARCHITECTURES
from tests.zoo.measure import measure_int8
from tests.zoo.networks import export
from tests.zoo.table import Row, misses


@pytest.mark.parametrize(
    ("name", "floats"),
    [
        ("shufflenet_v2_x0_5", set()),
        ("mobilenetv4_conv_small_035", set()),
        ("inception_next_atto", {"LayerNormalization"}),
    ],
)
def test_the_runtimes_agree_on_integers(name: str, floats: set[str], tmp_path: Path) -> None:
    architecture = replace(next(each for each in ARCHITECTURES if each.name == name), size=64)
    tensorflow()
    export(architecture, tmp_path / "model.onnx")
    row = measure_int8(architecture, tmp_path / "model.onnx")
    assert misses(Row(architecture, None, vars(row))) == []
    assert set(row.why) == floats
    assert bool(row.float_ops) == bool(floats)
