"""What every device must do: DeviceContract, run for each device of the registry."""

import dataclasses
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import psutil
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgepress.config.device import DEVICES as SECTIONS
from edgepress.config.device import Local, Timing
from edgepress.devices import prediction
from edgepress.devices.base import Device, Measurement, Pair
from edgepress.devices.client import start_runner
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.registry import DEVICES, open_device
from edgepress.errors import DeviceError

PAIRS = {
    "tflite int8": ("tflite", "int8.tflite", "float.tflite"),
    "tflite int8 with float ends": ("tflite", "int8_float_io.tflite", "float.tflite"),
    "tflite taking NCHW": ("tflite", "nchw.tflite", "float.tflite"),
    "onnxruntime int8": ("onnxruntime", "int8.onnx", "float.onnx"),
}


def make_pair(folder: Path, name: str) -> Pair:
    runtime, candidate, baseline = PAIRS[name]
    return Pair(runtime, folder / candidate, folder / baseline)


def expected_outputs(
    model: Path, images: np.ndarray, kernels: OpResolverType = OpResolverType.AUTO
) -> np.ndarray:
    """What the model gives in this process, one image after the other; `kernels` are LiteRT's."""
    if model.suffix == ".onnx":
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        inputs = images.astype(np.float32)[:, np.newaxis]
        return np.concatenate([session.run(None, {"input": each})[0] for each in inputs])
    interpreter = Interpreter(str(model), num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    return np.concatenate([run_tflite(interpreter, image[np.newaxis]) for image in images])


def run_tflite(interpreter: Interpreter, image: np.ndarray) -> np.ndarray:
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    image = image if tuple(source["shape"]) == image.shape else image.transpose(0, 2, 3, 1)
    if source["dtype"] is np.int8:
        scale, zero_point = source["quantization"]
        image = np.clip(np.round(image / np.float32(scale)) + zero_point, -128, 127)
    interpreter.set_tensor(source["index"], image.astype(source["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


class DeviceContract:
    """`resolvers` says what each of the device's runtimes reports to compute with.

    `kernels` are those of LiteRT that give the same, to the bit or, where the numbers are floats, within
    `tolerance` times their range; `refused` are the pairs that are not for the device.
    """

    name: str
    kind = "measured"
    kernels = OpResolverType.AUTO
    tolerance = 0.0
    refused: ClassVar[tuple[str, ...]] = ()
    resolvers: ClassVar = {"tflite": "BUILTIN with XNNPACK delegate", "onnxruntime": "CPUExecutionProvider"}

    @pytest.fixture(scope="class")
    @classmethod
    def device(cls) -> Device:
        raise NotImplementedError

    @pytest.fixture(scope="class", params=PAIRS)
    @classmethod
    def pair(cls, request: pytest.FixtureRequest, small_models: Path) -> Pair:
        if PAIRS[request.param][0] not in cls.resolvers:
            pytest.skip(f"{cls.name} has no {PAIRS[request.param][0]}")
        if request.param in cls.refused:
            pytest.skip(f"{cls.name} takes no {request.param}")
        return make_pair(small_models, request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def measured(cls, device: Device, pair: Pair, small_models: Path) -> Measurement:
        return device.measure(pair, small_models / "images.npy")

    def test_outputs_are_those_of_the_runtime(self, measured, pair, small_models):
        images = np.load(small_models / "images.npy")
        for run, model in ((measured.candidate, pair.candidate), (measured.baseline, pair.baseline)):
            expected = expected_outputs(model, images, self.kernels)
            integers = np.issubdtype(expected.dtype, np.integer)
            allowed = 0 if integers else self.tolerance * np.ptp(expected)
            np.testing.assert_allclose(run.output.astype(float), expected.astype(float), rtol=0, atol=allowed)
            assert run.output.dtype == expected.dtype
            assert run.output.std(axis=0).min() > 0

    def test_logits_of_the_candidate_are_close_to_those_of_the_baseline(self, measured):
        difference = np.abs(measured.candidate.logits - measured.baseline.logits)
        assert measured.candidate.logits.dtype == np.float32
        assert difference.max() < 0.1 * np.ptp(measured.baseline.logits)

    def test_codes_are_known_where_the_output_is_quantised(self, measured, pair):
        integer = pair.candidate.name.startswith("int8") and pair.runtime == "tflite"
        assert bool(measured.candidate.codes) == integer
        assert not measured.baseline.codes

    def test_the_kind_of_figures_is_told(self, measured):
        assert measured.kind == self.kind

    def test_latency_is_positive_and_of_both_models_where_it_is_measured(self, measured):
        for run in (measured.candidate, measured.baseline):
            assert (run.timings is not None) == (self.kind == "measured")
            if run.timings is None:
                continue
            assert run.timings.durations_ms.ndim == 3
            for times in (run.timings.durations_ms, run.timings.load_ms, run.timings.first_ms):
                assert (times > 0).all()

    def test_the_conditions_at_both_ends_are_told_where_it_is_timed(self, measured):
        assert (measured.conditions is not None) == (self.kind == "measured")
        if measured.conditions is not None:
            for end in (measured.conditions.before, measured.conditions.after):
                assert {"cpus", "governor", "frequency_mhz", "temperature_c", "throttled", "load"} <= set(end)

    def test_memory_is_that_of_a_small_process_where_it_is_measured(self, measured):
        for run in (measured.candidate, measured.baseline):
            assert (run.memory is not None) == (self.kind == "measured")
            if run.memory is None:
                continue
            assert 1e7 < run.memory.idle_bytes <= run.memory.peak_bytes < 2e8

    def test_the_machine_is_described_but_not_named(self, measured):
        assert {"cpu", "architecture", "cores", "fingerprint"} <= set(measured.machine)
        assert re.fullmatch("[0-9a-f]{12}", measured.machine["fingerprint"])
        assert "emulated" not in measured.machine
        hostname = Path("/proc/sys/kernel/hostname").read_text().strip()
        assert hostname not in measured.machine.values()

    def test_the_runtimes_are_those_that_it_says(self, device):
        assert set(device.runtimes) == set(self.resolvers)

    def test_what_ran_is_recorded(self, measured, pair):
        assert measured.op_resolver == self.resolvers[pair.runtime]
        assert measured.runtime_version[0].isdigit()

    def test_a_second_measurement_predicts_the_same(self, device, measured, pair, small_models):
        again = device.measure(pair, small_models / "images.npy")
        np.testing.assert_array_equal(again.candidate.output, measured.candidate.output)
        np.testing.assert_array_equal(again.baseline.output, measured.baseline.output)

    @pytest.mark.parametrize("name", ["tflite int8", "onnxruntime int8"])
    @pytest.mark.parametrize(
        "spoil", [lambda content: content[: len(content) // 2], lambda content: b"no model"]
    )
    def test_a_broken_model_is_named_with_a_remedy(self, device, small_models, tmp_path, name, spoil):
        pair = make_pair(small_models, name)
        if pair.runtime not in device.runtimes:
            pytest.skip(f"{self.name} has no {pair.runtime}")
        broken = tmp_path / pair.candidate.name
        broken.write_bytes(spoil(pair.candidate.read_bytes()))
        with pytest.raises(DeviceError, match=rf"{broken} in {pair.runtime}.*; delete it and run: dvc repro"):
            device.measure(dataclasses.replace(pair, candidate=broken), small_models / "images.npy")

    def test_an_absent_model_is_named_with_a_remedy(self, device, small_models, tmp_path):
        pair = dataclasses.replace(make_pair(small_models, "tflite int8"), baseline=tmp_path / "none.tflite")
        with pytest.raises(DeviceError, match=r"none\.tflite does not exist; make it with: dvc repro"):
            device.measure(pair, small_models / "images.npy")


class TestLocal(DeviceContract):
    name = "local"
    config = Local(
        XNNPACK,
        Timing(sittings=2, rounds=3, runs_per_round=4, warmup_s=0.1, ratio_width=9, budget_s=0),
    )

    @pytest.fixture(scope="class")
    @classmethod
    def device(cls) -> Device:
        return open_device(cls.config)

    def test_durations_are_of_the_rounds_asked_for(self, measured):
        assert measured.candidate.timings.durations_ms.shape == (2, 3, 4)
        assert measured.baseline.timings.durations_ms.shape == (2, 3, 4)

    def test_a_model_that_hangs_is_given_up(self, small_models, tmp_path):
        endless = tmp_path / "endless.tflite"
        os.mkfifo(endless)  # opening it waits for a writer
        pair = dataclasses.replace(make_pair(small_models, "tflite int8"), candidate=endless)
        device = LinuxDevice(LocalHost(), self.config.kernels, self.config.timing, timeout_s=2)
        with pytest.raises(
            DeviceError, match=r"endless\.tflite in tflite gave no answer to 'load' within 2 s; "
        ):
            device.measure(pair, small_models / "images.npy")

    def test_the_limit_that_is_told_is_that_of_the_request(self, small_models):
        model, kernels = small_models / "int8.tflite", self.config.kernels
        with (
            LocalHost().connect() as here,
            start_runner(here, "tflite", model, kernels, timeout_s=60) as runner,
            pytest.raises(DeviceError, match=r"gave no answer to 'rest' within 0\.5 s; "),
        ):
            runner.ask("rest", takes_s=-59.5, seconds=30)

    def test_a_missing_runtime_is_named_with_a_remedy(self, device, small_models, tmp_path, monkeypatch):
        python = tmp_path / "python"
        hide = "import runpy, sys; sys.modules['onnxruntime'] = None"
        code = f"{hide}; runpy.run_path(sys.argv[-1], run_name='__main__')"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(
            DeviceError, match=r"onnxruntime cannot be imported: .*; install onnxruntime with: make install"
        ):
            device.measure(make_pair(small_models, "onnxruntime int8"), small_models / "images.npy")

    @pytest.mark.parametrize(
        ("resolver", "expected"), [("builtin", "BUILTIN without delegate"), ("reference", "BUILTIN_REF")]
    )
    def test_the_kernels_are_those_that_are_asked_for(self, small_models, resolver, expected):
        kernels = dataclasses.replace(self.config.kernels, op_resolver=resolver)
        device = LinuxDevice(LocalHost(), kernels, None)
        measured = device.measure(make_pair(small_models, "tflite int8"), small_models / "images.npy")
        assert measured.op_resolver == expected
        assert measured.candidate.timings is None

    @pytest.mark.parametrize(
        ("runtime", "model"), [("tflite", "float.tflite"), ("onnxruntime", "float.onnx")]
    )
    def test_there_are_as_many_threads_as_are_asked_for(self, small_models, runtime, model):
        counts, path = [], small_models / model
        for threads in (1, 2, 3):
            kernels = dataclasses.replace(self.config.kernels, threads=threads)
            with LocalHost().connect() as here, start_runner(here, runtime, path, kernels, 60) as runner:
                runner.ask("load", model=str(path), threads=threads)
                counts.append(psutil.Process(runner.pid).num_threads())
        assert [count - counts[0] for count in counts] == [0, 1, 2]

    def test_a_slow_device_predicts_in_parts(self, small_models, monkeypatch):
        pair = make_pair(small_models, "tflite int8")
        device = LinuxDevice(LocalHost(), self.config.kernels, None)
        whole = device.measure(pair, small_models / "images.npy").candidate.output
        monkeypatch.setattr(prediction, "_PART_S", 0)  # a sample a part
        np.testing.assert_array_equal(
            device.measure(pair, small_models / "images.npy").candidate.output, whole
        )

    def test_the_processes_keep_to_the_cpus_that_are_asked_for(self, small_models):
        cpu = max(os.sched_getaffinity(0))
        kernels = dataclasses.replace(self.config.kernels, cpus=(cpu,))
        model = small_models / "int8.tflite"
        with LocalHost().connect() as here, start_runner(here, "tflite", model, kernels, 60) as runner:
            assert psutil.Process(runner.pid).cpu_affinity() == [cpu]

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            (
                "tflite int8",
                {"cpus": (0, 4095)},
                r"it cannot keep to CPUs \[0, 4095\]: \[4095\] .* it has: 0",
            ),
            ("tflite int8", {"delegate": "/absent.so"}, r"delegate /absent\.so cannot be loaded"),
            (
                "onnxruntime int8",
                {"execution_provider": "CUDAExecutionProvider"},
                r"onnxruntime has no CUDAExecutionProvider; it has: .*CPUExecutionProvider",
            ),
            (
                "onnxruntime int8",
                {"execution_provider": "AzureExecutionProvider"},
                "AzureExecutionProvider took no node of the model, so all of it ran on the CPU",
            ),
        ],
    )
    def test_what_the_machine_does_not_have_is_refused(self, small_models, name, change, message):
        device = LinuxDevice(LocalHost(), dataclasses.replace(self.config.kernels, **change), None)
        with pytest.raises(DeviceError, match=message + ".*change section device in params.yaml"):
            device.measure(make_pair(small_models, name), small_models / "images.npy")

    def test_a_library_that_is_no_delegate_is_refused(self, small_models):
        library = next(Path(onnxruntime.__file__).parent.rglob("*.so*"))
        device = LinuxDevice(
            LocalHost(), dataclasses.replace(self.config.kernels, delegate=str(library)), None
        )
        with pytest.raises(DeviceError, match=r"delegate .* cannot be loaded"):
            device.measure(make_pair(small_models, "tflite int8"), small_models / "images.npy")

    def test_there_are_more_sittings_until_the_ratio_is_certain(self, small_models):
        pair = make_pair(small_models, "tflite int8")

        def sittings(width: float, budget: float) -> int:
            timing = Timing(2, 1, 1, warmup_s=0, ratio_width=width, budget_s=budget)
            device = LinuxDevice(LocalHost(), self.config.kernels, timing)
            measured = device.measure(pair, small_models / "images.npy")
            return len(measured.candidate.timings.durations_ms)

        assert sittings(width=10, budget=60) == 2
        assert sittings(width=1e-9, budget=3) > 2

    def test_a_program_that_nobody_waits_for_ends_itself(self, small_models, tmp_path):
        endless = tmp_path / "endless.tflite"
        os.mkfifo(endless)  # opening it waits for a writer
        kernels = self.config.kernels
        with (
            LocalHost().connect() as here,
            tempfile.TemporaryFile() as log,
            here.start(kernels.threads, log) as process,
        ):
            for request in (
                {"do": "start", "runtime": "tflite"},
                {"do": "load", "model": str(endless), "threads": 1, "limit_s": 1},
            ):
                print(json.dumps(request), file=process.stdin, flush=True)
            assert process.wait(timeout=30) == -signal.SIGALRM

    def test_a_program_whose_host_is_gone_ends_in_the_middle_of_its_work(self, small_models):
        with (
            LocalHost().connect() as here,
            tempfile.TemporaryFile() as log,
            here.start(1, log) as process,
        ):
            for request in (
                {"do": "start", "runtime": "onnxruntime", "attended": True},
                {"do": "load", "model": str(small_models / "endless.onnx"), "threads": 1},
                {"do": "inputs", "path": str(small_models / "images.npy"), "layout": "auto"},
            ):
                print(json.dumps(request), file=process.stdin, flush=True)
                process.stdout.readline()
            print('{"do": "time", "runs": 1}', file=process.stdin, flush=True)
            children = psutil.Process(process.pid).children()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            process.stdin.close()
            assert process.wait(timeout=10) == -signal.SIGKILL
        psutil.wait_procs(children, timeout=10)
        assert not any(child.is_running() for child in children)
        assert len(children) == 1

    def test_a_process_that_dies_is_reported(self, device, small_models, tmp_path, monkeypatch):
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\nread request\necho out of luck >&2\nkill -SEGV $$\n")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(DeviceError, match=r"crashed at 'start' \(SIGSEGV: out of luck\)"):
            device.measure(make_pair(small_models, "tflite int8"), small_models / "images.npy")


def test_every_device_passes_the_contract():
    for file in Path(__file__).parent.glob("test_device_*.py"):
        importlib.import_module(f"tests.contracts.{file.stem}")
    assert {each.name for each in DeviceContract.__subclasses__()} == set(DEVICES) == set(SECTIONS)
