"""The folder of a project in which all but the last stage have run, and that stage."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edgepress.datasets.prepared import Description, Split, save_description, save_split
from edgepress.report.results import STAGES

ROOT = Path(__file__).resolve().parents[1]


def make_project(folder: Path, small_models: Path, device: dict[str, Any]) -> Path:
    """Small models where the stages put theirs, their images as the test split, and a section `device`."""
    images = np.load(small_models / "images.npy")
    save_split(folder / "data/prepared/test", Split(images, np.arange(len(images)) % 5))
    names = tuple("abcde")
    description = Description("random", (3, 8, 6), names, (0, 255), (0,) * 3, (1,) * 3, {"test": 40}, "", "")
    save_description(folder / "data/prepared/description.json", description)
    for source, target in {
        "int8.tflite": "convert-tflite/model.tflite",
        "float.tflite": "convert-tflite/baseline.tflite",
        "int8.onnx": "quantize/model.onnx",
        "float.onnx": "export-onnx/model.onnx",
    }.items():
        (folder / "models" / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(small_models / source, folder / "models" / target)
    note = {"converter": "nhwc", "reason": "", "orders": {"input": [0, 2, 3, 1], "logits": [0, 1]}}
    (folder / "models/convert-tflite/conversion.json").write_text(json.dumps(note))
    (folder / "params.yaml").write_text(yaml.safe_dump({"device": device}, sort_keys=False))
    return folder


def add_stages(project: Path) -> None:
    """The metrics of the stages before, which results are shown with."""
    metrics = {"accuracy": 0.9, "size_bytes": 1, "size_gzip_bytes": 1, "parameters": 1}
    for stage in STAGES:
        (project / f"metrics/{stage}.json").write_text(json.dumps(metrics))


def run_stage(project: Path, then: str = "") -> "subprocess.CompletedProcess[str]":
    """Run evaluate-on-device there; `then` is run afterwards in its process."""
    stage = "from edgepress.boundary import run_stage; from stages.evaluate_on_device import main"
    code = f"{stage}; run_stage(main)\n{then}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True
    )
