"""Programs started in a folder whose files are called as modules of Python and of packages are."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from edgepress.config.composition import compose
from tests.networks import network
from tests.repo.closure import ROOT

PACKAGES = ("flatbuffers", "google", "numpy", "onnx", "onnxruntime", "PIL", "scipy", "sklearn", "yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, parameters, and files that end each program that imports one of them."""
    path = tmp_path_factory.mktemp("folder")
    for name in (*sys.stdlib_module_names, *PACKAGES, "tensorflow", "ai_edge_litert"):
        (path / f"{name}.py").write_text(
            f"raise RuntimeError('{name}.py of the current folder was imported')"
        )
    (path / "edgepress").mkdir()
    (path / "edgepress" / "notes.txt").touch()
    (path / "params.yaml").write_text(compose(conf=ROOT / "conf"))
    onnx.save(network(), path / "model.onnx")
    return path


def ended(folder: Path, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    everything = variables | environment
    return subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True, check=False)


CONVERT = ("convert", "model.onnx", "-o", "model.tflite", "--check", "-q")


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-m", "edgepress", *CONVERT),
        (sys.executable, "-m", "edgepress.cli", "inspect", "model.onnx"),
        (sys.executable, "-P", "-m", "edgepress", "check", "--help"),
        (str(Path(sys.executable).with_name("edgepress")), "inspect", "model.onnx"),
        (sys.executable, "-m", "stages.check_params"),
    ],
    ids=lambda command: " ".join(command[1:4]),
)
def test_files_of_the_current_folder_stand_in_for_no_module(folder: Path, command: tuple[str, ...]) -> None:
    done = ended(folder, *command)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", ["edgepress", "edgepress.cli"])
def test_folders_that_pythonpath_names_are_searched(folder: Path, tmp_path: Path, module: str) -> None:
    (tmp_path / "yaml.py").write_text("raise RuntimeError('the one of PYTHONPATH')")
    done = ended(folder, sys.executable, "-m", module, "compose", PYTHONPATH=str(tmp_path))
    assert "the one of PYTHONPATH" in done.stdout + done.stderr
