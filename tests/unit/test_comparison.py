"""Two runs side by side: what may be compared is, and the rest is refused with the reason."""

import copy
from typing import Any

import pytest

from edgepress.errors import ComparisonError
from edgepress.report.comparison import compare, match, render
from edgepress.report.revisions import Run

RUNTIMES = ("tflite", "onnxruntime")
PI = {"cpu": "Raspberry Pi 4", "architecture": "aarch64", "cores": 4, "fingerprint": "aaa"}
KERNELS = {
    "threads": 1,
    "cpus": None,
    "op_resolver": "xnnpack",
    "delegate": None,
    "execution_provider": "CPUExecutionProvider",
}
HASHES = {
    "data/prepared/test": "1.dir",
    "models/convert-tflite/baseline.tflite": "2",
    "models/export-onnx/model.onnx": "3",
}


def make_run(revision: str, **changes: Any) -> Run:
    """A run on a Raspberry Pi; keys are dotted, with `__` for the dot."""
    accuracy = {"accuracy": 0.99, "size_bytes": 100_000, "size_gzip_bytes": 50_000}
    times = {
        "p50_ms": 2.0,
        "speedup": 2.0,
        "speedup_low": 1.9,
        "speedup_high": 2.1,
        "peak_memory_bytes": 40_000_000,
        "runtime_version": "2.3.0",
        "op_resolver": "fast",
    }
    values: dict[str, Any] = {
        "accuracy": {name: dict(accuracy) for name in RUNTIMES},
        "latency": {"device": dict(PI), "kind": "measured", **{name: dict(times) for name in RUNTIMES}},
        "device": {"name": "ssh", "kernels": dict(KERNELS)},
        "hashes": dict(HASHES),
    }
    values = copy.deepcopy(values)
    for key, value in changes.items():
        *sections, last = key.split("__")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
    return Run(revision, **values)


def table(before: Run, after: Run, **options: bool) -> list[list[str]]:
    """The rows of what is printed, in cells."""
    text = render(compare(before, after, **options), before.revision, after.revision)
    return [[cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def cells(before: Run, after: Run, label: str) -> list[str]:
    """Both values and the difference of the first runtime."""
    return next([c.strip() for c in row[1:]] for row in table(before, after) if row[0].strip() == label)


def test_values_stand_side_by_side_with_their_difference():
    after = make_run("b", accuracy__tflite__accuracy=0.98, accuracy__tflite__size_bytes=50_000)
    assert cells(make_run("a"), after, "accuracy") == ["0.9900", "0.9800", "-0.0100"]
    assert cells(make_run("a"), after, "size") == ["100.0 kB", "50.0 kB", "-50.0%"]
    assert cells(make_run("a"), after, "peak memory") == ["40.0 MB", "40.0 MB", "+0.0%"]
    assert compare(make_run("a"), after).refused == []


@pytest.mark.parametrize(
    ("interval", "difference"),
    [
        ((2.05, 2.2, 2.3), "no difference"),
        ((1.5, 1.8, 1.95), "no difference"),
        ((1.95, 2.0, 2.05), "no difference"),
        ((2.1, 2.5, 3.0), "no difference"),
        ((2.31, 2.5, 2.66), "1.25× (1.10–1.40)"),
        ((0.95, 1.0, 1.05), "0.50× (0.45–0.55)"),
    ],
)
def test_speedups_differ_where_their_intervals_do_not_overlap(interval, difference):
    low, ratio, high = interval
    after = make_run(
        "b",
        latency__tflite__speedup_low=low,
        latency__tflite__speedup=ratio,
        latency__tflite__speedup_high=high,
    )
    row = cells(make_run("a"), after, "speed-up")
    assert row == ["2.00× (1.90–2.10)", f"{ratio:.2f}× ({low:.2f}–{high:.2f})", difference]
    assert cells(make_run("a"), after, "p50") == ["2.000 ms", "2.000 ms"]


UNFAIR = {
    "another kind": ({"latency__kind": "emulated"}, "they are measured in a and emulated in b"),
    "another machine": (
        {"latency__device": {"cpu": "AMD EPYC", "architecture": "x86_64", "fingerprint": "b"}},
        "they are of Raspberry Pi 4 (aarch64) in a and AMD EPYC (x86_64) in b",
    ),
    "another one of the same kind": (
        {"latency__device__fingerprint": "bbb"},
        "they are of two machines, Raspberry Pi 4 (aarch64) in a and Raspberry Pi 4 (aarch64) in b",
    ),
    "more threads": (
        {"device__kernels__threads": 4},
        "device.kernels.threads is 1 in a and 4 in b",
    ),
    "other CPUs": (
        {"device__kernels__cpus": [2, 3]},
        "device.kernels.cpus is null in a and [2, 3] in b",
    ),
    "other kernels": (
        {"device__kernels__op_resolver": "builtin"},
        "device.kernels.op_resolver is xnnpack in a and builtin in b",
    ),
    "a delegate": (
        {"device__kernels__delegate": "/npu.so"},
        "device.kernels.delegate is null in a and /npu.so in b",
    ),
    "another program": ({"device__benchmark": "/b"}, "device.benchmark is null in a and /b in b"),
}


@pytest.mark.parametrize("reason", UNFAIR)
def test_latencies_of_different_circumstances_are_refused_with_the_reason(reason):
    changes, words = UNFAIR[reason]
    before, after = make_run("a"), make_run("b", **changes)
    comparison = compare(before, after)
    assert comparison.refused[0] == f"latencies of tflite are not compared: {words}"
    shown = [row[0].strip() for row in table(before, after) if row]
    runtime = shown[1 : shown.index("onnxruntime")]
    assert runtime == ["tflite", "accuracy", "size", "gzip"]


def test_an_operating_system_that_was_updated_does_not_make_another_machine():
    assert compare(make_run("a"), make_run("b", latency__device__system="Debian 14")).refused == []


def test_machines_without_a_fingerprint_are_the_same_if_all_else_is():
    vela = {"cpu": "Ethos-U55-128"}
    before, after = (make_run(name, latency__device=dict(vela)) for name in "ab")
    assert compare(before, after).refused == []
    other = make_run("b", latency__device={"cpu": "Ethos-U65-256"})
    assert len(compare(before, other).refused) == 2


def test_latencies_of_an_older_version_are_refused_but_not_its_sizes():
    before = make_run("a")
    del before.latency["tflite"]["speedup_low"], before.latency["tflite"]["speedup_high"]
    comparison = compare(before, make_run("b"))
    (reason,) = comparison.refused
    assert reason.endswith("compared: a has no interval of the speed-up; measure it anew, with this version")
    assert [row[0].strip() for row in comparison.rows][:4] == ["tflite", "accuracy", "size", "gzip"]


def test_what_kernels_a_model_gets_by_itself_does_not_matter_but_is_told():
    comparison = compare(
        make_run("a"), make_run("b", latency__tflite__op_resolver="none for 3 of 4 operators")
    )
    assert comparison.refused == []
    assert comparison.notes == ["what computed tflite is fast in a and none for 3 of 4 operators in b"]


def test_what_is_refused_for_one_runtime_is_not_for_the_other():
    comparison = compare(make_run("a"), make_run("b", device__kernels__op_resolver="builtin"))
    assert len(comparison.refused) == 1
    labels = [row[0].strip() for row in comparison.rows]
    assert "speed-up" in labels[labels.index("onnxruntime") :]


def test_accuracies_of_other_test_samples_have_no_difference():
    before, after = make_run("a"), make_run("b", **{"hashes": HASHES | {"data/prepared/test": "9.dir"}})
    assert cells(before, after, "accuracy") == ["0.9900", "0.9900"]
    assert compare(before, after).notes == ["accuracies are not compared: they are of different test splits"]


def test_speedups_over_other_baselines_have_no_difference():
    hashes = HASHES | {"models/convert-tflite/baseline.tflite": "9"}
    before, after = make_run("a"), make_run("b", hashes=hashes, latency__tflite__p50_ms=1.0)
    assert cells(before, after, "speed-up")[-1] == "–"
    assert cells(before, after, "p50") == ["2.000 ms", "1.000 ms", "-50.0%"]
    (note,) = compare(before, after).notes
    assert note.startswith("speed-ups of tflite are over different float32 networks; p50 alone")


def test_without_classes_the_agreement_with_float32_is_shown():
    def unlabelled(name: str, top1: float) -> Run:
        agreement = {"accuracy__tflite__baseline_agreement": {"top1": top1}}
        return make_run(name, accuracy__tflite__accuracy=None, **agreement)

    row = cells(unlabelled("a", 0.9), unlabelled("b", 0.95), "float32's class")
    assert row == ["0.9000", "0.9500", "+0.0500"]


def test_without_outputs_there_is_no_accuracy_to_compare():
    silent = {"accuracy__tflite__accuracy": None, "accuracy__tflite__baseline_agreement": None}
    labels = [row[0].strip() for row in compare(make_run("a", **silent), make_run("b", **silent)).rows]
    assert labels[:3] == ["tflite", "size", "gzip"]


def test_an_emulator_has_no_latencies_to_compare():
    silent = dict.fromkeys(("p50_ms", "speedup", "speedup_low", "speedup_high", "peak_memory_bytes"))
    runs = [make_run(name, latency__kind="emulated", latency__tflite=dict(silent)) for name in "ab"]
    comparison = compare(*runs)
    assert comparison.notes[0] == "tflite has no measured latencies: they are emulated"
    assert [row[0].strip() for row in comparison.rows][:4] == ["tflite", "accuracy", "size", "gzip"]


def test_the_arena_of_a_microcontroller_depends_on_no_machine():
    runs = [
        make_run(name, latency__device__fingerprint=name, latency__tflite__tensor_arena_bytes=size)
        for name, size in (("a", 10_000), ("b", 8_000))
    ]
    assert cells(*runs, "tensor arena") == ["10.0 kB", "8.0 kB", "-20.0%"]


def test_estimates_of_the_same_accelerator_stand_side_by_side():
    silent = dict.fromkeys(("p50_ms", "speedup", "speedup_low", "speedup_high", "peak_memory_bytes"))
    runs = [
        make_run(name, latency__kind="estimated", latency__tflite={**silent, **figures})
        for name, figures in (
            ("a", {"estimated_cycles": 100_000, "estimated_dram_bytes": 0, "estimated_flash_bytes": 0}),
            ("b", {"estimated_cycles": 90_000, "estimated_dram_bytes": 0, "estimated_flash_bytes": 1_000}),
        )
    ]
    assert cells(*runs, "estimated cycles") == ["100,000", "90,000", "-10.0%"]
    assert cells(*runs, "estimated flash") == ["0.0 kB", "1.0 kB", "–"]
    assert not [row for row in table(*runs) if "estimated DRAM" in row[0]]
    other = make_run("b", latency__kind="estimated", latency__device__fingerprint="another accelerator")
    assert "latencies of tflite are not compared" in compare(runs[0], other).refused[0]


def test_warnings_and_other_versions_of_a_runtime_are_told():
    after = make_run("b", latency__tflite__runtime_version="2.4.0", latency__tflite__warning="too noisy")
    assert compare(make_run("a"), after).notes == [
        "the version of tflite is 2.3.0 in a and 2.4.0 in b",
        "b: tflite: too noisy",
    ]


def test_only_latency_shows_nothing_else():
    comparison = compare(make_run("a"), make_run("b"), only_latency=True)
    labels = [row[0].strip() for row in comparison.rows]
    assert labels == [
        "tflite",
        "p50",
        "speed-up",
        "peak memory",
        "onnxruntime",
        "p50",
        "speed-up",
        "peak memory",
    ]


def test_a_member_that_failed_is_not_compared():
    failed = Run("b", {"error": "out of reach"}, {"error": "out of reach"}, {}, {})
    comparison = compare(make_run("a"), failed)
    assert (comparison.rows, comparison.refused) == ((), ["it failed at b: out of reach"])


def test_a_runtime_that_one_device_lacks_is_named():
    after = make_run("b")
    lacking = Run("b", {"tflite": after.accuracy["tflite"]}, after.latency, after.device, after.hashes)
    assert compare(make_run("a"), lacking).notes == ["onnxruntime is in a only"]


def test_devices_of_the_same_name_are_compared_and_single_ones_whatever_their_names():
    one, other = make_run("a"), make_run("b")
    assert match({"pi": one, "phone": one}, {"phone": other, "pc": other}) == [("phone", one, other)]
    assert match({"pi": one}, {"pi": other, "pc": other}) == [("pi", one, other)]
    assert match({"local": one}, {"ssh": other}) == [("local, ssh", one, other)]
    message = "there is no device in common: a has pi and b has pc, phone; measure both on one device"
    with pytest.raises(ComparisonError, match=message):
        match({"pi": one}, {"pc": other, "phone": other})
