"""Gemm, MatMul and Einsum; constant matrices are weights, computed ones operands."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.translate.layout import Layout, flattened_rows, plain
from edgepress.translate.ops.convolution import bias, quantisation
from edgepress.translate.plan import Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, Value
from edgepress.translate.wishes import nearest, turned
from edgepress.translate.written_out import Sketch, Term, written


def plan_gemm(node: Node, planner: Planner) -> None:
    """y = alpha·x'·W' + beta·b; a constant W becomes (in, out), with alpha in it and beta in the bias."""
    if not _is_dense(node, planner):
        _plan_free_gemm(node, planner)
        return
    value, a = planner.value(node.inputs[0]), node.attributes
    if a.get("transA", 0):
        value = replace(
            planner.stored_as(node, value, Layout((1, 0))), shape=value.shape[::-1], layout=plain(2)
        )
    kernel = _times(_matrix(node, planner, value, bool(a.get("transB", 0))), a.get("alpha", 1.0))
    value = _rows_as_stored(node, planner, value)
    planner.emit(node, "dense", (value,), plain(2), {"kernel": kernel, **_bias(node, planner, kernel)})


def _times(kernel: Weight, alpha: float) -> Weight:
    if alpha == 1.0:
        return kernel
    known = kernel.quantisation
    codes = None if known is None else replace(known, scale=known.scale * np.float32(abs(alpha)))
    return Weight(kernel.values * np.float32(alpha), quantisation=codes)


def _bias(node: Node, planner: Planner, kernel: Weight) -> dict[str, Weight]:
    beta, outputs = node.attributes.get("beta", 1.0), kernel.values.shape[1]
    given = planner.constants[node.inputs[2]].values if node.has_input(2) and beta else np.zeros(0)
    if beta == 1.0 and given.size == outputs:
        return bias(node, planner)
    each = given.reshape(-1) * np.float32(beta)
    return {"bias": Weight(np.broadcast_to(each, (outputs,)).astype(np.float32))} if given.size else {}


def _is_dense(node: Node, planner: Planner) -> bool:
    """Whether it is a layer: a constant matrix that is not 0 times another, and a constant row at most."""
    known = planner.constants
    if node.inputs[0] in known or node.inputs[1] not in known or not node.attributes.get("alpha", 1.0):
        return False
    if not node.has_input(2) or not node.attributes.get("beta", 1.0):
        return True
    added = known.get(node.inputs[2])
    return added is not None and (added.values.ndim < 2 or added.values.shape[0] == 1)


def _plan_free_gemm(node: Node, planner: Planner) -> None:
    a = node.attributes
    operands = [planner.value(name) for name in node.inputs if name]
    operands = [planner.stored_as(node, value, plain(len(value.shape))) for value in operands]
    planner.emit(
        node,
        "gemm",
        tuple(operands),
        plain(2),
        left=bool(a.get("transA", 0)),
        right=bool(a.get("transB", 0)),
        alpha=a.get("alpha", 1.0),
        beta=a.get("beta", 1.0),
    )


def plan_matmul(node: Node, planner: Planner) -> None:
    """x·W with a constant matrix W (in, out), or the product of any two tensors."""
    if np.dtype(planner.dtype(node.outputs[0])).kind in "iu":
        written(_whole_product)(node, planner)
        return
    weight = planner.constants.get(node.inputs[1])
    value = planner.value(node.inputs[0])
    if (
        weight is None
        or weight.values.ndim != 2
        or len(value.shape) < 2
        or node.inputs[0] in planner.constants
    ):
        _plan_product(node, planner, value)
        return
    kernel = _matrix(node, planner, value, False)
    value = _rows_as_stored(node, planner, value)
    planner.emit(node, "dense", (value,), plain(len(value.shape)), {"kernel": kernel})


def _whole_product(s: Sketch) -> Term:
    """Of whole numbers, of which LiteRT multiplies no matrices: all products, then their sums."""
    shapes = s.sizes(0), s.sizes(1)
    batch = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
    if math.prod((*batch, *shapes[0][-2:], *shapes[1][-1:])) > _MOST_PRODUCTS:
        raise s.refuse(f"a product of whole numbers of {shapes[0]} and {shapes[1]} takes too much memory")
    left, right = s.operand(0), s.operand(1)
    left = left.unsqueeze(-1) if len(shapes[0]) > 1 else left.unsqueeze(0, -1)
    right = right.unsqueeze(-3) if len(shapes[1]) > 1 else right.unsqueeze(0, -1)
    total = (left * right).sum(-2)
    if len(shapes[1]) == 1:
        total = total.squeeze(-1)
    return total if len(shapes[0]) > 1 else total.squeeze(-1 if len(shapes[1]) == 1 else -2)


_MOST_PRODUCTS = 1 << 26


def _plan_product(node: Node, planner: Planner, left: Value) -> None:
    """A vector counts as a matrix of one row on the left, of one column on the right."""
    right = planner.value(node.inputs[1])
    target = planner.shape(node.outputs[0])
    if len(left.shape) > 1 and len(right.shape) > 1:
        (left, turned_left), (right, turned_right) = (_turned(node, planner, v) for v in (left, right))
        options: dict[str, Any] = {"left": turned_left, "right": turned_right}
        planner.emit(node, "matmul", (left, right), plain(len(target)), **options)
        return
    left, right = (planner.stored_as(node, v, plain(len(v.shape))) for v in (left, right))
    if len(left.shape) == 1:
        left = planner.reshaped(node, left, (1, *left.shape), "row")
    if len(right.shape) == 1:
        right = planner.reshaped(node, right, (*right.shape, 1), "column")
    product = planner.emit_helper(node, "matmul", (left, right), "product", left, left=False, right=False)
    planner.emit(node, "reshape", (product,), plain(len(target)), shape=planner.target(node))


def _turned(node: Node, planner: Planner, value: Value) -> tuple[Value, bool]:
    """A matrix as stored, and whether TensorFlow is to turn it: that costs nothing."""
    order = plain(len(value.shape)).order
    if value.layout.flattened is None:
        chosen = nearest(value.layout.order, frozenset([order, turned(order)]))
        value = planner.stored_as(node, value, Layout(chosen))
    else:
        value = planner.stored_as(node, value, plain(2))
    return value, value.layout.order != order


def plan_einsum(node: Node, planner: Planner) -> None:
    """Einstein's sum over operands in ONNX's order; TensorFlow writes it as matrix products."""
    values = [planner.value(name) for name in node.inputs]
    values = [planner.stored_as(node, value, plain(len(value.shape))) for value in values]
    equation = node.attributes["equation"].replace(" ", "")
    rank = len(planner.shape(node.outputs[0]))
    planner.emit(node, "einsum", tuple(values), plain(rank), equation=equation)


def _matrix(node: Node, planner: Planner, value: Value, transposed: bool) -> Weight:
    constant = planner.constant(node, 1)
    order = (1, 0) if transposed else (0, 1)
    matrix = np.transpose(constant.values, order)
    rows = flattened_rows(value.layout.flattened) if value.layout.flattened else None
    values = matrix if rows is None else matrix[rows]
    scales = quantisation(constant, matrix.shape[1], 0 if transposed else 1)
    return Weight(values, constant.initializer, order, rows, constant.values.shape, scales)


def _rows_as_stored(node: Node, planner: Planner, value: Value) -> Value:
    return value if value.layout.flattened else planner.stored_as(node, value, plain(len(value.shape)))


PLANNERS: dict[str, OpPlanner] = {"Gemm": plan_gemm, "MatMul": plan_matmul, "Einsum": plan_einsum}
