"""What a way to calibrate costs at the output, next to the plainest one."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from edgepress.compress.quantisation.activations import Activations
from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Inputs

_TELLING = 0.5
"""Of a dB: less is nothing to speak of."""


def warn_if_worse(
    model: onnx.ModelProto,
    inputs: Inputs,
    chosen: onnx.ModelProto,
    plain: onnx.ModelProto,
    method: str,
    tell: Callable[[str], None],
) -> None:
    """Say in a line if a model calibrated by a method is further from the float one than by minmax.

    Args:
        model: float32.
        inputs: of the calibration split.
        chosen: quantised, calibrated by `method`.
        plain: quantised, calibrated by minmax.
        method: as in the configuration.
        tell: takes the line.
    """
    ours, theirs = (signal_to_noise_db(model, each, inputs) for each in (chosen, plain))
    if ours < theirs - _TELLING:
        tell(
            f"calibration.method={method} leaves {ours:.1f} dB of signal over noise at the output on the "
            f"calibration split, minmax {theirs:.1f} dB; choose quant.calibration.method=minmax"
        )


def signal_to_noise_db(model: onnx.ModelProto, quantised: onnx.ModelProto, inputs: Inputs) -> float:
    """Of the outputs of a quantised model, that in which the float model's variance is least above the error.

    In dB, over inputs that run through both one by one, but those that give another number of elements, such
    as of boxes that are found; infinite where nothing differs.
    """
    outputs = [output for output in model.graph.output if _is_float(output)]
    names = [output.name for output in outputs]
    pairs = zip(Activations(model, inputs, names), Activations(quantised, inputs, names), strict=True)
    rows = [[(np.ravel(one[name]), np.ravel(other[name])) for name in names] for one, other in pairs]
    found = [
        [pair for pair in each if len({len(row) for row in pair}) == 1] for each in zip(*rows, strict=True)
    ]
    return min(
        (_ratio_db(*map(_joined, zip(*each, strict=True))) for each in found if each), default=float("inf")
    )


def _joined(rows: Sequence[Array]) -> Array:
    return np.concatenate(rows).astype(np.float64)


def _is_float(output: onnx.ValueInfoProto) -> bool:
    return bool(output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)


def _ratio_db(expected: Array, actual: Array) -> float:
    noise, signal = float(np.square(expected - actual).mean()), float(expected.var())
    if not noise:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal else float("-inf")
