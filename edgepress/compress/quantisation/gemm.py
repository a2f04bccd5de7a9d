"""Gemm without what shifts its scales: int8 kernels have no alpha, beta or transA, and a bias per output."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.graph.view import Array, attributes, set_initializer


def plain_gemm(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: Mapping[str, Array]
) -> list[onnx.NodeProto]:
    """The nodes that compute alpha·A'·B' + beta·C as a layer, or as a product and what is done to it.

    With a constant B, alpha goes into it, beta into a constant C; a C of one row becomes a bias (outputs,).
    """
    given, make = attributes(node), onnx.helper.make_node
    alpha, beta = (float(given.get(name, 1.0)) for name in ("alpha", "beta"))
    left, right, added = (*node.input, "")[:3]
    added = added if beta else ""
    if right not in constants or left in constants:
        return _product(model, node, alpha, beta, added)
    nodes, base = [], node.output[0]
    if given.get("transA", 0):
        nodes.append(make("Transpose", [left], [f"{base}.left"], f"{node.name}.left", perm=[1, 0]))
        left = f"{base}.left"
    if alpha != 1.0:
        set_initializer(model, f"{base}.kernel", constants[right] * np.float32(alpha))
        right = f"{base}.kernel"
    options = {"transB": 1} if given.get("transB", 0) else {}
    outputs = constants[node.input[1]].shape[0 if options else 1]
    bias = _bias(constants.get(added), beta, outputs) if added else None
    if bias is not None:
        if beta != 1.0 or constants[added].shape != bias.shape:
            set_initializer(model, f"{base}.bias", bias)
            added = f"{base}.bias"
        return [*nodes, make("Gemm", [left, right, added], [base], node.name, **options)]
    if not added:
        return [*nodes, make("Gemm", [left, right], [base], node.name, **options)]
    product = f"{base}.product"
    nodes.append(make("Gemm", [left, right], [product], f"{node.name}.product", **options))
    return [*nodes, *_sum(model, node, product, added, beta)]


def _bias(added: Array | None, beta: float, outputs: int) -> Array | None:
    """beta·C (outputs,) where C is constant and has one row at most."""
    if added is None or (added.ndim == 2 and added.shape[0] != 1):
        return None
    return np.broadcast_to(added.reshape(-1) * np.float32(beta), (outputs,)).astype(np.float32)


def _product(
    model: onnx.ModelProto, node: onnx.NodeProto, alpha: float, beta: float, added: str
) -> list[onnx.NodeProto]:
    given, make, base = attributes(node), onnx.helper.make_node, node.output[0]
    nodes, operands = list[onnx.NodeProto](), list[str]()
    for name, side in zip(node.input[:2], ("A", "B"), strict=True):
        if given.get(f"trans{side}", 0):
            turned = f"{base}.{side}"
            nodes.append(make("Transpose", [name], [turned], f"{node.name}.{side}", perm=[1, 0]))
            name = turned
        operands.append(name)
    last = base if alpha == 1.0 and not added else f"{base}.product"
    nodes.append(make("MatMul", operands, [last], f"{node.name}.product"))
    if alpha != 1.0:
        scaled = f"{base}.scaled" if added else base
        nodes.append(_scaled(model, node, last, scaled, alpha, "alpha"))
        last = scaled
    return [*nodes, *(_sum(model, node, last, added, beta) if added else [])]


def _sum(
    model: onnx.ModelProto, node: onnx.NodeProto, product: str, added: str, beta: float
) -> list[onnx.NodeProto]:
    base, nodes = node.output[0], list[onnx.NodeProto]()
    if beta != 1.0:
        nodes.append(_scaled(model, node, added, f"{base}.added", beta, "beta"))
        added = f"{base}.added"
    return [*nodes, onnx.helper.make_node("Add", [product, added], [base], node.name)]


def _scaled(
    model: onnx.ModelProto, node: onnx.NodeProto, source: str, target: str, factor: float, name: str
) -> onnx.NodeProto:
    constant = f"{node.output[0]}.{name}"
    set_initializer(model, constant, np.array(factor, np.float32))
    return onnx.helper.make_node("Mul", [source, constant], [target], f"{node.name}.{name}")
