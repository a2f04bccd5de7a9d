"""Gemm and MatMul with constant weights."""

import numpy as np

from edgepress.translate.layout import flattened_rows, plain
from edgepress.translate.ops.convolution import bias, quantisation
from edgepress.translate.plan import Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, unsupported


def plan_gemm(node: Node, planner: Planner) -> None:
    """y = alpha·x·W' + beta·b; weights become (in, out)."""
    a = node.attributes
    if a.get("transA", 0) or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
        raise unsupported(node, "transA, alpha and beta other than 0, 1 and 1 have no translation")
    value = planner.value(node.inputs[0])
    kernel, added = _matrix(node, planner, value, bool(a.get("transB", 0))), bias(node, planner)
    if added and added["bias"].values.size != kernel.values.shape[1]:
        raise unsupported(
            node, f"its third operand has shape {added['bias'].onnx_shape}, not one value per output"
        )
    weights = {"kernel": kernel, **added}
    planner.emit(node, "dense", (_rows_as_stored(node, planner, value),), plain(2), weights)


def plan_matmul(node: Node, planner: Planner) -> None:
    """x·W with a constant matrix W (in, out)."""
    if planner.constant(node, 1).values.ndim != 2:
        raise unsupported(node, "only a product with a constant matrix is translated")
    value = planner.value(node.inputs[0])
    weights = {"kernel": _matrix(node, planner, value, False)}
    value = _rows_as_stored(node, planner, value)
    planner.emit(node, "dense", (value,), plain(len(value.shape)), weights)


def _matrix(node: Node, planner: Planner, value: Value, transposed: bool) -> Weight:
    constant = planner.constant(node, 1)
    order = (1, 0) if transposed else (0, 1)
    matrix = np.transpose(constant.values, order)
    rows = flattened_rows(value.layout.flattened) if value.layout.flattened else None
    values = matrix if rows is None else matrix[rows]
    scales = quantisation(constant, matrix.shape[1])
    return Weight(values, constant.initializer, order, rows, constant.values.shape, scales)


def _rows_as_stored(node: Node, planner: Planner, value: Value) -> Value:
    return value if value.layout.flattened else planner.stored_as(node, value, plain(len(value.shape)))


PLANNERS: dict[str, OpPlanner] = {"Gemm": plan_gemm, "MatMul": plan_matmul}
