"""What has to be there before a device starts."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from edgepress.errors import DeviceError


def require_models(models: Sequence[Path]) -> None:
    """Refuse models of which a file is absent.

    Raises:
        DeviceError: one is.
    """
    for model in models:
        if not model.exists():
            raise DeviceError(f"{model} does not exist; make it with: dvc repro")


def require_package(device: str, module: str, distribution: str) -> None:
    """Refuse a device whose package, which is optional, is not installed.

    Raises:
        DeviceError: it is not.
    """
    if importlib.util.find_spec(module) is None:
        remedy = remedy_for(device)
        raise DeviceError(f"device {device} needs the package {distribution}, which is absent; {remedy}")


def remedy_for(device: str) -> str:
    """How to install what a device needs."""
    return f"install it with: pip install -e '.[{device.replace('_', '-')}]'"
