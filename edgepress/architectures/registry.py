"""The architectures one can choose, and the user's own.

To add one: a module here, a class in `config/model.py`, a line in `NETWORKS`.
"""

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import numpy as np
import torch
from torch import nn

from edgepress.config.model import CHOICES, Custom, ModelConfig, Timm
from edgepress.errors import ConfigError

NETWORKS = {
    "resnet8": "edgepress.architectures.resnet8:ResNet8",
    "mobilenet_v1": "edgepress.architectures.mobilenet_v1:MobileNetV1",
    "ds_cnn": "edgepress.architectures.ds_cnn:DsCnn",
    "mlp": "edgepress.architectures.mlp:Mlp",
    "timm": "edgepress.architectures.timm:build",
}
"""From `model.name` to a class called with input shape, classes and config; imported only when chosen."""


def build(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network, from images (N, *input_shape) to logits (N, classes), with fresh random weights.

    Raises:
        ConfigError: the user's own class cannot be imported or called, lies outside `model.source`, or gives
            another shape.
    """
    if isinstance(config, Custom):
        return _build_custom(config, input_shape, classes)
    name = next(name for name, cls in CHOICES.items() if cls is type(config))
    net = resolve_name(NETWORKS[name])(input_shape, classes, config)
    assert isinstance(net, nn.Module)
    if isinstance(config, Timm):  # of which not all take images of any size
        _check_output(net, f"model.name {config.name}", input_shape, classes)
    return net


def input_scaling(
    config: ModelConfig, mean: Sequence[float], std: Sequence[float], value_range: tuple[float, float]
) -> tuple[Sequence[float], Sequence[float]]:
    """The mean and standard deviation per channel to normalise inputs with.

    They are the data's own, but with weights from elsewhere those that these were trained with, moved from
    [0, 1] to the data's `value_range`. Images of other than three channels get the mean of the three.
    """
    if not isinstance(config, Timm) or not (config.pretrained or config.weights):
        return mean, std
    from edgepress.architectures.timm import expected_scaling

    channels, (low, high) = len(mean), value_range
    means, stds = (v if len(v) == channels else (np.mean(v),) * channels for v in expected_scaling(config))
    return [float(low + m * (high - low)) for m in means], [float(s * (high - low)) for s in stds]


def _build_custom(config: Custom, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    make = _imported(config)
    what = f"model._target_ {config._target_}"
    try:
        net = make(input_shape=input_shape, classes=classes, **config.arguments)
    except Exception as error:  # the user's code may raise anything
        raise ConfigError(
            f"{what} cannot be made from input_shape={input_shape}, classes={classes} and model.arguments "
            f"{dict(config.arguments)}: {reason(error)}"
        ) from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{what} makes {type(net).__name__}; expected a torch.nn.Module")
    _check_output(net, what, input_shape, classes)
    return net


def _imported(config: Custom) -> type[nn.Module]:
    """The class (or function) at `_target_`, proven to lie in `source`."""
    module_name, _, attribute = config._target_.rpartition(".")
    before = set(sys.modules)
    try:
        with _first_on_path(str(Path.cwd())):
            module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"model._target_ {config._target_} cannot be imported: {reason(error)}; expected a dotted path "
            "that starts in the project's folder, e.g. my_net.MyNet"
        ) from error
    _check_source(config, module, before)
    if not callable(found := getattr(module, attribute, None)):
        raise ConfigError(
            f"model._target_ is {config._target_!r} but {module_name} has no class {attribute}; "
            f"expected one of: {', '.join(_classes(module)) or 'a class defined there'}"
        )
    return found  # type: ignore[no-any-return]


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    """Modules are found in the folder first, and afterwards in it last.

    So the user's modules come before any others of their names, but to no one else: a `statistics.py` in the
    project is not what PyTorch gets when it imports Python's.
    """
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _check_source(config: Custom, module: ModuleType, before: set[str]) -> None:
    """Refuse user code outside `source`, the DVC dependency: an edit elsewhere would go unnoticed."""
    new = [sys.modules[name] for name in sorted(set(sys.modules) - before)]
    for imported in (*new, module):
        path = Path(getattr(imported, "__file__", None) or "")
        if (imported is module or _is_users(path)) and not _inside(path, Path(config.source)):
            raise ConfigError(
                f"model.source is {config.source!r}, but model._target_ {config._target_} needs {path}, "
                "where an edit would go unnoticed; expected the file or folder that holds all of it"
            )


def _is_users(path: Path) -> bool:
    """Whether a module's file is code in the user's project: not an environment's, edgepress's, or empty."""
    others = (Path(sys.prefix), Path(__file__).parents[1])
    mine = _inside(path, Path.cwd()) and not any(_inside(path, other) for other in others)
    return mine and path.stat().st_size > 0


def _inside(path: Path, source: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(source.resolve())


def _classes(module: ModuleType) -> list[str]:
    found = vars(module).items()
    return [name for name, value in found if isinstance(value, type) and value.__module__ == module.__name__]


def _check_output(net: nn.Module, what: str, input_shape: tuple[int, ...], classes: int) -> None:
    training = net.training
    try:
        with torch.no_grad():
            logits = net.eval()(torch.zeros(2, *input_shape))
    except Exception as error:
        raise ConfigError(
            f"{what} cannot take inputs of shape {(2, *input_shape)}: {reason(error)}"
        ) from error
    net.train(training)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise ConfigError(
            f"{what} gives {shape} for 2 inputs of shape {input_shape}; expected logits (2, {classes})"
        )


def reason(error: Exception) -> str:
    """The error in one line, with the last line of the user's own that led to it."""
    message = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(Path(f.filename))]
    return f"{message} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else message
