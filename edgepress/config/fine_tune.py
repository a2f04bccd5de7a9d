"""Fine-tuning after a compression step; shared by pruning, clustering and QAT."""

from dataclasses import dataclass

from edgepress.config.schema import require


@dataclass(frozen=True)
class FineTune:
    """`distillation` is the weight of the teacher's part of the loss (0: none, 1: only the teacher)."""

    epochs: int
    batch_size: int
    learning_rate: float
    distillation: float
    temperature: float

    def __post_init__(self) -> None:
        require(self.epochs >= 0, "epochs", self.epochs, "an integer >= 0")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "an integer >= 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a number > 0")
        require(0 <= self.distillation <= 1, "distillation", self.distillation, "a number in [0, 1]")
        require(self.temperature > 0, "temperature", self.temperature, "a number > 0")
