"""Codes that a quantised network gives another scale, where TFLite's converter would leave that out.

It gives all operands and results of an operator that only moves or joins numbers one scale, and fuses a Relu
into the layer before it. Of two quantisations with nothing but such between them it keeps one, so that what
the other one clips is clipped no more. A product with 1, an int8 operator of its own, keeps both.
"""

from dataclasses import replace

import numpy as np

from edgepress.translate.barriers import carried_from
from edgepress.translate.plan import Quantisation, Step, Weight
from edgepress.translate.planner import Planner, Value

_JOINING = ("concat", "max", "min", "max_of", "min_of", "where")
_CLIPPING = ("relu", "clip")
_LEVELS = 255
_FACTORS = 128
"""So many forms of 1: TensorFlow would take two products of a tensor by equal factors for one."""

Codes = tuple[float, float]
"""The numbers that the lowest and the highest code stand for."""


def before_other_codes(planner: Planner, value: Value, codes: Codes) -> Value:
    """The operand of a quantisation to these codes, in a form that keeps the codes that it has already."""
    source = planner.step_of(carried_from(planner, value.name))
    while source is not None and source.op in _CLIPPING:
        source = planner.step_of(carried_from(planner, source.inputs[0]))
    if source is None:
        return value
    if source.op == "fake_quant" and _codes(source) != codes:
        steps = _times_one(planner, source, value.name)
        planner.steps += steps
        return replace(value, name=steps[-1].output)
    if source.op in _JOINING:
        _rescale_operands(planner, source, codes)
    return value


def _codes(step: Step) -> Codes:
    return step.attributes["low"], step.attributes["high"]


def _rescale_operands(planner: Planner, join: Step, codes: Codes) -> None:
    """Give the operands of a join its codes, in place, but for those that the converter is known to turn."""
    place, inputs = planner.steps.index(join), list[str]()
    for name in join.inputs:
        own = planner.step_of(carried_from(planner, name))
        if own is None or own.op != "fake_quant" or _codes(own) == codes or name in planner.left_to_joins:
            inputs.append(name)
            continue
        steps = _times_one(planner, own, name)
        low, high = codes
        steps.append(
            Step(
                "fake_quant",
                (steps[-1].output,),
                f"{steps[-1].output}.joined",
                join.node,
                {"low": low, "high": high},
            )
        )
        planner.steps[place:place] = steps
        place += len(steps)
        inputs.append(steps[-1].output)
    planner.steps[place] = replace(join, inputs=tuple(inputs))


def _times_one(planner: Planner, own: Step, name: str) -> list[Step]:
    """The tensor under the codes that it has, times 1."""
    number = len(planner.steps)
    scale = np.float32(1 / (_LEVELS - number % _FACTORS))
    one = Weight(np.ones((), np.float32), quantisation=Quantisation(np.array(scale), -128))
    kept, product = f"{name}.codes{number}", f"{name}.times_one{number}"
    return [
        Step("fake_quant", (name,), kept, own.node, own.attributes),
        Step("mul", (kept,), product, own.node, {"constant_first": False}, {"operand": one}),
    ]
