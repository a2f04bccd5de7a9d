"""What every runtime makes of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgepress.devices.program.tensors import Array, Tensor

CPU = "CPUExecutionProvider"


class Kernels(NamedTuple):
    """What computes a model: LiteRT's `resolver` or a `delegate`'s library, onnxruntime's `provider`.

    onnxruntime keeps a `record` of its nodes' times in files whose names begin like that.
    """

    resolver: str = "xnnpack"
    delegate: str | None = None
    provider: str = CPU
    record: str | None = None


class Model(Protocol):
    """A model in its runtime."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    load_ns: int | None = None
    """How long the runtime took to load it, without what this program asked it then."""

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """One inference: the outputs for these inputs, each in the model's order."""

    def fit(self, tensors: Sequence[Array]) -> None:
        """Take inputs of these sizes from now on, where the model leaves some open."""
        return  # most need not be told

    def resize(self, batch: int) -> None:
        """Take and give that many samples at a time."""
        raise ValueError(f"it takes one sample at a time, not {batch}")

    def op_resolver(self) -> str:
        """What computes."""


class Runtime(NamedTuple):
    """A runtime: the module to import, the distribution that holds it, and the class that drives it."""

    module: str
    distribution: str
    model: Callable[..., Model]
