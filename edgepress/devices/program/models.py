"""What every runtime makes of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

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

    input: Tensor
    output: Tensor
    load_ns: int | None = None
    """How long the runtime took to load it, without what this program asked it then."""

    def run(self, tensor: Array) -> Array:
        """One inference."""

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
