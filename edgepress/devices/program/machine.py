"""What a device is, has and does at the moment, as Linux tells it; needs Python alone."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.devices.program.answers import Answer, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator


def probe() -> Answer:
    """What the device is, has and does at the moment; None where it does not tell."""
    return {
        "machine": machine(),
        "emulated": emulated(),
        "conditions": conditions(),
        "system": _system(),
        "python": platform.python_version(),
        "packages": {name: _installed(name) for name in ("numpy", "ai-edge-litert", "onnxruntime")},
        "memory_bytes": _total_memory(),
        "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
    }


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far: VmHWM, which unlike ru_maxrss no parent adds to."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RequestError("request", "/proc/self/status has no VmHWM; a device needs Linux")


def machine() -> Answer:
    """What it is, without a name: `fingerprint`, a salted hash, tells whether two are one and the same."""
    kind = {"cpu": _cpu_name(), "architecture": platform.machine(), "cores": os.cpu_count()}
    own = {"system": platform.system(), "fingerprint": _fingerprint(kind)}
    return {**kind, **own}


def conditions(system: Path = Path("/sys")) -> Answer:
    """What changes how fast the CPUs are that it may use: clock, heat, load; None where it does not tell."""
    cpus = sorted(os.sched_getaffinity(0))
    clocks = [system / f"devices/system/cpu/cpu{cpu}/cpufreq" for cpu in cpus]
    governors = {_text(folder / "scaling_governor") for folder in clocks}
    return {
        "cpus": len(cpus),
        "governor": ", ".join(sorted(filter(None, governors))) or None,
        "frequency_mhz": _largest((each / "scaling_cur_freq" for each in clocks), 1e3) or _cpuinfo_mhz(),
        "max_frequency_mhz": _largest((each / "cpuinfo_max_freq" for each in clocks), 1e3),
        "temperature_c": _largest((system / "class/thermal").glob("thermal_zone*/temp"), 1e3),
        "throttled": _throttled(system),
        "load": _load(),
    }


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # Android keeps it to itself
        return None


def _throttled(system: Path) -> bool | None:
    """Whether heat slows the CPUs down; of a Raspberry Pi, whether anything has since it was started."""
    flags = _text(system / "devices/platform/soc/soc:firmware/get_throttled")
    if flags is not None:
        return int(flags, 16) != 0
    coolers = (system / "class/thermal").glob("cooling_device*")
    states = [_text(each / "cur_state") for each in coolers if "cpu" in (_text(each / "type") or "")]
    return any(state not in (None, "0") for state in states) if states else None


def emulated() -> bool:
    """Whether this is QEMU's emulation of one process: it shows the program, but each thread is QEMU."""
    return Path("/proc/self/exe").readlink() != Path("/proc/thread-self/exe").readlink()


def _fingerprint(kind: Answer) -> str:
    identity = [_text(Path(p)) for p in ("/etc/machine-id", "/proc/device-tree/serial-number")]
    said = json.dumps(["edgepress", *identity, kind], sort_keys=True)
    return short_hash(said)


def short_hash(text: str) -> str:
    """What tells a text from others, in 12 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cpu_name() -> str:
    board = _text(Path("/proc/device-tree/model"))
    return board or _cpuinfo("model name") or _cpuinfo("Model") or platform.machine()


def _cpuinfo_mhz() -> float | None:
    found = _cpuinfo("cpu MHz")
    return float(found) if found else None


def _cpuinfo(key: str) -> str | None:
    """The first value of that name in /proc/cpuinfo."""
    lines = (line.split(":", 1) for line in (_text(Path("/proc/cpuinfo")) or "").splitlines() if ":" in line)
    return next((value.strip() for name, value in lines if name.strip() == key), None)


def _system() -> str | None:
    lines = (_text(Path("/etc/os-release")) or "").splitlines()
    names = [line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
    return f"{names[0]}, Linux {platform.release()}" if names else None


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    """What a file of the system says; None if it is not there or not to be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _largest(paths: Iterator[Path], unit: float) -> float | None:
    values = [float(value) / unit for value in map(_text, paths) if value]
    return max(values, default=None)


def keep_to(cpus: list[int]) -> None:
    """Let this process run on these CPUs alone.

    Raises:
        RequestError: one of them is not there.
    """
    has = sorted(os.sched_getaffinity(0))
    absent = sorted(set(cpus) - set(has))  # of several, Linux would leave out those without a word
    if absent:
        names = ", ".join(map(str, has))
        raise RequestError("device", f"it cannot keep to CPUs {cpus}: {absent} are absent; it has: {names}")
    os.sched_setaffinity(0, cpus)
