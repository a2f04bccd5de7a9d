"""The program that runs a `.tflite` in TensorFlow Lite Micro (TFLM): that of `program/` with another runtime.

Its requests are those of `program/`, with TFLM as the runtime `tflite`, and:

    {"do": "lacking", "model": path}                      → operators: those that TFLM has no kernel for
    {"do": "load", …, "kernels": {"arena_bytes": n}}      runs in so many bytes; null is more than it needs
    {"do": "allocations"}                                 → arena_bytes: what TFLM recorded

What TFLM cannot run is answered with the kind "kernels" and its own words. Where the arena is far too small,
it may also crash.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgepress.devices.program.answers import Answer, RequestError
from edgepress.devices.program.models import Model, Runtime
from edgepress.devices.program.serve import own_stdout, serve
from edgepress.devices.program.session import Session, ends
from edgepress.devices.program.tflite import tflite_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edgepress.devices.program.tensors import Array

_IDENTIFIER = b"TFL3"
_NOWHERE = schema.BuiltinOperator.DELEGATE
"""An operator that stands in for others while a model runs; none is stored, and TFLM has no kernel for it."""


class MicroModel(Model):
    """A `.tflite` in TFLM; `arena_bytes` None is more than it needs."""

    def __init__(self, library: Any, path: str, arena_bytes: int | None) -> None:
        content = _read(path)
        size = _ample_arena(content) if arena_bytes is None else arena_bytes
        with _standard_error() as words:
            try:
                self._interpreter = library.runtime.Interpreter.from_bytes(content, arena_size=size)
            except RuntimeError as error:
                raise RequestError("kernels", _said(words()) or str(error)) from error
        taken, given = _end_names(content)
        details = self._interpreter.get_input_details, self._interpreter.get_output_details
        self.inputs = [tflite_tensor(details[0](i), name) for i, name in enumerate(taken)]
        self.outputs = [tflite_tensor(details[1](i), name) for i, name in enumerate(given)]

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """One inference."""
        for number, tensor in enumerate(tensors):
            self._interpreter.set_input(tensor, number)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise RequestError("kernels", str(error)) from error
        return [self._interpreter.get_output(number) for number in range(len(self.outputs))]

    def op_resolver(self) -> str:
        """The portable kernels, whose place those for one kind of microcontroller take."""
        return "TFLM reference kernels"

    def allocations(self) -> int:
        """The arena's bytes in use, without those that TFLM took for a while when it planned."""
        with _standard_error() as words:
            self._interpreter.print_allocations()
            found = re.search(r"Arena allocation total (\d+) bytes", words())
        return int(found[1]) if found else 0


class MicroSession(Session):
    """A session in TFLM."""

    runtimes: ClassVar[Mapping[str, Runtime]] = {
        "tflite": Runtime("tflite_micro", "tflite_micro", MicroModel)
    }
    verbs: ClassVar[tuple[str, ...]] = (*Session.verbs, "lacking", "allocations")

    def lacking(self, model: str) -> Answer:
        """The operators of a model that TFLM has no kernel for, by name, each once."""
        parsed = _parse(_read(model))
        used = {op.opcodeIndex: op for graph in parsed.subgraphs for op in graph.operators or []}
        codes = {index: parsed.operatorCodes[index] for index in sorted(used)}
        lacking = [_name(code) for index, code in codes.items() if not self._has(code, used[index])]
        return {"operators": sorted(set(lacking))}

    def load(self, model: str, threads: int, kernels: Mapping[str, Any] | None = None) -> Answer:
        """Make a model ready to run, in one thread."""
        self._model = MicroModel(self._library, model, (kernels or {}).get("arena_bytes"))
        return {"load_ms": None, **ends(self._model)}

    def allocations(self) -> Answer:
        """The arena's bytes in use."""
        assert isinstance(self._model, MicroModel)
        return {"arena_bytes": self._model.allocations()}

    def _has(self, code: Any, operator: Any) -> bool:
        """Whether TFLM has a kernel: if so, it is the other operator of the probe that it does not find.

        It looks for all kernels before it prepares any, and stops at the first that is not there.
        """
        probe = _probe(code, operator)
        with _standard_error() as words:
            try:
                self._library.runtime.Interpreter.from_bytes(probe, arena_size=len(probe) + (1 << 16))
            except RuntimeError:
                return "'DELEGATE'" in words() or "Failed to get registration" not in words()
        raise RequestError("request", "TFLM now has a kernel for DELEGATE, so kernels cannot be looked up")


def _read(path: str) -> bytes:
    content = Path(path).read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise RequestError("model", "it is no .tflite")
    return content


def _end_names(content: bytes) -> tuple[list[str], list[str]]:
    """What the file calls its inputs and outputs, in its order: its signature, or else their tensors."""
    parsed = _parse(content)
    graph, signed = parsed.subgraphs[0], dict[int, bytes]()
    for signature in (parsed.signatureDefs or [])[:1]:
        signed = {each.tensorIndex: each.name for each in (*signature.inputs, *signature.outputs)}
    found = (
        [(signed.get(index) or graph.tensors[index].name or b"").decode() for index in _list(indices)]
        for indices in (graph.inputs, graph.outputs)
    )
    return next(found), next(found)


def _parse(content: bytes) -> Any:
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    except Exception as error:  # a damaged file sends the accessors anywhere
        raise RequestError("model", f"it cannot be read: {type(error).__name__}: {error}") from error


def _ample_arena(content: bytes) -> int:
    """More bytes than the model's arena: room for all that it computes, no place used twice.

    An element has 8 bytes at most; scratch memory may be as large again; a page for each tensor holds what
    kernels keep; the file's size stands for what they keep for each channel.
    """
    parsed = _parse(content)
    tensors = [tensor for graph in parsed.subgraphs for tensor in graph.tensors or []]
    computed = [tensor for tensor in tensors if parsed.buffers[tensor.buffer].data is None]
    elements = sum(math.prod(map(int, _list(tensor.shape))) for tensor in computed)
    return 16 * abs(elements) + 4096 * len(tensors) + len(content) + (1 << 20)


def _list(values: Any) -> list[int]:
    return [] if values is None else list(values)


def _probe(code: Any, operator: Any) -> bytes:
    """A model that computes nothing of nothing: this operator with its options, then DELEGATE."""
    alone = copy(operator)
    alone.opcodeIndex, alone.inputs, alone.outputs, alone.intermediates = 0, [], [], None
    other = schema.OperatorT()
    other.opcodeIndex, other.inputs, other.outputs = 1, [], []
    nowhere = schema.OperatorCodeT()
    nowhere.builtinCode = nowhere.deprecatedBuiltinCode = _NOWHERE
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], [alone, other]
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    model.operatorCodes, model.subgraphs = [code, nowhere], [graph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _name(code: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    custom = code.customCode.decode() if isinstance(code.customCode, bytes) else code.customCode
    return f"{custom} (custom)" if number == schema.BuiltinOperator.CUSTOM else names[number]


@contextmanager
def _standard_error() -> Iterator[Callable[[], str]]:
    """What is written to standard error, by libraries too, in place of writing it there."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: os.pread(file.fileno(), 1 << 16, 0).decode(errors="replace")
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _said(words: str) -> str:
    """TFLM's words in one line, without the names of its files."""
    lines = [re.sub(r"^\S+\.(?:cc|h):\d+ ", "", line.strip()) for line in words.splitlines()]
    return ". ".join(line.rstrip(".") for line in lines if line)


if __name__ == "__main__":
    serve(MicroSession(), sys.stdin, own_stdout())
