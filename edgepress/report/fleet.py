"""What `evaluate-on-device` does: it measures on one device, or on all of a fleet, and reports."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepress.config.device import MEASURE_AGAIN, DeviceConfig, Fleet, Timing, name_of
from edgepress.datasets.prepared import Description, Split
from edgepress.devices.base import Device, Files, Pair
from edgepress.devices.registry import open_device
from edgepress.errors import DeviceError
from edgepress.profiling.profile import Profile, profile
from edgepress.report import evaluation
from edgepress.report.caveats import warnings


@dataclass(frozen=True)
class Samples:
    """The test split, whose raw inputs also lie in .npy files, by the names of inputs."""

    inputs: Files
    split: Split
    description: Description


@dataclass(frozen=True)
class Evaluation:
    """The contents of `accuracy.json`, `latency.json` and `confusion.csv`, and a line for each runtime.

    `profiles` are by the devices' names, for `profile.csv`, if any are asked for.
    """

    accuracy: evaluation.Report
    latency: evaluation.Report
    confusion: bytes
    lines: Sequence[str]
    profiles: Mapping[str, Sequence[Profile]]

    @property
    def warnings(self) -> list[str]:
        """What takes from the worth of the figures, see `caveats`."""
        members = self.latency.get("members", {"": self.latency})
        return [f"{name} {each}".strip() for name, report in members.items() for each in warnings(report)]


def evaluate(config: DeviceConfig | Fleet, pairs: Sequence[Pair], data: Samples) -> Evaluation:
    """Measure each pair, where the device has its runtime, on the device or on each member of the fleet.

    Raises:
        DeviceError: the device, or all members, failed.
    """
    if isinstance(config, Fleet):
        return _evaluate_fleet(config, pairs, data)
    return _evaluate(config, pairs, data)


def _evaluate(config: DeviceConfig, pairs: Sequence[Pair], data: Samples) -> Evaluation:
    device = open_device(config)
    present = [pair for pair in pairs if pair.runtime in device.runtimes]
    if not present:
        raise DeviceError(
            f"device {name_of(config)} runs .tflite files alone, but convert=none makes none; choose another "
            "device, e.g. -S device=local, or convert=nhwc"
        )
    measured = {pair.runtime: device.measure(pair, data.inputs) for pair in present}
    for measurement in measured.values():
        evaluation.check_outputs(measurement, data.description.classes)
    accuracy = evaluation.accuracy_report(measured, data.split.y)
    latency = evaluation.latency_report(measured, config)
    first = next(iter(measured.values()))
    confusion = evaluation.confusion_csv(first.candidate, data.split.y, data.description.class_names)
    lines = [f"{name} {evaluation.summary(accuracy[name], latency[name])}" for name in measured]
    timing: Timing | None = getattr(config, "timing", None)
    timed = [pair for pair in present if measured[pair.runtime].kind == "measured"]
    profiles = [_profile(device, pair, data, timing) for pair in timed if timing and timing.profile]
    return Evaluation(accuracy, latency, confusion, lines, {name_of(config): profiles})


def _profile(device: Device, pair: Pair, data: Samples, timing: Timing) -> Profile:
    runs = timing.rounds * timing.runs_per_round
    return profile(device, pair.runtime, pair.models, data.inputs, runs, pair.orders)


def _evaluate_fleet(fleet: Fleet, pairs: Sequence[Pair], data: Samples) -> Evaluation:
    """Of each member, one after the other; the confusion is that of the first which tells outputs."""
    found, failed = dict[str, Evaluation](), dict[str, DeviceError]()
    for name, config in fleet.members.items():
        try:
            found[name] = _evaluate(config, pairs, data)
        except DeviceError as error:
            failed[name] = error
            print(f"warning: member {name} failed: {error}", file=sys.stderr, flush=True)
    if not found:
        raise DeviceError(f"all members of the fleet failed; the last one, {name}: {failed[name]}")
    if failed:
        names = ", ".join(failed)
        print(f"warning: without {names}; when repaired, run: {MEASURE_AGAIN}", file=sys.stderr, flush=True)
    return Evaluation(
        _members(fleet, {name: each.accuracy for name, each in found.items()}, failed),
        _members(fleet, {name: each.latency for name, each in found.items()}, failed),
        max((each.confusion for each in found.values()), key=lambda table: table.count(b"\n") > 1),
        [f"{name}: {line}" for name, each in found.items() for line in each.lines],
        {name: profiles for name, each in found.items() for profiles in each.profiles.values()},
    )


def _members(
    fleet: Fleet, reports: Mapping[str, evaluation.Report], failed: Mapping[str, DeviceError]
) -> evaluation.Report:
    """All reports in the fleet's order; that of a member that failed is its error."""
    members = {name: reports.get(name) or {"error": str(failed[name])} for name in fleet.members}
    return {"members": members}
