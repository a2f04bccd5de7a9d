"""An emulated ARM board: what it computes is what this computer computes, and it claims no time."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgepress.config.device import Qemu, Ssh
from edgepress.devices.base import Device
from edgepress.devices.registry import open_device
from edgepress.errors import DeviceError
from tests.board import Board
from tests.contracts import test_device

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
    np.testing.assert_array_equal(found.candidate.outputs, here.candidate.outputs)
    assert found.machine["cpu"].startswith(f"{cpu}, emulated by QEMU ")
    assert found.machine["architecture"] == "aarch64"


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
        np.testing.assert_array_equal(found.candidate.outputs, here.candidate.outputs)
        assert (found.kind, found.machine["architecture"]) == ("emulated", "aarch64")
        assert (found.candidate.timings, found.candidate.memory) == (None, None)
