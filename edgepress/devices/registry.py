"""The devices, by the name that `device` has in the configuration; each is imported when it is asked for."""

import importlib

from edgepress.config.device import DeviceConfig, name_of
from edgepress.devices.base import Device

DEVICES = {
    "adb": "edgepress.devices.adb:open_adb",
    "ethos_u": "edgepress.devices.ethos_u:open_ethos_u",
    "local": "edgepress.devices.linux:open_local",
    "ssh": "edgepress.devices.ssh:open_ssh",
    "tflm": "edgepress.devices.tflm:open_tflm",
    "qemu_aarch64": "edgepress.devices.qemu:open_qemu",
}


def open_device(config: DeviceConfig) -> Device:
    """The device that a configuration describes."""
    module, function = DEVICES[name_of(config)].split(":")
    device: Device = getattr(importlib.import_module(module), function)(config)
    return device
