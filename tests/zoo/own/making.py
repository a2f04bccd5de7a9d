"""A network of our own with random weights, made worth measuring, and written as ONNX.

As PyTorch makes them, layers weaken what passes through, until biases are all that is left and the output
is the same for every input. So each layer of weights is scaled and shifted as it runs for the first time, so
that what it gives has variance 1 and mean 0 in each channel (Mishkin and Matas, "All you need is a good
init", 2016), and BatchNormalization gets the statistics of a few samples.
"""

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from tests.zoo.own.network import Network, Sample

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_STATISTICS = 8


def export(network: Network, target: Path) -> None:
    """Write the network as its exporter does, always the same."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = network.make()
        if isinstance(made, onnx.ModelProto):
            onnx.checker.check_model(made, full_check=True)
            onnx.save(made, target)
            return
        samples = network.samples(_STATISTICS, seed=1)
        enliven(made, samples)
        _write(network, made, samples[0], target)


@torch.no_grad()
def enliven(net: nn.Module, samples: list[Sample]) -> None:
    """Scale the layers and take BatchNormalization's statistics, in place; scripted parts stay as made."""
    net.eval()
    hooks = []
    for module in net.modules():
        if isinstance(module, _LAYERS):
            hooks.append(module.register_forward_hook(_Scaling()))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0.3, 0.3)
            hooks.append(module.register_forward_pre_hook(_Statistics()))
    for sample in samples:
        net(*(torch.from_numpy(values) for values in sample.values()))
    for hook in hooks:
        hook.remove()


class _Scaling:
    """A hook that scales and shifts its layer when that first runs."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self, layer: Any, _: Any, output: torch.Tensor) -> torch.Tensor:
        if self._done or output.numel() < 2:
            return output
        self._done = True
        channels = output if isinstance(layer, nn.Linear) else output.transpose(1, -1)
        several = channels.numel() > channels.shape[-1]
        mean = channels.flatten(0, -2).mean(0) if several else channels.mean()
        deviation = (channels - mean).std().clamp_min(1e-3)
        layer.weight /= deviation
        if layer.bias is None:
            return output / deviation
        layer.bias.sub_(mean).div_(deviation)
        scaled = (channels - mean) / deviation
        return scaled if isinstance(layer, nn.Linear) else scaled.transpose(1, -1)


class _Statistics:
    """A hook that gives BatchNormalization the statistics of all that came so far."""

    def __init__(self) -> None:
        self._seen: list[torch.Tensor] = []

    def __call__(self, norm: Any, inputs: tuple[torch.Tensor]) -> None:
        self._seen.append(inputs[0].transpose(0, 1).flatten(1))
        joined = torch.cat(self._seen, 1)
        norm.running_mean.copy_(joined.mean(1))
        if joined.shape[1] > 1:  # of one number there is no variance: it stays 1
            norm.running_var.copy_(joined.var(1))


def _write(network: Network, net: nn.Module, sample: Sample, target: Path) -> None:
    arguments = tuple(torch.from_numpy(values) for values in sample.values())
    names = {"input_names": list(sample), "output_names": list(network.outputs)}
    if network.exporter.startswith("TorchScript"):
        torch.onnx.export(
            torch.jit.script(net) if network.exporter.endswith("script") else net,
            arguments,
            target,
            dynamo=False,
            opset_version=network.opset,
            dynamic_axes={name: dict(axes) for name, axes in network.open_axes.items()},
            **names,
        )
        return
    program = torch.onnx.export(
        net,
        arguments,
        dynamo=True,
        verbose=False,
        optimize=network.exporter == "dynamo",
        opset_version=network.opset,
        dynamic_shapes=[dict(network.open_axes.get(name, {})) for name in sample]
        if network.open_axes
        else None,
        **names,
    )
    assert program is not None
    program.save(target)
