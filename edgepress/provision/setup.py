"""`edgepress device setup`: how a device gets what it lacks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepress.artifacts import write_bytes
from edgepress.config.composition import CONF
from edgepress.config.device import Qemu, Ssh
from edgepress.devices.link import Link, open_link
from edgepress.devices.ssh import PYTHON, describe, probe
from edgepress.errors import DeviceError
from edgepress.provision.emulator import make_emulated_board
from edgepress.provision.named import configuration
from edgepress.provision.runtimes import locked_runtimes
from edgepress.text import shown

_SUITABLE = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
_MAKE = f'{PYTHON} -c "" 2> /dev/null || "$1" -m venv --clear venv'
_INSTALL = (
    f"{PYTHON} -m pip install --quiet --disable-pip-version-check --only-binary :all: "
    '--require-hashes --requirement runtimes.lock "$@"'
)

_INSTALL_LIMIT_S = 3600.0

Say = Callable[[str], None]


def setup(name: str, python: str, wheels: Path | None, say: Say) -> str:
    """Give a device the runtimes of this project's versions, in a folder of their own, and note what it is.

    `python` makes that folder, and `wheels` is a folder of packages for a board without internet.

    Raises:
        ConfigError, DeviceError: there is no such device, it is out of reach, or it takes no runtime.
    """
    config = configuration(name)
    if isinstance(config, Qemu):
        return make_emulated_board(say)
    if not isinstance(config, Ssh):
        raise DeviceError(
            f"{name} is not set up by this; for what it is and lacks, see: edgepress device check {name}"
        )
    with open_link(config.board, config.directory) as link:
        _install(link, python, wheels, say)
        machine = probe(link, PYTHON)["machine"]
    return _note(name, config, machine)


def _install(link: Link, python: str, wheels: Path | None, say: Say) -> None:
    status, _, words = link.attempt('"$1" -c "$2"', python, _SUITABLE)
    if status != 0:
        raise DeviceError(
            f"board {link.board!r} has no {python} of version 3.11 or newer with venv ({words or status}); "
            "install one there, e.g. apt install python3-venv, or name another with --python"
        )
    source = list[str]()
    if wheels is not None:
        say(f"sending the packages of {wheels}")
        link.run("mkdir -p wheels")
        for wheel in sorted(wheels.glob("*.whl")):
            link.send(wheel, f"wheels/{wheel.name}")
        source = ["--no-index", "--find-links", "wheels"]
    lock = locked_runtimes()
    link.send(lock, lock.name)
    say(f"installing LiteRT and ONNX Runtime on {link.board}: minutes")
    link.run(_MAKE, python, limit_s=_INSTALL_LIMIT_S)
    status, _, words = link.attempt(_INSTALL, *source, limit_s=_INSTALL_LIMIT_S)
    if status != 0:
        if "No space left" in words:
            raise link.failure(words)
        raise DeviceError(
            f"pip failed on board {link.board!r}: {words}; where it has no internet, give a folder of wheels "
            "for it with --wheels"
        )


def _note(name: str, config: Ssh, machine: dict[str, Any]) -> str:
    """Write what the board is to conf/device/, and tell how to use it."""
    path, what = CONF / "device" / f"{name}.yaml", _plain(describe(machine))
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
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    head = f"# made by: edgepress device setup {name}"
    write_bytes(path, "\n".join([head, "defaults:", "  - ssh", "  - _self_", "", *lines, ""]).encode())
    return f"wrote {path}: {use}"


def _plain(said: str) -> str:
    """What a board says of itself, as a value that YAML and OmegaConf take for nothing but a text."""
    return shown(said).replace("$", "?").replace("\\", "/")
