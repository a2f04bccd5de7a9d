"""Section `train`: optimisation of the float network, and the augmentation that fine-tuning shares."""

from dataclasses import dataclass

from edgepress.config.schema import require_integer, require_number, require_positive


@dataclass(frozen=True)
class Augment:
    """Random translation by up to `shift` pixels and, where mirror images keep their class, `flip`."""

    shift: int
    flip: bool

    def __post_init__(self) -> None:
        require_integer("shift", self.shift, 0, 1024)


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
        require_integer("epochs", self.epochs, 1, 100_000)
        require_integer("batch_size", self.batch_size, 2, 65_536)
        require_positive("learning_rate", self.learning_rate, 10)
        require_number("weight_decay", self.weight_decay, 0, 10)
        require_integer("patience", self.patience, 1, 100_000)
