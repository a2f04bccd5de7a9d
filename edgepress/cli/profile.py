"""`edgepress profile`: what each operator of a model takes, beside its baseline's."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.artifacts import PREPARED, write_bytes
from edgepress.cli.output import add_json, tell
from edgepress.cli.parsing import Commands
from edgepress.errors import ConfigError, single_file

if TYPE_CHECKING:
    from edgepress.devices.base import Device, Files, Orders, RuntimeName

_RUNS = 100
_RUNTIMES: dict[str, "RuntimeName"] = {".tflite": "tflite", ".onnx": "onnxruntime"}


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add("profile", "tell what each operator takes, beside the baseline's")
    parser.add_argument("model", type=Path, nargs="?", help="a .tflite or .onnx; without: the pipeline's own")
    parser.add_argument(
        "--baseline", type=Path, metavar="MODEL", help="what to compare it with, layer by layer"
    )
    parser.add_argument(
        "--runs", type=int, default=_RUNS, metavar="N", help="inferences of each (%(default)s)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the same as CSV")
    add_json(parser)
    parser.set_defaults(run=_profile)


def _profile(options: argparse.Namespace) -> None:
    if options.runs < 1:
        raise ConfigError(f"--runs is {options.runs}; expected an integer >= 1")
    subjects = _subjects(options.model, options.baseline)

    from edgepress.profiling.profile import profile
    from edgepress.report.profile import profile_csv, profile_table, profile_values

    name, device = _device()
    profiles = []
    for runtime, models, inputs, orders in subjects:
        with _own_files(options.model is not None):
            profiles.append(profile(device, runtime, models, inputs, options.runs, orders))
        if not options.json:
            print(profile_table(profiles[-1]), end="\n\n", flush=True)
    if options.json:
        tell(options, "", {"device": name, "runtimes": {p.runtime: profile_values(p) for p in profiles}})
    if options.csv:
        write_bytes(options.csv, profile_csv({name: profiles}))


@contextmanager
def _own_files(given: bool) -> Iterator[None]:
    """A remedy for a file that the user names does not make it by the pipeline."""
    with single_file() if given else nullcontext():
        yield


def _subjects(
    model: Path | None, baseline: Path | None
) -> "list[tuple[RuntimeName, Sequence[Path], Files | None, Orders | None]]":
    """What to time: a runtime, a candidate, perhaps its baseline, their inputs, and how they store axes."""
    if model is None:
        if baseline is not None:
            raise ConfigError("--baseline is given without a model; name it, too: edgepress profile MODEL")
        from edgepress.datasets.prepared import input_files
        from edgepress.devices.conversion import load_conversion
        from edgepress.report.evaluation import pairs

        inputs = input_files(PREPARED / "test")
        return [(pair.runtime, pair.models, inputs, pair.orders) for pair in pairs(load_conversion())]
    models = [model, *([baseline] if baseline else [])]
    for path in models:
        if path.suffix not in _RUNTIMES or path.suffix != model.suffix:
            raise ConfigError(
                f"{path} cannot be profiled; expected a .tflite or .onnx, and the same for both"
            )
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; check the name")
    return [(_RUNTIMES[model.suffix], models, None, None)]


def _device() -> tuple[str, "Device"]:
    """The project's device and its name or, outside of a project, this computer."""
    from edgepress.config.device import CHOICES, Fleet, name_of
    from edgepress.config.load import PARAMS, load_choice
    from edgepress.devices.linux import LinuxDevice
    from edgepress.devices.local import LocalHost
    from edgepress.devices.prediction import XNNPACK
    from edgepress.devices.registry import open_device

    if not PARAMS.exists():
        return "local", LinuxDevice(LocalHost(), XNNPACK, None)
    config = load_choice("device", CHOICES)
    if isinstance(config, Fleet):
        raise ConfigError(
            "device is a fleet; profile its members one by one, after e.g.: edgepress compose device=local"
        )
    return name_of(config), open_device(config)
