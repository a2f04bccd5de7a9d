"""Fixtures that more than one folder of tests uses."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models of one network; see small_models.py."""
    folder = tmp_path_factory.mktemp("small_models")
    program = Path(__file__).with_name("small_models.py")
    done = subprocess.run([sys.executable, str(program), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder
