"""What a reader of latencies has to know: the machine's conditions, and where they are not to be trusted."""

from collections.abc import Iterator, Sequence
from typing import Any

from edgepress.config.device import Kernels, Timing
from edgepress.devices.base import Conditions
from edgepress.devices.statistics import Interval

_CHANGE = 0.1
"""A frequency that changed by no more than this share is the same."""


def conditions_report(found: Sequence[Conditions], kernels: Kernels | None) -> dict[str, Any] | None:
    """The machine's conditions before the first and after the last measurement; None where nothing was timed.

    What the machine does not tell is None. `cpus` is the number that the processes could use.
    """
    if not found:
        return None
    before, after = found[0].before, found[-1].after
    return {
        "cpus": before["cpus"],
        "governor": before["governor"],
        "frequency_mhz": before["frequency_mhz"],
        "frequency_after_mhz": after["frequency_mhz"],
        "max_frequency_mhz": before["max_frequency_mhz"],
        "temperature_c": before["temperature_c"],
        "temperature_after_c": after["temperature_c"],
        "throttled": after["throttled"],
        "load": before["load"],
        "load_after": after["load"],
        "page_cache": "warm",
        "warning": _joined(_of_machine(found, kernels)),
    }


def speedup_warning(found: Interval, steady: bool | None, timing: Timing | None) -> str | None:
    """Why a speed-up is not as certain as the configuration wants it, if so."""
    return _joined(_of_speedup(found, steady, timing))


def warnings(report: dict[str, Any]) -> Iterator[str]:
    """All of a `latency.json`, each with what it is about."""
    for name, section in report.items():
        if isinstance(section, dict) and section.get("warning"):
            yield f"{name}: {section['warning']}"


def _of_machine(found: Sequence[Conditions], kernels: Kernels | None) -> Iterator[str]:
    readings = [reading for each in found for reading in (each.before, each.after)]
    governor, cpus = readings[0]["governor"], readings[0]["cpus"]
    if governor not in (None, "performance"):
        yield (
            f"the CPUs' governor is {governor}, so their speed depends on what ran before; where you may,"
            " set it with: cpupower frequency-set --governor performance"
        )
    speeds = [each["frequency_mhz"] for each in readings if each["frequency_mhz"]]
    if speeds and max(speeds) > (1 + _CHANGE) * min(speeds):
        yield f"the CPUs' frequency changed between {min(speeds):.0f} and {max(speeds):.0f} MHz"
    if readings[-1]["throttled"]:
        yield "the machine was slowed down by heat or a weak supply; cool it"
    if kernels is not None and kernels.threads > cpus:
        yield f"{kernels.threads} threads share {cpus} CPUs; lower device.kernels.threads"


def _of_speedup(found: Interval, steady: bool | None, timing: Timing | None) -> Iterator[str]:
    if timing is not None and found.width > timing.ratio_width:
        yield (
            f"too noisy for the difference claimed: the 95% interval of the speed-up, {found.low:.2f} to"
            f" {found.high:.2f}, is wider than device.timing.ratio_width, {timing.ratio_width:g} of it, after"
            f" {timing.budget_s:g} s; stop what else runs, or set a larger device.timing.budget_s"
        )
    if steady is False:
        warmup = "" if timing is None else f" of {timing.warmup_s:g} s"
        yield f"the inferences did not become steady within device.timing.warmup_s{warmup}"


def _joined(texts: Iterator[str]) -> str | None:
    return ". ".join(texts) or None
