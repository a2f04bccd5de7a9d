"""The networks that converters are compared on.

It imports nothing of this project, since peers' environments run it too.

`python networks.py NAME FOLDER`, in the main environment, makes a network with the statistics of the images
in `calibration.npy` and writes `NAME.pt`, `NAME.onnx` and, for those in `compared.npy`, `NAME.outputs.npy`.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SIZE = 224
NETWORKS = {
    "mobilenet_v2": "torchvision",
    "resnet18": "torchvision",
    "efficientnet_lite0": "timm",
    "mobilenet_v3_small": "torchvision",
}
"""Each network, and the package that holds it."""


def fresh(name: str) -> nn.Module:
    """An architecture with the weights that it begins with, the same in each process."""
    torch.manual_seed(0)
    torchvision = _torchvision()
    if NETWORKS[name] == "torchvision":
        net: nn.Module = torchvision.models.get_model(name, weights=None)
    else:
        import timm

        net = timm.create_model(name)
    return net.eval()


def stored(path: Path) -> nn.Module:
    """The network of `path`, named after it, with the weights and statistics in it."""
    net = fresh(path.stem)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def make(name: str, images: torch.Tensor) -> nn.Module:
    """The architecture with drawn scales and shifts and with the statistics of `images` (N, 3, H, W).

    So BatchNormalization is no identity, and activations have the ranges of a network that sees images.
    """
    net = fresh(name)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.1)
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        net(images)
    return net.eval()


def export(net: nn.Module, target: Path) -> None:
    """Write ONNX as PyTorch's exporter does by default, for one image at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(net, (torch.zeros(1, 3, SIZE, SIZE),), dynamo=True, verbose=False)
    assert program is not None
    program.save(target)


def _torchvision() -> Any:
    """torchvision; where its compiled part does not fit PyTorch's build, its operators are declared."""
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        import torchvision
    return torchvision


_KEPT: list[Any] = []
"""A library's definitions end with it."""


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    net = make(name, torch.from_numpy(np.load(folder / "calibration.npy")))
    torch.save(net.state_dict(), folder / f"{name}.pt")
    export(net, folder / f"{name}.onnx")
    with torch.no_grad():
        outputs = net(torch.from_numpy(np.load(folder / "compared.npy")))
    np.save(folder / f"{name}.outputs.npy", outputs.numpy())


if __name__ == "__main__":
    main()
