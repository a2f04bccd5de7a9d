"""Models in LiteRT."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.devices.program.answers import RequestError
from edgepress.devices.program.models import Kernels, Model
from edgepress.devices.program.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgepress.devices.program.tensors import Array


class TfliteModel(Model):
    """A `.tflite` in LiteRT; a delegate has to take some of it, unless it is but the `beginning` of one."""

    def __init__(
        self,
        library: Any,
        path: str,
        threads: int,
        kernels: Kernels,
        beginning: bool = False,
    ) -> None:
        types = library.OpResolverType
        resolvers = {
            "xnnpack": types.BUILTIN,
            "builtin": types.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": types.BUILTIN_REF,
        }
        resolver = resolvers["builtin" if kernels.delegate else kernels.resolver]
        self._kernels = kernels
        begin = time.perf_counter_ns()
        self._interpreter = library.Interpreter(
            model_path=path,
            num_threads=threads,
            experimental_op_resolver_type=resolver,
            experimental_delegates=_delegates(library, kernels.delegate),
        )
        self._interpreter.allocate_tensors()
        self.load_ns = time.perf_counter_ns() - begin
        self._nodes = self._interpreter._get_ops_details()
        if kernels.delegate and not beginning and self._taken() == 0:
            raise RequestError("device", f"delegate {kernels.delegate} took no operator of the model")
        taken, given = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inputs, self._outputs = ([each["index"] for each in ends] for ends in (taken, given))
        signed = self._signed()
        self.inputs = [tflite_tensor(each, signed["inputs"].get(each["index"])) for each in taken]
        self.outputs = [self._output(each, signed["outputs"].get(each["index"])) for each in given]

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """One inference."""
        interpreter = self._interpreter
        for index, tensor in zip(self._inputs, tensors, strict=True):
            interpreter.set_tensor(index, tensor)
        interpreter.invoke()
        return [given_by(interpreter, index) for index in self._outputs]

    def resize(self, batch: int) -> None:
        """Take and give that many samples at a time."""
        shapes = [[int(size) for size in each["shape"]] for each in self._interpreter.get_input_details()]
        self._resize([[batch, *shape[1:]] for shape in shapes])

    def fit(self, tensors: Sequence[Array]) -> None:
        """Take inputs of these sizes from now on, where the model leaves some open."""
        shapes = [[int(size) for size in each["shape"]] for each in self._interpreter.get_input_details()]
        if shapes != [[*tensor.shape] for tensor in tensors]:
            self._resize([[*tensor.shape] for tensor in tensors])

    def _resize(self, shapes: Sequence[Sequence[int]]) -> None:
        for index, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()

    def invoke_ns(self, tensors: Sequence[Array]) -> int:
        """How long the operators alone take, without inputs and outputs being copied."""
        for index, tensor in zip(self._inputs, tensors, strict=True):
            self._interpreter.set_tensor(index, tensor)
        begin = time.perf_counter_ns()
        self._interpreter.invoke()
        return time.perf_counter_ns() - begin

    def op_resolver(self) -> str:
        """The kernels that run, and the delegate that took a part of the graph."""
        if self._kernels.resolver == "reference":
            return "BUILTIN_REF"
        taken, delegate = self._taken(), self._kernels.delegate
        if delegate is not None:
            return f"BUILTIN with {Path(delegate).name} for {taken} of {len(self._operators())} operators"
        return "BUILTIN with XNNPACK delegate" if taken else "BUILTIN without delegate"

    def _operators(self) -> list[dict[str, Any]]:
        """Those of the model; after them come nodes that stand for what a delegate took."""
        return [node for node in self._nodes if node["op_name"] != "DELEGATE"]

    def _taken(self) -> int:
        """How many operators no longer run by themselves: no output needs them but through a delegate."""
        makers = {int(tensor): node for node in self._nodes for tensor in node["outputs"]}
        wanted = [int(details["index"]) for details in self._interpreter.get_output_details()]
        running = set[int]()
        while wanted:
            node = makers.get(wanted.pop())
            if node is not None and node["index"] not in running:
                running.add(node["index"])
                wanted.extend(map(int, node["inputs"]))
        return sum(node["index"] not in running for node in self._operators())

    def _signed(self) -> dict[str, dict[int, str]]:
        """What the file's first signature calls inputs and outputs, by the indices of their tensors."""
        found: dict[str, dict[str, Any]] = next(
            iter(self._interpreter._get_full_signature_list().values()), {}
        )
        return {
            ends: {int(index): name for name, index in found.get(ends, {}).items()}
            for ends in ("inputs", "outputs")
        }

    def _output(self, details: Mapping[str, Any], name: str | None) -> Tensor:
        """An output; a float one that a last DEQUANTIZE makes gets that operator's scale."""
        own = tflite_tensor(details, name)
        makers = [node for node in self._operators() if details["index"] in node["outputs"]]
        if not makers or makers[-1]["op_name"] != "DEQUANTIZE":
            return own
        source = int(makers[-1]["inputs"][0])
        quantised = next(t for t in self._interpreter.get_tensor_details() if t["index"] == source)
        return own._replace(**_quantization(quantised))


def beginning(content: bytes, places: Mapping[str, int], operators: int, outputs: list[int]) -> bytearray:
    """The first operators of a `.tflite`, with other outputs, weights and all.

    A FlatBuffer keeps the length of a vector before its elements, and of where a vector is the distance, so
    the file stays as it is but for few numbers: the length of the vector of operators at place `operators`,
    and the distance, at place `outputs`, to a vector of `outputs` behind the end of the file. Signatures,
    which would name outputs that are gone, are none (place `signatures`, where there are any).
    """
    cut = bytearray(content) + b"\0" * (-len(content) % 4)
    struct.pack_into("<I", cut, places["operators"], operators)
    struct.pack_into("<I", cut, places["outputs"], len(cut) - places["outputs"])
    if "signatures" in places:
        struct.pack_into("<I", cut, places["signatures"], 0)
    return cut + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)


def given_by(interpreter: Any, index: int) -> Array:
    """An output; LiteRT's Python refuses to give one that came out without elements, and tells its shape."""
    try:
        tensor: Array = interpreter.get_tensor(index)
        return tensor
    except ValueError:
        details = next(each for each in interpreter.get_output_details() if each["index"] == index)
        if 0 not in details["shape"]:
            raise
        return np.zeros([int(size) for size in details["shape"]], details["dtype"])


def tflite_tensor(details: Mapping[str, Any], name: str | None = None) -> Tensor:
    """A tensor from its details as an interpreter gives them; `name` is the signature's, if it has one."""
    return Tensor(
        [None if length < 0 else int(length) for length in _open_shape(details)],
        np.dtype(details["dtype"]).name,
        **_quantization(details),
        name=name or details.get("name", ""),
    )


def _open_shape(details: Mapping[str, Any]) -> Any:
    """The sizes of a tensor, −1 where the model leaves one open."""
    signature = details.get("shape_signature", ())
    return signature if len(signature) else details["shape"]


def _quantization(details: Mapping[str, Any]) -> dict[str, Any]:
    """Scale and zero point of a tensor that is quantised as a whole, else two times None."""
    scales, zeros = (details["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) != 1:
        return {"scale": None, "zero_point": None}
    return {"scale": float(scales[0]), "zero_point": int(zeros[0])}


def _delegates(library: Any, path: str | None) -> list[Any]:
    if path is None:
        return []
    try:
        return [library.load_delegate(path)]
    except (OSError, ValueError, AttributeError) as error:
        raise RequestError("device", f"delegate {path} cannot be loaded: {error}") from error
