"""An architecture with random weights, as a network worth measuring, and as ONNX.

Freshly made networks are degenerate: BatchNormalization has unit statistics, residual branches are scaled by
0 or 1e-6, logits hardly vary. So what was constant is drawn, the statistics are those of real images, and the
last layer is fitted to tell ten kinds of crop apart.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.zoo.architectures import Architecture
from tests.zoo.photos import CLASSES, crops

_AUXILIARY = ("googlenet", "inception_v3")
"""These have heads that are for training only."""


def import_torchvision() -> Any:
    """torchvision; where its compiled part does not fit PyTorch's build, with its operators declared."""
    assert importlib.util.find_spec("torchvision") is not None
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        import torchvision
    return torchvision


_KEPT: list[Any] = []
"""A library's definitions end with it."""


def make(architecture: Architecture) -> nn.Module:
    """The network in evaluation mode, from images (N, 3, size, size) to its outputs, always the same."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = _fresh(architecture)
    images, classes = crops(80, architecture.size, seed=1)
    _draw_constants(net)
    _take_statistics(net, torch.from_numpy(images[:40]))
    _fit_classifier(net, torch.from_numpy(images), classes)
    return net.eval()


def export(architecture: Architecture, target: Path) -> None:
    """Write the network as PyTorch's exporter does by default, for one image at a time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(1, 3, architecture.size, architecture.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(make(architecture), (example,), dynamo=True, verbose=False)
    assert program is not None
    program.save(target)


def _fresh(architecture: Architecture) -> nn.Module:
    torchvision = import_torchvision()
    if architecture.library == "timm":
        import timm

        return timm.create_model(architecture.name, num_classes=CLASSES)
    models = torchvision.models
    if "ssd" in architecture.name:
        return _Detector(_without_backbone(architecture.name))
    if "seg" in models.get_model_builder(architecture.name).__module__:
        return _Segmenter(_without_backbone(architecture.name))
    options = {"aux_logits": False, "init_weights": True} if architecture.name in _AUXILIARY else {}
    return models.get_model(architecture.name, weights=None, num_classes=CLASSES, **options)


def _without_backbone(name: str) -> Any:
    """A network that would otherwise download the weights of its backbone."""
    return import_torchvision().models.get_model(
        name, weights=None, weights_backbone=None, num_classes=CLASSES
    )


class _Segmenter(nn.Module):
    """The logits of each pixel, without the dictionary around them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)["out"]


class _Detector(nn.Module):
    """The class logits and box offsets of each anchor: what runs on a device before NMS."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.backbone, self.head = net.backbone, net.head

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.head(list(self.backbone(images).values()))
        return outputs["cls_logits"], outputs["bbox_regression"]


def _draw_constants(net: nn.Module) -> None:
    """Scales, shifts and layer scales that begin as one value get many.

    BatchNormalization shifts upwards, as trained networks do. With shifts around 0, random networks are
    chaotic: each rectifier cuts half of what it gets, and a rounding in an early layer grows with depth
    (Yang et al., "A Mean Field Theory of Batch Normalization", 2019) until the output is noise.
    """
    shifted = {
        id(module.bias) for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    for name, values in net.named_parameters():
        if values.numel() > 1 and values.min() == values.max():
            if id(values) in shifted:
                nn.init.normal_(values, 1, 0.5)
            elif name.endswith(("bias", "beta")):
                nn.init.normal_(values, 0, 0.1)
            else:
                nn.init.uniform_(values, 0.5, 1)
        elif values.numel() == 1 and "gain" in name:
            nn.init.constant_(values, 0.7)


@torch.no_grad()
def _take_statistics(net: nn.Module, images: torch.Tensor) -> None:
    """BatchNormalization's running statistics become those of `images`; nothing else changes."""
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    for batch in images.split(20):
        net(batch)
    net.eval()


@torch.no_grad()
def _fit_classifier(net: nn.Module, images: torch.Tensor, classes: np.ndarray) -> None:
    """Ridge regression from the features of `images` to their classes, into each last layer.

    A convolution that ends a segmenter or detector gets, at each place and for each anchor, what tells the
    whole image's class from its mean features. Linear heads share the images, so that no two are alike.
    """
    targets = torch.eye(CLASSES, dtype=torch.double)[classes] * 8
    heads = [module for name, module in net.named_modules() if _classifies(name, module)]
    shares = sum(isinstance(head, nn.Linear) for head in heads)
    for number, head in enumerate(heads):
        features: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs, kept=features: kept.append(inputs[0]))
        for batch in images.split(20):
            net(batch)
        hook.remove()
        x = torch.cat(features).flatten(2).mean(2) if features[0].ndim == 4 else torch.cat(features)
        own = slice(number, None, shares) if isinstance(head, nn.Linear) else slice(None)
        weights, bias = _ridge(x[own].double(), targets[own])
        repeats = len(head.weight) // CLASSES
        head.weight.copy_(weights.T.repeat(repeats, 1).reshape(head.weight.shape))
        if head.bias is not None:
            head.bias.copy_(bias.repeat(repeats))


def _classifies(name: str, module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        last = "classif" in name or name.endswith("head.fc")
        return last and module.kernel_size == (1, 1) and module.out_channels % CLASSES == 0
    return isinstance(module, nn.Linear) and module.out_features == CLASSES


def _ridge(x: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (features, classes) and bias (classes,) from x (n, features) to targets (n, classes)."""
    centre = x.mean(0)
    kernel = (x - centre) @ (x - centre).T
    ridge = kernel.trace() / len(x) * torch.eye(len(x))
    weights = (x - centre).T @ torch.linalg.solve(kernel + ridge, targets)
    return weights, targets.mean(0) - centre @ weights
