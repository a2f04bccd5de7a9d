"""Plans drawn at random: sound ones, of any steps in any order, in floats and in codes of any scales.

Each step's result may be quantised, so that steps run in integers, in floats, or read and make both.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgepress.translate.plan import Entry, Plan, Quantisation, Step, Weight

Draw = Callable[[Any], Any]
Shape = tuple[int, ...]

_UNARY: dict[str, dict[str, Any]] = {
    "relu": {},
    "sigmoid": {},
    "tanh": {},
    "leaky_relu": {"alpha": 0.1},
    "elu": {"alpha": 1.0},
    "selu": {"alpha": 1.6, "gamma": 1.05},
    "celu": {"alpha": 0.7},
    "hard_swish": {},
    "softplus": {},
    "softsign": {},
    "gelu": {"approximate": True},
    "mish": {},
    "erf": {},
    "abs": {},
    "neg": {},
    "floor": {},
    "ceil": {},
    "identity": {},
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
}
_SCALES = (0.004, 1 / 128, 1 / 256, 0.02, 0.05, 0.1, 0.3)


class _Plans:
    """Draws one plan; `shapes` are those of the tensors so far, all (1, height, width, channels)."""

    def __init__(self, draw: Draw, quantised: bool) -> None:
        self.draw, self.quantised = draw, quantised
        shape = (1, *(self.number(1, 6) for _ in range(3)))
        self.steps: list[Step] = []
        self.shapes: dict[str, Shape] = {"x": shape}
        self.entry = Entry("x", shape, (0, 1, 2, 3))

    def plan(self, length: int) -> Plan:
        for _ in range(length):
            name, shape = self.tensor()
            choices: list[Callable[[str, Shape], None]] = [
                *(self.function, self.clamp, self.layer, self.window, self.move, self.sum, self.pair),
                *([self.quantise] * 4 if self.quantised else []),
            ]
            self.draw(st.sampled_from(choices))(name, shape)
        read = {name for step in self.steps for name in step.inputs}
        ends = tuple(name for name in self.shapes if name not in read and name != "x") or ("x",)
        return Plan((self.entry,), ends, tuple((0, 1, 2, 3) for _ in ends), tuple(self.steps))

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def values(self, *shape: int) -> np.ndarray:
        seed = self.number(0, 1000)
        return np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    def tensor(self) -> tuple[str, Shape]:
        name = self.draw(st.sampled_from(sorted(self.shapes)))
        return name, self.shapes[name]

    def add(
        self,
        op: str,
        inputs: tuple[str, ...],
        made: Shape,
        weights: dict[str, Weight] | None = None,
        **attributes: Any,
    ) -> None:
        name = f"t{len(self.steps)}"
        self.steps.append(Step(op, inputs, name, f"node{len(self.steps)}", attributes, weights or {}))
        if 0 < np.prod(made) <= 4096:
            self.shapes[name] = made

    def codes(self) -> dict[str, Any]:
        scale, zero = self.draw(st.sampled_from(_SCALES)), self.number(-128, 127)
        low, high = ((code - zero) * scale for code in (-128, 127))
        return {"low": low, "high": high, "scale": scale, "zero_point": zero, "dtype": "int8"}

    def quantise(self, name: str, shape: Shape) -> None:
        self.add("fake_quant", (name,), shape, **self.codes())

    def function(self, name: str, shape: Shape) -> None:
        op = self.draw(st.sampled_from(sorted(_UNARY)))
        self.add(op, (name,), shape, **_UNARY[op])

    def clamp(self, name: str, shape: Shape) -> None:
        low, high = self.draw(
            st.sampled_from([(0.0, 6.0), (-1.0, 1.0), (None, 2.5), (-0.3, None), (0.0, None)])
        )
        self.add("clip", (name,), shape, low=low, high=high)

    def kernel(self, values: np.ndarray, outputs: int) -> Weight:
        if not self.quantised or self.draw(st.booleans()):
            return Weight(values)
        scale = np.abs(values).reshape(-1, outputs).max(0) / 127 + np.float32(1e-6)
        codes = np.rint(values.reshape(-1, outputs) / scale)
        zeros = np.zeros(outputs, np.int64)
        whole = (codes * scale).astype(np.float32).reshape(values.shape)
        return Weight(whole, quantisation=Quantisation(scale.astype(np.float32), zeros))

    def layer(self, name: str, shape: Shape) -> None:
        op = self.draw(st.sampled_from(["conv", "depthwise_conv", "dense"]))
        channels, outputs = shape[3], self.number(1, 5)
        if op == "dense":
            kernel = self.kernel(self.values(channels, outputs), outputs)
            self.add(op, (name,), (*shape[:3], outputs), {"kernel": kernel, **self.bias(outputs)})
            return
        size, padding = (self.number(1, 3), self.number(1, 3)), self.draw(st.sampled_from(["SAME", "VALID"]))
        if padding == "VALID" and (size[0] > shape[1] or size[1] > shape[2]):
            return
        stride = self.number(1, 2)
        image = [
            -(-n // stride) if padding == "SAME" else (n - k) // stride + 1
            for n, k in zip(shape[1:3], size, strict=True)
        ]
        options = {"strides": (stride, stride), "dilations": (1, 1), "padding": padding, "groups": 1}
        if op == "conv":
            kernel = self.kernel(self.values(*size, channels, outputs), outputs)
        else:
            outputs = channels * self.number(1, 2)
            flat = self.kernel(self.values(*size, outputs), outputs)
            values = flat.values.reshape(*size, channels, -1)
            kernel = Weight(values, quantisation=flat.quantisation)
        weights = {"kernel": kernel, **self.bias(outputs)}
        self.add(op, (name,), (1, *image, outputs), weights, **options)

    def bias(self, outputs: int) -> dict[str, Weight]:
        return {"bias": Weight(self.values(outputs))} if self.draw(st.booleans()) else {}

    def window(self, name: str, shape: Shape) -> None:
        op = self.draw(st.sampled_from(["max_pool", "average_pool", "resized"]))
        if op == "resized":
            size = (self.number(1, 8), self.number(1, 8))
            linear, half = self.draw(st.booleans()), self.draw(st.booleans())
            self.add(op, (name,), (1, *size, shape[3]), size=size, linear=linear, align=False, half=half)
            return
        size = (self.number(1, shape[1]), self.number(1, shape[2]))
        image = [n - k + 1 for n, k in zip(shape[1:3], size, strict=True)]
        self.add(op, (name,), (1, *image, shape[3]), size=size, strides=(1, 1), padding="VALID")

    def move(self, name: str, shape: Shape) -> None:
        op = self.draw(st.sampled_from(["transpose", "reshape", "cut", "pad", "mirrored", "tile", "gather"]))
        if op == "transpose":
            order = (0, *self.draw(st.permutations([1, 2, 3])))
            why = {"asked_by": "Reshape", "turned_by": ""}
            self.add(op, (name,), tuple(shape[axis] for axis in order), order=order, **why)
        elif op == "reshape":
            target = (1, *self.draw(st.permutations([shape[1] * shape[2], shape[3], 1])))
            self.add(op, (name,), target, shape=[-1, *target[1:]])
        elif op == "cut":
            begin = tuple(self.number(0, size - 1) for size in shape)
            strides = tuple(self.number(1, 2) for _ in shape)
            sizes = tuple(len(range(b, n, s)) for b, n, s in zip(begin, shape, strides, strict=True))
            self.add(op, (name,), sizes, begin=begin, end=(None,) * 4, strides=strides)
        elif op in ("pad", "mirrored"):
            most = [2] * 4 if op == "pad" else [size - 1 for size in shape]
            pads = ((0, 0), *((self.number(0, m), self.number(0, m)) for m in most[1:]))
            sizes = tuple(n + sum(pad) for n, pad in zip(shape, pads, strict=True))
            fill = {"fill": self.draw(st.sampled_from([0.0, 1.5, -3.0]))}
            self.add(op, (name,), sizes, pads=pads, **(fill if op == "pad" else {"mode": "REFLECT"}))
        elif op == "tile":
            multiples = (1, *(self.number(1, 2) for _ in range(3)))
            sizes = tuple(n * m for n, m in zip(shape, multiples, strict=True))
            self.add(op, (name,), sizes, multiples=multiples)
        else:
            places = np.array([self.number(0, shape[3] - 1) for _ in range(self.number(1, 4))], np.int32)
            weights = {"indices": Weight(places)}
            self.add(op, (name,), (*shape[:3], len(places)), weights, axis=3)

    def sum(self, name: str, shape: Shape) -> None:
        op = self.draw(st.sampled_from(["mean", "sum", "maximum", "minimum", "l2", "log_sum_exp"]))
        axes = tuple(sorted(self.draw(st.sets(st.sampled_from([1, 2, 3]), min_size=1))))
        target = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        self.add(op, (name,), target, axes=axes, keepdims=True)

    def pair(self, name: str, shape: Shape) -> None:
        op = self.draw(st.sampled_from(["add", "sub", "mul", "max", "min", "concat"]))
        alike = sorted(other for other, its in self.shapes.items() if its == shape)
        other = self.draw(st.sampled_from(alike))
        if op == "concat":
            self.add(op, (name, other), (*shape[:3], 2 * shape[3]), axis=3)
        elif self.draw(st.booleans()):
            self.add(op, (name, other), shape)
        else:
            operand = self.values(*self.draw(st.sampled_from([(1, 1, 1, shape[3]), (1, 1, 1, 1)])))
            weight = Weight(operand)
            if self.quantised and self.draw(st.booleans()):
                scale = np.abs(operand).max() / 127
                weight = Weight(
                    (np.rint(operand / scale) * scale).astype(np.float32),
                    quantisation=Quantisation(np.array([scale], np.float32), np.zeros(1, np.int64)),
                )
            self.add(op, (name,), shape, {"operand": weight}, constant_first=self.draw(st.booleans()))


@st.composite
def plans(draw: Draw, quantised: bool) -> Plan:
    """Up to 16 steps on one input of four axes."""
    return _Plans(draw, quantised).plan(int(draw(st.integers(1, 16))))
