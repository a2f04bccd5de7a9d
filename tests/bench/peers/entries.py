"""What came of one converter and one network."""

import statistics
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.convert.flatbuffer import read_tflite, tflite_metrics
from tests.bench.peers.alignment import misaligned_buffers
from tests.bench.peers.processes import Cost


@dataclass
class Entry:
    """What came of it; `reason` says why nothing did.

    `times_ms` are of single inferences, (sittings, rounds, runs); `difference` is the largest from PyTorch's
    logits, over their range.
    """

    network: str
    converter: str
    target: Path
    costs: list[Cost] = field(default_factory=list)
    reason: str = ""
    times_ms: np.ndarray | None = None
    difference: float = 0.0

    @property
    def seconds(self) -> float:
        return statistics.median(cost.seconds for cost in self.costs)

    @property
    def peak_bytes(self) -> int:
        return max(cost.peak_bytes for cost in self.costs)

    @property
    def times(self) -> np.ndarray:
        """`times_ms`, of an entry that was timed."""
        assert self.times_ms is not None
        return self.times_ms

    @property
    def p50_ms(self) -> float:
        return float(np.median(self.times))

    @cached_property
    def inside(self) -> dict[str, Any]:
        """What the file holds: operators, transposes and more."""
        return tflite_metrics(self.target)

    @cached_property
    def coded_hard_swishes(self) -> int:
        """How many HARD_SWISH the file has that make integer codes."""
        return sum(
            graph.tensors[operator.outputs[0]].dtype == "INT8"
            for graph in read_tflite(self.target).graphs
            for operator in graph.operators
            if operator.name == "HARD_SWISH"
        )

    @cached_property
    def misaligned(self) -> int:
        """How many of the file's buffers do not begin at a multiple of 16 bytes."""
        return misaligned_buffers(self.target)
