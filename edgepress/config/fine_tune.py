"""Fine-tuning after a compression step; shared by pruning, clustering and QAT."""

from dataclasses import dataclass

from edgepress.config.schema import require_integer, require_number, require_positive


@dataclass(frozen=True)
class FineTune:
    """`distillation` is the weight of the teacher's part of the loss (0: none, 1: only the teacher)."""

    epochs: int
    batch_size: int
    learning_rate: float
    distillation: float
    temperature: float

    def __post_init__(self) -> None:
        require_integer("epochs", self.epochs, 0, 10_000)
        require_integer("batch_size", self.batch_size, 1, 65_536)
        require_positive("learning_rate", self.learning_rate, 10)
        require_number("distillation", self.distillation, 0, 1)
        require_positive("temperature", self.temperature, 1000)
