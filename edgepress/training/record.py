"""What training leaves behind besides the weights: its metrics and its learning curves."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgepress.artifacts import write_bytes
from edgepress.training.loop import Epoch, TrainResult


def train_metrics(result: TrainResult) -> dict[str, Any]:
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
