"""The program that devices run: its protocol, its arithmetic and what it does not import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.devices.host import program_file
from edgepress.devices.local import environment
from edgepress.devices.program.answers import RequestError
from edgepress.devices.program.session import RUNTIMES
from edgepress.devices.program.tensors import Tensor, axes, to_model_type


def ask(*requests: dict[str, object], text: str = "") -> list[dict[str, object]]:
    """Start the program, send the requests, and return its answers."""
    lines = text + "".join(json.dumps(request) + "\n" for request in requests)
    command = [sys.executable, "-I", str(program_file())]
    done = subprocess.run(
        command, input=lines, capture_output=True, text=True, env=environment(1), timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def loaded(folder: Path, model: str, runtime: str) -> list[dict[str, object]]:
    return [
        {"do": "start", "runtime": runtime},
        {"do": "load", "model": str(folder / model), "threads": 1},
        {"do": "inputs", "files": {"input": str(folder / "images.npy")}},
    ]


def test_it_loads_times_and_predicts(small_models, tmp_path):
    target = tmp_path / "outputs.npy"
    answers = ask(
        *loaded(small_models, "int8.tflite", "tflite"),
        {"do": "time", "runs": 7},
        {"do": "stats"},
        {"do": "predict", "outputs": [str(target)]},
        {"do": "quit"},
    )
    start, load, inputs, times, stats, predict, end = answers
    assert [inputs, predict, end] == [{"samples": 40}, {"predicted": 40, "samples": 40}, {}]
    assert start["pid"] > 0
    assert load["outputs"][0]["dtype"] == "int8"
    assert load["outputs"][0]["scale"] > 0
    assert len(times["durations_ns"]) == 7
    assert stats["idle_memory_bytes"] <= stats["peak_memory_bytes"]
    outputs = np.load(target)
    assert (outputs.dtype, outputs.shape) == (np.int8, (40, 5))


def test_it_predicts_in_parts(small_models, tmp_path):
    whole, part, rest = (tmp_path / f"{name}.npy" for name in ("whole", "part", "rest"))
    *_, one, others = ask(
        *loaded(small_models, "int8.tflite", "tflite"),
        {"do": "predict", "outputs": [str(whole)]},
        {"do": "predict", "outputs": [str(part)], "seconds": 0},
        {"do": "predict", "outputs": [str(rest)], "first": 1},
    )
    assert (one["predicted"], others["predicted"]) == (1, 39)
    np.testing.assert_array_equal(np.concatenate([np.load(part), np.load(rest)]), np.load(whole))


def test_its_file_is_the_same_in_every_process():
    code = "from edgepress.devices.host import program_file; print(program_file().read_bytes().hex())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert bytes.fromhex(done.stdout) == program_file().read_bytes()


def test_it_can_be_asked_what_a_machine_is_where_numpy_is_absent(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')\n")
    code = f"""if True:
        import runpy, sys
        sys.path.insert(0, {str(tmp_path)!r})
        runpy.run_path(sys.argv[1], run_name="__main__")
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(program_file())],
        input='{"do": "probe"}\n{"do": "start", "runtime": "tflite"}\n',
        capture_output=True,
        text=True,
        check=True,
    )
    probe, start = map(json.loads, done.stdout.splitlines())
    assert probe["machine"]["cores"] == os.cpu_count()
    assert probe["packages"]["onnxruntime"] == onnxruntime.__version__
    assert probe["disk_free_bytes"] > 0
    assert len(probe["machine"]["fingerprint"]) == 12
    assert start == {"error": "numpy cannot be imported: no numpy here", "kind": "runtime"}


def test_a_float_output_made_of_codes_tells_their_scale(small_models):
    own = ask(*loaded(small_models, "int8.tflite", "tflite"))[1]["outputs"][0]
    dequantised = ask(*loaded(small_models, "int8_float_io.tflite", "tflite"))[1]["outputs"][0]
    assert dequantised == {**own, "dtype": "float32"}


def test_errors_are_answers_and_the_program_lives_on(small_models):
    answers = ask(
        {"do": "time", "runs": 1},
        {"do": "start", "runtime": "abacus"},
        {"do": "dance"},
        {"do": "load", "model": str(small_models / "int8.tflite"), "threads": 1},
        {"do": "start", "runtime": "tflite"},
        {"do": "load", "model": str(small_models / "images.npy"), "threads": 1},
        *loaded(small_models, "float.tflite", "tflite"),
        text="not json\n",
    )
    assert "JSONDecodeError" in answers[0]["error"]
    assert answers[1] == {"error": "no model is loaded", "kind": "request"}
    assert answers[2]["error"] == "runtime is 'abacus'; expected one of: tflite, onnxruntime"
    assert answers[3]["kind"] == "request"
    assert answers[4] == {"error": "load before start", "kind": "request"}
    assert answers[6]["kind"] == "model"
    assert answers[-1] == {"samples": 40}


@pytest.mark.parametrize(("runtime", "model"), [("tflite", "int8.tflite"), ("onnxruntime", "int8.onnx")])
def test_it_imports_neither_a_framework_nor_this_project(small_models, tmp_path, runtime, model):
    requests = [
        *loaded(small_models, model, runtime),
        {"do": "predict", "outputs": [str(tmp_path / "o.npy")]},
    ]
    code = (
        "import json, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from edgepress.devices.program import serve, session\n"
        "own = session.Session()\n"
        "for line in sys.stdin: assert 'error' not in serve.answer(own, line)\n"
        "print(json.dumps({name: getattr(each, '__file__', '') for name, each in sys.modules.items()}))\n"
        "print(open('/proc/self/maps').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(program_file())],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
    )
    modules, maps = done.stdout.split("\n", 1)
    files = json.loads(modules)
    imported = {name.split(".")[0] for name in files}
    assert RUNTIMES[runtime].module.split(".")[0] in imported
    assert not imported & {"torch", "tensorflow", "tf_keras", "keras", "sklearn", "onnx"}
    ours = {name: file for name, file in files.items() if name.split(".")[0] == "edgepress"}
    assert all(file.startswith(f"{program_file()}/edgepress/") for file in ours.values())
    assert {name.split(".")[2] for name in ours if name.count(".") > 1} == {"program"}
    assert not [line for line in maps.splitlines() if "/torch/" in line or "/tensorflow/" in line]


NHWC = (1, 2, 0)


@pytest.mark.parametrize(
    ("layout", "sample", "dims", "expected"),
    [
        ("auto", (3, 8, 6), [1, 3, 8, 6], (0, 1, 2)),
        ("auto", (3, 8, 6), [1, 8, 6, 3], NHWC),
        ("NHWC", (3, 8, 6), [1, 8, 6, 3], NHWC),
        ("NCHW", (3, 8, 6), [None, 3, None, None], (0, 1, 2)),
        ("auto", (8, 8, 6), [1, 8, 6, 8], NHWC),  # channels as long as the height
        ("auto", (8, 8, 6), [1, 8, 8, 6], (0, 1, 2)),
        ("NHWC", (4, 4, 4), [1, 4, 4, 4], NHWC),
        ("NCHW", (4, 4, 4), [1, 4, 4, 4], (0, 1, 2)),
        ("auto", (1, 1, 1), [1, 1, 1, 1], (0, 1, 2)),
        ("auto", (20,), [1, 20], (0,)),
    ],
)
def test_axes_map_samples_to_the_model(layout, sample, dims, expected):
    assert axes(layout, sample, dims) == expected


@pytest.mark.parametrize(
    ("layout", "sample", "dims", "message"),
    [
        ("auto", (4, 4, 4), [1, 4, 4, 4], "both layouts fit, so the layout must be given"),
        (
            "NCHW",
            (3, 8, 6),
            [1, 8, 6, 3],
            r"the model takes \(1, 8, 6, 3\) and the samples are \(N, 3, 8, 6\)",
        ),
        ("auto", (3, 8, 6), [1, 6, 8, 3], "these do not fit"),
        ("auto", (3, 8, 6), [2, 3, 8, 6], "these do not fit"),
        ("auto", (20,), [1, 20, 1], "these do not fit"),
    ],
)
def test_axes_that_do_not_fit_are_refused(layout, sample, dims, message):
    with pytest.raises(RequestError, match=message):
        axes(layout, sample, dims)


def test_codes_are_rounded_half_to_even_and_clipped():
    tensor = Tensor([1, 6], "int8", 2.0, -3)
    values = np.array([[1, 3, 5, -1000, 1000, 0]], np.int64)
    codes = to_model_type(values, tensor)
    assert codes.dtype == np.int8
    assert codes.tolist() == [[-3, -1, -1, -128, 127, -3]]


@pytest.fixture(scope="module")
def quantize_linear() -> onnxruntime.InferenceSession:
    """ONNX Runtime's QuantizeLinear, with scale and zero point as inputs."""
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["y"])
    inputs = [value("x", 1, ["n"]), value("scale", 1, []), value("zero_point", 3, [])]
    graph = onnx.helper.make_graph([node], "q", inputs, [value("y", 3, ["n"])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.floats(0.01, 4), st.integers(-128, 127))
def test_codes_are_those_of_onnx_quantize_linear(quantize_linear, pixels, scale, zero_point):
    codes = to_model_type(np.array(pixels, np.uint8), Tensor([1], "int8", scale, zero_point))
    scalars = {"scale": np.array(scale, np.float32), "zero_point": np.array(zero_point, np.int8)}
    expected = quantize_linear.run(None, {"x": np.array(pixels, np.float32), **scalars})[0]
    np.testing.assert_array_equal(codes, expected)


def test_quantised_input_without_scale_is_refused():
    with pytest.raises(RequestError, match="its int8 input has no scale"):
        to_model_type(np.zeros((1, 2)), Tensor([1, 2], "int8", None, None))
