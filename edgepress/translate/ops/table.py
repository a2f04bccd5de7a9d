"""From ONNX operator to the function that plans it."""

from edgepress.translate.ops import (
    broadcast,
    control,
    convolution,
    deconvolution,
    elementwise,
    matrix,
    normalisation,
    pooling,
    quantisation,
    recurrent,
    reduction,
    resampling,
    selection,
    shape,
    sizes,
)
from edgepress.translate.planner import OpPlanner

_FAMILIES = (
    convolution,
    deconvolution,
    matrix,
    normalisation,
    elementwise,
    broadcast,
    reduction,
    pooling,
    shape,
    sizes,
    selection,
    resampling,
    recurrent,
    control,
    quantisation,
)
PLANNERS: dict[str, OpPlanner] = {op: plan for family in _FAMILIES for op, plan in family.PLANNERS.items()}
