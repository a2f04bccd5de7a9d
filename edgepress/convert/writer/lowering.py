"""A plan lowered to TFLite's operators, each in the number format that the plan asks for.

A step runs in integers where its operands have codes and what it makes is quantised: by all that read it,
and alike. Everything else runs in float32, with DEQUANTIZE and QUANTIZE around it. What only moves numbers,
clamps or joins them gives the same codes before a quantisation as behind it, so there the codes are made as
early as possible.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Codes, Graph, Tensor, codes_of_one
from edgepress.translate.plan import Plan, Step, Weight

Lower = Callable[["Lowering", Step], Tensor | Sequence[Tensor]]
"""Adds the operators of a step and returns what they make, in codes or not: one result, or several."""


@dataclass(frozen=True)
class Rule:
    """How one kind of step is lowered.

    `commutes`: quantising its operands, or what it makes, gives the same codes. `lower` adds float operators,
    `integers`, where there is one, those of codes; it may return None where these operands have no integer
    kernel.
    """

    lower: Lower
    integers: Callable[["Lowering", Step], Tensor | Sequence[Tensor] | None] | None = None
    commutes: bool = False


_WORD_STEPS = frozenset(
    ("conv", "depthwise_conv", "conv_transpose", "dense", "matmul", "add", "sub", "mul", "div", "max", "min",
     "max_of", "min_of", "where", "relu", "clip", "sigmoid", "tanh", "leaky_relu", "softmax", "concat", "pad",
     "mirrored", "reshape", "transpose", "cut", "gather", "gather_nd", "tile", "resized", "max_pool",
     "max_of_views", "average_pool", "mean", "maximum", "minimum", "identity"),
)  # fmt: skip
"""Kinds of steps whose operators LiteRT has kernels of int16 for that are right to a few steps of 1/32767.

Those of PRELU and GELU are up to 100 steps beside it.
"""


class Lowering:
    """What a step's function works with: its operands, in either form, and the operators that it adds."""

    def __init__(self, plan: Plan, rules: Mapping[str, Rule], batch: int = 1, hybrid: bool = False) -> None:
        """With `hybrid`, layers of numbers whose kernels are codes quantise what comes in as they run."""
        self.plan, self.build, self._rules, self.batch = plan, Builder(), rules, batch
        self.hybrid, self._keep_inputs = hybrid, False
        self._ragged: set[str] = set()
        self._numbers: dict[str, Tensor] = {}
        self._codes: dict[str, Tensor] = {}
        self._requantised: dict[tuple[int, tuple[object, ...]], Tensor] = {}
        self.wanted = _wanted(plan, rules)
        self._read_by: dict[str, set[str]] = {name: {"output"} for name in plan.outputs}
        for step in plan.steps:
            for name in step.inputs:
                self._read_by.setdefault(name, set()).add(step.op)

    def lower(self, int8_io: bool) -> Graph:
        """The whole plan; with `int8_io` inputs and outputs that have codes take and give these."""
        inputs = [self._entry(number, int8_io) for number in range(len(self.plan.entries))]
        for step in self.plan.steps:
            self.build.begin(step.node)
            self._lower(step)
        outputs: list[Tensor] = []
        for name in self.plan.outputs:
            self.build.begin(name)
            tensor = self.stored(name) if int8_io else self.number(name)
            ends = outputs if self._keep_inputs else [*inputs, *outputs]
            if tensor.constant or any(tensor is other for other in ends):
                tensor = self.build.copied(tensor)
            if tensor.ragged and tensor.signature is None:
                tensor.signature = tuple(-1 if size == 1 else size for size in tensor.shape)
            outputs.append(tensor)
        names = [entry.name for entry in self.plan.entries]
        own_names = list(self.plan.output_names or self.plan.outputs)
        return Graph(inputs, outputs, self.build.operators, names, own_names)

    def _entry(self, number: int, int8_io: bool) -> Tensor:
        entry = self.plan.entries[number]
        codes = self.wanted.get(entry.name) if int8_io else None
        shape = tuple(self.batch if size is None else size for size in entry.shape)
        dtype, ragged = codes.dtype if codes else entry.dtype, entry.name in self._ragged
        tensor = Tensor(entry.name, shape, dtype, codes, ragged=ragged)
        self.note(entry.name, tensor)
        return tensor

    def _lower(self, step: Step) -> None:
        rule = self._rules[step.op]
        coded = rule.integers(self, step) if rule.integers is not None and self._has_kernel(step) else None
        made = rule.lower(self, step) if coded is None else coded
        results = [made] if isinstance(made, Tensor) else made
        for name, tensor in zip(step.outputs, results, strict=True):
            self.note(name, tensor)

    def _has_kernel(self, step: Step) -> bool:
        """Whether the step's operators have kernels of the codes that it reads and makes.

        Fewer have some of int16 than of int8, and none has some of both.
        """
        known = [self._codes[name].dtype for name in step.inputs if name in self._codes]
        made = self.wanted.get(step.output)
        found = {*known, *([] if made is None else [made.dtype])}
        if "int16" not in found:
            return True
        return step.op in _WORD_STEPS and (len(found) == 1 or self._rules[step.op].commutes)

    def note(self, name: str, tensor: Tensor) -> None:
        """The tensor of the plan with this name is this one."""
        (self._numbers if tensor.codes is None else self._codes)[name] = tensor

    def read_by(self, name: str) -> set[str]:
        """The kinds of steps that read a tensor; `output` where it is one."""
        return self._read_by.get(name, set())

    def within(self, plan: Plan, operands: Sequence[Tensor], keep_inputs: bool = False) -> Graph:
        """A plan within a step, for these operands; with `keep_inputs` an output may be an input as it is."""
        entries = tuple(
            replace(entry, shape=tensor.shape, dtype=tensor.dtype)
            for entry, tensor in zip(plan.entries, operands, strict=True)
        )
        inner = Lowering(replace(plan, entries=entries), self._rules, self.batch, self.hybrid)
        inner.build.any_size, inner._keep_inputs = self.build.any_size, keep_inputs
        inner._ragged = {entry.name for entry, tensor in zip(entries, operands, strict=True) if tensor.ragged}
        return replace(inner.lower(int8_io=False), output_names=[])

    # Operands

    def stored(self, name: str) -> Tensor:
        """A tensor as it is: in codes if it has some."""
        return self._codes[name] if name in self._codes else self._numbers[name]

    def number(self, name: str) -> Tensor:
        """A tensor in numbers."""
        if name not in self._numbers:
            self._numbers[name] = self.build.dequantize(self._codes[name])
        return self._numbers[name]

    def numbers(self, step: Step) -> list[Tensor]:
        """All operands in numbers."""
        return [self.number(name) for name in step.inputs]

    def code(self, name: str) -> Tensor | None:
        """A tensor in codes of one scale, if it has some."""
        return self._codes.get(name)

    def codes(self, step: Step) -> list[Tensor] | None:
        """All operands in codes, if they have some."""
        found = [self._codes.get(name) for name in step.inputs]
        known = [tensor for tensor in found if tensor is not None]
        return known if found and len(known) == len(found) else None

    def requantised(self, name: str, codes: Codes) -> Tensor:
        """A tensor in just these codes."""
        tensor = self.stored(name)
        key = (id(tensor), codes.key())
        if key not in self._requantised:
            self._requantised[key] = self.build.quantize(tensor, codes)
        return self._requantised[key]

    # Constants

    def operand(self, weight: Weight) -> Tensor:
        """A constant operand in numbers."""
        return Tensor(
            weight.initializer or "", weight.values.shape, weight.values.dtype.name, None, weight.values
        )

    def coded_operand(self, weight: Weight) -> Tensor | None:
        """A constant operand in its own codes, if it has some of one scale."""
        if weight.quantisation is None or weight.quantisation.scale.size != 1:
            return None
        known = weight.quantisation
        codes = codes_of_one(known.scale.item(), known.zero_points.item(), known.dtype)
        return Tensor(
            weight.initializer or "", weight.values.shape, codes.dtype, codes, codes.of(weight.values)
        )


def _wanted(plan: Plan, rules: Mapping[str, Rule]) -> dict[str, Codes]:
    """The codes in which all readers of a tensor want it, alike; also those behind what commutes."""
    asked: dict[str, list[Codes | None]] = {name: [None] for name in plan.outputs}
    found: dict[str, Codes] = {}
    for step in reversed(plan.steps):
        own = _agreed(asked.get(step.output, []))
        if own is not None:
            found[step.output] = own
        for name in step.inputs:
            asked.setdefault(name, []).append(_asked_by(step, own, rules))
    for entry in plan.entries:
        own = _agreed(asked.get(entry.name, []))
        if own is not None and entry.dtype == "float32":
            found[entry.name] = own
    return found


def _agreed(asked: Sequence[Codes | None]) -> Codes | None:
    first = asked[0] if asked else None
    return first if first is not None and all(first.same(other) for other in asked) else None


def _asked_by(step: Step, own: Codes | None, rules: Mapping[str, Rule]) -> Codes | None:
    if step.op == "fake_quant":
        return codes_of(step)
    return own if rules[step.op].commutes else None


def codes_of(step: Step) -> Codes:
    """The codes of a fake quantisation."""
    a = step.attributes
    return codes_of_one(a["scale"], a["zero_point"], a["dtype"])


def on_grid(number: float, codes: Codes) -> bool:
    """Whether a code stands for just this number."""
    quotient = number / float(codes.scale.item())
    limits = np.iinfo(codes.dtype)
    place = round(quotient) + codes.zero_point
    return abs(quotient - round(quotient)) < 1e-6 and limits.min <= place <= limits.max
