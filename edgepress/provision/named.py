"""Devices by the names that users give them."""

import re
import tempfile
from pathlib import Path

from edgepress.config.composition import CONF, compose
from edgepress.config.device import CHOICES, DeviceConfig, Fleet
from edgepress.config.load import load_choice
from edgepress.errors import ConfigError
from edgepress.text import shown

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""No place in another folder, no option of ssh, and nothing that Hydra would resolve."""


def configuration(name: str) -> DeviceConfig:
    """The device of that name in conf/device/, else the board that ssh calls so.

    Raises:
        ConfigError: it is none, or what the file says is not valid.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise ConfigError(
            f"the device is called {shown(repr(name), 80)}; expected letters, digits and _ . -, of which "
            "the last two are not the first: a device of conf/device/, or a board as ssh calls it"
        )
    known = (CONF / "device" / f"{name}.yaml").exists()
    overrides = [f"device={name}"] if known else ["device=ssh", f"device.board={name}"]
    with tempfile.TemporaryDirectory() as folder:
        composed = Path(folder) / "params.yaml"
        composed.write_text(compose(overrides))
        config = load_choice("device", CHOICES, composed)
    if isinstance(config, Fleet):
        raise ConfigError(f"{name} is a fleet; name one of its members: {', '.join(config.members)}")
    return config
