"""Energy per inference: a made-up meter that logs while models run, and the arithmetic on its log."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgepress.config.device import Energy, Timing
from edgepress.devices import energy as module
from edgepress.devices.base import Measurement, Pair
from edgepress.devices.energy import Log, Window, joules, per_inference, read_log
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import XNNPACK
from edgepress.errors import DeviceError

TIMING = Timing(2, rounds=1, runs_per_round=3, warmup_s=0.1, ratio_width=9, budget_s=0)
SECONDS = 0.6
METER = """
import sys, time
from datetime import datetime, timezone
iso, watts = sys.argv[1] == "iso", float(sys.argv[2])
print("run,time,power" if iso else "timestamp,watts", flush=True)
while True:
    now = time.time()
    text = datetime.fromtimestamp(now, timezone.utc).isoformat()
    print(f"7,{text},{watts}" if iso else f"{now},{watts}", flush=True)
    time.sleep(0.01)
"""


@contextlib.contextmanager
def meter(path: Path, form: str, watts: float) -> Iterator[None]:
    """A process that logs a constant power a hundred times a second."""
    with path.open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", METER, form, str(watts)], stdout=log)
        try:
            while not path.read_text().count("\n") > 1:
                time.sleep(0.01)
            yield
        finally:
            process.kill()
            process.wait()


def measure(folder: Path, config: Energy) -> Measurement:
    pair = Pair("tflite", folder / "int8.tflite", folder / "float.tflite")
    return LinuxDevice(LocalHost(), XNNPACK, TIMING, config).measure(pair, folder / "images.npy")


def ahead_of_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program's clock be an hour ahead, as a board's may be."""
    python = folder / "python"
    skew = "import runpy, sys, time; real = time.time; time.time = lambda: real() + 3600"
    code = f"{skew}; runpy.run_path(sys.argv[-1], run_name='__main__')"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.mark.parametrize("form", ["epoch", "iso"])
def test_a_constant_power_gives_watts_times_seconds_per_inference(small_models, tmp_path, form, monkeypatch):
    log = tmp_path / "power.csv"
    columns = {"timestamp": "time", "watts": "power"} if form == "iso" else {}
    with meter(log, form, 3.5):
        if form == "iso":
            ahead_of_time(tmp_path, monkeypatch)
        measured = measure(small_models, Energy(str(log), SECONDS, **columns))
    for run in (measured.candidate, measured.baseline):
        found = run.figures
        assert SECONDS <= found["energy_s"] < SECONDS + 0.5
        assert found["energy_inferences"] > 100
        expected = 3.5e6 * found["energy_s"] / found["energy_inferences"]
        assert found["energy_uj"] == pytest.approx(expected, rel=1e-6)
        assert found["energy_above_idle_uj"] == pytest.approx(0, abs=1e-6 * expected)
        assert found["power_w"] == found["idle_power_w"] == pytest.approx(3.5)


def test_a_clock_that_is_not_the_meters_is_noticed(small_models, tmp_path, monkeypatch):
    log = tmp_path / "power.csv"
    monkeypatch.setattr(module, "_LATE_S", 0.1)
    with meter(log, "epoch", 3.5):
        ahead_of_time(tmp_path, monkeypatch)
        with pytest.raises(
            DeviceError, match=r"power\.csv covers .* but idle ran from .*; check energy\.clock"
        ):
            measure(small_models, Energy(str(log), 0.2, clock="device"))


def test_what_is_drawn_above_idle_is_the_difference():
    """2 W idle, 5 W while the first model runs, 3 W for the other."""
    times = np.arange(10, 16, 0.01)
    watts = np.select([(times > 11.9) & (times < 13.1), (times > 13.9) & (times < 15.1)], [5, 3], 2)
    windows = [Window("a", 12, 13, 1000), Window("b", 14, 15, 50)]
    first, second = per_inference(Log(Path("log"), times, watts), Window("idle", 10.5, 11.5, 0), windows)
    assert (first["energy_uj"], first["energy_above_idle_uj"]) == pytest.approx((5000, 3000))
    assert (second["energy_uj"], second["energy_above_idle_uj"]) == pytest.approx((60_000, 20_000))
    assert (second["power_w"], second["idle_power_w"]) == pytest.approx((3, 2))


def test_the_integral_is_that_of_trapezoids_with_ends_between_samples():
    times = np.linspace(10, 20, 41)
    log = Log(Path("log"), times, 2 * times)  # a ramp: the integral is the difference of squares
    assert joules(log, Window("model", 12.1, 17.7, 1)) == pytest.approx(17.7**2 - 12.1**2)


@pytest.mark.parametrize(
    ("begin", "end", "message"),
    [
        (
            9,
            15,
            r"log covers 10\.000 to 20\.000, but model ran from 9\.000 to 15\.000, .*; check energy\.clock",
        ),
        (15, 21, r"log covers 10\.000 to 20\.000, but model ran from 15\.000 to 21\.000"),
        (15, 16, r"log has 3 lines while model ran for 1\.00 s, and 0\.25 s without any; log faster or"),
    ],
)
def test_a_log_that_does_not_tell_enough_is_refused(begin, end, message):
    times = np.linspace(10, 20, 41)
    with pytest.raises(DeviceError, match=message):
        joules(Log(Path("log"), times, times), Window("model", begin, end, 1))


def test_a_log_with_a_hole_is_refused():
    times = np.concatenate([np.linspace(10, 12, 50), np.linspace(18, 20, 50)])
    with pytest.raises(
        DeviceError, match=r"has 94 lines while model ran for 9\.80 s, and 6\.00 s without any"
    ):
        joules(Log(Path("log"), times, times), Window("model", 10.1, 19.9, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has the columns none, not timestamp, watts; name them in energy.timestamp and energy.watts"),
        ("timestamp,mW\n1,2\n", "has the columns timestamp, mW, not watts"),
        ("timestamp,watts\n", "holds no measurement; start the meter's log before the evaluation"),
        (
            "timestamp,watts\n1,2\n2,x\n",
            "line 3 is '2,x'; expected a time, in seconds since 1970 or ISO 8601,",
        ),
        ("timestamp,watts\n1,nan\n", "line 2 is '1,nan'; expected a time"),
        ("timestamp,watts\nnoon,2\n", "line 2 is 'noon,2'; expected a time"),
        ("timestamp,watts\n1\n", "line 2 is '1'; expected a time"),
        ("timestamp,watts\n5,1\n4,1\n", "goes back in time after 5.000; begin a new one"),
    ],
)
def test_a_broken_log_is_named_with_a_remedy(tmp_path, content, message):
    path = tmp_path / "power.csv"
    path.write_text(content)
    with pytest.raises(DeviceError, match=f"{path} {message}"):
        read_log(path, Energy(str(path)))


def test_a_line_that_is_being_written_does_not_count(tmp_path):
    path = tmp_path / "power.csv"
    path.write_text("\ufefftimestamp, watts\n1970-01-01T00:00:05Z, 1.5\n6,2\n7,")
    log = read_log(path, Energy(str(path)))
    assert (log.times_s.tolist(), log.watts.tolist()) == ([5, 6], [1.5, 2])


def test_a_log_that_is_absent_is_refused_before_anything_runs(small_models, tmp_path):
    device = LinuxDevice(LocalHost(), XNNPACK, TIMING, Energy(str(tmp_path / "none.csv")))
    nothing = Pair("tflite", small_models / "images.npy", small_models / "images.npy")
    with pytest.raises(DeviceError, match=r"none\.csv does not exist; start the meter's log before the eval"):
        device.measure(nothing, small_models / "images.npy")
