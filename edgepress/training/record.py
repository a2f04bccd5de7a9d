"""What training leaves behind besides the weights: its metrics and its learning curves."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.artifacts import write_bytes

if TYPE_CHECKING:  # a network from a file needs its empty curve without PyTorch
    from edgepress.training.loop import TrainResult


@dataclass(frozen=True)
class Epoch:
    """What one epoch reached: mean losses, and the share of correct classes on the validation split."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float


def train_metrics(result: "TrainResult") -> dict[str, Any]:
    """Accuracy on the validation split with the best weights, and how long training took, in epochs.

    `parameters` are all numbers that the network stores, statistics and normalisation included, as they are
    in the exported model.
    """
    return {
        "accuracy": result.best.validation_accuracy,
        "parameters": sum(v.numel() for v in result.net.state_dict().values() if v.is_floating_point()),
        "epochs": len(result.curve),
        "best_epoch": result.best.epoch,
    }


def write_curve(path: Path, curve: Sequence[Epoch]) -> None:
    """Write one row for each epoch as CSV, the fields of `Epoch` as columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in curve)
    write_bytes(path, text.getvalue().encode())
