"""`edgepress convert` and `edgepress inspect` as a user starts them: results, mistakes, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepress.errors import ConversionError
from edgepress.standalone.convert import convert
from edgepress.standalone.request import Request
from tests.networks import Graph, run_onnx, run_tflite, task
from tests.networks import network as task_network
from tests.repo.closure import ROOT

IMPORTTIME = "import sys, edgepress.cli; print(*[m for m in sys.modules if '.' not in m])"


def edgepress(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, run in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "edgepress.cli", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A float model of five classes, and inputs for it in each form."""
    path = tmp_path_factory.mktemp("files")
    onnx.save(task_network(), path / "model.onnx")
    images = task(40, seed=5).x
    np.savez(path / "named.npz", x=images, y=np.zeros(40))
    np.save(path / "plain.npy", images)
    (path / "inputs").mkdir()
    for i, image in enumerate(images):
        np.save(path / "inputs" / f"{i:02}.npy", image)
    np.save(path / "nhwc.npy", np.moveaxis(images, 1, -1))
    np.save(path / "nan.npy", np.full_like(images, np.nan, np.float32))
    np.save(path / "objects.npy", np.array([{}, {}]))
    np.savez(path / "two.npz", a=images, b=images)
    (path / "broken.npz").write_bytes((path / "named.npz").read_bytes()[:100])
    (path / "empty").mkdir()
    (path / "cut.onnx").write_bytes((path / "model.onnx").read_bytes()[:500])
    return path


def differences(path: Path, tflite: Path, images: np.ndarray) -> np.ndarray:
    """Relative to the range of the outputs."""
    expected = run_onnx(onnx.load(path), images)
    actual, _ = run_tflite(tflite.read_bytes(), images)
    return np.abs(actual - expected) / np.ptp(expected)


def test_a_float_model_is_converted_and_compared(folder):
    done = edgepress(folder, "convert", "model.onnx", "-o", "float.tflite", "--check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("float.tflite: nhwc, float32, ")
    assert "32 inputs drawn uniformly from [0, 1)" in done.stdout
    assert "CONV_2D" in done.stdout
    assert done.stderr.splitlines()[0] == "reading model.onnx"
    assert differences(folder / "model.onnx", folder / "float.tflite", task(8).inputs()).max() < 1e-5


@pytest.mark.parametrize("calibration", ["named.npz", "plain.npy", "inputs"])
def test_int8_takes_real_inputs_in_each_form_to_the_same_bytes(folder, calibration):
    target = folder / f"{calibration}.tflite"
    done = edgepress(
        folder,
        "convert",
        "model.onnx",
        "-o",
        target,
        "--quant",
        "int8",
        "--calibration",
        calibration,
        "--check",
    )
    assert done.returncode == 0, done.stderr
    assert f"32 inputs of {calibration}" in done.stdout
    assert ": nhwc, int8, " in done.stdout
    assert differences(folder / "model.onnx", target, task(64).inputs()).mean() < 0.01
    first = folder / "named.npz.tflite"
    assert not first.exists() or target.read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    ("options", "form", "tolerance"),
    [
        (["--quant", "fp16"], "nhwc, fp16", 1e-2),
        (["--converter", "onnx_tf"], "onnx_tf, float32", 1e-5),
    ],
)
def test_other_formats_and_the_other_converter(folder, options, form, tolerance):
    done = edgepress(folder, "convert", "model.onnx", "-o", "other.tflite", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"other.tflite: {form}, ")
    moved = [] if "onnx_tf" in form else ["  input input has its channels last: the file's axes 0, 2, 3, 1"]
    moved = ["  weights float16, dequantised at run time", *moved] if "fp16" in form else moved
    assert done.stdout.splitlines()[1:] == moved
    assert differences(folder / "model.onnx", folder / "other.tflite", task(8).inputs()).max() < tolerance


def test_dynamic(folder):
    graph = Graph(64)
    graph.add("MatMul", "input", graph.weights(64, 64))  # TensorFlow leaves smaller kernels float
    onnx.save(graph.model(), folder / "matrix.onnx")
    done = edgepress(folder, "convert", "matrix.onnx", "-o", "matrix.tflite", "--quant", "dynamic", "--check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("matrix.tflite: nhwc, dynamic, ")
    assert "compared with the same as dynamic in ONNX:\n  matmul_0_out: " in done.stdout


def test_outputs_that_are_no_classes_are_compared_too(folder):
    graph = Graph(2, 8, 8)
    graph.add("Conv", "input", graph.weights(4, 2, 3, 3), name="conv")
    onnx.save(graph.model(), folder / "image.onnx")
    done = edgepress(folder, "convert", "image.onnx", "-o", "image.tflite", "--check")
    assert done.returncode == 0, done.stderr
    assert "largest difference" in done.stdout
    assert "same class" not in done.stdout


MISTAKES = {
    "int8 without inputs": (["--quant", "int8"], "add --calibration with a .npz"),
    "no calibration there": (["--quant", "int8", "--calibration", "absent.npz"], "which is not there"),
    "channels last": (["--quant", "int8", "--calibration", "nhwc.npy"], "(n, 2, 8, 8), channels first"),
    "not finite": (["--quant", "int8", "--calibration", "nan.npy"], "holds NaN or infinity"),
    "objects": (["--quant", "int8", "--calibration", "objects.npy"], "not a numpy file of numbers"),
    "cut": (["--quant", "int8", "--calibration", "broken.npz"], "broken.npz is corrupt"),
    "ambiguous": (["--quant", "int8", "--calibration", "two.npz"], "expected one named x"),
    "empty folder": (["--quant", "int8", "--calibration", "empty"], "holds no .npy file"),
    "other file": (["--quant", "int8", "--calibration", "model.onnx"], "expected a .npz, a .npy or a folder"),
    "int8 ends": (["--io-dtype", "int8"], "--io-dtype is int8 but the network is float32; add --quant int8"),
    "name": (["-o", "model.onnx"], "expected a name ending in .tflite"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_line_and_no_file(folder, mistake):
    options, message = MISTAKES[mistake]
    before = sorted(os.listdir(folder))
    done = edgepress(folder, "convert", "model.onnx", "-o", "mistake.tflite", *options)
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert done.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in done.stderr and "dvc repro" not in done.stderr
    assert sorted(os.listdir(folder)) == before


def unsupported(folder: Path) -> None:
    graph = Graph(4)
    graph.add("RandomUniformLike", "input", name="chance")
    onnx.save(graph.model(), folder / "unsupported.onnx")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("absent.onnx", "cannot read absent.onnx"),
        ("cut.onnx", "cut.onnx is truncated"),
        ("named.npz", "named.npz is truncated or not an ONNX model"),
        (
            "unsupported.onnx",
            "cannot take node 'chance' (RandomUniformLike): it has no translation. Change the",
        ),
    ],
)
def test_a_model_that_cannot_be_converted_gives_one_line(folder, model, message):
    unsupported(folder)
    done = edgepress(folder, "convert", model, "-o", "mistake.tflite")
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (folder / "mistake.tflite").exists()


def test_what_no_pass_expected_is_told_in_one_line(folder, monkeypatch):
    def stumble(*_: object, **__: object) -> None:
        raise KeyError("a form that nobody thought of")

    monkeypatch.setattr("edgepress.standalone.convert.convert_single", stumble)
    graph = Graph(4)
    graph.add("Relu", "input")
    onnx.save(graph.model(), folder / "odd.onnx")
    with pytest.raises(ConversionError, match=r"nhwc converter cannot take .*odd\.onnx \(KeyError"):
        convert(Request(folder / "odd.onnx", folder / "odd.tflite"), print)
    assert not (folder / "odd.tflite").exists()


def test_a_quantised_model_is_not_quantised_again(folder, small_models):
    arguments = ["-o", "mistake.tflite", "--quant", "fp16"]
    done = edgepress(folder, "convert", small_models / "int8.onnx", *arguments)
    assert done.returncode == 1
    assert "is int8 already; use --quant none" in done.stderr


def test_inspect_prints_text_or_json(small_models):
    done = edgepress(small_models, "inspect", "int8.tflite")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("int8.tflite: TFLite, int8\n")
    told = json.loads(edgepress(small_models, "inspect", "float.onnx", "--json").stdout)
    assert told["op_counts"]["Conv"] == 2


def test_inspect_reports_a_mistake_in_one_line(folder):
    done = edgepress(folder, "inspect", "cut.onnx")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: cut.onnx is truncated")


def test_usage_errors_keep_argparses_status(folder):
    assert edgepress(folder, "convert", "model.onnx").returncode == 2
    assert edgepress(folder, "convert", "model.onnx", "-o", "a.tflite", "--quant", "int4").returncode == 2


def test_help_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTTIME], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "onnx", "onnxruntime", "tensorflow", "torch", "hydra"} & set(done.stdout.split())
