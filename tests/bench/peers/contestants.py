"""Ways from a network to a `.tflite`, each as the command that its users type."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.bench.peers.environments import python_of
from tests.bench.peers.processes import Cost, run
from tests.zoo.photos import crops

CALIBRATION = 32
_PROGRAMS = Path(__file__).with_name("programs")
_ROOT = Path(__file__).parents[3]
_SAMPLE = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""onnx2tf compares its model with ONNX Runtime on these, and downloads them unless they are there."""

Contestant = Callable[[Path, str, Path], Cost]
"""Converts network `name` of a folder to the target; raises RuntimeError, with the reason, if it cannot."""

OURS = "edgepress"
HERE = (OURS, "onnx-tf")
"""Those that this project's own environment holds."""


def edgepress(folder: Path, name: str, target: Path, *options: str) -> Cost:
    command = (sys.executable, "-m", "edgepress.cli", "convert", f"{name}.onnx", "-o", target)
    return run([*command, *options], folder, {"PYTHONPATH": str(_ROOT)})


def edgepress_int8(folder: Path, name: str, target: Path) -> Cost:
    return edgepress(folder, name, target, "--quant", "int8", "--calibration", "calibration.npy")


def onnx_tf(folder: Path, name: str, target: Path) -> Cost:
    return edgepress(folder, name, target, "--converter", "onnx_tf")


def litert_torch(folder: Path, name: str, target: Path) -> Cost:
    return run([python_of("litert"), _PROGRAMS / "litert_torch_once.py", f"{name}.pt", target], folder)


def onnx2tf(folder: Path, name: str, target: Path) -> Cost:
    program = python_of("onnx2tf").with_name("onnx2tf")
    images, _ = crops(20, 128, seed=3)
    np.save(folder / _SAMPLE, images.transpose(0, 2, 3, 1))
    cost = run([program, "-i", f"{name}.onnx", "-o", target.stem, "-n"], folder)
    shutil.move(folder / target.stem / f"{name}_float32.tflite", target)
    shutil.rmtree(folder / target.stem)
    return cost


def ai_edge_quantizer(folder: Path, name: str, target: Path) -> Cost:
    """From litert-torch's float model, which is there already; the costs are the quantisation's alone."""
    source = folder / f"{name}.litert-torch.tflite"
    if not source.exists():
        raise RuntimeError("litert-torch made no float model of it")
    program = _PROGRAMS / "ai_edge_quantizer_once.py"
    return run([python_of("litert"), program, source, "calibration.npy", target], folder)


FLOAT: dict[str, Contestant] = {
    OURS: edgepress,
    "litert-torch": litert_torch,
    "onnx2tf": onnx2tf,
    "onnx-tf": onnx_tf,
}
INT8: dict[str, Contestant] = {OURS: edgepress_int8, "ai-edge-quantizer": ai_edge_quantizer}
