"""Arm's Ethos-U, as Arm's compiler Vela estimates it."""

import csv
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from edgepress.config.device import EthosU
from edgepress.devices.base import Device, Files, Measurement, ModelRun, Pair, RuntimeName
from edgepress.devices.client import start_runner
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost, environment
from edgepress.devices.pipes import EndlessOutputError, finished
from edgepress.devices.prediction import REFERENCE, TIMEOUT_S
from edgepress.devices.program.machine import short_hash
from edgepress.devices.requirements import require_models, require_package
from edgepress.errors import DeviceError
from edgepress.files import read
from edgepress.text import shown

_PACKAGE = "ethos-u-vela"
_OPTION_ERROR = re.compile(r"(?:Cli|Config)OptionError: ['\"](?:Error: )?(.*)['\"]$", re.MULTILINE)
_LEFT = re.compile(r"operator: .*, ofm: '(?P<name>.*)'\nReason: (?P<reason>.*)")


def open_ethos_u(config: EthosU) -> Device:
    """The accelerator that the configuration describes."""
    require_package("ethos_u", "ethosu", _PACKAGE)
    return EthosUDevice(config)


class Layer(NamedTuple):
    """Where Vela puts one of the model's operators, which makes the tensor `output`."""

    operator: str
    output: str
    on_npu: bool


class Estimate(NamedTuple):
    """What Vela says of a model.

    `summary` are the columns of its summary; `reasons` say of tensors why what makes them is left to the CPU.
    """

    summary: Mapping[str, str]
    layers: Sequence[Layer]
    reasons: Mapping[str, str]

    def left(self) -> list[str]:
        """The operators left to the CPU, each with its output and Vela's reason where it tells one."""
        return [self._why(layer) for layer in self.layers if not layer.on_npu]

    def figures(self) -> dict[str, Any]:
        """What is reported of it; the time is that of what the NPU runs."""
        return {
            "estimated_inference_ms": 1e3 * float(self.summary["inference_time"]),
            "estimated_cycles": round(float(self.summary["cycles_total"])),
            # On-chip flash is what Vela calls the part of the SRAM that holds constants, if it has one; no
            # system of Arm's has any other.
            "estimated_sram_bytes": self._bytes("sram") + self._bytes("on_chip_flash"),
            "estimated_dram_bytes": self._bytes("dram"),
            "estimated_flash_bytes": self._bytes("off_chip_flash"),
            "macs": round(float(self.summary["nn_macs"])),
            "cpu_operators": self.left(),
        }

    def _bytes(self, memory: str) -> int:
        return round(1024 * float(self.summary[f"{memory}_memory_used"]))

    def _why(self, layer: Layer) -> str:
        reason = self.reasons.get(layer.output)
        return f"{layer.operator} {layer.output}{f': {reason}' if reason else ''}"


class EthosUDevice(Device):
    """Estimates the candidate's time and memory on an Ethos-U; its baseline, in floats, would not run there.

    Vela compiles and estimates, and runs nothing: outputs are those of LiteRT's reference kernels on this
    computer.
    """

    runtimes: tuple[RuntimeName, ...] = ("tflite",)

    def __init__(self, config: EthosU) -> None:
        self._config = config

    def measure(self, pair: Pair, inputs: Files) -> Measurement:
        """See `Device`; a candidate of which the NPU could run nothing is refused before it runs."""
        require_models(pair.models)
        for model in pair.models:
            _require_sound(model)
        estimate = compile_model(pair.candidate, self._config)
        if not any(layer.on_npu for layer in estimate.layers):
            raise _nothing_for_the_npu(pair.candidate, estimate)
        reference = LinuxDevice(LocalHost(), REFERENCE, None).measure(pair, inputs)
        figures = estimate.figures()
        return replace(
            reference,
            candidate=_told(reference.candidate, figures),
            baseline=_told(reference.baseline, dict.fromkeys(figures)),
            machine=self._machine(estimate.summary),
            kind="estimated",
            runtime_version=version(_PACKAGE),
            op_resolver=f"{reference.op_resolver} of LiteRT {reference.runtime_version}, on this computer",
        )

    def _machine(self, summary: Mapping[str, str]) -> dict[str, Any]:
        """All that the estimate depends on but the model; the fingerprint is one of that."""
        family, _, macs = self._config.accelerator.rpartition("-")
        machine = {
            "cpu": self._config.accelerator,
            "architecture": family,
            "cores": 2 if (family, macs) == ("ethos-u65", "512") else 1,
            "system": summary["system_config"],
            "memory_mode": summary["memory_mode"],
            "clock_hz": round(float(summary["core_clock"])),
            "optimise": self._config.optimise,
        }
        said = json.dumps([machine, version(_PACKAGE)], sort_keys=True)
        return {**machine, "fingerprint": short_hash(said)}


def compile_model(model: Path, config: EthosU) -> Estimate:
    """Let Vela compile a `.tflite`, and read what it estimates.

    Raises:
        DeviceError: it cannot, or does not take the configuration.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = _vela(model, config, folder)
        reasons = {found["name"]: found["reason"] for found in _LEFT.finditer(said)}
        try:
            (summary,) = folder.glob("model_summary_*.csv")
            row = next(csv.DictReader(read(summary).decode().splitlines()))
            estimate = Estimate(row, _layers(folder / "model_per-layer.csv"), reasons)
            estimate.figures()
        except (ValueError, KeyError, TypeError, OverflowError, StopIteration, csv.Error) as error:
            what = f"Vela's tables of {model} cannot be read ({type(error).__name__}: {shown(error, 100)})"
            raise DeviceError(f"{what}; are its tensors' names odd? Choose another device") from error
        return estimate


def _vela(model: Path, config: EthosU, folder: Path) -> str:
    """What Vela prints; its files lie in `folder` afterwards, under names that begin with `model`."""
    source = folder / "model.tflite"
    source.symlink_to(model.resolve())
    choices = {
        "accelerator-config": config.accelerator,
        "system-config": config.system_config,
        "memory-mode": config.memory_mode,
        "optimise": config.optimise,
        "output-dir": str(folder),
    }
    options = [f"--{name}={value}" for name, value in choices.items() if value is not None]
    command = [sys.executable, "-I", "-m", "ethosu.vela", str(source), *options]
    command += ["--verbose-performance", "--show-cpu-operations"]
    try:
        status, said, words = finished(command, TIMEOUT_S, cwd=folder, env=environment(1))
    except EndlessOutputError as error:
        raise DeviceError(f"Vela prints {error} on {model}; choose another device") from None
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"Vela did not compile {model} within {TIMEOUT_S:g} s; choose another device"
        ) from None
    if status != 0:
        raise _failure(model, status, words)
    return said


def _failure(model: Path, status: int, words: str) -> DeviceError:
    refused = _OPTION_ERROR.search(words)
    if refused:
        return DeviceError(f"Vela refuses section device: {refused[1]}; change it in params.yaml")
    lines = words.strip().splitlines() or [f"exit status {status}"]
    return DeviceError(f"Vela cannot compile {model}: {lines[-1][:300]}; choose another device")


def _layers(table: Path) -> list[Layer]:
    """The rows of Vela's table, which does not quote: the last column, a name, may hold commas."""
    if not table.exists():  # the model has no operator
        return []
    head, *lines = read(table).decode().splitlines()
    columns = head.split(",")
    rows = [dict(zip(columns, line.split(",", len(columns) - 1), strict=True)) for line in lines]
    return [Layer(row["Original Operator"], row["Name"], row["Target"] == "NPU") for row in rows]


def _require_sound(model: Path) -> None:
    """Let LiteRT load the model, which checks files; on damaged ones Vela crashes."""
    with (
        LocalHost().connect() as here,
        start_runner(here, "tflite", model, REFERENCE, TIMEOUT_S) as runner,
    ):
        runner.ask("load", model=str(model), threads=1, kernels={"resolver": "reference"})


def _nothing_for_the_npu(model: Path, estimate: Estimate) -> DeviceError:
    names = sorted({layer.operator for layer in estimate.layers})
    reasons = sorted(set(estimate.reasons.values()))
    why = f" ({reasons[0]})" if reasons else ""
    what = f"{model} has no operator that an Ethos-U runs: {', '.join(names)}{why}"
    return DeviceError(f"{what}; quantise it with -S quant=int8")


def _told(run: ModelRun, figures: Mapping[str, Any]) -> ModelRun:
    return replace(run, memory=None, figures=figures)
