"""LSTM, GRU and RNN, over sequences of any length."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.translate.cells import DEFAULTS, GATES, TAKE_BETA, Activation, activation_name
from edgepress.translate.layout import plain
from edgepress.translate.nested import whole
from edgepress.translate.ops.convolution import quantisation
from edgepress.translate.plan import Quantisation, Weight
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, Value, unsupported

_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_WEIGHTS = {1: "input", 2: "state", 3: "bias", 7: "peepholes"}
_PLACES = {part: place for place, part in _WEIGHTS.items()}
_STATES = {5: "first", 6: "first_memory"}


def plan_recurrent(node: Node, planner: Planner) -> None:
    """One step for the outputs that are read: all states, the last state, the last memory."""
    a = node.attributes
    value = planner.stored_as(node, planner.value(node.inputs[0]), plain(3))
    batch_first = bool(a.get("layout", 0))
    axis = 1 if batch_first else 0
    weights = {
        part: Weight(planner.constant(node, index).values)
        for index, part in _WEIGHTS.items()
        if node.has_input(index)
    }
    for part in ("input", "state"):
        weights[part] = replace(weights[part], quantisation=_codes(planner.constant(node, _PLACES[part])))
    given: dict[str, Value] = {}
    for index, part in _STATES.items():
        if node.has_input(index) and node.inputs[index] in planner.constants:
            weights[part] = Weight(planner.constant(node, index).values)
        elif node.has_input(index):
            given[part] = planner.stored_as(node, planner.value(node.inputs[index]), plain(3))
    if node.has_input(4) and not _is_whole(node, planner, value.shape[axis]):
        given["lengths"] = _lengths(node, planner)
    if value.shape[axis] is None:
        raise unsupported(node, "the length of its sequences is not known, or is the number of samples")
    _check(node, weights)
    ways = weights["input"].values.shape[0]
    parts = [part for part, _ in _read(node, planner)]
    options: dict[str, Any] = {
        "cell": node.op,
        "direction": a.get("direction", "forward"),
        "batch_first": batch_first,
        "linear_before_reset": bool(a.get("linear_before_reset", 0)),
        "activations": _activations(node, ways),
        "clip": float(a.get("clip", 0.0)),
        "input_forget": bool(a.get("input_forget", 0)),
        "parts": tuple(parts),
        "given": tuple(given),
        "open_length": planner.is_open(node.inputs[0], axis),
    }
    outputs = [name for _, name in _read(node, planner)]
    ranks = [4 if part == "all" else 3 for part in parts]
    reading = replace(node, outputs=tuple(outputs))
    layouts = [plain(rank) for rank in ranks]
    planner.emit_several(reading, "recurrent", (value, *given.values()), layouts, weights, **options)


def _codes(kernel: Constant) -> Quantisation | None:
    """The codes of a kernel (D, outputs, inputs) with a scale for each output, the same in each direction."""
    known = quantisation(kernel, kernel.values.shape[1], 1) if kernel.values.ndim == 3 else None
    return None if known is None or known.zero_points.any() or not (known.scale > 0).all() else known


def _check(node: Node, weights: Mapping[str, Weight]) -> None:
    """Kernels (D, gates·H, …), and what belongs to them, must fit each other."""
    shapes = {part: weight.values.shape for part, weight in weights.items()}
    ways, _, size = shapes["state"]
    width = GATES[node.op] * size
    wanted: dict[str, tuple[int, ...]] = {"input": (ways, width, shapes["input"][-1])}
    wanted |= {"state": (ways, width, size), "bias": (ways, 2 * width), "peepholes": (ways, 3 * size)}
    for part in shapes.keys() & wanted.keys():
        if shapes[part] != wanted[part]:
            raise unsupported(node, f"its {part} has the shape {shapes[part]}; expected {wanted[part]}")


def _read(node: Node, planner: Planner) -> Iterator[tuple[str, str]]:
    """The outputs that something reads, or the first that has a name."""
    named = [pair for pair in zip(("all", "last", "memory"), node.outputs, strict=False) if pair[1]]
    read = [pair for pair in named if planner.readers.get(pair[1]) or pair[1] in planner.outputs]
    yield from read or named[:1]


def _activations(node: Node, ways: int) -> tuple[tuple[Activation, ...], ...]:
    """f, g and h of each direction; numbers are given to those that take some, in their order."""
    a, usual = node.attributes, _USUAL[node.op]
    names = [
        text.decode() if isinstance(text, bytes) else text for text in a.get("activations", usual * ways)
    ]
    if len(names) != len(usual) * ways:
        raise unsupported(node, f"it has {len(names)} activations; expected {len(usual) * ways}")
    alphas, betas = list(a.get("activation_alpha", [])), list(a.get("activation_beta", []))
    found = []
    for name in names:
        if not activation_name(name):
            raise unsupported(node, f"it has the activation {name!r}, which ONNX does not define")
        alpha, beta = DEFAULTS.get(name.lower(), (0.0, 0.0))
        if name.lower() in DEFAULTS and alphas:
            alpha = float(alphas.pop(0))
        if name.lower() in TAKE_BETA and betas:
            beta = float(betas.pop(0))
        found.append(Activation(activation_name(name), alpha, beta))
    return tuple(tuple(found[place : place + len(usual)]) for place in range(0, len(found), len(usual)))


def _is_whole(node: Node, planner: Planner, length: int | None) -> bool:
    """Whether each sequence has the whole length."""
    constant = planner.constants.get(node.inputs[4])
    return constant is not None and length is not None and bool(np.all(constant.values == length))


def _lengths(node: Node, planner: Planner) -> Value:
    """After how many steps each sequence ends, as (N, 1) numbers."""
    value = whole(node, planner, planner.value(node.inputs[4]))
    number = planner.emit_helper(node, "cast", (value,), "lengths", value, dtype="float32")
    sizes: Sequence[int | None] = (value.shape[0], 1)
    return planner.reshaped(node, number, tuple(sizes), "column")


PLANNERS: dict[str, OpPlanner] = dict.fromkeys(("LSTM", "GRU", "RNN"), plan_recurrent)
