"""Times of single operators: how they are taken, brought beside those of a baseline, and told."""

import csv
import dataclasses
import io
import sys

import numpy as np
import pytest

from edgepress.cli import main
from edgepress.config.device import Local, Tflm, Timing
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.program.onnx import by_node
from edgepress.devices.registry import open_device
from edgepress.errors import DeviceError
from edgepress.profiling.profile import Profile, profile
from edgepress.profiling.rows import Cell, rows
from edgepress.profiling.times import SITTINGS, ModelTimes, Operator, OperatorTime, Sitting, model_times
from edgepress.report.profile import COLUMNS, profile_csv, profile_table
from tests.last_stage import make_project, run_stage

LOCAL = Local(
    XNNPACK,
    Timing(sittings=2, rounds=1, runs_per_round=3, warmup_s=0, ratio_width=9, budget_s=0, profile=True),
)
PAIRS = {
    "tflite": ("tflite", "int8.tflite", "float.tflite"),
    "tflite with constants": ("tflite", "float16.tflite", "float.tflite"),
    "onnxruntime": ("onnxruntime", "int8.onnx", "float.onnx"),
}


@pytest.fixture(scope="module")
def local() -> LinuxDevice:
    return LinuxDevice(LocalHost(), XNNPACK, None)


@pytest.fixture(scope="module", params=PAIRS)
def profiled(request, local, small_models):
    runtime, *models = PAIRS[request.param]
    paths = [small_models / name for name in models]
    return profile(local, runtime, paths, small_models / "images.npy", runs=20)


def times(*operators: tuple[str, str, tuple[int, ...], float], joined: int | None = None) -> ModelTimes:
    """From operator, name, shape and time; errors are a tenth of it."""
    found = [
        OperatorTime(*names, ms, abs(ms) / 10, number == joined)
        for number, (*names, ms) in enumerate(operators)
    ]
    return ModelTimes(tuple(found), sum(each.ms for each in found))


def told(found) -> list[tuple]:
    return [
        (
            row.layer,
            row.operator,
            row.baseline and round(row.baseline.ms, 6),
            row.candidate and round(row.candidate.ms, 6),
        )
        for row in found
    ]


def test_every_layer_of_both_models_has_its_time(profiled):
    for part, whole in (("candidate", profiled.candidate), ("baseline", profiled.baseline)):
        cells = [getattr(row, part) for row in profiled.rows if getattr(row, part)]
        assert len(cells) == len([each for each in whole.operators if not each.joined])
        assert sum(cell.ms for cell in cells) > 0
        assert all(cell.ms >= 0 and cell.error_ms >= 0 for cell in cells)
        assert whole.total_ms > 0
        if profiled.runtime == "onnxruntime":  # whose profiler takes time
            assert 0 < whole.plain_ms < whole.total_ms
    names = [row.layer for row in profiled.rows]
    assert len(set(names)) == len(names)


def test_the_layers_of_one_network_are_brought_together(profiled):
    both = [row.operator for row in profiled.rows if row.candidate and row.baseline]
    if profiled.runtime == "tflite":
        assert len(both) == len(profiled.rows) - sum(row.baseline is None for row in profiled.rows)
        assert any("DEPTHWISE_CONV_2D" in operator for operator in both)
    else:
        assert "Gemm → QGemm" in both


@pytest.mark.parametrize(("name", "layer"), [("uneven.tflite", "CONV_2D 8×6×256"), ("uneven.onnx", "heavy")])
def test_the_layer_with_the_work_has_the_time(local, small_models, name, layer):
    runtime = "tflite" if name.endswith("tflite") else "onnxruntime"
    found = profile(local, runtime, [small_models / name], None, runs=45)
    heaviest = max(found.rows, key=lambda row: row.candidate.ms)
    assert layer in heaviest.layer
    assert heaviest.candidate.ms > 0.8 * sum(row.candidate.ms for row in found.rows)
    assert heaviest.candidate.error_ms < heaviest.candidate.ms
    assert heaviest.baseline is None


def test_the_kernels_are_those_of_the_device(small_models):
    models = [small_models / "uneven.tflite"]
    slow = LinuxDevice(LocalHost(), dataclasses.replace(XNNPACK, op_resolver="reference"), None)
    fast = LinuxDevice(LocalHost(), XNNPACK, None)
    ms = [profile(device, "tflite", models, None, runs=1).candidate.total_ms for device in (slow, fast)]
    assert ms[0] > 5 * ms[1]


def test_names_that_are_paths_bring_layers_together_in_any_order():
    ours = times(
        ("QLinearConv", "net.b.Conv_quant", (1, 4), 1), ("QLinearConv", "net.a.Conv_quant", (1, 4), 2)
    )
    theirs = times(("Conv", "net.a.Relu_nchwc", (1, 4), 20), ("Conv", "net.b.Conv", (1, 4), 10))
    assert told(rows(ours, theirs)) == [
        ("01 net.b.Conv", "Conv → QLinearConv", 10, 1),
        ("02 net.a.Conv", "Conv → QLinearConv", 20, 2),
    ]


def test_layers_without_names_come_together_by_kind_and_shape_and_order():
    ours = times(
        ("QUANTIZE", "", (1, 4, 4, 3), 1), ("CONV_2D", "", (1, 4, 4, 8), 2), ("CONV_2D", "", (1, 4, 4, 8), 3),
        ("CONV_2D", "", (1, 1, 1, 5), 4),
    )  # fmt: skip
    theirs = times(
        ("CONV_2D", "", (1, 4, 4, 8), 20), ("CONV_2D", "", (1, 4, 4, 8), 30), ("MEAN", "", (1, 8), 9),
        ("FULLY_CONNECTED", "", (1, 5), 40),
    )  # fmt: skip
    assert told(rows(ours, theirs)) == [
        ("01 QUANTIZE 4×4×3", "QUANTIZE", None, 1),
        ("02 CONV_2D 4×4×8", "CONV_2D", 20, 2),
        ("03 CONV_2D 4×4×8", "CONV_2D", 30, 3),
        ("04 MEAN 8", "MEAN", 9, None),
        ("05 CONV_2D 1×1×5", "FULLY_CONNECTED → CONV_2D", 40, 4),
    ]


def test_operators_joined_in_one_model_are_one_row_with_those_of_the_other():
    ours = times(("MEAN", "", (1, 8), 5), ("FULLY_CONNECTED", "", (1, 3), -2), joined=1)
    theirs = times(("MEAN", "", (1, 8), 10), ("FULLY_CONNECTED", "", (1, 3), 20))
    assert told(rows(ours, theirs)) == [
        ("01 FULLY_CONNECTED 3", "MEAN + FULLY_CONNECTED", 30, 3),
    ]


def test_long_names_keep_their_end():
    name = "net." + "x" * 80 + ".conv1"
    (row,) = rows(times(("ADD", name, (), 1)), None)
    assert row.layer.startswith("01 …xx")
    assert row.layer.endswith("x.conv1")
    assert len(row.layer) < 70


def test_a_model_alone_has_rows_without_a_baseline():
    assert told(rows(times(("ADD", "", (), 1)), None)) == [("01 ADD scalar", "ADD", None, 1)]


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [((3, 1), (2, 1), 1.5), ((3, 1), (1, 1), None), ((0.5, 1), (2, 1), None)],
)
def test_a_speedup_is_told_where_both_times_are_above_their_errors(baseline, candidate, expected):
    (row,) = rows(times(("ADD", "", (), 1)), None)
    row = dataclasses.replace(row, baseline=Cell(*baseline), candidate=Cell(*candidate))
    assert row.speedup == expected


def test_layers_that_became_slower_are_named_if_it_is_sure():
    ours = times(("ADD", "a.x", (), 3), ("ADD", "a.y", (), 9), ("ADD", "a.z", (), 1.1))
    theirs = times(("ADD", "a.x", (), 1), ("ADD", "a.y", (), 1), ("ADD", "a.z", (), 1))
    found = Profile("onnxruntime", rows(ours, theirs), ours, theirs)
    said = "Slower than the baseline: 02 a.y (+8.0000), 01 a.x (+2.0000)."
    assert said in profile_table(found).splitlines()
    assert "Slower" not in profile_table(Profile("onnxruntime", rows(theirs, theirs), theirs, theirs))


def test_no_speedup_is_told_of_times_that_the_profilers_is_in():
    ours, theirs = (
        dataclasses.replace(times(("ADD", "", (), ms)), plain_ms=plain) for ms, plain in ((4, 2), (5, 3))
    )
    lines = profile_table(Profile("onnxruntime", rows(ours, theirs), ours, theirs)).splitlines()
    sums = {line.split("  ")[0]: line.split()[-4:] for line in lines if line.startswith("all")}
    assert sums == {
        "all, with the profiler": ["5.0000", "4.0000", "–", "100.0%"],
        "all, without it": ["3.0000", "2.0000", "1.50×", "–"],
    }


def sittings(values: np.ndarray, tick: float = 0.0) -> list[Sitting]:
    operators = [Operator("ADD", "", ()) for _ in values[0]]
    return [Sitting(operators, each, float(each.sum()), tick_ms=tick) for each in values]


def test_a_disturbed_sitting_changes_little():
    values = np.linspace(0.9, 1.1, SITTINGS)[:, np.newaxis]
    disturbed = values.copy()
    disturbed[-1] = 50
    (calm,), (upset,) = (model_times(sittings(each)).operators for each in (values, disturbed))
    assert (upset.ms, upset.error_ms) == (calm.ms, calm.error_ms)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    for _ in range(1000):
        noise = random.exponential(size=(SITTINGS, 1)) - np.log(2)  # of median 0, and lopsided
        (found,) = model_times(sittings(1 + noise)).operators
        ordered = np.sort(1 + noise[:, 0])
        held += ordered[1] <= 1 <= ordered[-2]
        assert found.error_ms == pytest.approx((ordered[-2] - ordered[1]) / 2)
    assert 0.94 < held / 1000 < 0.98


def test_less_than_no_time_joins_an_operator_to_the_one_before_if_it_is_sure():
    random = np.random.default_rng(0)
    values = np.array([0.0, 5.0, -3.0, -0.01]) + 0.02 * random.normal(size=(SITTINGS, 4))
    assert [each.joined for each in model_times(sittings(values)).operators] == [False, False, True, False]


def test_no_time_is_known_better_than_to_a_tick():
    (found,) = model_times(sittings(np.ones((SITTINGS, 1)), tick=0.001)).operators
    assert found.error_ms == 0.001


def event(name: str, dur: int, **args: object) -> dict:
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "args": args}


def test_onnxruntimes_record_is_summed_by_node_and_run():
    conv = {"node_index": "0", "op_name": "Conv", "output_type_shape": [{"float": [1, 8, 4, 4]}]}
    loop = {"node_index": "1", "op_name": "Relu"}
    run = {"cat": "Session", "name": "model_run", "args": {}}
    events = [
        {"cat": "Session", "name": "model_loading_array", "dur": 99},
        event("a", 7, **conv), event("b", 1, **loop), event("b", 2, **loop), {**run, "dur": 12},
        event("a", 8, **conv), {**run, "dur": 9},
    ]  # fmt: skip
    assert by_node(events) == {
        "nodes": [
            {"name": "a", "operator": "Conv", "shape": [1, 8, 4, 4]},
            {"name": "b", "operator": "Relu", "shape": []},
        ],
        "durations_us": [[7, 3], [8, 0]],
        "run_us": [12, 9],
    }


def test_the_csv_holds_the_table(profiled):
    lines = list(csv.DictReader(io.StringIO(profile_csv({"local": [profiled]}).decode())))
    table = profile_table(profiled)
    assert list(lines[0]) == list(COLUMNS)
    assert [line["layer"] for line in lines] == [row.layer for row in profiled.rows]
    for line, row in zip(lines, profiled.rows, strict=True):
        assert (line["device"], line["runtime"]) == ("local", profiled.runtime)
        assert (line["candidate_ms"] == "") == (row.candidate is None)
        assert row.layer in table
    assert "\nall" in table


def test_without_a_profile_there_is_but_the_head():
    assert profile_csv({"local": []}).decode() == ",".join(COLUMNS) + "\n"


AS_QEMU_SHOWS_IT = """
import runpy, sys
from pathlib import Path
real = Path.readlink
Path.readlink = lambda path: Path("/usr/bin/qemu") if "thread-self" in str(path) else real(path)
runpy.run_path(sys.argv[-1], run_name="__main__")
"""


def test_an_emulator_has_no_times(local, small_models, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable} -I\n{AS_QEMU_SHOWS_IT}")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(DeviceError, match="this device is emulated, so its times say nothing"):
        profile(local, "tflite", [small_models / "int8.tflite"], None, 1)


def test_a_device_that_cannot_time_operators_says_so(small_models):
    with pytest.raises(DeviceError, match=r"this device tells no times of single operators; .*device=local"):
        profile(open_device(Tflm()), "tflite", [small_models / "int8.tflite"], None, 1)


def test_a_model_that_is_no_model_is_named(local, tmp_path):
    model = tmp_path / "broken.onnx"
    model.write_bytes(b"no model")
    with pytest.raises(DeviceError, match=r"broken\.onnx in onnxruntime failed: "):
        profile(local, "onnxruntime", [model], None, 1)


def test_the_command_profiles_any_file(small_models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, baseline = str(small_models / "int8.tflite"), str(small_models / "float.tflite")
    assert main(["profile", model, "--baseline", baseline, "--runs", "1", "--csv", "out/p.csv"]) == 0
    shown = capsys.readouterr().out
    assert "DEPTHWISE_CONV_2D 8×6×8" in shown
    assert "speed-up" in shown
    assert len((tmp_path / "out/p.csv").read_text().splitlines()) > 3


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx"])
def test_a_broken_file_of_the_users_is_not_said_to_be_the_pipelines(
    small_models, tmp_path, monkeypatch, capsys, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes((small_models / name).read_bytes()[:1500])
    assert main(["profile", name]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name} in ")
    assert line.endswith("; make it again")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.tflite"], "absent.tflite does not exist; check the name"),
        (["model.pt"], "model.pt cannot be profiled; expected a .tflite or .onnx"),
        (["int8.tflite", "--baseline", "float.onnx"], "float.onnx cannot be profiled; "),
        (["--baseline", "float.onnx"], "--baseline is given without a model"),
        (["int8.tflite", "--runs", "0"], "--runs is 0; expected an integer >= 1"),
        (
            [],
            "cannot read models/convert-tflite/conversion.json: No such file or directory; "
            "make it with: dvc repro",
        ),
    ],
)
def test_a_mistake_gives_one_line(small_models, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(small_models)
    assert main(["profile", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


def test_a_fleet_is_profiled_member_by_member(small_models, tmp_path, monkeypatch, capsys):
    members = {"a": {"name": "local", **dataclasses.asdict(LOCAL)}}
    monkeypatch.chdir(make_project(tmp_path, small_models, {"name": "fleet", "members": members}))
    assert main(["profile"]) == 1
    assert "error: device is a fleet; profile its members one by one" in capsys.readouterr().err


def test_the_stage_writes_what_is_asked_for_of_each_device(small_models, tmp_path):
    members = {"a": {"name": "local", **dataclasses.asdict(LOCAL)}, "b": {"name": "tflm"}}
    project = make_project(tmp_path, small_models, {"name": "fleet", "members": members})
    assert run_stage(project).returncode == 0
    lines = list(csv.DictReader((project / "metrics/profile.csv").read_text().splitlines()))
    assert {(line["device"], line["runtime"]) for line in lines} == {("a", "tflite"), ("a", "onnxruntime")}
