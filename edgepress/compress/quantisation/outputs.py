"""Outputs that int8 cannot tell apart: one code for all that a part of an output says."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from edgepress.compress.quantisation.activations import Activations
from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Inputs
from edgepress.graph.kept_floats import blur, blurred_outputs, float_joins

_INPUTS = 16
_CODES = 255


def tell_outputs(
    model: onnx.ModelProto, quantised: onnx.ModelProto, inputs: Inputs, tell: Callable[[str], None]
) -> None:
    """Say what stays in floats because of what is joined, and which outputs have one code for all inputs.

    Args:
        model: float32.
        quantised: the same in int8, on which the latter is noted.
        inputs: of which a few are tried.
        tell: takes each line.
    """
    chosen = inputs[:: max(len(inputs) // _INPUTS, 1)]
    names = [output.name for output in model.graph.output]
    expected, actual = (_values(each, chosen, names) for each in (model, quantised))
    for output in quantised.graph.output:
        if output.name in expected:
            part = _one_code(actual[output.name], expected[output.name])
            if part is not None:
                blur(output, part)
    for line in (*map(str, float_joins(quantised)), *blurred_outputs(quantised)):
        tell(line)


def _values(model: onnx.ModelProto, inputs: Inputs, names: Sequence[str]) -> dict[str, Array]:
    rows = list(Activations(model, inputs, names))
    return {name: _joined([np.atleast_1d(row[name]) for row in rows]) for name in names if name in rows[0]}


def _joined(rows: Sequence[Array]) -> Array:
    """An output of all inputs on its first axis or, where its other sizes differ, in a row."""
    alike = len({row.shape[1:] for row in rows}) == 1
    return np.concatenate(rows if alike else [row.reshape(-1) for row in rows])


def _one_code(actual: Array, expected: Array) -> str | None:
    """The part, as an index, in which nothing differs though it should; '' for the whole, None for none.

    A part of numbers that are at most 1, such as probabilities, may well be all 0: they are small by
    themselves, not because others are large.
    """
    if not np.ptp(expected):
        return None
    if not np.ptp(actual):
        return ""
    step = np.ptp(expected) / _CODES
    for axis in range(1, expected.ndim) if np.abs(expected).max() > 1 else ():
        others = tuple(one for one in range(expected.ndim) if one != axis)
        alike = (np.ptp(actual, axis=others) == 0) & (np.ptp(expected, axis=others) > 0)
        lost = np.flatnonzero(alike & (np.abs(expected).max(axis=others) < step))
        if len(lost):
            last = (
                f"{lost[0]}"
                if len(lost) == 1
                else f"[{', '.join(map(str, lost[:3]))}{', …' * (len(lost) > 3)}]"
            )
            return f"[{':, ' * axis}{last}]"
    return None
