"""PyTorch weights in a file: the same weights give the same bytes."""

import io
import pickle
from pathlib import Path

import torch
from torch import nn

from edgepress.artifacts import broken, read_bytes, write_bytes

FORM = "a PyTorch checkpoint of this architecture"


def save_weights(path: Path, net: nn.Module) -> None:
    """Write the network's state, parameters and buffers."""
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    buffer = io.BytesIO()  # saved straight to a file, the archive would hold the file's name
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load_weights(path: Path, net: nn.Module) -> None:
    """Fill `net` with the state in a file; nothing but tensors is read from it.

    Raises:
        ArtifactError: the file is absent, damaged or of another architecture.
    """
    content = io.BytesIO(read_bytes(path))
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError) as error:
        raise broken(path, FORM, str(error).split(". ")[0]) from error  # what follows is unsafe advice
    try:
        net.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise broken(path, FORM, error) from error
