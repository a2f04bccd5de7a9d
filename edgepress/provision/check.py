"""`edgepress device check`: what a device is, has and does at the moment."""

import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from edgepress.config.device import Adb, DeviceConfig, EthosU, Qemu, Ssh, Tflm
from edgepress.devices.adb import AdbHost
from edgepress.devices.answers import answered, parse_answer
from edgepress.devices.host import PROBE, Host
from edgepress.devices.link import Link, open_link
from edgepress.devices.local import LocalHost
from edgepress.devices.phone import Phone
from edgepress.devices.pipes import EndlessOutputError, communicate, last_words
from edgepress.devices.qemu import SETUP, QemuHost
from edgepress.devices.requirements import remedy_for
from edgepress.devices.ssh import PYTHON, describe, probe
from edgepress.errors import DeviceError
from edgepress.provision.named import configuration
from edgepress.provision.runtimes import RUNTIMES
from edgepress.text import shown

_PATIENCE_S = 120.0


class Told(NamedTuple):
    """What a device tells: a label and words for each fact, and all of it as plain values."""

    lines: list[tuple[str, str]]
    values: dict[str, Any]

    def text(self) -> str:
        """The facts, a line each."""
        return "\n".join(f"{label:<16}{shown(words)}" for label, words in self.lines)


def check(name: str) -> Told:
    """What a device is, has and does at the moment.

    Raises:
        ConfigError, DeviceError: there is no such device, or it is out of reach.
    """
    return _told(name, configuration(name))


def _told(name: str, config: DeviceConfig) -> Told:
    if isinstance(config, Ssh):
        with open_link(config.board, config.directory) as link:
            return _found(_probe_any(link), f"edgepress device setup {name}")
    if isinstance(config, Adb):
        return _phone(config)
    if isinstance(config, Qemu):
        return _found(_probe(QemuHost(config.cpu)), SETUP)
    packages = {Tflm: "tflite-micro", EthosU: "ethos-u-vela"}
    here = _probe(LocalHost())
    if type(config) not in packages:
        return _found(here, "make install")
    return _with_package(_found(here, "make install"), packages[type(config)], name)


def _probe_any(link: Link) -> dict[str, Any]:
    """With the board's own Python as long as ours is not there."""
    status, _, _ = link.attempt(f"test -x {PYTHON}")
    return probe(link, PYTHON if status == 0 else "python3")


def _phone(config: Adb) -> Told:
    phone = Phone(config.serial, config.directory)
    machine = phone.machine()
    if config.python is None:
        return Told(_machine(machine), {"machine": machine})
    found = _probe(AdbHost(phone, config.python))
    return _found({**found, "machine": machine}, f"{config.python} -m pip, there")


def _probe(host: Host) -> dict[str, Any]:
    """What a host says of itself through the program.

    Raises:
        DeviceError: it is out of reach, or the program does not run there.
    """
    with host.connect() as there, tempfile.TemporaryFile() as log, there.start(1, log) as process:
        try:
            output, _ = communicate(process, PROBE, _PATIENCE_S)
        except (subprocess.TimeoutExpired, EndlessOutputError) as error:
            process.kill()
            output, why = "", f"{shown(error)} came"
        else:
            why = last_words(log, 300) or str(process.returncode)
        try:
            answer = _last_line(output)
            if process.returncode == 0 and answer:
                return answered(parse_answer(answer, "probe"))
        except ValueError as error:
            why = f"it answers with {error}"
        explained = there.explain(process.returncode or 0, why)
        what, remedy = explained or (f"does not run the program ({why})", f"repair it with: {there.repair}")
        raise DeviceError(f"the device {what}; {remedy}")


def _last_line(output: str) -> str:
    """The answer; what comes before it is a greeting."""
    return next((line for line in reversed(output.splitlines()) if line.strip()), "")


def _with_package(told: Told, package: str, device: str) -> Told:
    """With a package that this device alone needs."""
    try:
        found, words = version(package), version(package)
    except PackageNotFoundError:
        found, words = None, f"missing; {remedy_for(device)}"
    packages = {**told.values["packages"], package: found}
    return Told([*told.lines, (package, words)], {**told.values, "packages": packages})


def _found(found: dict[str, Any], remedy: str) -> Told:
    """What the program on the device tells; `remedy` installs the packages that it lacks."""
    return Told(_lines(found, remedy), found)


def _machine(machine: dict[str, Any]) -> list[tuple[str, str]]:
    return [("machine", f"{describe(machine)}, fingerprint {machine['fingerprint']}")]


def _lines(found: dict[str, Any], remedy: str) -> list[tuple[str, str]]:
    machine, now = found["machine"], found["conditions"]
    return [
        *_machine(machine),
        ("system", str(found["system"])),
        ("memory", f"{found['memory_bytes'] / 1e9:.1f} GB"),
        ("free disk", f"{found['disk_free_bytes'] / 1e9:.1f} GB"),
        ("clock", _clock(now)),
        ("temperature", _or_unknown(now["temperature_c"], "{:.0f} °C")),
        ("throttled", {True: "yes", False: "no", None: "unknown"}[now["throttled"]]),
        ("load", _or_unknown(now["load"], "{:.2f}")),
        ("Python", found["python"]),
        *((name, _package(name, found["packages"][name], remedy)) for name in RUNTIMES),
    ]


def _clock(now: dict[str, Any]) -> str:
    frequency, most = (_or_unknown(now[key], "{:.0f} MHz") for key in ("frequency_mhz", "max_frequency_mhz"))
    return f"{frequency} (at most: {most}, governor: {now['governor'] or 'unknown'})"


def _package(name: str, found: str | None, remedy: str) -> str:
    if found is None:
        return f"missing; install it with: {remedy}"
    wanted = version(name)
    return found if found == wanted else f"{found}, but this project has {wanted}; change it with: {remedy}"


def _or_unknown(value: float | None, form: str) -> str:
    return "unknown" if value is None else form.format(value)
