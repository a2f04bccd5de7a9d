"""Section `train`: optimisation of the float network, and the augmentation that fine-tuning shares."""

from dataclasses import dataclass

from edgepress.config.schema import require


@dataclass(frozen=True)
class Augment:
    """Random translation by up to `shift` pixels and, where mirror images keep their class, `flip`."""

    shift: int
    flip: bool

    def __post_init__(self) -> None:
        require(self.shift >= 0, "shift", self.shift, "an integer >= 0")


@dataclass(frozen=True)
class Train:
    """AdamW under a cosine schedule; stops after `patience` epochs without a better validation loss."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    augment: Augment

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", self.epochs, "an integer >= 1")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "an integer >= 2")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a number > 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "a number >= 0")
        require(self.patience >= 1, "patience", self.patience, "an integer >= 1")
