"""Operators of ONNX Runtime's own domain whose meaning is arithmetic, written out in those of ONNX.

ONNX Runtime fuses to them in the files that it writes (`optimized_model_filepath`), and so do its tools for
transformers. Sources: its docs/ContribOperators.md, and its CPU kernels for what that leaves open.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from edgepress.graph.normalise.microsoft_attention import ATTENTION
from edgepress.graph.normalise.microsoft_body import Dims, MicrosoftBody
from edgepress.graph.normalise.microsoft_norms import NORMS
from edgepress.graph.normalise.microsoft_rotary import rotary_embedding
from edgepress.graph.normalise.structure import opset
from edgepress.graph.view import all_nodes, nested_graphs

DOMAIN = "com.microsoft"
_FUSED = {"LayerNormalization": 17, "SimplifiedLayerNormalization": 99}
"""What ONNX Runtime writes as ONNX's own operators, before the opsets that have them."""

Shapes = dict[str, Dims]


def told_shapes(model: onnx.ModelProto) -> Shapes:
    """What a file says of its tensors' sizes; of those between operators ONNX's checks forget it."""
    graphs = [model.graph, *(graph for node in all_nodes(model.graph) for graph in nested_graphs(node))]
    return {
        info.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in info.type.tensor_type.shape.dim
        )
        for graph in graphs
        for info in (*graph.value_info, *graph.input, *graph.output)
        if info.type.tensor_type.HasField("shape")
    }


def set_fused_apart(model: onnx.ModelProto) -> None:
    """Give those that a file calls ONNX's own, in opsets that have them not, their own domain, in place."""
    fused = [node for node in all_nodes(model.graph) if not node.domain and _is_fused(node, opset(model))]
    for node in fused:
        node.domain = DOMAIN
    if fused and not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))


def write_out_fused(model: onnx.ModelProto, shapes: Shapes) -> None:
    """Write out all of them, in place; others of that domain stay.

    Raises:
        UnsupportedModelError: one has a form that is not taken.
    """
    version = opset(model)
    if not any(_is_fused(node, version) for node in all_nodes(model.graph)):
        return
    _write_out(model.graph, version, {}, shapes)
    if not any(node.domain == DOMAIN for node in all_nodes(model.graph)):
        kept = [entry for entry in model.opset_import if entry.domain != DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(kept)


def _is_fused(node: onnx.NodeProto, version: int) -> bool:
    if node.domain in ("", "ai.onnx"):
        return version < _FUSED.get(node.op_type, 0)
    return node.domain == DOMAIN and node.op_type in _WRITERS


def _write_out(
    graph: onnx.GraphProto, version: int, outer: Mapping[str, TensorProto], shapes: Shapes
) -> None:
    constants = {**outer, **{tensor.name: tensor for tensor in graph.initializer}}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                constants[node.output[0]] = attribute.t
    nodes = list[onnx.NodeProto]()
    for node in graph.node:
        for nested in nested_graphs(node):
            _write_out(nested, version, constants, shapes)
        if _is_fused(node, version):
            body = MicrosoftBody(node, version, constants, shapes)
            _WRITERS[node.op_type](body)
            nodes.extend(body.nodes)
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)


# Functions of elements


def gelu(b: MicrosoftBody, x: str, output: str = "") -> str:
    """x/2·(1 + erf(x/√2))."""
    if b.opset >= 20:
        return b("Gelu", x, output=output)
    share = b("Add", b("Erf", b("Div", x, np.float32(np.sqrt(2)))), np.float32(1))
    return b("Mul", b("Mul", x, share), np.float32(0.5), output=output)


def fast_gelu(b: MicrosoftBody, x: str, output: str) -> str:
    """x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    if b.opset >= 20:
        return b("Gelu", x, output=output, approximate="tanh")
    cube = b("Mul", b("Mul", b("Mul", x, x), x), np.float32(0.044715))
    inner = b("Mul", b("Add", x, cube), np.float32(np.sqrt(2 / np.pi)))
    share = b("Add", b("Tanh", inner), np.float32(1))
    return b("Mul", b("Mul", x, share), np.float32(0.5), output=output)


def _gelu(b: MicrosoftBody) -> None:
    gelu(b, _shifted(b), b.node.output[0])


def _fast_gelu(b: MicrosoftBody) -> None:
    fast_gelu(b, _shifted(b), b.node.output[0])


def _shifted(b: MicrosoftBody) -> str:
    """The first operand plus the second, if there is one."""
    return b("Add", b.input(0), b.input(1)) if b.has(1) else b.input(0)


def _quick_gelu(b: MicrosoftBody) -> None:
    """x·σ(alpha·x)."""
    x, alpha = b.input(0), b.attributes.get("alpha", 1.702)
    b.gives("Mul", x, b("Sigmoid", x if alpha == 1.0 else b("Mul", x, np.float32(alpha))))


def _bias_add(b: MicrosoftBody) -> None:
    b.gives("Add", b("Add", b.input(0), b.input(1)), b.input(2))


def _bias_split_gelu(b: MicrosoftBody) -> None:
    """The first half of the last axis times the GELU of the second."""
    width = (b.dims(1) or (None,))[-1]
    if not width:
        b.refuse("the size of its bias is not known")
    left, right = b.split(b("Add", b.input(0), b.input(1)), [width // 2] * 2, -1)
    b.gives("Mul", left, gelu(b, right))


def _expand_dims(b: MicrosoftBody) -> None:
    b.gives("Identity", b.unsqueeze(b.input(0), int(b.values(1).item())))


def _as_own(since: int) -> Callable[[MicrosoftBody], None]:
    """The same operator is ONNX's own from some opset on."""

    def write(b: MicrosoftBody) -> None:
        if b.opset < since:
            b.refuse(f"ONNX has it from opset {since} on, and the model is of opset {b.opset}")
        node = onnx.NodeProto.FromString(b.node.SerializeToString())
        node.domain = ""
        b.nodes.append(node)

    return write


# Products


def _fused_matmul(b: MicrosoftBody) -> None:
    """alpha·A·B of matrices that may be turned, and whose batches may."""
    names = [_turned(b, index, side) for index, side in enumerate("AB")]
    alpha = b.attributes.get("alpha", 1.0)
    if alpha == 1.0:
        b.gives("MatMul", *names)
    else:
        b.gives("Mul", b("MatMul", *names), np.float32(alpha))


def _turned(b: MicrosoftBody, index: int, side: str) -> str:
    turned, batched = (b.attributes.get(f"{name}{side}", 0) for name in ("trans", "transBatch"))
    if not (turned or batched):
        return b.input(index)
    order = list(range(b.rank(index)))
    if len(order) < 2:
        return b.input(index)
    if batched:  # the first axis of the matrices is that of all, and stands before the last
        order = [*order[1:-1], 0, order[-1]]
    if turned:
        order[-2:] = order[:-3:-1]
    return b("Transpose", b.input(index), perm=order)


def _gemm_fast_gelu(b: MicrosoftBody) -> None:
    made = b("MatMul", b.input(0), b.input(1))
    fast_gelu(b, b("Add", made, b.input(2)) if b.has(2) else made, b.node.output[0])


def _fused_layer(op: str, operands: int) -> Callable[[MicrosoftBody], None]:
    """Conv or Gemm, then what is added (Conv alone), then an activation."""

    def write(b: MicrosoftBody) -> None:
        own = {name: value for name, value in b.attributes.items() if not name.startswith("activation")}
        made = b(op, *(b.input(i) if b.has(i) else "" for i in range(operands)), **own)
        made = b("Add", made, b.input(operands)) if op == "Conv" and b.has(operands) else made
        _activated(b, made)

    return write


def _activated(b: MicrosoftBody, x: str) -> None:
    kind = b.text("activation")
    given = list(b.attributes.get("activation_params", []))
    named = [b.attributes.get(f"activation_{name}") for name in ("alpha", "beta")]
    numbers = given or [number for number in named if number is not None]
    if kind == "Clip" and len(numbers) == 2:
        b.clip(x, numbers[0], numbers[1], output=b.node.output[0])
    elif kind in _ACTIVATIONS:
        attributes = dict(zip(_ACTIVATIONS[kind], numbers, strict=False))
        b.gives(kind, x, **attributes)
    else:
        b.refuse(f"its activation is {kind!r}; expected Clip or one of {', '.join(_ACTIVATIONS)}")


_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Relu": (), "Sigmoid": (), "Tanh": (), "Softplus": (), "Softsign": (), "LeakyRelu": ("alpha",),
    "Elu": ("alpha",), "ThresholdedRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"),
}  # fmt: skip


def _matmul_n_bits(b: MicrosoftBody) -> None:
    """A product with codes of a few bits, of which each block of a column has a scale: constants here."""
    rows, columns, block = (b.attributes[name] for name in ("K", "N", "block_size"))
    bits, blocks = b.attributes.get("bits", 4), -(-rows // block)
    if b.has(4):
        b.refuse("its rows are in another order (g_idx)")
    if bits not in (2, 4, 8):
        b.refuse(f"its codes have {bits} bits; expected 2, 4 or 8")
    codes = _unpacked(b.values(1).reshape(columns, blocks, -1), bits)[..., :block]
    scales = b.values(2).astype(np.float32).reshape(columns, blocks, 1)
    zeros: Any = np.float32(2 ** (bits - 1))
    if b.has(3):
        given = b.values(3)
        packed = given.dtype == np.uint8
        zeros = _unpacked(given.reshape(columns, -1), bits)[:, :blocks] if packed else given
        zeros = zeros.astype(np.float32).reshape(columns, blocks, 1)
    weights = ((codes.astype(np.float32) - zeros) * scales).reshape(columns, -1)[:, :rows]
    made = b("MatMul", b.input(0), np.ascontiguousarray(weights.T))
    b.gives("Add", made, b.input(5)) if b.has(5) else b.gives("Identity", made)


def _unpacked(codes: np.ndarray, bits: int) -> np.ndarray:
    """The codes of each byte, those of the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    each = (codes[..., None] >> shifts) & np.uint8(2**bits - 1)
    return np.asarray(each.reshape(*codes.shape[:-1], -1))


def _distances(b: MicrosoftBody) -> None:
    """Of each row of A from each of B, as scikit-learn's neighbours and Gaussian processes want them."""
    apart = b("Sub", b.unsqueeze(b.input(0), 1), b.unsqueeze(b.input(1), 0))
    squares = b("Mul", apart, apart)
    if b.opset >= 13:
        total = b("ReduceSum", squares, np.array([2]), keepdims=0)
    else:
        total = b("ReduceSum", squares, axes=[2], keepdims=0)
    kind = b.text("metric", "sqeuclidean")
    if kind not in ("sqeuclidean", "euclidean"):
        b.refuse(f"its metric is {kind!r}; expected sqeuclidean or euclidean")
    b.gives("Sqrt" if kind == "euclidean" else "Identity", total)


_WRITERS: dict[str, Callable[[MicrosoftBody], None]] = {
    "Gelu": _gelu,
    "BiasGelu": _gelu,
    "FastGelu": _fast_gelu,
    "QuickGelu": _quick_gelu,
    "GemmFastGelu": _gemm_fast_gelu,
    "BiasAdd": _bias_add,
    "BiasSplitGelu": _bias_split_gelu,
    "ExpandDims": _expand_dims,
    "Trilu": _as_own(14),
    "FusedMatMul": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "FusedConv": _fused_layer("Conv", 3),
    "FusedGemm": _fused_layer("Gemm", 3),
    "MatMulNBits": _matmul_n_bits,
    "CDist": _distances,
    "RotaryEmbedding": rotary_embedding,
    **NORMS,
    **ATTENTION,
}
