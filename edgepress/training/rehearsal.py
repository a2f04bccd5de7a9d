"""One step of training before there is a first epoch, to tell what a network's own code would end it with."""

import math

import torch
from torch import nn
from torch.nn import functional

from edgepress.architectures.registry import reason
from edgepress.datasets.prepared import Split
from edgepress.errors import UnsupportedModelError
from edgepress.training.loop import prefer_channels_last, tensor

_SAMPLES = 8
_ALIKE = 1e-3


def rehearse_training(net: nn.Module, training: Split) -> None:
    """Take one step with a few samples (n, C, H, W), in training mode, and look at what the network gives.

    Raises:
        UnsupportedModelError: it has nothing to train, numbers that are not float32, gives something else
            than logits in training mode, or shares instead of logits.
    """
    _require_float32_parameters(net)
    inputs = tensor(training.inputs(slice(_SAMPLES)), prefer_channels_last(net))
    classes = torch.from_numpy(training.y[:_SAMPLES].copy())
    try:
        outputs = net.train()(inputs)
    except Exception as error:  # the user's code may raise anything
        raise UnsupportedModelError(
            f"the network cannot take inputs of shape {tuple(inputs.shape)} in training mode: {reason(error)}"
        ) from error
    loss = functional.cross_entropy(_logits(outputs, inputs), classes)
    if not math.isfinite(float(loss.detach())):
        raise UnsupportedModelError(
            f"the loss is {float(loss.detach())} with the network's initial weights; expected a finite "
            "number. Look for a division by zero or a logarithm of zero in its forward"
        )
    _require_gradients(net, loss)
    _refuse_shares(net, inputs)


def _require_float32_parameters(net: nn.Module) -> None:
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UnsupportedModelError(
            "the network has no parameters to train; expected at least one that requires a gradient. A "
            "trained network comes in as a file: -S model=onnx -S model.path=FILE"
        )
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        numbers = value.is_floating_point() or value.is_complex()
        if numbers and value.dtype != torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            raise UnsupportedModelError(
                f"{name.removeprefix('net.')} of the network is {kind}; expected float32. Make it with "
                "dtype=torch.float32, or call .float() at the end of the constructor"
            )


def _logits(outputs: object, inputs: torch.Tensor) -> torch.Tensor:
    """The outputs, proven to be one tensor of logits for each input."""
    if not isinstance(outputs, torch.Tensor):
        raise UnsupportedModelError(
            f"in training mode the network gives {_described(outputs)}; expected logits (N, classes) alone. "
            "Switch its auxiliary outputs off (in torchvision aux_logits=False), or give back the first"
        )
    if outputs.ndim != 2 or len(outputs) != len(inputs):
        raise UnsupportedModelError(
            f"in training mode the network gives {tuple(outputs.shape)} for {len(inputs)} inputs; expected "
            "logits (N, classes), as in evaluation mode"
        )
    return outputs


def _described(outputs: object) -> str:
    if isinstance(outputs, dict):
        return f"a {type(outputs).__name__} with the keys {', '.join(map(str, outputs))}"
    many = f" of {len(outputs)}" if isinstance(outputs, list | tuple) else ""
    return f"a {type(outputs).__name__}{many}"


def _require_gradients(net: nn.Module, loss: torch.Tensor) -> None:
    """Refuse a network of which no parameter can learn, e.g. for a detach in its forward."""
    try:
        loss.backward()
    except RuntimeError as error:
        raise UnsupportedModelError(
            f"the network cannot be trained: {reason(error)}; expected that gradients reach its parameters. "
            "Look for detach, numpy or torch.no_grad in its forward"
        ) from error
    found = [(name, p.grad) for name, p in net.named_parameters() if p.requires_grad and p.grad is not None]
    if not found:
        raise UnsupportedModelError(
            "no gradient reaches a parameter of the network; look for detach, numpy or torch.no_grad in its "
            "forward"
        )
    for name, gradient in found:
        if not bool(torch.isfinite(gradient).all()):
            raise UnsupportedModelError(
                f"the gradient of {name.removeprefix('net.')} is not finite with the initial weights; look "
                "for a division by zero, or a root or logarithm of zero, in the network's forward"
            )


def _refuse_shares(net: nn.Module, inputs: torch.Tensor) -> None:
    """Refuse what ends in a Softmax or LogSoftmax in any spelling: rows are shares, or their logarithms."""
    with torch.no_grad():
        outputs = net.eval()(inputs).double()
    for what, shares in (("Softmax", outputs), ("LogSoftmax", outputs.exp())):
        if bool((shares >= 0).all()) and bool(((shares.sum(1) - 1).abs() < _ALIKE).all()):
            raise UnsupportedModelError(f"the network ends in a {what}: its outputs add up to 1. {TAKE_OFF}")


TAKE_OFF = (
    "Training takes the Softmax itself, so expected are logits: take the last activation off the network; "
    "finished models give logits, of which the largest is the class"
)
"""The remedy for a network that ends in an activation."""
