"""The networks of timm and torchvision, made for any number of channels and classes."""

import difflib
import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from edgepress.config.model import Timm
from edgepress.errors import ConfigError

_EXTRA = "pip install -e '.[timm]'"
_SHOWN = 5


def build(input_shape: tuple[int, ...], classes: int, config: Timm) -> nn.Module:
    """The network `config.name`, from images (N, *input_shape) to logits (N, classes).

    With weights from elsewhere, those of the first layer are summed or repeated where the images have other
    channels, and those of the last one are new where there are other classes.

    Raises:
        ConfigError: the libraries are not installed, the name is unknown, or there are no such weights.
    """
    library, name = _resolved(config.name)
    net = _FRESH[library](name, input_shape, classes)
    state = _state(config, library, name, input_shape)
    if state is not None:
        _load(net, state, config)
    return net


def expected_scaling(config: Timm) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of what the library's weights were trained on, of values in [0, 1]."""
    library, name = _resolved(config.name)
    if library == "timm":
        known = _imported("timm").get_pretrained_cfg(name)
    else:
        known = _torchvision_weights(name).transforms()
    return tuple(known.mean), tuple(known.std)


def _imported(module: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"model=timm needs {error.name}, which is not installed; install it with: {_EXTRA}"
        ) from error
    except Exception as error:  # a wheel that does not fit PyTorch's raises what it likes
        raise ConfigError(
            f"model=timm needs {module}, which does not work here ({_line(error)}); install it again with: "
            f"{_EXTRA}"
        ) from error


def _resolved(wanted: str) -> tuple[str, str]:
    """The library and its name for a network; timm comes first."""
    prefix, _, rest = wanted.rpartition("/")
    timm, zoo = _imported("timm"), _imported("torchvision.models")
    names = zoo.list_models(module=zoo)
    if prefix in ("", "timm") and timm.is_model(rest):
        return "timm", rest
    if prefix in ("", "torchvision") and rest in names:
        return "torchvision", rest
    near = difflib.get_close_matches(rest, [*timm.list_models(), *names], n=_SHOWN)
    hint = f"names close to it: {', '.join(dict.fromkeys(near))}" if near else "see: timm.list_models()"
    raise ConfigError(
        f"model.name is {wanted!r}; expected a network of timm {timm.__version__}, or of torchvision "
        f"(as torchvision/NAME where both have one); {hint}"
    )


def _of_timm(name: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    options = {"in_chans": input_shape[0], "num_classes": classes, **_sized(name, input_shape)}
    net = _imported("timm").create_model(name, **options)
    assert isinstance(net, nn.Module)
    return net


def _sized(name: str, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """What timm must be told of a network that is made for images of one size."""
    known = _imported("timm").get_pretrained_cfg(name)
    return {"img_size": input_shape[1:]} if known is not None and known.fixed_input_size else {}


def _of_torchvision(name: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    zoo = _imported("torchvision.models")
    auxiliary = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net: nn.Module = zoo.get_model(name, weights=None, num_classes=classes, **auxiliary)
    _set_input_channels(net, input_shape[0])
    return net


_FRESH = {"timm": _of_timm, "torchvision": _of_torchvision}


def _set_input_channels(net: nn.Module, channels: int) -> None:
    """Put a new convolution in the place of the first, where that is for another number of channels."""
    name, first = next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    if first.in_channels == channels:
        return
    options = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation")}
    fresh = nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **options)
    above, _, own = name.rpartition(".")
    setattr(net.get_submodule(above), own, fresh)


def _state(
    config: Timm, library: str, name: str, input_shape: tuple[int, ...]
) -> dict[str, torch.Tensor] | None:
    """The weights that are asked for, as the library names them; None where they are to be random."""
    if config.weights is not None:
        return _from_file(config)
    if not config.pretrained:
        return None
    try:
        if library == "timm":
            sized = _sized(name, input_shape)
            return dict(_imported("timm").create_model(name, pretrained=True, **sized).state_dict())
        return dict(_torchvision_weights(name).get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # of the network, the hub's client or the library's own
        raise ConfigError(
            f"model.pretrained is true, but the weights of {config.name} cannot be had ({_line(error)}); "
            "give a file of them: -S model.weights=FILE, or go without: -S model.pretrained=false"
        ) from error


def _torchvision_weights(name: str) -> Any:
    return _imported("torchvision.models").get_model_weights(name).DEFAULT


def _from_file(config: Timm) -> dict[str, torch.Tensor]:
    path = Path(str(config.weights))
    if not path.is_file():
        raise ConfigError(f"model.weights is {config.weights!r}, which is no file; check the name")
    try:
        return dict(_imported("timm.models").load_state_dict(str(path)))
    except Exception as error:  # unpickling, or safetensors, of a file that may hold anything
        raise ConfigError(
            f"model.weights is {config.weights!r}, which holds no weights ({_line(error)}); expected a state "
            "dict, as torch.save(net.state_dict(), path) writes it"
        ) from error


def _load(net: nn.Module, state: Mapping[str, torch.Tensor], config: Timm) -> None:
    """Give the network these weights, its first and last layer fitted."""
    own, fitted = net.state_dict(), dict(state)
    stem, head = _ends(net)
    for name in stem:
        if name in state and name in own and state[name].shape != own[name].shape:
            fitted[name] = _other_channels(state[name], own[name].shape[1])
    for name in head:
        if name in state and name in own and state[name].shape != own[name].shape:
            fitted[name] = own[name]
    auxiliary = [name for name in fitted if name not in own and name.startswith(("aux", "AuxLogits"))]
    for name in auxiliary:
        del fitted[name]
    try:
        net.load_state_dict(fitted)
    except RuntimeError as error:
        raise ConfigError(
            f"the weights of {config.weights or 'the library'} are not those of {config.name} "
            f"({_line(error)}); name the network that they are of: -S model.name=NAME"
        ) from error


def _ends(net: nn.Module) -> tuple[list[str], list[str]]:
    """The names of the first convolution's weights, and of those that depend on the number of classes."""
    known = getattr(net, "pretrained_cfg", {})
    layers = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    stem, head = known.get("first_conv") or layers[0], known.get("classifier") or layers[-1]
    stems, heads = ([each] if isinstance(each, str) else list(each) for each in (stem, head))
    return [f"{name}.weight" for name in stems], [f"{n}.{part}" for n in heads for part in ("weight", "bias")]


def _other_channels(kernel: torch.Tensor, channels: int) -> torch.Tensor:
    """A kernel (O, C, kH, kW) for another number of input channels, which gives grey images what it gave."""
    mean = kernel.sum(dim=1, keepdim=True) / channels
    return mean.repeat(1, channels, 1, 1)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
