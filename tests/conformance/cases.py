"""All node tests of the ONNX standard (`onnx.backend.test`): as cases, or with a reason why not."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.conformance.reasons import inexpressible

ALL_COMPUTED = {
    *("MatMul", "Einsum", "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Equal"),
    *(
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "And",
        "Or",
        "Xor",
        "Where",
        "Concat",
        "BitwiseAnd",
    ),
    *("BitwiseOr", "BitwiseXor", "BitShift", "PRelu", "Gemm", "Attention", "SwiGLU"),
}
"""Of these every operand has to be computed; of others those behind the first may be constants."""

_FIRST = 7
"""The first opset that this project takes."""
_BODY = re.compile(r"_expanded(_function)?(_ver\d+)?")


@dataclass(frozen=True)
class Case:
    """A model, `inputs` by name and `outputs` in order; `body`: its operator is written out in others."""

    name: str
    op: str
    body: bool
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    outputs: list[np.ndarray]
    rtol: float
    atol: float

    def ways(self) -> Iterator[tuple[str, "Case"]]:
        """The case with all inputs computed, then with all but the first constant where that will do."""
        yield "computed", self._with(set(self.inputs))
        if self.op not in ALL_COMPUTED and len(self.inputs) > 1:
            yield "constants", self._with({next(iter(self.inputs))})

    def _with(self, computed: set[str]) -> "Case":
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for name in self.inputs.keys() - computed:
            model.graph.initializer.append(numpy_helper.from_array(self.inputs[name], name))
        kept = [info for info in model.graph.input if info.name in computed]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        entries = {name: value for name, value in self.inputs.items() if name in computed}
        return replace(self, model=model, inputs=entries)


@lru_cache
def cases() -> tuple[list[Case], dict[str, str]]:
    """What TFLite can express, and for each other of the standard's cases the reason why not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases(None)
    ops = {test.name: test.model.graph.node[0].op_type for test in collected if not _BODY.search(test.name)}
    reasons = {test.name: inexpressible(test) for test in collected}
    skipped = {name: why for name, why in reasons.items() if why is not None}
    return [_case(test, ops) for test in collected if test.name not in skipped], skipped


def _case(test: Any, ops: dict[str, str]) -> Case:
    names = [info.name for info in test.model.graph.input]
    inputs, outputs = test.data_sets[0]
    given = {name: _array(value) for name, value in zip(names, inputs, strict=True)}
    base = _BODY.sub("", test.name)
    for entry in test.model.opset_import:
        if entry.domain == "" and entry.version < _FIRST:  # of operators that have not changed up to there
            entry.version = _FIRST
    op = ops[base] if base in ops else test.model.graph.node[-1].op_type
    expected = [_array(value) for value in outputs]
    body = base != test.name
    return Case(test.name, op, body, test.model, given, expected, test.rtol, test.atol)


def _array(value: Any) -> np.ndarray:
    tensor = isinstance(value, onnx.TensorProto)
    return np.asarray(numpy_helper.to_array(value) if tensor else value)
