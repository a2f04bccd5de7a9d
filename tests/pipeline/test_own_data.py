"""Data that the user brings: through the whole pipeline, an edit noticed, and CIFAR-10 in little memory."""

import json
import os
import re
import resource
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.config.composition import compose
from tests.pipeline.project import (
    BEFORE_ANY_RUN,
    ROOT,
    STAGES,
    Project,
    clone_project,
    error_lines,
    stages_run,
)

CIFAR10 = "EDGEPRESS_CIFAR10"
SMALL = ["data.size=12", "data.channels=3", "data.splits.calibration=32"]
LEARNS = ["train.epochs=20", "train.batch_size=16", "train.learning_rate=0.01"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder outside the project: 100 photographs of the day and 100 of the night, of several forms."""
    random = np.random.default_rng(0)
    for number in range(200):
        name, brightness = ("day", 180) if number % 2 else ("night", 60)
        pixels = np.clip(random.normal(brightness, 20, (20, 30, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(pixels if number % 3 else pixels[..., 0])
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "photos" / name / f"{number}.{'png' if number % 5 else 'jpg'}")
    return tmp_path / "photos"


def test_images_go_through_the_whole_pipeline(ran: Project, photos: Path, tmp_path: Path) -> None:
    project = _composed(ran, tmp_path, "data=image_folder", f"data.path={photos}", *SMALL, *LEARNS)
    assert stages_run(project.dvc("repro")) == STAGES
    description = json.loads(project.read("data/prepared/description.json"))
    assert description["class_names"] == ["day", "night"]
    assert description["input_shape"] == [3, 12, 12]
    assert sum(description["samples"].values()) == 200
    assert json.loads(project.read("metrics/accuracy.json"))["tflite"]["accuracy"] > 0.9
    assert stages_run(project.dvc("repro")) == []

    (photos / "day" / "1.png").unlink()
    assert stages_run(project.dvc("repro", "prepare-data")) == ["prepare-data"]
    (photos / "day" / "3.png").write_bytes(b"no image")
    result = project.dvc("repro", check=False)
    assert result.returncode != 0
    (line,) = error_lines(result)
    assert line.startswith(
        f"error: 1 of 199 images in {photos} cannot be read: day/3.png (not an image); repair"
    )


def test_a_full_disk_is_named(ran: Project, photos: Path, tmp_path: Path) -> None:
    project = _composed(ran, tmp_path, "data=image_folder", f"data.path={photos}", *SMALL)
    before = project.files()
    result = project.stage("prepare_data", before=_fill_disk)
    assert result.returncode == 1
    assert (
        result.stderr == "error: cannot write data/prepared: File too large; free some space and run again\n"
    )
    assert project.files() == before


def test_an_edit_of_a_zip_prepares_anew(ran: Project, photos: Path, tmp_path: Path) -> None:
    project = _composed(ran, tmp_path, "data=image_folder", "data.path=photos.zip", *SMALL)
    _pack(photos, project.folder / "photos.zip")
    assert stages_run(project.dvc("repro", "prepare-data")) == ["check-params", "prepare-data"]
    assert stages_run(project.dvc("repro", "prepare-data")) == []
    before = project.hashes()
    next((photos / "day").iterdir()).unlink()
    _pack(photos, project.folder / "photos.zip")
    assert stages_run(project.dvc("repro", "prepare-data")) == ["prepare-data"]
    assert project.hashes() != before


def test_vectors_in_an_npz_file_go_through_the_whole_pipeline(ran: Project, tmp_path: Path) -> None:
    y = np.arange(300) % 3
    x = np.random.default_rng(0).normal(0, 1, (300, 7)) + np.eye(3)[y].repeat([3, 2, 2], axis=1) * 4
    np.savez(tmp_path / "vectors.npz", x=x, y=y)
    path = f"data.path={tmp_path / 'vectors.npz'}"
    project = _composed(ran, tmp_path, "data=npz", path, "data.layout=nf", "model=mlp", *LEARNS)
    assert stages_run(project.dvc("repro")) == STAGES
    assert json.loads(project.read("data/prepared/description.json"))["input_shape"] == [7, 1, 1]
    assert json.loads(project.read("metrics/accuracy.json"))["tflite"]["accuracy"] > 0.9


@pytest.mark.skipif(CIFAR10 not in os.environ, reason=f"{CIFAR10} does not name a zip of CIFAR-10's images")
def test_cifar10_is_prepared_in_less_memory_than_its_images_take(tmp_path: Path) -> None:
    peak_bytes = _peak_of_preparing(tmp_path, "data=image_folder", f"data.path={os.environ[CIFAR10]}")
    assert peak_bytes < 60_000 * 3 * 32 * 32
    description: dict[str, Any] = json.loads((tmp_path / "data/prepared/description.json").read_text())
    assert description["samples"] == {"test": 10_000, "validation": 7500, "calibration": 128, "train": 42_372}
    assert len(description["class_names"]) == 10


def test_arrays_are_held_once(tmp_path: Path) -> None:
    x = np.zeros((60_000, 64, 64), np.uint8)
    x.reshape(len(x), -1).view(np.uint32)[:, 0] = np.arange(len(x))  # none a copy of another
    np.savez_compressed(tmp_path / "large.npz", x=x, y=np.arange(len(x)) % 2)
    path = f"data.path={tmp_path / 'large.npz'}"
    assert x.nbytes < _peak_of_preparing(tmp_path, "data=npz", path, "data.layout=nhw") < 1.6 * x.nbytes


def _peak_of_preparing(folder: Path, *overrides: str) -> int:
    """The most memory that `prepare-data`, run in `folder`, had at once, in bytes."""
    (folder / "params.yaml").write_text(compose(overrides, ROOT / "conf"))
    program = (
        "import runpy; runpy.run_module('stages.prepare_data', run_name='__main__'); "
        "print(open('/proc/self/status').read())"
    )
    done = Project(folder, {"PYTHONPATH": str(ROOT)}).run(sys.executable, "-c", program)
    peak_kib = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert peak_kib is not None
    return int(peak_kib[1]) * 1024


def _composed(ran: Project, folder: Path, *overrides: str) -> Project:
    """A project in which nothing was run yet, with these choices."""
    project = clone_project(ran, folder / "own", BEFORE_ANY_RUN)
    project.run("python", "-m", "edgepress.cli", "compose", *overrides)
    return project


def _fill_disk() -> None:
    """Let no file grow over a few images, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def _pack(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
