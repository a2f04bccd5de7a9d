"""PyTorch weights in a file: the same weights give the same bytes."""

import io
import pickle
from pathlib import Path

import torch
from torch import nn

from edgepress.artifacts import broken, read_bytes, write_bytes
from edgepress.errors import UnsupportedModelError

FORM = "a PyTorch checkpoint of this architecture"


def save_weights(path: Path, net: nn.Module) -> None:
    """Write the network's state, parameters and buffers."""
    write_bytes(path, saved(net))


def saved(net: nn.Module) -> bytes:
    """The network's state, parameters and buffers, as a file holds it.

    Raises:
        UnsupportedModelError: it is more than tensors.
    """
    state = net.state_dict()
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModelError(
                f"the network's state holds {name.removeprefix('net.')}, which is a {type(value).__name__}; "
                "expected tensors alone. Look for get_extra_state in it"
            )
    buffer = io.BytesIO()  # saved straight to a file, the archive would hold the file's name
    torch.save({name: value.contiguous() for name, value in state.items()}, buffer)
    return buffer.getvalue()


def load_weights(path: Path, net: nn.Module) -> None:
    """Fill `net` with the state in a file; nothing but tensors is read from it.

    Raises:
        ArtifactError: the file is absent, damaged or of another architecture.
    """
    restore(net, read_bytes(path), path)


def restore(net: nn.Module, content: bytes, path: Path) -> None:
    """As `load_weights`, from the content of a file."""
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError) as error:
        raise broken(path, FORM, str(error).split(". ")[0]) from error  # what follows is unsafe advice
    try:
        net.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise broken(path, FORM, error) from error
