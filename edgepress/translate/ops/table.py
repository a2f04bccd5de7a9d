"""From ONNX operator to the function that plans it."""

from edgepress.translate.ops import (
    convolution,
    elementwise,
    matrix,
    normalisation,
    pooling,
    quantisation,
    shape,
)
from edgepress.translate.planner import OpPlanner

PLANNERS: dict[str, OpPlanner] = {
    **convolution.PLANNERS,
    **matrix.PLANNERS,
    **normalisation.PLANNERS,
    **elementwise.PLANNERS,
    **pooling.PLANNERS,
    **shape.PLANNERS,
    **quantisation.PLANNERS,
}
