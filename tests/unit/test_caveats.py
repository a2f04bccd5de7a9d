"""What takes from the worth of latencies: the machine's conditions and speed-ups that are not certain."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgepress.config.device import Timing
from edgepress.devices.base import Conditions
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.program.machine import conditions
from edgepress.devices.statistics import Interval
from edgepress.report.caveats import conditions_report, speedup_warning, warnings

CALM = {
    "cpus": 2,
    "governor": "performance",
    "frequency_mhz": 1500.0,
    "max_frequency_mhz": 1500.0,
    "temperature_c": 50.0,
    "throttled": False,
    "load": 0.3,
}
TIMING = Timing(8, 10, 10, warmup_s=2, ratio_width=0.05, budget_s=20)


def board(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content + "\n")
    return folder


def test_conditions_are_those_of_the_cpus_that_are_used(tmp_path):
    used, other = min(os.sched_getaffinity(0)), 4096
    files = {f"devices/system/cpu/cpu{other}/cpufreq/scaling_cur_freq": "9000000"}
    for cpu in os.sched_getaffinity(0):
        clock = f"devices/system/cpu/cpu{cpu}/cpufreq"
        files |= {f"{clock}/scaling_governor": "ondemand", f"{clock}/cpuinfo_max_freq": "1800000"}
        files |= {f"{clock}/scaling_cur_freq": "1500000" if cpu == used else "600000"}
    files |= {"class/thermal/thermal_zone0/temp": "51234", "class/thermal/thermal_zone1/temp": "48000"}
    files |= {"devices/platform/soc/soc:firmware/get_throttled": "50000"}
    found = conditions(board(tmp_path, files))
    assert found.pop("load") >= 0
    assert found == {
        "cpus": len(os.sched_getaffinity(0)),
        "governor": "ondemand",
        "frequency_mhz": 1500,
        "max_frequency_mhz": 1800,
        "temperature_c": 51.234,
        "throttled": True,
    }


@pytest.mark.parametrize(("state", "expected"), [("0", False), ("2", True)])
def test_a_cpu_that_is_cooled_by_slowing_it_down_is_throttled(tmp_path, state, expected):
    fan, cpu = (f"class/thermal/cooling_device{i}" for i in (0, 1))
    files = {f"{fan}/type": "pwm-fan", f"{fan}/cur_state": "3", f"{cpu}/type": "cpufreq-cpu0"}
    assert conditions(board(tmp_path, {**files, f"{cpu}/cur_state": state}))["throttled"] is expected


def test_what_a_machine_does_not_tell_is_none(tmp_path):
    found = conditions(tmp_path)
    for key in ("governor", "max_frequency_mhz", "temperature_c", "throttled"):
        assert found[key] is None


def test_the_report_has_both_ends_and_no_warning_where_all_is_calm():
    after = {**CALM, "temperature_c": 61.5, "load": 1.1}
    report = conditions_report([Conditions(CALM, CALM), Conditions(CALM, after)], replace(XNNPACK, threads=2))
    assert (report["temperature_c"], report["temperature_after_c"]) == (50.0, 61.5)
    assert (report["load"], report["load_after"]) == (0.3, 1.1)
    assert (report["page_cache"], report["warning"]) == ("warm", None)
    assert conditions_report([], XNNPACK) is None


@pytest.mark.parametrize(
    ("change", "threads", "message"),
    [
        ({"governor": "powersave"}, 1, "the CPUs' governor is powersave, so their speed depends on"),
        ({"frequency_mhz": 1200.0}, 1, "the CPUs' frequency changed between 1200 and 1500 MHz"),
        ({"throttled": True}, 1, "the machine was slowed down by heat or a weak supply"),
        ({}, 4, "4 threads share 2 CPUs; lower device.kernels.threads"),
    ],
)
def test_conditions_that_take_from_the_figures_are_warned_of(change, threads, message):
    first = {**CALM, "governor": change.get("governor", "performance")}
    report = conditions_report([Conditions(first, {**CALM, **change})], replace(XNNPACK, threads=threads))
    assert report["warning"].startswith(message)


def test_what_is_not_told_is_not_warned_of():
    silent = {**CALM, "governor": None, "frequency_mhz": None, "throttled": None}
    assert conditions_report([Conditions(silent, silent)], XNNPACK)["warning"] is None


def test_a_speedup_wider_than_wanted_is_too_noisy():
    wide, narrow = Interval(2.0, 1.8, 2.2, "faster"), Interval(2.0, 1.98, 2.02, "faster")
    assert speedup_warning(narrow, True, TIMING) is None
    assert speedup_warning(wide, True, TIMING) == (
        "too noisy for the difference claimed: the 95% interval of the speed-up, 1.80 to 2.20, is wider than"
        " device.timing.ratio_width, 0.05 of it, after 20 s; stop what else runs, or set a larger"
        " device.timing.budget_s"
    )
    assert "did not become steady within device.timing.warmup_s of 2 s" in speedup_warning(
        narrow, False, TIMING
    )


def test_all_warnings_of_a_report_are_named():
    report = {
        "kind": "measured",
        "conditions": {"warning": "hot"},
        "tflite": {"warning": None},
        "onnxruntime": {"warning": "noisy"},
    }
    assert list(warnings(report)) == ["conditions: hot", "onnxruntime: noisy"]
