"""The course of a fine-tuning: what each epoch reached on the validation split, and which state was kept.

Standard library only: a stage that is switched off writes an empty course, and starts fast.
"""

import csv
import io
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy is not needed to write an empty course
    from edgepress.compress.tuning.judging import Score


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean losses, and the share of right classes on the validation split.

    Epoch 0 is the compression applied in one step, before any training; its `train_loss` is that of the first
    batches. Without classes, the right class of a sample is the one that the uncompressed network gives.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass
class Course:
    """What `fine_tune` notes as it goes; empty where nothing was fine-tuned.

    `kept` is the epoch whose weights were kept. `augmented` says whether inputs were augmented,
    `kept_calibrated` whether a network trained in int8 gave way to the one that is only calibrated.
    """

    epochs: list[Epoch] = field(default_factory=list)
    kept: int = 0
    learning_rate: float = 0.0
    augmented: bool = False
    kept_calibrated: bool = False

    def begin(self, learning_rate: float, augmented: bool) -> None:
        """Note how the network is trained."""
        self.learning_rate, self.augmented = learning_rate, augmented

    def note(self, train_loss: float, score: "Score") -> None:
        """Note the next epoch, of which the first is 0."""
        self.epochs.append(Epoch(len(self.epochs), train_loss, score.loss, score.accuracy))

    def metrics(self) -> dict[str, Any]:
        """What a stage's metrics say of it: a section `fine_tuning`, or nothing."""
        if not self.epochs:
            return {}
        return {
            "fine_tuning": {
                "epochs": self.epochs[-1].epoch,
                "kept_epoch": self.kept,
                "learning_rate": self.learning_rate,
                "augmented": self.augmented,
                "kept_calibrated": self.kept_calibrated,
            }
        }

    def csv(self) -> bytes:
        """A row for each epoch, `kept` being 1 in that of the kept one; the header alone if there is none."""
        text = io.StringIO()
        columns = [*(each.name for each in fields(Epoch)), "kept"]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) | {"kept": int(epoch.epoch == self.kept)} for epoch in self.epochs)
        return text.getvalue().encode()
