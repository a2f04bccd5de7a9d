"""Section `device`: where the models run, and how long they are timed."""

from dataclasses import dataclass

from edgepress.config.schema import require


@dataclass(frozen=True)
class Local:
    """This computer. Candidate and baseline alternate in `rounds`, each of `runs_per_round` inferences."""

    threads: int
    warmup_runs: int
    rounds: int
    runs_per_round: int

    def __post_init__(self) -> None:
        require(self.threads >= 1, "threads", self.threads, "an integer >= 1")
        require(self.warmup_runs >= 0, "warmup_runs", self.warmup_runs, "an integer >= 0")
        require(self.rounds >= 1, "rounds", self.rounds, "an integer >= 1")
        require(self.runs_per_round >= 1, "runs_per_round", self.runs_per_round, "an integer >= 1")


DeviceConfig = Local
CHOICES: dict[str, type[DeviceConfig]] = {"local": Local}
