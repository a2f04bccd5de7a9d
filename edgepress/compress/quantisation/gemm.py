"""Layers of weights as Gemm, without what shifts its scales: int8 kernels have no alpha, beta or transA."""

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from edgepress.graph.products import add_rows_at_products, is_layer, ranks_of_constants
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    initializers,
    replace_nodes,
    set_initializer,
)


def as_gemm(model: onnx.ModelProto) -> None:
    """Write a MatMul with a constant matrix and the Add of a row as one Gemm, in place: it rounds once.

    Of more than two axes the first ones are joined before, and split again behind it, or behind the Relu or
    Clip that follows. A MatMul of two axes without an Add becomes a Gemm, too.
    """
    add_rows_at_products(model)
    ranks, readers, infos = ranks_of_constants(model), consumers(model), inferred_infos(model)
    shown, gone = {output.name for output in model.graph.output}, set[int]()
    nodes = list[onnx.NodeProto]()
    for node in model.graph.node:
        if id(node) in gone:
            continue
        sizes = _sizes(infos, node.input[0]) if is_layer(node, ranks) else []
        behind = list[onnx.NodeProto]()
        for kinds in (("Add",), ("Relu", "Clip")) if sizes else ():
            last = (behind or [node])[-1]
            following = readers[last.output[0]]
            alone = len(following) == 1 and last.output[0] not in shown
            if alone and following[0].op_type in kinds and _one_computed(following[0], ranks):
                behind.append(following[0])
        row = _row(model, behind[0], node) if behind and behind[0].op_type == "Add" else ""
        if len(sizes) < 2 or (len(sizes) > 2 and not (row and all(sizes[1:]))):
            nodes.append(node)
            continue
        behind = behind if row else []
        gone |= {id(each) for each in behind}
        nodes += _as_gemm(model, node, row, behind, sizes)
    replace_nodes(model, nodes)


def _one_computed(node: onnx.NodeProto, constants: Collection[str]) -> bool:
    return sum(bool(name) and name not in constants for name in node.input) == 1


def _row(model: onnx.ModelProto, add: onnx.NodeProto, product: onnx.NodeProto) -> str:
    """The constant summand as one number for each output (outputs,); '' where it is none."""
    constants = initializers(model)
    given = [name for name in add.input if name in constants]
    outputs = constants[product.input[1]].shape[1]
    if len(given) != 1 or constants[given[0]].dtype != np.float32:
        return ""
    values = constants[given[0]]
    if values.shape == (outputs,):
        return str(given[0])
    if values.size != 1 and values.shape != (*(1,) * (values.ndim - 1), outputs):
        return ""
    row = f"{add.output[0]}.row"
    set_initializer(model, row, np.broadcast_to(values.reshape(-1), (outputs,)))
    return row


def _as_gemm(
    model: onnx.ModelProto, node: onnx.NodeProto, row: str, behind: list[onnx.NodeProto], sizes: list[int]
) -> list[onnx.NodeProto]:
    make, (features, outputs) = onnx.helper.make_node, initializers(model)[node.input[1]].shape
    result, source = (behind or [node])[-1].output[0], node.input[0]
    operands = [node.input[1], *([row] if row else [])]
    if len(sizes) == 2:
        gemm = make("Gemm", [source, *operands], [(behind or [node])[0].output[0]], node.name)
        return [gemm, *behind[1:]]
    for name, shape in (("rows", (features,)), ("back", (*sizes[1:-1], outputs))):
        set_initializer(model, f"{node.output[0]}.{name}", np.array([-1, *shape], np.int64))
    rows, made = f"{node.output[0]}.of_rows", f"{node.output[0]}.in_rows"
    nodes = [
        make("Reshape", [source, f"{node.output[0]}.rows"], [rows], rows),
        make("Gemm", [rows, *operands], [made], node.name),
    ]
    for each in behind[1:]:
        clip = onnx.NodeProto()
        clip.CopyFrom(each)
        clip.input[0], clip.output[0] = made, f"{made}.clipped"
        nodes.append(clip)
    last = nodes[-1].output[0]
    return [*nodes, make("Reshape", [last, f"{node.output[0]}.back"], [result], result)]


def _sizes(infos: Mapping[str, onnx.ValueInfoProto], name: str) -> list[int]:
    """0 where open; none at all where the rank is unknown."""
    return [dim.dim_value for dim in infos[name].type.tensor_type.shape.dim] if name in infos else []


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
