"""`edgepress device setup` and `check`: what a device is and has, and how it gets what it lacks."""

import json
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgepress.artifacts import write_bytes
from edgepress.config.composition import CONF, compose
from edgepress.config.device import CHOICES, DeviceConfig, Fleet, Qemu, Ssh
from edgepress.config.load import load_choice
from edgepress.devices.link import Link, open_link
from edgepress.devices.local import probe_here
from edgepress.devices.qemu import SETUP, arm_python
from edgepress.devices.ssh import PYTHON, describe, probe
from edgepress.errors import ConfigError, DeviceError
from edgepress.provision.emulator import make_emulated_board

RUNTIMES = ("ai-edge-litert", "onnxruntime")

_SUITABLE = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
_MAKE = f'{PYTHON} -c "" 2> /dev/null || "$1" -m venv --clear venv'
_INSTALL = f'{PYTHON} -m pip install --quiet --disable-pip-version-check --only-binary :all: "$@"'
_INSTALL_LIMIT_S = 3600.0

Say = Callable[[str], None]


def check(name: str) -> str:
    """What a device is, has and does at the moment, a line each.

    Raises:
        ConfigError, DeviceError: there is no such device, or it is out of reach.
    """
    config = _configuration(name)
    if isinstance(config, Ssh):
        with open_link(config.board, config.directory) as link:
            found, remedy = _probe_any(link), f"edgepress device setup {name}"
    elif isinstance(config, Qemu):
        found, remedy = probe_here(arm_python(config.cpu)), SETUP
    else:
        found, remedy = probe_here([sys.executable]), "make install"
    return "\n".join(f"{key:<16}{value}" for key, value in _lines(found, remedy))


def setup(name: str, python: str, wheels: Path | None, say: Say) -> str:
    """Give a device the runtimes of this project's versions, in a folder of their own, and note what it is.

    `python` makes that folder, and `wheels` is a folder of packages for a board without internet.

    Raises:
        ConfigError, DeviceError: there is no such device, it is out of reach, or it takes no runtime.
    """
    config = _configuration(name)
    if isinstance(config, Qemu):
        return make_emulated_board(say)
    if not isinstance(config, Ssh):
        raise DeviceError(
            f"{name} needs no setup: make install has made it; look with edgepress device check {name}"
        )
    with open_link(config.board, config.directory) as link:
        _install(link, python, wheels, say)
        machine = probe(link, PYTHON)["machine"]
    return _note(name, config, machine)


def _configuration(name: str) -> DeviceConfig:
    """The device of that name in conf/device/, else the board that ssh calls so."""
    known = (CONF / "device" / f"{name}.yaml").exists()
    overrides = [f"device={name}"] if known else ["device=ssh", f"device.board={name}"]
    with tempfile.TemporaryDirectory() as folder:
        composed = Path(folder) / "params.yaml"
        composed.write_text(compose(overrides))
        config = load_choice("device", CHOICES, composed)
    if isinstance(config, Fleet):
        raise ConfigError(f"{name} is a fleet; name one of its members: {', '.join(config.members)}")
    return config


def _probe_any(link: Link) -> dict[str, Any]:
    """With the board's own Python as long as ours is not there."""
    status, _, _ = link.attempt(f"test -x {PYTHON}")
    return probe(link, PYTHON if status == 0 else "python3")


def _install(link: Link, python: str, wheels: Path | None, say: Say) -> None:
    status, _, words = link.attempt('"$1" -c "$2"', python, _SUITABLE)
    if status != 0:
        raise DeviceError(
            f"board {link.board!r} has no {python} of version 3.10 or newer with venv ({words or status}); "
            "install one there, e.g. apt install python3-venv, or name another with --python"
        )
    source = list[str]()
    if wheels is not None:
        say(f"sending the packages of {wheels}")
        link.run("mkdir -p wheels")
        for wheel in sorted(wheels.glob("*.whl")):
            link.send(wheel, f"wheels/{wheel.name}")
        source = ["--no-index", "--find-links", "wheels"]
    packages = [f"{package}=={version(package)}" for package in RUNTIMES]
    say(f"installing {' and '.join(packages)} on {link.board}: minutes")
    link.run(_MAKE, python, limit_s=_INSTALL_LIMIT_S)
    status, _, words = link.attempt(_INSTALL, *source, *packages, limit_s=_INSTALL_LIMIT_S)
    if status != 0:
        if "No space left" in words:
            raise link.failure(words)
        raise DeviceError(
            f"pip failed on board {link.board!r}: {words}; where it has no internet, give a folder of wheels "
            "for it with --wheels"
        )


def _note(name: str, config: Ssh, machine: dict[str, Any]) -> str:
    """Write what the board is to conf/device/, and tell how to use it."""
    path, what = CONF / "device" / f"{name}.yaml", describe(machine)
    use = f"{name} is {what}; use it with: dvc exp run -S device={name}"
    if path.exists():
        if config.fingerprint not in (None, machine["fingerprint"]):
            raise DeviceError(
                f"{path} says that {name} is {config.machine} with fingerprint {config.fingerprint}, but "
                f"{what} with {machine['fingerprint']} answers; delete the file to note the new one"
            )
        return use
    values = {
        "board": config.board,
        "directory": config.directory,
        "machine": what,
        "fingerprint": machine["fingerprint"],
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in values.items()]
    head = f"# made by: edgepress device setup {name}"
    write_bytes(path, "\n".join([head, "defaults:", "  - ssh", "  - _self_", "", *lines, ""]).encode())
    return f"wrote {path}: {use}"


def _lines(found: dict[str, Any], remedy: str) -> list[tuple[str, str]]:
    machine, now = found["machine"], found["conditions"]
    return [
        ("machine", f"{describe(machine)}, fingerprint {machine['fingerprint']}"),
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
