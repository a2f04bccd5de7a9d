"""LiteRT's benchmark program on a phone, with stand-ins for `adb` and that program; see tests/phone.py."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.devices.phone_benchmark import Found, read
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.registry import open_device
from edgepress.errors import DeviceError
from tests.contracts.test_device import make_pair
from tests.last_stage import ROOT, add_stages, make_project, run_stage
from tests.phone import TIMING, StandIn, config, measure


def benchmark(phone: StandIn) -> dict[str, object]:
    return {"python": None, "benchmark": f"{phone.root}/benchmark_model"}


def test_the_benchmark_program_tells_times_and_no_outputs(own_phone, small_models):
    timing = dataclasses.replace(TIMING, sittings=3, rounds=5, warmup_s=0.5)
    kernels = dataclasses.replace(XNNPACK, threads=2, cpus=(0, 1))
    measured = measure(own_phone, small_models, **benchmark(own_phone), timing=timing, kernels=kernels)
    for run, name in ((measured.candidate, "int8.tflite"), (measured.baseline, "float.tflite")):
        assert run.outputs is None
        assert run.timings.durations_ms.tolist() == [[[(small_models / name).stat().st_size / 1e3]]] * 3
        assert (run.timings.load_ms.tolist(), run.timings.first_ms.tolist()) == ([5.5] * 3, [1.5] * 3)
    assert measured.op_resolver == "BUILTIN with XNNPACK delegate"
    assert measured.machine["cpu"] == "Acme Phone 1 (Fast 2)"
    assert re.fullmatch("benchmark program [0-9a-f]{12}", measured.runtime_version)
    assert own_phone.asked("shell")[-1].count("taskset 3 ") == 1
    options = [line.split() for line in (own_phone.root / "benchmarked").read_text().splitlines()]
    assert all({"--num_threads=2", "--num_runs=15", "--warmup_min_secs=0.5"} <= set(each) for each in options)
    a, b = options[0][0], options[1][0]
    assert [each[0] for each in options[2:]] == [a, b, b, a, a, b]  # each sitting the other way round


def test_the_stage_reports_times_without_accuracy(own_phone, small_models, tmp_path):
    section = dataclasses.asdict(config(own_phone, **benchmark(own_phone)))
    project = make_project(tmp_path / "project", small_models, {"name": "adb", **section})
    done = run_stage(project)
    assert done.returncode == 0, done.stderr
    assert "tflite no accuracy: the device tells times, no outputs, " in done.stdout
    accuracy, latency = (
        json.loads((project / f"metrics/{n}.json").read_text()) for n in ("accuracy", "latency")
    )
    assert accuracy["baseline_accuracy"] is None
    assert accuracy["tflite"]["accuracy"] is None
    assert accuracy["tflite"]["reason"] == "the device tells times, no outputs"
    assert accuracy["tflite"]["size_ratio"] > 0
    figures = latency["tflite"]
    assert figures["p50_ms"] == pytest.approx((small_models / "int8.tflite").stat().st_size / 1e3)
    assert (figures["p99_ms"], figures["steady"], figures["peak_memory_bytes"]) == (None, None, None)
    assert figures["speedup"] == pytest.approx(accuracy["tflite"]["size_ratio"])
    assert (project / "metrics/confusion.csv").read_text() == "actual,predicted\n"
    add_stages(project)
    shown = subprocess.run(
        [sys.executable, "-c", "from edgepress.report.results import render; print(render())"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.rstrip().endswith(
        "There is no accuracy on the test split: the device tells times, no outputs."
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("ERROR: Failed to load model\nexit status 1", "failed in the benchmark program: ERROR: Failed"),
        ("", "failed in the benchmark program: "),
        ("Inference timings in us: Init: 1, First inference: 2\ncount=5 first=1 avg=2\nexit status 0",
         "tells no median; take that of a newer LiteRT"),
        ("the model graph will not be executed by the delegate.\nexit status 0",
         "the delegate took no operator of the model; change section device"),
    ],
)  # fmt: skip
def test_what_the_benchmark_program_cannot_do_is_said(said, message):
    with pytest.raises(
        DeviceError, match=f"net.tflite in tflite:? .*{message}|net.tflite in tflite: {message}"
    ):
        read(said, Path("net.tflite"))


def test_lines_of_the_benchmark_program_are_read():
    lines = [
        "INFO: Initialized session in 119.515ms.",
        "INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11 p5=51 median=51962",
        "INFO: count=1000 first=52162 curr=49785 min=49088 max=6 avg=6e+04 std=607 median=1.24e+06 p95=6",
        "INFO: Inference timings in us: Init: 119515, First inference: 87112, Warmup (avg): 5.8e+04, Infer",
        "exit status 0",
    ]
    assert read("\n".join(lines), Path("net.tflite")) == Found(
        119.515, 87.112, 1240.0, "BUILTIN, no delegate told"
    )


def test_a_damaged_model_is_named(own_phone, small_models, tmp_path):
    pair = make_pair(small_models, "tflite int8")
    (tmp_path / "net.tflite").write_bytes(b"no model")
    device = open_device(config(own_phone, **benchmark(own_phone)))
    with pytest.raises(DeviceError, match=r"net\.tflite in tflite failed in .*: ERROR: Failed to load model"):
        device.measure(
            dataclasses.replace(pair, candidate=tmp_path / "net.tflite"), small_models / "images.npy"
        )


def test_an_absent_benchmark_program_and_an_emulator_are_refused(own_phone, small_models):
    absent = {"python": None, "benchmark": "/absent/benchmark_model"}
    with pytest.raises(
        DeviceError, match=r"has no program at /absent/benchmark_model; correct device.benchmark"
    ):
        measure(own_phone, small_models, **absent)
    with (own_phone.root / "properties").open("a") as file:
        file.write("ro.kernel.qemu 1\n")
    with pytest.raises(
        DeviceError, match=r"is an emulator, whose times say nothing; set device.python instead"
    ):
        measure(own_phone, small_models, **benchmark(own_phone))
