"""Ways from a network to a `.tflite`, each as the command that its users type."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.peers.environments import python_of
from tests.bench.peers.processes import Cost, run

CALIBRATION = 32
INPUT = "x"
"""What PyTorch's exporter calls the input of each network."""

_PROGRAMS = Path(__file__).with_name("programs")
_ROOT = Path(__file__).parents[3]

Contestant = Callable[[Path, str, Path], Cost]
"""Converts network `name` of a folder to the target; raises RuntimeError, with the reason, if it cannot."""

OURS = "edgepress"
CALIBRATING = "edgepress --quant int8"
HERE = (OURS, CALIBRATING, "onnx-tf")
"""Those that this project's own environment holds."""

ONNX2TF = "onnx2tf"
"""How the names of all its forms begin."""


def edgepress(folder: Path, name: str, target: Path, *options: str) -> Cost:
    command = (sys.executable, "-m", "edgepress", "convert", f"{name}.onnx", "-o", target)
    return run([*command, *options], folder, {"PYTHONPATH": str(_ROOT)})


def edgepress_quantised(folder: Path, name: str, target: Path) -> Cost:
    """From the network that is int8 in ONNX already, as the pipeline's stage convert-tflite gets it."""
    return edgepress(folder, f"{name}.int8", target)


def edgepress_calibrating(folder: Path, name: str, target: Path) -> Cost:
    return edgepress(folder, name, target, "--quant", "int8", "--calibration", "calibration.npy")


def onnx_tf(folder: Path, name: str, target: Path) -> Cost:
    return edgepress(folder, name, target, "--converter", "onnx_tf")


def litert_torch(folder: Path, name: str, target: Path) -> Cost:
    return run([python_of("litert"), _PROGRAMS / "litert_torch_once.py", f"{name}.pt", target], folder)


def onnx2tf(folder: Path, name: str, target: Path, *options: str, made: str = "float32") -> Cost:
    """Whatever else it writes besides `made` cannot be switched off: float16, and four kinds of int8."""
    program = python_of("onnx2tf").with_name("onnx2tf")
    try:
        cost = run([program, "-i", f"{name}.onnx", "-o", target.stem, "-n", *options], folder)
        shutil.move(folder / target.stem / f"{name}_{made}.tflite", target)
    finally:
        shutil.rmtree(folder / target.stem, ignore_errors=True)
    return cost


def onnx2tf_quantised(folder: Path, name: str, target: Path, *options: str) -> Cost:
    return onnx2tf(folder, f"{name}.int8", target, *options)


def onnx2tf_calibrating(folder: Path, name: str, target: Path, *options: str) -> Cost:
    """The images are normalised already, so their mean is 0 and their deviation 1."""
    images = ("-cind", INPUT, "calibration_nhwc.npy", "[[[[0,0,0]]]]", "[[[[1,1,1]]]]")
    return onnx2tf(folder, name, target, "-oiqt", *options, *images, made="full_integer_quant")


def litert_quantizer(folder: Path, name: str, target: Path) -> Cost:
    """From litert-torch's float model, which is there already; the costs are the quantisation's alone."""
    source = folder / f"{name}.litert-torch.tflite"
    if not source.exists():
        raise RuntimeError("litert-torch made no float model of it")
    program = _PROGRAMS / "litert_quantizer_once.py"
    return run([python_of("quantizer"), program, source, "calibration.npy", target], folder)


_UNSIMPLIFIED = "-nuo"
"""Leaves out the simplifier, which is the one part of its work that can be left out."""

FLOAT: dict[str, Contestant] = {
    OURS: edgepress,
    "litert-torch": litert_torch,
    ONNX2TF: onnx2tf,
    f"{ONNX2TF} -nuo": lambda *task: onnx2tf(*task, _UNSIMPLIFIED),
    "onnx-tf": onnx_tf,
}
INT8: dict[str, Contestant] = {
    OURS: edgepress_quantised,
    CALIBRATING: edgepress_calibrating,
    "litert-quantizer": litert_quantizer,
    ONNX2TF: onnx2tf_quantised,
    f"{ONNX2TF} -nuo": lambda *task: onnx2tf_quantised(*task, _UNSIMPLIFIED),
    f"{ONNX2TF} -oiqt": onnx2tf_calibrating,
    f"{ONNX2TF} -oiqt -qt per-tensor": lambda *task: onnx2tf_calibrating(*task, "-qt", "per-tensor"),
}
