"""Training of the float network."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from edgepress.config.load import Runtime
from edgepress.config.train import Train
from edgepress.datasets.augment import augment
from edgepress.datasets.prepared import Array, Split
from edgepress.errors import TrainingError
from edgepress.training.record import Epoch

EVALUATION_BATCH = 256
_SAFE_CHANNELS = 16


@dataclass(frozen=True)
class TrainResult:
    """The network with the weights of `best`, the epoch of least validation loss, and the whole course."""

    net: nn.Module
    best: Epoch
    curve: tuple[Epoch, ...]


def prepare_torch(runtime: Runtime) -> None:
    """Seed torch and bind it to repeatable algorithms: the same number of threads gives the same bits."""
    torch.set_num_threads(runtime.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(runtime.seed)


def train(net: nn.Module, training: Split, validation: Split, config: Train, seed: int) -> TrainResult:
    """Train `net` in place with AdamW (Loshchilov and Hutter 2019) under a cosine schedule, on cross-entropy.

    Stops early when `config.patience` epochs have not lowered the validation loss.

    Raises:
        TrainingError: a loss is not finite.
    """
    stored = storage(net, training.inputs(slice(2)))
    rng = np.random.default_rng(seed)
    optimiser, schedule = _optimiser(net, len(training), config)
    curve: list[Epoch] = []
    best, weights = None, net.state_dict()
    for number in (progress := tqdm(range(1, config.epochs + 1), desc="train", unit="epoch", disable=None)):
        train_loss = _run_epoch(net, optimiser, schedule, training, config, rng, stored)
        epoch = _evaluated(net, validation, number, train_loss)
        _require_finite(epoch, config)
        curve.append(epoch)
        progress.set_postfix(validation_accuracy=f"{epoch.validation_accuracy:.4f}")
        if best is None or epoch.validation_loss < best.validation_loss:
            best, weights = epoch, copy.deepcopy(net.state_dict())
        elif number - best.epoch >= config.patience:
            break
    assert best is not None
    net.load_state_dict(weights)
    return TrainResult(net, best, tuple(curve))


def storage(net: nn.Module, inputs: Array) -> torch.memory_format:
    """The format in which training stores kernels, in place, and inputs: the fastest that the network takes.

    A network that calls `view` between its layers wants channels first.
    """
    stored = prefer_channels_last(net)
    accepted = _accepted(net, inputs, stored)
    if stored != accepted:
        _store(net, accepted)
    return accepted


def _accepted(net: nn.Module, inputs: Array, stored: torch.memory_format) -> torch.memory_format:
    """`stored`, if the network takes inputs (n, C, H, W) in it; else the format that PyTorch begins with."""
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(tensor(inputs, stored))
    except RuntimeError:  # "view size is not compatible", or what will be told when it is trained
        return torch.contiguous_format
    finally:
        net.train(training)
    return stored


def _store(net: nn.Module, stored: torch.memory_format) -> None:
    for value in (*net.parameters(), *net.buffers()):
        if value.ndim == 4:
            value.data = value.data.contiguous(memory_format=stored)


def prefer_channels_last(net: nn.Module) -> torch.memory_format:
    """Store kernels with their channels last, in place, where that is safe: it is a quarter faster on a CPU.

    In the gradient of a 1×1 convolution that has a stride and few channels, PyTorch 2.13's oneDNN writes past
    its memory if these are stored last. `nn.Module.to` would refuse a network with tensors of five axes.

    Returns:
        The format of the kernels, which inputs have to have in training.
    """
    if any(_overflows(module) for module in net.modules()):
        return torch.contiguous_format
    _store(net, torch.channels_last)
    return torch.channels_last


def _overflows(module: nn.Module) -> bool:
    """Whether oneDNN may write past its memory, with a margin: it was seen with 4 and 8 channels."""
    if not isinstance(module, nn.Conv2d) or module.in_channels >= _SAFE_CHANNELS:
        return False
    return set(module.kernel_size) == {1} and set(module.stride) != {1}


def predict(net: nn.Module, split: Split) -> Array:
    """The network's logits (N, classes), float32, in evaluation mode."""
    net.eval()
    starts = range(0, len(split), EVALUATION_BATCH)
    stored = _accepted(net, split.inputs(slice(1)), torch.channels_last)
    with torch.no_grad():
        batches = [net(tensor(split.inputs(slice(i, i + EVALUATION_BATCH)), stored)) for i in starts]
    return np.asarray(torch.cat(batches).numpy())


def batch_bounds(samples: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each batch; a last one of one sample, which BatchNormalization refuses, is dropped."""
    for start in range(0, samples, size):
        end = min(start + size, samples)
        if end - start > 1:
            yield start, end


def _optimiser(
    net: nn.Module, samples: int, config: Train
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    steps = config.epochs * len(list(batch_bounds(samples, config.batch_size)))
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)


def _run_epoch(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    training: Split,
    config: Train,
    rng: np.random.Generator,
    stored: torch.memory_format,
) -> float:
    """One pass over the training split; the mean loss of its batches, NaN or infinite where one was."""
    net.train()
    order = rng.permutation(len(training))
    losses = []
    for start, end in batch_bounds(len(training), config.batch_size):
        chosen = order[start:end]
        inputs = augment(training.inputs(chosen), rng, config.augment)
        loss = functional.cross_entropy(net(tensor(inputs, stored)), torch.from_numpy(training.y[chosen]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            break
    return float(np.mean(losses))


def _evaluated(net: nn.Module, validation: Split, number: int, train_loss: float) -> Epoch:
    logits = torch.from_numpy(predict(net, validation))
    classes = torch.from_numpy(np.array(validation.y))  # a copy: the split is a read-only map
    loss = float(functional.cross_entropy(logits, classes))
    accuracy = float((logits.argmax(1) == classes).double().mean())
    return Epoch(number, train_loss, loss, accuracy)


def _require_finite(epoch: Epoch, config: Train) -> None:
    for name in ("train_loss", "validation_loss"):
        if not math.isfinite(value := getattr(epoch, name)):
            raise TrainingError(
                f"{name} is {value} in epoch {epoch.epoch}; expected a finite number. "
                f"Lower train.learning_rate (now {config.learning_rate:g}) and run again."
            )


def tensor(inputs: Array, stored: torch.memory_format = torch.channels_last) -> torch.Tensor:
    """Inputs (N, C, H, W) as PyTorch takes them, stored with their channels last unless told otherwise."""
    return torch.from_numpy(inputs).to(memory_format=stored)
