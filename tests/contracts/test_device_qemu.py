"""An emulated ARM board: what it computes is what this computer computes, and it claims no time."""

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgepress.config.device import Qemu, Ssh
from edgepress.devices.base import Device
from edgepress.devices.qemu import arm_python
from edgepress.devices.registry import open_device
from edgepress.errors import DeviceError
from tests.board import Board
from tests.contracts import test_device
from tests.lowest_codes import run_lowest
from tests.quantised_files import layer, lowest
from tests.unit.test_quantised_files import converted

LOCAL = test_device.TestLocal.config
CONFIG = Qemu("cortex-a72", LOCAL.kernels)


class TestQemu(test_device.DeviceContract):
    name = "qemu_aarch64"
    kind = "emulated"
    tolerance = 1e-5

    @pytest.fixture(scope="class")
    @classmethod
    def device(cls, emulated_board: Path) -> Device:
        return open_device(CONFIG)


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
def test_every_processor_gives_the_same_integers(emulated_board, small_models, cpu):
    images = small_models / "images.npy"
    pair = test_device.make_pair(small_models, "tflite int8")
    found = open_device(dataclasses.replace(CONFIG, cpu=cpu)).measure(pair, images)
    here = open_device(LOCAL).measure(pair, images)
    np.testing.assert_array_equal(found.candidate.output, here.candidate.output)
    assert found.machine["cpu"].startswith(f"{cpu}, emulated by QEMU ")
    assert found.machine["architecture"] == "aarch64"


def test_kernels_with_the_lowest_codes_are_right_on_arm(emulated_board, tmp_path):
    """XNNPACK's kernels for it hold two products of (−128)·(−128) in 16 bits, which overflow."""
    kernels = {
        "conv": (np.full((8, 4, 3, 3), -128, np.int8), {}),
        "one": (lowest(8, 4, 3, 3), {}),
        "depthwise": (np.full((4, 1, 3, 3), -128, np.int8), {"group": 4}),
        "depthwise one": (lowest(4, 1, 3, 3), {"group": 4}),
    }
    expected = []
    for name, (kernel, given) in kernels.items():
        scale = np.full(len(kernel), 0.01, np.float32)
        model = layer(kernel, np.zeros(len(kernel), np.int8), scales=scale, bias=False, **given)
        content = converted(model)
        (tmp_path / f"{name}.tflite").write_bytes(content)
        expected.append(run_lowest(content))
        assert np.abs(expected[-1]).max() > 20
    script = Path(__file__).parents[1] / "lowest_codes.py"
    files = [str(tmp_path / f"{name}.tflite") for name in kernels]
    done = subprocess.run(
        [*arm_python("cortex-a72"), str(script), *files], capture_output=True, text=True, check=True
    )
    found = [np.array(row) for row in json.loads(done.stdout)]
    for own, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(other, own.reshape(-1))


def test_without_setup_it_says_how(monkeypatch, tmp_path, small_models):
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path))
    pair = test_device.make_pair(small_models, "tflite int8")
    with pytest.raises(DeviceError, match=r"is not here yet; make it, .*: edgepress device setup qemu"):
        open_device(CONFIG).measure(pair, small_models / "images.npy")


def test_a_virtual_raspberry_pi_is_not_taken_for_a_real_one(emulated_board, board: Board, small_models):
    """Reached through SSH, where nothing says that it is emulated but the processes themselves."""
    board.emulate("pi")
    pi = Ssh("board", "pi", None, None, LOCAL.kernels, LOCAL.timing)
    for name in ("tflite int8", "onnxruntime int8"):
        pair = test_device.make_pair(small_models, name)
        found = open_device(pi).measure(pair, small_models / "images.npy")
        here = open_device(LOCAL).measure(pair, small_models / "images.npy")
        np.testing.assert_array_equal(found.candidate.output, here.candidate.output)
        assert (found.kind, found.machine["architecture"]) == ("emulated", "aarch64")
        assert (found.candidate.timings, found.candidate.memory) == (None, None)
