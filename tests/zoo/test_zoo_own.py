"""A few of our own networks, from each exporter, through the translator, and the table of their rows."""

from pathlib import Path
from typing import Any, get_args

import pytest

from tests.networks import tensorflow
from tests.zoo.architectures import ARCHITECTURES
from tests.zoo.measure import measure_float, measure_int8
from tests.zoo.own.making import export
from tests.zoo.own.network import Exporter
from tests.zoo.own.registry import NETWORKS, SECTIONS
from tests.zoo.own.table import OwnRow, misses, rendered, surprises

FEW = ("yolox", "cached_tcn", "unet_bilinear", "early_exit", "equilibrium", "gated_scan", "gpt")
"""Boxes; states; open sizes; If; Loop; Scan; a mask that hides nothing of what int8 is calibrated with."""


def test_the_zoo_holds_all_kinds() -> None:
    names = [network.name for section in SECTIONS for network in section.networks]
    names += [architecture.name for architecture in ARCHITECTURES]
    assert len(set(names)) == len(names) >= 115
    assert {network.exporter for network in NETWORKS.values()} == set(get_args(Exporter))
    assert {11, 13} <= {network.opset for network in NETWORKS.values()}


@pytest.mark.parametrize("name", FEW)
def test_a_network_keeps_its_bounds(name: str, tmp_path: Path) -> None:
    row = measured(name, tmp_path)
    assert surprises(row) == []


def measured(name: str, folder: Path) -> OwnRow:
    network, source = NETWORKS[name], folder / "model.onnx"
    tensorflow()
    export(network, source)
    int8 = None if network.no_int8 else vars(measure_int8(network, source))
    return OwnRow(network, vars(measure_float(network, source)), int8)


def test_a_row_that_misses_a_bound_or_failed_is_marked() -> None:
    found = {"ops": 9, "max_abs_diff": 2e-5, "oracle_diff": None}
    codes: dict[str, Any] = {"top1": None, "mean_steps": 1.5, "oracle_codes": None, "float_ops": {}}
    row = OwnRow(NETWORKS["yolov8"], found, codes)
    assert misses(row) == ["max diff", "steps"]
    assert rendered(row).endswith("| dynamo, opset 18 | 9 | **2.0e-05** |  | **1.50** | none |")
    assert misses(OwnRow(NETWORKS["yolov8"], {"error": "no | way"}, None)) == ["no | way"]
