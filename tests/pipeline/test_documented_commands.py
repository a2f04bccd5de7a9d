"""Every command of the documents works: a shell runs each in a small project, in the order of the page.

What a command takes is there under the name that the document gives it.
"""

import os
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.pipeline.project import ROOT, Project, copy_project

DOCUMENTS = ("README.md", "docs/devices.md")
_LIMIT_S = 900

ELSEWHERE = {
    r"make (install|repro|test|check|bench.*|conformance|zoo)$": "tests/pipeline/test_make.py",
    r"git clone … && cd edgepress && make install": "tests/pipeline/test_caching.py",
    r"source \.venv/bin/activate": "tests/pipeline/test_make.py",
    r"pip install -e .*": "tests/repo/test_dependencies.py",
    r"edgepress device (setup|check) pi4": "tests/contracts/test_device_ssh.py",
    r"edgepress device setup qemu_aarch64": "tests/contracts/test_device_qemu.py",
    r"dvc exp run -S device=qemu_aarch64.*": "tests/pipeline/test_devices.py",
    r"adb push .*|dvc exp run -S device=adb .*": "tests/contracts/test_device_adb.py",
    r"dvc exp run -S 'device.energy=.*": "tests/unit/test_energy.py",
    r"dvc queue start -j 2|dvc exp run .*-S quant=int8_qat": "tests/pipeline/test_experiments.py",
    r"dvc exp run .*mobilenetv3_small_050": "tests/pipeline/test_own_model.py",
    r"dvc exp run -n onnx-tf .*": "tests/pipeline/test_promises.py",
}
"""What takes hardware, minutes or the internet, and the tests that do the same."""

SMALLER = {
    "for quant in none fp16 dynamic int8 int8_qat": "for quant in none",
    "fine_tune.epochs=24": "fine_tune.epochs=1",
    "quant=none,fp16,dynamic,int8,int8_qat": "quant=none,fp16",
    "range(0.5,0.95,0.1)": "range(0.5,0.65,0.1)",
    "sustained_s=300": "sustained_s=1",
    "data.size=224": "data.size=32",
    "s3://bucket/edgepress": "../remote",
    "/data/photos.zip": "$PWD/../photos.zip",
    "torchvision/resnet18": "torchvision/mobilenet_v3_small",
    "--baseline float.tflite": "--baseline baseline.tflite",
}
"""Parts of commands, and what is run instead."""

FIRST = {"edgepress profile": "edgepress compose && dvc repro && cp models/convert-tflite/*.tflite ."}
"""What the document supposes before a command: a pipeline that ran on a device with times."""

AS_FAR_AS = " rehearse"
"""Added where a command changes the network or the data: the stage that goes through all of them quickly."""

WHOLE, UNTRAINED = ("-S model=custom", "-S convert=onnx_tf"), " -S prune=none -S cluster=none"
"""Parts of commands that no other test takes to the end, and what is added to these."""


def _commands(document: str) -> list[str]:
    """Those of a document's shell blocks; a loop, or lines that go on, are one."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = list[str]()
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        lines = [re.sub(r" +# .*", "", line) for line in block.splitlines()]
        joined = re.sub(r"\\\n +", "", "\n".join(line for line in lines if not line.startswith("#")))
        found += re.findall(r"^for .*?^done$|^[^\n]+$", joined, flags=re.MULTILINE | re.DOTALL)
    return found


COMMANDS = [(document, command) for document in DOCUMENTS for command in _commands(document)]


def _covered(command: str) -> str | None:
    return next((test for pattern, test in ELSEWHERE.items() if re.fullmatch(pattern, command)), None)


HERE = [(document, command) for document, command in COMMANDS if _covered(command) is None]


def test_the_documents_hold_commands_and_other_tests_the_rest() -> None:
    assert len(HERE) > 40
    for pattern, test in ELSEWHERE.items():
        assert (ROOT / test).is_file()
        assert any(re.fullmatch(pattern, command) for _, command in COMMANDS), f"{pattern} is in no document"
    for part in SMALLER:
        assert any(part in command for _, command in COMMANDS), f"{part} is in no document"


@pytest.fixture(scope="module")
def documented(ran: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with what the documents' commands take."""
    folder = tmp_path_factory.mktemp("documented")
    project = copy_project(ran, folder / "project")
    _write_photos(project.folder / "photos")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for photo in (project.folder / "photos").rglob("*.png"):
            archive.write(photo, photo.relative_to(project.folder / "photos"))
    _write_arrays(project.folder)
    model = _classifier()
    for name in ("model.onnx", "net.onnx"):
        onnx.save(model, project.folder / name)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source = next(code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "my_net" in code)
    (project.folder / "my_net.py").write_text(source)
    return project


@pytest.mark.parametrize(
    ("document", "command"), HERE, ids=[" ".join(command.split()) for _, command in HERE]
)
def test_a_command_of_the_documents_works(documented: Project, document: str, command: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", _smaller(command)],
        cwd=documented.folder,
        env={
            **documented.variables,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/torchvision_declared")]),
        },
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
    )
    assert done.returncode == 0, f"{_smaller(command)}\n{done.stdout}\n{done.stderr}"


def _smaller(command: str) -> str:
    for part, instead in SMALLER.items():
        command = command.replace(part, instead)
    command = (
        next((f"{first} && " for start, first in FIRST.items() if command.startswith(start)), "") + command
    )
    if not re.search(r"-S (model|data)=", command):
        return command
    return command + (UNTRAINED if any(part in command for part in WHOLE) else AS_FAR_AS)


def _write_photos(folder: Path) -> None:
    """Three classes of forty photographs each: noise around a colour of the class."""
    random = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog", "owl")):
        (folder / name).mkdir(parents=True)
        for index in range(40):
            pixels = random.integers(0, 90, (48, 40, 3)) + np.eye(3, dtype=int)[number] * 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")


def _write_arrays(folder: Path) -> None:
    random = np.random.default_rng(1)
    classes = np.arange(120) % 3
    images = random.standard_normal((120, 32, 32, 3)).astype(np.float32) + classes[:, None, None, None]
    np.savez(folder / "my.npz", x=images, y=classes)
    np.savez(folder / "vectors.npz", x=images[:, 0, :, 0], y=classes)
    np.savez(folder / "inputs.npz", x=np.moveaxis(images, -1, 1))


def _classifier() -> onnx.ModelProto:
    """Three channels of 32 by 32 to three classes, of untrained weights."""
    random = np.random.default_rng(2)
    kernel = random.standard_normal((3, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["features"], pads=[1] * 4),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in (("input", (3, 32, 32)), ("logits", (3,)))
    ]
    graph = helper.make_graph(
        nodes, "classifier", ends[:1], ends[1:], [numpy_helper.from_array(kernel, "kernel")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
