"""Attention of ONNX Runtime's own domain, in its two forms for encoders and decoders."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from edgepress.graph.normalise.microsoft_body import MicrosoftBody

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class _Mask:
    """The operands, by their numbers, that say which keys a query sees, and what is added to its scores."""

    keys: int
    bias: int
    past: tuple[int, ...]


def _attention(b: MicrosoftBody) -> None:
    """One operand, projected to queries, keys and values here."""
    weights = b.dims(1)
    sizes = b.attributes.get("qkv_hidden_sizes") or [int((weights or (0, 0))[-1] or 0) // 3] * 3
    if not all(sizes):
        b.refuse("the size of its weights is not known")
    if b.attributes.get("do_rotary", 0) or b.attributes.get("past_present_share_buffer", 0) or b.has(6):
        b.refuse("it turns its queries, or shares the memory of its past")
    made = b("MatMul", b.input(0), b.input(1))
    made = b("Add", made, b.input(2)) if b.has(2) else made
    heads = [_heads(b, part) for part in b.split(made, list(sizes), -1)]
    if b.has(4):  # keys and values of one tensor
        past = [b("Gather", b.input(4), np.int64(part), axis=0) for part in (0, 1)]
        heads[1:] = [b("Concat", old, new, axis=2) for old, new in zip(past, heads[1:], strict=True)]
    if b.asked(1):
        b.gives("Concat", *(b.unsqueeze(part, 0) for part in heads[1:]), axis=0, index=1)
    _attend(b, heads, _Mask(3, 5, (4,)))


def _multi_head_attention(b: MicrosoftBody) -> None:
    """Queries, keys and values that are projected before."""
    if not (b.has(1) and b.has(2)):
        b.refuse("its queries, keys and values are packed in one tensor")
    if any(b.has(index) for index in (8, 9)):
        b.refuse("it shares the memory of its past")
    shifts = _shifts(b) if b.has(3) else [None] * 3
    heads = []
    for index, shift in enumerate(shifts):
        x, rank = b.input(index), len(b.dims(index) or (None,) * 3)
        if rank == 4 and index > 0:  # keys and values of an encoder are split into heads already
            heads.append(x)
            continue
        if rank != 3:
            b.refuse(f"its input {index} has {rank} axes; expected 3")
        heads.append(_heads(b, b("Add", x, shift) if shift is not None else x))
    if b.has(6):
        heads[1:] = [
            b("Concat", b.input(index), new, axis=2) for index, new in zip((6, 7), heads[1:], strict=True)
        ]
    for index, part in enumerate(heads[1:], 1):
        if b.asked(index):
            b.gives("Identity", part, index=index)
    if any(map(b.asked, (3,))):
        b.refuse("its scores are an output")
    _attend(b, heads, _Mask(4, 5, (6,)))


def _shifts(b: MicrosoftBody) -> list[np.ndarray | None]:
    """The parts of a bias for queries, keys and values; those of queries and keys are of one size."""
    values = b.values(3).astype(np.float32)
    width = (b.dims(0) or (None,))[-1] or values.size // 3
    return [values[:width], values[width : 2 * width], values[2 * width :]]


def _heads(b: MicrosoftBody, x: str) -> str:
    """(batch, length, heads·size) → (batch, heads, length, size)."""
    split = b("Reshape", x, np.array([0, 0, b.attributes["num_heads"], -1]))
    return b("Transpose", split, perm=[0, 2, 1, 3])


def _attend(b: MicrosoftBody, heads: list[str], mask: _Mask) -> None:
    """softmax(scale·q·kᵀ + what a query may not see)·v."""
    q, k, v = heads
    scores = b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2]))
    scale = b.attributes.get("scale", 0.0)
    scores = b("Mul", scores, np.float32(scale) if scale else _scale(b, q))
    if b.has(mask.keys):
        scores = b("Add", scores, _of_keys(b, mask.keys, k))
    if b.has(mask.bias):
        scores = b("Add", scores, b.input(mask.bias))
    if b.attributes.get("unidirectional", 0):
        scores = b("Where", _ahead(b, scores), np.float32(_LOWEST), scores)
    shares = b("Softmax", scores, axis=-1) if b.opset >= 13 else b("Softmax", scores, axis=3)
    merged = b("Transpose", b("MatMul", shares, v), perm=[0, 2, 1, 3])
    b.gives("Reshape", merged, np.array([0, 0, -1]))


def _scale(b: MicrosoftBody, q: str) -> str:
    """1/√ of the size of a head."""
    size = b("Cast", b("Gather", b("Shape", q), np.array([3]), axis=0), to=TensorProto.FLOAT)
    return b("Reciprocal", b("Sqrt", size))


def _of_keys(b: MicrosoftBody, index: int, keys: str) -> str:
    """The filter value for keys that are not seen, else 0.

    A mask (batch, keys) or (batch, queries, keys) is 0 for these; lengths (batch) tell how many come first.
    """
    rank = b.rank(index)
    if rank not in (1, 2, 3):
        b.refuse(
            f"its mask has {rank} axes; expected lengths (batch), (batch, keys) or (batch, queries, keys)"
        )
    if rank == 1:
        _refuse_spans(b, index)
        count = b("Gather", b("Shape", keys), np.int64(2), axis=0)
        places = b("Range", np.int64(0), count, np.int64(1))
        lengths = b("Cast", b.unsqueeze(b.input(index), 1), to=TensorProto.INT64)
        seen = b("Less", places, lengths)
    else:
        seen = b("Cast", b.input(index), to=TensorProto.BOOL)
    wide = b.unsqueeze(seen, 1) if rank == 3 else b.unsqueeze(seen, 1, 2)
    return b("Where", wide, np.float32(0), np.float32(b.attributes.get("mask_filter_value", -10000.0)))


def _refuse_spans(b: MicrosoftBody, index: int) -> None:
    """Ends and starts are twice as many as samples."""
    (count,), samples = b.dims(index) or (None,), (b.dims(0) or (None,))[0]
    if count is not None and samples is not None and count != samples:
        b.refuse(f"its mask has {count} numbers for {samples} samples; expected a length for each")


def _ahead(b: MicrosoftBody, scores: str) -> str:
    """Which keys come later than each query, of which the last is the last key's."""
    shape = b("Shape", scores)
    rows, columns = (b("Gather", shape, np.int64(axis), axis=0) for axis in (2, 3))
    zero, one = np.int64(0), np.int64(1)
    first = b("Sub", columns, rows)
    row = b("Add", b("Range", zero, rows, one), first)
    return b("Greater", b("Range", zero, columns, one), b.unsqueeze(row, 1))


ATTENTION: dict[str, Callable[[MicrosoftBody], None]] = {
    "Attention": _attention,
    "MultiHeadAttention": _multi_head_attention,
}
