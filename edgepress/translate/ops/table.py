"""From ONNX operator to the function that plans it."""

from edgepress.translate.ops import (
    along,
    broadcast,
    control,
    convolution,
    deconvolution,
    elementwise,
    matrix,
    normalisation,
    picking,
    pooling,
    quantisation,
    recurrent,
    reduction,
    resampling,
    sampling,
    scattering,
    selection,
    shape,
    sizes,
    unpooling,
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
    along,
    pooling,
    shape,
    sizes,
    unpooling,
    sampling,
    scattering,
    selection,
    picking,
    resampling,
    recurrent,
    control,
    quantisation,
)
PLANNERS: dict[str, OpPlanner] = {op: plan for family in _FAMILIES for op, plan in family.PLANNERS.items()}
