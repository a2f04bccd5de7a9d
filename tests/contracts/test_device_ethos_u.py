"""Arm's Ethos-U as Vela estimates it: the contract of devices, the figures, and what is refused."""

import configparser
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, get_args

import ethosu.vela
import pytest
from ai_edge_litert.interpreter import OpResolverType
from ethosu.vela.architecture_features import Accelerator as VelasAccelerator

from edgepress.config.device import CHOICES, Accelerator, EthosU, MemoryMode, SystemConfig
from edgepress.config.schema import choose
from edgepress.devices.base import Device, Pair
from edgepress.devices.ethos_u import compile_model
from edgepress.devices.registry import open_device
from edgepress.errors import ConfigError, DeviceError
from edgepress.report.results import render
from tests.contracts.test_device import DeviceContract, make_pair
from tests.last_stage import add_stages, make_project, run_stage

U55 = EthosU("ethos-u55-128", None, None, "Performance")
U65 = EthosU("ethos-u65-256", None, None, "Performance")
ESTIMATES = ("estimated_inference_ms", "estimated_cycles", "estimated_sram_bytes")


class TestEthosU(DeviceContract):
    name = "ethos_u"
    kind = "estimated"
    kernels = OpResolverType.BUILTIN_REF
    refused = ("tflite taking NCHW",)  # a float model
    resolvers: ClassVar = {"tflite": f"BUILTIN_REF of LiteRT {version('ai-edge-litert')}, on this computer"}

    @pytest.fixture(scope="class")
    @classmethod
    def device(cls) -> Device:
        return open_device(U55)

    def test_the_candidate_has_estimates_and_the_baseline_none(self, measured):
        for key in (*ESTIMATES, "estimated_flash_bytes"):
            assert measured.candidate.figures[key] > 0
        assert set(measured.baseline.figures) == set(measured.candidate.figures)
        assert set(measured.baseline.figures.values()) == {None}

    def test_the_machine_is_the_accelerator(self, measured):
        assert (measured.machine["cpu"], measured.machine["clock_hz"]) == ("ethos-u55-128", 500_000_000)

    @pytest.mark.parametrize("candidate", ["float", "float16", "nchw"])
    def test_a_float_candidate_is_refused_before_it_runs(self, device, small_models, candidate):
        pair = Pair("tflite", small_models / f"{candidate}.tflite", small_models / "float.tflite")
        message = (
            rf"{candidate}\.tflite has no operator that an Ethos-U runs: Conv2D, .* \(.* unsupported "
            r"DataType Float32 .*\); quantise it with -S quant=int8$"
        )
        with pytest.raises(DeviceError, match=message):
            device.measure(pair, small_models / "absent.npy")


def figures(model: Path, config: EthosU) -> dict[str, Any]:
    return compile_model(model, config).figures()


def test_accelerators_differ(small_models):
    model = small_models / "int8.tflite"
    found = [figures(model, config) for config in (U55, U65)]
    for key in ESTIMATES[:2]:
        assert found[0][key] != found[1][key]
    assert [each["estimated_flash_bytes"] > 0 for each in found] == [True, False]
    assert [each["estimated_dram_bytes"] > 0 for each in found] == [False, True]
    assert found[0]["macs"] == found[1]["macs"] > 0


def test_time_is_cycles_at_the_clock_of_the_system(small_models):
    deep = EthosU("ethos-u55-128", "Ethos_U55_Deep_Embedded", "Shared_Sram", "Performance")
    found = figures(small_models / "int8.tflite", deep)
    assert found["estimated_inference_ms"] == pytest.approx(found["estimated_cycles"] / 200e6 * 1e3)


def test_constants_in_the_sram_are_counted_there(small_models):
    only = EthosU("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Sram_Only", "Performance")
    found, shared = (figures(small_models / "int8.tflite", config) for config in (only, U55))
    assert found["estimated_flash_bytes"] == 0
    assert found["estimated_sram_bytes"] > shared["estimated_sram_bytes"]


def test_what_is_left_to_the_cpu_is_listed_with_the_reason(small_models):
    assert figures(small_models / "int8.tflite", U55)["cpu_operators"] == []
    left = figures(small_models / "int8_float_io.tflite", U55)["cpu_operators"]
    assert [line.split(" ")[0] for line in left] == ["Quantize", "Dequantize"]
    assert re.fullmatch(r"Quantize \S+: Operation has tensor with unsupported DataType Float32 .*", left[0])
    assert re.fullmatch(r"Dequantize \S+: Unsupported opType", left[1])


def test_a_memory_mode_that_the_system_has_not_is_refused(small_models):
    wrong = EthosU("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Dedicated_Sram", "Performance")
    message = r"^Vela refuses section device: .*arena_mem_area=OffChipFlash .*; change it in params\.yaml$"
    with pytest.raises(DeviceError, match=message):
        open_device(wrong).measure(make_pair(small_models, "tflite int8"), small_models / "images.npy")


def test_a_system_of_another_accelerator_is_refused():
    section = {
        "name": "ethos_u",
        "accelerator": "ethos-u65-256",
        "system_config": "Ethos_U55_Deep_Embedded",
        "memory_mode": None,
        "optimise": "Size",
    }
    message = (
        r"system_config is 'Ethos_U55_Deep_Embedded'; expected for ethos-u65-256 one of: Ethos_U65_Embedded"
    )
    with pytest.raises(ConfigError, match=message):
        choose(CHOICES, section, "device")


def test_the_choices_are_those_of_vela():
    parser = configparser.ConfigParser()
    parser.read(Path(ethosu.vela.__file__).parents[1] / "config_files/Arm/vela.ini")
    sections = [name.split(".") for name in parser.sections()]
    assert {name for kind, name in sections if kind == "System_Config"} == set(get_args(SystemConfig))
    assert {name for kind, name in sections if kind == "Memory_Mode"} == set(get_args(MemoryMode))
    assert VelasAccelerator.member_list() == list(get_args(Accelerator))


def test_without_the_package_the_device_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ethosu", None)
    message = (
        r"^device ethos_u needs the package ethos-u-vela, which is absent; install it with: pip install -e "
    )
    with pytest.raises(DeviceError, match=message + r"'\.\[ethos-u\]'$"):
        open_device(U55)


def test_the_stage_reports_estimates_in_place_of_times(small_models, tmp_path, monkeypatch):
    section = {"name": "ethos_u", "accelerator": "ethos-u55-128", "optimise": "Performance"}
    project = make_project(tmp_path, small_models, {**section, "system_config": None, "memory_mode": None})
    (project / "models/convert-tflite/model.tflite").write_bytes(
        (small_models / "int8_float_io.tflite").read_bytes()
    )
    done = run_stage(project)
    assert done.returncode == 0, done.stderr
    latency = json.loads((project / "metrics/latency.json").read_text())
    tflite = latency["tflite"]
    assert (latency["kind"], tflite["p50_ms"]) == ("estimated", None)
    assert done.stdout.endswith(
        f", estimated {tflite['estimated_inference_ms']:.3f} ms, {tflite['estimated_cycles']:,} cycles; "
        "2 operators are left to the CPU, and not in it\n"
    )
    add_stages(project)
    monkeypatch.chdir(project)
    text = render()
    assert "\nestimated on ethos-u55-128 (ethos-u55):\n" in text
    assert re.search(
        r"gzip ratio +estimated time +estimated cycles +estimated SRAM +estimated flash\ntflite .* 0\.9 kB\n",
        text,
    )
    assert "\nLeft to the CPU, and not in the estimate:\n  Quantize tfl.quantize: Operation has " in text
