"""No framework is imported before it is needed, and none at all by a stage that is switched off."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepress.artifacts import MODEL_METRICS
from edgepress.config.composition import compose
from edgepress.config.quant import Calibration, Int8
from edgepress.convert.nhwc import convert
from edgepress.datasets.prepared import save_split
from edgepress.graph.normalise.normalise import normalise
from tests.networks import network, quantise, task
from tests.repo.closure import ROOT

STAGES = sorted(file.stem for file in (ROOT / "stages").glob("*.py") if file.stem != "__init__")
FRAMEWORKS = ["torch", "tensorflow", "tf_keras", "keras", "tensorflow_model_optimization", "onnx_tf"]
RUNTIMES = ["onnx", "onnxruntime", "ai_edge_litert", "sklearn", "numpy"]
OFF = {
    "prune": ("prune=none", "export-onnx"),
    "cluster": ("cluster=none", "prune"),
    "quantize": ("quant=none", "cluster"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_importing_a_stage_imports_no_framework(stage: str) -> None:
    assert not _imported_by(f"import stages.{stage}", ROOT) & set(FRAMEWORKS)


@pytest.mark.parametrize("stage", OFF)
def test_a_stage_switched_off_imports_nothing_heavy_and_passes_its_input_through(
    stage: str, tmp_path: Path
) -> None:
    choice, source = OFF[stage]
    metrics = {**dict.fromkeys(MODEL_METRICS, 0.5), "max_abs_diff": 1.0}
    _make_project(tmp_path, choice, source, metrics)
    run = f"import runpy; runpy.run_module('stages.{stage}', run_name='__main__')"
    assert not _imported_by(run, tmp_path) & {*FRAMEWORKS, *RUNTIMES}
    assert (tmp_path / f"models/{stage}/model.onnx").read_bytes() == b"a model"
    assert json.loads((tmp_path / f"metrics/{stage}.json").read_text()) == dict.fromkeys(MODEL_METRICS, 0.5)


INT8 = Int8(per_channel=True, calibration=Calibration("minmax", 20, 2048, 99.99))
SINGLE = {
    "float32": ("convert", "model.onnx", "-o", "made.tflite"),
    "int8": ("convert", "int8.onnx", "-o", "made.tflite"),
    "inspect .onnx": ("inspect", "model.onnx"),
    "inspect .tflite": ("inspect", "model.tflite"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network as ONNX, as int8 in ONNX, and as `.tflite`."""
    folder, model = tmp_path_factory.mktemp("files"), normalise(network())
    onnx.save(model, folder / "model.onnx")
    onnx.save(quantise(model, INT8), folder / "int8.onnx")
    convert(model, False, np.zeros(0, np.float32)).save(folder / "model.tflite")
    return folder


@pytest.mark.parametrize("command", SINGLE)
def test_converting_and_inspecting_a_file_imports_what_it_needs(command: str, files: Path) -> None:
    ran = f"main({SINGLE[command]!r}) == 0 and gc.isenabled()"
    run = f"import gc; from edgepress.cli import main; assert {ran}"
    others = {"onnxruntime", "scipy", "sklearn", "yaml", "hydra", "omegaconf", "PIL"}
    imported = _imported_by(run, files)
    assert not imported & {*FRAMEWORKS, *others}
    assert "numpy" in imported


def test_the_default_converter_as_a_stage_imports_no_framework(files: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(compose([], ROOT / "conf"))
    for stage, model in (("quantize", "int8.onnx"), ("export-onnx", "model.onnx")):
        (tmp_path / "models" / stage).mkdir(parents=True)
        shutil.copy(files / model, tmp_path / "models" / stage / "model.onnx")
    for split in ("calibration", "validation"):
        save_split(tmp_path / "data/prepared" / split, task(20))
    run = "import runpy; runpy.run_module('stages.convert_tflite', run_name='__main__')"
    assert not _imported_by(run, tmp_path) & {*FRAMEWORKS, "onnxruntime"}
    assert (tmp_path / "models/convert-tflite/model.tflite").stat().st_size > 1000


def _make_project(folder: Path, choice: str, source: str, metrics: dict[str, float]) -> None:
    (folder / "params.yaml").write_text(compose([choice], ROOT / "conf"))
    (folder / "models" / source).mkdir(parents=True)
    (folder / "models" / source / "model.onnx").write_bytes(b"a model")
    (folder / "metrics").mkdir()
    (folder / "metrics" / f"{source}.json").write_text(json.dumps(metrics))


def _imported_by(code: str, folder: Path) -> set[str]:
    """The top-level modules that a fresh process in `folder` has imported after `code`."""
    report = "import sys; print('\\n' + ' '.join(m for m in sys.modules if '.' not in m))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())
