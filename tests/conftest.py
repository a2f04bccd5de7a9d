"""Fixtures that more than one folder of tests uses."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.devices.qemu import emulated_board as emulated_board_folder
from edgepress.errors import DeviceError
from edgepress.provision.emulator import make_emulated_board
from tests import both_frameworks
from tests.board import Board, running_board

assert both_frameworks


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models of one network; see small_models.py."""
    folder = tmp_path_factory.mktemp("small_models")
    program = Path(__file__).with_name("small_models.py")
    done = subprocess.run([sys.executable, str(program), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A board with the runtimes, which the user's `ssh` reaches as `board`."""
    with running_board(tmp_path_factory.mktemp("board")) as board, pytest.MonkeyPatch.context() as patch:
        board.install()
        patch.setenv("EDGEPRESS_SSH", board.command)
        yield board


@pytest.fixture(scope="session")
def emulated_board() -> Path:
    """The emulated ARM board's folder, made as a user makes it; skips where its packages cannot be had."""
    try:
        make_emulated_board(lambda _: None)
    except DeviceError as error:
        pytest.skip(f"there is no emulator to test with: {error}")
    return emulated_board_folder()
