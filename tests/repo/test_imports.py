"""No framework is imported before it is needed, and none at all by a stage that is switched off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.artifacts import MODEL_METRICS
from edgepress.config.composition import compose
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
