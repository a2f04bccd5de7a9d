"""The peers' environments, apart from this project's, since their pins contradict it and each other."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(".bench")

PINS = {
    "litert": (
        "litert-torch==0.10.0",
        "ai-edge-quantizer==0.10.0",
        "torch==2.13.0",
        "torchvision==0.28.0",
        "timm==1.0.31",
    ),
    "onnx2tf": ("onnx2tf==1.29.24",),
}
"""What is installed, by version alone; the rest is what pip finds to go with it."""


def python_of(name: str) -> Path:
    """The environment's Python, installed first if it is not there yet.

    Raises:
        RuntimeError: pip failed; the message has its last line.
    """
    folder, pins = FOLDER / name, "\n".join(PINS[name])
    done, python = folder / ".installed", (folder / "bin/python").absolute()
    if done.exists() and done.read_text(encoding="utf-8") == pins:
        return python
    print(f"installing {', '.join(PINS[name])} into {folder}, once", file=sys.stderr, flush=True)
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINS[name])
    done.write_text(pins, encoding="utf-8")
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RuntimeError(f"it cannot be installed: {lines[-1] if lines else done.returncode}")
