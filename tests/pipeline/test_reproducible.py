"""The same seed and threads give the same files, bit for bit, and nothing but the declared ones."""

import json
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from tests.pipeline.project import STAGES, Project, stages_run
from tests.repo.closure import says_nothing

every_stage = pytest.mark.parametrize("stage", STAGES)


def test_a_fresh_clone_gives_the_same_hashes(ran: Project, fresh: Project) -> None:
    assert stages_run(fresh.dvc("repro")) == STAGES
    assert fresh.repeatable_hashes() == ran.repeatable_hashes()


def test_models_say_what_they_are_and_what_made_them(ran: Project) -> None:
    model = onnx.load(ran.folder / "models" / "quantize" / "model.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert {"data", "model", "train", "seed", "quantize"} <= json.loads(told["made_by"]).keys()
    assert json.loads(told["labels"]) == [str(digit) for digit in range(10)]
    with zipfile.ZipFile(ran.folder / "models" / "convert-tflite" / "model.tflite") as behind:
        assert behind.read("labels.txt").split() == [b"%d" % digit for digit in range(10)]


def test_a_run_leaves_only_declared_files(ran: Project) -> None:
    tracked = set(ran.git("ls-files").stdout.splitlines())
    strangers = {file for file in ran.files() - tracked if not _is_under(file, ran.hashes())}
    assert strangers == set()


@every_stage
def test_a_stage_reads_nothing_that_it_does_not_declare(
    observed: dict[str, Any], ran: Project, stage: str
) -> None:
    declared = yaml.safe_load(ran.read("dvc.lock"))["stages"][stage]
    paths = [entry["path"] for kind in ("deps", "outs") for entry in declared.get(kind, [])]
    read = {_source(path) for path in observed[stage]["opened"]} - {"params.yaml"}
    undeclared = {path for path in read if not (_is_under(path, paths) or _holds(path, paths))}
    assert f"stages/{stage.replace('-', '_')}.py" in read
    assert {path for path in undeclared if not (_is_temporary(path) or _is_docstring(path))} == set()


@pytest.mark.parametrize("stage", ["evaluate-on-device", "quantize", "rehearse"])
def test_a_stage_imports_no_framework_that_it_does_not_need(observed: dict[str, Any], stage: str) -> None:
    imported = set(observed[stage]["imported"])
    needless = {"tensorflow", "tf_keras", "keras"} | ({"torch"} if stage != "rehearse" else set())
    assert not imported & needless
    assert "numpy" in imported


def _source(path: str) -> str:
    """The source of a compiled module, and other paths as they are."""
    folder, _, name = path.rpartition("__pycache__/")
    return f"{folder}{name.split('.')[0]}.py" if folder else path


def _is_under(path: str, declared: Any) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in declared)


def _is_docstring(path: str) -> bool:
    return path.endswith(".py") and says_nothing(".".join(Path(path).with_suffix("").parts))


def _is_temporary(path: str) -> bool:
    """A file or folder that was written under another name first."""
    return any(part.startswith(".") for part in Path(path).parts)


def _holds(folder: str, declared: Any) -> bool:
    """A folder of what is declared, which was opened to bring its names to the disk."""
    return any(path.startswith(f"{folder}/") for path in declared)
