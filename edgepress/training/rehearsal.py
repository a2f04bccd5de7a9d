"""One step of training before there is a first epoch, to tell what a network's own code would end it with."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgepress.architectures.registry import reason
from edgepress.datasets.prepared import Array, Split
from edgepress.errors import UnsupportedModelError
from edgepress.graph.imported.ending import TAKE_OFF
from edgepress.training.loop import storage, tensor

_SAMPLES = 8
_LEARNING_RATE = 1e-3
_LARGER, _ENLARGED = 10, 4


def rehearse_training(net: nn.Module, training: Split) -> None:
    """Take one step with a few samples (n, C, H, W), in training mode, and look at what the network gives.

    Raises:
        UnsupportedModelError: it has nothing to train, numbers that are not float32, gives something else
            than logits in training mode.
    """
    _require_float32_parameters(net)
    samples = training.inputs(slice(_SAMPLES))
    inputs = tensor(samples, storage(net, samples))
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
    _step(net)


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


def _step(net: nn.Module) -> None:
    """Move all that has a gradient, as the first step of training does."""
    torch.optim.AdamW((p for p in net.parameters() if p.grad is not None), lr=_LEARNING_RATE).step()


def outputs_of(net: nn.Module, inputs: Array) -> Array:
    """The network's logits (n, classes) for inputs (n, C, H, W), in evaluation mode, one by one.

    Raises:
        UnsupportedModelError: it takes no single input, or gives other logits for the same one.
    """
    outputs = [_evaluated(net, torch.from_numpy(inputs[i : i + 1])) for i in range(len(inputs))]
    for i in (0, len(inputs) - 1):
        if not torch.equal(outputs[i], _evaluated(net, torch.from_numpy(inputs[i : i + 1]))):
            raise UnsupportedModelError(
                "in evaluation mode the network gives other logits for the same input; expected the same. "
                "Look for random numbers, a dropout that is always on, or a state that forward changes"
            )
    return np.asarray(torch.cat(outputs).numpy())


def _evaluated(net: nn.Module, one: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        try:
            outputs = net.eval()(one.clone())
        except Exception as error:  # the user's code may raise anything
            raise UnsupportedModelError(
                f"the network cannot take a single input in evaluation mode: {reason(error)}; expected any "
                "number of them"
            ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != 1:
        raise UnsupportedModelError(
            f"for a single input the network gives {_shape(outputs)}; expected logits (1, classes). Look for "
            "squeeze() without an axis in its forward"
        )
    return outputs


def refuse_bounded(net: nn.Module, inputs: Array) -> None:
    """Refuse what ends in a Sigmoid in any spelling; the network's weights are lost.

    Raises:
        UnsupportedModelError: it gives values from 0 to 1 however large its weights are.
    """
    outputs = []
    with torch.no_grad():
        for _ in range(_ENLARGED):
            outputs.append(net.eval()(torch.from_numpy(inputs.copy())))
            for parameter in net.parameters():
                parameter.mul_(_LARGER)
    given = torch.cat(outputs)
    given = given[given.isfinite()]
    if len(given) and 0 <= float(given.min()) < float(given.max()) <= 1:
        raise UnsupportedModelError(
            "the network gives values from 0 to 1 whatever its weights are, as behind a Sigmoid. " + TAKE_OFF
        )


def _shape(outputs: object) -> str:
    return str(tuple(outputs.shape)) if isinstance(outputs, torch.Tensor) else _described(outputs)
